//! PostgreSQL: a pool of connections. Short commands share transactions (`group.rs`), each other has its own.
//!
//! Isolation is READ COMMITTED. Commands lock the rows they decide upon first (FOR UPDATE) and read after
//! that, so they see what the winner of the lock has committed. REPEATABLE READ would fail the waiters of a
//! hot row with 40001 instead of letting them go on; SERIALIZABLE fell to a tenth (measured: 605 of 8800
//! commands per second).
//!
//! BEGIN rides in front of the first statement, and what was pushed in front of the next one or of COMMIT.
//! A command of three writes, one of which is awaited, thus takes two round trips in place of five:
//! 15,000 commands a second, where pgbench does 11,400 of the same statements at its best (32 clients,
//! two cores for all).
use crate::dialect::{self, Engine};
use crate::group::Queue;
use crate::stats::{Counters, StoreStats};
use crate::{Arg, Command, Error, Inner, MIGRATIONS_INSERT, MIGRATIONS_TABLE, Options, Result, Type, Value, pending, tls};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::{BoxFuture, FutureExt, maybe_done};
use futures_util::{TryStreamExt, poll};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

/// How often a command is applied again after a serialization failure or a deadlock.
const REAPPLY_MAX: u32 = 20;
/// How often after its connection was lost before COMMIT was sent.
const RECONNECT_MAX: u32 = 2;
/// A caller waits this long for a connection, a new or a free one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// One statement may take this long, waiting for locks included.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;
/// A node which stops in the middle of a transaction (suspended, partitioned) keeps its locks this long.
const IDLE_TIMEOUT_MS: u32 = 60_000;
/// Rows in one INSERT or COPY at most: some MiB, far below the protocol's 1 GiB.
const ROWS_MAX: usize = 10_000;
/// How often is looked whether tables have outgrown their statistics.
const GROWTH: Duration = Duration::from_secs(2);
/// The advisory lock under which nodes migrate: "goodword" in ASCII.
const MIGRATION_LOCK: i64 = 0x676f_6f64_776f_7264;

pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

type Params<'a> = Vec<&'a (dyn ToSql + Sync)>;
type Row = tokio_postgres::Row;

#[derive(Clone)]
pub(crate) struct Postgres {
    pool: Pool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) queue: Arc<Queue>,
}

impl Postgres {
    pub async fn open(options: &Options) -> Result<Self> {
        let db = Self::connect(options, options.pool_size.max(1))?;
        if options.read_only {
            pending(options.migrations, &db.applied().await?)?;
        } else {
            db.migrate(options).await?;
            tokio::spawn(keep_statistics(db.pool.clone(), Arc::downgrade(&db.queue)));
        }
        Ok(db)
    }

