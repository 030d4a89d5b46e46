//! Campaigns and their versioned configuration.

use super::{
    Error, Result, Shared, Space,
    event::EventType,
    number,
    view::{self, CampaignRef},
    work::{Act, Work, statement},
};
use goodword_core::{
    campaign::{CampaignSettings, CampaignStatus, Configuration},
    decide::{CampaignFacts, Decision},
    explain::Reason,
    ids::{CampaignId, RewardDefinitionId},
    reward::{RewardDefinition, RewardTerms, RewardValue},
    text::Code,
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Row, Tx};
use serde_json::json;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, RwLock},
};
use uuid::Uuid;

/// A campaign as it stands, with its current configuration.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub id: CampaignId,
    pub number: i64,
    pub code: String,
    pub status: CampaignStatus,
    pub status_since: Timestamp,
    /// When it was not live and later was again: from, until; oldest first.
    pub pauses: Vec<(Timestamp, Timestamp)>,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub configuration: Arc<Configuration>,
}

impl Campaign {
    pub fn settings(&self) -> &CampaignSettings {
        &self.configuration.settings
    }

    pub fn facts(&self) -> CampaignFacts<'_> {
        CampaignFacts { status: self.status, status_since: self.status_since, pauses: &self.pauses, settings: self.settings() }
    }

    pub fn reference(&self) -> CampaignRef {
        CampaignRef { id: self.id, name: self.settings().name.to_string() }
    }

    pub fn state(&self) -> view::CampaignState {
        view::CampaignState { id: self.id, name: self.settings().name.to_string(), status: self.status, version: self.version }
    }
}

/// Configurations that were read before. A version never changes, so nothing here is
/// ever stale.
#[derive(Default)]
pub struct Configurations(RwLock<HashMap<(Space, CampaignId, i64), Arc<Configuration>>>);

/// More campaigns than anybody edits in a day; beyond it the map begins anew.
const CONFIGURATIONS_MAX: usize = 2_000;

impl Configurations {
    fn get(&self, key: &(Space, CampaignId, i64)) -> Option<Arc<Configuration>> {
        self.0.read().ok()?.get(key).cloned()
    }

    fn put(&self, key: (Space, CampaignId, i64), configuration: Arc<Configuration>) {
        if let Ok(mut map) = self.0.write() {
            if map.len() >= CONFIGURATIONS_MAX {
                map.clear();
            }
            map.insert(key, configuration);
        }
    }

    /// The configuration at a version.
    pub async fn at(&self, tx: &mut Tx<'_>, space: Space, id: CampaignId, version: i64) -> Result<Option<Arc<Configuration>>> {
        let key = (space, id, version);
        if let Some(found) = self.get(&key) {
            return Ok(Some(found));
        }
        let sql = "SELECT configuration FROM campaign_versions WHERE space = $1 AND campaign_id = $2 AND version = $3";
        let Some(text) = tx.fetch_one(sql, &[space.into(), id.uuid().into(), version.into()], |row| row.get::<String>(0)).await? else { return Ok(None) };
        let configuration: Configuration =
            serde_json::from_str(&text).map_err(|error| store::Error::Database(format!("configuration of {id} at version {version}: {error}")))?;
        let configuration = Arc::new(configuration);
        self.put(key, configuration.clone());
        Ok(Some(configuration))
    }
}

