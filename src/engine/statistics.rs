//! Statistics: roll-ups of events and visits, and the questions they answer.
//!
//! One consumer, "statistics", reads what happened in the order of commits and adds it
//! to the roll-ups, together with its own position: each thing is counted once, whatever
//! is killed. A question lets it catch up first, so an answer is never behind.

use super::{Engine, Error, Result, Space, event::EventType, view};
use goodword_core::{
    ids::{CampaignId, ReferrerId},
    money::Money,
    time::{Period, Timestamp},
};
use goodword_store::{self as store, Arg, Command, Row, Tx};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use utoipa::ToSchema;
use uuid::Uuid;

/// What is counted per day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Uses of links by people; bots are counted apart.
    Visits,
    BotVisits,
    Referrers,
    Leads,
    /// Qualifications, less those that were taken back.
    Qualified,
    Conversions,
    /// Rewards that fell due.
    RewardsDue,
    /// Rewards that were issued, less those that were reversed.
    Rewarded,
}

impl Metric {
    pub const ALL: [Metric; 8] =
        [Self::Visits, Self::BotVisits, Self::Referrers, Self::Leads, Self::Qualified, Self::Conversions, Self::RewardsDue, Self::Rewarded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Metric::Visits => "visits",
            Metric::BotVisits => "bot_visits",
            Metric::Referrers => "referrers",
            Metric::Leads => "leads",
            Metric::Qualified => "qualified",
            Metric::Conversions => "conversions",
            Metric::RewardsDue => "rewards_due",
            Metric::Rewarded => "rewarded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == word)
    }

