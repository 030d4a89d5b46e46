//! What is counted of deliveries, for `/metrics`.

use crate::engine::delivery::Next;
use std::{
    fmt::Write,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the histogram's buckets.
const BUCKETS_MS: [u64; 9] = [5, 10, 25, 50, 100, 250, 1_000, 5_000, 15_000];
const OUTCOMES: [&str; 4] = ["delivered", "retried", "exhausted", "skipped"];

/// The counters of this process.
#[derive(Default)]
pub struct Meter {
    outcomes: [AtomicU64; OUTCOMES.len()],
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
    due: AtomicI64,
    oldest_due_ms: AtomicI64,
    oldest_failing_ms: AtomicI64,
}

impl Meter {
    pub fn count(&self, next: Next, took: Duration) {
        let outcome = match next {
            Next::Delivered => 0,
            Next::RetryAt(_) => 1,
            Next::Exhausted => 2,
            Next::Skipped(_) => 3,
        };
        self.outcomes[outcome].fetch_add(1, Relaxed);
        self.buckets[BUCKETS_MS.partition_point(|&bound| u128::from(bound) < took.as_millis())].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// How many are due; and the age of the oldest one that could be sent, and of the oldest one that waits for a
    /// receiver that fails.
    pub fn set_due(&self, count: i64, oldest_due_ms: i64, oldest_failing_ms: i64) {
        self.due.store(count, Relaxed);
        self.oldest_due_ms.store(oldest_due_ms, Relaxed);
        self.oldest_failing_ms.store(oldest_failing_ms, Relaxed);
    }

    /// In Prometheus' text format.
    pub fn render(&self, text: &mut String) {
        let _ = writeln!(text, "# HELP goodword_deliveries_total Tries of deliveries, by what came of them.\n# TYPE goodword_deliveries_total counter");
        for (outcome, count) in OUTCOMES.iter().zip(&self.outcomes) {
            let _ = writeln!(text, "goodword_deliveries_total{{outcome=\"{outcome}\"}} {}", count.load(Relaxed));
        }
        let seconds = |ms: &AtomicI64| ms.load(Relaxed) as f64 / 1e3;
        for (name, help, value) in [
            ("goodword_deliveries_due", "Deliveries that are due, counted up to 100,000.", self.due.load(Relaxed) as f64),
            (
                "goodword_deliveries_oldest_due_seconds",
                "How long the oldest delivery has been due that could be sent: nothing but this server keeps it.",
                seconds(&self.oldest_due_ms),
            ),
            (
                "goodword_deliveries_oldest_failing_seconds",
                "How long the oldest delivery has been due that waits because its receiver fails, or for an earlier one of the same person.",
                seconds(&self.oldest_failing_ms),
            ),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let name = "goodword_delivery_duration_seconds";
        let _ = writeln!(text, "# HELP {name} How long one try took.\n# TYPE {name} histogram");
        let mut count = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            let bound = BUCKETS_MS.get(i).map_or_else(|| "+Inf".to_owned(), |ms| (*ms as f64 / 1e3).to_string());
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {count}", self.sum_us.load(Relaxed) as f64 / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_by_what_came_of_them() {
        let meter = Meter::default();
        meter.count(Next::Delivered, Duration::from_millis(7));
        meter.count(Next::Exhausted, Duration::from_secs(60));
        meter.set_due(3, 1_500, 90_000);
        let mut text = String::new();
        meter.render(&mut text);
        for line in [
            "goodword_deliveries_total{outcome=\"delivered\"} 1",
            "goodword_deliveries_total{outcome=\"exhausted\"} 1",
            "goodword_deliveries_due 3",
            "goodword_deliveries_oldest_due_seconds 1.5",
            "goodword_deliveries_oldest_failing_seconds 90",
            "goodword_delivery_duration_seconds_bucket{le=\"0.005\"} 0",
            "goodword_delivery_duration_seconds_bucket{le=\"0.01\"} 1",
            "goodword_delivery_duration_seconds_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
