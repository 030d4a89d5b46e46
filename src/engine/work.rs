//! What every change has in common: who asks, when, with which key; and the record of
//! what came in (signals) and what went out (events).

use super::{
    Error, Result, Shared, Space,
    delivery::{Claimed, LEASE},
    door::{Handed, Seat},
    endpoint::{self, About, Endpoint, SkipReason},
    event::EventType,
    feed::{ERASED, Told},
    sample,
    vault::Place,
    view,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use goodword_core::{
    campaign::ConversionKind,
    condition::{Condition, Subject, Verdict},
    decide::{Decision, Outcome},
    explain::{Check, Reason},
    ids::{CampaignId, DeliveryId, EndpointId, EventId, Mint, RewardDefinitionId, SignalId},
    money::Money,
    reward::RewardState,
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Row, Tx};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Who asks, on which side, and when. A command holds its time and its randomness, so
/// that it can be applied again and says the same.
#[derive(Debug, Clone)]
pub struct Context {
    pub space: Space,
    /// The time on this side.
    pub now: Timestamp,
    /// The time of the world outside, where deliveries happen: on the test side it may be another.
    pub wall: Timestamp,
    /// Who it is, for the record: `key_…`, `form`, `import`, `clock`, `cli`.
    pub actor: Arc<str>,
    /// Where it came from, in the words that people filter by.
    pub source: Arc<str>,
    pub seed: u128,
}

/// A change: a value whose `act` reads facts, asks the core and writes.
pub trait Act: Send + Sync + 'static {
    type Output: Send + 'static;
    /// As [`store::Command::MAY_SHARE`]; most changes are short.
    const MAY_SHARE: bool = true;
    const SECRECY: Secrecy = Secrecy::Open;

    fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> impl Future<Output = Result<Self::Output>> + Send + 'a;
}

/// How an answer is kept under the key of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// As it is: it shows nothing secret.
    Open,
    /// It shows a secret that lies sealed in the database, and lies there sealed as well.
    Sealed,
    /// It shows a secret of which only the hash is kept, and is not kept: the id of what was made is.
    Hashed,
}

/// A rule's condition, and what it is asked about. Conditions are evaluated while no
/// transaction is open: a change that meets one which was not answered yet is given up
/// with [`Error::Unanswered`], and made again with the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub condition: Condition,
    pub kind: ConversionKind,
    pub amount: Option<Money>,
    pub source: Arc<str>,
    pub properties: serde_json::Value,
}

impl Question {
    pub fn answer(&self) -> Verdict {
        self.condition.evaluate(&Subject {
            kind: self.kind.as_str(),
            amount_minor: self.amount.map_or(0, |amount| amount.minor),
            currency: self.amount.as_ref().map_or("", |amount| amount.currency.as_str()),
            source: &self.source,
            properties: &self.properties,
        })
    }
}

/// The transaction of one change.
pub struct Work<'w, 't> {
    pub tx: &'w mut Tx<'t>,
    pub context: &'w Context,
    pub shared: &'w Shared,
    pub mint: Mint,
    /// What conditions said.
    pub answers: &'w [(Question, Verdict)],
    /// What it has brought about so far, for the signal's record.
    pub effects: Vec<Effect>,
    /// What the world is told of it, written together at the end.
    told: Vec<Telling>,
    /// It happened elsewhere, before: no endpoint is told.
    is_history: bool,
    /// Deliveries may be taken as they are written: what becomes of the transaction is seen to.
    hands_over: bool,
    /// Endpoints for which something was written: the bell rings for them after the commit.
    pub(super) ring: Vec<Uuid>,
    /// Nodes must read the list of endpoints again.
    pub(super) endpoints_changed: bool,
}

/// An event on its way into the table.
struct Telling {
    event: Told,
    participant: Option<Uuid>,
    referrer: Option<Uuid>,
    moved: Option<Money>,
    /// How many it tells of. 0: a reward that went back in part is one all the same.
    count: i64,
    /// Where the person came from that it is about.
    person_source: Option<String>,
    /// Where the lead came from that it is about: for the roll-ups.
    lead_source: Option<String>,
    /// Of the reward that it is about.
    definition: Option<RewardDefinitionId>,
    to: To,
    /// Deliveries of it that this node has taken.
    taken: Vec<(Claimed, Seat)>,
}

