//! Inbound hooks: secret addresses that take whatever a form, a shop or a CRM sends.
//!
//! What arrives is kept first, whatever it is. Then the hook's mapping makes a conversion
//! of it, which is decided upon like any other. After a mapping was mended, a message can
//! be told again.

use super::{
    Engine, Error, Result, Space, conversion,
    list::{Cursor, Listing, Page, Query},
    qualify::{Convert, LeadKey},
    signal,
    work::{Act, Context, Secrecy, Work},
    workspace,
};
use goodword_core::{
    decide::Decision,
    ids::{CampaignId, InboundHookId, InboundMessageId, SignalId},
    mapping::{Mapped, Mapping},
    text::Line,
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Row, Tx};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// A hook, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Hook {
    pub id: InboundHookId,
    pub name: String,
    /// The last characters of its address.
    pub hint: String,
    /// Where its conversions belong; any campaign of the side where absent.
    pub campaign_id: Option<CampaignId>,
    pub mapping: Mapping,
    /// A paused hook keeps what it receives and decides nothing.
    pub paused: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const HOOKS: &str = "SELECT id, name, hint, campaign_id, mapping, paused, created_at, updated_at FROM inbound_hooks";

fn read_hook(row: &Row<'_>) -> store::Result<Hook> {
    Ok(Hook {
        id: InboundHookId::from_uuid(row.get(0)?),
        name: row.get(1)?,
        hint: row.get(2)?,
        campaign_id: row.get::<Option<Uuid>>(3)?.map(CampaignId::from_uuid),
        mapping: serde_json::from_str(row.text(4)?).map_err(|error| store::Error::Database(format!("the mapping of a hook: {error}")))?,
        paused: row.get(5)?,
        created_at: Timestamp::from_ms(row.get(6)?),
        updated_at: Timestamp::from_ms(row.get(7)?),
    })
}

pub async fn get(tx: &mut Tx<'_>, space: Space, id: InboundHookId) -> Result<Hook> {
    let sql = format!("{HOOKS} WHERE space = $1 AND id = $2 AND deleted_at IS NULL");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read_hook).await?.ok_or(Error::NotFound { what: "inbound hook" })
}

pub async fn list(tx: &mut Tx<'_>, space: Space, page: &Page) -> Result<Listing<Hook>> {
    let mut query = Query::new(HOOKS, space);
    query.and("deleted_at IS NULL");
    query.page(tx, page, "created_at", read_hook, |hook| (hook.created_at.ms(), hook.id.uuid())).await
}

/// Makes a hook. The secret part of its address is made by the caller, who shows it once.
#[derive(Debug, Clone)]
pub struct Create {
    pub name: Line,
    pub campaign: Option<CampaignId>,
    pub mapping: Mapping,
    pub token: String,
}

impl Act for Create {
    type Output = Hook;
    const SECRECY: Secrecy = Secrecy::Hashed;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Hook> {
        let space = work.context.space;
        self.mapping.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
        if let Some(id) = self.campaign {
            super::campaign::get(work.tx, work.shared, space, id).await?;
        }
        let id: InboundHookId = work.mint.id();
        let hint = &self.token[self.token.len().saturating_sub(4)..];
        work.tx
            .execute(
                "INSERT INTO inbound_hooks (space, id, name, token_hash, hint, campaign_id, mapping, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
                &[
                    space.into(),
                    id.uuid().into(),
                    self.name.as_str().into(),
                    Arg::Bytes(&workspace::hash(&self.token)),
                    hint.into(),
                    self.campaign.map(|id| id.uuid()).into(),
                    json!(self.mapping).to_string().as_str().into(),
                    work.context.now.ms().into(),
                ],
            )
            .await?;
        note(work, "inbound_hook.create", self.campaign, &json!({"id": id, "name": self.name, "mapping": self.mapping})).await?;
        get(work.tx, space, id).await
    }
}

/// Changes a hook. What is absent stays.
#[derive(Debug, Clone)]
pub struct Update {
    pub id: InboundHookId,
    pub name: Option<Line>,
    pub mapping: Option<Mapping>,
    pub paused: Option<bool>,
}

