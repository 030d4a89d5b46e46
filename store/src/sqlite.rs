//! SQLite: one writer thread, four readers.
use crate::checkpoint::Checkpointer;
use crate::dialect::{self, Engine};
use crate::stats::{Counters, StoreStats};
use crate::{Arg, Command, Error, Inner, MIGRATIONS_INSERT, MIGRATIONS_TABLE, Options, Result, Row, Type, blocking, pending};
use futures_util::future::BoxFuture;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi, params_from_iter};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

/// Commands in one commit at most: enough that the fsync no longer matters, few enough that none waits long.
const BATCH_MAX: usize = 1024;
/// Commands that wait at most; from then on callers wait to be queued.
const QUEUE_MAX: usize = 4 * BATCH_MAX;
pub(crate) const READERS: usize = 4;
/// Page caches at most, together 48 MiB: not half of what the whole server may use under load.
const WRITER_CACHE_KIB: usize = 32 * 1024;
const READER_CACHE_KIB: usize = 4 * 1024;
/// They copy from file to file, and read nothing.
const CHECKPOINTER_CACHE_KIB: usize = 64;
/// Only tools beside the server (sqlite3, a restore) ever hold the file's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Distinct statements kept prepared on each connection.
const STATEMENTS_MAX: usize = 512;
/// Pages copied between two looks at the clock while a backup runs: 4 MiB.
const BACKUP_STEP_PAGES: i32 = 1024;

#[derive(Clone)]
pub(crate) struct Sqlite(Arc<Shared>);

struct Shared {
    /// `None` if the store is read-only.
    writer: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closing: Arc<AtomicBool>,
    readers: Arc<Readers>,
    counters: Arc<Counters>,
}

struct Readers {
    idle: Mutex<Vec<Db>>,
    /// As many permits as there are connections in `idle`.
    free: Semaphore,
}

impl Sqlite {
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let closing = Arc::new(AtomicBool::new(false));
        let (mut writer, mut thread) = (None, None);
        if options.read_only {
            pending(options.migrations, &applied_migrations(path)?)?;
        } else {
            let lock = if options.beside { None } else { Some(lock(path, options.address.as_deref())?) };
            let mut db = Db::writer(path)?;
            let file_error = |e: std::io::Error| Error::Unavailable(format!("{}: {e}", path.display()));
            let file = Arc::new(File::open(path).map_err(file_error)?);
            // A process that was killed may have copied from the log what it had not synced yet, and the first write
            // may let the log begin anew.
            file.sync_data().map_err(file_error)?;
            if lock.is_some() {
                migrate(&mut db, options)?;
            }
            let [copier, reader] = [Db::connect(path, CHECKPOINTER_CACHE_KIB)?.conn, Db::connect(path, CHECKPOINTER_CACHE_KIB)?.conn];
            let checkpointer = Checkpointer::start(&mut db.conn, copier, reader, file.clone())?;
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            let (counters, closing) = (counters.clone(), closing.clone());
            let handle = std::thread::Builder::new()
                .name("sqlite-writer".into())
                .spawn(move || {
                    let db = run_writer(db, checkpointer, queue, &counters, &closing);
                    if lock.is_some()
                        && let Err(e) = db.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                    {
                        tracing::warn!("checkpoint: {e}"); // Nothing is lost, the log stays beside the database.
                    }
                    drop(db);
                    // Only now, with the connection closed, may its locks go and another process begin.
                    drop((file, lock));
                })
                .map_err(|e| Error::Unavailable(format!("start the writer: {e}")))?;
            (writer, thread) = (Some(sender), Some(handle));
        }
        let idle = (0..READERS).map(|_| Db::reader(path)).collect::<Result<Vec<_>>>()?;
        let readers = Arc::new(Readers { idle: Mutex::new(idle), free: Semaphore::new(READERS) });
        Ok(Self(Arc::new(Shared { writer, thread: Mutex::new(thread), closing, readers, counters })))
    }

    pub async fn write<C: Command>(&self, command: C) -> Result<C::Output, C::Error> {
        let Some(writer) = &self.0.writer else {
            return Err(Error::Full("the store was opened read-only".into()).into());
        };
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Waiting { command, outcome: None, reply });
        if writer.send(job).await.is_err() {
            return Err(Error::closed().into());
        }
        answer.await.unwrap_or_else(|_| Err(Error::closed().into()))
    }

    pub async fn read<T, E, F>(&self, read: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'t> FnOnce(&'t mut crate::Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let outcome = self.with_reader(move |db| {
            db.run("BEGIN")?;
            db.failure = None;
            let outcome = catch_unwind(AssertUnwindSafe(|| poll_ready(read(&mut crate::Tx(Inner::Sqlite(Tx { db: &mut *db }))))));
            db.run("ROLLBACK")?;
            Ok(match (outcome, db.failure.take()) {
                (Err(_), _) => Err(Error::Panicked.into()),
                (Ok(Ok(_)), Some(swallowed)) => Err(swallowed.into()),
                (Ok(outcome), _) => outcome,
            })
        });
        outcome.await.unwrap_or_else(|e| Err(e.into()))
    }

    /// Runs `work` on a reader's connection, away from the async threads.
    async fn with_reader<T: Send + 'static>(&self, work: impl FnOnce(&mut Db) -> Result<T> + Send + 'static) -> Result<T> {
        let readers = self.0.readers.clone();
        readers.free.acquire().await.map_err(|_| Error::closed())?.forget();
        blocking(move || {
            // Returned by a guard, so that a panic costs no connection, nor does a caller who goes away.
            let mut reader = Lent { db: locked(&readers.idle).pop(), readers: &readers };
            reader.db.as_mut().map_or_else(|| Err(Error::closed()), work)
        })
        .await
    }

    pub fn is_read_only(&self) -> bool {
        self.0.writer.is_none()
    }

    pub async fn backup(&self, to: &Path) -> Result<()> {
        let to = to.to_owned();
        self.with_reader(move |db| backup(db, &to)).await
    }

    pub fn stats(&self) -> StoreStats {
        self.0.counters.read(self.0.writer.as_ref().map_or(0, |writer| writer.max_capacity() - writer.capacity()))
    }

    pub async fn close(&self) -> Result<()> {
        // Readers first: the last connection to leave is the writer's, which moves the WAL into the file.
        if let Ok(all) = self.0.readers.free.acquire_many(READERS as u32).await {
            self.0.readers.free.close();
            all.forget();
            locked(&self.0.readers.idle).clear();
        }
        if let Some(writer) = &self.0.writer {
            self.0.closing.store(true, Ordering::Release);
            // Wakes the writer, if it is not about to look at `closing` anyway.
            let _ = writer.send(Box::new(WakeUp)).await;
        }
        let thread = locked(&self.0.thread).take();
        blocking(move || thread.map_or(Ok(()), |thread| thread.join().map_err(|_| Error::Panicked))).await
    }
}

