//! `statusd completions` and `statusd man`: made from the very definitions that parse.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::{self, Cli};
use super::{CANNOT_WRITE, Failure, Output, WRONG_USAGE};

pub fn completions(shell: Shell) -> Output {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "statusd", &mut text);
    Output::done(String::from_utf8_lossy(&text).into_owned())
}

pub fn man(man: &args::Man) -> Result<Output, Failure> {
    let command = documented();
    if let Some(directory) = &man.dir {
        return match write_all(&command, directory) {
            Ok(()) => Ok(Output::done(String::new())),
            Err(error) => {
                let shown = directory.display();
                let message = format!("cannot write into {shown}: {error}; give another --dir");
                Err(Failure::new(CANNOT_WRITE, message))
            }
        };
    }
    let mut wanted = &command;
    for name in &man.command {
        wanted = wanted.find_subcommand(name).ok_or_else(|| {
            let names: Vec<&str> = wanted.get_subcommands().map(Command::get_name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Failure::new(WRONG_USAGE, format!("no command {name:?} here; there is {known}"))
        })?;
    }
    let mut text = Vec::new();
    page(wanted)
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("cannot make the page: {error}")))?;
    Ok(Output::done(String::from_utf8_lossy(&text).into_owned()))
}

/// As it parses, with nothing hidden.
fn documented() -> Command {
    let command = Cli::command().disable_help_subcommand(true);
    let mut command = command.mut_args(|argument| argument.hide_short_help(false));
    command.build();
    command
}

fn page(command: &Command) -> Man {
    Man::new(command.clone()).source(concat!("statusd ", env!("CARGO_PKG_VERSION"))).manual("statusd")
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    page(command).generate_to(directory)?;
    command.get_subcommands().try_for_each(|command| write_all(command, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        for (command, title) in [
            ("", ".TH statusd 1"),
            ("check", ".TH statusd-check 1"),
            ("config init", ".TH statusd-config-init 1"),
        ] {
            let command = command.split_whitespace().map(str::to_owned).collect();
            let page = man(&args::Man { command, dir: None }).expect("a page");
            assert!(page.text.contains(title), "{}", &page.text[..300.min(page.text.len())]);
            assert!(page.text.contains("Where the database is"), "settings are hidden");
        }
        let unknown = man(&args::Man { command: vec!["chekc".to_owned()], dir: None });
        assert_eq!(unknown.expect_err("no such command").code, WRONG_USAGE);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).text.contains("test-notice"));
        }
    }
}