impl Act for Update {
    type Output = Hook;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Hook> {
        let space = work.context.space;
        let before = get(work.tx, space, self.id).await?;
        if let Some(mapping) = &self.mapping {
            mapping.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
        }
        let mapping = json!(self.mapping.as_ref().unwrap_or(&before.mapping)).to_string();
        work.tx
            .execute(
                "UPDATE inbound_hooks SET name = $3, mapping = $4, paused = $5, updated_at = $6 WHERE space = $1 AND id = $2",
                &[
                    space.into(),
                    self.id.uuid().into(),
                    self.name.as_ref().map_or(before.name.as_str(), Line::as_str).into(),
                    mapping.as_str().into(),
                    self.paused.unwrap_or(before.paused).into(),
                    work.context.now.ms().into(),
                ],
            )
            .await?;
        note(work, "inbound_hook.update", before.campaign_id, &json!({"id": self.id, "mapping": self.mapping, "paused": self.paused})).await?;
        get(work.tx, space, self.id).await
    }
}

/// Deletes a hook. What it received is kept.
#[derive(Debug, Clone)]
pub struct Delete {
    pub id: InboundHookId,
}

impl Act for Delete {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let hook = get(work.tx, work.context.space, self.id).await?;
        work.tx
            .execute(
                "UPDATE inbound_hooks SET deleted_at = $3 WHERE space = $1 AND id = $2",
                &[work.context.space.into(), self.id.uuid().into(), work.context.now.ms().into()],
            )
            .await?;
        note(work, "inbound_hook.delete", hook.campaign_id, &json!({"id": self.id})).await
    }
}

async fn note(work: &mut Work<'_, '_>, kind: &'static str, campaign: Option<CampaignId>, payload: &Value) -> Result<()> {
    let signal = work.signal(kind, campaign, None, payload);
    work.record(&signal, &Decision::applied(Vec::new()), None).await
}

// ---------------------------------------------------------------- messages

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Kept, not looked at yet; or its hook is paused.
    Waiting,
    /// It became a signal; see its decision.
    Decided,
    /// The mapping found nobody in it, or something that cannot be read.
    Unmapped,
    /// It is neither JSON nor a form, so that no mapping can find anything in it.
    Unreadable,
    /// It could not be decided upon; the detail says why.
    Failed,
}

impl MessageState {
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Decided => "decided",
            MessageState::Unmapped => "unmapped",
            MessageState::Unreadable => "unreadable",
            MessageState::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Decided, Self::Unmapped, Self::Unreadable, Self::Failed].into_iter().find(|state| state.as_str() == word)
    }
}

/// Something that a hook received.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Message {
    pub id: InboundMessageId,
    pub hook_id: InboundHookId,
    pub state: MessageState,
    /// Why it is unmapped, unreadable or failed; empty otherwise.
    pub detail: String,
    /// The signal that was made of it, with its decision.
    pub signal_id: Option<SignalId>,
    /// What came; of what is unreadable, the first 64 KiB as a text.
    pub payload: Value,
    /// What it was sent as, where it is unreadable.
    pub content_type: Option<String>,
    pub received_at: Timestamp,
}

const MESSAGES: &str = "SELECT id, hook_id, state, detail, signal_id, body, received_at, content_type FROM inbound_messages";

fn read_message(row: &Row<'_>) -> store::Result<Message> {
    Ok(Message {
        id: InboundMessageId::from_uuid(row.get(0)?),
        hook_id: InboundHookId::from_uuid(row.get(1)?),
        state: MessageState::parse(row.text(2)?).ok_or_else(|| store::Error::Database("a message has an unknown state".into()))?,
        detail: row.get(3)?,
        signal_id: row.get::<Option<Uuid>>(4)?.map(SignalId::from_uuid),
        payload: serde_json::from_str(row.text(5)?).unwrap_or_default(),
        received_at: Timestamp::from_ms(row.get(6)?),
        content_type: row.get(7)?,
    })
}

