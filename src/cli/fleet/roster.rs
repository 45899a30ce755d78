//! A list of devices as a device management exports it: bytes → one [`Device`] a line.
//!
//! Liberal: columns are found by their names, in any order; commas, semicolons or tabs; UTF-8 or
//! UTF-16. It judges nothing. Invariant: no line is dropped. One that cannot be read is a device
//! with the reason; what may have swallowed lines (a quote that is never closed) is an error.

use std::io::{self, Read};

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::text::{self, counted};

use super::super::args::DateOrder;
use super::moment::{Unread, moment};

/// 100,000 devices with twenty columns are 20 MB.
pub const MAX_BYTES: u64 = 64 << 20;
const MAX_DEVICES: usize = 1_000_000;
/// Of columns, in an error.
const MAX_NAMED: usize = 12;
const MAX_NAME_CHARS: usize = 40;
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Spreadsheets begin a file with `sep=;` to say what stands between the fields.
const SEPARATOR_LINE: &str = "sep=";

/// Names of columns as [`folded`] leaves them; where several are there, the first of these counts.
const DEVICE: [&str; 14] = [
    "device",
    "devicename",
    "name",
    "displayname",
    "devicedisplayname",
    "hostname",
    "assettag",
    "serialnumber",
    "serial",
    "deviceserialnumber",
    "udid",
    "deviceudid",
    "deviceid",
    "id",
];
const LAST_BACKUP: [&str; 15] = [
    "lastcloudbackupdate",
    "lasticloudbackupdate",
    "lastcloudbackuptime",
    "lasticloudbackuptime",
    "lastcloudbackup",
    "lasticloudbackup",
    "lastbackuptime",
    "lastbackupdate",
    "lastbackupat",
    "lastbackup",
    "lastcloudbackupdateutc",
    "lastcloudbackupdateepoch",
    "lasticloudbackupdateepoch",
    "lastbackupepoch",
    "lastbackuptimestamp",
];
const ENABLED: [&str; 12] = [
    "iscloudbackupenabled",
    "isicloudbackupenabled",
    "cloudbackupenabled",
    "icloudbackupenabled",
    "backupenabled",
    "isbackupenabled",
    "cloudbackupstatus",
    "icloudbackupstatus",
    "backupstatus",
    "cloudbackup",
    "icloudbackup",
    "backup",
];

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it begins in the file, from 1.
    pub line: u64,
    /// As it stands there; may be empty.
    pub name: String,
    /// `None`: there is none. The error says why it cannot be read, in one line.
    pub last: Result<Option<Timestamp>, String>,
    pub enabled: Result<Option<bool>, String>,
}

/// Why there is no list. `Display` is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is larger than {} MiB; split it", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it has more than {MAX_DEVICES} devices; split it")]
    TooMany,
    #[error("it is empty; the first line must name the columns")]
    Empty,
    #[error("line {0} is not UTF-8; save it as “CSV UTF-8”")]
    NotUtf8(usize),
    #[error("it is no text but a file of another kind; export it as CSV")]
    NotText,
    #[error("line {0}: a quote that is never closed, or a text over several lines; correct that line")]
    OpenQuote(u64),
    #[error("no column {wanted}; found: {found}")]
    NoColumn { wanted: &'static str, found: String },
    #[error("line {line}: is {text:?} written day first or month first? Say --date-order dmy or mdy")]
    WhichOrder { line: u64, text: String },
}

/// Reads all there is, up to the limit.
pub fn fetch(from: impl Read) -> io::Result<Result<Vec<u8>, Unusable>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > MAX_BYTES { Err(Unusable::TooLarge) } else { Ok(bytes) })
}

/// `zone` is that of times without an offset; `order` that of dates like 05/04/2026.
pub fn read(bytes: Vec<u8>, zone: &TimeZone, order: Option<DateOrder>) -> Result<Vec<Device>, Unusable> {
    let text = decoded(bytes)?;
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    if text.contains('\0') {
        return Err(Unusable::NotText);
    }
    let delimiter = delimiter(text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    // From a text in memory nothing can fail.
    let mut next = |record: &mut StringRecord| {
        let is_there = reader.read_record(record).unwrap_or(false);
        is_there.then(|| Place::of(record, text, reader.position().byte() as usize))
    };
    let mut head = next(&mut record);
    if text.trim_start().starts_with(SEPARATOR_LINE) {
        head = next(&mut record);
    }
    if head.is_none() {
        return Err(Unusable::Empty);
    }
    let columns = Columns::find(&record)?;
    let mut devices = Vec::new();
    while let Some(place) = next(&mut record) {
        columns.refuse_swallowed(&record, &place, delimiter)?;
        if record.iter().all(|field| field.trim().is_empty()) {
            // The empty rows that spreadsheets leave at the end.
            continue;
        }
        if devices.len() == MAX_DEVICES {
            return Err(Unusable::TooMany);
        }
        devices.push(columns.device(&record, place.line, zone, order)?);
    }
    Ok(devices)
}

/// UTF-8, or UTF-16 with a byte order mark, as spreadsheets write “Unicode text”.
fn decoded(bytes: Vec<u8>) -> Result<String, Unusable> {
    let units = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    if let Some((rest, unit)) = units {
        let (pairs, rest) = rest.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
        return text.ok_or(Unusable::NotText);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        if good.contains(&0) { Unusable::NotText } else { Unusable::NotUtf8(line) }
    })
}

