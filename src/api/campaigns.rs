//! `/v1/campaigns`: campaigns, their status and the versions of their configuration.

use super::{Configures, Done, List, MakesConfigured, Order, Removed, page};
use crate::{
    engine::{
        Space,
        campaign::{self, Campaign, CampaignFilter, Change, Create, Delete, Edit, SetStatus, VersionRecord},
        list::Listing,
        trial::{self, Trial},
        view::CampaignRef,
    },
    http::{
        Any, App, Body, Caller, IdempotencyKey, IfMatch, Json, Path, Problem, Query, Read, Routes, Versioned, Write,
        extract::{Nothing, read_value},
        routes,
    },
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    campaign::{CampaignSettings, CampaignStatus, Rule},
    ids::CampaignId,
    reward::{RewardDefinition, RewardTerms},
    text::Code,
    time::{DAY_MS, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(names))
        .routes(routes!(get, update, delete))
        .routes(routes!(publish))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(end))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(restore))
        .routes(routes!(try_rule))
}

/// A campaign with its current configuration.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignView {
    pub id: CampaignId,
    /// For the interfaces that count: stable for ever.
    pub number: i64,
    pub name: String,
    /// The campaign's own code, in the address where people join.
    pub code: String,
    pub join_link: String,
    pub status: CampaignStatus,
    pub status_since: Timestamp,
    /// The version of the configuration; also the ETag.
    pub version: i64,
    pub settings: CampaignSettings,
    pub rewards: Vec<RewardDefinition>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub(super) fn view(campaign: &Campaign, public_url: &str) -> CampaignView {
    CampaignView {
        id: campaign.id,
        number: campaign.number,
        name: campaign.settings().name.to_string(),
        code: campaign.code.clone(),
        join_link: format!("{public_url}/join/{}", campaign.code),
        status: campaign.status,
        status_since: campaign.status_since,
        version: campaign.version,
        settings: campaign.settings().clone(),
        rewards: campaign.configuration.rewards.clone(),
        created_at: campaign.created_at,
        updated_at: campaign.updated_at,
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CampaignList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    status: Option<CampaignStatus>,
    /// Part of the name or code.
    search: Option<String>,
}

/// List campaigns
#[utoipa::path(get, path = "/v1/campaigns", tag = "campaigns", params(CampaignList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<CampaignList>) -> Result<Json<List<CampaignView>>, Problem> {
    let found = find(&app, caller.space, query).await?;
    let url = &app.engine.shared().public_url;
    Ok(Json(found.map(|campaign| view(&campaign, url)).into()))
}

/// List the names of campaigns
///
/// For drop-downs: every key may ask, also one whose only scope is `report`.
#[utoipa::path(get, path = "/v1/campaigns/names", tag = "campaigns", params(CampaignList))]
async fn names(State(app): State<App>, caller: Caller<Any>, Query(query): Query<CampaignList>) -> Result<Json<List<CampaignRef>>, Problem> {
    Ok(Json(find(&app, caller.space, query).await?.map(|campaign| campaign.reference()).into()))
}

async fn find(app: &App, space: Space, query: CampaignList) -> Result<Listing<Campaign>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let (shared, filter) = (app.engine.shared_arc(), CampaignFilter { status: query.status, search: query.search });
    Ok(app.engine.read(move |tx| Box::pin(async move { campaign::list(tx, &shared, space, &filter, &page).await })).await?)
}

#[derive(Debug, Deserialize, ToSchema)]
struct NewCampaign {
    /// Read by themselves: what serde flattens, it names no field of.
    #[serde(flatten)]
    #[schema(value_type = CampaignSettings)]
    settings: Map<String, Value>,
    /// Reward definitions to begin with.
    #[serde(default)]
    #[schema(max_items = 50)]
    rewards: Vec<RewardTerms>,
    /// `draft` where absent.
    status: Option<CampaignStatus>,
    /// The campaign's own code; drawn where absent.
    code: Option<Code>,
}

