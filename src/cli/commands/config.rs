//! `statusd config`: check, show, init.
//!
//! Loads the configuration with the same code as `run`. `init` overwrites an existing file only with
//! `--force`, and atomically (`init_overwrites_only_with_force`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cause::Cause as _;
use crate::config::{self, Config, SAMPLE, zone_name};
use crate::daemon::Setup;
use crate::exit_code::CANNOT_WRITE;

use crate::cli::args::ConfigArgs as Command;
use crate::cli::context::{CommandError, Invocation, Output};
use crate::cli::phrases::printable;
use crate::cli::terminal::Terminal;

pub fn run(command: &Command, invocation: &Invocation) -> Result<Output, CommandError> {
    match command {
        Command::Check => check(invocation),
        Command::Show => Ok(Output::done(invocation.config()?.show())),
        Command::Init { stdout: true, .. } => Ok(Output::done(SAMPLE.to_owned())),
        Command::Init { force, stdout: false } => init(*force, invocation),
    }
}

fn check(invocation: &Invocation) -> Result<Output, CommandError> {
    let config = invocation.config_with_all_errors()?;
    let Setup { config, receivers, .. } = Setup::new(config, invocation.environment)?;
    let names: Vec<&str> = receivers.iter().map(|receiver| receiver.channel.name()).collect();
    let file = config.source.as_ref().map(|path| printable(&path.display().to_string()));
    let terminal = invocation.terminal(&config.time_zone);
    let mut text = match file {
        Some(file) => format!("{file}: valid\n"),
        None => "No configuration file: the defaults apply\n".to_owned(),
    };
    let watch: Vec<String> = config.watch.iter().map(|name| printable(name)).collect();
    let channels = if names.is_empty() { "no channel is enabled".to_owned() } else { names.join(", ") };
    let watching = format!("Watching: {} in Apple's feed {}", watch.join(", "), config.feed);
    text.push_str(&terminal.paragraph(0, &watching));
    text.push_str(&terminal.paragraph(0, &format!("Notifying: {channels}")));
    text.push_str(&terminal.paragraph(0, &zone_line(&config, &terminal)));
    Ok(Output::done(text))
}

/// Returns the time zone and its source: `Time zone: Europe/Berlin (TZ)`.
pub fn zone_line(config: &Config, terminal: &Terminal) -> String {
    let name = printable(&zone_name(&config.time_zone, terminal.now));
    match &config.zone_fault {
        None => format!("Time zone: {name} ({})", printable(&config.zone_source)),
        Some(fault) => format!("Time zone: {name}, as a fallback ({})", printable(fault)),
    }
}

fn init(force: bool, invocation: &Invocation) -> Result<Output, CommandError> {
    let given = invocation.overrides.config.clone();
    let path = given.or_else(|| config::config_candidates(invocation.environment).into_iter().next());
    let path =
        path.ok_or_else(|| CommandError::new(CANNOT_WRITE, "no default path for the file; use --config"))?;
    let shown_path = printable(&path.display().to_string());
    write(&path, force).map_err(|error| {
        CommandError::new(
            CANNOT_WRITE,
            match error.kind() {
                io::ErrorKind::AlreadyExists => format!("{shown_path} already exists; --force replaces it"),
                _ => {
                    format!("cannot write {shown_path}: {}; use another path with --config", error.reason())
                }
            },
        )
    })?;
    Ok(Output::done(format!(
        "Wrote {shown_path}\nIt contains the defaults. Edit it, then run `statusd config check`.\n"
    )))
}

/// Writes the sample, readable only by its owner because users add secrets to the file.
fn write(path: &Path, force: bool) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if !force {
        return create(path);
    }
    // Atomically, because a daemon may reload the file at this moment.
    let draft = PathBuf::from(format!("{}.new-{}", path.display(), std::process::id()));
    create(&draft)?;
    fs::rename(&draft, path).inspect_err(|_| {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&draft);
    })
}

fn create(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(SAMPLE.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_overwrites_only_with_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/statusd.toml");
        write(&path, false).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), SAMPLE);
        fs::write(&path, "mine").expect("written");
        let refused = write(&path, false).expect_err("there is one");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("readable"), "mine");
        write(&path, true).expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("readable"), SAMPLE);
        assert_eq!(fs::read_dir(path.parent().expect("a parent")).expect("readable").count(), 1);
    }
}
