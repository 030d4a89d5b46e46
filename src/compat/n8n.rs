//! The private API of the vendor's n8n package (section 2.9), so that the package works unchanged when its
//! requests reach us.

use super::{
    ask::{Ask, Fields, ok},
    find,
    inbound::{self, By},
    refusal::{self, Answer, Refusal},
    rewards,
    shape::Version,
    users,
};
use crate::{
    delivery::referral_factory::sources_of,
    engine::{
        campaign,
        endpoint::{self, Create, Delete, EndpointFilter, Shape, SigningSecret, Terms},
        event::EventType,
        list::{LIMIT_MAX, Page},
        number,
        paged::{self, Filter},
    },
    http::{Read, Report, Write},
};
use axum::{extract::Path, http::StatusCode};
use goodword_core::{
    ids::{EndpointId, RewardDefinitionId},
    reward::Issuing,
    text::WebUrl,
};
use serde_json::json;

/// The most that fits into a picker.
const CAMPAIGNS_MAX: i64 = 1_000;

/// Where people come from: the documented sources, and the automations beside them. The package's own
/// default is `Referred`.
pub const SOURCES: [&str; 11] = ["Direct", "Referred", "Api", "Added", "Zapier", "Make", "N8n", "Widget", "Popup", "Embed", "Test"];

/// The credential is good.
pub async fn test(ask: Ask<Read>) -> Answer {
    ok(&json!({"success": true, "account": ask.access.workspace_name, "test": ask.space().is_test()}))
}

pub async fn campaigns(ask: Ask<Read>) -> Answer {
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let all = Filter { limit: CAMPAIGNS_MAX, ..Filter::default() };
    let page = ask.app.engine.read(move |tx| Box::pin(async move { paged::campaigns(tx, &shared, space, &all).await })).await?;
    let campaigns: Vec<_> = page.rows.iter().map(|campaign| json!({"id": campaign.number, "name": campaign.settings().name})).collect();
    ok(&json!({ "campaigns": campaigns }))
}

/// Rewards that an automation issues.
pub async fn reward_list(ask: Ask<Read>) -> Answer {
    ok(&json!({"rewards": rewards::issued_outside(&ask).await?}))
}

pub async fn user_sources(_: Ask<Read>) -> Answer {
    ok(&json!({"sources": SOURCES.map(|source| json!({"id": source, "name": source}))}))
}

pub async fn create_user(ask: Ask<Report>) -> Answer {
    users::create_from(Version::V2, "n8n", ask).await
}

/// By e-mail address and campaign, by code, or by coupon.
pub async fn qualify(ask: Ask<Report>) -> Answer {
    let by = match (ask.input.text("coupon"), ask.input.text("code"), ask.input.text("email")) {
        (Some(coupon), ..) => By::Coupon(coupon),
        (None, Some(code), _) => By::User(code),
        (None, None, Some(email)) => {
            let mut fields = Fields::of(&ask.input);
            fields.required("campaign_id");
            fields.done()?;
            By::User(email)
        }
        (None, None, None) => return Err(Refusal::field("email", "One of email with campaign_id, code, or coupon is required.")),
    };
    inbound::run(&ask.app, &ask.access, "n8n", by, ask.input.text("campaign_id")).await
}

// ---------------------------------------------------------------- webhooks

/// The address that is to be told; one that this server does not call is refused.
async fn address(ask: &Ask<Write>, fields: &mut Fields<'_>) -> Option<WebUrl> {
    let text = fields.required("url");
    let url = fields.parsed::<WebUrl>("url", text, "an http or https address")?;
    match ask.app.guard.admit(&url).await {
        Ok(()) => Some(url),
        Err(refused) => {
            fields.wrong("url", format!("The url is not called: {refused}."));
            None
        }
    }
}

/// Makes an endpoint that is told in the vendor's shape. The same address by the same key replaces what was there.
async fn register(ask: &Ask<Write>, url: WebUrl, event: &str, terms: Terms) -> Answer {
    let create = Create { url, terms: Terms { shape: Some(Shape::ReferralFactory), ..terms }, source: "n8n".into(), secret: SigningSecret::random() };
    let made = ask.app.engine.run(ask.context("n8n"), create).await?;
    let webhook = json!({"id": made.endpoint.id, "url": made.endpoint.url, "event": event});
    Ok(refusal::json(StatusCode::CREATED, &json!({ "webhook": webhook })))
}

