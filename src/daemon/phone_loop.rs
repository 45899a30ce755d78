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
use crate::phones::backup_check::{Checkup, is_iphone};
use crate::phones::{self, Address, Phone, ReadTrouble, Refusal};
use crate::status_socket::DaemonStatus;
use crate::store::Store;

/// For all phones together.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// Together with writing down what they said.
pub(super) const ROUND_WITHIN: Duration = READ_WITHIN.saturating_add(LEEWAY);
/// What the desk says must fit its answer.
const SEEN_MAX: usize = 100;
/// What [`PhoneLoop::said`] has where nobody could be asked.
const NOBODY: &str = "nobody can be asked";

pub struct PhoneLoop {
    address: Address,
    checkup: Checkup,
    store: Rc<Store>,
    live: watch::Sender<DaemonStatus>,
    /// Ticked when there is something to deliver.
    outbox: watch::Sender<()>,
    /// What was logged already; each once.
    said: BTreeSet<&'static str>,
}

impl PhoneLoop {
    pub fn new(
        address: Address,
        checkup: Checkup,
        store: &Rc<Store>,
        live: watch::Sender<DaemonStatus>,
        outbox: watch::Sender<()>,
    ) -> PhoneLoop {
        PhoneLoop { address, checkup, store: Rc::clone(store), live, outbox, said: BTreeSet::new() }
    }

    /// Reads the phones at once, then on schedule, until it is stopped.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>, progress: &Progress) {
        let jumps = ClockJumps::watch();
        loop {
            progress.works(ROUND_WITHIN, clock::monotonic_now());
            let found = tokio::select! {
                found = phones::look(&self.address, READ_WITHIN) => found,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let now = clock::now();
            match found {
                Ok(phones) => self.take(&phones, now).await,
                Err(trouble) => self.report_trouble(&trouble),
            }
            let reading = ClockReading::take();
            let next = self.checkup.next(now);
            progress.waits(Some(clock::time_until(next)), clock::monotonic_now());
            tokio::select! {
                _ = wait(&reading, next, || jumps.next(), ClockReading::take) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn take(&mut self, phones: &[Phone], now: Timestamp) {
        // From now on that nobody listens only means that no phone is there.
        self.said.insert(NOBODY);
        for phone in phones.iter().filter(|phone| is_iphone(&phone.general)) {
            if let Err(refusal) = &phone.private {
                self.report_refusal(refusal);
            }
        }
        match self.checkup.once(&self.store, phones, now).await {
            Ok(checked) => {
                tracing::debug!(phones = phones.len(), read = checked.read.len(), "read phones");
                let seen = checked.read.into_iter().map(|id| (id, now));
                self.live.send_modify(|live| {
                    // The database knows them to the hour.
                    if live.phones_seen.len() > SEEN_MAX {
                        live.phones_seen.clear();
                    }
                    live.phones_seen.extend(seen);
                });
                if !checked.changes.is_empty() {
                    self.outbox.send_replace(());
                }
            }
            Err(error) => tracing::error!("cannot use the database for what phones say: {}", error.reason()),
        }
    }

    /// Once at most: usbmuxd is often gone together with the last phone.
    fn report_trouble(&mut self, trouble: &ReadTrouble) {
        let is_new = self.said.insert(NOBODY);
        match trouble {
            _ if !is_new => tracing::debug!("cannot read phones: {trouble:?}"),
            ReadTrouble::NoUsbmuxd => {
                tracing::info!("cannot read phones yet: usbmuxd does not listen at {}", at(&self.address));
            }
            ReadTrouble::Forbidden => {
                tracing::warn!("cannot read phones: this user may not use {}", at(&self.address));
            }
            ReadTrouble::Silent { .. } | ReadTrouble::Garbled(_) => {
                let place = at(&self.address);
                tracing::warn!("cannot read phones: the server at {place} does not respond like usbmuxd");
            }
        }
    }

    /// Each reason once.
    fn report_refusal(&mut self, refusal: &Refusal) {
        let why = match refusal {
            Refusal::NotPaired => "this computer is not paired with it",
            Refusal::NotTrustedAnyMore => "it no longer trusts this computer",
            Refusal::Locked => "it has not been unlocked since it started",
            Refusal::DialogOpen => "it asks whether to trust this computer",
            Refusal::Denied => "it was told not to trust this computer",
            Refusal::Silent { .. } => "it does not answer",
            Refusal::Other(_) => "it refuses",
        };
        if self.said.insert(why) {
            tracing::info!("an iPhone is connected and tells nothing: {why}; see `statusd doctor`");
        } else {
            tracing::debug!("an iPhone is connected and tells nothing: {why}");
        }
    }
}

fn at(address: &Address) -> String {
    match address {
        Address::Unix(path) => path.display().to_string(),
        Address::Tcp(place) => place.clone(),
    }
}
