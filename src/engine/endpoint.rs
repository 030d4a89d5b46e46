//! Endpoints: addresses that are told what happens, with what they want to hear.
//!
//! Which endpoints want an event is decided while the event is written, from a list in
//! memory ([`Registry`]): a space without endpoints costs one look into a map. The list is
//! read again whenever an endpoint changes, by this node at once, by others within
//! [`REFRESH`]. On PostgreSQL, a node whose list has not been confirmed for
//! [`FRESH_FOR`] asks the database within the transaction of the event. So an event that is
//! written later than 1 s after an endpoint was made, on whichever node, reaches it.

use super::{
    Engine, Error, Result, Space,
    door::Doors,
    event::EventType,
    list::{Listing, Page, Query},
    random_bytes, sample,
    vault::{Place, Vault, sealed},
    view,
    work::{Act, Secrecy, Work},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use goodword_core::{
    Invalid,
    decide::Decision,
    ids::{CampaignId, DeliveryId, EndpointId, EventId, RewardDefinitionId},
    text::WebUrl,
    time::{HOUR_MS, Timestamp},
};
use goodword_store::{self as store, Row, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// How often a node looks whether another has changed an endpoint.
pub const REFRESH: Duration = Duration::from_millis(400);
/// How long the list may be used without having been confirmed. With [`REFRESH`] and the
/// time of a transaction it stays below a second.
const FRESH_FOR: Duration = Duration::from_millis(800);
/// Endpoints of one side: each is looked at for every event.
const ENDPOINTS_MAX: i64 = 1_000;
pub const CONCURRENCY_DEFAULT: u32 = 20;
pub const CONCURRENCY_MAX: u32 = 200;
/// Sources that an endpoint wants, with commas between.
const SOURCES_LEN_MAX: usize = 400;
/// Own headers of an endpoint, and all their bytes: what servers take in a request's head.
pub const HEADERS_MAX: usize = 50;
const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// How long the old secret stays valid when nothing else is said, and at most.
pub const OVERLAP_HOURS_DEFAULT: u32 = 24;
pub const OVERLAP_HOURS_MAX: u32 = 7 * 24;

/// Whether an endpoint is told what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    Active,
    /// It is told, and has not taken anything for a while.
    Failing,
    /// Switched off, by somebody or after five days of failures.
    Disabled,
    /// It has answered 410: nobody is there any more.
    Gone,
}

impl EndpointStatus {
    pub const ALL: [Self; 4] = [Self::Active, Self::Failing, Self::Disabled, Self::Gone];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failing => "failing",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Why nothing is sent, where nothing is.
    pub const fn skips(self) -> Option<SkipReason> {
        match self {
            Self::Active | Self::Failing => None,
            Self::Disabled => Some(SkipReason::EndpointDisabled),
            Self::Gone => Some(SkipReason::EndpointGone),
        }
    }
}

/// Why a delivery will not happen by itself any more. It can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    EndpointDisabled,
    EndpointDeleted,
    /// The endpoint has answered 410.
    EndpointGone,
    /// The address is one that this server does not call: see `allow_networks`.
    AddressRefused,
    /// Every try of the schedule has failed.
    AttemptsExhausted,
    /// The event's data has been erased.
    EventErased,
}

impl SkipReason {
    pub const ALL: [Self; 6] =
        [Self::EndpointDisabled, Self::EndpointDeleted, Self::EndpointGone, Self::AddressRefused, Self::AttemptsExhausted, Self::EventErased];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointDisabled => "endpoint_disabled",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::EndpointGone => "endpoint_gone",
            Self::AddressRefused => "address_refused",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::EventErased => "event_erased",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// How an event is written for a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The envelope of `/v1/events`.
    #[default]
    Native,
    /// The same on one level: `lead_email`, `campaign_name`.
    Flat,
    /// The user or the reward as Referral Factory shows them, with the referrer.
    ReferralFactory,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Native, Self::Flat, Self::ReferralFactory];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Flat => "flat",
            Self::ReferralFactory => "referral_factory",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == word)
    }
}

/// How a body is sent that is not in the native shape. The native one is always a POST.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// As a JSON document.
    #[default]
    Post,
    /// As parameters in the address, in the shape `referral_factory` alone; the signature is over these parameters.
    Get,
}

/// What goes into a body that is not in the native shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    pub method: Method,
    /// The fields to send, under which names; left out, it is all of them under their own.
    #[schema(min_items = 1, max_items = 100)]
    pub fields: Option<Vec<LayoutField>>,
    /// Texts that are added to every body.
    pub constants: BTreeMap<String, String>,
}

/// One field of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LayoutField {
    /// A field of the flat body: `lead_email`; in the shape of Referral Factory `email`, `referrer_email`.
    #[schema(min_length = 1, max_length = 100)]
    pub field: String,
    /// What the receiver calls it; left out, it keeps its name.
    #[serde(default, rename = "as")]
    #[schema(min_length = 1, max_length = 100)]
    pub name: Option<String>,
}

/// Fields and constants of a layout, each; and credentials.
const LAYOUT_MAX: usize = 100;
/// The bytes of all constants, or of all credentials: they are sent with every event.
const CONSTANTS_BYTES_MAX: usize = 8 * 1024;

