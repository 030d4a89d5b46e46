//! Rewards, R1 to R10 of sections 2.4 and 2.6, and version 1's list of definitions (2.8).
//!
//! What is on hold or in review here has no counterpart there: it is due and cannot be issued yet.

use super::{
    ask::{Ask, Fields, ok, scalar},
    envelope::{Listing, Mode},
    refusal::{Answer, Refusal},
};
use crate::{
    engine::{
        self, Result, Shared, Space,
        campaign::{self, Campaign},
        number::{self, Numbered},
        paged::{self, Column, Compare, Filter, Paged, Term},
        reward::{self, Decide, RewardRow, SetBasis},
        work::{Act, Work},
    },
    http::{Read, Rewards},
};
use axum::{extract::Path, http::StatusCode};
use goodword_core::{
    ids::RewardId,
    money::Money,
    reward::{RewardAction, RewardDefinition, RewardState, RewardValue, Role, Trigger},
    time::Timestamp,
};
use goodword_store::Tx;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What is counted: the vendor's word for the kinds of rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Amount,
    Commission,
    Coupon,
    Custom,
}

impl Metric {
    fn read(word: &str) -> std::result::Result<Self, Refusal> {
        match word {
            "amount" => Ok(Metric::Amount),
            "commission" => Ok(Metric::Commission),
            "coupon" => Ok(Metric::Coupon),
            "custom" => Ok(Metric::Custom),
            _ => Err(Refusal::not_found("metric")),
        }
    }

    const fn of(value: &RewardValue) -> Self {
        match value {
            RewardValue::Fixed { .. } => Metric::Amount,
            RewardValue::Commission { .. } => Metric::Commission,
            RewardValue::Coupon {} => Metric::Coupon,
            RewardValue::Custom { .. } => Metric::Custom,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Metric::Amount => "amount",
            Metric::Commission => "commission",
            Metric::Coupon => "coupon",
            Metric::Custom => "custom",
        }
    }

    /// Ours.
    const fn kind(self) -> &'static str {
        match self {
            Metric::Amount => "fixed",
            Metric::Commission => "commission",
            Metric::Coupon => "coupon",
            Metric::Custom => "custom",
        }
    }
}

/// Due and issued rewards; what was rejected or cancelled is in neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Due,
    Issued,
}

impl Stage {
    /// The condition on its rows.
    const fn rows(self, metric: Metric) -> &'static str {
        match (self, metric) {
            (Stage::Due, Metric::Amount) => "kind = 'fixed' AND state IN ('due', 'on_hold', 'in_review', 'approved')",
            (Stage::Due, Metric::Commission) => "kind = 'commission' AND state IN ('due', 'on_hold', 'in_review', 'approved')",
            (Stage::Due, Metric::Coupon) => "kind = 'coupon' AND state IN ('due', 'on_hold', 'in_review', 'approved')",
            (Stage::Due, Metric::Custom) => "kind = 'custom' AND state IN ('due', 'on_hold', 'in_review', 'approved')",
            (Stage::Issued, Metric::Amount) => "kind = 'fixed' AND state IN ('issuing', 'issued', 'failed', 'reversed')",
            (Stage::Issued, Metric::Commission) => "kind = 'commission' AND state IN ('issuing', 'issued', 'failed', 'reversed')",
            (Stage::Issued, Metric::Coupon) => "kind = 'coupon' AND state IN ('issuing', 'issued', 'failed', 'reversed')",
            (Stage::Issued, Metric::Custom) => "kind = 'custom' AND state IN ('issuing', 'issued', 'failed', 'reversed')",
        }
    }
}

static COLUMNS: &[Column] = &[
    Column::number("id", "no"),
    Column::definition("reward_id", "definition_id"),
    Column::participant("recipient_id", "beneficiary_id"),
    Column::campaign("campaign_id", "campaign_id"),
    Column::text("status", "state"),
    Column::text("coupon", "coupon"),
    Column::time("due_at", "due_at"),
    Column::time("issued_at", "issued_at"),
];

// ---------------------------------------------------------------- due and issued

pub async fn list(stage: Stage, Path(metric): Path<String>, ask: Ask<Read>) -> Answer {
    let metric = Metric::read(&metric)?;
    let listing = Listing::read(&ask.input, COLUMNS, Mode::Strict)?;
    let (space, filter) = (ask.space(), listing.filter.clone());
    let (page, data) = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                let page = paged::rewards(tx, space, stage.rows(metric), &filter).await?;
                let data = rows(tx, space, &page.rows).await?;
                Ok((page, data))
            })
        })
        .await?;
    listing.answer(&ask, &page, data)
}