/// Which endpoints are told.
enum To {
    /// Those that want it; not the one that it is about.
    Wanting { but: Option<EndpointId> },
    /// This one alone.
    One(Box<Endpoint>),
}

/// What a change leaves to be done after its commit.
pub(super) struct Made<T> {
    pub output: T,
    pub ring: Vec<Uuid>,
    handed: Vec<Handed>,
    pub endpoints_changed: bool,
}

/// An answer that is kept under the key of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// JSON.
    pub body: String,
    /// The request had been answered before; this is the first answer again.
    pub replayed: bool,
}

impl Reply {
    pub fn new(status: u16, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_string(body).map_err(|error| Error::Store(store::Error::Database(error.to_string())))?;
        Ok(Self { status, body, replayed: false })
    }
}

/// The key that a client gave its request, and what the request was.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 over method, path and body.
    pub request_hash: [u8; 32],
}

/// How long the answer to a key is kept.
pub const IDEMPOTENCY_DAYS: u32 = 30;

pub(super) struct Change<A> {
    pub context: Context,
    pub shared: Arc<Shared>,
    /// Shared, so that it can be tried again with another seed.
    pub act: Arc<A>,
    pub answers: Vec<(Question, Verdict)>,
}

impl<A: Act> store::Command for Change<A> {
    type Output = Made<A::Output>;
    type Error = Error;
    const MAY_SHARE: bool = A::MAY_SHARE;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Made<A::Output>> {
        let mut work = Work { hands_over: true, ..Work::new(tx, &self.context, &self.shared, &self.answers) };
        let output = self.act.act(&mut work).await?;
        work.tell().await?;
        let handed = work.told.into_iter().filter(|told| !told.taken.is_empty());
        let handed = handed.map(|told| Handed { event: told.event, taken: told.taken, at: self.context.wall }).collect();
        Ok(Made { output, ring: work.ring, handed, endpoints_changed: work.endpoints_changed })
    }

    fn committed(&self, made: &mut Made<A::Output>) {
        let endpoints = &self.shared.endpoints;
        endpoints.doors.hand(made.handed.drain(..));
        // What has changed about an endpoint must be known before the bell rings for it.
        if !made.endpoints_changed && !made.ring.is_empty() {
            endpoints.ring(made.ring.drain(..));
        }
    }
}

/// A change whose answer is kept, in the same transaction, under the request's key.
pub(super) struct Keyed<A, R> {
    pub act: A,
    pub key: Idempotency,
    pub render: R,
}

impl<A, R> Act for Keyed<A, R>
where
    A: Act,
    R: Fn(A::Output) -> Result<Reply> + Send + Sync + 'static,
{
    type Output = Reply;
    const MAY_SHARE: bool = A::MAY_SHARE;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Reply> {
        let key = &self.key;
        let space = work.context.space;
        if let Some(reply) = kept(work, key).await? {
            return match A::SECRECY {
                Secrecy::Open => Ok(reply),
                Secrecy::Sealed => Ok(Reply { body: unsealed(work, key, &reply.body)?, ..reply }),
                Secrecy::Hashed => Err(Error::SecretWasShown { made: reply.body }),
            };
        }
        let reply = (self.render)(self.act.act(work).await?)?;
        let body = match A::SECRECY {
            Secrecy::Open => reply.body.clone(),
            Secrecy::Sealed => sealed(work, key, &reply.body)?,
            Secrecy::Hashed => id_in(&reply.body)?,
        };
        work.tx
            .push(
                "INSERT INTO idempotency (space, key, request_hash, status, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
                &[
                    space.into(),
                    key.key.as_str().into(),
                    Arg::Bytes(&key.request_hash),
                    i64::from(reply.status).into(),
                    body.as_str().into(),
                    work.context.now.ms().into(),
                ],
            )
            .await?;
        Ok(reply)
    }
}