impl Layout {
    fn check(&self) -> Result<()> {
        let is_name = |name: &str| (1..=100).contains(&name.len()) && !name.chars().any(char::is_control);
        let fields = self.fields.as_deref().unwrap_or_default();
        let names: Vec<&str> =
            fields.iter().map(|field| field.name.as_deref().unwrap_or(&field.field)).chain(self.constants.keys().map(String::as_str)).collect();
        let invalid = |expected: String| Err(Error::Invalid { field: "/layout".into(), expected });
        if self.fields.as_ref().is_some_and(Vec::is_empty) {
            return invalid("at least one field, or no list for all of them".into());
        }
        if fields.len() > LAYOUT_MAX || self.constants.len() > LAYOUT_MAX {
            return invalid(format!("at most {LAYOUT_MAX} fields and as many constants"));
        }
        if !names.iter().copied().chain(fields.iter().map(|field| field.field.as_str())).all(is_name) {
            return invalid("names of 1 to 100 characters".into());
        }
        if let Some(name) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return invalid(format!("each name once; {name:?} is there twice"));
        }
        if bytes(self.constants.iter()) > CONSTANTS_BYTES_MAX {
            return invalid(format!("constants with at most {CONSTANTS_BYTES_MAX} bytes together"));
        }
        Ok(())
    }
}

fn bytes<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    pairs.map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// A secret that deliveries are signed with: `whsec_` and 24 to 64 bytes in base64, as
/// Standard Webhooks has it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

const SECRET_PREFIX: &str = "whsec_";

impl SigningSecret {
    pub fn random() -> Self {
        Self(random_bytes::<32>().to_vec())
    }

    pub fn reveal(&self) -> String {
        format!("{SECRET_PREFIX}{}", BASE64.encode(&self.0))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for SigningSecret {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|rest| BASE64.decode(rest).ok()).filter(|bytes| (24..=64).contains(&bytes.len()));
        bytes.map(Self).ok_or_else(|| Invalid::new("whsec_ and 24 to 64 bytes in base64"))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

/// An endpoint as it stands. What is secret is sealed.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: EndpointId,
    pub space: Space,
    pub url: String,
    pub description: String,
    /// `None` is all but those that must be asked for.
    pub types: Option<Vec<EventType>>,
    pub campaign: Option<CampaignId>,
    /// Sources of the person (or, where an event is about nobody, of the event), with commas between.
    pub person_source: Option<String>,
    /// Only events about rewards of this definition.
    pub definition: Option<RewardDefinitionId>,
    pub in_order: bool,
    pub rate_per_second: Option<u32>,
    pub concurrency: u32,
    pub shape: Shape,
    pub layout: Option<Layout>,
    pub status: EndpointStatus,
    pub failing_since: Option<Timestamp>,
    pub warned_at: Option<Timestamp>,
    pub previous_until: Option<Timestamp>,
    pub source: String,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    sealed_headers: Option<Vec<u8>>,
    sealed_credentials: Option<Vec<u8>>,
    sealed_secret: Vec<u8>,
    sealed_previous: Option<Vec<u8>>,
}

/// What decides whether an endpoint is told an event.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub kind: EventType,
    pub campaign: Option<CampaignId>,
    /// Of the person, or of the event where it is about nobody.
    pub source: &'a str,
    /// Of the reward.
    pub definition: Option<RewardDefinitionId>,
    /// The endpoint itself, which is not told about itself.
    pub itself: Option<EndpointId>,
}

const SELECT: &str = "SELECT space, id, url, description, types, campaign_id, person_source, in_order, rate_per_second, concurrency, shape, status, failing_since, warned_at, previous_until, source, created_by, created_at, updated_at, headers, secret, previous_secret, credentials, layout, definition_id FROM endpoints";

fn read(row: &Row<'_>) -> store::Result<Endpoint> {
    let broken = |what: &str| store::Error::Database(format!("an endpoint has an unknown {what}"));
    Ok(Endpoint {
        space: Space::new(row.get(0)?),
        id: EndpointId::from_uuid(row.get(1)?),
        url: row.get(2)?,
        description: row.get(3)?,
        // A type that a newer release wrote is passed over.
        types: row.get::<Option<String>>(4)?.map(|words| words.split(' ').filter_map(EventType::parse).collect()),
        campaign: row.get::<Option<Uuid>>(5)?.map(CampaignId::from_uuid),
        person_source: row.get(6)?,
        in_order: row.get(7)?,
        rate_per_second: row.get::<Option<i64>>(8)?.map(|rate| rate as u32),
        concurrency: row.get::<i64>(9)? as u32,
        shape: Shape::parse(row.text(10)?).ok_or_else(|| broken("shape"))?,
        status: EndpointStatus::parse(row.text(11)?).ok_or_else(|| broken("status"))?,
        failing_since: row.get::<Option<i64>>(12)?.map(Timestamp::from_ms),
        warned_at: row.get::<Option<i64>>(13)?.map(Timestamp::from_ms),
        previous_until: row.get::<Option<i64>>(14)?.map(Timestamp::from_ms),
        source: row.get(15)?,
        created_by: row.get(16)?,
        created_at: Timestamp::from_ms(row.get(17)?),
        updated_at: Timestamp::from_ms(row.get(18)?),
        sealed_headers: row.get(19)?,
        sealed_secret: row.get(20)?,
        sealed_previous: row.get(21)?,
        sealed_credentials: row.get(22)?,
        layout: row.get::<Option<String>>(23)?.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| broken("layout"))?,
        definition: row.get::<Option<Uuid>>(24)?.map(RewardDefinitionId::from_uuid),
    })
}

const fn secret_place(id: &EndpointId) -> Place<'_> {
    Place { column: "endpoints.secret", id }
}

const fn headers_place(id: &EndpointId) -> Place<'_> {
    Place { column: "endpoints.headers", id }
}

const fn credentials_place(id: &EndpointId) -> Place<'_> {
    Place { column: "endpoints.credentials", id }
}

/// Pairs as they were sealed.
fn open_pairs(vault: &Vault, place: Place<'_>, sealed: Option<&Vec<u8>>) -> Result<Vec<(String, String)>> {
    let Some(sealed) = sealed else { return Ok(Vec::new()) };
    let plain = vault.open(place, sealed)?;
    serde_json::from_slice(&plain).map_err(|_| store::Error::Database(format!("{} cannot be read", place.column)).into())
}

