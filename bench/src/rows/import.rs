//! An import of many referrers, while the product goes on working.

use super::{Sizes, count, qualify};
use crate::{
    report::{Figure, median},
    server::{Engine, Home, Server, block_on},
    world::{Grown, World, code, referrer_id},
};
use goodword_store::Value;
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Rows in one commit of the limit on SQLite, as in our measurements of what is best there.
const CHUNK: usize = 10_000;
/// Numbers of people that no world has.
const FIRST: u64 = 10_000_000;
/// Qualifications that go on meanwhile: far from the peak, for it is their latency that is looked at.
const MEANWHILE_PER_SECOND: f64 = 300.0;

pub fn measure(sizes: &Sizes) -> Vec<Figure> {
    [Engine::Sqlite, Engine::Postgres].into_iter().flat_map(|engine| on(engine, sizes)).collect()
}

fn on(engine: Engine, sizes: &Sizes) -> Vec<Figure> {
    let rows = if sizes.quick { 200_000 } else { 1_000_000 };
    let (goal, limit_name) = if engine == Engine::Sqlite { (0.6, "raw inserts") } else { (0.5, "COPY into the indexed tables") };
    let mut rounds: Vec<(f64, f64, f64)> = Vec::new();
    for _ in 0..sizes.rounds.min(2) {
        let Some(home) = Home::new(engine) else { return Vec::new() };
        World::make(&home, 100, 100).1.stop();
        let limit = rows as f64 / limit(&home, rows).as_secs_f64();

        let home = Home::new(engine).expect("a database");
        let (world, server) = World::make(&home, 100, 100);
        let file = file(&home, "first", FIRST, rows);
        let before = people(&home);
        let cpu = server.cpu();
        let took = import(&server, &world, &file).wait();
        let cpu_us = super::per_op_us(server.cpu() - cpu, rows);
        assert_eq!(people(&home) - before, rows as i64, "rows that were not imported");
        rounds.push((rows as f64 / took.as_secs_f64(), limit, cpu_us));
    }
    let pick = |value: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(value).collect());
    let figure = Figure::new("import", format!("{engine:?}, {rows} referrers from a CSV file, beside {limit_name}"), "/s", pick(|round| round.0));
    let mut figures = vec![Figure { cpu_us: Some(pick(|round| round.2)), ..figure.at_least(pick(|round| round.1), pick(|round| round.0 / round.1), goal) }];
    figures.push(meanwhile(engine, rows));
    figures
}

/// Qualifications before an import and while one runs.
fn meanwhile(engine: Engine, rows: u64) -> Figure {
    let home = Home::new(engine).expect("a database");
    let (world, server) = World::make(&home, 10_000, 50_000);
    let lasts = Duration::from_secs(8);
    let (alone, _) = qualify::run(&server, &world, 32, lasts, Some(MEANWHILE_PER_SECOND), 0);
    let file = file(&home, "meanwhile", FIRST, rows);
    let mut running = import(&server, &world, &file);
    std::thread::sleep(Duration::from_millis(500));
    let (during, _) = qualify::run(&server, &world, 32, lasts, Some(MEANWHILE_PER_SECOND), alone.next);
    running.stop();
    let (before, after) = (alone.ms(99.0), during.ms(99.0));
    Figure {
        p50_ms: Some(during.ms(50.0)),
        p99_ms: Some(after),
        ..Figure::new("import", format!("{engine:?}, p99 of qualifications meanwhile, beside before"), "ms", after)
    }
    .at_most(before, after / before, 3.0)
}

fn people(home: &Home) -> i64 {
    count(home, "SELECT count(*) FROM participants")
}

/// A file as somebody would export it elsewhere.
fn file(home: &Home, name: &str, first: u64, rows: u64) -> std::path::PathBuf {
    let path = home.folder().join(format!("{name}.csv"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    writeln!(file, "email,first_name,last_name,external_id").expect("a line");
    for i in first..first + rows {
        writeln!(file, "person{i}@example.org,Person,Number {i},user-{i}").expect("a line");
    }
    path
}

struct Running {
    child: std::process::Child,
    begun: Instant,
}

/// `goodword import` through the running server.
fn import(server: &Server, world: &World, file: &Path) -> Running {
    let mut command = Command::new(crate::program());
    command.args(["import", "referrers"]).arg(file).args(["--campaign", &world.campaign, "--url", &format!("http://{}", server.address), "--json"]);
    command.env("GOODWORD_API_KEY", &world.key).stdout(Stdio::null()).stderr(Stdio::null());
    Running { begun: Instant::now(), child: command.spawn().expect("goodword import") }
}

impl Running {
    fn wait(mut self) -> Duration {
        let status = self.child.wait().expect("goodword import");
        assert!(status.success(), "goodword import: {status}");
        self.begun.elapsed()
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same rows of people and of their codes, without anything that looks at them.
fn limit(home: &Home, rows: u64) -> Duration {
    block_on(async {
        let store = home.store().await;
        let (people, codes) = (Grown::new(&store, "participants").await, Grown::new(&store, "codes").await);
        let person = people.row(|row| row["referrer_since"] != Value::Null);
        let given = codes.row(|row| row["participant_id"] != Value::Null);
        let chunk = |first: u64| -> (Vec<Vec<Value>>, Vec<Vec<Value>>) {
            let numbers = first..(first + CHUNK as u64).min(FIRST + rows);
            numbers
                .map(|i| {
                    let (email, code) = (format!("person{i}@example.org"), code(i));
                    let mut row = person.clone();
                    row.insert("no", Value::Int(i as i64));
                    row.insert("id", Value::Id(referrer_id(i)));
                    for name in ["identity", "email", "mailbox"] {
                        row.insert(name, Value::Text(email.clone()));
                    }
                    row.insert("external_id", Value::Text(format!("user-{i}")));
                    row.insert("code", Value::Text(code.as_str().into()));
                    let mut its_code = given.clone();
                    its_code.insert("code_key", Value::Text(code.key()));
                    its_code.insert("code", Value::Text(code.as_str().into()));
                    its_code.insert("participant_id", Value::Id(referrer_id(i)));
                    (people.values(row), codes.values(its_code))
                })
                .unzip()
        };
        let raw = home.postmaster().is_none().then(|| raw(home));
        let mut took = Duration::ZERO;
        for first in (FIRST..FIRST + rows).step_by(CHUNK) {
            let (person_rows, code_rows) = chunk(first);
            let begun = Instant::now();
            match &raw {
                Some(db) => {
                    db.execute_batch("BEGIN IMMEDIATE").expect("begin");
                    insert(db, &codes, &code_rows);
                    insert(db, &people, &person_rows);
                    db.execute_batch("COMMIT").expect("commit");
                }
                None => {
                    store.load(&codes.table, code_rows).await.expect("COPY");
                    store.load(&people.table, person_rows).await.expect("COPY");
                }
            }
            took += begun.elapsed();
        }
        store.close().await.expect("close");
        took
    })
}

fn raw(home: &Home) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(home.file()).expect("the file");
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; PRAGMA cache_size = -32768").expect("pragmas");
    db
}

fn insert(db: &rusqlite::Connection, into: &Grown, rows: &[Vec<Value>]) {
    let names: Vec<_> = into.table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let sql = format!("INSERT INTO {} ({}) VALUES ({})", into.table.name, names.join(", "), vec!["?"; names.len()].join(", "));
    let mut statement = db.prepare_cached(&sql).expect("prepare");
    for row in rows {
        statement.execute(rusqlite::params_from_iter(row.iter().map(Value::as_arg))).expect("insert");
    }
}
