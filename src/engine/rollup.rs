//! Roll-ups: what happened, added up per day and per referrer.
//!
//! Two consumers, of the events and of the visits, read in the order of commits and add what they read to the
//! roll-ups, each together with its own position: a thing is counted once, whatever is killed. A question lets them
//! catch up first, so that an answer is never behind.
//!
//! Days are few rows, referrers are many, each on a page of its own and in the ranking: as they come, the ranking
//! alone was a quarter of all pages that a qualification changes. So they are added up for a second, and written in
//! the order of their keys, a few neighbours at a time. A consumer that was killed in between has written down up to
//! where, and from which things: it, or another node, adds up the same things again and goes on behind there.

use super::{Engine, Error, Result, event::EventType, statistics::Metric};
use goodword_core::time::Timestamp;
use goodword_store::{Arg, Command, Row, Tx};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use uuid::Uuid;

/// Things added up at once at most.
const EVENTS_MAX: i64 = 10_000;
const VISITS_MAX: i64 = 20_000;
/// Referrers written at once: a millisecond of SQLite's writer. Those who only gain visits stay where they are in the
/// ranking, which makes them cheap.
const CLIMBING_MAX: usize = 100;
const VISITED_MAX: usize = 500;
/// What has happened is looked for as often, and written over as long.
const ROUND: Duration = Duration::from_secs(1);

/// Another node that wrote so lately is left alone with what it adds up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A side of a workspace, and a referrer there.
type Person = (i64, Uuid);

/// A place in the order of commits.
type Position = (i64, i64);

/// Where a consumer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    /// Everything up to here is added up.
    at: Position,
    /// What is being added up now, and the last referrer to whom it was.
    under_way: Option<(Position, Person)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumer {
    Events,
    Visits,
}

impl Consumer {
    const fn name(self) -> &'static str {
        match self {
            Self::Events => "statistics.events",
            Self::Visits => "statistics.visits",
        }
    }
}

/// One row of `statistics_daily`, less its numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    space: i64,
    campaign: Uuid,
    day: i64,
    metric: Metric,
    source: String,
    currency: String,
}

#[derive(Default)]
struct Added {
    count: i64,
    amount_minor: i64,
}

/// What a referrer's row gains.
#[derive(Default)]
struct Gained {
    campaign: Uuid,
    visits: i64,
    leads: i64,
    qualified: i64,
    rewarded: i64,
}

/// What one consumer has added up, beside the writers.
#[derive(Default)]
struct Sums {
    cells: BTreeMap<Cell, Added>,
    people: BTreeMap<Person, Gained>,
}

/// A part of the sums, and how far it takes its consumer.
struct Add {
    consumer: Consumer,
    from: Place,
    to: Place,
    cells: Vec<(Cell, Added)>,
    people: Vec<(Person, Gained)>,
    now: Timestamp,
}

/// What this node has added up and not written yet.
#[derive(Default)]
pub(super) struct Turn {
    parts: VecDeque<Add>,
    /// The parts are written over the time until then.
    until: Option<Instant>,
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    /// Nothing has happened that is not added up.
    Idle,
    /// A part was written.
    On,
    /// Another node is adding up.
    Elsewhere,
}

/// Where a consumer stands, and since when. A lock lasts as long as the transaction.
async fn place(tx: &mut Tx<'_>, consumer: Consumer, lock: bool) -> Result<Option<(Place, Timestamp)>> {
    let sql = "SELECT txid, seq, until_txid, until_seq, done_space, done_participant, updated_at FROM consumers WHERE name = $1";
    let sql = format!("{sql}{}", if lock { " FOR UPDATE" } else { "" });
    let read = |row: &Row<'_>| {
        let until: Option<i64> = row.get(3)?;
        let under_way = match until {
            None => None,
            Some(seq) => Some(((row.get(2)?, seq), (row.get(4)?, row.get(5)?))),
        };
        Ok((Place { at: (row.get(0)?, row.get(1)?), under_way }, Timestamp::from_ms(row.get(6)?)))
    };
    Ok(tx.fetch_one(&sql, &[consumer.name().into()], read).await?)
}

