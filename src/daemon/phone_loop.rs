//! The loop that reads connected phones, if `[phone]` enables it.
//!
//! The results are in the database; the exact time of the last read of each phone is in the daemon's
//! status. A phone that is not connected is not a problem, because phones are away most of the time.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::progress::{LEEWAY, Progress};
use super::wait::wait;
use crate::cause::Cause as _;
use crate::clock::{self, ClockJumps, ClockReading};
use crate::phones::backup_check::{BackupCheck, is_iphone};
use crate::phones::{self, AccessError, Address, Phone, ReadError};
use crate::status_socket::DaemonStatus;
use crate::store::Store;

/// The time for reading all phones.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for reading all phones and for recording the results.
pub(super) const ROUND_TIMEOUT: Duration = READ_TIMEOUT.saturating_add(LEEWAY);
/// The maximum number of phones in the status.
const SEEN_MAX: usize = 100;
/// The entry in [`PhoneLoop::logged`] for an unreachable usbmuxd.
const NO_USBMUXD: &str = "no usbmuxd";

pub struct PhoneLoop {
    address: Address,
    backup_check: BackupCheck,
    store: Rc<Store>,
    status: watch::Sender<DaemonStatus>,
    /// Ticked when there is something to deliver.
    outbox: watch::Sender<()>,
    /// The problems that were logged; each is logged once.
    logged: BTreeSet<&'static str>,
}

impl PhoneLoop {
    pub fn new(
        address: Address,
        backup_check: BackupCheck,
        store: &Rc<Store>,
        status: watch::Sender<DaemonStatus>,
        outbox: watch::Sender<()>,
    ) -> PhoneLoop {
        PhoneLoop { address, backup_check, store: Rc::clone(store), status, outbox, logged: BTreeSet::new() }
    }

    /// Reads the phones at once, then on schedule, until it is stopped.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>, progress: &Progress) {
        let jumps = ClockJumps::watch();
        loop {
            progress.working(ROUND_TIMEOUT, clock::monotonic_now());
            let found = tokio::select! {
                found = phones::read(&self.address, READ_TIMEOUT) => found,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let now = clock::now();
            match found {
                Ok(phones) => self.take(&phones, now).await,
                Err(trouble) => self.report_trouble(&trouble),
            }
            let reading = ClockReading::take();
            let next = self.backup_check.next(now);
            progress.waiting(Some(clock::time_until(next)), clock::monotonic_now());
            tokio::select! {
                _ = wait(&reading, next, || jumps.next(), ClockReading::take) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn take(&mut self, phones: &[Phone], now: Timestamp) {
        // From now on, a missing usbmuxd only means that no phone is connected.
        self.logged.insert(NO_USBMUXD);
        for phone in phones.iter().filter(|phone| is_iphone(&phone.public)) {
            if let Err(refusal) = &phone.private {
                self.report_refusal(refusal);
            }
        }
        match self.backup_check.once(&self.store, phones, now).await {
            Ok(checked) => {
                tracing::debug!(phones = phones.len(), read = checked.read.len(), "read phones");
                let seen = checked.read.into_iter().map(|id| (id, now));
                self.status.send_modify(|status| {
                    // The database holds the times to the hour.
                    if status.phones_seen.len() > SEEN_MAX {
                        status.phones_seen.clear();
                    }
                    status.phones_seen.extend(seen);
                });
                if !checked.changes.is_empty() {
                    self.outbox.send_replace(());
                }
            }
            Err(error) => tracing::error!("cannot write the phones to the database: {}", error.reason()),
        }
    }

    /// Logs the first problem only, because usbmuxd often stops when the last phone is unplugged.
    fn report_trouble(&mut self, trouble: &ReadError) {
        let is_new = self.logged.insert(NO_USBMUXD);
        match trouble {
            _ if !is_new => tracing::debug!("cannot read phones: {trouble:?}"),
            ReadError::NoUsbmuxd => {
                tracing::info!("cannot read phones yet: usbmuxd does not listen at {}", at(&self.address));
            }
            ReadError::Forbidden => {
                tracing::warn!("cannot read phones: no permission to use {}", at(&self.address));
            }
            ReadError::TimedOut { .. } | ReadError::Malformed(_) => {
                let place = at(&self.address);
                tracing::warn!("cannot read phones: the server at {place} does not respond like usbmuxd");
            }
        }
    }

    /// Logs each reason once.
    fn report_refusal(&mut self, refusal: &AccessError) {
        let why = match refusal {
            AccessError::NotPaired => "this computer is not paired with it",
            AccessError::NoLongerTrusted => "it no longer trusts this computer",
            AccessError::Locked => "it has not been unlocked since it started",
            AccessError::TrustDialogOpen => "it asks whether to trust this computer",
            AccessError::TrustDenied => "trust in this computer was denied on the iPhone",
            AccessError::TimedOut { .. } => "it does not respond",
            AccessError::Other(_) => "it rejected the request",
        };
        if self.logged.insert(why) {
            tracing::info!("cannot read the backup status of an iPhone: {why}; see `statusd doctor`");
        } else {
            tracing::debug!("cannot read the backup status of an iPhone: {why}");
        }
    }
}

fn at(address: &Address) -> String {
    match address {
        Address::Unix(path) => path.display().to_string(),
        Address::Tcp(place) => place.clone(),
    }
}
