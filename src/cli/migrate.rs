use super::{
    Failure, Result,
    progress::{self, Progress, count, grouped},
    serve,
};
use crate::{
    config::{Config, DataFlags},
    engine::MIGRATIONS,
};
use futures_util::future::BoxFuture;
use goodword_store::{Options, Row, Store, TableInfo, Tx, Value};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// Bring the database up to date, or move the installation to another one
///
/// A server does the first by itself when it starts. With --to, everything is copied into an empty
/// database, SQLite or PostgreSQL, and compared row by row afterwards. The server must be stopped
/// meanwhile; the old database stays as it is.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// The new database: postgres://user:password@host/database or sqlite:/path/to/file.db; better
    /// given by the environment, which other users cannot see
    #[arg(long, value_name = "URL", env = "GOODWORD_MIGRATE_TO", hide_env_values = true)]
    to: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: DataFlags,
}

/// Rows that are copied, or compared, at a time.
const PAGE: usize = 2_000;
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct Compared {
    table: String,
    rows: u64,
    rows_there: u64,
    hash: String,
    hash_there: String,
    equal: bool,
}

impl Migrate {
    pub fn run(self) -> Result {
        let config = Config::load(&self.settings.0)?;
        let _log = super::log::start(&config)?;
        super::block_on(self.migrate(config))
    }

    async fn migrate(self, config: Config) -> Result {
        match self.to.clone().filter(|url| !url.is_empty()) {
            Some(url) => self.transfer(&config, url).await,
            None => self.update(&config).await,
        }
    }

    /// Applies the migrations that the database lacks.
    async fn update(&self, config: &Config) -> Result {
        let options = Options::new(serve::database_url(config), MIGRATIONS);
        let pending = Store::pending_migrations(&options).await?;
        if !self.dry_run {
            serve::open_store(config).await?.close().await?;
        }
        let named: Vec<_> = MIGRATIONS.iter().filter(|migration| pending.contains(&migration.number)).collect();
        if self.json {
            let list: Vec<_> = named.iter().map(|migration| serde_json::json!({"number": migration.number, "name": migration.name})).collect();
            println!("{}", serde_json::json!({"migrations": list, "applied": !self.dry_run}));
            return Ok(());
        }
        if named.is_empty() {
            println!("The database is up to date.");
        }
        for migration in named {
            println!("{} {} {}", if self.dry_run { "pending" } else { "applied" }, migration.number, migration.name);
        }
        Ok(())
    }

    /// Moves the whole installation.
    async fn transfer(&self, config: &Config, url: String) -> Result {
        let own = serve::database_url(config);
        if own == url {
            return Err(Failure::new("the new database is the old one"));
        }
        let there_options = Options::new(url, MIGRATIONS);
        let missing = Store::pending_migrations(&there_options).await.map_err(new_database)?;
        let mut progress = Progress::new();
        let here = if self.dry_run { serve::open_read_only(config).await? } else { serve::open_store(config).await? };
        let tables = here.tables().await?;
        if self.dry_run {
            let mut rows = Vec::new();
            for table in &tables {
                rows.push((table.name.clone(), rows_of(&here, table).await?));
            }
            here.close().await?;
            return self.tell_dry_run(&rows, missing.len() == MIGRATIONS.len());
        }
        read_to_the_end(&here, config).await?;
        let there = Store::open(there_options).await.map_err(new_database)?;
        let moved = move_all(&here, &there, &tables, &mut progress).await;
        here.close().await?;
        there.close().await?;
        let compared = moved?;
        progress.clear();
        self.tell(&compared, &progress)
    }

    fn tell_dry_run(&self, rows: &[(String, u64)], fresh: bool) -> Result {
        if self.json {
            let tables: Vec<_> = rows.iter().map(|(table, rows)| serde_json::json!({"table": table, "rows": rows})).collect();
            println!("{}", serde_json::json!({"tables": tables, "fresh": fresh, "moved": false}));
            return Ok(());
        }
        for (table, rows) in rows {
            println!("{table:<24} {:>14}", grouped(*rows));
        }
        let sum = rows.iter().map(|(_, rows)| rows).sum();
        println!("{} would be copied.", count(sum, "row"));
        if !fresh {
            println!("The new database has tables of Goodword already; they must be empty.");
        }
        Ok(())
    }

