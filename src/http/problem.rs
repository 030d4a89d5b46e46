//! How the API says no: RFC 9457 problem details.

use super::context::{self, RequestId};
use crate::engine::{Error, access::Scope};
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use goodword_core::explain::Reason;
use goodword_store as store;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response as ResponseDoc, ResponseBuilder, Schema, Type},
};

pub const MEDIA_TYPE: &str = "application/problem+json";
const TYPE_BASE: &str = "https://goodword.dev/problems/";

/// How long a caller should wait when the database is away or full.
const UNAVAILABLE_RETRY_AFTER_S: u64 = 2;

/// A refusal that says what is wrong, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    reason: Option<Reason>,
    next_step: Option<String>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

/// One field or parameter that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the request (`/rule/minimum_spend`), or the name of a parameter or header.
    #[schema(example = "/email")]
    pub field: String,
    /// What is wrong with it.
    #[schema(example = "Expected an e-mail address.")]
    pub detail: String,
}

/// The form that everybody sees.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
struct Document<'a> {
    /// An address that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "https://goodword.dev/problems/invalid")]
    kind: String,
    /// The kind of problem in words.
    #[schema(example = "The request is not valid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong with this request.
    #[schema(example = "/email: expected an e-mail address.")]
    detail: &'a str,
    /// The last part of `type`, for programs.
    #[schema(example = "invalid")]
    code: &'a str,
    /// The word of the rule that refused, where a rule did.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<&'a str>,
    /// The fields and parameters that are not what they must be.
    errors: &'a [FieldError],
    /// Name it when you ask for help: every line of the log about this request has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (reason, next_step, errors, retry_after_s) = (None, None, Vec::new(), None);
        Self(Box::new(Details { status, code, title, detail: detail.into(), reason, next_step, errors, retry_after_s }))
    }

    /// The request cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// No key, or one that is not known (any more).
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid API key is needed", "The request has no API key, or one that is unknown or revoked.")
            .next_step("Send the header Authorization: Bearer <key>, or X-Api-Key: <key>.")
    }

    /// The key lacks a scope.
    pub fn forbidden(needed: Scope) -> Self {
        let detail = format!("The API key lacks the scope {}.", needed.as_str());
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The API key may not do this", detail).next_step("Use a key that has it, or add it to this key.")
    }

    /// There is no such thing; `what` is a noun: `lead`.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", format!("There is no such {what}."))
    }

    pub fn method_not_allowed() -> Self {
        let detail = "This address does not answer this method; the header Allow lists those it does.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
    }

    /// The body did not arrive in time.
    pub fn too_slow(limit_s: u64) -> Self {
        let detail = format!("The body of the request did not arrive within {limit_s} seconds.");
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The request took too long to arrive", detail)
    }

    pub fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("The body of the request is larger than {limit_bytes} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large", detail)
    }

    /// `expected` names the media types that can be read.
    pub fn unsupported_media_type(expected: &str) -> Self {
        let detail = format!("The header Content-Type must be {expected}.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body has a type that cannot be read here", detail)
    }

    /// A field (JSON pointer), parameter or header that is not what it must be; `expected` completes the
    /// sentence "expected …".
    pub fn invalid(field: impl Into<String>, expected: impl AsRef<str>) -> Self {
        Self::invalid_detail(field, format!("Expected {}.", expected.as_ref().trim_end_matches('.')))
    }

    /// As [`Problem::invalid`], with a whole sentence.
    pub fn invalid_detail(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { field: field.into(), detail: detail.into() };
        let mut sentence = error.detail.clone();
        sentence.get_mut(..1).into_iter().for_each(str::make_ascii_lowercase);
        let detail = if error.field.is_empty() { error.detail.clone() } else { format!("{}: {sentence}", error.field) };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid", detail).field(error)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The current state does not allow this", detail)
    }

    /// If-Match named another version than the current one.
    pub fn version_changed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "version_changed", "The version has changed", detail)
            .next_step("Read it again, apply the change to what it is now, and send that version in If-Match.")
    }

    pub fn too_many(retry_after_s: u64) -> Self {
        let detail = format!("The limit of requests is used up; the next is possible in {retry_after_s} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail).retry_after(retry_after_s)
    }

    /// Something that is needed is away for the moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment", detail)
            .retry_after(UNAVAILABLE_RETRY_AFTER_S)
            .next_step("Send the same request again; with its Idempotency-Key nothing happens twice.")
    }

    /// A webhook of this installation has come back to it.
    pub fn loop_detected() -> Self {
        let detail = "This is a webhook of this installation itself, which has come back to it; nothing was done with it, for it would go on without end.";
        Self::new(StatusCode::LOOP_DETECTED, "loop_detected", "The request comes from this server itself", detail)
            .next_step("Give the endpoint the address of another receiver, or delete it.")
    }

    /// A mistake of ours. What it was is in the log only.
    pub fn internal() -> Self {
        let detail = "Something went wrong on our side; the log has the details under the request's id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    pub fn next_step(mut self, next_step: impl Into<String>) -> Self {
        self.0.next_step = Some(next_step.into()).filter(|step| !step.is_empty());
        self
    }

    pub fn reason(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Adds a field that is not what it must be.
    pub fn field(mut self, error: FieldError) -> Self {
        self.0.errors.push(error);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// What is wrong and what to do about it, for readers of sentences.
    pub fn in_words(&self) -> String {
        let step = self.0.next_step.as_deref().unwrap_or_default();
        format!("{} {step}", self.0.detail).trim_end().to_owned()
    }

    /// The document as it is sent, for answers which contain problems (one for each item of a batch).
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.document(context::request_id().as_ref())).unwrap_or_default()
    }

    fn document<'a>(&'a self, request_id: Option<&'a RequestId>) -> Document<'a> {
        let Details { status, code, title, detail, reason, next_step, errors, .. } = &*self.0;
        Document {
            kind: format!("{TYPE_BASE}{code}"),
            title,
            status: status.as_u16(),
            detail,
            code,
            reason: *reason,
            next_step: next_step.as_deref(),
            errors,
            request_id: request_id.map(RequestId::as_str),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { field, expected } => Self::invalid(field, expected),
            Error::NotFound { what } => Self::not_found(what),
            Error::Conflict { reason: None, detail } => Self::conflict(detail),
            Error::Conflict { reason: Some(reason), detail } => Self::conflict(detail).reason(reason).next_step(reason.next_step()),
            Error::IdempotencyReuse => {
                let detail = "The Idempotency-Key was used for another request.";
                Self::new(StatusCode::CONFLICT, "idempotency_key_reused", "The idempotency key was used before", detail)
                    .next_step("Send the same request as then, or use a new key for a new request.")
            }
            Error::IdempotencyErased => {
                let detail = "The request was carried out; its answer told of a person whose data was erased since.";
                Self::new(StatusCode::CONFLICT, "idempotency_answer_erased", "The first answer was erased", detail)
                    .next_step("Use a new key for a new request.")
            }
            Error::SecretWasShown { made } => {
                let detail = format!("The request was carried out and made {made}; its secret was in the first answer, and only its hash is kept.");
                Self::new(StatusCode::CONFLICT, "secret_was_shown", "The secret was shown before", detail)
                    .next_step(format!("If that answer was lost, delete {made} and make another with a new key."))
            }
            Error::IdempotencyUnderWay => {
                let detail = "The request with this Idempotency-Key is being carried out; its answer is not there yet.";
                Self::new(StatusCode::CONFLICT, "idempotency_under_way", "The request is still under way", detail)
                    .next_step("Send it again in some seconds: it gets the answer to the first one.")
            }
            Error::VersionChanged { current } => Self::version_changed(format!("The current version is \"v{current}\".")),
            Error::Unanswered(_) => Self::unavailable("The configuration changed while the request was being worked on."),
            Error::Store(store::Error::Unavailable(why)) => {
                tracing::warn!(error = %why, "the database is not available");
                Self::unavailable("The database is not available at the moment.")
            }
            Error::Store(store::Error::Full(why)) => {
                tracing::error!(error = %why, "nothing can be written");
                Self::unavailable("The database cannot take anything in at the moment; nothing was written.")
            }
            Error::Store(error) => {
                tracing::error!(%error, "store");
                Self::internal()
            }
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        Error::Store(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request_id = context::request_id();
        let body = serde_json::to_vec(&self.document(request_id.as_ref())).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"goodword\""));
        }
        response
    }
}

