//! `/v1/endpoints`: addresses that are told what happens; `/v1/deliveries`: what became of it.

use super::{Done, List, Makes, Order, Removed, What, page};
use crate::{
    engine::{
        Error, Shared, Space,
        delivery::{self, Attempt, DeliveryFilter, DeliveryState, DeliveryView, Replay, Resend, StartReplay},
        endpoint::{
            self, CONCURRENCY_MAX, Create, Delete, Endpoint, EndpointFilter, EndpointStatus, HEADERS_MAX, Layout, Method, OVERLAP_HOURS_DEFAULT,
            OVERLAP_HOURS_MAX, RotateSecret, Shape, SigningSecret, Terms, Test, Update, parse_sources,
        },
        event::EventType,
        feed::{self, Event},
        work::Reply,
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Routes, Write, extract::Nothing, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, DeliveryId, EndpointId, EventId, ReplayId, RewardDefinitionId},
    text::WebUrl,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, marker::PhantomData};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, remove))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .routes(routes!(replay))
        .routes(routes!(get_replay))
        .routes(routes!(all_deliveries))
        .routes(routes!(get_delivery))
        .routes(routes!(resend))
}

/// An address that is told what happens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EndpointView {
    pub id: EndpointId,
    pub url: String,
    pub description: String,
    /// `null` is every type but those that must be asked for by name (`visit.recorded`).
    pub event_types: Option<Vec<EventType>>,
    /// Only events of this campaign.
    pub campaign_id: Option<CampaignId>,
    /// Only events about people from this source, or one of several with commas between; of events about
    /// nobody, their own source.
    pub person_source: Option<String>,
    /// Only events about rewards of this definition.
    pub reward_definition_id: Option<RewardDefinitionId>,
    /// Names of its own headers. Their values are not shown.
    pub header_names: Vec<String>,
    /// Whether the events of one person come one after the other.
    pub in_order: bool,
    /// Deliveries in a second, from each node.
    pub rate_per_second: Option<u32>,
    /// Deliveries at the same time, from each node.
    pub concurrency: u32,
    pub shape: Shape,
    /// What goes into bodies that are not in the native shape.
    pub layout: Option<Layout>,
    /// Names of what is added to these bodies. Their values are not shown.
    pub credential_names: Vec<String>,
    pub status: EndpointStatus,
    /// Since when it has taken nothing.
    pub failing_since: Option<Timestamp>,
    /// Until when the old secret signs as well.
    pub previous_secret_until: Option<Timestamp>,
    /// Where it was made: `api`, `n8n`, `make`, `zapier`.
    pub source: String,
    /// The API key that made it.
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An endpoint with its secret, which is shown this once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EndpointWithSecret {
    #[serde(flatten)]
    pub endpoint: EndpointView,
    /// Signs its deliveries, as Standard Webhooks has it.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
    /// This key had made an endpoint with that address before; it was replaced.
    pub replaced: bool,
}

/// It makes an endpoint, or a secret of one.
struct MakesEndpoint;

impl What for MakesEndpoint {
    const COLLECTION: Option<&'static str> = Some("/v1/endpoints");
    const STATUSES: &'static [(StatusCode, &'static str)] = Makes::STATUSES;
}