struct CampaignRow {
    id: CampaignId,
    number: i64,
    code: String,
    status: CampaignStatus,
    status_since: Timestamp,
    pauses: Vec<(Timestamp, Timestamp)>,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

const SELECT: &str = "SELECT id, coalesce(number, no), code, status, status_since, version, created_at, updated_at, pauses FROM campaigns";

fn read_row(row: &Row<'_>) -> store::Result<CampaignRow> {
    Ok(CampaignRow {
        id: CampaignId::from_uuid(row.get(0)?),
        number: row.get(1)?,
        code: row.get(2)?,
        status: CampaignStatus::parse(row.text(3)?).ok_or_else(|| store::Error::Database("a campaign has an unknown status".into()))?,
        status_since: Timestamp::from_ms(row.get(4)?),
        version: row.get(5)?,
        created_at: Timestamp::from_ms(row.get(6)?),
        updated_at: Timestamp::from_ms(row.get(7)?),
        pauses: match row.text(8)? {
            "[]" => Vec::new(),
            text => serde_json::from_str::<Vec<(i64, i64)>>(text)
                .map_err(|_| store::Error::Database("a campaign has an unknown pause".into()))?
                .into_iter()
                .map(|(from, until)| (Timestamp::from_ms(from), Timestamp::from_ms(until)))
                .collect(),
        },
    })
}

async fn complete(tx: &mut Tx<'_>, shared: &Shared, space: Space, row: CampaignRow) -> Result<Campaign> {
    let configuration = shared
        .configurations
        .at(tx, space, row.id, row.version)
        .await?
        .ok_or_else(|| store::Error::Database(format!("{} has no version {}", row.id, row.version)))?;
    Ok(Campaign {
        id: row.id,
        number: row.number,
        code: row.code,
        status: row.status,
        status_since: row.status_since,
        pauses: row.pauses,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        configuration,
    })
}

/// The campaign, if it is there and was not deleted.
pub async fn find(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId) -> Result<Option<Campaign>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2 AND deleted_at IS NULL");
    match tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read_row).await? {
        Some(row) => Ok(Some(complete(tx, shared, space, row).await?)),
        None => Ok(None),
    }
}

pub async fn get(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId) -> Result<Campaign> {
    find(tx, shared, space, id).await?.ok_or(Error::NotFound { what: "campaign" })
}

/// The campaign of that id, code or exact name.
pub async fn named(tx: &mut Tx<'_>, shared: &Shared, space: Space, name: &str) -> Result<Campaign> {
    if let Ok(id) = name.parse::<CampaignId>() {
        return get(tx, shared, space, id).await;
    }
    if let Ok(code) = name.parse()
        && let Some(id) = by_code(tx, space, &code).await?
    {
        return get(tx, shared, space, id).await;
    }
    let sql = "SELECT id FROM campaigns WHERE space = $1 AND name = $2 AND deleted_at IS NULL ORDER BY id LIMIT 2";
    match tx.fetch(sql, &[space.into(), name.into()], |row| row.get::<Uuid>(0)).await?.as_slice() {
        [] => Err(Error::NotFound { what: "campaign" }),
        [id] => get(tx, shared, space, CampaignId::from_uuid(*id)).await,
        _ => Err(Error::Invalid { field: "campaign".into(), expected: format!("an id or a code, for several campaigns are called {name}") }),
    }
}

/// The campaign whose own code that is.
pub async fn by_code(tx: &mut Tx<'_>, space: Space, code: &Code) -> Result<Option<CampaignId>> {
    let sql = "SELECT campaign_id FROM codes WHERE code_key = $1 AND space = $2 AND participant_id IS NULL";
    Ok(tx.fetch_one(sql, &[code.key().as_str().into(), space.into()], |row| Ok(CampaignId::from_uuid(row.get(0)?))).await?)
}

/// Whether there was such a campaign.
pub async fn was_deleted(tx: &mut Tx<'_>, space: Space, id: CampaignId) -> Result<bool> {
    let sql = "SELECT 1 FROM campaigns WHERE space = $1 AND id = $2 AND deleted_at IS NOT NULL";
    Ok(tx.fetch_one(sql, &[space.into(), id.uuid().into()], |row| row.get::<i64>(0)).await?.is_some())
}

/// The campaign, with its row locked for a change.
async fn get_locked(work: &mut Work<'_, '_>, id: CampaignId) -> Result<Campaign> {
    find_locked(work, id).await?.ok_or(Error::NotFound { what: "campaign" })
}

/// The same, if it is still the version that the caller saw, where it said so.
async fn get_seen(work: &mut Work<'_, '_>, id: CampaignId, if_version: Option<i64>) -> Result<Campaign> {
    let campaign = get_locked(work, id).await?;
    match if_version {
        Some(version) if version != campaign.version => Err(Error::VersionChanged { current: campaign.version }),
        _ => Ok(campaign),
    }
}

async fn find_locked(work: &mut Work<'_, '_>, id: CampaignId) -> Result<Option<Campaign>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE");
    match work.tx.fetch_one(&sql, &[work.context.space.into(), id.uuid().into()], read_row).await? {
        Some(row) => Ok(Some(complete(work.tx, work.shared, work.context.space, row).await?)),
        None => Ok(None),
    }
}

