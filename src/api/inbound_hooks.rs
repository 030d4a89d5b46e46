//! `/v1/inbound-hooks`: secret addresses that take what other systems send, and the
//! inbox of what they sent.

use super::{Done, List, Makes, Order, Removed, What, page, write, write_many};
use crate::{
    engine::{
        inbound::{self, Create, Delete, Hook, Message, MessageState, Retold, Update},
        list::Cursor,
        random_bytes,
        workspace::Secret,
    },
    http::{App, Body, Caller, IdempotencyKey, Json, Path, Payload, Problem, Query, Read, Routes, Write, extract::Nothing, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, InboundHookId, InboundMessageId},
    mapping::{Mapped, Mapping},
    text::Line,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(preview))
        .routes(routes!(messages))
        .routes(routes!(message))
        .routes(routes!(replay))
        .routes(routes!(replay_all))
        .routes(routes!(receive))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HookList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
}

/// List inbound hooks
#[utoipa::path(get, path = "/v1/inbound-hooks", tag = "inbound hooks", params(HookList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<HookList>) -> Result<Json<List<Hook>>, Problem> {
    let (space, page) = (caller.space, page(query.limit, query.cursor.as_deref(), query.order, None, None)?);
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { inbound::list(tx, space, &page).await })).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewHook {
    name: Line,
    /// Where its conversions belong; any campaign of the side where absent.
    campaign_id: Option<CampaignId>,
    mapping: Mapping,
}

/// A new hook with its address, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct HookWithUrl {
    #[serde(flatten)]
    pub hook: Hook,
    /// Where the other system sends to. Whoever knows it can report conversions.
    pub url: String,
}

/// It makes an inbound hook.
struct MakesHook;

impl What for MakesHook {
    const COLLECTION: Option<&'static str> = Some("/v1/inbound-hooks");
    const STATUSES: &'static [(StatusCode, &'static str)] = Makes::STATUSES;
}

/// Create an inbound hook
///
/// The address is in this answer only: the same request with the same Idempotency-Key is a
/// 409, `secret_was_shown`, that names the hook that was made.
#[utoipa::path(post, path = "/v1/inbound-hooks", tag = "inbound hooks", request_body = NewHook)]
async fn create(State(app): State<App>, caller: Caller<Write>, key: IdempotencyKey, body: Body<NewHook>) -> Result<Done<HookWithUrl, MakesHook>, Problem> {
    let secret = Secret::new(caller.space.is_test(), &random_bytes());
    let token = secret.reveal().replace("gw_", "in_");
    let NewHook { name, campaign_id, mapping } = body.value;
    let url = format!("{}/v1/hooks/{token}", app.engine.shared().public_url);
    let create = Create { name, campaign: campaign_id, mapping, token };
    write(&app, &caller, None, key, body.raw_hash, create, move |hook| (StatusCode::CREATED, HookWithUrl { hook, url: url.clone() })).await
}

/// Get an inbound hook
#[utoipa::path(get, path = "/v1/inbound-hooks/{id}", tag = "inbound hooks")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(InboundHookId,)>) -> Result<Json<Hook>, Problem> {
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(inbound::get(tx, space, id))).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HookChange {
    name: Option<Line>,
    /// Replaces the mapping as a whole.
    mapping: Option<Mapping>,
    paused: Option<bool>,
}

/// Change an inbound hook
#[utoipa::path(patch, path = "/v1/inbound-hooks/{id}", tag = "inbound hooks", request_body = HookChange)]
async fn update(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(InboundHookId,)>,
    key: IdempotencyKey,
    body: Body<HookChange>,
) -> Result<Done<Hook>, Problem> {
    let HookChange { name, mapping, paused } = body.value;
    write(&app, &caller, None, key, body.raw_hash, Update { id, name, mapping, paused }, |hook| (StatusCode::OK, hook.clone())).await
}

/// Delete an inbound hook
///
/// Its address takes nothing any more. What it received is kept.
#[utoipa::path(delete, path = "/v1/inbound-hooks/{id}", tag = "inbound hooks")]
async fn delete(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(InboundHookId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Removed, Problem> {
    super::remove(&app, &caller, key, body.raw_hash, Delete { id }).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MappingToTry {
    /// The mapping to try; the hook's own where absent.
    mapping: Option<Mapping>,
    /// The payload to try it on; the last one that came in where absent.
    #[schema(value_type = Value, required = false)]
    payload: Option<Value>,
}

/// What a mapping finds in a payload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preview {
    pub payload: Value,
    /// What was found; `null` where something cannot be read.
    pub mapped: Option<Mapped>,
    /// What is wrong; empty where it would become a conversion.
    pub problem: String,
}

/// Try a mapping
///
/// On the last payload that came in, or on one of your own. Changes nothing.
#[utoipa::path(post, path = "/v1/inbound-hooks/{id}/preview", tag = "inbound hooks", request_body = MappingToTry, extensions(("x-goodword-unkeyed" = json!(true))))]
async fn preview(
    State(app): State<App>,
    caller: Caller<Read>,
    Path((id,)): Path<(InboundHookId,)>,
    body: Body<MappingToTry>,
) -> Result<Json<Preview>, Problem> {
    let space = caller.space;
    let (hook, last) =
        app.engine.read(move |tx| Box::pin(async move { Ok((inbound::get(tx, space, id).await?, inbound::last_payload(tx, space, id).await?)) })).await?;
    let payload = body
        .value
        .payload
        .or(last)
        .ok_or_else(|| Problem::conflict("Nothing has come in yet that can be read. Send something to the hook's address, or give a payload."))?;
    let mapping = body.value.mapping.unwrap_or(hook.mapping);
    mapping.validate().map_err(|(field, invalid)| Problem::invalid(field, invalid.expected))?;
    let (mapped, problem) = match mapping.apply(&payload).and_then(|mapped| mapped.happened_by(app.engine.now(space))) {
        Ok(mapped) if mapped.names_a_lead() => (Some(mapped), String::new()),
        Ok(mapped) => (Some(mapped), "No e-mail address, code, coupon or id was found, so nobody would match.".to_owned()),
        Err((field, invalid)) => (None, format!("{field}: expected {}.", invalid.expected)),
    };
    Ok(Json(Preview { payload, mapped, problem }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    state: Option<MessageState>,
}

/// List what a hook received
#[utoipa::path(get, path = "/v1/inbound-hooks/{id}/messages", tag = "inbound hooks", params(MessageList))]
async fn messages(
    State(app): State<App>,
    caller: Caller<Read>,
    Path((id,)): Path<(InboundHookId,)>,
    Query(query): Query<MessageList>,
) -> Result<Json<List<Message>>, Problem> {
    let (space, page) = (caller.space, page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?);
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            inbound::get(tx, space, id).await?;
            inbound::messages(tx, space, id, query.state, &page).await
        })
    });
    Ok(Json(read.await?.into()))
}

