//! User mistakes with the real program: the exact error line and the exit code.
//!
//! Starts no daemon and needs no network. `output` checks that no line contains wording of a library.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use crate::common::apple::Apple;
use crate::common::doc::Doc;
use crate::common::seeded_store;
use jiff::Timestamp;
use tempfile::TempDir;

const BACKUP: &str = "iCloud Backup";
/// Wording of libraries that must not reach users.
const LIBRARY_WORDING: [&str; 41] = [
    "TomlError",
    "invalid value: string",
    "invalid length",
    "unknown variant",
    "unknown field",
    "missing field",
    "expected a sequence",
    "expected a map",
    "expected i64",
    "expected u",
    "unexpected",
    "unclosed",
    "duplicate key",
    "undefined value",
    "syntax error",
    "end of variable block",
    "org.freedesktop.DBus.Error",
    "zbus",
    "InvalidCertificate",
    "UnknownIssuer",
    "peer certificate",
    "hyper",
    "reqwest",
    "rustls",
    "error sending request",
    "tunnel error",
    "builder error",
    "Some(",
    "Err(",
    "os error",
    "Os {",
    "Error(",
    "invalid type",
    "expected struct",
    "invalid digit",
    "SqliteFailure",
    "database is locked",
    "relative URL",
    "not in 1..",
    "at line 1 column",
    "TOML parse error",
];

/// A temporary home directory. `DIR` in expected lines stands for its path.
struct Home(TempDir);

struct CommandOutput {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Home {
        Home(TempDir::new().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, text).expect("written");
    }

    /// Writes the file that statusd finds without a flag.
    fn configure(&self, text: &str) {
        self.write(".config/statusd/statusd.toml", text);
    }

    fn command(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statusd"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("TZ", "UTC")
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
        self.output(self.command(variables, arguments).output())
    }

    /// Like [`Home::run`], without blocking a mock server in this test.
    async fn run_beside(&self, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
        self.output(tokio::process::Command::from(self.command(variables, arguments)).output().await)
    }

    fn output(&self, output: io::Result<Output>) -> CommandOutput {
        let output = output.expect("the program starts");
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("UTF-8");
            text.replace(self.0.path().to_str().expect("UTF-8"), "DIR")
        };
        let code = output.status.code().expect("not killed");
        let output = CommandOutput { code, out: text(output.stdout), err: text(output.stderr) };
        for word in LIBRARY_WORDING {
            assert!(!output.err.contains(word), "{}", output.err);
        }
        output
    }

    /// Runs a command line and checks the error line. `_` in a word stands for a space.
    #[track_caller]
    fn check(&self, variables: &[(&str, &str)], line: &str, code: i32, expected: &str) {
        let arguments: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let output = self.run(variables, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (output.err.as_str(), output.code),
            (format!("statusd: {expected}\n").as_str(), code),
            "{line}"
        );
        assert_eq!(output.out, "", "{line}");
    }
}

#[test]
fn names_an_invalid_flag_and_the_expected_form() {
    let home = Home::new();
    home.check(
        &[],
        "drill --speed 0",
        2,
        "invalid --speed \"0\": expected a whole number, 1 to 10000; see `statusd drill --help`",
    );
    home.check(
        &[],
        "check --format xml",
        3,
        "invalid --format \"xml\": expected one of text, nagios; see `statusd check --help`",
    );
    home.check(
        &[],
        "snooze soon",
        2,
        "invalid duration \"soon\": use for example 30m, 2h or 1d, at most 30d, or off",
    );
    home.check(&[], "guide 99", 2, &format!("unknown step \"99\": expected 1 to {}", guide_steps()));
    home.check(&[], "history --since soon", 2, "invalid --since \"soon\": expected a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h)");
    home.check(&[], "config check --poll 61_*_*_*_*", 2, "--poll: invalid minute \"61\": expected 0 to 59");
    home.check(
        &[],
        "status --time-zone Mars/Phobos",
        2,
        "--time-zone: unknown time zone \"Mars/Phobos\": expected one like \"Europe/Berlin\" or \"UTC\"",
    );
    home.check(&[], "test-notice pager", 2, "unknown channel \"pager\": expected one of desktop, log");
    home.check(
        &[],
        "status --config none.toml",
        78,
        "none.toml: no such file; `statusd config init` writes one",
    );
    home.check(&[], "replay none.jsonl", 1, "cannot read none.jsonl: no such file or directory");
}

