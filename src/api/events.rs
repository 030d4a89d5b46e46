//! `/v1/events`: what happened, as a feed that never skips.

use super::{Order, checked_limit};
use crate::{
    engine::{
        event::EventType,
        feed::{self, Event, EventFilter, Position},
    },
    http::{App, Caller, Json, Path, Problem, Query, Read},
};
use axum::extract::State;
use goodword_core::{
    ids::{CampaignId, EventId, LeadId, ReferrerId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(types))
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    pub data: Vec<Event>,
    pub has_more: bool,
    /// The place after the last event: keep it, and go on from there. With `order=asc` it
    /// is there even at the end of the feed.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Feed {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    /// One or several types, with commas between.
    #[serde(rename = "type", default)]
    #[param(style = Form, explode = false)]
    kinds: Vec<EventType>,
    campaign_id: Option<CampaignId>,
    lead_id: Option<LeadId>,
    referrer_id: Option<ReferrerId>,
    source: Option<String>,
}

/// List events
///
/// In the order in which they were committed. With `order=asc` and the last
/// `next_cursor`, polling never skips and never repeats an event.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Feed))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<Feed>) -> Result<Json<EventList>, Problem> {
    let limit = checked_limit(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<Position>).transpose()?;
    let participant = query.lead_id.map(|id| id.uuid()).or(query.referrer_id.map(|id| id.uuid()));
    let filter = EventFilter { kinds: query.kinds, campaign: query.campaign_id, participant, source: query.source, created_after: query.created_after };
    let ascending = query.order.unwrap_or_default() == Order::Asc;
    let (space, workspace) = (caller.space, caller.workspace_id);
    let (rows, has_more) = app.engine.read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &filter, after, ascending, limit).await })).await?;
    let last = rows.last().map(|row| Position(row.position.0, row.position.1)).or(after);
    let next_cursor = last.filter(|_| has_more || ascending).map(|position| position.to_string());
    Ok(Json(EventList { data: rows.into_iter().map(|row| row.event).collect(), has_more, next_cursor }))
}

/// Get an event
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(EventId,)>) -> Result<Json<Event>, Problem> {
    let (space, workspace) = (caller.space, caller.workspace_id);
    Ok(Json(app.engine.read(move |tx| Box::pin(feed::get(tx, space, workspace, id))).await?))
}

/// A type of event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeView {
    #[serde(rename = "type")]
    pub kind: EventType,
    pub label: &'static str,
    pub description: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypes {
    pub data: Vec<EventTypeView>,
}

/// List the types of events
#[utoipa::path(get, path = "/v1/event-types", tag = "events")]
async fn types(_: State<App>, _: Caller<Read>) -> Result<Json<EventTypes>, Problem> {
    let data = EventType::ALL.iter().map(|&kind| EventTypeView { kind, label: kind.label(), description: kind.sentence() }).collect();
    Ok(Json(EventTypes { data }))
}
