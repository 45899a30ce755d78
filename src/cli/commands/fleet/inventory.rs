//! Parses a list of devices, as exported by a device management system: one [`FleetDevice`] per line.
//!
//! Accepts columns in any order (`columns` finds them), commas, semicolons or tabs, and UTF-8 or UTF-16.
//! A line that cannot be read becomes a device with a reason (`no_line_is_dropped`). An unclosed quote,
//! which may hide lines, is an error.

use std::io::{self, Read};

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::phones::DeviceFamily;
use crate::text::{self, counted};

use super::columns::{self, Columns, NamedColumns};
use super::dates::{DateError, parse_date};
use crate::cli::args::DateOrderArg;

/// 100,000 devices with twenty columns are 20 MB.
pub const MAX_BYTES: u64 = 64 << 20;
const MAX_DEVICES: usize = 1_000_000;
/// The longest quoted text in an error.
const MAX_NAME_CHARS: usize = 40;
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Spreadsheets may start a file with `sep=;` to declare the separator.
const SEPARATOR_LINE: &str = "sep=";

/// A device of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetDevice {
    /// The first line of the record in the file, from 1.
    pub line: u64,
    /// The name in the list. May be empty.
    pub name: String,
    /// The kind of a device that is neither an iPhone nor an iPad; its other columns are not read.
    pub other_kind: Option<String>,
    /// The last backup; `None` if there is none. The error is a one-line reason.
    pub last_backup: Result<Option<Timestamp>, String>,
    /// True if iCloud Backup is on; `None` if unknown. The error is a one-line reason.
    pub backup_enabled: Result<Option<bool>, String>,
}

/// A parsed list.
#[derive(Debug)]
pub struct DeviceList {
    pub columns: Columns,
    pub devices: Vec<FleetDevice>,
}

/// The reason why a list cannot be used. `Display` is one line and ends with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("it is larger than {} MiB; split it", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it has more than {MAX_DEVICES} devices; split it")]
    TooMany,
    #[error("it is empty; the first line must name the columns")]
    Empty,
    #[error("line {0} is not UTF-8; save it as “CSV UTF-8”")]
    NotUtf8(usize),
    #[error("it is not a text file; export it as CSV")]
    NotText,
    #[error("line {0}: an unclosed quote, or a field over several lines; correct that line")]
    OpenQuote(u64),
    #[error(transparent)]
    Columns(#[from] columns::ColumnError),
    #[error("line {line}: ambiguous date {text:?}; set --date-order dmy or mdy")]
    AmbiguousDate { line: u64, text: String },
}

/// Reads a whole file. At most 64 MiB.
pub fn read_bytes(source: impl Read) -> io::Result<Result<Vec<u8>, ListError>> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > MAX_BYTES { Err(ListError::TooLarge) } else { Ok(bytes) })
}

/// Parses a list.
///
/// `zone` applies to times without an offset in columns without a zone, `order` to dates like 05/04/2026.
pub fn parse(
    bytes: Vec<u8>,
    named: &NamedColumns<'_>,
    zone: &TimeZone,
    order: Option<DateOrderArg>,
) -> Result<DeviceList, ListError> {
    let text = decode(bytes)?;
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    if text.contains('\0') {
        return Err(ListError::NotText);
    }
    let delimiter = delimiter(text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    // Reading from memory cannot fail.
    let mut next = |record: &mut StringRecord| {
        let has_record = reader.read_record(record).unwrap_or(false);
        has_record.then(|| RawRecord::new(record, text, reader.position().byte() as usize))
    };
    let mut header = next(&mut record);
    if text.trim_start().starts_with(SEPARATOR_LINE) {
        header = next(&mut record);
    }
    if header.is_none() {
        return Err(ListError::Empty);
    }
    let columns = Columns::find(&record, named)?;
    let mut devices = Vec::new();
    while let Some(raw) = next(&mut record) {
        refuse_hidden_lines(&columns, &record, &raw, delimiter)?;
        if record.iter().all(|field| field.trim().is_empty()) {
            // Spreadsheets leave empty rows at the end.
            continue;
        }
        if devices.len() == MAX_DEVICES {
            return Err(ListError::TooMany);
        }
        devices.push(device(&columns, &record, raw.line, zone, order)?);
    }
    Ok(DeviceList { columns, devices })
}

/// Decodes UTF-8, or UTF-16 with a byte order mark, which spreadsheets call “Unicode text”.
fn decode(bytes: Vec<u8>) -> Result<String, ListError> {
    let units = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    if let Some((rest, unit)) = units {
        let (pairs, rest) = rest.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
        return text.ok_or(ListError::NotText);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        if valid.contains(&0) { ListError::NotText } else { ListError::NotUtf8(line) }
    })
}

