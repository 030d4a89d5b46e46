//! What a handler takes in. Everything is checked before the handler runs, and every
//! refusal is a [`Problem`] that names the field.
//!
//! | extractor | takes | in `#[utoipa::path]` |
//! |---|---|---|
//! | [`Body<T>`] | a JSON document | `request_body = T` |
//! | [`BodyOrForm<T>`] | a JSON document or a form (also in parts, which generators of clients would send beside the other) | `request_body(content((T = "application/json"), (T = "application/x-www-form-urlencoded")))` |
//! | [`Payload`] | whatever another system sends | as for `BodyOrForm` |
//! | [`Query<T>`] | the query string | `params(T)`, which derives `IntoParams` |
//! | [`Path<T>`] | ids in the path | nothing for tuples: `Path((id,)): Path<(LeadId,)>` |
//! | [`IfMatch`] | the version that a change is for | `params(IfMatch)` |
//! | [`IdempotencyKey`] | the name of a write | nothing: [`super::openapi`] adds it to every write |
//!
//! utoipa leaves out silently what has no attribute; [`super::openapi::gaps`] finds most of it.

use super::{Problem, plain, problem::FieldError};
use crate::engine::inbound::{Received, Unreadable};
use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::PathRejection},
    http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};
use std::{fmt, time::Duration};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

/// The largest body where a handler does not say otherwise.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to arrive: this, and as much again for every MiB that is allowed.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// A JSON document. Members that are `null` or `""` mean the same as absent ones, at the top and in the
/// objects of arrays at the top, but for those below `properties` and `fields`, which are the company's own.
///
/// What `T` does not know is refused; it carries `#[serde(deny_unknown_fields)]` so that the document says so.
/// No body at all reads like `{}`.
#[derive(Debug, Clone)]
pub struct Body<T, const BYTES_MAX: usize = BODY_BYTES_MAX> {
    pub value: T,
    /// SHA-256 of method, path and body as they came: what an idempotency key stands for.
    pub raw_hash: [u8; 32],
}

/// A JSON document as in [`Body`], or a form whose names may have brackets: `properties[plan]=pro`. Files are refused.
#[derive(Debug, Clone)]
pub struct BodyOrForm<T> {
    pub value: T,
    pub raw_hash: [u8; 32],
}

/// JSON or a form as another system sends it, which does not know us: nothing in it is refused or left out,
/// and what is neither is taken in as it is.
#[derive(Debug, Clone)]
pub struct Payload(pub Received);

/// The query string. Unknown parameters are refused, empty ones are absent, lists have commas.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// Typed values from the path. What does not parse is not there: 404.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// The version named by `If-Match: "v3"`, if one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

/// The header `Idempotency-Key`: a name for a write that makes sending it again harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<T: DeserializeOwned, S: Send + Sync, const BYTES_MAX: usize> FromRequest<S> for Body<T, BYTES_MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let raw = Raw::read(request, BYTES_MAX).await?;
        match raw.media_type {
            MediaType::Json => Ok(Self { value: raw.json()?, raw_hash: raw.hash() }),
            _ => Err(Problem::unsupported_media_type("application/json")),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for BodyOrForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let raw = Raw::read(request, BODY_BYTES_MAX).await?;
        let node = match &raw.media_type {
            MediaType::Json => return Ok(Self { value: raw.json()?, raw_hash: raw.hash() }),
            MediaType::Form => plain::parse(plain::pairs(&raw.bytes), true),
            MediaType::Parts { boundary } => plain::parse(plain::parts(&String::from_utf8_lossy(&raw.bytes), boundary), true),
            MediaType::Other => return Err(Problem::unsupported_media_type(READ)),
        };
        let value =
            serde_path_to_error::deserialize(node.map_err(invalid)?).map_err(|error| invalid(explain(pointer(error.path()), &error.inner().to_string())))?;
        Ok(Self { value, raw_hash: raw.hash() })
    }
}

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let raw = Raw::read(request, BODY_BYTES_MAX).await?;
        let why = match &raw.media_type {
            MediaType::Form => return Ok(Self(Received::Read(plain::payload(plain::pairs(&raw.bytes))))),
            MediaType::Parts { boundary } => {
                return Ok(Self(Received::Read(plain::payload(plain::parts(&String::from_utf8_lossy(&raw.bytes), boundary)))));
            }
            MediaType::Json => "The body is not JSON",
            MediaType::Other => "The body is neither JSON nor a form",
        };
        let bytes: &[u8] = if raw.bytes.is_empty() { b"{}" } else { &raw.bytes };
        // Some call their JSON text.
        Ok(Self(serde_json::from_slice(bytes).map_or_else(
            |error| {
                let sent_as = content_type.as_deref().map_or("without a Content-Type".to_owned(), |content_type| format!("as {content_type:?}"));
                let detail = match raw.media_type {
                    MediaType::Json => format!("{why}: {error}."),
                    _ => format!("{why}; it was sent {sent_as}. Expected {READ}."),
                };
                Received::Unreadable(Unreadable {
                    detail,
                    content_type: content_type.unwrap_or_default(),
                    text: String::from_utf8_lossy(&raw.bytes).into_owned(),
                })
            },
            Received::Read,
        )))
    }
}

