//! Commands and queries. A command reads facts, asks `goodword-core` for a decision
//! and writes decision, state and events in one transaction.

pub mod access;
pub mod error;

pub use error::{Error, Result};

use goodword_core::time::Timestamp;
use goodword_store::Arg;

/// One side of a workspace: its live data or its test data. Every table is keyed by
/// it, so the two never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(i64);

impl Space {
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> i64 {
        self.0
    }

    /// Test spaces have odd numbers.
    pub const fn is_test(self) -> bool {
        self.0 % 2 == 1
    }
}

impl From<Space> for Arg<'_> {
    fn from(space: Space) -> Self {
        Arg::Int(space.0)
    }
}

