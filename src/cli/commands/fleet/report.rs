//! The output of `statusd fleet`: a table of devices that are not up to date, and JSON or CSV of all.
//!
//! Pure. The table states how many rows it omits (`omitted_rows_are_counted`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::delivery::message::time_format::lasted;
use crate::delivery::payload::VERSION;
use crate::phones::backup_status::BackupStatus;

use super::columns::Columns;
use super::inventory::FleetDevice;
use crate::cli::csv;
use crate::cli::phrases::printable;
use crate::cli::terminal::{Cell, Style, Terminal};

/// Longer lists are easier to read as CSV.
const MAX_LINES: usize = 50;
const MAX_NAMED_SERVICES: usize = 5;
const CSV_HEAD: [&str; 6] = ["device", "standing", "last_backup_at", "backup_enabled", "reason", "line"];

/// A device with its status.
#[derive(Clone, Debug)]
pub struct ReportRow {
    pub device: FleetDevice,
    pub status: BackupStatus,
    /// Present for `Unknown` and `Skipped`.
    pub reason: Option<String>,
}

impl ReportRow {
    fn last_backup(&self) -> Option<Timestamp> {
        self.device.last_backup.as_ref().ok().copied().flatten()
    }

    fn backup_enabled(&self) -> Option<bool> {
        self.device.backup_enabled.as_ref().ok().copied().flatten()
    }
}

/// All devices, in the order of the list.
#[derive(Clone, Debug)]
pub struct Report {
    pub rows: Vec<ReportRow>,
    /// The columns of the list that were used.
    pub columns: Columns,
    pub feed: String,
    /// Apple's names of the counted services.
    pub services: Vec<String>,
    /// The start of the recorded outages; `None` before the first successful poll.
    pub record_since: Option<Timestamp>,
}

impl Report {
    pub fn text(&self, terminal: &Terminal) -> String {
        let mut shown: Vec<&ReportRow> =
            self.rows.iter().filter(|row| row.status != BackupStatus::UpToDate).collect();
        shown.sort_by_key(|row| (urgency(row.status), row.last_backup()));
        let mut text = terminal.paragraph(0, &self.counts_line());
        text.push_str(&terminal.paragraph(0, &self.record_line(terminal)));
        for remark in &self.columns.remarks {
            text.push_str(&terminal.paragraph(0, &printable(remark)));
        }
        if shown.is_empty() {
            return text;
        }
        let lines: Vec<Vec<Cell>> = shown.iter().take(MAX_LINES).map(|row| line(row, terminal)).collect();
        text.push('\n');
        text.push_str(&terminal.table(&["DEVICE", "STATE", "LAST BACKUP"], &lines, 0));
        let omitted = shown.len().saturating_sub(MAX_LINES);
        if omitted > 0 {
            text.push_str(&terminal.paragraph(0, &format!("… and {omitted} more; --format csv lists all")));
        }
        text
    }

    fn counts(&self) -> BTreeMap<BackupStatus, usize> {
        let mut counts: BTreeMap<BackupStatus, usize> = BackupStatus::ALL.map(|status| (status, 0)).into();
        for row in &self.rows {
            *counts.entry(row.status).or_default() += 1;
        }
        counts
    }

    /// Returns for example `3 devices: 2 up to date, 1 off`.
    fn counts_line(&self) -> String {
        let counts = self.counts().into_iter().filter(|(_, count)| *count > 0);
        let counts: Vec<String> =
            counts.map(|(status, count)| format!("{count} {}", label(status))).collect();
        match self.rows.len() {
            0 => "The list has no devices.".to_owned(),
            1 => format!("1 device: {}", label(self.rows[0].status)),
            total => format!("{total} devices: {}", counts.join(", ")),
        }
    }

    fn record_line(&self, terminal: &Terminal) -> String {
        let Some(since) = self.record_since else {
            return "No successful poll yet, so Apple's outages are unknown.".to_owned();
        };
        let mut services: Vec<String> =
            self.services.iter().take(MAX_NAMED_SERVICES).map(|name| printable(name)).collect();
        if self.services.len() > MAX_NAMED_SERVICES {
            services.push(format!("{} more", self.services.len() - MAX_NAMED_SERVICES));
        }
        let since = since.to_zoned_datetime(terminal.zone.clone()).strftime("%-d %b %Y").to_string();
        format!("Apple's outages of {}, on record since {since}", services.join(", "))
    }

