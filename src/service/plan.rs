//! The steps that install the service, uninstall it, or roll back a failed installation.
//!
//! A plan contains only the steps that are missing from the current state, so a second run has none.
//! The steps most likely to fail come first and the start comes last. [`rollback`] and [`uninstall`]
//! undo every step of [`install`].

use std::path::{Path, PathBuf};

use super::unit_file::{self, OnDisk, UnitVariant};
use super::{Action, Activity, CommandLine, CurrentState, Scope, UNIT};

/// A request to install the service.
#[derive(Clone, Debug)]
pub struct Install {
    /// The absolute path of the program to run.
    pub program: String,
    /// The version of systemd, if known.
    pub systemd: Option<u32>,
    /// Directories that a user service writes to in addition to its state directory. Absolute.
    pub writable: Vec<String>,
    /// True if the running process has another program file, such as the one before an upgrade.
    pub is_outdated: bool,
    pub linger: bool,
    /// A failed start has shown that this system forbids user namespaces to users.
    pub without_namespaces: bool,
    pub force: bool,
    /// A free name for a file that is moved aside.
    pub aside_path: PathBuf,
}

/// A request to uninstall the service.
#[derive(Clone, Debug)]
pub struct Uninstall {
    pub force: bool,
    /// A free name for a file that is moved aside.
    pub aside_path: PathBuf,
    /// The state directory to purge. `None` keeps the history.
    pub purge: Option<PathBuf>,
}

/// The reason why there is no plan. `Display` is one line and ends with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    #[error("{path} was edited since statusd wrote it; use --force to move it to {aside_path} and continue")]
    Changed { path: String, aside_path: String },
    #[error("{path} was not written by statusd; use --force to move it to {aside_path} and continue")]
    Foreign { path: String, aside_path: String },
    #[error("{0}")]
    InvalidPath(String),
    #[error(
        "statusd did not write the unit {0}; uninstall it the way it was installed, for example with the package manager"
    )]
    PackagedUnit(String),
}

/// Returns the steps after which the service is enabled and runs the requested program.
pub fn install(scope: &Scope, current: &CurrentState, request: &Install) -> Result<Vec<Action>, PlanRefusal> {
    let linger = linger(scope, true).filter(|_| request.linger && !current.lingers);
    let before = variant(current);
    let variant = UnitVariant {
        lingering: linger.is_some() || before.lingering,
        // Kept from the previous installation. With `--force`, namespaces are tried again.
        without_namespaces: request.without_namespaces || (before.without_namespaces && !request.force),
    };
    let text = unit_file::text(scope, &request.program, request.systemd, &request.writable, variant)
        .map_err(PlanRefusal::InvalidPath)?;
    let written = new_file(scope, current, request, text)?;
    let mut actions: Vec<Action> = linger.into_iter().map(Action::Run).collect();
    let is_new = !written.is_empty();
    match scope {
        Scope::User { .. } | Scope::System => {
            actions.extend(written);
            if is_new {
                actions.push(run(scope.systemctl(&["daemon-reload"])));
            }
            if matches!(current.unit.activity, Activity::Failed { .. }) {
                // After too many failures, systemd refuses to start the unit.
                actions.push(run(scope.systemctl(&["reset-failed", UNIT])));
            }
            if !current.unit.is_enabled || !current.unit.is_up() {
                actions.push(run(enable(scope)));
            }
            if current.unit.is_up() && (is_new || request.is_outdated) {
                actions.push(run(scope.systemctl(&["restart", UNIT])));
            }
        }
        Scope::LaunchAgent { .. } => {
            let is_loaded = current.unit.unit_path.is_some();
            if is_loaded && is_new {
                actions.extend(boot_out(scope));
            }
            actions.extend(written);
            if !is_loaded || is_new {
                actions.push(run(bootstrap(scope)));
            } else if request.is_outdated {
                actions.push(run(scope.launchctl(&["kickstart", "-k", &scope.target()])));
            } else if !current.unit.is_up() {
                actions.push(run(scope.launchctl(&["kickstart", &scope.target()])));
            }
        }
    }
    Ok(actions)
}