/// What forms and documents may be sent as.
const READ: &str = "application/json, application/x-www-form-urlencoded or multipart/form-data";

/// What is between the parts of a form with files.
fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    let is_multipart = essence.trim().eq_ignore_ascii_case("multipart/form-data");
    let mut named = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, boundary) = named.find(|(name, _)| is_multipart && name.eq_ignore_ascii_case("boundary"))?;
    Some(boundary.trim_matches('"').to_owned()).filter(|boundary| !boundary.is_empty())
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let node = plain::parse(plain::pairs(parts.uri.query().unwrap_or_default().as_bytes()), false).map_err(invalid)?;
        serde_path_to_error::deserialize(node).map(Self).map_err(|error| {
            let FieldError { field, detail } = explain(pointer(error.path()), &error.inner().to_string());
            invalid(FieldError { field: field.trim_start_matches('/').to_owned(), detail: detail.replace("field", "parameter") })
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        use axum::extract::path::ErrorKind;
        axum::extract::Path::from_request_parts(parts, state).await.map(|axum::extract::Path(value)| Self(value)).map_err(|rejection| {
            let why = match &rejection {
                PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
                    ErrorKind::Message(message) | ErrorKind::DeserializeError { message, .. } => message.clone(),
                    ErrorKind::ParseErrorAtKey { .. } | ErrorKind::ParseErrorAtIndex { .. } | ErrorKind::ParseError { .. } => "expected a whole number".into(),
                    ErrorKind::InvalidUtf8InPathParam { .. } => "expected UTF-8".into(),
                    other => return mistake(other),
                },
                other => return mistake(other),
            };
            Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", "Not found", format!("There is nothing at this address: {why}."))
        })
    }
}

/// A route and its handler disagree about the path: ours to mend.
fn mistake(error: &dyn fmt::Display) -> Problem {
    tracing::error!(%error, "path parameters");
    Problem::internal()
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = header_text(&parts.headers, header::IF_MATCH)? else { return Ok(Self(None)) };
        if value == "*" {
            return Ok(Self(None));
        }
        let version = value.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"')).and_then(|number| number.parse().ok());
        version.map(|version| Self(Some(version))).ok_or_else(|| Problem::version_changed("If-Match must be one ETag as it was sent, like \"v3\"."))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(key) = header_text(&parts.headers, IDEMPOTENCY_KEY)? else { return Ok(Self(None)) };
        let sane = (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        let invalid = || Problem::invalid("Idempotency-Key", format!("1 to {IDEMPOTENCY_KEY_LEN_MAX} visible ASCII characters"));
        sane.then(|| Self(Some(key.to_owned()))).ok_or_else(invalid)
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn header_text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(name.as_str(), "it once"));
    }
    first.map(|value| value.to_str().map(str::trim).map_err(|_| Problem::invalid(name.as_str(), "visible ASCII characters"))).transpose()
}

