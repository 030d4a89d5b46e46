//! `/mcp`: the Model Context Protocol, so that an assistant can look after a referral
//! program. Streamable HTTP without sessions (specification 2025-06-18): every request is
//! one POST with one JSON-RPC message and an API key.
//!
//! Few tools, each with what it is good for. What moves money takes two steps: a preview
//! that states the effect and gives a token, and the same thing again with the token. A
//! token is good for ten minutes, for one reward in one state.

use crate::{
    engine::{
        Error,
        access::Scope,
        campaign,
        list::Page,
        participant::{self, PeopleFilter},
        qualify::{self, Convert, LeadKey},
        reward::{self, Decide, RewardFilter},
        statistics::{self, GroupBy},
        view,
    },
    http::{App, Caller, Problem, Read},
    pages::sign::Signer,
};
use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use goodword_core::{
    campaign::ConversionKind,
    ids::{CampaignId, LeadId, RewardId},
    money::{Currency, Decimal, amount_from},
    reward::{RewardAction, RewardState},
    text::Email,
    time::{MINUTE_MS, Timestamp},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The versions of the protocol that are understood, newest first.
const PROTOCOL_VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];
const BODY_BYTES_MAX: usize = 256 * 1024;
const PREVIEW_MS: i64 = 10 * MINUTE_MS;
/// People and rewards that are listed at once: an assistant reads every word.
const ROWS: usize = 20;

pub fn router() -> Router<App> {
    Router::new().route("/mcp", post(answer).get(no_stream).delete(no_stream))
}

/// There are no sessions, so there is no stream to listen to and nothing to end.
async fn no_stream() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response()
}

#[derive(Deserialize)]
struct Message {
    /// Absent in notifications.
    id: Option<Value>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(problem) = same_origin(&parts.headers, &app) {
        return problem.into_response();
    }
    let caller = match Caller::<Read>::from_request_parts(&mut parts, &app).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let bytes = match crate::http::extract::read_body(Request::from_parts(parts, body), BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem.into_response(),
    };
    let message: Message = match serde_json::from_slice(&bytes) {
        Ok(message) => message,
        Err(error) => {
            return reply(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": format!("This is not a JSON-RPC message: {error}.")}}));
        }
    };
    let (Some(id), Some(method)) = (message.id, message.method) else {
        return StatusCode::ACCEPTED.into_response(); // a notification, or an answer to a question that we never ask
    };
    let result = match method.as_str() {
        "initialize" => Ok(initialize(&message.params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools(&caller)})),
        "tools/call" => call(&app, &caller, &message.params).await,
        _ => Err((-32601, format!("There is no method {method}."))),
    };
    reply(&match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}),
    })
}

fn reply(body: &Value) -> Response {
    crate::http::reply::json_bytes(StatusCode::OK, body.to_string())
}

/// A page in a browser may not speak for somebody (DNS rebinding): an Origin that is not
/// ours is refused, as the specification asks.
fn same_origin(headers: &HeaderMap, app: &App) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = app.config.public_url();
    if origin.as_bytes() == own.as_bytes() {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Not from this page",
            "The Origin of the request is not this server; pages of others may not speak for you.",
        ))
    }
}

fn initialize(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = PROTOCOL_VERSIONS.iter().find(|version| **version == asked).unwrap_or(&PROTOCOL_VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": false}},
        "serverInfo": {"name": "goodword", "title": "Goodword", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Goodword runs referral programs: referrers share links, friends become leads, conversions qualify leads, rewards fall due. Everything has a reason: when somebody asks why, use explain_lead. Money moves only by preview_reward_action and then confirm_reward_action; show the preview to the person first.",
    })
}

// ---------------------------------------------------------------- tools

struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    scope: Scope,
    schema: fn() -> Value,
    /// It changes nothing.
    read_only: bool,
    /// It can move money.
    destructive: bool,
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "list_campaigns",
        title: "List campaigns",
        description: "The referral campaigns with their status, rule and rewards.",
        scope: Scope::Read,
        schema: || object(&[], json!({})),
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "find_people",
        title: "Find people",
        description: "Finds referrers and leads by a part of their name, e-mail address or code. At most 20 of each.",
        scope: Scope::Read,
        schema: || object(&["search"], json!({"search": text("Part of a name, e-mail address or code"), "campaign_id": text("Only in this campaign (cmp_…)")})),
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "explain_lead",
        title: "Explain a lead",
        description: "Why a lead is qualified or not: the verdict, every check with what was expected and found, the nearest miss, the next step, its conversions and rewards.",
        scope: Scope::Read,
        schema: || object(&["lead_id"], json!({"lead_id": text("The lead (lead_…), as find_people gives it")})),
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "statistics",
        title: "Statistics",
        description: "The funnel from visit to lead to qualified to rewarded, in all or by day, week, month, source or campaign.",
        scope: Scope::Read,
        schema: || {
            object(
                &[],
                json!({
                    "campaign_id": text("Only this campaign (cmp_…)"), "from": text("First day, like 2026-11-01"), "to": text("Last day, included"),
                    "by": {"type": "string", "enum": ["day", "week", "month", "source", "campaign"]}
                }),
            )
        },
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "review_queue",
        title: "Review queue",
        description: "Rewards that wait for a person: in review, on hold or failed, with reason, signs of risk and what can be done. At most 20 of each.",
        scope: Scope::Read,
        schema: || object(&[], json!({"campaign_id": text("Only this campaign (cmp_…)")})),
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "record_conversion",
        title: "Record a conversion",
        description: "Reports an order, invoice or deal of a lead. The campaign's rule decides what comes of it; rewards may fall due. Told twice with the same external_id, it counts once.",
        scope: Scope::Report,
        schema: || {
            object(
                &["email", "external_id"],
                json!({
                    "email": text("The lead's e-mail address"), "campaign_id": text("Needed where the person is a lead in several campaigns (cmp_…)"),
                    "external_id": text("The id of the order, invoice or deal"), "kind": {"type": "string", "enum": ["order", "invoice", "deal", "custom"]},
                    "amount": text("In decimals, like 49.90"), "currency": text("Like EUR"), "occurred_at": text("When, in RFC 3339")
                }),
            )
        },
        read_only: false,
        destructive: false,
    },
    Tool {
        name: "preview_reward_action",
        title: "Preview what happens to a reward",
        description: "States what an action on a reward would do, without doing it, and gives a token for confirm_reward_action. Show the effect to the person before you confirm.",
        scope: Scope::Rewards,
        schema: || {
            object(
                &["reward_id", "action"],
                json!({"reward_id": text("The reward (rwd_…)"), "action": {"type": "string", "enum": ["approve", "hold", "reject", "cancel", "issue", "retry", "reverse"]}, "note": text("Why; kept in the reward's history")}),
            )
        },
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "confirm_reward_action",
        title: "Do what was previewed",
        description: "Does exactly what preview_reward_action stated. The token is good for ten minutes and only while the reward has not changed.",
        scope: Scope::Rewards,
        schema: || object(&["token"], json!({"token": text("The token of the preview")})),
        read_only: false,
        destructive: true,
    },
];

/// The tools that the key may use.
fn tools(caller: &Caller<Read>) -> Vec<Value> {
    TOOLS
        .iter()
        .filter(|tool| caller.may(tool.scope))
        .map(|tool| {
            json!({
                "name": tool.name, "title": tool.title, "description": tool.description, "inputSchema": (tool.schema)(),
                "annotations": {"title": tool.title, "readOnlyHint": tool.read_only, "destructiveHint": tool.destructive, "idempotentHint": true, "openWorldHint": false}
            })
        })
        .collect()
}

/// A tool that fails says so in words, so that the assistant can mend its call.
async fn call(app: &App, caller: &Caller<Read>, params: &Value) -> Result<Value, (i64, String)> {
    let name = params["name"].as_str().unwrap_or_default();
    let tool = TOOLS.iter().find(|tool| tool.name == name).ok_or((-32602, format!("There is no tool {name:?}.")))?;
    let arguments = match &params["arguments"] {
        Value::Null => json!({}),
        arguments => arguments.clone(),
    };
    let outcome = if caller.may(tool.scope) { run(app, caller, tool, arguments).await } else { Err(Problem::forbidden(tool.scope)) };
    Ok(match outcome {
        Ok(result) => json!({"content": [{"type": "text", "text": result.to_string()}], "structuredContent": result, "isError": false}),
        Err(problem) => json!({"content": [{"type": "text", "text": problem.to_json().to_string()}], "isError": true}),
    })
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(arguments).map_err(|error| {
        let field = format!("/{}", error.path());
        Problem::invalid_detail(field, error.into_inner().to_string())
    })
}

async fn run(app: &App, caller: &Caller<Read>, tool: &Tool, arguments: Value) -> Result<Value, Problem> {
    match tool.name {
        "list_campaigns" => list_campaigns(app, caller).await,
        "find_people" => find_people(app, caller, read(arguments)?).await,
        "explain_lead" => explain_lead(app, caller, read(arguments)?).await,
        "statistics" => statistics_of(app, caller, read(arguments)?).await,
        "review_queue" => review_queue(app, caller, read(arguments)?).await,
        "record_conversion" => record_conversion(app, caller, read(arguments)?).await,
        "preview_reward_action" => preview(app, caller, read(arguments)?).await,
        "confirm_reward_action" => confirm(app, caller, read(arguments)?).await,
        _ => Err(Problem::not_found("tool")),
    }
}