impl Endpoint {
    /// The secrets to sign with, the current one first.
    pub fn secrets(&self, vault: &Vault, now: Timestamp) -> Result<Vec<SigningSecret>> {
        let previous = self.sealed_previous.as_ref().filter(|_| self.previous_until.is_some_and(|until| now < until));
        std::iter::once(&self.sealed_secret).chain(previous).map(|sealed| vault.open(secret_place(&self.id), sealed).map(SigningSecret)).collect()
    }

    /// Its own headers, which may hold credentials.
    pub fn headers(&self, vault: &Vault) -> Result<Vec<(String, String)>> {
        open_pairs(vault, headers_place(&self.id), self.sealed_headers.as_ref())
    }

    /// What is added to its bodies and never shown.
    pub fn credentials(&self, vault: &Vault) -> Result<Vec<(String, String)>> {
        open_pairs(vault, credentials_place(&self.id), self.sealed_credentials.as_ref())
    }

    /// As events name it.
    pub fn reference(&self) -> view::EndpointRef {
        view::EndpointRef { id: self.id, url: self.url.clone(), status: self.status, failing_since: self.failing_since }
    }

    /// Whether it is to be told.
    pub fn wants(&self, about: About<'_>) -> bool {
        let listed = match &self.types {
            Some(types) => types.contains(&about.kind),
            None => !about.kind.is_opt_in(),
        };
        listed
            && self.campaign.is_none_or(|wanted| about.campaign == Some(wanted))
            && self.person_source.as_ref().is_none_or(|wanted| wanted.split(',').any(|word| word.trim() == about.source))
            && self.definition.is_none_or(|wanted| about.definition == Some(wanted))
            && about.itself != Some(self.id)
    }
}

/// The id of an event's delivery to an endpoint: the time of the event, and random bits
/// that both give. One pair, one id: the key of the table keeps it from being told twice.
pub fn delivery_id(event: EventId, endpoint: EndpointId) -> DeliveryId {
    /// The random bits of a UUIDv7.
    const RANDOM: u128 = 0x0000_0000_0000_0FFF_3FFF_FFFF_FFFF_FFFF;
    DeliveryId::from_uuid(Uuid::from_u128(event.uuid().as_u128() ^ (endpoint.uuid().as_u128() & RANDOM)))
}

// ---------------------------------------------------------------- what is kept in memory

/// All endpoints of the installation, in memory, and the bell that rings when something
/// was written for them.
pub struct Registry {
    known: RwLock<Arc<Known>>,
    /// When the list was last confirmed, in milliseconds after `start`.
    confirmed_ms: AtomicU64,
    start: Instant,
    /// One process, so nobody else changes anything.
    alone: bool,
    rung: Mutex<HashSet<Uuid>>,
    bell: tokio::sync::Notify,
    pub doors: Doors,
}

/// The endpoints at one moment.
#[derive(Default)]
pub struct Known {
    generation: i64,
    by_space: HashMap<Space, Vec<Arc<Endpoint>>>,
    by_id: HashMap<Uuid, Arc<Endpoint>>,
}

impl Known {
    pub fn get(&self, id: Uuid) -> Option<&Arc<Endpoint>> {
        self.by_id.get(&id)
    }

    fn of(&self, space: Space) -> &[Arc<Endpoint>] {
        self.by_space.get(&space).map_or(&[], Vec::as_slice)
    }

    async fn load(tx: &mut Tx<'_>, generation: i64) -> Result<Self> {
        let mut known = Self { generation, ..Self::default() };
        let sql = format!("{SELECT} WHERE deleted_at IS NULL ORDER BY space, id");
        for endpoint in tx.fetch(&sql, &[], read).await?.into_iter().map(Arc::new) {
            known.by_id.insert(endpoint.id.uuid(), endpoint.clone());
            known.by_space.entry(endpoint.space).or_default().push(endpoint);
        }
        Ok(known)
    }
}

async fn generation(tx: &mut Tx<'_>) -> Result<i64> {
    Ok(tx.fetch_one("SELECT n FROM generations WHERE name = 'endpoints'", &[], |row| row.get::<i64>(0)).await?.unwrap_or(0))
}

impl Registry {
    pub(super) fn new(alone: bool) -> Self {
        let known = Arc::new(Known { generation: -1, ..Known::default() });
        let (confirmed_ms, rung, bell, doors) = Default::default();
        Self { known: RwLock::new(known), confirmed_ms, start: Instant::now(), alone, rung, bell, doors }
    }

    /// The endpoints as this node knows them.
    pub fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn age_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn is_fresh(&self) -> bool {
        self.alone || self.age_ms().saturating_sub(self.confirmed_ms.load(Ordering::Acquire)) < FRESH_FOR.as_millis() as u64
    }

    /// The endpoints of a space, for an event that is being written.
    pub(super) async fn of(&self, tx: &mut Tx<'_>, space: Space) -> Result<Vec<Arc<Endpoint>>> {
        let known = self.known();
        if self.is_fresh() {
            return Ok(known.of(space).to_vec());
        }
        let generation = generation(tx).await?;
        if generation == known.generation {
            return Ok(known.of(space).to_vec());
        }
        // Not kept: this transaction may see what will never be committed.
        Ok(Known::load(tx, generation).await?.of(space).to_vec())
    }

    /// Whether an endpoint of that space has asked for the event.
    pub fn asked_for(&self, space: Space, kind: EventType) -> bool {
        let known = self.known();
        known.of(space).iter().any(|endpoint| endpoint.types.as_ref().is_some_and(|types| types.contains(&kind)))
    }

