//! statusd polls Apple's system-status feed, records every change durably and notifies people when an
//! outage begins and ends: once, promptly, in plain words, never falsely.
//!
//! ```text
//! bytes ─feed→ Document ─tracking(beliefs, now)→ Changes ─store→ rows ─delivery→ Notice ─channel→ a person
//! ```
//!
//! | folder | purpose |
//! |---|---|
//! | `model`, `text`, `secret`, `setting`, `schedule` | the vocabulary as types; no I/O |
//! | `cause`, `clock`, `gzip`, `http`, `process`, `proxy`, `regular_file`, `tls` | one outside thing each; no domain knowledge |
//! | `feed` | bytes → document: fetching, parsing, recordings |
//! | `tracking` | document → changes: the state machine, the watchlist, replay |
//! | `store` | the database: beliefs, changes and deliveries in one transaction |
//! | `channel` | one file or folder for each kind of channel, and the registry of all |
//! | `delivery` | change → notice → channel: policy, texts, templates, attempts |
//! | `report` | figures and JSON from the stored history |
//! | `phones` | iPhones over usbmuxd, and their backups |
//! | `web` | the HTTP listener: pages, API, feeds, metrics |
//! | `config` | flags, environment and file → one configuration |
//! | `daemon`, `status_socket`, `logging` | the loops, which read the clock and carry out what the core decides |
//! | `doctor`, `drill`, `service` | diagnosis, simulated outages, installation |
//! | `cli` | the commands |
//!
//! Arrows point down this table; `tests/it/arrows.rs` checks them and keeps the core free of I/O. The
//! words are defined in `docs/glossary.md`.
//!
//! Guarantees, each with the test that checks it:
//!
//! - A change is confirmed by two polls before it is announced, and silence is not recovery
//!   (`src/tracking/tests.rs`).
//! - A belief, its change and its deliveries commit in one transaction, and every delivery ends as sent
//!   or given up, across crashes too (`tests/it/crash.rs`).
//! - An unreadable feed is "cannot tell", never "fine" (`tests/it/properties.rs`).
//! - Times are UTC in whole seconds until they are shown.
//! - Text from Apple and from servers is hostile until escaped, and `Debug` of a secret prints `***`
//!   (`tests/it/secrets.rs`).

#![forbid(unsafe_code)]

pub mod cause;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod doctor;
pub mod drill;
pub mod exit_code;
pub mod feed;
pub mod gzip;
pub mod http;
pub mod logging;
pub mod model;
pub mod phones;
pub mod process;
pub mod proxy;
pub mod regular_file;
pub mod report;
pub mod schedule;
pub mod secret;
pub mod service;
pub mod setting;
pub mod status_socket;
pub mod store;
pub mod text;
pub mod tls;
pub mod tracking;
pub mod web;
