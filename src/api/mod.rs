//! The native REST API, `/v1`: one file per resource, each with its requests, its
//! documentation and its handlers.
//!
//! Every handler reads the same: who is calling, what they want, one change or one
//! question, the answer. Writes take an `Idempotency-Key`, whose answer is kept in the
//! transaction of the write; of many at once, after the last.

mod account;
mod campaigns;
pub(crate) mod conversions;
mod endpoints;
mod events;
pub mod imports;
mod inbound_hooks;
mod leads;
pub(crate) mod qualifications;
mod referrers;
mod reward_definitions;
mod rewards;
mod signals;
mod statistics;
mod visits;

use crate::{
    engine::{
        self,
        list::{Cursor, LIMIT_DEFAULT, LIMIT_MAX, Listing, Page},
        work::{Act, Context, Idempotency, Reply},
    },
    http::{App, Caller, IdempotencyKey, Problem, Routes, openapi::Chapter, problem, reply},
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use goodword_core::{text::Line, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, marker::PhantomData};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{Header, HeaderBuilder, RefOr, Response as ResponseDoc},
};
use utoipa_axum::router::OpenApiRouter;

/// All routes, with their documentation.
pub fn router() -> Routes {
    Routes::new()
        .documented(|| OpenApiRouter::with_openapi(Uncollected::openapi()))
        .merge(account::router())
        .merge(campaigns::router())
        .merge(reward_definitions::router())
        .merge(referrers::router())
        .merge(leads::router())
        .merge(qualifications::router())
        .merge(conversions::router())
        .merge(inbound_hooks::router())
        .merge(rewards::router())
        .merge(events::router())
        .merge(endpoints::router())
        .merge(signals::router())
        .merge(visits::router())
        .merge(statistics::router())
        .merge(imports::router())
}

/// Schemas that utoipa does not find by itself: those that only parameters or only lists refer to.
#[derive(OpenApi)]
#[openapi(components(schemas(Order, rewards::RewardKind, imports::Shape, engine::export::Kind, engine::import::Kind, engine::visit::VisitView)))]
struct Uncollected;

/// What each part of the reference is about.
pub const CHAPTERS: &[Chapter] = &[
    ("account", "Who a key belongs to, API keys, and the clock of the test side. Every key sees one side of its workspace: live data or test data."),
    ("campaigns", "Campaigns and the versions of their configuration. Every change makes a version, and every decision names the version it used."),
    ("reward definitions", "What a campaign promises: who gets what, when, how often, after which checks."),
    ("referrers", "People who share a link. A person is one participant of a campaign, as a referrer `ref_…`, as a lead `lead_…`, or both."),
    ("leads", "People who were referred, and why they are qualified or not."),
    ("qualifications", "Qualify a lead, named in whichever way you know it."),
    ("conversions", "Orders, invoices and deals, which qualify leads by the campaign's rule, and their refunds."),
    (
        "inbound hooks",
        "Secret addresses that take what forms, shops and CRMs send, and make conversions of it. Everything received is kept, explained, and can be told again.",
    ),
    ("rewards", "What fell due, and what becomes of it. A cause pays a reward once."),
    ("events", "What happened, in the order of commits: a feed that never skips."),
    ("endpoints", "Webhooks: addresses that are told what happens, signed as Standard Webhooks has it, and the log of every delivery."),
    ("signals", "Everything that was told, with the decision that was made on it. What changed nothing is here too, with its reason."),
    ("visits", "Uses of referral links."),
    ("statistics", "How the program is doing, from roll-ups that are never behind."),
    ("imports and exports", "Files of any size, read and written as streams: CSV for spreadsheets, JSON Lines for programs."),
];

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    pub has_more: bool,
    /// For the next page, as `cursor`; stable while rows are added.
    pub next_cursor: Option<String>,
}

impl<T> From<Listing<T>> for List<T> {
    fn from(listing: Listing<T>) -> Self {
        Self { data: listing.data, has_more: listing.next.is_some(), next_cursor: listing.next.map(|cursor| cursor.to_string()) }
    }
}

/// In which order, by the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    /// Newest first.
    #[default]
    Desc,
}

