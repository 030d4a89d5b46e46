//! How fast an import of referrers is, beside what the database can do at most, in one run:
//!
//! ```sh
//! cargo run --release --example import_rate [rows]
//! ```
//!
//! The limits are rows inserted by nothing but SQLite (10,000 in a transaction) and by COPY, into the same
//! tables with the same indexes; with the codes of the referrers, and without. Then the latency of
//! qualifications, alone and while the import runs.

use futures_util::{StreamExt, stream::FuturesUnordered};
use goodword::engine::{
    Engine, MIGRATIONS, Space,
    import::{BadRow, Format, Importer, Kind, Order, Watch},
    qualify::{LeadKey, Qualify},
};
use goodword_core::{campaign::CampaignStatus, ids::CampaignId, text::Code};
use goodword_store::{Arg, Options, Store};
use std::{
    fmt::Write as _,
    pin::pin,
    time::{Duration, Instant},
};
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use uuid::Uuid;

/// Qualifications a second while the import runs.
const RATE: u64 = 1_000;
const SECONDS: u64 = 5;

struct Quiet;
impl Watch for Quiet {
    fn bad(&mut self, row: &BadRow) {
        panic!("line {}: {}", row.line, row.reason);
    }
}

struct Person {
    id: Uuid,
    email: String,
    code: String,
}

/// People in no order, as a customer list is.
fn people(count: usize) -> Vec<Person> {
    let mut state = 42u64;
    let mut random = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) ^ (z >> 31)
    };
    (0..count)
        .map(|i| Person { id: Uuid::now_v7(), email: format!("{:x}.{i}@example.com", random() >> 24), code: Code::from_random(random()).as_str().to_owned() })
        .collect()
}

async fn open(url: &str) -> (Engine, tokio::task::JoinHandle<()>, Space, CampaignId) {
    let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
    let (engine, task) = Engine::open(store, "http://localhost").await.unwrap();
    engine.set_up("Rate".parse().unwrap()).await.unwrap();
    let space = Space::new(2);
    let create = goodword::engine::campaign::Create {
        settings: serde_json::from_value(serde_json::json!({"name": "Rate"})).unwrap(),
        rewards: Vec::new(),
        status: CampaignStatus::Live,
        code: None,
    };
    let campaign = engine.run(engine.context(space, "test", "test"), create).await.unwrap().id;
    (engine, task, space, campaign)
}

async fn import(engine: &Engine, space: Space, campaign: CampaignId, kind: Kind, csv: String) -> (f64, u64) {
    let order =
        Order { kind, format: Format::Csv, campaign: Some(campaign), reward: None, ignore: Vec::new(), each: false, dry_run: false, id: Uuid::now_v7() };
    let begun = Instant::now();
    let report = engine.import(Importer { space, actor: "test".into() }, order, std::io::Cursor::new(csv), &mut Quiet).await.unwrap();
    assert_eq!(report.stopped, None);
    (begun.elapsed().as_secs_f64(), report.imported)
}

fn csv(people: &[Person]) -> String {
    let mut text = String::from("email,first_name,last_name\n");
    for person in people {
        let _ = writeln!(text, "{},Priya,Shah", person.email);
    }
    text
}

fn leads(count: u64, tag: &str) -> String {
    let mut text = String::from("email,referrer,external_id\n");
    for i in 0..count {
        let _ = writeln!(text, "lead{i}{tag}@example.org,referrer{}@example.net,{tag}{i}", i % 1_000);
    }
    text
}

const INSERT: &str = "INSERT INTO participants (space, id, campaign_id, identity, email, mailbox, first_name, last_name, fields, source, code, referrer_since, created_at, updated_at) VALUES (2, ?1, ?2, ?3, ?3, ?3, 'Priya', 'Shah', '{}', 'import', ?4, ?5, ?5, ?5)";
const INSERT_CODE: &str = "INSERT INTO codes (code_key, code, space, campaign_id, participant_id) VALUES (lower(?1), ?1, 2, ?2, ?3)";

