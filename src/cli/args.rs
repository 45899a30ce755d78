//! What may stand on the command line, and its help.
//!
//! Nothing is decided here: settings go on to `config` as the texts that they are, each with the
//! flag and the variable that `docs/configuration.md` names.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Overrides};

const EXAMPLES: &str = "\
Examples:
  statusd check                     is iCloud Backup down?
  statusd check 'iCloud*' Photos    several at once; exits with the worst
  statusd run                       watch, remember and tell, until stopped
  statusd history --since 30d       what happened, with a timeline

Exit codes: 0 done, 1 failed, 2 wrong usage, 73 cannot create, write or use the
database, 75 already running, 78 configuration. `check` has its own: see
`statusd check -h`.

Settings can also stand in the environment: STATUSD_LOCALE for --locale.";

/// What fits a screen beside the commands.
const MORE: &str = "`statusd COMMAND -h` explains a command, `statusd --help` lists all settings.";

/// Without blank lines between its parts, so that the short help fits a screen.
const TEMPLATE: &str = "{about-with-newline}{usage-heading} {usage}\n{all-args}{after-help}";

/// Watches Apple's system status and tells you when iCloud Backup is down.
#[derive(Debug, Parser)]
#[command(name = "statusd", version, after_help = MORE, after_long_help = EXAMPLES, max_term_width = 80)]
#[command(help_template = TEMPLATE)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Settings: before or behind the command, over the environment, over the file. Which command uses
/// which stands in `flags`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// The configuration file, and no other
    #[arg(long, global = true, env = "STATUSD_CONFIG", value_name = "FILE", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Directory of the database
    #[arg(long, global = true, env = "STATUSD_STATE_DIRECTORY", value_name = "DIR", hide_env = true)]
    #[arg(visible_alias = "state-dir")]
    pub state_directory: Option<PathBuf>,
    /// A service to watch, or a glob; may be repeated, or several with `;` between
    #[arg(long, global = true, env = "STATUSD_WATCH", value_name = "GLOB", hide_env = true)]
    #[arg(value_delimiter = ';')]
    pub watch: Vec<String>,
    /// A mirror to read instead of Apple's own address
    #[arg(long, global = true, env = "STATUSD_FEED_URL", value_name = "URL", hide_env = true)]
    pub feed_url: Option<String>,
    /// consumer or developer
    #[arg(long, global = true, env = "STATUSD_EDITION", value_name = "EDITION", hide_env = true)]
    pub edition: Option<String>,
    /// Language and country of the feed, like en_US
    #[arg(long, global = true, env = "STATUSD_LOCALE", value_name = "LOCALE", hide_env = true)]
    pub locale: Option<String>,
    /// Whether to use colour [auto, always, never]; auto obeys NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub color: Color,
    /// error, warn, info, debug or trace
    #[arg(long, global = true, env = "STATUSD_LOG_LEVEL", value_name = "LEVEL", hide_env = true)]
    #[arg(visible_alias = "log")]
    pub log_level: Option<String>,
    /// auto, human, journal or json
    #[arg(long, global = true, env = "STATUSD_LOG_FORMAT", value_name = "FORMAT", hide_env = true)]
    pub log_format: Option<String>,
    /// The time zone to show and to schedule in, like Europe/Berlin
    #[arg(long, global = true, env = "STATUSD_TIME_ZONE", value_name = "ZONE", hide_env = true)]
    pub time_zone: Option<String>,
    /// Certificate authorities (PEM) to trust beside the system's
    #[arg(long, global = true, env = "STATUSD_CA_FILE", value_name = "FILE", hide_env = true)]
    pub ca_file: Option<PathBuf>,
    /// When to poll, as in cron
    #[arg(long, global = true, env = "STATUSD_POLL", value_name = "CRON", hide_env = true)]
    pub poll: Option<String>,
    /// When to poll while a watched service has trouble
    #[arg(long, global = true, env = "STATUSD_TROUBLE", value_name = "CRON", hide_env = true)]
    pub trouble: Option<String>,
    /// Up to so many seconds are added to each time, the same on one machine
    #[arg(long, global = true, env = "STATUSD_JITTER_S", value_name = "SECONDS", hide_env = true)]
    #[arg(allow_negative_numbers = true, value_parser = config::jitter_s)]
    pub jitter_s: Option<i64>,
    /// Append changed documents and polls that had an effect to this file
    #[arg(long, global = true, env = "STATUSD_RECORD_FILE", value_name = "FILE", hide_env = true)]
    pub record_file: Option<PathBuf>,
}