/// The page that a request asks for. Each list spells its parameters out, because the
/// query string refuses what it does not know.
fn page(
    limit: Option<usize>,
    cursor: Option<&str>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
) -> Result<Page, Problem> {
    Ok(Page {
        limit: checked_limit(limit)?,
        after: cursor.map(Cursor::parse).transpose()?,
        ascending: order.unwrap_or_default() == Order::Asc,
        created_after,
        created_before,
    })
}

fn checked_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::invalid("limit", format!("1 to {LIMIT_MAX}"))),
    }
}

/// The answer to a write, with the statuses that it can have; a repeated one says so in
/// `Idempotent-Replayed`.
pub struct Done<T, W = Changes> {
    reply: Reply,
    shape: PhantomData<fn() -> (T, W)>,
}

/// What a write does, as its statuses tell it.
pub trait What {
    /// The answer has a `version`, which is also its ETag.
    const IS_VERSIONED: bool = false;
    /// The answer has an `id`, under which it has its address in this collection.
    const COLLECTION: Option<&'static str> = None;
    const STATUSES: &'static [(StatusCode, &'static str)];
}

/// It changes what is there.
pub struct Changes;

impl What for Changes {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[(StatusCode::OK, "Done, or done before.")];
}

/// It makes something.
pub struct Makes;

impl What for Makes {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[(StatusCode::CREATED, "Made.")];
}

/// It changes a configuration.
pub struct Configures;

impl What for Configures {
    const IS_VERSIONED: bool = true;
    const STATUSES: &'static [(StatusCode, &'static str)] = Changes::STATUSES;
}

/// It makes something that is configured.
pub struct MakesConfigured;

impl What for MakesConfigured {
    const IS_VERSIONED: bool = true;
    const STATUSES: &'static [(StatusCode, &'static str)] = Makes::STATUSES;
}

/// It makes something, or answers with what was there.
pub struct MakesOnce;

impl What for MakesOnce {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[(StatusCode::OK, "It was there before."), (StatusCode::CREATED, "Made.")];
}

impl<T, W: What> IntoResponse for Done<T, W> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.reply.status).unwrap_or(StatusCode::OK);
        #[derive(serde::Deserialize)]
        struct Configured {
            version: i64,
        }
        #[derive(serde::Deserialize)]
        struct Addressed {
            id: String,
        }
        // From the answer itself, for a kept one tells its own version.
        let configured = (W::IS_VERSIONED && status.is_success()).then(|| serde_json::from_str::<Configured>(&self.reply.body));
        let location = W::COLLECTION.filter(|_| status.is_success()).and_then(|collection| {
            let Addressed { id } = serde_json::from_str(&self.reply.body).ok()?;
            HeaderValue::try_from(format!("{collection}/{id}")).ok()
        });
        let mut response = if status.is_success() {
            debug_assert!(W::STATUSES.iter().any(|(documented, _)| *documented == status), "the document does not tell of {status}");
            reply::json_bytes(status, self.reply.body)
        } else {
            // A refusal is kept like any other answer.
            problem::kept(status, &self.reply.body)
        };
        if let Some(Ok(Configured { version })) = configured {
            response.headers_mut().insert(header::ETAG, reply::etag(version));
        }
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if self.reply.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

fn replayed_doc() -> Header {
    HeaderBuilder::new().description(Some("`true` where this is the kept answer to a repeated Idempotency-Key.")).build()
}

impl<T: ToSchema, W: What> IntoResponses for Done<T, W> {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        let doc = |text| {
            let answer = reply::document::<T>(text).header("Idempotent-Replayed", replayed_doc());
            let answer = if W::IS_VERSIONED { answer.header("ETag", reply::etag_doc()) } else { answer };
            let answer = if W::COLLECTION.is_some() { answer.header("Location", reply::location_doc()) } else { answer };
            RefOr::T(answer.build())
        };
        W::STATUSES.iter().map(|(status, text)| (status.as_str().to_owned(), doc(*text))).collect()
    }
}

