//! The definition of the command line, and its help texts.
//!
//! Settings are passed to `config` as unparsed text. `docs/configuration.md` lists their flags and
//! variables.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Overrides};

const EXAMPLES: &str = "\
Examples:
  statusd check                     check iCloud Backup now
  statusd check 'iCloud*' Photos    check several services at once
  statusd run                       run the daemon until stopped
  statusd history --since 30d       list outages, with a timeline

Exit codes: 0 success, 1 failure, 2 wrong usage, 73 cannot create, write or use
the database, 75 already running, 78 invalid configuration. `check` has its own:
see `statusd check -h`.

Settings can also be environment variables: STATUSD_LOCALE for --locale.";

/// The heading of the commands. The short help must fit a screen, so it has no further line for this.
const COMMANDS: &str = "Commands (`statusd COMMAND -h` for one, `statusd --help` for all settings)";

/// Has no blank lines between the parts, so that the short help fits a screen.
const TEMPLATE: &str = "{about-with-newline}{usage-heading} {usage}\n{all-args}{after-help}";

/// Watch Apple's system status and send a notification when iCloud Backup is down
#[derive(Debug, Parser)]
#[command(name = "statusd", version, after_long_help = EXAMPLES, max_term_width = 80)]
#[command(help_template = TEMPLATE)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(subcommand_help_heading = COMMANDS)]
pub struct Cli {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Settings, given before or after the command. They override the environment, which overrides the
/// file. `flags` lists the settings of each command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Read only this configuration file
    #[arg(long, global = true, env = "STATUSD_CONFIG", value_name = "FILE", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Set the directory of the database
    #[arg(long, global = true, env = "STATUSD_STATE_DIRECTORY", value_name = "DIR", hide_env = true)]
    #[arg(visible_alias = "state-dir")]
    pub state_directory: Option<PathBuf>,
    /// Watch this service or glob; may be repeated, or separated by `;`
    #[arg(long, global = true, env = "STATUSD_WATCH", value_name = "GLOB", hide_env = true)]
    #[arg(value_delimiter = ';')]
    pub watch: Vec<String>,
    /// Read the feed from this mirror instead of Apple's server
    #[arg(long, global = true, env = "STATUSD_FEED_URL", value_name = "URL", hide_env = true)]
    pub feed_url: Option<String>,
    /// Select the edition of the feed: consumer or developer
    #[arg(long, global = true, env = "STATUSD_EDITION", value_name = "EDITION", hide_env = true)]
    pub edition: Option<String>,
    /// Set the language and country of the feed, like en_US
    #[arg(long, global = true, env = "STATUSD_LOCALE", value_name = "LOCALE", hide_env = true)]
    pub locale: Option<String>,
    /// Use colour [auto, always, never]; auto respects NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub color: Color,
    /// Set the log level: error, warn, info, debug or trace
    #[arg(long, global = true, env = "STATUSD_LOG_LEVEL", value_name = "LEVEL", hide_env = true)]
    #[arg(visible_alias = "log")]
    pub log_level: Option<String>,
    /// Set the log format: auto, human, journal or json
    #[arg(long, global = true, env = "STATUSD_LOG_FORMAT", value_name = "FORMAT", hide_env = true)]
    pub log_format: Option<String>,
    /// Set the time zone of output and schedules, like Europe/Berlin
    #[arg(long, global = true, env = "STATUSD_TIME_ZONE", value_name = "ZONE", hide_env = true)]
    pub time_zone: Option<String>,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, global = true, env = "STATUSD_CA_FILE", value_name = "FILE", hide_env = true)]
    pub ca_file: Option<PathBuf>,
    /// Poll on this schedule, as in cron
    #[arg(long, global = true, env = "STATUSD_POLL", value_name = "CRON", hide_env = true)]
    pub poll: Option<String>,
    /// Poll on this schedule while a watched service has a problem
    #[arg(long, global = true, env = "STATUSD_TROUBLE", value_name = "CRON", hide_env = true)]
    pub trouble: Option<String>,
    /// Delay polls by up to this many seconds, always the same on one machine
    #[arg(long, global = true, env = "STATUSD_JITTER_S", value_name = "SECONDS", hide_env = true)]
    #[arg(allow_negative_numbers = true, value_parser = config::jitter_s)]
    pub jitter_s: Option<i64>,
    /// Append changed documents, and polls that had an effect, to this file
    #[arg(long, global = true, env = "STATUSD_RECORD_FILE", value_name = "FILE", hide_env = true)]
    pub record_file: Option<PathBuf>,
}