/// The answer that is kept under a key, if one is.
async fn kept(work: &mut Work<'_, '_>, key: &Idempotency) -> Result<Option<Reply>> {
    let sql = "SELECT request_hash, status, body FROM idempotency WHERE space = $1 AND key = $2";
    let read = |row: &Row<'_>| Ok((row.get::<Vec<u8>>(0)?, Reply { status: row.get::<i64>(1)? as u16, body: row.get(2)?, replayed: true }));
    match work.tx.fetch_one(sql, &[work.space().into(), key.key.as_str().into()], read).await? {
        None => Ok(None),
        Some((hash, _)) if hash != key.request_hash => Err(Error::IdempotencyReuse),
        Some((_, reply)) if reply.status == UNDER_WAY => Err(Error::IdempotencyUnderWay),
        Some((_, reply)) if reply.body == ERASED => Err(Error::IdempotencyErased),
        Some((_, reply)) => Ok(Some(reply)),
    }
}

/// The id of what an answer tells of.
fn id_in(body: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Made {
        id: String,
    }
    let made: Made = serde_json::from_str(body).map_err(|error| Error::Store(store::Error::Database(error.to_string())))?;
    Ok(made.id)
}

/// Where an answer with a secret is kept, which it can be opened at only.
fn place(space: Space, key: &Idempotency) -> String {
    format!("{}/{}", space.number(), key.key)
}

fn sealed(work: &Work<'_, '_>, key: &Idempotency, body: &str) -> Result<String> {
    let id = place(work.space(), key);
    Ok(BASE64.encode(work.shared.vault.seal(Place { column: "idempotency.body", id: &id }, body.as_bytes())?))
}

fn unsealed(work: &Work<'_, '_>, key: &Idempotency, body: &str) -> Result<String> {
    let id = place(work.space(), key);
    let bytes = work.shared.vault.open(Place { column: "idempotency.body", id: &id }, &BASE64.decode(body).unwrap_or_default())?;
    String::from_utf8(bytes).map_err(|error| Error::Store(store::Error::Database(error.to_string())))
}

/// The status of a key whose request is being carried out: no answer has it.
const UNDER_WAY: u16 = 0;
/// A request that has held its key for longer has died with its process; those that make many changes take some
/// seconds.
const CLAIM_MS: i64 = 30_000;

/// Claims the key of a request that makes many changes, each in its own transaction, or answers with what is kept
/// under it. The claim spares a repeat that comes too early half an answer, and holds no promise: each of the
/// changes can be made again without harm, so a claim that was left behind is simply taken over.
pub(super) struct Claim {
    pub key: Idempotency,
}

impl Act for Claim {
    type Output = Option<Reply>;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Option<Reply>> {
        let now = work.now();
        let sql = "INSERT INTO idempotency (space, key, request_hash, status, body, created_at) VALUES ($1, $2, $3, 0, '', $4)
             ON CONFLICT (space, key) DO UPDATE SET body = '', created_at = excluded.created_at
             WHERE idempotency.status = 0 AND idempotency.created_at < $5 AND idempotency.request_hash = excluded.request_hash";
        let args = [work.space().into(), self.key.key.as_str().into(), Arg::Bytes(&self.key.request_hash), now.ms().into(), (now.ms() - CLAIM_MS).into()];
        if work.tx.execute(sql, &args).await? > 0 {
            return Ok(None);
        }
        // Nothing is there when the other request has just failed: the next repeat carries it out.
        kept(work, &self.key).await?.map(Some).ok_or(Error::IdempotencyUnderWay)
    }
}

/// Keeps the answer of a request that claimed its key; gives the key back where there is none.
pub(super) struct Conclude {
    pub key: Idempotency,
    pub reply: Option<Reply>,
}

impl Act for Conclude {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let (space, key) = (work.space(), self.key.key.as_str());
        // Whoever was erased meanwhile has marked the claim: the answer may tell of them.
        let (sql, args) = match &self.reply {
            Some(reply) => (
                "UPDATE idempotency SET status = $3, body = $4 WHERE space = $1 AND key = $2 AND status = 0 AND body = ''",
                vec![space.into(), key.into(), i64::from(reply.status).into(), reply.body.as_str().into()],
            ),
            None => ("DELETE FROM idempotency WHERE space = $1 AND key = $2 AND status = 0", vec![space.into(), key.into()]),
        };
        work.tx.push(sql, &args).await?;
        Ok(())
    }
}

/// Something that a signal brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Effect {
    /// What happened, in the words of the event catalogue.
    pub kind: String,
    /// To what.
    pub id: String,
}