/// Returns the rest of that error line.
fn guide_steps() -> String {
    let words: Vec<&str> = statusd::doctor::guide::GuideStep::ALL.iter().map(|step| step.as_str()).collect();
    format!("{}, or one of {}", words.len(), words.join(", "))
}

#[test]
fn names_an_invalid_variable_rather_than_a_flag() {
    let home = Home::new();
    home.check(&[("STATUSD_POLL", "hourly")], "status", 2, "STATUSD_POLL: invalid schedule \"hourly\": expected five fields (minute, hour, day of month, month, day of week), or six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly; found 1");
    home.check(
        &[("STATUSD_JITTER_S", "soon")],
        "status",
        2,
        "STATUSD_JITTER_S: invalid number \"soon\": expected whole seconds, 0 to 3600",
    );
    home.check(
        &[("STATUSD_JITTER_S", "-1")],
        "run",
        2,
        "STATUSD_JITTER_S: invalid number -1: expected 0 to 3600 seconds",
    );
    home.check(
        &[("STATUSD_LOG_LEVEL", "inf")],
        "run",
        2,
        "STATUSD_LOG_LEVEL: invalid value \"inf\": did you mean \"info\"?",
    );
    home.check(
        &[("STATUSD_POL", "x")],
        "status",
        2,
        "STATUSD_POL: unknown variable; did you mean STATUSD_POLL?",
    );
    // For `check` the code 2 means an outage.
    home.check(
        &[("STATUSD_POL", "x")],
        "check",
        3,
        "STATUSD_POL: unknown variable; did you mean STATUSD_POLL?",
    );
    home.check(
        &[("STATUSD_EDITION", "dev")],
        "check Photos",
        3,
        "STATUSD_EDITION: invalid value \"dev\": did you mean \"developer\"?",
    );
}

#[test]
fn empty_variable_counts_as_unset() {
    let home = Home::new();
    let empty: Vec<(String, &str)> = statusd::config::FLAGS_WITH_VARIABLES
        .iter()
        .map(|flag| (statusd::config::variable(flag), ""))
        .collect();
    let mut empty: Vec<(&str, &str)> = empty.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    for name in [
        "NO_COLOR",
        "COLUMNS",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "USBMUXD_SOCKET_ADDRESS",
        "STATUSD_NO_SUCH",
        "TERM",
        "JOURNAL_STREAM",
    ] {
        empty.push((name, ""));
    }
    let (with, without) = (home.run(&empty, &["config", "show"]), home.run(&[], &["config", "show"]));
    assert_eq!((with.code, with.err.as_str(), with.out), (0, "", without.out));
}

#[test]
fn reports_all_config_errors_with_their_lines() {
    let home = Home::new();
    home.configure(
        "watch = []
time_zone = 'Mars/Phobos'
wach = ['Photos']
[feed]
edition = 'dev'
[schedule]
poll = '61 * * * *'
jitter_s = 'long'
[phone]
late_after = 'soon'
[channel.webhook.ops]
url = 'nowhere'
quiet = 'at night'
remind_every = '1m'
[channel.webhook.none]
[channel.mqtt.home]
url = 7
",
    );
    let at = "statusd: DIR/.config/statusd/statusd.toml";
    let expected = [
        "1: watch: the list is empty: expected at least one service name",
        "2: time_zone: unknown time zone \"Mars/Phobos\": expected one like \"Europe/Berlin\" or \"UTC\"",
        "3: wach: unknown key; did you mean \"watch\"?",
        "5: feed.edition: invalid value \"dev\": did you mean \"developer\"?",
        "7: schedule.poll: invalid minute \"61\": expected 0 to 59",
        "8: schedule.jitter_s: expected a whole number, found a string",
        "10: phone.late_after: invalid duration \"soon\": use for example 3d or 1w",
        "12: channel.webhook.ops.url: invalid address: expected https://host/path",
        "13: channel.webhook.ops.quiet: invalid quiet hours \"at night\": expected two times and an optional time zone, for example \"22:00-07:00\" or \"22:00-07:00 Europe/Berlin\"",
        "14: channel.webhook.ops.remind_every: invalid duration \"1m\": expected 5 min to 365 days",
        "15: channel.webhook.none: the key \"url\" is missing",
        "17: channel.mqtt.home.url: expected a string, found an integer",
    ];
    let expected: String = expected.iter().map(|line| format!("{at}:{line}\n")).collect();
    for command in [&["config", "check"][..], &["run"]] {
        let output = home.run(&[], command);
        assert_eq!((output.err.as_str(), output.code), (expected.as_str(), 78), "{command:?}");
    }
}

