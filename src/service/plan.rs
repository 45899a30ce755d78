//! The steps that install the service, uninstall it, or roll back a failed installation.
//!
//! A plan contains only the steps that are missing from the current state, so a second run has none.
//! The steps most likely to fail come first and the start comes last. [`rollback`] and [`uninstall`]
//! undo every step of [`install`].

use std::path::{Path, PathBuf};

use super::unit_file::{self, OnDisk, Shape};
use super::{Action, Activity, Call, CurrentState, Site, UNIT};

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
    pub kept: PathBuf,
}

/// A request to uninstall the service.
#[derive(Clone, Debug)]
pub struct Uninstall {
    pub force: bool,
    /// A free name for a file that is moved aside.
    pub kept: PathBuf,
    /// The state to remove with it; otherwise it stays.
    pub purge: Option<PathBuf>,
}

/// The reason why there is no plan. `Display` is one line and ends with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    #[error("{path} was edited since statusd wrote it; to replace it, use --force, which keeps it as {kept}")]
    Changed { path: String, kept: String },
    #[error("{path} was not written by statusd; to replace it, use --force, which keeps it as {kept}")]
    Foreign { path: String, kept: String },
    #[error("{0}")]
    Redactor(String),
    #[error("the service comes from {0}, which statusd did not write; uninstall it as it was installed")]
    Elsewhere(String),
}

/// The steps that lead from what was found to a service that is enabled and runs this program.
pub fn install(site: &Site, found: &CurrentState, wish: &Install) -> Result<Vec<Action>, PlanRefusal> {
    let linger = linger(site, true).filter(|_| wish.linger && !found.lingers);
    let before = shape(found);
    let shape = Shape {
        lingering: linger.is_some() || before.lingering,
        // Found out once; by force it is tried again.
        without_namespaces: wish.without_namespaces || (before.without_namespaces && !wish.force),
    };
    let text = unit_file::text(site, &wish.program, wish.systemd, &wish.writable, shape)
        .map_err(PlanRefusal::Redactor)?;
    let written = new_file(site, found, wish, text)?;
    let mut acts: Vec<Action> = linger.into_iter().map(Action::Run).collect();
    let is_new = !written.is_empty();
    match site {
        Site::Person { .. } | Site::Machine => {
            acts.extend(written);
            if is_new {
                acts.push(run(site.systemctl(&["daemon-reload"])));
            }
            if matches!(found.known.activity, Activity::Failed { .. }) {
                // Too many failures would forbid the start.
                acts.push(run(site.systemctl(&["reset-failed", UNIT])));
            }
            if !found.known.is_enabled || !found.known.is_up() {
                acts.push(run(enable(site)));
            }
            if found.known.is_up() && (is_new || wish.is_outdated) {
                acts.push(run(site.systemctl(&["restart", UNIT])));
            }
        }
        Site::Agent { .. } => {
            let is_loaded = found.known.from.is_some();
            if is_loaded && is_new {
                acts.extend(boot_out(site));
            }
            acts.extend(written);
            if !is_loaded || is_new {
                acts.push(run(bootstrap(site)));
            } else if wish.is_outdated {
                acts.push(run(site.launchctl(&["kickstart", "-k", &site.target()])));
            } else if !found.known.is_up() {
                acts.push(run(site.launchctl(&["kickstart", &site.target()])));
            }
        }
    }
    Ok(acts)
}

/// Returns the steps that write the file; none if it is up to date or a packaged unit is in use.
fn new_file(
    site: &Site,
    found: &CurrentState,
    wish: &Install,
    text: String,
) -> Result<Vec<Action>, PlanRefusal> {
    let path = site.file();
    let aside = Action::Move { from: path.clone(), to: wish.kept.clone() };
    match &found.file {
        OnDisk::Missing if elsewhere(site, found).is_some() => Ok(Vec::new()),
        OnDisk::Ours(written) if written.text == text => Ok(Vec::new()),
        OnDisk::Missing | OnDisk::Ours(_) => Ok(vec![Action::Write { path, text }]),
        OnDisk::Changed | OnDisk::Foreign if wish.force => Ok(vec![aside, Action::Write { path, text }]),
        OnDisk::Changed => Err(PlanRefusal::Changed { path: shown(&path), kept: shown(&wish.kept) }),
        OnDisk::Foreign => Err(PlanRefusal::Foreign { path: shown(&path), kept: shown(&wish.kept) }),
    }
}

