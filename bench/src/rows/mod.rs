//! The rows of the table.

pub mod qualify;

use crate::report::Figure;
use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Sizes {
    pub rounds: usize,
    pub lasts: Duration,
    /// Leads that can be qualified in one row.
    pub leads: u64,
    pub quick: bool,
}

impl Sizes {
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 1, lasts: Duration::from_secs(2), leads: 200_000, quick }
        } else {
            Self { rounds: 3, lasts: Duration::from_secs(5), leads: 1_000_000, quick }
        }
    }
}

/// A row: its name, what it is about, and how it is measured.
pub struct Measure {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&Sizes) -> Vec<Figure>,
    /// Only when it is asked for by name: it takes long.
    pub on_demand: bool,
}

pub const ALL: &[Measure] = &[
    Measure { name: "qualify", about: "durable qualification over HTTP on SQLite", run: qualify::sqlite, on_demand: false },
    Measure { name: "postgres", about: "durable qualification over HTTP on PostgreSQL", run: qualify::postgres, on_demand: false },
];

pub fn per_op_us(cpu: Duration, operations: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / operations.max(1) as f64
}