async fn list_campaigns(app: &App, caller: &Caller<Read>) -> Result<Value, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let page = Page { limit: 50, ..Page::default() };
    let found =
        app.engine.read(move |tx| Box::pin(async move { campaign::list(tx, &shared, space, &campaign::CampaignFilter::default(), &page).await })).await?;
    let rows: Vec<Value> = found
        .data
        .iter()
        .map(|campaign| json!({"id": campaign.id, "name": campaign.settings().name, "status": campaign.status, "rule": campaign.settings().rule, "budget": campaign.settings().budget, "rewards": campaign.configuration.rewards}))
        .collect();
    Ok(json!({"campaigns": rows}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindPeople {
    search: String,
    campaign_id: Option<CampaignId>,
}

async fn find_people(app: &App, caller: &Caller<Read>, arguments: FindPeople) -> Result<Value, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let filter = PeopleFilter { search: Some(arguments.search), campaign: arguments.campaign_id, ..Default::default() };
    let page = Page { limit: ROWS, ..Page::default() };
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            let referrers = participant::list_referrers(tx, &shared, space, &filter, &page).await?;
            let leads = participant::list_leads(tx, &shared, space, &filter, &page).await?;
            Ok((referrers, leads))
        })
    });
    let (referrers, leads) = read.await?;
    Ok(json!({"referrers": referrers.data, "leads": leads.data, "more": referrers.next.is_some() || leads.next.is_some()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainLead {
    lead_id: LeadId,
}

async fn explain_lead(app: &App, caller: &Caller<Read>, arguments: ExplainLead) -> Result<Value, Problem> {
    let (space, shared, now) = (caller.space, app.engine.shared_arc(), app.engine.now(caller.space));
    let explanation = app.engine.read(move |tx| Box::pin(async move { qualify::explanation(tx, &shared, space, arguments.lead_id, now).await })).await?;
    Ok(json!(explanation))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statistics {
    campaign_id: Option<CampaignId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    by: Option<GroupBy>,
}

async fn statistics_of(app: &App, caller: &Caller<Read>, arguments: Statistics) -> Result<Value, Problem> {
    app.engine.catch_up_statistics().await?;
    let (space, scope) = (caller.space, statistics::Scope { campaign: arguments.campaign_id, from: arguments.from, to: arguments.to });
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            Ok(match arguments.by {
                Some(by) => json!({"by": by, "groups": statistics::groups(tx, space, &scope, by).await?}),
                None => json!(statistics::funnel(tx, space, &scope).await?),
            })
        })
    });
    Ok(read.await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviewQueue {
    campaign_id: Option<CampaignId>,
}

async fn review_queue(app: &App, caller: &Caller<Read>, arguments: ReviewQueue) -> Result<Value, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    let read = app.engine.read(move |tx| {
        Box::pin(async move {
            let mut queue = serde_json::Map::new();
            for state in [RewardState::InReview, RewardState::Failed, RewardState::OnHold] {
                let filter = RewardFilter { campaign: arguments.campaign_id, state: Some(state), ..Default::default() };
                let rows = reward::list(tx, &shared, space, &filter, &Page { limit: ROWS, ascending: true, ..Page::default() }).await?;
                let mut listed = Vec::with_capacity(rows.data.len());
                for reward in rows.data {
                    let risk = participant::lead(tx, space, reward.lead_id).await.map(|lead| lead.risk).unwrap_or_default();
                    listed.push(json!({"reward": reward, "risk": risk.iter().map(|reason| reason.sentence()).collect::<Vec<_>>()}));
                }
                queue.insert(state.as_str().to_owned(), listed.into());
            }
            Ok(Value::Object(queue))
        })
    });
    Ok(read.await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordConversion {
    email: Email,
    campaign_id: Option<CampaignId>,
    external_id: String,
    kind: Option<ConversionKind>,
    amount: Option<Decimal>,
    currency: Option<Currency>,
    occurred_at: Option<Timestamp>,
}

async fn record_conversion(app: &App, caller: &Caller<Read>, arguments: RecordConversion) -> Result<Value, Problem> {
    let amount = match (arguments.amount, arguments.currency) {
        (None, _) => None,
        (Some(_), None) => return Err(Problem::invalid("/currency", "the currency of the amount, like EUR")),
        (Some(amount), Some(currency)) => amount_from(None, Some(&amount), currency).map_err(|invalid| Problem::invalid("/amount", invalid.expected))?,
    };
    if amount.is_some_and(|amount| amount.minor < 0) {
        return Err(Problem::invalid("/amount", "an amount of zero or more"));
    }
    let convert = Convert {
        lead: LeadKey::Email(arguments.email),
        campaign: arguments.campaign_id,
        external_id: Some(arguments.external_id),
        kind: arguments.kind.unwrap_or(ConversionKind::Order),
        amount,
        goal: None,
        occurred_at: arguments.occurred_at,
        properties: json!({}),
        replays: None,
    };
    Ok(json!(app.engine.run(context(app, caller), convert).await?))
}

fn context(app: &App, caller: &Caller<Read>) -> crate::engine::work::Context {
    app.engine.context(caller.space, &caller.key_id.to_string(), "mcp")
}

// ---------------------------------------------------------------- money, in two steps

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preview {
    reward_id: RewardId,
    action: RewardAction,
    note: Option<String>,
}

/// What a token stands for.
#[derive(serde::Serialize, Deserialize)]
struct Promise {
    reward_id: RewardId,
    action: RewardAction,
    note: Option<String>,
    /// The reward as it was previewed.
    updated_at: Timestamp,
    until: Timestamp,
}

fn signer(app: &App) -> Signer {
    Signer::new(app.engine.secret(), "goodword mcp preview 1")
}

async fn find_reward(app: &App, caller: &Caller<Read>, id: RewardId) -> Result<view::Reward, Problem> {
    let (space, shared) = (caller.space, app.engine.shared_arc());
    Ok(app.engine.read(move |tx| Box::pin(async move { reward::get(tx, &shared, space, id).await })).await?)
}

async fn preview(app: &App, caller: &Caller<Read>, arguments: Preview) -> Result<Value, Problem> {
    let reward = find_reward(app, caller, arguments.reward_id).await?;
    let after = reward
        .state
        .after(arguments.action)
        .map_err(|reason| Problem::from(Error::conflict(reason, format!("The reward is {}; it cannot be done.", reward.state.as_str()))))?;
    let worth = match (&reward.amount, &reward.coupon, reward.units, &reward.metric) {
        (Some(amount), ..) => amount.to_string(),
        (_, Some(coupon), ..) => format!("the coupon {coupon}"),
        (_, _, Some(units), Some(metric)) => format!("{units} {metric}"),
        _ => "an amount that is not known yet".to_owned(),
    };
    let who = format!("{} <{}>", reward.beneficiary.name, reward.beneficiary.email);
    let effect = match arguments.action {
        RewardAction::Issue | RewardAction::Retry => format!("{who} gets {worth} ({}). This cannot be undone, only reversed by an entry.", reward.name),
        RewardAction::Approve => format!("{worth} for {who} ({}) is approved; where the definition issues by itself, it is given at once.", reward.name),
        RewardAction::Reverse => format!("{worth} that was issued to {who} is taken back by an entry; the money itself must be recovered."),
        _ => format!("{worth} for {who} ({}) goes from {} to {}.", reward.name, reward.state.as_str(), after.as_str()),
    };
    let until = app.engine.wall().plus_ms(PREVIEW_MS);
    let promise = Promise { reward_id: reward.id, action: arguments.action, note: arguments.note, updated_at: reward.updated_at, until };
    let token = signer(app).seal(&caller.key_id.to_string(), json!(promise).to_string().as_bytes());
    Ok(json!({"effect": effect, "state_now": reward.state, "state_then": after, "reward": reward, "token": token, "valid_until": until}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    token: String,
}

async fn confirm(app: &App, caller: &Caller<Read>, arguments: Confirm) -> Result<Value, Problem> {
    let stale = || Problem::conflict("The token is not valid, or too old. Preview the action again and show the effect.");
    let opened = signer(app).open(&caller.key_id.to_string(), &arguments.token).ok_or_else(stale)?;
    let promise: Promise = serde_json::from_slice(&opened).map_err(|_| stale())?;
    if app.engine.wall() > promise.until {
        return Err(stale());
    }
    let reward = find_reward(app, caller, promise.reward_id).await?;
    if reward.updated_at != promise.updated_at {
        return Err(Problem::conflict("The reward has changed since the preview. Preview the action again and show the effect."));
    }
    let decide = Decide { reward: promise.reward_id, action: promise.action, note: promise.note, amount_minor: None };
    Ok(json!(app.engine.run(context(app, caller), decide).await?))
}