#[tokio::test]
async fn reads_the_database_despite_a_broken_config() {
    let home = Home::new();
    let now = Timestamp::now();
    let from = now - jiff::SignedDuration::from_hours(48);
    seeded_store::seed(&home.path(".local/state/statusd"), &[BACKUP, "Photos"], Vec::new(), from, now).await;
    home.configure("[schedule]\npoll = 'often'\n");
    for command in [&["status"][..], &["history"], &["outbox"], &["snooze"]] {
        let output = home.run(&[], command);
        let lines: Vec<&str> = output.err.lines().collect();
        let [fault, broken] = lines[..] else { panic!("{command:?}: {}", output.err) };
        assert!(
            fault.starts_with("statusd: warning: DIR/.config/statusd/statusd.toml:2: schedule.poll: "),
            "{fault}"
        );
        assert_eq!(
            broken,
            "statusd: warning: the configuration is invalid, so `statusd run` would not start; this command uses defaults"
        );
        assert_eq!(output.code, 0, "{command:?}: {}", output.out);
        assert!(!output.out.is_empty());
    }
    home.configure("");
    home.check(&[], "ack iCloud_Bakup", 2, "unknown service \"iCloud Bakup\"; did you mean iCloud Backup?");
    home.check(
        &[],
        "history --service iCloud_Bakup",
        2,
        "unknown service \"iCloud Bakup\"; did you mean iCloud Backup?",
    );
    home.check(&[], "ack Photos", 1, "Photos has no active outage; see `statusd status`");
    home.check(&[], "outbox retry 7", 2, "unknown message 7; `statusd outbox --all` shows the numbers");
    home.write("devices.csv", "device,last icloud backup\na,2026-05-04T10:00:00Z\n");
    home.check(
        &[],
        "fleet --service iCloud_Bakup devices.csv",
        2,
        "unknown service \"iCloud Bakup\"; did you mean iCloud Backup?",
    );
}

