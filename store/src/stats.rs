//! Counters for metrics: cheap, approximate, never reset.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// A command which works longer than this is told in the log: on SQLite everybody waits for it.
const SLOW_MS: u128 = 100;

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub commits: u64,
    /// Commands answered, failed ones too. Divided by `commits`: the mean size of a group commit.
    pub commands: u64,
    /// Commands in the largest group commit.
    pub batch_max: u64,
    /// Commands applied again after a lost race, a deadlock, or a failure in their batch.
    pub retries: u64,
    /// Commands waiting for the writer (SQLite) or for a connection (PostgreSQL), now.
    pub queue_depth: u64,
    /// The longest time one command took to apply.
    pub apply_max_us: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub commits: AtomicU64,
    pub commands: AtomicU64,
    pub batch_max: AtomicU64,
    pub retries: AtomicU64,
    apply_max_us: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    pub fn applied(&self, command: &'static str, since: Instant) {
        let took = since.elapsed();
        self.apply_max_us.fetch_max(took.as_micros() as u64, Relaxed);
        if took.as_millis() >= SLOW_MS {
            tracing::warn!(command, ms = took.as_millis() as u64, "slow command");
        }
    }

    /// `commands` were answered together, after a commit if `committed`.
    pub fn answered(&self, commands: usize, committed: bool) {
        Self::add(&self.commits, committed.into());
        Self::add(&self.commands, commands as u64);
        self.batch_max.fetch_max(commands as u64, Relaxed);
    }

    pub fn read(&self, queue_depth: usize) -> StoreStats {
        StoreStats {
            commits: self.commits.load(Relaxed),
            commands: self.commands.load(Relaxed),
            batch_max: self.batch_max.load(Relaxed),
            retries: self.retries.load(Relaxed),
            queue_depth: queue_depth as u64,
            apply_max_us: self.apply_max_us.load(Relaxed),
        }
    }
}
