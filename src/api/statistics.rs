//! `/v1/statistics`: how the program is doing, from roll-ups that are never behind.

use crate::{
    engine::statistics::{self, Funnel, Group, GroupBy, Scope, TopReferrer},
    http::{App, Caller, Json, Problem, Query, Read, Routes, routes},
};
use axum::extract::State;
use goodword_core::{ids::CampaignId, time::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(overview)).routes(routes!(series)).routes(routes!(referrers))
}

/// The funnel of a campaign, or of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    pub campaign_id: Option<CampaignId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    #[serde(flatten)]
    pub funnel: Funnel,
}

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Range {
    campaign_id: Option<CampaignId>,
    /// The first day (UTC), included.
    from: Option<Timestamp>,
    /// The last day (UTC), included.
    to: Option<Timestamp>,
}

fn scope(campaign: Option<CampaignId>, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Scope, Problem> {
    match (from, to) {
        (Some(first), Some(last)) if last.day() < first.day() => Err(Problem::invalid("to", "a day that is not before `from`")),
        _ => Ok(Scope { campaign, from, to }),
    }
}

/// Get the funnel
///
/// From visit to lead to qualified to rewarded. Amounts are per currency.
#[utoipa::path(get, path = "/v1/statistics", tag = "statistics", params(Range))]
async fn overview(State(app): State<App>, caller: Caller<Read>, Query(query): Query<Range>) -> Result<Json<Overview>, Problem> {
    app.engine.catch_up_statistics().await?;
    let (space, scope) = (caller.space, scope(query.campaign_id, query.from, query.to)?);
    let funnel = app.engine.read(move |tx| Box::pin(async move { statistics::funnel(tx, space, &scope).await })).await?;
    Ok(Json(Overview { campaign_id: query.campaign_id, from: query.from, to: query.to, funnel }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Grouped {
    campaign_id: Option<CampaignId>,
    /// The first day (UTC), included.
    from: Option<Timestamp>,
    /// The last day (UTC), included.
    to: Option<Timestamp>,
    /// `day` where absent.
    by: Option<GroupBy>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Groups {
    pub by: GroupBy,
    pub data: Vec<Group>,
}

/// Get the funnel over time, by source or by campaign
///
/// Days, weeks (from Monday) and months are in UTC; those in which nothing happened are
/// not listed.
///
/// By source, a lead and everything that comes of it (qualified, conversions, rewards) count
/// under the source that the lead came from (`form`, `api`, `zapier`), also where Stripe or a CRM
/// reports it. Referrers count under their own source, visits under the channel that the link
/// was shared by (`whatsapp`, `qr`, `link`).
#[utoipa::path(get, path = "/v1/statistics/series", tag = "statistics", params(Grouped))]
async fn series(State(app): State<App>, caller: Caller<Read>, Query(query): Query<Grouped>) -> Result<Json<Groups>, Problem> {
    app.engine.catch_up_statistics().await?;
    let by = query.by.unwrap_or(GroupBy::Day);
    let (space, scope) = (caller.space, scope(query.campaign_id, query.from, query.to)?);
    let data = app.engine.read(move |tx| Box::pin(async move { statistics::groups(tx, space, &scope, by).await })).await?;
    Ok(Json(Groups { by, data }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Top {
    campaign_id: Option<CampaignId>,
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TopReferrers {
    pub data: Vec<TopReferrer>,
}

/// Get the top referrers
///
/// Those with the most qualified leads, then the most leads.
#[utoipa::path(get, path = "/v1/statistics/referrers", tag = "statistics", params(Top))]
async fn referrers(State(app): State<App>, caller: Caller<Read>, Query(query): Query<Top>) -> Result<Json<TopReferrers>, Problem> {
    app.engine.catch_up_statistics().await?;
    let limit = super::checked_limit(query.limit)? as i64;
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let data = app.engine.read(move |tx| Box::pin(async move { statistics::top_referrers(tx, &shared, space, query.campaign_id, limit).await })).await?;
    Ok(Json(TopReferrers { data }))
}