/// The file that counts, where it is not ours: one that a package brought.
pub fn elsewhere<'f>(site: &Site, found: &'f CurrentState) -> Option<&'f Path> {
    found.known.from.as_deref().filter(|from| *from != site.file() && !from.as_os_str().is_empty())
}

/// The steps that take the service away, and nothing that was not ours.
pub fn uninstall(site: &Site, found: &CurrentState, wish: &Uninstall) -> Result<Vec<Action>, PlanRefusal> {
    let path = site.file();
    let file = match &found.file {
        OnDisk::Missing => None,
        OnDisk::Ours(_) => Some(Action::Remove(path)),
        OnDisk::Changed | OnDisk::Foreign if wish.force => {
            Some(Action::Move { from: path, to: wish.kept.clone() })
        }
        OnDisk::Changed => return Err(PlanRefusal::Changed { path: shown(&path), kept: shown(&wish.kept) }),
        OnDisk::Foreign => return Err(PlanRefusal::Foreign { path: shown(&path), kept: shown(&wish.kept) }),
    };
    let from = elsewhere(site, found).filter(|_| file.is_none());
    if let Some(from) = from.filter(|_| !found.known.is_enabled && !found.known.is_up()) {
        return Err(PlanRefusal::Elsewhere(shown(from)));
    }
    let is_known = file.is_some() || from.is_some();
    let mut acts = Vec::new();
    match site {
        Site::Person { .. } | Site::Machine => {
            if is_known {
                acts.push(run(disable(site)));
            } else if found.known.is_up() {
                acts.push(run(site.systemctl(&["stop", UNIT])));
            }
            if matches!(found.known.activity, Activity::Failed { .. }) {
                acts.push(run(site.systemctl(&["reset-failed", UNIT])));
            }
        }
        Site::Agent { .. } => acts.extend(boot_out(site).into_iter().filter(|_| found.known.from.is_some())),
    }
    if let Some(file) = file {
        acts.push(file);
        acts.extend(after_removal(site));
    }
    if shape(found).lingering {
        acts.extend(linger(site, false).map(Action::Run));
    }
    acts.extend(wish.purge.clone().map(Action::Forget));
    Ok(acts)
}

