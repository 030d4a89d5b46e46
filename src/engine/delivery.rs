//! Deliveries: what became of telling an endpoint an event.
//!
//! A delivery is written with its event ([`super::work::Work::emit`]) and is `due`. A node
//! takes due ones in batches by a lease ([`Claim`]): `due_at` is then the end of the lease,
//! so that what a killed node had taken is due again by itself. Where its receiver has room, the
//! node that writes a delivery takes it with that ([`super::door`]). No transaction is open while
//! the receiver is called. What came of it is written in batches, too ([`Record`]).

use super::{
    Engine, Error, Result, Space,
    endpoint::{self, About, EndpointStatus, SkipReason},
    event::EventType,
    feed::{self, Event},
    list::{Listing, Page, Query},
    work::{Act, Work},
};
use goodword_core::{
    ids::{DeliveryId, EndpointId, EventId, ReplayId, RewardDefinitionId},
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Command, Row, Tx, Type, Value};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a node may keep what it took. Longer than one try may last; short, because the
/// deliveries of a killed node wait for it.
pub const LEASE: Duration = Duration::from_secs(30);
/// Of an answer, so much is kept.
pub const RESPONSE_BYTES_MAX: usize = 4 * 1024;
/// Rows that one command changes where a backlog may be large, so that nobody waits long for the writer.
const CHUNK: i64 = 2_000;

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It was not tried yet.
    Due,
    /// A node has it in hand.
    Delivering,
    /// It has failed, and waits for its next try.
    Retrying,
    Delivered,
    /// Every try has failed.
    Exhausted,
    /// It was not sent; the reason says why.
    Skipped,
}

/// What went wrong, where there was no answer with a status to judge by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The name could not be resolved.
    Dns,
    /// No connection could be made.
    Connect,
    /// The certificate is not valid, or TLS failed.
    Tls,
    /// There was no answer in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer was not 2xx.
    Status,
    /// The answer was a redirect: they are not followed.
    Redirect,
    /// The address is one that this server does not call.
    AddressRefused,
    /// The request could not be made: a mistake of ours.
    Internal,
}

impl FailureKind {
    pub const ALL: [Self; 9] =
        [Self::Dns, Self::Connect, Self::Tls, Self::Timeout, Self::Broken, Self::Status, Self::Redirect, Self::AddressRefused, Self::Internal];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::AddressRefused => "address_refused",
            Self::Internal => "internal",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A delivery as it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub endpoint_id: EndpointId,
    pub event_id: EventId,
    pub event_type: EventType,
    pub state: DeliveryState,
    /// Why it will not be sent by itself any more.
    pub reason: Option<SkipReason>,
    pub attempts: i64,
    pub next_attempt_at: Option<Timestamp>,
    /// The HTTP status of the last answer.
    pub status: Option<i64>,
    /// What went wrong the last time.
    pub error: Option<FailureKind>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Its place in the list of its endpoint.
    #[serde(skip)]
    pub seq: i64,
}

/// One try.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: i64,
    pub url: String,
    /// Names of the endpoint's own headers that were sent; their values are secrets.
    pub header_names: Vec<String>,
    pub status: Option<i64>,
    pub error: Option<FailureKind>,
    /// The first 4 KiB of the answer; where there was none, what went wrong.
    pub response: Option<String>,
}

const SELECT: &str =
    "SELECT seq, id, endpoint_id, event_id, type, state, reason, attempts, due_at, lease_by, status, error, created_at, finished_at FROM deliveries";

