//! `/v1/conversions`: orders, invoices, deals, and their refunds.

use super::{Done, List, MakesOnce, Order, external_id, happened, note, page, qualifications::lead_key, write};
use crate::{
    engine::{
        conversion::{self, ConversionFilter},
        qualify::{Answer, ConversionKey, Convert, Refund},
        view::Conversion,
        work::Reply,
    },
    http::{App, Body, BodyOrForm, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Report, Routes, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    campaign::ConversionKind,
    ids::{CampaignId, ConversionId, LeadId},
    money::{Currency, Decimal, Money, amount_from},
    text::{Code, Email, Line},
    time::Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::marker::PhantomData;
use utoipa::{IntoParams, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(list, create)).routes(routes!(refund)).routes(routes!(get)).routes(routes!(refund_one))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConversionList {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    created_before: Option<Timestamp>,
    campaign_id: Option<CampaignId>,
    lead_id: Option<LeadId>,
    external_id: Option<String>,
    kind: Option<ConversionKind>,
    /// Whether it counts towards the rule.
    counts: Option<bool>,
}

/// List conversions
///
/// Those of leads. Conversions that matched nobody are signals with the reason
/// `person_unknown`.
#[utoipa::path(get, path = "/v1/conversions", tag = "conversions", params(ConversionList))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<ConversionList>) -> Result<Json<List<Conversion>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref(), query.order, query.created_after, query.created_before)?;
    let filter = ConversionFilter { campaign: query.campaign_id, lead: query.lead_id, external_id: query.external_id, kind: query.kind, counts: query.counts };
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { conversion::list(tx, &shared, space, &filter, &page).await })).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewConversion {
    lead_id: Option<LeadId>,
    /// The lead's own code.
    code: Option<Code>,
    email: Option<Email>,
    /// A coupon that the lead was given.
    coupon: Option<String>,
    /// Your own id of the person.
    lead_external_id: Option<String>,
    /// Needed where the person is a lead in several campaigns.
    campaign_id: Option<CampaignId>,
    /// The id of the order, invoice or deal: told twice, it counts once.
    external_id: Option<String>,
    /// `order` where absent.
    kind: Option<ConversionKind>,
    /// In minor units (cents); or give `amount`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000i64)]
    amount_minor: Option<i64>,
    /// In decimals ("12.50"); or give `amount_minor`.
    amount: Option<Decimal>,
    currency: Option<Currency>,
    /// The goal that was reached, where the rule has a sequence of goals.
    goal: Option<Line>,
    /// Now where absent; not more than a day in the future.
    occurred_at: Option<Timestamp>,
    /// Anything about it, for the rule's condition; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    properties: Map<String, Value>,
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$")]
    source: Option<String>,
}

/// What a condition may have to look through.
const PROPERTIES_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn properties(map: Map<String, Value>) -> Result<Value, Problem> {
    let properties = Value::Object(map);
    match properties.to_string().len() {
        0..=PROPERTIES_BYTES_MAX => Ok(properties),
        _ => Err(Problem::invalid("/properties", "at most 16 KiB of JSON")),
    }
}

/// The amount of a conversion.
pub(crate) fn money(amount_minor: Option<i64>, amount: Option<&Decimal>, currency: Option<Currency>) -> Result<Option<Money>, Problem> {
    let Some(currency) = currency else {
        return match (amount_minor, amount) {
            (None, None) => Ok(None),
            _ => Err(Problem::invalid("/currency", "the currency of the amount, like EUR")),
        };
    };
    let money = amount_from(amount_minor, amount, currency).map_err(|invalid| Problem::invalid("/amount", invalid.expected))?;
    match money {
        Some(money) if money.minor < 0 => Err(Problem::invalid("/amount", "an amount of zero or more; send a refund to take money back")),
        money => Ok(money),
    }
}

/// Record a conversion
///
/// An order, an invoice, a deal. The campaign's rule decides whether it counts and
/// whether it qualifies the lead; the answer says what was decided and why. Sent again
/// with the same `external_id`, the first answer comes again and nothing changes.
#[utoipa::path(post, path = "/v1/conversions", tag = "conversions",
    request_body(content((NewConversion = "application/json"), (NewConversion = "application/x-www-form-urlencoded"))))]