/// Returns the steps that write the file; none if it is up to date or a packaged unit is in use.
fn new_file(
    scope: &Scope,
    current: &CurrentState,
    request: &Install,
    text: String,
) -> Result<Vec<Action>, PlanRefusal> {
    let path = scope.file();
    let aside = Action::Move { from: path.clone(), to: request.aside_path.clone() };
    match &current.file {
        OnDisk::Missing if packaged_unit(scope, current).is_some() => Ok(Vec::new()),
        OnDisk::Ours(written) if written.text == text => Ok(Vec::new()),
        OnDisk::Missing | OnDisk::Ours(_) => Ok(vec![Action::Write { path, text }]),
        OnDisk::Changed | OnDisk::Foreign if request.force => Ok(vec![aside, Action::Write { path, text }]),
        OnDisk::Changed => {
            Err(PlanRefusal::Changed { path: shown(&path), aside_path: shown(&request.aside_path) })
        }
        OnDisk::Foreign => {
            Err(PlanRefusal::Foreign { path: shown(&path), aside_path: shown(&request.aside_path) })
        }
    }
}

/// Returns the unit in use if it is not at our path, for example because a package installed it.
pub fn packaged_unit<'f>(scope: &Scope, current: &'f CurrentState) -> Option<&'f Path> {
    current.unit.unit_path.as_deref().filter(|path| *path != scope.file() && !path.as_os_str().is_empty())
}

/// Returns the steps that stop the service and remove what [`install`] wrote.
pub fn uninstall(
    scope: &Scope,
    current: &CurrentState,
    request: &Uninstall,
) -> Result<Vec<Action>, PlanRefusal> {
    let path = scope.file();
    let file = match &current.file {
        OnDisk::Missing => None,
        OnDisk::Ours(_) => Some(Action::Remove(path)),
        OnDisk::Changed | OnDisk::Foreign if request.force => {
            Some(Action::Move { from: path, to: request.aside_path.clone() })
        }
        OnDisk::Changed => {
            return Err(PlanRefusal::Changed { path: shown(&path), aside_path: shown(&request.aside_path) });
        }
        OnDisk::Foreign => {
            return Err(PlanRefusal::Foreign { path: shown(&path), aside_path: shown(&request.aside_path) });
        }
    };
    let packaged = packaged_unit(scope, current).filter(|_| file.is_none());
    if let Some(path) = packaged.filter(|_| !current.unit.is_enabled && !current.unit.is_up()) {
        return Err(PlanRefusal::PackagedUnit(shown(path)));
    }
    let is_known = file.is_some() || packaged.is_some();
    let mut actions = Vec::new();
    match scope {
        Scope::User { .. } | Scope::System => {
            if is_known {
                actions.push(run(disable(scope)));
            } else if current.unit.is_up() {
                actions.push(run(scope.systemctl(&["stop", UNIT])));
            }
            if matches!(current.unit.activity, Activity::Failed { .. }) {
                actions.push(run(scope.systemctl(&["reset-failed", UNIT])));
            }
        }
        Scope::LaunchAgent { .. } => {
            actions.extend(boot_out(scope).into_iter().filter(|_| current.unit.unit_path.is_some()))
        }
    }
    if let Some(file) = file {
        actions.push(file);
        actions.extend(after_removal(scope));
    }
    if variant(current).lingering {
        actions.extend(linger(scope, false).map(Action::Run));
    }
    actions.extend(request.purge.clone().map(Action::Purge));
    Ok(actions)
}