fn read(row: &Row<'_>) -> store::Result<DeliveryView> {
    let broken = |what: &str| store::Error::Database(format!("a delivery has an unknown {what}"));
    let attempts = row.get::<i64>(7)?;
    let leased = row.get::<Option<Uuid>>(9)?.is_some();
    let state = match row.text(5)? {
        "due" if leased => DeliveryState::Delivering,
        "due" if attempts > 0 => DeliveryState::Retrying,
        "due" => DeliveryState::Due,
        "delivered" => DeliveryState::Delivered,
        "exhausted" => DeliveryState::Exhausted,
        "skipped" => DeliveryState::Skipped,
        _ => return Err(broken("state")),
    };
    Ok(DeliveryView {
        seq: row.get(0)?,
        id: DeliveryId::from_uuid(row.get(1)?),
        endpoint_id: EndpointId::from_uuid(row.get(2)?),
        event_id: EventId::from_uuid(row.get(3)?),
        event_type: EventType::parse(row.text(4)?).ok_or_else(|| broken("type"))?,
        state,
        reason: row.get::<Option<String>>(6)?.as_deref().and_then(SkipReason::parse),
        attempts,
        next_attempt_at: row.get::<Option<i64>>(8)?.filter(|_| !leased).map(Timestamp::from_ms),
        status: row.get(10)?,
        error: row.get::<Option<String>>(11)?.as_deref().and_then(FailureKind::parse),
        created_at: Timestamp::from_ms(row.get(12)?),
        finished_at: row.get::<Option<i64>>(13)?.map(Timestamp::from_ms),
    })
}

#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub endpoint: Option<EndpointId>,
    pub event: Option<EventId>,
    pub state: Option<DeliveryState>,
    /// 2 for 200 to 299.
    pub status_class: Option<i64>,
    pub kind: Option<EventType>,
}

/// Those of one endpoint in the order in which they were made; others in the order of their events,
/// whose time their ids begin with. Each order has its index.
pub async fn list(tx: &mut Tx<'_>, space: Space, filter: &DeliveryFilter, page: &Page) -> Result<Listing<DeliveryView>> {
    let mut query = Query::new(SELECT, space);
    if let Some(id) = filter.endpoint {
        query.and_id("endpoint_id =", id.uuid());
    }
    if let Some(id) = filter.event {
        let at = Timestamp::from_ms((id.uuid().as_u128() >> 80) as i64);
        query.and_id("id >=", first_of(at)).and_id("id <", first_of(at.plus_ms(1))).and_id("event_id =", id.uuid());
    }
    match filter.state {
        None => {}
        Some(DeliveryState::Due) => drop(query.and("state = 'due' AND attempts = 0 AND lease_by IS NULL")),
        Some(DeliveryState::Delivering) => drop(query.and("state = 'due' AND lease_by IS NOT NULL")),
        Some(DeliveryState::Retrying) => drop(query.and("state = 'due' AND attempts > 0 AND lease_by IS NULL")),
        Some(DeliveryState::Delivered) => drop(query.and("state = 'delivered'")),
        Some(DeliveryState::Exhausted) => drop(query.and("state = 'exhausted'")),
        Some(DeliveryState::Skipped) => drop(query.and("state = 'skipped'")),
    }
    if let Some(class) = filter.status_class {
        query.and_int("status >=", class * 100).and_int("status <", class * 100 + 100);
    }
    if let Some(kind) = filter.kind {
        query.and_text("type =", kind.as_str());
    }
    if filter.endpoint.is_none() || filter.event.is_some() {
        return query.page_by_id(tx, page, read, |delivery| delivery.id.uuid()).await;
    }
    if let Some(after) = page.created_after {
        query.and_int("created_at >", after.ms());
    }
    if let Some(before) = page.created_before {
        query.and_int("created_at <", before.ms());
    }
    query.page_by_number(tx, page, "seq", read, |delivery| delivery.seq).await
}

pub async fn get(tx: &mut Tx<'_>, space: Space, id: DeliveryId) -> Result<DeliveryView> {
    let sql = format!("{SELECT} WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read).await?.ok_or(Error::NotFound { what: "delivery" })
}

/// Every try of a delivery, the first one first; more than a hundred nobody reads.
pub async fn attempts(tx: &mut Tx<'_>, space: Space, id: DeliveryId) -> Result<Vec<Attempt>> {
    let sql =
        "SELECT at, duration_ms, url, header_names, status, error, response FROM delivery_attempts WHERE space = $1 AND delivery_id = $2 ORDER BY at LIMIT 100";
    let read = |row: &Row<'_>| {
        Ok(Attempt {
            at: Timestamp::from_ms(row.get(0)?),
            duration_ms: row.get(1)?,
            url: row.get(2)?,
            header_names: row.text(3)?.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            status: row.get(4)?,
            error: row.get::<Option<String>>(5)?.as_deref().and_then(FailureKind::parse),
            response: row.get(6)?,
        })
    };
    Ok(tx.fetch(sql, &[space.into(), id.uuid().into()], read).await?)
}

