//! `/v1/reward-definitions`: what a campaign promises. They are part of the campaign's
//! versioned configuration: each change makes a new version of it.

use super::{Configures, Done, List, MakesConfigured, Order, Removed, page};
use crate::{
    engine::{
        Error,
        campaign::{self, AddCoupons, Change, CouponPool, DefinitionFilter, Edit, RemoveReward},
    },
    http::{
        App, Body, Caller, IdempotencyKey, IfMatch, Json, Path, Problem, Query, Read, Routes, Versioned, Write,
        extract::{Nothing, read_value},
        routes,
    },
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, RewardDefinitionId},
    reward::{RewardDefinition, RewardTerms},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(list, create)).routes(routes!(get, update, remove)).routes(routes!(coupons, add_coupons))
}

/// A reward definition and the campaign that it belongs to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DefinitionView {
    pub campaign_id: CampaignId,
    /// The campaign's version that it was read from.
    pub version: i64,
    #[serde(flatten)]
    pub definition: RewardDefinition,
}

fn pick(campaign: &campaign::Campaign, id: RewardDefinitionId) -> Result<DefinitionView, Error> {
    let definition = campaign.configuration.reward(id).ok_or(Error::NotFound { what: "reward definition" })?;
    Ok(DefinitionView { campaign_id: campaign.id, version: campaign.version, definition: definition.clone() })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DefinitionList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    campaign_id: Option<CampaignId>,
    /// Part of the name.
    search: Option<String>,
}

/// List reward definitions
///
/// Of one campaign, or of all.
#[utoipa::path(get, path = "/v1/reward-definitions", tag = "reward definitions", params(DefinitionList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<DefinitionList>) -> Result<Json<List<DefinitionView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, None, None)?;
    let filter = DefinitionFilter { campaign: query.campaign_id, search: query.search };
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let found = app.engine.read(move |tx| Box::pin(async move { campaign::definitions(tx, &shared, space, &filter, &page).await })).await?;
    Ok(Json(found.try_map(|(campaign, id)| pick(&campaign, id))?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
struct NewDefinition {
    campaign_id: CampaignId,
    /// Read by themselves: what serde flattens, it names no field of.
    #[serde(flatten)]
    #[schema(value_type = RewardTerms)]
    terms: Map<String, Value>,
}

/// Create a reward definition
#[utoipa::path(post, path = "/v1/reward-definitions", tag = "reward definitions", params(IfMatch), request_body = NewDefinition)]
async fn create(
    State(app): State<App>,
    caller: Caller<Write>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<NewDefinition>,
) -> Result<Done<DefinitionView, MakesConfigured>, Problem> {
    let NewDefinition { campaign_id, terms } = body.value;
    let terms = read_value(Value::Object(terms))?;
    write(&app, &caller, key, body.raw_hash, StatusCode::CREATED, Edit { id: campaign_id, if_version, change: Change::AddReward(terms) }).await
}

async fn write<W>(
    app: &App,
    caller: &Caller<Write>,
    key: IdempotencyKey,
    raw_hash: [u8; 32],
    status: StatusCode,
    edit: Edit,
) -> Result<Done<DefinitionView, W>, Problem> {
    let done: Done<_> =
        super::write(app, caller, None, key, raw_hash, edit, move |(campaign, touched)| (status, touched.and_then(|id| pick(&campaign, id).ok()))).await?;
    app.engine.forget().await?;
    Ok(Done { reply: done.reply, shape: std::marker::PhantomData })
}

/// The campaign that a definition belongs to.
async fn campaign_of(app: &App, space: crate::engine::Space, id: RewardDefinitionId) -> Result<campaign::Campaign, Problem> {
    let shared = app.engine.shared_arc();
    Ok(app.engine.read(move |tx| Box::pin(async move { campaign::of_definition(tx, &shared, space, id).await })).await?)
}

/// Get a reward definition
#[utoipa::path(get, path = "/v1/reward-definitions/{id}", tag = "reward definitions")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(RewardDefinitionId,)>) -> Result<Versioned<DefinitionView>, Problem> {
    let definition = pick(&campaign_of(&app, caller.space, id).await?, id)?;
    Ok(Versioned { version: definition.version, value: definition })
}

/// A change: what is given replaces what is there.
#[derive(Debug, Deserialize, ToSchema)]
struct TermsChange {
    /// Fields that go back to their default: `limit`, `review`.
    #[serde(default)]
    unset: Vec<String>,
    /// Any of the terms.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    patch: Map<String, Value>,
}

/// Change a reward definition
///
/// Rewards that fell due before keep the terms under which they did.
#[utoipa::path(patch, path = "/v1/reward-definitions/{id}", tag = "reward definitions", params(IfMatch), request_body = TermsChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(RewardDefinitionId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<TermsChange>,
) -> Result<Done<DefinitionView, Configures>, Problem> {
    let campaign = campaign_of(&app, caller.space, id).await?;
    let TermsChange { patch, unset } = body.value;
    write(&app, &caller, key, body.raw_hash, StatusCode::OK, Edit { id: campaign.id, if_version, change: Change::EditReward { id, patch, unset } }).await
}

/// Remove a reward definition
///
/// No new rewards; those that fell due before are not touched.
#[utoipa::path(delete, path = "/v1/reward-definitions/{id}", tag = "reward definitions", params(IfMatch))]
async fn remove(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(RewardDefinitionId,)>,
    IfMatch(if_version): IfMatch,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    let removed = super::remove(&app, &caller, key, body.raw_hash, RemoveReward { id, if_version }).await?;
    app.engine.forget().await?;
    Ok(removed)
}

/// Get the coupon pool
#[utoipa::path(get, path = "/v1/reward-definitions/{id}/coupons", tag = "reward definitions")]
async fn coupons(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(RewardDefinitionId,)>) -> Result<Json<CouponPool>, Problem> {
    campaign_of(&app, caller.space, id).await?;
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(campaign::coupon_pool(tx, space, id))).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCoupons {
    /// Codes; those that are in the pool already are left alone.
    #[schema(min_items = 1, max_items = 1000)]
    codes: Vec<String>,
}

/// Add coupons to the pool
#[utoipa::path(post, path = "/v1/reward-definitions/{id}/coupons", tag = "reward definitions", request_body = NewCoupons)]
async fn add_coupons(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(RewardDefinitionId,)>,
    key: IdempotencyKey,
    body: Body<NewCoupons>,
) -> Result<Done<CouponPool>, Problem> {
    if !(1..=1_000).contains(&body.value.codes.len()) {
        return Err(Problem::invalid("/codes", "1 to 1,000 codes"));
    }
    let campaign = campaign_of(&app, caller.space, id).await?;
    let act = AddCoupons { campaign: campaign.id, definition: id, codes: body.value.codes };
    super::write(&app, &caller, None, key, body.raw_hash, act, |pool| (StatusCode::OK, pool)).await
}
