//! The loader against files, flags and variables; the sample and the reference against the loader.

use std::collections::BTreeSet;
use std::{fs, path};

use tempfile::TempDir;

use super::error::Given;
use super::file::File;
use super::*;
use crate::channel::Table as _;
use crate::phones::Address;

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// A home directory with `text` as the user's file.
struct Home(TempDir);

impl Home {
    fn new(text: impl AsRef<[u8]>) -> Home {
        let home = Home(TempDir::new().expect("a directory"));
        fs::create_dir_all(home.file().parent().expect("a parent")).expect("created");
        fs::write(home.file(), text).expect("written");
        home
    }

    fn file(&self) -> PathBuf {
        config_candidates(&self.environment()).swap_remove(0)
    }

    fn environment(&self) -> impl Fn(&str) -> Option<String> {
        let home = self.0.path().to_str().expect("UTF-8").to_owned();
        move |variable| (variable == "HOME").then(|| home.clone())
    }

    fn load(&self, overrides: &Overrides) -> Result<Config, ConfigError> {
        load(overrides, &self.environment())
    }
}

#[track_caller]
fn good(text: &str) -> Config {
    Home::new(text).load(&Overrides::default()).expect("a good file")
}

/// Returns the error's line, with `FILE` for the file's path.
#[track_caller]
fn error_of(text: impl AsRef<[u8]>, overrides: &Overrides) -> String {
    let home = Home::new(text);
    let error = home.load(overrides).expect_err("a bad file").to_string();
    error.replace(home.file().to_str().expect("UTF-8"), "FILE")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(error_of(text, &Overrides::default()), expected, "{text}");
}

/// Returns the values that `show` writes, without their sources.
fn values(config: &Config) -> toml::Table {
    toml::from_str(&config.show()).expect("TOML")
}

