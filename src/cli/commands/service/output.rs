//! The text that `statusd service install` and `uninstall` print.

use std::path::{Path, PathBuf};

use crate::cli::args::UninstallArgs;
use crate::cli::phrases::printable;
use crate::config::Config;
use crate::service::{self, Action, CurrentState, OnDisk, SYSTEM_STATE, Scope};

pub const UP_TO_DATE: &str = "Nothing to do: the installation is up to date.\n";
pub const NOT_INSTALLED: &str = "Nothing to do: the service is not installed.\n";
/// Cargo's output directory, which the next build overwrites.
const BUILD_DIRECTORY: &str = "target";

/// Lists the steps, with the whole text of each file. Returns `nothing` if there is no step.
pub fn dry_run(actions: &[Action], nothing: &str) -> String {
    if actions.is_empty() {
        return nothing.to_owned();
    }
    let mut text = "Dry run. Steps:\n".to_owned();
    for (number, action) in (1..).zip(actions) {
        text.push_str(&format!("{number}. {}\n", printable(&action.to_string())));
        match action {
            Action::Write { text: file, .. } => {
                file.lines()
                    .for_each(|line| text.push_str(&format!("   {}\n", format!("| {line}").trim_end())));
            }
            Action::Run(_)
            | Action::Move { .. }
            | Action::Remove(_)
            | Action::RemoveEmpty(_)
            | Action::AwaitUnloaded(_)
            | Action::Purge(_) => {}
        }
    }
    text + "Nothing was changed.\n"
}

/// Lists the completed steps. Returns `nothing` if there was none.
pub fn summary(actions: &[Action], nothing: &str) -> String {
    if actions.is_empty() {
        return nothing.to_owned();
    }
    // Not wrapped, so that commands and paths can be copied.
    let lines = actions.iter().map(|action| format!("  {}\n", printable(&action.to_string())));
    format!("Done:\n{}", lines.collect::<String>())
}

/// Returns the text after an installation: when the service runs, and the commands to use next.
pub fn next_steps(scope: &Scope, current: &CurrentState, request: &service::Install) -> String {
    let mut text = match scope {
        Scope::User { .. } if current.lingers || request.linger => {
            "statusd is running. It keeps running after logout, because lingering is on.\n".to_owned()
        }
        Scope::User { .. } => "statusd is running. It starts at login and stops at your last logout.\n\
                                To keep it running after logout, use `statusd service install --linger`.\n"
            .to_owned(),
        Scope::System => format!(
            "statusd is running. It starts at boot. Query it with `statusd status --state-directory \
             {SYSTEM_STATE}`.\nA system service shows no desktop notifications. Its notices go to the \
             journal\nand to the channels in /etc/statusd/statusd.toml.\n"
        ),
        Scope::LaunchAgent { .. } => {
            "statusd is running. It starts at login and stops at logout.\n".to_owned()
        }
    };
    if let Some(unit) = service::packaged_unit(scope, current).filter(|_| current.file == OnDisk::Missing) {
        text.push_str(&format!("The service uses the unit {}.\n", printable(&unit.display().to_string())));
    } else if Path::new(&request.program).iter().any(|part| part == BUILD_DIRECTORY) {
        let program = printable(&request.program);
        text.push_str(&format!(
            "The service runs {program}, which the next build replaces.\n\
             Install the program with `cargo install --path .`, then install the service again.\n"
        ));
    }
    if request.without_namespaces {
        text.push_str(
            "This system forbids unprivileged user namespaces, so the service runs with fewer restrictions.\n\
             The end of its unit file lists the omitted options.\n",
        );
    }
    text + "To follow the log, use `statusd service logs -f`.\n\
            To test your channels, use `statusd test-notice`.\n"
}

/// Returns one line for each directory or file that stays after an uninstall.
pub fn remaining_files(scope: &Scope, options: &UninstallArgs, config: Option<&Config>) -> String {
    let state_directory = config.map(|config| config.state_directory.clone());
    let config_file = config.and_then(|config| config.source.clone());
    let drop_ins = PathBuf::from(format!("{}.d", scope.file().display()));
    let paths = [
        ("The history", state_directory.filter(|path| path.exists()), "; --purge removes it"),
        ("The configuration", config_file, ""),
        ("Your drop-in directory", Some(drop_ins).filter(|path| path.exists()), ""),
    ];
    let lines = paths.into_iter().filter_map(|(name, path, advice)| {
        let advice = if options.purge { "" } else { advice };
        Some(format!("{name} stays in {}{advice}.\n", printable(&path?.display().to_string())))
    });
    lines.collect()
}