    /// Something was committed for these endpoints.
    pub fn ring(&self, endpoints: impl IntoIterator<Item = Uuid>) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).extend(endpoints);
        self.bell.notify_one();
    }

    /// Waits for the bell.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes the endpoints that it rang for.
    pub fn take_rung(&self) -> HashSet<Uuid> {
        std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// Takes over what has changed about endpoints, here or on another node.
    pub async fn refresh_endpoints(&self) -> Result<()> {
        let registry = &self.shared().endpoints;
        // What is read is at least as new as this.
        let at = registry.age_ms();
        let before = registry.known().generation;
        let loaded = self
            .read(move |tx| {
                Box::pin(async move {
                    let generation = generation(tx).await?;
                    if generation == before { Ok(None) } else { Known::load(tx, generation).await.map(Some) }
                })
            })
            .await?;
        if let Some(loaded) = loaded {
            let mut known = registry.known.write().unwrap_or_else(PoisonError::into_inner);
            if loaded.generation > known.generation {
                *known = Arc::new(loaded);
            }
        }
        registry.confirmed_ms.fetch_max(at, Ordering::AcqRel);
        Ok(())
    }

    /// Keeps the list of endpoints fresh until told to stop. On one process nothing else changes it.
    pub async fn keep_endpoints_fresh(self, mut stop: tokio::sync::watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(REFRESH) => {}
            }
            if let Err(error) = self.refresh_endpoints().await {
                tracing::warn!(%error, "the list of endpoints could not be read, trying again");
            }
        }
    }
}

// ---------------------------------------------------------------- questions

#[derive(Debug, Clone, Default)]
pub struct EndpointFilter {
    pub url: Option<String>,
    pub status: Option<EndpointStatus>,
    pub source: Option<String>,
    pub definition: Option<RewardDefinitionId>,
    pub created_by: Option<String>,
}

pub async fn list(tx: &mut Tx<'_>, space: Space, filter: &EndpointFilter, page: &Page) -> Result<Listing<Endpoint>> {
    let mut query = Query::new(SELECT, space);
    query.and("deleted_at IS NULL");
    if let Some(url) = &filter.url {
        query.and_text("url =", url);
    }
    if let Some(status) = filter.status {
        query.and_text("status =", status.as_str());
    }
    if let Some(source) = &filter.source {
        query.and_text("source =", source);
    }
    if let Some(id) = filter.definition {
        query.and_id("definition_id =", id.uuid());
    }
    if let Some(actor) = &filter.created_by {
        query.and_text("created_by =", actor);
    }
    query.page_by_id(tx, page, read, |endpoint| endpoint.id.uuid()).await
}

pub async fn get(tx: &mut Tx<'_>, space: Space, id: EndpointId) -> Result<Endpoint> {
    find(tx, space, id, "").await
}

/// Whether it is, or was, an endpoint of that side: its log outlives it.
pub async fn must_have_been(tx: &mut Tx<'_>, space: Space, id: EndpointId) -> Result<()> {
    let found = tx.fetch_one("SELECT 1 FROM endpoints WHERE space = $1 AND id = $2", &[space.into(), id.uuid().into()], |_| Ok(())).await?;
    found.ok_or(Error::NotFound { what: "endpoint" })
}

async fn find(tx: &mut Tx<'_>, space: Space, id: EndpointId, lock: &str) -> Result<Endpoint> {
    let sql = format!("{SELECT} WHERE space = $1 AND id = $2 AND deleted_at IS NULL{lock}");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read).await?.ok_or(Error::NotFound { what: "endpoint" })
}

async fn locked(work: &mut Work<'_, '_>, id: EndpointId) -> Result<Endpoint> {
    find(work.tx, work.context.space, id, " FOR UPDATE").await
}

// ---------------------------------------------------------------- changes

/// What an endpoint is told to be. `None` in a change leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub description: Option<String>,
    /// `Some(None)` is all but those that must be asked for.
    pub types: Option<Option<Vec<EventType>>>,
    pub campaign: Option<Option<CampaignId>>,
    pub person_source: Option<Option<String>>,
    pub definition: Option<Option<RewardDefinitionId>>,
    pub headers: Option<Vec<(String, String)>>,
    pub shape: Option<Shape>,
    pub layout: Option<Option<Layout>>,
    pub credentials: Option<Vec<(String, String)>>,
    pub in_order: Option<bool>,
    pub rate_per_second: Option<Option<u32>>,
    pub concurrency: Option<u32>,
}

impl Terms {
    fn check(&self) -> Result<()> {
        let invalid = |field: &str, expected: String| Err(Error::Invalid { field: field.into(), expected });
        if self.description.as_ref().is_some_and(|text| text.chars().count() > 500 || text.chars().any(char::is_control)) {
            return invalid("/description", "at most 500 characters on one line".into());
        }
        if let Some(Some(types)) = &self.types
            && types.is_empty()
        {
            return invalid("/event_types", "at least one type, or no list for all of them".into());
        }
        if let Some(Some(sources)) = &self.person_source {
            parse_sources(sources)?;
        }
        if let Some(Some(layout)) = &self.layout {
            layout.check()?;
        }
        if let Some(credentials) = &self.credentials {
            let is_name = |name: &str| (1..=100).contains(&name.len()) && !name.chars().any(char::is_control);
            if credentials.len() > LAYOUT_MAX || bytes(credentials.iter().map(|(name, value)| (name, value))) > CONSTANTS_BYTES_MAX {
                return invalid("/credentials", format!("at most {LAYOUT_MAX} with {CONSTANTS_BYTES_MAX} bytes together"));
            }
            if !credentials.iter().all(|(name, _)| is_name(name)) {
                return invalid("/credentials", "names of 1 to 100 characters".into());
            }
        }
        if self.concurrency.is_some_and(|n| !(1..=CONCURRENCY_MAX).contains(&n)) {
            return invalid("/concurrency", format!("1 to {CONCURRENCY_MAX}"));
        }
        if let Some(Some(rate)) = self.rate_per_second
            && !(1..=100_000).contains(&rate)
        {
            return invalid("/rate_per_second", "1 to 100000".into());
        }
        let Some(headers) = &self.headers else { return Ok(()) };
        if headers.len() > HEADERS_MAX || bytes(headers.iter().map(|(name, value)| (name, value))) > HEADERS_BYTES_MAX {
            return invalid("/headers", format!("at most {HEADERS_MAX} headers with {HEADERS_BYTES_MAX} bytes together"));
        }
        for (name, value) in headers {
            let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            if !is_token || is_reserved(name) {
                return invalid("/headers", format!("names of own headers; {name:?} is not one, or is set by Goodword"));
            }
            if !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                return invalid("/headers", format!("visible ASCII characters in the header {name}"));
            }
        }
        Ok(())
    }
}