/// Sends a delivery once more, whatever has become of it: the same message under the same id.
#[derive(Debug, Clone)]
pub struct Resend {
    pub id: DeliveryId,
}

impl Act for Resend {
    type Output = DeliveryView;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<DeliveryView> {
        let space = work.context.space;
        let before = get(work.tx, space, self.id).await?;
        let endpoint = match endpoint::get(work.tx, space, before.endpoint_id).await {
            Err(Error::NotFound { .. }) => {
                let detail =
                    "The endpoint was deleted. Register its address anew and replay from then on (POST /v1/endpoints/{id}/replay with since): that sends it.";
                return Err(Error::Conflict { reason: None, detail: detail.into() });
            }
            found => found?,
        };
        must_be_told(endpoint.status)?;
        let sql =
            "UPDATE deliveries SET state = 'due', reason = NULL, attempts = 0, due_at = $3, lease_by = NULL, finished_at = NULL WHERE space = $1 AND id = $2";
        work.tx.execute(sql, &[space.into(), self.id.uuid().into(), work.context.wall.ms().into()]).await?;
        work.ring.push(endpoint.id.uuid());
        get(work.tx, space, self.id).await
    }
}

fn must_be_told(status: EndpointStatus) -> Result<()> {
    match status.skips() {
        None => Ok(()),
        Some(_) => Err(Error::Conflict { reason: None, detail: format!("The endpoint is {}; enable it first.", status.as_str()) }),
    }
}

// ---------------------------------------------------------------- replays

/// A task that sends an endpoint again what it has missed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Replay {
    pub id: ReplayId,
    pub endpoint_id: EndpointId,
    pub since: Timestamp,
    pub until: Timestamp,
    /// Events that were looked at.
    pub looked_at: i64,
    /// Deliveries that were made due.
    pub queued: i64,
    pub created_at: Timestamp,
    /// `null` while it goes on.
    pub finished_at: Option<Timestamp>,
}

const REPLAYS: &str = "SELECT id, endpoint_id, since, until, looked_at, queued, created_at, finished_at, space, after_event FROM replays";

fn read_replay(row: &Row<'_>) -> store::Result<(Replay, Space, Uuid)> {
    let replay = Replay {
        id: ReplayId::from_uuid(row.get(0)?),
        endpoint_id: EndpointId::from_uuid(row.get(1)?),
        since: Timestamp::from_ms(row.get(2)?),
        until: Timestamp::from_ms(row.get(3)?),
        looked_at: row.get(4)?,
        queued: row.get(5)?,
        created_at: Timestamp::from_ms(row.get(6)?),
        finished_at: row.get::<Option<i64>>(7)?.map(Timestamp::from_ms),
    };
    Ok((replay, Space::new(row.get(8)?), row.get(9)?))
}

