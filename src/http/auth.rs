//! API keys: who is calling, and whether they may.

use super::{App, Problem, context, limit::Quota};
use crate::engine::access::{Access, Scope};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use std::{marker::PhantomData, ops::Deref, sync::Arc};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

/// Who is calling, with a key that holds the scope `S`: a handler that takes `Caller<Write>` cannot be
/// reached without it.
pub struct Caller<S> {
    access: Arc<Access>,
    scope: PhantomData<fn() -> S>,
}

/// A scope as a type.
pub trait Needs {
    /// None: every key may.
    const SCOPE: Option<Scope>;

    /// The scope that a key would need to have.
    fn missing(access: &Access) -> Option<Scope> {
        Self::SCOPE.filter(|needed| !access.may(*needed))
    }
}

macro_rules! scopes {
    ($($name:ident)*) => {$(
        #[derive(Debug)]
        pub enum $name {}
        impl Needs for $name { const SCOPE: Option<Scope> = Some(Scope::$name); }
    )*};
}

scopes! { Read Write Report Rewards Admin }

/// What every key may do, whatever its scopes: learn what it is, and what it can name.
#[derive(Debug)]
pub enum Any {}

impl Needs for Any {
    const SCOPE: Option<Scope> = None;
}

impl<S> Deref for Caller<S> {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl<S> Caller<S> {
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }
}

impl<S: Needs> FromRequestParts<App> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = key_of(&parts.headers).ok_or_else(Problem::unauthorized)?;
        let access = app.engine.authenticate(key).await?.ok_or_else(Problem::unauthorized)?;
        context::leave_key(access.key_id);
        app.limits.keys.take(access.key_id.uuid()).map_or(Ok(()), Quota::check)?;
        if let Some(needed) = S::missing(&access) {
            return Err(Problem::forbidden(needed));
        }
        Ok(Self { access, scope: PhantomData })
    }
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The key, from either header. Never from the query string: addresses end up in logs and histories.
pub(crate) fn key_of(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get(X_API_KEY)?.to_str().ok()).map(str::trim).filter(|key| !key.is_empty())
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

/// The two ways to send a key, for the document.
pub(super) fn security_schemes() -> [(&'static str, SecurityScheme); 2] {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: Authorization: Bearer <key>")).build();
    let header = ApiKeyValue::with_description("X-Api-Key", "The same key, for tools that cannot set Authorization.");
    [("bearer", SecurityScheme::Http(bearer)), ("x_api_key", SecurityScheme::ApiKey(ApiKey::Header(header)))]
}

/// One of them is enough.
pub(super) fn security() -> Vec<SecurityRequirement> {
    security_schemes().iter().map(|(name, _)| SecurityRequirement::new(*name, Vec::<String>::new())).collect()
}
