//! Every address of the server, in one place.

use crate::{
    api, compat,
    config::Config,
    http::{App, openapi, server},
    mcp, pages,
};
use axum::Router;

/// The native API with its document, the drop-in APIs, the pages, and what operators watch.
pub fn router(app: App) -> Router {
    let programs = server::wrap_api(mcp::router().merge(compat::router()), &app);
    let public = pages::routes::router(&app).merge(programs);
    server::router(app, api::router(), api::CHAPTERS, public, pages::routes::nowhere)
}

/// The OpenAPI document of what is served.
pub fn document(config: &Config) -> serde_json::Value {
    openapi::document(api::router().document()(), config, api::CHAPTERS)
}