pub async fn replay(tx: &mut Tx<'_>, space: Space, id: ReplayId) -> Result<Replay> {
    let sql = format!("{REPLAYS} WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read_replay).await?.map(|(replay, ..)| replay).ok_or(Error::NotFound { what: "replay" })
}

/// Sends everything again that an endpoint wants and has not taken since then.
#[derive(Debug, Clone)]
pub struct StartReplay {
    pub endpoint: EndpointId,
    pub since: Timestamp,
    /// Up to now where nothing is said.
    pub until: Option<Timestamp>,
}

impl Act for StartReplay {
    type Output = Replay;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Replay> {
        let space = work.context.space;
        must_be_told(endpoint::get(work.tx, space, self.endpoint).await?.status)?;
        let now = work.context.now;
        let until = self.until.unwrap_or(now).min(now.plus_ms(1));
        if self.since >= until {
            return Err(Error::Invalid { field: "/since".into(), expected: "a time before until, and before now".into() });
        }
        let id: ReplayId = work.mint.id();
        work.tx
            .execute(
                "INSERT INTO replays (space, id, endpoint_id, since, until, after_event, looked_at, queued, created_at) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)",
                &[
                    space.into(),
                    id.uuid().into(),
                    self.endpoint.uuid().into(),
                    self.since.ms().into(),
                    until.ms().into(),
                    first_of(self.since).into(),
                    work.context.wall.ms().into(),
                ],
            )
            .await?;
        work.ring.push(self.endpoint.uuid());
        replay(work.tx, space, id).await
    }
}

/// The smallest id of a millisecond: ids begin with 48 bits of time.
fn first_of(at: Timestamp) -> Uuid {
    Uuid::from_u128((at.ms() as u128) << 80)
}

/// Takes the oldest open replay one step further.
#[derive(Debug)]
pub struct StepReplay {
    pub now: Timestamp,
}

const REPLAY_STEP: i64 = 500;

impl Command for StepReplay {
    type Output = Option<EndpointId>;
    type Error = Error;

    /// The endpoint that the step was for; `None` when no replay is open, or others are at it.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output> {
        let sql = format!("{REPLAYS} WHERE finished_at IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED");
        let Some((replay, space, after)) = tx.fetch_one(&sql, &[], read_replay).await? else { return Ok(None) };
        let endpoint = match endpoint::get(tx, space, replay.endpoint_id).await {
            Ok(endpoint) if endpoint.status.skips().is_none() => Some(endpoint),
            Ok(_) | Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut queued = 0;
        let mut rows = Vec::new();
        if let Some(endpoint) = &endpoint {
            // The data is needed only where the person's source or the reward's definition decides.
            let sql = "SELECT id, type, campaign_id, participant_id, source, CASE WHEN $4 THEN body END, txid, seq FROM events WHERE space = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $5";
            let read = |row: &Row<'_>| {
                Ok((
                    row.get::<Uuid>(0)?,
                    EventType::parse(row.text(1)?),
                    row.get::<Option<Uuid>>(2)?,
                    row.get::<Option<Uuid>>(3)?,
                    row.get::<String>(4)?,
                    row.get::<Option<String>>(5)?,
                    (row.get::<i64>(6)?, row.get::<i64>(7)?),
                ))
            };
            let by_data = endpoint.person_source.is_some() || endpoint.definition.is_some();
            rows = tx.fetch(sql, &[space.into(), after.into(), first_of(replay.until).into(), by_data.into(), REPLAY_STEP.into()], read).await?;
        }
        let last = rows.last().map(|row| row.0);
        let more = rows.len() as i64 == REPLAY_STEP;
        let looked_at = rows.len() as i64;
        rows.sort_by_key(|row| row.6);
        for (event, kind, campaign, participant, source, body, _) in rows {
            let (Some(kind), Some(endpoint)) = (kind, &endpoint) else { continue };
            let (person, definition) = body.as_deref().map(decisive).unwrap_or_default();
            let source = person.as_deref().unwrap_or(&source);
            let about = About { kind, campaign: campaign.map(goodword_core::ids::Id::from_uuid), source, definition, itself: None };
            // Tests of endpoints are for one of them, at one time.
            if kind == EventType::EndpointTested || !endpoint.wants(about) {
                continue;
            }
            let id = endpoint::delivery_id(EventId::from_uuid(event), endpoint.id);
            queued += tx
                .execute(
                    "INSERT INTO deliveries (space, id, endpoint_id, event_id, type, participant_id, in_order, state, attempts, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'due', 0, $8, $8)
                     ON CONFLICT (space, id) DO UPDATE SET state = 'due', reason = NULL, attempts = 0, due_at = excluded.due_at, lease_by = NULL, finished_at = NULL
                     WHERE deliveries.state IN ('skipped', 'exhausted') OR (deliveries.state = 'due' AND deliveries.attempts > 0 AND deliveries.lease_by IS NULL)",
                    &[
                        space.into(),
                        id.uuid().into(),
                        endpoint.id.uuid().into(),
                        event.into(),
                        kind.as_str().into(),
                        participant.into(),
                        (endpoint.in_order && participant.is_some()).into(),
                        self.now.ms().into(),
                    ],
                )
                .await? as i64;
        }
        let finished = (!more).then(|| self.now.ms());
        tx.execute(
            "UPDATE replays SET after_event = $3, looked_at = looked_at + $4, queued = queued + $5, finished_at = $6 WHERE space = $1 AND id = $2",
            &[space.into(), replay.id.uuid().into(), last.unwrap_or(after).into(), looked_at.into(), queued.into(), finished.into()],
        )
        .await?;
        Ok(Some(replay.endpoint_id))
    }
}

