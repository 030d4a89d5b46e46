//! What happens because time has passed: campaigns and holds end, kept answers and addresses go.
//!
//! Each is a change like any other, with a key, so that two nodes doing the same at once
//! do it once.

use super::{Engine, Error, Result, campaign, delivery, reward, visit, work::IDEMPOTENCY_DAYS, workspace};
use goodword_core::time::{DAY_MS, Timestamp};
use goodword_store::{Command, Tx};
use tokio::sync::watch;

/// Rewards that are looked at in one round of a side.
const HOLDS_PER_ROUND: i64 = 500;

impl Engine {
    /// Does what is due on every side. Returns how many rewards went on.
    pub async fn tick(&self) -> Result<usize> {
        let workspaces = self.read(|tx| Box::pin(workspace::all(tx))).await?;
        let mut done = 0;
        for space in workspaces.iter().flat_map(|workspace| [workspace.live, workspace.test]) {
            let (shared, now) = (self.shared_arc(), self.now(space));
            let over = self.read(move |tx| Box::pin(async move { campaign::run_out(tx, &shared, space, now).await })).await?;
            for &id in &over {
                self.run(self.context(space, "clock", "clock"), campaign::RunOut { id }).await?;
            }
            if !over.is_empty() {
                self.forget().await?;
            }
            loop {
                let now = self.now(space);
                let due = self.read(move |tx| Box::pin(reward::holds_ended(tx, space, now, HOLDS_PER_ROUND))).await?;
                let round = due.len();
                for id in due {
                    self.run(self.context(space, "clock", "clock"), reward::EndHold { reward: id }).await?;
                    done += 1;
                }
                if round < HOLDS_PER_ROUND as usize {
                    break;
                }
            }
        }
        Ok(done)
    }

    /// Forgets what has been kept long enough: answers to keys, network addresses, logs of deliveries.
    pub async fn sweep(&self, visit_ip_days: u32, delivery_days: u32) -> Result<()> {
        let now = self.wall();
        self.store().write(ForgetAnswers { before: now.plus_ms(-i64::from(IDEMPOTENCY_DAYS) * DAY_MS) }).await?;
        while self.store().write(visit::ForgetAddresses { before: now.plus_ms(-i64::from(visit_ip_days) * DAY_MS) }).await? > 0 {}
        while self.store().write(delivery::Forget { before: now.plus_ms(-i64::from(delivery_days) * DAY_MS) }).await? {}
        Ok(())
    }

    /// Runs until told to stop: the clock, the statistics, and what other nodes have changed.
    /// A failure is logged and tried again; nothing here is lost by it.
    pub async fn run_background(self, visit_ip_days: u32, delivery_days: u32, stop: watch::Receiver<bool>) {
        tokio::join!(self.keep_time(visit_ip_days, delivery_days, stop.clone()), self.keep_adding_up(stop));
    }

    async fn keep_time(&self, visit_ip_days: u32, delivery_days: u32, mut stop: watch::Receiver<bool>) {
        let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seconds = 0u64;
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                _ = second.tick() => {}
            }
            seconds += 1;
            log(self.refresh().await, "refresh");
            log(self.tick().await.map(drop), "tick");
            log(self.decide_waiting_messages().await, "inbound messages");
            if seconds.is_multiple_of(60) {
                log(self.remember_used_keys().await, "used keys");
            }
            if seconds % 3_600 == 1 {
                log(self.sweep(visit_ip_days, delivery_days).await, "sweep");
            }
        }
        log(self.remember_used_keys().await, "used keys");
    }
}

fn log(outcome: Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what} failed, trying again");
    }
}

struct ForgetAnswers {
    before: Timestamp,
}

impl Command for ForgetAnswers {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute("DELETE FROM idempotency WHERE created_at < $1", &[self.before.ms().into()]).await?;
        Ok(())
    }
}
