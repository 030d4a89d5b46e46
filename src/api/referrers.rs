//! `/v1/referrers`: people who share a link.

use super::{Done, List, MakesOnce, Order, Removed, external_id, line, made, note, page, write};
use crate::{
    engine::{
        Error, campaign,
        participant::{self, Dossier, Enrol, Erase, PeopleFilter, Person, Suspend, Update},
        statistics,
        view::{Fields, Referrer, ReferrerStatus},
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Report, Routes, Write, extract::Nothing, routes},
    pages::{portal, routes::page_address},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, ReferrerId},
    text::{Code, Email, Line},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, erase))
        .routes(routes!(suspend))
        .routes(routes!(reactivate))
        .routes(routes!(progress))
        .routes(routes!(dossier))
        .routes(routes!(own_page))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReferrerList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    campaign_id: Option<CampaignId>,
    email: Option<Email>,
    code: Option<Code>,
    external_id: Option<String>,
    source: Option<String>,
    status: Option<ReferrerStatus>,
    /// Part of a name, an address or a code.
    search: Option<String>,
}

/// List referrers
#[utoipa::path(get, path = "/v1/referrers", tag = "referrers", params(ReferrerList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<ReferrerList>) -> Result<Json<List<Referrer>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = PeopleFilter {
        campaign: query.campaign_id,
        email: query.email,
        code: query.code,
        external_id: query.external_id,
        source: query.source,
        search: query.search,
        suspended: query.status.map(|status| status == ReferrerStatus::Suspended),
        ..Default::default()
    };
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { participant::list_referrers(tx, &shared, space, &filter, &page).await })).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReferrer {
    campaign_id: CampaignId,
    email: Email,
    first_name: Option<Line>,
    last_name: Option<Line>,
    /// Your own id of the person: unique in the campaign.
    external_id: Option<String>,
    /// The campaign's own fields, by key.
    #[serde(default)]
    #[schema(value_type = Object)]
    fields: Fields,
    /// A code of your choice for the link; drawn where absent.
    code: Option<Code>,
    /// Where the person came from: `api`, `import`, `widget`, `make`, …
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$")]
    source: Option<String>,
}

/// A referrer, and whether this request made them one.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReferrerMade {
    #[serde(flatten)]
    pub referrer: Referrer,
    /// `false`: the person was a referrer of the campaign before.
    pub created: bool,
}

/// Create a referrer
///
/// 201 for a new one. Somebody who is one already is answered as they are, with 200.
#[utoipa::path(post, path = "/v1/referrers", tag = "referrers", request_body = NewReferrer)]
async fn create(
    State(app): State<App>,
    caller: Caller<Report>,
    key: IdempotencyKey,
    body: Body<NewReferrer>,
) -> Result<Done<ReferrerMade, MakesOnce>, Problem> {
    let new = body.value;
    let person = Person {
        email: new.email,
        first_name: line(new.first_name),
        last_name: line(new.last_name),
        external_id: external_id(new.external_id)?,
        fields: new.fields,
        ip: None,
        visitor: None,
    };
    let act = Enrol { campaign: new.campaign_id, person, code: new.code };
    let shared = app.engine.shared_arc();
    write(&app, &caller, new.source.as_deref(), key, body.raw_hash, act, move |enrolled| {
        let referrer = enrolled.participant.referrer_view(&enrolled.campaign, &shared);
        (made(enrolled.created), ReferrerMade { referrer, created: enrolled.created })
    })
    .await
}

/// Get a referrer
#[utoipa::path(get, path = "/v1/referrers/{id}", tag = "referrers")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(ReferrerId,)>) -> Result<Json<Referrer>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            let person = participant::referrer(tx, space, id).await?;
            let campaign = campaign::get(tx, &shared, space, person.campaign).await?;
            Ok(person.referrer_view(&campaign, &shared))
        })
    });
    Ok(Json(read.await?))
}

/// Where a referrer finds their own page.
#[derive(Debug, Serialize, ToSchema)]
struct ReferrerPage {
    #[schema(example = "https://refer.example.com/me/k3J…")]
    url: String,
}

/// Get the address of a referrer's own page
///
/// The page has their link, a QR code, buttons for sharing, and how far they have come. Who
/// knows the address sees the page, so send it to nobody but the referrer: in a mail, or behind
/// your own sign-in. It stays the same.
#[utoipa::path(get, path = "/v1/referrers/{id}/page", tag = "referrers")]
async fn own_page(State(app): State<App>, caller: Caller<Write>, Path((id,)): Path<(ReferrerId,)>) -> Result<Json<ReferrerPage>, Problem> {
    let space = caller.space;
    app.engine.read(move |tx| Box::pin(async move { portal::owner(tx, space, id).await })).await?;
    Ok(Json(ReferrerPage { url: page_address(&app.engine, space, id) }))
}

