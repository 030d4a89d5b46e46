use super::{Failure, Result, client, serve};
use crate::{
    config::{Config, FILE_NAME, ServerFlags},
    engine::{MIGRATIONS, vault},
};
use goodword_core::time::Timestamp;
use goodword_store::{Options, Row, Store};
use hyper::Method;
use serde::Serialize;
use std::{
    fmt::Display,
    fs::Metadata,
    io::{IsTerminal, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Look for what is wrong, and say how to mend it
///
/// Looks at the configuration, the database, the data folder, the disk, the clock, the port and the
/// running server, and leaves nothing behind. Ends with an error if something has failed.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print the findings as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: ServerFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at.
    check: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, found: impl Display) {
        self.0.push(Finding { level: Level::Ok, check, found: found.to_string(), mend: None });
    }

    fn warn(&mut self, check: &'static str, found: impl Display, mend: impl Display) {
        self.0.push(Finding { level: Level::Warn, check, found: found.to_string(), mend: Some(mend.to_string()) });
    }

    fn fail(&mut self, check: &'static str, found: impl Display, mend: impl Display) {
        self.0.push(Finding { level: Level::Fail, check, found: found.to_string(), mend: Some(mend.to_string()) });
    }
}

/// Less free room than this is a failure soon, or now.
const FREE_BYTES_WARN: u64 = 2 << 30;
const FREE_BYTES_FAIL: u64 = 200 << 20;
/// The log is cut at 64 MiB; beyond this, somebody holds an old snapshot open.
const WAL_BYTES_WARN: u64 = 512 << 20;
/// A clock that is wrong by more than this confuses holds and signatures.
const CLOCK_OFF_WARN: Duration = Duration::from_secs(5);
const FSYNC_WARN: Duration = Duration::from_millis(50);
const POSTGRES_VERSION_MIN: i64 = 150_000;
/// Nothing can be older than the program.
const BORN_MS: i64 = 1_763_000_000_000;
/// File systems over a network, where SQLite's locks are not to be trusted.
const REMOTE: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs"];

impl Doctor {
    pub fn run(self) -> Result {
        super::block_on(self.examine())
    }

    async fn examine(self) -> Result {
        let mut findings = Findings::default();
        let config = match Config::load(&self.settings.0) {
            Ok(config) => Some(config),
            Err(error) => {
                findings.fail("configuration", error, "Mend it there; `goodword serve --help` lists every setting.");
                None
            }
        };
        if let Some(config) = &config {
            configuration(config, &mut findings);
            folder(&config.data, &mut findings);
            if serve::database_url(config).starts_with("sqlite:") {
                sqlite(config, &mut findings).await;
            } else {
                postgres(config, &mut findings).await;
            }
            clock(config, &mut findings);
            server(config, &mut findings).await;
        }
        self.tell(&findings.0)
    }

    fn tell(&self, findings: &[Finding]) -> Result {
        let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
        let (warned, failed) = (count(Level::Warn), count(Level::Fail));
        if self.json {
            println!("{}", serde_json::json!({"ok": failed == 0, "warnings": warned, "failures": failed, "findings": findings}));
        } else {
            let mut out = std::io::stdout().lock();
            let colours = out.is_terminal();
            for finding in findings {
                let (word, colour) = match finding.level {
                    Level::Ok => ("ok  ", "32"),
                    Level::Warn => ("warn", "33"),
                    Level::Fail => ("FAIL", "31"),
                };
                let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
                writeln!(out, "{word}  {:<18} {}", finding.check, finding.found)?;
                if let Some(mend) = &finding.mend {
                    writeln!(out, "{:24} → {mend}", "")?;
                }
            }
        }
        match failed {
            0 => Ok(()),
            1 => Err(Failure::new("1 thing has failed")),
            n => Err(Failure::new(format!("{n} things have failed"))),
        }
    }
}

