//! Words of dates in all locales: months, halves of the day and time zones, and digits of all scripts.
//!
//! Words are matched in lower case. Without a word that is missing here, a document has no stamp but is
//! still read.

/// AM or PM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfDay {
    Am,
    Pm,
}

/// Names of the zone that offsets refer to.
pub const UTC: [&str; 4] = ["utc", "gmt", "ut", "мск"];
/// Words between hour and minute.
pub const HOURS: [&str; 9] = ["h", "時", "时", "点", "點", "시", "uhr", "ч", "giờ"];
/// Words between minute and second.
pub const MINUTES: [&str; 5] = ["min", "m", "分", "분", "мин"];
/// Words after a year.
pub const YEARS: [&str; 2] = ["年", "년"];

/// Prefixes of the months in the languages of Apple's pages, January first. The longest prefix that
/// matches a word decides.
const MONTHS: [&str; 12] = [
    "jan jän jän ene gen ian янв січ sty led tam oca ιαν בינו ינו يناير जनवरी มกรา sij",
    "feb fév fev fevr févr febb фев лют lut úno hel şub φεβ בפבר פבר فبراير फ़रवरी फरवरी กุมภา velj",
    "mar mär mrt maart maalis mär март мар бер bře μαρ μάρ במרץ מרץ مارس मार्च มีนา márc mac ožu",
    "apr abr avr апр кві kwi dub huh nis απρ באפר אפר أبريل ابريل अप्रैल เมษา ápr trav",
    "may mai mag mei maj май мая трав kvě tou μαι μαΐ μάι במאי מאי مايو मई พฤษภา máj svi",
    "jun juin giu июн черв cze čer kes haz ιουν ιούν ביונ יונ يونيو जून มิถุนา jún lipnj lipanj",
    "jul juil lug июл лип lip červenc červenec hei tem ιουλ ιούλ ביול יול يوليو जुलाई กรกฎา júl srpnj srpanj",
    "aug ago aoû aou авг серп sie srp elo ağu agu αυγ αύγ באוג אוג أغسطس اغسطس अगस्त สิงหา ogo kol",
    "sep set сен вер wrz zář syy eyl σεπ בספט ספט سبتمبر सितंबर सितम्बर กันยา szep ruj",
    "oct okt out ott окт жовт paź říj lok eki οκτ באוק אוק أكتوبر اكتوبر अक्टूबर अक्तूबर ตุลา",
    "nov ноя лист list marras kas νοε νοέ בנוב נוב نوفمبر नवंबर नवम्बर พฤศจิกา stu",
    "dec dez déc dic des dék дек груд gru pro jou ara δεκ בדצמ דצמ ديسمبر दिसंबर दिसम्बर ธันวา",
];

/// Offsets in minutes east of UTC of zones that may occur in Apple's texts.
const ZONES: [(&str, i32); 52] = [
    ("z", 0),
    ("utc", 0),
    ("gmt", 0),
    ("ut", 0),
    ("wet", 0),
    ("west", 60),
    ("bst", 60),
    ("cet", 60),
    ("cest", 120),
    ("mez", 60),
    ("mesz", 120),
    ("eet", 120),
    ("eest", 180),
    ("sast", 120),
    ("msk", 180),
    ("мск", 180),
    ("trt", 180),
    ("gst", 240),
    ("ist", 330),
    ("wib", 420),
    ("ict", 420),
    ("hkt", 480),
    ("sgt", 480),
    ("pht", 480),
    ("awst", 480),
    ("jst", 540),
    ("kst", 540),
    ("acst", 570),
    ("acdt", 630),
    ("aest", 600),
    ("aedt", 660),
    ("nzst", 720),
    ("nzdt", 780),
    ("brt", -180),
    ("brst", -120),
    ("art", -180),
    ("clt", -240),
    ("clst", -180),
    ("adt", -180),
    ("edt", -240),
    ("est", -300),
    ("et", -240),
    ("cdt", -300),
    ("cst", -360),
    ("mdt", -360),
    ("mst", -420),
    ("pdt", -420),
    ("pst", -480),
    ("pt", -420),
    ("akdt", -480),
    ("akst", -540),
    ("hst", -600),
];

/// Names of Tuesday that start like a month.
const NOT_MONTHS: [&str; 4] = ["mardi", "martes", "martedì", "marți"];

const AM: [&str; 5] = ["am", "öö", "dop", "pg", "ص"];
const PM: [&str; 5] = ["pm", "ös", "odp", "ptg", "م"];
/// Written without a space before the next word.
const AM_INSIDE: [&str; 7] = ["午前", "上午", "早上", "清晨", "凌晨", "오전", "לפנה"];
const PM_INSIDE: [&str; 7] = ["午後", "下午", "傍晚", "晚上", "中午", "오후", "אחה"];
/// `p. m.`, `μ.μ.`
const AM_LETTERS: [[&str; 2]; 2] = [["a", "m"], ["π", "μ"]];
const PM_LETTERS: [[&str; 2]; 2] = [["p", "m"], ["μ", "μ"]];

/// Zeros of the scripts whose digits Apple's locales may use. The other nine digits follow each zero.
const ZEROS: [char; 12] = [
    '0', '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{be6}', '\u{c66}', '\u{e50}',
    '\u{1040}', '\u{ff10}',
];

/// Returns the value of a digit of any of these scripts.
pub fn digit(c: char) -> Option<i64> {
    let zero =
        ZEROS.into_iter().find(|zero| (u32::from(*zero)..u32::from(*zero) + 10).contains(&u32::from(c)))?;
    Some(i64::from(u32::from(c) - u32::from(zero)))
}

/// Returns whether a character is part of a word: a letter or a combining mark.
pub fn is_letter(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '\u{300}'..='\u{36f}' | '\u{93c}' | '\u{94d}' | '\u{e47}'..='\u{e4e}')
}

/// Returns the month, 1 to 12.
pub fn month(word: &str) -> Option<i64> {
    if NOT_MONTHS.contains(&word) {
        return None;
    }
    let longest_match =
        |prefixes: &str| prefixes.split(' ').filter(|prefix| word.starts_with(prefix)).map(str::len).max();
    let matches = (1..).zip(MONTHS).filter_map(|(number, prefixes)| Some((longest_match(prefixes)?, number)));
    matches.max_by_key(|(len, _)| *len).map(|(_, number)| number)
}

/// Returns the offset of a zone in seconds east of UTC.
pub fn zone_s(word: &str) -> Option<i32> {
    ZONES.iter().find(|(name, _)| *name == word).map(|(_, minutes)| minutes * 60)
}

/// Returns the half of the day that the words of a date name.
pub fn half_day(words: &[&str]) -> Option<HalfDay> {
    let is_named = |names: &[&str], inside: &[&str], letters: &[[&str; 2]]| {
        words.iter().any(|word| names.contains(word) || inside.iter().any(|name| word.contains(name)))
            || words.windows(2).any(|pair| letters.iter().any(|letters| letters == pair))
    };
    if is_named(&PM, &PM_INSIDE, &PM_LETTERS) {
        return Some(HalfDay::Pm);
    }
    is_named(&AM, &AM_INSIDE, &AM_LETTERS).then_some(HalfDay::Am)
}