pub async fn message(tx: &mut Tx<'_>, space: Space, id: InboundMessageId) -> Result<Message> {
    let sql = format!("{MESSAGES} WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read_message).await?.ok_or(Error::NotFound { what: "message" })
}

pub async fn messages(tx: &mut Tx<'_>, space: Space, hook: InboundHookId, state: Option<MessageState>, page: &Page) -> Result<Listing<Message>> {
    let mut query = Query::new(MESSAGES, space);
    query.and_id("hook_id =", hook.uuid());
    if let Some(state) = state {
        query.and_text("state =", state.as_str());
    }
    query.page_by_id(tx, page, read_message, |message| message.id.uuid()).await
}

/// The payload that came in last and can be read, to try a mapping on.
pub async fn last_payload(tx: &mut Tx<'_>, space: Space, hook: InboundHookId) -> Result<Option<Value>> {
    let mut query = Query::new(MESSAGES, space);
    query.and_id("hook_id =", hook.uuid()).and("state <> 'unreadable'");
    let last = query.page_by_id(tx, &Page { limit: 1, ..Page::default() }, read_message, |message| message.id.uuid()).await?;
    Ok(last.data.into_iter().next().map(|message| message.payload))
}

/// What came of nothing so far, oldest first. The condition is that of an index.
async fn undecided(tx: &mut Tx<'_>, space: Space, hook: InboundHookId, since: Option<Timestamp>, after: Option<Cursor>) -> Result<Listing<Message>> {
    let mut query = Query::new(MESSAGES, space);
    query.and_id("hook_id =", hook.uuid()).and("state IN ('unmapped', 'unreadable', 'failed')");
    let page = Page { limit: RETOLD_MAX, after, ascending: true, created_after: since.map(|since| since.plus_ms(-1)), created_before: None };
    query.page_by_id(tx, &page, read_message, |message| message.id.uuid()).await
}

/// What was sent to a hook.
#[derive(Debug, Clone)]
pub enum Received {
    /// JSON, or a form as if it were JSON.
    Read(Value),
    Unreadable(Unreadable),
}

/// Something that is neither JSON nor a form.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// Why, in a sentence.
    pub detail: String,
    pub content_type: String,
    pub text: String,
}

/// What is kept of an unreadable text: enough to see what the sender does, and to change that.
const UNREADABLE_BYTES_MAX: usize = 64 * 1024;
/// How many unreadable messages a hook keeps. A sender that is set up wrongly goes on sending.
const UNREADABLE_MAX: usize = 1_000;
const CONTENT_TYPE_LEN_MAX: usize = 200;

/// The newest stay. The list of states is that of an index.
const FORGET_UNREADABLE: &str = "DELETE FROM inbound_messages WHERE space = $1 AND hook_id = $2 AND state IN ('unmapped', 'unreadable', 'failed') AND state = 'unreadable' AND id <= (SELECT id FROM inbound_messages WHERE space = $1 AND hook_id = $2 AND state IN ('unmapped', 'unreadable', 'failed') AND state = 'unreadable' ORDER BY id DESC LIMIT 1 OFFSET $3)";

struct Keep {
    hook: InboundHookId,
    body: String,
    state: MessageState,
    detail: String,
    content_type: Option<String>,
}

impl Keep {
    fn readable(hook: InboundHookId, payload: &Value) -> Self {
        Self { hook, body: payload.to_string(), state: MessageState::Waiting, detail: String::new(), content_type: None }
    }

    fn unreadable(hook: InboundHookId, Unreadable { mut detail, content_type, mut text }: Unreadable) -> Self {
        if text.len() > UNREADABLE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(UNREADABLE_BYTES_MAX));
            detail.push_str(" Its first 64 KiB are kept.");
        }
        let content_type = content_type.chars().take(CONTENT_TYPE_LEN_MAX).collect();
        Self { hook, body: json!(text).to_string(), state: MessageState::Unreadable, detail, content_type: Some(content_type) }
    }
}

impl Act for Keep {
    type Output = InboundMessageId;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<InboundMessageId> {
        let id: InboundMessageId = work.mint.id();
        let space = work.context.space;
        work.tx
            .push(
                "INSERT INTO inbound_messages (space, id, hook_id, body, state, detail, received_at, content_type) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    space.into(),
                    id.uuid().into(),
                    self.hook.uuid().into(),
                    self.body.as_str().into(),
                    self.state.as_str().into(),
                    self.detail.as_str().into(),
                    work.context.now.ms().into(),
                    self.content_type.as_deref().into(),
                ],
            )
            .await?;
        if self.state == MessageState::Unreadable {
            work.tx.push(FORGET_UNREADABLE, &[space.into(), self.hook.uuid().into(), (UNREADABLE_MAX as i64).into()]).await?;
        }
        Ok(id)
    }
}

struct Settle {
    id: InboundMessageId,
    state: MessageState,
    detail: String,
    signal: Option<SignalId>,
}

