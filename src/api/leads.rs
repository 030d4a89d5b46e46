//! `/v1/leads`: people who were referred.

use super::{Done, List, MakesOnce, Order, Removed, external_id, happened, line, note, page, referrers::PersonChange, refused, write};
use crate::{
    engine::{
        campaign,
        participant::{self, Claim, Dossier, Erase, Join, Joined, PeopleFilter, Person, ReferrerKey},
        qualify::{self, Answer, Explanation, LeadKey, Qualify, Recheck, Reject, Unqualify},
        view::{Fields, Lead, Reward, Why},
        work::Reply,
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Report, Routes, Write, extract::Nothing, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    decide::{LeadStatus, Outcome},
    explain::Check,
    ids::{CampaignId, LeadId, ReferrerId, SignalId},
    text::{Code, Email, Line},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(claim))
        .routes(routes!(get, update, erase))
        .routes(routes!(explanation))
        .routes(routes!(dossier))
        .routes(routes!(qualify))
        .routes(routes!(unqualify))
        .routes(routes!(reject))
        .routes(routes!(restore))
        .routes(routes!(recheck))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LeadList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    campaign_id: Option<CampaignId>,
    referrer_id: Option<ReferrerId>,
    status: Option<LeadStatus>,
    email: Option<Email>,
    code: Option<Code>,
    external_id: Option<String>,
    source: Option<String>,
    /// Part of a name, an address or a code.
    search: Option<String>,
}

/// List leads
#[utoipa::path(get, path = "/v1/leads", tag = "leads", params(LeadList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<LeadList>) -> Result<Json<List<Lead>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = PeopleFilter {
        campaign: query.campaign_id,
        referrer: query.referrer_id,
        lead_status: query.status,
        email: query.email,
        code: query.code,
        external_id: query.external_id,
        source: query.source,
        search: query.search,
        suspended: None,
    };
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { participant::list_leads(tx, &shared, space, &filter, &page).await })).await?.into()))
}