/// Where the person of an event came from, as [`super::view::EventData::person_source`] has it, and the
/// definition of its reward.
fn decisive(body: &str) -> (Option<String>, Option<RewardDefinitionId>) {
    #[derive(Deserialize)]
    struct Person {
        source: String,
    }
    #[derive(Deserialize)]
    struct Data {
        lead: Option<Person>,
        referrer: Option<Person>,
        visit: Option<Person>,
        reward: Option<Reward>,
    }
    #[derive(Deserialize)]
    struct Reward {
        definition_id: RewardDefinitionId,
    }
    let Ok(data) = serde_json::from_str::<Data>(body) else { return (None, None) };
    (data.visit.or(data.lead).or(data.referrer).map(|person| person.source), data.reward.map(|reward| reward.definition_id))
}

// ---------------------------------------------------------------- what the dispatcher does

/// A delivery that a node has taken.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub space: Space,
    pub id: DeliveryId,
    pub event: EventId,
    pub endpoint: Uuid,
    /// Tries before this one.
    pub attempts: i64,
}

/// What a node has room for.
#[derive(Debug, Clone)]
pub struct Want {
    pub endpoint: Uuid,
    /// One person's deliveries one after the other.
    pub in_order: bool,
    pub limit: usize,
}

/// Takes due deliveries, the longest due first.
#[derive(Debug)]
pub struct Claim {
    pub wants: Vec<Want>,
    pub node: Uuid,
    pub now: Timestamp,
}

/// Not before an earlier one of the same person.
macro_rules! in_order {
    () => {
        "AND NOT (d.in_order AND EXISTS (SELECT 1 FROM deliveries e WHERE e.endpoint_id = d.endpoint_id AND e.participant_id = d.participant_id AND e.due_at IS NOT NULL AND e.in_order AND e.seq < d.seq))"
    };
}

macro_rules! claim {
    ($and:expr) => {
        concat!(
            "WITH due AS MATERIALIZED (SELECT d.seq FROM deliveries d WHERE d.endpoint_id = $1 AND d.due_at <= $2 ",
            $and,
            " ORDER BY d.due_at, d.seq LIMIT $3 FOR UPDATE SKIP LOCKED)
             UPDATE deliveries SET due_at = $4, lease_by = $5 WHERE seq IN (SELECT seq FROM due) RETURNING seq, space, id, event_id, attempts"
        )
    };
}

impl Command for Claim {
    type Output = Vec<Claimed>;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Claimed>> {
        let until = self.now.plus_ms(LEASE.as_millis() as i64).ms();
        let mut all = Vec::new();
        for want in &self.wants {
            let sql = if want.in_order { claim!(in_order!()) } else { claim!("") };
            let read = |row: &Row<'_>| {
                let claimed = Claimed {
                    space: Space::new(row.get(1)?),
                    id: DeliveryId::from_uuid(row.get(2)?),
                    event: EventId::from_uuid(row.get(3)?),
                    endpoint: want.endpoint,
                    attempts: row.get(4)?,
                };
                Ok((row.get::<i64>(0)?, claimed))
            };
            let args = [want.endpoint.into(), self.now.ms().into(), (want.limit as i64).into(), until.into(), self.node.into()];
            let mut taken = tx.fetch(sql, &args, read).await?;
            taken.sort_by_key(|(seq, _)| *seq);
            all.extend(taken.into_iter().map(|(_, claimed)| claimed));
        }
        Ok(all)
    }
}