/// Sources with commas between, as they are kept: people put a space behind a comma.
pub fn parse_sources(text: &str) -> Result<String> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    if text.len() > SOURCES_LEN_MAX || !words.iter().all(|word| (1..=40).contains(&word.len())) {
        let expected = "one source of 1 to 40 characters, or several with commas between and none of them empty".into();
        return Err(Error::Invalid { field: "/person_source".into(), expected });
    }
    Ok(words.join(","))
}

/// The native body is what it is.
fn check_shape(shape: Shape, layout: Option<&Layout>, has_credentials: bool) -> Result<()> {
    // Whatever stands in an address ends up in the logs of everybody on the way.
    if shape == Shape::Flat && layout.is_some_and(|layout| layout.method == Method::Get) {
        return Err(Error::Invalid {
            field: "/layout/method".into(),
            expected: "POST; only the shape referral_factory knows GET, for receivers that were made for it".into(),
        });
    }
    let field = match shape {
        Shape::Native if layout.is_some() => "/layout",
        Shape::Native if has_credentials => "/credentials",
        _ => return Ok(()),
    };
    Err(Error::Invalid { field: field.into(), expected: "another shape than native, whose body is always the same".into() })
}

/// The definition of a reward that is wanted must be there.
async fn check_definition(work: &mut Work<'_, '_>, id: RewardDefinitionId) -> Result<()> {
    super::campaign::of_definition(work.tx, work.shared, work.context.space, id).await.map(drop)
}

/// Headers that belong to the protocol, the body or the signature.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("webhook-")
        || name.starts_with("goodword-")
        || ["host", "content-type", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect", "user-agent"]
            .contains(&name.as_str())
}

/// Makes an endpoint; the same address by the same caller is the same endpoint, told anew:
/// its terms are replaced, its secret is new and the old one no longer valid, and it is
/// active. The caller has had the address checked by [`crate::delivery::Guard`]; it is
/// checked again at every connection.
#[derive(Debug, Clone)]
pub struct Create {
    pub url: WebUrl,
    pub terms: Terms,
    /// Where the endpoint comes from: `api`, `n8n`, `make`, `zapier`.
    pub source: String,
    pub secret: SigningSecret,
}

/// A new endpoint.
#[derive(Debug, Clone)]
pub struct Created {
    pub endpoint: Endpoint,
    /// Shown once.
    pub secret: SigningSecret,
    /// It was there before.
    pub replaced: bool,
}