/// Returns the most frequent delimiter in the first line, outside quotes.
fn delimiter(text: &str) -> u8 {
    let header = text.trim_start_matches(['\r', '\n']).lines().next().unwrap_or_default();
    let unquoted: String = header.split('"').step_by(2).collect();
    let count = |delimiter: &u8| unquoted.bytes().filter(|byte| byte == delimiter).count();
    // `max_by_key` returns the last of several maxima, so a comma is the default.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// The source text of a record.
struct RawRecord<'t> {
    line: u64,
    /// Includes the line break.
    text: &'t str,
}

impl RawRecord<'_> {
    fn new<'t>(record: &StringRecord, text: &'t str, end: usize) -> RawRecord<'t> {
        let (start, line) = record.position().map_or((0, 0), |at| (at.byte() as usize, at.line()));
        let raw = text.get(start..end).unwrap_or_default();
        // The position of a record is before the blank lines that precede it.
        let blank = raw.len() - raw.trim_start_matches(['\r', '\n']).len();
        let skipped = raw[..blank].bytes().filter(|byte| *byte == b'\n').count() as u64;
        RawRecord { line: line + skipped, text: &raw[blank..] }
    }
}

/// Returns true if the quotes of a record are unbalanced: the last one is missing, or one closes in the
/// middle of a field, because it was the opening quote of a later line.
fn has_unbalanced_quotes(raw: &str, delimiter: u8) -> bool {
    let (mut is_quoted, mut before) = (false, delimiter);
    for byte in raw.bytes() {
        let ends = byte == delimiter || byte == b'\r' || byte == b'\n';
        match byte {
            // A doubled quote closes the field and opens it again.
            b'"' if is_quoted => is_quoted = false,
            b'"' if before == delimiter || before == b'"' => is_quoted = true,
            _ if !is_quoted && before == b'"' && !ends => return true,
            _ => {}
        }
        before = byte;
    }
    is_quoted
}

/// Rejects a record whose quotes may hide the next devices.
///
/// Unused columns may contain several lines. A line break in a used column, or together with a wrong
/// number of fields, comes from an unclosed quote.
fn refuse_hidden_lines(
    columns: &Columns,
    record: &StringRecord,
    raw: &RawRecord,
    delimiter: u8,
) -> Result<(), ListError> {
    if !record.iter().any(|field| field.contains('\n')) {
        return Ok(());
    }
    let hides_lines = record.len() != columns.count
        || columns.used().any(|column| field(record, column).contains('\n'))
        || has_unbalanced_quotes(raw.text, delimiter);
    if hides_lines { Err(ListError::OpenQuote(raw.line)) } else { Ok(()) }
}

fn field(record: &StringRecord, column: usize) -> &str {
    record.get(column).unwrap_or_default()
}