impl SettingsArgs {
    /// Returns the settings for `config::load`.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            watch: self.watch.clone(),
            time_zone: self.time_zone.clone(),
            edition: self.edition.clone(),
            locale: self.locale.clone(),
            feed_url: self.feed_url.clone(),
            ca_file: self.ca_file.clone(),
            poll: self.poll.clone(),
            trouble: self.trouble.clone(),
            jitter_s: self.jitter_s,
            state_directory: self.state_directory.clone(),
            record_file: self.record_file.clone(),
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
            ..Overrides::default()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the daemon in the foreground
    Run,
    Check(CheckArgs),
    /// Show the state of the daemon: polls, outages, pending messages
    Status {
        /// Print JSON (docs/json.md)
        #[arg(long)]
        json: bool,
    },
    History(HistoryArgs),
    Fleet(FleetArgs),
    Services(ServicesArgs),
    Outbox(OutboxArgs),
    Ack(AckArgs),
    /// Hold back messages to people for a while, then send one digest
    ///
    /// Applies to every channel for people. Channels for programs (webhook, command, log and similar)
    /// still get each change at once. No message is lost: held messages wait in the outbox.
    #[command(after_help = "\
Examples:
  statusd snooze 2h     hold messages back for two hours
  statusd snooze off    send the digest now
  statusd snooze        show whether a snooze is active")]
    Snooze {
        /// Set the duration, like 30m, 2h or 1d; off ends the snooze
        #[arg(value_name = "DURATION")]
        request: Option<String>,
    },
    /// Send a test message through every configured channel
    #[command(after_help = "Exits with 1 if a message was not delivered.")]
    TestNotice {
        /// Test only these channels, like desktop or webhook.NAME
        #[arg(value_name = "CHANNEL")]
        channels: Vec<String>,
    },
    CheckHealth(CheckHealthArgs),
    Drill(DrillArgs),
    Doctor(DoctorArgs),
    Guide(GuideArgs),
    Replay(ReplayArgs),
    /// Install, remove or inspect the background service
    #[command(disable_help_subcommand = true)]
    Service {
        #[command(subcommand)]
        command: ServiceArgs,
    },
    /// Check, show or write the configuration
    #[command(disable_help_subcommand = true)]
    Config {
        #[command(subcommand)]
        command: ConfigArgs,
    },
    /// Print shell completions
    #[command(after_help = "\
Example:
  cd ~/.local/share/bash-completion/completions
  statusd completions bash > statusd")]
    Completions {
        /// Print the completions of this shell
        shell: clap_complete::Shell,
    },
    Man(ManArgs),
    Complete(CompleteArgs),
}

/// Print the candidates for the last word of a command line, for shell completions
#[derive(Args, Debug)]
#[command(hide = true)]
pub struct CompleteArgs {
    /// Complete these words: the command line so far, without the program's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Check now whether services are down
///
/// Needs no daemon, database or configuration. Without SERVICE, checks the services that the configuration
/// watches. Default: iCloud Backup.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 Apple lists no problem, 1 issue or maintenance, 2 outage,
3 cannot tell. See `statusd check --help` for examples and settings.")]
#[command(after_long_help = "\
Exit codes, compatible with Nagios:
  0  Apple lists no problem
  1  an issue or maintenance
  2  an outage
  3  cannot tell: no network, an unreadable feed, an unknown service,
     wrong usage
Of several services, the worst code counts, in the order 2, 3, 1, 0.

Examples:
  statusd check 'iCloud*' Photos
  statusd check --format nagios 'iCloud Backup'
  statusd check --json | jq -r .verdict")]
pub struct CheckArgs {
    /// Check these services: Apple's names in any case, or globs with * and ?
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Also state how reliable a list without problems is
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    pub verbose: bool,
    /// Print JSON (docs/json.md)
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Set the output format
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    pub format: CheckFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    Text,
    Nagios,
}

/// List outages and their times, with a timeline
///
/// Prints one row for each outage and maintenance: when it began and ended according to Apple, when Apple
/// posted it, and when the first message about it was sent. "by" means that statusd was not running when
/// Apple posted it, so it may have been earlier. "no" means that no channel was to send a message. A time
/// without a date is on the day the outage began. The timeline covers --since to --until. Default: the last
/// 30 days.
#[derive(Args, Debug)]
#[command(after_help = "\
WHEN is a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h).