/// Newest first, or in the order they were made.
pub async fn list(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &CampaignFilter, page: &super::list::Page) -> Result<super::list::Listing<Campaign>> {
    let mut query = super::list::Query::new(SELECT, space);
    query.and("deleted_at IS NULL");
    if let Some(status) = filter.status {
        query.and_text("status =", status.as_str());
    }
    if let Some(search) = &filter.search {
        query.and_contains(&["name", "code"], search);
    }
    let rows = query.page(tx, page, "created_at", read_row, |row| (row.created_at.ms(), row.id.uuid())).await?;
    let mut data = Vec::with_capacity(rows.data.len());
    for row in rows.data {
        data.push(complete(tx, shared, space, row).await?);
    }
    Ok(super::list::Listing { data, next: rows.next })
}

/// The campaign whose current configuration has that reward definition.
pub async fn of_definition(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: RewardDefinitionId) -> Result<Campaign> {
    let mut page = super::list::Page { limit: super::list::LIMIT_MAX, ..Default::default() };
    loop {
        let mut found = list(tx, shared, space, &CampaignFilter::default(), &page).await?;
        if let Some(position) = found.data.iter().position(|campaign| campaign.configuration.reward(id).is_some()) {
            return Ok(found.data.swap_remove(position));
        }
        match found.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Err(Error::NotFound { what: "reward definition" }),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct DefinitionFilter {
    pub campaign: Option<CampaignId>,
    /// Part of the name.
    pub search: Option<String>,
}

/// The reward definitions of current configurations, each with its campaign, in the order in which they were made.
pub async fn definitions(
    tx: &mut Tx<'_>,
    shared: &Shared,
    space: Space,
    filter: &DefinitionFilter,
    page: &super::list::Page,
) -> Result<super::list::Listing<(Arc<Campaign>, RewardDefinitionId)>> {
    let mut campaigns = HashMap::new();
    if let Some(id) = filter.campaign {
        campaigns.insert(id, Some(Arc::new(get(tx, shared, space, id).await?)));
    }
    let search = filter.search.as_ref().map(|search| search.to_lowercase());
    let mut found = Vec::new();
    let mut rows_page = super::list::Page { limit: super::list::LIMIT_MAX, ..page.clone() };
    loop {
        // Numbers stay when a definition goes, or its campaign: these rows are passed over.
        let mut query = super::list::Query::new("SELECT number, definition_id, campaign_id FROM definition_numbers", space);
        if let Some(id) = filter.campaign {
            query.and_id("campaign_id =", id.uuid());
        }
        let read = |row: &Row<'_>| Ok((row.get::<i64>(0)?, RewardDefinitionId::from_uuid(row.get(1)?), CampaignId::from_uuid(row.get(2)?)));
        let rows = query.page_by_number(tx, &rows_page, "number", read, |row| row.0).await?;
        for (number, id, of) in rows.data {
            if let Entry::Vacant(unknown) = campaigns.entry(of) {
                unknown.insert(match get(tx, shared, space, of).await {
                    Ok(campaign) => Some(Arc::new(campaign)),
                    Err(Error::NotFound { .. }) => None,
                    Err(error) => return Err(error),
                });
            }
            let Some(Some(campaign)) = campaigns.get(&of) else { continue };
            let Some(definition) = campaign.configuration.reward(id) else { continue };
            if search.as_ref().is_none_or(|search| definition.terms.name.as_str().to_lowercase().contains(search)) {
                found.push((number, (campaign.clone(), id)));
            }
        }
        if found.len() > page.limit || rows.next.is_none() {
            break;
        }
        rows_page.after = rows.next;
    }
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|(number, _)| super::list::Cursor { order: *number, id: Uuid::nil() });
    Ok(super::list::Listing { data: found.into_iter().map(|(_, definition)| definition).collect(), next })
}

#[derive(Debug, Clone, Default)]
pub struct CampaignFilter {
    pub status: Option<CampaignStatus>,
    pub search: Option<String>,
}

/// One version in a campaign's history.
#[derive(Debug, Clone)]
pub struct VersionRecord {
    pub version: i64,
    pub note: String,
    pub actor: String,
    pub created_at: Timestamp,
    pub configuration: Arc<Configuration>,
}

pub async fn versions(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId, page: &super::list::Page) -> Result<super::list::Listing<VersionRecord>> {
    let mut query = super::list::Query::new("SELECT version, note, actor, created_at, campaign_id FROM campaign_versions", space);
    query.and_id("campaign_id =", id.uuid());
    let read = |row: &Row<'_>| Ok((row.get::<i64>(0)?, row.get::<String>(1)?, row.get::<String>(2)?, Timestamp::from_ms(row.get(3)?)));
    let rows = query.page_by_number(tx, page, "version", read, |row| row.0).await?;
    let mut data = Vec::with_capacity(rows.data.len());
    for (version, note, actor, created_at) in rows.data {
        let configuration = shared.configurations.at(tx, space, id, version).await?.ok_or(Error::NotFound { what: "version" })?;
        data.push(VersionRecord { version, note, actor, created_at, configuration });
    }
    Ok(super::list::Listing { data, next: rows.next })
}

pub async fn version(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId, version: i64) -> Result<VersionRecord> {
    let sql = "SELECT note, actor, created_at FROM campaign_versions WHERE space = $1 AND campaign_id = $2 AND version = $3";
    let args = [space.into(), id.uuid().into(), version.into()];
    let read = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get::<String>(1)?, Timestamp::from_ms(row.get(2)?)));
    let (note, actor, created_at) = tx.fetch_one(sql, &args, read).await?.ok_or(Error::NotFound { what: "version" })?;
    let configuration = shared.configurations.at(tx, space, id, version).await?.ok_or(Error::NotFound { what: "version" })?;
    Ok(VersionRecord { version, note, actor, created_at, configuration })
}

