//! Reads requested fields from JSON and skips the rest without allocating.
//!
//! Values stay slices of the text until they are converted, so a document needs about as much memory as
//! its text. Skipping does not recurse. A value of an unexpected type counts as missing; only the
//! outermost level can fail.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Error, Number};

use super::repair;

/// Returns the values of these keys of an object. Of duplicate keys, the last counts.
pub fn fields<'a, const N: usize>(json: &'a str, wanted: [&str; N]) -> Result<[Option<&'a str>; N], Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let fields = reader.deserialize_map(Fields(wanted))?;
    reader.end().map(|()| fields)
}

/// Returns the first `max` values of a list, and whether these are all.
pub fn items(json: &str, max: usize) -> Option<(Vec<&str>, bool)> {
    serde_json::Deserializer::from_str(json).deserialize_seq(Items(max)).ok()
}

/// Returns a string, with invalid characters replaced.
pub fn text(json: &str) -> Option<String> {
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str(json).or_else(|_| serde_json::from_str(&repair::string(json))).ok()
}

/// Returns a number that `f64` or a 64-bit integer can represent.
pub fn number(json: &str) -> Option<Number> {
    serde_json::from_str(json).ok()
}

struct Fields<'k, const N: usize>([&'k str; N]);

impl<'a, const N: usize> Visitor<'a> for Fields<'_, N> {
    type Value = [Option<&'a str>; N];

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(at) = map.next_key_seed(Key(&self.0))? {
            match at {
                Some(at) => found[at] = Some(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The index of a key in the requested ones. Compares bytes, because a key may be invalid as a string.
struct Key<'k>(&'k [&'k str]);

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.as_bytes() == key))
    }
}

struct Items(usize);

impl<'a> Visitor<'a> for Items {
    type Value = (Vec<&'a str>, bool);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.0 {
            match list.next_element::<&RawValue>()? {
                Some(item) => items.push(item.get()),
                None => return Ok((items, true)),
            }
        }
        let mut is_whole = true;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_whole = false;
        }
        Ok((items, is_whole))
    }
}