/// The head of a signal: what came in, before it is decided upon.
#[derive(Debug, Clone)]
pub struct Signal {
    pub id: SignalId,
    pub key: String,
    pub kind: &'static str,
    pub campaign: Option<CampaignId>,
    pub participant: Option<Uuid>,
    pub occurred_at: Timestamp,
    /// JSON.
    pub payload: String,
}

/// A signal as it is kept: what came in and what was made of it.
#[derive(Debug, Clone)]
pub struct SignalRecord {
    pub id: SignalId,
    pub key: String,
    pub kind: String,
    pub source: String,
    pub actor: String,
    pub campaign: Option<CampaignId>,
    pub participant: Option<Uuid>,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    pub payload: String,
    pub outcome: Outcome,
    pub reason: Reason,
    pub version: Option<i64>,
    pub checks: Vec<Check>,
    pub effects: Vec<Effect>,
}

const SIGNAL_BY_KEY: &str = " WHERE space = $1 AND key = $2";

impl SignalRecord {
    pub const SELECT: &str = "SELECT id, key, kind, source, actor, campaign_id, participant_id, occurred_at, received_at, payload, outcome, reason, version, checks, effects FROM signals";

    pub fn read(row: &Row<'_>) -> store::Result<Self> {
        let broken = |what: &str| store::Error::Database(format!("a signal has an unknown {what}"));
        Ok(Self {
            id: SignalId::from_uuid(row.get(0)?),
            key: row.get(1)?,
            kind: row.get(2)?,
            source: row.get(3)?,
            actor: row.get(4)?,
            campaign: row.get::<Option<Uuid>>(5)?.map(CampaignId::from_uuid),
            participant: row.get(6)?,
            occurred_at: Timestamp::from_ms(row.get(7)?),
            received_at: Timestamp::from_ms(row.get(8)?),
            payload: row.get(9)?,
            outcome: Outcome::parse(row.text(10)?).ok_or_else(|| broken("outcome"))?,
            reason: Reason::parse(row.text(11)?).ok_or_else(|| broken("reason"))?,
            version: row.get(12)?,
            checks: serde_json::from_str(row.text(13)?).map_err(|_| broken("check"))?,
            effects: serde_json::from_str(row.text(14)?).map_err(|_| broken("effect"))?,
        })
    }
}

impl<'w, 't> Work<'w, 't> {
    pub(super) fn new(tx: &'w mut Tx<'t>, context: &'w Context, shared: &'w Shared, answers: &'w [(Question, Verdict)]) -> Self {
        let mint = Mint::new(context.now, context.seed);
        Self {
            tx,
            context,
            shared,
            mint,
            answers,
            effects: Vec::new(),
            told: Vec::new(),
            is_history: false,
            hands_over: false,
            ring: Vec::new(),
            endpoints_changed: false,
        }
    }

    /// The same transaction for something that has happened long ago elsewhere. Its events are in the feed,
    /// and can be replayed, but no endpoint is told: receivers would act on it once more. Ends with
    /// [`Work::tell`].
    pub fn within<'a>(&'a mut self, context: &'a Context) -> Work<'a, 't> {
        let seed = u128::from(self.mint.random()) << 64 | u128::from(self.mint.random());
        Work { mint: Mint::new(context.now, seed), is_history: true, ..Work::new(self.tx, context, self.shared, self.answers) }
    }
}

impl Work<'_, '_> {
    pub const fn space(&self) -> Space {
        self.context.space
    }

    pub const fn now(&self) -> Timestamp {
        self.context.now
    }

    /// What the conditions say, in their order.
    pub fn ask(&self, questions: Vec<Question>) -> Result<Vec<Verdict>> {
        let answer = |question: &Question| self.answers.iter().find(|(asked, _)| asked == question).map(|(_, verdict)| verdict.clone());
        let verdicts: Option<Vec<Verdict>> = questions.iter().map(answer).collect();
        verdicts.ok_or(Error::Unanswered(questions))
    }

    /// A signal of somebody's doing that has no key in the world outside.
    pub fn signal(&mut self, kind: &'static str, campaign: Option<CampaignId>, participant: Option<Uuid>, payload: &impl Serialize) -> Signal {
        let id: SignalId = self.mint.id();
        Signal {
            id,
            key: format!("{kind}:{id}"),
            kind,
            campaign,
            participant,
            occurred_at: self.now(),
            payload: serde_json::to_string(payload).unwrap_or_default(),
        }
    }

