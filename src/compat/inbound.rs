//! Inbound qualification (section 3.3): `POST /webhook/{token}/qualify` with `code=…` or `coupon=…`.
//!
//! The token is an API key that may do nothing but report (scope `report`): addresses end up in logs, so
//! what stands in one must open no more than this.

use super::{
    ask,
    find::{self, Found},
    refusal::{Answer, Refusal},
    shape::Version,
    users::Qualification,
};
use crate::{
    engine::{
        access::{Access, Scope},
        participant::{self, Participant},
        qualify,
    },
    http::{App, extract},
};
use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, header},
};

use serde_json::json;
use std::sync::Arc;

const BODY_BYTES_MAX: usize = 64 * 1024;

pub async fn qualify(State(app): State<App>, Path(token): Path<String>, request: Request) -> Answer {
    let access = ask::known(&app, &token).await.map_err(|refusal| match refusal.status() {
        // Who does not have the address does not learn that there is one.
        StatusCode::UNAUTHORIZED => Refusal::not_found("address"),
        _ => refusal,
    })?;
    if access.scopes != [Scope::Report] {
        return Err(Refusal::forbidden_in_address());
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = extract::read_body(request, BODY_BYTES_MAX).await?;
    let input = ask::Input::read(&query, &content_type, &body)?;
    let campaign = input.text("campaign_id");
    let named = if let Some(coupon) = input.text("coupon") {
        By::Coupon(coupon)
    } else if let Some(code) = input.text("code") {
        By::User(code)
    } else if let Some(email) = input.text("email") {
        By::User(email)
    } else {
        return Err(Refusal::field("code", "One of code, coupon or email is required."));
    };
    run(&app, &access, "webhook", named, campaign).await
}

/// How a lead is named.
pub enum By {
    /// By code, id or e-mail address.
    User(String),
    /// By a coupon that the lead was given. Coupons that nobody was given are ignored, as documented: all
    /// redeemed ones may be sent.
    Coupon(String),
}

/// Qualifies whoever is named.
pub async fn run(app: &App, access: &Arc<Access>, source: &str, by: By, campaign: Option<String>) -> Answer {
    let space = access.space;
    let shared = app.engine.shared_arc();
    let is_coupon = matches!(by, By::Coupon(_));
    let found: Found<Participant> = app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                match by {
                    By::User(identifier) => find::user(tx, &shared, space, &identifier, campaign.as_deref()).await,
                    By::Coupon(coupon) => match qualify::coupon_holders(tx, space, &coupon).await?.as_slice() {
                        [] => Ok(Found::None),
                        [(id, _)] => Ok(participant::find(tx, space, *id).await?.map_or(Found::None, Found::One)),
                        _ => Ok(Found::Several),
                    },
                }
            })
        })
        .await?;
    // A referrer who spends a reward of their own is nobody's lead.
    let is_ignored = match &found {
        Found::One(person) => person.lead_since.is_none(),
        Found::None | Found::Gone => true,
        Found::Several => false,
    };
    if is_coupon && is_ignored {
        return ask::ok(&json!({"message": "The coupon was not given to anybody here; it was ignored."}));
    }
    let person = found.or_refuse("user")?;
    let context = app.engine.context(space, &access.key_id.to_string(), source);
    let (status, body) = app.engine.run(context, Qualification { version: Version::V2, person, qualified: true }).await?;
    Ok(super::refusal::json(status, &body))
}
