//! The parts that all generations of loops share.
//!
//! Created once at the start. Starts and stops nothing.

use std::rc::Rc;

use tokio::sync::watch;

use super::progress::Loops;
use crate::status_socket::DaemonStatus;
use crate::store::Store;
use crate::web::ActivityCounts;

/// The database, and the channels between the loops.
pub struct Shared {
    pub store: Rc<Store>,
    /// Seed of this installation's jitter.
    pub seed: u64,
    /// The status that `statusd status` asks for.
    pub status: watch::Sender<DaemonStatus>,
    /// Counts since the start, for the web listener.
    pub activity: watch::Sender<ActivityCounts>,
    /// Ticks when there may be something to deliver.
    pub outbox: watch::Sender<()>,
    /// All running loops, those of older generations too.
    pub loops: Loops,
}