/// The referrer, named in one of three ways.
fn referrer_key(id: Option<ReferrerId>, code: Option<Code>, email: Option<Email>) -> Result<ReferrerKey, Problem> {
    match (id, code, email) {
        (Some(id), None, None) => Ok(ReferrerKey::Id(id)),
        (None, Some(code), None) => Ok(ReferrerKey::Code(code)),
        (None, None, Some(email)) => Ok(ReferrerKey::Email(email)),
        _ => Err(Problem::invalid("/code", "one of code, referrer_id and referrer_email, to name the referrer")),
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLead {
    /// Only needed with `referrer_email`: a code or an id says which campaign.
    campaign_id: Option<CampaignId>,
    /// The referrer's code, as in the link that was used.
    code: Option<Code>,
    referrer_id: Option<ReferrerId>,
    referrer_email: Option<Email>,
    email: Email,
    first_name: Option<Line>,
    last_name: Option<Line>,
    /// Your own id of the person: unique in the campaign.
    external_id: Option<String>,
    /// The campaign's own fields, by key.
    #[serde(default)]
    #[schema(value_type = Object)]
    fields: Fields,
    /// When the link was used, if you know: the attribution window is counted from it.
    link_used_at: Option<Timestamp>,
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$")]
    source: Option<String>,
}

/// What became of a lead that was added or claimed.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeadMade {
    /// The lead; with another referrer where somebody's link was used before.
    pub lead: Option<Lead>,
    /// Whether this request made the lead.
    pub created: bool,
    pub signal_id: SignalId,
    pub outcome: Outcome,
    pub why: Why,
    pub checks: Vec<Check>,
    /// Rewards that are given for joining.
    pub rewards: Vec<Reward>,
}

pub(super) fn lead_made(joined: &Joined) -> LeadMade {
    LeadMade {
        lead: joined.lead.clone(),
        created: joined.created,
        signal_id: joined.signal_id,
        outcome: joined.outcome,
        why: joined.reason.into(),
        checks: joined.checks.clone(),
        rewards: joined.rewards.clone(),
    }
}

/// Create a lead
///
/// 201 for a new lead. 200 where the person was a lead already: the first link used
/// wins, and a later claim is recorded and explained. 409 where it is refused, with the
/// reason: self-referral, somebody who is in the campaign, a campaign that is not live.
/// A refusal is recorded too.
#[utoipa::path(post, path = "/v1/leads", tag = "leads", request_body = NewLead)]
async fn create(
    State(app): State<App>,
    caller: Caller<Report>,
    IdempotencyKey(key): IdempotencyKey,
    body: Body<NewLead>,
) -> Result<Done<LeadMade, MakesOnce>, Problem> {
    let new = body.value;
    let act = Join {
        campaign: new.campaign_id,
        referrer: referrer_key(new.referrer_id, new.code, new.referrer_email)?,
        person: Person {
            email: new.email,
            first_name: line(new.first_name),
            last_name: line(new.last_name),
            external_id: external_id(new.external_id)?,
            fields: new.fields,
            ip: None,
            visitor: None,
        },
        link_used_at: happened("/link_used_at", new.link_used_at, app.engine.now(caller.space))?,
    };
    joined(&app, &caller, new.source.as_deref(), IdempotencyKey(key), body.raw_hash, act).await
}

/// Runs a join or claim. A refusal is kept like any other answer, as its problem.
async fn joined<S, A>(
    app: &App,
    caller: &Caller<S>,
    source: Option<&str>,
    key: IdempotencyKey,
    raw_hash: [u8; 32],
    act: A,
) -> Result<Done<LeadMade, MakesOnce>, Problem>
where
    A: crate::engine::work::Act<Output = Joined>,
{
    let context = super::context(app, caller, source)?;
    let reply = app
        .engine
        .run_keyed(context, act, super::idempotency(key, raw_hash), |joined: Joined| match joined.outcome {
            Outcome::Refused => Reply::new(StatusCode::CONFLICT.as_u16(), &refused(joined.reason, &joined.checks).to_json()),
            _ => Reply::new(super::made(joined.created).as_u16(), &lead_made(&joined)),
        })
        .await?;
    Ok(Done { reply, shape: PhantomData })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewClaim {
    /// The person who was referred: a participant of the campaign.
    lead_id: Option<LeadId>,
    /// Or named as the referrer that they are.
    participant_id: Option<ReferrerId>,
    /// The referrer who claims them.
    code: Option<Code>,
    referrer_id: Option<ReferrerId>,
    referrer_email: Option<Email>,
    /// Why that is believed; kept with the signal.
    #[schema(min_length = 1, max_length = 1000)]
    evidence: String,
    /// Move a pending lead of somebody else.
    #[serde(default)]
    force: bool,
}

/// Claim a lead
///
/// A late claim, or the pairing of two participants. A lead of somebody else stays
/// theirs unless the claim is forced, and a qualified one always does.
#[utoipa::path(post, path = "/v1/leads/claims", tag = "leads", request_body = NewClaim)]
async fn claim(State(app): State<App>, caller: Caller<Write>, key: IdempotencyKey, body: Body<NewClaim>) -> Result<Done<LeadMade, MakesOnce>, Problem> {
    let new = body.value;
    let participant = match (new.lead_id, new.participant_id) {
        (Some(lead), None) => lead.uuid(),
        (None, Some(referrer)) => referrer.uuid(),
        _ => return Err(Problem::invalid("/lead_id", "one of lead_id and participant_id, to name the person")),
    };
    let evidence = new.evidence.trim().to_owned();
    if evidence.is_empty() || evidence.chars().count() > 1_000 {
        return Err(Problem::invalid("/evidence", "1 to 1,000 characters"));
    }
    let act = Claim { participant, referrer: referrer_key(new.referrer_id, new.code, new.referrer_email)?, evidence, force: new.force };
    joined(&app, &caller, None, key, body.raw_hash, act).await
}

/// Get a lead
#[utoipa::path(get, path = "/v1/leads/{id}", tag = "leads")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(LeadId,)>) -> Result<Json<Lead>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            let person = participant::lead(tx, space, id).await?;
            let campaign = campaign::get(tx, &shared, space, person.campaign).await?;
            participant::lead_view(tx, &shared, space, &person, &campaign).await
        })
    });
    Ok(Json(read.await?))
}

