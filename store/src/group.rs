//! Group commit on PostgreSQL: short commands that wait at the same time share a transaction.
//!
//! A few lanes, each with a connection, take what waits and apply it one after the other. What one command
//! pushes rides with the first question of the next, and BEGIN, COMMIT and its fsync are shared: with 256 clients
//! 423 µs of processor time for a qualification in place of 570, PostgreSQL's included. With nobody else waiting
//! a command is alone, as if there were no groups.
//!
//! What binds the commands of a group together is given up at once where it could hurt: when one fails after
//! it wrote, or waits for a row that another transaction holds for longer than a moment (two groups may even
//! wait for each other), the transaction goes and each is applied again by itself.
use crate::postgres::{BEGIN, Committed, Postgres, Tx};
use crate::stats::Counters;
use crate::{Command, Error, Inner, Result};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Groups at the same time. More would be smaller ones.
const LANES: usize = 4;
/// Commands in a group: enough that the commit no longer matters, few enough that locks are not held for long.
const GROUP_MAX: usize = 32;
/// How long a group waits for a row.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = 50";

/// Short commands that wait, and how many lanes are busy with others.
#[derive(Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Job>>,
    lanes: usize,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Queues a job; true if the caller is to start a lane.
    fn push(&self, job: Box<dyn Job>) -> bool {
        let mut state = self.state();
        state.waiting.push_back(job);
        let is_new = state.lanes < LANES;
        state.lanes += usize::from(is_new);
        is_new
    }

    /// A lane's next group: its share of what waits. With none, the lane has ended.
    fn take(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self.state();
        let share = state.waiting.len().div_ceil(LANES).min(GROUP_MAX);
        if share == 0 {
            state.lanes -= 1;
            return None;
        }
        Some(state.waiting.drain(..share).collect())
    }

    fn take_all(&self) -> VecDeque<Box<dyn Job>> {
        std::mem::take(&mut self.state().waiting)
    }
}

/// A command in the queue, and its caller.
trait Job: Send {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Applied>;
    /// Applies it in a transaction of its own, again if need be, and tells the caller.
    fn alone<'a>(self: Box<Self>, db: &'a Postgres) -> BoxFuture<'a, ()>;
    /// Tells the caller what came of it, the transaction being committed or having failed.
    fn answer(self: Box<Self>, commit: Result<()>);
}

enum Applied {
    Done,
    Refused,
    Panicked,
}

struct Waiting<C: Command> {
    command: C,
    outcome: Option<Result<C::Output, C::Error>>,
    reply: oneshot::Sender<Result<C::Output, C::Error>>,
}

impl<C: Command> Job for Waiting<C> {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Applied> {
        Box::pin(async move {
            let applied = AssertUnwindSafe(self.command.apply(&mut crate::Tx(Inner::Postgres(tx)))).catch_unwind().await;
            let Ok(outcome) = applied else { return Applied::Panicked };
            if self.outcome.insert(outcome).is_ok() { Applied::Done } else { Applied::Refused }
        })
    }

    fn alone<'a>(self: Box<Self>, db: &'a Postgres) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // The caller may have gone away.
            let _ = self.reply.send(db.write_alone(&self.command).await);
        })
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let mut outcome = match commit {
            Ok(()) => self.outcome.unwrap_or_else(|| Err(Error::Panicked.into())),
            Err(e) => Err(e.into()),
        };
        if let Ok(output) = &mut outcome {
            self.command.committed(output);
        }
        let _ = self.reply.send(outcome);
    }
}

impl Postgres {
    pub async fn write<C: Command>(&self, command: C) -> Result<C::Output, C::Error> {
        if !C::MAY_SHARE {
            return self.write_alone(&command).await;
        }
        let (reply, answer) = oneshot::channel();
        if self.queue.push(Box::new(Waiting { command, outcome: None, reply })) {
            tokio::spawn(lane(self.clone()));
        }
        answer.await.unwrap_or_else(|_| Err(Error::closed().into()))
    }

    async fn write_group(&self, mut group: Vec<Box<dyn Job>>) {
        if group.len() == 1 {
            return join_all(group.into_iter().map(|job| job.alone(self))).await.into_iter().collect();
        }
        let mut tx = match self.connection().await {
            Ok(conn) => Tx::new(conn, BEGIN),
            Err(e) => {
                // Nobody else will get one either.
                group.into_iter().chain(self.queue.take_all()).for_each(|job| job.answer(Err(e.clone())));
                return;
            }
        };
        let begun = Instant::now();
        let commit = match apply(&mut tx, &mut group).await {
            true => tx.commit().await,
            false => Committed::No,
        };
        tx.end();
        self.counters.applied("group", begun);
        let commit = match commit {
            Committed::Yes => Ok(()),
            Committed::Unknown(e) => Err(e),
            Committed::No => {
                Counters::add(&self.counters.retries, group.len() as u64);
                join_all(group.into_iter().map(|job| job.alone(self))).await;
                return;
            }
        };
        self.counters.answered(group.len(), commit.is_ok());
        group.into_iter().for_each(|job| job.answer(commit.clone()));
    }
}

/// Applies all of `group` in `tx`; false if its writes must go.
async fn apply(tx: &mut Tx, group: &mut [Box<dyn Job>]) -> bool {
    if tx.push(SET_LOCK_TIMEOUT, &[]).await.is_err() {
        return false;
    }
    for job in group {
        tx.next_command();
        let is_kept = match job.apply(tx).await {
            Applied::Done => true,
            Applied::Refused => tx.forget_command(),
            Applied::Panicked => false,
        };
        // An error of the transaction fails the command even if it is swallowed, and everybody with it.
        if !is_kept || tx.has_failed() {
            return false;
        }
    }
    true
}

/// Applies what waits, until nobody does.
async fn lane(db: Postgres) {
    while let Some(group) = db.queue.take() {
        db.write_group(group).await;
    }
}
