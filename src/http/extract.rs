//! What a handler takes in. Everything is checked before the handler runs, and every
//! refusal is a [`Problem`] that names the field.
//!
//! | extractor | takes | in `#[utoipa::path]` |
//! |---|---|---|
//! | [`Body<T>`] | a JSON document | `request_body = T` |
//! | [`BodyOrForm<T>`] | a JSON document or a form | `request_body(content((T = "application/json"), (T = "application/x-www-form-urlencoded")))` |
//! | [`Query<T>`] | the query string | nothing: `T` derives `IntoParams` |
//! | [`Path<T>`] | ids in the path | nothing for `Path<(LeadId,)>`; `Path<LeadId>` asks that ids implement `IntoParams` |
//! | [`IfMatch`] | the version that a change is for | `params(IfMatch)` |
//! | [`IdempotencyKey`] | the name of a write | nothing: [`super::openapi`] adds it to every write |

use super::{Problem, plain, problem::FieldError};
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
/// `T` carries `#[serde(deny_unknown_fields)]`. No body at all reads like `{}`.
#[derive(Debug, Clone)]
pub struct Body<T, const BYTES_MAX: usize = BODY_BYTES_MAX> {
    pub value: T,
    /// SHA-256 of method, path and body as they came: what an idempotency key stands for.
    pub raw_hash: [u8; 32],
}

/// A JSON document as in [`Body`], or a form whose names may have brackets: `properties[plan]=pro`.
#[derive(Debug, Clone)]
pub struct BodyOrForm<T> {
    pub value: T,
    pub raw_hash: [u8; 32],
}

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
        let value = match raw.media_type {
            MediaType::Json => raw.json()?,
            MediaType::Form => {
                let node = plain::parse(&raw.bytes, true).map_err(invalid)?;
                serde_path_to_error::deserialize(node).map_err(|error| invalid(explain(pointer(error.path()), &error.inner().to_string())))?
            }
            MediaType::Other => return Err(Problem::unsupported_media_type("application/json or application/x-www-form-urlencoded")),
        };
        Ok(Self { value, raw_hash: raw.hash() })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let node = plain::parse(parts.uri.query().unwrap_or_default().as_bytes(), false).map_err(invalid)?;
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

#[derive(Clone, Copy)]
enum MediaType {
    Json,
    Form,
    Other,
}

impl Raw {
    async fn read(request: Request, bytes_max: usize) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
        let essence = content_type.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let media_type = match essence {
            Some("application/json") => MediaType::Json,
            Some("application/x-www-form-urlencoded") => MediaType::Form,
            Some(other) if other.starts_with("application/") && other.ends_with("+json") => MediaType::Json,
            _ => MediaType::Other,
        };
        let no_type = essence.is_none();
        let bytes = read_body(request, bytes_max).await?;
        let media_type = if no_type && bytes.is_empty() { MediaType::Json } else { media_type };
        Ok(Self { method, uri, media_type, bytes })
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes: &[u8] = if self.bytes.is_empty() { b"{}" } else { &self.bytes };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Level::Top.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        let value = value.map_err(|error| Problem::malformed(format!("The body is not JSON: {error}.")))?;
        serde_path_to_error::deserialize(value).map_err(|error| invalid(explain(pointer(error.path()), &error.inner().to_string())))
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.method.as_str().as_bytes(), b"\n", self.uri.path().as_bytes(), b"\n", &self.bytes] {
            hash.update(part);
        }
        hash.finalize().into()
    }
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
