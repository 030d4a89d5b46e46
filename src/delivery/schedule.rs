//! When a delivery is tried again.

use goodword_core::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};

/// How long after each failure the next try is, as Standard Webhooks recommends it: ten
/// tries in a little more than three days. Everything that is said about tries is said here.
pub const WAITS_MS: [i64; 9] = [5 * SECOND_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS, 14 * HOUR_MS, 20 * HOUR_MS, 24 * HOUR_MS];

/// Tries altogether.
pub const TRIES: usize = WAITS_MS.len() + 1;

/// A receiver may ask for a longer wait, but not for one that nobody remembers.
pub const RETRY_AFTER_MAX_MS: i64 = DAY_MS;

/// No delivery waits longer than this, in milliseconds.
pub const WAIT_MAX_MS: i64 = DAY_MS + DAY_MS / 5;

/// When to try next after so many tries, the last of which has failed; `None` when that was
/// the last one. `random` is any number; it spreads the tries of one outage over a fifth of
/// the wait. What the receiver asked for in Retry-After is not undercut.
pub fn next(now: Timestamp, tries: usize, retry_after_ms: Option<i64>, random: u64) -> Option<Timestamp> {
    let wait = *WAITS_MS.get(tries.checked_sub(1)?)?;
    let jitter = (random % (wait as u64 / 5 + 1)) as i64;
    let asked = retry_after_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS);
    Some(now.plus_ms((wait + jitter).max(asked)))
}

/// What a Retry-After header asks for, in milliseconds: seconds, or a date (RFC 9110, 10.2.3).
pub fn retry_after(value: &str, now: Timestamp) -> Option<i64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(i64::from(seconds) * SECOND_MS);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let at_ms = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64;
    Some((at_ms - now.ms()).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_763_640_000_000);

    #[test]
    fn ten_tries_take_a_little_more_than_three_days() {
        let total: i64 = WAITS_MS.iter().sum();
        assert!((3 * DAY_MS..4 * DAY_MS).contains(&total));
        assert_eq!(TRIES, 10);
        assert_eq!(next(NOW, 1, None, 0), Some(NOW.plus_ms(5_000)));
        assert_eq!(next(NOW, 9, None, 0), Some(NOW.plus_ms(DAY_MS)));
        assert_eq!(next(NOW, 10, None, 0), None);
    }

    #[test]
    fn jitter_only_adds_and_never_passes_the_longest_wait() {
        for random in [0, 1, 7, u64::MAX, 12_345_678_901] {
            for tries in 1..TRIES {
                let wait = next(NOW, tries, None, random).unwrap().ms() - NOW.ms();
                assert!((WAITS_MS[tries - 1]..=WAIT_MAX_MS).contains(&wait), "{tries}: {wait}");
            }
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        assert_eq!(next(NOW, 1, Some(60_000), 0), Some(NOW.plus_ms(60_000)));
        assert_eq!(next(NOW, 2, Some(1_000), 0), Some(NOW.plus_ms(5 * MINUTE_MS)));
        assert_eq!(next(NOW, 1, Some(i64::MAX), 0), Some(NOW.plus_ms(DAY_MS)));
        assert_eq!(retry_after(" 120 ", NOW), Some(120_000));
        assert_eq!(retry_after("Thu, 20 Nov 2025 12:01:00 GMT", NOW), Some(60_000));
        assert_eq!(retry_after("Thu, 20 Nov 2025 11:00:00 GMT", NOW), Some(0));
        for nonsense in ["", "soon", "-5", "1.5"] {
            assert_eq!(retry_after(nonsense, NOW), None, "{nonsense}");
        }
    }
}
