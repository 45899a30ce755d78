//! Processes the phones that were just read: stores the readings and announces late backups once.
//!
//! Reads neither phones nor the clock; the daemon does. Stores a keyed hash instead of a phone's UDID. An
//! unchanged reading is stored only once an hour.

use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use rusqlite::Result;

use crate::delivery::policy::{self, Route};
use crate::model::{Change, FeedHealth, FeedId, KnownPhone, Phase, ServiceKey};
use crate::phones::late_backup::{self, AppleStatus, BackupReading, LateDecision, LatePolicy, RECOVERY};
use crate::phones::{Phone, PublicInfo, Udid};
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
pub struct BackupCheck {
    pub feed: FeedId,
    pub routes: Vec<Route>,
    /// When to read the phones.
    pub schedule: Schedule,
    /// `None`: late backups are not reported.
    pub late: Option<LatePolicy>,
    /// The seed of the database, the key of the hash, so that ids differ between databases.
    pub seed: u64,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// The ids of the phones that reported their backups.
    pub read: Vec<String>,
    /// The changes that were written, including any that were announced before.
    pub changes: Vec<Change>,
}

impl BackupCheck {
    /// Stores the readings of `phones`, with the changes to announce.
    pub async fn once(&self, store: &Store, phones: &[Phone], now: Timestamp) -> Result<CheckResult> {
        let readings: Vec<BackupReading> =
            phones.iter().filter_map(|phone| self.reading(phone, now)).take(PHONES_MAX).collect();
        if readings.is_empty() {
            return Ok(CheckResult::default());
        }
        let known = self.known(store, phones).await?;
        let known_as = |reading: &BackupReading| known.iter().find(|phone| phone.id == reading.id);
        let mut rows = Vec::new();
        let mut changes = Vec::new();
        for reading in &readings {
            let mut row = late_backup::updated_row(reading, known_as(reading), now);
            if let Some(known) = known_as(reading)
                && let Some(change) = self.check(store, reading, known, now).await?
            {
                row = Some(KnownPhone { judged_at: now, ..row.unwrap_or_else(|| known.clone()) });
                changes.extend(change);
            }
            rows.extend(row);
        }
        if !rows.is_empty() {
            store.remember(&rows, &changes, &|change| policy::matching(&self.routes, change), now).await?;
        }
        Ok(CheckResult { read: readings.into_iter().map(|reading| reading.id).collect(), changes })
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
        let next = self.schedule.next_after(now);
        next.unwrap_or_else(|| now.checked_add(FALLBACK).unwrap_or(Timestamp::MAX))
    }

    /// Checks a phone if that is due. Returns `None` if it must be checked later, and otherwise the change to
    /// announce, if any.
    async fn check(
        &self,
        store: &Store,
        reading: &BackupReading,
        known: &KnownPhone,
        now: Timestamp,
    ) -> Result<Option<Option<Change>>> {
        let Some(late) = self.late.as_ref().filter(|late| late_backup::is_due(reading, known, late, now))
        else {
            return Ok(None);
        };
        let apple = self.apple_status(store, now).await?;
        Ok(match late_backup::decide(reading, known, late.after, apple, &self.feed, now) {
            LateDecision::Announce(change) => Some(Some(*change)),
            LateDecision::Nothing => Some(None),
            LateDecision::Undecided => None,
        })
    }

    /// Returns whether Apple may be the reason for a missing backup.
    async fn apple_status(&self, store: &Store, now: Timestamp) -> Result<AppleStatus> {
        let (health, services) = store.listed(&self.feed).await?;
        let last_readable = store.last_readable(&self.feed).await?;
        let is_readable = matches!(health, FeedHealth::Readable { .. })
            && last_readable.is_some_and(|last| now.duration_since(last).abs() <= READ_LATELY);
        if !is_readable || !services.iter().any(|(key, _)| key.is_backup()) {
            return Ok(AppleStatus::Unknown);
        }
        let outages = store.outages(&self.feed, now.checked_sub(RECOVERY).unwrap_or(Timestamp::MIN)).await?;
        let is_reason = outages.iter().any(|outage| {
            !matches!(outage.phase, Phase::Planned(_))
                && !outage.was_cancelled()
                && ServiceKey::new(&outage.service).is_backup()
        });
        Ok(if is_reason { AppleStatus::Outage } else { AppleStatus::Fine })
    }

    /// Returns the backup values of an iPhone, or `None` for another device or if there are none.
    fn reading(&self, phone: &Phone, now: Timestamp) -> Option<BackupReading> {
        let private = phone.private.as_ref().ok().filter(|_| is_iphone(&phone.public))?;
        if private.last_backup.is_none() && private.backup_enabled.is_none() {
            // The phone stopped responding before these values, so the stored ones stay.
            return None;
        }
        Some(BackupReading {
            id: self.id(&phone.udid),
            model: phone.public.model.as_deref().map(|model| text::plain_line(model, MODEL_MAX_CHARS)),
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
        hex::encode(&tag.as_ref()[..ID_BYTES])
    }
}

/// Returns whether a device is an iPhone. Other devices back up too, but are not reported.
pub fn is_iphone(public: &PublicInfo) -> bool {
    match (&public.class, &public.model) {
        (Some(class), _) => class == "iPhone",
        (None, Some(model)) => model.starts_with("iPhone"),
        (None, None) => true,
    }
}
