//! The manual page of a command, generated from the definition that parses the command line.
//!
//! clap_mangen renders options and subcommands. Synopsis, examples and exit codes are rendered here, because
//! clap_mangen treats them as running text. `tests/it/manual.rs` checks that the pages fit 80 columns.

use std::io;

use clap::builder::StyledStr;
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The preamble of every [`Roff`], of which a page needs only one.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Returns the page of a built command in roff.
pub fn page(command: &Command) -> io::Result<String> {
    let is_setting = |argument: &Arg| argument.get_help_heading().is_some();
    let options = command.clone().mut_args(|argument| hidden_if(argument, is_setting));
    let settings = command.clone().mut_args(|argument| hidden_if(argument, |argument| !is_setting(argument)));
    let (options, settings, whole) = (Man::new(options), Man::new(settings), Man::new(command.clone()));
    let mut text = Vec::new();
    head(&name(command)).to_writer(&mut text)?;
    whole.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    whole.render_description_section(&mut text)?;
    options.render_options_section(&mut text)?;
    if command.has_subcommands() {
        whole.render_subcommands_section(&mut text)?;
    }
    if let Some(help) = command.get_after_long_help().or(command.get_after_help()) {
        after_help(help).to_writer(&mut text)?;
    }
    settings.render_options_section(&mut text)?;
    see_also(command).to_writer(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(format!("{PREAMBLE}{}", text.replace(PREAMBLE, "")))
}

/// Returns the page name, for example `statusd-config-init`.
pub fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// Returns the head of a page. The head has no date, so that the same sources give the same page.
fn head(name: &str) -> Roff {
    let mut roff = Roff::new();
    let version = concat!("statusd ", env!("CARGO_PKG_VERSION"));
    // The empty date needs quotes: otherwise `man` takes the version for the date.
    roff.control("TH", [name, "1", "\"\"", version, "statusd manual"]);
    // No justification and no hyphenation, so that searches find the names of flags.
    roff.control("ad", ["l"]).control("nh", []);
    roff
}

fn hidden_if(argument: Arg, is_hidden: impl Fn(&Arg) -> bool) -> Arg {
    if is_hidden(&argument) { argument.hide(true) } else { in_one_sentence(argument) }
}

/// Appends the possible values, aliases and variable of an argument to its help. As separate lists they would
/// take half a screen.
fn in_one_sentence(argument: Arg) -> Arg {
    let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    let is_omitted = argument.is_hide_possible_values_set() || !argument.get_action().takes_values();
    if let Some((last, before)) = values.split_last().filter(|_| !is_omitted) {
        help = format!("{help} [{}, {last}]", before.join(", "));
    }
    for alias in argument.get_visible_aliases().unwrap_or_default() {
        help = format!("{help}; also --{alias}");
    }
    if let Some(variable) = argument.get_env() {
        help = format!("{help} ({})", variable.to_string_lossy());
    }
    argument.hide_possible_values(true).help(help.trim_start().to_owned())
}

/// Renders the usage line of `--help`.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let command = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    match usage.strip_prefix(command) {
        Some(rest) => roff.text([bold(command), roman(rest)]),
        None => roff.text([roman(usage)]),
    };
    roff
}

/// Renders blocks separated by blank lines. Indented lines keep their layout.
fn after_help(help: &StyledStr) -> Roff {
    let help = help.to_string();
    let mut roff = Roff::new();
    let mut heading = "";
    for block in help.split("\n\n") {
        let (new, lines) = titled(block);
        if new == heading {
            roff.control("PP", []);
        } else {
            roff.control("SH", [new]);
            heading = new;
        }
        let mut is_fixed = false;
        for line in lines {
            let starts_fixed = line.starts_with(' ');
            if starts_fixed != is_fixed {
                roff.control(if starts_fixed { "nf" } else { "fi" }, []);
                is_fixed = starts_fixed;
            }
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        if is_fixed {
            roff.control("fi", []);
        }
    }
    roff
}

/// Returns the heading of a block, and its lines without the title that the heading replaces.
fn titled(block: &str) -> (&'static str, Vec<&str>) {
    let lines: Vec<&str> = block.lines().collect();
    match lines.first() {
        Some(&("Examples:" | "Example:")) => ("EXAMPLES", lines[1..].to_vec()),
        Some(first) if first.starts_with("Exit") => ("EXIT STATUS", lines),
        Some(_) | None => ("NOTES", lines),
    }
}

fn see_also(command: &Command) -> Roff {
    let name = name(command);
    // Generated by scripts/config-page.
    let mut pages = vec!["statusd.toml(5)".to_owned()];
    if let Some((above, _)) = name.rsplit_once('-').filter(|_| name != "statusd-test-notice") {
        pages.insert(0, format!("{above}(1)"));
    }
    if name != "statusd" && !pages.contains(&"statusd(1)".to_owned()) {
        pages.insert(0, "statusd(1)".to_owned());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(pages.join(", "))]);
    roff
}
