//! The desktop entry and the icon in the user's data directory.
//!
//! Packages install both for all users. Notification servers find them by the `desktop-entry` hint, and
//! a click on a notification starts the entry's program. As with the unit, a file without our unchanged
//! mark is neither overwritten nor removed.

use std::path::{Path, PathBuf};

use super::unit_file::{OnDisk, marked};
use super::{Action, Scope};

const ENTRY: &str = include_str!("../../packaging/desktop/statusd.desktop");
const ICON: &str = include_str!("../../packaging/desktop/statusd.svg");
const ENTRY_PATH: &str = "applications/statusd.desktop";
const ICON_PATH: &str = "icons/hicolor/scalable/apps/statusd.svg";

/// Returns the paths of both files below `data_home`. Only user services on Linux have them.
pub fn paths(scope: &Scope, data_home: &Path) -> Vec<PathBuf> {
    match scope {
        Scope::User { .. } => vec![data_home.join(ENTRY_PATH), data_home.join(ICON_PATH)],
        Scope::System | Scope::LaunchAgent { .. } => Vec::new(),
    }
}

/// Returns the steps that install both files. `files` holds what is at [`paths`].
pub fn install(files: &[(PathBuf, OnDisk)], program: &str) -> Vec<Action> {
    let write = |(path, on_disk): &(PathBuf, OnDisk)| {
        let text = text(path, program);
        match on_disk {
            OnDisk::Ours(written) if written.text == text => None,
            OnDisk::Missing | OnDisk::Ours(_) => Some(Action::Write { path: path.clone(), text }),
            OnDisk::Changed | OnDisk::Foreign => None,
        }
    };
    files.iter().filter_map(write).collect()
}

/// Returns the steps that remove our files and the directories that are then empty.
pub fn uninstall(files: &[(PathBuf, OnDisk)]) -> Vec<Action> {
    let ours = files.iter().filter(|(_, on_disk)| matches!(on_disk, OnDisk::Ours(_)));
    let ours: Vec<&Path> = ours.map(|(path, _)| path.as_path()).collect();
    let mut parents: Vec<&Path> = Vec::new();
    for path in &ours {
        let depth = if path.ends_with(ICON_PATH) { ICON_PATH } else { ENTRY_PATH }.matches('/').count();
        // Two more: `install` may have created the data directory and `.local`.
        let directories = path.ancestors().skip(1).take(depth + 2);
        parents.extend(directories.filter(|directory| directory.file_name().is_some()));
    }
    // The deepest first, because only empty directories are removed.
    parents.sort_by_key(|directory| (std::cmp::Reverse(directory.components().count()), *directory));
    parents.dedup();
    let removed = ours.iter().map(|path| Action::Remove(path.to_path_buf()));
    removed.chain(parents.iter().map(|directory| Action::RemoveEmpty(directory.to_path_buf()))).collect()
}

fn text(path: &Path, program: &str) -> String {
    if path.ends_with(ICON_PATH) {
        return marked("<?xml version=\"1.0\" encoding=\"UTF-8\"?><!-- ", ICON, " -->");
    }
    // Any other path needs three layers of quoting, so the entry finds the program in `PATH`.
    let is_plain = program.chars().all(|c| c.is_alphanumeric() || "/._-+@".contains(c));
    let entry = match is_plain {
        true => ENTRY.replacen("\"statusd status", &format!("\"{program} status"), 1),
        false => ENTRY.to_owned(),
    };
    marked("# ", &entry, "")
}

#[cfg(test)]
mod tests {
    use super::super::unit_file::tests::{mac, user};
    use super::*;

    const PROGRAM: &str = "/home/z/.cargo/bin/statusd";

    fn files(on_disk: &dyn Fn(&Path) -> OnDisk) -> Vec<(PathBuf, OnDisk)> {
        let paths = paths(&user(), Path::new("/h/share"));
        paths.into_iter().map(|path| (path.clone(), on_disk(&path))).collect()
    }

    #[test]
    fn both_files_are_written_once_and_removed_only_if_ours() {
        let missing = files(&|_| OnDisk::Missing);
        let actions = install(&missing, PROGRAM);
        let shown: Vec<String> = actions.iter().map(Action::to_string).collect();
        assert_eq!(
            shown,
            [
                "write /h/share/applications/statusd.desktop",
                "write /h/share/icons/hicolor/scalable/apps/statusd.svg"
            ]
        );
        assert_eq!(uninstall(&missing), []);

        let ours = files(&|path| OnDisk::of(text(path, PROGRAM)));
        assert!(ours.iter().all(|(_, on_disk)| matches!(on_disk, OnDisk::Ours(_))), "{ours:?}");
        assert_eq!(install(&ours, PROGRAM), []);
        // Only the entry names the program.
        assert_eq!(install(&ours, "/usr/bin/statusd").len(), 1);
        let shown: Vec<String> = uninstall(&ours).iter().map(Action::to_string).collect();
        let if_empty = |path: &str| format!("remove {path} if empty");
        let expected = [
            "remove /h/share/applications/statusd.desktop".to_owned(),
            "remove /h/share/icons/hicolor/scalable/apps/statusd.svg".to_owned(),
            if_empty("/h/share/icons/hicolor/scalable/apps"),
            if_empty("/h/share/icons/hicolor/scalable"),
            if_empty("/h/share/icons/hicolor"),
            if_empty("/h/share/applications"),
            if_empty("/h/share/icons"),
            if_empty("/h/share"),
            if_empty("/h"),
        ];
        assert_eq!(shown, expected);

        let changed = files(&|path| OnDisk::of(text(path, PROGRAM) + "\n"));
        assert_eq!((install(&changed, PROGRAM), uninstall(&changed)), (Vec::new(), Vec::new()));
        assert!(
            paths(&Scope::System, Path::new("/h/share")).is_empty()
                && paths(&mac(), Path::new("/h/share")).is_empty()
        );
    }

    #[test]
    fn the_entry_runs_the_installed_program() {
        let entry = |program| text(Path::new("/h/share/applications/statusd.desktop"), program);
        assert!(entry(PROGRAM).contains("Exec=sh -c \"/home/z/.cargo/bin/statusd status; "));
        assert!(entry("/a \"$b/statusd").contains("Exec=sh -c \"statusd status; "));
        // GNOME's notification settings list only entries that are visible and have this key.
        assert!(entry(PROGRAM).contains("\nX-GNOME-UsesNotifications=true\n"));
        assert!(!entry(PROGRAM).contains("NoDisplay"));
    }
}
