//! `/v1/me`, API keys and the test clock.

use super::{Done, List, Makes, Order, What, page};
use crate::{
    engine::{
        access::Scope,
        random_bytes,
        workspace::{self, ApiKey, ClockMove, CreateKey, MoveClock, RevokeKey, RevokedKey, Secret, UpdateKey},
    },
    http::{Admin, Any, App, Body, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Routes, extract::Nothing, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{ApiKeyId, WorkspaceId},
    text::Line,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(me)).routes(routes!(list_keys, create_key)).routes(routes!(get_key, update_key, revoke_key)).routes(routes!(clock, move_clock))
}

/// Who the key belongs to, and what it may do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// For people: "Northlight (test)".
    pub label: String,
    pub workspace: WorkspaceOf,
    pub api_key: KeyOf,
    /// Whether this key sees test data.
    pub test: bool,
    pub server: Server,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WorkspaceOf {
    pub id: WorkspaceId,
    pub name: String,
    /// The address that referral links begin with.
    pub url: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KeyOf {
    pub id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Server {
    pub version: &'static str,
    /// The time on this side; ahead of the real one where the test clock was moved.
    pub now: Timestamp,
}

/// Who am I?
///
/// The cheapest way to test a key; every key may ask.
#[utoipa::path(get, path = "/v1/me", tag = "account")]
async fn me(State(app): State<App>, caller: Caller<Any>) -> Result<Json<Me>, Problem> {
    let test = caller.space.is_test();
    Ok(Json(Me {
        label: format!("{}{}", caller.workspace_name, if test { " (test)" } else { "" }),
        workspace: WorkspaceOf { id: caller.workspace_id, name: caller.workspace_name.clone(), url: app.engine.shared().public_url.clone() },
        api_key: KeyOf { id: caller.key_id, name: caller.key_name.clone(), scopes: caller.scopes.clone() },
        test,
        server: Server { version: env!("CARGO_PKG_VERSION"), now: app.engine.now(caller.space) },
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeyList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
}

/// List API keys
///
/// The keys of this side, revoked ones included.
#[utoipa::path(get, path = "/v1/api-keys", tag = "account", params(KeyList))]
async fn list_keys(State(app): State<App>, caller: Caller<Admin>, Query(query): Query<KeyList>) -> Result<Json<List<ApiKey>>, Problem> {
    let (space, page) = (caller.space, page(query.limit, query.cursor.as_deref(), query.order, None, None)?);
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { workspace::list_keys(tx, space, &page).await })).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: Line,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
}

/// A new key with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyWithSecret {
    #[serde(flatten)]
    pub key: ApiKey,
    /// The key itself. It is not kept and cannot be shown again.
    pub secret: String,
}

/// It makes an API key.
struct MakesKey;

impl What for MakesKey {
    const COLLECTION: Option<&'static str> = Some("/v1/api-keys");
    const STATUSES: &'static [(StatusCode, &'static str)] = Makes::STATUSES;
}

/// Create an API key
///
/// For this side. The secret is in this answer only: the same request with the same
/// Idempotency-Key is a 409, `secret_was_shown`, that names the key that was made.
#[utoipa::path(post, path = "/v1/api-keys", tag = "account", request_body = NewKey)]
async fn create_key(
    State(app): State<App>,
    caller: Caller<Admin>,
    idempotency_key: IdempotencyKey,
    body: Body<NewKey>,
) -> Result<Done<KeyWithSecret, MakesKey>, Problem> {
    let secret = Secret::new(caller.space.is_test(), &random_bytes());
    let create = CreateKey { name: body.value.name, scopes: body.value.scopes, space: caller.space, secret: secret.clone() };
    let shown = move |key| (StatusCode::CREATED, KeyWithSecret { key, secret: secret.reveal().to_owned() });
    super::write(&app, &caller, None, idempotency_key, body.raw_hash, create, shown).await
}

