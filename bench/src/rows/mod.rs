//! The rows of the table.

pub mod import;
pub mod qualify;
pub mod redirect;
pub mod scale;
pub mod size;
pub mod statistics;
pub mod webhooks;

use crate::{
    report::Figure,
    server::{Home, block_on},
};
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
            Self { rounds: 3, lasts: Duration::from_secs(4), leads: 700_000, quick }
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
    Measure { name: "redirect", about: "a link that leads straight on, its visit recorded", run: redirect::measure, on_demand: false },
    Measure { name: "webhooks", about: "from a request to the recorded attempt of each webhook, on SQLite", run: webhooks::sqlite, on_demand: false },
    Measure { name: "webhooks-pg", about: "the same on PostgreSQL", run: webhooks::postgres, on_demand: false },
    Measure { name: "import", about: "an import of many referrers, while qualifications go on", run: import::measure, on_demand: false },
    Measure { name: "statistics", about: "statistics over many visits and leads", run: statistics::measure, on_demand: false },
    Measure { name: "scale", about: "cost, memory and start with a million people", run: scale::measure, on_demand: false },
    Measure { name: "size", about: "the size of what is shipped", run: size::shipped, on_demand: true },
    Measure { name: "build", about: "a clean build and all tests", run: size::build, on_demand: true },
];

pub fn per_op_us(cpu: Duration, operations: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / operations.max(1) as f64
}

/// Counts in the database itself: only what is in the books was done.
pub fn count(home: &Home, sql: &str) -> i64 {
    let sql = sql.to_owned();
    let counted: Result<_, goodword_store::Error> = block_on(async {
        let options = goodword_store::Options { read_only: true, ..goodword_store::Options::new(home.url(), goodword::engine::MIGRATIONS) };
        let store = goodword_store::Store::open(options).await?;
        let counted = store.read(|tx| Box::pin(async move { tx.fetch_one(&sql, &[], |row| row.get::<i64>(0)).await })).await;
        store.close().await?;
        counted
    });
    counted.expect("a count").unwrap_or_default()
}
