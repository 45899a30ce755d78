//! Deserialises the tables of the file. An error names the key and the expected form.
//!
//! Wraps no message of another deserialiser, and an error contains only the type of a value, so that no
//! secret can reach it (`no_error_and_no_output_holds_a_secret`).

use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Faults, Origins};
use super::source_map::joined;
use crate::channel;
use crate::delivery::policy;
use crate::setting::SettingError;
use crate::text::nearest;

const STRING: &str = "a string";
const TABLE: &str = "a table";
const WHOLE_NUMBER: &str = "a whole number";
const OUT_OF_RANGE: &str = "the number is out of range";
/// Top-level keys that are not tables.
const TOP_KEYS: [&str; 2] = ["watch", "time_zone"];
/// Keys of development versions, with their new names.
const RENAMED: [(&str, &str); 4] = [
    ("alive", "liveness"),
    ("phone.look", "poll"),
    ("phone.late_look", "late_check"),
    ("channel.command.*.within_s", "timeout_s"),
];

/// Reads the table with the dotted key `place`. Adds errors to `faults` and omits the invalid settings.
pub(super) fn read<T: DeserializeOwned + Default>(
    table: DeTable<'_>,
    place: &str,
    origins: &Origins,
    faults: &mut Faults,
) -> T {
    let mut root = DeValue::Table(table);
    let mut removed: Vec<String> = Vec::new();
    // serde stops at the first fault, so the faulty key is removed and the rest is read again.
    loop {
        let ReadError { key, kind } = match T::deserialize(Node { key: place.to_owned(), value: &root }) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let key = key.unwrap_or_else(|| place.to_owned());
        // A key that was removed because of its own fault is not missing.
        if !matches!(&kind, Kind::Missing(field) if removed.contains(&joined(&key, field))) {
            faults.add(origins.error(kind.error(&key)));
        }
        match &mut root {
            DeValue::Table(table) => {
                if !remove(table, place, &key) {
                    return T::default();
                }
                removed.push(key);
            }
            _ => return T::default(),
        }
    }
}

/// Removes a dotted key, or the array that contains it. Returns false if there is none.
fn remove(table: &mut DeTable<'_>, place: &str, wanted: &str) -> bool {
    let is_in = |table: &str| {
        wanted.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let mut keys = table.keys().map(|key| key.get_ref().to_string());
    let Some(key) = keys.find(|key| is_in(&joined(place, key))) else { return false };
    let dotted = joined(place, &key);
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(below)) if dotted != wanted => remove(below, &dotted, wanted),
        _ => table.remove(key.as_str()).is_some(),
    }
}

/// An error, and the dotted key once it is known.
#[derive(Debug)]
struct ReadError {
    key: Option<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Missing(&'static str),
    UnknownKey { name: String, known: &'static [&'static str] },
    Value(SettingError),
}

impl Kind {
    fn error(self, key: &str) -> SettingError {
        match self {
            Kind::Missing(field) => SettingError::new(key, format!("the key {field:?} is missing")),
            Kind::UnknownKey { name, known } => unknown_key(key, &name, known),
            Kind::Value(error) => error.under(key),
        }
    }
}

/// Returns the error of a word outside a closed set.
pub(super) fn unknown_word(key: &str, word: &str, known: &[&str]) -> SettingError {
    let help = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("expected one of {}", known.join(", ")),
    };
    SettingError::new(key, format!("invalid value {word:?}: {help}"))
}

fn unknown_key(key: &str, name: &str, known: &[&str]) -> SettingError {
    let table = key.strip_suffix(&joined("", name)).unwrap_or_default().trim_end_matches('.');
    let known = || known.iter().chain(policy_keys(table)).copied();
    let hint = if let Some((_, now)) = RENAMED.iter().find(|(before, _)| is_match(before, key)) {
        format!("renamed to {now:?}")
    } else if let Some(near) = nearest(name, known()) {
        format!("did you mean {near:?}?")
    } else if let Some(near) = nearest(name, TOP_KEYS) {
        // A common TOML mistake: a key below a table header belongs to that table.
        format!("{near:?} belongs at the top of the file, above every [table]")
    } else {
        format!("known keys: {}", known().collect::<Vec<_>>().join(", "))
    };
    SettingError::new(key, "unknown key").hint(hint)
}

/// Compares dotted keys; `*` in `pattern` stands for one part.
fn is_match(pattern: &str, key: &str) -> bool {
    pattern.split('.').count() == key.split('.').count()
        && pattern.split('.').zip(key.split('.')).all(|(wanted, part)| wanted == "*" || wanted == part)
}

/// Returns true for the table of the channels of one kind, if they have names.
fn is_named_kind(table: &str) -> bool {
    table.strip_prefix("channel.").is_some_and(|kind| !kind.contains('.') && !channel::is_single(kind))
}

/// Returns the policy keys in a channel's table.
fn policy_keys(table: &str) -> &'static [&'static str] {
    let is_channel = table.strip_prefix("channel.").is_some_and(channel::is_single)
        || table.rsplit_once('.').is_some_and(|(kind, _)| is_named_kind(kind));
    if is_channel { &policy::KEYS } else { &[] }
}