    pub fn json(&self, now: Timestamp) -> String {
        let counts =
            self.counts().into_iter().map(|(status, count)| (status.as_str().to_owned(), json!(count)));
        let document = json!({
            "version": VERSION,
            "at": now,
            "feed": self.feed,
            "services": self.services,
            "record_since": self.record_since,
            "columns": {
                "device": self.columns.device,
                "last_backup": self.columns.backup.name,
                "backup_enabled": self.columns.enabled.as_ref().map(|column| &column.name),
            },
            "remarks": self.columns.remarks,
            "counts": Value::Object(counts.collect()),
            "devices": self.rows.iter().map(device_json).collect::<Vec<_>>(),
        });
        format!("{document:#}\n")
    }

    pub fn csv(&self) -> String {
        let mut text = csv::record(&CSV_HEAD.map(str::to_owned));
        for row in &self.rows {
            text.push_str(&csv::record(&[
                row.device.name.clone(),
                row.status.as_str().to_owned(),
                row.last_backup().map(|last| last.to_string()).unwrap_or_default(),
                row.backup_enabled().map(|enabled| enabled.to_string()).unwrap_or_default(),
                row.reason.clone().unwrap_or_default(),
                row.device.line.to_string(),
            ]));
        }
        text
    }
}

fn device_json(row: &ReportRow) -> Value {
    json!({
        "device": row.device.name,
        "standing": row.status.as_str(),
        "last_backup_at": row.last_backup(),
        "backup_enabled": row.backup_enabled(),
        "reason": row.reason,
        "line": row.device.line,
    })
}

/// Sorts devices that an administrator can fix first, and delays that end with Apple's outage later.
fn urgency(status: BackupStatus) -> u8 {
    match status {
        BackupStatus::LateOtherwise => 0,
        BackupStatus::Off => 1,
        BackupStatus::Unknown => 2,
        BackupStatus::LateByApple => 3,
        BackupStatus::Skipped => 4,
        BackupStatus::UpToDate => 5,
    }
}

fn label(status: BackupStatus) -> &'static str {
    match status {
        BackupStatus::UpToDate => "up to date",
        BackupStatus::LateByApple => "late because of Apple",
        BackupStatus::LateOtherwise => "late for another reason",
        BackupStatus::Off => "off",
        BackupStatus::Unknown => "unknown",
        BackupStatus::Skipped => "skipped",
    }
}