impl SettingsArgs {
    /// For `config::load`.
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
    /// Watch, remember and tell, in the foreground
    Run,
    Check(CheckArgs),
    /// What the daemon knows: polls, outages, pending messages
    Status {
        /// JSON for programs (docs/json.md)
        #[arg(long)]
        json: bool,
    },
    History(History),
    Fleet(Fleet),
    Services(Services),
    Outbox(Outbox),
    Ack(Ack),
    /// Tell people nothing for a while; then comes one digest
    ///
    /// Holds back what goes to people, on every channel. Programs (webhook, command, log and their
    /// kind) get each change as it comes. Nothing is lost: what is held back waits in the outbox.
    #[command(after_help = "\
Examples:
  statusd snooze 2h     nothing for two hours
  statusd snooze off    the digest now
  statusd snooze        is anybody snoozed?")]
    Snooze {
        /// How long, like 30m, 2h or 1d; or off
        #[arg(value_name = "LENGTH")]
        wish: Option<String>,
    },
    /// Send a test message through each configured channel
    #[command(after_help = "Exits with 1 if one of them did not arrive.")]
    TestNotice {
        /// Only these channels, like desktop or webhook.NAME
        #[arg(value_name = "CHANNEL")]
        channels: Vec<String>,
    },
    Drill(DrillArgs),
    Doctor(Doctor),
    Guide(Guide),
    Replay(Replay),
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
    /// Print completions for a shell
    #[command(after_help = "\
Example:
  cd ~/.local/share/bash-completion/completions
  statusd completions bash > statusd")]
    Completions {
        shell: clap_complete::Shell,
    },
    Man(Man),
    Complete(Complete),
}