/// What came of one try.
#[derive(Debug, Clone)]
pub struct Tried {
    pub claimed: Claimed,
    pub at: Timestamp,
    pub duration_ms: i64,
    pub url: Arc<str>,
    pub header_names: Arc<str>,
    pub status: Option<u16>,
    pub error: Option<FailureKind>,
    pub response: Option<String>,
    pub next: Next,
}

/// What is to become of a delivery after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// Once more, then.
    RetryAt(Timestamp),
    Exhausted,
    Skipped(SkipReason),
}

/// Writes down what came of a batch of tries.
#[derive(Debug)]
pub struct Record {
    pub tried: Arc<[Tried]>,
    pub node: Uuid,
    pub now: Timestamp,
}

const ATTEMPT_COLUMNS: &[(&str, Type)] = &[
    ("space", Type::Int),
    ("delivery_id", Type::Id),
    ("at", Type::Int),
    ("duration_ms", Type::Int),
    ("url", Type::Text),
    ("header_names", Type::Text),
    ("status", Type::Int),
    ("error", Type::Text),
    ("response", Type::Text),
];

impl Command for Record {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let mut delivered: HashMap<(Space, Option<u16>), Vec<Uuid>> = HashMap::new();
        for tried in self.tried.iter() {
            let (space, id) = (tried.claimed.space, tried.claimed.id.uuid());
            let (status, error) = (tried.status.map(i64::from), tried.error.map(FailureKind::as_str));
            match tried.next {
                Next::Delivered => delivered.entry((space, tried.status)).or_default().push(id),
                // Only what is still ours: another node may have taken it after our lease.
                Next::RetryAt(at) => {
                    let sql = "UPDATE deliveries SET attempts = attempts + 1, due_at = $2, lease_by = NULL, status = $3, error = $4 WHERE space = $6 AND id = $1 AND state = 'due' AND lease_by = $5";
                    tx.push(sql, &[id.into(), at.ms().into(), status.into(), error.into(), self.node.into(), space.into()]).await?;
                }
                Next::Exhausted | Next::Skipped(_) => {
                    let (state, reason) = match tried.next {
                        Next::Skipped(reason) => ("skipped", reason),
                        _ => ("exhausted", SkipReason::AttemptsExhausted),
                    };
                    let sql = "UPDATE deliveries SET state = $2, reason = $3, attempts = attempts + 1, due_at = NULL, lease_by = NULL, status = $4, error = $5, finished_at = $6 WHERE space = $8 AND id = $1 AND state = 'due' AND lease_by = $7";
                    let (reason, now) = (reason.as_str(), self.now.ms());
                    let args = [id.into(), state.into(), reason.into(), status.into(), error.into(), now.into(), self.node.into(), space.into()];
                    tx.push(sql, &args).await?;
                }
            }
        }
        // What has arrived has arrived, whoever holds the lease by now.
        for ((space, status), ids) in &delivered {
            let sql = "UPDATE deliveries SET state = 'delivered', reason = NULL, attempts = attempts + 1, due_at = NULL, lease_by = NULL, error = NULL, status = $1, finished_at = $2 WHERE state = 'due' AND space = $4 AND id {in:$3}";
            tx.push(sql, &[status.map(i64::from).into(), self.now.ms().into(), ids.as_slice().into(), (*space).into()]).await?;
        }
        let rows: Vec<Vec<Arg<'_>>> = self
            .tried
            .iter()
            .map(|tried| {
                vec![
                    tried.claimed.space.into(),
                    tried.claimed.id.uuid().into(),
                    tried.at.ms().into(),
                    tried.duration_ms.into(),
                    (&*tried.url).into(),
                    (&*tried.header_names).into(),
                    tried.status.map(i64::from).into(),
                    tried.error.map(FailureKind::as_str).into(),
                    tried.response.as_deref().into(),
                ]
            })
            .collect();
        tx.insert_new("delivery_attempts", ATTEMPT_COLUMNS, 1, &rows).await?;
        Ok(())
    }
}

