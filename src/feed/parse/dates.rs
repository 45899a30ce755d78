//! Parses dates written in any locale into a [`WrittenDate`].
//!
//! A text may have one reading for each order of day, month and year; this module does not choose. An
//! unknown time zone counts as UTC. Text that is not a date gives `None`, never an error.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::calendar::{self, HalfDay};
use crate::model::DateOrder;
use crate::text;

const MAX_CHARS: usize = 100;
/// Plausible years. Apple's feed exists since 2012.
const YEARS: std::ops::Range<i64> = 2010..2100;
/// Plausible epochs in seconds: the years 2000 to 2100.
const EPOCHS_S: std::ops::Range<i64> = 946_684_800..4_102_444_800;
/// Years from here on are of the Thai calendar, which is 543 years ahead.
const BUDDHIST_FROM: i64 = 2400;
/// Largest difference between a text and a number that give the same time. Larger than any time zone
/// offset, smaller than the difference to the same numbers in another order.
const SAME_TIME_S: u64 = 36 * 3_600;

/// A date whose order of day, month and year may be ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenDate {
    /// The reading in each order of [`DateOrder::ALL`], if the text has one.
    readings: [Option<Timestamp>; 3],
}

impl WrittenDate {
    /// Returns the reading in an order, or else the first valid reading.
    pub fn read(&self, order: DateOrder) -> Option<Timestamp> {
        self.readings[order as usize].or(self.readings.into_iter().flatten().next())
    }

    /// Returns the order if only one gives a valid date.
    pub fn order(&self) -> Option<DateOrder> {
        only(|order| self.readings[order as usize].is_some())
    }

    /// Returns the order if only one gives this time.
    pub fn order_by(&self, time: Timestamp) -> Option<DateOrder> {
        only(|order| {
            let reading = self.readings[order as usize];
            reading.is_some_and(|reading| reading.duration_since(time).unsigned_abs().as_secs() < SAME_TIME_S)
        })
    }
}

fn only(fits: impl Fn(DateOrder) -> bool) -> Option<DateOrder> {
    let mut fitting = DateOrder::ALL.into_iter().filter(|order| fits(*order));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Converts a number since 1970. The unit is milliseconds, or else the one that gives a plausible year:
/// seconds, microseconds or nanoseconds.
pub fn epoch(number: f64) -> Option<Timestamp> {
    let mut seconds = [1e3, 1.0, 1e6, 1e9].into_iter().map(|unit| (number / unit).floor() as i64);
    Timestamp::from_second(seconds.find(|second| EPOCHS_S.contains(second))?).ok()
}

/// Parses for example `04/26/2021 08:15 PDT`, `2021年4月27日 午後0:15` or `26. Apr. 2021, 08.15 UTC+1`.
pub fn parse(text: &str) -> Option<WrittenDate> {
    let tokens = tokens(&text::plain_line(text, MAX_CHARS))?;
    let (tokens, offset_s) = without_offset(tokens)?;
    let words = || tokens.iter().filter_map(Token::word);
    let offset_s = offset_s.or_else(|| words().find_map(calendar::zone_s)).unwrap_or(0);
    let (date, time) = split(&tokens);
    let time = time_of_day(&time, calendar::half_day(&words().collect::<Vec<_>>()))?;
    let offset = Offset::from_seconds(offset_s).ok()?;
    let month = words().filter_map(calendar::month).next_back();
    let first = tokens.iter().position(|token| token.number().is_some())?;
    let readings = readings(&date, month, tokens.get(first + 1));
    let readings = readings.map(|date| offset.to_timestamp(DateTime::from_parts(date?, time)).ok());
    readings.iter().any(Option::is_some).then_some(WrittenDate { readings })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    value: i64,
    digits: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Number(Number),
    /// In lower case.
    Word(String),
    Mark(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            Token::Number(_) | Token::Mark(_) => None,
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Token::Number(number) => Some(*number),
            Token::Word(_) | Token::Mark(_) => None,
        }
    }
}

