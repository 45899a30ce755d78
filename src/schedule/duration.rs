//! Durations as users write them.

use jiff::SignedDuration;

/// Parses a duration such as `45m`, `12h`, `30d` or `2w`. A day has 24 hours.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let number = text.strip_suffix(['m', 'h', 'd', 'w'])?;
    let unit_s = match text.chars().last()? {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => 7 * 86_400,
    };
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = number.parse().ok().filter(|_| is_plain)?;
    Some(SignedDuration::from_secs(count.checked_mul(unit_s)?))
}
