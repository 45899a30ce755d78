//! Reads Apple's property lists, XML and binary, within limits, and writes them.
//!
//! `plist` has no limits of its own when it reads a whole value: deep nesting overflows the stack in the
//! destructor, and a binary list can repeat one object a million times. With the limits here, any input
//! ends without a panic (`oversized_lists_are_rejected`, `damaged_lists_do_not_panic`).

use std::io::Cursor;

use plist::stream::{BinaryReader, Event, XmlReader};
use plist::{Dictionary, Value};

const BINARY_MAGIC: &[u8] = b"bplist00";
/// Apple's lists have about four levels.
const MAX_DEPTH: usize = 16;

/// Limits for the content of a list.
#[derive(Clone, Copy, Debug)]
pub struct ListLimits {
    /// Values, and starts and ends of collections.
    pub events: usize,
    /// Strings and data together.
    pub content_bytes: usize,
}

/// Reads a dictionary, XML or binary. Returns `None` for anything else, or if a limit is exceeded.
pub fn read(bytes: &[u8], limits: ListLimits) -> Option<Dictionary> {
    if bytes.starts_with(BINARY_MAGIC) {
        build(BinaryReader::new(Cursor::new(bytes)), limits)
    } else {
        build(XmlReader::new(bytes), limits)
    }
}

/// Writes a dictionary as XML.
pub fn written(dictionary: Dictionary) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail, and requests contain only values that XML supports.
    let _ = Value::Dictionary(dictionary).to_writer_xml(&mut bytes);
    bytes
}

/// A collection whose end is not yet read.
enum Open {
    Array(Vec<Value>),
    /// With the key of the next value.
    Dictionary(Dictionary, Option<String>),
}