fn configuration(config: &Config, findings: &mut Findings) {
    let url = config.public_url();
    let host = url::Url::parse(&url).ok().and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())).unwrap_or_default();
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if local && !config.listen.ip().is_loopback() {
        let mend = "Set public_url to the address that people use, like https://refer.example.com.";
        findings.warn("public address", format!("links begin with {url}, which only this machine can open, but {} is open to others", config.listen), mend);
    } else if !local && !config.is_https() {
        findings.warn("public address", format!("{url} is not encrypted"), "Put a proxy with TLS in front and set public_url to its https address.");
    } else {
        findings.ok("public address", &url);
    }
    let file = config.data.join(FILE_NAME);
    if let Ok(metadata) = std::fs::metadata(&file)
        && readable_by_others(&metadata)
        && std::fs::read_to_string(&file).is_ok_and(|text| ["secret_key", "metrics_token", "database_url"].iter().any(|key| has_key(&text, key)))
    {
        findings.fail("secrets", format!("{} holds secrets and others may read it", file.display()), format!("chmod 600 {}", file.display()));
    }
    let key = config.secret_key_file.clone().unwrap_or_else(|| config.data.join("secret.key"));
    match std::fs::metadata(&key) {
        Ok(metadata) if readable_by_others(&metadata) => {
            findings.fail("secrets", format!("others may read {}", key.display()), format!("chmod 600 {}", key.display()));
        }
        Ok(_) => findings.ok("secrets", format!("only you can read {}", key.display())),
        Err(_) if config.secret_key_file.is_some() => {
            findings.fail("secrets", format!("{} is not there", key.display()), "Put the key there, or unset secret_key_file.");
        }
        Err(_) => {}
    }
    if let Some(limit) = open_files_max()
        && limit < config.connections_max as u64
    {
        let mend = format!("Raise the limit (LimitNOFILE= of the service, or ulimit -n), or set connections_max below {limit}.");
        findings.warn("open files", format!("{} connections are allowed, but only {limit} open files", config.connections_max), mend);
    }
}

fn has_key(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
}

fn readable_by_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

fn open_files_max() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find(|line| line.starts_with("Max open files"))?.split_whitespace().nth(3)?.parse().ok()
}

/// The data folder and its disk.
fn folder(data: &Path, findings: &mut Findings) {
    let metadata = match std::fs::metadata(data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mend = "`goodword serve` makes it at its first start. Or did you mean another --data DIR?";
            return findings.warn("data folder", format!("{} is not there", data.display()), mend);
        }
        Err(error) => return findings.fail("data folder", format!("{}: {error}", data.display()), "Give this user access to it."),
    };
    if !metadata.is_dir() {
        return findings.fail("data folder", format!("{} is not a folder", data.display()), "Name a folder with --data DIR.");
    }
    if readable_by_others(&metadata) {
        findings.warn("data folder", format!("others may look into {}", data.display()), format!("chmod 700 {}", data.display()));
    }
    match synced(data) {
        Ok(took) if took > FSYNC_WARN => {
            let mend = "Every answered write waits for the disk. Put the data folder on a faster one, not on a network share.";
            findings.warn("disk", format!("it takes {} ms to keep a write", took.as_millis()), mend);
        }
        Ok(took) => {
            findings.ok("data folder", format!("{} can be written; the disk keeps a write within {:.1} ms", data.display(), took.as_secs_f64() * 1_000.0))
        }
        Err(error) => findings.fail(
            "data folder",
            format!("{} cannot be written: {error}", data.display()),
            format!("chown it to the server's user, or mend the disk: ls -ld {}", data.display()),
        ),
    }
    match rustix::fs::statvfs(data) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} MiB free", free >> 20);
            let mend = "Make room, or move the data folder. When the disk is full, writes are refused and nothing is lost.";
            match free {
                0..FREE_BYTES_FAIL => findings.fail("free room", found, mend),
                FREE_BYTES_FAIL..FREE_BYTES_WARN => findings.warn("free room", found, mend),
                _ => findings.ok("free room", found),
            }
            if stat.f_files > 0 && stat.f_favail < 100 {
                findings.fail("free room", format!("{} more files are possible", stat.f_favail), "Delete small files on that disk; it has no inodes left.");
            }
        }
        Err(error) => findings.warn("free room", format!("it cannot be told: {error}"), "Look with df -h."),
    }
    if let Some(kind) = file_system(data)
        && REMOTE.contains(&kind.as_str())
    {
        let mend = "SQLite's locks cannot be trusted there. Use a local disk, or PostgreSQL.";
        findings.fail("disk", format!("{} is on a network file system ({kind})", data.display()), mend);
    }
}

