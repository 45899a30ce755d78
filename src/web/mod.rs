//! The HTTP listener: pages for people, an API, feeds and metrics for programs. Off by default.
//!
//! Read-only: no request changes anything. Requests read the database through a connection of their own, with
//! a deadline, so that they delay no poll and no delivery.

mod access;
mod activity;
mod api;
mod badge;
mod bind;
mod connection;
mod current;
mod feeds;
mod health;
mod metrics;
mod page;
mod problem;
mod routes;
mod server;
mod settings;
mod site;
mod statuspage;
mod verdict;

pub use activity::{ActivityCounts, AttemptResult, FetchResult};
pub use bind::Passed;
pub use server::{Bound, Server, ServerError};
pub use settings::{ListenAddress, Settings, WebConfig};
pub use site::{LiveState, LoopCheck, SiteConfig};
