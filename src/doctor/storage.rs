//! The check `icloud-storage`: is there enough free iCloud storage?
//!
//! Pure. If this computer cannot read the free storage, the finding says where to find it on the phone.

use super::{Blame, Finding, Status};
use crate::doctor::guide::GuideStep;
use crate::phones::icloud_storage::Storage;

pub const ID: &str = "icloud-storage";
const GB: u64 = 1_000_000_000;
/// Almost no backup fits into less.
const MIN_FREE_BYTES: u64 = GB;
const ON_PHONE: &str = "On the phone: Settings, your name, iCloud. 5 GB are free of charge; the next backup \
                        must fit into the remaining storage.";
const FREE_STORAGE: &str = "Free up storage in Settings, your name, iCloud: delete what you do not need, such as \
                            backups of phones that you no longer have. Or buy more storage.";

pub fn diagnose(storage: &Storage) -> Finding {
    match storage {
        Storage::Left(bytes) if *bytes < MIN_FREE_BYTES => {
            let seen = format!("only {} of iCloud storage left for this Mac's Apple Account", size(*bytes));
            Finding::new(ID, Status::Problem, seen)
                .blame(Blame::Phone)
                .todo(FREE_STORAGE)
                .step(GuideStep::Storage)
        }
        Storage::Left(bytes) => {
            let seen = format!("{} of iCloud storage left for this Mac's Apple Account", size(*bytes));
            Finding::new(ID, Status::Ok, seen)
        }
        Storage::NotHere => Finding::new(ID, Status::Skipped, "only a Mac can read the free iCloud storage")
            .todo(ON_PHONE)
            .step(GuideStep::Storage),
        Storage::Unknown(reason) => {
            Finding::new(ID, Status::CannotTell, "this Mac does not report the free iCloud storage")
                .todo(ON_PHONE)
                .step(GuideStep::Storage)
                .evidence([reason.clone()])
        }
    }
}

/// Returns `12.3 GB` or `740 MB`, rounded down so that the free storage is never overstated.
fn size(bytes: u64) -> String {
    if bytes < GB {
        return format!("{} MB", bytes / 1_000_000);
    }
    let tenths = bytes / (GB / 10);
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(storage: Storage, status: Status, seen: &str) {
        let finding = diagnose(&storage);
        assert_eq!((finding.status, finding.seen.as_str()), (status, seen));
        assert_eq!(finding.blame, (status == Status::Problem).then_some(Blame::Phone));
        assert_eq!(finding.step, (status != Status::Ok).then_some(GuideStep::Storage));
        assert_eq!(finding.todo.is_some(), status != Status::Ok);
    }

    #[test]
    fn less_than_a_gigabyte_is_too_little() {
        let left = |words: &str| format!("{words} of iCloud storage left for this Mac's Apple Account");
        check(Storage::Left(0), Status::Problem, &left("only 0 MB"));
        check(Storage::Left(999_999_999), Status::Problem, &left("only 999 MB"));
        check(Storage::Left(1_000_000_000), Status::Ok, &left("1.0 GB"));
        check(Storage::Left(12_399_999_999), Status::Ok, &left("12.3 GB"));
        check(Storage::Left(u64::MAX), Status::Ok, &left("18446744073.7 GB"));
    }

    #[test]
    fn if_the_free_storage_is_unknown_the_finding_says_where_to_look() {
        check(Storage::NotHere, Status::Skipped, "only a Mac can read the free iCloud storage");
        let unknown = Storage::Unknown("brctl did not answer".to_owned());
        check(unknown, Status::CannotTell, "this Mac does not report the free iCloud storage");
        assert!(diagnose(&Storage::NotHere).todo.is_some_and(|todo| todo.contains("5 GB are free")));
    }
}