/// A reader's connection on loan.
struct Lent<'a> {
    db: Option<Db>,
    readers: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            locked(&self.readers.idle).push(db);
            self.readers.free.add_permits(1);
        }
    }
}

/// Nothing of ours panics while it holds one of these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command in the writer's queue, and its caller.
trait Job: Send {
    fn name(&self) -> &'static str;
    /// Applies the command within the open transaction; false if its writes must go.
    fn apply(&mut self, db: &mut Db) -> bool;
    /// Tells the caller. Where the commit failed, so did every command in it, also one that was refused:
    /// it may have been refused because of a row which the commit did not keep.
    fn answer(self: Box<Self>, commit: Result<()>);
}

struct Waiting<C: Command> {
    command: C,
    outcome: Option<Result<C::Output, C::Error>>,
    reply: oneshot::Sender<Result<C::Output, C::Error>>,
}

impl<C: Command> Job for Waiting<C> {
    fn name(&self) -> &'static str {
        std::any::type_name::<C>()
    }

    fn apply(&mut self, db: &mut Db) -> bool {
        db.failure = None;
        let applied = catch_unwind(AssertUnwindSafe(|| poll_ready(self.command.apply(&mut crate::Tx(Inner::Sqlite(Tx { db: &mut *db }))))));
        let outcome = match (applied, &db.failure) {
            (Err(_), _) => Err(Error::Panicked.into()),
            // On PostgreSQL the transaction would be lost by now; here it must be no different.
            (Ok(Ok(_)), Some(swallowed)) => Err(swallowed.clone().into()),
            (Ok(outcome), _) => outcome,
        };
        self.outcome.insert(outcome).is_ok()
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let mut outcome = match commit {
            Ok(()) => self.outcome.unwrap_or_else(|| Err(Error::Panicked.into())),
            Err(e) => Err(e.into()),
        };
        if let Ok(output) = &mut outcome {
            self.command.committed(output);
        }
        // The caller may have gone away.
        let _ = self.reply.send(outcome);
    }
}

struct WakeUp;

impl Job for WakeUp {
    fn name(&self) -> &'static str {
        "wake up"
    }
    fn apply(&mut self, _: &mut Db) -> bool {
        true
    }
    fn answer(self: Box<Self>, _: Result<()>) {}
}

