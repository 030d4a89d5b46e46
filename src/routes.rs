//! Every address of the server, in one place.

use crate::{
    api,
    config::Config,
    http::{App, openapi, server},
    pages,
};
use axum::{
    Router,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};

/// The native API with its document, the pages, and what operators watch.
pub fn router(app: App) -> Router {
    let pages = pages::routes::router(&app);
    server::router(app, api::router(), api::CHAPTERS, pages, not_found)
}

/// The OpenAPI document of what is served.
pub fn document(config: &Config) -> serde_json::Value {
    openapi::document(api::router().get_openapi(), config, api::CHAPTERS)
}

fn not_found(_: &Uri) -> Response {
    (StatusCode::NOT_FOUND, "There is nothing at this address.\n").into_response()
}
