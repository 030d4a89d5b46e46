#![doc = include_str!("../README.md")]

mod checkpoint;
mod dialect;
mod error;
mod group;
mod postgres;
mod sqlite;
mod stats;
mod tables;
mod tls;
mod value;

pub use dialect::Engine;
pub use error::{Error, Result};
pub use stats::StoreStats;
pub use tables::TableInfo;
pub use value::{Arg, FromColumn, Row, Type, Value};

use futures_util::future::BoxFuture;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;
use uuid::Uuid;

/// A change of state: a plain value holding its ids and its clock, so it can be applied again.
///
/// It *is* applied again when a row it wanted was locked, changed or inserted by another at the same time,
/// and when it shared a group commit with a command that failed half-way. Only the last time counts.
pub trait Command: Send + Sync + 'static {
    type Output: Send + 'static;
    /// Whatever the error, nothing of the command is kept.
    type Error: From<Error> + Send + 'static;
    /// Takes a few milliseconds at most, so on PostgreSQL too it may share a transaction with others that wait.
    const MAY_SHARE: bool = false;

    /// Awaits `tx` and nothing else. Locks the rows it decides upon (`FOR UPDATE`) before it reads further.
    /// An error of `tx` fails the command even if it is swallowed: PostgreSQL has given the transaction up.
    fn apply(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Told at once when it is durable, also when the caller has gone away meanwhile. Must be quick: on SQLite
    /// everybody waits for it.
    fn committed(&self, _output: &mut Self::Output) {}
}

/// An open transaction.
pub struct Tx<'a>(Inner<'a>);

enum Inner<'a> {
    Sqlite(sqlite::Tx<'a>),
    Postgres(&'a mut postgres::Tx),
}

impl Tx<'_> {
    /// Runs a statement; returns the number of rows changed.
    pub async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.execute(sql, args),
            Inner::Postgres(tx) => tx.execute(sql, args).await,
        }
    }

    /// Runs a statement whose result nobody waits for. PostgreSQL gets it together with the next statement
    /// that is awaited, or with COMMIT; if it fails, so does that statement or the command.
    pub async fn push(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<()> {
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.execute(sql, args).map(drop),
            Inner::Postgres(tx) => tx.push(sql, args).await,
        }
    }

    /// Tells that a question will be asked soon: PostgreSQL is asked together with the next statement that is
    /// awaited, and [`Tx::fetch`] of the same words and arguments finds the answer there, unless something
    /// was written since. So two questions that do not need each other's answer take one round trip.
    pub async fn ahead(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<()> {
        match &mut self.0 {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(tx) => tx.ahead(sql, args).await,
        }
    }

    /// Pushes rows into a table, in their order, several with one statement on PostgreSQL: there a statement
    /// costs more than a row. `end` is what follows the values, such as ON CONFLICT.
    pub async fn push_rows<const N: usize>(&mut self, insert: &'static str, rows: &[[Arg<'_>; N]], end: &'static str) -> Result<()> {
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.execute_each(&values(insert, 1, N, end), rows),
            Inner::Postgres(tx) => {
                for rows in rows.chunks(PUSHED_MAX) {
                    tx.push(&values(insert, rows.len(), N, end), rows.as_flattened()).await?;
                }
                Ok(())
            }
        }
    }

    /// Runs a query (or a statement with RETURNING) and reads each row. Statements are cached by their
    /// text, so a text that is built must have few forms: values belong into `args`.
    pub async fn fetch<T>(&mut self, sql: &str, args: &[Arg<'_>], read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.fetch(sql, args, usize::MAX, read),
            Inner::Postgres(tx) => tx.fetch(sql, args).await?.iter().map(|row| read(&Row::Postgres(row))).collect(),
        }
    }

    /// Runs a query and reads its first row, if there is one.
    pub async fn fetch_one<T>(&mut self, sql: &str, args: &[Arg<'_>], read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.fetch(sql, args, 1, read).map(|rows| rows.into_iter().next()),
            Inner::Postgres(tx) => tx.fetch(sql, args).await?.first().map(|row| read(&Row::Postgres(row))).transpose(),
        }
    }

    /// Inserts many rows, skipping each that violates a unique key (also one set by an earlier row of the
    /// same call). Returns column `key`, a UUID, of the rows that were inserted, in their order.
    pub async fn insert_new(&mut self, table: &'static str, columns: &'static [(&'static str, Type)], key: usize, rows: &[Vec<Arg<'_>>]) -> Result<Vec<Uuid>> {
        if key >= columns.len() || rows.iter().any(|row| row.len() != columns.len()) {
            return Err(Error::Database(format!("insert_new into {table}: rows and columns differ in number")));
        }
        match &mut self.0 {
            Inner::Sqlite(tx) => tx.insert_new(table, columns, key, rows),
            Inner::Postgres(tx) => tx.insert_new(table, columns, key, rows).await,
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.0, Inner::Sqlite(_))
    }

    fn engine(&self) -> Engine {
        if self.is_sqlite() { Engine::Sqlite } else { Engine::Postgres }
    }
}