/// Splits a text into numbers, words and marks, without white space. Returns `None` if a number is too
/// large.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if let Some(digit) = calendar::digit(c) {
            let mut number = Number { value: digit, digits: 1 };
            while let Some(digit) = chars.peek().copied().and_then(calendar::digit) {
                chars.next();
                number.value = number.value.checked_mul(10)?.checked_add(digit)?;
                number.digits += 1;
            }
            tokens.push(Token::Number(number));
        } else if calendar::is_letter(c) {
            let mut word = String::from(c);
            while let Some(letter) = chars.next_if(|c| calendar::is_letter(*c)) {
                word.push(letter);
            }
            tokens.push(Token::Word(word.to_lowercase()));
        } else if !c.is_whitespace() {
            tokens.push(Token::Mark(c));
        }
    }
    Some(tokens)
}

/// Removes an offset such as `+9` in `GMT+9`, `+09:30` or `-0700`, and returns it in seconds. Returns
/// `None` if it is invalid.
fn without_offset(mut tokens: Vec<Token>) -> Option<(Vec<Token>, Option<i32>)> {
    let sign = |token: &Token| match token {
        Token::Mark('+') => Some(1),
        Token::Mark('-' | '\u{2011}' | '\u{2013}' | '\u{2212}') => Some(-1),
        Token::Mark(_) | Token::Number(_) | Token::Word(_) => None,
    };
    // A sign starts an offset only after the name of a zone or after the time of day. Elsewhere it is a
    // separator.
    let may_start_offset = |at: usize| {
        let numbers = tokens[..at].iter().filter_map(Token::number).count();
        let has_month =
            tokens[..at].iter().filter_map(Token::word).any(|word| calendar::month(word).is_some());
        let is_named = at > 0 && tokens[at - 1].word().is_some_and(|word| calendar::UTC.contains(&word));
        is_named || numbers + usize::from(has_month) >= 5
    };
    let offset = |at: usize| {
        let hours = tokens.get(at + 1).and_then(Token::number)?;
        Some((at, sign(&tokens[at]).filter(|_| may_start_offset(at))?, hours))
    };
    let Some((at, sign, hours)) = (0..tokens.len()).find_map(offset) else {
        return Some((tokens, None));
    };
    let (minutes, len) = match (hours.digits, tokens.get(at + 2), tokens.get(at + 3)) {
        (1 | 2, Some(Token::Mark(':')), Some(Token::Number(minutes))) => {
            (hours.value * 60 + minutes.value, 4)
        }
        (1 | 2, ..) => (hours.value * 60, 2),
        (3 | 4, ..) => (hours.value / 100 * 60 + hours.value % 100, 2),
        _ => return None,
    };
    tokens.drain(at..at + len);
    Some((tokens, Some(sign * i32::try_from(minutes * 60).ok()?)))
}

/// Returns the numbers of the date and those of the time. The time starts at two numbers with a colon or
/// a word for the hour between them, or else after the date.
fn split(tokens: &[Token]) -> (Vec<Number>, Vec<Number>) {
    let is_hour = |token: &Token| match token {
        Token::Mark(mark) => matches!(mark, ':' | '：'),
        Token::Word(word) => calendar::HOURS.contains(&word.as_str()),
        Token::Number(_) => false,
    };
    let marked = |at: usize| {
        let [Token::Number(_), between, Token::Number(_)] = tokens.get(at..at + 3)? else { return None };
        is_hour(between).then_some(at)
    };
    let numbers = |tokens: &[Token]| tokens.iter().filter_map(Token::number).collect::<Vec<Number>>();
    let Some(from) = (0..tokens.len()).find_map(marked) else {
        let mut date = numbers(tokens);
        let month_is_word = tokens.iter().filter_map(Token::word).any(|word| calendar::month(word).is_some());
        let len = match date.first() {
            Some(first) if first.digits == 8 => 1,
            Some(_) | None if month_is_word => 2,
            Some(_) | None => 3,
        };
        let time = date.split_off(len.min(date.len()));
        return (date, time);
    };
    let has_seconds = match tokens.get(from + 3..from + 5) {
        Some([Token::Mark(mark), Token::Number(_)]) => matches!(mark, ':' | '：'),
        Some([Token::Word(word), Token::Number(_)]) => calendar::MINUTES.contains(&word.as_str()),
        _ => false,
    };
    let to = from + if has_seconds { 5 } else { 3 };
    let date = [numbers(&tokens[..from]), numbers(&tokens[to..])].concat();
    (date, numbers(&tokens[from..to]))
}