    fn connect(options: &Options, size: usize) -> Result<Self> {
        let (mut config, tls) = tls::config(&options.url)?;
        if config.get_application_name().is_none() {
            config.application_name("goodword");
        }
        config.connect_timeout(CONNECTION_TIMEOUT);
        let ours = format!(
            "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={STATEMENT_TIMEOUT_MS} \
             -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
        );
        let all = config.get_options().map_or(ours.clone(), |theirs| format!("{ours} {theirs}"));
        config.options(all);
        // Fast: a connection that is known to be closed is not handed out; no query is spent on the others.
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let wait = Some(CONNECTION_TIMEOUT);
        let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).timeouts(Timeouts { wait, create: wait, recycle: wait }).build();
        let pool = pool.map_err(|e| Error::Database(e.to_string()))?;
        Ok(Self { pool, counters: Arc::default(), queue: Arc::default() })
    }

    pub(crate) async fn connection(&self) -> Result<Object> {
        self.pool.get().await.map_err(|e| match e {
            PoolError::Closed => Error::closed(),
            PoolError::Timeout(_) => Error::Unavailable(format!("no connection within {} s", CONNECTION_TIMEOUT.as_secs())),
            PoolError::Backend(e) => match classify(&e).error {
                Error::Database(text) => Error::Unavailable(text),
                other => other,
            },
            other => Error::Unavailable(other.to_string()),
        })
    }

    /// Applies `command` in a transaction of its own, again if need be, each time as the same value in a new one.
    pub async fn write_alone<C: Command>(&self, command: &C) -> Result<C::Output, C::Error> {
        let mut lost_race = None;
        for attempt in 0.. {
            let mut tx = Tx::new(self.connection().await?, BEGIN);
            let begun = Instant::now();
            let applied = AssertUnwindSafe(command.apply(&mut crate::Tx(Inner::Postgres(&mut tx)))).catch_unwind().await;
            self.counters.applied(std::any::type_name::<C>(), begun);
            let outcome = match applied {
                Ok(Ok(mut output)) => match tx.commit().await {
                    Committed::Yes => {
                        command.committed(&mut output);
                        Ok(output)
                    }
                    Committed::Unknown(e) => {
                        self.counters.answered(1, false);
                        return Err(e.into());
                    }
                    Committed::No => Err(tx.check().err().unwrap_or_else(Error::closed).into()),
                },
                Ok(Err(e)) => Err(e),
                Err(_) => Err(Error::Panicked.into()),
            };
            let failure = tx.end();
            let again = match failure {
                Some(Failure { cure: Cure::Reapply, .. }) => attempt < REAPPLY_MAX,
                Some(Failure { cure: Cure::Reconnect, .. }) => attempt < RECONNECT_MAX,
                // Another command has inserted the row first. Applied again, this one will read it. If it meets
                // the same conflict once more, that is what it had to tell.
                Some(Failure { error, cure: Cure::ReadWinner }) => lost_race.replace(error.clone()) != Some(error) && attempt < REAPPLY_MAX,
                _ => false,
            };
            if again && outcome.is_err() {
                Counters::add(&self.counters.retries, 1);
                back_off(attempt).await;
                continue;
            }
            self.counters.answered(1, outcome.is_ok());
            return outcome;
        }
        unreachable!("every attempt returns or is followed by another")
    }

    pub async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        E: From<Error>,
        F: for<'t> FnOnce(&'t mut crate::Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    {
        let mut tx = Tx::new(self.connection().await?, BEGIN_READ);
        let outcome = AssertUnwindSafe(async { read(&mut crate::Tx(Inner::Postgres(&mut tx))).await }).catch_unwind().await;
        match (outcome, tx.end()) {
            (Err(_), _) => Err(Error::Panicked.into()),
            (Ok(Ok(_)), Some(swallowed)) => Err(swallowed.error.into()),
            (Ok(outcome), _) => outcome,
        }
    }

    pub fn stats(&self) -> StoreStats {
        self.counters.read(self.pool.status().waiting + self.queue.len())
    }

    pub async fn close(&self) -> Result<()> {
        // Whoever holds a connection finishes with it; those who wait for one are refused.
        self.pool.close();
        Ok(())
    }

    async fn applied(&self) -> Result<Vec<u32>> {
        let conn = self.connection().await?;
        let exists = conn.query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[]).await.map_err(database)?;
        if !exists.try_get::<_, bool>(0).map_err(database)? {
            return Ok(Vec::new());
        }
        let rows = conn.query("SELECT number FROM schema_migrations", &[]).await.map_err(database)?;
        rows.iter().map(|row| row.try_get::<_, i64>(0).map_err(database).map(|number| number as u32)).collect()
    }

    /// Many nodes may start at once: each migration takes the lock, looks whether it is still missing, and
    /// only then is applied.
    async fn migrate(&self, options: &Options) -> Result<()> {
        for migration in pending(options.migrations, &self.applied().await?)? {
            let mut conn = self.connection().await?;
            let named = |e| match database(e) {
                Error::Database(text) => Error::Database(format!("migration {} ({}): {text}", migration.number, migration.name)),
                other => other,
            };
            let tx = conn.transaction().await.map_err(database)?;
            tx.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await.map_err(database)?;
            tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(database)?;
            tx.batch_execute(MIGRATIONS_TABLE).await.map_err(database)?;
            let number = i64::from(migration.number);
            if tx.query_opt("SELECT 1 FROM schema_migrations WHERE number = $1", &[&number]).await.map_err(database)?.is_some() {
                continue; // Another node was first.
            }
            tracing::info!(number, name = migration.name, "migrating");
            tx.batch_execute(&dialect::rewrite(Engine::Postgres, migration.sql)).await.map_err(named)?;
            tx.execute(MIGRATIONS_INSERT, &[&number, &migration.name]).await.map_err(named)?;
            tx.commit().await.map_err(named)?;
        }
        Ok(())
    }
}