/// Deliveries that a node has taken.
#[derive(Debug, Default)]
pub struct Taken(pub Vec<(Space, DeliveryId)>);

impl Taken {
    fn by_space(&self) -> HashMap<Space, Vec<Uuid>> {
        let mut all: HashMap<Space, Vec<Uuid>> = HashMap::new();
        self.0.iter().for_each(|(space, id)| all.entry(*space).or_default().push(id.uuid()));
        all
    }
}

impl<'a> FromIterator<&'a Claimed> for Taken {
    fn from_iter<I: IntoIterator<Item = &'a Claimed>>(all: I) -> Self {
        Self(all.into_iter().map(|claimed| (claimed.space, claimed.id)).collect())
    }
}

/// Gives back what was taken and not tried.
#[derive(Debug)]
pub struct Release {
    pub taken: Taken,
    pub node: Uuid,
    pub now: Timestamp,
}

impl Command for Release {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let sql = "UPDATE deliveries SET due_at = $2, lease_by = NULL WHERE state = 'due' AND lease_by = $1 AND space = $4 AND id {in:$3}";
        for (space, ids) in self.taken.by_space() {
            tx.push(sql, &[self.node.into(), self.now.ms().into(), ids.as_slice().into(), space.into()]).await?;
        }
        Ok(())
    }
}

/// What was taken and cannot be sent becomes rows that say so.
#[derive(Debug)]
pub struct SkipTaken {
    pub taken: Taken,
    pub reason: SkipReason,
    pub node: Uuid,
    pub now: Timestamp,
}

impl Command for SkipTaken {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let sql = "UPDATE deliveries SET state = 'skipped', reason = $2, due_at = NULL, lease_by = NULL, finished_at = $3 WHERE state = 'due' AND lease_by = $1 AND space = $5 AND id {in:$4}";
        for (space, ids) in self.taken.by_space() {
            tx.push(sql, &[self.node.into(), self.reason.as_str().into(), self.now.ms().into(), ids.as_slice().into(), space.into()]).await?;
        }
        Ok(())
    }
}

/// What is due for an endpoint that is not told any more becomes rows that say so. Answers
/// how many; fewer than asked for when all are done.
#[derive(Debug)]
pub struct Skip {
    pub endpoint: Uuid,
    pub reason: SkipReason,
    pub now: Timestamp,
}

impl Command for Skip {
    /// Whether there may be more.
    type Output = bool;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool> {
        let changed = tx
            .execute(
                "UPDATE deliveries SET state = 'skipped', reason = $2, due_at = NULL, lease_by = NULL, finished_at = $3
                 WHERE seq IN (SELECT seq FROM deliveries WHERE endpoint_id = $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT $4)",
                &[self.endpoint.into(), self.reason.as_str().into(), self.now.ms().into(), CHUNK.into()],
            )
            .await?;
        Ok(changed as i64 == CHUNK)
    }
}

/// Puts right what a clock that went back, or a killed process, has left.
#[derive(Debug)]
pub struct Clamp {
    pub now: Timestamp,
    /// No schedule waits longer.
    pub longest_wait: Duration,
    /// No other process holds leases: all there are belong to one that is dead.
    pub alone: bool,
}

impl Command for Clamp {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        let latest = self.now.plus_ms(self.longest_wait.as_millis() as i64).ms();
        tx.execute("UPDATE deliveries SET due_at = $1 WHERE due_at > $1", &[latest.into()]).await?;
        let lease_end = self.now.plus_ms(LEASE.as_millis() as i64).ms();
        tx.execute("UPDATE deliveries SET due_at = $1 WHERE due_at > $1 AND lease_by IS NOT NULL", &[lease_end.into()]).await?;
        if self.alone {
            tx.execute("UPDATE deliveries SET due_at = $1, lease_by = NULL WHERE due_at IS NOT NULL AND lease_by IS NOT NULL", &[self.now.ms().into()]).await?;
        }
        Ok(())
    }
}

