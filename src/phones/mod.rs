//! Reads connected iPhones through usbmuxd and the phone's lockdownd.
//!
//! Read-only: never pairs and changes no setting. A missing, refused or empty value is unknown, never
//! "off". Reading ends within the caller's timeout.

mod address;
pub mod backup_check;
pub mod backup_status;
mod family;
pub mod icloud_storage;
pub mod ios_releases;
pub mod late_backup;
pub mod local_backups;
mod lockdown;
mod pairing;
pub mod property_list;
mod udid;
mod usbmuxd;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::phones::property_list::ListLimits;

pub use family::DeviceFamily;
pub use udid::Udid;

/// Most phones that are read.
const MAX_PHONES: usize = 16;
/// Largest packet of either protocol. A pair record takes 10 KB.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// Limits for a response. The longest is a list of devices.
const LIST_LIMITS: ListLimits = ListLimits { events: 10_000, content_bytes: 2 << 20 };
/// Limit for names, versions and other text of a phone.
const MAX_TEXT_CHARS: usize = 200;

/// The address of usbmuxd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
}

/// A phone that usbmuxd lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    pub udid: Udid,
    pub link: Link,
    pub public: PublicInfo,
    pub private: Result<PrivateInfo, AccessError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Usb,
    Network,
}

/// Values that a phone gives to any computer. `None`: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicInfo {
    /// The name that its owner chose; identifies a person.
    pub name: Option<String>,
    /// `iPhone`, `iPad` …
    pub class: Option<String>,
    /// `iPhone13,2`
    pub model: Option<String>,
    /// `18.4.1`
    pub version: Option<String>,
    pub build: Option<String>,
    /// The phone's own clock.
    pub clock: Option<Timestamp>,
}

impl PublicInfo {
    pub fn family(&self) -> DeviceFamily {
        DeviceFamily::of(self.class.as_deref(), self.model.as_deref())
    }
}

/// Values that a phone gives only to a computer that it trusts. `None`: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateInfo {
    pub backup_enabled: Option<bool>,
    /// The last iCloud backup that succeeded.
    pub last_backup: Option<Timestamp>,
    /// The last backup to a computer.
    pub last_local_backup: Option<Timestamp>,
    pub encrypts_local_backups: Option<bool>,
    pub capacity_bytes: Option<u64>,
    /// A lower bound, because Settings also counts purgeable space.
    pub free_bytes: Option<u64>,
    pub battery_percent: Option<u8>,
    pub is_charging: Option<bool>,
    pub has_power: Option<bool>,
    /// `true`: signed in to iCloud. `false`: unknown.
    pub is_signed_in: Option<bool>,
    /// The phone proved that it has the key of its pairing. Otherwise its identity is unproven; `pairing`
    /// explains why it is read anyway.
    pub shows_paired_key: bool,
}

/// The reason why a phone gives this computer only public values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// This computer has no pair record for the phone.
    NotPaired,
    /// Paired, but the phone no longer accepts this computer (`InvalidHostID`).
    NoLongerTrusted,
    /// The phone has not been unlocked since it started (`PasswordProtected`).
    Locked,
    /// The phone shows "Trust This Computer?" (`PairingDialogResponsePending`).
    TrustDialogOpen,
    /// The user tapped Don't Trust (`UserDeniedPairing`).
    TrustDenied,
    /// The phone did not respond within the timeout.
    TimedOut { after: Duration },
    /// Another error, with a message that contains at most the phone's error name.
    Other(String),
}

/// The reason why the phones cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Nothing listens at the address: usbmuxd is not installed, or no phone was ever connected.
    NoUsbmuxd,
    /// This user has no permission to connect.
    Forbidden,
    /// usbmuxd did not respond within the timeout.
    TimedOut { after: Duration },
    /// The response violates usbmuxd's protocol.
    Malformed(String),
}

/// Reads all phones that usbmuxd lists, each once and those on USB first. They are read concurrently, so
/// that a phone that does not respond affects no other. What it gave before is kept. Takes as long as the
/// timeout only if a phone does not respond.
///
/// # Errors
///
/// Fails only if the phones cannot be listed. For a phone that cannot be read, see [`AccessError`].
pub async fn read(address: &Address, timeout: Duration) -> Result<Vec<Phone>, ReadError> {
    let deadline = Instant::now() + timeout;
    let devices = match timeout_at(deadline, usbmuxd::devices(address)).await {
        Ok(devices) => devices?,
        Err(_) => return Err(ReadError::TimedOut { after: timeout }),
    };
    let mut tasks = JoinSet::new();
    for (index, device) in devices.into_iter().enumerate() {
        let address = address.clone();
        tasks.spawn(async move { (index, read_phone(&address, device, deadline, timeout).await) });
    }
    let mut phones: Vec<(usize, Phone)> = tasks.join_all().await;
    phones.sort_by_key(|(index, _)| *index);
    Ok(phones.into_iter().map(|(_, phone)| phone).collect())
}

/// The values that a phone has given so far, kept when the exchange is interrupted.
#[derive(Debug, Default)]
struct PartialPhone {
    public: PublicInfo,
    /// Set by the first response within a session.
    private: Option<PrivateInfo>,
}

async fn read_phone(
    address: &Address,
    device: usbmuxd::Device,
    deadline: Instant,
    timeout: Duration,
) -> Phone {
    let mut partial = PartialPhone::default();
    let result = timeout_at(deadline, lockdown::query(address, &device, &mut partial)).await;
    let private = match (partial.private, result) {
        // Incomplete values are better than none.
        (Some(private), _) => Ok(private),
        (None, Ok(Err(error))) => Err(error),
        (None, Ok(Ok(()))) => Ok(PrivateInfo::default()),
        (None, Err(_)) => Err(AccessError::TimedOut { after: timeout }),
    };
    Phone { udid: device.udid, link: device.link, public: partial.public, private }
}

/// Parses the dictionary in a response.
fn dictionary(bytes: &[u8]) -> Option<plist::Dictionary> {
    property_list::read(bytes, LIST_LIMITS)
}

/// An error in an exchange, with a message that contains nothing of the phone or the pair record.
#[derive(Debug)]
struct ProtocolError(&'static str);
