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

use crate::cli::args::ConfigArgs as Command;
use crate::cli::phrases::shown;
use crate::cli::terminal::Page;
use crate::cli::{CANNOT_WRITE, Failure, Invocation, Output};

pub fn run(command: &Command, invocation: &Invocation) -> Result<Output, Failure> {
    match command {
        Command::Check => check(invocation),
        Command::Show => Ok(Output::done(invocation.config()?.show())),
        Command::Init { stdout: true, .. } => Ok(Output::done(SAMPLE.to_owned())),
        Command::Init { force, stdout: false } => init(*force, invocation),
    }
}

fn check(invocation: &Invocation) -> Result<Output, Failure> {
    let config = invocation.whole_config()?;
    let Setup { config, receivers, .. } = Setup::new(config, invocation.environment)?;
    let names: Vec<&str> = receivers.iter().map(|receiver| receiver.channel.name()).collect();
    let file = config.source.as_ref().map(|path| shown(&path.display().to_string()));
    let page = invocation.page(&config.time_zone);
    let mut text = match file {
        Some(file) => format!("{file}: fine\n"),
        None => "No configuration file: the defaults are fine\n".to_owned(),
    };
    let watch: Vec<String> = config.watch.iter().map(|name| shown(name)).collect();
    let told = if names.is_empty() { "no channel is enabled".to_owned() } else { names.join(", ") };
    text.push_str(&page.paragraph(0, &format!("Watches {} on {}", watch.join(", "), config.feed)));
    text.push_str(&page.paragraph(0, &format!("Notifies: {told}")));
    text.push_str(&page.paragraph(0, &zone_line(&config, &page)));
    Ok(Output::done(text))
}

/// `Time zone: Europe/Berlin (TZ)`
pub fn zone_line(config: &Config, page: &Page) -> String {
    let name = shown(&zone_name(&config.time_zone, page.now));
    match &config.zone_fault {
        None => format!("Time zone: {name} ({})", shown(&config.zone_source)),
        Some(fault) => format!("Time zone: {name}, because it is not known ({})", shown(fault)),
    }
}

fn init(force: bool, invocation: &Invocation) -> Result<Output, Failure> {
    let given = invocation.overrides.config.clone();
    let path = given.or_else(|| config::config_candidates(invocation.environment).into_iter().next());
    let path =
        path.ok_or_else(|| Failure::new(CANNOT_WRITE, "no place to write to; give one with --config"))?;
    let shown_path = shown(&path.display().to_string());
    write(&path, force).map_err(|error| {
        Failure::new(
            CANNOT_WRITE,
            match error.kind() {
                io::ErrorKind::AlreadyExists => format!("{shown_path} is there already; --force replaces it"),
                _ => {
                    format!("cannot write {shown_path}: {}; give another place with --config", error.reason())
                }
            },
        )
    })?;
    Ok(Output::done(format!(
        "Wrote {shown_path}\nAll in it is the default; edit it, then try `statusd config check`.\n"
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
    // In one step, so that whoever reads it meanwhile gets the old or the new one whole.
    let fresh = PathBuf::from(format!("{}.new-{}", path.display(), std::process::id()));
    create(&fresh)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        // The error at hand says more than this one could.
        let _ = fs::remove_file(&fresh);
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
    fn init_overwrites_only_when_told_to() {
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