/// Makes a change for a caller and answers with what it made, under the request's key.
async fn write<S, A, V, W>(
    app: &App,
    caller: &Caller<S>,
    source: Option<&str>,
    key: IdempotencyKey,
    raw_hash: [u8; 32],
    act: A,
    render: impl Fn(A::Output) -> (StatusCode, V) + Send + Sync + 'static,
) -> Result<Done<V, W>, Problem>
where
    A: Act,
    V: Serialize,
{
    let context = context(app, caller, source)?;
    let reply = app
        .engine
        .run_keyed(context, act, idempotency(key, raw_hash), move |output| {
            let (status, value) = render(output);
            Reply::new(status.as_u16(), &value)
        })
        .await?;
    Ok(Done { reply, shape: PhantomData })
}

/// As [`write`], for what takes many changes, each of which can be made again without harm. The key is claimed
/// before the first one, and the answer kept after the last.
async fn write_many<S, V: Serialize>(
    app: &App,
    caller: &Caller<S>,
    key: IdempotencyKey,
    raw_hash: [u8; 32],
    changes: impl Future<Output = Result<V, Problem>>,
) -> Result<Done<V>, Problem> {
    let changes = async { Ok::<_, Problem>(Reply::new(StatusCode::OK.as_u16(), &changes.await?)?) };
    let reply = app.engine.run_many_keyed(context(app, caller, None)?, idempotency(key, raw_hash), changes).await?;
    Ok(Done { reply, shape: PhantomData })
}

/// The answer to a removal: 204, there is nothing to say.
pub struct Removed {
    replayed: bool,
}

impl IntoResponse for Removed {
    fn into_response(self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

impl IntoResponses for Removed {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        let doc = ResponseDoc::builder().description("Done.").header("Idempotent-Replayed", replayed_doc()).build();
        BTreeMap::from([("204".to_owned(), RefOr::T(doc))])
    }
}

/// As [`write`], for what is gone then.
async fn remove<S, A: Act>(app: &App, caller: &Caller<S>, key: IdempotencyKey, raw_hash: [u8; 32], act: A) -> Result<Removed, Problem> {
    let render = |_| Reply::new(StatusCode::NO_CONTENT.as_u16(), &());
    let reply = app.engine.run_keyed(context(app, caller, None)?, act, idempotency(key, raw_hash), render).await?;
    Ok(Removed { replayed: reply.replayed })
}

fn idempotency(key: IdempotencyKey, request_hash: [u8; 32]) -> Option<Idempotency> {
    key.0.map(|key| Idempotency { key, request_hash })
}

/// Who asks, for the record. The source is what the request says, or `api`.
fn context<S>(app: &App, caller: &Caller<S>, source: Option<&str>) -> Result<Context, Problem> {
    let source = source.unwrap_or("api");
    let well_formed =
        (1..=40).contains(&source.len()) && source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-' || b == b'.');
    if !well_formed {
        return Err(Problem::invalid("/source", "1 to 40 lower-case letters, digits, hyphens, dots or underscores"));
    }
    Ok(app.engine.context(caller.space, &caller.key_id.to_string(), source))
}

/// When something happened that the caller tells of.
pub(crate) fn happened(field: &str, at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    at.map(|at| at.happened_by(now)).transpose().map_err(|invalid| Problem::invalid(field, invalid.expected))
}

/// A name that may be left out; never more than a line.
fn line(text: Option<Line>) -> String {
    text.map(Line::into_string).unwrap_or_default()
}

/// A free remark: at most 1,000 characters.
fn note(text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.chars().count() > 1_000 || text.chars().any(|c| c.is_control() && c != '\n') => {
            Err(Problem::invalid("/note", "at most 1,000 characters"))
        }
        text => Ok(text),
    }
}

/// An id in another system: at most 200 characters.
pub(crate) fn external_id(text: Option<String>) -> Result<Option<String>, Problem> {
    match text.as_deref().map(str::trim) {
        Some(text) if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) => {
            Err(Problem::invalid("/external_id", "1 to 200 characters"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// 200 for what was there, 201 for what was made.
const fn made(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

/// A decision that refused is an answer of its own kind: 409 with the reason and checks.
fn refused(reason: goodword_core::explain::Reason, checks: &[goodword_core::explain::Check]) -> Problem {
    let failed = checks.iter().find(|check| check.failed());
    let detail =
        failed.map_or_else(|| reason.sentence().to_owned(), |check| format!("{} Expected {}, found {}.", reason.sentence(), check.expected, check.found));
    Problem::from(engine::Error::conflict(reason, detail))
}