/// Group commit: whatever is waiting shares one transaction and one fsync. Ends when the queue is closed and empty.
fn run_writer(mut db: Db, mut checkpointer: Checkpointer, mut queue: mpsc::Receiver<Box<dyn Job>>, counters: &Counters, closing: &AtomicBool) -> Db {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let commit = apply_batch(&mut db, &mut batch, counters);
        if let Err(e) = &commit {
            tracing::error!(commands = batch.len(), "commit: {e}");
            db.roll_back();
        }
        counters.answered(batch.len(), commit.is_ok());
        for job in batch.drain(..) {
            job.answer(commit.clone());
        }
        checkpointer.committed(&db.conn);
        if closing.load(Ordering::Acquire) {
            queue.close();
        }
    }
    db
}

/// Applies all of `batch` in one transaction, without savepoints: few commands fail, and of those few
/// do so after they wrote. When one does, the transaction is given up and all commands are applied
/// again, each in a savepoint; being values, they can be. Measured with 256 clients: 112,000 commands
/// a second, and 86,000 with a savepoint for each.
fn apply_batch(db: &mut Db, batch: &mut [Box<dyn Job>], counters: &Counters) -> Result<()> {
    db.run("BEGIN IMMEDIATE")?;
    let alone = batch.len() == 1;
    for job in batch.iter_mut() {
        let changes = db.conn.total_changes();
        if !apply(db, job, counters)? && db.conn.total_changes() != changes {
            db.run("ROLLBACK")?;
            return if alone { Ok(()) } else { apply_batch_in_savepoints(db, batch, counters) };
        }
    }
    db.run("COMMIT")
}

fn apply_batch_in_savepoints(db: &mut Db, batch: &mut [Box<dyn Job>], counters: &Counters) -> Result<()> {
    Counters::add(&counters.retries, batch.len() as u64);
    db.run("BEGIN IMMEDIATE")?;
    for job in batch.iter_mut() {
        db.run("SAVEPOINT command")?;
        if !apply(db, job, counters)? {
            db.run("ROLLBACK TO command")?;
        }
        db.run("RELEASE command")?;
    }
    db.run("COMMIT")
}

/// Applies one command. An error if SQLite itself has rolled the whole transaction back, as it may when the
/// disk is full: then the commands before this one are lost too.
fn apply(db: &mut Db, job: &mut Box<dyn Job>, counters: &Counters) -> Result<bool> {
    let begun = Instant::now();
    let kept = job.apply(db);
    counters.applied(job.name(), begun);
    if db.conn.is_autocommit() {
        return Err(db.failure.take().unwrap_or_else(|| Error::Database("a command ended the writer's transaction".into())));
    }
    Ok(kept)
}

/// SQLite never makes us wait, so a command's future is ready at the first poll.
fn poll_ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a command may await its transaction, nothing else"),
    }
}

/// A connection, with what it knows of our SQL.
pub(crate) struct Db {
    conn: Connection,
    /// SQL as written → as SQLite reads it.
    texts: HashMap<Box<str>, Box<str>>,
    /// The first error of the command which is being applied.
    failure: Option<Error>,
}

impl Db {
    fn writer(path: &Path) -> Result<Self> {
        create_private(path).map_err(|e| Error::Unavailable(format!("{}: {e}", path.display())))?;
        let db = Self::connect(path, WRITER_CACHE_KIB)?;
        // FULL costs 2 % against NORMAL under group commit. A log that was longer than 256 MiB is cut when it
        // begins anew; one that the checkpointer has kept at bay is not, for that takes 100 ms.
        db.batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 268435456")?;
        Ok(db)
    }

    fn reader(path: &Path) -> Result<Self> {
        let db = Self::connect(path, READER_CACHE_KIB)?;
        db.batch("PRAGMA query_only = ON")?;
        Ok(db)
    }