fn view(shared: &Shared, endpoint: &Endpoint) -> Result<EndpointView, Error> {
    Ok(EndpointView {
        id: endpoint.id,
        url: endpoint.url.clone(),
        description: endpoint.description.clone(),
        event_types: endpoint.types.clone(),
        campaign_id: endpoint.campaign,
        person_source: endpoint.person_source.clone(),
        reward_definition_id: endpoint.definition,
        header_names: endpoint.headers(&shared.vault)?.into_iter().map(|(name, _)| name).collect(),
        in_order: endpoint.in_order,
        rate_per_second: endpoint.rate_per_second,
        concurrency: endpoint.concurrency,
        shape: endpoint.shape,
        layout: endpoint.layout.clone(),
        credential_names: endpoint.credentials(&shared.vault)?.into_iter().map(|(name, _)| name).collect(),
        status: endpoint.status,
        failing_since: endpoint.failing_since,
        previous_secret_until: endpoint.previous_until,
        source: endpoint.source.clone(),
        created_by: endpoint.created_by.clone(),
        created_at: endpoint.created_at,
        updated_at: endpoint.updated_at,
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EndpointList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    /// Exactly this address.
    url: Option<String>,
    status: Option<EndpointStatus>,
    source: Option<String>,
}

/// List endpoints
#[utoipa::path(get, path = "/v1/endpoints", tag = "endpoints", params(EndpointList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<EndpointList>) -> Result<Json<List<EndpointView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, None, None)?;
    let filter = EndpointFilter { url: query.url, status: query.status, source: query.source, ..EndpointFilter::default() };
    let space = caller.space;
    let rows = app.engine.read(move |tx| Box::pin(async move { endpoint::list(tx, space, &filter, &page).await })).await?;
    let data = rows.data.iter().map(|endpoint| view(app.engine.shared(), endpoint)).collect::<Result<_, _>>()?;
    Ok(Json(crate::engine::list::Listing { data, next: rows.next }.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEndpoint {
    url: WebUrl,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Left out, it is every type but those that must be asked for by name (`visit.recorded`).
    #[schema(min_items = 1)]
    event_types: Option<Vec<EventType>>,
    campaign_id: Option<CampaignId>,
    /// Only events about people from this source, or one of several with commas between.
    #[schema(min_length = 1, max_length = 400)]
    person_source: Option<String>,
    /// Only events about rewards of this definition.
    reward_definition_id: Option<RewardDefinitionId>,
    /// Its own headers, such as a token: at most 50. Kept encrypted, never shown.
    headers: Option<BTreeMap<String, String>>,
    in_order: Option<bool>,
    #[schema(minimum = 1, maximum = 100_000)]
    rate_per_second: Option<u32>,
    #[schema(minimum = 1, maximum = 200, default = 20)]
    concurrency: Option<u32>,
    /// How an event is written for it.
    shape: Option<Shape>,
    /// For another shape than the native one: which fields are sent under which names, constants, GET or POST.
    layout: Option<Layout>,
    /// Added to every body that is not in the native shape, such as a token: at most 100. Kept encrypted,
    /// never shown.
    credentials: Option<BTreeMap<String, String>>,
    /// Where it is made: `api`, `n8n`, `make`, `zapier`.
    #[schema(min_length = 1, max_length = 40, default = "api")]
    source: Option<String>,
    /// A secret of your own: `whsec_` and 24 to 64 bytes in base64. Left out, one is made.
    secret: Option<String>,
}

fn pairs(map: Option<BTreeMap<String, String>>) -> Option<Vec<(String, String)>> {
    map.map(|map| map.into_iter().collect())
}

fn parse_secret(text: Option<String>) -> Result<SigningSecret, Problem> {
    match text {
        Some(text) => Ok(text.parse().map_err(|invalid| Error::invalid("/secret", invalid))?),
        None => Ok(SigningSecret::random()),
    }
}

async fn admit(app: &App, url: &WebUrl) -> Result<(), Problem> {
    let refused = |refused| Problem::invalid_detail("/url", format!("This address is not called: {refused}."));
    app.guard.admit(url).await.map_err(refused)
}

/// Create an endpoint
///
/// Its secret is in this answer only, and in those to the same request with the same
/// Idempotency-Key. The same address by the same API key replaces the endpoint that was there:
/// its settings and its secret are those of this request, and it is active.
#[utoipa::path(post, path = "/v1/endpoints", tag = "endpoints", request_body = NewEndpoint)]
async fn create(
    State(app): State<App>,
    caller: Caller<Write>,
    key: IdempotencyKey,
    body: Body<NewEndpoint>,
) -> Result<Done<EndpointWithSecret, MakesEndpoint>, Problem> {
    let new = body.value;
    admit(&app, &new.url).await?;
    let context = super::context(&app, &caller, new.source.as_deref())?;
    let terms = Terms {
        description: new.description,
        types: Some(new.event_types),
        campaign: Some(new.campaign_id),
        person_source: Some(new.person_source.as_deref().map(parse_sources).transpose()?),
        definition: Some(new.reward_definition_id),
        headers: pairs(new.headers),
        shape: new.shape,
        layout: Some(new.layout),
        credentials: pairs(new.credentials),
        in_order: new.in_order,
        rate_per_second: Some(new.rate_per_second),
        concurrency: new.concurrency,
    };
    let source = context.source.to_string();
    let create = Create { url: new.url, terms, source, secret: parse_secret(new.secret)? };
    let reply = app.engine.run_keyed(context, create, super::idempotency(key, body.raw_hash), shown(&app)).await?;
    Ok(Done { reply, shape: PhantomData })
}

fn shown(app: &App) -> impl Fn(endpoint::Created) -> Result<Reply, Error> + Send + Sync + 'static {
    let shared = app.engine.shared_arc();
    move |made| {
        let endpoint = view(&shared, &made.endpoint)?;
        Reply::new(StatusCode::CREATED.as_u16(), &EndpointWithSecret { endpoint, secret: made.secret.reveal(), replaced: made.replaced })
    }
}

/// Get an endpoint
#[utoipa::path(get, path = "/v1/endpoints/{id}", tag = "endpoints")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(EndpointId,)>) -> Result<Json<EndpointView>, Problem> {
    let space = caller.space;
    let endpoint = app.engine.read(move |tx| Box::pin(endpoint::get(tx, space, id))).await?;
    Ok(Json(view(app.engine.shared(), &endpoint)?))
}

/// A setting that can be left out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EndpointSetting {
    EventTypes,
    CampaignId,
    PersonSource,
    RewardDefinitionId,
    Headers,
    RatePerSecond,
    Layout,
    Credentials,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointChange {
    url: Option<WebUrl>,
    #[schema(max_length = 500)]
    description: Option<String>,
    #[schema(min_items = 1)]
    event_types: Option<Vec<EventType>>,
    campaign_id: Option<CampaignId>,
    #[schema(min_length = 1, max_length = 400)]
    person_source: Option<String>,
    reward_definition_id: Option<RewardDefinitionId>,
    /// All of its own headers; those that are not here are gone.
    headers: Option<BTreeMap<String, String>>,
    in_order: Option<bool>,
    #[schema(minimum = 1, maximum = 100_000)]
    rate_per_second: Option<u32>,
    #[schema(minimum = 1, maximum = 200)]
    concurrency: Option<u32>,
    shape: Option<Shape>,
    /// The whole layout; the one that was there is gone.
    layout: Option<Layout>,
    /// All of its credentials; those that are not here are gone.
    credentials: Option<BTreeMap<String, String>>,
    /// Switches it on, which forgets its failures, or off.
    enabled: Option<bool>,
    /// Settings that it is to have no longer.
    #[serde(default)]
    unset: Vec<EndpointSetting>,
}

/// Change an endpoint
#[utoipa::path(patch, path = "/v1/endpoints/{id}", tag = "endpoints", request_body = EndpointChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(EndpointId,)>,
    key: IdempotencyKey,
    body: Body<EndpointChange>,
) -> Result<Done<EndpointView>, Problem> {
    let change = body.value;
    if let Some(url) = &change.url {
        admit(&app, url).await?;
    }
    let unset = |what| change.unset.contains(&what);
    let terms = Terms {
        description: change.description,
        types: change.event_types.map(Some).or_else(|| unset(EndpointSetting::EventTypes).then_some(None)),
        campaign: change.campaign_id.map(Some).or_else(|| unset(EndpointSetting::CampaignId).then_some(None)),
        person_source: change
            .person_source
            .as_deref()
            .map(parse_sources)
            .transpose()?
            .map(Some)
            .or_else(|| unset(EndpointSetting::PersonSource).then_some(None)),
        definition: change.reward_definition_id.map(Some).or_else(|| unset(EndpointSetting::RewardDefinitionId).then_some(None)),
        headers: pairs(change.headers).or_else(|| unset(EndpointSetting::Headers).then(Vec::new)),
        shape: change.shape,
        layout: change.layout.map(Some).or_else(|| unset(EndpointSetting::Layout).then_some(None)),
        credentials: pairs(change.credentials).or_else(|| unset(EndpointSetting::Credentials).then(Vec::new)),
        in_order: change.in_order,
        rate_per_second: change.rate_per_second.map(Some).or_else(|| unset(EndpointSetting::RatePerSecond).then_some(None)),
        concurrency: change.concurrency,
    };
    let shared = app.engine.shared_arc();
    let render = move |endpoint: Endpoint| (StatusCode::OK, view(&shared, &endpoint).ok());
    let done: Done<_> = super::write(&app, &caller, None, key, body.raw_hash, Update { id, url: change.url, terms, enabled: change.enabled }, render).await?;
    Ok(Done { reply: done.reply, shape: PhantomData })
}

/// Delete an endpoint
///
/// What was still to be delivered stays in the log, as skipped. Deleting it again is
/// harmless.
#[utoipa::path(delete, path = "/v1/endpoints/{id}", tag = "endpoints")]
async fn remove(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(EndpointId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    super::remove(&app, &caller, key, body.raw_hash, Delete { id }).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the old secret signs as well.
    #[schema(minimum = 0, maximum = 168, default = 24)]
    overlap_hours: Option<u32>,
    /// A secret of your own; left out, one is made.
    secret: Option<String>,
}

/// Rotate the secret
///
/// Until the overlap ends, every delivery carries two signatures, one by each secret, so
/// that a receiver can change over without losing anything. The same request with the same
/// Idempotency-Key shows the same secret, and rotates once.
#[utoipa::path(post, path = "/v1/endpoints/{id}/secret/rotate", tag = "endpoints", request_body = Rotation)]
async fn rotate(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(EndpointId,)>,
    key: IdempotencyKey,
    body: Body<Rotation>,
) -> Result<Done<EndpointWithSecret, MakesEndpoint>, Problem> {
    let overlap_hours = body.value.overlap_hours.unwrap_or(OVERLAP_HOURS_DEFAULT);
    let rotate = RotateSecret { id, secret: parse_secret(body.value.secret)?, overlap_hours };
    let context = super::context(&app, &caller, None)?;
    let reply = app.engine.run_keyed(context, rotate, super::idempotency(key, body.raw_hash), shown(&app)).await?;
    Ok(Done { reply, shape: PhantomData })
}

/// Send a test event
///
/// `endpoint.tested`, with an example of everything that events can carry. It is delivered
/// like any other: look at the delivery to see what came of it.
#[utoipa::path(post, path = "/v1/endpoints/{id}/test", tag = "endpoints", request_body = Nothing)]
async fn test(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(EndpointId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<TestSent, Makes>, Problem> {
    super::write(&app, &caller, None, key, body.raw_hash, Test { id }, |delivery_id| (StatusCode::CREATED, TestSent { delivery_id })).await
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TestSent {
    /// See `/v1/deliveries/{id}`.
    pub delivery_id: DeliveryId,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    state: Option<DeliveryState>,
    /// `4` is every answer from 400 to 499.
    #[param(minimum = 1, maximum = 5)]
    status_class: Option<i64>,
    event_type: Option<EventType>,
}

/// List deliveries
///
/// One for each event that the endpoint was to be told, whatever became of it; also of an
/// endpoint that was deleted.
#[utoipa::path(get, path = "/v1/endpoints/{id}/deliveries", tag = "endpoints", params(DeliveryList))]
async fn deliveries(
    State(app): State<App>,
    caller: Caller<Read>,
    Path((id,)): Path<(EndpointId,)>,
    Query(query): Query<DeliveryList>,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter =
        DeliveryFilter { endpoint: Some(id), event: None, state: query.state, status_class: checked_class(query.status_class)?, kind: query.event_type };
    let space = caller.space;
    let found = app.engine.read(move |tx| {
        Box::pin(async move {
            endpoint::must_have_been(tx, space, id).await?;
            delivery::list(tx, space, &filter, &page).await
        })
    });
    Ok(Json(found.await?.into()))
}

fn checked_class(class: Option<i64>) -> Result<Option<i64>, Problem> {
    if class.is_some_and(|class| !(1..=5).contains(&class)) { Err(Problem::invalid("status_class", "1 to 5")) } else { Ok(class) }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AllDeliveries {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    endpoint_id: Option<EndpointId>,
    event_id: Option<EventId>,
    state: Option<DeliveryState>,
    /// `4` is every answer from 400 to 499.
    #[param(minimum = 1, maximum = 5)]
    status_class: Option<i64>,
    event_type: Option<EventType>,
}

/// List deliveries to all endpoints
///
/// In the order of the events, and within the times of the events, or with `endpoint_id` as in its own
/// list. What became of an event is found at once; by `state`, `status_class` or `event_type` the log is
/// looked through, so limit the time where much is sent.
#[utoipa::path(get, path = "/v1/deliveries", tag = "endpoints", params(AllDeliveries))]
async fn all_deliveries(State(app): State<App>, caller: Caller<Read>, Query(query): Query<AllDeliveries>) -> Result<Json<List<DeliveryView>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = DeliveryFilter {
        endpoint: query.endpoint_id,
        event: query.event_id,
        state: query.state,
        status_class: checked_class(query.status_class)?,
        kind: query.event_type,
    };
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { delivery::list(tx, space, &filter, &page).await })).await?.into()))
}

/// A delivery with every try, and what was told.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    pub tries: Vec<Attempt>,
    /// What is sent, as the endpoint is set up now; `null` where the event or the endpoint is not there any more.
    pub request: Option<DeliveryRequest>,
    /// The event; `null` where it is not kept any more.
    pub event: Option<Event>,
}

