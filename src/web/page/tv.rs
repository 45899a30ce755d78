//! `/?view=tv`: the watched services for a screen on the wall. Reloads itself, the only page that does.

use askama::Template;

use super::Frame;
use super::overview::{Head, Section, legend};
use super::shown::{ShownPart, ShownTime};
use crate::web::current::Current;

/// The time between two reloads.
const RELOAD_S: u32 = 60;
/// With more services, only those with a problem have a tile.
const TILES_MAX: usize = 24;
/// Up to this number, tiles fill the screen.
const FEW: usize = 4;

#[derive(Template)]
#[template(path = "tv.html")]
pub struct Tv {
    frame: Frame,
    head: Head,
    tiles: Vec<Section>,
    /// The number of services without a tile.
    more: usize,
    legend: Vec<(&'static str, &'static str)>,
    /// The number of tiles up to which they are large.
    few: usize,
    reload_s: u32,
    /// The time of the page, so that a screen that stopped reloading is noticed.
    clock: ShownTime,
}

pub fn page(current: &Current) -> Tv {
    let (services, days) = (current.services(), current.days());
    let mut watched: Vec<_> = services.iter().filter(|service| service.is_watched).collect();
    watched.sort_by_key(|service| service.state);
    Tv {
        frame: Frame::new("Status", "/", current),
        head: Head::new(&services, current),
        more: watched.len().saturating_sub(TILES_MAX),
        tiles: watched.iter().take(TILES_MAX).map(|service| Section::new(service, &days, current)).collect(),
        legend: legend(),
        few: FEW,
        reload_s: RELOAD_S,
        clock: ShownTime::new(current.now, current),
    }
}