/// How long the disk takes to keep a small write, in the median of five.
fn synced(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let measured = (|| {
        let mut file = std::fs::File::create(&path)?;
        let mut all = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            all.push(begun.elapsed());
        }
        all.sort();
        Ok(all[2])
    })();
    let _ = std::fs::remove_file(&path);
    measured
}

/// The kind of file system that a path is on.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?.replace("\\040", " "), words.next()?);
        path.starts_with(&point).then(|| (point.len(), kind.to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

async fn sqlite(config: &Config, findings: &mut Findings) {
    let url = serve::database_url(config);
    let path = PathBuf::from(url.trim_start_matches("sqlite:").trim_start_matches("//"));
    let mut options = Options::new(&url, MIGRATIONS);
    options.read_only = true;
    let Ok(metadata) = std::fs::metadata(&path) else {
        return findings.warn(
            "database",
            format!("{} is not there", path.display()),
            "`goodword serve` makes it at its first start. Or did you mean another --data DIR?",
        );
    };
    if readable_by_others(&metadata) {
        findings.fail("database", format!("others may read {}", path.display()), format!("chmod 600 {}", path.display()));
    }
    if !migrations(&options, findings).await {
        return;
    }
    let file = path.clone();
    let check = tokio::task::spawn_blocking(move || -> rusqlite::Result<(String, String)> {
        let conn = rusqlite::Connection::open_with_flags(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        let mode = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok((mode, conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?))
    });
    match check.await {
        Ok(Ok((mode, answer))) if answer == "ok" => {
            findings.ok("database", format!("{} is whole, {} MiB", path.display(), metadata.len() >> 20));
            if mode != "wal" {
                findings.warn("database", format!("its journal is {mode}, not wal"), "The next start of the server sets it; find out which tool changed it.");
            }
        }
        Ok(Ok((_, answer))) => {
            let mend = "Stop the server, keep the file, and restore the last backup; look at the disk.";
            findings.fail("database", format!("{} is damaged: {answer}", path.display()), mend);
        }
        Ok(Err(error)) => {
            findings.fail("database", format!("{} cannot be read: {error}", path.display()), "Is it a database of Goodword? Restore a backup if it is damaged.")
        }
        Err(error) => findings.fail("database", error, "Run it again."),
    }
    let wal = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |metadata| metadata.len());
    if wal > WAL_BYTES_WARN {
        let mend = "Something keeps an old snapshot open, such as a shell of sqlite3. End it; a restart of the server empties the log.";
        findings.warn("write-ahead log", format!("{} MiB", wal >> 20), mend);
    } else {
        findings.ok("write-ahead log", format!("{} MiB; every commit is on disk before it is answered", wal >> 20));
    }
    match Store::open(options).await {
        Ok(store) => {
            secret_key(config, &store, findings).await;
            newest_event(&store, findings).await;
            let _ = store.close().await;
        }
        Err(error) => findings.fail("database", error, "Look at the message; run it again."),
    }
}

/// Whether the key is the one that the database was encrypted with. Makes none, as a start would.
async fn secret_key(config: &Config, store: &Store, findings: &mut Findings) {
    // A database that no server has opened yet has no key, nor one that must be migrated first.
    let Ok(Some(probe)) = vault::probe(store).await else { return };
    const CHECK: &str = "secret key";
    if let Some(path) = config.secret_key_path().filter(|path| !path.exists()) {
        return findings.fail(CHECK, format!("there is no file {}, and the server does not start without it", path.display()), serve::PUT_KEY_BACK);
    }
    match config.vault() {
        Ok(vault) if vault.opens(&probe) => findings.ok(CHECK, "it is the one that this database was encrypted with"),
        Ok(_) => findings.fail(CHECK, "this database was encrypted with another one, and the server does not start with this", serve::PUT_KEY_BACK),
        Err(error) => findings.fail(CHECK, error, serve::PUT_KEY_BACK),
    }
}

/// Whether the database answers; and whether its schema is this program's.
async fn migrations(options: &Options, findings: &mut Findings) -> bool {
    match Store::pending_migrations(options).await {
        Ok(pending) if pending.is_empty() => {
            findings.ok("schema", format!("at migration {}, which is this program's", MIGRATIONS.last().map_or(0, |migration| migration.number)));
            true
        }
        Ok(pending) => {
            findings.warn("schema", format!("{} migrations are pending", pending.len()), "The next start of the server applies them, or `goodword migrate`.");
            true
        }
        Err(error) => {
            let mend = "Check the address, the user and the network; try it with psql or sqlite3.";
            findings.fail("database", error, mend);
            false
        }
    }
}

async fn postgres(config: &Config, findings: &mut Findings) {
    let mut options = Options::new(serve::database_url(config), MIGRATIONS);
    options.read_only = true;
    options.pool_size = 2;
    let pool = Options::default().pool_size as i64;
    if !migrations(&options, findings).await {
        return;
    }
    let store = match Store::open(options).await {
        Ok(store) => store,
        Err(error) => return findings.fail("database", error, "Check the address, the user and the network; try it with psql."),
    };
    let sql = "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
            current_setting('full_page_writes'), current_setting('max_connections')::bigint, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
            pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_database_size(current_database())";
    struct Facts {
        version: i64,
        version_text: String,
        settings: [String; 3],
        connections_max: i64,
        connections: i64,
        in_recovery: bool,
        now_ms: i64,
        bytes: i64,
    }
    let read = |row: &Row<'_>| {
        Ok(Facts {
            version: row.get(0)?,
            version_text: row.get(1)?,
            settings: [row.get(2)?, row.get(3)?, row.get(4)?],
            connections_max: row.get(5)?,
            connections: row.get(6)?,
            in_recovery: row.get(7)?,
            now_ms: row.get(8)?,
            bytes: row.get(9)?,
        })
    };
    let before = now_ms();
    let facts = store.read::<_, goodword_store::Error, _>(move |tx| Box::pin(async move { tx.fetch_one(sql, &[], read).await })).await;
    let after = now_ms();
    let facts = match facts {
        Ok(Some(facts)) => facts,
        Ok(None) => return findings.fail("database", "it answers nothing", "Try it with psql."),
        Err(error) => return findings.fail("database", error, "Try it with psql as the same user."),
    };
    if facts.version < POSTGRES_VERSION_MIN {
        findings.fail("database", format!("PostgreSQL {}", facts.version_text), "Upgrade PostgreSQL to 15 or later.");
    } else {
        findings.ok("database", format!("PostgreSQL {}, {} MiB", facts.version_text, facts.bytes >> 20));
    }
    if facts.in_recovery {
        findings.fail("database", "it is a standby and takes no writes", "Connect to the primary.");
    }
    let [fsync, commit, pages] = &facts.settings;
    if fsync == "off" {
        findings.fail("durability", "fsync is off: a power cut destroys the database", "Set fsync = on in postgresql.conf.");
    } else if commit == "off" {
        findings.fail("durability", "synchronous_commit is off: a crash loses writes that were answered", "Set synchronous_commit = on.");
    } else if pages == "off" {
        findings.warn("durability", "full_page_writes is off", "Set full_page_writes = on, unless the file system writes whole pages.");
    } else {
        findings.ok("durability", format!("fsync is on, synchronous_commit is {commit}"));
    }
    if facts.connections_max < pool + 5 {
        findings.warn("connections", format!("a node uses up to {pool}, but max_connections is {}", facts.connections_max), "Raise max_connections.");
    } else {
        findings.ok("connections", format!("{} of {} in use; a node uses up to {pool}", facts.connections, facts.connections_max));
    }
    let off = if facts.now_ms < before { before - facts.now_ms } else { (facts.now_ms - after).max(0) };
    if off as u128 > CLOCK_OFF_WARN.as_millis() {
        findings.warn("clock", format!("the database's clock differs by {:.1} s", off as f64 / 1_000.0), "Synchronise both machines (NTP).");
    } else {
        findings.ok("clock", "the database has the same time");
    }
    secret_key(config, &store, findings).await;
    newest_event(&store, findings).await;
    let _ = store.close().await;
}

/// Something that happens tomorrow says that a clock went back. The test side may be ahead.
async fn newest_event(store: &Store, findings: &mut Findings) {
    let sql = "SELECT e.created_at FROM events e JOIN workspaces w ON w.live_space = e.space ORDER BY e.txid DESC, e.seq DESC LIMIT 1";
    let newest = store.read::<_, goodword_store::Error, _>(move |tx| Box::pin(async move { tx.fetch_one(sql, &[], |row| row.get::<i64>(0)).await })).await;
    if let Ok(Some(at)) = newest
        && at > now_ms() + CLOCK_OFF_WARN.as_millis() as i64
    {
        findings.warn(
            "clock",
            format!("the last event is from {}, which is in the future", Timestamp::from_ms(at)),
            "The clock was set back. Synchronise it (NTP).",
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock is what is examined")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

fn clock(config: &Config, findings: &mut Findings) {
    let now = now_ms();
    if now < BORN_MS {
        return findings.fail("clock", format!("it is {} here", Timestamp::from_ms(now)), "Set the clock, and keep it (NTP).");
    }
    // The file's time is given by the kernel, or by the machine that has the disk.
    let path = config.data.join(format!(".doctor-clock-{}", std::process::id()));
    let written = std::fs::write(&path, b"").and_then(|()| std::fs::metadata(&path));
    let _ = std::fs::remove_file(&path);
    if let Ok(metadata) = written {
        let off = (metadata.mtime() * 1_000 + metadata.mtime_nsec() / 1_000_000 - now).unsigned_abs();
        if u128::from(off) > CLOCK_OFF_WARN.as_millis() {
            return findings.warn("clock", format!("the disk's clock differs by {:.1} s", off as f64 / 1_000.0), "Synchronise both machines (NTP).");
        }
    }
    findings.ok("clock", format!("{} in UTC", Timestamp::from_ms(now)));
}

/// The port, and the server behind it.
async fn server(config: &Config, findings: &mut Findings) {
    let address = config.listen;
    match TcpListener::bind(address) {
        Ok(_) => return findings.ok("server", format!("none is running; {address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
        Err(error) => {
            let mend = "Choose another with --listen 127.0.0.1:8081; ports below 1024 need a privilege.";
            return findings.fail("server", format!("{address} cannot be listened on: {error}"), mend);
        }
    }
    let local = SocketAddr::new(if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() }, address.port());
    match ask(&format!("http://{local}"), "/readyz").await {
        Ok((200, body)) if body.contains("ready") => findings.ok("server", format!("it runs at {local} and is ready")),
        Ok((503, body)) => {
            let problem: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("it does not say why").to_owned();
            findings.fail("server", format!("it runs at {local} and is not ready: {detail}"), "Look at its log, and at the findings above.");
        }
        Ok((status, _)) => {
            let mend = format!("Find out which (ss -ltnp 'sport = :{}'), or choose another port with --listen.", local.port());
            findings.fail("server", format!("another program answers at {local} (with {status})"), mend);
        }
        Err(error) => {
            let mend = format!("Find out which (ss -ltnp 'sport = :{}'), or choose another port with --listen.", local.port());
            findings.fail("server", format!("another program has {local}: {}", error.what), mend);
        }
    }
    let public = config.public_url();
    if public != format!("http://{local}") && !public.contains("//127.0.0.1") && !public.contains("//localhost") {
        match ask(&public, "/readyz").await {
            Ok((200, _)) => findings.ok("public address", format!("{public} leads here")),
            Ok((status, _)) => findings.warn("public address", format!("{public} answers {status}"), "Look at the proxy: does it pass everything on?"),
            Err(error) => findings.warn("public address", error.what, "Look at DNS, the proxy and its certificate. It may still work from outside."),
        }
    }
}

async fn ask(url: &str, path: &str) -> Result<(u16, String)> {
    let asked = async {
        let response = client::Client::new(url, None)?.send(Method::GET, path, None, client::empty()).await?;
        let status = response.status().as_u16();
        Ok((status, String::from_utf8_lossy(&client::read(response, 64 * 1024).await?).into_owned()))
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap_or_else(|_| Err(Failure::new("no answer within 5 s")))
}
