//! A drop-in for the API of Referral Factory: programs, n8n and Make scenarios that were made for it go on
//! working when their requests reach us. `docs/moving-from-referral-factory.md` lists what is different.
//!
//! | module | what it answers |
//! |---|---|
//! | [`users`], [`campaigns`], [`rewards`] | `/api/v2`, and the same in the shapes of `/api/v1` |
//! | [`n8n`] | `/api/n8n`: what the vendor's n8n package calls |
//! | [`inbound`], [`links`] | `POST /webhook/{token}/qualify`; `/{campaign code}/signup` |
//! | [`ask`], [`envelope`] | what a call brings along; lists with their pages and filters |
//! | [`find`], [`shape`], [`refusal`] | who is meant; what things look like; how it says no |
//!
//! Sections that are quoted are those of the specification of the vendor's product.

mod ask;
mod campaigns;
mod envelope;
mod find;
mod inbound;
mod links;
mod n8n;
mod refusal;
mod rewards;
mod shape;
mod users;

pub use shape::field_key;

use crate::http::App;
use axum::{
    Router,
    routing::{delete, get, post, put},
};
use refusal::Refusal;
use shape::Version::{V1, V2};

/// All addresses, on whatever host they are asked for (8.5, 1).
pub fn router() -> Router<App> {
    Router::new()
        .nest("/api/v1", closed(v1()))
        .nest("/api/v2", closed(v2()))
        .nest("/api/n8n", closed(n8n()))
        .route("/{code}/signup", get(links::signup))
        .route("/webhook/{token}/qualify", post(inbound::qualify).fallback(|| async { Refusal::method_not_allowed() }))
}

/// What is not there says so in the words of this API.
fn closed(router: Router<App>) -> Router<App> {
    router.fallback(|| async { Refusal::not_found("address") }).method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
}

fn v2() -> Router<App> {
    use rewards::Stage::{Due, Issued};
    Router::new()
        .route("/users", get(|ask| users::list(V2, ask)).post(|ask| users::create(V2, ask)))
        .route("/users/search", post(|ask| users::list(V2, ask)))
        .route("/users/qualification", put(users::qualification))
        .route("/users/{identifier}", get(|path, ask| users::get(V2, path, ask)).put(|path, ask| users::update(V2, path, ask)).delete(users::delete))
        .route("/campaigns", get(|ask| campaigns::list(V2, ask)))
        .route("/campaigns/search", post(|ask| campaigns::list(V2, ask)))
        .route("/campaigns/{identifier}", get(|path, ask| campaigns::get(V2, path, ask)))
        .route("/rewards/dashboard/{metric}", get(rewards::dashboard))
        .route("/rewards/dashboard/{metric}/search", post(rewards::dashboard))
        .route("/rewards/due/{metric}", get(|path, ask| rewards::list(Due, path, ask)).put(rewards::total_spend_of))
        .route("/rewards/due/{metric}/search", post(|path, ask| rewards::list(Due, path, ask)))
        .route("/rewards/issued/{metric}", get(|path, ask| rewards::list(Issued, path, ask)))
        .route("/rewards/issued/{metric}/search", post(|path, ask| rewards::list(Issued, path, ask)))
        .route("/rewards/issue/{identifier}", post(rewards::issue))
        .route("/rewards/cancel/{identifier}", post(rewards::cancel))
        // R7 and R10: their paths are not documented; these are the likely ones.
        .route("/rewards/coupons", get(rewards::remaining_coupons))
        .route("/rewards/coupons/remaining", get(rewards::remaining_coupons))
        .route("/rewards/remaining-coupons", get(rewards::remaining_coupons))
        .route("/rewards/remaining/coupon", get(rewards::remaining_coupons))
        .route("/rewards/coupon/remaining", get(rewards::remaining_coupons))
        .route("/rewards/due/{metric}/{identifier}", put(rewards::total_spend_under))
        .route("/rewards/total-spend/{identifier}", put(rewards::total_spend_of))
        .route("/rewards/{identifier}", put(rewards::total_spend_of))
        .route("/rewards/{identifier}/total-spend", put(rewards::total_spend_of))
}

fn v1() -> Router<App> {
    Router::new()
        .route("/users", get(|ask| users::list(V1, ask)).post(|ask| users::create(V1, ask)))
        .route("/users/{identifier}", get(|path, ask| users::get(V1, path, ask)).put(|path, ask| users::update(V1, path, ask)).delete(users::delete))
        .route("/campaigns", get(|ask| campaigns::list(V1, ask)))
        .route("/campaigns/{identifier}", get(|path, ask| campaigns::get(V1, path, ask)))
        .route("/rewards", get(rewards::list_v1))
}

fn n8n() -> Router<App> {
    Router::new()
        .route("/test", get(n8n::test))
        .route("/campaigns", get(n8n::campaigns))
        .route("/rewards", get(n8n::reward_list))
        .route("/user-sources", get(n8n::user_sources))
        .route("/users", post(n8n::create_user))
        .route("/users/qualify", post(n8n::qualify))
        .route("/webhooks", post(n8n::create_webhook))
        .route("/webhooks/{id}", delete(n8n::delete_webhook))
        .route("/rewards/{id}", put(n8n::create_reward_webhook).delete(n8n::delete_reward_webhook))
}