    fn connect(path: &Path, cache_kib: usize) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(|e| Error::Unavailable(format!("{}: {e}", path.display())))?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let db = Db { conn, texts: HashMap::new(), failure: None };
        db.conn.busy_timeout(BUSY_TIMEOUT).and_then(|()| rusqlite::vtab::array::load_module(&db.conn)).map_err(|e| db.error(e))?;
        db.batch(&format!(
            "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
             PRAGMA mmap_size = 0; PRAGMA cache_size = -{cache_kib}"
        ))?;
        Ok(db)
    }

    fn batch(&self, sql: &str) -> Result<()> {
        self.conn.execute_batch(sql).map_err(|e| self.error(e))
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.conn.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(|e| self.error(e))
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit()
            && let Err(e) = self.run("ROLLBACK")
        {
            tracing::error!("rollback: {e}");
        }
    }

    fn prepare(&mut self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        let text = match self.texts.get(sql) {
            Some(text) => text,
            None => {
                if self.texts.len() >= STATEMENTS_MAX {
                    self.texts.clear();
                }
                self.texts.entry(sql.into()).or_insert_with(|| dialect::rewrite(Engine::Sqlite, sql).into())
            }
        };
        self.conn.prepare_cached(text)
    }

    /// Our words for SQLite's error.
    fn error(&self, error: rusqlite::Error) -> Error {
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return Error::Database(error.to_string());
        };
        let text = message.clone().unwrap_or_else(|| error.to_string());
        match (failure.code, failure.extended_code) {
            (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID) => self.conflict(&text),
            (ErrorCode::DiskFull | ErrorCode::ReadOnly, _) => Error::Full(text),
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen, _) => Error::Unavailable(text),
            _ => Error::Database(text),
        }
    }

    /// SQLite says `UNIQUE constraint failed: t.a, t.b`, or `…: index 'i'` if that is over an expression.
    fn conflict(&self, message: &str) -> Error {
        let at = message.rsplit_once("failed: ").map_or(message, |(_, at)| at);
        if let Some(index) = at.strip_prefix("index '").and_then(|index| index.strip_suffix('\'')) {
            let table = self.conn.query_row("SELECT tbl_name FROM sqlite_master WHERE type = 'index' AND name = ?1", [index], |row| row.get(0));
            return Error::Conflict { table: table.unwrap_or_default(), constraint: index.into() };
        }
        let table = at.split_once('.').map_or(at, |(table, _)| table);
        Error::Conflict { table: table.into(), constraint: at.replace(", ", ",") }
    }
}

/// What a command sees of the connection.
pub(crate) struct Tx<'a> {
    db: &'a mut Db,
}