/// Lets PostgreSQL count what has grown. A statement that was prepared while its table was small reads all of it,
/// and goes on to until autovacuum has looked, a minute later at best: 13 ms in place of one for the events of a
/// batch of deliveries, after some seconds of a burst.
async fn keep_statistics(pool: Pool, alive: Weak<Queue>) {
    // Pages, when we last let it count. Where we may not, it is not tried each time.
    let mut counted: HashMap<String, i64> = HashMap::new();
    while alive.strong_count() > 0 && !pool.is_closed() {
        tokio::time::sleep(GROWTH).await;
        if let Err(e) = count_what_has_grown(&pool, &mut counted).await {
            tracing::debug!("statistics of tables: {e}");
        }
    }
}

async fn count_what_has_grown(pool: &Pool, counted: &mut HashMap<String, i64>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    const GROWN: &str = "SELECT quote_ident(relname), pages FROM (
            SELECT relname, relpages, pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
            FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
        ) AS tables WHERE pages > 4 * relpages + 50";
    let conn = pool.get().await?;
    let grown = conn.prepare_cached(GROWN).await?;
    for row in conn.query(&grown, &[]).await? {
        let (table, pages): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        if pages > counted.get(&table).map_or(0, |before| 4 * before) {
            // A rough look: autovacuum's is the thorough one.
            conn.batch_execute(&format!("SET LOCAL default_statistics_target = 10; ANALYZE (SKIP_LOCKED) {table}")).await?;
            counted.insert(table, pages);
        }
    }
    Ok(())
}

/// Numbers of the migrations in the database.
pub(crate) async fn applied_migrations(options: &Options) -> Result<Vec<u32>> {
    Postgres::connect(options, 1)?.applied().await
}

/// A transaction, begun with its first statement. Dropped before its end, it takes its connection along: a
/// caller who goes away in the middle must not leave an open transaction in the pool.
pub(crate) struct Tx {
    conn: Option<Object>,
    begin: &'static str,
    begun: bool,
    /// Whether the server may still have the transaction open.
    open: bool,
    pushed: Vec<Pushed>,
    /// What was asked ahead, and the answer.
    answers: Vec<Asked>,
    /// Where in `pushed` the current command's own begins.
    mark: usize,
    /// Whether the current command has sent anything but questions.
    wrote: bool,
    /// The first error. The server has given the transaction up, so every later statement meets it again.
    failure: Option<Failure>,
}

/// What came of a COMMIT.
pub(crate) enum Committed {
    Yes,
    No,
    /// The connection was lost before it was answered.
    Unknown(Error),
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    error: Error,
    cure: Cure,
}

/// What may help against a failure, nothing being committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cure {
    None,
    Reapply,
    ReadWinner,
    Reconnect,
}

/// A question, with its arguments and its answer.
type Asked = (String, Vec<Value>, Vec<Row>);

/// A statement that nobody waits for.
struct Pushed {
    statement: Statement,
    args: Vec<Value>,
    /// The text of a question whose answer is kept.
    asks: Option<String>,
}