impl Command for Add {
    /// Whether it was written: not where the consumer has been taken elsewhere meanwhile.
    type Output = bool;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool> {
        let name = self.consumer.name();
        let insert = "INSERT INTO consumers (name, txid, seq, updated_at) VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING";
        tx.push(insert, &[name.into(), self.now.ms().into()]).await?;
        // The row stays locked, so that one node counts at a time.
        if place(tx, self.consumer, true).await?.map(|(place, _)| place) != Some(self.from) {
            return Ok(false);
        }
        let ((txid, seq), under_way) = (self.to.at, self.to.under_way);
        let args = [
            name.into(),
            txid.into(),
            seq.into(),
            under_way.map(|((txid, _), _)| txid).into(),
            under_way.map(|((_, seq), _)| seq).into(),
            under_way.map(|(_, (space, _))| space).into(),
            under_way.map(|(_, (_, participant))| participant).into(),
            self.now.ms().into(),
        ];
        let update = "UPDATE consumers SET txid = $2, seq = $3, until_txid = $4, until_seq = $5, done_space = $6, done_participant = $7, updated_at = $8 WHERE name = $1";
        tx.push(update, &args).await?;
        // In the order of their keys, so that two nodes never wait for each other in a circle.
        let cells: Vec<[Arg<'_>; 8]> = self
            .cells
            .iter()
            .map(|(cell, added)| {
                [
                    cell.space.into(),
                    cell.campaign.into(),
                    cell.day.into(),
                    cell.metric.as_str().into(),
                    cell.source.as_str().into(),
                    cell.currency.as_str().into(),
                    added.count.into(),
                    added.amount_minor.into(),
                ]
            })
            .collect();
        let insert = "INSERT INTO statistics_daily (space, campaign_id, day, metric, source, currency, count, amount_minor)";
        let add = "ON CONFLICT (space, campaign_id, day, metric, source, currency) DO UPDATE SET count = statistics_daily.count + excluded.count, amount_minor = statistics_daily.amount_minor + excluded.amount_minor";
        tx.push_rows(insert, &cells, add).await?;

        let people: Vec<[Arg<'_>; 7]> = self
            .people
            .iter()
            .map(|((space, participant), gained)| {
                [
                    (*space).into(),
                    gained.campaign.into(),
                    (*participant).into(),
                    gained.visits.into(),
                    gained.leads.into(),
                    gained.qualified.into(),
                    gained.rewarded.into(),
                ]
            })
            .collect();
        let insert = "INSERT INTO statistics_referrers (space, campaign_id, participant_id, visits, leads, qualified, rewarded)";
        // Visits leave the ranking of referrers, and its index, alone.
        let add = match self.consumer {
            Consumer::Visits => "ON CONFLICT (space, participant_id) DO UPDATE SET visits = statistics_referrers.visits + excluded.visits",
            Consumer::Events => {
                "ON CONFLICT (space, participant_id) DO UPDATE SET leads = statistics_referrers.leads + excluded.leads,
                     qualified = statistics_referrers.qualified + excluded.qualified, rewarded = statistics_referrers.rewarded + excluded.rewarded"
            }
        };
        tx.push_rows(insert, &people, add).await?;
        Ok(true)
    }
}

impl Sums {
    /// Adds up what is between, `limit` of it at most. Answers where that ends, and whether there is more.
    async fn add_events(&mut self, tx: &mut Tx<'_>, from: Position, until: Position, limit: i64) -> Result<Option<(Position, bool)>> {
        struct Told {
            position: Position,
            space: i64,
            event: Option<EventType>,
            campaign: Option<Uuid>,
            source: String,
            referrer: Option<Uuid>,
            amount_minor: i64,
            currency: Option<String>,
            at: Timestamp,
            count: i64,
        }
        // A lead stays with the source that it came from, whoever tells what it does later: so sources have a funnel.
        let sql = "SELECT txid, seq, space, type, campaign_id, coalesce(lead_source, source), referrer_id, amount_minor, currency, created_at, count FROM events WHERE ({postgres:txid,} seq) > ({postgres:$1,} $2) AND ({postgres:txid,} seq) <= ({postgres:$3,} $4) AND {settled} ORDER BY {postgres:txid,} seq LIMIT $5";
        let read = |row: &Row<'_>| {
            Ok(Told {
                position: (row.get(0)?, row.get(1)?),
                space: row.get(2)?,
                event: EventType::parse(row.text(3)?),
                campaign: row.get(4)?,
                source: row.get(5)?,
                referrer: row.get(6)?,
                amount_minor: row.get::<Option<i64>>(7)?.unwrap_or_default(),
                currency: row.get(8)?,
                at: Timestamp::from_ms(row.get(9)?),
                count: row.get(10)?,
            })
        };
        let rows = tx.fetch(sql, &[from.0.into(), from.1.into(), until.0.into(), until.1.into(), limit.into()], read).await?;
        let end = rows.last().map(|last| (last.position, rows.len() as i64 == limit));
        for told in rows {
            let (Some(campaign), Some((metric, sign))) = (told.campaign, told.event.and_then(Metric::of)) else { continue };
            let change = sign * told.count;
            if let (Some(referrer), Metric::Leads | Metric::Qualified | Metric::Rewarded) = (told.referrer, metric) {
                let gained = self.people.entry((told.space, referrer)).or_default();
                gained.campaign = campaign;
                match metric {
                    Metric::Leads => gained.leads += change,
                    Metric::Qualified => gained.qualified += change,
                    _ => gained.rewarded += change,
                }
            }
            let cell = Cell { space: told.space, campaign, day: told.at.day(), metric, source: told.source, currency: told.currency.unwrap_or_default() };
            let added = self.cells.entry(cell).or_default();
            added.count += change;
            added.amount_minor += told.amount_minor;
        }
        Ok(end)
    }

    /// As [`Self::add_events`], for visits.
    async fn add_visits(&mut self, tx: &mut Tx<'_>, from: Position, until: Position, limit: i64) -> Result<Option<(Position, bool)>> {
        let sql = "SELECT txid, seq, space, campaign_id, participant_id, at, bot, source FROM visits WHERE ({postgres:txid,} seq) > ({postgres:$1,} $2) AND ({postgres:txid,} seq) <= ({postgres:$3,} $4) AND {settled} ORDER BY {postgres:txid,} seq LIMIT $5";
        let read = |row: &Row<'_>| {
            Ok((
                (row.get(0)?, row.get(1)?),
                row.get::<i64>(2)?,
                row.get::<Uuid>(3)?,
                row.get::<Uuid>(4)?,
                Timestamp::from_ms(row.get(5)?),
                row.get::<bool>(6)?,
                row.get::<String>(7)?,
            ))
        };
        let rows = tx.fetch(sql, &[from.0.into(), from.1.into(), until.0.into(), until.1.into(), limit.into()], read).await?;
        let end = rows.last().map(|&(last, ..)| (last, rows.len() as i64 == limit));
        for (_, space, campaign, participant, at, bot, source) in rows {
            let metric = if bot { Metric::BotVisits } else { Metric::Visits };
            if !bot {
                let gained = self.people.entry((space, participant)).or_default();
                gained.campaign = campaign;
                gained.visits += 1;
            }
            self.cells.entry(Cell { space, campaign, day: at.day(), metric, source, currency: String::new() }).or_default().count += 1;
        }
        Ok(end)
    }

