//! What every HTTP interface shares.
//!
//! | module | what it holds |
//! |---|---|
//! | [`problem`] | how the API says no: RFC 9457 |
//! | [`extract`] | what handlers take in: bodies, queries, ids, headers |
//! | [`reply`] | what handlers answer |
//! | [`auth`] | who is calling, and whether they may |
//! | [`limit`] | how often somebody may ask, and who is asking |
//! | [`metrics`] | what is counted |
//! | [`openapi`] | the document of the API, and its page |
//! | [`routes`] | addresses with their documentation |
//! | [`server`] | sockets, middleware, shutdown |
//! | [`unread`] | what is left of a body when the request was answered |

pub mod auth;
pub mod context;
pub mod extract;
pub mod limit;
pub mod metrics;
pub mod openapi;
mod plain;
pub mod problem;
mod reference;
pub mod reply;
pub mod routes;
pub mod server;
#[cfg(test)]
mod tests;
mod unread;

pub use auth::{Admin, Any, Caller, Read, Report, Rewards, Write};
pub use extract::{Body, BodyOrForm, IdempotencyKey, IfMatch, Path, Payload, Query};
pub use limit::ClientIp;
pub use problem::Problem;
pub use reply::{Json, Versioned};
pub(crate) use routes::{Routes, routes};

use crate::{
    config::Config,
    delivery::{Guard, sign},
    engine::Engine,
};
use axum::http::HeaderMap;
use limit::Limits;
use metrics::Metrics;
use std::sync::Arc;

/// What handlers work with. Clones share it.
#[derive(Clone)]
pub struct App {
    pub engine: Engine,
    pub config: Arc<Config>,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    /// Which addresses webhooks may reach.
    pub guard: Arc<Guard>,
    /// What this installation's deliveries are marked with.
    installation: Arc<str>,
}

impl App {
    pub fn new(engine: Engine, config: Config) -> Self {
        let limits = Limits::new(config.rate_limit_per_minute, config.compat_limit_per_minute, config.form_limit_per_minute);
        let guard = Arc::new(config.guard());
        let installation = sign::installation(engine.secret()).into();
        Self { engine, config: Arc::new(config), limits: Arc::new(limits), metrics: Arc::default(), guard, installation }
    }

    /// Refuses a delivery of this installation that came back to it: what it brings about would be told there again,
    /// without end. The [`Guard`] knows the server's own addresses; not the proxies that lead to them.
    pub fn refuse_own_delivery(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let is_own = headers.get(sign::INSTALLATION).is_some_and(|mark| mark.as_bytes() == self.installation.as_bytes());
        if is_own { Err(Problem::loop_detected()) } else { Ok(()) }
    }
}
