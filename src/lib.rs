//! statusd watches Apple's system-status feed, remembers every change durably and tells people
//! when an outage begins and ends: once, soon, in plain words, never falsely.
//!
//! ```text
//! bytes ─feed→ Document ─track(beliefs, now)→ Update ─store→ rows ─deliver→ Notice ─channel→ a person
//! ```
//!
//! | | |
//! |---|---|
//! | core | pure: no I/O, and no clock: the time is an argument |
//! | edges | one outside thing each: the feed's HTTP, the database, a way to reach people, a file |
//! | loops | read the clock, carry out what the core decides; the command line |
//!
//! Arrows point down from loops to edges to core; `tests/it/arrows.rs` holds them, module by module.
//!
//! What holds everywhere:
//!
//! - Nothing is told that was not seen twice, and silence is not recovery (`track`).
//! - A belief, the change it brought and the deliveries it causes commit in one transaction
//!   (`store`); a message needs nothing but its rows.
//! - Every delivery ends as sent or as given up, visibly; a try is written down before it is made
//!   (`deliver`).
//! - What cannot be read is "cannot tell", never "fine" (`feed`, `fetch`).
//! - Times are UTC in whole seconds until they are shown.
//! - Apple's words are text until somebody escapes them; a secret's `Debug` is `***`.

#![forbid(unsafe_code)]

// Core.
pub mod delivery;
pub mod feed;
pub mod logging;
pub mod model;
pub mod phones;
pub mod schedule;
pub mod secret;
pub mod service;
pub mod status_socket;
pub mod text;
pub mod tracking;

// Edges.
pub mod cause;
pub mod channel;
pub mod clock;
pub mod config;
pub mod gzip;
pub mod proxy;
pub mod regular_file;
pub mod store;
pub mod tls;

// Loops.
pub mod cli;
pub mod daemon;
pub mod doctor;
pub mod drill;
pub mod exit_code;
