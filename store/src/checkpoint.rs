//! Moves SQLite's write-ahead log into the database beside the writer.
//!
//! A thread with a connection of its own copies what was committed, so that the writer neither copies pages
//! nor waits until the disk has them: 45 ms for 4,000 of them, which the writer's own fsyncs hardly notice. It
//! never quite catches up with a writer that goes on, and a log begins anew only when all of it was copied: so
//! when the log has become long, it copies again and again until little is left, and that the writer copies.
//! SQLite syncs the database only with the last of the log, so what was copied before is synced here; else the
//! writer would wait for all of it.
//! SQLite's own `wal_autocheckpoint` makes the writer copy everything in one go, while nobody is answered.
use crate::{Error, Result};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

/// Pages of 4 KiB after which the next are copied.
const STEP_PAGES: u32 = 4_000;
/// Pages in the log from which on it is to begin anew: 64 MiB.
const LOG_PAGES: u32 = 16_000;
/// Pages that the writer copies: 3 ms.
const LEFT_PAGES: u32 = 200;
/// So many pages over `LOG_PAGES` let the writer copy one more: at its limits it is never caught up with so far,
/// and the log must end all the same.
const OVER_PER_LEFT: u32 = 8;

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
    /// Copies by `beside`, whatever `writer` commits. `file` is the database; it must be closed after the last
    /// connection, for with it go all locks that this process has on the database (POSIX).
    pub fn start(writer: &mut Connection, beside: Connection, file: Arc<File>) -> Result<Self> {
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
                    shared.copy(&beside);
                    if let Err(e) = file.sync_data() {
                        tracing::warn!("sync the database: {e}"); // The writer will.
                    }
                    shared.busy.store(false, Ordering::Release);
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
        if over.is_some_and(|over| left <= LEFT_PAGES + over / OVER_PER_LEFT) {
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

impl Shared {
    /// Copies what no reader needs to find in the log, without waiting for anybody.
    fn copy(&self, conn: &Connection) {
        match conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            Ok((_, copied)) => self.copied.store(copied.max(0).unsigned_abs(), Ordering::Relaxed),
            Err(e) => tracing::warn!("checkpoint: {e}"), // Nothing is lost, it stays in the log.
        }
    }
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
