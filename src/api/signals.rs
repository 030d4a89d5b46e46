//! `/v1/signals`: everything that was told, and what was made of it.

use super::{
    Done, List, Order,
    leads::{LeadMade, lead_made},
    page,
};
use crate::{
    engine::{
        Error,
        participant::{Join, Joined},
        qualify::{Answer, Convert, Qualify},
        signal::{self, SignalFilter, SignalView},
        work::Reply,
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Routes, Write, extract::Nothing, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    decide::Outcome,
    explain::Reason,
    ids::{CampaignId, LeadId, ReferrerId, SignalId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(replay))
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
    /// Signals about the referrer, about everybody whom they referred, and joins with their link that were refused.
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
        participant: query.lead_id.map(|id| id.uuid()),
        referrer: query.referrer_id,
        source: query.source,
    };
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { signal::list(tx, space, &filter, &page).await })).await?.into()))
}

/// Get a signal
#[utoipa::path(get, path = "/v1/signals/{id}", tag = "signals")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(SignalId,)>) -> Result<Json<SignalView>, Problem> {
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(signal::view(tx, space, id))).await?))
}

/// What became of a signal that was told again: of a conversion or a qualification
/// `answer`, of somebody joining `joined`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    pub answer: Option<Answer>,
    pub joined: Option<LeadMade>,
}

/// Replay a signal
///
/// Tells a conversion, a qualification or a join once more, at its own time, after what
/// stood against it was mended: the lead exists now, the campaign is live, the rule was
/// changed. What counted before is not counted twice.
#[utoipa::path(post, path = "/v1/signals/{id}/replay", tag = "signals", request_body = Nothing)]
async fn replay(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(SignalId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<Replayed>, Problem> {
    let space = caller.space;
    let record = app.engine.read(move |tx| Box::pin(signal::get(tx, space, id))).await?;
    if !matches!(record.outcome, Outcome::Ignored | Outcome::Refused) {
        return Err(Problem::conflict("Only a signal that was ignored or refused can be told again; this one had its effect."));
    }
    let context = super::context(&app, &caller, Some(&record.source))?;
    let key = super::idempotency(key, body.raw_hash);
    let answered = |answer| Reply::new(StatusCode::OK.as_u16(), &Replayed { answer: Some(answer), joined: None });
    let reply = match record.kind.as_str() {
        "conversion" => app.engine.run_keyed(context, Convert::from_signal(&record)?, key, answered).await?,
        "lead.qualify" => app.engine.run_keyed(context, Qualify::from_signal(&record)?, key, answered).await?,
        "lead.add" => {
            let joined = |joined: Joined| Reply::new(StatusCode::OK.as_u16(), &Replayed { answer: None, joined: Some(lead_made(&joined)) });
            app.engine.run_keyed(context, Join::from_signal(&record)?, key, joined).await?
        }
        _ => return Err(Error::Conflict { reason: None, detail: "Only conversions, qualifications and joins can be told again.".into() }.into()),
    };
    Ok(Done { reply, shape: PhantomData })
}