    /// The parts in which they are written; days with the first.
    fn parts(self, consumer: Consumer, from: Place, to: Position, now: Timestamp) -> Vec<Add> {
        let done = from.under_way.map(|(_, done)| done);
        let cells = if done.is_none() { self.cells.into_iter().collect() } else { Vec::new() };
        let mut left: VecDeque<_> = self.people.into_iter().filter(|(person, _)| done.is_none_or(|done| *person > done)).collect();
        let at_once = match consumer {
            Consumer::Events => CLIMBING_MAX,
            Consumer::Visits => VISITED_MAX,
        };
        let (mut parts, mut from, mut cells) = (Vec::new(), from, cells);
        loop {
            let people: Vec<_> = left.drain(..left.len().min(at_once)).collect();
            let to = match people.last() {
                Some((last, _)) if !left.is_empty() => Place { at: from.at, under_way: Some((to, *last)) },
                _ => Place { at: to, under_way: None },
            };
            parts.push(Add { consumer, from, to, cells: std::mem::take(&mut cells), people, now });
            from = to;
            if left.is_empty() {
                return parts;
            }
        }
    }
}

/// Adds up what comes next. Answers the parts in which it is written, and whether there is more behind it; nothing where
/// another node seems to be at it and we are `patient`.
async fn add_up(tx: &mut Tx<'_>, now: Timestamp, patient: bool) -> Result<Option<(Vec<Add>, bool)>> {
    let (mut parts, mut more) = (Vec::new(), false);
    for consumer in [Consumer::Events, Consumer::Visits] {
        let (from, since) = place(tx, consumer, false).await?.unwrap_or((Place::default(), now));
        if patient && from.under_way.is_some() && (now.ms() - since.ms()).unsigned_abs() < PATIENCE.as_millis() as u64 {
            return Ok(None);
        }
        // What is under way is the same things again, all of them, whatever the limit was of the version that began.
        let limit = |max| if from.under_way.is_some() { i64::MAX } else { max };
        let until = from.under_way.map_or((i64::MAX, i64::MAX), |(until, _)| until);
        let mut sums = Sums::default();
        let end = match consumer {
            Consumer::Events => sums.add_events(tx, from.at, until, limit(EVENTS_MAX)).await?,
            Consumer::Visits => sums.add_visits(tx, from.at, until, limit(VISITS_MAX)).await?,
        };
        if let Some((to, is_full)) = from.under_way.map(|(until, _)| (until, true)).or(end) {
            more |= is_full;
            parts.extend(sums.parts(consumer, from, to, now));
        }
    }
    Ok(Some((parts, more)))
}

