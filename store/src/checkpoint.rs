//! Moves SQLite's write-ahead log into the database beside the writer.
//!
//! A thread with connections of its own copies what was committed and brings it to the disk, so that the writer
//! does neither. It never quite catches up with a writer that goes on, and a log begins anew only when all of it
//! was copied: so when the log has become long, it copies again and again until little is left, and that the
//! writer copies, while nobody is answered.
//!
//! What it has copied it writes out in pieces, each waited for: thousands of pages that are handed to the disk at
//! once, as an fsync does, stand before the writer's own fsyncs, which then take 4 to 8 ms in place of 0.3. SQLite
//! itself would do that fsync whenever the writer happened to be idle meanwhile, so its connection does not sync
//! at all; and that the log does not begin anew before the database is on disk, a second one sees to, which reads
//! for as long (<https://sqlite.org/wal.html>: the log is rewound only if nobody makes use of it).
//!
//! SQLite's own `wal_autocheckpoint` makes the writer copy everything in one go.
use crate::{Error, Result};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

const PAGE_BYTES: u64 = 4096;
/// Pages after which the next are copied: many, for most of them are in the log several times, and copied once.
const STEP_PAGES: u32 = 8_000;
/// Pages in the log from which on it is to begin anew: 128 MiB.
const LOG_PAGES: u32 = 32_000;
/// Pages that the writer copies: 3 ms.
const LEFT_PAGES: u32 = 200;
/// Pages of the log, about half of them copies of the same, in a piece that is written out: few enough that the
/// writer's fsync hardly waits for them.
const PIECE_PAGES: u64 = 64;

/// The writer's side. Dropped, it waits for the thread.
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Pages in the log when the thread was woken last.
    asked: u32,
}

#[derive(Default)]
struct Shared {
    /// Pages in the log after the last commit.
    pages: AtomicU32,
    /// How many of them are in the database.
    copied: AtomicU32,
    /// The thread was woken and is not done.
    busy: AtomicBool,
    closing: AtomicBool,
}

impl Checkpointer {
    /// Copies by `beside`, whatever `writer` commits, while `reader` reads. `file` is the database; it must be closed
    /// after the last connection, for with it go all locks that this process has on the database (POSIX).
    pub fn start(writer: &mut Connection, beside: Connection, reader: Connection, file: Arc<File>) -> Result<Self> {
        beside.execute_batch("PRAGMA synchronous = OFF").map_err(|e| Error::Database(format!("copy the log: {e}")))?;
        let shared = Arc::new(Shared::default());
        // The hook takes the place of SQLite's own, which is what `wal_autocheckpoint` sets.
        let hooked = writer.wal_hook(Some({
            let shared = shared.clone();
            move |_: &mut _, pages: i32| {
                shared.pages.store(pages.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }
        }));
        hooked.map_err(|e| Error::Database(format!("follow the log: {e}")))?;
        let run = {
            let shared = shared.clone();
            move || {
                while !shared.closing.load(Ordering::Acquire) {
                    std::thread::park();
                    if let Err(e) = shared.copy_and_sync(&beside, &reader, &file) {
                        // Nothing is lost: the reader still reads, so that the log goes on and keeps everything.
                        tracing::error!("the database cannot be written, and its log grows: {e}");
                        break;
                    }
                    shared.busy.store(false, Ordering::Release);
                }
                while !shared.closing.load(Ordering::Acquire) {
                    std::thread::park();
                }
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-checkpoint".into()).spawn(run);
        let thread = thread.map_err(|e| Error::Unavailable(format!("start the checkpointer: {e}")))?;
        Ok(Self { shared, thread: Some(thread), asked: 0 })
    }

    /// Called by the writer after each commit, when everybody was answered.
    pub fn committed(&mut self, writer: &Connection) {
        let pages = self.shared.pages.load(Ordering::Relaxed);
        if pages < self.asked {
            // The log has begun anew.
            self.asked = 0;
            self.shared.copied.store(0, Ordering::Relaxed);
        }
        let left = pages.saturating_sub(self.shared.copied.load(Ordering::Relaxed));
        if self.shared.busy.load(Ordering::Acquire) {
            return;
        }
        // A reader who stays, such as a backup, lets nothing newer than itself be copied: asking costs then, and
        // achieves nothing. So it is asked after so many pages, never after each commit.
        let new = pages - self.asked;
        let over = pages.checked_sub(LOG_PAGES);
        if over.is_some_and(|over| left <= LEFT_PAGES || new >= LEFT_PAGES && left <= left_to_writer(over)) {
            self.asked = pages;
            self.shared.copy(writer);
        } else if new >= STEP_PAGES || over.is_some() && new >= LEFT_PAGES {
            self.asked = pages;
            self.shared.busy.store(true, Ordering::Release);
            if let Some(thread) = &self.thread {
                thread.thread().unpark();
            }
        }
    }
}

/// Pages that the writer copies when the log is longer than it should be by `over`: at its limits a writer is never
/// caught up with, and the log must end all the same.
fn left_to_writer(over: u32) -> u32 {
    LEFT_PAGES + over / 32 + 2 * over.saturating_sub(LOG_PAGES)
}

impl Shared {
    /// Copies what no reader needs to find in the log, without waiting for anybody.
    fn copy(&self, conn: &Connection) {
        match conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            Ok((_, copied)) => self.copied.store(copied.max(0).unsigned_abs(), Ordering::Relaxed),
            Err(e) => tracing::warn!("checkpoint: {e}"), // Nothing is lost, it stays in the log.
        }
    }

    /// Copies, and has it on disk before the log may begin anew. After an error `reader` still reads.
    fn copy_and_sync(&self, beside: &Connection, reader: &Connection, file: &File) -> std::io::Result<()> {
        // A transaction reads from its first statement on.
        let reads = reader.execute_batch("BEGIN").and_then(|()| reader.query_row("PRAGMA schema_version", [], |_| Ok(())));
        if let Err(e) = reads {
            tracing::warn!("checkpoint: {e}"); // Later, then.
        } else {
            let before = self.copied.load(Ordering::Relaxed);
            self.copy(beside);
            // What counts is to be done soon when the writer cannot be caught up with otherwise.
            if self.pages.load(Ordering::Relaxed) < LOG_PAGES + STEP_PAGES {
                write_out(file, self.copied.load(Ordering::Relaxed).saturating_sub(before))?;
            }
            file.sync_data()?;
        }
        if !reader.is_autocommit()
            && let Err(e) = reader.execute_batch("ROLLBACK")
        {
            tracing::warn!("checkpoint: {e}"); // It reads until the next time.
        }
        Ok(())
    }
}

/// Writes `file` out piece by piece, so that each has about `PIECE_PAGES` of the `copied` that are scattered in it.
/// Durable they are when the file is synced.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a system call that no library wraps")]
fn write_out(file: &File, copied: u32) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let len = file.metadata()?.len();
    let pieces = u64::from(copied).div_ceil(PIECE_PAGES).max(1);
    let piece = len.div_ceil(pieces).max(1).next_multiple_of(PAGE_BYTES);
    let waits = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    for at in (0..len).step_by(piece as usize) {
        // SAFETY: it takes numbers only, and the file is open as long as it is borrowed.
        if unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, piece as i64, waits) } != 0 {
            let e = std::io::Error::last_os_error();
            // Where it is not known, the sync that follows does it all.
            return if e.kind() == std::io::ErrorKind::Unsupported { Ok(()) } else { Err(e) };
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_out(_: &File, _: u32) -> std::io::Result<()> {
    Ok(())
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
