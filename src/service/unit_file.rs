//! The text of the unit file or launchd property list, made from the shipped file, and its mark.
//!
//! The mark is the first line. It names `statusd service install` and holds a hash of the rest, so that
//! a later run can tell our own file from an edited one and from any other. The mark prevents accidents;
//! it proves nothing. The test `our_own_text_is_recognised_and_an_edited_one_is_not` covers both sides.

use ring::digest::{SHA256, digest};

use super::{NOTIFY_RELOAD_SINCE, Scope};
use crate::text;

const USER_UNIT: &str = include_str!("../../systemd/user/statusd.service");
const SYSTEM_UNIT: &str = include_str!("../../systemd/statusd.service");
const LAUNCH_AGENT: &str = include_str!("../../launchd/statusd.plist");
/// Settings that override everything in [`USER_UNIT`] that needs user namespaces.
const WITHOUT_NAMESPACES: &str = include_str!("../../systemd/no-user-namespaces.conf");
const WITHOUT_NAMESPACES_TITLE: &str =
    "# This system forbids unprivileged user namespaces. Options that need them are omitted.";

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
const MARK: &str = "Written by `statusd service install`";
const LINGERING: &str = ", which also switched lingering on";
const HASH: &str = "sha256 ";
const HASH_HEX_DIGITS: usize = 64;

/// The file found where ours belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDisk {
    Missing,
    /// Written by us, not edited since.
    Ours(OwnFile),
    /// Written by us, edited since.
    Changed,
    /// Not written by us, or not a regular text file.
    Foreign,
}

/// An unedited file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// The whole file, including the mark.
    pub text: String,
    pub variant: UnitVariant,
}

/// Choices that a later run of `install` keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitVariant {
    /// `install` enabled lingering, so `uninstall` disables it again.
    pub lingering: bool,
    /// The user unit omits the options that need user namespaces.
    pub without_namespaces: bool,
}

impl OnDisk {
    /// Classifies a file by its text.
    pub fn of(text: String) -> OnDisk {
        let Some((first, body)) = text.split_once('\n').filter(|(first, _)| first.contains(MARK)) else {
            return OnDisk::Foreign;
        };
        let recorded = first.split_once(HASH).and_then(|(_, rest)| rest.get(..HASH_HEX_DIGITS));
        if recorded != Some(hash(body).as_str()) {
            return OnDisk::Changed;
        }
        let variant = UnitVariant {
            lingering: first.contains(LINGERING),
            without_namespaces: body.contains(WITHOUT_NAMESPACES_TITLE),
        };
        OnDisk::Ours(OwnFile { text, variant })
    }

    /// The value of `file_is` in `--json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            OnDisk::Missing => "missing",
            OnDisk::Ours(_) => "ours",
            OnDisk::Changed => "changed",
            OnDisk::Foreign => "foreign",
        }
    }
}

/// Returns the whole file, including its mark.
///
/// `program` is an absolute path. `systemd` is the version of systemd, if known. `writable` are
/// directories that a user service writes to in addition to its state directory.
///
/// # Errors
///
/// A path contains a control character. Returns a one-line message for the user.
pub fn text(
    scope: &Scope,
    program: &str,
    systemd: Option<u32>,
    writable: &[String],
    variant: UnitVariant,
) -> Result<String, String> {
    let mut paths = writable.iter().map(String::as_str).chain([program]);
    if let Some(path) = paths.find(|path| path.chars().any(char::is_control)) {
        return Err(format!("the path {path:?} contains a control character; use another path"));
    }
    let notify_reload = systemd.is_some_and(|version| version >= NOTIFY_RELOAD_SINCE);
    let linger = if variant.lingering { LINGERING } else { "" };
    Ok(match scope {
        Scope::User { .. } | Scope::System => {
            let is_system = matches!(scope, Scope::System);
            let mut body = unit(if is_system { SYSTEM_UNIT } else { USER_UNIT }, program, notify_reload);
            if !is_system {
                body.push_str(&writable_settings(writable));
            }
            if variant.without_namespaces && !is_system {
                let settings = WITHOUT_NAMESPACES.find("[Service]").unwrap_or_default();
                let settings = &WITHOUT_NAMESPACES[settings..];
                body.push_str(&format!("\n{WITHOUT_NAMESPACES_TITLE}\n{settings}"));
            }
            let edit = if is_system { "systemctl edit" } else { "systemctl --user edit" };
            let hash = hash(&body);
            format!("# {MARK}{linger}. Change settings with `{edit} statusd`. {HASH}{hash}\n{body}")
        }
        Scope::LaunchAgent { home, .. } => {
            let log = scope.log_file().unwrap_or_else(|| home.clone());
            let body = agent(program, &log.display().to_string());
            // On the line of the XML declaration, because nothing may precede the declaration.
            marked(&format!("{XML}<!-- "), &body, " -->")
        }
    })
}

/// Returns `body` below the mark, a comment between `open` and `close`.
pub fn marked(open: &str, body: &str, close: &str) -> String {
    format!("{open}{MARK}. {HASH}{}{close}\n{body}", hash(body))
}

