//! What an assistant can do: each tool with its scope, its schema and its code.

use super::promise;
use crate::{
    engine::{
        access::Scope,
        campaign,
        list::Page,
        participant::{self, PeopleFilter},
        qualify,
        reward::{self, RewardFilter},
        statistics::{self, GroupBy},
    },
    http::{App, Caller, Problem, Read, extract::read_value},
};
use goodword_core::{
    campaign::ConversionKind,
    ids::{CampaignId, LeadId},
    reward::{RewardAction, RewardState},
    time::Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// People and rewards that are listed at once: an assistant reads every word.
const ROWS: usize = 20;

pub struct Tool {
    pub name: &'static str,
    title: &'static str,
    description: &'static str,
    pub scope: Scope,
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
        description: "Reports an order, invoice, deal or goal of a lead, who is named in exactly one way. The campaign's rule (see list_campaigns) decides what comes of it. Told twice with the same external_id, it counts once. Where rewards would come of it, nothing is recorded yet: the answer states them and has a token for confirm.",
        scope: Scope::Report,
        schema: || {
            object(
                &["external_id"],
                json!({
                    "lead_id": text("The lead (lead_…), as find_people gives it"), "email": text("Or the lead's e-mail address"),
                    "code": text("Or the lead's own code"), "coupon": text("Or a coupon that the lead was given"),
                    "campaign_id": text("Needed where the person is a lead in several campaigns (cmp_…)"),
                    "external_id": text("The id of the order, invoice or deal"), "kind": {"type": "string", "enum": ConversionKind::ALL.map(ConversionKind::as_str)},
                    "amount": text("In decimals, like 49.90"), "currency": text("Like EUR"),
                    "goal": text("The goal that was reached, where the rule has goals"), "occurred_at": text("When, in RFC 3339"),
                    "properties": {"type": "object", "description": "What the rule's condition looks at, like {\"plan\": \"pro\"}"}
                }),
            )
        },
        read_only: false,
        destructive: false,
    },
    Tool {
        name: "preview_reward_action",
        title: "Preview what happens to a reward",
        description: "States what an action on a reward would do, without doing it, and gives a token for confirm.",
        scope: Scope::Rewards,
        schema: || {
            object(
                &["reward_id", "action"],
                json!({
                    "reward_id": text("The reward (rwd_…)"), "action": {"type": "string", "enum": RewardAction::ALL.map(RewardAction::as_str)},
                    "note": text("Why; kept in the reward's history")
                }),
            )
        },
        read_only: true,
        destructive: false,
    },
    Tool {
        name: "confirm",
        title: "Do what was previewed",
        description: "Does exactly what record_conversion or preview_reward_action stated, when the person has seen it and agrees. A token is good once, for ten minutes, and only while the effect is still the same.",
        // That of what the token stands for is asked as well.
        scope: Scope::Read,
        schema: || object(&["token"], json!({"token": text("The token of the preview")})),
        read_only: false,
        destructive: true,
    },
];

/// The tools that the key may use.
pub fn listed(caller: &Caller<Read>) -> Vec<Value> {
    let may_use = |tool: &&Tool| match tool.name {
        "confirm" => caller.may(Scope::Report) || caller.may(Scope::Rewards),
        _ => caller.may(tool.scope),
    };
    let show = |tool: &Tool| {
        json!({
            "name": tool.name, "title": tool.title, "description": tool.description, "inputSchema": (tool.schema)(),
            "annotations": {"title": tool.title, "readOnlyHint": tool.read_only, "destructiveHint": tool.destructive, "idempotentHint": true, "openWorldHint": false}
        })
    };
    TOOLS.iter().filter(may_use).map(show).collect()
}

pub fn named(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

pub async fn run(app: &App, caller: &Caller<Read>, tool: &Tool, arguments: Value) -> Result<Value, Problem> {
    if !caller.may(tool.scope) {
        return Err(Problem::forbidden(tool.scope));
    }
    match tool.name {
        "list_campaigns" => list_campaigns(app, caller, read_value(arguments)?).await,
        "find_people" => find_people(app, caller, read_value(arguments)?).await,
        "explain_lead" => explain_lead(app, caller, read_value(arguments)?).await,
        "statistics" => statistics_of(app, caller, read_value(arguments)?).await,
        "review_queue" => review_queue(app, caller, read_value(arguments)?).await,
        "confirm" => promise::confirm(app, caller, read_value(arguments)?).await,
        _ => promise::preview(app, caller, tool, arguments).await,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListCampaigns {}

async fn list_campaigns(app: &App, caller: &Caller<Read>, _: ListCampaigns) -> Result<Value, Problem> {
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
