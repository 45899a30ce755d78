//! Jitter and back-off, as arithmetic.

/// Returns the jitter of a machine in seconds, uniform in `0..=spread_s` over all seeds, so that machines
/// with one schedule do not poll Apple in the same second. A seed always has the same jitter;
/// neighbouring seeds are unrelated.
pub fn jitter_s(seed: u64, spread_s: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014), one step from `seed`.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let scaled = (u128::from(mixed) * (u128::from(spread_s) + 1)) >> 64;
    u64::try_from(scaled).expect("less than 2^64 times at most 2^64, over 2^64")
}

/// Returns the back-off in seconds after `failures` consecutive failures (0 counts as 1): `first_s`,
/// doubled for each further failure, at most `cap_s`, then moved by up to a fifth in either direction.
/// `jitter` in `[0, 1)` selects the move. The longest back-off is 1.2 times `cap_s`. Never 0; saturates.
pub fn backoff_s(failures: u32, first_s: u64, cap_s: u64, jitter: f64) -> u64 {
    let doubled = first_s.saturating_mul(2_u64.saturating_pow(failures.saturating_sub(1)));
    let middle = doubled.min(cap_s).max(1);
    let fifth = middle / 5;
    let width = 2 * fifth + 1;
    // A float cast saturates and turns NaN into 0, so no value of `jitter` leaves the bounds.
    let moved = ((width as f64 * jitter) as u64).min(width - 1);
    (middle - fifth).saturating_add(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_stable_and_uniform() {
        // Pinned: a machine keeps its place when statusd is updated.
        assert_eq!([0, 1, 2, u64::MAX].map(|seed| jitter_s(seed, 300)), [265, 170, 177, 269]);
        assert_eq!(jitter_s(7, 0), 0);
        // The published first output of SplitMix64 for seed 0.
        assert_eq!(jitter_s(0, u64::MAX), 0xe220_a839_7b1d_cdaf);
        let mut counts = [0_u32; 11];
        let mut near = 0;
        for seed in 0..11_000 {
            let here = jitter_s(seed, 10);
            counts[usize::try_from(here).unwrap()] += 1;
            near += u32::from(here.abs_diff(jitter_s(seed + 1, 10)) <= 1);
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        // Independent neighbours are at most 1 apart in 31 of 121 cases.
        assert!((2_500..3_100).contains(&near), "{near}");
    }

    #[test]
    fn backoff_doubles_within_a_fifth() {
        let check = |failures, middle: u64| {
            let waits = |jitter| backoff_s(failures, 10, 3600, jitter);
            let bounds = [waits(0.0), waits(0.5), waits(1.0_f64.next_down())];
            assert_eq!(bounds, [middle - middle / 5, middle, middle + middle / 5], "{failures}");
        };
        for (failures, middle) in
            [(0, 10), (1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (u32::MAX, 3600)]
        {
            check(failures, middle);
        }
        for absurd in [-1.0, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!((8..=12).contains(&backoff_s(1, 10, 3600, absurd)), "{absurd}");
            assert_eq!(backoff_s(0, 0, 0, absurd), 1);
        }
        assert_eq!(backoff_s(9, 1, 2, 0.0), 2);
        assert!(backoff_s(u32::MAX, u64::MAX, u64::MAX, 0.99) > u64::MAX / 10 * 9);
        let mut counts = [0_u32; 5];
        for jitter in 0..1000 {
            counts[usize::try_from(backoff_s(1, 10, 60, f64::from(jitter) / 1000.0)).unwrap() - 8] += 1;
        }
        assert_eq!(counts, [200; 5]);
    }
}