/// The request of a delivery. Each try has the same body; its `webhook-timestamp` is the time of the try, in
/// seconds, and the signature goes with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryRequest {
    pub method: Method,
    /// The event's id: the same for each try.
    pub webhook_id: EventId,
    /// The bytes of the body, or with GET the parameters of the address. Values of credentials are masked.
    pub body: String,
}

/// Get a delivery
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "endpoints")]
async fn get_delivery(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(DeliveryId,)>) -> Result<Json<DeliveryDetail>, Problem> {
    let (space, workspace) = (caller.space, caller.workspace_id);
    let found = app.engine.read(move |tx| {
        Box::pin(async move {
            let delivery = delivery::get(tx, space, id).await?;
            let tries = delivery::attempts(tx, space, id).await?;
            let event = feed::get(tx, space, workspace, delivery.event_id).await.ok();
            let endpoint = endpoint::get(tx, space, delivery.endpoint_id).await.ok();
            Ok((delivery, tries, event, endpoint))
        })
    });
    let (delivery, tries, event, endpoint) = found.await?;
    let request = match (&event, &endpoint) {
        (Some(event), Some(endpoint)) if !event.is_erased => request(&app, endpoint, event).await?,
        _ => None,
    };
    Ok(Json(DeliveryDetail { delivery, tries, request, event }))
}

