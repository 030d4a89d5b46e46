//! Opening, migrating, backing up and moving databases.
mod support;

use goodword_store::{Command, Engine, Error, Migration, Options, Result, Store, TableInfo, Tx, Value};
use goodword_testkit::{postgres_url, sqlite_url};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use support::*;
use uuid::Uuid;

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let (_guard, url) = sqlite_url();
    let first = open(&url).await;
    let refused = Store::open(Options::new(&url, MIGRATIONS)).await.err().unwrap().to_string();
    assert!(refused.contains(&format!("another goodword process (pid {}) is using", std::process::id())), "{refused}");
    // A tool which only reads may come in, and sees what is committed.
    first.write(CreateLead::new("a@x", Then::Succeed)).await.unwrap();
    let beside = Store::open(Options { read_only: true, ..Options::new(&url, MIGRATIONS) }).await.unwrap();
    beside.ping().await.unwrap();
    assert_eq!(count(&beside, "SELECT count(*) FROM leads").await, 1);
    assert!(matches!(beside.write(Execute("DELETE FROM leads")).await, Err(Error::Full(_))));
    beside.close().await.unwrap();
    first.close().await.unwrap();
    let second = open(&url).await;
    assert_eq!(count(&second, "SELECT count(*) FROM leads").await, 1);
}

#[tokio::test]
async fn closing_moves_the_log_into_the_file() {
    let (guard, url) = sqlite_url();
    let store = open(&url).await;
    store.write(CreateLead::new("a@x", Then::Succeed)).await.unwrap();
    store.close().await.unwrap();
    assert!(!guard.path().join("test.db-wal").exists());
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(guard.path().join("test.db")).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Writes a megabyte, 250 pages.
struct Megabyte;

impl Command for Megabyte {
    type Output = ();
    type Error = Error;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.push("INSERT INTO events (id, body) VALUES ($1, $2)", &[Uuid::now_v7().into(), "x".repeat(1_000_000).as_str().into()]).await
    }
}

/// How often the log has begun anew (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
fn logs(log: &Path) -> u32 {
    let mut header = [0; 32];
    File::open(log).unwrap().read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..16].try_into().unwrap())
}

#[tokio::test]
async fn the_log_begins_anew_while_writes_go_on() {
    let (guard, url) = sqlite_url();
    let store = open(&url).await;
    let log = guard.path().join("test.db-wal");
    let (at_first, mut written) = (logs(&log), 0);
    while logs(&log) < at_first + 2 {
        store.write(Megabyte).await.unwrap();
        written += 1;
        assert!(written < 3_000, "MB were written, and all of them are in the log");
    }
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, written);
    store.close().await.unwrap();
    let store = open(&url).await;
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, written);
    assert_eq!(count(&store, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'").await, 1);
}

#[tokio::test]
async fn a_log_that_was_copied_begins_anew_with_the_next_write() {
    let (guard, url) = sqlite_url();
    let store = open(&url).await;
    let log = guard.path().join("test.db-wal");
    let begun = || logs(&log);
    let at_first = begun();
    let frames = || std::fs::metadata(&log).unwrap().len() / 4_120;
    let mut writes = 0;
    while frames() < 8_000 {
        store.write(Megabyte).await.unwrap();
        writes += 1;
    }
    for round in 0..20 {
        let pages = count(&store, "SELECT page_count FROM pragma_page_count").await as u64;
        let begun_at = Instant::now();
        while std::fs::metadata(guard.path().join("test.db")).unwrap().len() < pages * 4_096 && begun_at.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // All is copied, or will be with the next. A write may come at once, or when that is on disk, too.
        if round % 2 == 1 {
            tokio::time::sleep(Duration::from_millis(20 << (round / 2))).await;
        }
        let before = begun();
        for _ in 0..writes {
            store.write(Megabyte).await.unwrap();
        }
        if begun() > before && begun() >= at_first + 2 {
            break;
        }
    }
    assert!(begun() >= at_first + 2, "{} logs", begun() - at_first);
    store.close().await.unwrap();
}

/// How often a log began anew in strace's lines, and how often of these what had been copied from it into the
/// database was not synced yet.
fn begun_anew(trace: &str) -> (usize, usize) {
    let (mut begun, mut too_early, mut is_dirty) = (0, 0, false);
    // Threads that sync the database, and whether it was written to since they began.
    let mut syncing: HashMap<&str, bool> = HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').map_or(("", line), |(thread, call)| (thread, call.trim_start()));
        if call.starts_with("pwrite64(") && call.contains("/test.db>") {
            is_dirty = true;
            syncing.values_mut().for_each(|written| *written = true);
        } else if call.starts_with("pwrite64(") && call.contains("/test.db-wal>") && call.contains(", 32, 0") {
            begun += 1;
            too_early += usize::from(is_dirty);
        } else if call.contains("sync") {
            if call.contains("/test.db>") {
                syncing.insert(thread, false);
            }
            if call.ends_with("= 0") && syncing.remove(thread) == Some(false) {
                is_dirty = false;
            }
        }
    }
    (begun, too_early)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "CI says so in the environment")]
