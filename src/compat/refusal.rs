//! How this API says no: the shape of section 2.3, `{code, message, errors}`.

use crate::{
    engine::{self, access::Scope},
    http::Problem,
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// A refusal, in the vendor's words where they are known.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    /// Field and message, in the order in which they were found.
    errors: Vec<(String, String)>,
    retry_after_s: Option<u64>,
}

/// What a handler answers.
pub type Answer = Result<Response, Refusal>;

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), retry_after_s: None }
    }

    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated.")
    }

    pub fn forbidden(needed: Scope) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("This action is unauthorized: the API key lacks the scope {}.", needed.as_str()))
    }

    /// A key in an address that could do more than report.
    pub fn forbidden_in_address() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Addresses end up in logs: use an API key here whose only scope is report.")
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("The {what} was not found."))
    }

    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "The method is not supported for this address.")
    }

    /// The answer is JSON and nothing else.
    pub fn not_json() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "You requested a format that is not JSON.")
    }

    pub fn gone(what: &str) -> Self {
        Self::new(StatusCode::GONE, format!("The {what} has been removed."))
    }

    pub fn too_many(retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too Many Attempts.") }
    }

    /// 422 with one field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![(field.into(), message.into())])
    }

    /// 422 with all that is wrong.
    pub fn fields(errors: Vec<(String, String)>) -> Self {
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Validation errors in your request") }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// As it is answered from within a change.
    pub fn reply(&self) -> (StatusCode, Value) {
        (self.status, self.body())
    }

    fn body(&self) -> Value {
        let mut body = json!({"code": self.status.as_u16(), "message": self.message});
        if self.status == StatusCode::UNPROCESSABLE_ENTITY {
            let mut errors = Map::new();
            for (field, message) in &self.errors {
                let list = errors.entry(field.clone()).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.push(json!({"field": field, "message": message}));
                }
            }
            body["errors"] = Value::Object(errors);
        }
        body
    }
}

/// Names of our own requests in the words of this API: `/first_name`, `/fields/company`.
fn field_name(pointer: &str) -> String {
    match pointer.trim_start_matches('/').replace('/', ".") {
        name if name == "fields" || name.starts_with("fields.") => name.replacen("fields", "meta", 1),
        name if name == "campaign" => "campaign_id".to_owned(),
        name => name,
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Invalid { field, expected } => {
                let field = field_name(&field);
                let message = format!("The {} must be {expected}.", field.replace('_', " "));
                Self::field(field, message)
            }
            engine::Error::NotFound { what } => Self::not_found(what),
            // There is no 409 in this API: what the state does not allow is a validation error.
            engine::Error::Conflict { reason, detail } => {
                let next = reason.map_or("", |reason| reason.next_step());
                Self::field("request", format!("{detail} {next}").trim_end())
            }
            engine::Error::IdempotencyErased => Self::field("Idempotency-Key", "The request was carried out; the person of its answer was erased since."),
            engine::Error::SecretWasShown { made } => {
                Self::field("Idempotency-Key", format!("The request was carried out and made {made}; its secret was shown then."))
            }
            engine::Error::IdempotencyUnderWay => Self::field("Idempotency-Key", "The request of this key is still under way."),
            engine::Error::IdempotencyReuse => Self::field("Idempotency-Key", "The key was used for another request."),
            other => Problem::from(other).into(),
        }
    }
}

/// Bodies that cannot be read, and what is our own mistake.
impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let errors = problem.errors().iter().map(|error| (field_name(&error.field), error.detail.clone())).collect();
        let retry_after_s = (problem.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(5);
        Self { status: problem.status(), message: problem.detail().to_owned(), errors, retry_after_s }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body());
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(HeaderName::from_static("x-ratelimit-remaining"), 0.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"goodword\""));
        }
        response
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: &Value) -> Response {
    crate::http::reply::json_bytes(status, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_error_has_the_documented_shape() {
        let refusal = Refusal::fields(vec![("email".into(), "The email field is required.".into())]);
        assert_eq!(
            refusal.body(),
            json!({ "code": 422, "message": "Validation errors in your request",
                "errors": { "email": [ { "field": "email", "message": "The email field is required." } ] } })
        );
    }

    #[test]
    fn our_own_fields_get_their_names_here() {
        for (ours, theirs) in [("/email", "email"), ("/fields/company", "meta.company"), ("/fields", "meta"), ("/campaign_id", "campaign_id")] {
            assert_eq!(field_name(ours), theirs);
        }
    }
}
