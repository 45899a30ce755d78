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
W='WORLD'
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
W='WORLD'
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
enum Whose {
    Person,
    Machine,
}

struct World {
    directory: TempDir,
    whose: Whose,
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl World {
    fn new(whose: Whose) -> World {
        let world = World { directory: TempDir::new().expect("a directory"), whose };
        for directory in ["home", "etc/systemd/system", "etc/statusd", "lib", "bin", "run"] {
            fs::create_dir_all(world.path(directory)).expect("a directory");
        }
        world.set("version", "252");
        world.set("file", world.unit().to_str().expect("UTF-8"));
        for (name, text) in [("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL), ("journalctl", JOURNALCTL)] {
            world.program(name, text);
        }
        world
    }

    fn person() -> World {
        World::new(Whose::Person)
    }

    /// With a configuration that a service of the machine can have.
    fn machine() -> World {
        let world = World::new(Whose::Machine);
        world.set("etc/statusd/statusd.toml", "[channel.desktop]\nenabled = false\n");
        world
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
        match self.whose {
            Whose::Person => self.path("home/.config/systemd/user/statusd.service"),
            Whose::Machine => PathBuf::from("/etc/systemd/system/statusd.service"),
        }
    }

    /// The same file as we see it.
    fn unit_here(&self) -> PathBuf {
        match self.whose {
            Whose::Person => self.unit(),
            Whose::Machine => self.path("etc/systemd/system/statusd.service"),
        }
    }

    fn read_unit(&self) -> String {
        fs::read_to_string(self.unit_here()).expect("a unit")
    }

    fn edit_unit(&self, text: &str) {
        fs::create_dir_all(self.unit_here().parent().expect("a parent")).expect("a directory");
        fs::write(self.unit_here(), text).expect("written");
    }

    /// Written by a process of its own: a file that this one had open for writing could still be open
    /// in what another test is just starting, and then the system does not run it.
    fn program(&self, name: &str, text: &str) {
        let text = text.replace("WORLD", self.directory.path().to_str().expect("UTF-8"));
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let status =
            Command::new("/bin/sh").args(["-c", write]).arg(self.path("bin").join(name)).arg(text).status();
        assert!(status.expect("a shell").success());
    }

    fn statusd(&self, arguments: &[&str]) -> Said {
        self.statusd_at("/usr/local/bin", arguments, &[])
    }

    /// `place`: where the machine has the program. A person has it where the build put it.
    fn statusd_at(&self, place: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let built = Path::new(env!("CARGO_BIN_EXE_statusd"));
        let mut command = Command::new(UNSHARE);
        match self.whose {
            Whose::Person => {
                command.args(["--user", "--map-user", UID, "--map-group", UID]).arg(built);
            }
            Whose::Machine => {
                let mounts = "PATH=/usr/bin:/bin:/usr/sbin:/sbin; \
                              mount --bind \"$1/lib\" /var/lib && mount --bind \"$2\" \"$3\" && \
                              mount --bind \"$1/etc\" /etc || exit 99; \
                              [ -e \"$1/another\" ] && { setpriv --pdeathsig KILL sleep 600 >/dev/null 2>&1 & \
                              echo $! > \"$1/active\"; }; \
                              PATH=$1/bin:/usr/bin:/bin; program=$3/statusd; shift 3; exec \"$program\" \"$@\"";
                command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", mounts, "sh"]);
                command.arg(self.directory.path()).arg(built.parent().expect("a parent")).arg(place);
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
            .expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.statusd(arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        said.out
    }

    /// Checks the exit code, and that standard error is one line that contains `expected`.
    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, words: &str) -> String {
        let said = self.statusd(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.err.starts_with("statusd: ") && said.err.lines().count() == 1, "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
        assert!(!said.err.trim_end().contains(char::is_control), "{said:?}");
        said.err
    }

    /// What systemd was told since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _none = fs::remove_file(self.path("calls"));
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
fn a_person_installs_with_one_command_and_uninstalls_with_another() {
    let world = World::person();
    // Somebody's own, so that nothing of it goes.
    fs::create_dir_all(world.path("home/.config")).expect("a directory");
    let before = world.listing();
    let said = world.done(&["service", "install"]);
    let installing = ["systemctl --user daemon-reload", "systemctl --user enable --now statusd.service"];
    assert_eq!(world.calls(), installing);
    let unit = world.read_unit();
    let run = format!("\nExecStart={} run\n", env!("CARGO_BIN_EXE_statusd"));
    assert!(unit.contains(&run) && unit.contains("\nType=notify\n"), "{unit}");
    assert!(unit.starts_with("# Written by `statusd service install`"), "{unit}");
    let mode = fs::metadata(world.unit_here()).expect("a unit").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(said.contains("stops at your last logout") && said.contains("--linger"), "{said}");

    let installed = world.listing();
    // Running as a process that nobody can look at, of this very version for all one knows.
    assert!(world.done(&["service", "install"]).starts_with("Nothing to do"));
    assert_eq!(world.calls(), [""; 0]);
    assert_eq!(world.listing(), installed);

    let said = world.done(&["service", "uninstall"]);
    let away = ["systemctl --user disable --now statusd.service", "systemctl --user daemon-reload"];
    assert_eq!(world.calls(), away, "{said}");
    assert_eq!(world.listing(), before);
    assert!(world.done(&["service", "uninstall"]).starts_with("Nothing to do"));
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn a_person_gets_a_desktop_entry_and_an_icon_and_keeps_one_of_their_own() {
    let world = World::person();
    let entry = "home/.local/share/applications/statusd.desktop";
    let icon = "home/.local/share/icons/hicolor/scalable/apps/statusd.svg";
    world.done(&["service", "install"]);
    let text = fs::read_to_string(world.path(entry)).expect("an entry");
    assert!(text.contains(&format!("{} status", env!("CARGO_BIN_EXE_statusd"))), "{text}");
    let valid = std::process::Command::new("desktop-file-validate").arg(world.path(entry)).output();
    let valid = valid.expect("desktop-file-validate (desktop-file-utils) is there");
    assert!(valid.status.success() && valid.stdout.is_empty(), "{valid:?}");
    assert!(fs::read_to_string(world.path(icon)).expect("an icon").contains("<svg"));

    fs::write(world.path(entry), "[Desktop Entry]\n").expect("a file");
    world.done(&["service", "install", "--force"]);
    world.done(&["service", "uninstall"]);
    assert_eq!(fs::read_to_string(world.path(entry)).expect("still there"), "[Desktop Entry]\n");
    assert!(!world.path(icon).exists());
}

#[test]
fn a_dry_run_shows_the_very_steps_and_does_none() {
    for world in [World::person(), World::machine()] {
        let before = world.listing();
        let dry = world.done(&["service", "install", "--dry-run"]);
        assert_eq!((world.listing(), world.calls()), (before, Vec::new()));
        let done = world.done(&["service", "install"]);
        let numbered = |line: &str| {
            Some(line.split_once(". ")?)
                .and_then(|(number, step)| number.parse::<u32>().ok().map(|_| step.to_owned()))
        };
        let planned: Vec<String> = dry.lines().filter_map(numbered).collect();
        let carried_out: Vec<String> =
            done.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect();
        // A person's desktop gets an entry and an icon.
        let steps = if world.unit_here().starts_with(world.path("home")) { 5 } else { 3 };
        assert_eq!((planned.len(), &planned), (steps, &carried_out));
        let after_first = dry.lines().skip_while(|line| !line.starts_with("1. ")).skip(1);
        let shown = after_first.map_while(|line| line.strip_prefix("   |"));
        let file: String =
            shown.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
        assert_eq!(file, world.read_unit());

        world.calls();
        let installed = world.listing();
        let dry = world.done(&["service", "uninstall", "--dry-run", "--purge"]);
        assert!(dry.contains("disable --now"), "{dry}");
        assert_eq!((world.listing(), world.calls()), (installed, Vec::new()));
    }
}

#[test]
fn a_newer_systemd_gets_the_newer_unit_and_the_service_its_restart() {
    let world = World::person();
    world.done(&["service", "install"]);
    world.calls();
    world.set("version", "257");
    world.done(&["service", "install"]);
    assert_eq!(world.calls(), ["systemctl --user daemon-reload", "systemctl --user restart statusd.service"]);
    let unit = world.read_unit();
    assert!(unit.contains("\nType=notify-reload\n") && !unit.contains("ExecReload"), "{unit}");
}

#[test]
fn a_process_of_another_program_is_restarted() {
    let world = World::machine();
    world.done(&["service", "install"]);
    world.calls();
    // A process of the very program that asks.
    world.set("active", "itself");
    assert!(world.done(&["service", "install"]).starts_with("Nothing to do"));
    assert_eq!(world.calls(), [""; 0]);
    world.set("another", "");
    world.done(&["service", "install"]);
    assert_eq!(world.calls(), ["systemctl restart statusd.service"]);
}

#[test]
fn a_file_that_is_not_as_we_wrote_it_is_kept() {
    for world in [World::person(), World::machine()] {
        world.done(&["service", "install"]);
        world.calls();
        let ours = world.read_unit();
        let changed = ours.replace("RestartSec=10", "RestartSec=11");
        assert_ne!(ours, changed);
        let foreign = "[Service]\nExecStart=/opt/other\n";
        for (text, words, kept) in
            [(changed.as_str(), "was edited since", "old"), (foreign, "was not written by statusd", "old-2")]
        {
            world.edit_unit(text);
            let before = world.listing();
            for command in ["install", "uninstall"] {
                let path = world.unit().display().to_string();
                let said = world.refused(&["service", command], 1, words);
                assert!(said.contains(&path) && said.contains("--force"), "{said}");
                world.refused(&["service", command, "--dry-run"], 1, words);
            }
            assert_eq!((world.listing(), world.calls()), (before, Vec::new()));
            world.done(&["service", "install", "--force"]);
            assert_eq!(world.read_unit(), ours);
            let kept = PathBuf::from(format!("{}.{kept}", world.unit_here().display()));
            assert_eq!(fs::read_to_string(&kept).expect("the old file"), text);
            world.calls();
        }
    }
}

#[test]
fn a_link_is_somebodys() {
    let world = World::person();
    world.done(&["service", "install"]);
    world.calls();
    let ours = world.path("ours");
    fs::rename(world.unit_here(), &ours).expect("moved");
    // `systemctl mask`, a directory of links to files kept elsewhere, and nothing at all.
    for target in ["/dev/null", ours.to_str().expect("UTF-8"), "/nowhere"] {
        symlink(target, world.unit_here()).expect("a link");
        for command in ["install", "uninstall"] {
            world.refused(&["service", command], 1, "was not written by statusd");
        }
        assert!(world.unit_here().is_symlink());
        fs::remove_file(world.unit_here()).expect("removed");
    }
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn whichever_step_fails_all_is_as_before() {
    for before in ["nothing", "an older unit", "somebody's unit"] {
        for fails in ["enable-linger", "daemon-reload", "enable", "restart"] {
            let world = World::person();
            match before {
                "nothing" => {}
                "an older unit" => {
                    world.done(&["service", "install"]);
                    world.set("version", "257");
                }
                _ => world.edit_unit("[Service]\nExecStart=/opt/other\n"),
            }
            world.calls();
            fs::create_dir_all(world.path("home/.config")).expect("a directory");
            let listing = world.listing();
            world.set("fails", &format!("{fails}\n"));
            let said = world.statusd(&["service", "install", "--force", "--linger"]);
            world.unset("fails");
            let is_step = world.calls().iter().any(|call| call.split(' ').any(|word| word == fails));
            if !is_step {
                assert_eq!(said.code, Some(0), "{before}, {fails}: {said:?}");
                continue;
            }
            assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{before}, {fails}");
            assert!(!said.err.trim_end().contains(char::is_control), "{said:?}");
            let reason =
                if fails == "enable-linger" { "Access denied" } else { "Job for statusd.service failed" };
            assert!(
                said.err.starts_with("statusd: not installed: ") && said.err.contains(reason),
                "{said:?}"
            );
            // What failed on the way there fails on the way back too, and that is said.
            let is_needed_again = matches!(fails, "daemon-reload") || fails == "restart";
            let end = if is_needed_again { "rollback incomplete: " } else { "; rolled back" };
            assert!(said.err.contains(end), "{before}, {fails}: {said:?}");
            assert_eq!(world.listing(), listing, "{before}, {fails}");
        }
    }
}

#[test]
fn a_system_without_user_namespaces_gets_a_service_that_needs_none() {
    let world = World::person();
    fs::create_dir_all(world.path("home/.config")).expect("a directory");
    world.set("ends", "226");
    let said = world.done(&["service", "install"]);
    assert!(said.contains("forbids user namespaces"), "{said}");
    let [reload, enable] =
        ["daemon-reload", "enable --now statusd.service"].map(|verb| format!("systemctl --user {verb}"));
    let disable = "systemctl --user disable --now statusd.service".to_owned();
    let forget = "systemctl --user reset-failed statusd.service".to_owned();
    let calls = [&reload, &enable, &disable, &forget, &reload, &reload, &enable];
    assert_eq!(world.calls(), calls.map(String::clone));
    let unit = world.read_unit();
    assert!(unit.contains("\nPrivateUsers=no\n"), "{unit}");
    // It is not tried again each time, unless by force.
    assert!(world.done(&["service", "install"]).starts_with("Nothing to do"));
    world.calls();
    world.unset("ends");
    world.done(&["service", "install", "--force"]);
    assert!(!world.read_unit().contains("\nPrivateUsers=no\n"));
    world.done(&["service", "uninstall"]);
    world.calls();
    // Another reason is told and not worked around.
    let listing = world.listing();
    for (code, words) in [("78", "see `statusd config check`"), ("1", "`statusd service logs`")] {
        world.set("ends", code);
        let said = world.refused(&["service", "install"], 1, &format!("the service ended with {code}"));
        assert!(said.contains(words) && said.contains("rolled back"), "{said}");
        world.unset("ends");
        assert_eq!(world.listing(), listing);
    }
    let machine = World::machine();
    machine.set("ends", "226");
    machine.refused(&["service", "install"], 1, "the service ended with 226");
}

#[test]
fn lingering_is_switched_on_when_asked_and_off_where_it_was_us() {
    let world = World::person();
    world.done(&["service", "install", "--linger"]);
    assert_eq!(world.calls()[0], "loginctl enable-linger 1000");
    world.done(&["service", "install", "--linger"]);
    assert_eq!(world.calls(), [""; 0]);
    world.done(&["service", "uninstall"]);
    assert_eq!(world.calls().last().map(String::as_str), Some("loginctl disable-linger 1000"));
    world.set("lingers", "");
    assert!(world.done(&["service", "install", "--linger"]).contains("lingering is on"));
    world.done(&["service", "uninstall"]);
    assert!(!world.calls().iter().any(|call| call.contains("linger")));
    let machine = World::machine();
    machine.refused(&["service", "install", "--linger"], 2, "remove it");
}

#[test]
fn without_systemd_it_is_one_clear_line() {
    let world = World::person();
    let before = world.listing();
    for command in [&["service", "install"][..], &["service", "uninstall"], &["service", "status"]] {
        // Nobody's programs but this directory's, which has none.
        let said = world.statusd_at("", command, &[("PATH", "/nonexistent")]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(
            said.err.contains("this machine is not run by systemd") && said.err.contains("statusd run"),
            "{said:?}"
        );
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
    let said = world.statusd_at("", &["service", "logs"], &[("PATH", "/nonexistent")]);
    assert!(said.code == Some(1) && said.err.contains("journalctl is not installed"), "{said:?}");
    world.set("mute", "");
    for command in ["install", "uninstall", "status"] {
        world.refused(&["service", command], 1, "does not answer: `systemctl --user show statusd.service");
    }
    world.unset("mute");
    // As in a chroot.
    world.program("systemctl", "#!/bin/sh\necho \"Running in chroot, ignoring command 'show'\"\n");
    world.refused(
        &["service", "install"],
        1,
        "output: Running in chroot, ignoring command 'show'; it answers",
    );
    world.program("systemctl", SYSTEMCTL);
    assert_eq!(world.listing(), before);
}

#[test]
fn a_machine_has_no_desktop() {
    let world = World::machine();
    let file = "etc/statusd/statusd.toml";
    let words = "a system service has no desktop session; install as yourself, or choose another channel";
    world.set(file, "[channel.desktop]\nenabled = true\n");
    let said = world.refused(&["service", "install"], 78, words);
    let todo = "remove enabled = true from [channel.desktop] in /etc/statusd/statusd.toml";
    assert!(said.contains(todo), "{said}");
    world.set(file, "wathc = [\"Photos\"]\n");
    world.refused(&["service", "install"], 78, "/etc/statusd/statusd.toml");
    assert!(!world.unit_here().exists());
    assert_eq!(world.calls(), [""; 0]);
    // By default it has none, whether there is a file or not.
    for text in [None, Some("watch = [\"Photos\"]\n"), Some(statusd::config::SAMPLE)] {
        match text {
            Some(text) => world.set(file, text),
            None => world.unset(file),
        }
        let said = world.done(&["service", "install"]);
        assert!(said.contains("A system service shows no desktop notifications."), "{said}");
        world.done(&["service", "uninstall"]);
        world.calls();
    }
}

#[test]
fn without_systemd_it_is_one_short_line() {
    let short =
        "statusd: this machine is not run by systemd; start `statusd run` with another process manager\n";
    for world in [World::machine(), World::person()] {
        let not_booted = "System has not been booted with systemd as init system (PID 1). Can't operate.";
        world.program("systemctl", &format!("#!/bin/sh\necho \"{not_booted}\" >&2; exit 1\n"));
        let said = world.statusd(&["service", "install"]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), short), "{said:?}");
    }
}

#[test]
fn a_machines_program_is_where_its_user_can_go() {
    let world = World::machine();
    for place in ["/root", "/home"] {
        let said = world.statusd_at(place, &["service", "install"], &[]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(
            said.err.contains(&format!("install -m 755 {place}/statusd /usr/local/bin/statusd")),
            "{said:?}"
        );
        assert!(!world.unit_here().exists());
    }
    world.done(&["service", "install"]);
    let unit = world.read_unit();
    assert!(unit.contains("\nExecStart=/usr/local/bin/statusd run\n") && unit.contains("DynamicUser=yes"));
    assert_eq!(world.calls(), ["systemctl daemon-reload", "systemctl enable --now statusd.service"]);
}

#[test]
fn an_uninstall_keeps_the_history_unless_it_is_to_go() {
    let world = World::machine();
    world.done(&["service", "install"]);
    let state = world.path("lib/private/statusd");
    fs::create_dir_all(&state).expect("a directory");
    for name in ["statusd.db", "statusd.db-wal", "statusd.lock"] {
        fs::write(state.join(name), "").expect("written");
    }
    // As systemd does it for a service without a user of its own.
    symlink("private/statusd", world.path("lib/statusd")).expect("a link");
    let said = world.done(&["service", "uninstall"]);
    assert!(said.contains("The history stays in /var/lib/statusd; --purge removes it"), "{said}");
    assert!(said.contains("The configuration stays in /etc/statusd/statusd.toml"), "{said}");
    assert!(state.join("statusd.db").exists());
    let said = world.done(&["service", "uninstall", "--purge"]);
    assert!(said.contains("remove the history and the pending notices from /var/lib/statusd"), "{said}");
    assert!(!state.exists() && !world.path("lib/statusd").is_symlink());
    assert!(world.path("etc/statusd/statusd.toml").exists());
}

#[test]
fn a_package_brings_its_own_file() {
    let world = World::person();
    let unit = world.path("lib/statusd.service");
    fs::write(&unit, "[Service]\n").expect("written");
    world.set("package", unit.to_str().expect("UTF-8"));
    let said = world.done(&["service", "install"]);
    assert!(said.contains(&format!("The service uses the unit {}", unit.display())), "{said}");
    assert_eq!(world.calls(), ["systemctl --user enable --now statusd.service"]);
    assert!(!world.unit_here().exists());
    world.done(&["service", "uninstall"]);
    assert_eq!(world.calls(), ["systemctl --user disable --now statusd.service"]);
    assert!(unit.exists());
    world.refused(&["service", "uninstall"], 1, "uninstall it as it was installed");
}

#[test]
fn a_setting_that_the_service_would_not_see_is_refused() {
    let world = World::person();
    world.refused(
        &["--locale", "de_DE", "service", "install"],
        2,
        "--locale has no effect on `statusd service install`",
    );
    let said = world.statusd_at("", &["service", "install"], &[("STATUSD_POLL", "* * * * *")]);
    assert!(said.code == Some(2) && said.err.contains("STATUSD_ variables"), "{said:?}");
    fs::create_dir_all(world.path("home/.config/statusd")).expect("a directory");
    world.set("home/.config/statusd/statusd.toml", "watch = 7\n");
    world.refused(&["service", "install"], 78, "statusd.toml");
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn the_status_is_in_words_and_in_the_exit_code() {
    let world = World::person();
    let said = world.statusd(&["service", "status"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.out, "Not installed; install with `statusd service install`\nNot running\n");
    world.done(&["service", "install"]);
    world.set("active", "4242");
    let said = world.done(&["service", "status"]);
    let head = format!("Installed: {}\nStarts at login\nRunning since ", world.unit().display());
    assert!(said.starts_with(&head) && said.contains("as process 4242"), "{said}");
    let document: Value = serde_json::from_str(&world.done(&["service", "status", "--json"])).expect("JSON");
    assert_eq!(document["active_since"], "2026-05-05T09:41:00Z");
    assert_eq!((&document["scope"], &document["file_is"]), (&"user".into(), &"ours".into()));
    assert_eq!((&document["pid"], &document["daemon"]), (&4242.into(), &Value::Null));
    world.unset("active");
    let said = world.statusd(&["service", "status", "--json"]);
    assert!(said.code == Some(1) && said.out.contains("\"state\": \"stopped\""), "{said:?}");
}

#[test]
fn a_daemon_by_hand_is_in_the_way_of_a_service() {
    let world = World::person();
    fs::create_dir_all(world.path("home/.config/statusd")).expect("a directory");
    // Nobody listens there.
    let text = "[feed]\nurl = \"http://127.0.0.1:1/feed\"\n[channel.desktop]\nenabled = false\n";
    world.set("home/.config/statusd/statusd.toml", text);
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_statusd"))
        .arg("run")
        .env_clear()
        .env("HOME", world.path("home"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let mut log = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    assert!(log.any(|line| line.expect("a line").contains("watches")), "it says that it is up");
    let pid = daemon.id();
    world.refused(&["service", "install"], 1, &format!("statusd runs already, as process {pid}"));
    world.edit_unit("");
    world.set("active", &pid.to_string());
    let said = world.done(&["service", "status"]);
    assert!(said.contains(&format!("as process {pid}")) && said.contains("No successful poll yet"), "{said}");
    assert!(said.contains("not written by statusd"), "{said}");
    world.refused(&["service", "uninstall", "--force", "--purge"], 1, "another statusd is running");
    daemon.kill().expect("a daemon");
    daemon.wait().expect("a daemon");
}

#[test]
fn the_log_is_the_journals() {
    let world = World::person();
    let said = world.done(&["service", "logs"]);
    assert_eq!(said, "journalctl --user -u statusd.service --no-pager -n 100\n");
    let said = world.done(&["service", "logs", "-f", "-n", "5"]);
    assert_eq!(said, "journalctl --user -u statusd.service --no-pager -n 5 -f\n");
    let said = World::machine().done(&["service", "logs"]);
    assert_eq!(said, "journalctl -u statusd.service --no-pager -n 100\n");
}