fn a_log_begins_anew_only_when_the_database_has_all_of_it_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "0", "-e", "trace=pwrite64,fsync,fdatasync", "-o"]).arg(&trace);
    strace.arg(std::env::current_exe().unwrap()).args(["--exact", "a_log_that_was_copied_begins_anew_with_the_next_write"]);
    let Ok(output) = strace.output() else {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed, and CI has this audit");
        eprintln!("\n*** strace is not installed: nobody has looked whether the database is synced before its log begins anew ***\n");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let trace = std::fs::read_to_string(&trace).unwrap();
    let (begun, too_early) = begun_anew(&trace);
    assert!(begun >= 3, "{begun} logs");
    assert_eq!(too_early, 0, "of {begun} logs");

    // A database that is not synced is found out.
    let careless: Vec<&str> = trace.lines().filter(|line| !(line.contains("sync") && line.contains("/test.db>"))).collect();
    assert!(begun_anew(&careless.join("\n")).1 > 0, "the audit is blind");
}

#[tokio::test]
async fn migrations_are_applied_once_and_a_newer_database_is_refused() {
    goodword_testkit::on_both(async |url| {
        let options = |migrations| Options::new(&url, migrations);
        assert_eq!(Store::pending_migrations(&options(MIGRATIONS)).await.unwrap(), [1, 2]);
        Store::open(options(&MIGRATIONS[..1])).await.unwrap().close().await.unwrap();
        assert_eq!(Store::pending_migrations(&options(MIGRATIONS)).await.unwrap(), [2]);
        for _ in 0..2 {
            Store::open(options(MIGRATIONS)).await.unwrap().close().await.unwrap();
        }
        assert_eq!(Store::pending_migrations(&options(MIGRATIONS)).await.unwrap(), [0; 0]);
        let older = Store::open(options(&MIGRATIONS[..1])).await.err().unwrap().to_string();
        assert!(older.contains("newer release"), "{older}");
    })
    .await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_of_itself() {
    const BROKEN: &[Migration] = &[Migration { number: 1, name: "broken", sql: "CREATE TABLE a (id bigint PRIMARY KEY); CREATE TABLE a (id bigint)" }];
    goodword_testkit::on_both(async |url| {
        let e = Store::open(Options::new(&url, BROKEN)).await.err().unwrap().to_string();
        assert!(e.contains("migration 1 (broken)"), "{e}");
        assert_eq!(Store::pending_migrations(&Options::new(&url, MIGRATIONS)).await.unwrap(), [1, 2]);
        let store = open(&url).await;
        assert!(store.tables().await.unwrap().iter().all(|table| table.name != "a"));
        store.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_may_migrate_at_once() {
    let Some((_guard, url)) = postgres_url() else {
        return;
    };
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { open(&url).await }
            })
        })
        .collect();
    for node in nodes {
        node.await.unwrap().ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_counts_what_has_grown_before_autovacuum_does() {
    let Some((_guard, url)) = postgres_url() else {
        return;
    };
    let store = open(&url).await;
    store.write(Execute("INSERT INTO events (id, body) SELECT gen_random_uuid(), repeat('x', 500) FROM generate_series(1, 5000)")).await.unwrap();
    // Autovacuum looks once a minute.
    let deadline = Instant::now() + Duration::from_secs(20);
    while count(&store, "SELECT CAST(reltuples AS bigint) FROM pg_class WHERE relname = 'events'").await < 4_000 {
        assert!(Instant::now() < deadline, "nobody has counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn urls_are_checked() {
    for url in ["", "mysql://x", "sqlite:", "postgres://nobody:hunter2@127.0.0.1:1/none", "sqlite:/nowhere/at/all.db"] {
        let e = Store::open(Options::new(url, MIGRATIONS)).await.err().unwrap();
        assert!(!e.to_string().contains("hunter2"), "{e}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_snapshot_and_does_not_stop_the_writer() {
    /// Two rows that belong together.
    struct Pair(Uuid);
    impl Command for Pair {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            tx.execute("INSERT INTO events (id, body) VALUES ($1, $2)", &[self.0.into(), "x".repeat(2000).as_str().into()]).await?;
            tx.execute("INSERT INTO campaigns (id) VALUES ($1)", &[self.0.into()]).await.map(drop)
        }
    }
    let (guard, url) = sqlite_url();
    let store = open(&url).await;
    for _ in 0..2000 {
        store.write(Pair(Uuid::now_v7())).await.unwrap();
    }
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut written = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.write(Pair(Uuid::now_v7())).await.unwrap();
                written += 1;
            }
            written
        }
    });
    let to = guard.path().join("backup.db");
    store.backup(&to).await.unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
    assert!(store.backup(&to).await.unwrap_err().to_string().contains("never overwrites"));
    let copy = open(&format!("sqlite:{}", to.display())).await;
    let pairs = count(&copy, "SELECT count(*) FROM events").await;
    assert!(pairs >= 2000);
    assert_eq!(count(&copy, "SELECT count(*) FROM campaigns").await, pairs);
    assert_eq!(count(&copy, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'").await, 1);
}

#[tokio::test]
async fn postgres_tells_how_it_is_backed_up() {
    let Some((guard, url)) = postgres_url() else {
        return;
    };
    let e = open(&url).await.backup(std::path::Path::new("x")).await.unwrap_err().to_string();
    assert!(e.contains("pg_dump"), "{e}");
    drop(guard);
}

#[tokio::test]
async fn a_full_disk_refuses_commands_and_is_got_over() {
    /// Limits the file to its present size, or lifts the limit: as good as a full disk.
    struct Limit(&'static str);
    impl Command for Limit {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            tx.fetch(self.0, &[], |_| Ok(())).await.map(drop)
        }
    }
    let (_guard, url) = sqlite_url();
    let store = open(&url).await;
    store.write(Limit("PRAGMA max_page_count = 1")).await.unwrap();
    let mut written = 0;
    let large = || CreateLead::new(format!("{}{}", Uuid::now_v7(), "x".repeat(3000)), Then::Succeed);
    let full = loop {
        match store.write(large()).await {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(full, Refusal::Store(Error::Full(_))), "{full:?}");
    // Many at once, so that a whole batch meets it.
    let refused: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn({
                let (store, lead) = (store.clone(), large());
                async move { store.write(lead).await }
            })
        })
        .collect();
    for task in refused {
        match task.await.unwrap() {
            Ok(_) => written += 1,
            Err(Refusal::Store(Error::Full(_))) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(count(&store, "SELECT count(*) FROM leads").await, written);
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, written);
    store.write(Limit("PRAGMA max_page_count = 4294967294")).await.unwrap();
    store.write(large()).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM leads").await, written + 1);
}

async fn everything(store: &Store) -> Vec<(TableInfo, Vec<Vec<Value>>)> {
    let mut all = Vec::new();
    for table in store.tables().await.unwrap() {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(&table, after, 7).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(table.key_of(last));
            rows.extend(page);
        }
        all.push((table, rows));
    }
    all
}

#[tokio::test]
async fn an_installation_moves_between_databases_unchanged() {
    struct Fill;
    impl Command for Fill {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            for i in (0..40u128).rev() {
                let id = Uuid::from_u128((i << 64) | (7 * i));
                let score = (i % 3 == 0).then_some(i as f64).into();
                let hash = id.as_bytes().as_slice().into();
                let text = ["zoë", "Zoe", "zoe", "Ärger", "a'b", ""][i as usize % 6].to_owned() + &i.to_string();
                tx.execute("INSERT INTO campaigns (id, counter) VALUES ($1, $2)", &[id.into(), (-(i as i64)).into()]).await?;
                tx.execute(
                    "INSERT INTO leads (space, id, campaign_id, email, active, score, hash) \
                        VALUES ($1, $2, $2, $3, $4, $5, $6)",
                    &[i64::MAX.into(), id.into(), (&text).into(), (i % 2 == 0).into(), score, hash],
                )
                .await?;
                tx.execute("INSERT INTO codes (code_key, owner) VALUES ($1, $2)", &[(&text).into(), id.into()]).await?;
                tx.execute("INSERT INTO events (id, txid, body) VALUES ($1, 0, $2)", &[id.into(), (&text).into()]).await?;
            }
            Ok(())
        }
    }
    let (_a, first) = sqlite_url();
    let (_c, third) = sqlite_url();
    let Some((_b, second)) = postgres_url() else {
        return;
    };
    let stores = [open(&first).await, open(&second).await, open(&third).await];
    stores[0].write(Fill).await.unwrap();
    let expected = everything(&stores[0]).await;
    let names: Vec<_> = expected.iter().map(|(table, _)| table.name.as_str()).collect();
    assert_eq!(names, ["campaigns", "codes", "events", "leads"]); // leads refer to campaigns
    assert!(expected.iter().all(|(_, rows)| rows.len() == 40));
    for to in &stores[1..] {
        for (table, rows) in &expected {
            for chunk in rows.chunks(15) {
                to.load(table, chunk.to_vec()).await.unwrap();
            }
        }
        to.reset_identities().await.unwrap();
        assert_eq!(everything(to).await, expected, "{:?}", to.engine());
        let loaded = count(to, "SELECT max(no) FROM leads").await;
        to.write(CreateLead::new("new@x", Then::Succeed)).await.unwrap();
        assert_eq!(count(to, "SELECT max(no) FROM leads").await, loaded + 1);
        assert_eq!(count(to, "SELECT max(seq) FROM events").await, 41);
    }
    assert_eq!(stores[1].engine(), Engine::Postgres);
    // A row that is there already fails the whole load, with nothing of it kept.
    let (table, rows) = &expected[1];
    let mut rows = rows[..1].to_vec();
    rows.insert(0, vec![Value::Text("fresh".into()), Value::Id(Uuid::max())]);
    for to in &stores {
        assert!(to.load(table, rows.clone()).await.unwrap_err().is_conflict_on("codes"));
        assert_eq!(count(to, "SELECT count(*) FROM codes").await, 40);
    }
}