async fn rows(tx: &mut Tx<'_>, space: Space, rewards: &[RewardRow]) -> Result<Vec<Value>> {
    let definitions = number::definitions(tx, space).await?;
    let mut people: Vec<_> = rewards.iter().map(|row| row.beneficiary).collect();
    people.sort_unstable();
    people.dedup();
    let people = number::of(tx, space, Numbered::Participant, &people).await?;
    Ok(rewards.iter().map(|row| shape(row, definitions.get(&row.definition), people.get(&row.beneficiary))).collect())
}

fn shape(row: &RewardRow, definition: Option<&i64>, recipient: Option<&i64>) -> Value {
    let mut shape = json!({"id": row.number, "reward_id": definition, "recipient_id": recipient});
    match row.state {
        RewardState::Issuing | RewardState::Issued | RewardState::Failed | RewardState::Reversed => {
            shape["status"] = json!(row.state.as_str());
            shape["issued_at"] = json!(row.issued_at.map(Timestamp::date));
        }
        _ => shape["can_be_issued"] = json!(can_be_issued(row)),
    }
    match row.kind.as_str() {
        "coupon" => shape["coupon"] = json!(row.coupon),
        "custom" => {
            shape["count"] = json!(1);
            shape["total"] = json!(row.units.unwrap_or_default() as f64);
        }
        _ => {
            shape["count"] = json!(1);
            shape["total"] = json!(row.amount.map_or(0.0, decimal));
            shape["currency"] = json!(row.amount.map(|amount| amount.currency));
        }
    }
    shape
}

/// Amounts are decimals in this API.
fn decimal(money: Money) -> f64 {
    money.minor as f64 / 10f64.powi(money.currency.decimals() as i32)
}

/// Whether issuing it would do something now.
fn can_be_issued(row: &RewardRow) -> bool {
    let is_known = match row.kind.as_str() {
        "commission" => row.amount.is_some(),
        "coupon" => row.coupon.is_some(),
        _ => true,
    };
    is_known && matches!(row.state, RewardState::Due | RewardState::Approved)
}

// ---------------------------------------------------------------- the dashboard

static DASHBOARD: &[Column] = &[Column::number("id", "number"), Column::campaign("campaign_id", "campaign_id"), Column::text("name", "name")];

/// A definition of a campaign, as it stands.
struct Promise {
    number: i64,
    campaign: Campaign,
    definition: RewardDefinition,
}

/// The definitions of all campaigns, oldest first.
async fn promises(tx: &mut Tx<'_>, shared: &Shared, space: Space) -> Result<Vec<Promise>> {
    let numbers = number::definitions(tx, space).await?;
    let all = Filter { limit: CAMPAIGNS_MAX, ..Filter::default() };
    let mut found = Vec::new();
    for campaign in paged::campaigns(tx, shared, space, &all).await?.rows {
        for definition in &campaign.configuration.rewards {
            if let Some(&number) = numbers.get(&definition.id) {
                found.push(Promise { number, campaign: campaign.clone(), definition: definition.clone() });
            }
        }
    }
    found.sort_by_key(|promise| promise.number);
    Ok(found)
}

const CAMPAIGNS_MAX: i64 = 10_000;

/// R1: what each reward of a metric has given so far; a coupon's next code.
pub async fn dashboard(Path(metric): Path<String>, ask: Ask<Read>) -> Answer {
    let metric = Metric::read(&metric)?;
    let listing = Listing::read(&ask.input, DASHBOARD, Mode::Strict)?;
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let (promises, totals, coupons) = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                let promises = promises(tx, &shared, space).await?;
                let totals = reward::totals(tx, space, metric.kind()).await?;
                let mut coupons = HashMap::new();
                for promise in promises.iter().filter(|_| metric == Metric::Coupon) {
                    coupons.insert(promise.definition.id, reward::next_coupon(tx, space, promise.definition.id).await?);
                }
                Ok((promises, totals, coupons))
            })
        })
        .await?;
    let mut rows = Vec::new();
    for promise in promises.iter().filter(|promise| Metric::of(&promise.definition.terms.value) == metric) {
        if matches(promise, &listing.filter)? {
            rows.push(dashboard_row(promise, totals.get(&promise.definition.id), coupons.get(&promise.definition.id)));
        }
    }
    if listing.filter.descending {
        rows.reverse();
    }
    let total = rows.len() as i64;
    let data = rows.into_iter().skip(listing.filter.offset.max(0) as usize).take(listing.per_page as usize).collect();
    listing.answer(&ask, &Paged { rows: Vec::<()>::new(), total }, data)
}