/// The steps that put back what was there before an [`install`] whose step `failed` (counted from 0)
/// went wrong.
pub fn back(site: &Site, found: &CurrentState, acts: &[Action], failed: usize) -> Vec<Action> {
    let done = &acts[..failed.min(acts.len())];
    // A start that fails has enabled the service by then.
    let tried = &acts[..(failed + 1).min(acts.len())];
    let is_written = done.iter().any(|act| matches!(act, Action::Write { .. }));
    let mut undo = Vec::new();
    match site {
        Site::Person { .. } | Site::Machine => {
            if tried.contains(&run(enable(site))) {
                let stop = site.systemctl(&["stop", UNIT]);
                undo.push(run(if found.known.is_enabled { stop } else { disable(site) }));
                // Or the manager remembers a failure of something that is not there.
                undo.push(run(site.systemctl(&["reset-failed", UNIT])));
            }
        }
        Site::Agent { .. } => {
            if done.contains(&run(bootstrap(site))) {
                undo.extend(boot_out(site));
            }
        }
    }
    for act in done.iter().rev() {
        match act {
            Action::Write { path, .. } => undo.push(match &found.file {
                OnDisk::Ours(before) => Action::Write { path: path.clone(), text: before.text.clone() },
                OnDisk::Missing | OnDisk::Changed | OnDisk::Foreign => Action::Remove(path.clone()),
            }),
            Action::Move { from, to } => undo.push(Action::Move { from: to.clone(), to: from.clone() }),
            Action::Run(_)
            | Action::Remove(_)
            | Action::RemoveEmpty(_)
            | Action::AwaitGone(_)
            | Action::Forget(_) => {}
        }
    }
    match site {
        Site::Person { .. } | Site::Machine => {
            if is_written {
                let is_gone = found.file == OnDisk::Missing;
                let reload = run(site.systemctl(&["daemon-reload"]));
                undo.extend(if is_gone { after_removal(site) } else { vec![reload] });
            }
            let restart = run(site.systemctl(&["restart", UNIT]));
            undo.extend(tried.contains(&restart).then_some(restart));
        }
        Site::Agent { .. } => {
            let was_booted_out = done.iter().any(|act| boot_out(site).first() == Some(act));
            undo.extend((was_booted_out && found.known.from.is_some()).then(|| run(bootstrap(site))));
        }
    }
    let lingering = linger(site, true).map(Action::Run);
    if lingering.is_some_and(|on| done.contains(&on)) {
        undo.extend(linger(site, false).map(Action::Run));
    }
    undo
}

fn shape(found: &CurrentState) -> Shape {
    match &found.file {
        OnDisk::Ours(written) => written.shape,
        OnDisk::Missing | OnDisk::Changed | OnDisk::Foreign => Shape::default(),
    }
}

fn run(call: Call) -> Action {
    Action::Run(call)
}

fn enable(site: &Site) -> Call {
    site.systemctl(&["enable", "--now", UNIT])
}

fn disable(site: &Site) -> Call {
    site.systemctl(&["disable", "--now", UNIT])
}

fn bootstrap(site: &Site) -> Call {
    site.launchctl(&["bootstrap", &site.domain(), &site.file().display().to_string()])
}

fn boot_out(site: &Site) -> [Action; 2] {
    [run(site.launchctl(&["bootout", &site.target()])), Action::AwaitGone(site.inquiry())]
}

/// Makes the manager forget a file that is gone; the directories that nobody else uses go too.
fn after_removal(site: &Site) -> Vec<Action> {
    let reload = || run(site.systemctl(&["daemon-reload"]));
    match site {
        Site::Person { config_home, .. } => {
            let above = config_home.join("systemd");
            vec![Action::RemoveEmpty(above.join("user")), Action::RemoveEmpty(above), reload()]
        }
        Site::Machine => vec![reload()],
        Site::Agent { .. } => Vec::new(),
    }
}