// ---------------------------------------------------------------- changes

/// Makes a campaign; with its rewards at once, where they are given.
#[derive(Debug, Clone)]
pub struct Create {
    pub settings: CampaignSettings,
    pub rewards: Vec<RewardTerms>,
    pub status: CampaignStatus,
    pub code: Option<Code>,
}

impl Act for Create {
    type Output = Campaign;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Campaign> {
        let id: CampaignId = work.mint.id();
        self.settings.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
        let mut rewards = Vec::with_capacity(self.rewards.len());
        for (i, terms) in self.rewards.iter().enumerate() {
            terms.validate().map_err(|(field, invalid)| Error::invalid(format!("/rewards/{i}{field}"), invalid))?;
            rewards.push(RewardDefinition { id: work.mint.id(), terms: terms.clone() });
        }
        let code = match &self.code {
            Some(code) => code.clone(),
            None => Code::from_random(work.mint.random()),
        };
        claim_code(work, &code, id, None, self.code.is_some()).await?;
        let configuration = Configuration { settings: self.settings.clone(), rewards };
        let now = work.now();
        work.tx
            .execute(
                "INSERT INTO campaigns (space, id, code, name, status, status_since, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 1, $6, $6)",
                &[work.context.space.into(), id.uuid().into(), code.as_str().into(), configuration.settings.name.as_str().into(), self.status.as_str().into(), now.ms().into()],
            )
            .await?;
        save_version(work, id, 1, &configuration, "Created").await?;
        let campaign = get(work.tx, work.shared, work.context.space, id).await?;
        tell(
            work,
            "campaign.create",
            &campaign,
            self.status == CampaignStatus::Live,
            json!({"settings": self.settings, "rewards": self.rewards, "status": self.status}),
        )
        .await?;
        Ok(campaign)
    }
}

/// Changes the configuration: `edit` turns the current one into the next.
pub struct Edit {
    pub id: CampaignId,
    /// The version that the caller saw, where it said so.
    pub if_version: Option<i64>,
    pub change: Change,
}

/// What can be changed about a configuration.
#[derive(Debug, Clone)]
pub enum Change {
    /// Members that are given replace the current ones, objects member by member;
    /// names in `unset` go back to their default.
    Settings {
        patch: serde_json::Map<String, serde_json::Value>,
        unset: Vec<String>,
    },
    AddReward(RewardTerms),
    EditReward {
        id: RewardDefinitionId,
        patch: serde_json::Map<String, serde_json::Value>,
        unset: Vec<String>,
    },
    RemoveReward(RewardDefinitionId),
    /// The configuration of an earlier version becomes the next one.
    Restore(i64),
}