async fn request(app: &App, endpoint: &Endpoint, event: &Event) -> Result<Option<DeliveryRequest>, Problem> {
    let masked: Vec<_> = endpoint.credentials(&app.engine.shared().vault)?.into_iter().map(|(name, _)| (name, MASK.to_owned())).collect();
    let body = crate::delivery::body(&app.engine, endpoint, &masked, event).await?;
    let method = endpoint.layout.as_ref().map_or(Method::Post, |layout| layout.method);
    Ok(body.ok().map(|body| DeliveryRequest { method, webhook_id: event.id, body: String::from_utf8_lossy(&body).into_owned() }))
}

/// Stands where a secret is.
const MASK: &str = "********";

/// Send a delivery again
///
/// Whatever became of it: the same message, under the same `webhook-id`, with a new schedule
/// of tries. 409 where its endpoint is switched off or was deleted.
#[utoipa::path(post, path = "/v1/deliveries/{id}/resend", tag = "endpoints", request_body = Nothing)]
async fn resend(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(DeliveryId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<DeliveryView>, Problem> {
    super::write(&app, &caller, None, key, body.raw_hash, Resend { id }, |delivery| (StatusCode::OK, delivery)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReplay {
    since: Timestamp,
    /// Left out, it is now.
    until: Option<Timestamp>,
}

/// Send what was missed
///
/// Every event of that time that the endpoint wants and has not taken: what was skipped, what
/// ran out of tries, what waits for one, and what happened before the endpoint was made. Each
/// under its own `webhook-id`. It goes on in the background; the answer's id shows how far it is.
#[utoipa::path(post, path = "/v1/endpoints/{id}/replay", tag = "endpoints", request_body = NewReplay)]
async fn replay(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(EndpointId,)>,
    key: IdempotencyKey,
    body: Body<NewReplay>,
) -> Result<Done<Replay, Makes>, Problem> {
    let start = StartReplay { endpoint: id, since: body.value.since, until: body.value.until };
    super::write(&app, &caller, None, key, body.raw_hash, start, |replay| (StatusCode::CREATED, replay)).await
}

/// Get a replay
#[utoipa::path(get, path = "/v1/replays/{id}", tag = "endpoints")]
async fn get_replay(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(ReplayId,)>) -> Result<Json<Replay>, Problem> {
    let space: Space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(delivery::replay(tx, space, id))).await?))
}

/// What the document says of limits is what the engine has.
const _: () =
    assert!(HEADERS_MAX == 50 && CONCURRENCY_MAX == 200 && OVERLAP_HOURS_MAX == 168 && OVERLAP_HOURS_DEFAULT == 24 && endpoint::CONCURRENCY_DEFAULT == 20);
