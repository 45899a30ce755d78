//! The check `ios`: a phone's iOS version against the newest version for its model.
//!
//! Pure. An unlisted model or an unreadable list is "cannot tell". A version newer than the list is a beta
//! or a very recent release, and "ok".

use jiff::Timestamp;

use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::lasted;
use crate::doctor::guide::GuideStep;
use crate::phones::ios_releases::{Releases, Version};
use crate::phones::{DeviceFamily, PublicInfo};
use crate::text;

pub const ID: &str = "ios";
/// iCloud backups require this version since 18 December 2024.
const OLDEST_MAJOR: u32 = 9;
const MODEL_MAX_CHARS: usize = 40;
const UPDATE: &str = "On the phone: Settings, General, Software Update.";

/// Compares a phone's version with Apple's list. The error of `releases` is one line: why there is no list.
pub fn diagnose(public: &PublicInfo, releases: Result<&Releases, &str>, now: Timestamp) -> Finding {
    let system = match public.family() {
        DeviceFamily::Other(name) => {
            return Finding::new(
                ID,
                Status::Skipped,
                format!("{name}: not compared, because it does not run iOS"),
            );
        }
        DeviceFamily::IPad => "iPadOS",
        DeviceFamily::IPhone | DeviceFamily::IPod | DeviceFamily::Unknown => "iOS",
    };
    let Some(version) = public.version.as_deref().and_then(Version::parse) else {
        return Finding::new(
            ID,
            Status::CannotTell,
            format!("the phone does not report its {system} version"),
        );
    };
    if version.major() < OLDEST_MAJOR {
        return too_old(system, &version);
    }
    let releases = match releases {
        Ok(releases) => releases,
        Err(error) => {
            let seen = format!("{system} {version}; cannot read Apple's list of versions");
            return Finding::new(ID, Status::CannotTell, seen).evidence([error.to_owned()]);
        }
    };
    let model = public.model.as_deref().unwrap_or_default();
    let finding = match releases.newest_for(model) {
        Some(newest) => compared(system, &version, newest),
        None => Finding::new(ID, Status::CannotTell, unlisted(system, &version, model)),
    };
    finding.evidence(evidence(releases, now))
}

fn too_old(system: &str, version: &Version) -> Finding {
    let seen = format!("{system} {version}; iCloud backups need {system} {OLDEST_MAJOR} or newer");
    Finding::new(ID, Status::Problem, seen)
        .blame(Blame::Phone)
        .todo(format!("{UPDATE} If no update is available, back up to a computer."))
        .step(GuideStep::Update)
}

fn compared(system: &str, version: &Version, newest: &Version) -> Finding {
    if version > newest {
        let seen = format!(
            "{system} {version}, newer than Apple's list ({newest}): a beta or a very recent release"
        );
        return Finding::new(ID, Status::Ok, seen);
    }
    if version == newest {
        return Finding::new(ID, Status::Ok, format!("{system} {version}, the newest for this model"));
    }
    Finding::new(ID, Status::Warning, format!("{system} {version}; {newest} is available for this model"))
        .blame(Blame::Phone)
        .todo(UPDATE)
        .step(GuideStep::Update)
}

fn unlisted(system: &str, version: &Version, model: &str) -> String {
    match text::plain_line(model, MODEL_MAX_CHARS) {
        model if model.is_empty() => format!("{system} {version}; the phone does not report its model"),
        model => format!("{system} {version}; Apple's list does not contain the model {model}"),
    }
}

