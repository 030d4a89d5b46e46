//! `/v1/rewards`: what fell due, and what becomes of it.

use super::{Done, List, Order, note, page, write, write_many};
use crate::{
    engine::{
        reward::{self, Decide, RewardFilter, SetBasis},
        view::{Reward, RewardEntry},
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Rewards, Routes, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, LeadId, ReferrerId, RewardDefinitionId, RewardId},
    money::Money,
    reward::{RewardAction, RewardState},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list))
        .routes(routes!(bulk))
        .routes(routes!(get))
        .routes(routes!(approve))
        .routes(routes!(hold))
        .routes(routes!(reject))
        .routes(routes!(cancel))
        .routes(routes!(issue))
        .routes(routes!(retry))
        .routes(routes!(confirm))
        .routes(routes!(fail))
        .routes(routes!(reverse))
        .routes(routes!(total_spend))
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RewardKind {
    Fixed,
    Commission,
    Custom,
    Coupon,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RewardList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    /// When it fell due.
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    campaign_id: Option<CampaignId>,
    state: Option<RewardState>,
    definition_id: Option<RewardDefinitionId>,
    kind: Option<RewardKind>,
    /// Rewards for this referrer, as the beneficiary.
    referrer_id: Option<ReferrerId>,
    /// Rewards that this lead gave cause for.
    lead_id: Option<LeadId>,
    /// Part of the coupon, the cause or the note.
    search: Option<String>,
}

/// List rewards
#[utoipa::path(get, path = "/v1/rewards", tag = "rewards", params(RewardList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<RewardList>) -> Result<Json<List<Reward>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let kind = query.kind.map(|kind| match kind {
        RewardKind::Fixed => "fixed",
        RewardKind::Commission => "commission",
        RewardKind::Custom => "custom",
        RewardKind::Coupon => "coupon",
    });
    let filter = RewardFilter {
        campaign: query.campaign_id,
        state: query.state,
        beneficiary: query.referrer_id.map(|id| id.uuid()),
        lead: query.lead_id,
        definition: query.definition_id,
        kind: kind.map(str::to_owned),
        signal: None,
        search: query.search,
    };
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { reward::list(tx, &shared, space, &filter, &page).await })).await?.into()))
}

/// A reward with its whole life.
#[derive(Debug, Serialize, ToSchema)]
pub struct RewardWithHistory {
    #[serde(flatten)]
    pub reward: Reward,
    /// Oldest first.
    pub history: Vec<RewardEntry>,
}

/// Get a reward
///
/// With its whole history.
#[utoipa::path(get, path = "/v1/rewards/{id}", tag = "rewards")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(RewardId,)>) -> Result<Json<RewardWithHistory>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            let reward = reward::get(tx, &shared, space, id).await?;
            Ok(RewardWithHistory { reward, history: reward::history(tx, space, id).await? })
        })
    });
    Ok(Json(read.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Remark {
    /// Why; kept in the reward's history.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

async fn act(
    app: &App,
    caller: &Caller<Rewards>,
    reward: RewardId,
    action: RewardAction,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    let decide = Decide { reward, action, note: note(body.value.note)?, amount_minor: None };
    write(app, caller, None, key, body.raw_hash, decide, |reward| (StatusCode::OK, reward)).await
}

/// Approve a reward
///
/// Ends a hold or a review. Where the definition issues by itself, it is issued at once.
#[utoipa::path(post, path = "/v1/rewards/{id}/approve", tag = "rewards", request_body = Remark)]
async fn approve(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Approve, key, body).await
}

/// Hold a reward
///
/// Until somebody approves it.
#[utoipa::path(post, path = "/v1/rewards/{id}/hold", tag = "rewards", request_body = Remark)]
async fn hold(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Hold, key, body).await
}

/// Reject a reward
#[utoipa::path(post, path = "/v1/rewards/{id}/reject", tag = "rewards", request_body = Remark)]
async fn reject(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Reject, key, body).await
}

/// Cancel a reward
///
/// Before it is issued.
#[utoipa::path(post, path = "/v1/rewards/{id}/cancel", tag = "rewards", request_body = Remark)]
async fn cancel(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Cancel, key, body).await
}

/// Issue a reward
///
/// One that is given by hand is issued when you say so. One that an automation gives
/// goes to `issuing`, tells the automation with `reward.issuing`, and waits for its word.
#[utoipa::path(post, path = "/v1/rewards/{id}/issue", tag = "rewards", request_body = Remark)]
async fn issue(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Issue, key, body).await
}