fn header_parameter(name: &str, description: &str, example: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![header_parameter("If-Match", "The ETag of the version that the change is for; 412 when it is not the current one.", "\"v3\"")]
    }
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "A name of your choice for this write. The same request with the same key is answered as the first time and does nothing twice.";
        let mut parameter = header_parameter("Idempotency-Key", description, "order-1042-paid");
        parameter.schema = Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(IDEMPOTENCY_KEY_LEN_MAX))
                .pattern(Some("^[!-~]+$"))
                .examples(["order-1042-paid"])
                .into(),
        );
        vec![parameter]
    }
}

/// A body as it came.
struct Raw {
    method: Method,
    uri: Uri,
    media_type: MediaType,
    bytes: Bytes,
}

enum MediaType {
    Json,
    Form,
    /// A form with files.
    Parts {
        boundary: String,
    },
    Other,
}

impl Raw {
    async fn read(request: Request, bytes_max: usize) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let boundary = content_type.and_then(boundary);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let media_type = match (essence.as_deref(), boundary) {
            (Some("application/json"), _) => MediaType::Json,
            (Some("application/x-www-form-urlencoded"), _) => MediaType::Form,
            (_, Some(boundary)) => MediaType::Parts { boundary },
            (Some(other), _) if other.starts_with("application/") && other.ends_with("+json") => MediaType::Json,
            _ => MediaType::Other,
        };
        let bytes = read_body(request, bytes_max).await?;
        // Some clients name a type for what they do not send.
        let media_type = if bytes.is_empty() { MediaType::Json } else { media_type };
        Ok(Self { method, uri, media_type, bytes })
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes: &[u8] = if self.bytes.is_empty() { b"{}" } else { &self.bytes };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Level::Top.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        typed(value.map_err(|error| Problem::malformed(format!("The body is not JSON: {error}.")))?)
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.method.as_str().as_bytes(), b"\n", self.uri.path().as_bytes(), b"\n", &self.bytes] {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// A document that did not come as a body, taken in as [`Body`] does.
pub(crate) fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    typed(Level::Top.deserialize(value).map_err(|error| Problem::malformed(error.to_string()))?)
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(plain::Strict(value)).map_err(|error| invalid(explain(pointer(error.path()), &error.inner().to_string())))
}

/// Reads a body within its limits of size and time.
pub async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut body = request.into_body();
    if body_hint(&body) > bytes_max as u64 {
        return Err(Problem::too_large(bytes_max));
    }
    let deadline = BODY_DEADLINE * (1 + (bytes_max >> 20) as u32);
    let read = async {
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::malformed(format!("The body broke off: {error}.")))?;
            let Ok(data) = frame.into_data() else { continue };
            len += data.len();
            if len > bytes_max {
                return Err(Problem::too_large(bytes_max));
            }
            // Most bodies come in one piece, which need not be copied.
            match first.take() {
                None if all.is_empty() => first = Some(data),
                None => all.extend_from_slice(&data),
                Some(before) => {
                    all.extend_from_slice(&before);
                    all.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| all.freeze()))
    };
    tokio::time::timeout(deadline, read).await.unwrap_or_else(|_| Err(Problem::too_slow(deadline.as_secs())))
}

fn body_hint(body: &axum::body::Body) -> u64 {
    use axum::body::HttpBody;
    body.size_hint().lower()
}

fn invalid(error: FieldError) -> Problem {
    Problem::invalid_detail(error.field, error.detail)
}

/// Where in the document we are: how `null` and `""` are taken.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// The document: its members may be absent.
    Top,
    /// A member of it: if an array, the members of its objects may be absent.
    Member,
    /// An object in such an array.
    Item,
    /// Everything below: as it is.
    Below,
}