impl Tx<'_> {
    pub fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<u64> {
        self.run(|db| Ok(db.prepare(sql)?.execute(params_from_iter(args))? as u64))
    }

    /// Reads `limit` rows at most.
    pub fn fetch<T>(&mut self, sql: &str, args: &[Arg<'_>], limit: usize, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        let rows = self.run(|db| {
            let mut statement = db.prepare(sql)?;
            // A statement which writes and returns is always run to its end.
            let limit = if statement.readonly() { limit } else { usize::MAX };
            let mut rows = statement.query(params_from_iter(args))?;
            let mut found = Vec::new();
            while found.len() < limit
                && let Some(row) = rows.next()?
            {
                found.push(read(&Row::Sqlite(row)));
            }
            Ok(found)
        });
        rows?.into_iter().collect()
    }

    pub fn insert_new(&mut self, table: &str, columns: &[(&str, Type)], key: usize, rows: &[Vec<Arg<'_>>]) -> Result<Vec<Uuid>> {
        let sql = insert(table, columns.iter().map(|(name, _)| *name), " ON CONFLICT DO NOTHING");
        let new = self.run(|db| {
            let mut statement = db.prepare(&sql)?;
            let mut new = Vec::with_capacity(rows.len());
            for row in rows {
                if statement.execute(params_from_iter(row))? > 0 {
                    new.push(row[key]);
                }
            }
            Ok(new)
        })?;
        let id = |key| match key {
            Arg::Id(id) => Ok(id),
            _ => Err(Error::Database(format!("insert_new into {table}: the key is not an id"))),
        };
        new.into_iter().map(id).collect()
    }

    /// Runs a statement for each of the rows.
    pub fn execute_each<const N: usize>(&mut self, sql: &str, rows: &[[Arg<'_>; N]]) -> Result<()> {
        self.run(|db| {
            let mut statement = db.prepare(sql)?;
            rows.iter().try_for_each(|row| statement.execute(params_from_iter(row)).map(drop))
        })
    }

    pub fn load(&mut self, table: &str, columns: &[(String, Type)], rows: &[Vec<crate::Value>]) -> Result<()> {
        // Rows may refer to rows that come after them; what counts is the commit.
        self.run(|db| db.conn.execute_batch("PRAGMA defer_foreign_keys = ON"))?;
        let sql = insert(table, columns.iter().map(|(name, _)| name.as_str()), "");
        self.run(|db| {
            let mut statement = db.prepare(&sql)?;
            for row in rows {
                statement.execute(params_from_iter(row.iter().map(Arg::from)))?;
            }
            Ok(())
        })
    }

    /// After an error the command is lost, as on PostgreSQL: every later statement meets the same error.
    fn run<T>(&mut self, work: impl FnOnce(&mut Db) -> rusqlite::Result<T>) -> Result<T> {
        if let Some(failure) = &self.db.failure {
            return Err(failure.clone());
        }
        work(self.db).map_err(|e| self.db.failure.insert(self.db.error(e)).clone())
    }
}

fn insert<'a>(table: &str, columns: impl Iterator<Item = &'a str>, end: &str) -> String {
    let names: Vec<_> = columns.map(|name| format!("\"{name}\"")).collect();
    let values: Vec<_> = (1..=names.len()).map(|n| format!("${n}")).collect();
    format!("INSERT INTO \"{table}\" ({}) VALUES ({}){end}", names.join(", "), values.join(", "))
}

/// A process that was forked off a moment ago has the lock of its parent until it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

fn lock_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// What the process that has the lock wrote below its pid.
pub(crate) fn address_in_use(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(lock_name(path)).ok()?;
    text.lines().nth(1).filter(|address| !address.is_empty()).map(str::to_owned)
}

/// Takes the lock which says that this process writes to `path`; it holds until the file is dropped.
#[allow(clippy::disallowed_methods, reason = "nobody tells when a lock of the system is free, and the thread is one for waiting")]
fn lock(path: &Path, address: Option<&str>) -> Result<File> {
    let name = lock_name(path);
    let failed = |e: std::io::Error| Error::Unavailable(format!("{}: {e}", name.display()));
    let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&name).map_err(failed)?;
    let begun = Instant::now();
    let mut locked = file.try_lock();
    while matches!(locked, Err(std::fs::TryLockError::WouldBlock)) && begun.elapsed() < LOCK_PATIENCE {
        std::thread::sleep(LOCK_PATIENCE / 30);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}\n{}", std::process::id(), address.unwrap_or_default()))
                .map_err(failed)?;
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text); // For the message only.
            let pid = text.lines().next().filter(|pid| !pid.is_empty()).unwrap_or("unknown");
            Err(Error::Unavailable(format!("another goodword process (pid {pid}) is using {}", path.display())))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Creates the file for its owner's eyes only; SQLite gives its log the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn migrate(db: &mut Db, options: &Options) -> Result<()> {
    db.batch(MIGRATIONS_TABLE)?;
    for migration in pending(options.migrations, &applied(&db.conn).map_err(|e| db.error(e))?)? {
        tracing::info!(number = migration.number, name = migration.name, "migrating");
        let sql = dialect::rewrite(Engine::Sqlite, migration.sql);
        let insert = dialect::rewrite(Engine::Sqlite, MIGRATIONS_INSERT);
        let applied = db.conn.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            tx.execute_batch(&sql)?;
            tx.execute(&insert, (migration.number, migration.name))?;
            tx.commit()
        });
        applied.map_err(|e| match db.error(e) {
            Error::Database(text) => Error::Database(format!("migration {} ({}): {text}", migration.number, migration.name)),
            other => other,
        })?;
    }
    Ok(())
}

/// Numbers of the migrations in the database at `path`; none if there is no such file.
pub(crate) fn applied_migrations(path: &Path) -> Result<Vec<u32>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let db = Db::reader(path)?;
    applied(&db.conn).map_err(|e| db.error(e))
}

fn applied(conn: &Connection) -> rusqlite::Result<Vec<u32>> {
    if !conn.table_exists(None, "schema_migrations")? {
        return Ok(Vec::new());
    }
    conn.prepare("SELECT number FROM schema_migrations")?.query_map([], |row| row.get(0))?.collect()
}

/// Copies the database as `db` sees it now. The copy gets its name only when it is whole and on disk.
fn backup(db: &Db, to: &Path) -> Result<()> {
    let file_error = |e: std::io::Error| Error::Unavailable(format!("{}: {e}", to.display()));
    if to.exists() {
        return Err(Error::Unavailable(format!("{} exists, and a backup never overwrites", to.display())));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        std::fs::remove_file(&partial).map_err(file_error)?;
    }
    create_private(&partial).map_err(file_error)?;
    // Within a transaction the source is one snapshot. Without it, each commit would make the copy start anew.
    db.run("BEGIN")?;
    let copied = copy(&db.conn, &partial).map_err(|e| db.error(e));
    db.run("ROLLBACK")?;
    copied?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(file_error)?;
    std::fs::rename(&partial, to).map_err(file_error)?;
    #[cfg(unix)]
    if let Some(folder) = to.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error)?;
    }
    Ok(())
}

fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    from.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?; // Begins the snapshot.
    let mut to = Connection::open(to)?;
    rusqlite::backup::Backup::new(from, &mut to)?.run_to_completion(BACKUP_STEP_PAGES, Duration::ZERO, None)
}
