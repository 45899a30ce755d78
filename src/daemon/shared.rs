//! The parts that all generations of loops share.
//!
//! Created once at the start. Starts and stops nothing.

use std::rc::Rc;

use tokio::sync::watch;

use super::progress::Loops;
use crate::status_socket::DaemonStatus;
use crate::store::Store;

/// The database, and the channels between the loops.
pub struct Shared {
    pub store: Rc<Store>,
    /// Seed of this installation's jitter.
    pub seed: u64,
    /// The status that `statusd status` asks for.
    pub status: watch::Sender<DaemonStatus>,
    /// Ticks when there may be something to deliver.
    pub outbox: watch::Sender<()>,
    /// All running loops, those of older generations too.
    pub loops: Loops,
}
