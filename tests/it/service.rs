//! `statusd service` with the real program, for user services and system services.
//!
//! Shell scripts replace systemctl, loginctl and journalctl. They record the calls, and whether the unit is
//! enabled and active. User services run in a user namespace without privileges. System services run as
//! root of a namespace with its own `/etc` and `/var/lib`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const UID: &str = "1000";
const UNSHARE: &str = "/usr/bin/unshare";

/// `systemctl`. `FAKE_DIR` is replaced by the directory of the [`FakeSystemd`].
const SYSTEMCTL: &str = r#"#!/bin/sh
W='FAKE_DIR'
[ "$1" = --user ] && { user=' --user'; shift; }
case "$1" in
--version) echo "systemd $(cat $W/version) (it is a fake)"; exit ;;
show)
    [ -e $W/mute ] && { echo "Failed to connect to bus: No medium found" >&2; exit 1; }
    file=$(cat $W/file)
    [ -e $W/package ] && [ ! -e "$file" ] && file=$(cat $W/package)
    if [ -e "$file" ]; then echo "LoadState=loaded"; echo "FragmentPath=$file"
    else echo "LoadState=not-found"; fi
    if [ -e $W/enabled ]; then echo "UnitFileState=enabled"; else echo "UnitFileState=disabled"; fi
    if [ -e $W/active ]; then
        pid=$(cat $W/active); [ "$pid" = itself ] && pid=$PPID
        echo "ActiveState=active"; echo "MainPID=$pid"
        echo "ActiveEnterTimestamp=Tue 2026-05-05 09:41:00 $TZ"
    elif [ -e $W/ended ]; then
        echo "ActiveState=failed"; echo "MainPID=0"; echo "ExecMainCode=1"; echo "ExecMainStatus=$(cat $W/ended)"
    else echo "ActiveState=inactive"; echo "MainPID=0"; fi
    exit ;;
esac
echo "systemctl$user $*" >> $W/calls
[ "$1" = enable ] && : > $W/enabled
if [ "$1" = enable ] && [ -e $W/ends ]; then
    grep -q '^PrivateUsers=no' "$(cat $W/file)" || { cat $W/ends > $W/ended; exit 1; }
fi
if grep -qx "$1" $W/fails 2>/dev/null; then
    printf 'Job for statusd.service failed.\n\033[31mSee journal.\n' >&2; exit 1
fi
case "$1 $2" in
"enable --now") echo 1 > $W/active ;;
"disable --now") rm -f $W/enabled $W/active $W/ended ;;
stop*) rm -f $W/active $W/ended ;;
esac
"#;
const LOGINCTL: &str = r#"#!/bin/sh
W='FAKE_DIR'
case "$1" in
show-user) if [ -e $W/lingers ]; then echo Linger=yes; else echo Linger=no; fi; exit ;;
esac
echo "loginctl $*" >> $W/calls
grep -qx "$1" $W/fails 2>/dev/null && { echo "Could not enable linger: Access denied" >&2; exit 1; }
case "$1" in
enable-linger) : > $W/lingers ;;
disable-linger) rm -f $W/lingers ;;
esac
"#;
const JOURNALCTL: &str = "#!/bin/sh\necho \"journalctl $*\"\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    User,
    System,
}

struct FakeSystemd {
    directory: TempDir,
    scope: Scope,
}

#[derive(Debug)]
struct Output {
    code: Option<i32>,
    out: String,
    err: String,
}