/// Endpoints for which something waits, each with the time at which the first of it is
/// due. It looks at one row for each endpoint, however long the queues are.
pub async fn heads(tx: &mut Tx<'_>) -> Result<Vec<(Uuid, Timestamp)>> {
    let sql = "WITH RECURSIVE heads (endpoint_id) AS (
            SELECT first.endpoint_id FROM (SELECT endpoint_id FROM deliveries WHERE due_at IS NOT NULL ORDER BY endpoint_id LIMIT 1) AS first
            UNION ALL
            SELECT (SELECT d.endpoint_id FROM deliveries d WHERE d.due_at IS NOT NULL AND d.endpoint_id > h.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
            FROM heads h WHERE h.endpoint_id IS NOT NULL
        )
        SELECT h.endpoint_id, (SELECT d.due_at FROM deliveries d WHERE d.endpoint_id = h.endpoint_id AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1)
        FROM heads h WHERE h.endpoint_id IS NOT NULL";
    let rows = tx.fetch(sql, &[], |row| Ok((row.get::<Uuid>(0)?, row.get::<Option<i64>>(1)?))).await?;
    Ok(rows.into_iter().filter_map(|(endpoint, due)| Some((endpoint, Timestamp::from_ms(due?)))).collect())
}

/// Since when the first delivery of an endpoint is due that need not wait for an earlier one of the same
/// person; `None` where there is none.
pub async fn free_since(tx: &mut Tx<'_>, endpoint: Uuid, now: Timestamp) -> Result<Option<Timestamp>> {
    let sql = concat!("SELECT d.due_at FROM deliveries d WHERE d.endpoint_id = $1 AND d.due_at <= $2 ", in_order!(), " ORDER BY d.due_at LIMIT 1");
    let first = tx.fetch_one(sql, &[endpoint.into(), now.ms().into()], |row| row.get::<i64>(0)).await?;
    Ok(first.map(Timestamp::from_ms))
}

/// Counting stops there: more is a long queue in any case.
pub const COUNTED_MAX: i64 = 100_000;

/// How many are due by now, counted up to [`COUNTED_MAX`].
pub async fn count_due(tx: &mut Tx<'_>, endpoints: &[Uuid], now: Timestamp) -> Result<i64> {
    let mut count = 0;
    for endpoint in endpoints {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE endpoint_id = $1 AND due_at <= $2 LIMIT $3) AS due";
        let args = [(*endpoint).into(), now.ms().into(), (COUNTED_MAX - count).into()];
        count += tx.fetch_one(sql, &args, |row| row.get::<i64>(0)).await?.unwrap_or(0);
        if count >= COUNTED_MAX {
            break;
        }
    }
    Ok(count)
}

impl Engine {
    /// The events of deliveries, for those that write them out; those that are not there are left out.
    pub async fn events_of(&self, space: Space, ids: Vec<Uuid>) -> Result<Vec<Event>> {
        let workspace = self.workspace_of(space).await?;
        let args = [Value::Int(space.number()), Value::Ids(ids)];
        self.read(move |tx| Box::pin(async move { feed::by(tx, space, workspace, "space = $1 AND id {in:$2}", &args).await })).await
    }
}

/// Forgets deliveries, and their tries, that ended long ago. Answers whether there is more.
pub struct Forget {
    pub before: Timestamp,
}

impl Command for Forget {
    type Output = bool;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool> {
        // In the order in which they came, so that only rows are looked at which are old.
        let sql = "SELECT space, id, seq FROM (SELECT space, id, seq, created_at, due_at FROM deliveries ORDER BY seq LIMIT $2) AS oldest WHERE created_at < $1 AND due_at IS NULL";
        let read = |row: &Row<'_>| Ok((row.get::<i64>(0)?, row.get::<Uuid>(1)?, row.get::<i64>(2)?));
        let old = tx.fetch(sql, &[self.before.ms().into(), CHUNK.into()], read).await?;
        for (space, id, seq) in &old {
            tx.push("DELETE FROM delivery_attempts WHERE space = $1 AND delivery_id = $2", &[(*space).into(), (*id).into()]).await?;
            tx.push("DELETE FROM deliveries WHERE seq = $1", &[(*seq).into()]).await?;
        }
        Ok(old.len() as i64 == CHUNK)
    }
}