fn dashboard_row(promise: &Promise, totals: Option<&reward::Totals>, coupon: Option<&Option<String>>) -> Value {
    let mut row = json!({"id": promise.number, "campaign_id": promise.campaign.number, "name": promise.definition.terms.name});
    let totals = totals.copied().unwrap_or_default();
    match &promise.definition.terms.value {
        RewardValue::Coupon {} => row["coupon"] = json!(coupon),
        RewardValue::Custom { .. } => {
            row["count"] = json!(totals.count);
            row["total"] = json!(totals.units as f64);
        }
        value => {
            let currency = match value {
                RewardValue::Fixed { amount } => amount.currency,
                _ => promise.campaign.settings().currency,
            };
            row["count"] = json!(totals.count);
            row["total"] = json!(decimal(Money::new(totals.amount_minor, currency)));
            row["currency"] = json!(currency);
        }
    }
    row
}

/// Filters on what is no table.
fn matches(promise: &Promise, filter: &Filter) -> std::result::Result<bool, Refusal> {
    let value = |term: &Term| match term.column.name {
        "id" => promise.number.to_string(),
        "campaign_id" => promise.campaign.number.to_string(),
        _ => promise.definition.terms.name.to_string().to_lowercase(),
    };
    let mut all = true;
    for term in &filter.terms {
        let own = value(term);
        let is = term.values.iter().flatten().any(|text| text.trim().to_lowercase() == own);
        let holds = match term.compare {
            Compare::Is | Compare::In => is,
            Compare::IsNot | Compare::NotIn => !is,
            Compare::Like => term.values.iter().flatten().any(|text| own.contains(&text.replace('%', "").to_lowercase())),
            _ => return Err(Refusal::field(term.column.name, "The operator must be =, !=, like, in or not in.")),
        };
        all = if term.or { all || holds } else { all && holds };
    }
    let searched = |text: &String| promise.definition.terms.name.as_str().to_lowercase().contains(&text.to_lowercase());
    Ok(all && filter.search.as_ref().is_none_or(searched))
}

/// Version 1: what was promised (2.8).
pub async fn list_v1(ask: Ask<Read>) -> Answer {
    let listing = Listing::read(&ask.input, DASHBOARD, Mode::Lenient)?;
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let promises = ask.app.engine.read(move |tx| Box::pin(async move { promises(tx, &shared, space).await })).await?;
    let total = promises.len() as i64;
    let data = promises.iter().skip(listing.filter.offset.max(0) as usize).take(listing.per_page as usize).map(promise_v1).collect();
    listing.answer(&ask, &Paged { rows: Vec::<()>::new(), total }, data)
}

fn promise_v1(promise: &Promise) -> Value {
    let terms = &promise.definition.terms;
    let value = match &terms.value {
        RewardValue::Fixed { amount } => json!(decimal(*amount)),
        RewardValue::Commission { percent, .. } => json!(percent),
        RewardValue::Custom { metric, units } => json!(format!("{units} {metric}")),
        RewardValue::Coupon {} => Value::Null,
    };
    json!({
        "id": promise.number,
        "campaign_id": promise.campaign.number,
        "name": terms.name,
        "reward_for": if terms.beneficiary == Role::Lead { "person_invited" } else { "person_referring" },
        "type": Metric::of(&terms.value).as_str(),
        "value": value,
        "when_referral": if terms.trigger == Trigger::Joined { "joined" } else { "qualified" },
    })
}

/// Rewards that an automation issues: what n8n's trigger offers (2.9).
pub async fn issued_outside(ask: &Ask<Read>) -> std::result::Result<Vec<Value>, Refusal> {
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let promises = ask.app.engine.read(move |tx| Box::pin(async move { promises(tx, &shared, space).await })).await?;
    let outside = promises.iter().filter(|promise| promise.definition.terms.issuing == goodword_core::reward::Issuing::External);
    Ok(outside.map(|promise| json!({"id": promise.number, "name": promise.definition.terms.name})).collect())
}

// ---------------------------------------------------------------- remaining coupons

static COUPONS: &[Column] = &[Column::number("id", "no"), Column::definition("reward_id", "definition_id"), Column::text("coupon", "code")];

/// R7: codes that nobody has been given yet.
pub async fn remaining_coupons(ask: Ask<Read>) -> Answer {
    let listing = Listing::read(&ask.input, COUPONS, Mode::Strict)?;
    let (space, filter) = (ask.space(), listing.filter.clone());
    let (page, numbers) = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                let page = paged::free_coupons(tx, space, &filter).await?;
                Ok((page, number::definitions(tx, space).await?))
            })
        })
        .await?;
    let data = page.rows.iter().map(|row| json!({"id": row.number, "reward_id": numbers.get(&row.definition), "coupon": row.code})).collect();
    listing.answer(&ask, &page, data)
}

// ---------------------------------------------------------------- deciding