fn line(row: &ReportRow, terminal: &Terminal) -> Vec<Cell> {
    let name = match printable(&row.device.name) {
        name if name.is_empty() => format!("(line {})", row.device.line),
        name => name,
    };
    let style = match row.status {
        BackupStatus::UpToDate => Style::Good,
        BackupStatus::LateByApple => Style::Planned,
        BackupStatus::LateOtherwise => Style::Bad,
        BackupStatus::Off | BackupStatus::Unknown => Style::Warning,
        BackupStatus::Skipped => Style::Dim,
    };
    let last = row.last_backup().map(|last| {
        let day = last.to_zoned_datetime(terminal.zone.clone()).strftime("%-d %b %Y %H:%M").to_string();
        if last <= terminal.now { format!("{day} ({} ago)", lasted(last, terminal.now)) } else { day }
    });
    let details = last.into_iter().chain(row.reason.as_deref().map(printable));
    vec![
        Cell::new(Style::Bold, name),
        Cell::new(style, label(row.status)),
        Cell::plain(details.collect::<Vec<_>>().join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::columns::NamedColumns;
    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::terminal::tests::UTC;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn terminal(width: usize) -> Terminal<'static> {
        Terminal { width, color: false, zone: &UTC, now: at("2026-05-08T12:00:00Z") }
    }

    fn row(line: u64, name: &str, last: &str, status: BackupStatus) -> ReportRow {
        let last = Ok((!last.is_empty()).then(|| at(last)));
        let enabled = Ok((status == BackupStatus::Off).then_some(false));
        let reason = (status == BackupStatus::Unknown).then(|| "no backup date".to_owned());
        ReportRow {
            device: FleetDevice {
                line,
                name: name.to_owned(),
                other_kind: None,
                last_backup: last,
                backup_enabled: enabled,
            },
            status,
            reason,
        }
    }

    fn columns(backup: &str) -> Columns {
        let head = ::csv::StringRecord::from(vec!["Device Name", backup]);
        Columns::find(&head, &NamedColumns::default()).expect("columns")
    }

    fn report() -> Report {
        Report {
            rows: vec![
                row(2, "Anna", "2026-05-08T02:00:00Z", BackupStatus::UpToDate),
                row(3, "=HYPERLINK(\"x\")", "2026-05-01T02:00:00Z", BackupStatus::LateByApple),
                row(4, "Berta\u{1b}[2J\u{202e}", "2026-05-04T02:00:00Z", BackupStatus::LateOtherwise),
                row(5, "Cäsar, the elder of the two", "2026-04-04T02:00:00Z", BackupStatus::LateOtherwise),
                row(6, "", "", BackupStatus::Unknown),
                row(7, "+49", "2026-03-04T02:00:00Z", BackupStatus::Off),
            ],
            columns: columns("Last iCloud Backup"),
            feed: "consumer/en_US".to_owned(),
            services: vec!["iCloud Backup".to_owned()],
            record_since: Some(at("2026-03-01T10:00:00Z")),
        }
    }

    #[test]
    fn the_table_has_the_worst_first_and_no_control_characters() {
        let expected = "\
6 devices: 1 up to date, 1 late because of Apple, 2 late for another reason, 1
off, 1 unknown
Apple's outages of iCloud Backup, on record since 1 Mar 2026

DEVICE              STATE                    LAST BACKUP
Cäsar, the elder    late for another reason  4 Apr 2026 02:00 (34 days 10 h ago)
of the two
Berta[2J            late for another reason  4 May 2026 02:00 (4 days 10 h ago)
+49                 off                      4 Mar 2026 02:00 (65 days 10 h ago)
(line 6)            unknown                  no backup date
=HYPERLINK(\"x\")     late because of Apple    1 May 2026 02:00 (7 days 10 h ago)
";
        assert_eq!(report().text(&terminal(80)), expected);
    }

    #[test]
    fn a_column_without_icloud_in_its_name_gets_a_remark() {
        let report = Report { columns: columns("Last Backup Date"), ..report() };
        let remark = "\nThe column “Last Backup Date” does not name iCloud; it is used as the last\n\
                      iCloud backup. To use another column: --backup-column NAME.\n\nDEVICE";
        let text = report.text(&terminal(80));
        assert!(text.contains(remark), "{text}");
        let document: Value = serde_json::from_str(&report.json(at("2026-05-08T12:00:00Z"))).expect("JSON");
        assert_eq!(document["columns"]["last_backup"], "Last Backup Date");
        assert_eq!(document["remarks"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn omitted_rows_are_counted() {
        let mut report = report();
        report.rows = (0..120)
            .map(|line| row(line, "x", "2026-05-01T02:00:00Z", BackupStatus::LateOtherwise))
            .collect();
        let text = report.text(&terminal(120));
        assert!(text.ends_with("… and 70 more; --format csv lists all\n"), "{text}");
        assert_eq!(text.lines().count(), 2 + 1 + 1 + 50 + 1);
        report.rows = vec![row(2, "x", "2026-05-08T02:00:00Z", BackupStatus::UpToDate)];
        assert!(report.text(&terminal(80)).starts_with("1 device: up to date\n"));
        report.rows.clear();
        report.record_since = None;
        let expected = "The list has no devices.\nNo successful poll yet, so Apple's outages are unknown.\n";
        assert_eq!(report.text(&terminal(80)), expected);
        assert_eq!(report.csv(), "device,standing,last_backup_at,backup_enabled,reason,line\r\n");
    }

    #[test]
    fn csv_has_every_device_and_no_formulas() {
        let expected = "device,standing,last_backup_at,backup_enabled,reason,line\r\n\
            Anna,up_to_date,2026-05-08T02:00:00Z,,,2\r\n\
            \"'=HYPERLINK(\"\"x\"\")\",late_by_apple,2026-05-01T02:00:00Z,,,3\r\n\
            Berta\u{1b}[2J\u{202e},late_otherwise,2026-05-04T02:00:00Z,,,4\r\n\
            \"Cäsar, the elder of the two\",late_otherwise,2026-04-04T02:00:00Z,,,5\r\n\
            ,unknown,,,no backup date,6\r\n\
            '+49,off,2026-03-04T02:00:00Z,false,,7\r\n";
        assert_eq!(report().csv(), expected);
    }

    #[test]
    fn the_json_has_every_device() {
        let document: Value = serde_json::from_str(&report().json(at("2026-05-08T12:00:00Z"))).expect("JSON");
        check_documented("fleet", &document);
        assert_eq!(document["devices"].as_array().map(Vec::len), Some(6));
        assert_eq!(document["devices"][1]["device"], "=HYPERLINK(\"x\")");
        assert_eq!(document["counts"]["late_otherwise"], 2);
    }
}