/// Tells an address who joins, or who is qualified.
pub async fn create_webhook(ask: Ask<Write>) -> Answer {
    let mut fields = Fields::of(&ask.input);
    let url = address(&ask, &mut fields).await;
    let event = fields.required("event");
    let types = match event.as_deref() {
        Some("user.join") => Some(vec![EventType::ReferrerCreated, EventType::LeadCreated]),
        Some("user.qualified") => Some(vec![EventType::LeadQualified]),
        Some(_) => {
            fields.wrong("event", "The event must be user.join or user.qualified.");
            None
        }
        None => None,
    };
    fields.done()?;
    let (Some(url), Some(event), Some(types)) = (url, event, types) else { return Err(Refusal::field("event", "The event field is required.")) };
    let campaign = match ask.input.text("campaign_id") {
        None => None,
        Some(identifier) => {
            let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
            let found = ask.app.engine.read(move |tx| Box::pin(async move { find::campaign(tx, &shared, space, &identifier).await })).await?;
            Some(found.or_refuse("campaign")?.id)
        }
    };
    let sources: Vec<String> = ask.input.words("sources").iter().flat_map(|word| sources_of(word)).collect();
    let person_source = (!sources.is_empty()).then(|| sources.join(","));
    register(&ask, url, &event, Terms { types: Some(Some(types)), campaign: Some(campaign), person_source: Some(person_source), ..Terms::default() }).await
}

/// One that is not there is deleted already.
pub async fn delete_webhook(Path(id): Path<String>, ask: Ask<Write>) -> Answer {
    let id: EndpointId = id.parse().map_err(|_| Refusal::not_found("webhook"))?;
    ask.app.engine.run(ask.context("n8n"), Delete { id }).await?;
    ok(&json!({"success": true}))
}

/// The definition of a reward, by its number or by our own id.
async fn definition(ask: &Ask<Write>, identifier: &str) -> Result<RewardDefinitionId, Refusal> {
    if let Ok(id) = identifier.parse::<RewardDefinitionId>() {
        return Ok(id);
    }
    let number: i64 = identifier.parse().map_err(|_| Refusal::not_found("reward"))?;
    let space = ask.space();
    let found = ask.app.engine.read(move |tx| Box::pin(number::definition(tx, space, number))).await?;
    found.map(|(id, _)| id).ok_or_else(|| Refusal::not_found("reward"))
}

/// Tells an address when a reward of that definition is to be given. Where an automation gives them, that is
/// the moment in which one is issued; otherwise it is told of those that somebody has given.
pub async fn create_reward_webhook(Path(id): Path<String>, ask: Ask<Write>) -> Answer {
    let mut fields = Fields::of(&ask.input);
    let url = address(&ask, &mut fields).await;
    if ask.input.text("event").is_some_and(|event| event != "reward_issued") {
        fields.wrong("event", "The event must be reward_issued.");
    }
    fields.done()?;
    let Some(url) = url else { return Err(Refusal::field("url", "The url field is required.")) };
    let definition = definition(&ask, &id).await?;
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let campaign = ask.app.engine.read(move |tx| Box::pin(async move { campaign::of_definition(tx, &shared, space, definition).await })).await?;
    let is_external = campaign.configuration.rewards.iter().any(|reward| reward.id == definition && reward.terms.issuing == Issuing::External);
    let kind = if is_external { EventType::RewardIssuing } else { EventType::RewardIssued };
    register(&ask, url, "reward_issued", Terms { types: Some(Some(vec![kind])), definition: Some(Some(definition)), ..Terms::default() }).await
}

/// The reward itself stays: what this key had registered for it is deleted.
pub async fn delete_reward_webhook(Path(id): Path<String>, ask: Ask<Write>) -> Answer {
    let definition = definition(&ask, &id).await?;
    let space = ask.space();
    let filter = EndpointFilter { definition: Some(definition), created_by: Some(ask.access.key_id.to_string()), ..EndpointFilter::default() };
    let page = Page { limit: LIMIT_MAX, ..Page::default() };
    let found = ask.app.engine.read(move |tx| Box::pin(async move { endpoint::list(tx, space, &filter, &page).await })).await?;
    for endpoint in found.data.iter().filter(|endpoint| endpoint.shape == Shape::ReferralFactory) {
        ask.app.engine.run(ask.context("n8n"), Delete { id: endpoint.id }).await?;
    }
    ok(&json!({"success": true}))
}
