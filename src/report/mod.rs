//! Answers from the stored history, for the command line and the page: coverage, marks of timelines,
//! incidents, and the documented JSON.
//!
//! Pure: takes rows of the store and the time.

pub mod coverage;
pub mod days;
pub mod incident;
pub mod mark;
pub mod outage;
pub mod public_change;
pub mod services;
pub mod state;
pub mod status;
pub mod uptime;