/// A problem that was written down with a change, where no request is known. It names the one that is answered.
pub fn kept(status: StatusCode, document: &str) -> Response {
    let mut document: serde_json::Map<_, _> = serde_json::from_str(document).unwrap_or_default();
    document.extend(context::request_id().map(|id| ("request_id".to_owned(), id.as_str().into())));
    let mut response = Response::new(Body::from(serde_json::Value::Object(document).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answers that every operation may give, each a component of the document by this name.
const ANSWERS: [(&str, &str, &str); 14] = [
    ("400", "Malformed", "The request cannot be read."),
    ("401", "Unauthorized", "No API key, or one that is unknown or revoked."),
    ("403", "Forbidden", "The API key lacks a scope."),
    ("404", "NotFound", "There is no such thing on this side of the workspace."),
    ("408", "TooSlow", "The body did not arrive in time."),
    (
        "409",
        "Conflict",
        "The current state does not allow this; or the idempotency key was used for another request, or for one that is still under way or whose answer cannot be shown again.",
    ),
    ("412", "VersionChanged", "If-Match names another version than the current one."),
    ("413", "TooLarge", "The body is too large."),
    ("415", "UnsupportedMediaType", "The body has a type that cannot be read here."),
    ("422", "Invalid", "A field or parameter is not what it must be; `errors` names it."),
    ("429", "TooManyRequests", "The limit of requests is used up; Retry-After says when the next is possible."),
    ("500", "Internal", "A mistake of ours; the log has the details under the request's id."),
    ("503", "Unavailable", "The database is away or full. Nothing was written; send the request again."),
    ("508", "LoopDetected", "The request is a webhook of this installation itself."),
];

impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        ANSWERS.iter().map(|(status, name, _)| ((*status).to_owned(), RefOr::Ref(Ref::from_response_name(*name)))).collect()
    }
}

/// The components that [`Problem`]'s part of the document refers to.
pub(super) fn response_components() -> impl Iterator<Item = (String, ResponseDoc)> {
    ANSWERS.iter().map(|(status, name, description)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut doc = ResponseBuilder::new().description(*description).content(MEDIA_TYPE, content);
        if matches!(*status, "429" | "503") {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
            doc = doc.header("Retry-After", HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait.")).build());
        }
        ((*name).to_owned(), doc.build())
    })
}

pub(super) fn schema_components() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![("Problem".to_owned(), Document::schema())];
    Document::schemas(&mut schemas);
    schemas
}

