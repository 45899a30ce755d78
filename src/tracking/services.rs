//! Rule 11: services that are listed, and watched names that no document has ever listed.
//!
//! Services that are no longer listed are in `absence`.

use super::comparison::Comparison;
use super::watchlist::Watchlist;
use crate::model::{Change, ChangeKind, Document, Listed, Service, ServiceKey};
use crate::text;

/// Limits for the names that an unknown one is compared with. Apple lists about 80, of at most 50
/// characters.
const NEAR_NAMES_MAX: usize = 200;
const NEAR_MAX_BYTES: usize = 160;
/// Most services that are remembered. Apple lists about 80.
const SERVICES_MAX: usize = 2_000;

impl Comparison<'_> {
    pub(super) fn service_listed(&mut self, key: &ServiceKey, name: &str) {
        let held = self.beliefs.services.get(key);
        if held.is_some_and(|held| held.listed == Listed::Yes && held.name == name) {
            return;
        }
        let listed = match held.map(|held| &held.listed) {
            Some(Listed::No { .. } | Listed::Never { .. }) => {
                let candidate = (key.clone(), String::new(), 0, ChangeKind::ListedAgain, None);
                let Some(seen_at) = self.confirmed(candidate) else { return };
                self.service_changed(ChangeKind::ListedAgain, name, seen_at, Vec::new());
                Listed::Yes
            }
            Some(Listed::Yes | Listed::Missing(_)) | None => Listed::Yes,
        };
        if held.is_none() && self.beliefs.services.len() + self.update.services.len() >= SERVICES_MAX {
            return;
        }
        let first_seen = held.map_or(self.now, |held| held.first_seen);
        self.update.services.push((key.clone(), Service { name: name.to_owned(), first_seen, listed }));
    }

    /// Reports each watched name that matches no service, with the nearest names.
    pub(super) fn watched_names(&mut self, document: &Document, watch: &Watchlist) {
        for pattern in watch.patterns() {
            let key = ServiceKey::new(&pattern.text);
            let known = |(key, service): (&ServiceKey, &Service)| {
                !matches!(service.listed, Listed::Never { .. }) && pattern.matches(key)
            };
            if document.services.keys().any(|key| pattern.matches(key))
                || self.beliefs.services.iter().any(known)
            {
                continue;
            }
            let candidate = (key.clone(), String::new(), 0, ChangeKind::Unlisted, None);
            if self.beliefs.services.contains_key(&key) {
                continue;
            }
            if let Some(seen_at) = self.confirmed(candidate) {
                let names = document.services.values().map(|listing| listing.name.as_str());
                let names = names.filter(|name| name.len() <= NEAR_MAX_BYTES).take(NEAR_NAMES_MAX);
                self.service_changed(
                    ChangeKind::Unlisted,
                    &pattern.text,
                    seen_at,
                    text::near(&pattern.text, names).into_iter().map(str::to_owned).collect(),
                );
                let listed = Listed::Never { since: seen_at };
                let service = Service { name: pattern.text.clone(), first_seen: seen_at, listed };
                self.update.services.push((key, service));
            }
        }
        self.forget_names(document, watch);
    }

    /// Forgets a reported name once it matches a service or is no longer watched.
    fn forget_names(&mut self, document: &Document, watch: &Watchlist) {
        for (key, service) in &self.beliefs.services {
            if !matches!(service.listed, Listed::Never { .. }) || document.services.contains_key(key) {
                continue;
            }
            let pattern = watch.patterns().iter().find(|pattern| ServiceKey::new(&pattern.text) == *key);
            let found =
                pattern.and_then(|pattern| document.services.iter().find(|(key, _)| pattern.matches(key)));
            match (pattern, found) {
                (None, _) => self.update.forgotten.push(key.clone()),
                (Some(_), None) => {}
                (Some(_), Some((_, listing))) => {
                    let candidate = (key.clone(), String::new(), 0, ChangeKind::ListedAgain, None);
                    if let Some(seen_at) = self.confirmed(candidate) {
                        // Two globs may match one service, which is reported once.
                        let is_reported = |change: &Change| {
                            change.kind == ChangeKind::ListedAgain && change.service == listing.name
                        };
                        if !self.update.changes.iter().any(is_reported) {
                            self.service_changed(ChangeKind::ListedAgain, &listing.name, seen_at, Vec::new());
                        }
                        self.update.forgotten.push(key.clone());
                    }
                }
            }
        }
    }
}