async fn create(
    State(app): State<App>,
    caller: Caller<Report>,
    key: IdempotencyKey,
    body: BodyOrForm<NewConversion>,
) -> Result<Done<Answer, MakesOnce>, Problem> {
    let new = body.value;
    let amount = money(new.amount_minor, new.amount.as_ref(), new.currency)?;
    let convert = Convert {
        lead: lead_key(new.lead_id, new.code, new.email, new.coupon, new.lead_external_id)?,
        campaign: new.campaign_id,
        external_id: external_id(new.external_id)?,
        kind: new.kind.unwrap_or(ConversionKind::Order),
        amount,
        goal: new.goal.map(Line::into_string),
        occurred_at: happened("/occurred_at", new.occurred_at, app.engine.now(caller.space))?,
        properties: properties(new.properties)?,
        replays: None,
    };
    let context = super::context(&app, &caller, new.source.as_deref())?;
    let render = |answer: Answer| {
        let made = answer.conversion.is_some() && !answer.repeated;
        Reply::new(super::made(made).as_u16(), &answer)
    };
    let reply = app.engine.run_keyed(context, convert, super::idempotency(key, body.raw_hash), render).await?;
    Ok(Done { reply, shape: PhantomData })
}

/// Get a conversion
#[utoipa::path(get, path = "/v1/conversions/{id}", tag = "conversions")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(ConversionId,)>) -> Result<Json<Conversion>, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(Json(app.engine.read(move |tx| Box::pin(async move { conversion::get(tx, &shared, space, id).await })).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRefund {
    /// The id that the conversion was recorded with.
    conversion_external_id: String,
    /// Needed where several campaigns have that conversion.
    campaign_id: Option<CampaignId>,
    /// The refund's own id: told twice, it counts once.
    external_id: Option<String>,
    /// All that is left where neither is given.
    #[schema(minimum = 1, maximum = 1_000_000_000_000i64)]
    amount_minor: Option<i64>,
    amount: Option<Decimal>,
    currency: Option<Currency>,
    #[schema(max_length = 1000)]
    note: Option<String>,
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$")]
    source: Option<String>,
}

/// Refund a conversion by its id outside
///
/// In part or in full; refunds add up to at most the amount. What the refund takes away
/// is taken back once: rewards are reduced, cancelled, or reversed where they were issued,
/// and the lead is pending again where the rule is not met any more.
#[utoipa::path(post, path = "/v1/conversions/refunds", tag = "conversions",
    request_body(content((NewRefund = "application/json"), (NewRefund = "application/x-www-form-urlencoded"))))]
async fn refund(State(app): State<App>, caller: Caller<Report>, key: IdempotencyKey, body: BodyOrForm<NewRefund>) -> Result<Done<Answer>, Problem> {
    let new = body.value;
    let act = Refund {
        conversion: ConversionKey::External { campaign: new.campaign_id, id: new.conversion_external_id },
        external_id: external_id(new.external_id)?,
        amount: refund_amount(new.amount_minor, new.amount.as_ref(), new.currency)?,
        note: note(new.note)?,
    };
    write(&app, &caller, new.source.as_deref(), key, body.raw_hash, act, |answer| (StatusCode::OK, answer)).await
}

fn refund_amount(amount_minor: Option<i64>, amount: Option<&Decimal>, currency: Option<Currency>) -> Result<Option<Money>, Problem> {
    match money(amount_minor, amount, currency)? {
        Some(money) if money.minor == 0 => Err(Problem::invalid("/amount", "an amount above zero")),
        money => Ok(money),
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefundOf {
    /// The refund's own id: told twice, it counts once.
    external_id: Option<String>,
    /// All that is left where neither is given.
    #[schema(minimum = 1, maximum = 1_000_000_000_000i64)]
    amount_minor: Option<i64>,
    amount: Option<Decimal>,
    currency: Option<Currency>,
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// Refund a conversion
#[utoipa::path(post, path = "/v1/conversions/{id}/refund", tag = "conversions", request_body = RefundOf)]
async fn refund_one(
    State(app): State<App>,
    caller: Caller<Report>,
    Path((id,)): Path<(ConversionId,)>,
    key: IdempotencyKey,
    body: Body<RefundOf>,
) -> Result<Done<Answer>, Problem> {
    let new = body.value;
    let act = Refund {
        conversion: ConversionKey::Id(id),
        external_id: external_id(new.external_id)?,
        amount: refund_amount(new.amount_minor, new.amount.as_ref(), new.currency)?,
        note: note(new.note)?,
    };
    write(&app, &caller, None, key, body.raw_hash, act, |answer| (StatusCode::OK, answer)).await
}