/// Names below which everything is the company's own.
const OWN: [&str; 2] = ["properties", "fields"];

impl Level {
    fn strips(self) -> bool {
        matches!(self, Level::Top | Level::Item)
    }

    fn of_member(self, key: &str) -> Self {
        if self == Level::Top && !OWN.contains(&key) { Level::Member } else { Level::Below }
    }

    fn of_item(self) -> Self {
        if matches!(self, Level::Top | Level::Member) { Level::Item } else { Level::Below }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.of_item())? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut absent: Vec<String> = Vec::new();
        while let Some(key) = members.next_key::<String>()? {
            if map.contains_key(&key) || absent.contains(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            let value = members.next_value_seed(self.of_member(&key))?;
            if self.strips() && (value.is_null() || value.as_str() == Some("")) {
                if absent.len() < ABSENT_MAX {
                    absent.push(key);
                }
            } else {
                map.insert(key, value);
            }
        }
        Ok(map.into())
    }
}

/// Absent members that are remembered to find duplicates: no document of ours has as many.
const ABSENT_MAX: usize = 64;

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push_key(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

/// The longest value that is told back.
const FOUND_LEN_MAX: usize = 60;

/// serde's words in ours. serde has no structured errors: its phrases are stable, and what is not
/// recognised is passed on as it is.
fn explain(mut field: String, message: &str) -> FieldError {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let detail = if let Some(name) = message.strip_prefix("missing field ") {
        quoted(name).iter().for_each(|name| push_key(&mut field, name));
        "This field is required.".to_owned()
    } else if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest);
        if !names.is_empty() {
            let mut tail = String::new();
            push_key(&mut tail, &names.remove(0));
            if !field.ends_with(&tail) {
                field.push_str(&tail);
            }
        }
        if names.is_empty() { "There is no such field.".to_owned() } else { format!("There is no such field; the fields are {}.", names.join(", ")) }
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        format!("Expected one of {}.", quoted(rest).get(1..).unwrap_or_default().join(", "))
    } else if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .or_else(|| message.strip_prefix("invalid length "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let found =
            if found.len() <= FOUND_LEN_MAX { format!(", found {}", found.replace("map", "an object").replace("sequence", "an array")) } else { String::new() };
        format!("Expected {}{found}.", in_words(expected))
    } else if message.starts_with("data did not match any variant") {
        "Expected one of the forms that the reference lists for this field.".to_owned()
    } else {
        let mut sentence = message.trim_end_matches('.').to_owned();
        sentence.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
        sentence + "."
    };
    FieldError { field, detail }
}

/// Rust's names of types in words.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "a borrowed string" | "a string" => "a text",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") || expected.starts_with("adjacently tagged enum ") => {
            "an object"
        }
        _ if expected.starts_with("tuple ") => "an array",
        _ => expected,
    }
}

