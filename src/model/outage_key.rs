//! The key of an outage as an address: what [`Outage::key`](super::Outage::key) writes, read back.

use percent_encoding::percent_decode_str;

use super::{Edition, FeedId, Outage, ServiceKey};

/// The identity of an outage or a maintenance: feed, service, message id and occurrence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutageKey {
    pub feed: FeedId,
    pub service: ServiceKey,
    pub message_id: String,
    pub occurrence: u32,
}

impl OutageKey {
    pub fn new(feed: &FeedId, outage: &Outage) -> OutageKey {
        OutageKey {
            feed: feed.clone(),
            service: ServiceKey::new(&outage.service),
            message_id: outage.message_id.clone(),
            occurrence: outage.occurrence,
        }
    }

    /// Reads a key: `consumer/en_US/icloud%20backup/1002938/1`. In an address, the whole key may be
    /// percent-encoded once more, because it contains slashes.
    pub fn parse(text: &str) -> Option<OutageKey> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let text = if text.contains('/') { text.to_owned() } else { decoded(text)? };
        let parts: Vec<&str> = text.split('/').collect();
        let [edition, locale, service, message_id, occurrence] = parts[..] else { return None };
        let edition =
            [Edition::Consumer, Edition::Developer].into_iter().find(|of| of.as_str() == edition)?;
        Some(OutageKey {
            feed: FeedId { edition, locale: locale.to_owned() },
            service: ServiceKey::new(&decoded(service)?),
            message_id: decoded(message_id)?,
            occurrence: occurrence.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::model::{EventKind, Phase};

    #[test]
    fn a_key_is_read_back_however_it_is_encoded() {
        let feed = FeedId { edition: Edition::Developer, locale: "en_US".to_owned() };
        for (service, message_id) in
            [("iCloud Backup", "1002938"), ("A / B%2F & \u{30d0}", "a/b?c#d"), ("100%", "%41")]
        {
            let outage = Outage {
                service: service.to_owned(),
                message_id: message_id.to_owned(),
                occurrence: 2,
                kind: EventKind::Issue,
                phase: Phase::Ongoing(None),
                start: None,
                end: None,
                first_seen: Timestamp::UNIX_EPOCH,
                users_affected: None,
                message: String::new(),
                counts: BTreeMap::new(),
            };
            let expected = OutageKey::new(&feed, &outage);
            let key = outage.key(&feed);
            assert_eq!(OutageKey::parse(&key), Some(expected.clone()), "{key}");
            let encoded = key.replace('%', "%25").replace('/', "%2F");
            assert_eq!(OutageKey::parse(&encoded), Some(expected), "{encoded}");
        }
        for text in ["", "1", "consumer/en_US/a/1", "other/en_US/a/1/1", "consumer/en_US/a/1/x", "%ff"] {
            assert_eq!(OutageKey::parse(text), None, "{text}");
        }
    }
}