fn build(
    events: impl Iterator<Item = Result<Event<'static>, plist::Error>>,
    limits: ListLimits,
) -> Option<Dictionary> {
    let mut open: Vec<Open> = Vec::new();
    let mut content_bytes = 0;
    for event in events.take(limits.events) {
        let value = match event.ok()? {
            Event::StartArray(_) if open.len() < MAX_DEPTH => {
                open.push(Open::Array(Vec::new()));
                continue;
            }
            Event::StartDictionary(_) if open.len() < MAX_DEPTH => {
                open.push(Open::Dictionary(Dictionary::new(), None));
                continue;
            }
            Event::EndCollection => match open.pop()? {
                Open::Array(values) => Value::Array(values),
                Open::Dictionary(dictionary, None) => Value::Dictionary(dictionary),
                Open::Dictionary(_, Some(_)) => return None,
            },
            Event::Boolean(value) => Value::Boolean(value),
            Event::Integer(value) => Value::Integer(value),
            Event::Real(value) => Value::Real(value),
            Event::Date(value) => Value::Date(value),
            Event::Data(value) => {
                content_bytes += value.len();
                Value::Data(value.into_owned())
            }
            Event::String(value) => {
                content_bytes += value.len();
                Value::String(value.into_owned())
            }
            // Nested too deeply, or of a type that is never sent.
            _ => return None,
        };
        if content_bytes > limits.content_bytes {
            return None;
        }
        match open.last_mut() {
            None => return value.into_dictionary(),
            Some(Open::Array(values)) => values.push(value),
            Some(Open::Dictionary(dictionary, key)) => match key.take() {
                Some(key) => drop(dictionary.insert(key, value)),
                None => *key = Some(value.into_string()?),
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_EVENTS: usize = 10_000;
    const LIMITS: ListLimits = ListLimits { events: MAX_EVENTS, content_bytes: 2 << 20 };

    fn read(bytes: &[u8]) -> Option<Dictionary> {
        super::read(bytes, LIMITS)
    }

    fn sample() -> Dictionary {
        let mut device = Dictionary::new();
        device.insert("SerialNumber".to_owned(), "00008101-000A1B2C3D4E001E".into());
        device.insert("DeviceID".to_owned(), 7.into());
        let mut list = Dictionary::new();
        list.insert("DeviceList".to_owned(), Value::Array(vec![device.into()]));
        list.insert("Value".to_owned(), true.into());
        list.insert("Real".to_owned(), 1.5.into());
        list.insert("Name".to_owned(), "Zoë’s <iPhone> & Co".into());
        list.insert("Record".to_owned(), Value::Data(vec![0, 255, 13]));
        list
    }

    fn binary(dictionary: Dictionary) -> Vec<u8> {
        let mut bytes = Vec::new();
        Value::Dictionary(dictionary).to_writer_binary(&mut bytes).expect("memory");
        bytes
    }

    #[test]
    fn reads_both_formats() {
        assert_eq!(read(&written(sample())), Some(sample()));
        assert_eq!(read(&binary(sample())), Some(sample()));
    }

    #[test]
    fn rejects_other_content() {
        for bytes in ["", "x", "<plist/>", "<plist><array/></plist>", "<dict>", "<dict><key>a</key></dict>"] {
            assert_eq!(read(bytes.as_bytes()), None, "{bytes}");
        }
        for tail in ["<true/><true/>", "<key>a</key>", "<integer>x</integer>", "</array>"] {
            assert_eq!(read(format!("<plist><dict>{tail}</dict></plist>").as_bytes()), None, "{tail}");
        }
    }

    #[test]
    fn oversized_lists_are_rejected() {
        let nested = |depth: usize| {
            let (open, close) = ("<array>".repeat(depth), "</array>".repeat(depth));
            format!("<plist><dict><key>a</key>{open}{close}</dict></plist>")
        };
        assert!(read(nested(MAX_DEPTH - 1).as_bytes()).is_some());
        assert_eq!(read(nested(MAX_DEPTH).as_bytes()), None);
        assert_eq!(read(nested(100_000).as_bytes()), None);
        let many = "<true/>".repeat(MAX_EVENTS);
        assert_eq!(read(format!("<dict><key>a</key><array>{many}</array></dict>").as_bytes()), None);
        for text_bytes in [None, Some(16_384)] {
            assert!(read(&bomb(1, text_bytes)).is_some());
            assert_eq!(read(&bomb(2, text_bytes)), None);
            assert_eq!(read(&bomb(12, text_bytes)), None);
        }
        // Few values with much content.
        assert_eq!(read(&bomb(1, Some(32_768))), None);
    }

    /// Returns `{"": [x, x, …]}`, where each level has the array of the next level a hundred times, and the
    /// last an empty array or a string of `text_bytes`.
    fn bomb(levels: u8, text_bytes: Option<u16>) -> Vec<u8> {
        let mut bytes = BINARY_MAGIC.to_vec();
        let mut offsets = vec![bytes.len() as u16];
        bytes.extend([0xd1, 1, 2]);
        offsets.push(bytes.len() as u16);
        bytes.push(0x50);
        for level in 2..2 + levels {
            offsets.push(bytes.len() as u16);
            bytes.extend([0xaf, 0x10, 100]);
            bytes.extend([level + 1; 100]);
        }
        offsets.push(bytes.len() as u16);
        match text_bytes {
            None => bytes.push(0xa0),
            Some(length) => {
                bytes.extend([0x5f, 0x11]);
                bytes.extend(length.to_be_bytes());
                bytes.extend(vec![b'x'; length.into()]);
            }
        }
        let table = bytes.len() as u64;
        offsets.iter().for_each(|offset| bytes.extend(offset.to_be_bytes()));
        bytes.extend([0, 0, 0, 0, 0, 0, 2, 1]);
        for number in [offsets.len() as u64, 0, table] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn damaged_lists_do_not_panic() {
        let mut readable = 0;
        for (seed, whole) in (0..10_000).zip([written(sample()), binary(sample())].iter().cycle()) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(0..bytes.len().max(1));
                match rng.u8(0..9) {
                    0 => bytes.truncate(at),
                    1..3 => bytes.insert(at.min(bytes.len()), rng.u8(..)),
                    _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
                }
            }
            readable += usize::from(read(&bytes).is_some());
        }
        assert!(readable > 1_000, "only {readable} were readable");
    }
}