impl Act for Create {
    type Output = Created;
    const SECRECY: Secrecy = Secrecy::Sealed;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Created> {
        self.terms.check()?;
        let (space, now) = (work.context.space, work.context.wall.ms());
        let actor = work.context.actor.clone();
        if let Some(Some(campaign)) = self.terms.campaign {
            super::campaign::get(work.tx, work.shared, space, campaign).await?;
        }
        if let Some(Some(definition)) = self.terms.definition {
            check_definition(work, definition).await?;
        }
        let shape = self.terms.shape.unwrap_or_default();
        let layout = self.terms.layout.as_ref().and_then(Option::as_ref);
        let credentials = self.terms.credentials.as_deref().unwrap_or_default();
        check_shape(shape, layout, !credentials.is_empty())?;
        let sql = "SELECT id FROM endpoints WHERE space = $1 AND created_by = $2 AND url = $3 AND deleted_at IS NULL FOR UPDATE";
        let before = work.tx.fetch_one(sql, &[space.into(), (&*actor).into(), self.url.as_str().into()], |row| row.get::<Uuid>(0)).await?;
        let id = before.map_or_else(|| work.mint.id(), EndpointId::from_uuid);
        let vault = &work.shared.vault;
        let secret = vault.seal(secret_place(&id), self.secret.bytes())?;
        let headers = seal_pairs(vault, headers_place(&id), self.terms.headers.as_deref().unwrap_or_default())?;
        let credentials = seal_pairs(vault, credentials_place(&id), credentials)?;
        let layout = layout.map(layout_text).transpose()?;
        let types = words(self.terms.types.as_ref().and_then(Option::as_ref));
        if before.is_none() {
            let count =
                work.tx.fetch_one("SELECT count(*) FROM endpoints WHERE space = $1 AND deleted_at IS NULL", &[space.into()], |row| row.get::<i64>(0)).await?;
            if count.unwrap_or(0) >= ENDPOINTS_MAX {
                return Err(Error::Conflict { reason: None, detail: format!("There are {ENDPOINTS_MAX} endpoints already; delete those that nobody needs.") });
            }
        }
        // Two requests with the same address at the same time: the later one replaces.
        work.tx
            .execute(
                "INSERT INTO endpoints (space, id, url, description, types, campaign_id, person_source, headers, secret, in_order, rate_per_second, concurrency, shape, status, source, created_by, created_at, updated_at, credentials, layout, definition_id)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'active', $14, $15, $16, $16, $17, $18, $19)
                 ON CONFLICT (space, id) DO UPDATE SET description = excluded.description, types = excluded.types, campaign_id = excluded.campaign_id, person_source = excluded.person_source,
                    headers = excluded.headers, secret = excluded.secret, previous_secret = NULL, previous_until = NULL, in_order = excluded.in_order, rate_per_second = excluded.rate_per_second,
                    concurrency = excluded.concurrency, shape = excluded.shape, status = 'active', failing_since = NULL, warned_at = NULL, source = excluded.source, updated_at = excluded.updated_at,
                    credentials = excluded.credentials, layout = excluded.layout, definition_id = excluded.definition_id",
                &[
                    space.into(),
                    id.uuid().into(),
                    self.url.as_str().into(),
                    self.terms.description.as_deref().unwrap_or_default().into(),
                    types.as_deref().into(),
                    self.terms.campaign.flatten().map(|id| id.uuid()).into(),
                    self.terms.person_source.as_ref().and_then(Option::as_deref).into(),
                    sealed(headers.as_ref()),
                    sealed(Some(&secret)),
                    self.terms.in_order.unwrap_or(false).into(),
                    self.terms.rate_per_second.flatten().into(),
                    self.terms.concurrency.unwrap_or(CONCURRENCY_DEFAULT).into(),
                    shape.as_str().into(),
                    self.source.as_str().into(),
                    (&*actor).into(),
                    now.into(),
                    sealed(credentials.as_ref()),
                    layout.as_deref().into(),
                    self.terms.definition.flatten().map(|id| id.uuid()).into(),
                ],
            )
            .await?;
        note(work, "endpoint.create", &json!({"id": id, "url": origin(self.url.as_str()), "replaced": before.is_some()})).await?;
        let endpoint = get(work.tx, space, id).await?;
        Ok(Created { endpoint, secret: self.secret.clone(), replaced: before.is_some() })
    }
}

/// Changes an endpoint's terms, its address, or switches it on or off.
#[derive(Debug, Clone)]
pub struct Update {
    pub id: EndpointId,
    pub url: Option<WebUrl>,
    pub terms: Terms,
    /// Whether it is to be told: switching it on forgets its failures.
    pub enabled: Option<bool>,
}

impl Act for Update {
    type Output = Endpoint;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Endpoint> {
        self.terms.check()?;
        let before = locked(work, self.id).await?;
        if let Some(Some(campaign)) = self.terms.campaign {
            super::campaign::get(work.tx, work.shared, work.context.space, campaign).await?;
        }
        let headers = match &self.terms.headers {
            Some(headers) => seal_pairs(&work.shared.vault, headers_place(&self.id), headers)?,
            None => before.sealed_headers.clone(),
        };
        let credentials = match &self.terms.credentials {
            Some(credentials) => seal_pairs(&work.shared.vault, credentials_place(&self.id), credentials)?,
            None => before.sealed_credentials.clone(),
        };
        if let Some(Some(definition)) = self.terms.definition {
            check_definition(work, definition).await?;
        }
        let terms = &self.terms;
        let types = words(terms.types.as_ref().map_or(before.types.as_ref(), Option::as_ref));
        let url = self.url.as_ref().map_or(before.url.as_str(), WebUrl::as_str);
        let shape = terms.shape.unwrap_or(before.shape);
        let layout = terms.layout.as_ref().map_or(before.layout.as_ref(), Option::as_ref);
        check_shape(shape, layout, credentials.is_some())?;
        let layout = layout.map(layout_text).transpose()?;
        let status = match self.enabled {
            Some(true) => EndpointStatus::Active,
            Some(false) => EndpointStatus::Disabled,
            None => before.status,
        };
        let failing_since = before.failing_since.filter(|_| self.enabled.is_none());
        let warned_at = before.warned_at.filter(|_| self.enabled.is_none());
        let changed = work
            .tx
            .execute(
                "UPDATE endpoints SET url = $3, description = $4, types = $5, campaign_id = $6, person_source = $7, headers = $8, in_order = $9, rate_per_second = $10,
                    concurrency = $11, status = $12, failing_since = $13, warned_at = $14, updated_at = $15,
                    shape = $16, layout = $17, credentials = $18, definition_id = $19 WHERE space = $1 AND id = $2",
                &[
                    work.context.space.into(),
                    self.id.uuid().into(),
                    url.into(),
                    terms.description.as_deref().unwrap_or(&before.description).into(),
                    types.as_deref().into(),
                    terms.campaign.unwrap_or(before.campaign).map(|id| id.uuid()).into(),
                    terms.person_source.as_ref().map_or(before.person_source.as_deref(), Option::as_deref).into(),
                    sealed(headers.as_ref()),
                    terms.in_order.unwrap_or(before.in_order).into(),
                    terms.rate_per_second.unwrap_or(before.rate_per_second).into(),
                    terms.concurrency.unwrap_or(before.concurrency).into(),
                    status.as_str().into(),
                    failing_since.map(Timestamp::ms).into(),
                    warned_at.map(Timestamp::ms).into(),
                    work.context.wall.ms().into(),
                    shape.as_str().into(),
                    layout.as_deref().into(),
                    sealed(credentials.as_ref()),
                    terms.definition.unwrap_or(before.definition).map(|id| id.uuid()).into(),
                ],
            )
            .await;
        match changed {
            Err(error) if error.is_conflict_on("endpoints") => {
                return Err(Error::Conflict { reason: None, detail: "This key has another endpoint with that address.".into() });
            }
            outcome => outcome?,
        };
        note(work, "endpoint.update", &json!({"id": self.id, "url": origin(url), "status": status})).await?;
        get(work.tx, work.context.space, self.id).await
    }
}

