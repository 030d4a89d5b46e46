//! `/v1/visits`: uses of referral links.

use super::{List, Order, page};
use crate::{
    engine::visit::{self, VisitFilter, VisitView},
    http::{App, Caller, Json, Problem, Query, Read, Routes, routes},
};
use axum::extract::State;
use goodword_core::{
    ids::{CampaignId, ReferrerId},
    time::Timestamp,
};
use serde::Deserialize;
use utoipa::IntoParams;

pub fn router() -> Routes {
    Routes::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VisitList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    campaign_id: Option<CampaignId>,
    referrer_id: Option<ReferrerId>,
    bot: Option<bool>,
}

/// List visits
///
/// Newest first. Visits are kept in the order in which they came and are not indexed by
/// anything else: a filter looks through them one by one. For numbers, ask the statistics.
#[utoipa::path(get, path = "/v1/visits", tag = "visits", params(VisitList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<VisitList>) -> Result<Json<List<VisitView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = VisitFilter { campaign: query.campaign_id, referrer: query.referrer_id, bot: query.bot };
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { visit::list(tx, space, &filter, &page).await })).await?.into()))
}