fn raw_sqlite(path: &std::path::Path, people: &[Person], campaign: Uuid, codes: bool) -> f64 {
    let mut conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 16000; PRAGMA mmap_size = 0",
    )
    .unwrap();
    let begun = Instant::now();
    for chunk in people.chunks(10_000) {
        let tx = conn.transaction().unwrap();
        {
            let mut insert = tx.prepare_cached(INSERT).unwrap();
            let mut code = tx.prepare_cached(INSERT_CODE).unwrap();
            for person in chunk {
                insert.execute((person.id.as_bytes(), campaign.as_bytes(), &person.email, &person.code, 1_763_000_000_000i64)).unwrap();
                if codes {
                    code.execute((&person.code, campaign.as_bytes(), person.id.as_bytes())).unwrap();
                }
            }
        }
        tx.commit().unwrap();
    }
    begun.elapsed().as_secs_f64()
}

async fn copy(url: &str, people: &[Person], campaign: Uuid, codes: bool) -> f64 {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let begun = Instant::now();
    let columns = "space, id, campaign_id, identity, email, mailbox, first_name, last_name, fields, source, code, referrer_since, created_at, updated_at";
    let sink = client.copy_in(&format!("COPY participants ({columns}) FROM STDIN BINARY")).await.unwrap();
    let text = Type::TEXT;
    let types = [
        Type::INT8,
        Type::UUID,
        Type::UUID,
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text.clone(),
        text,
        Type::INT8,
        Type::INT8,
        Type::INT8,
    ];
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for p in people {
        let at = 1_763_000_000_000i64;
        writer
            .as_mut()
            .write(&[&2i64, &Arg::Id(p.id), &Arg::Id(campaign), &p.email, &p.email, &p.email, &"Priya", &"Shah", &"{}", &"import", &p.code, &at, &at, &at])
            .await
            .unwrap();
    }
    writer.finish().await.unwrap();
    if codes {
        let sink = client.copy_in("COPY codes (code_key, code, space, campaign_id, participant_id) FROM STDIN BINARY").await.unwrap();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::TEXT, Type::INT8, Type::UUID, Type::UUID]));
        for p in people {
            writer.as_mut().write(&[&p.code.to_lowercase(), &p.code, &2i64, &Arg::Id(campaign), &Arg::Id(p.id)]).await.unwrap();
        }
        writer.finish().await.unwrap();
    }
    begun.elapsed().as_secs_f64()
}