/// A document without members: `Body<Nothing>` for writes that take none.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Json;
    use axum::{Router, routing::get, routing::post};
    use goodword_core::ids::{LeadId, Mint};
    use goodword_core::time::Timestamp;
    use serde::Serialize;
    use serde_json::json;
    use tower::ServiceExt;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        email: Mail,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        amount: Option<u32>,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        properties: Map<String, Value>,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        sku: Option<String>,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Order,
        Invoice,
    }

    /// Stands for the types of `goodword_core::text`.
    #[derive(Debug, Serialize)]
    struct Mail(String);

    impl<'de> Deserialize<'de> for Mail {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            if text.contains('@') { Ok(Self(text)) } else { Err(D::Error::custom("expected an e-mail address")) }
        }
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        limit: Option<u8>,
        kind: Option<Kind>,
        ids: Option<Vec<String>>,
        live: Option<bool>,
    }

    fn router() -> Router {
        Router::new()
            .route("/json", post(|body: Body<Order>| async move { Json(body.value) }))
            .route("/small", post(|body: Body<Value, 16>| async move { Json(body.value) }))
            .route("/both", post(|body: BodyOrForm<Order>| async move { Json(body.value) }))
            .route("/hash", post(|body: Body<Value>| async move { Json(body.raw_hash) }))
            .route("/hash2", post(|body: Body<Value>| async move { Json(body.raw_hash) }))
            .route("/query", get(|Query(filter): Query<Filter>| async move { Json(filter) }))
            .route("/leads/{id}", get(|Path(id): Path<LeadId>| async move { Json(id) }))
            .route("/leads/{id}/{number}", get(|Path((id, number)): Path<(LeadId, u32)>| async move { Json((id, number)) }))
            .route("/match", get(|IfMatch(version): IfMatch| async move { Json(version) }))
            .route("/key", get(|IdempotencyKey(key): IdempotencyKey| async move { Json(key) }))
    }

    async fn send(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let request = headers.iter().fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
        let response = router().oneshot(request.body(axum::body::Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    const JSON: &[(&str, &str)] = &[("content-type", "application/json; charset=utf-8")];
    const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

    /// Status, field and detail of the first error.
    async fn refused(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let (status, problem) = send(method, path, headers, body).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(problem["type"].is_string(), "{problem}");
        (status, text(&problem["errors"][0]["field"]), text(if status == 422 { &problem["errors"][0]["detail"] } else { &problem["detail"] }))
    }

    #[tokio::test]
    async fn each_mistake_in_a_body_is_named() {
        let table: &[(&str, u16, &str, &str)] = &[
            ("{", 400, "", "The body is not JSON: EOF while parsing an object at line 1 column 1."),
            ("{\"email\": \"a@b\",\n \"name\": x}", 400, "", "The body is not JSON: expected value at line 2 column 10."),
            ("{\"email\":\"a@b\",\"email\":\"c@d\"}", 400, "", "The body is not JSON: the key \"email\" is there twice at line 1 column 22."),
            ("{\"email\":\"\",\"email\":\"c@d\"}", 400, "", "The body is not JSON: the key \"email\" is there twice at line 1 column 19."),
            ("{} {}", 400, "", "The body is not JSON: trailing characters at line 1 column 4."),
            ("", 422, "/email", "This field is required."),
            ("{}", 422, "/email", "This field is required."),
            ("{\"email\":\"\"}", 422, "/email", "This field is required."),
            ("{\"email\":\"x\"}", 422, "/email", "Expected an e-mail address."),
            ("{\"email\":7}", 422, "/email", "Expected a text, found integer `7`."),
            ("[]", 422, "", "Expected an object, found an array."),
            ("[\"a@b\"]", 422, "", "Expected an object, found an array."),
            ("{\"email\":\"a@b\",\"items\":[[\"s\"]]}", 422, "/items/0", "Expected an object, found an array."),
            ("{\"email\":\"a@b\",\"amount\":-1}", 422, "/amount", "Expected a whole number, 0 or more, found integer `-1`."),
            ("{\"email\":\"a@b\",\"amount\":\"1\"}", 422, "/amount", "Expected a whole number, 0 or more, found string \"1\"."),
            ("{\"email\":\"a@b\",\"kind\":\"gift\"}", 422, "/kind", "Expected one of order, invoice."),
            ("{\"email\":\"a@b\",\"mail\":1}", 422, "/mail", "There is no such field; the fields are email, name, amount, kind, properties, items."),
            ("{\"email\":\"a@b\",\"items\":[{},{\"a/b\":1}]}", 422, "/items/1/a~1b", "There is no such field; the fields are sku."),
            ("{\"email\":\"a@b\",\"items\":{}}", 422, "/items", "Expected an array, found an object."),
        ];
        for (body, status, field, detail) in table {
            let found = refused("POST", "/json", JSON, body).await;
            if detail.is_empty() {
                assert_eq!((found.0, &*found.1), (*status, *field), "{body}");
            } else {
                assert_eq!((found.0, &*found.1, &*found.2), (*status, *field, *detail), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn null_and_empty_mean_absent_but_in_the_companys_own_fields() {
        let body =
            json!({"email": "a@b", "name": "", "kind": null, "properties": {"plan": "", "x": null}, "items": [{"sku": ""}, {"sku": null}, {"sku": "s"}]});
        let (status, seen) = send("POST", "/json", JSON, &body.to_string()).await;
        assert_eq!(
            (status, &seen["name"], &seen["properties"], &seen["items"]),
            (200, &Value::Null, &body["properties"], &json!([{"sku": null}, {"sku": null}, {"sku": "s"}]))
        );
    }

    #[tokio::test]
    async fn a_body_has_a_type_and_a_size() {
        assert_eq!(refused("POST", "/json", FORM, "email=a@b").await.0, 415);
        assert_eq!(refused("POST", "/json", &[], "{}").await.0, 415);
        assert_eq!(refused("POST", "/json", FORM, "").await.0, 422, "no body is an empty document, whatever its type");
        assert_eq!(refused("POST", "/both", &[("content-type", "text/plain")], "x").await.0, 415);
        assert_eq!(refused("POST", "/small", JSON, "{\"a\":\"0123456789\"}").await.0, 413);
        assert_eq!(send("POST", "/small", JSON, "{\"a\":\"01234567\"}").await.0, 200);
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(refused("POST", "/small", JSON, &deep).await.0, 413);
        assert_eq!(refused("POST", "/hash", JSON, &deep).await.0, 400);
    }

    #[tokio::test]
    async fn a_stream_that_does_not_tell_its_size_is_limited_too() {
        let pieces = (0..8).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"0123")));
        let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
        let refused = read_body(Request::new(body), 16).await.unwrap_err();
        assert_eq!(refused.status(), 413);
        let pieces = ["01", "23", "45"].map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())));
        let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(read_body(Request::new(body), 16).await.unwrap(), "012345");
    }

    #[tokio::test]
    async fn a_form_reads_like_json() {
        let (status, seen) = send("POST", "/both", FORM, "email=a%40b&amount=12&kind=order&name=&properties[plan]=pro&properties[n]=").await;
        assert_eq!(status, 200, "{seen}");
        assert_eq!((&seen["amount"], &seen["kind"], &seen["properties"]), (&json!(12), &json!("order"), &json!({"plan": "pro", "n": ""})));
        assert_eq!(send("POST", "/both", JSON, "{\"email\":\"a@b\"}").await.0, 200);
        // In parts, it is the same form; a file is none of its values.
        let parts = &[("content-type", "Multipart/Form-Data; charset=utf-8; boundary=\"x-Y\"")];
        let part = |head: &str, value: &str| format!("--x-Y\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
        let fields = ["email a@b", "amount 12", "kind order", "name ", "properties[plan] pro", "properties[n] "];
        let fields: String = fields.iter().map(|field| field.split_once(' ').unwrap()).map(|(name, value)| part(&format!("name=\"{name}\""), value)).collect();
        assert_eq!(send("POST", "/both", parts, &(fields.clone() + "--x-Y--\r\n")).await, (200, seen));
        let file = part("name=\"cv\"; filename=\"cv.pdf\"", "%PDF");
        let found = refused("POST", "/both", parts, &(fields + &file + "--x-Y--\r\n")).await;
        assert_eq!(found, (422, "cv".to_owned(), "Expected a text, found a file.".to_owned()));
        assert_eq!(refused("POST", "/both", parts, "no parts").await.1, "/email");
        assert_eq!(refused("POST", "/both", &[("content-type", "multipart/form-data")], "no boundary").await.0, 415);
        let refusals = [
            ("email=a@b&amount=x", "/amount", "Expected a whole number, 0 or more."),
            ("email=a@b&mail=x", "/mail", "There is no such field; the fields are email, name, amount, kind, properties, items."),
            ("name=x", "/email", "This field is required."),
            ("email=a@b&kind=gift", "/kind", "Expected one of order, invoice."),
            ("email=a@b&email=c@d", "email", "It is given more than once."),
            ("email=a@b&properties[a][b][c][d]=1", "properties[a][b][c][d]", "Expected at most 4 levels."),
            ("email[x]=1", "/email", "Invalid type: map"),
        ];
        for (form, field, detail) in refusals {
            let found = refused("POST", "/both", FORM, form).await;
            assert_eq!((found.0, &*found.1), (422, field), "{form}");
            assert!(found.2 == detail || form.starts_with("email[x"), "{form}: {}", found.2);
        }
    }

    #[tokio::test]
    async fn a_query_is_strict() {
        let (status, seen) = send("GET", "/query?limit=5&kind=invoice&ids=a,b&live=true", &[], "").await;
        assert_eq!((status, seen), (200, json!({"limit": 5, "kind": "invoice", "ids": ["a", "b"], "live": true})));
        assert_eq!(send("GET", "/query?limit=&kind=", &[], "").await.0, 200);
        let refusals = [
            ("limit=300", "limit", "Expected a whole number from 0 to 255."),
            ("limit=1&limit=2", "limit", "It is given more than once."),
            ("kind=gift", "kind", "Expected one of order, invoice."),
            ("live=yes", "live", "Expected true or false."),
            ("lim=1", "lim", "There is no such parameter; the parameters are limit, kind, ids, live."),
        ];
        for (query, field, detail) in refusals {
            assert_eq!(refused("GET", &format!("/query?{query}"), &[], "").await, (422, field.to_owned(), detail.to_owned()));
        }
    }

    #[tokio::test]
    async fn an_id_that_is_none_is_not_there() {
        let id: LeadId = Mint::new(Timestamp::from_ms(1), 1).id();
        assert_eq!(send("GET", &format!("/leads/{id}"), &[], "").await, (200, json!(id)));
        assert_eq!(send("GET", &format!("/leads/{id}/7"), &[], "").await, (200, json!([id, 7])));
        let (status, _, detail) = refused("GET", "/leads/rwd_1", &[], "").await;
        assert_eq!((status, &*detail), (404, "There is nothing at this address: expected an id like lead_ and 26 letters and digits."));
        for path in [format!("/leads/{id}/x"), "/leads/x/7".to_owned(), "/leads/%ff".to_owned()] {
            assert_eq!(refused("GET", &path, &[], "").await.0, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn versions_and_keys_come_in_headers() {
        assert_eq!(send("GET", "/match", &[("if-match", "\"v3\"")], "").await, (200, json!(3)));
        assert_eq!(send("GET", "/match", &[], "").await, (200, Value::Null));
        assert_eq!(send("GET", "/match", &[("if-match", "*")], "").await, (200, Value::Null));
        for other in ["v3", "W/\"v3\"", "\"abc\"", "\"v1\", \"v2\""] {
            assert_eq!(refused("GET", "/match", &[("if-match", other)], "").await.0, 412, "{other}");
        }
        assert_eq!(send("GET", "/key", &[("idempotency-key", "a-1")], "").await, (200, json!("a-1")));
        assert_eq!(send("GET", "/key", &[], "").await, (200, Value::Null));
        for bad in ["", "a b", &"x".repeat(256)] {
            assert_eq!(refused("GET", "/key", &[("idempotency-key", bad)], "").await.1, "Idempotency-Key", "{bad}");
        }
        assert_eq!(refused("GET", "/key", &[("idempotency-key", "a"), ("idempotency-key", "b")], "").await.0, 422);
    }

    #[tokio::test]
    async fn the_hash_stands_for_the_whole_request() {
        let (_, a) = send("POST", "/hash", JSON, "{\"a\":1}").await;
        assert_eq!(send("POST", "/hash", JSON, "{\"a\":1}").await.1, a);
        assert_ne!(send("POST", "/hash", JSON, "{\"a\":2}").await.1, a);
        assert_ne!(send("POST", "/hash2", JSON, "{\"a\":1}").await.1, a);
    }
}