/// The reward of that number or id.
async fn reward_of<S>(ask: &Ask<S>, identifier: &str) -> std::result::Result<RewardRow, Refusal> {
    let (space, number, id) = (ask.access.space, identifier.parse::<i64>().ok(), identifier.parse::<RewardId>().ok());
    let found = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                match (number, id) {
                    (Some(number), _) => reward::by_number(tx, space, number).await,
                    (None, Some(id)) => reward::row(tx, space, id).await,
                    (None, None) => Ok(None),
                }
            })
        })
        .await?;
    found.ok_or_else(|| Refusal::not_found("reward"))
}

/// R8: issues a reward that is due, or one that failed once more.
pub async fn issue(Path(identifier): Path<String>, ask: Ask<Rewards>) -> Answer {
    let row = reward_of(&ask, &identifier).await?;
    let actions: &'static [RewardAction] = match row.state {
        RewardState::Due => &[RewardAction::Approve, RewardAction::Issue],
        RewardState::Failed => &[RewardAction::Retry],
        RewardState::OnHold | RewardState::InReview => {
            let message = format!("The reward cannot be issued yet. {} {}", row.reason.sentence(), row.reason.next_step());
            return Err(Refusal::field("identifier", message.trim_end()));
        }
        _ => &[RewardAction::Issue],
    };
    ask.change("api", Step { reward: row.id, actions, message: "The reward was issued." }, Clone::clone).await
}

/// R9: cancels a reward that is due.
pub async fn cancel(Path(identifier): Path<String>, ask: Ask<Rewards>) -> Answer {
    let row = reward_of(&ask, &identifier).await?;
    ask.change("api", Step { reward: row.id, actions: &[RewardAction::Cancel], message: "The reward was cancelled." }, Clone::clone).await
}

struct Step {
    reward: RewardId,
    actions: &'static [RewardAction],
    message: &'static str,
}

impl Act for Step {
    type Output = (StatusCode, Value);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Self::Output> {
        for &action in self.actions {
            Decide { reward: self.reward, action, note: None, amount_minor: None }.act(work).await?;
        }
        done(work, self.reward, self.message).await
    }
}

async fn done(work: &mut Work<'_, '_>, id: RewardId, message: &str) -> Result<(StatusCode, Value)> {
    let space = work.context.space;
    let row = reward::row(work.tx, space, id).await?.ok_or(engine::Error::NotFound { what: "reward" })?;
    let data = rows(work.tx, space, &[row]).await?.pop().unwrap_or_default();
    Ok((StatusCode::OK, json!({"data": data, "message": message})))
}

/// R10: what a commission is computed from. Its path and the name of its field are not documented: all
/// that are likely are taken.
pub async fn total_spend_of(Path(identifier): Path<String>, ask: Ask<Rewards>) -> Answer {
    total_spend(identifier, ask).await
}

/// The same below the metric.
pub async fn total_spend_under(Path((metric, identifier)): Path<(String, String)>, ask: Ask<Rewards>) -> Answer {
    Metric::read(&metric)?;
    total_spend(identifier, ask).await
}

async fn total_spend(identifier: String, ask: Ask<Rewards>) -> Answer {
    let row = reward_of(&ask, &identifier).await?;
    let mut fields = Fields::of(&ask.input);
    let given = ["total_spend", "spend", "total", "amount", "value"].into_iter().find_map(|name| ask.input.get(name).and_then(scalar));
    if given.is_none() {
        fields.wrong("total_spend", "The total spend field is required.");
    }
    fields.done()?;
    let (shared, space, id) = (ask.app.engine.shared_arc(), ask.space(), row.campaign);
    let settings = ask.app.engine.read(move |tx| Box::pin(async move { Ok(campaign::get(tx, &shared, space, id).await?.settings().clone()) })).await?;
    let currency = match ask.input.text("currency") {
        Some(code) => code.parse().map_err(|_| Refusal::field("currency", "The currency must be an ISO 4217 code like EUR."))?,
        None => row.basis.or(row.amount).map_or(settings.currency, |money| money.currency),
    };
    let basis = given.and_then(|text| Money::parse(&text, currency).ok()).filter(|basis| basis.minor >= 0);
    let basis = basis.ok_or_else(|| Refusal::field("total_spend", "The total spend must be a decimal amount like 120.50."))?;
    if row.kind != "commission" {
        let id = row.id;
        let data = ask.app.engine.read(move |tx| Box::pin(async move { Ok(rows(tx, space, &[row]).await?.pop()) })).await?;
        return ok(&json!({"data": data, "message": format!("Nothing was changed: {id} is no commission, so its value does not depend on what was spent.")}));
    }
    ask.change("api", Spend { reward: row.id, basis }, Clone::clone).await
}

struct Spend {
    reward: RewardId,
    basis: Money,
}

impl Act for Spend {
    type Output = (StatusCode, Value);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Self::Output> {
        SetBasis { reward: self.reward, basis: self.basis }.act(work).await?;
        done(work, self.reward, "The total spend was updated.").await
    }
}