/// What is given replaces what is there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonChange {
    email: Option<Email>,
    first_name: Option<Line>,
    last_name: Option<Line>,
    external_id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    fields: Fields,
    /// A new code for the link; the old one goes on leading to the person.
    code: Option<Code>,
    /// What to clear: `last_name`, `external_id`, `fields.<key>`.
    #[serde(default)]
    unset: Vec<String>,
}

impl PersonChange {
    pub(super) fn act(self, participant: uuid::Uuid, as_lead: bool) -> Result<Update, Problem> {
        Ok(Update {
            participant,
            as_lead,
            email: self.email,
            first_name: self.first_name.map(Line::into_string),
            last_name: self.last_name.map(Line::into_string),
            external_id: external_id(self.external_id)?,
            fields: self.fields,
            code: self.code,
            unset: self.unset,
        })
    }
}

/// Change a referrer
#[utoipa::path(patch, path = "/v1/referrers/{id}", tag = "referrers", request_body = PersonChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(ReferrerId,)>,
    key: IdempotencyKey,
    body: Body<PersonChange>,
) -> Result<Done<Referrer>, Problem> {
    let act = body.value.act(id.uuid(), false)?;
    let shared = app.engine.shared_arc();
    let done =
        write(&app, &caller, None, key, body.raw_hash, act, move |(person, campaign)| (StatusCode::OK, person.referrer_view(&campaign, &shared))).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Erase a referrer
///
/// Everything that says who the person is goes, for ever: here, in signals, events and
/// kept answers. That there was somebody, with leads and rewards, stays.
#[utoipa::path(delete, path = "/v1/referrers/{id}", tag = "referrers")]
async fn erase(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(ReferrerId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    let removed = super::remove(&app, &caller, key, body.raw_hash, Erase { participant: id.uuid(), as_lead: false }).await?;
    app.engine.forget().await?;
    Ok(removed)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Remark {
    /// Why; kept with the signal.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// Suspend a referrer
///
/// What happens from now on earns nothing; what happened before still does.
#[utoipa::path(post, path = "/v1/referrers/{id}/suspend", tag = "referrers", request_body = Remark)]
async fn suspend(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(ReferrerId,)>,
    key: IdempotencyKey,
    body: Body<Remark>,
) -> Result<Done<Referrer>, Problem> {
    let act = Suspend { referrer: id, suspended: true, note: note(body.value.note)? };
    let shared = app.engine.shared_arc();
    let done =
        write(&app, &caller, None, key, body.raw_hash, act, move |(person, campaign)| (StatusCode::OK, person.referrer_view(&campaign, &shared))).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Reactivate a referrer
#[utoipa::path(post, path = "/v1/referrers/{id}/reactivate", tag = "referrers", request_body = Nothing)]
async fn reactivate(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(ReferrerId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<Referrer>, Problem> {
    let act = Suspend { referrer: id, suspended: false, note: None };
    let shared = app.engine.shared_arc();
    let done =
        write(&app, &caller, None, key, body.raw_hash, act, move |(person, campaign)| (StatusCode::OK, person.referrer_view(&campaign, &shared))).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// What a referrer brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    pub visits: i64,
    pub leads: i64,
    pub qualified: i64,
    pub rewarded: i64,
}

/// Get a referrer's numbers
#[utoipa::path(get, path = "/v1/referrers/{id}/statistics", tag = "referrers")]
async fn progress(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(ReferrerId,)>) -> Result<Json<Progress>, Problem> {
    app.engine.catch_up_statistics().await?;
    let space = caller.space;
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            participant::referrer(tx, space, id).await?;
            statistics::of_referrer(tx, space, id).await
        })
    });
    let (visits, leads, qualified, rewarded) = read.await?;
    Ok(Json(Progress { visits, leads, qualified, rewarded }))
}

/// Get everything about a referrer
///
/// For the right of access: the person with the network address and browser that they signed up
/// with, visits of that browser, rewards, signals, and which events and deliveries name them. Each
/// list holds 10,000 at most; `cut` names those that are longer. It may take seconds: whole tables
/// are read.
#[utoipa::path(get, path = "/v1/referrers/{id}/dossier", tag = "referrers")]
async fn dossier(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(ReferrerId,)>) -> Result<Json<Dossier>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| Box::pin(async move { participant::dossier(tx, &shared, space, id.uuid()).await }));
    read.await.map(Json).map_err(|error| match error {
        Error::NotFound { .. } => Problem::not_found("referrer"),
        error => error.into(),
    })
}
