//! `statusd completions` and `statusd man`: generated from the definitions that parse the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::cause::{Cause as _, cannot};
use crate::exit_code::{CANNOT_WRITE, WRONG_USAGE};

use crate::cli::args::{self, Cli};
use crate::cli::context::{CommandError, Output};
use crate::cli::{flags, man};

/// Asks `statusd complete` for values such as service names, and falls back to the generated completions.
const BASH_WORDS: &str = r#"
_statusd_words() {
    local word words=()
    while IFS= read -r word; do
        words+=("$word")
    done < <("$1" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${#words[@]} -gt 0 ]]; then
        # Escapes spaces.
        compopt -o filenames 2>/dev/null
        COMPREPLY=("${words[@]}")
    else
        _statusd "$@"
    fi
}
complete -F _statusd_words -o bashdefault -o default statusd
"#;
const ZSH_WORDS: &str = r#"_statusd() {
    local -a found
    found=(${(f)"$($words[1] complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then
        compadd -M 'm:{[:lower:]}={[:upper:]}' -a found
    else
        _statusd_fixed "$@"
    fi
}
"#;
const FISH_WORDS: &str = r#"
function __statusd_words
    # After an option, fish expects only the value.
    statusd complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null | string replace -r '^--[^=]*=' ''
end
complete -c statusd -n 'count (__statusd_words) >/dev/null' -f -a '(__statusd_words)'
for option in watch service channel only skip
    complete -c statusd -l $option -x -a '(__statusd_words)'
end
"#;

pub fn completions(shell: Shell) -> Output {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut listed(&flags::command()), "statusd", &mut text);
    let fixed = String::from_utf8_lossy(&text).into_owned();
    Output::done(match shell {
        Shell::Bash => format!("{fixed}{BASH_WORDS}"),
        // The shell calls `_statusd`, so the generated function gets another name and becomes the fallback.
        Shell::Zsh => fixed.replacen("_statusd() {", &format!("{ZSH_WORDS}\n_statusd_fixed() {{"), 1),
        Shell::Fish => format!("{fixed}{FISH_WORDS}"),
        _ => fixed,
    })
}

/// Returns the command and its subcommands without hidden arguments, which the generators would offer.
fn listed(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .version(command.get_version().unwrap_or_default().to_owned())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(arguments.map(|argument| argument.clone().global(false)))
        .subcommands(commands.map(listed))
}

pub fn man(man: &args::ManArgs) -> Result<Output, CommandError> {
    let command = documented();
    if let Some(directory) = &man.dir {
        return match std::fs::create_dir_all(directory).and_then(|()| write_all(&command, directory)) {
            Ok(()) => Ok(Output::done(String::new())),
            Err(error) => {
                let path = directory.display();
                let message =
                    format!("cannot write to {path}: {}; use another directory with --dir", error.reason());
                Err(CommandError::new(CANNOT_WRITE, message))
            }
        };
    }
    let mut selected = &command;
    for name in &man.command {
        selected = selected.find_subcommand(name).ok_or_else(|| {
            let visible = selected.get_subcommands().filter(|command| !command.is_hide_set());
            let names: Vec<&str> = visible.map(Command::get_name).collect();
            let message = match names.as_slice() {
                [] => format!("unknown command {name:?}: `{}` has no subcommands", selected.get_name()),
                names => format!("unknown command {name:?}: expected one of {}", names.join(", ")),
            };
            CommandError::new(WRONG_USAGE, message)
        })?;
    }
    let text =
        man::page(selected).map_err(|error| CommandError::failed(cannot("create the page", &error)))?;
    Ok(Output::done(text))
}

/// Returns the command with all arguments visible.
fn documented() -> Command {
    unhidden(flags::fitted(Cli::command().disable_help_subcommand(true)))
}

fn unhidden(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_short_help(false)).mut_subcommands(unhidden)
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join(format!("{}.1", man::name(command))), man::page(command)?)?;
    let mut visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    visible.try_for_each(|command| write_all(command, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        for (line, title) in [
            ("", ".TH statusd 1"),
            ("check", ".TH statusd-check 1"),
            ("config init", ".TH statusd-config-init 1"),
            ("doctor", ".TH statusd-doctor 1"),
        ] {
            let command = line.split_whitespace().map(str::to_owned).collect();
            let page = man(&args::ManArgs { command, dir: None }).expect("a page");
            assert!(page.text.contains(title), "{}", &page.text[..300.min(page.text.len())]);
            // Settings appear only on the pages of commands that use them.
            let is_used = ["", "doctor"].contains(&line);
            assert_eq!(page.text.to_lowercase().contains("directory of the database"), is_used, "{line}");
            assert_eq!(page.text.contains("STATUSD_STATE_DIRECTORY"), is_used, "{line}");
            // A blank line is what an argument without help leaves behind.
            assert!(!page.text.contains("\n\n"), "{}", page.text);
        }
        let unknown = man(&args::ManArgs { command: vec!["chekc".to_owned()], dir: None });
        assert_eq!(unknown.expect_err("no such command").code, WRONG_USAGE);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).text.contains("test-notice"));
        }
    }
}
