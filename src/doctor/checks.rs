//! The list of checks, and the selection made with `--only` and `--skip`.
//!
//! Pure. An id is unique (`ids_are_unique`) and is never reused for another check.

use std::collections::BTreeSet;

/// The subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Apple,
    Network,
    Phone,
    Backups,
    Statusd,
}

impl Group {
    pub const ALL: [Group; 5] = [Group::Apple, Group::Network, Group::Phone, Group::Backups, Group::Statusd];

    /// Returns the value used on the command line and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Apple => "apple",
            Group::Network => "network",
            Group::Phone => "phone",
            Group::Backups => "backups",
            Group::Statusd => "statusd",
        }
    }

    /// Returns the heading above the checks of this group.
    pub fn title(self) -> &'static str {
        match self {
            Group::Apple => "Apple",
            Group::Network => "Network (of this computer)",
            Group::Phone => "Phone",
            Group::Backups => "Backups and storage",
            Group::Statusd => "statusd",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub id: &'static str,
    pub group: Group,
    /// One line for `--list-checks`.
    pub what: &'static str,
}

const fn check(id: &'static str, group: Group, what: &'static str) -> Check {
    Check { id, group, what }
}

/// All checks, in display order.
pub const CHECKS: [Check; 20] = [
    check("apple", Group::Apple, "the watched services now and last night, from Apple's feed"),
    check("history", Group::Apple, "the same, from statusd's own records"),
    check("portal", Group::Network, "whether the network requires a login"),
    check("hosts", Group::Network, "DNS, connection and TLS to Apple's hosts"),
    check("ipv6", Group::Network, "whether IPv6 works as well as IPv4"),
    check("interception", Group::Network, "whether TLS connections to Apple are decrypted on the way"),
    check("proxy", Group::Network, "proxy settings of this computer"),
    check("clock", Group::Network, "this computer's clock against Apple's"),
    check("speed", Group::Network, "upload speed; only with --speed"),
    check("phone", Group::Phone, "whether a phone is connected and trusts this computer"),
    check("ios", Group::Phone, "iOS version against the newest for the phone's model"),
    check("icloud-backup", Group::Phone, "whether iCloud Backup is switched on"),
    check("last-backup", Group::Phone, "last iCloud backup, compared with Apple's outages"),
    check("space", Group::Phone, "free space on the phone"),
    check("power", Group::Phone, "battery and power supply of the phone"),
    check("phone-clock", Group::Phone, "the phone's clock against this computer's"),
    check("local-backups", Group::Backups, "phone backups on this computer"),
    check("icloud-storage", Group::Backups, "free iCloud storage, on macOS"),
    check("daemon", Group::Statusd, "whether statusd runs, polls and delivers"),
    check("desktop", Group::Statusd, "whether this desktop can show notifications"),
];

/// The ids of the checks to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(BTreeSet<&'static str>);

impl Selection {
    /// Selects checks by id or group. An empty `only` selects all.
    ///
    /// # Errors
    ///
    /// One line: a name is unknown, or no check is left.
    pub fn new(only: &[String], skip: &[String]) -> Result<Selection, String> {
        let mut selected = match only {
            [] => CHECKS.iter().map(|check| check.id).collect(),
            only => ids_named(only)?,
        };
        let skipped = ids_named(skip)?;
        selected.retain(|id| !skipped.contains(id));
        if selected.is_empty() {
            return Err("--skip leaves no check to run".to_owned());
        }
        Ok(Selection(selected))
    }

    pub fn wants(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    pub fn wants_any_of(&self, group: Group) -> bool {
        CHECKS.iter().any(|check| check.group == group && self.wants(check.id))
    }

    pub fn ids(&self) -> &BTreeSet<&'static str> {
        &self.0
    }
}

fn ids_named(names: &[String]) -> Result<BTreeSet<&'static str>, String> {
    let mut found = BTreeSet::new();
    for name in names.iter().map(|name| name.trim()) {
        // A name that is both an id and a group selects the whole group.
        let of_group = CHECKS.iter().filter(|check| check.group.as_str() == name);
        let of_id = CHECKS.iter().filter(|check| check.id == name);
        let before = found.len();
        found.extend(of_group.chain(of_id).map(|check| check.id));
        let is_known = CHECKS.iter().any(|check| check.id == name || check.group.as_str() == name);
        if found.len() == before && !is_known {
            return Err(format!("unknown check {name:?}: `statusd doctor --list-checks` lists all checks"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(only: &[&str], skip: &[&str], expected: Result<&[&str], &str>) {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let selected = Selection::new(&owned(only), &owned(skip));
        let ids = selected.map(|selected| selected.ids().iter().copied().collect::<Vec<_>>());
        assert_eq!(ids, expected.map(<[&str]>::to_vec).map_err(str::to_owned));
    }

    #[test]
    fn checks_are_selected_by_id_and_by_group() {
        check(&["portal", "clock"], &[], Ok(&["clock", "portal"]));
        check(&["statusd"], &[], Ok(&["daemon", "desktop"]));
        check(&["apple", "daemon"], &["history"], Ok(&["apple", "daemon"]));
        check(&["backups"], &["backups"], Err("--skip leaves no check to run"));
        check(&["wifi"], &[], Err("unknown check \"wifi\": `statusd doctor --list-checks` lists all checks"));
        check(&["apple", "apple"], &[], Ok(&["apple", "history"]));
        assert_eq!(Selection::new(&[], &[]).map(|selected| selected.ids().len()), Ok(CHECKS.len()));
    }

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
    }
}