/// Change a lead
#[utoipa::path(patch, path = "/v1/leads/{id}", tag = "leads", request_body = PersonChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<PersonChange>,
) -> Result<Done<Lead>, Problem> {
    let act = body.value.act(id.uuid(), true)?;
    let done = write(&app, &caller, None, key, body.raw_hash, participant::UpdateLead(act), |lead| (StatusCode::OK, lead)).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Erase a lead
///
/// Everything that says who the person is goes, for ever. That there was a lead stays.
#[utoipa::path(delete, path = "/v1/leads/{id}", tag = "leads")]
async fn erase(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    let removed = super::remove(&app, &caller, key, body.raw_hash, Erase { participant: id.uuid(), as_lead: true }).await?;
    app.engine.forget().await?;
    Ok(removed)
}

/// Explain a lead
///
/// Why it is qualified, or not: each check with what was expected and found, the nearest
/// miss, the next step, and everything that was told about it.
#[utoipa::path(get, path = "/v1/leads/{id}/explanation", tag = "leads")]
async fn explanation(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(LeadId,)>) -> Result<Json<Explanation>, Problem> {
    let (space, shared, now) = (caller.space, app.engine.shared_arc(), app.engine.now(caller.space));
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { qualify::explanation(tx, &shared, space, id, now).await })).await?))
}

/// Get everything about a lead
///
/// For the right of access: the person with the network address and browser that they signed up
/// with, visits of that browser, conversions, rewards, signals, and which events and deliveries
/// name them. Each list holds 10,000 at most; `cut` names those that are longer. It may take
/// seconds: whole tables are read.
#[utoipa::path(get, path = "/v1/leads/{id}/dossier", tag = "leads")]
async fn dossier(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(LeadId,)>) -> Result<Json<Dossier>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            participant::lead(tx, space, id).await?;
            participant::dossier(tx, &shared, space, id.uuid()).await
        })
    });
    Ok(Json(read.await?))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Remark {
    /// Why; kept with the signal.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// An answer about a lead that must exist.
async fn decided<S, A>(app: &App, caller: &Caller<S>, id: LeadId, key: IdempotencyKey, raw_hash: [u8; 32], act: A) -> Result<Done<Answer>, Problem>
where
    A: crate::engine::work::Act<Output = Answer>,
{
    let space = caller.space;
    app.engine.read(move |tx| Box::pin(async move { participant::lead(tx, space, id).await.map(drop) })).await?;
    write(app, caller, None, key, raw_hash, act, |answer| (StatusCode::OK, answer)).await
}

/// Qualify a lead
///
/// Because you say so. A lead that is qualified already is answered as it is.
#[utoipa::path(post, path = "/v1/leads/{id}/qualify", tag = "leads", request_body = Remark)]
async fn qualify(
    State(app): State<App>,
    caller: Caller<Report>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Answer>, Problem> {
    let act = Qualify { lead: LeadKey::Id(id), campaign: None, external_id: None, occurred_at: None, note: note(body.value.note)? };
    decided(&app, &caller, id, key, body.raw_hash, act).await
}

/// Unqualify a lead
///
/// It is pending again; rewards are cancelled, or reversed where they were issued.
#[utoipa::path(post, path = "/v1/leads/{id}/unqualify", tag = "leads", request_body = Remark)]
async fn unqualify(
    State(app): State<App>,
    caller: Caller<Report>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Answer>, Problem> {
    let act = Unqualify { lead: LeadKey::Id(id), campaign: None, note: note(body.value.note)? };
    decided(&app, &caller, id, key, body.raw_hash, act).await
}

/// Reject a lead
///
/// It earns nothing, whatever is reported later.
#[utoipa::path(post, path = "/v1/leads/{id}/reject", tag = "leads", request_body = Remark)]
async fn reject(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Answer>, Problem> {
    let act = Reject { lead: id, rejected: true, note: note(body.value.note)? };
    decided(&app, &caller, id, key, body.raw_hash, act).await
}

/// Restore a rejected lead
#[utoipa::path(post, path = "/v1/leads/{id}/restore", tag = "leads", request_body = Remark)]
async fn restore(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Answer>, Problem> {
    let act = Reject { lead: id, rejected: false, note: note(body.value.note)? };
    decided(&app, &caller, id, key, body.raw_hash, act).await
}

/// Check a lead again
///
/// With today's rule, limits, budget and coupons. What is missing is given; nothing is
/// given twice.
#[utoipa::path(post, path = "/v1/leads/{id}/recheck", tag = "leads", request_body = Nothing)]
async fn recheck(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(LeadId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<Answer>, Problem> {
    decided(&app, &caller, id, key, body.raw_hash, Recheck { lead: id }).await
}