impl Engine {
    /// Adds up everything that has happened so far.
    pub async fn catch_up_statistics(&self) -> Result<()> {
        // One at a time on this node; who waits finds most of the work done.
        let mut turn = self.statistics_turn().lock().await;
        // This may have been read before what the caller wants to see.
        while !turn.parts.is_empty() {
            self.turn(&mut turn, false).await?;
        }
        loop {
            match self.turn(&mut turn, false).await? {
                Turned::Idle => return Ok(()),
                Turned::On if turn.parts.is_empty() && turn.until.is_some() => return Ok(()),
                Turned::On | Turned::Elsewhere => {}
            }
        }
    }

    /// Writes the next part; adds up more where there is none.
    async fn turn(&self, turn: &mut Turn, patient: bool) -> Result<Turned> {
        if turn.parts.is_empty() {
            let (now, begun) = (self.wall(), Instant::now());
            let Some((parts, more)) = self.read(move |tx| Box::pin(add_up(tx, now, patient))).await? else { return Ok(Turned::Elsewhere) };
            // Where more waits already, nobody takes their time.
            *turn = Turn { parts: parts.into(), until: (!more).then(|| begun + ROUND) };
        }
        let Some(part) = turn.parts.pop_front() else { return Ok(Turned::Idle) };
        let written = self.store().write(part).await;
        if !matches!(written, Ok(true)) {
            turn.parts.clear();
        }
        Ok(if written? { Turned::On } else { Turned::Elsewhere })
    }