/// Print the words that may stand last on a command line, for the shells' completions
#[derive(Args, Debug)]
#[command(hide = true)]
pub struct Complete {
    /// The command line behind the program's name, as far as it was typed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Look once and answer: is it down?
///
/// Needs no daemon, no database and no configuration. Without SERVICE it asks for what the
/// configuration watches, else for iCloud Backup.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 Apple lists no problem, 1 issue or maintenance, 2 outage,
3 cannot tell. `statusd check --help` has examples and settings.")]
#[command(after_long_help = "\
Exit codes, as Nagios and its kin expect them:
  0  Apple lists no problem
  1  an issue or maintenance
  2  an outage
  3  cannot tell: no network, an unreadable feed, an unknown service,
     wrong usage
Of several services the worst counts, in the order 2, 3, 1, 0.

Examples:
  statusd check 'iCloud*' Photos
  statusd check --format nagios 'iCloud Backup'
  statusd check --json | jq -r .verdict")]
pub struct CheckArgs {
    /// Names as Apple writes them (case does not matter), or globs with * and ?
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Say too what it is worth that Apple lists no problem
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    pub verbose: bool,
    /// JSON for programs (docs/json.md)
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// How to answer
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    pub format: CheckFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    Text,
    Nagios,
}

/// Outages, each with its times, and a timeline
///
/// One row for each outage and each maintenance: when it began and ended according to Apple, when Apple
/// posted it ("by" where statusd was not running then, so that it may have been earlier) and when the
/// first message about it was sent ("no" where no channel was to send one). A time without a date is of
/// the day on which the outage began. The timeline shows the last 30 days, or those of --since and --until.
#[derive(Args, Debug)]
#[command(after_help = "\
WHEN is a date (2026-05-04), a time (2026-05-04T08:15Z) or an age (30d, 12h).

Examples:
  statusd history --since 90d
  statusd history --changes --since 7d
  statusd history --service 'iCloud*' --format csv > icloud.csv")]
pub struct History {
    /// Only this service, or this glob; may be repeated. Otherwise what is watched
    #[arg(long = "service", value_name = "GLOB")]
    pub services: Vec<String>,
    /// Only what lies after this time, at least in part
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only what lies before this time, at least in part
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Each change by itself, also those of the feed, of statusd and of phones
    #[arg(long)]
    pub changes: bool,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: HistoryFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Every service, and changes that were not announced
    #[arg(long)]
    pub all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    Table,
    Json,
    Csv,
}

/// Whose devices did not back up, and was it Apple?
///
/// FILE is a list as a device management exports it, with a column for the device and one for its
/// last iCloud backup, and perhaps one that says whether backups are on. Each is seen beside the
/// outages that statusd recorded (docs/fleet.md).
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit codes with --fail-on: 0 no such device, 1 at least one, 3 cannot tell:
some devices are unknown, or the list cannot be used.

Examples:
  statusd fleet devices.csv
  statusd fleet --backup-column 'iCloud date (UTC)' devices.csv
  statusd fleet --fail-on late devices.csv   for scripts: exits with 1
  statusd fleet --format csv devices.csv > judged.csv
  export-devices | statusd fleet --json - | jq .counts")]
pub struct Fleet {
    /// Comma-separated values; - is standard input
    pub file: PathBuf,
    /// Only outages of this service, or this glob; may be repeated. Otherwise of what is watched
    #[arg(long = "service", value_name = "GLOB")]
    pub services: Vec<String>,
    /// The column with the last iCloud backup. Otherwise found by its name
    #[arg(long, value_name = "NAME")]
    pub backup_column: Option<String>,
    /// The column that names the device. Otherwise found by its name
    #[arg(long, value_name = "NAME")]
    pub device_column: Option<String>,
    /// Exit with 1 if a device is late, late-otherwise (not because of Apple), off or unknown; may be
    /// repeated, or several with `,` between
    #[arg(long, value_name = "STATE", value_delimiter = ',', hide_possible_values = true)]
    pub fail_on: Vec<FailOn>,
    /// Which comes first in dates like 05/04/2026: mdy or dmy
    #[arg(long, value_name = "ORDER", hide_possible_values = true)]
    pub date_order: Option<DateOrderArg>,
    /// How to print it; table has only who is not up to date
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: FleetFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FleetFormat {
    Table,
    Json,
    Csv,
}

/// What a device must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// For whatever reason
    Late,
    /// Not because of Apple
    LateOtherwise,
    /// iCloud Backup is switched off
    Off,
    /// The last backup, or how Apple was, is not known
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DateOrderArg {
    /// Month, day, year
    Mdy,
    /// Day, month, year
    Dmy,
}

/// Every service of Apple's list, and how it is
#[derive(Args, Debug)]
pub struct Services {
    /// Only these names or globs
    #[arg(value_name = "GLOB")]
    pub services: Vec<String>,
    /// JSON for programs (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Hear no more of an outage until it ends
///
/// Reminders and updates (worse, better) of what is going on now are held back from people and come
/// together with the end. Another outage of the same service is told as ever.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd ack                    every ongoing outage of a watched service
  statusd ack 'iCloud Backup'
  statusd ack --undo")]
pub struct Ack {
    /// Names or globs. Otherwise what is watched
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Tell it again after all
    #[arg(long)]
    pub undo: bool,
}

/// Messages that wait or were given up
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  statusd outbox                           what waits, and why
  statusd outbox retry 7                   try again now, on every channel
  statusd outbox drop 7 --channel desktop")]
pub struct Outbox {
    #[command(subcommand)]
    pub command: Option<OutboxCommand>,
    /// Those that were sent, too
    #[arg(long, global = true)]
    pub all: bool,
    /// JSON for programs (docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// What waits and what was given up
    List,
    /// One message, with what came of each try
    Show {
        /// Its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
    },
    /// Try again now
    Retry {
        /// Its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
        /// Only on this channel
        #[arg(long)]
        channel: Option<String>,
    },
    /// Give up; it stays in the list
    Drop {
        /// Its number in `statusd outbox`
        #[arg(value_parser = number)]
        id: i64,
        /// Only on this channel
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
    text.parse().map_err(|_| "expected a number of `statusd outbox`")
}

/// Play a scripted outage through your channels, marked DRILL
///
/// A feed of its own on this computer shows an outage of the first service that you watch: it
/// begins, gets worse and ends, and another one is posted only when it is over. All that is read,
/// believed and told as in earnest, in a database that is thrown away. It needs neither internet nor
/// daemon and disturbs none.
///
/// What a channel hears of (`only`, `services`) counts as ever; quiet hours and a snooze hold no drill
/// back. Each message is tried once.
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 1 if one of the messages did not arrive.

Examples:
  statusd drill --dry           what would be said, without saying it
  statusd drill --channel webhook.ops
  statusd drill --speed 60      as in earnest, sixty times as fast: 21 s")]
pub struct DrillArgs {
    /// Only this channel, like desktop or webhook.NAME; may be repeated
    #[arg(long = "channel", value_name = "CHANNEL")]
    pub channels: Vec<String>,
    /// So many times as fast as in earnest, which takes 21 min; otherwise nothing is waited for
    #[arg(long, value_name = "TIMES", value_parser = times)]
    pub speed: Option<u32>,
    /// Print the messages and send none
    #[arg(long)]
    pub dry: bool,
    /// JSON for programs (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Is it Apple, or is it me? Looks at all that a computer can see
///
/// The verdict first, then a line for each check: Apple's status, the network from here to Apple, a
/// connected iPhone, backups on this computer, statusd itself. Changes no setting, on the phone
/// neither, and never pairs. It sees this computer's network, which need not be the phone's.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 nothing found, 1 problem found, 3 cannot tell.
`statusd doctor --help` has examples and settings.")]
#[command(after_long_help = "\
Exit codes: 0 nothing found, 1 problem found, 3 cannot tell.

Examples:
  statusd doctor                   takes some seconds, 20 at most
  statusd doctor -v                with the evidence
  statusd doctor --only phone      a group, or checks: --only portal,hosts
  statusd doctor --json | jq -r .verdict")]
pub struct Doctor {
    /// Show what each answer rests on
    #[arg(short, long)]
    pub verbose: bool,
    /// Only these checks or groups; may be repeated, or several with `,` between
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// All but these checks or groups
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Print the checks and make none
    #[arg(long)]
    pub list_checks: bool,
    /// Show names and numbers of phones, which identify their owners
    #[arg(long)]
    pub identifiers: bool,
    /// Measure the upload too: sends some megabytes to Apple
    #[arg(long)]
    pub speed: bool,
    /// Ask Apple's hosts only: not example.com, where none of them can be reached
    #[arg(long)]
    pub no_third_party: bool,
    /// A folder with backups of phones to this computer; may be repeated
    #[arg(long, value_name = "DIR")]
    pub backups: Vec<PathBuf>,
    /// Use this address for a host, HOST:PORT:ADDRESS:PORT, as curl does; may be repeated
    #[arg(long, value_name = "PLACE", hide_short_help = true)]
    pub connect_to: Vec<String>,
    /// JSON for programs (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// What to do when an iPhone does not back up, step by step
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd guide                the whole road, the easy steps first
  statusd guide 4              a step, by its number
  statusd guide back-up-now    or by its word")]
pub struct Guide {
    /// A step's number or word. Otherwise all
    #[arg(value_name = "STEP")]
    pub step: Option<String>,
    /// JSON for programs (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

/// Play a recording and print what people would have been told
///
/// Runs the real parser and the real state machine in virtual time: at the times of the recording,
/// and between them on the schedule of --poll and --trouble, --jitter-s seconds after each slot.
/// A recording of the daemon (record.file) has the daemon's own polls and needs no schedule.
/// The same recording and flags give the same output, byte for byte. Times are UTC unless
/// --time-zone says otherwise. A configuration is read only where --config names one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd replay feed.jsonl.zst
  statusd replay --watch 'iCloud*' --json feed.jsonl | jq -c .key")]
pub struct Replay {
    /// JSON Lines with "at" and "body"; plain, .gz or .zst; - is standard input
    pub file: PathBuf,
    /// One JSON object a line (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ServiceArgs {
    Install(InstallArgs),
    Uninstall(UninstallArgs),
    /// Whether it is installed and running, and when it last polled
    #[command(after_help = "Exits with 0 if the service runs, 1 if it does not.")]
    Status {
        /// JSON for programs (docs/json.md)
        #[arg(long)]
        json: bool,
    },
    /// What it said, from the journal (macOS: from its log file)
    Logs {
        /// So many lines, the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = lines)]
        lines: u32,
        /// Go on showing what it says
        #[arg(short, long)]
        follow: bool,
    },
}

/// Install statusd as a service, and start it
///
/// For yourself: a systemd user unit, or a LaunchAgent on macOS, from login to logout, with bubbles on
/// your desktop. As root on Linux: a unit of the machine, under a user of its own. Run again it repairs,
/// or starts the program that you have just upgraded; where all is well it does nothing. If a step
/// fails, what was there before is put back.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd service install --dry-run   the steps and the file, and no more
  statusd service install
  sudo statusd service install        for the machine; docs/service.md")]
pub struct InstallArgs {
    /// Print what would be done, with the whole file, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a file that statusd did not write or that was changed; it is kept as .old
    #[arg(long)]
    pub force: bool,
    /// Let your services go on after you log out (loginctl enable-linger)
    #[arg(long)]
    pub linger: bool,
}

/// Stop the service and undo what `install` did
///
/// Removes only what `install` wrote. The history and the configuration stay; it says where they are.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take away a file that statusd did not write or that was changed; it is kept as .old
    #[arg(long)]
    pub force: bool,
    /// Remove the history too, and the messages that wait; the configuration stays
    #[arg(long)]
    pub purge: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigArgs {
    /// Load it exactly as `run` does, secrets included, and say what is wrong
    Check,
    /// Print the settings in effect and where each comes from; secrets stay hidden
    Show,
    /// Write the commented sample to its default place
    Init {
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
        /// Print it instead
        #[arg(long, conflicts_with = "force")]
        stdout: bool,
    },
}

/// Print the manual page
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  statusd man | man -l -
  statusd man config init | man -l -
  statusd man config-file | man -l -    statusd.toml(5), every key
  statusd man --dir pages               all of them, *.1 and statusd.toml.5")]
pub struct Man {
    /// Of this command, like check or config init, or config-file
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write all pages into this directory
    #[arg(long)]
    pub dir: Option<PathBuf>,
}