impl ReadError {
    fn new(kind: Kind) -> ReadError {
        ReadError { key: None, kind }
    }

    /// Names the key, unless the error is in a part of it.
    fn at(self, key: &str) -> ReadError {
        ReadError { key: self.key.or_else(|| Some(key.to_owned())), ..self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> ReadError {
        ReadError::new(Kind::Value(SettingError::new("", message.to_string())))
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> ReadError {
        ReadError::custom("invalid type; see docs/configuration.md for the expected one")
    }

    /// [`Node`] has checked the type, so that only the size of a number can be wrong.
    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> ReadError {
        ReadError::custom(OUT_OF_RANGE)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> ReadError {
        ReadError::new(Kind::Value(unknown_word("", word, known)))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> ReadError {
        ReadError::new(Kind::UnknownKey { name: name.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> ReadError {
        ReadError::new(Kind::Missing(field))
    }
}

/// A value with its dotted key.
struct Node<'n, 'i> {
    key: String,
    value: &'n DeValue<'i>,
}

impl<'n, 'i> Node<'n, 'i> {
    fn wrong(&self, expected: &str) -> ReadError {
        let found = match self.value {
            DeValue::String(_) => STRING,
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(true) => "true",
            DeValue::Boolean(false) => "false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => TABLE,
        };
        let error = SettingError::new("", format!("expected {expected}, found {found}"));
        let error =
            match self.key.rsplit_once('.').filter(|(kind, _)| expected == TABLE && is_named_kind(kind)) {
                Some((kind, _)) => {
                    error.hint(format!("a channel of this kind has a name: write [{kind}.NAME]"))
                }
                None => error,
            };
        ReadError::new(Kind::Value(error)).at(&self.key)
    }

    fn entries(&self, table: &'n DeTable<'i>) -> Entries<'n, 'i> {
        let below = |(key, value): (&'n Spanned<_>, &'n Spanned<_>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            (name.to_string(), Node { key: joined(&self.key, name), value: value.get_ref() })
        };
        Entries(table.iter().map(below).collect::<Vec<_>>().into_iter(), None)
    }
}

/// The entries of a table, and the value of the key that was read last.
struct Entries<'n, 'i>(std::vec::IntoIter<(String, Node<'n, 'i>)>, Option<Node<'n, 'i>>);

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((name, node)) = self.0.next() else { return Ok(None) };
        let name: StrDeserializer<'_, ReadError> = name.as_str().into_deserializer();
        let read = seed.deserialize(name).map_err(|error| error.at(&node.key));
        self.1 = Some(node);
        read.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let node = self.1.take().expect("serde reads each key before its value");
        let key = node.key.clone();
        seed.deserialize(node).map_err(|error| error.at(&key))
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Node<'_, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Defines methods that check the type of the value.
macro_rules! checked {
    ($($method:ident: $is_type:ident, $expected:expr;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            if self.value.$is_type() { self.deserialize_any(visitor) } else { Err(self.wrong($expected)) }
        })+
    };
}

impl<'de, 'n, 'i> Deserializer<'de> for Node<'n, 'i> {
    type Error = ReadError;

    forward_to_deserialize_any! { f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any }

    checked! {
        deserialize_bool: is_bool, "true or false";
        deserialize_i8: is_integer, WHOLE_NUMBER;
        deserialize_i16: is_integer, WHOLE_NUMBER;
        deserialize_i32: is_integer, WHOLE_NUMBER;
        deserialize_i64: is_integer, WHOLE_NUMBER;
        deserialize_u8: is_integer, WHOLE_NUMBER;
        deserialize_u16: is_integer, WHOLE_NUMBER;
        deserialize_u32: is_integer, WHOLE_NUMBER;
        deserialize_u64: is_integer, WHOLE_NUMBER;
        deserialize_str: is_str, STRING;
        deserialize_string: is_str, STRING;
        deserialize_identifier: is_str, STRING;
        deserialize_seq: is_array, "an array";
        deserialize_map: is_table, TABLE;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let read = match self.value {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(de::Error::custom(OUT_OF_RANGE)),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::custom(OUT_OF_RANGE)),
            },
            DeValue::Boolean(flag) => visitor.visit_bool(*flag),
            DeValue::Datetime(time) => visitor.visit_str(&time.to_string()),
            DeValue::Array(array) => {
                let element = |(index, value): (usize, &'n Spanned<DeValue<'i>>)| Node {
                    key: format!("{}[{index}]", self.key),
                    value: value.get_ref(),
                };
                visitor.visit_seq(SeqDeserializer::new(array.iter().enumerate().map(element)))
            }
            DeValue::Table(table) => visitor.visit_map(self.entries(table)),
        };
        read.map_err(|error| error.at(&self.key))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let word = self.value.as_str().ok_or_else(|| self.wrong(STRING))?;
        let word: StrDeserializer<'_, ReadError> = word.into_deserializer();
        visitor.visit_enum(word).map_err(|error| error.at(&self.key))
    }
}