    /// Adds up what happens until told to stop: little by little, for what is done in one go each second is what a
    /// hundredth of all requests would wait for.
    pub(super) async fn keep_adding_up(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let begun = Instant::now();
            let mut turn = self.statistics_turn().lock().await;
            let outcome = self.turn(&mut turn, true).await;
            let left = turn.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            let parts = turn.parts.len() as u32 + 1;
            drop(turn);
            let pause = match outcome {
                Ok(Turned::On) => begun.elapsed().max(left / parts),
                Ok(Turned::Idle | Turned::Elsewhere) => ROUND,
                Err(error) => {
                    tracing::warn!(%error, "statistics failed, trying again");
                    ROUND
                }
            };
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MIGRATIONS;
    use goodword_store::{Options, Store};

    /// A lead of each of these referrers is qualified.
    struct Qualified(Vec<Uuid>);

    impl Command for Qualified {
        type Output = ();
        type Error = Error;

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            let insert = "INSERT INTO events (space, id, type, campaign_id, source, referrer_id, count, body, created_at)";
            let kind = EventType::LeadQualified.as_str();
            let rows: Vec<[Arg<'_>; 9]> = self
                .0
                .iter()
                .map(|id| [1.into(), Uuid::now_v7().into(), kind.into(), Uuid::nil().into(), "api".into(), (*id).into(), 1.into(), "{}".into(), 0.into()])
                .collect();
            Ok(tx.push_rows(insert, &rows, "").await?)
        }
    }

    /// So many referrers have so many qualified leads; and how many there are in all, by day.
    async fn counted(engine: &Engine) -> (Vec<(i64, i64)>, i64) {
        let read = engine.read(|tx| {
            Box::pin(async move {
                let people = "SELECT qualified, count(*) FROM statistics_referrers GROUP BY qualified ORDER BY qualified";
                let days = "SELECT CAST(coalesce(sum(count), 0) AS bigint) FROM statistics_daily WHERE metric = 'qualified'";
                let people = tx.fetch(people, &[], |row| Ok((row.get(0)?, row.get(1)?))).await?;
                Ok((people, tx.fetch_one(days, &[], |row| row.get(0)).await?.unwrap_or(0)))
            })
        });
        read.await.unwrap()
    }

    /// On PostgreSQL what is written is to be seen when the transactions of other tests have ended.
    async fn happen(engine: &Engine, who: &[Uuid]) {
        engine.store().write(Qualified(who.to_vec())).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let unseen = engine
                .read(|tx| Box::pin(async move { Ok(tx.fetch_one("SELECT count(*) FROM events WHERE NOT ({settled})", &[], |row| row.get::<i64>(0)).await?) }));
            if unseen.await.unwrap() == Some(0) {
                break;
            }
            assert!(Instant::now() < deadline, "not within 30 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_was_interrupted_is_counted_once_and_whoever_asks_goes_on_with_it() {
        goodword_testkit::on_both(async |url| {
            let store = Store::open(Options::new(&url, MIGRATIONS)).await.unwrap();
            let (one, _) = Engine::open(store.clone(), "https://refer.example").await.unwrap();
            let (two, _) = Engine::open(store.clone(), "https://refer.example").await.unwrap();
            let people: Vec<Uuid> = (0..2 * CLIMBING_MAX + 50).map(|_| Uuid::now_v7()).collect();
            happen(&one, &people).await;

            let mut turn = Turn::default();
            assert_eq!(one.turn(&mut turn, true).await.unwrap(), Turned::On);
            assert_eq!(turn.parts.len(), 2, "the first of three parts is written");
            assert_eq!(counted(&one).await, (vec![(1, CLIMBING_MAX as i64)], people.len() as i64), "days with the first part");
            assert_eq!(two.turn(&mut Turn::default(), true).await.unwrap(), Turned::Elsewhere, "another node is at it");

            // Some of those who are counted already, and some who are not, have another one.
            let again = [&people[..30], &people[people.len() - 20..]].concat();
            happen(&one, &again).await;
            two.catch_up_statistics().await.unwrap();
            let all = (vec![(1, (people.len() - 50) as i64), (2, 50)], people.len() as i64 + 50);
            assert_eq!(counted(&two).await, all, "a question waits for nobody");

            assert_eq!(one.turn(&mut turn, true).await.unwrap(), Turned::Elsewhere, "it was done meanwhile");
            assert!(turn.parts.is_empty());
            one.catch_up_statistics().await.unwrap();
            assert_eq!(counted(&one).await, all);
            drop((one, two));
            store.close().await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_question_sees_what_happened_while_a_round_was_being_written() {
        goodword_testkit::on_both(async |url| {
            let store = Store::open(Options::new(&url, MIGRATIONS)).await.unwrap();
            let (engine, _) = Engine::open(store.clone(), "https://refer.example").await.unwrap();
            let people: Vec<Uuid> = (0..CLIMBING_MAX + 1).map(|_| Uuid::now_v7()).collect();
            happen(&engine, &people).await;
            assert_eq!(engine.turn(&mut *engine.statistics_turn().lock().await, true).await.unwrap(), Turned::On);
            happen(&engine, &people[..1]).await;
            engine.catch_up_statistics().await.unwrap();
            assert_eq!(counted(&engine).await, (vec![(1, CLIMBING_MAX as i64), (2, 1)], people.len() as i64 + 1));
            drop(engine);
            store.close().await.unwrap();
        })
        .await;
    }
}