/// Qualifies leads at a fixed rate; latencies from the time at which each was to begin.
async fn qualify(engine: Engine, space: Space, campaign: CampaignId, tag: &'static str) -> Vec<Duration> {
    let begun = Instant::now();
    let mut flying = FuturesUnordered::new();
    let mut all = Vec::new();
    for i in 0..RATE * SECONDS {
        let due = begun + Duration::from_micros(i * 1_000_000 / RATE);
        while Instant::now() < due {
            tokio::select! {
                Some(took) = flying.next(), if !flying.is_empty() => all.push(took),
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
        let engine = engine.clone();
        flying.push(async move {
            let act = Qualify { lead: LeadKey::ExternalId(format!("{tag}{i}")), campaign: Some(campaign), external_id: None, occurred_at: None, note: None };
            let answer = engine.run(engine.context(space, "test", "test"), act).await.unwrap();
            assert!(answer.qualified, "{:?}", answer.why);
            due.elapsed()
        });
    }
    all.extend(flying.collect::<Vec<_>>().await);
    all.sort();
    all
}

fn show(what: &str, rows: usize, seconds: f64, limit: Option<f64>) -> f64 {
    let rate = rows as f64 / seconds;
    match limit {
        None => println!("{what:<52} {rate:>9.0} rows/s"),
        Some(limit) => println!("{what:<52} {rate:>9.0} rows/s   {:.2}", rate / limit),
    }
    rate
}

async fn live(url: &str, rows: usize, people: &[Person]) {
    let (engine, _task, space, campaign) = open(url).await;
    let mut referrers = String::from("email\n");
    for i in 0..1_000 {
        let _ = writeln!(referrers, "referrer{i}@example.net");
    }
    import(&engine, space, campaign, Kind::Referrers, referrers).await;
    for tag in ["a", "b"] {
        let (seconds, n) = import(&engine, space, campaign, Kind::Leads, leads(RATE * SECONDS, tag)).await;
        show("leads, each a decision", n as usize, seconds, None);
    }
    let at = |all: &[Duration], p: f64| all[((all.len() - 1) as f64 * p) as usize].as_secs_f64() * 1_000.0;
    let alone = qualify(engine.clone(), space, campaign, "a").await;
    println!("qualifications at {RATE}/s alone:   p50 {:.2} ms, p99 {:.2} ms", at(&alone, 0.5), at(&alone, 0.99));
    let text = csv(people);
    let beside = tokio::spawn(qualify(engine.clone(), space, campaign, "b"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (seconds, _) = import(&engine, space, campaign, Kind::Referrers, text).await;
    let beside = beside.await.unwrap();
    println!(
        "… while an import runs:            p50 {:.2} ms, p99 {:.2} ms ({:.1} times)",
        at(&beside, 0.5),
        at(&beside, 0.99),
        at(&beside, 0.99) / at(&alone, 0.99)
    );
    show("import beside them", rows, seconds, None);
    println!("{:?}", engine.store_stats());
}

#[tokio::main]
async fn main() {
    let rows = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number of rows"));
    let people = people(rows);
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());

    let mut limits = Vec::new();
    for codes in [false, true] {
        let (folder, url) = goodword_testkit::sqlite_url();
        let (engine, task, _, campaign) = open(&url).await;
        let store = engine.store().clone();
        drop(engine);
        task.await.unwrap();
        store.close().await.unwrap();
        let seconds = raw_sqlite(&folder.path().join("test.db"), &people, campaign.uuid(), codes);
        limits.push(show(if codes { "SQLite, inserts of people and codes" } else { "SQLite, inserts of people" }, rows, seconds, None));
    }
    {
        let (_folder, url) = goodword_testkit::sqlite_url();
        let (engine, _task, space, campaign) = open(&url).await;
        let (seconds, imported) = import(&engine, space, campaign, Kind::Referrers, csv(&people)).await;
        assert_eq!(imported, rows as u64);
        show("SQLite, import (share of people and codes)", rows, seconds, Some(limits[1]));
        show("        import (share of people)", rows, seconds, Some(limits[0]));
        let (seconds, imported) = import(&engine, space, campaign, Kind::Referrers, csv(&people)).await;
        assert_eq!(imported, 0);
        show("        the same file again", rows, seconds, None);
    }
    {
        let (_folder, url) = goodword_testkit::sqlite_url();
        live(&url, rows, &people).await;
    }

    limits.clear();
    for codes in [false, true] {
        let Some((_guard, url)) = goodword_testkit::durable_postgres_url() else { return };
        let (_engine, _task, _, campaign) = open(&url).await;
        let seconds = copy(&url, &people, campaign.uuid(), codes).await;
        limits.push(show(if codes { "PostgreSQL, COPY of people and codes" } else { "PostgreSQL, COPY of people" }, rows, seconds, None));
    }
    if let Some((_guard, url)) = goodword_testkit::durable_postgres_url() {
        let (engine, _task, space, campaign) = open(&url).await;
        let (seconds, imported) = import(&engine, space, campaign, Kind::Referrers, csv(&people)).await;
        assert_eq!(imported, rows as u64);
        show("PostgreSQL, import (share of people and codes)", rows, seconds, Some(limits[1]));
        show("            import (share of people)", rows, seconds, Some(limits[0]));
    }
    if let Some((_guard, url)) = goodword_testkit::durable_postgres_url() {
        live(&url, rows, &people).await;
    }
}
