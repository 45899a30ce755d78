//! Processes the phones that were just read: stores the readings and announces late backups once.
//!
//! Reads neither phones nor the clock; the daemon does. Stores a keyed hash instead of a phone's UDID. An
//! unchanged reading is stored only once an hour.

use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use rusqlite::Result;

use crate::delivery::policy::{self, Route};
use crate::model::{Change, FeedHealth, FeedId, KnownPhone, Phase, ServiceKey};
use crate::phones::late_backup::{self, Apple, Late, Lateness, RECOVERY, Read};
use crate::phones::{General, Phone, Udid};
use crate::schedule::Schedule;
use crate::store::{READ_LATELY, Store};
use crate::text;

/// Most phones that are processed in one poll.
const PHONES_MAX: usize = 16;
const MODEL_MAX_CHARS: usize = 40;
/// Length of a phone's id. 64 bits are enough to distinguish one user's phones.
const ID_BYTES: usize = 8;
/// Used if a schedule yields no time, which `schedule` rejects.
const FALLBACK: SignedDuration = SignedDuration::from_hours(1);

/// The configuration of the check. Rebuilt on reload.
#[derive(Clone, Debug)]
pub struct Checkup {
    pub feed: FeedId,
    pub routes: Vec<Route>,
    /// When to look.
    pub look: Schedule,
    /// `None`: nobody is told that a backup is late.
    pub late: Option<Late>,
    /// The database's own: phones are remembered under other names in every database.
    pub seed: u64,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The phones that told of their backups, by the names under which they are remembered.
    pub read: Vec<String>,
    /// The changes that were written, including any that were announced before.
    pub changes: Vec<Change>,
}

impl Checkup {
    /// Takes what a look at the phones has brought.
    pub async fn once(&self, store: &Store, phones: &[Phone], now: Timestamp) -> Result<Checked> {
        let reads: Vec<Read> =
            phones.iter().filter_map(|phone| self.read(phone, now)).take(PHONES_MAX).collect();
        if reads.is_empty() {
            return Ok(Checked::default());
        }
        let known = self.known(store, phones).await?;
        let known_as = |read: &Read| known.iter().find(|phone| phone.id == read.id);
        let mut rows = Vec::new();
        let mut changes = Vec::new();
        for read in &reads {
            let mut row = late_backup::remembered(read, known_as(read), now);
            if let Some(known) = known_as(read)
                && let Some(said) = self.judged(store, read, known, now).await?
            {
                row = Some(KnownPhone { judged_at: now, ..row.unwrap_or_else(|| known.clone()) });
                changes.extend(said);
            }
            rows.extend(row);
        }
        if !rows.is_empty() {
            store.remember(&rows, &changes, &|change| policy::matching(&self.routes, change), now).await?;
        }
        Ok(Checked { read: reads.into_iter().map(|read| read.id).collect(), changes })
    }

    /// Returns the stored rows. Rows of earlier versions under another spelling of a UDID are renamed first.
    async fn known(&self, store: &Store, phones: &[Phone]) -> Result<Vec<KnownPhone>> {
        let known = store.phones().await?;
        let mut renamed = Vec::new();
        for udid in phones.iter().map(|phone| &phone.udid) {
            let former = udid.spellings().into_iter().skip(1).map(|spelling| self.id_of(&spelling));
            let former = former.filter(|former| known.iter().any(|phone| phone.id == *former));
            renamed.extend(former.map(|former| (former, self.id(udid))));
        }
        if renamed.is_empty() {
            return Ok(known);
        }
        store.rename_phones(&renamed).await?;
        store.phones().await
    }

    /// Returns when to read the phones next, later than `now`.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        let next = self.look.next_after(now);
        next.unwrap_or_else(|| now.checked_add(FALLBACK).unwrap_or(Timestamp::MAX))
    }

    /// What there is to say of a phone whose turn it is; `None` where it is to be judged later.
    async fn judged(
        &self,
        store: &Store,
        read: &Read,
        known: &KnownPhone,
        now: Timestamp,
    ) -> Result<Option<Option<Change>>> {
        let Some(late) = self.late.as_ref().filter(|late| late_backup::is_due(read, known, late, now)) else {
            return Ok(None);
        };
        let apple = self.apple(store, now).await?;
        Ok(match late_backup::judge(read, known, late.after, apple, &self.feed, now) {
            Lateness::Say(change) => Some(Some(*change)),
            Lateness::Nothing => Some(None),
            Lateness::Open => None,
        })
    }

    /// Whether Apple may be why no backup was made.
    async fn apple(&self, store: &Store, now: Timestamp) -> Result<Apple> {
        let (sight, services) = store.listed(&self.feed).await?;
        let lately = store.last_readable(&self.feed).await?;
        let is_sighted = matches!(sight, FeedHealth::Readable { .. })
            && lately.is_some_and(|lately| now.duration_since(lately).abs() <= READ_LATELY);
        if !is_sighted || !services.iter().any(|(key, _)| key.is_backup()) {
            return Ok(Apple::Unknown);
        }
        let outages = store.outages(&self.feed, now.checked_sub(RECOVERY).unwrap_or(Timestamp::MIN)).await?;
        let is_reason = outages.iter().any(|outage| {
            !matches!(outage.phase, Phase::Planned(_))
                && !outage.was_cancelled()
                && ServiceKey::new(&outage.service).is_backup()
        });
        Ok(if is_reason { Apple::Trouble } else { Apple::Fine })
    }

    /// What an iPhone told of its backups; `None` where it is none, or told nothing.
    fn read(&self, phone: &Phone, now: Timestamp) -> Option<Read> {
        let private = phone.private.as_ref().ok().filter(|_| is_iphone(&phone.general))?;
        if private.last_backup.is_none() && private.backup_enabled.is_none() {
            // The phone stopped responding before these values, so the stored ones stay.
            return None;
        }
        Some(Read {
            id: self.id(&phone.udid),
            model: phone.general.model.as_deref().map(|model| text::plain_line(model, MODEL_MAX_CHARS)),
            last_backup: late_backup::plausible(private.last_backup, now),
            backup_enabled: private.backup_enabled,
        })
    }

    fn id(&self, udid: &Udid) -> String {
        self.id_of(udid.expose())
    }

    fn id_of(&self, spelling: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.seed.to_be_bytes());
        let tag = hmac::sign(&key, spelling.as_bytes());
        tag.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Other devices back up too; what people are told is about their phone.
pub fn is_iphone(general: &General) -> bool {
    match (&general.class, &general.model) {
        (Some(class), _) => class == "iPhone",
        (None, Some(model)) => model.starts_with("iPhone"),
        (None, None) => true,
    }
}