fn hash(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// Returns the shipped unit for this program and this systemd, without the header about manual
/// installation.
fn unit(shipped: &str, program: &str, notify_reload: bool) -> String {
    let settings = shipped.find("[Unit]").map_or(shipped, |at| &shipped[at..]);
    let mut lines: Vec<String> = Vec::new();
    for line in settings.lines() {
        let replacement = match line.split_once('=').map(|(key, _)| key) {
            Some("ExecStart") => Some(format!("ExecStart={} run", quoted(program))),
            Some("Type") if notify_reload => Some("Type=notify-reload".to_owned()),
            Some("Type") => Some("Type=notify\nExecReload=/bin/kill -HUP $MAINPID".to_owned()),
            Some("ExecReload") => None,
            Some(_) | None => {
                lines.push(line.to_owned());
                continue;
            }
        };
        // Drops the comment on the replaced line.
        while lines.last().is_some_and(|line| line.starts_with('#')) {
            lines.pop();
        }
        lines.extend(replacement);
    }
    lines.join("\n") + "\n"
}

/// Returns settings that create `directories` and make them writable.
fn writable_settings(directories: &[String]) -> String {
    if directories.is_empty() {
        return String::new();
    }
    let settings = directories.iter().map(|directory| {
        let (path, optional) = (quoted(directory), quoted(&format!("-{directory}")));
        format!("ExecStartPre=+/bin/mkdir -p {path}\nReadWritePaths={optional}\n")
    });
    format!(
        "\n[Service]\n# Directories that your configuration has statusd write to.\n{}",
        settings.collect::<String>()
    )
}

/// Quotes a word literally, as in systemd.syntax(7) and systemd.unit(5).
fn quoted(program: &str) -> String {
    let text = program.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+@%".contains(c));
    if is_plain { text } else { format!("\"{text}\"") }
}

/// Returns the shipped agent with literal paths. The shipped one finds the home directory with a shell.
fn agent(program: &str, log: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = LAUNCH_AGENT.lines().skip_while(|line| !line.starts_with("<plist"));
    while let Some(line) = rest.next() {
        let value = match line.trim() {
            "<key>ProgramArguments</key>" => {
                rest.by_ref().find(|line| line.trim() == "</array>");
                let arguments = [program, "run"]
                    .map(|argument| format!("    <string>{}</string>\n", text::xml_escaped(argument)));
                format!("  <array>\n{}  </array>", arguments.concat())
            }
            "<key>StandardErrorPath</key>" => {
                rest.next();
                format!("  <string>{}</string>", text::xml_escaped(log))
            }
            _ => {
                lines.push(line.to_owned());
                continue;
            }
        };
        // Drops the comment on the replaced value.
        while lines.last().is_some_and(|line| line.trim_start().starts_with("<!--")) {
            lines.pop();
        }
        lines.extend([line.to_owned(), value]);
    }
    let doctype = LAUNCH_AGENT.lines().find(|line| line.starts_with("<!DOCTYPE")).unwrap_or_default();
    format!("{doctype}\n{}\n", lines.join("\n"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn user() -> Scope {
        Scope::User { config_home: "/home/z/.config".into(), uid: 1000 }
    }

    pub fn mac() -> Scope {
        Scope::LaunchAgent { home: "/Users/z & co".into(), uid: 501 }
    }

    fn scopes() -> [Scope; 3] {
        [user(), Scope::System, mac()]
    }

    #[test]
    fn our_own_text_is_recognised_and_an_edited_one_is_not() {
        for scope in scopes() {
            for (lingering, without_namespaces) in [(false, false), (true, false), (true, true)] {
                let variant = UnitVariant { lingering, without_namespaces };
                let ours = text(&scope, "/usr/bin/statusd", Some(252), &[], variant).expect("a text");
                let variant = UnitVariant {
                    lingering: lingering && scope != mac(),
                    without_namespaces: without_namespaces && scope == user(),
                };
                let written = OwnFile { text: ours.clone(), variant };
                assert_eq!(OnDisk::of(ours.clone()), OnDisk::Ours(written));
                let (mark, body) = ours.split_once('\n').expect("two lines");
                for changed in [
                    format!("{mark}\n{body}\n"),
                    format!("{mark}\n{}", body.replacen('=', "= ", 1).replacen("60", "61", 1)),
                    format!("{mark}\n"),
                    format!("{}\n{body}", mark.replace("sha256 ", "sha256 0")),
                    format!("{}\n{body}", mark.replace("sha256 ", "")),
                ] {
                    assert_eq!(OnDisk::of(changed.clone()), OnDisk::Changed, "{changed}");
                }
                for foreign in [body.to_owned(), String::new(), format!("\n{ours}"), mark.to_owned()] {
                    assert_eq!(OnDisk::of(foreign.clone()), OnDisk::Foreign, "{foreign}");
                }
            }
        }
    }

    fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(found, _)| *found == key).map(|(_, value)| value).collect()
    }

    #[test]
    fn a_unit_is_the_shipped_one_for_this_program_and_this_systemd() {
        for (scope, shipped) in [(user(), USER_UNIT), (Scope::System, SYSTEM_UNIT)] {
            for systemd in [None, Some(252), Some(253), Some(257)] {
                let unit =
                    text(&scope, "/opt/statusd", systemd, &[], UnitVariant::default()).expect("a text");
                let is_new = systemd >= Some(253);
                assert_eq!(values(&unit, "ExecStart"), ["/opt/statusd run"]);
                assert_eq!(values(&unit, "Type"), [if is_new { "notify-reload" } else { "notify" }]);
                let reload: &[&str] = if is_new { &[] } else { &["/bin/kill -HUP $MAINPID"] };
                assert_eq!(values(&unit, "ExecReload"), reload);
                let settings = |text: &str| -> Vec<String> {
                    let replaced = ["ExecStart=", "Type=", "ExecReload="];
                    let is_other = |line: &&str| {
                        !line.starts_with('#')
                            && !line.is_empty()
                            && !replaced.iter().any(|key| line.starts_with(key))
                    };
                    text.lines().filter(is_other).map(str::to_owned).collect()
                };
                assert_eq!(settings(&unit), settings(shipped));
                assert!(settings(&unit).len() > 10, "{unit}");
                // The header about manual installation is gone.
                assert_eq!(unit.lines().nth(1), Some("[Unit]"));
            }
        }
    }

    /// systemd uses the last of several values, and a section may be repeated.
    #[test]
    fn options_that_need_user_namespaces_can_be_omitted() {
        let variant = UnitVariant { without_namespaces: true, ..UnitVariant::default() };
        let unit = text(&user(), "/opt/statusd", None, &[], variant).expect("a text");
        let settings = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| line.contains('=') && !line.starts_with('#'))
                .map(str::to_owned)
                .collect()
        };
        assert!(settings(&unit).ends_with(&settings(WITHOUT_NAMESPACES)), "{unit}");
        assert_eq!(values(&unit, "PrivateUsers").last(), Some(&"no"));
        let system = text(&Scope::System, "/opt/statusd", None, &[], variant).expect("a text");
        assert!(!system.contains("PrivateUsers=no"), "{system}");
    }

    #[test]
    fn a_user_service_can_write_to_configured_directories() {
        let writable = ["/data/my state".to_owned(), "/data/100%".to_owned()];
        let unit = text(&user(), "/opt/statusd", None, &writable, UnitVariant::default()).expect("a text");
        let paths = values(&unit, "ReadWritePaths");
        assert!(paths.ends_with(&["\"-/data/my state\"", "-/data/100%%"]), "{unit}");
        let created = values(&unit, "ExecStartPre");
        assert!(
            created.ends_with(&["+/bin/mkdir -p \"/data/my state\"", "+/bin/mkdir -p /data/100%%"]),
            "{unit}"
        );
        assert!(text(&user(), "/opt/statusd", None, &["/a\nb".to_owned()], UnitVariant::default()).is_err());
    }

    #[test]
    fn special_characters_in_a_path_are_quoted() {
        for (program, expected) in [
            ("/opt/a b/statusd", "\"/opt/a b/statusd\" run"),
            ("/opt/100%/statusd", "/opt/100%%/statusd run"),
            ("/opt/a\"b\\c/statusd", "\"/opt/a\\\"b\\\\c/statusd\" run"),
            ("/opt/ümlaut/statusd", "/opt/ümlaut/statusd run"),
            ("/opt/a;b/statusd", "\"/opt/a;b/statusd\" run"),
        ] {
            let unit = text(&Scope::System, program, None, &[], UnitVariant::default()).expect("a text");
            assert_eq!(values(&unit, "ExecStart"), [expected]);
        }
        for program in ["/opt/a\nb", "/opt/a\u{1b}b"] {
            assert!(text(&Scope::System, program, None, &[], UnitVariant::default()).is_err());
        }
    }

    #[test]
    fn an_installed_agent_needs_no_shell() {
        let text = text(&mac(), "/opt/<a> & b/statusd", None, &[], UnitVariant::default()).expect("a text");
        let list = plist::Value::from_reader_xml(text.as_bytes()).expect("a property list");
        let list = list.as_dictionary().expect("a dictionary");
        let arguments: Vec<&str> = list["ProgramArguments"]
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|argument| argument.as_string())
            .collect();
        assert_eq!(arguments, ["/opt/<a> & b/statusd", "run"]);
        let log = list["StandardErrorPath"].as_string();
        assert_eq!(log, Some("/Users/z & co/Library/Logs/statusd.log"));
        let shipped = plist::Value::from_reader_xml(LAUNCH_AGENT.as_bytes()).expect("a property list");
        let mut shipped = shipped.into_dictionary().expect("a dictionary");
        for key in ["ProgramArguments", "StandardErrorPath"] {
            shipped.insert(key.to_owned(), list[key].clone());
        }
        assert_eq!(list, &shipped);
    }
}