/// Gives an endpoint a new secret; the old one goes on being signed with for a while.
#[derive(Debug, Clone)]
pub struct RotateSecret {
    pub id: EndpointId,
    pub secret: SigningSecret,
    pub overlap_hours: u32,
}

impl Act for RotateSecret {
    type Output = Created;
    const SECRECY: Secrecy = Secrecy::Sealed;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Created> {
        if self.overlap_hours > OVERLAP_HOURS_MAX {
            return Err(Error::Invalid { field: "/overlap_hours".into(), expected: format!("0 to {OVERLAP_HOURS_MAX}") });
        }
        locked(work, self.id).await?;
        let secret = work.shared.vault.seal(secret_place(&self.id), self.secret.bytes())?;
        let until = work.context.wall.plus_ms(i64::from(self.overlap_hours) * HOUR_MS);
        let sql = "UPDATE endpoints SET previous_secret = secret, previous_until = $4, secret = $3, updated_at = $5 WHERE space = $1 AND id = $2";
        work.tx
            .execute(sql, &[work.context.space.into(), self.id.uuid().into(), sealed(Some(&secret)), until.ms().into(), work.context.wall.ms().into()])
            .await?;
        note(work, "endpoint.rotate_secret", &json!({"id": self.id, "overlap_hours": self.overlap_hours})).await?;
        let endpoint = get(work.tx, work.context.space, self.id).await?;
        Ok(Created { endpoint, secret: self.secret.clone(), replaced: true })
    }
}

/// Deletes an endpoint. What was still due for it becomes rows that say so, soon after.
/// Deleting it again changes nothing.
#[derive(Debug, Clone)]
pub struct Delete {
    pub id: EndpointId,
}

impl Act for Delete {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let sql = "UPDATE endpoints SET deleted_at = $3 WHERE space = $1 AND id = $2 AND deleted_at IS NULL";
        let args = [work.context.space.into(), self.id.uuid().into(), work.context.wall.ms().into()];
        if work.tx.execute(sql, &args).await? == 0 {
            return must_have_been(work.tx, work.context.space, self.id).await;
        }
        work.ring.push(self.id.uuid());
        note(work, "endpoint.delete", &json!({"id": self.id})).await
    }
}

/// Sends an endpoint an event that says it is a test, with an example of everything.
#[derive(Debug, Clone)]
pub struct Test {
    pub id: EndpointId,
}

impl Act for Test {
    type Output = DeliveryId;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<DeliveryId> {
        let endpoint = get(work.tx, work.context.space, self.id).await?;
        let data = view::EventData { endpoint: Some(endpoint.reference()), ..sample::data(EventType::EndpointTested) };
        work.emit_to_one(endpoint, EventType::EndpointTested, &self.id, &data)
    }
}

/// The endpoint has not taken anything since then.
#[derive(Debug, Clone)]
pub struct Failing {
    pub id: EndpointId,
    pub since: Timestamp,
}

/// The failures are the receiver's, for so long, before somebody is warned.
pub const WARN_AFTER_MS: i64 = 24 * HOUR_MS;
/// And for so long before the endpoint is switched off. The issue: "five days of failures only".
pub const DISABLE_AFTER_MS: i64 = 5 * 24 * HOUR_MS;

impl Act for Failing {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let Ok(before) = locked(work, self.id).await else { return Ok(()) };
        if before.status.skips().is_some() {
            return Ok(());
        }
        let now = work.context.wall;
        let since = before.failing_since.map_or(self.since, |since| since.min(self.since));
        let lasted_ms = now.ms() - since.ms();
        let warn = before.warned_at.is_none() && lasted_ms >= WARN_AFTER_MS;
        // Never without a warning before, and some time to act upon it.
        let disable = lasted_ms >= DISABLE_AFTER_MS && before.warned_at.is_some_and(|at| now.ms() - at.ms() >= WARN_AFTER_MS);
        let status = if disable { EndpointStatus::Disabled } else { EndpointStatus::Failing };
        if before.status == status && before.failing_since == Some(since) && !warn {
            return Ok(());
        }
        let warned_at = if warn { Some(now) } else { before.warned_at };
        let sql = "UPDATE endpoints SET status = $3, failing_since = $4, warned_at = $5 WHERE space = $1 AND id = $2";
        let args = [work.context.space.into(), self.id.uuid().into(), status.as_str().into(), since.ms().into(), warned_at.map(Timestamp::ms).into()];
        work.tx.execute(sql, &args).await?;
        let endpoint = Endpoint { status, failing_since: Some(since), warned_at, ..before };
        changed(work).await?;
        if warn {
            tell(work, EventType::EndpointFailing, &endpoint)?;
        }
        if disable {
            work.ring.push(self.id.uuid());
            tell(work, EventType::EndpointDisabled, &endpoint)?;
            tell_of_integration(work, &endpoint)?;
        }
        Ok(())
    }
}

/// The endpoint has taken something again: what waits for its next try need not wait.
#[derive(Debug, Clone)]
pub struct Recovered {
    pub id: EndpointId,
}

/// Waiting deliveries that are brought forward at once: some tens of milliseconds of work.
const BROUGHT_FORWARD_MAX: i64 = 5_000;