#[tokio::test]
async fn check_cannot_tell_without_its_watchlist() {
    let home = Home::new();
    let apple = Apple::start().await;
    apple.show(&Doc::new().service(BACKUP).service("Photos").json());
    let variables = [("STATUSD_FEED_URL", apple.url())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    for broken in [
        "watch = ['Photos'\n",
        "wach = ['Photos']\n",
        "[feed]\nwatch = ['Photos']\n",
        "watch = 'Photos'\n",
        "watch = []\n",
    ] {
        home.configure(broken);
        let output = home.run_beside(&variables, &["check"]).await;
        assert_eq!((output.code, output.out.as_str()), (3, ""), "{broken}");
        let last = "statusd: cannot tell which services to check: the configuration cannot be read; name the services, or see `statusd config check`\n";
        assert!(
            output.err.starts_with("statusd: warning: DIR/") && output.err.ends_with(last),
            "{broken}: {}",
            output.err
        );
        let nagios = home.run_beside(&variables, &["check", "--format", "nagios"]).await;
        assert!(nagios.out.starts_with("APPLE UNKNOWN - cannot tell which services"), "{}", nagios.out);
        assert_eq!(nagios.code, 3);
        // With named services the check works.
        for named in [&["check", "Photos"][..], &["check", "--watch", "Photos"]] {
            let output = home.run_beside(&variables, named).await;
            assert!(
                output.out.contains("Photos") && !output.out.contains(BACKUP),
                "{broken}: {}",
                output.out
            );
            assert_eq!(output.code, 0, "{broken}: {}", output.err);
            // A setting that a flag replaces is not read.
            let is_replaced = broken == "watch = []\n" && named.contains(&"--watch");
            assert!(is_replaced || output.err.starts_with("statusd: warning: "), "{broken}: {}", output.err);
        }
    }
    // A fault in another setting does not affect the watchlist.
    home.configure("watch = ['Photos']\n[schedule]\npoll = 'often'\n");
    let output = home.run_beside(&variables, &["check"]).await;
    assert!(output.out.contains("Photos") && !output.out.contains(BACKUP), "{}", output.out);
    assert_eq!(output.code, 0);
}

#[test]
fn rejects_an_unknown_time_zone_only_where_it_matters() {
    let home = Home::new();
    let mars = [("TZ", "Mars/Phobos")];
    let fault = "TZ: unknown time zone \"Mars/Phobos\": expected one like \"Europe/Berlin\" or \"UTC\"";
    let output = home.run(&mars, &["config", "check"]);
    assert_eq!(output.err, format!("statusd: warning: {fault}; times are shown in UTC\n"));
    assert!(output.out.contains("Time zone: UTC, as a fallback ("), "{}", output.out);
    assert_eq!(output.code, 0);
    assert!(home.run(&[("TZ", "JST-9")], &["config", "check"]).out.contains("Time zone: JST (UTC+09) (TZ)"));
    assert!(
        home.run(&[("TZ", "Europe/Berlin")], &["config", "check"])
            .out
            .contains("Time zone: Europe/Berlin (TZ)")
    );
    for (text, key) in [
        ("[channel.desktop]\nquiet = '22:00-07:00'\n", "channel.desktop.quiet"),
        ("[schedule]\npoll = '*/5 8-18 * * *'\n", "schedule.poll"),
        ("[liveness]\nwhen = '@daily'\n", "liveness.when"),
        ("[phone]\nenabled = true\nlate_after = '3d'\n", "phone.late_check"),
    ] {
        home.configure(text);
        home.check(&mars, "config check", 2, &format!("{fault}; {key} needs a time zone: set time_zone"));
        home.check(&mars, "run", 2, &format!("{fault}; {key} needs a time zone: set time_zone"));
    }
    for harmless in [
        "[channel.desktop]\nquiet = '22:00-07:00 Europe/Berlin'\n",
        "[schedule]\npoll = '*/7 * * * *'\n",
        "time_zone = 'Asia/Tokyo'\n[liveness]\nwhen = '@daily'\n",
    ] {
        home.configure(harmless);
        assert_eq!(home.run(&mars, &["config", "check"]).code, 0, "{harmless}");
    }
}

#[tokio::test]
async fn reports_a_full_disk_and_a_locked_database() {
    let home = Home::new();
    let state = home.path("full");
    let now = Timestamp::now();
    seeded_store::seed(
        &home.path("kept"),
        &[BACKUP],
        Vec::new(),
        now - jiff::SignedDuration::from_hours(1),
        now,
    )
    .await;
    fs::create_dir(&state).expect("a directory");
    // A file system of 512 KiB in a private mount namespace.
    let script = "mount -t tmpfs -o size=512k,mode=700 tmpfs full && cp kept/* full/ && \
                  { dd if=/dev/zero of=full/statusd.fill bs=4k 2>/dev/null; \
                  \"$PROGRAM\" --state-directory full snooze 2h; echo $?; \
                  \"$PROGRAM\" --state-directory full run; echo $?; \
                  \"$PROGRAM\" config show > /dev/full; echo $?; }";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).current_dir(home.0.path());
    command.env("PROGRAM", env!("CARGO_BIN_EXE_statusd")).env("HOME", home.0.path()).env("TZ", "UTC");
    let output = home.output(command.output());
    assert_eq!(output.out, "73\n73\n73\n", "{}", output.err);
    let lines: Vec<&str> = output.err.lines().collect();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.contains(": the disk is full")),
        "{}",
        output.err
    );

    let held = rusqlite::Connection::open(home.path("kept/statusd.db")).expect("the database");
    held.execute_batch("BEGIN IMMEDIATE").expect("held");
    let expected = "cannot use the database: another program has locked the database; try again";
    home.check(&[], "--state-directory kept snooze 2h", 73, expected);
}

