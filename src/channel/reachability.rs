//! Decides when to probe an unreachable channel, so that a recovered server does not wait for the full
//! back-off.
//!
//! Pure: the caller opens the connections and makes the attempts. A successful probe brings an attempt
//! forward only after a failed probe. If that attempt fails too, the next one waits for its back-off, so
//! that an unstable server gets few attempts (`an_unstable_server_gets_one_early_attempt`).

use jiff::{SignedDuration, Timestamp};

use super::outcome::SendOutcome;

/// A recovered server is noticed within a minute.
const PROBE_INTERVAL: SignedDuration = SignedDuration::from_secs(50);

/// The state of a channel's server, and the time of the next probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    /// The newest attempt reached the server, or there was none.
    #[default]
    Reachable,
    /// The newest attempt failed, but the server may accept connections: TLS may have failed.
    Doubtful { probe_at: Timestamp },
    /// The newest probe failed.
    Unreachable { probe_at: Timestamp },
    /// A probe succeeded after a failed one. An attempt is due.
    Recovered,
    /// The attempt after a recovery failed. No probes before the next attempt.
    Stalled,
}

impl Reachability {
    /// Records the outcome of an attempt.
    pub fn record_attempt(&mut self, outcome: &SendOutcome, now: Timestamp) {
        let probe_at = next_probe(now);
        *self = match (*self, outcome) {
            (
                _,
                SendOutcome::Delivered { .. }
                | SendOutcome::Permanent { .. }
                | SendOutcome::Unclear { .. }
                | SendOutcome::Transient { reached: true, .. },
            ) => Reachability::Reachable,
            (Reachability::Unreachable { .. }, SendOutcome::Transient { .. }) => {
                Reachability::Unreachable { probe_at }
            }
            (Reachability::Recovered, SendOutcome::Transient { .. }) => Reachability::Stalled,
            (
                Reachability::Reachable | Reachability::Doubtful { .. } | Reachability::Stalled,
                SendOutcome::Transient { .. },
            ) => Reachability::Doubtful { probe_at },
        };
    }

    /// Records the result of a probe. Returns true if an attempt is due.
    pub fn record_probe(&mut self, succeeded: bool, now: Timestamp) -> bool {
        let probe_at = next_probe(now);
        *self = match (*self, succeeded) {
            (Reachability::Unreachable { .. }, true) => Reachability::Recovered,
            (Reachability::Doubtful { .. }, true) => Reachability::Doubtful { probe_at },
            (Reachability::Doubtful { .. } | Reachability::Unreachable { .. }, false) => {
                Reachability::Unreachable { probe_at }
            }
            (Reachability::Reachable | Reachability::Recovered | Reachability::Stalled, _) => *self,
        };
        *self == Reachability::Recovered
    }

    /// Returns the time of the next probe. `None` if a probe is pointless. A time further ahead than the
    /// interval becomes `now`, because the clock was set back.
    pub fn probe_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Reachability::Doubtful { probe_at } | Reachability::Unreachable { probe_at }
                if *probe_at > next_probe(now) =>
            {
                Some(now)
            }
            Reachability::Doubtful { probe_at } | Reachability::Unreachable { probe_at } => Some(*probe_at),
            Reachability::Reachable | Reachability::Recovered | Reachability::Stalled => None,
        }
    }
}

fn next_probe(now: Timestamp) -> Timestamp {
    now.checked_add(PROBE_INTERVAL).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reached: bool) -> SendOutcome {
        SendOutcome::Transient { after_s: None, reached, detail: String::new() }
    }

    /// In `score`, `u` is an attempt that did not reach the server, `r` one that did, `x` a failed probe
    /// and `k` a successful one. In `expected`, `!` marks an attempt brought forward.
    #[track_caller]
    fn check(score: &str, expected: &str) {
        let (mut reachability, mut seen) = (Reachability::default(), String::new());
        let now = Timestamp::UNIX_EPOCH;
        for letter in score.chars() {
            let is_due = match letter {
                'u' | 'r' => {
                    reachability.record_attempt(&failed(letter == 'r'), now);
                    false
                }
                _ => reachability.record_probe(letter == 'k', now),
            };
            seen.push(if is_due { '!' } else { '.' });
        }
        assert_eq!(seen, expected, "{score}");
    }

    #[test]
    fn only_an_unreachable_server_can_recover() {
        check("uxxxk", "....!");
        check("uxuxk", "....!");
        // TLS fails while the port stays open.
        check("ukkkukk", ".......");
        check("rxk", "...");
        check("k", ".");
    }

    #[test]
    fn an_unstable_server_gets_one_early_attempt() {
        check("uxkuxkxk", "..!.....");
        check("uxkuuxk", "..!...!");
    }

    #[test]
    fn a_clock_set_back_does_not_delay_a_probe() {
        let mut reachability = Reachability::default();
        let now = Timestamp::from_second(1_000_000).expect("a time");
        reachability.record_attempt(&failed(false), now);
        assert_eq!(reachability.probe_at(now), Some(next_probe(now)));
        assert_eq!(reachability.probe_at(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH));
    }
}