/// Returns the steps that restore the state before an [`install`] of which step `failed` (from 0) failed.
pub fn rollback(scope: &Scope, current: &CurrentState, actions: &[Action], failed: usize) -> Vec<Action> {
    let done = &actions[..failed.min(actions.len())];
    // Includes the failed step, because a start that fails has already enabled the service.
    let tried = &actions[..(failed + 1).min(actions.len())];
    let is_written = done.iter().any(|action| matches!(action, Action::Write { .. }));
    let mut undo = Vec::new();
    match scope {
        Scope::User { .. } | Scope::System => {
            if tried.contains(&run(enable(scope))) {
                let stop = scope.systemctl(&["stop", UNIT]);
                undo.push(run(if current.unit.is_enabled { stop } else { disable(scope) }));
                // Otherwise systemd keeps listing the removed unit as failed.
                undo.push(run(scope.systemctl(&["reset-failed", UNIT])));
            }
        }
        Scope::LaunchAgent { .. } => {
            if done.contains(&run(bootstrap(scope))) {
                undo.extend(boot_out(scope));
            }
        }
    }
    for action in done.iter().rev() {
        match action {
            Action::Write { path, .. } => undo.push(match &current.file {
                OnDisk::Ours(before) => Action::Write { path: path.clone(), text: before.text.clone() },
                OnDisk::Missing | OnDisk::Changed | OnDisk::Foreign => Action::Remove(path.clone()),
            }),
            Action::Move { from, to } => undo.push(Action::Move { from: to.clone(), to: from.clone() }),
            Action::Run(_)
            | Action::Remove(_)
            | Action::RemoveEmpty(_)
            | Action::AwaitUnloaded(_)
            | Action::Purge(_) => {}
        }
    }
    match scope {
        Scope::User { .. } | Scope::System => {
            if is_written {
                let is_gone = current.file == OnDisk::Missing;
                let reload = run(scope.systemctl(&["daemon-reload"]));
                undo.extend(if is_gone { after_removal(scope) } else { vec![reload] });
            }
            let restart = run(scope.systemctl(&["restart", UNIT]));
            undo.extend(tried.contains(&restart).then_some(restart));
        }
        Scope::LaunchAgent { .. } => {
            let was_booted_out = done.iter().any(|action| boot_out(scope).first() == Some(action));
            undo.extend((was_booted_out && current.unit.unit_path.is_some()).then(|| run(bootstrap(scope))));
        }
    }
    let lingering = linger(scope, true).map(Action::Run);
    if lingering.is_some_and(|on| done.contains(&on)) {
        undo.extend(linger(scope, false).map(Action::Run));
    }
    undo
}

fn variant(current: &CurrentState) -> UnitVariant {
    match &current.file {
        OnDisk::Ours(written) => written.variant,
        OnDisk::Missing | OnDisk::Changed | OnDisk::Foreign => UnitVariant::default(),
    }
}

fn run(command: CommandLine) -> Action {
    Action::Run(command)
}

fn enable(scope: &Scope) -> CommandLine {
    scope.systemctl(&["enable", "--now", UNIT])
}

fn disable(scope: &Scope) -> CommandLine {
    scope.systemctl(&["disable", "--now", UNIT])
}

fn bootstrap(scope: &Scope) -> CommandLine {
    scope.launchctl(&["bootstrap", &scope.domain(), &scope.file().display().to_string()])
}

fn boot_out(scope: &Scope) -> [Action; 2] {
    [run(scope.launchctl(&["bootout", &scope.target()])), Action::AwaitUnloaded(scope.status_query())]
}

/// Returns the steps after a removed file: remove empty directories and reload systemd.
fn after_removal(scope: &Scope) -> Vec<Action> {
    let reload = || run(scope.systemctl(&["daemon-reload"]));
    match scope {
        Scope::User { config_home, .. } => {
            let directory = config_home.join("systemd");
            vec![Action::RemoveEmpty(directory.join("user")), Action::RemoveEmpty(directory), reload()]
        }
        Scope::System => vec![reload()],
        Scope::LaunchAgent { .. } => Vec::new(),
    }
}