/// Rows of one pushed statement at most: as many forms of it may be kept prepared.
const PUSHED_MAX: usize = 16;

/// `insert` with its VALUES, `rows` times `width` arguments, and `end`.
fn values(insert: &str, rows: usize, width: usize, end: &str) -> String {
    let mut sql = String::with_capacity(insert.len() + end.len() + 10 + rows * width * 6);
    sql.push_str(insert);
    sql.push_str(" VALUES ");
    for n in 1..=rows * width {
        let before = match (n % width, n) {
            (1, 1) => "($",
            (1, _) => "), ($",
            _ => ", $",
        };
        let _ = write!(sql, "{before}{n}");
    }
    sql.push_str(") ");
    sql.push_str(end);
    sql
}

/// One step in the life of the schema. Numbers rise; a number that was released is never changed again.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub number: u32,
    pub name: &'static str,
    /// Statements for both engines, without BEGIN and COMMIT: each migration is a transaction.
    pub sql: &'static str,
}

/// How to open a store. Without `Debug`, for the URL may hold a password.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:/path/to/file.db`, or `postgres://user:password@host/database` with libpq's parameters.
    pub url: String,
    /// Connections to PostgreSQL at most. SQLite always has one writer and four readers.
    pub pool_size: usize,
    pub migrations: &'static [Migration],
    /// Opens without the lock and without migrating, next to a running server: for backup, export, doctor.
    pub read_only: bool,
    /// Opens to write without the lock and without migrating, next to a running server, whose writes wait for ours
    /// as for those of the `sqlite3` shell: for an operator's few small changes.
    pub beside: bool,
    /// Where this process is reached, for whoever finds the SQLite file in use: see [`Store::address_in_use`].
    pub address: Option<String>,
}

impl Options {
    pub fn new(url: impl Into<String>, migrations: &'static [Migration]) -> Self {
        Options { url: url.into(), migrations, ..Options::default() }
    }

    /// The path of the SQLite file, or `None` for PostgreSQL.
    fn sqlite_path(&self) -> Result<Option<&Path>> {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(Error::Database("sqlite: lacks the path of a file".into())) } else { Ok(Some(Path::new(path))) };
        }
        if self.url.starts_with("postgres://") || self.url.starts_with("postgresql://") {
            return Ok(None);
        }
        Err(Error::Database("a database URL begins with sqlite: or postgres://".into()))
    }
}

impl Default for Options {
    fn default() -> Self {
        Options { url: "sqlite:goodword.db".into(), pool_size: 32, migrations: &[], read_only: false, beside: false, address: None }
    }
}

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store(Database);

#[derive(Clone)]
enum Database {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Store {
    /// Opens the database and applies the migrations it lacks. Refuses a SQLite file which another process
    /// uses, and a database which a newer release has migrated.
    pub async fn open(options: Options) -> Result<Store> {
        Ok(Store(match options.sqlite_path()? {
            Some(path) => {
                let path = path.to_owned();
                Database::Sqlite(blocking(move || sqlite::Sqlite::open(&path, &options)).await?)
            }
            None => Database::Postgres(postgres::Postgres::open(&options).await?),
        }))
    }

