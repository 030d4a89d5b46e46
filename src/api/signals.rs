//! `/v1/signals`: everything that was told, and what was made of it.

use super::{List, Order, page};
use crate::{
    engine::signal::{self, SignalFilter, SignalView},
    http::{App, Caller, Json, Path, Problem, Query, Read},
};
use axum::extract::State;
use goodword_core::{
    decide::Outcome,
    explain::Reason,
    ids::{CampaignId, LeadId, ReferrerId, SignalId},
    time::Timestamp,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SignalList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    /// `conversion`, `lead.add`, `reward.approve`, …
    kind: Option<String>,
    /// `ignored` and `refused` show what changed nothing.
    outcome: Option<Outcome>,
    reason: Option<Reason>,
    campaign_id: Option<CampaignId>,
    lead_id: Option<LeadId>,
    referrer_id: Option<ReferrerId>,
    source: Option<String>,
}

/// List signals
///
/// Each with its decision: the outcome, the reason, every check with what was expected
/// and found, and what it brought about.
#[utoipa::path(get, path = "/v1/signals", tag = "signals", params(SignalList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<SignalList>) -> Result<Json<List<SignalView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = SignalFilter {
        kind: query.kind,
        outcome: query.outcome,
        reason: query.reason,
        campaign: query.campaign_id,
        participant: query.lead_id.map(|id| id.uuid()).or(query.referrer_id.map(|id| id.uuid())),
        source: query.source,
    };
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { signal::list(tx, space, &filter, &page).await })).await?.into()))
}

/// Get a signal
#[utoipa::path(get, path = "/v1/signals/{id}", tag = "signals")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(SignalId,)>) -> Result<Json<SignalView>, Problem> {
    let space = caller.space;
    let record = app.engine.read(move |tx| Box::pin(signal::get(tx, space, id))).await?;
    Ok(Json(record.into()))
}