    /// The signal of that key, if it was told before.
    pub async fn seen(&mut self, key: &str) -> Result<Option<SignalRecord>> {
        let sql = statement(SignalRecord::SELECT, SIGNAL_BY_KEY);
        Ok(self.tx.fetch_one(&sql, &[self.context.space.into(), key.into()], SignalRecord::read).await?)
    }

    /// [`Work::seen`] of that key will be asked next but one.
    pub async fn will_ask_seen(&mut self, key: &str) -> Result<()> {
        let sql = statement(SignalRecord::SELECT, SIGNAL_BY_KEY);
        Ok(self.tx.ahead(&sql, &[self.context.space.into(), key.into()]).await?)
    }

    /// Keeps the signal with what was made of it. Called once, at the end of a change.
    pub async fn record(&mut self, signal: &Signal, decision: &Decision, version: Option<i64>) -> Result<()> {
        let checks = serde_json::to_string(&decision.checks).unwrap_or_default();
        let effects = serde_json::to_string(&self.effects).unwrap_or_default();
        self.tx
            .push(
                "INSERT INTO signals (space, id, key, kind, source, actor, campaign_id, participant_id, occurred_at, received_at, payload, outcome, reason, version, checks, effects)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
                &[
                    self.context.space.into(),
                    signal.id.uuid().into(),
                    signal.key.as_str().into(),
                    signal.kind.into(),
                    (&*self.context.source).into(),
                    (&*self.context.actor).into(),
                    signal.campaign.map(|id| id.uuid()).into(),
                    signal.participant.into(),
                    signal.occurred_at.ms().into(),
                    self.context.now.ms().into(),
                    signal.payload.as_str().into(),
                    decision.outcome.as_str().into(),
                    decision.reason.as_str().into(),
                    version.into(),
                    checks.as_str().into(),
                    effects.as_str().into(),
                ],
            )
            .await?;
        Ok(())
    }

    /// Emits an event, in the transaction of what it tells, with a delivery for each endpoint that wants it.
    pub fn emit(&mut self, kind: EventType, id: &impl std::fmt::Display, participant: Option<Uuid>, data: &view::EventData) -> Result<()> {
        let but = data.endpoint.as_ref().map(|endpoint| endpoint.id);
        self.emit_to(To::Wanting { but }, kind, id, participant, data).map(drop)
    }

    /// Emits an event for one endpoint alone. Answers the id of its delivery.
    pub(super) fn emit_to_one(&mut self, endpoint: Endpoint, kind: EventType, id: &impl std::fmt::Display, data: &view::EventData) -> Result<DeliveryId> {
        let to = endpoint.id;
        let event = self.emit_to(To::One(Box::new(endpoint)), kind, id, None, data)?;
        Ok(endpoint::delivery_id(event, to))
    }

    fn emit_to(&mut self, to: To, kind: EventType, id: &impl std::fmt::Display, participant: Option<Uuid>, data: &view::EventData) -> Result<EventId> {
        debug_assert_eq!(sample::unheard_of(kind, data), [""; 0], "{} carries what its example does not show", kind.as_str());
        let event: EventId = self.mint.id();
        let body = serde_json::to_string(data).map_err(|error| store::Error::Database(error.to_string()))?;
        let is_in_part = kind == EventType::RewardReversed && data.reward.as_ref().is_some_and(|reward| reward.state != RewardState::Reversed);
        let count = data.count.unwrap_or(i64::from(!is_in_part));
        self.effects.push(Effect { kind: kind.as_str().to_owned(), id: id.to_string() });
        let campaign = data.campaign.as_ref().map(|campaign| campaign.id);
        self.told.push(Telling {
            event: Told { id: event, space: self.space(), kind, campaign, created_at: self.now(), body },
            participant,
            referrer: data.referrer.as_ref().map(|referrer| referrer.id.uuid()),
            moved: data.moved,
            count,
            person_source: data.person_source().map(str::to_owned),
            lead_source: data.lead.as_ref().map(|lead| lead.source.clone()),
            definition: data.reward.as_ref().map(|reward| reward.definition_id),
            to,
            taken: Vec::new(),
        });
        Ok(event)
    }