/// Removes a reward definition from the campaign that has it.
#[derive(Debug, Clone)]
pub struct RemoveReward {
    pub id: RewardDefinitionId,
    pub if_version: Option<i64>,
}

impl Act for RemoveReward {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let campaign = of_definition(work.tx, work.shared, work.space(), self.id).await?;
        Edit { id: campaign.id, if_version: self.if_version, change: Change::RemoveReward(self.id) }.act(work).await.map(drop)
    }
}

impl Act for Edit {
    type Output = (Campaign, Option<RewardDefinitionId>);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Self::Output> {
        let campaign = get_seen(work, self.id, self.if_version).await?;
        let mut next = (*campaign.configuration).clone();
        let mut touched = None;
        let note = match &self.change {
            Change::Settings { patch, unset } => {
                next.settings = patched(&next.settings, patch, unset)?;
                next.settings.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
                "Settings changed".to_owned()
            }
            Change::AddReward(terms) => {
                terms.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
                if next.rewards.len() >= REWARDS_MAX {
                    return Err(Error::Conflict { reason: None, detail: format!("a campaign has at most {REWARDS_MAX} reward definitions") });
                }
                let id = work.mint.id();
                touched = Some(id);
                next.rewards.push(RewardDefinition { id, terms: terms.clone() });
                format!("Reward added: {}", terms.name)
            }
            Change::EditReward { id, patch, unset } => {
                let definition = next.rewards.iter_mut().find(|definition| definition.id == *id).ok_or(Error::NotFound { what: "reward definition" })?;
                definition.terms = patched(&definition.terms, patch, unset)?;
                definition.terms.validate().map_err(|(field, invalid)| Error::invalid(field, invalid))?;
                touched = Some(*id);
                format!("Reward changed: {}", definition.terms.name)
            }
            Change::RemoveReward(id) => {
                let position = next.rewards.iter().position(|definition| definition.id == *id).ok_or(Error::NotFound { what: "reward definition" })?;
                let removed = next.rewards.remove(position);
                format!("Reward removed: {}", removed.terms.name)
            }
            Change::Restore(version) => {
                let earlier =
                    work.shared.configurations.at(work.tx, work.context.space, self.id, *version).await?.ok_or(Error::NotFound { what: "version" })?;
                next = (*earlier).clone();
                format!("Version {version} restored")
            }
        };
        if next == *campaign.configuration {
            return Ok((campaign, touched));
        }
        if next.settings.duplicates != campaign.settings().duplicates && has_participants(work, self.id).await? {
            let detail = "Who is the same person was decided for those who take part; the duplicate policy cannot change any more.";
            return Err(Error::Conflict { reason: None, detail: detail.into() });
        }
        // Nothing of what has happened since would count any more.
        let is_new_end = next.settings.ends_at != campaign.settings().ends_at;
        if is_new_end && has_run_out(campaign.status, &next.settings, work.now()) {
            let expected = format!("a time after {}; POST …/end ends the campaign now", work.now());
            return Err(Error::Invalid { field: "/ends_at".into(), expected });
        }
        let version = campaign.version + 1;
        save_version(work, self.id, version, &next, &note).await?;
        work.tx
            .execute(
                "UPDATE campaigns SET name = $3, version = $4, updated_at = $5 WHERE space = $1 AND id = $2",
                &[work.context.space.into(), self.id.uuid().into(), next.settings.name.as_str().into(), version.into(), work.context.now.ms().into()],
            )
            .await?;
        let campaign = Campaign { version, updated_at: work.now(), configuration: Arc::new(next), ..campaign };
        tell(work, "campaign.edit", &campaign, false, json!({"note": note})).await?;
        Ok((campaign, touched))
    }
}

/// More than a campaign needs; each is looked at for every lead.
const REWARDS_MAX: usize = 50;

/// Pauses that are remembered, the latest: they are read with the campaign for every signal, and what happened
/// before so many is told no more.
const PAUSES_MAX: usize = 200;

/// Publishes, pauses, resumes or ends a campaign. Its end is final: people were told that it is over.
#[derive(Debug, Clone)]
pub struct SetStatus {
    pub id: CampaignId,
    /// As [`Edit::if_version`].
    pub if_version: Option<i64>,
    pub status: CampaignStatus,
}

