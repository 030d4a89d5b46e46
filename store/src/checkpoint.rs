//! Moves SQLite's write-ahead log into the database beside the writer.
//!
//! A thread with a connection of its own copies what was committed, a few MiB at a time, so that the writer
//! neither copies pages nor waits until the disk has them. It never catches up with a writer that goes on,
//! and a log begins anew only when all of it was copied: so when the log has become long, the writer copies
//! the little that is left. SQLite's own `wal_autocheckpoint` makes the writer copy everything in one go:
//! 70 ms in which nobody is answered.
use crate::{Error, Result};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

/// Pages of 4 KiB that are left for the next copy.
const STEP_PAGES: u32 = 1_000;
/// Pages in the log from which on it is to begin anew: 64 MiB.
const LOG_PAGES: u32 = 16_000;
/// Pages in the log from which on the writer copies what is left, however much.
const LOG_PAGES_MAX: u32 = 4 * LOG_PAGES;

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
    busy: AtomicBool,
    closing: AtomicBool,
}

impl Checkpointer {
    /// Copies by `beside`, whatever `writer` commits.
    pub fn start(writer: &mut Connection, beside: Connection) -> Result<Self> {
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
                    shared.busy.store(true, Ordering::Release);
                    shared.copy(&beside);
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
        let is_idle = !self.shared.busy.load(Ordering::Acquire);
        if is_idle && (pages >= LOG_PAGES && left <= STEP_PAGES || pages >= LOG_PAGES_MAX) {
            self.shared.copy(writer);
        } else if pages - self.asked >= STEP_PAGES {
            self.asked = pages;
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