Examples:
  statusd history --since 90d
  statusd history --changes --since 7d
  statusd history --service 'iCloud*' --format csv > icloud.csv")]
pub struct HistoryArgs {
    /// Show only this service or glob; may be repeated. Default: watched services
    #[arg(long = "service", value_name = "GLOB")]
    pub services: Vec<String>,
    /// Omit entries that lie entirely before this time
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Omit entries that lie entirely after this time
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// List each change, also of the feed, statusd and phones
    #[arg(long)]
    pub changes: bool,
    /// Set the output format
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: HistoryFormat,
    /// Print JSON, as --format json does
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Include all services and unannounced changes
    #[arg(long)]
    pub all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    Table,
    Json,
    Csv,
}

/// Report devices with late backups, and whether Apple is the cause
///
/// FILE is a list exported from mobile device management (MDM). It has a column for the device and one
/// for its last iCloud backup, and optionally one that says whether backups are on. Compares each device
/// with the outages that statusd recorded (docs/fleet.md).
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit codes with --fail-on: 0 no such device, 1 at least one, 3 cannot tell:
some devices are unknown, or the list is unusable.

Examples:
  statusd fleet devices.csv
  statusd fleet --backup-column 'iCloud date (UTC)' devices.csv
  statusd fleet --fail-on late devices.csv   for scripts: exit with 1
  statusd fleet --format csv devices.csv > report.csv
  export-devices | statusd fleet --json - | jq .counts")]
pub struct FleetArgs {
    /// Read this file of comma-separated values; - is standard input
    pub file: PathBuf,
    /// Count only outages of this service or glob; may be repeated. Default: watched services
    #[arg(long = "service", value_name = "GLOB")]
    pub services: Vec<String>,
    /// Read the last iCloud backup from this column. Default: detected
    #[arg(long, value_name = "NAME")]
    pub backup_column: Option<String>,
    /// Read the device's name from this column. Default: detected
    #[arg(long, value_name = "NAME")]
    pub device_column: Option<String>,
    /// Exit with 1 if a device is late, late-otherwise (not because of Apple), off or unknown; may be
    /// repeated, or separated by `,`
    #[arg(long, value_name = "STATE", value_delimiter = ',', hide_possible_values = true)]
    pub fail_on: Vec<FailOn>,
    /// Read dates like 05/04/2026 in this order: mdy or dmy
    #[arg(long, value_name = "ORDER", hide_possible_values = true)]
    pub date_order: Option<DateOrderArg>,
    /// Set the output format; table omits devices that are up to date
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: FleetFormat,
    /// Print JSON, as --format json does
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FleetFormat {
    Table,
    Json,
    Csv,
}

/// A state of a device that makes `--fail-on` exit with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Late for any reason
    Late,
    /// Late, but not because of Apple
    LateOtherwise,
    /// iCloud Backup is off
    Off,
    /// The last backup, or Apple's status at that time, is unknown
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DateOrderArg {
    /// Month, day, year
    Mdy,
    /// Day, month, year
    Dmy,
}

/// List Apple's services and their states
#[derive(Args, Debug)]
pub struct ServicesArgs {
    /// List only these services or globs
    #[arg(value_name = "GLOB")]
    pub services: Vec<String>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Mute reminders and updates of an outage until it ends
///
/// Holds back reminders and updates (worse, better) of the ongoing outage from people; they arrive together
/// with its end. Another outage of the same service is announced as usual.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd ack                    mute every outage of a watched service
  statusd ack 'iCloud Backup'
  statusd ack --undo")]
pub struct AckArgs {
    /// Mute only outages of these services or globs. Default: watched services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Send reminders and updates again
    #[arg(long)]
    pub undo: bool,
}

/// List, retry or drop messages that wait or were given up
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  statusd outbox                           list messages that wait, and why
  statusd outbox retry 7                   retry now, on every channel
  statusd outbox drop 7 --channel desktop")]
pub struct OutboxArgs {
    #[command(subcommand)]
    pub command: Option<OutboxCommand>,
    /// Include messages that were sent
    #[arg(long, global = true)]
    pub all: bool,
    /// Print JSON (docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// List messages that wait or were given up
    List,
    /// Show one message and the outcome of each attempt
    Show {
        /// Select the message by its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
    },
    /// Retry a message now
    Retry {
        /// Select the message by its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
        /// Retry only on this channel
        #[arg(long)]
        channel: Option<String>,
    },
    /// Give up a message; it stays in the list
    Drop {
        /// Select the message by its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
        /// Give it up only on this channel
        #[arg(long)]
        channel: Option<String>,
    },
}

fn times(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .ok()
        .filter(|times| (1..=10_000).contains(times))
        .ok_or("expected a whole number, 1 to 10000")
}

fn lines(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "expected a whole number, like 100")
}

fn number(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "expected a number from `statusd outbox`")
}

