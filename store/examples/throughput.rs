//! How many commands a second? On SQLite, on PostgreSQL, and what pgbench makes of the same statements.
//!
//! `cargo run --release -p goodword-store --example throughput -- [seconds]`
use goodword_store::{Arg, Command, Error, Migration, Options, Result, Store, Tx, Type};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    name: "leads",
    sql: "
        CREATE TABLE leads (
            id uuid PRIMARY KEY,
            campaign_id uuid NOT NULL,
            referrer_id uuid NOT NULL,
            email text NOT NULL,
            status text NOT NULL CHECK (status IN ('new', 'qualified', 'rejected')),
            created_at bigint NOT NULL,
            qualified_at bigint
        );
        CREATE UNIQUE INDEX leads_email ON leads (campaign_id, email);
        CREATE INDEX leads_referrer ON leads (referrer_id, created_at);
        CREATE TABLE outbox (
            seq {seq},
            kind text NOT NULL,
            subject uuid NOT NULL,
            payload text NOT NULL,
            created_at bigint NOT NULL
        );
        CREATE TABLE imported (id uuid PRIMARY KEY, email text NOT NULL UNIQUE)",
}];

const INSERT: &str = "INSERT INTO leads (id, campaign_id, referrer_id, email, status, created_at) \
    VALUES ($1, $2, $3, $4, 'new', $5)";
const QUALIFY: &str = "UPDATE leads SET status = 'qualified', qualified_at = $2 WHERE id = $1 AND status = 'new'";
const EMIT: &str = "INSERT INTO outbox (kind, subject, payload, created_at) VALUES ($1, $2, $3, $4)";

/// The same for pgbench, in a transaction; ids rise with the time, as ours do.
const PGBENCH: &str = r#"\set n random(1, 1000000000000)
BEGIN;
INSERT INTO leads (id, campaign_id, referrer_id, email, status, created_at) SELECT id, '01900000-0000-7000-8000-000000000001', id, id || '@example.com', 'new', 1760000000000 FROM (SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(md5(:n::text), 1, 19))::uuid AS id) AS new RETURNING id AS lead \gset
UPDATE leads SET status = 'qualified', qualified_at = 1760000000001 WHERE id = :lead AND status = 'new';
INSERT INTO outbox (kind, subject, payload, created_at) VALUES ('lead.qualified', :lead, repeat('x', 250), 1760000000000);
COMMIT;
"#;

/// One insert with two further indexes, one update that decides, one event of 250 bytes.
struct CreateLead {
    id: Uuid,
    email: String,
}

const CAMPAIGN: Uuid = Uuid::from_u128(0x01900000_0000_7000_8000_000000000001);

impl Command for CreateLead {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let (id, now, email) = (self.id.into(), 1_760_000_000_000i64.into(), (&self.email).into());
        tx.push(INSERT, &[id, CAMPAIGN.into(), Uuid::now_v7().into(), email, now]).await?;
        if tx.execute(QUALIFY, &[id, now]).await? == 0 {
            return Err(Error::Database("the lead is not new".into()));
        }
        let payload = "x".repeat(250);
        tx.push(EMIT, &["lead.qualified".into(), id, payload.as_str().into(), now]).await
    }
}

/// Many rows at once.
struct Import(Vec<(Uuid, String)>);

impl Command for Import {
    type Output = usize;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<usize> {
        let rows: Vec<Vec<Arg<'_>>> = self.0.iter().map(|(id, email)| vec![(*id).into(), email.into()]).collect();
        let columns = &[("id", Type::Id), ("email", Type::Text)];
        Ok(tx.insert_new("imported", columns, 0, &rows).await?.len())
    }
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(5);
    for clients in [1, 64, 256, 1024] {
        let (_guard, url) = goodword_testkit::sqlite_url();
        measure("SQLite", &url, 0, clients, seconds).await;
    }
    for (pool, clients) in [(8, 64), (16, 64), (32, 64), (32, 256)] {
        let Some((_guard, url)) = goodword_testkit::durable_postgres_url() else {
            return;
        };
        measure(&format!("PostgreSQL, pool of {pool}"), &url, pool, clients, seconds).await;
    }
    for clients in [8, 16, 32, 64] {
        let Some((_guard, url)) = goodword_testkit::durable_postgres_url() else {
            return;
        };
        Store::open(Options::new(&url, MIGRATIONS)).await.unwrap().close().await.unwrap();
        pgbench(&url, clients, seconds);
    }
}

async fn measure(name: &str, url: &str, pool_size: usize, clients: usize, seconds: u64) {
    let store = Store::open(Options { pool_size, ..Options::new(url, MIGRATIONS) }).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut took_us = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = Uuid::now_v7();
                    let begun = Instant::now();
                    store.write(CreateLead { id, email: format!("{id}@example.com") }).await.unwrap();
                    took_us.push(begun.elapsed().as_micros());
                }
                took_us
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut took_us = Vec::new();
    for task in tasks {
        took_us.extend(task.await.unwrap());
    }
    took_us.sort_unstable();
    let p = |percent: usize| took_us[took_us.len() * percent / 100] as f64 / 1000.0;
    println!(
        "{name}, {clients} clients: {:.0} commands/s, p50 {:.2} ms, p99 {:.2} ms; {:?}",
        took_us.len() as f64 / seconds as f64,
        p(50),
        p(99),
        store.stats()
    );
    let rows = |n: u32| (0..n).map(|i| (Uuid::now_v7(), format!("{i}@example.com"))).collect();
    let begun = Instant::now();
    let inserted = store.write(Import(rows(10_000))).await.unwrap();
    let again = store.write(Import(rows(10_000))).await.unwrap();
    println!("    import of {inserted}, then {again} of 10000: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    store.close().await.unwrap();
}

fn pgbench(url: &str, clients: usize, seconds: u64) {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&script, PGBENCH).unwrap();
    let mut command = std::process::Command::new("pgbench");
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()]);
    command.args(["-T", &seconds.to_string(), "-f"]).arg(script.path()).arg(url);
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let tps = text.lines().find(|line| line.starts_with("tps")).unwrap_or("failed");
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            println!("pgbench, {clients} clients: {tps}");
        }
        Err(e) => println!("pgbench: {e}"),
    }
}