impl Act for Recovered {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let Ok(before) = locked(work, self.id).await else { return Ok(()) };
        if before.status != EndpointStatus::Failing {
            return Ok(());
        }
        let sql = "UPDATE endpoints SET status = 'active', failing_since = NULL, warned_at = NULL WHERE space = $1 AND id = $2";
        work.tx.execute(sql, &[work.context.space.into(), self.id.uuid().into()]).await?;
        work.tx
            .execute(
                "UPDATE deliveries SET due_at = $2 WHERE seq IN (SELECT seq FROM deliveries WHERE endpoint_id = $1 AND due_at > $2 AND lease_by IS NULL ORDER BY due_at LIMIT $3)",
                &[self.id.uuid().into(), work.context.wall.ms().into(), BROUGHT_FORWARD_MAX.into()],
            )
            .await?;
        work.ring.push(self.id.uuid());
        changed(work).await
    }
}

/// The endpoint has answered 410.
#[derive(Debug, Clone)]
pub struct Gone {
    pub id: EndpointId,
}

impl Act for Gone {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let Ok(before) = locked(work, self.id).await else { return Ok(()) };
        if before.status.skips().is_some() {
            return Ok(());
        }
        work.tx
            .execute(
                "UPDATE endpoints SET status = 'gone', updated_at = $3 WHERE space = $1 AND id = $2",
                &[work.context.space.into(), self.id.uuid().into(), work.context.wall.ms().into()],
            )
            .await?;
        work.ring.push(self.id.uuid());
        changed(work).await?;
        let endpoint = Endpoint { status: EndpointStatus::Gone, ..before };
        tell(work, EventType::EndpointGone, &endpoint)?;
        tell_of_integration(work, &endpoint)
    }
}

fn tell(work: &mut Work<'_, '_>, kind: EventType, endpoint: &Endpoint) -> Result<()> {
    let data = view::EventData { endpoint: Some(endpoint.reference()), ..Default::default() };
    work.emit(kind, &endpoint.id, None, &data)
}

/// Whoever made the endpoint by hand knows it as one; what a tool has registered is known as that tool.
fn tell_of_integration(work: &mut Work<'_, '_>, endpoint: &Endpoint) -> Result<()> {
    if matches!(endpoint.source.as_str(), "api" | "cli") {
        return Ok(());
    }
    let integration = view::IntegrationRef { name: endpoint.source.clone(), endpoint_id: endpoint.id, status: endpoint.status };
    let data = view::EventData { endpoint: Some(endpoint.reference()), integration: Some(integration), ..Default::default() };
    work.emit(EventType::IntegrationDisconnected, &endpoint.id, None, &data)
}

/// Nodes must read the list again.
async fn changed(work: &mut Work<'_, '_>) -> Result<()> {
    work.endpoints_changed = true;
    let sql = "INSERT INTO generations (name, n) VALUES ('endpoints', 1) ON CONFLICT (name) DO UPDATE SET n = generations.n + 1";
    Ok(work.tx.push(sql, &[]).await?)
}

/// The signal of a change by somebody.
async fn note(work: &mut Work<'_, '_>, kind: &'static str, payload: &serde_json::Value) -> Result<()> {
    changed(work).await?;
    let signal = work.signal(kind, None, None, payload);
    work.record(&signal, &Decision::applied(Vec::new()), None).await
}

/// The address without its path, which may hold a token.
fn origin(url: &str) -> String {
    url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

fn words(types: Option<&Vec<EventType>>) -> Option<String> {
    types.map(|types| types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" "))
}

fn seal_pairs(vault: &Vault, place: Place<'_>, pairs: &[(String, String)]) -> Result<Option<Vec<u8>>> {
    if pairs.is_empty() {
        return Ok(None);
    }
    let plain = serde_json::to_vec(pairs).map_err(|error| store::Error::Database(error.to_string()))?;
    vault.seal(place, &plain).map(Some)
}

fn layout_text(layout: &Layout) -> Result<String> {
    Ok(serde_json::to_string(layout).map_err(|error| store::Error::Database(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goodword_core::ids::Mint;

    #[test]
    fn secrets_are_as_the_specification_has_them() {
        let secret = SigningSecret::random();
        assert_eq!(secret.reveal().parse::<SigningSecret>().unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "whsec_…");
        for (len, valid) in [(23, false), (24, true), (64, true), (65, false)] {
            let text = format!("whsec_{}", BASE64.encode(vec![7; len]));
            assert_eq!(text.parse::<SigningSecret>().is_ok(), valid, "{len} bytes");
        }
        assert!("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse::<SigningSecret>().is_err());
    }

    #[test]
    fn a_delivery_has_one_id_in_the_order_of_time() {
        let mut early = Mint::new(Timestamp::from_ms(1_000), 1);
        let mut late = Mint::new(Timestamp::from_ms(2_000), 2);
        let (a, b, first, second): (EventId, EventId, EndpointId, EndpointId) = (early.id(), late.id(), early.id(), late.id());
        let ids: HashSet<_> = [(a, first), (a, second), (b, first), (b, second)].into_iter().map(|(event, endpoint)| delivery_id(event, endpoint)).collect();
        assert_eq!(ids.len(), 4);
        assert_eq!(delivery_id(a, first), delivery_id(a, first));
        assert!(delivery_id(a, second) < delivery_id(b, first));
        assert_eq!(delivery_id(a, first).uuid().get_version_num(), 7);
    }

    #[test]
    fn headers_of_the_protocol_are_not_theirs() {
        for (name, value, valid) in [
            ("Authorization", "Bearer x", true),
            ("X-Any", "a b", true),
            ("Host", "x", false),
            ("webhook-signature", "x", false),
            ("a b", "x", false),
            ("X", "a\r\nb", false),
            ("X", "ü", false),
        ] {
            let terms = Terms { headers: Some(vec![(name.into(), value.into())]), ..Terms::default() };
            assert_eq!(terms.check().is_ok(), valid, "{name}: {value}");
        }
    }
}