/// What stands most often in the first line, outside quotes.
fn delimiter(text: &str) -> u8 {
    let head = text.trim_start_matches(['\r', '\n']).lines().next().unwrap_or_default();
    let outside: String = head.split('"').step_by(2).collect();
    let count = |delimiter: &u8| outside.bytes().filter(|byte| byte == delimiter).count();
    // Of equals the last wins.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// Where a record stands.
struct Place<'t> {
    line: u64,
    /// As it was written, with its line break.
    raw: &'t str,
}

impl Place<'_> {
    fn of<'t>(record: &StringRecord, text: &'t str, end: usize) -> Place<'t> {
        let (start, line) = record.position().map_or((0, 0), |at| (at.byte() as usize, at.line()));
        let raw = text.get(start..end).unwrap_or_default();
        // Blank lines before it count to it.
        let blank = raw.len() - raw.trim_start_matches(['\r', '\n']).len();
        let skipped = raw[..blank].bytes().filter(|byte| *byte == b'\n').count() as u64;
        Place { line: line + skipped, raw: &raw[blank..] }
    }
}

/// Whether the quotes of a record are not as they should be: the last one is missing, or one closes
/// in the middle of a field, where the next line's was to open.
fn is_torn(raw: &str, delimiter: u8) -> bool {
    let (mut is_quoted, mut before) = (false, delimiter);
    for byte in raw.bytes() {
        let ends = byte == delimiter || byte == b'\r' || byte == b'\n';
        match byte {
            // Within quotes a doubled one closes and opens again.
            b'"' if is_quoted => is_quoted = false,
            b'"' if before == delimiter || before == b'"' => is_quoted = true,
            _ if !is_quoted && before == b'"' && !ends => return true,
            _ => {}
        }
        before = byte;
    }
    is_quoted
}

/// Which column is what, by number from 0.
struct Columns {
    count: usize,
    device: usize,
    last: usize,
    enabled: Option<usize>,
}

impl Columns {
    fn find(head: &StringRecord) -> Result<Columns, Unusable> {
        let names: Vec<String> = head.iter().map(folded).collect();
        let find =
            |wanted: &[&str]| wanted.iter().find_map(|wanted| names.iter().position(|name| name == wanted));
        let missing = |wanted: &'static str| Unusable::NoColumn { wanted, found: listed(head) };
        Ok(Columns {
            count: head.len(),
            device: find(&DEVICE).ok_or_else(|| missing("“device” (or “name”, “serial number”)"))?,
            last: find(&LAST_BACKUP)
                .ok_or_else(|| missing("“last backup” (or “last iCloud backup date”)"))?,
            enabled: find(&ENABLED),
        })
    }

    fn field<'r>(&self, record: &'r StringRecord, column: usize) -> &'r str {
        record.get(column).unwrap_or_default()
    }

    /// Other columns may hold texts of several lines. In ours, or where the count of fields is
    /// another too, it is a quote that swallowed the next devices.
    fn refuse_swallowed(&self, record: &StringRecord, place: &Place, delimiter: u8) -> Result<(), Unusable> {
        if !record.iter().any(|field| field.contains('\n')) {
            return Ok(());
        }
        let ours = [Some(self.device), Some(self.last), self.enabled];
        let mut ours = ours.into_iter().flatten().map(|column| self.field(record, column));
        let is_swallowing = record.len() != self.count
            || ours.any(|field| field.contains('\n'))
            || is_torn(place.raw, delimiter);
        if is_swallowing { Err(Unusable::OpenQuote(place.line)) } else { Ok(()) }
    }

    fn device(
        &self,
        record: &StringRecord,
        line: u64,
        zone: &TimeZone,
        order: Option<DateOrder>,
    ) -> Result<Device, Unusable> {
        let name = self.field(record, self.device).trim().to_owned();
        if record.iter().skip(self.count).any(|field| !field.trim().is_empty()) {
            let reason =
                format!("{} under {}", counted(record.len(), "field"), counted(self.count, "column"));
            return Ok(Device { line, name, last: Err(reason.clone()), enabled: Err(reason) });
        }
        let last = match moment(self.field(record, self.last), zone, order) {
            Ok(last) => Ok(last),
            Err(Unread::WhichOrder) => {
                let text = quotable(self.field(record, self.last));
                return Err(Unusable::WhichOrder { line, text });
            }
            Err(Unread::NoTime) => {
                Err(format!("cannot read {:?} as a time", quotable(self.field(record, self.last))))
            }
        };
        let enabled = self.enabled.map_or(Ok(None), |column| yes_or_no(self.field(record, column)));
        Ok(Device { line, name, last, enabled })
    }
}