fn linger(site: &Site, on: bool) -> Option<Call> {
    match site {
        Site::Person { uid, .. } => {
            let verb = if on { "enable-linger" } else { "disable-linger" };
            Some(Call::new("loginctl", &[verb, &uid.to_string()]))
        }
        Site::Machine | Site::Agent { .. } => None,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::unit_file::Written;
    use super::super::unit_file::tests::{mac, person};
    use super::super::unit_status::Known;
    use super::*;

    const PROGRAM: &str = "/opt/statusd";

    fn wish() -> Install {
        Install {
            program: PROGRAM.to_owned(),
            systemd: Some(252),
            writable: Vec::new(),
            is_outdated: false,
            linger: false,
            without_namespaces: false,
            force: false,
            kept: "/kept.old".into(),
        }
    }

    fn nothing() -> CurrentState {
        CurrentState { file: OnDisk::Missing, known: Known::NOTHING, lingers: false }
    }

    fn ours(site: &Site, program: &str, lingering: bool) -> OnDisk {
        let shape = Shape { lingering, ..Shape::default() };
        let text = unit_file::text(site, program, Some(252), &[], shape).expect("a text");
        OnDisk::Ours(Written { text, shape })
    }

    /// Installed by us, from this program unless another is given, and running.
    fn installed(site: &Site, program: &str) -> CurrentState {
        let activity = Activity::Running { pid: Some(7), since: None };
        let known = Known { from: Some(site.file()), is_enabled: true, activity };
        CurrentState { file: ours(site, program, false), known, lingers: false }
    }

    /// The steps in few words, with the directories left out.
    fn words(acts: &[Action]) -> String {
        let word = |act: &Action| {
            let all = act.to_string().replace("statusd.service", "UNIT");
            let words = all.split(' ').map(|word| match word.rsplit_once('/') {
                Some((directory, name)) if !directory.starts_with("gui") => name,
                _ => word,
            });
            words.collect::<Vec<_>>().join(" ").trim_start_matches("run ").to_owned()
        };
        acts.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[track_caller]
    fn check_install(site: &Site, found: &CurrentState, wish: &Install, expected: &str) {
        assert_eq!(words(&install(site, found, wish).expect("steps")), expected);
    }

    #[test]
    fn systemd_is_given_what_is_missing_and_no_more() {
        for (site, ctl) in [(person(), "systemctl --user"), (Site::Machine, "systemctl")] {
            let check = |found: &CurrentState, wish: &Install, expected: &str| {
                check_install(&site, found, wish, &expected.replace("ctl", ctl));
            };
            check(&nothing(), &wish(), "write UNIT, ctl daemon-reload, ctl enable --now UNIT");
            let second = installed(&site, PROGRAM);
            check(&second, &wish(), "");
            let outdated = Install { is_outdated: true, ..wish() };
            check(&second, &outdated, "ctl restart UNIT");
            check(&installed(&site, "/old"), &wish(), "write UNIT, ctl daemon-reload, ctl restart UNIT");
            let with = |is_enabled, activity| CurrentState {
                known: Known { is_enabled, activity, from: Some(site.file()) },
                ..installed(&site, PROGRAM)
            };
            check(&with(true, Activity::Stopped), &wish(), "ctl enable --now UNIT");
            let failed = Activity::Failed { code: Some(78) };
            check(&with(true, failed), &wish(), "ctl reset-failed UNIT, ctl enable --now UNIT");
            let running = Activity::Running { pid: None, since: None };
            check(&with(false, running), &wish(), "ctl enable --now UNIT");
            let package = Known { from: Some("/usr/lib/systemd/statusd.service".into()), ..Known::NOTHING };
            check(&CurrentState { known: package, ..nothing() }, &wish(), "ctl enable --now UNIT");
            for file in [OnDisk::Changed, OnDisk::Foreign] {
                let found = CurrentState { file, ..nothing() };
                let forced = Install { force: true, ..wish() };
                check(
                    &found,
                    &forced,
                    "move UNIT to kept.old, write UNIT, ctl daemon-reload, ctl enable --now UNIT",
                );
            }
        }
    }

    #[test]
    fn launchd_is_given_what_is_missing_and_no_more() {
        let check = |found: &CurrentState, wish: &Install, expected: &str| {
            check_install(&mac(), found, wish, expected);
        };
        let target = "gui/501/statusd";
        let out =
            format!("launchctl bootout {target}, wait until launchctl print {target} no longer finds it");
        let steps =
            |found: &CurrentState, wish: &Install| words(&install(&mac(), found, wish).expect("steps"));
        let fresh = steps(&nothing(), &wish());
        assert!(fresh.starts_with("write z & statusd.plist, launchctl bootstrap gui/501 "), "{fresh}");
        let second = installed(&mac(), PROGRAM);
        check(&second, &wish(), "");
        check(&second, &Install { is_outdated: true, ..wish() }, &format!("launchctl kickstart -k {target}"));
        let stopped = Known { activity: Activity::Stopped, ..second.known.clone() };
        let stopped = CurrentState { known: stopped, ..second };
        check(&stopped, &wish(), &format!("launchctl kickstart {target}"));
        let refreshed = steps(&installed(&mac(), "/old"), &wish());
        assert!(
            refreshed.starts_with(&format!("{out}, write z & statusd.plist, launchctl bootstrap ")),
            "{refreshed}"
        );
    }

    #[test]
    fn a_file_that_is_not_as_we_wrote_it_is_left_alone() {
        for site in [person(), Site::Machine, mac()] {
            let path = shown(&site.file());
            for (file, words) in
                [(OnDisk::Changed, "was edited"), (OnDisk::Foreign, "not written by statusd")]
            {
                let found = CurrentState { file, ..installed(&site, PROGRAM) };
                let wish = wish();
                let refused = install(&site, &found, &wish).expect_err("refused").to_string();
                assert!(refused.starts_with(&path) && refused.contains(words), "{refused}");
                assert!(refused.contains("--force, which keeps it as /kept.old"), "{refused}");
                let away = Uninstall { force: false, kept: wish.kept, purge: None };
                assert_eq!(uninstall(&site, &found, &away).expect_err("refused").to_string(), refused);
            }
        }
    }

    #[test]
    fn lingering_is_switched_on_only_where_it_is_off_and_off_only_where_it_was_us() {
        let site = person();
        let linger = Install { linger: true, ..wish() };
        check_install(
            &site,
            &nothing(),
            &linger,
            "loginctl enable-linger 1000, write UNIT, systemctl --user daemon-reload, \
             systemctl --user enable --now UNIT",
        );
        let lingers = CurrentState { lingers: true, ..installed(&site, PROGRAM) };
        check_install(&site, &lingers, &linger, "");
        // That it was us is remembered when the file is written anew, with or without the flag.
        let before = CurrentState { file: ours(&site, "/old", true), ..lingers.clone() };
        for wish in [wish(), linger] {
            let acts = install(&site, &before, &wish).expect("steps");
            let text = acts.iter().find_map(|act| match act {
                Action::Write { text, .. } => Some(text.clone()),
                _ => None,
            });
            assert!(
                matches!(OnDisk::of(text.expect("a file")), OnDisk::Ours(written) if written.shape.lingering)
            );
        }
        let away = |found: &CurrentState| {
            let wish = Uninstall { force: false, kept: "/kept.old".into(), purge: None };
            words(&uninstall(&site, found, &wish).expect("steps"))
        };
        assert!(away(&before).ends_with(", loginctl disable-linger 1000"));
        assert!(!away(&lingers).contains("linger"));
    }

    #[test]
    fn what_is_taken_away_is_what_was_ours() {
        #[track_caller]
        fn check(site: &Site, found: &CurrentState, force: bool, purge: bool, expected: &str) {
            let purge = purge.then(|| "/var/lib/statusd".into());
            let wish = Uninstall { force, kept: "/kept.old".into(), purge };
            assert_eq!(words(&uninstall(site, found, &wish).expect("steps")), expected);
        }
        let site = Site::Machine;
        let gone = "systemctl disable --now UNIT, remove UNIT, systemctl daemon-reload";
        check(&site, &installed(&site, PROGRAM), false, false, gone);
        check(&site, &installed(&site, "/old"), false, false, gone);
        let forget = "remove the history and the pending notices from statusd";
        check(&site, &installed(&site, PROGRAM), false, true, &format!("{gone}, {forget}"));
        check(&site, &nothing(), false, false, "");
        check(&site, &nothing(), false, true, forget);
        let changed = CurrentState { file: OnDisk::Changed, ..installed(&site, PROGRAM) };
        let aside = "systemctl disable --now UNIT, move UNIT to kept.old, systemctl daemon-reload";
        check(&site, &changed, true, false, aside);
        // Somebody removed the file under it.
        let orphan = CurrentState { file: OnDisk::Missing, ..installed(&site, PROGRAM) };
        check(&site, &orphan, false, false, "systemctl stop UNIT");
        check(
            &person(),
            &installed(&person(), PROGRAM),
            false,
            false,
            "systemctl --user disable --now UNIT, remove UNIT, remove user if nothing is left in it, \
             remove systemd if nothing is left in it, systemctl --user daemon-reload",
        );
        // A package's is switched off and stays; once it is off, there is nothing for us to do.
        let from = Some(PathBuf::from("/usr/lib/systemd/system/statusd.service"));
        let package = |is_enabled| CurrentState {
            known: Known { from: from.clone(), is_enabled, activity: Activity::Stopped },
            ..nothing()
        };
        check(&site, &package(true), false, false, "systemctl disable --now UNIT");
        let wish = Uninstall { force: true, kept: "/kept.old".into(), purge: None };
        let refused = uninstall(&site, &package(false), &wish).expect_err("refused").to_string();
        assert!(refused.contains("/usr/lib/systemd/system/statusd.service"), "{refused}");
        let agent = installed(&mac(), PROGRAM);
        let target = "gui/501/statusd";
        let out =
            format!("launchctl bootout {target}, wait until launchctl print {target} no longer finds it");
        check(&mac(), &agent, false, false, &format!("{out}, remove z & statusd.plist"));
    }

    #[test]
    fn a_step_that_fails_is_followed_by_the_way_back() {
        #[track_caller]
        fn check(site: &Site, found: &CurrentState, wish: &Install, undone: &[&str]) {
            let acts = install(site, found, wish).expect("steps");
            let backs: Vec<String> =
                (0..acts.len()).map(|failed| words(&back(site, found, &acts, failed))).collect();
            assert_eq!(backs, undone, "{}", words(&acts));
        }
        let site = Site::Machine;
        let gone = "remove UNIT, systemctl daemon-reload";
        let ended = "systemctl disable --now UNIT, systemctl reset-failed UNIT";
        let disabled = format!("{ended}, {gone}");
        check(&site, &nothing(), &wish(), &["", gone, &disabled]);
        let again = "write UNIT, systemctl daemon-reload";
        let restarted = format!("{again}, systemctl restart UNIT");
        check(&site, &installed(&site, "/old"), &wish(), &["", again, &restarted]);
        let forced = Install { force: true, ..wish() };
        let moved = "move kept.old to UNIT";
        let replaced = format!("remove UNIT, {moved}, systemctl daemon-reload");
        let stopped = format!("{ended}, {replaced}");
        let foreign = CurrentState { file: OnDisk::Foreign, ..nothing() };
        check(&site, &foreign, &forced, &["", moved, &replaced, &stopped]);
        let linger = Install { linger: true, ..wish() };
        let off = "loginctl disable-linger 1000";
        let gone = "remove UNIT, remove user if nothing is left in it, remove systemd if nothing is left in it, \
                    systemctl --user daemon-reload";
        check(
            &person(),
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
        // The old text comes back, not just some text.
        let before = installed(&site, "/old");
        let acts = install(&site, &before, &wish()).expect("steps");
        let OnDisk::Ours(old) = &before.file else { panic!("ours") };
        let restored = Action::Write { path: site.file(), text: old.text.clone() };
        assert_eq!(back(&site, &before, &acts, 2).first(), Some(&restored));
    }

    #[test]
    fn launchd_is_given_back_what_it_had() {
        let before = installed(&mac(), "/old");
        let acts = install(&mac(), &before, &wish()).expect("steps");
        assert_eq!(acts.len(), 4, "{}", words(&acts));
        let undone = |failed| {
            let acts = back(&mac(), &before, &acts, failed);
            acts.iter()
                .map(|act| words(std::slice::from_ref(act)).split(' ').take(2).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(undone(0), Vec::<String>::new());
        assert_eq!(undone(1), ["launchctl bootstrap"]);
        assert_eq!(undone(2), ["launchctl bootstrap"]);
        assert_eq!(undone(3), ["write z", "launchctl bootstrap"]);
    }
}