    /// What an event adds, and how often.
    fn of(event: EventType) -> Option<(Metric, i64)> {
        Some(match event {
            EventType::ReferrerCreated | EventType::ReferrersImported => (Metric::Referrers, 1),
            EventType::LeadCreated | EventType::LeadClaimed => (Metric::Leads, 1),
            EventType::LeadReleased => (Metric::Leads, -1),
            EventType::LeadQualified => (Metric::Qualified, 1),
            EventType::LeadUnqualified => (Metric::Qualified, -1),
            EventType::ConversionRecorded => (Metric::Conversions, 1),
            EventType::RewardDue => (Metric::RewardsDue, 1),
            EventType::RewardIssued => (Metric::Rewarded, 1),
            EventType::RewardReversed => (Metric::Rewarded, -1),
            _ => return None,
        })
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

/// The next batch of events and visits, added up. It is read beside the writers; only its
/// sums are written among them.
#[derive(Default)]
struct Batch {
    events: Option<Step>,
    visits: Option<Step>,
    cells: BTreeMap<Cell, Added>,
    people: BTreeMap<(i64, Uuid), Gained>,
}

/// How far a batch takes its consumer.
struct Step {
    from: Position,
    to: Position,
    /// There is more behind it.
    more: bool,
}

type Position = (i64, i64);

const EVENTS: &str = "statistics.events";
const VISITS: &str = "statistics.visits";
/// Events, and visits, of one batch at most: their sums hold SQLite's writer for two milliseconds each.
const EVENTS_MAX: i64 = 250;
const VISITS_MAX: i64 = 1_000;
/// Until it is looked again whether something is to be added up: soon where something was, and later where nothing.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const QUIET_PAUSE: Duration = Duration::from_secs(1);

/// Where a consumer stands.
async fn position(tx: &mut Tx<'_>, name: &'static str) -> Result<Position> {
    let sql = "SELECT txid, seq FROM consumers WHERE name = $1";
    Ok(tx.fetch_one(sql, &[name.into()], |row| Ok((row.get(0)?, row.get(1)?))).await?.unwrap_or_default())
}

/// Adds a batch to the roll-ups, unless another node has done so.
struct Add {
    batch: Batch,
    now: Timestamp,
}

impl Command for Add {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let Batch { events, visits, cells, people } = &self.batch;
        let steps = [(EVENTS, events), (VISITS, visits)].map(|(name, step)| step.as_ref().map(|step| (name, step)));
        for (name, step) in steps.iter().flatten() {
            if self.locked_position(tx, name).await? != step.from {
                return Ok(()); // and the next batch begins where that node has ended
            }
        }
        for (name, Step { to: (txid, seq), .. }) in steps.iter().flatten() {
            let args = [(*name).into(), (*txid).into(), (*seq).into(), self.now.ms().into()];
            tx.push("UPDATE consumers SET txid = $2, seq = $3, updated_at = $4 WHERE name = $1", &args).await?;
        }
        // In the order of their keys, so that two nodes never wait for each other in a circle.
        let cells: Vec<[Arg<'_>; 8]> = cells
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

        // Most only gain visits, which leave the ranking of referrers, and its index, alone.
        let (climbing, visited): (Vec<_>, Vec<_>) = people.iter().partition(|(_, gained)| gained.climbs());
        let rows = |people: Vec<(&(i64, Uuid), &Gained)>| -> Vec<[Arg<'static>; 7]> {
            let row = |(&(space, participant), gained): (&(i64, Uuid), &Gained)| {
                [
                    space.into(),
                    gained.campaign.into(),
                    participant.into(),
                    gained.visits.into(),
                    gained.leads.into(),
                    gained.qualified.into(),
                    gained.rewarded.into(),
                ]
            };
            people.into_iter().map(row).collect()
        };
        let insert = "INSERT INTO statistics_referrers (space, campaign_id, participant_id, visits, leads, qualified, rewarded)";
        let add = "ON CONFLICT (space, participant_id) DO UPDATE SET visits = statistics_referrers.visits + excluded.visits";
        tx.push_rows(insert, &rows(visited), add).await?;
        let add = "ON CONFLICT (space, participant_id) DO UPDATE SET visits = statistics_referrers.visits + excluded.visits, leads = statistics_referrers.leads + excluded.leads,
                     qualified = statistics_referrers.qualified + excluded.qualified, rewarded = statistics_referrers.rewarded + excluded.rewarded";
        Ok(tx.push_rows(insert, &rows(climbing), add).await?)
    }
}

impl Add {
    /// Where a consumer stands; its row stays locked, so that one node counts at a time.
    async fn locked_position(&self, tx: &mut Tx<'_>, name: &'static str) -> Result<Position> {
        let insert = "INSERT INTO consumers (name, txid, seq, updated_at) VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING";
        tx.push(insert, &[name.into(), self.now.ms().into()]).await?;
        let sql = "SELECT txid, seq FROM consumers WHERE name = $1 FOR UPDATE";
        Ok(tx.fetch_one(sql, &[name.into()], |row| Ok((row.get(0)?, row.get(1)?))).await?.unwrap_or_default())
    }
}

impl Gained {
    /// More than visits.
    const fn climbs(&self) -> bool {
        self.leads != 0 || self.qualified != 0 || self.rewarded != 0
    }
}

impl Batch {
    async fn read(tx: &mut Tx<'_>) -> Result<Self> {
        let mut batch = Self::default();
        batch.events = batch.add_events(tx).await?;
        batch.visits = batch.add_visits(tx).await?;
        Ok(batch)
    }

    fn more(&self) -> bool {
        [&self.events, &self.visits].into_iter().flatten().any(|step| step.more)
    }

    fn is_empty(&self) -> bool {
        self.events.is_none() && self.visits.is_none()
    }

    async fn add_events(&mut self, tx: &mut Tx<'_>) -> Result<Option<Step>> {
        struct Told {
            position: (i64, i64),
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
        let from = position(tx, EVENTS).await?;
        // A lead stays with the source that it came from, whoever tells what it does later: so sources have a funnel.
        let sql = "SELECT txid, seq, space, type, campaign_id, coalesce(lead_source, source), referrer_id, amount_minor, currency, created_at, count FROM events WHERE ({postgres:txid,} seq) > ({postgres:$1,} $2) AND {settled} ORDER BY {postgres:txid,} seq LIMIT $3";
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
        let rows = tx.fetch(sql, &[from.0.into(), from.1.into(), EVENTS_MAX.into()], read).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let step = Step { from, to: last.position, more: rows.len() as i64 == EVENTS_MAX };
        for told in rows {
            let (Some(campaign), Some((metric, sign))) = (told.campaign, told.event.and_then(Metric::of)) else { continue };
            let change = sign * told.count;
            if let Some(referrer) = told.referrer {
                let gained = self.people.entry((told.space, referrer)).or_default();
                gained.campaign = campaign;
                match metric {
                    Metric::Leads => gained.leads += change,
                    Metric::Qualified => gained.qualified += change,
                    Metric::Rewarded => gained.rewarded += change,
                    _ => {}
                }
            }
            let cell = Cell { space: told.space, campaign, day: told.at.day(), metric, source: told.source, currency: told.currency.unwrap_or_default() };
            let added = self.cells.entry(cell).or_default();
            added.count += change;
            added.amount_minor += told.amount_minor;
        }
        Ok(Some(step))
    }

    async fn add_visits(&mut self, tx: &mut Tx<'_>) -> Result<Option<Step>> {
        let from = position(tx, VISITS).await?;
        let sql = "SELECT txid, seq, space, campaign_id, participant_id, at, bot, source FROM visits WHERE ({postgres:txid,} seq) > ({postgres:$1,} $2) AND {settled} ORDER BY {postgres:txid,} seq LIMIT $3";
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
        let rows = tx.fetch(sql, &[from.0.into(), from.1.into(), VISITS_MAX.into()], read).await?;
        let Some(&(to, ..)) = rows.last() else { return Ok(None) };
        let step = Step { from, to, more: rows.len() as i64 == VISITS_MAX };
        for (_, space, campaign, participant, at, bot, source) in rows {
            let metric = if bot { Metric::BotVisits } else { Metric::Visits };
            if !bot {
                let gained = self.people.entry((space, participant)).or_default();
                gained.campaign = campaign;
                gained.visits += 1;
            }
            self.cells.entry(Cell { space, campaign, day: at.day(), metric, source, currency: String::new() }).or_default().count += 1;
        }
        Ok(Some(step))
    }
}

impl Engine {
    /// Adds up everything that has happened so far.
    pub async fn catch_up_statistics(&self) -> Result<()> {
        // One at a time on this node; who waits finds most of the work done.
        let _turn = self.statistics_turn().lock().await;
        while self.add_up().await? == Some(true) {}
        Ok(())
    }

    /// Adds up the next batch. Answers whether there is more behind it; `None` where there was nothing.
    async fn add_up(&self) -> Result<Option<bool>> {
        let batch = self.read(|tx| Box::pin(Batch::read(tx))).await?;
        if batch.is_empty() {
            return Ok(None);
        }
        let more = batch.more();
        self.store().write(Add { batch, now: self.wall() }).await?;
        Ok(Some(more))
    }

    /// Adds up what happens until told to stop: in small portions with a pause as long between them, for what is done
    /// in one go each second is what a hundredth of all requests would wait for.
    pub(super) async fn keep_adding_up(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let begun = Instant::now();
            let turn = self.statistics_turn().lock().await;
            let outcome = self.add_up().await;
            drop(turn);
            let pause = match outcome {
                Ok(Some(true)) => begun.elapsed(),
                Ok(Some(false)) => BUSY_PAUSE,
                Ok(None) => QUIET_PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "statistics failed, trying again");
                    QUIET_PAUSE
                }
            };
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

// ---------------------------------------------------------------- questions

/// What a question is about: a campaign or all of them, and days (UTC, both included).
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub campaign: Option<CampaignId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Scope {
    fn days(&self) -> (i64, i64) {
        (self.from.map_or(0, Timestamp::day), self.to.map_or(i64::MAX / 2, Timestamp::day))
    }
}

/// How many came how far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Funnel {
    pub visits: i64,
    pub bot_visits: i64,
    pub referrers: i64,
    pub leads: i64,
    pub qualified: i64,
    pub conversions: i64,
    pub rewards_due: i64,
    pub rewarded: i64,
    /// What rewards were worth that fell due, were issued, and what conversions were
    /// worth: an amount per currency.
    pub due_amounts: Vec<Money>,
    pub rewarded_amounts: Vec<Money>,
    pub conversion_amounts: Vec<Money>,
}

impl Funnel {
    fn add(&mut self, metric: Metric, count: i64, currency: &str, amount_minor: i64) {
        match metric {
            Metric::Visits => self.visits += count,
            Metric::BotVisits => self.bot_visits += count,
            Metric::Referrers => self.referrers += count,
            Metric::Leads => self.leads += count,
            Metric::Qualified => self.qualified += count,
            Metric::Conversions => self.conversions += count,
            Metric::RewardsDue => self.rewards_due += count,
            Metric::Rewarded => self.rewarded += count,
        }
        let amounts = match metric {
            Metric::RewardsDue => &mut self.due_amounts,
            Metric::Rewarded => &mut self.rewarded_amounts,
            Metric::Conversions => &mut self.conversion_amounts,
            _ => return,
        };
        let Ok(currency) = currency.parse() else { return };
        match amounts.iter_mut().find(|money| money.currency == currency) {
            Some(money) => money.minor += amount_minor,
            None => amounts.push(Money::new(amount_minor, currency)),
        }
    }
}

/// A funnel for each value that is grouped by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Group {
    /// The source, the campaign's id, or the first day of the period.
    pub key: String,
    /// For people: the campaign's name, or the key.
    pub label: String,
    #[serde(flatten)]
    pub funnel: Funnel,
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Day,
    Week,
    Month,
    /// Leads, and what they bring, under the source that the lead came from, whichever system tells it later; referrers
    /// under their own; visits under the channel of the link (`whatsapp`, `qr`, `link`).
    Source,
    Campaign,
}

const ROWS_MAX: i64 = 50_000;

async fn cells(tx: &mut Tx<'_>, space: Space, scope: &Scope, column: &str) -> Result<Vec<(String, Metric, i64, String, i64)>> {
    let (from, to) = scope.days();
    let filter =
        if scope.campaign.is_some() { "campaign_id = $4" } else { "campaign_id IN (SELECT id FROM campaigns WHERE space = $1 AND deleted_at IS NULL)" };
    let sql = format!(
        "SELECT {column}, metric, CAST(sum(count) AS bigint), currency, CAST(sum(amount_minor) AS bigint) FROM statistics_daily WHERE space = $1 AND day >= $2 AND day <= $3 AND {filter} GROUP BY 1, 2, 4 ORDER BY 1 LIMIT {ROWS_MAX}"
    );
    let mut args = vec![space.into(), from.into(), to.into()];
    if let Some(id) = scope.campaign {
        args.push(id.uuid().into());
    }
    let read = |row: &Row<'_>| {
        let key = match column {
            "day" => row.get::<i64>(0)?.to_string(),
            "campaign_id" => CampaignId::from_uuid(row.get(0)?).to_string(),
            "''" => String::new(),
            _ => row.get::<String>(0)?,
        };
        let metric = Metric::parse(row.text(1)?).ok_or_else(|| store::Error::Database("a statistic has an unknown metric".into()))?;
        Ok((key, metric, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    Ok(tx.fetch(&sql, &args, read).await?)
}

pub async fn funnel(tx: &mut Tx<'_>, space: Space, scope: &Scope) -> Result<Funnel> {
    let mut funnel = Funnel::default();
    for (_, metric, count, currency, amount) in cells(tx, space, scope, "''").await? {
        funnel.add(metric, count, &currency, amount);
    }
    Ok(funnel)
}

pub async fn groups(tx: &mut Tx<'_>, space: Space, scope: &Scope, by: GroupBy) -> Result<Vec<Group>> {
    let column = match by {
        GroupBy::Day | GroupBy::Week | GroupBy::Month => "day",
        GroupBy::Source => "source",
        GroupBy::Campaign => "campaign_id",
    };
    let mut names = BTreeMap::new();
    if by == GroupBy::Campaign {
        let read = |row: &Row<'_>| Ok((CampaignId::from_uuid(row.get(0)?).to_string(), row.get::<String>(1)?));
        names.extend(tx.fetch("SELECT id, name FROM campaigns WHERE space = $1 LIMIT 10000", &[space.into()], read).await?);
    }
    let mut groups: Vec<Group> = Vec::new();
    for (key, metric, count, currency, amount) in cells(tx, space, scope, column).await? {
        let key = match (by, key.parse::<i64>()) {
            (GroupBy::Day, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).date(),
            (GroupBy::Week, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).start_of(Period::Week).date(),
            (GroupBy::Month, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).start_of(Period::Month).date(),
            _ => key,
        };
        if groups.last().is_none_or(|group| group.key != key) {
            let label = names.get(&key).cloned().unwrap_or_else(|| key.clone());
            groups.push(Group { key, label, funnel: Funnel::default() });
        }
        if let Some(group) = groups.last_mut() {
            group.funnel.add(metric, count, &currency, amount);
        }
    }
    Ok(groups)
}

/// A referrer with what they brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopReferrer {
    pub referrer: view::ReferrerRef,
    pub campaign_id: CampaignId,
    pub visits: i64,
    pub leads: i64,
    pub qualified: i64,
    pub rewarded: i64,
}

/// Those with the most qualified leads, then the most leads.
pub async fn top_referrers(tx: &mut Tx<'_>, shared: &super::Shared, space: Space, campaign: Option<CampaignId>, limit: i64) -> Result<Vec<TopReferrer>> {
    let campaigns = match campaign {
        Some(id) => vec![id.uuid()],
        None => {
            tx.fetch("SELECT id FROM campaigns WHERE space = $1 AND deleted_at IS NULL ORDER BY id DESC LIMIT 200", &[space.into()], |row| row.get::<Uuid>(0))
                .await?
        }
    };
    let mut found = Vec::new();
    for id in campaigns {
        let sql = "SELECT participant_id, visits, leads, qualified, rewarded FROM statistics_referrers WHERE space = $1 AND campaign_id = $2 ORDER BY qualified DESC, leads DESC LIMIT $3";
        let read = |row: &Row<'_>| Ok((row.get::<Uuid>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?, row.get::<i64>(3)?, row.get::<i64>(4)?));
        found.extend(tx.fetch(sql, &[space.into(), id.into(), limit.into()], read).await?.into_iter().map(|row| (id, row)));
    }
    found.sort_by_key(|(_, (_, visits, leads, qualified, _))| std::cmp::Reverse((*qualified, *leads, *visits)));
    let mut top = Vec::new();
    for (campaign, (id, visits, leads, qualified, rewarded)) in found.into_iter().take(limit as usize) {
        if let Some(referrer) = super::participant::find(tx, space, id).await? {
            top.push(TopReferrer { referrer: referrer.referrer_ref(shared), campaign_id: CampaignId::from_uuid(campaign), visits, leads, qualified, rewarded });
        }
    }
    Ok(top)
}

/// How often the links of some referrers were used, by people.
pub async fn visits_of(tx: &mut Tx<'_>, space: Space, referrers: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    super::number::by_ids(tx, "SELECT participant_id, visits FROM statistics_referrers WHERE space = $1 AND participant_id", "", space, referrers).await
}

/// How many people some campaigns have.
pub async fn people_of(tx: &mut Tx<'_>, space: Space, campaigns: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    super::number::by_ids(tx, "SELECT campaign_id, count(*) FROM participants WHERE space = $1 AND campaign_id", " GROUP BY campaign_id", space, campaigns)
        .await
}

/// What one referrer brought.
pub async fn of_referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<(i64, i64, i64, i64)> {
    let sql = "SELECT visits, leads, qualified, rewarded FROM statistics_referrers WHERE space = $1 AND participant_id = $2";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    Ok(tx.fetch_one(sql, &[space.into(), id.uuid().into()], read).await?.unwrap_or_default())
}