/// Create a campaign
///
/// A name is enough: everything else has a sensible default. Rewards may be given at once.
#[utoipa::path(post, path = "/v1/campaigns", tag = "campaigns", request_body = NewCampaign)]
async fn create(
    State(app): State<App>,
    caller: Caller<Write>,
    key: IdempotencyKey,
    body: Body<NewCampaign>,
) -> Result<Done<CampaignView, MakesConfigured>, Problem> {
    let new = body.value;
    if new.rewards.len() > 50 {
        return Err(Problem::invalid("/rewards", "at most 50 reward definitions"));
    }
    let settings = read_value(Value::Object(new.settings))?;
    let act = Create { settings, rewards: new.rewards, status: new.status.unwrap_or(CampaignStatus::Draft), code: new.code };
    let url = app.engine.shared().public_url.clone();
    super::write(&app, &caller, None, key, body.raw_hash, act, move |campaign| (StatusCode::CREATED, view(&campaign, &url))).await
}

/// Get a campaign
#[utoipa::path(get, path = "/v1/campaigns/{id}", tag = "campaigns")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(CampaignId,)>) -> Result<Versioned<CampaignView>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let found = app.engine.read(move |tx| Box::pin(async move { campaign::get(tx, &shared, space, id).await })).await?;
    Ok(Versioned { version: found.version, value: view(&found, &app.engine.shared().public_url) })
}

/// A change of settings: what is given replaces what is there, objects member by member.
#[derive(Debug, Deserialize, ToSchema)]
struct SettingsChange {
    /// Fields that go back to their default: `ends_at`, `rule.minimum_spend`.
    #[serde(default)]
    unset: Vec<String>,
    /// Any of the settings.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    patch: Map<String, Value>,
}

/// Change a campaign's settings
///
/// Makes a new version. With `If-Match` the change is only made to the version that you
/// saw; otherwise 412.
#[utoipa::path(patch, path = "/v1/campaigns/{id}", tag = "campaigns", params(IfMatch), request_body = SettingsChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<SettingsChange>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    let SettingsChange { patch, unset } = body.value;
    change(&app, &caller, key, body.raw_hash, Edit { id, if_version, change: Change::Settings { patch, unset } }).await
}