/// Retry a failed reward
#[utoipa::path(post, path = "/v1/rewards/{id}/retry", tag = "rewards", request_body = Remark)]
async fn retry(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Retry, key, body).await
}

/// Confirm that a reward was issued
///
/// The word of the automation that gave it.
#[utoipa::path(post, path = "/v1/rewards/{id}/confirm", tag = "rewards", request_body = Remark)]
async fn confirm(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Confirm, key, body).await
}

/// Report that a reward could not be issued
#[utoipa::path(post, path = "/v1/rewards/{id}/fail", tag = "rewards", request_body = Remark)]
async fn fail(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Reward>, Problem> {
    act(&app, &caller, id, RewardAction::Fail, key, body).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reversal {
    /// All that is left where absent.
    #[schema(minimum = 1, maximum = 1_000_000_000_000i64)]
    amount_minor: Option<i64>,
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// Reverse an issued reward
///
/// In part or in full, as an entry of its own.
#[utoipa::path(post, path = "/v1/rewards/{id}/reverse", tag = "rewards", request_body = Reversal)]
async fn reverse(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<Reversal>,
) -> Result<Done<Reward>, Problem> {
    let decide = Decide { reward: id, action: RewardAction::Reverse, note: note(body.value.note)?, amount_minor: body.value.amount_minor };
    write(&app, &caller, None, key, body.raw_hash, decide, |reward| (StatusCode::OK, reward)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TotalSpendChange {
    /// What the commission is computed from.
    total_spend: Money,
}

/// Set what a commission is computed from
///
/// Before it is issued; a reward that waits for its amount goes on.
#[utoipa::path(put, path = "/v1/rewards/{id}/total-spend", tag = "rewards", request_body = TotalSpendChange)]
async fn total_spend(
    State(app): State<App>,
    caller: Caller<Rewards>,
    Path((id,)): Path<(RewardId,)>,
    key: IdempotencyKey,
    body: Body<TotalSpendChange>,
) -> Result<Done<Reward>, Problem> {
    if body.value.total_spend.minor < 0 {
        return Err(Problem::invalid("/total_spend", "an amount of zero or more"));
    }
    let act = SetBasis { reward: id, basis: body.value.total_spend };
    write(&app, &caller, None, key, body.raw_hash, act, |reward| (StatusCode::OK, reward)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Bulk {
    action: RewardAction,
    #[schema(min_items = 1, max_items = 100)]
    ids: Vec<RewardId>,
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// What became of one of many.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResult {
    pub id: RewardId,
    /// The reward as it is now; `null` where there is a problem.
    pub reward: Option<Reward>,
    /// The problem (RFC 9457); `null` where it was done.
    #[schema(value_type = Option<Object>)]
    pub problem: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResults {
    pub done: usize,
    pub failed: usize,
    pub data: Vec<BulkResult>,
}

/// Do one thing to many rewards
///
/// Up to 100; each by itself. Sending it again is harmless: what is done is done.
#[utoipa::path(post, path = "/v1/rewards/actions", tag = "rewards", request_body = Bulk)]
async fn bulk(State(app): State<App>, caller: Caller<Rewards>, key: IdempotencyKey, body: Body<Bulk>) -> Result<Done<BulkResults>, Problem> {
    let Bulk { action, ids, note: remark } = body.value;
    let remark = note(remark)?;
    if !(1..=100).contains(&ids.len()) {
        return Err(Problem::invalid("/ids", "1 to 100 rewards"));
    }
    let one = async |id: RewardId| -> Result<Reward, Problem> {
        let decide = Decide { reward: id, action, note: remark.clone(), amount_minor: None };
        Ok(app.engine.run(super::context(&app, &caller, None)?, decide).await?)
    };
    let result = |(id, outcome): (RewardId, Result<Reward, Problem>)| match outcome {
        Ok(reward) => BulkResult { id, reward: Some(reward), problem: None },
        Err(problem) => BulkResult { id, reward: None, problem: Some(problem.to_json()) },
    };
    let all = async {
        let outcomes = futures_util::future::join_all(ids.iter().map(|&id| one(id))).await;
        let data: Vec<BulkResult> = ids.into_iter().zip(outcomes).map(result).collect();
        let done = data.iter().filter(|result| result.reward.is_some()).count();
        Ok(BulkResults { done, failed: data.len() - done, data })
    };
    write_many(&app, &caller, key, body.raw_hash, all).await
}
