//! The check `phone`: is a phone connected, and does it trust this computer?
//!
//! Pure. A phone that does not trust this computer is never "ok"; the finding says what to tap.

use std::time::Duration;

use super::{PHONE, device_name, identity, yes_no};
use crate::doctor::guide::GuideStep;
use crate::doctor::{Blame, Finding, Status};
use crate::phones::{AccessError, DeviceFamily, Link, Phone, PublicInfo, ReadError};

pub(super) fn no_phone() -> Finding {
    Finding::new(PHONE, Status::Skipped, "no iPhone is connected").todo(
        "To check an iPhone, connect it with a cable, unlock it and tap Trust. Charge-only cables do not \
         work.",
    )
}

/// Lists a device that the checks do not cover, such as an Apple TV.
pub fn diagnose_other(device: &Phone, identifiers: bool) -> Finding {
    let mut subject = match device.public.family() {
        DeviceFamily::Other(name) => name,
        DeviceFamily::IPhone | DeviceFamily::IPad | DeviceFamily::IPod | DeviceFamily::Unknown => {
            device_name(&device.public).to_owned()
        }
    };
    subject.push_str(&identity(device, identifiers));
    Finding::new(PHONE, Status::Skipped, "not checked: neither an iPhone nor an iPad")
        .subject(subject)
        .evidence(connection_evidence(device))
}

/// Reports why the connected phones are unknown.
pub fn diagnose_read_error(error: &ReadError) -> Finding {
    match error {
        ReadError::NoUsbmuxd => Finding::new(
            PHONE,
            Status::Skipped,
            "no iPhone found: usbmuxd is not running",
        )
        .todo(
            "To check an iPhone, connect it with a cable, unlock it and tap Trust. On Linux, first install the \
             package usbmuxd; macOS includes it.",
        ),
        ReadError::Forbidden => {
            Finding::new(PHONE, Status::CannotTell, "this user has no permission to use usbmuxd")
                .todo("Run doctor as a user with access to usbmuxd's socket.")
        }
        ReadError::TimedOut { after } => {
            let seen = format!("usbmuxd did not respond within {}", seconds(*after));
            Finding::new(PHONE, Status::CannotTell, seen).todo(
                "Unplug the iPhone and plug it in again. If that does not help, restart usbmuxd or this \
                 computer.",
            )
        }
        ReadError::Malformed(detail) => Finding::new(
            PHONE,
            Status::CannotTell,
            "the server at usbmuxd's address does not speak the usbmuxd protocol",
        )
        .todo("Check the configured address of usbmuxd.")
        .evidence([detail.clone()]),
    }
}

/// Checks whether the phone gives this computer access to its data, and says what to tap if not.
pub fn diagnose_connection(phone: &Phone) -> Finding {
    let device = device_name(&phone.public);
    let warning =
        |seen: String, todo: &str| Finding::new(PHONE, Status::Warning, seen).blame(Blame::Phone).todo(todo);
    let finding = match &phone.private {
        Ok(_) => Finding::new(PHONE, Status::Ok, format!("{device} connected; it trusts this computer")),
        Err(AccessError::NotPaired) => warning(
            format!("the {device} does not trust this computer yet"),
            "Unlock it, tap Trust and enter its passcode. If it does not ask, unplug it and plug it in again.",
        ),
        Err(AccessError::NoLongerTrusted) => warning(
            format!("the {device} no longer trusts this computer"),
            "Unlock it, unplug it and plug it in again, tap Trust and enter its passcode.",
        ),
        Err(AccessError::Locked) => warning(
            format!("the {device} has not been unlocked since it started"),
            "Unlock it once with its passcode, then run doctor again.",
        ),
        Err(AccessError::TrustDialogOpen) => warning(
            format!("the {device} is asking whether to trust this computer"),
            "Tap Trust on it and enter its passcode, then run doctor again.",
        ),
        Err(AccessError::TrustDenied) => warning(
            format!("the {device} was set not to trust this computer"),
            "Unplug it and plug it in again, tap Trust this time and enter its passcode.",
        ),
        Err(AccessError::TimedOut { after }) => {
            let seen = format!("the {device} did not respond within {}", seconds(*after));
            Finding::new(PHONE, Status::CannotTell, seen)
                .todo("Unlock it, unplug it and plug it in again. If that does not help, restart it.")
                .step(GuideStep::Restart)
        }
        Err(AccessError::Other(message)) => {
            // The phone's message may contain its number, in any spelling.
            let spellings = phone.udid.spellings();
            let message =
                spellings.iter().fold(message.clone(), |message, number| message.replace(number, "…"));
            Finding::new(PHONE, Status::CannotTell, format!("the {device} sent an unexpected response"))
                .todo("Unlock it, unplug it and plug it in again. If that does not help, restart it.")
                .step(GuideStep::Restart)
                .evidence([message])
        }
    };
    finding.evidence(connection_evidence(phone))
}

fn connection_evidence(phone: &Phone) -> Vec<String> {
    let link = match phone.link {
        Link::Usb => "USB",
        Link::Network => "network",
    };
    let mut lines = vec![format!("connected by: {link}")];
    let public = &phone.public;
    let known =
        [("model", &public.model), (version_label(public), &public.version), ("build", &public.build)];
    lines
        .extend(known.into_iter().filter_map(|(label, value)| Some(format!("{label}: {}", value.as_ref()?))));
    if let Ok(private) = &phone.private {
        lines.push(format!("presents the key of its pairing: {}", yes_no(Some(private.shows_paired_key))));
    }
    lines
}

/// Returns the label of the device's version.
fn version_label(public: &PublicInfo) -> &'static str {
    match public.family() {
        DeviceFamily::Other(_) => "version",
        DeviceFamily::IPhone | DeviceFamily::IPad | DeviceFamily::IPod | DeviceFamily::Unknown => "iOS",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs().max(1))
}