fn time_of_day(numbers: &[Number], half: Option<HalfDay>) -> Option<Time> {
    let at = |index: usize| numbers.get(index).map_or(Some(0), |number| i8::try_from(number.value).ok());
    // `0830`
    if let [Number { value, digits: 4 }, ..] = numbers {
        let value = i8::try_from(value / 100).ok().zip(i8::try_from(value % 100).ok())?;
        return Time::new(value.0, value.1, 0, 0).ok();
    }
    let hour = match (at(0)?, half) {
        (12, Some(HalfDay::Am)) => 0,
        (hour @ 0..12, Some(HalfDay::Pm)) => hour + 12,
        (hour, _) => hour,
    };
    Time::new(hour, at(1)?, at(2)?.min(59), 0).ok()
}

/// Returns the date in each order. The token after the first number rules some out: no locale writes the
/// month first with dots, and `26年` is a year.
fn readings(numbers: &[Number], month: Option<i64>, after_first: Option<&Token>) -> [Option<Date>; 3] {
    let is_year = after_first.and_then(Token::word).is_some_and(|word| calendar::YEARS.contains(&word));
    let is_dotted = after_first == Some(&Token::Mark('.'));
    match (numbers, month) {
        // `20260505`
        ([Number { value, digits: 8 }, ..], _) => [date(value / 10_000, value / 100 % 100, value % 100); 3],
        ([a, b, ..], Some(month)) if a.digits > 2 => [date(a.value, month, b.value); 3],
        ([a, b, ..], Some(month)) => [date(b.value, month, a.value); 3],
        ([a, b, c, ..], None) if a.digits > 2 || is_year => [date(a.value, b.value, c.value); 3],
        ([a, b, c, ..], None) => [
            date(c.value, a.value, b.value).filter(|_| !is_dotted),
            date(c.value, b.value, a.value),
            date(a.value, b.value, c.value).filter(|_| c.digits < 3),
        ],
        _ => [None; 3],
    }
}