    /// Writes what was emitted, in the order in which it was. Called once, at the end of a change.
    pub async fn tell(&mut self) -> Result<()> {
        if self.told.is_empty() {
            return Ok(());
        }
        let rows: Vec<[Arg<'_>; 13]> = self
            .told
            .iter()
            .map(|told| {
                [
                    self.context.space.into(),
                    told.event.id.uuid().into(),
                    told.event.kind.as_str().into(),
                    told.event.campaign.map(|id| id.uuid()).into(),
                    told.participant.into(),
                    (&*self.context.source).into(),
                    told.lead_source.as_deref().into(),
                    told.referrer.into(),
                    told.moved.map(|money| money.minor).into(),
                    told.moved.as_ref().map(|money| money.currency.as_str()).into(),
                    told.count.into(),
                    told.event.body.as_str().into(),
                    self.context.now.ms().into(),
                ]
            })
            .collect();
        let insert = "INSERT INTO events (space, id, type, campaign_id, participant_id, source, lead_source, referrer_id, amount_minor, currency, count, body, created_at)";
        self.tx.push_rows(insert, &rows, "").await?;
        if self.is_history { Ok(()) } else { self.address().await }
    }

    /// Writes that endpoints are to be told; or, where nothing is sent to one, that it was not.
    async fn address(&mut self) -> Result<()> {
        let endpoints = self.shared.endpoints.of(self.tx, self.context.space).await?;
        let now = self.context.wall.ms();
        let mut rows: Vec<[Arg<'_>; 13]> = Vec::new();
        let mut taken: Vec<Vec<(Claimed, Seat)>> = Vec::with_capacity(self.told.len());
        for told in &self.told {
            let (event, mut taken_of_it) = (&told.event, Vec::new());
            let source = told.person_source.as_deref().unwrap_or(&self.context.source);
            let wanting = |endpoint: &&Endpoint| match &told.to {
                To::Wanting { but } => endpoint.wants(About { kind: event.kind, campaign: event.campaign, source, definition: told.definition, itself: *but }),
                To::One(_) => false,
            };
            let one = match &told.to {
                To::One(endpoint) => Some(&**endpoint),
                To::Wanting { .. } => None,
            };
            for endpoint in endpoints.iter().map(Arc::as_ref).filter(wanting).chain(one) {
                let skipped = endpoint.status.skips();
                let (id, to) = (endpoint::delivery_id(event.id, endpoint.id), endpoint.id.uuid());
                let seat = if skipped.is_none() && self.hands_over { self.shared.endpoints.doors.enter(to) } else { None };
                let lease_by = seat.as_ref().map(|(node, _)| *node);
                let due_at = if lease_by.is_some() { now + LEASE.as_millis() as i64 } else { now };
                rows.push([
                    self.context.space.into(),
                    id.uuid().into(),
                    to.into(),
                    event.id.uuid().into(),
                    event.kind.as_str().into(),
                    told.participant.into(),
                    (endpoint.in_order && told.participant.is_some()).into(),
                    if skipped.is_some() { "skipped" } else { "due" }.into(),
                    skipped.map(SkipReason::as_str).into(),
                    skipped.is_none().then_some(due_at).into(),
                    lease_by.into(),
                    now.into(),
                    skipped.map(|_| now).into(),
                ]);
                if let Some((_, seat)) = seat {
                    taken_of_it.push((Claimed { space: self.context.space, id, event: event.id, endpoint: to, attempts: 0 }, seat));
                } else if skipped.is_none() && !self.ring.contains(&to) {
                    self.ring.push(to);
                }
            }
            taken.push(taken_of_it);
        }
        let insert = "INSERT INTO deliveries (space, id, endpoint_id, event_id, type, participant_id, in_order, state, reason, due_at, lease_by, created_at, finished_at)";
        self.tx.push_rows(insert, &rows, "").await?;
        self.told.iter_mut().zip(taken).for_each(|(told, taken)| told.taken = taken);
        Ok(())
    }
}

/// Two halves of a statement.
pub(super) fn statement(select: &str, rest: &str) -> String {
    let mut sql = String::with_capacity(select.len() + rest.len());
    sql.push_str(select);
    sql.push_str(rest);
    sql
}