    fn tell(&self, compared: &[Compared], progress: &Progress) -> Result {
        let equal = compared.iter().all(|table| table.equal);
        if self.json {
            println!("{}", serde_json::json!({"tables": compared, "equal": equal, "moved": true, "seconds": progress.elapsed().as_secs_f64()}));
        } else {
            println!("{:<24} {:>14}  {:<16} {:<16}", "table", "rows", "hash here", "hash there");
            for table in compared {
                let verdict = if table.equal { "equal".to_owned() } else { format!("DIFFERENT: {} there", count(table.rows_there, "row")) };
                println!("{:<24} {:>14}  {:<16} {:<16} {verdict}", table.table, grouped(table.rows), short(&table.hash), short(&table.hash_there));
            }
        }
        if !equal {
            return Err(Failure::new("the two databases differ").hint("Is a server still writing to the old one? Empty the new one and try again."));
        }
        if !self.json {
            let rows = compared.iter().map(|table| table.rows).sum();
            println!("{} moved in {}, and equal on both sides.", count(rows, "row"), progress::duration(progress.elapsed()));
            println!("Set database_url to the new database and start the server. Cursors of the events feed that programs kept begin anew.");
        }
        Ok(())
    }
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn new_database(error: goodword_store::Error) -> Failure {
    Failure::new(format!("the new database: {error}"))
}

/// Everybody who follows what happens has followed it to the end: transaction numbers, by which they know
/// their place, begin anew in another database.
async fn read_to_the_end(store: &Store, config: &Config) -> Result {
    let (engine, visits) = serve::open_engine(store, config).await?;
    let begun = Instant::now();
    let late = loop {
        engine.catch_up_statistics().await?;
        match behind(store).await? {
            None => break None,
            // PostgreSQL shows the last events when all transactions that were open before them have ended.
            Some(_) if begun.elapsed() < SETTLED_WITHIN => tokio::time::sleep(Duration::from_millis(200)).await,
            late => break late,
        }
    };
    drop(engine);
    let _ = visits.await;
    match late {
        None => Ok(()),
        Some((name, left)) => Err(Failure::new(format!("{name} has not caught up: {} left", count(left, "row")))
            .hint("Start the server until it has, stop it, and try again. A transaction that stays open in the same cluster delays it, too.")),
    }
}

/// A consumer who has not read everything, and how much is left.
async fn behind(store: &Store) -> Result<Option<(String, u64)>> {
    type Consumer = (String, i64, i64);
    let sql = "SELECT name, txid, seq FROM consumers ORDER BY name";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let consumers: Vec<Consumer> = ask(store, move |tx| Box::pin(async move { tx.fetch(sql, &[], read).await })).await?;
    for (name, txid, seq) in consumers {
        let sql = format!("SELECT count(*) FROM {} WHERE ({{postgres:txid,}} seq) > ({{postgres:$1,}} $2)", source_of(&name));
        let left = number(store, sql, vec![txid, seq]).await?;
        if left > 0 {
            return Ok(Some((name, left as u64)));
        }
    }
    Ok(None)
}

async fn ask<T: Send + 'static>(
    store: &Store,
    question: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, goodword_store::Result<T>> + Send + 'static,
) -> Result<T> {
    Ok(store.read(question).await?)
}

/// The one number that a query gives.
async fn number(store: &Store, sql: String, args: Vec<i64>) -> Result<i64> {
    let n: Option<i64> = ask(store, move |tx| {
        Box::pin(async move {
            let args: Vec<_> = args.into_iter().map(Into::into).collect();
            tx.fetch_one(&sql, &args, |row| row.get(0)).await
        })
    })
    .await?;
    Ok(n.unwrap_or_default())
}

/// What a consumer reads.
fn source_of(consumer: &str) -> &'static str {
    if consumer.ends_with(".visits") { "visits" } else { "events" }
}

async fn rows_of(store: &Store, table: &TableInfo) -> Result<u64> {
    Ok(number(store, format!("SELECT count(*) FROM \"{}\"", table.name), Vec::new()).await? as u64)
}