fn evidence(releases: &Releases, now: Timestamp) -> Vec<String> {
    let age = lasted(releases.at, now.max(releases.at));
    let list = format!("Apple's list is {age} old ({})", releases.at);
    let stale = releases.stale.as_ref().map(|error| format!("cannot refresh the list: {error}"));
    std::iter::once(list).chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"PublicAssetSets": {"iOS": [
        {"ProductVersion": "26.6.1", "SupportedDevices": ["iPhone13,2"]},
        {"ProductVersion": "18.7.10", "SupportedDevices": ["iPhone11,8", "iPad7,1"]},
        {"ProductVersion": "12.5.8", "SupportedDevices": ["iPhone6,1"]}
    ]}}"#;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn list() -> Releases {
        Releases::parse(LIST.as_bytes(), at("2026-08-01T00:00:00Z")).expect("a list")
    }

    fn phone(model: &str, version: &str) -> PublicInfo {
        let class = Some(model.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned());
        PublicInfo {
            model: Some(model.to_owned()),
            version: Some(version.to_owned()),
            class,
            ..PublicInfo::default()
        }
    }

    #[track_caller]
    fn check(model: &str, version: &str, status: Status, seen: &str) {
        let finding = diagnose(&phone(model, version), Ok(&list()), at("2026-08-01T05:00:00Z"));
        assert_eq!((finding.status, finding.seen.as_str()), (status, seen));
        let is_trouble = matches!(status, Status::Warning | Status::Problem);
        assert_eq!(finding.blame, is_trouble.then_some(Blame::Phone));
        assert_eq!(finding.step, is_trouble.then_some(GuideStep::Update));
    }

    #[test]
    fn versions_are_compared_by_model() {
        check("iPhone13,2", "26.6.1", Status::Ok, "iOS 26.6.1, the newest for this model");
        check("iPhone13,2", "18.7.10", Status::Warning, "iOS 18.7.10; 26.6.1 is available for this model");
        check("iPhone11,8", "18.4.1", Status::Warning, "iOS 18.4.1; 18.7.10 is available for this model");
        check("iPhone11,8", "18.7.10", Status::Ok, "iOS 18.7.10, the newest for this model");
        check("iPad7,1", "18.7.9", Status::Warning, "iPadOS 18.7.9; 18.7.10 is available for this model");
        check(
            "iPhone13,2",
            "27.0",
            Status::Ok,
            "iOS 27.0, newer than Apple's list (26.6.1): a beta or a very recent release",
        );
        check(
            "iPhone99,1",
            "26.0",
            Status::CannotTell,
            "iOS 26.0; Apple's list does not contain the model iPhone99,1",
        );
        check("iPhone13,2", "new", Status::CannotTell, "the phone does not report its iOS version");
    }

    #[test]
    fn devices_without_ios_are_not_compared() {
        // Its version 2.5 is not an iOS version before 9.
        check(
            "RealityDevice14,1",
            "2.5",
            Status::Skipped,
            "Apple Vision Pro: not compared, because it does not run iOS",
        );
        check("AppleTV6,2", "8.4", Status::Skipped, "Apple TV: not compared, because it does not run iOS");
        check("Watch6,1", "10.6", Status::Skipped, "Apple Watch: not compared, because it does not run iOS");
        check(
            "iPod9,1",
            "15.8",
            Status::CannotTell,
            "iOS 15.8; Apple's list does not contain the model iPod9,1",
        );
    }

    #[test]
    fn a_version_before_ios_9_is_a_problem() {
        check("iPhone4,1", "8.4.1", Status::Problem, "iOS 8.4.1; iCloud backups need iOS 9 or newer");
        let finding = diagnose(&phone("iPhone4,1", "8.4.1"), Err("no network"), at("2026-08-01T00:00:00Z"));
        assert_eq!(finding.status, Status::Problem);
        check("iPhone6,1", "9.0", Status::Warning, "iOS 9.0; 12.5.8 is available for this model");
    }

    #[test]
    fn missing_data_is_cannot_tell() {
        let now = at("2026-08-01T00:00:00Z");
        let finding = diagnose(&phone("iPhone13,2", "18.4.1"), Err("no network"), now);
        assert_eq!(finding.status, Status::CannotTell);
        assert_eq!(finding.evidence, ["no network"]);
        assert_eq!(diagnose(&PublicInfo::default(), Ok(&list()), now).status, Status::CannotTell);
        let public = PublicInfo { model: None, ..phone("iPhone13,2", "18.4.1") };
        assert_eq!(
            diagnose(&public, Ok(&list()), now).seen,
            "iOS 18.4.1; the phone does not report its model"
        );
    }

    #[test]
    fn the_evidence_states_the_age_of_the_list() {
        let mut releases = list();
        releases.stale = Some("no network".to_owned());
        let finding = diagnose(&phone("iPhone13,2", "26.6.1"), Ok(&releases), at("2026-08-04T00:00:00Z"));
        let expected =
            ["Apple's list is 3 days old (2026-08-01T00:00:00Z)", "cannot refresh the list: no network"];
        assert_eq!(finding.evidence, expected);
    }
}
