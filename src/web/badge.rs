//! Badges of services: SVG, and the form that shields.io reads from an endpoint.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::api::parameters::Parameters;
use super::api::respond;
use super::problem::Problem;
use super::site::SharedSite;
use super::verdict::NAME_MAX_CHARS;
use crate::report::state::State;
use crate::text::{plain_line, xml_escaped};

const SVG: &str = "image/svg+xml; charset=utf-8";
/// The time for which shields.io may keep an answer.
const CACHE_S: u32 = 300;
/// The width of a column of text, and the space around a text.
const COLUMN_PX: usize = 7;
const PADDING_PX: usize = 12;

pub fn routes() -> Router<SharedSite> {
    Router::new().route("/badge/{file}", get(show))
}

/// Answers for `SLUG.svg` and `SLUG.json`.
async fn show(
    Shared(site): Shared<SharedSite>,
    Path(file): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Parameters::none(&uri)?;
    let current = site.current().await?;
    let services = current.services();
    let found = file.rsplit_once('.').and_then(|(slug, form)| {
        let service = services.iter().find(|service| service.slug() == slug)?;
        Some((plain_line(service.name, NAME_MAX_CHARS), service.state, form))
    });
    match found {
        Some((name, state, "svg")) => Ok(respond::text(&headers, SVG, svg(&name, state))),
        Some((name, state, "json")) => {
            let document = json!({
                "schemaVersion": 1,
                "label": name,
                "message": state.words(),
                "color": color(state).0,
                "isError": state == State::CannotTell,
                "cacheSeconds": CACHE_S,
            });
            Ok(respond::json(&headers, &document, &[]))
        }
        Some(_) | None => Err(Problem::not_found(
            "there is no such badge; /api/v1/services lists the slugs, followed by .svg or .json",
        )),
    }
}

/// Returns the name of the color for shields.io, and a ground that is dark enough for white text (WCAG 2.2,
/// 1.4.3).
fn color(state: State) -> (&'static str, &'static str) {
    match state {
        State::Outage => ("red", "#b3261e"),
        State::CannotTell => ("lightgrey", "#5f6368"),
        State::Issue => ("orange", "#9a4f00"),
        State::Maintenance => ("blue", "#1a5fb4"),
        State::Fine => ("brightgreen", "#2e6b30"),
    }
}

fn svg(name: &str, state: State) -> String {
    let width = |text: &str| text.width() * COLUMN_PX + PADDING_PX;
    let (left, right) = (width(name), width(state.words()));
    let (whole, text_left, text_right) = (left + right, left / 2, left + right / 2);
    let (left_px, right_px) = (left - PADDING_PX, right - PADDING_PX);
    let (name, words, ground) = (xml_escaped(name), state.words(), color(state).1);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{name}: {words}">
<title>{name}: {words}</title>
<rect width="{whole}" height="20" rx="3" fill="{ground}"/>
<path d="M3 0h{inner}v20h-{inner}a3 3 0 0 1-3-3v-14a3 3 0 0 1 3-3z" fill="#3c4043"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{text_left}" y="14" textLength="{left_px}" lengthAdjust="spacingAndGlyphs">{name}</text>
<text x="{text_right}" y="14" textLength="{right_px}" lengthAdjust="spacingAndGlyphs">{words}</text>
</g>
</svg>
"##,
        inner = left - 3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_in_its_element() {
        let name = plain_line("</title><script>alert('1')</script>\" onload=\"x & \u{202e}", NAME_MAX_CHARS);
        let svg = svg(&name, State::Outage);
        assert!(!svg.contains("<script") && !svg.contains("\" onload") && !svg.contains('\u{202e}'), "{svg}");
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        assert!(svg.contains(&format!("aria-label=\"{}: outage\"", xml_escaped(&name))), "{svg}");
    }
}