/// A statement of a flight.
struct Request<'a> {
    statement: Statement,
    params: Params<'a>,
}

impl Tx {
    pub(crate) fn new(conn: Object, begin: &'static str) -> Self {
        Tx { conn: Some(conn), begin, begun: false, open: false, pushed: Vec::new(), answers: Vec::new(), mark: 0, wrote: false, failure: None }
    }

    pub async fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<u64> {
        Ok(self.run(sql, args.iter().map(|arg| arg as _).collect()).await?.1)
    }

    pub async fn fetch(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let is_it = |(asked, with, _): &Asked| asked == sql && with.len() == args.len() && with.iter().zip(args).all(|(with, arg)| *with == arg.to_value());
        if let Some(at) = self.answers.iter().position(is_it) {
            return Ok(self.answers.swap_remove(at).2);
        }
        Ok(self.run(sql, args.iter().map(|arg| arg as _).collect()).await?.0)
    }

    pub async fn push(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<()> {
        self.check()?;
        if self.begin == BEGIN_READ {
            return Err(Error::Database("a read does not write".into()));
        }
        self.forget_answers();
        let statement = self.prepare(sql).await?;
        self.pushed.push(Pushed { statement, args: args.iter().map(|arg| arg.to_value()).collect(), asks: None });
        Ok(())
    }

    pub async fn ahead(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<()> {
        self.check()?;
        let statement = self.prepare(sql).await?;
        self.pushed.push(Pushed { statement, args: args.iter().map(|arg| arg.to_value()).collect(), asks: Some(sql.to_owned()) });
        Ok(())
    }

    /// One INSERT … SELECT from the columns as arrays: one round trip, a statement that stays prepared, and
    /// none of the changes to the catalogue which a temporary table for COPY would cost each time.
    pub async fn insert_new(&mut self, table: &str, columns: &[(&str, Type)], key: usize, rows: &[Vec<Arg<'_>>]) -> Result<Vec<Uuid>> {
        let names: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let arrays: Vec<_> = columns.iter().enumerate().map(|(i, (_, ty))| format!("${}::{}[]", i + 1, ty.sql())).collect();
        let sql = format!(
            "INSERT INTO \"{table}\" ({}) SELECT * FROM unnest({}) \
             ON CONFLICT DO NOTHING RETURNING {}",
            names.join(", "),
            arrays.join(", "),
            names[key]
        );
        let mut inserted = Vec::new();
        for rows in rows.chunks(ROWS_MAX) {
            let arrays: Vec<Vec<Arg<'_>>> = (0..columns.len()).map(|i| rows.iter().map(|row| row[i]).collect()).collect();
            for row in self.run(&sql, arrays.iter().map(|array| array as _).collect()).await?.0 {
                inserted.push(crate::Row::Postgres(&row).get(0)?);
            }
        }
        Ok(inserted)
    }

    pub async fn load(&mut self, table: &str, columns: &[(String, Type)], rows: &[Vec<Value>]) -> Result<()> {
        if !self.begun {
            self.run("SELECT 1", Vec::new()).await?; // COPY cannot ride behind BEGIN.
        }
        self.check()?;
        let names: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let types: Vec<_> = columns.iter().map(|(_, ty)| ty.postgres()).collect();
        let conn = self.conn()?;
        let copied = async {
            let sink = conn.copy_in(&format!("COPY \"{table}\" ({}) FROM STDIN BINARY", names.join(", "))).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for row in rows {
                writer.as_mut().write(&row.iter().map(|value| value as _).collect::<Params<'_>>()).await?;
            }
            writer.finish().await
        };
        copied.await.map(drop).map_err(|e| self.fail(&e))
    }

    /// Sends BEGIN if it was not sent yet, what was pushed, and `sql`, all before waiting for any answer.
    async fn run(&mut self, sql: &str, params: Params<'_>) -> Result<(Vec<Row>, u64)> {
        self.check()?;
        let statement = self.prepare(sql).await?;
        let writes = !sql.trim_start().starts_with("SELECT");
        self.fly(Request { statement, params }, writes).await
    }

    /// COMMIT, sent together with what was pushed: the server answers a COMMIT that follows upon a failed
    /// statement with ROLLBACK and no error, so success is that everything in the flight succeeded.
    pub(crate) async fn commit(&mut self) -> Committed {
        if self.has_failed() {
            return Committed::No;
        }
        if !self.begun && self.pushed.is_empty() {
            return Committed::Yes;
        }
        let Ok(statement) = self.prepare("COMMIT").await else { return Committed::No };
        if self.conn().is_ok_and(|conn| conn.is_closed()) {
            self.lost();
            return Committed::No;
        }
        let committed = self.fly(Request { statement, params: Vec::new() }, true).await;
        match &self.failure {
            None if committed.is_ok() => {
                self.open = false;
                Committed::Yes
            }
            // COMMIT may have arrived. Only the caller can find out.
            Some(failure) if failure.cure == Cure::Reconnect => {
                Committed::Unknown(Error::Unavailable("the connection was lost during COMMIT: it is unknown whether the change was made".into()))
            }
            _ => Committed::No,
        }
    }

    /// Something is written, or another command begins: what was asked before, sent or not, is asked again.
    fn forget_answers(&mut self) {
        self.answers.clear();
        self.pushed.iter_mut().for_each(|pushed| pushed.asks = None);
    }

    /// Where a command begins within a group.
    pub(crate) fn next_command(&mut self) {
        self.mark = self.pushed.len();
        self.wrote = false;
        self.forget_answers();
    }

    /// Drops what the current command has pushed; false if some of it was sent.
    pub(crate) fn forget_command(&mut self) -> bool {
        self.pushed.truncate(self.mark);
        !self.wrote
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Ends the transaction, rolling back unless it was committed, and tells what went wrong in it.
    pub(crate) fn end(mut self) -> Option<Failure> {
        let lost = matches!(&self.failure, Some(Failure { cure: Cure::Reconnect, .. }));
        if self.open
            && !lost
            && let Some(conn) = &self.conn
        {
            // Polled once, it is sent; the answer interests nobody, and later statements queue up behind it.
            let _ = conn.batch_execute("ROLLBACK").now_or_never();
            self.open = false;
        }
        self.failure.take()
    }

    async fn fly(&mut self, last: Request<'_>, writes: bool) -> Result<(Vec<Row>, u64)> {
        let mut requests = Vec::with_capacity(self.pushed.len() + 2);
        if !self.begun {
            let statement = self.prepare(self.begin).await?;
            requests.push(Request { statement, params: Vec::new() });
        }
        self.wrote |= writes || self.pushed[self.mark..].iter().any(|pushed| pushed.asks.is_none());
        self.mark = 0;
        if writes {
            self.forget_answers();
        }
        let mut pushed = std::mem::take(&mut self.pushed);
        let first = requests.len();
        requests.extend(pushed.iter().map(|pushed| Request { statement: pushed.statement.clone(), params: pushed.args.iter().map(|arg| arg as _).collect() }));
        (self.begun, self.open) = (true, true);
        let conn = self.conn()?;
        let flown = async {
            let mut ahead: Vec<_> = requests.into_iter().map(|request| Box::pin(maybe_done(send(conn, request)))).collect();
            // The first poll sends, so this order is the order on the wire.
            for reply in &mut ahead {
                let _ = poll!(reply);
            }
            let mut last = pin!(maybe_done(send(conn, last)));
            let _ = poll!(&mut last);
            // Waiting in the same order keeps the connection flowing, and finds the first error: those of the
            // statements behind it say only that the transaction is aborted.
            let mut answers = Vec::new();
            for mut reply in ahead {
                reply.as_mut().await;
                answers.push(reply.as_mut().take_output().transpose()?);
            }
            last.as_mut().await;
            Ok((answers, last.take_output().unwrap_or_else(|| Ok(Default::default()))?))
        };
        let (answers, last) = match flown.await {
            Ok(flown) => flown,
            Err(e) => return Err(self.fail(&e)),
        };
        for (pushed, answer) in pushed.iter_mut().zip(answers.into_iter().skip(first)) {
            if let Some((sql, (rows, _))) = pushed.asks.take().zip(answer) {
                self.answers.push((sql, std::mem::take(&mut pushed.args), rows));
            }
        }
        Ok(last)
    }

    async fn prepare(&mut self, sql: &str) -> Result<Statement> {
        let sql = dialect::rewrite(Engine::Postgres, sql);
        self.conn()?.prepare_cached(&sql).await.map_err(|e| self.fail(&e))
    }

    fn conn(&self) -> Result<&Object> {
        self.conn.as_ref().ok_or_else(Error::closed)
    }

    fn check(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.error.clone()))
    }

    fn fail(&mut self, e: &tokio_postgres::Error) -> Error {
        self.failure.get_or_insert(classify(e)).error.clone()
    }

    fn lost(&mut self) {
        self.failure.get_or_insert(Failure { error: Error::Unavailable("the connection was lost".into()), cure: Cure::Reconnect });
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.open
            && let Some(conn) = self.conn.take()
        {
            drop(Object::take(conn));
        }
    }
}

async fn send(conn: &Client, request: Request<'_>) -> Result<(Vec<Row>, u64), tokio_postgres::Error> {
    let mut stream = pin!(conn.query_raw(&request.statement, request.params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok((rows, stream.rows_affected().unwrap_or(0)))
}

/// Our words for PostgreSQL's error, and what may help.
fn classify(e: &tokio_postgres::Error) -> Failure {
    let Some(db) = e.as_db_error() else {
        return if e.is_closed() || std::error::Error::source(e).is_some_and(|source| source.is::<std::io::Error>()) {
            Failure { error: Error::Unavailable(describe(e)), cure: Cure::Reconnect }
        } else {
            Failure { error: Error::Database(describe(e)), cure: Cure::None }
        };
    };
    let text = format!("{} ({})", db.message(), db.code().code());
    let (error, cure) = match db.code() {
        &SqlState::UNIQUE_VIOLATION => {
            let (table, constraint) = (db.table().unwrap_or_default().into(), db.constraint().unwrap_or_default().into());
            (Error::Conflict { table, constraint }, Cure::ReadWinner)
        }
        &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => (Error::Unavailable(text), Cure::Reapply),
        // "cached plan must not change result type": another node has migrated. A new connection plans anew.
        &SqlState::FEATURE_NOT_SUPPORTED if text.contains("cached plan") => (Error::Unavailable(text), Cure::Reconnect),
        &SqlState::DISK_FULL | &SqlState::READ_ONLY_SQL_TRANSACTION => (Error::Full(text), Cure::None),
        &SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE => (Error::Unavailable(text), Cure::None),
        code => match &code.code()[..2] {
            // The connection is gone: connection exceptions, and the server's shutdown or crash.
            "08" | "57" => (Error::Unavailable(text), Cure::Reconnect),
            // Out of connections, memory, locks.
            "53" => (Error::Unavailable(text), Cure::None),
            _ => (Error::Database(text), Cure::None),
        },
    };
    Failure { error, cure }
}

fn database(e: tokio_postgres::Error) -> Error {
    classify(&e).error
}

/// The error with its causes: tokio-postgres tells only the outermost.
fn describe(e: &tokio_postgres::Error) -> String {
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

/// Waits a random time of at most 1, 2, 4 … 64 ms, so that those who met once do not meet again.
async fn back_off(attempt: u32) {
    let range_us = 1000 << attempt.min(6);
    let random = RandomState::new().hash_one(Instant::now());
    tokio::time::sleep(Duration::from_micros(random % range_us)).await;
}