impl Act for Settle {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let signal = self.signal.map(|id| id.uuid());
        work.tx
            .push(
                "UPDATE inbound_messages SET state = $3, detail = $4, signal_id = coalesce($5, signal_id) WHERE space = $1 AND id = $2",
                &[work.context.space.into(), self.id.uuid().into(), self.state.as_str().into(), self.detail.as_str().into(), signal.into()],
            )
            .await?;
        Ok(())
    }
}

/// Looks for the hook of a secret address, on whichever side it is.
async fn by_token(tx: &mut Tx<'_>, token_hash: &[u8; 32]) -> Result<Option<(Space, Hook)>> {
    let sql =
        "SELECT id, name, hint, campaign_id, mapping, paused, created_at, updated_at, space FROM inbound_hooks WHERE token_hash = $1 AND deleted_at IS NULL";
    Ok(tx.fetch_one(sql, &[Arg::Bytes(token_hash)], |row| Ok((Space::new(row.get(8)?), read_hook(row)?))).await?)
}

impl Engine {
    /// Takes in what was sent to a secret address: kept first, then decided upon.
    pub async fn receive(&self, token: &str, received: Received) -> Result<Message> {
        let hash = workspace::hash(token);
        let Some((space, hook)) = self.read(move |tx| Box::pin(async move { by_token(tx, &hash).await })).await? else {
            return Err(Error::NotFound { what: "inbound hook" });
        };
        let context = self.hook_context(space, &hook);
        let id = match received {
            Received::Unreadable(unreadable) => self.run(context, Keep::unreadable(hook.id, unreadable)).await?,
            Received::Read(payload) => {
                let id = self.run(context, Keep::readable(hook.id, &payload)).await?;
                if !hook.paused {
                    self.decide_message(space, &hook, id, payload, None).await?;
                }
                id
            }
        };
        self.read(move |tx| Box::pin(message(tx, space, id))).await
    }

    /// Makes a conversion of a message with the hook's mapping as it is now, unless it has come to one that counts.
    pub async fn retell(&self, space: Space, id: InboundMessageId) -> Result<Message> {
        self.tell_again(space, id).await?;
        self.read(move |tx| Box::pin(message(tx, space, id))).await
    }

    /// Tells again what came of nothing so far, oldest first, for a first order may make a second one count.
    /// What is decided upon is not among them the next time, so that this can be asked again at any time.
    pub async fn retell_undecided(&self, space: Space, hook: InboundHookId, since: Option<Timestamp>, after: Option<Cursor>) -> Result<Retold> {
        let found = self
            .read(move |tx| {
                Box::pin(async move {
                    get(tx, space, hook).await?;
                    undecided(tx, space, hook, since, after).await
                })
            })
            .await?;
        let mut retold = Retold { next: found.next, ..Retold::default() };
        for message in found.data {
            let fate = match message.state {
                MessageState::Unreadable => Fate::Settled(MessageState::Unreadable),
                _ => self.tell_again(space, message.id).await?,
            };
            *match fate {
                Fate::Converted => &mut retold.converted,
                Fate::Settled(MessageState::Decided | MessageState::Waiting) => &mut retold.unmatched,
                Fate::Settled(MessageState::Unmapped) => &mut retold.unmapped,
                Fate::Settled(MessageState::Unreadable) => &mut retold.unreadable,
                Fate::Settled(MessageState::Failed) => &mut retold.failed,
            } += 1;
        }
        Ok(retold)
    }

    async fn tell_again(&self, space: Space, id: InboundMessageId) -> Result<Fate> {
        let (found, hook, counted) = self
            .read(move |tx| {
                Box::pin(async move {
                    let found = message(tx, space, id).await?;
                    let hook = get(tx, space, found.hook_id).await?;
                    let counted = match found.signal_id {
                        Some(signal) => counted(tx, space, signal).await?,
                        None => false,
                    };
                    Ok((found, hook, counted))
                })
            })
            .await?;
        match found.state {
            _ if counted => Ok(Fate::Converted),
            // A mapping changes nothing about it.
            MessageState::Unreadable => Ok(Fate::Settled(MessageState::Unreadable)),
            _ => self.decide_message(space, &hook, id, found.payload, found.signal_id).await,
        }
    }