fn device(
    columns: &Columns,
    record: &StringRecord,
    line: u64,
    zone: &TimeZone,
    order: Option<DateOrderArg>,
) -> Result<FleetDevice, ListError> {
    let names = columns.devices.iter().map(|column| field(record, *column).trim());
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
    if record.iter().skip(columns.count).any(|field| !field.trim().is_empty()) {
        let reason = format!("{} under {}", counted(record.len(), "field"), counted(columns.count, "column"));
        return Ok(FleetDevice {
            line,
            name,
            other_kind: None,
            last_backup: Err(reason.clone()),
            backup_enabled: Err(reason),
        });
    }
    let models = columns.models.iter().map(|column| DeviceFamily::from_description(field(record, *column)));
    let other = models.into_iter().find_map(|family| match family {
        DeviceFamily::Other(name) => Some(name),
        DeviceFamily::IPhone | DeviceFamily::IPad | DeviceFamily::IPod | DeviceFamily::Unknown => None,
    });
    if other.is_some() {
        return Ok(FleetDevice {
            line,
            name,
            other_kind: other,
            last_backup: Ok(None),
            backup_enabled: Ok(None),
        });
    }
    let text = field(record, columns.backup.number);
    let last = match parse_date(text, columns.backup.zone.as_ref().unwrap_or(zone), order) {
        Ok(last) => Ok(last),
        Err(DateError::Ambiguous) => return Err(ListError::AmbiguousDate { line, text: shortened(text) }),
        Err(DateError::Invalid) => Err(format!("cannot read {:?} as a time", shortened(text))),
    };
    let enabled = columns.enabled.as_ref().map_or(Ok(None), |column| yes_or_no(field(record, column.number)));
    Ok(FleetDevice { line, name, other_kind: other, last_backup: last, backup_enabled: enabled })
}

fn yes_or_no(text: &str) -> Result<Option<bool>, String> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "on" | "enabled" => Ok(Some(true)),
        "false" | "no" | "n" | "0" | "off" | "disabled" => Ok(Some(false)),
        "" | "-" | "unknown" | "null" | "none" | "n/a" => Ok(None),
        _ => Err(format!("cannot read {:?} as yes or no", shortened(text))),
    }
}

