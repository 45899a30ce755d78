//! The check `phone`: is a phone connected, and does it trust this computer?
//!
//! Pure. A phone that does not trust this computer is never "ok"; the finding says what to tap.

use std::time::Duration;

use super::{PHONE, identity, noun, yes};
use crate::doctor::guide::GuideStep;
use crate::doctor::{Blame, Finding, Status};
use crate::phones::{DeviceFamily, General, Link, Phone, ReadTrouble, Refusal};

pub(super) fn no_phone() -> Finding {
    Finding::new(PHONE, Status::Skipped, "no iPhone is connected").todo(
        "To check an iPhone, connect it with a cable, unlock it and tap Trust. Charge-only cables do not \
         work.",
    )
}

/// A device for which the rules of iPhones do not hold: it is listed and not judged.
pub fn judge_other(device: &Phone, identifiers: bool) -> Finding {
    let mut subject = match device.general.family() {
        DeviceFamily::Other(name) => name,
        DeviceFamily::IPhone | DeviceFamily::IPad | DeviceFamily::IPod | DeviceFamily::Unknown => {
            noun(&device.general).to_owned()
        }
    };
    subject.push_str(&identity(device, identifiers));
    Finding::new(PHONE, Status::Skipped, "not checked: neither an iPhone nor an iPad")
        .subject(subject)
        .evidence(connection_evidence(device))
}

/// Why no phone could be looked for.
pub fn judge_trouble(trouble: &ReadTrouble) -> Finding {
    match trouble {
        ReadTrouble::NoUsbmuxd => Finding::new(
            PHONE,
            Status::Skipped,
            "no iPhone found: usbmuxd is not running",
        )
        .todo(
            "To check an iPhone, connect it with a cable, unlock it and tap Trust. On Linux this needs the \
                 package usbmuxd; macOS includes it.",
        ),
        ReadTrouble::Forbidden => {
            Finding::new(PHONE, Status::CannotTell, "this user has no permission to use usbmuxd")
                .todo("Run this as a user with access to usbmuxd's socket.")
        }
        ReadTrouble::Silent { after } => {
            let seen = format!("usbmuxd did not answer within {}", seconds(*after));
            Finding::new(PHONE, Status::CannotTell, seen).todo(
                "Unplug the iPhone and plug it in again. If that does not help, restart usbmuxd or this \
                 computer.",
            )
        }
        ReadTrouble::Garbled(words) => Finding::new(
            PHONE,
            Status::CannotTell,
            "the server at usbmuxd's address does not speak its protocol",
        )
        .todo("Check the configured address of usbmuxd.")
        .evidence([words.clone()]),
    }
}

/// Whether this phone tells what it knows, and the tap that makes it do so.
pub fn judge_connection(phone: &Phone) -> Finding {
    let noun = noun(&phone.general);
    let warning =
        |seen: String, todo: &str| Finding::new(PHONE, Status::Warning, seen).blame(Blame::Phone).todo(todo);
    let finding = match &phone.private {
        Ok(_) => Finding::new(PHONE, Status::Ok, format!("{noun} connected; it trusts this computer")),
        Err(Refusal::NotPaired) => warning(
            format!("the {noun} does not trust this computer yet"),
            "Unlock it, tap Trust and enter its passcode. If it does not ask, unplug it and plug it in again.",
        ),
        Err(Refusal::NotTrustedAnyMore) => warning(
            format!("the {noun} no longer trusts this computer"),
            "Unlock it, unplug it and plug it in again, tap Trust and enter its passcode.",
        ),
        Err(Refusal::Locked) => warning(
            format!("the {noun} has not been unlocked since it started"),
            "Unlock it once with its passcode, then run this again.",
        ),
        Err(Refusal::DialogOpen) => warning(
            format!("the {noun} is asking whether to trust this computer"),
            "Tap Trust on it and enter its passcode, then run this again.",
        ),
        Err(Refusal::Denied) => warning(
            format!("the {noun} was set not to trust this computer"),
            "Unplug it and plug it in again, tap Trust this time and enter its passcode.",
        ),
        Err(Refusal::Silent { after }) => {
            let seen = format!("the {noun} did not answer within {}", seconds(*after));
            Finding::new(PHONE, Status::CannotTell, seen)
                .todo("Unlock it, unplug it and plug it in again. If that does not help, restart it.")
                .step(GuideStep::Restart)
        }
        Err(Refusal::Other(words)) => {
            // What a phone says could hold its number, in any spelling.
            let words =
                phone.udid.spellings().iter().fold(words.clone(), |words, number| words.replace(number, "…"));
            Finding::new(PHONE, Status::CannotTell, format!("the {noun} sent an unexpected response"))
                .todo("Unlock it, unplug it and plug it in again. If that does not help, restart it.")
                .step(GuideStep::Restart)
                .evidence([words])
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
    let general = &phone.general;
    let known = [("model", &general.model), (system(general), &general.version), ("build", &general.build)];
    lines.extend(known.into_iter().filter_map(|(what, value)| Some(format!("{what}: {}", value.as_ref()?))));
    if let Ok(private) = &phone.private {
        lines.push(format!("presents the key of its pairing: {}", yes(Some(private.shows_paired_key))));
    }
    lines
}

/// What its version is called.
fn system(general: &General) -> &'static str {
    match general.family() {
        DeviceFamily::Other(_) => "version",
        DeviceFamily::IPhone | DeviceFamily::IPad | DeviceFamily::IPod | DeviceFamily::Unknown => "iOS",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs().max(1))
}