fn date(year: i64, month: i64, day: i64) -> Option<Date> {
    let year = match year {
        0..100 => year + 2000,
        BUDDHIST_FROM.. => year - 543,
        _ => year,
    };
    let year = YEARS.contains(&year).then_some(year)?;
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the readings with the month first, the day first and the year first.
    #[track_caller]
    fn check(text: &str, expected: [&str; 3]) {
        let read = parse(text).map_or([None; 3], |written| written.readings);
        let read =
            read.map(|time| time.map_or(String::new(), |time| time.strftime("%y-%m-%d %H:%M").to_string()));
        assert_eq!(read, expected, "{text}");
    }

    /// Checks a text with the same reading in every order.
    #[track_caller]
    fn check_one(text: &str, expected: &str) {
        check(text, [expected; 3]);
    }

    #[test]
    fn ambiguous_orders_give_several_readings() {
        check("04/26/2021 08:15 PDT", ["21-04-26 15:15", "", ""]);
        check("26/04/2021 08:15 UTC", ["", "21-04-26 08:15", ""]);
        check("05/06/2026 08:15 UTC", ["26-05-06 08:15", "26-06-05 08:15", ""]);
        check("5-6-2026 8:15", ["26-05-06 08:15", "26-06-05 08:15", ""]);
        check("5/6/26, 8:15", ["26-05-06 08:15", "26-06-05 08:15", ""]);
        check("26/5/6 8:15", ["", "", "26-05-06 08:15"]);
        check("12/11/10", ["10-12-11 00:00", "10-11-12 00:00", "12-11-10 00:00"]);
    }

    #[test]
    fn dots_rule_out_month_first() {
        check("05.04.2021 08:15 CEST", ["", "21-04-05 06:15", ""]);
        check("26.04.2021, 08.15 Uhr MEZ", ["", "21-04-26 07:15", ""]);
        check("26. 5. 6. 오후 1:15", ["", "", "26-05-06 13:15"]);
    }

    #[test]
    fn a_leading_four_digit_year_gives_one_reading() {
        check_one("2021/04/27 0:15 JST", "21-04-26 15:15");
        check_one("2021-04-05 08:15 GMT+9", "21-04-04 23:15");
        check_one("2021-04-05T08:15:30-07:30", "21-04-05 15:45");
        check_one("2021-04-05T08:15:30.123Z", "21-04-05 08:15");
        check_one("2026. 5. 6. 오후 1:15", "26-05-06 13:15");
        check_one("2026年5月6日 下午1:15 GMT+8", "26-05-06 05:15");
        check_one("2026年5月6日 午後0時15分30秒", "26-05-06 12:15");
        check_one("2026년 5월 6일 오전 12:15", "26-05-06 00:15");
        check_one("26年5月6日 13:15", "26-05-06 13:15");
        check_one("２０２６／０５／０６　１３：１５", "26-05-06 13:15");
        check_one("20260506T1315Z", "26-05-06 13:15");
        check_one("2026-05-06", "26-05-06 00:00");
    }

    #[test]
    fn month_names() {
        for text in [
            "May 6, 2026 at 1:15\u{202f}PM",
            "Wed, 06 May 2026 13:15:00 GMT",
            "6 mai 2026 à 13 h 15",
            "mar. 6 mai 2026 13h15",
            "6. Mai 2026, 13:15 Uhr",
            "6 de mayo de 2026, 01:15 p. m.",
            "6 maggio 2026 alle ore 13:15",
            "6 de maio de 2026 às 13h15",
            "6 mei 2026 om 13:15",
            "6. maj 2026 kl. 13.15",
            "6. toukokuuta 2026 klo 13.15",
            "6 maja 2026, 13:15",
            "6. května 2026 13:15",
            "6 Mayıs 2026 ÖS 1:15",
            "6 мая 2026 г., 13:15",
            "6 травня 2026 р. о 13:15",
            "6 Μαΐου 2026, 1:15 μ.μ.",
            "6 במאי 2026 בשעה 13:15",
            "٦ مايو ٢٠٢٦، ١:١٥ م",
            "6 मई 2026, 1:15 PM",
            "6 พฤษภาคม 2569 13:15",
            "6-May-2026 13:15",
            "2026 May 6 13:15",
        ] {
            check_one(text, "26-05-06 13:15");
        }
    }

    /// Months whose prefixes overlap with others.
    #[test]
    fn the_longest_prefix_decides() {
        for (word, month) in [
            ("července", 7),
            ("června", 6),
            ("marraskuuta", 11),
            ("maaliskuuta", 3),
            ("maart", 3),
            ("julio", 7),
            ("giugno", 6),
            ("липня", 7),
            ("листопада", 11),
            ("listopada", 11),
            ("lipca", 7),
            ("lipnja", 6),
            ("srpna", 8),
            ("srpnja", 7),
            ("desember", 12),
            ("décembre", 12),
            ("août", 8),
            ("ağustos", 8),
            ("gennaio", 1),
            ("अप्रैल", 4),
        ] {
            let text = format!("5 {word} 2026");
            check_one(&text, &format!("26-{month:02}-05 00:00"));
        }
    }

    #[test]
    fn half_days() {
        for (text, time) in [
            ("12:15 am", "00:15"),
            ("12:15 pm", "12:15"),
            ("1:15 a. m.", "01:15"),
            ("01:15 p.\u{a0}m.", "13:15"),
            ("13:15 PM", "13:15"),
            ("晚上8:15", "20:15"),
            ("上午8:15", "08:15"),
            ("午後0:15", "12:15"),
            ("π.μ. 8:15", "08:15"),
        ] {
            check_one(&format!("2026/5/6 {time}"), &format!("26-05-06 {time}"));
            check_one(&format!("2026/5/6 {text}"), &format!("26-05-06 {time}"));
        }
    }

    #[test]
    fn zones() {
        for (zone, time) in [
            ("", "08:15"),
            ("UTC", "08:15"),
            ("PDT", "15:15"),
            ("(PST)", "16:15"),
            ("GMT-7", "15:15"),
            ("UTC\u{2212}7", "15:15"),
            ("UTC+05:30", "02:45"),
            ("+0200", "06:15"),
            ("-07:00 (PDT)", "15:15"),
            ("MESZ", "06:15"),
            ("МСК", "05:15"),
            ("no such zone", "08:15"),
        ] {
            check_one(&format!("2026-05-06 08:15 {zone}"), &format!("26-05-06 {time}"));
            check_one(&format!("6 May 2026 08:15 {zone}"), &format!("26-05-06 {time}"));
        }
        check("06.05.2026 08.15 +02:00", ["", "26-05-06 06:15", ""]);
        check("UTC+2 13/05/2026 08:15", ["", "26-05-13 06:15", ""]);
    }

    #[test]
    fn the_time_may_come_first() {
        check("08:15 26/04/2021", ["", "21-04-26 08:15", ""]);
        check_one("8:15 PM, May 6, 2026", "26-05-06 20:15");
        check("\u{200f}٢٦\u{200f}/٤\u{200f}/٢٠٢١ ٨:١٥ ص", ["", "21-04-26 08:15", ""]);
    }

    #[test]
    fn other_text_is_not_a_date() {
        for text in [
            "",
            "soon",
            "99/99/9999 99:99",
            "04/26",
            "99999999999999999999/1/1",
            "2021/04/27 00:15 +9999999",
            "31/02/2026",
            "01/01/0001 00:00",
            "01/01/1970",
            "12/31/9999",
            "2026-05-06 25:00",
            "May 2026",
        ] {
            check(text, [""; 3]);
        }
    }

    #[test]
    fn the_unit_of_an_epoch_is_the_one_that_gives_a_plausible_year() {
        let read = |number| epoch(number).map(|time| time.to_string());
        let expected = Some("2021-04-26T17:00:00Z".to_owned());
        for number in [1_619_456_400.0, 1_619_456_400_999.0, 1_619_456_400e6, 1_619_456_400e9] {
            assert_eq!(read(number), expected, "{number}");
        }
        for number in [0.0, -1.0, -62_135_596_800_000.0, 253_402_300_799_000.0, f64::MAX, f64::NAN, 1e11] {
            assert_eq!(read(number), None, "{number}");
        }
    }

    #[test]
    fn a_number_with_the_same_time_proves_the_order() {
        let time: Timestamp = "2026-06-05T15:15:00Z".parse().expect("a time");
        let order = |text: &str| parse(text).expect("a date").order_by(time);
        assert_eq!(order("06/05/2026 08:15 PDT"), Some(DateOrder::MonthFirst));
        assert_eq!(order("05/06/2026 08:15"), Some(DateOrder::DayFirst));
        assert_eq!(order("26/6/5 08:15"), Some(DateOrder::YearFirst));
        assert_eq!(order("2026/06/05"), None);
        assert_eq!(order("07/05/2026"), None);
    }
}