/// Get a message
#[utoipa::path(get, path = "/v1/inbound-messages/{id}", tag = "inbound hooks")]
async fn message(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(InboundMessageId,)>) -> Result<Json<Message>, Problem> {
    let space = caller.space;
    Ok(Json(app.engine.read(move |tx| Box::pin(inbound::message(tx, space, id))).await?))
}

/// Replay a message
///
/// With the hook's mapping as it is now. What counted before is not counted twice, and what is
/// `unreadable` stays so.
#[utoipa::path(post, path = "/v1/inbound-messages/{id}/replay", tag = "inbound hooks", request_body = Nothing)]
async fn replay(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(InboundMessageId,)>,
    key: IdempotencyKey,
    body: Body<Nothing>,
) -> Result<Done<Message>, Problem> {
    write_many(&app, &caller, key, body.raw_hash, async { Ok(app.engine.retell(caller.space, id).await?) }).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessagesToReplay {
    /// Only what was received then or later; everything where absent.
    since: Option<Timestamp>,
    /// The `next_cursor` of an earlier answer, to go on after it.
    cursor: Option<String>,
}

/// What became of messages that were told again.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagesReplayed {
    /// How many are conversions now.
    pub converted: usize,
    /// How many were decided upon and are none: nobody matched, for example. Their signals say why.
    pub unmatched: usize,
    /// How many are still unmapped.
    pub unmapped: usize,
    /// How many are unreadable, which no mapping changes.
    pub unreadable: usize,
    /// How many failed again.
    pub failed: usize,
    pub has_more: bool,
    /// For the next ones, as `cursor`.
    pub next_cursor: Option<String>,
}

/// Replay what a hook could not use
///
/// Its messages that are `unmapped`, `unreadable` or `failed`, oldest first, with its mapping as
/// it is now: for when the mapping was mended. At most 100 at a time; go on with `next_cursor`
/// while `has_more`. What was decided upon is not told again, so this can be repeated at any
/// time.
#[utoipa::path(post, path = "/v1/inbound-hooks/{id}/replay", tag = "inbound hooks", request_body = MessagesToReplay)]
async fn replay_all(
    State(app): State<App>,
    caller: Caller<Write>,
    Path((id,)): Path<(InboundHookId,)>,
    key: IdempotencyKey,
    body: Body<MessagesToReplay>,
) -> Result<Done<MessagesReplayed>, Problem> {
    let after = body.value.cursor.as_deref().map(Cursor::parse).transpose();
    let after = after.map_err(|_| Problem::invalid("/cursor", "the next_cursor of an earlier answer"))?;
    let retell = async {
        let Retold { converted, unmatched, unmapped, unreadable, failed, next } =
            app.engine.retell_undecided(caller.space, id, body.value.since, after).await?;
        let next_cursor = next.map(|cursor| cursor.to_string());
        Ok(MessagesReplayed { converted, unmatched, unmapped, unreadable, failed, has_more: next.is_some(), next_cursor })
    };
    write_many(&app, &caller, key, body.raw_hash, retell).await
}

/// What the document says of the limit is what the engine has.
const _: () = assert!(inbound::RETOLD_MAX == 100);

/// That a message was kept, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    pub id: InboundMessageId,
    pub state: MessageState,
    pub detail: String,
}

/// Send to an inbound hook
///
/// Any JSON or form; what is neither is kept too, as `unreadable`. The address is the secret;
/// there is no key. 200 says that the message is kept; `state` says what became of it.
#[utoipa::path(post, path = "/v1/hooks/{token}", tag = "inbound hooks", params(("token" = String, Path, description = "The secret part of the address")),
    request_body(content((Object = "application/json"), (Object = "application/x-www-form-urlencoded"), (Object = "multipart/form-data"))), security(()))]
async fn receive(State(app): State<App>, Path((token,)): Path<(String,)>, Payload(received): Payload) -> Result<Json<Receipt>, Problem> {
    let message = app.engine.receive(&token, received).await?;
    Ok(Json(Receipt { id: message.id, state: message.state, detail: message.detail }))
}