/// Each broken file gives one error with the file, the line and the cause, without wording of a library.
#[test]
fn explains_broken_config_files() {
    let hook = "[channel.webhook.a]\nurl = 'https://hooks.example/x'\n";
    let of_hook = |rest: &str| format!("{hook}{rest}");
    let cases = [
        ("[feed", 1, "the closing ] is missing"),
        ("[[feed]", 1, "the closing ]] is missing"),
        ("watch = ['a'", 1, "the closing ] is missing"),
        ("watch = ['a' 'b']", 1, "a comma is missing"),
        ("watch = ['a',, 'b']", 1, "one comma too many"),
        ("watch = Photos", 1, "strings need quotation marks"),
        ("watch = 'Photos", 1, "unterminated string"),
        ("watch = \"Photos", 1, "unterminated string"),
        ("watch = \"\"\"Photos", 1, "unterminated string"),
        ("time_zone = \"C:\\Windows\"", 1, "invalid escape"),
        ("watch", 1, "a key needs a value: KEY = VALUE"),
        ("watch =", 1, "expected a value"),
        ("= 1", 1, "a key is missing"),
        ("watch = = 1", 1, "one = too many"),
        ("watch: 1", 1, "invalid TOML"),
        ("watch = ['a'] ['b']", 1, "invalid TOML"),
        ("[schedule]\njitter_s = 007", 2, "invalid number"),
        ("[schedule]\njitter_s = 1__0", 2, "invalid number"),
        ("[schedule]\njitter_s = +-1", 2, "invalid number"),
        ("[log]\nlevel = 'info'\nlevel = 'warn'", 3, "occurs twice"),
        ("[log]\n[log]", 2, "occurs twice"),
        ("watch = ['a']\nwatch.b = 1", 2, "so it cannot be a table"),
        ("{\"watch\": [\"a\"]}", 1, "invalid TOML"),
        ("watch = ['a']\r[log]", 1, "invalid TOML"),
        ("<<<<<<< HEAD", 1, "invalid TOML"),
        ("watch = 1", 1, "watch: expected an array, found an integer"),
        ("watch = [1]", 1, "expected a string, found"),
        ("feed = 1", 1, "feed: expected a table"),
        ("[feed]\nurl = true", 2, "feed.url: expected a string, found true"),
        ("[schedule]\njitter_s = 'x'", 2, "schedule.jitter_s: expected a whole number, found a string"),
        ("[schedule]\njitter_s = 99999999999999999999", 2, ""),
        ("[schedule]\njitter_s = 1.5", 2, "expected a whole number, found a number with a fraction"),
        ("[log]\nlevel = 1979-05-27", 2, "expected a string, found a date or time"),
        ("[log]\nlevle = 'info'", 2, "did you mean \"level\"?"),
        ("[channel.desktop]\nenabled = 'yes'", 2, "expected true or false, found a string"),
        ("[channel.desktop]\nurgency = 'low'", 2, "channel.desktop.urgency: "),
        ("[channel.webhook]\nurl = 'x'", 2, "has a name"),
        ("[channel.webhook.a]\n", 1, "the key \"url\" is missing"),
        ("[channel.webhook.a]\nurl = 'nowhere'", 2, "invalid address: expected https://host/path"),
        ("[channel.mqtt.a]\nurl = 'mqtt://h'\nqos = 7", 3, ""),
        ("[channel.email.a]\nserver = 'h'\nfrom = 'x@h'\nto = ['y@h']\nsecurity = 'ssl'", 5, ""),
    ];
    let of_templates = [
        ("title = '{{ titel }}'", "unknown variable \"titel\""),
        ("title = '{{ title'", "invalid syntax"),
        ("body = '{% if kind %}'", "invalid syntax"),
        ("body = '{{ title | shout }}'", "unknown filter"),
        ("body = '{{ shout() }}'", "unknown"),
        ("body = '{% include \"x\" %}'", "invalid syntax"),
        ("body = '{{ title + 1 }}'", "invalid operation on a value"),
    ];
    let of_templates = of_templates.map(|(line, words)| (of_hook(line), 3, words));
    let cases = cases.map(|(text, line, words)| (text.to_owned(), line, words));
    let home = Home::new();
    let mut wrong = Vec::new();
    for (text, line, words) in cases.into_iter().chain(of_templates) {
        home.configure(&text);
        let output = home.run(&[], &["config", "check"]);
        let place = format!("statusd: DIR/.config/statusd/statusd.toml:{line}:");
        let is_good = output.code == 78 && output.out.is_empty() && output.err.starts_with(&place);
        if !is_good || !output.err.contains(words) {
            wrong.push(format!("{text}\n    {words}: {}", output.err.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
