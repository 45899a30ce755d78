//! The scenes that the feed serves, and the changes that statusd must deliver.
//!
//! Generated from a seed before the run, without statusd's types, because the oracle trusts the scenario.
//! A scene is the state of all services. Within a scene the document still differs at every poll in ways
//! that cause no notice.

use fastrand::Rng;

use crate::common::doc::Doc;

/// In the spring of 2021, so that every end is in the past.
const START_S: i64 = 1_619_449_200;
const SCENE_S: i64 = 3 * 3_600;
const LASTED_S: i64 = 3_600;
const SERVICES: usize = 30;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Began,
    Reopened,
    Ended,
    Missed,
    Worsened,
    Eased,
    /// A kind that no scenario causes.
    Other,
}

impl Kind {
    /// Parses the kind in the documented JSON.
    pub fn parse(word: &str) -> Kind {
        match word {
            "began" => Kind::Began,
            "reopened" => Kind::Reopened,
            "ended" => Kind::Ended,
            "missed" => Kind::Missed,
            "worsened" => Kind::Worsened,
            "eased" => Kind::Eased,
            _ => Kind::Other,
        }
    }

    pub fn is_start(self) -> bool {
        matches!(self, Kind::Began | Kind::Reopened)
    }
}

/// One change, as expected by the scenario or as received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub service: String,
    pub kind: Kind,
}

/// The kinds of changes in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedKinds {
    All,
    /// Kinds that remain distinct in a message for people, which combines pending changes.
    StartsAndEnds,
}

#[derive(Clone, Debug)]
struct Event {
    id: String,
    kind: &'static str,
    is_over: bool,
    start_s: i64,
}

/// One state of the feed.
#[derive(Clone, Debug)]
pub struct Scene {
    services: Vec<(String, Option<Event>)>,
    /// Changes to deliver once the scene is confirmed.
    pub due: Vec<Change>,
    /// The last of `due`. Changes that arrive after it are late or lost.
    pub last: Option<Change>,
}

impl Scene {
    /// The document at the `poll`-th request. Texts and order differ at every poll.
    pub fn document(&self, poll: usize) -> String {
        let turn = poll % self.services.len();
        let rotated = self.services[turn..].iter().chain(&self.services[..turn]);
        let doc = rotated.fold(Doc::new(), |doc, (name, event)| {
            let doc = doc.service(name);
            let Some(event) = event else { return doc };
            let (status, end) = match event.is_over {
                true => ("resolved", Some(event.start_s + LASTED_S)),
                false => ("ongoing", None),
            };
            let doc = doc.event(&event.id, event.kind, status, event.start_s, end);
            match event.is_over {
                true => doc,
                false => doc.saying(&format!("Users may have a problem with this service. Report {poll}.")),
            }
        });
        doc.json()
    }
}

/// All scenes. The first one has no changes.
pub struct Scenario {
    pub scenes: Vec<Scene>,
}

impl Scenario {
    /// Generates `scenes` scenes with changes.
    pub fn new(scenes: usize, allowed_kinds: AllowedKinds, rng: &mut Rng) -> Scenario {
        let mut services: Vec<(String, Option<Event>)> = (0..SERVICES)
            .map(|number| {
                let was_down = rng.u8(..5) == 0;
                (format!("App s{number:03}"), was_down.then(|| over(fresh(number, 0, "Outage"))))
            })
            .collect();
        let mut all = vec![Scene { services: services.clone(), due: Vec::new(), last: None }];
        for scene in 1..=scenes {
            let mut due = Vec::new();
            for (number, (service, event)) in services.iter_mut().enumerate() {
                let (next, kind) = moved(event.take(), number, scene, allowed_kinds, rng);
                *event = next;
                due.extend(kind.map(|kind| Change { service: service.clone(), kind }));
            }
            // statusd reports the services of one poll in the order of their names.
            let last = Change { service: format!("App z{scene:03}"), kind: Kind::Missed };
            services.push((last.service.clone(), Some(over(fresh(SERVICES + scene, scene, "Outage")))));
            due.push(last.clone());
            all.push(Scene { services: services.clone(), due, last: Some(last) });
        }
        Scenario { scenes: all }
    }

    /// All changes that must have been delivered at the end.
    pub fn due(&self) -> impl Iterator<Item = &Change> {
        self.scenes.iter().flat_map(|scene| &scene.due)
    }
}

/// Returns the next event of a service and the kind of the change.
fn moved(
    event: Option<Event>,
    number: usize,
    scene: usize,
    allowed_kinds: AllowedKinds,
    rng: &mut Rng,
) -> (Option<Event>, Option<Kind>) {
    let draw = rng.u8(..10);
    let can_change = allowed_kinds == AllowedKinds::All;
    let kind = if can_change && rng.bool() { "Issue" } else { "Outage" };
    match event {
        None if draw < 2 => (Some(over(fresh(number, scene, kind))), Some(Kind::Missed)),
        None => (Some(fresh(number, scene, kind)), Some(Kind::Began)),
        Some(event) if event.is_over => match draw {
            0..4 => (Some(Event { is_over: false, ..event }), Some(Kind::Reopened)),
            4..8 => (Some(fresh(number, scene, kind)), Some(Kind::Began)),
            _ => (Some(event), None),
        },
        Some(event) if draw < 7 => (Some(over(event)), Some(Kind::Ended)),
        Some(event) if can_change && event.kind == "Issue" => {
            (Some(Event { kind: "Outage", ..event }), Some(Kind::Worsened))
        }
        Some(event) if can_change => (Some(Event { kind: "Issue", ..event }), Some(Kind::Eased)),
        Some(event) => (Some(event), None),
    }
}

fn fresh(number: usize, scene: usize, kind: &'static str) -> Event {
    let start_s = START_S + i64::try_from(scene).expect("a few scenes") * SCENE_S;
    Event { id: format!("{}", (scene + 1) * 1_000 + number), kind, is_over: false, start_s }
}

fn over(event: Event) -> Event {
    Event { is_over: true, ..event }
}
