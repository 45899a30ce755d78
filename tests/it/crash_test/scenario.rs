//! What Apple shows in an experiment, scene by scene, and what of it is due to be told.
//!
//! Made from dice before anything runs, without the program's own words for changes: this is the
//! one side that the judge believes. A scene is what all services do at once; within a scene the
//! document still differs at every poll, in ways that nobody is told of.

use fastrand::Rng;

use crate::common::doc::Doc;

/// In the spring of 2021: long over, so that no end lies ahead.
const START_S: i64 = 1_619_449_200;
const SCENE_S: i64 = 3 * 3_600;
const LASTED_S: i64 = 3_600;
const SERVICES: usize = 30;

/// What is told of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Began,
    Reopened,
    Ended,
    Missed,
    Worsened,
    Eased,
    /// A word that no script of ours leads to.
    Other,
}

impl Kind {
    /// The word in the documented JSON.
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

/// One piece of news, as the script has it or as somebody heard it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct News {
    pub service: String,
    pub kind: Kind,
}

/// What the services may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repertoire {
    All,
    /// What can still be told apart in a message for people that folds what has waited.
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
    /// What must be told once this was seen for long enough.
    pub due: Vec<News>,
    /// The last of it: what has not been told when this is told comes too late or never.
    pub last: Option<News>,
}

impl Scene {
    /// The document at the `poll`-th request. Its texts and its order are never the same twice.
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

/// All scenes, the first of them without news.
pub struct Script {
    pub scenes: Vec<Scene>,
}

impl Script {
    /// As many scenes with news as asked for.
    pub fn new(scenes: usize, repertoire: Repertoire, dice: &mut Rng) -> Script {
        let mut services: Vec<(String, Option<Event>)> = (0..SERVICES)
            .map(|number| {
                let was_down = dice.u8(..5) == 0;
                (format!("Lab s{number:03}"), was_down.then(|| over(fresh(number, 0, "Outage"))))
            })
            .collect();
        let mut all = vec![Scene { services: services.clone(), due: Vec::new(), last: None }];
        for scene in 1..=scenes {
            let mut due = Vec::new();
            for (number, (service, event)) in services.iter_mut().enumerate() {
                let (next, kind) = moved(event.take(), number, scene, repertoire, dice);
                *event = next;
                due.extend(kind.map(|kind| News { service: service.clone(), kind }));
            }
            // Of one look, statusd tells the services in the order of their names.
            let last = News { service: format!("Lab z{scene:03}"), kind: Kind::Missed };
            services.push((last.service.clone(), Some(over(fresh(SERVICES + scene, scene, "Outage")))));
            due.push(last.clone());
            all.push(Scene { services: services.clone(), due, last: Some(last) });
        }
        Script { scenes: all }
    }

    /// All that must have been told in the end.
    pub fn due(&self) -> impl Iterator<Item = &News> {
        self.scenes.iter().flat_map(|scene| &scene.due)
    }
}

/// What a service does next, and what that is called.
fn moved(
    event: Option<Event>,
    number: usize,
    scene: usize,
    repertoire: Repertoire,
    dice: &mut Rng,
) -> (Option<Event>, Option<Kind>) {
    let throw = dice.u8(..10);
    let can_change = repertoire == Repertoire::All;
    let kind = if can_change && dice.bool() { "Issue" } else { "Outage" };
    match event {
        None if throw < 2 => (Some(over(fresh(number, scene, kind))), Some(Kind::Missed)),
        None => (Some(fresh(number, scene, kind)), Some(Kind::Began)),
        Some(event) if event.is_over => match throw {
            0..4 => (Some(Event { is_over: false, ..event }), Some(Kind::Reopened)),
            4..8 => (Some(fresh(number, scene, kind)), Some(Kind::Began)),
            _ => (Some(event), None),
        },
        Some(event) if throw < 7 => (Some(over(event)), Some(Kind::Ended)),
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