/// For the tests of other modules: the header's name is not in `http`'s list.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn read(problem: Problem) -> (Response, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (Response::from_parts(parts, Body::empty()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn an_invalid_field_is_named() {
        let (response, body) = read(Problem::invalid("/email", "an e-mail address")).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(
            body,
            json!({
                "type": "https://goodword.dev/problems/invalid", "title": "The request is not valid", "status": 422, "code": "invalid",
                "detail": "/email: expected an e-mail address.", "errors": [{"field": "/email", "detail": "Expected an e-mail address."}]
            })
        );
    }

    #[tokio::test]
    async fn the_engines_errors_have_their_status() {
        let table = [
            (Error::Invalid { field: "/a".into(), expected: "b".into() }, 422, "invalid"),
            (Error::NotFound { what: "lead" }, 404, "not_found"),
            (Error::conflict(Reason::RewardState, "The reward is issued."), 409, "conflict"),
            (Error::Conflict { reason: None, detail: "No.".into() }, 409, "conflict"),
            (Error::IdempotencyReuse, 409, "idempotency_key_reused"),
            (Error::IdempotencyErased, 409, "idempotency_answer_erased"),
            (Error::IdempotencyUnderWay, 409, "idempotency_under_way"),
            (Error::VersionChanged { current: 3 }, 412, "version_changed"),
            (Error::Unanswered(Vec::new()), 503, "unavailable"),
            (Error::Store(store::Error::Unavailable("secret".into())), 503, "unavailable"),
            (Error::Store(store::Error::Full("secret".into())), 503, "unavailable"),
            (Error::Store(store::Error::Database("secret".into())), 500, "internal"),
            (Error::Store(store::Error::Panicked), 500, "internal"),
        ];
        for (error, status, code) in table {
            let (response, body) = read(error.into()).await;
            assert_eq!((response.status().as_u16(), body["code"].as_str().unwrap()), (status, code));
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503);
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_secret_that_is_not_shown_again_belongs_to_something_that_is_named() {
        let (response, body) = read(Error::SecretWasShown { made: "key_1".into() }.into()).await;
        assert_eq!((response.status().as_u16(), &body["code"]), (409, &json!("secret_was_shown")));
        assert!(["detail", "next_step"].iter().all(|member| body[member].as_str().unwrap().contains("key_1")), "{body}");
    }

    #[tokio::test]
    async fn a_rule_that_refuses_says_why_and_what_next() {
        let (_, body) = read(Error::conflict(Reason::RewardState, "The reward is issued.").into()).await;
        assert_eq!((&body["reason"], &body["next_step"]), (&json!("reward_state"), &json!("See the reward's history.")));
    }

    #[tokio::test]
    async fn who_is_unknown_learns_how_to_say_who_they_are() {
        let (response, _) = read(Problem::unauthorized()).await;
        assert!(response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    }

    #[tokio::test]
    async fn a_problem_names_its_request() {
        let id = RequestId::accept("abc").unwrap();
        let ((_, body), _) = context::within(id, async { read(Problem::internal()).await }).await;
        assert_eq!(body["request_id"], "abc");
    }
}
