//! The stamp of a document: the newest `datePosted` of its events, and the order of day and month.
//!
//! Two things prove the order: a date with only one possible reading, and a time given both as text and
//! as a number. If proofs disagree, month first wins, so that the order of events does not matter.

use jiff::Timestamp;

use super::dates::{self, WrittenDate};
use super::json;
use crate::model::{DateOrder, Stamp};

/// A time in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    WrittenDate(WrittenDate),
}

impl Moment {
    /// Parses a number since 1970, which may be quoted, or a written date.
    pub fn parse(json: &str) -> Option<Moment> {
        if let Some(number) = json::number(json) {
            return dates::epoch(number.as_f64()?).map(Moment::At);
        }
        let text = json::text(json)?;
        let epoch = text.trim().parse().ok().and_then(dates::epoch);
        epoch.map(Moment::At).or_else(|| dates::parse(&text).map(Moment::WrittenDate))
    }

    pub fn read(&self, order: Option<DateOrder>) -> Option<Timestamp> {
        match self {
            Moment::At(time) => Some(*time),
            Moment::WrittenDate(written) => written.read(order.unwrap_or(DateOrder::MonthFirst)),
        }
    }
}

/// Adds an event's `datePosted` to the stamp.
pub fn add_posted(stamp: &mut Stamp, moment: Moment) {
    let Some([month_first, day_first, year_first]) = readings(&moment) else { return };
    let newest = stamp.readings.unwrap_or([month_first, day_first, year_first]);
    stamp.readings = Some([newest[0].max(month_first), newest[1].max(day_first), newest[2].max(year_first)]);
    add_proof(stamp, None, Some(moment));
}

/// Adds the proof, if any, that a time given as a number, as text or as both is.
pub fn add_proof(stamp: &mut Stamp, number: Option<Moment>, text: Option<Moment>) {
    let Some(Moment::WrittenDate(text)) = text else { return };
    let by_number = match number {
        Some(Moment::At(time)) => text.order_by(time),
        Some(Moment::WrittenDate(_)) | None => None,
    };
    let proofs = [stamp.order, by_number, text.order()];
    stamp.order = proofs.into_iter().flatten().min();
}

fn readings(moment: &Moment) -> Option<[Timestamp; 3]> {
    let [month_first, day_first, year_first] = DateOrder::ALL.map(|order| moment.read(Some(order)));
    Some([month_first?, day_first?, year_first?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the stamp of events with a `datePosted`, a numeric start and a written start.
    #[track_caller]
    fn check(events: &[(&str, &str, &str)], readings: [&str; 2], order: Option<DateOrder>) {
        let mut stamp = Stamp::default();
        for (date, number, text) in events {
            let moment = |json: &str| Moment::parse(json).or_else(|| Moment::parse(&format!("{json:?}")));
            moment(date).into_iter().for_each(|moment| add_posted(&mut stamp, moment));
            add_proof(&mut stamp, moment(number), moment(text));
        }
        let [month_first, day_first, _] = stamp.readings.expect("a stamp");
        let read = [month_first, day_first].map(|time| time.strftime("%m-%d %H").to_string());
        assert_eq!((read.each_ref().map(String::as_str), stamp.order), (readings, order), "{events:?}");
    }

    #[test]
    fn the_newest_date_counts_in_each_order() {
        check(&[("05/06/2026 09:00", "", "")], ["05-06 09", "06-05 09"], None);
        check(&[("05/06/2026 09:00", "", ""), ("07/05/2026 09:00", "", "")], ["07-05 09", "06-05 09"], None);
        check(&[("2026/05/06 09:00 JST", "", "")], ["05-06 00", "05-06 00"], None);
        check(&[("1778058000000", "", ""), ("soon", "", "")], ["05-06 09", "05-06 09"], None);
    }

    #[test]
    fn a_date_with_one_reading_proves_the_order() {
        use DateOrder::{DayFirst, MonthFirst};
        check(&[("30/05/2026 09:00", "", "")], ["05-30 09", "05-30 09"], Some(DayFirst));
        check(&[("01/06/2026 09:00", "", "30/05/2026")], ["01-06 09", "06-01 09"], Some(DayFirst));
        check(&[("01/06/2026 09:00", "", "05/30/2026")], ["01-06 09", "06-01 09"], Some(MonthFirst));
    }

    #[test]
    fn a_number_beside_a_text_proves_the_order() {
        use DateOrder::{DayFirst, MonthFirst};
        let start = "1778058000000";
        check(&[("07/05/2026 09:00", start, "06/05/2026")], ["07-05 09", "05-07 09"], Some(DayFirst));
        check(&[("05/07/2026 09:00", start, "05/06/2026")], ["05-07 09", "07-05 09"], Some(MonthFirst));
        let (one, other) =
            (("07/05/2026 09:00", start, "06/05/2026"), ("07/05/2026 09:00", start, "05/06/2026"));
        for events in [[one, other], [other, one]] {
            check(&events, ["07-05 09", "05-07 09"], Some(MonthFirst));
        }
    }
}