/// Copies table by table, then compares both sides.
async fn move_all(here: &Store, there: &Store, tables: &[TableInfo], progress: &mut Progress) -> Result<Vec<Compared>> {
    let mut names: Vec<_> = tables.iter().map(|table| (&table.name, &table.columns)).collect();
    let there_tables = there.tables().await?;
    let mut names_there: Vec<_> = there_tables.iter().map(|table| (&table.name, &table.columns)).collect();
    names.sort_by_key(|(name, _)| *name);
    names_there.sort_by_key(|(name, _)| *name);
    if names != names_there {
        return Err(Failure::new("the new database has other tables than ours").hint("Give an empty database."));
    }
    for table in &there_tables {
        if !there.scan(table, None, 1).await?.is_empty() {
            return Err(
                Failure::new(format!("the new database is not empty: there are rows in {}", table.name)).hint("Give an empty database; nothing was changed.")
            );
        }
    }
    let mut copied = 0;
    for table in tables {
        let mut scan = Scan::new(here, table);
        while let Some(rows) = scan.next().await? {
            copied += rows.len() as u64;
            there.load(table, rows).await.map_err(new_database)?;
            progress.show(|| format!("copying {}: {} in all", table.name, count(copied, "row")));
        }
    }
    there.reset_identities().await?;
    let mut compared = Vec::new();
    for table in tables {
        progress.show(|| format!("comparing {}", table.name));
        let ((rows, hash), (rows_there, hash_there)) = tokio::try_join!(hash(here, table), hash(there, table))?;
        compared.push(Compared { table: table.name.clone(), rows, rows_there, equal: rows == rows_there && hash == hash_there, hash, hash_there });
    }
    Ok(compared)
}

/// The rows of a table, page by page, as they are in a new database: with transaction numbers that begin
/// anew, and readers whose place is the end.
struct Scan<'s> {
    store: &'s Store,
    table: &'s TableInfo,
    after: Option<Vec<Value>>,
    done: bool,
}

impl<'s> Scan<'s> {
    fn new(store: &'s Store, table: &'s TableInfo) -> Self {
        Self { store, table, after: None, done: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        if self.done {
            return Ok(None);
        }
        let mut rows = self.store.scan(self.table, self.after.take(), PAGE).await?;
        self.done = rows.len() < PAGE;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = Some(self.table.key_of(last));
        let place = |name: &str| self.table.columns.iter().position(|(column, _)| column == name);
        if let Some(txid) = place("txid") {
            rows.iter_mut().for_each(|row| row[txid] = Value::Int(0));
        }
        if self.table.name == "consumers"
            && let (Some(name), Some(seq)) = (place("name"), place("seq"))
        {
            for row in &mut rows {
                let source = if let Value::Text(name) = &row[name] { source_of(name) } else { "events" };
                row[seq] = Value::Int(self.end_of(source).await?);
            }
        }
        Ok(Some(rows))
    }

    async fn end_of(&self, source: &'static str) -> Result<i64> {
        number(self.store, format!("SELECT coalesce(max(seq), 0) FROM {source}"), Vec::new()).await
    }
}

/// The number of rows of a table, and a hash over all of them in the order of its key.
async fn hash(store: &Store, table: &TableInfo) -> Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut count = 0;
    let mut scan = Scan::new(store, table);
    while let Some(rows) = scan.next().await? {
        count += rows.len() as u64;
        for value in rows.iter().flatten() {
            feed(&mut digest, value);
        }
    }
    Ok((count, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Kind, length and content, so that no two rows of different values are the same bytes.
fn feed(digest: &mut Sha256, value: &Value) {
    let mut put = |kind: u8, bytes: &[u8]| {
        digest.update([kind]);
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    match value {
        Value::Null => put(0, &[]),
        Value::Bool(value) => put(1, &[u8::from(*value)]),
        Value::Int(value) => put(2, &value.to_le_bytes()),
        Value::Real(value) => put(3, &value.to_bits().to_le_bytes()),
        Value::Text(value) => put(4, value.as_bytes()),
        Value::Bytes(value) => put(5, value),
        Value::Id(value) => put(6, value.as_bytes()),
        // No column holds a list.
        Value::Ints(values) => put(7, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()),
        Value::Ids(values) => put(8, &values.iter().flat_map(|value| *value.as_bytes()).collect::<Vec<_>>()),
    }
}