#[test]
fn unknown_keys_are_named_with_their_nearest() {
    check("watchs = []", r#"FILE:1: watchs: unknown key; did you mean "watch"?"#);
    check("\n[feeds]", r#"FILE:2: feeds: unknown key; did you mean "feed"?"#);
    check("[feed]\n\nedtion = ''", r#"FILE:3: feed.edtion: unknown key; did you mean "edition"?"#);
    check("log.levl = 1", r#"FILE:1: log.levl: unknown key; did you mean "level"?"#);
    check("[channel.log]\nenable = 1", r#"FILE:2: channel.log.enable: unknown key; did you mean "enabled"?"#);
    check("[channel.webhok.a]", r#"FILE:1: channel.webhok: unknown key; did you mean "webhook"?"#);
    check(
        "[channel.webhook.a]\nurl = ''\nbearer-token = 'hunter2'",
        r#"FILE:3: channel.webhook.a.bearer-token: unknown key; did you mean "bearer_token"?"#,
    );
    check("[feed]\nzzz = 1", r#"FILE:2: feed.zzz: unknown key; known keys: edition, locale, url, ca_file"#);
    check(
        "[feed]\nwatch = ['a']",
        r#"FILE:2: feed.watch: unknown key; "watch" belongs at the top of the file, above every [table]"#,
    );
    check("[alive]", r#"FILE:1: alive: unknown key; renamed to "liveness""#);
    check("[phone]\nlook = 'x'", r#"FILE:2: phone.look: unknown key; renamed to "poll""#);
    check("phone.late_look = 'x'", r#"FILE:1: phone.late_look: unknown key; renamed to "late_check""#);
    check(
        "[channel.command.page]\ncommand = ['page']\nwithin_s = 5",
        r#"FILE:3: channel.command.page.within_s: unknown key; renamed to "timeout_s""#,
    );
    check(
        "channel.log.only = ['began', 'blind']",
        r#"FILE:1: channel.log.only: unknown topic "blind"; renamed to "unreadable""#,
    );
    check("wach = ['a']", r#"FILE:1: wach: unknown key; did you mean "watch"?"#);
    check("\"wat\\nch\" = 1", r#"FILE:1: "wat\nch": unknown key; did you mean "watch"?"#);
}

#[test]
fn wrong_types_are_reported_in_plain_words() {
    check("watch = 'a'", "FILE:1: watch: expected an array, found a string");
    check("watch = ['a',\n 3]", "FILE:2: watch[1]: expected a string, found an integer");
    check("time_zone = 2020-01-01", "FILE:1: time_zone: expected a string, found a date or time");
    check("feed = 3", "FILE:1: feed: expected a table, found an integer");
    check("[feed]\nca_file = true", "FILE:2: feed.ca_file: expected a string, found true");
    check(
        "[schedule]\njitter_s = '30'",
        "FILE:2: schedule.jitter_s: expected a whole number, found a string",
    );
    check(
        "[schedule]\njitter_s = 1.5",
        "FILE:2: schedule.jitter_s: expected a whole number, found a number with a fraction",
    );
    check(
        "[schedule]\njitter_s = 99999999999999999999",
        "FILE:2: schedule.jitter_s: the number is out of range",
    );
    check(
        "[channel.desktop]\nenabled = 'yes, expected no'",
        "FILE:2: channel.desktop.enabled: expected true or false, found a string",
    );
    check(
        "[channel.webhook]\nurl = 'https://hooks.example/hunter2'",
        "FILE:2: channel.webhook.url: expected a table, found a string; \
         a channel of this kind has a name: write [channel.webhook.NAME]",
    );
    check("\n[channel.webhook.a]\n", r#"FILE:2: channel.webhook.a: the key "url" is missing"#);
    check(
        "channel.webhook.a.bearer_token = 'hunter2'",
        r#"FILE:1: channel.webhook.a: the key "url" is missing"#,
    );
}

#[test]
fn an_array_is_not_accepted_as_a_table() {
    for text in ["[[feed]]\nedition = 'consumer'", "feed = ['consumer']", "feed = []"] {
        check(text, "FILE:1: feed: expected a table, found an array");
    }
    check("[channel]\nlog = [false]", "FILE:2: channel.log: expected a table, found an array");
}

#[test]
fn invalid_values_are_reported_with_the_expected_form() {
    check("\nwatch = []", "FILE:2: watch: the list is empty: expected at least one service name");
    check(
        "watch = ['a', ' ']",
        r#"FILE:1: watch: invalid name " ": expected a service name, or "*" for all services"#,
    );
    check(
        "time_zone = 'Europe/Berln'",
        r#"FILE:1: time_zone: unknown time zone "Europe/Berln"; did you mean "Europe/Berlin"?"#,
    );
    check("[log]\nlevel = 'inf'", r#"FILE:2: log.level: invalid value "inf": did you mean "info"?"#);
    check("[log]\nlevel = 'INFO'", r#"FILE:2: log.level: invalid value "INFO": did you mean "info"?"#);
    check(
        "[log]\nformat = 'xyzzy'",
        r#"FILE:2: log.format: invalid value "xyzzy": expected one of auto, human, journal, json"#,
    );
    check(
        "[feed]\nedition = 'dev'",
        r#"FILE:2: feed.edition: invalid value "dev": did you mean "developer"?"#,
    );
    check(
        "[feed]\nlocale = 'de'",
        r#"FILE:2: feed.locale: invalid locale "de": expected language and country like "en_US" or "de_DE""#,
    );
    check(
        "[feed]\nedition = 'developer'\nlocale = 'de_DE'",
        r#"FILE:3: feed.locale: invalid locale "de_DE": expected "en_US", the only locale of the developer feed"#,
    );
    check(
        "[schedule]\n\npoll = '61 * * * *'",
        r#"FILE:3: schedule.poll: invalid minute "61": expected 0 to 59"#,
    );
    for bad in ["-1", "3601"] {
        let text = format!("schedule = {{ jitter_s = {bad} }}");
        let expected = "FILE:1: schedule.jitter_s: invalid number {bad}: expected 0 to 3600 seconds";
        check(&text, &expected.replace("{bad}", bad));
    }
    check("[feed]\nca_file = ''", "FILE:2: feed.ca_file: the path is empty: set one or remove the key");
    check(
        "[state]\ndirectory = '~/x'",
        r#"FILE:2: state.directory: invalid path "~/x": ~ is not expanded; write the absolute path"#,
    );
    check(
        "[channel.webhook.'my phone']\nurl = ''",
        r#"FILE:1: channel.webhook."my phone": invalid name "my phone": expected 1 to 32 of a-z, A-Z, 0-9, - and _"#,
    );
    let other = error_of("[schedule]\ntrouble = '* *'", &Overrides::default());
    assert!(other.starts_with("FILE:2: schedule.trouble: "), "{other}");
    let other = error_of("[feed]\nurl = 'http://mirror.example/'", &Overrides::default());
    assert!(other.starts_with("FILE:2: feed.url: "), "{other}");
}

#[test]
fn phones_are_disabled_by_default_and_their_settings_are_checked() {
    let config = good("");
    assert!(!config.phone.enabled && config.phone.late().is_none());
    assert_eq!(config.phone.address, Address::standard());
    let late = good("[phone]\nlate_after = '3d'").phone.late().expect("a threshold");
    assert_eq!((late.after.as_hours(), late.check.as_str()), (72, "0 19 * * *"));
    check("[phone]\npoll = '*'", &format!("FILE:2: phone.poll: {}", five_fields("*")));
    check("[phone]\nlate_check = '*'", &format!("FILE:2: phone.late_check: {}", five_fields("*")));
    check(
        "[phone]\nlate_after = 'soon'",
        r#"FILE:2: phone.late_after: invalid duration "soon": use for example 3d or 1w"#,
    );
    for bad in ["23h", "366d"] {
        let expected = format!(
            "FILE:2: phone.late_after: invalid duration {bad:?}: expected 1 to 365 days, because a phone backs up once a day"
        );
        check(&format!("[phone]\nlate_after = '{bad}'"), &expected);
    }
    check(
        "[feed]\nedition = 'developer'\n[phone]\nlate_after = '3d'",
        "FILE:4: phone.late_after: the developer feed has no iCloud Backup; remove the key",
    );
    let wrong = error_of("[phone]\nusbmuxd = 'nowhere'", &Overrides::default());
    assert!(wrong.starts_with("FILE:2: phone.usbmuxd: "), "{wrong}");
}

fn five_fields(text: &str) -> String {
    Schedule::parse(text, &TimeZone::UTC).expect_err("no schedule").to_string()
}

#[test]
fn the_configured_address_of_usbmuxd_overrides_the_environment() {
    let address = |text: &str, variable: &str| {
        let home = Home::new(text);
        let own = home.environment();
        let environment = |name: &str| match name {
            "USBMUXD_SOCKET_ADDRESS" => Some(variable.to_owned()),
            other => own(other),
        };
        load(&Overrides::default(), &environment).map(|config| config.phone.address)
    };
    let enabled = "[phone]\nenabled = true\n";
    assert_eq!(
        address(enabled, "127.0.0.1:27015"),
        Address::parse("127.0.0.1:27015").map_err(|_| unreachable!())
    );
    let written = format!("{enabled}usbmuxd = 'UNIX:/run/usbmuxd'");
    assert_eq!(address(&written, "127.0.0.1:27015"), Ok(Address::Unix("/run/usbmuxd".into())));
    assert_eq!(address(enabled, ""), Ok(Address::standard()));
    let error = address(enabled, "nowhere").expect_err("no address").to_string();
    assert!(error.starts_with("USBMUXD_SOCKET_ADDRESS: "), "{error}");
    assert_eq!(address("", "nowhere"), Ok(Address::standard()), "reading phones is disabled");
}

#[test]
fn syntax_errors_have_line_and_column() {
    check("\n[feed", "FILE:2:6: invalid TOML: the closing ] is missing");
    check("a = 1\n a = 2", "FILE:2:2: invalid TOML: this key occurs twice; remove one of them");
    check("watch = [ 'ü' 'b' ]", "FILE:1:15: invalid TOML: a comma is missing");
    let defaults = Overrides::default();
    assert_eq!(error_of(b"\n\n# \xff", &defaults), "FILE:3: not UTF-8 text; save the file as UTF-8");
    for deep in [format!("[{}a]", "a.".repeat(100_000)), format!("a = {}", "[".repeat(100_000))] {
        error_of(deep, &defaults);
    }
    let largest = "\n".repeat(1024 * 1024);
    good(&largest);
    assert_eq!(error_of(largest + "\n", &defaults), "FILE: larger than 1 MiB; is it the right file?");
}

#[test]
fn no_error_and_no_output_holds_a_secret() {
    let table = "[channel.webhook.a]\nurl = 'https://u:7654321@hooks.example:8443/7654321?t=7654321'\n";
    for slip in [
        "bearer_token = 7654321",
        "bearer_token = '7654321",
        "bearer_token = 7654321x",
        "bearer_token = [7654321]",
        "bearer_token = ['7654321', 1]",
        "bearer_token = { a = '7654321' }",
        "bearer_token = 7654321.5",
        "hmac_secret = 7654321",
        "hmac_secret = 'a' '7654321'",
        "hmac_secret_file = 7654321",
        "url = '7654321'",
        "nonsense = '7654321'",
    ] {
        let error = error_of(format!("{table}{slip}"), &Overrides::default());
        assert!(error.starts_with("FILE:3:"), "{error}");
        assert!(!error.contains("7654321"), "{error}");
    }
    let url = error_of("[channel.webhook.a]\nurl = 7654321", &Overrides::default());
    assert_eq!(url, "FILE:2: channel.webhook.a.url: expected a string, found an integer");

    let feed = "[feed]\nurl = 'https://mirror.example/feed?t=7654321'\n";
    let config = good(&format!("{feed}{table}bearer_token = '7654321'\nhmac_secret_file = 'key'"));
    let shown = config.show();
    assert!(shown.contains("bearer_token = \"***\" # line 5\n"), "{shown}");
    assert!(shown.contains("hmac_secret_file = \"key\" # line 6\n"), "{shown}");
    assert!(shown.contains("https://hooks.example:8443/"), "{shown}");
    assert!(!shown.contains("7654321"), "{shown}");
    let debug = format!("{config:#?}");
    assert!(!debug.contains("7654321"), "{debug}");
}

/// A channel of every kind; every secret contains 7654321.
const SECRETS: &str = "
[channel.webhook.a]
url = 'https://u:7654321@a.example/7654321?t=7654321'
hmac_secret = '7654321'
[channel.webhook.b]
url = 'https://a.example/7654321'
bearer_token = '7654321'
[channel.command.a]
command = ['page', '--token', '7654321']
[channel.ntfy.a]
url = 'https://a.example/t7654321'
token = '7654321'
[channel.ntfy.b]
url = 'https://a.example/t7654321'
user = 'me'
password = '7654321'
[channel.gotify.a]
url = 'https://a.example/7654321'
token = '7654321'
[channel.pushover.a]
token = '7654321'
user = '7654321'
url = 'https://a.example/7654321'
[channel.slack.a]
url = 'https://a.example/7654321'
[channel.discord.a]
url = 'https://a.example/api/webhooks/1/7654321'
[channel.teams.a]
url = 'https://a.example/7654321?sig=7654321'
[channel.telegram.a]
token = '123:7654321'
chat_id = 1
url = 'https://a.example/7654321'
[channel.alertmanager.a]
urls = ['https://a.example/7654321']
bearer_token = '7654321'
[channel.alertmanager.b]
urls = ['https://a.example']
user = 'me'
password = '7654321'
[channel.mqtt.a]
url = 'mqtts://u:7654321@a.example'
user = 'me'
password = '7654321'
[channel.apprise.a]
url = 'json://a.example/7654321'
[channel.email.a]
server = 'a.example'
user = 'me'
password = '7654321'
from = 'a@a.example'
to = ['b@b.example']
[heartbeat]
url = 'https://a.example/7654321'
";

#[test]
fn no_kind_of_channel_shows_a_secret() {
    #[track_caller]
    fn check(output: &str) {
        assert!(!output.contains("7654321"), "{output}");
    }
    let config = good(SECRETS);
    for (kind, tables) in serde_json::json!(config.channel).as_object().expect("tables") {
        assert!(tables.as_object().is_some_and(|tables| !tables.is_empty()), "add {kind} to SECRETS");
    }
    check(&config.show());
    check(&format!("{config:?} {config:#?}"));
    let no_file: &dyn Fn(&Path) -> Result<_, _> = &|_| Err(SettingError::new("", "no file"));
    for (name, _, table) in config.channel.all() {
        match table.open(no_file) {
            Ok(transport) => check(&format!("{transport:?}")),
            Err(error) => check(&config.error_in(&format!("channel.{name}"), error).to_string()),
        }
    }
    // Each secret with the wrong type, with a control character, and under an unknown key.
    let lines: Vec<&str> = SECRETS.lines().collect();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("7654321")) {
        let key = line.split(" = ").next().expect("a key");
        for slip in [
            "KEY = 7654321",
            "KEY = [[7654321]]",
            "KEY = '7654321",
            "KEYS = '7654321'",
            "KEY = \"\\u00017654321\"",
        ] {
            let mut lines = lines.clone();
            let slip = slip.replace("KEY", key);
            lines[index] = &slip;
            let home = Home::new(lines.join("\n"));
            match home.load(&Overrides::default()) {
                Err(error) => check(&error.to_string()),
                Ok(config) => {
                    check(&config.show());
                    let opened =
                        config.channel.all().into_iter().filter_map(|(.., table)| table.open(no_file).err());
                    opened.for_each(|error| check(&error.to_string()));
                }
            }
        }
    }
}

#[test]
fn an_error_names_the_source_of_the_value() {
    let home = Home::new(
        "[log]\nlevel = 'loud'\n[channel.gotify.a]\nurl = 'https://a.example'\ntoken_file = '/nowhere'",
    );
    let loaded = |overrides: &Overrides| home.load(overrides).expect_err("a bad value");
    let file = home.file();
    let file = file.display();
    let words = "invalid value \"loud\": expected one of error, warn, info, debug, trace";
    let error = loaded(&Overrides::default());
    assert_eq!((error.to_string(), error.is_usage()), (format!("{file}:2: log.level: {words}"), false));
    let flag = Overrides { log_level: Some("loud".to_owned()), ..Overrides::default() };
    let error = loaded(&flag);
    assert_eq!((error.to_string(), error.is_usage()), (format!("--log-level: {words}"), true));
    let variable = Overrides { from_variables: BTreeSet::from(["log-level"]), ..flag };
    let error = loaded(&variable);
    assert_eq!((error.to_string(), error.is_usage()), (format!("STATUSD_LOG_LEVEL: {words}"), true));
    let (config, _) = load_usable(&Overrides::default(), &home.environment());
    let error = config.channel.gotify["a"].open(&|path| read_secret(path, None, None)).expect_err("no file");
    let expected = "/nowhere: no such file; write the secret into it";
    let error = config.error_in("channel.gotify.a", error).to_string();
    assert_eq!(error, format!("{file}:5: channel.gotify.a.token_file: {expected}"));
}

#[test]
fn without_a_file_or_with_an_empty_one_the_defaults_apply() {
    let config = good("");
    assert_eq!(config.feed.to_string(), "consumer/en_US");
    assert_eq!(config.feed_url, None);
    assert_eq!(config.watch, ["iCloud Backup"]);
    assert_eq!((config.poll.as_str(), config.trouble.as_str()), ("*/5 * * * *", "* * * * *"));
    assert_eq!(config.jitter_s, 30);
    assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Auto));
    assert!(config.channel.desktop.enabled == Some(true) && config.channel.log.enabled);
    assert!(config.channel.webhook.is_empty());

    // Without a home the machine's own file is the only candidate.
    if !Path::new("/etc/statusd/statusd.toml").exists() {
        let none = load(&Overrides::default(), &|_| None).expect("the defaults");
        assert_eq!(none.source, None);
        assert!(none.show().starts_with("# The settings in effect; there is no configuration file.\n"));
    }
}

#[test]
fn a_requested_file_is_the_only_one_read() {
    let home = Home::new("watch = ['home']");
    let own = home.0.path().join("own.toml");
    let requested = Overrides { config: Some(own.clone()), ..Overrides::default() };
    let missing = home.load(&requested).expect_err("it is not there").to_string();
    assert_eq!(missing, format!("{}: no such file; `statusd config init` writes one", own.display()));
    fs::write(&own, "watch = ['own']").expect("written");
    let config = home.load(&requested).expect("it is there");
    assert_eq!((config.watch, config.source), (vec!["own".to_owned()], Some(own)));
    assert_eq!(home.load(&Overrides::default()).expect("a file").source, Some(home.file()));
}

#[test]
fn an_unreadable_file_is_not_skipped() {
    let home = Home::new("");
    fs::remove_file(home.file()).expect("removed");
    fs::create_dir(home.file()).expect("a directory in its place");
    let error = home.load(&Overrides::default()).expect_err("not a file").to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", home.file().display())), "{error}");
}

/// Returns a value for each override, different from the default.
fn all_overrides() -> Overrides {
    Overrides {
        config: None,
        watch: vec!["Photos".to_owned(), "iCloud *".to_owned()],
        time_zone: Some("UTC".to_owned()),
        edition: Some("developer".to_owned()),
        locale: Some("en_US".to_owned()),
        feed_url: Some("https://mirror.example/flag.js".to_owned()),
        ca_file: Some("/flag/ca.pem".into()),
        poll: Some("1 * * * *".to_owned()),
        trouble: Some("2 * * * *".to_owned()),
        jitter_s: Some(3),
        state_directory: Some("/flag/state".into()),
        record_file: Some("/flag/record.jsonl".into()),
        log_level: Some("trace".to_owned()),
        log_format: Some("json".to_owned()),
        from_variables: BTreeSet::new(),
    }
}

#[test]
fn flags_override_the_file_and_the_file_overrides_the_defaults() {
    let file = "watch = ['file']\ntime_zone = 'Asia/Tokyo'\n\
        [feed]\nedition = 'consumer'\nlocale = 'de_DE'\nurl = 'https://mirror.example/file.js'\n\
        ca_file = '/file/ca'\n\
        [schedule]\npoll = '11 * * * *'\ntrouble = '12 * * * *'\njitter_s = 13\n\
        [state]\ndirectory = '/file/state'\n[record]\nfile = '/file/record'\n\
        [log]\nlevel = 'debug'\nformat = 'human'\n";
    let home = Home::new(file);
    let of_file = home.load(&Overrides::default()).expect("a good file");
    let mut written: toml::Table = toml::from_str(file).expect("TOML");
    for table in ["channel", "phone"] {
        written.insert(table.to_owned(), values(&of_file)[table].clone());
    }
    for table in ["state", "record"] {
        let keys = written[table].as_table_mut().expect("a table");
        keys.insert("keep".to_owned(), values(&of_file)[table]["keep"].clone());
    }
    assert_eq!(values(&of_file), written);

    let of_flags = home.load(&all_overrides()).expect("good flags");
    let alone = Home::new("").load(&all_overrides()).expect("good flags");
    assert_eq!(values(&of_flags), values(&alone));
    let shown = of_flags.show();
    assert!(shown.contains("edition = \"developer\" # --edition\n"), "{shown}");
    assert!(!shown.contains(" # line "), "nothing is left of the file's settings:\n{shown}");
}

#[test]
fn the_configured_state_directory_overrides_that_of_systemd() {
    let directory = |text: &str, flag: Option<&str>| {
        let home = Home::new(text);
        let own = home.environment();
        let environment = |variable: &str| match variable {
            "STATE_DIRECTORY" => Some("/systemd".to_owned()),
            other => own(other),
        };
        let overrides = Overrides { state_directory: flag.map(PathBuf::from), ..Overrides::default() };
        load(&overrides, &environment).expect("good").state_directory
    };
    assert_eq!(directory("", None), Path::new("/systemd"));
    assert_eq!(directory("[state]\ndirectory = '/file'", None), Path::new("/file"));
    assert_eq!(directory("[state]\ndirectory = '/file'", Some("/flag")), Path::new("/flag"));
}

#[test]
fn the_desktop_is_disabled_by_default_for_the_system_service_only() {
    #[track_caller]
    fn check(text: &str, state: &str, expected: bool) {
        let home = Home::new(text);
        let own = home.environment();
        let environment = |variable: &str| match variable {
            "STATE_DIRECTORY" => Some(state.to_owned()).filter(|state| !state.is_empty()),
            other => own(other),
        };
        let config = load(&Overrides::default(), &environment).expect("good");
        assert_eq!(config.channel.desktop.enabled, Some(expected), "{text:?} {state}");
    }
    check("", "", true);
    check("", "/home/me/.local/state/statusd", true);
    check("", "/var/lib/statusd", false);
    check("[channel.desktop]", "/var/lib/private/statusd", false);
    check("[channel.desktop]\nenabled = true", "/var/lib/statusd", true);
    check("[channel.desktop]\nenabled = false", "", false);
}

#[test]
fn an_invalid_flag_is_named_instead_of_the_file() {
    for (overrides, expected) in [
        (
            Overrides { log_level: Some("inf".to_owned()), ..Overrides::default() },
            r#"--log-level: invalid value "inf": did you mean "info"?"#,
        ),
        (
            Overrides {
                watch: vec![String::new()],
                from_variables: BTreeSet::from(["watch"]),
                ..Overrides::default()
            },
            r#"STATUSD_WATCH: invalid name "": expected a service name, or "*" for all services"#,
        ),
    ] {
        let home = Home::new("watch = ['a']\n[log]\nlevel = 'warn'");
        let error = home.load(&overrides).expect_err("a bad flag");
        assert_eq!(error.to_string(), expected);
        assert!(error.is_usage());
    }
    assert!(!Home::new("a = 1").load(&Overrides::default()).expect_err("a bad file").is_usage());
}

#[test]
fn relative_paths_are_resolved_against_the_file_or_the_current_directory() {
    let home = Home::new("[record]\nfile = 'record.jsonl'\n[feed]\nca_file = 'ca.pem'");
    let overrides = Overrides { ca_file: Some("ca.pem".into()), ..Overrides::default() };
    let config = home.load(&overrides).expect("good");
    assert_eq!(config.record_file, Some(home.file().with_file_name("record.jsonl")));
    assert_eq!(config.ca_file, path::absolute("ca.pem").ok());
}

#[test]
fn an_error_of_a_channel_gets_its_line() {
    let home = Home::new("[channel.webhook.a]\nurl = 'ftp://x'\n");
    let config = home.load(&Overrides::default()).expect("good so far");
    let file = home.file();
    let error = |key| config.error_in("channel.webhook.a", SettingError::new(key, "no")).to_string();
    assert_eq!(error("url"), format!("{}:2: channel.webhook.a.url: no", file.display()));
    assert_eq!(error("token"), format!("{}:1: channel.webhook.a.token: no", file.display()));
    assert_eq!(error(""), format!("{}:1: channel.webhook.a: no", file.display()));
}

#[test]
fn shown_settings_load_as_the_same() {
    let home = Home::new("[channel.desktop]\nenabled = false");
    let config = home.load(&all_overrides()).expect("good");
    let again = Home::new(config.show());
    assert_eq!(values(&again.load(&Overrides::default()).expect("good")), values(&config));
}

/// Returns the sample with all settings enabled. Settings have no blank after the `#`, prose has one.
fn sample_with_all_settings() -> String {
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let uncommented = SAMPLE.lines().map(|line| if is_setting(line) { &line[1..] } else { line });
    uncommented.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_sample_equals_the_defaults() {
    let home = Home::new(SAMPLE);
    let sample = home.load(&Overrides::default()).expect("the sample loads");
    fs::write(home.file(), "").expect("written");
    assert_eq!(values(&sample), values(&home.load(&Overrides::default()).expect("an empty file")));
}

#[test]
fn the_sample_loads_with_every_setting_and_lists_each_default() {
    let all = sample_with_all_settings();
    let (shown, default) = (good(&all).show(), good("").show());
    assert!(!shown.contains("# default"), "not in the sample:\n{shown}");
    for line in default.lines().filter(|line| line.contains(" # default")) {
        let setting = line.trim_end_matches(" # default");
        let is_example = ["time_zone = ", "directory = "].iter().any(|key| setting.starts_with(key));
        assert!(is_example || all.lines().any(|line| line == setting), "{setting}");
    }
    for key in known_keys("") {
        let name = key.rsplit('.').next().expect("a name");
        assert!(all.contains(&format!("{name} = ")), "{key} is not in the sample");
    }
}

/// Returns the dotted keys of all settings in a table, as listed by the loader.
fn known_keys(table: &str) -> BTreeSet<String> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = error_of(format!("{header}zzzz = 1"), &Overrides::default());
    if error.contains("a channel of this kind has a name") {
        return known_keys(&format!("{table}.NAME"));
    }
    let keys_of = |name: &str| match policy::KEYS.contains(&name) {
        // The same in every channel's table, and documented once.
        true => BTreeSet::from([format!("channel.ANY.{name}")]),
        false => known_keys(&source_map::joined(table, name)),
    };
    match error.split_once("; known keys: ") {
        Some((_, names)) => names.split(", ").flat_map(keys_of).collect(),
        None => BTreeSet::from([table.to_owned()]),
    }
}

#[test]
fn the_reference_lists_exactly_the_known_keys() {
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
    let documented: BTreeSet<String> = REFERENCE.lines().filter_map(row).collect();
    assert_eq!(documented, known_keys(""));
    assert!(documented.len() > 15, "{documented:?}");

    let mut flags = BTreeMap::new();
    merge::overlay(&mut File::default(), &all_overrides(), &mut flags);
    for (key, given) in flags {
        let Given::Flag(flag) = given else { panic!("{key}") };
        let variable = format!("STATUSD_{}", flag.to_uppercase().replace('-', "_"));
        let wanted = format!("`--{flag}`, `{variable}`");
        let is_row = |line: &&str| line.starts_with(&format!("| `{key}` |"));
        let row = REFERENCE.lines().find(is_row).expect(key);
        assert!(row.contains(&wanted), "{key}: {wanted}");
    }
}