impl FakeSystemd {
    fn new(scope: Scope) -> FakeSystemd {
        let fake = FakeSystemd { directory: TempDir::new().expect("a directory"), scope };
        for directory in ["home", "etc/systemd/system", "etc/statusd", "lib", "bin", "run"] {
            fs::create_dir_all(fake.path(directory)).expect("a directory");
        }
        fake.set("version", "252");
        fake.set("file", fake.unit().to_str().expect("UTF-8"));
        for (name, text) in [("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL), ("journalctl", JOURNALCTL)] {
            fake.write_program(name, text);
        }
        fake
    }

    fn user() -> FakeSystemd {
        FakeSystemd::new(Scope::User)
    }

    /// With a valid configuration of a system service.
    fn system() -> FakeSystemd {
        let fake = FakeSystemd::new(Scope::System);
        fake.set("etc/statusd/statusd.toml", "[channel.desktop]\nenabled = false\n");
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn unset(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    /// Returns the path of the unit as the program sees it.
    fn unit(&self) -> PathBuf {
        match self.scope {
            Scope::User => self.path("home/.config/systemd/user/statusd.service"),
            Scope::System => PathBuf::from("/etc/systemd/system/statusd.service"),
        }
    }

    /// Returns the path of the unit outside the namespace.
    fn outer_unit(&self) -> PathBuf {
        match self.scope {
            Scope::User => self.unit(),
            Scope::System => self.path("etc/systemd/system/statusd.service"),
        }
    }

    fn read_unit(&self) -> String {
        fs::read_to_string(self.outer_unit()).expect("a unit")
    }

    fn edit_unit(&self, text: &str) {
        fs::create_dir_all(self.outer_unit().parent().expect("a parent")).expect("a directory");
        fs::write(self.outer_unit(), text).expect("written");
    }

    /// Writes a script in a separate process. Otherwise a child that another test starts now could
    /// inherit the open file, and executing the script would fail.
    fn write_program(&self, name: &str, text: &str) {
        let text = text.replace("FAKE_DIR", self.directory.path().to_str().expect("UTF-8"));
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let status =
            Command::new("/bin/sh").args(["-c", write]).arg(self.path("bin").join(name)).arg(text).status();
        assert!(status.expect("a shell").success());
    }

    fn statusd(&self, arguments: &[&str]) -> Output {
        self.statusd_at("/usr/local/bin", arguments, &[])
    }

    /// `directory` is the mount point of the built program in a system scope.
    fn statusd_at(&self, directory: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let built = Path::new(env!("CARGO_BIN_EXE_statusd"));
        let mut command = Command::new(UNSHARE);
        match self.scope {
            Scope::User => {
                command.args(["--user", "--map-user", UID, "--map-group", UID]).arg(built);
            }
            Scope::System => {
                let mounts = "PATH=/usr/bin:/bin:/usr/sbin:/sbin; \
                              mount --bind \"$1/lib\" /var/lib && mount --bind \"$2\" \"$3\" && \
                              mount --bind \"$1/etc\" /etc || exit 99; \
                              [ -e \"$1/another\" ] && { setpriv --pdeathsig KILL sleep 600 >/dev/null 2>&1 & \
                              echo $! > \"$1/active\"; }; \
                              PATH=$1/bin:/usr/bin:/bin; program=$3/statusd; shift 3; exec \"$program\" \"$@\"";
                command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", mounts, "sh"]);
                command.arg(self.directory.path()).arg(built.parent().expect("a parent")).arg(directory);
            }
        }
        let output = command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("statusd starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.statusd(arguments);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
        output.out
    }

    /// Checks the exit code, and that standard error is one line that contains `expected`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, expected: &str) -> String {
        let output = self.statusd(arguments);
        assert_eq!((output.code, output.out.as_str()), (Some(code), ""), "{output:?}");
        assert!(output.err.starts_with("statusd: ") && output.err.lines().count() == 1, "{output:?}");
        assert!(output.err.contains(expected), "{output:?}");
        assert!(!output.err.trim_end().contains(char::is_control), "{output:?}");
        output.err
    }

    /// Returns the calls since the last time.
    fn new_calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _missing = fs::remove_file(self.path("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    /// Returns all files and directories.
    fn listing(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn list(directory: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    list(&path, found);
                    found.insert(path, None);
                } else {
                    let bytes = fs::read(&path).unwrap_or_default();
                    found.insert(path, Some(bytes));
                }
            }
        }
        let mut found = BTreeMap::new();
        list(self.directory.path(), &mut found);
        found.remove(&self.path("calls"));
        found
    }
}

#[test]
fn a_user_service_installs_and_uninstalls_without_leftovers() {
    let fake = FakeSystemd::user();
    // An existing directory, which uninstall must keep.
    fs::create_dir_all(fake.path("home/.config")).expect("a directory");
    let before = fake.listing();
    let output = fake.succeeds(&["service", "install"]);
    let installing = ["systemctl --user daemon-reload", "systemctl --user enable --now statusd.service"];
    assert_eq!(fake.new_calls(), installing);
    let unit = fake.read_unit();
    let run = format!("\nExecStart={} run\n", env!("CARGO_BIN_EXE_statusd"));
    assert!(unit.contains(&run) && unit.contains("\nType=notify\n"), "{unit}");
    assert!(unit.starts_with("# Written by `statusd service install`"), "{unit}");
    let mode = fs::metadata(fake.outer_unit()).expect("a unit").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(output.contains("stops at your last logout") && output.contains("--linger"), "{output}");

    let installed = fake.listing();
    // The version of the running process is unknown, so it may be the current one.
    assert!(fake.succeeds(&["service", "install"]).starts_with("Nothing to do"));
    assert_eq!(fake.new_calls(), [""; 0]);
    assert_eq!(fake.listing(), installed);

    let output = fake.succeeds(&["service", "uninstall"]);
    let uninstalling = ["systemctl --user disable --now statusd.service", "systemctl --user daemon-reload"];
    assert_eq!(fake.new_calls(), uninstalling, "{output}");
    assert_eq!(fake.listing(), before);
    assert!(fake.succeeds(&["service", "uninstall"]).starts_with("Nothing to do"));
    assert_eq!(fake.new_calls(), [""; 0]);
}

#[test]
fn installs_a_desktop_entry_and_keeps_an_edited_one() {
    let fake = FakeSystemd::user();
    let entry = "home/.local/share/applications/statusd.desktop";
    let icon = "home/.local/share/icons/hicolor/scalable/apps/statusd.svg";
    fake.succeeds(&["service", "install"]);
    let text = fs::read_to_string(fake.path(entry)).expect("an entry");
    assert!(text.contains(&format!("{} status", env!("CARGO_BIN_EXE_statusd"))), "{text}");
    let valid = std::process::Command::new("desktop-file-validate").arg(fake.path(entry)).output();
    let valid = valid.expect("desktop-file-validate (desktop-file-utils)");
    assert!(valid.status.success() && valid.stdout.is_empty(), "{valid:?}");
    assert!(fs::read_to_string(fake.path(icon)).expect("an icon").contains("<svg"));

    fs::write(fake.path(entry), "[Desktop Entry]\n").expect("a file");
    fake.succeeds(&["service", "install", "--force"]);
    fake.succeeds(&["service", "uninstall"]);
    assert_eq!(fs::read_to_string(fake.path(entry)).expect("still there"), "[Desktop Entry]\n");
    assert!(!fake.path(icon).exists());
}

#[test]
fn a_dry_run_prints_the_steps_and_executes_none() {
    for fake in [FakeSystemd::user(), FakeSystemd::system()] {
        let before = fake.listing();
        let dry = fake.succeeds(&["service", "install", "--dry-run"]);
        assert_eq!((fake.listing(), fake.new_calls()), (before, Vec::new()));
        let done = fake.succeeds(&["service", "install"]);
        let numbered = |line: &str| {
            Some(line.split_once(". ")?)
                .and_then(|(number, step)| number.parse::<u32>().ok().map(|_| step.to_owned()))
        };
        let planned: Vec<String> = dry.lines().filter_map(numbered).collect();
        let executed: Vec<String> =
            done.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect();
        // A user service has a desktop entry and an icon too.
        let steps = if fake.outer_unit().starts_with(fake.path("home")) { 5 } else { 3 };
        assert_eq!((planned.len(), &planned), (steps, &executed));
        let after_first = dry.lines().skip_while(|line| !line.starts_with("1. ")).skip(1);
        let shown = after_first.map_while(|line| line.strip_prefix("   |"));
        let file: String =
            shown.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
        assert_eq!(file, fake.read_unit());

        fake.new_calls();
        let installed = fake.listing();
        let dry = fake.succeeds(&["service", "uninstall", "--dry-run", "--purge"]);
        assert!(dry.contains("disable --now"), "{dry}");
        assert_eq!((fake.listing(), fake.new_calls()), (installed, Vec::new()));
    }
}

#[test]
fn updates_the_unit_and_restarts_after_a_systemd_upgrade() {
    let fake = FakeSystemd::user();
    fake.succeeds(&["service", "install"]);
    fake.new_calls();
    fake.set("version", "257");
    fake.succeeds(&["service", "install"]);
    assert_eq!(
        fake.new_calls(),
        ["systemctl --user daemon-reload", "systemctl --user restart statusd.service"]
    );
    let unit = fake.read_unit();
    assert!(unit.contains("\nType=notify-reload\n") && !unit.contains("ExecReload"), "{unit}");
}

#[test]
fn restarts_a_service_that_runs_another_binary() {
    let fake = FakeSystemd::system();
    fake.succeeds(&["service", "install"]);
    fake.new_calls();
    // A process of the same binary.
    fake.set("active", "itself");
    assert!(fake.succeeds(&["service", "install"]).starts_with("Nothing to do"));
    assert_eq!(fake.new_calls(), [""; 0]);
    fake.set("another", "");
    fake.succeeds(&["service", "install"]);
    assert_eq!(fake.new_calls(), ["systemctl restart statusd.service"]);
}

#[test]
fn keeps_edited_and_foreign_unit_files() {
    for fake in [FakeSystemd::user(), FakeSystemd::system()] {
        fake.succeeds(&["service", "install"]);
        fake.new_calls();
        let ours = fake.read_unit();
        let changed = ours.replace("RestartSec=10", "RestartSec=11");
        assert_ne!(ours, changed);
        let foreign = "[Service]\nExecStart=/opt/other\n";
        for (text, expected, suffix) in
            [(changed.as_str(), "was edited since", "old"), (foreign, "was not written by statusd", "old-2")]
        {
            fake.edit_unit(text);
            let before = fake.listing();
            for command in ["install", "uninstall"] {
                let path = fake.unit().display().to_string();
                let output = fake.fails(&["service", command], 1, expected);
                assert!(output.contains(&path) && output.contains("--force"), "{output}");
                fake.fails(&["service", command, "--dry-run"], 1, expected);
            }
            assert_eq!((fake.listing(), fake.new_calls()), (before, Vec::new()));
            fake.succeeds(&["service", "install", "--force"]);
            assert_eq!(fake.read_unit(), ours);
            let kept = PathBuf::from(format!("{}.{suffix}", fake.outer_unit().display()));
            assert_eq!(fs::read_to_string(&kept).expect("the old file"), text);
            fake.new_calls();
        }
    }
}

#[test]
fn keeps_symbolic_links() {
    let fake = FakeSystemd::user();
    fake.succeeds(&["service", "install"]);
    fake.new_calls();
    let ours = fake.path("ours");
    fs::rename(fake.outer_unit(), &ours).expect("moved");
    // `systemctl mask`, a link to a managed file, and a dangling link.
    for target in ["/dev/null", ours.to_str().expect("UTF-8"), "/nowhere"] {
        symlink(target, fake.outer_unit()).expect("a link");
        for command in ["install", "uninstall"] {
            fake.fails(&["service", command], 1, "was not written by statusd");
        }
        assert!(fake.outer_unit().is_symlink());
        fs::remove_file(fake.outer_unit()).expect("removed");
    }
    assert_eq!(fake.new_calls(), [""; 0]);
}

#[test]
fn rolls_back_if_any_step_fails() {
    for before in ["nothing", "an older unit", "a foreign unit"] {
        for fails in ["enable-linger", "daemon-reload", "enable", "restart"] {
            let fake = FakeSystemd::user();
            match before {
                "nothing" => {}
                "an older unit" => {
                    fake.succeeds(&["service", "install"]);
                    fake.set("version", "257");
                }
                _ => fake.edit_unit("[Service]\nExecStart=/opt/other\n"),
            }
            fake.new_calls();
            fs::create_dir_all(fake.path("home/.config")).expect("a directory");
            let listing = fake.listing();
            fake.set("fails", &format!("{fails}\n"));
            let output = fake.statusd(&["service", "install", "--force", "--linger"]);
            fake.unset("fails");
            let is_step = fake.new_calls().iter().any(|call| call.split(' ').any(|word| word == fails));
            if !is_step {
                assert_eq!(output.code, Some(0), "{before}, {fails}: {output:?}");
                continue;
            }
            assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{before}, {fails}");
            assert!(!output.err.trim_end().contains(char::is_control), "{output:?}");
            let reason =
                if fails == "enable-linger" { "Access denied" } else { "Job for statusd.service failed" };
            assert!(
                output.err.starts_with("statusd: not installed: ") && output.err.contains(reason),
                "{output:?}"
            );
            // The rollback repeats these steps, so it fails and is reported.
            let is_in_rollback = matches!(fails, "daemon-reload") || fails == "restart";
            let end = if is_in_rollback { "rollback incomplete: " } else { "; rolled back" };
            assert!(output.err.contains(end), "{before}, {fails}: {output:?}");
            assert_eq!(fake.listing(), listing, "{before}, {fails}");
        }
    }
}

#[test]
fn falls_back_to_a_unit_without_user_namespaces() {
    let fake = FakeSystemd::user();
    fs::create_dir_all(fake.path("home/.config")).expect("a directory");
    fake.set("ends", "226");
    let output = fake.succeeds(&["service", "install"]);
    assert!(output.contains("forbids unprivileged user namespaces"), "{output}");
    let [reload, enable] =
        ["daemon-reload", "enable --now statusd.service"].map(|verb| format!("systemctl --user {verb}"));
    let disable = "systemctl --user disable --now statusd.service".to_owned();
    let reset = "systemctl --user reset-failed statusd.service".to_owned();
    let calls = [&reload, &enable, &disable, &reset, &reload, &reload, &enable];
    assert_eq!(fake.new_calls(), calls.map(String::clone));
    let unit = fake.read_unit();
    assert!(unit.contains("\nPrivateUsers=no\n"), "{unit}");
    // Only --force tries the restricted unit again.
    assert!(fake.succeeds(&["service", "install"]).starts_with("Nothing to do"));
    fake.new_calls();
    fake.unset("ends");
    fake.succeeds(&["service", "install", "--force"]);
    assert!(!fake.read_unit().contains("\nPrivateUsers=no\n"));
    fake.succeeds(&["service", "uninstall"]);
    fake.new_calls();
    // Other failures are reported without a fallback.
    let listing = fake.listing();
    for (code, hint) in [("78", "see `statusd config check`"), ("1", "`statusd service logs`")] {
        fake.set("ends", code);
        let output = fake.fails(&["service", "install"], 1, &format!("the service exited with code {code}"));
        assert!(output.contains(hint) && output.contains("rolled back"), "{output}");
        fake.unset("ends");
        assert_eq!(fake.listing(), listing);
    }
    let machine = FakeSystemd::system();
    machine.set("ends", "226");
    machine.fails(&["service", "install"], 1, "the service exited with code 226");
}

#[test]
fn uninstall_disables_lingering_only_if_install_enabled_it() {
    let fake = FakeSystemd::user();
    fake.succeeds(&["service", "install", "--linger"]);
    assert_eq!(fake.new_calls()[0], "loginctl enable-linger 1000");
    fake.succeeds(&["service", "install", "--linger"]);
    assert_eq!(fake.new_calls(), [""; 0]);
    fake.succeeds(&["service", "uninstall"]);
    assert_eq!(fake.new_calls().last().map(String::as_str), Some("loginctl disable-linger 1000"));
    fake.set("lingers", "");
    assert!(fake.succeeds(&["service", "install", "--linger"]).contains("lingering is on"));
    fake.succeeds(&["service", "uninstall"]);
    assert!(!fake.new_calls().iter().any(|call| call.contains("linger")));
    let machine = FakeSystemd::system();
    machine.fails(&["service", "install", "--linger"], 2, "remove it");
}

#[test]
fn reports_missing_systemd_in_one_line() {
    let fake = FakeSystemd::user();
    let before = fake.listing();
    for command in [&["service", "install"][..], &["service", "uninstall"], &["service", "status"]] {
        // A search path without any program.
        let output = fake.statusd_at("", command, &[("PATH", "/nonexistent")]);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{output:?}");
        assert!(
            output.err.contains("this machine does not use systemd") && output.err.contains("statusd run"),
            "{output:?}"
        );
        assert_eq!(output.err.lines().count(), 1, "{output:?}");
    }
    let output = fake.statusd_at("", &["service", "logs"], &[("PATH", "/nonexistent")]);
    assert!(output.code == Some(1) && output.err.contains("journalctl is not installed"), "{output:?}");
    fake.set("mute", "");
    for command in ["install", "uninstall", "status"] {
        fake.fails(&["service", command], 1, "does not respond: `systemctl --user show statusd.service");
    }
    fake.unset("mute");
    // As in a chroot.
    fake.write_program("systemctl", "#!/bin/sh\necho \"Running in chroot, ignoring command 'show'\"\n");
    fake.fails(&["service", "install"], 1, "output: Running in chroot, ignoring command 'show'; it responds");
    fake.write_program("systemctl", SYSTEMCTL);
    assert_eq!(fake.listing(), before);
}

#[test]
fn a_system_service_has_no_desktop() {
    let fake = FakeSystemd::system();
    let file = "etc/statusd/statusd.toml";
    let expected = "a system service has no desktop session: remove enabled = true from [channel.desktop] in \
                 /etc/statusd/statusd.toml and add another channel, or install statusd as a user service";
    fake.set(file, "[channel.desktop]\nenabled = true\n");
    fake.fails(&["service", "install"], 78, expected);
    fake.set(file, "wathc = [\"Photos\"]\n");
    fake.fails(&["service", "install"], 78, "/etc/statusd/statusd.toml");
    assert!(!fake.outer_unit().exists());
    assert_eq!(fake.new_calls(), [""; 0]);
    // Desktop notifications are off by default, with and without a configuration.
    for text in [None, Some("watch = [\"Photos\"]\n"), Some(statusd::config::SAMPLE)] {
        match text {
            Some(text) => fake.set(file, text),
            None => fake.unset(file),
        }
        let output = fake.succeeds(&["service", "install"]);
        assert!(output.contains("A system service shows no desktop notifications."), "{output}");
        fake.succeeds(&["service", "uninstall"]);
        fake.new_calls();
    }
}

#[test]
fn reports_a_machine_not_booted_with_systemd_in_one_line() {
    let short =
        "statusd: this machine does not use systemd; start `statusd run` with another process manager\n";
    for fake in [FakeSystemd::system(), FakeSystemd::user()] {
        let not_booted = "System has not been booted with systemd as init system (PID 1). Can't operate.";
        fake.write_program("systemctl", &format!("#!/bin/sh\necho \"{not_booted}\" >&2; exit 1\n"));
        let output = fake.statusd(&["service", "install"]);
        assert_eq!((output.code, output.err.as_str()), (Some(1), short), "{output:?}");
    }
}

#[test]
fn a_system_service_needs_a_binary_that_its_user_can_reach() {
    let fake = FakeSystemd::system();
    for directory in ["/root", "/home"] {
        let output = fake.statusd_at(directory, &["service", "install"], &[]);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{output:?}");
        assert!(
            output.err.contains(&format!("install -m 755 {directory}/statusd /usr/local/bin/statusd")),
            "{output:?}"
        );
        assert!(!fake.outer_unit().exists());
    }
    fake.succeeds(&["service", "install"]);
    let unit = fake.read_unit();
    assert!(unit.contains("\nExecStart=/usr/local/bin/statusd run\n") && unit.contains("DynamicUser=yes"));
    assert_eq!(fake.new_calls(), ["systemctl daemon-reload", "systemctl enable --now statusd.service"]);
}

#[test]
fn uninstall_keeps_the_history_unless_purged() {
    let fake = FakeSystemd::system();
    fake.succeeds(&["service", "install"]);
    let state = fake.path("lib/private/statusd");
    fs::create_dir_all(&state).expect("a directory");
    for name in ["statusd.db", "statusd.db-wal", "statusd.lock"] {
        fs::write(state.join(name), "").expect("written");
    }
    // systemd links the state directory of a dynamic user like this.
    symlink("private/statusd", fake.path("lib/statusd")).expect("a link");
    let output = fake.succeeds(&["service", "uninstall"]);
    assert!(output.contains("The history stays in /var/lib/statusd; --purge removes it"), "{output}");
    assert!(output.contains("The configuration stays in /etc/statusd/statusd.toml"), "{output}");
    assert!(state.join("statusd.db").exists());
    let output = fake.succeeds(&["service", "uninstall", "--purge"]);
    assert!(output.contains("remove the history and the pending notices from /var/lib/statusd"), "{output}");
    assert!(!state.exists() && !fake.path("lib/statusd").is_symlink());
    assert!(fake.path("etc/statusd/statusd.toml").exists());
}

#[test]
fn uses_the_unit_of_a_package() {
    let fake = FakeSystemd::user();
    let unit = fake.path("lib/statusd.service");
    fs::write(&unit, "[Service]\n").expect("written");
    fake.set("package", unit.to_str().expect("UTF-8"));
    let output = fake.succeeds(&["service", "install"]);
    assert!(output.contains(&format!("The service uses the unit {}", unit.display())), "{output}");
    assert_eq!(fake.new_calls(), ["systemctl --user enable --now statusd.service"]);
    assert!(!fake.outer_unit().exists());
    fake.succeeds(&["service", "uninstall"]);
    assert_eq!(fake.new_calls(), ["systemctl --user disable --now statusd.service"]);
    assert!(unit.exists());
    fake.fails(&["service", "uninstall"], 1, "uninstall it the way it was installed");
}

#[test]
fn rejects_settings_that_the_service_would_not_see() {
    let fake = FakeSystemd::user();
    fake.fails(
        &["--locale", "de_DE", "service", "install"],
        2,
        "--locale has no effect on `statusd service install`",
    );
    let output = fake.statusd_at("", &["service", "install"], &[("STATUSD_POLL", "* * * * *")]);
    assert!(output.code == Some(2) && output.err.contains("STATUSD_ variables"), "{output:?}");
    fs::create_dir_all(fake.path("home/.config/statusd")).expect("a directory");
    fake.set("home/.config/statusd/statusd.toml", "watch = 7\n");
    fake.fails(&["service", "install"], 78, "statusd.toml");
    assert_eq!(fake.new_calls(), [""; 0]);
}

#[test]
fn status_is_printed_and_in_the_exit_code() {
    let fake = FakeSystemd::user();
    let output = fake.statusd(&["service", "status"]);
    assert_eq!(output.code, Some(1));
    assert_eq!(output.out, "Not installed; install with `statusd service install`\nNot running\n");
    fake.succeeds(&["service", "install"]);
    fake.set("active", "4242");
    let output = fake.succeeds(&["service", "status"]);
    let head = format!("Installed: {}\nStarts at login\nRunning since ", fake.unit().display());
    assert!(output.starts_with(&head) && output.contains("as process 4242"), "{output}");
    let document: Value =
        serde_json::from_str(&fake.succeeds(&["service", "status", "--json"])).expect("JSON");
    assert_eq!(document["active_since"], "2026-05-05T09:41:00Z");
    assert_eq!((&document["scope"], &document["file_is"]), (&"user".into(), &"ours".into()));
    assert_eq!((&document["pid"], &document["daemon"]), (&4242.into(), &Value::Null));
    fake.unset("active");
    let output = fake.statusd(&["service", "status", "--json"]);
    assert!(output.code == Some(1) && output.out.contains("\"state\": \"stopped\""), "{output:?}");
}

#[test]
fn rejects_install_and_uninstall_while_another_daemon_runs() {
    let fake = FakeSystemd::user();
    fs::create_dir_all(fake.path("home/.config/statusd")).expect("a directory");
    // No server listens on this port.
    let text = "[feed]\nurl = \"http://127.0.0.1:1/feed\"\n[channel.desktop]\nenabled = false\n";
    fake.set("home/.config/statusd/statusd.toml", text);
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .arg("run")
        .env_clear()
        .env("HOME", fake.path("home"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let mut log = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    assert!(log.any(|line| line.expect("a line").contains("watching")), "the daemon has started");
    let pid = daemon.id();
    fake.fails(&["service", "install"], 1, &format!("statusd is already running as process {pid}"));
    fake.edit_unit("");
    fake.set("active", &pid.to_string());
    let output = fake.succeeds(&["service", "status"]);
    assert!(
        output.contains(&format!("as process {pid}")) && output.contains("No successful poll yet"),
        "{output}"
    );
    assert!(output.contains("not written by statusd"), "{output}");
    fake.fails(&["service", "uninstall", "--force", "--purge"], 1, "another statusd is running");
    daemon.kill().expect("a daemon");
    daemon.wait().expect("a daemon");
}

#[test]
fn logs_are_read_from_the_journal() {
    let fake = FakeSystemd::user();
    let output = fake.succeeds(&["service", "logs"]);
    assert_eq!(output, "journalctl --user -u statusd.service --no-pager -n 100\n");
    let output = fake.succeeds(&["service", "logs", "-f", "-n", "5"]);
    assert_eq!(output, "journalctl --user -u statusd.service --no-pager -n 5 -f\n");
    let output = FakeSystemd::system().succeeds(&["service", "logs"]);
    assert_eq!(output, "journalctl -u statusd.service --no-pager -n 100\n");
}
