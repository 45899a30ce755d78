//! The family of a device: iPhone, iPad, iPod touch or another.
//!
//! Pure. Rules about iOS and its backups apply only to the first three. A word for another device is never
//! taken for one of these (`other_classes_are_other_devices`).

/// Limit for a word that is shown.
const MAX_WORD_CHARS: usize = 40;

/// Prefixes of the names of other devices, in lower case without spaces and "Apple", with the names that
/// are shown.
const OTHERS: [(&str, &str); 13] = [
    ("realitydevice", "Apple Vision Pro"),
    ("vision", "Apple Vision Pro"),
    ("tv", "Apple TV"),
    ("watch", "Apple Watch"),
    ("audioaccessory", "HomePod"),
    ("homepod", "HomePod"),
    ("imac", "Mac"),
    ("mac", "Mac"),
    ("osx", "Mac"),
    ("android", "Android device"),
    ("windows", "Windows device"),
    ("chromeos", "ChromeOS device"),
    ("linux", "Linux device"),
];

/// The family of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFamily {
    IPhone,
    IPad,
    /// iPod touch, which runs iOS and backs up to iCloud.
    IPod,
    /// Another device, with the name that is shown.
    Other(String),
    Unknown,
}

impl DeviceFamily {
    /// Returns the family for the class (`iPad`) and the model (`iPad7,1`) that a device reports. If one of
    /// them names another device, that device wins.
    pub fn of(class: Option<&str>, model: Option<&str>) -> DeviceFamily {
        let named: Vec<DeviceFamily> =
            [class, model].into_iter().flatten().map(DeviceFamily::from_apple).collect();
        let other = named.iter().find(|family| matches!(family, DeviceFamily::Other(_)));
        let known = named.iter().find(|family| **family != DeviceFamily::Unknown);
        other.or(known).cloned().unwrap_or(DeviceFamily::Unknown)
    }

    /// Returns the family named in a text of a user or of device management, for example
    /// `iPad Air (5th generation)`, `tvOS` or `AppleTV6,2`. Unknown if the text names no device.
    pub fn from_description(text: &str) -> DeviceFamily {
        let folded: String =
            text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let names =
            [("iphone", DeviceFamily::IPhone), ("ipad", DeviceFamily::IPad), ("ipod", DeviceFamily::IPod)];
        if let Some((_, family)) = names.into_iter().find(|(name, _)| folded.contains(name)) {
            return family;
        }
        let bare = folded.strip_prefix("apple").unwrap_or(&folded);
        if let Some((_, name)) = OTHERS.iter().find(|(start, _)| bare.starts_with(start)) {
            return DeviceFamily::Other((*name).to_owned());
        }
        if is_product_type(text.trim()) {
            DeviceFamily::from_apple(text.trim())
        } else {
            DeviceFamily::Unknown
        }
    }

    /// Returns whether the rules of iOS do not apply.
    pub fn is_other(&self) -> bool {
        matches!(self, DeviceFamily::Other(_))
    }

    /// Returns the family for a word of Apple's. Any word but the three names another device.
    fn from_apple(word: &str) -> DeviceFamily {
        let letters: String = word.chars().take_while(|c| !c.is_ascii_digit()).collect();
        match letters.trim() {
            "" => DeviceFamily::Unknown,
            "iPhone" => DeviceFamily::IPhone,
            "iPad" => DeviceFamily::IPad,
            "iPod" => DeviceFamily::IPod,
            _ => match DeviceFamily::from_description(&letters) {
                DeviceFamily::Other(name) => DeviceFamily::Other(name),
                _ => DeviceFamily::Other(word.chars().take(MAX_WORD_CHARS).collect()),
            },
        }
    }
}

/// Returns whether a text has the form of `RealityDevice14,1`: letters, a number, a comma, a number.
fn is_product_type(text: &str) -> bool {
    let Some((name, minor)) = text.split_once(',') else { return false };
    let major = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    major.len() < name.len() && is_number(major) && is_number(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str) -> DeviceFamily {
        DeviceFamily::Other(name.to_owned())
    }

    #[test]
    fn other_classes_are_other_devices() {
        for (class, model, expected) in [
            (Some("iPhone"), Some("iPhone13,2"), DeviceFamily::IPhone),
            (Some("iPad"), None, DeviceFamily::IPad),
            (None, Some("iPad7,1"), DeviceFamily::IPad),
            (Some("iPod"), Some("iPod9,1"), DeviceFamily::IPod),
            (None, None, DeviceFamily::Unknown),
            (Some("RealityDevice"), Some("RealityDevice14,1"), other("Apple Vision Pro")),
            (None, Some("RealityDevice14,1"), other("Apple Vision Pro")),
            (Some("AppleTV"), Some("AppleTV14,1"), other("Apple TV")),
            (Some("Watch"), Some("Watch7,5"), other("Apple Watch")),
            (Some("AudioAccessory"), None, other("HomePod")),
            (Some("Mac"), Some("Mac14,2"), other("Mac")),
            (Some("Bridge"), Some("iBridge2,1"), other("Bridge")),
            // Contradictory, and never seen: another device.
            (Some("iPhone"), Some("RealityDevice14,1"), other("Apple Vision Pro")),
            (Some("iPhoneSimulator"), None, other("iPhoneSimulator")),
            (Some("iGlasses"), Some("iGlasses1,1"), other("iGlasses")),
        ] {
            assert_eq!(DeviceFamily::of(class, model), expected, "{class:?} {model:?}");
        }
    }

    #[test]
    fn descriptions_name_a_device_or_are_unknown() {
        for (text, expected) in [
            ("iPhone 13 Pro", DeviceFamily::IPhone),
            ("Apple iPad Air (5th generation)", DeviceFamily::IPad),
            ("iPadOS", DeviceFamily::IPad),
            ("iPod touch", DeviceFamily::IPod),
            ("iPhone13,2", DeviceFamily::IPhone),
            ("Apple TV 4K", other("Apple TV")),
            ("AppleTV6,2", other("Apple TV")),
            ("tvOS 18.1", other("Apple TV")),
            ("Apple Vision Pro", other("Apple Vision Pro")),
            ("RealityDevice14,1", other("Apple Vision Pro")),
            ("MacBook Pro", other("Mac")),
            ("Apple MacBook Air", other("Mac")),
            ("Mac OS X", other("Mac")),
            ("Watch6,1", other("Apple Watch")),
            ("Glasses1,1", other("Glasses1,1")),
            ("iOS", DeviceFamily::Unknown),
            ("A2403", DeviceFamily::Unknown),
            ("MGDJ3LL/A", DeviceFamily::Unknown),
            ("Mobile", DeviceFamily::Unknown),
            ("1,000", DeviceFamily::Unknown),
            ("", DeviceFamily::Unknown),
        ] {
            assert_eq!(DeviceFamily::from_description(text), expected, "{text:?}");
        }
    }
}