    /// Decides on messages that were kept when the process was killed. Called by the clock.
    pub async fn decide_waiting_messages(&self) -> Result<()> {
        // Young ones are being decided upon right now.
        let before = self.wall().plus_ms(-WAITING_MS).ms();
        let sql = "SELECT m.space, m.id FROM inbound_messages m JOIN inbound_hooks h ON h.space = m.space AND h.id = m.hook_id WHERE m.state = 'waiting' AND m.received_at < $1 AND NOT h.paused AND h.deleted_at IS NULL LIMIT 200";
        let read = |row: &Row<'_>| Ok((Space::new(row.get(0)?), InboundMessageId::from_uuid(row.get(1)?)));
        let waiting = self.read(move |tx| Box::pin(async move { Ok(tx.fetch(sql, &[before.into()], read).await?) })).await?;
        for (space, id) in waiting {
            self.retell(space, id).await?;
        }
        Ok(())
    }

    fn hook_context(&self, space: Space, hook: &Hook) -> Context {
        self.context(space, &hook.id.to_string(), "hook")
    }

    async fn decide_message(&self, space: Space, hook: &Hook, id: InboundMessageId, payload: Value, before: Option<SignalId>) -> Result<Fate> {
        let settle = async |state, detail: String, signal| {
            self.run(self.hook_context(space, hook), Settle { id, state, detail, signal }).await.map(|()| Fate::Settled(state))
        };
        let mapped = match hook.mapping.apply(&payload).and_then(|mapped| mapped.happened_by(self.now(space))) {
            Ok(mapped) if mapped.names_a_lead() => mapped,
            Ok(_) => return settle(MessageState::Unmapped, "The mapping found no e-mail address, code, coupon or id in the payload.".into(), None).await,
            Err((field, invalid)) => return settle(MessageState::Unmapped, format!("{field}: expected {}.", invalid.expected), None).await,
        };
        let convert = Convert { replays: before, ..convert(hook, mapped, &payload) };
        let outcome = self.run(self.hook_context(space, hook), convert).await;
        match outcome {
            Ok(answer) => {
                let settled = settle(MessageState::Decided, String::new(), Some(answer.signal_id)).await?;
                Ok(if answer.conversion.is_some() { Fate::Converted } else { settled })
            }
            // The database is away: the message waits and is taken up again.
            Err(Error::Store(error)) => Err(error.into()),
            Err(error) => settle(MessageState::Failed, error.to_string(), None).await,
        }
    }
}

/// What telling a message came to.
enum Fate {
    /// There is a conversion of it.
    Converted,
    /// There is none.
    Settled(MessageState),
}

/// How many messages are told again at once: some seconds at most, even where every commit is slow.
pub const RETOLD_MAX: usize = 100;

/// What telling messages again came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retold {
    pub converted: usize,
    pub unmatched: usize,
    pub unmapped: usize,
    pub unreadable: usize,
    pub failed: usize,
    pub next: Option<Cursor>,
}

/// Whether what a signal told counts, or did until it was refunded. A mended mapping may find another id, person
/// or campaign in the message, under which it would count once more.
async fn counted(tx: &mut Tx<'_>, space: Space, signal: SignalId) -> Result<bool> {
    let signal = signal::get(tx, space, signal).await?;
    let told: Value = serde_json::from_str(&signal.payload).unwrap_or_default();
    let (Some(campaign), Some(external_id)) = (signal.campaign, told["external_id"].as_str()) else { return Ok(false) };
    let rows = conversion::by_external_id(tx, space, Some(campaign), external_id).await?;
    Ok(rows.iter().any(|row| row.counts || row.fully_refunded()))
}

/// A message that is older than this and still waits was left behind by a killed process.
const WAITING_MS: i64 = 30_000;

fn convert(hook: &Hook, mapped: Mapped, payload: &Value) -> Convert {
    // What names the lead most surely comes first.
    let lead = mapped
        .lead_external_id
        .map(LeadKey::ExternalId)
        .or(mapped.code.map(LeadKey::Code))
        .or(mapped.coupon.map(LeadKey::Coupon))
        .or(mapped.email.map(LeadKey::Email))
        .unwrap_or(LeadKey::ExternalId(String::new()));
    // Without an id of its own, the same bytes are the same event.
    let own_id = || workspace::hash(&payload.to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    Convert {
        lead,
        campaign: hook.campaign_id,
        external_id: Some(mapped.external_id.unwrap_or_else(|| format!("{}:{}", hook.id, own_id()))),
        kind: mapped.kind,
        amount: mapped.amount,
        goal: mapped.goal,
        occurred_at: mapped.occurred_at,
        properties: mapped.properties,
        replays: None,
    }
}
