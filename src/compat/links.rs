//! Addresses that were given out there and that our pages do not have (section 1.4).

use crate::http::{App, Problem};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use goodword_core::text::Code;

/// `/{campaign code}/signup`: where people become referrers. Behind a referrer's code it is their link.
pub async fn signup(State(app): State<App>, Path(code): Path<String>) -> Result<Response, Problem> {
    let code: Code = code.parse().map_err(|_| Problem::not_found("page"))?;
    let link = app.engine.link(&code).await?.ok_or_else(|| Problem::not_found("page"))?;
    let to = if link.participant.is_none() { format!("/join/{}", link.code) } else { format!("/{}", link.code) };
    Ok(Redirect::to(&to).into_response())
}
