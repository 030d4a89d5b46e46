//! The private API of the vendor's n8n package (section 2.9), so that the package works unchanged when its
//! requests reach us.

use super::{
    ask::{Ask, Fields, ok},
    inbound::{self, By},
    refusal::{Answer, Refusal},
    rewards,
    shape::Version,
    users,
};
use crate::{
    engine::paged::{self, Filter},
    http::{Read, Report},
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