async fn change(app: &App, caller: &Caller<Write>, key: IdempotencyKey, raw_hash: [u8; 32], edit: Edit) -> Result<Done<CampaignView, Configures>, Problem> {
    let url = app.engine.shared().public_url.clone();
    let done = super::write(app, caller, None, key, raw_hash, edit, move |(campaign, _)| (StatusCode::OK, view(&campaign, &url))).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Delete a campaign
///
/// Only one without participants; end the others.
#[utoipa::path(delete, path = "/v1/campaigns/{id}", tag = "campaigns", params(IfMatch))]
async fn delete(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    let removed = super::remove(&app, &caller, key, body.raw_hash, Delete { id, if_version }).await?;
    app.engine.forget().await?;
    Ok(removed)
}

async fn set_status(
    app: &App,
    caller: &Caller<Write>,
    key: IdempotencyKey,
    raw_hash: [u8; 32],
    act: SetStatus,
) -> Result<Done<CampaignView, Configures>, Problem> {
    let url = app.engine.shared().public_url.clone();
    let done = super::write(app, caller, None, key, raw_hash, act, move |campaign| (StatusCode::OK, view(&campaign, &url))).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Publish a campaign
///
/// 409 for one that has ended, or whose `ends_at` has passed.
#[utoipa::path(post, path = "/v1/campaigns/{id}/publish", tag = "campaigns", params(IfMatch), request_body = Nothing)]
async fn publish(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    set_status(&app, &caller, key, body.raw_hash, SetStatus { id, if_version, status: CampaignStatus::Live }).await
}

/// Pause a campaign
///
/// What happens while it is paused does not count, whenever it is told; what happened before still does.
#[utoipa::path(post, path = "/v1/campaigns/{id}/pause", tag = "campaigns", params(IfMatch), request_body = Nothing)]
async fn pause(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    set_status(&app, &caller, key, body.raw_hash, SetStatus { id, if_version, status: CampaignStatus::Paused }).await
}

/// Resume a campaign
///
/// 409 for one that has ended: an end is final.
#[utoipa::path(post, path = "/v1/campaigns/{id}/resume", tag = "campaigns", params(IfMatch), request_body = Nothing)]
async fn resume(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    set_status(&app, &caller, key, body.raw_hash, SetStatus { id, if_version, status: CampaignStatus::Live }).await
}

/// End a campaign
///
/// Nobody can join any more; rewards that are due are still reviewed and issued. The end is
/// final: to go on, make a new campaign. At its `ends_at` a campaign ends by itself.
#[utoipa::path(post, path = "/v1/campaigns/{id}/end", tag = "campaigns", params(IfMatch), request_body = Nothing)]
async fn end(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(CampaignId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    set_status(&app, &caller, key, body.raw_hash, SetStatus { id, if_version, status: CampaignStatus::Ended }).await
}

/// One version of a campaign's configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    pub version: i64,
    /// What was changed.
    pub note: String,
    pub actor: String,
    pub created_at: Timestamp,
    pub settings: CampaignSettings,
    pub rewards: Vec<RewardDefinition>,
}

impl From<VersionRecord> for VersionView {
    fn from(record: VersionRecord) -> Self {
        Self {
            version: record.version,
            note: record.note,
            actor: record.actor,
            created_at: record.created_at,
            settings: record.configuration.settings.clone(),
            rewards: record.configuration.rewards.clone(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
}

/// List the versions of a campaign
#[utoipa::path(get, path = "/v1/campaigns/{id}/versions", tag = "campaigns", params(VersionList))]
async fn versions(
    State(app): State<App>,
    caller: Caller<Read>,
    Path((id,)): Path<(CampaignId,)>,
    Query(query): Query<VersionList>,
) -> Result<Json<List<VersionView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, None, None)?;
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let found = app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                campaign::get(tx, &shared, space, id).await?;
                campaign::versions(tx, &shared, space, id, &page).await
            })
        })
        .await?;
    Ok(Json(found.map(VersionView::from).into()))
}

/// Get a version of a campaign
#[utoipa::path(get, path = "/v1/campaigns/{id}/versions/{version}", tag = "campaigns")]
async fn version(State(app): State<App>, caller: Caller<Read>, Path((id, version)): Path<(CampaignId, i64)>) -> Result<Versioned<VersionView>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let found = app.engine.read(move |tx| Box::pin(async move { campaign::version(tx, &shared, space, id, version).await })).await?;
    Ok(Versioned { version, value: found.into() })
}

/// Restore a version of a campaign
///
/// The configuration of that version becomes the next version.
#[utoipa::path(post, path = "/v1/campaigns/{id}/versions/{version}/restore", tag = "campaigns", params(IfMatch), request_body = Nothing)]
async fn restore(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id, version)): Path<(CampaignId, i64)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<CampaignView, Configures>, Problem> {
    change(&app, &caller, key, body.raw_hash, Edit { id, if_version, change: Change::Restore(version) }).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleToTry {
    rule: Rule,
    /// Leads that joined within so many days; 30 where absent.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

/// Try a rule on the past
///
/// What would have come of the campaign's leads under another rule. Changes nothing.
#[utoipa::path(post, path = "/v1/campaigns/{id}/try-rule", tag = "campaigns", request_body = RuleToTry, extensions(("x-goodword-unkeyed" = json!(true))))]
async fn try_rule(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(CampaignId,)>, body: Body<RuleToTry>) -> Result<Json<Trial>, Problem> {
    let RuleToTry { rule, days } = body.value;
    let days = days.unwrap_or(30);
    if !(1..=3_650).contains(&days) {
        return Err(Problem::invalid("/days", "1 to 3,650 days"));
    }
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let since = app.engine.now(space).plus_ms(-i64::from(days) * DAY_MS);
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { trial::rule(tx, &shared, space, id, &rule, since).await })).await?))
}