/// Ask the running daemon whether it is ready, for containers
///
/// Asks /readyz of the web listener: the configured one, or that of --url. The daemon is ready when its tasks
/// make progress, its database works and it has polled once. An outage at Apple changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 0 if the daemon is ready, 1 if not.

Examples:
  statusd check-health
  statusd check-health --url unix:/run/statusd/web.sock
  HEALTHCHECK CMD [\"statusd\", \"check-health\"]   in a Dockerfile")]
pub struct CheckHealthArgs {
    /// Ask this address: http://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Simulate an outage and send its messages, marked DRILL
///
/// Serves a simulated feed on this computer, with an outage of the first watched service: it begins, gets
/// worse and ends. A second outage is posted only after its end. Polling, state machine and delivery run as
/// in the daemon, with a temporary database. Needs no internet and no daemon, and does not affect a running
/// one.
///
/// The filters of a channel (`only`, `services`) apply. Quiet hours and snoozes do not. Each message is tried
/// once.
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 1 if a message was not delivered.

Examples:
  statusd drill --dry           print the messages without sending them
  statusd drill --channel webhook.ops
  statusd drill --speed 60      60 times as fast as a real outage: 21 s")]
pub struct DrillArgs {
    /// Use only this channel, like desktop or webhook.NAME; may be repeated
    #[arg(long = "channel", value_name = "CHANNEL")]
    pub channels: Vec<String>,
    /// Run this many times as fast as real time (21 min). Default: no waiting
    #[arg(long, value_name = "TIMES", value_parser = times)]
    pub speed: Option<u32>,
    /// Print the messages without sending them
    #[arg(long)]
    pub dry: bool,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Find out whether Apple, the network or the iPhone is the problem
///
/// Prints a verdict, then one line for each check: Apple's status, the network from here to Apple, a
/// connected iPhone, backups on this computer, and statusd itself. Changes no setting here or on the phone,
/// and never pairs. Checks the network of this computer, which may differ from the phone's.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 nothing found, 1 problem found, 3 cannot tell.
See `statusd doctor --help` for examples and settings.")]
#[command(after_long_help = "\
Exit codes: 0 nothing found, 1 problem found, 3 cannot tell.

Examples:
  statusd doctor                   run all checks, in at most 20 s
  statusd doctor -v                show the evidence
  statusd doctor --only phone      run one group of checks
  statusd doctor --only portal,hosts
  statusd doctor --json | jq -r .verdict")]
pub struct DoctorArgs {
    /// Show the evidence of each check
    #[arg(short, long)]
    pub verbose: bool,
    /// Run only these checks or groups; may be repeated, or separated by `,`
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Skip these checks or groups; may be repeated, or separated by `,`
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// List the checks without running them
    #[arg(long)]
    pub list_checks: bool,
    /// Show names and numbers of phones, which identify their owners
    #[arg(long)]
    pub identifiers: bool,
    /// Measure the upload too; sends some megabytes to Apple
    #[arg(long)]
    pub speed: bool,
    /// Contact only Apple's hosts: do not try example.com if none is reachable
    #[arg(long)]
    pub no_third_party: bool,
    /// Look for phone backups in this directory too; may be repeated
    #[arg(long, value_name = "DIR")]
    pub backups: Vec<PathBuf>,
    /// Connect to another address for a host: HOST:PORT:ADDRESS:PORT, as in curl; may be repeated
    #[arg(long, value_name = "PLACE", hide_short_help = true)]
    pub connect_to: Vec<String>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Show what to do when an iPhone does not back up, step by step
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd guide                show all steps, the easy ones first
  statusd guide 4              show one step, by its number
  statusd guide back-up-now    or by its name")]
pub struct GuideArgs {
    /// Show only this step, by number or name. Default: all
    #[arg(value_name = "STEP")]
    pub step: Option<String>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Replay a recording and print the changes that would be announced
///
/// Runs the parser and the state machine in virtual time: at the recorded times, and between them on the
/// schedule of --poll and --trouble, --jitter-s seconds after each slot. A recording by the daemon
/// (record.file) holds the daemon's own polls and needs no schedule. The same recording and flags produce
/// the same output, byte for byte. Reads a configuration only if --config is given. Default time zone: UTC.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd replay feed.jsonl.zst
  statusd replay record.jsonl.* record.jsonl   (all parts of a recording)
  statusd replay --watch 'iCloud*' --json feed.jsonl | jq -c .key")]
pub struct ReplayArgs {
    /// Read JSON Lines with "at" and "body", plain, .gz or .zst, in this order; - is standard input
    #[arg(required = true)]
    pub file: Vec<PathBuf>,
    /// Print one JSON object per line (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ServiceArgs {
    Install(InstallArgs),
    Uninstall(UninstallArgs),
    /// Show the state of the service and its last poll
    #[command(after_help = "Exits with 0 if the service is running, 1 if not.")]
    Status {
        /// Print JSON (docs/json.md)
        #[arg(long)]
        json: bool,
    },
    /// Show the service's log: the journal, or its log file on macOS
    Logs {
        /// Show the newest N lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = lines)]
        lines: u32,
        /// Keep showing new lines
        #[arg(short, long)]
        follow: bool,
    },
}

/// Install statusd as a service, and start it
///
/// For a user: installs a systemd user unit, or a LaunchAgent on macOS. It runs from login to logout and
/// shows desktop notifications. For root on Linux: installs a system unit with its own user. A second run
/// repairs the service, or starts an upgraded program; it changes nothing if all is well. If a step fails,
/// restores the previous state.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd service install --dry-run   only print the steps and the file
  statusd service install
  sudo statusd service install        for all users; see docs/service.md")]
pub struct InstallArgs {
    /// Print the steps and the whole file without any change
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a file that statusd did not write or that was changed; keep it as .old
    #[arg(long)]
    pub force: bool,
    /// Keep your services running after logout (loginctl enable-linger)
    #[arg(long)]
    pub linger: bool,
}

/// Stop and uninstall the service
///
/// Removes only what `install` wrote. Keeps the history and the configuration, and prints where they are.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// Print the steps without any change
    #[arg(long)]
    pub dry_run: bool,
    /// Remove a file that statusd did not write or that was changed; keep it as .old
    #[arg(long)]
    pub force: bool,
    /// Remove the history and pending messages too; keep the configuration
    #[arg(long)]
    pub purge: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigArgs {
    /// Load the configuration and its secrets as `run` does, and report errors
    Check,
    /// Print the effective settings and their sources, without secrets
    Show,
    /// Write the commented sample configuration to its default path
    Init {
        /// Replace an existing file
        #[arg(long)]
        force: bool,
        /// Print the sample instead
        #[arg(long, conflicts_with = "force")]
        stdout: bool,
    },
}

/// Print a manual page
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd man | man -l -
  statusd man config init | man -l -
  statusd man --dir pages               all pages
Packages contain statusd.toml(5) too: `man statusd.toml` documents every key of the configuration file.
The sources have the same text in docs/configuration.md.")]
pub struct ManArgs {
    /// Print the page of this command, like check or config init
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write all pages to this directory
    #[arg(long)]
    pub dir: Option<PathBuf>,
}