impl Act for SetStatus {
    type Output = Campaign;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Campaign> {
        let campaign = get_seen(work, self.id, self.if_version).await?;
        if campaign.status == self.status {
            return Ok(campaign);
        }
        if self.status == CampaignStatus::Draft {
            return Err(Error::Conflict { reason: None, detail: "A campaign that was published cannot become a draft again; pause it.".into() });
        }
        if campaign.status == CampaignStatus::Ended {
            let detail = "The campaign has ended, and its end is final. Make a new campaign with its settings; what happened before the end still counts.";
            return Err(Error::Conflict { reason: None, detail: detail.into() });
        }
        if let Some(end) = campaign.settings().ends_at.filter(|end| self.status == CampaignStatus::Live && *end <= work.now()) {
            let detail = format!("The campaign's end, {end}, has passed: set a later ends_at, or unset it, and then publish.");
            return Err(Error::Conflict { reason: None, detail });
        }
        set_status(work, campaign, self.status, work.now()).await
    }
}

/// Ends a campaign whose `ends_at` has come: from that moment on, however late it is noticed.
#[derive(Debug, Clone)]
pub struct RunOut {
    pub id: CampaignId,
}

impl Act for RunOut {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let Some(campaign) = find_locked(work, self.id).await? else { return Ok(()) };
        // Somebody may have moved the end, or another node has been here.
        match campaign.settings().ends_at {
            Some(end) if has_run_out(campaign.status, campaign.settings(), work.now()) => {
                set_status(work, campaign, CampaignStatus::Ended, end).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Whether a campaign of that status and those settings is to be ended by now.
fn has_run_out(status: CampaignStatus, settings: &CampaignSettings, now: Timestamp) -> bool {
    matches!(status, CampaignStatus::Live | CampaignStatus::Paused) && settings.ends_at.is_some_and(|end| end <= now)
}

/// Campaigns that are to be ended by [`RunOut`].
pub(super) async fn run_out(tx: &mut Tx<'_>, shared: &Shared, space: Space, now: Timestamp) -> Result<Vec<CampaignId>> {
    // Few have an end at all, and only of those is the configuration read.
    let sql = statement(
        SELECT,
        " WHERE space = $1 AND status IN ('live', 'paused') AND deleted_at IS NULL AND EXISTS (SELECT 1 FROM campaign_versions v
          WHERE v.space = campaigns.space AND v.campaign_id = campaigns.id AND v.version = campaigns.version AND v.configuration LIKE '%\"ends_at\":\"%')",
    );
    let mut ids = Vec::new();
    for row in tx.fetch(&sql, &[space.into()], read_row).await? {
        let campaign = complete(tx, shared, space, row).await?;
        if has_run_out(campaign.status, campaign.settings(), now) {
            ids.push(campaign.id);
        }
    }
    Ok(ids)
}

async fn set_status(work: &mut Work<'_, '_>, campaign: Campaign, status: CampaignStatus, since: Timestamp) -> Result<Campaign> {
    let mut pauses = campaign.pauses.clone();
    if campaign.status == CampaignStatus::Paused && campaign.status_since < since {
        pauses.push((campaign.status_since, since));
        pauses.drain(..pauses.len().saturating_sub(PAUSES_MAX));
    }
    let text = json!(pauses.iter().map(|(from, until)| (from.ms(), until.ms())).collect::<Vec<_>>()).to_string();
    let args =
        [work.context.space.into(), campaign.id.uuid().into(), status.as_str().into(), since.ms().into(), text.as_str().into(), work.context.now.ms().into()];
    let sql = "UPDATE campaigns SET status = $3, status_since = $4, pauses = $5, updated_at = $6 WHERE space = $1 AND id = $2";
    work.tx.execute(sql, &args).await?;
    let campaign = Campaign { status, status_since: since, pauses, updated_at: work.now(), ..campaign };
    tell(work, "campaign.status", &campaign, status == CampaignStatus::Live, json!({"status": status})).await?;
    Ok(campaign)
}

/// Deletes a campaign that nobody takes part in. One with participants is ended instead.
#[derive(Debug, Clone)]
pub struct Delete {
    pub id: CampaignId,
    /// As [`Edit::if_version`].
    pub if_version: Option<i64>,
}

impl Act for Delete {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let campaign = get_seen(work, self.id, self.if_version).await?;
        let args: [Arg<'_>; 2] = [work.context.space.into(), self.id.uuid().into()];
        if has_participants(work, self.id).await? {
            return Err(Error::Conflict { reason: None, detail: "The campaign has participants. End it, or erase them first.".into() });
        }
        work.tx.execute("UPDATE campaigns SET deleted_at = $3 WHERE space = $1 AND id = $2", &[args[0], args[1], work.context.now.ms().into()]).await?;
        tell(work, "campaign.delete", &campaign, false, json!({})).await
    }
}

async fn has_participants(work: &mut Work<'_, '_>, campaign: CampaignId) -> Result<bool> {
    let sql = "SELECT 1 FROM participants WHERE space = $1 AND campaign_id = $2 LIMIT 1";
    Ok(work.tx.fetch_one(sql, &[work.context.space.into(), campaign.uuid().into()], |row| row.get::<i64>(0)).await?.is_some())
}

/// Adds coupon codes to a definition's pool; those that are there already are left alone.
#[derive(Debug, Clone)]
pub struct AddCoupons {
    pub campaign: CampaignId,
    pub definition: RewardDefinitionId,
    pub codes: Vec<String>,
}

impl Act for AddCoupons {
    type Output = CouponPool;
    // Thousands of rows.
    const MAY_SHARE: bool = false;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<CouponPool> {
        let campaign = get_locked(work, self.campaign).await?;
        let definition = campaign.configuration.reward(self.definition).ok_or(Error::NotFound { what: "reward definition" })?;
        if !matches!(definition.terms.value, RewardValue::Coupon {}) {
            return Err(Error::Invalid { field: "/value/type".into(), expected: "a reward definition that gives coupons".into() });
        }
        let mut added = 0;
        for code in &self.codes {
            let code = code.trim();
            if code.is_empty() || code.len() > 200 || code.chars().any(char::is_control) {
                return Err(Error::Invalid { field: "/codes".into(), expected: "coupon codes of 1 to 200 characters".into() });
            }
            added += work
                .tx
                .execute(
                    "INSERT INTO coupons (space, definition_id, code, code_key, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    &[work.context.space.into(), self.definition.uuid().into(), code.into(), code.to_lowercase().as_str().into(), work.context.now.ms().into()],
                )
                .await? as i64;
        }
        work.tx
            .execute(
                "INSERT INTO coupon_pools (space, definition_id, total, used) VALUES ($1, $2, $3, 0) ON CONFLICT (space, definition_id) DO UPDATE SET total = coupon_pools.total + excluded.total",
                &[work.context.space.into(), self.definition.uuid().into(), added.into()],
            )
            .await?;
        let pool = coupon_pool(work.tx, work.context.space, self.definition).await?;
        tell(work, "coupons.add", &campaign, false, json!({"definition_id": self.definition, "added": added})).await?;
        Ok(CouponPool { added, ..pool })
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct CouponPool {
    pub total: i64,
    pub used: i64,
    /// How many were new, where coupons were added.
    pub added: i64,
}

pub async fn coupon_pool(tx: &mut Tx<'_>, space: Space, definition: RewardDefinitionId) -> Result<CouponPool> {
    let sql = "SELECT total, used FROM coupon_pools WHERE space = $1 AND definition_id = $2";
    let read = |row: &Row<'_>| Ok(CouponPool { total: row.get(0)?, used: row.get(1)?, added: 0 });
    Ok(tx.fetch_one(sql, &[space.into(), definition.uuid().into()], read).await?.unwrap_or(CouponPool { total: 0, used: 0, added: 0 }))
}

async fn save_version(work: &mut Work<'_, '_>, id: CampaignId, version: i64, configuration: &Configuration, note: &str) -> Result<()> {
    let text = serde_json::to_string(configuration).map_err(|error| store::Error::Database(error.to_string()))?;
    number::number_definitions(work, id, &configuration.rewards).await?;
    work.tx
        .push(
            "INSERT INTO campaign_versions (space, campaign_id, version, configuration, note, actor, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                work.context.space.into(),
                id.uuid().into(),
                version.into(),
                text.as_str().into(),
                note.into(),
                (&*work.context.actor).into(),
                work.context.now.ms().into(),
            ],
        )
        .await?;
    Ok(())
}

/// Writes the event and the signal of a change to a campaign.
async fn tell(work: &mut Work<'_, '_>, kind: &'static str, campaign: &Campaign, published: bool, payload: serde_json::Value) -> Result<()> {
    let signal = work.signal(kind, Some(campaign.id), None, &payload);
    let decision = Decision::applied(Vec::new());
    let data = view::EventData {
        campaign: Some(campaign.reference()),
        campaign_state: Some(campaign.state()),
        evidence: Some(view::Evidence { signal_id: signal.id, outcome: decision.outcome, why: Reason::Done.into(), checks: Vec::new() }),
        ..Default::default()
    };
    let event = if published { EventType::CampaignPublished } else { EventType::CampaignChanged };
    work.emit(event, &campaign.id, None, &data)?;
    work.record(&signal, &decision, Some(campaign.version)).await
}

/// Takes a code for ever. A code that was chosen and is taken is the caller's problem;
/// one that was drawn is drawn again by the engine.
pub(super) async fn claim_code(work: &mut Work<'_, '_>, code: &Code, campaign: CampaignId, participant: Option<Uuid>, chosen: bool) -> Result<()> {
    let key = code.key();
    if chosen {
        let sql = "SELECT space, participant_id FROM codes WHERE code_key = $1";
        let owner = work.tx.fetch_one(sql, &[key.as_str().into()], |row| Ok((row.get::<i64>(0)?, row.get::<Option<Uuid>>(1)?))).await?;
        match owner {
            Some((space, Some(owner))) if space == work.context.space.number() && Some(owner) == participant => return Ok(()), // their own, from before
            Some(_) => return Err(Error::Conflict { reason: None, detail: format!("The code {code} is taken; codes are never given twice.") }),
            None => {}
        }
    }
    work.tx
        .push(
            "INSERT INTO codes (code_key, code, space, campaign_id, participant_id) VALUES ($1, $2, $3, $4, $5)",
            &[key.as_str().into(), code.as_str().into(), work.context.space.into(), campaign.uuid().into(), participant.into()],
        )
        .await?;
    Ok(())
}

/// The value with some members replaced. Objects are merged member by member, so that
/// a change of one limit keeps the others; lists are replaced.
fn patched<T: serde::Serialize + serde::de::DeserializeOwned>(current: &T, patch: &serde_json::Map<String, serde_json::Value>, unset: &[String]) -> Result<T> {
    let mut value = serde_json::to_value(current).map_err(|error| store::Error::Database(error.to_string()))?;
    for path in unset {
        let (parent, member) = path.rsplit_once('.').map_or((None, path.as_str()), |(parent, member)| (Some(parent), member));
        let holder = match parent {
            Some(parent) => value.pointer_mut(&format!("/{}", parent.replace('.', "/"))),
            None => Some(&mut value),
        };
        let removed = holder.and_then(|holder| holder.as_object_mut()).and_then(|object| object.remove(member));
        if removed.is_none() {
            return Err(Error::Invalid { field: "/unset".into(), expected: format!("names of fields that can be unset; there is no {path}") });
        }
    }
    merge(&mut value, patch);
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = format!("/{}", error.path().to_string().replace(['.', '['], "/").replace(']', ""));
        let text = error.into_inner().to_string();
        // What serde says of a field that is not there, or of a wrong value, ends with what it would have taken.
        let expected = text.rsplit_once("expected ").map_or(text.as_str(), |(_, expected)| expected);
        Error::Invalid { field, expected: expected.to_owned() }
    })
}

fn merge(target: &mut serde_json::Value, patch: &serde_json::Map<String, serde_json::Value>) {
    let Some(object) = target.as_object_mut() else { return };
    for (key, new) in patch {
        match (object.get_mut(key), new) {
            // Tagged values (a reward's value, its cadence, money) are one thing and replaced as one.
            (Some(current @ serde_json::Value::Object(_)), serde_json::Value::Object(new)) if new.get("type").is_none() && new.get("currency").is_none() => {
                merge(current, new)
            }
            _ => {
                object.insert(key.clone(), new.clone());
            }
        }
    }
}