fn yes_or_no(text: &str) -> Result<Option<bool>, String> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "on" | "enabled" => Ok(Some(true)),
        "false" | "no" | "n" | "0" | "off" | "disabled" => Ok(Some(false)),
        "" | "-" | "unknown" | "null" | "none" | "n/a" => Ok(None),
        _ => Err(format!("cannot read {:?} as yes or no", quotable(text))),
    }
}

/// Case, blanks, underscores and the like do not count in the name of a column.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn listed(head: &StringRecord) -> String {
    let named: Vec<String> = head.iter().take(MAX_NAMED).map(quotable).collect();
    let more = if head.len() > MAX_NAMED { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

fn quotable(text: &str) -> String {
    text::plain_line(text, MAX_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<Device>, Unusable> {
        read(bytes.to_vec(), &TimeZone::UTC, None)
    }

    /// As `line name last enabled`, with `?` for what cannot be read and `-` for what is not there.
    #[track_caller]
    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        let devices = list(text.as_ref()).expect("a list");
        let last = |device: &Device| match &device.last {
            Ok(Some(last)) => last.to_string(),
            Ok(None) => "-".to_owned(),
            Err(_) => "?".to_owned(),
        };
        let enabled = |device: &Device| match &device.enabled {
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
    fn check_unusable(bytes: impl AsRef<[u8]>, expected: &str) {
        let unusable = list(bytes.as_ref()).expect_err("no list");
        assert_eq!(unusable.to_string(), expected);
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
        // A comma inside quotes is none.
        check("\"name, first, of, all\";device;last backup\nx;Anna;\n", &["2 Anna - -"]);
        check("device,last backup\n", &[]);
    }

    #[test]
    fn every_way_to_say_yes_and_no() {
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
    fn files_of_spreadsheets_are_read() {
        let text = "device;last backup\r\nMüllers iPhone 🍏;2026-05-04 08:15\r\n";
        let expected = ["2 Müllers iPhone 🍏 2026-05-04T08:15:00Z -"];
        check(text, &expected);
        check(format!("\u{feff}{text}"), &expected);
        check(format!("\u{feff}sep=;\r\n{text}"), &["3 Müllers iPhone 🍏 2026-05-04T08:15:00Z -"]);
        let units: Vec<u16> = format!("\u{feff}{text}").encode_utf16().collect();
        let bytes = |unit: fn(u16) -> [u8; 2]| units.iter().flat_map(|u| unit(*u)).collect::<Vec<u8>>();
        check(bytes(u16::to_le_bytes), &expected);
        check(bytes(u16::to_be_bytes), &expected);
        check_unusable(
            &bytes(u16::to_le_bytes)[..31],
            "it is no text but a file of another kind; export it as CSV",
        );
        check_unusable(b"device,last backup\nM\xfcller,\n", "line 2 is not UTF-8; save it as “CSV UTF-8”");
        check_unusable(
            b"PK\x03\x04\0\0\xff\xfe",
            "it is no text but a file of another kind; export it as CSV",
        );
        check_unusable(b"device,last\0backup", "it is no text but a file of another kind; export it as CSV");
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
        assert_eq!(reasons[0].last, Err("cannot read \"yester day\" as a time".to_owned()));
        assert_eq!(reasons[1].last, Err("3 fields under 2 columns".to_owned()));
    }

    #[test]
    fn what_swallows_lines_is_an_error() {
        let words = |line| {
            format!(
                "line {line}: a quote that is never closed, or a text over several lines; correct that line"
            )
        };
        check_unusable("device,last backup\na,\n\"b,\nc,\n", &words(3));
        check_unusable("device,last backup,notes\na,,\"x\nb,,\nc,,\n", &words(2));
        // Closed by the next quote of another line.
        check_unusable("device,last backup,notes\na,,\"x\nb,,\"y\"\nc,,\n", &words(2));
        check_unusable("device,last backup,notes\na,,\"x\nb,,\",y\nc,,\n", &words(2));
        check_unusable("device,last backup,notes\n\"a\nb\",,x\n", &words(2));
    }

    #[test]
    fn errors_name_what_was_found_and_what_is_wanted() {
        check_unusable("", "it is empty; the first line must name the columns");
        check_unusable("\n\n", "it is empty; the first line must name the columns");
        check_unusable(
            "model,OS Version\nx,y\n",
            "no column “device” (or “name”, “serial number”); found: model, OS Version",
        );
        check_unusable(
            "Device,\u{1b}[31mLast seen\nx,y\n",
            "no column “last backup” (or “last iCloud backup date”); found: Device, [31mLast seen",
        );
        let many: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        let Err(unusable) = list(many.join(",").as_bytes()) else { panic!("no column") };
        assert!(unusable.to_string().ends_with("c10, c11, …"), "{unusable}");
        check_unusable(
            "device,last backup\na,\nb,05/04/2026 8:15 AM\n",
            "line 3: is \"05/04/2026 8:15 AM\" written day first or month first? Say --date-order dmy or mdy",
        );
    }

    #[test]
    fn there_is_a_limit() {
        assert_eq!(fetch(io::repeat(b'a')).expect("read"), Err(Unusable::TooLarge));
        assert_eq!(fetch(&b"abc"[..]).expect("read"), Ok(b"abc".to_vec()));
    }
}