    /// Numbers of the migrations which [`Store::open`] would apply. Changes nothing.
    pub async fn pending_migrations(options: &Options) -> Result<Vec<u32>> {
        let applied = match options.sqlite_path()? {
            Some(path) => {
                let path = path.to_owned();
                blocking(move || sqlite::applied_migrations(&path)).await?
            }
            None => postgres::applied_migrations(options).await?,
        };
        Ok(pending(options.migrations, &applied)?.into_iter().map(|migration| migration.number).collect())
    }

    /// Where the process is reached that uses the SQLite file; `None` where it is not known to be reached at all.
    pub fn address_in_use(options: &Options) -> Option<String> {
        sqlite::address_in_use(options.sqlite_path().ok()??)
    }

    /// Applies `command` in a transaction of its own; durable when it returns `Ok`.
    pub async fn write<C: Command>(&self, command: C) -> Result<C::Output, C::Error> {
        match &self.0 {
            Database::Sqlite(db) => db.write(command).await,
            Database::Postgres(db) => db.write(command).await,
        }
    }

    /// Reads within one snapshot: `store.read(|tx| Box::pin(async move { leads::get(tx, id).await }))`.
    pub async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        match &self.0 {
            Database::Sqlite(db) => db.read(read).await,
            Database::Postgres(db) => db.read(read).await,
        }
    }

    pub fn engine(&self) -> Engine {
        match &self.0 {
            Database::Sqlite(_) => Engine::Sqlite,
            Database::Postgres(_) => Engine::Postgres,
        }
    }

    /// Is the database there, and does it take commands? A full round trip, the writer's queue included.
    pub async fn ping(&self) -> Result<()> {
        struct Ping;
        impl Command for Ping {
            type Output = ();
            type Error = Error;
            async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
                tx.fetch_one("SELECT 1", &[], |_| Ok(())).await.map(drop)
            }
        }
        match &self.0 {
            Database::Sqlite(db) if db.is_read_only() => self.read(|tx| Box::pin(async move { Ping.apply(tx).await })).await,
            _ => self.write(Ping).await,
        }
    }

    /// Copies a SQLite database, as it is at this moment, into the new file `to`; writers go on meanwhile.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        match &self.0 {
            Database::Sqlite(db) => db.backup(to).await,
            Database::Postgres(_) => Err(Error::Database("back PostgreSQL up with its own tools: pg_dump --format=custom, or pg_basebackup".into())),
        }
    }

    /// Counters since the store was opened.
    pub fn stats(&self) -> StoreStats {
        match &self.0 {
            Database::Sqlite(db) => db.stats(),
            Database::Postgres(db) => db.stats(),
        }
    }

    /// Finishes what is queued, then closes the database and releases its lock. Clones answer
    /// [`Error::Unavailable`] from then on.
    pub async fn close(self) -> Result<()> {
        match &self.0 {
            Database::Sqlite(db) => db.close().await,
            Database::Postgres(db) => db.close().await,
        }
    }
}

/// The migrations which are not among `applied`, in their order.
fn pending(migrations: &'static [Migration], applied: &[u32]) -> Result<Vec<&'static Migration>> {
    let newest = migrations.iter().map(|migration| migration.number).max().unwrap_or(0);
    if let Some(unknown) = applied.iter().find(|&&number| number > newest) {
        return Err(Error::Database(format!(
            "the database is at migration {unknown} and this program knows none after {newest}: \
             it was migrated by a newer release; run that one, or restore a backup"
        )));
    }
    let mut missing: Vec<_> = migrations.iter().filter(|migration| !applied.contains(&migration.number)).collect();
    missing.sort_by_key(|migration| migration.number);
    Ok(missing)
}

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (number bigint PRIMARY KEY, name text NOT NULL)";
const MIGRATIONS_INSERT: &str = "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)";

/// Threads of the store's own, as many as SQLite has readers. Of the runtime's there may be hundreds, each of which
/// keeps some of the memory that it has ever used; and the resolving of names may take them all.
static THREADS: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let threads = tokio::runtime::Builder::new_current_thread().thread_name("store").max_blocking_threads(sqlite::READERS).build();
    threads.expect("a runtime without drivers needs nothing that could fail")
});

/// Runs `work` where it may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    THREADS.spawn_blocking(work).await.unwrap_or(Err(Error::Panicked))
}
