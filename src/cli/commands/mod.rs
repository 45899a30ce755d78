//! The commands of statusd, one file or folder each.

pub mod ack;
pub mod check;
pub mod check_health;
pub mod complete;
pub mod config;
pub mod doctor;
pub mod drill;
pub mod fleet;
pub mod generate;
pub mod guide;
pub mod history;
pub mod outbox;
pub mod replay;
pub mod run;
pub mod service;
pub mod services;
pub mod snooze;
pub mod status;
pub mod test_notice;