fn linger(scope: &Scope, on: bool) -> Option<CommandLine> {
    match scope {
        Scope::User { uid, .. } => {
            let verb = if on { "enable-linger" } else { "disable-linger" };
            Some(CommandLine::new("loginctl", &[verb, &uid.to_string()]))
        }
        Scope::System | Scope::LaunchAgent { .. } => None,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::unit_file::OwnFile;
    use super::super::unit_file::tests::{mac, user};
    use super::super::unit_status::UnitStatus;
    use super::*;

    const PROGRAM: &str = "/opt/statusd";

    fn request() -> Install {
        Install {
            program: PROGRAM.to_owned(),
            systemd: Some(252),
            writable: Vec::new(),
            is_outdated: false,
            linger: false,
            without_namespaces: false,
            force: false,
            aside_path: "/kept.old".into(),
        }
    }

    fn nothing() -> CurrentState {
        CurrentState { file: OnDisk::Missing, unit: UnitStatus::NOT_LOADED, lingers: false }
    }

    fn ours(scope: &Scope, program: &str, lingering: bool) -> OnDisk {
        let variant = UnitVariant { lingering, ..UnitVariant::default() };
        let text = unit_file::text(scope, program, Some(252), &[], variant).expect("a text");
        OnDisk::Ours(OwnFile { text, variant })
    }

    /// A running service that we installed for `program`.
    fn installed(scope: &Scope, program: &str) -> CurrentState {
        let activity = Activity::Running { pid: Some(7), since: None };
        let unit = UnitStatus { unit_path: Some(scope.file()), is_enabled: true, activity };
        CurrentState { file: ours(scope, program, false), unit, lingers: false }
    }

    /// The steps as text, without directories.
    fn step_text(actions: &[Action]) -> String {
        let word = |action: &Action| {
            let all = action.to_string().replace("statusd.service", "UNIT");
            let words = all.split(' ').map(|word| match word.rsplit_once('/') {
                Some((directory, name)) if !directory.starts_with("gui") => name,
                _ => word,
            });
            words.collect::<Vec<_>>().join(" ").trim_start_matches("run ").to_owned()
        };
        actions.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[track_caller]
    fn check_install(scope: &Scope, current: &CurrentState, request: &Install, expected: &str) {
        assert_eq!(step_text(&install(scope, current, request).expect("steps")), expected);
    }

    #[test]
    fn a_systemd_plan_has_only_the_missing_steps() {
        for (scope, ctl) in [(user(), "systemctl --user"), (Scope::System, "systemctl")] {
            let check = |current: &CurrentState, request: &Install, expected: &str| {
                check_install(&scope, current, request, &expected.replace("ctl", ctl));
            };
            check(&nothing(), &request(), "write UNIT, ctl daemon-reload, ctl enable --now UNIT");
            let second = installed(&scope, PROGRAM);
            check(&second, &request(), "");
            let outdated = Install { is_outdated: true, ..request() };
            check(&second, &outdated, "ctl restart UNIT");
            check(&installed(&scope, "/old"), &request(), "write UNIT, ctl daemon-reload, ctl restart UNIT");
            let with = |is_enabled, activity| CurrentState {
                unit: UnitStatus { is_enabled, activity, unit_path: Some(scope.file()) },
                ..installed(&scope, PROGRAM)
            };
            check(&with(true, Activity::Stopped), &request(), "ctl enable --now UNIT");
            let failed = Activity::Failed { code: Some(78) };
            check(&with(true, failed), &request(), "ctl reset-failed UNIT, ctl enable --now UNIT");
            let running = Activity::Running { pid: None, since: None };
            check(&with(false, running), &request(), "ctl enable --now UNIT");
            let package = UnitStatus {
                unit_path: Some("/usr/lib/systemd/statusd.service".into()),
                ..UnitStatus::NOT_LOADED
            };
            check(&CurrentState { unit: package, ..nothing() }, &request(), "ctl enable --now UNIT");
            for file in [OnDisk::Changed, OnDisk::Foreign] {
                let current = CurrentState { file, ..nothing() };
                let forced = Install { force: true, ..request() };
                check(
                    &current,
                    &forced,
                    "move UNIT to kept.old, write UNIT, ctl daemon-reload, ctl enable --now UNIT",
                );
            }
        }
    }

    #[test]
    fn a_launchd_plan_has_only_the_missing_steps() {
        let check = |current: &CurrentState, request: &Install, expected: &str| {
            check_install(&mac(), current, request, expected);
        };
        let target = "gui/501/statusd";
        let out = format!(
            "launchctl bootout {target}, wait until launchctl print {target} no longer finds the agent"
        );
        let steps = |current: &CurrentState, request: &Install| {
            step_text(&install(&mac(), current, request).expect("steps"))
        };
        let fresh = steps(&nothing(), &request());
        assert!(fresh.starts_with("write z & statusd.plist, launchctl bootstrap gui/501 "), "{fresh}");
        let second = installed(&mac(), PROGRAM);
        check(&second, &request(), "");
        check(
            &second,
            &Install { is_outdated: true, ..request() },
            &format!("launchctl kickstart -k {target}"),
        );
        let stopped = UnitStatus { activity: Activity::Stopped, ..second.unit.clone() };
        let stopped = CurrentState { unit: stopped, ..second };
        check(&stopped, &request(), &format!("launchctl kickstart {target}"));
        let refreshed = steps(&installed(&mac(), "/old"), &request());
        assert!(
            refreshed.starts_with(&format!("{out}, write z & statusd.plist, launchctl bootstrap ")),
            "{refreshed}"
        );
    }

    #[test]
    fn edited_and_foreign_files_are_left_alone() {
        for scope in [user(), Scope::System, mac()] {
            let path = shown(&scope.file());
            for (file, reason) in
                [(OnDisk::Changed, "was edited"), (OnDisk::Foreign, "not written by statusd")]
            {
                let current = CurrentState { file, ..installed(&scope, PROGRAM) };
                let request = request();
                let refused = install(&scope, &current, &request).expect_err("refused").to_string();
                assert!(refused.starts_with(&path) && refused.contains(reason), "{refused}");
                assert!(refused.contains("use --force to move it to /kept.old"), "{refused}");
                let away = Uninstall { force: false, aside_path: request.aside_path, purge: None };
                assert_eq!(uninstall(&scope, &current, &away).expect_err("refused").to_string(), refused);
            }
        }
    }

    #[test]
    fn uninstall_disables_lingering_only_if_install_enabled_it() {
        let scope = user();
        let linger = Install { linger: true, ..request() };
        check_install(
            &scope,
            &nothing(),
            &linger,
            "loginctl enable-linger 1000, write UNIT, systemctl --user daemon-reload, \
             systemctl --user enable --now UNIT",
        );
        let lingers = CurrentState { lingers: true, ..installed(&scope, PROGRAM) };
        check_install(&scope, &lingers, &linger, "");
        // A rewritten file keeps the mark about lingering, with or without the flag.
        let before = CurrentState { file: ours(&scope, "/old", true), ..lingers.clone() };
        for request in [request(), linger] {
            let actions = install(&scope, &before, &request).expect("steps");
            let text = actions.iter().find_map(|action| match action {
                Action::Write { text, .. } => Some(text.clone()),
                _ => None,
            });
            assert!(
                matches!(OnDisk::of(text.expect("a file")), OnDisk::Ours(written) if written.variant.lingering)
            );
        }
        let away = |current: &CurrentState| {
            let request = Uninstall { force: false, aside_path: "/kept.old".into(), purge: None };
            step_text(&uninstall(&scope, current, &request).expect("steps"))
        };
        assert!(away(&before).ends_with(", loginctl disable-linger 1000"));
        assert!(!away(&lingers).contains("linger"));
    }

    #[test]
    fn uninstall_removes_only_what_we_wrote() {
        #[track_caller]
        fn check(scope: &Scope, current: &CurrentState, force: bool, purge: bool, expected: &str) {
            let purge = purge.then(|| "/var/lib/statusd".into());
            let request = Uninstall { force, aside_path: "/kept.old".into(), purge };
            assert_eq!(step_text(&uninstall(scope, current, &request).expect("steps")), expected);
        }
        let scope = Scope::System;
        let gone = "systemctl disable --now UNIT, remove UNIT, systemctl daemon-reload";
        check(&scope, &installed(&scope, PROGRAM), false, false, gone);
        check(&scope, &installed(&scope, "/old"), false, false, gone);
        let purged = "remove the history and the pending notices from statusd";
        check(&scope, &installed(&scope, PROGRAM), false, true, &format!("{gone}, {purged}"));
        check(&scope, &nothing(), false, false, "");
        check(&scope, &nothing(), false, true, purged);
        let changed = CurrentState { file: OnDisk::Changed, ..installed(&scope, PROGRAM) };
        let moved_aside = "systemctl disable --now UNIT, move UNIT to kept.old, systemctl daemon-reload";
        check(&scope, &changed, true, false, moved_aside);
        // The file was removed while the service was running.
        let orphan = CurrentState { file: OnDisk::Missing, ..installed(&scope, PROGRAM) };
        check(&scope, &orphan, false, false, "systemctl stop UNIT");
        check(
            &user(),
            &installed(&user(), PROGRAM),
            false,
            false,
            "systemctl --user disable --now UNIT, remove UNIT, remove user if empty, \
             remove systemd if empty, systemctl --user daemon-reload",
        );
        // A packaged unit is disabled and kept. Once disabled, uninstall refuses it.
        let unit_path = Some(PathBuf::from("/usr/lib/systemd/system/statusd.service"));
        let package = |is_enabled| CurrentState {
            unit: UnitStatus { unit_path: unit_path.clone(), is_enabled, activity: Activity::Stopped },
            ..nothing()
        };
        check(&scope, &package(true), false, false, "systemctl disable --now UNIT");
        let request = Uninstall { force: true, aside_path: "/kept.old".into(), purge: None };
        let refused = uninstall(&scope, &package(false), &request).expect_err("refused").to_string();
        assert!(refused.contains("/usr/lib/systemd/system/statusd.service"), "{refused}");
        let agent = installed(&mac(), PROGRAM);
        let target = "gui/501/statusd";
        let out = format!(
            "launchctl bootout {target}, wait until launchctl print {target} no longer finds the agent"
        );
        check(&mac(), &agent, false, false, &format!("{out}, remove z & statusd.plist"));
    }

    #[test]
    fn a_failed_step_is_rolled_back() {
        #[track_caller]
        fn check(scope: &Scope, current: &CurrentState, request: &Install, undone: &[&str]) {
            let actions = install(scope, current, request).expect("steps");
            let rollbacks: Vec<String> = (0..actions.len())
                .map(|failed| step_text(&rollback(scope, current, &actions, failed)))
                .collect();
            assert_eq!(rollbacks, undone, "{}", step_text(&actions));
        }
        let scope = Scope::System;
        let gone = "remove UNIT, systemctl daemon-reload";
        let ended = "systemctl disable --now UNIT, systemctl reset-failed UNIT";
        let disabled = format!("{ended}, {gone}");
        check(&scope, &nothing(), &request(), &["", gone, &disabled]);
        let again = "write UNIT, systemctl daemon-reload";
        let restarted = format!("{again}, systemctl restart UNIT");
        check(&scope, &installed(&scope, "/old"), &request(), &["", again, &restarted]);
        let forced = Install { force: true, ..request() };
        let moved = "move kept.old to UNIT";
        let replaced = format!("remove UNIT, {moved}, systemctl daemon-reload");
        let stopped = format!("{ended}, {replaced}");
        let foreign = CurrentState { file: OnDisk::Foreign, ..nothing() };
        check(&scope, &foreign, &forced, &["", moved, &replaced, &stopped]);
        let linger = Install { linger: true, ..request() };
        let off = "loginctl disable-linger 1000";
        let gone = "remove UNIT, remove user if empty, remove systemd if empty, \
                    systemctl --user daemon-reload";
        check(
            &user(),
            &nothing(),
            &linger,
            &[
                "",
                off,
                &format!("{gone}, {off}"),
                &format!(
                    "systemctl --user disable --now UNIT, systemctl --user reset-failed UNIT, {gone}, {off}"
                ),
            ],
        );
        // The rollback restores the old text.
        let before = installed(&scope, "/old");
        let actions = install(&scope, &before, &request()).expect("steps");
        let OnDisk::Ours(old) = &before.file else { panic!("ours") };
        let restored = Action::Write { path: scope.file(), text: old.text.clone() };
        assert_eq!(rollback(&scope, &before, &actions, 2).first(), Some(&restored));
    }

    #[test]
    fn a_failed_launchd_step_is_rolled_back() {
        let before = installed(&mac(), "/old");
        let actions = install(&mac(), &before, &request()).expect("steps");
        assert_eq!(actions.len(), 4, "{}", step_text(&actions));
        let undone = |failed| {
            let actions = rollback(&mac(), &before, &actions, failed);
            actions
                .iter()
                .map(|action| {
                    step_text(std::slice::from_ref(action)).split(' ').take(2).collect::<Vec<_>>().join(" ")
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(undone(0), Vec::<String>::new());
        assert_eq!(undone(1), ["launchctl bootstrap"]);
        assert_eq!(undone(2), ["launchctl bootstrap"]);
        assert_eq!(undone(3), ["write z", "launchctl bootstrap"]);
    }
}