fn shortened(text: &str) -> String {
    text::plain_line(text, MAX_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<FleetDevice>, ListError> {
        let list = parse(bytes.to_vec(), &NamedColumns::default(), &TimeZone::UTC, None)?;
        Ok(list.devices)
    }

    /// Compares devices, written as `line name last enabled`, with `?` for unreadable and `-` for missing.
    #[track_caller]
    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        let devices = list(text.as_ref()).expect("a list");
        let last = |device: &FleetDevice| match &device.last_backup {
            Ok(Some(last)) => last.to_string(),
            Ok(None) => "-".to_owned(),
            Err(_) => "?".to_owned(),
        };
        let enabled = |device: &FleetDevice| match &device.backup_enabled {
            Ok(Some(true)) => "on",
            Ok(Some(false)) => "off",
            Ok(None) => "-",
            Err(_) => "?",
        };
        let drawn: Vec<String> = devices
            .iter()
            .map(|device| format!("{} {} {} {}", device.line, device.name, last(device), enabled(device)))
            .collect();
        assert_eq!(drawn, expected);
    }

    #[track_caller]
    fn check_error(bytes: impl AsRef<[u8]>, expected: &str) {
        let error = list(bytes.as_ref()).expect_err("no list");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let expected = ["2 Anna 2026-05-04T08:15:00Z on"];
        check("device,last backup,backup enabled\nAnna,2026-05-04T08:15:00Z,true\n", &expected);
        check("Backup_Enabled,OS,Last-Backup Time, DEVICE NAME \nyes,26,2026-05-04 08:15,Anna", &expected);
        check(
            "\"IsCloudBackupEnabled\";\"LastCloudBackupDate\";\"Name\"\r\n1;1777882500;\"Anna\"\r\n",
            &expected,
        );
        check("name\tlast iCloud backup date\tiCloud Backup\nAnna\t2026-05-04 08:15\tON\n", &expected);
        check(
            "sep=;\nname;last backup;icloud backup\nAnna;2026-05-04 08:15;ON\n",
            &["3 Anna 2026-05-04T08:15:00Z on"],
        );
        check("Serial Number,Device Name,Last Backup\nC02,Anna,\n", &["2 Anna - -"]);
        check("UDID,Last Backup\n00008101,never\n", &["2 00008101 - -"]);
        // A comma inside quotes is no delimiter.
        check("\"name, first, of, all\";device;last backup\nx;Anna;\n", &["2 Anna - -"]);
        check("device,last backup\n", &[]);
    }

    #[test]
    fn times_under_a_column_in_utc_are_read_as_utc() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let last = |text: &str| {
            let list =
                parse(text.as_bytes().to_vec(), &NamedColumns::default(), &berlin, None).expect("a list");
            list.devices[0].last_backup.clone().expect("a time").expect("a time").to_string()
        };
        let named =
            "Device Name,Last iCloud Backup Date (UTC),iCloud Backup Enabled\nDesk,2026-05-08 01:30,Yes\n";
        assert_eq!(last(named), "2026-05-08T01:30:00Z");
        assert_eq!(last("name,LastCloudBackupDateUTC\na,2026-05-08T01:30:00\n"), "2026-05-08T01:30:00Z");
        assert_eq!(last("name,last iCloud backup (+02:00)\na,2026-05-08 01:30\n"), "2026-05-07T23:30:00Z");
        // The offset of a time takes precedence over the zone of its column.
        assert_eq!(last("name,last iCloud backup (UTC)\na,2026-05-08 01:30 +0200\n"), "2026-05-07T23:30:00Z");
        assert_eq!(last("name,last iCloud backup\na,2026-05-08 01:30\n"), "2026-05-07T23:30:00Z");
        assert_eq!(last("name,last iCloud backup (UTC)\na,2026-05-08\n"), "2026-05-08T23:59:59Z");
    }

    #[test]
    fn a_zero_date_means_no_backup() {
        check(
            "Device Name,Last Backup Date\nAnna,1/1/0001 12:00:00 AM\nBerta,2026-05-07T20:15:00Z\n",
            &["2 Anna - -", "3 Berta 2026-05-07T20:15:00Z -"],
        );
    }

    #[test]
    fn a_device_without_a_name_is_shown_by_its_serial_number() {
        check(
            "Device Name,Serial Number,UDID,Last iCloud Backup\n,C02TEST1,,never\n ,,00008101,never\nAnna,C02TEST3,,never\n,,,never\n",
            &["2 C02TEST1 - -", "3 00008101 - -", "4 Anna - -", "5  - -"],
        );
    }

    #[test]
    fn other_devices_are_listed_and_not_read() {
        let text = "Name,Model,OS,Last iCloud Backup\n\
                    a,iPhone 13,iOS,2026-05-04 08:15\n\
                    b,Apple TV 4K,tvOS,05/04/2026\n\
                    c,\"RealityDevice14,1\",,yesterday\n\
                    d,A2403,macOS,\n\
                    e,A2403,,\n";
        let others: Vec<Option<String>> =
            list(text.as_bytes()).expect("a list").into_iter().map(|device| device.other_kind).collect();
        let other = |name: &str| Some(name.to_owned());
        assert_eq!(others, [None, other("Apple TV"), other("Apple Vision Pro"), other("Mac"), None]);
    }

    #[test]
    fn yes_and_no_are_read_in_many_forms() {
        for (text, expected) in [
            ("true", "on"),
            (" YES ", "on"),
            ("1", "on"),
            ("On", "on"),
            ("Enabled", "on"),
            ("FALSE", "off"),
            ("no", "off"),
            ("0", "off"),
            ("off", "off"),
            ("disabled", "off"),
            ("", "-"),
            ("unknown", "-"),
            ("2", "?"),
            ("perhaps", "?"),
        ] {
            check(format!("device,last backup,backup enabled\na,,{text}\n"), &[&format!("2 a - {expected}")]);
        }
    }

    #[test]
    fn spreadsheet_files_are_read() {
        let text = "device;last backup\r\nMüllers iPhone 🍏;2026-05-04 08:15\r\n";
        let expected = ["2 Müllers iPhone 🍏 2026-05-04T08:15:00Z -"];
        check(text, &expected);
        check(format!("\u{feff}{text}"), &expected);
        check(format!("\u{feff}sep=;\r\n{text}"), &["3 Müllers iPhone 🍏 2026-05-04T08:15:00Z -"]);
        let units: Vec<u16> = format!("\u{feff}{text}").encode_utf16().collect();
        let bytes = |unit: fn(u16) -> [u8; 2]| units.iter().flat_map(|u| unit(*u)).collect::<Vec<u8>>();
        check(bytes(u16::to_le_bytes), &expected);
        check(bytes(u16::to_be_bytes), &expected);
        check_error(&bytes(u16::to_le_bytes)[..31], "it is not a text file; export it as CSV");
        check_error(b"device,last backup\nM\xfcller,\n", "line 2 is not UTF-8; save it as “CSV UTF-8”");
        check_error(b"PK\x03\x04\0\0\xff\xfe", "it is not a text file; export it as CSV");
        check_error(b"device,last\0backup", "it is not a text file; export it as CSV");
    }

    #[test]
    fn no_line_is_dropped() {
        check(
            "device,last backup,backup enabled,notes\n\
             a,2026-05-04 08:15,on,\"two\nlines, and \"\"quotes\"\"\"\n\
             \n\
             b,yesterday,on,\n\
             ,2026-05-04 08:15,perhaps\n\
             ,,,\n\
             Müller, iPhone,2026-05-04 08:15,on,\n\
             c\n\
             5\" display,,\n",
            &[
                "2 a 2026-05-04T08:15:00Z on",
                "5 b ? on",
                "6  2026-05-04T08:15:00Z ?",
                "8 Müller ? ?",
                "9 c - -",
                "10 5\" display - -",
            ],
        );
        let reasons = list(b"device,last backup\na,yester\tday\nb,,c\n").expect("a list");
        assert_eq!(reasons[0].last_backup, Err("cannot read \"yester day\" as a time".to_owned()));
        assert_eq!(reasons[1].last_backup, Err("3 fields under 2 columns".to_owned()));
    }

    #[test]
    fn quotes_that_hide_lines_are_an_error() {
        let message = |line| {
            format!("line {line}: an unclosed quote, or a field over several lines; correct that line")
        };
        check_error("device,last backup\na,\n\"b,\nc,\n", &message(3));
        check_error("device,last backup,notes\na,,\"x\nb,,\nc,,\n", &message(2));
        // Closed by a quote of a later line.
        check_error("device,last backup,notes\na,,\"x\nb,,\"y\"\nc,,\n", &message(2));
        check_error("device,last backup,notes\na,,\"x\nb,,\",y\nc,,\n", &message(2));
        check_error("device,last backup,notes\n\"a\nb\",,x\n", &message(2));
    }

    #[test]
    fn errors_name_what_was_found_and_expected() {
        check_error("", "it is empty; the first line must name the columns");
        check_error("\n\n", "it is empty; the first line must name the columns");
        check_error(
            "model,OS Version\nx,y\n",
            "no column “device” (or “name”, “serial number”); found: model, OS Version; name it with --device-column",
        );
        check_error(
            "Device,\u{1b}[31mLast seen\nx,y\n",
            "no column “last backup” (or “last iCloud backup date”); found: Device, [31mLast seen; name it with --backup-column",
        );
        let many: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        let Err(error) = list(many.join(",").as_bytes()) else { panic!("no column") };
        assert!(error.to_string().contains("c10, c11, …; name it"), "{error}");
        check_error(
            "device,last backup\na,\nb,05/04/2026 8:15 AM\n",
            "line 3: ambiguous date \"05/04/2026 8:15 AM\"; set --date-order dmy or mdy",
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error() {
        assert_eq!(read_bytes(io::repeat(b'a')).expect("read"), Err(ListError::TooLarge));
        assert_eq!(read_bytes(&b"abc"[..]).expect("read"), Ok(b"abc".to_vec()));
    }
}
