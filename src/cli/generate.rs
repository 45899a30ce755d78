//! `statusd completions` and `statusd man`: made from the very definitions that parse.

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
    if let Some(directory) = &man.dir {
        return write_all(directory);
    }
    let mut command = Cli::command();
    command.build();
    let mut page = &command;
    for name in &man.command {
        page = page.find_subcommand(name).ok_or_else(|| {
            let names: Vec<&str> = page.get_subcommands().map(Command::get_name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Failure::new(WRONG_USAGE, format!("no command {name:?} here; there is {known}"))
        })?;
    }
    let mut text = Vec::new();
    Man::new(page.clone())
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("cannot make the page: {error}")))?;
    Ok(Output::done(String::from_utf8_lossy(&text).into_owned()))
}

fn write_all(directory: &Path) -> Result<Output, Failure> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| {
            let shown = directory.display();
            Failure::new(CANNOT_WRITE, format!("cannot write into {shown}: {error}; give another --dir"))
        })?;
    Ok(Output::done(String::new()))
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
        }
        let unknown = man(&args::Man { command: vec!["chekc".to_owned()], dir: None });
        assert_eq!(unknown.expect_err("no such command").code, WRONG_USAGE);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).text.contains("test-notice"));
        }
    }
}