/// Get an API key
#[utoipa::path(get, path = "/v1/api-keys/{id}", tag = "account")]
async fn get_key(State(app): State<App>, caller: Caller<Admin>, Path((id,)): Path<(ApiKeyId,)>) -> Result<Json<ApiKey>, Problem> {
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(workspace::key(tx, space, id))).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    name: Option<Line>,
    scopes: Option<Vec<Scope>>,
}

/// Change an API key
#[utoipa::path(patch, path = "/v1/api-keys/{id}", tag = "account", request_body = KeyChange)]
async fn update_key(
    State(app): State<App>,
    caller: Caller<Admin>,
    Path((id,)): Path<(ApiKeyId,)>,
    key: IdempotencyKey,
    body: Body<KeyChange>,
) -> Result<Done<ApiKey>, Problem> {
    let update = UpdateKey { id, name: body.value.name, scopes: body.value.scopes };
    let done = super::write(&app, &caller, None, key, body.raw_hash, update, |key| (StatusCode::OK, key)).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// Revoke an API key
///
/// For ever, and on all nodes within a second. Endpoints that the key made go on sending; the
/// answer names them.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "account")]
async fn revoke_key(
    State(app): State<App>,
    caller: Caller<Admin>,
    Path((id,)): Path<(ApiKeyId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<RevokedKey>, Problem> {
    let done = super::write(&app, &caller, None, key, body.raw_hash, RevokeKey { id }, |revoked| (StatusCode::OK, revoked)).await?;
    app.engine.forget().await?;
    Ok(done)
}

/// The clock of the test side.
#[derive(Debug, Serialize, ToSchema)]
pub struct Clock {
    pub now: Timestamp,
    /// How far it is ahead of the real clock.
    pub ahead_seconds: i64,
}

/// Read the clock
#[utoipa::path(get, path = "/v1/test/clock", tag = "account")]
async fn clock(State(app): State<App>, caller: Caller<Read>) -> Result<Json<Clock>, Problem> {
    let now = app.engine.now(caller.space);
    Ok(Json(Clock { now, ahead_seconds: (now.ms() - app.engine.wall().ms() + 500) / 1_000 }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    /// Forward by so many seconds.
    #[schema(minimum = 0, maximum = 3_153_600_000i64)]
    advance_seconds: Option<i64>,
    /// Forward by so many days.
    #[schema(minimum = 0, maximum = 36_500)]
    advance_days: Option<i64>,
    /// Forward to this time.
    now: Option<Timestamp>,
}

/// Move the test clock
///
/// Forward, by seconds, by days or to a time. Holds and campaigns that end by then have
/// ended when this is answered. Only with a key of the test side.
#[utoipa::path(post, path = "/v1/test/clock", tag = "account", request_body = ClockChange)]
async fn move_clock(State(app): State<App>, caller: Caller<Admin>, key: IdempotencyKey, body: Body<ClockChange>) -> Result<Done<Clock>, Problem> {
    let change = body.value;
    let to = match (change.advance_seconds, change.advance_days, change.now) {
        (Some(seconds), None, None) => ClockMove::By(seconds.saturating_mul(1_000)),
        (None, Some(days), None) => ClockMove::By(days.saturating_mul(goodword_core::time::DAY_MS)),
        (None, None, Some(at)) => ClockMove::To(at),
        _ => return Err(Problem::invalid("/now", "one of advance_seconds, advance_days and now")),
    };
    let wall = app.engine.wall();
    let act = MoveClock { to };
    let clock = move |ahead_ms: &i64| Clock { now: wall.plus_ms(*ahead_ms), ahead_seconds: ahead_ms / 1_000 };
    let done = super::write(&app, &caller, None, key, body.raw_hash, act, move |ahead_ms| (StatusCode::OK, clock(&ahead_ms))).await?;
    app.engine.forget().await?;
    app.engine.tick().await?;
    Ok(done)
}
