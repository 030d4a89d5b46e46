//! What a call brings along: who is calling, and what they want, from the query string and the body together
//! (sections 2.1 and 2.2). JSON and forms are the same; forms have brackets: `filters[0][field]=code`.

use super::refusal::{Answer, Refusal, json};
use crate::{
    engine::{
        access::Access,
        work::{Act, Context, Idempotency, Reply},
    },
    http::{App, IdempotencyKey, auth, auth::Needs, context, extract},
};
use axum::{
    extract::{FromRequest, FromRequestParts, OriginalUri, Request},
    http::{HeaderMap, Method, StatusCode, Uri, header},
};
use goodword_core::text::Line;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

const BODY_BYTES_MAX: usize = 1 << 20;
const VALUES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 6;

/// A call with a key that holds the scope `S`.
pub struct Ask<S> {
    pub app: App,
    pub access: Arc<Access>,
    pub uri: Uri,
    pub input: Input,
    key: Option<Idempotency>,
    scope: PhantomData<fn() -> S>,
}

impl<S: Needs> FromRequest<App> for Ask<S> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        if !accepts_json(request.headers()) {
            return Err(Refusal::not_json());
        }
        let key = auth::key_of(request.headers()).ok_or_else(Refusal::unauthenticated)?;
        let access = known(app, key).await?;
        if let Some(needed) = S::missing(&access) {
            return Err(Refusal::forbidden(needed));
        }
        let (mut parts, body) = request.into_parts();
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(&mut parts, app).await?;
        // The whole address: routers that are nested see a part of it.
        let uri = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.clone(), |original| original.0.clone());
        let method = parts.method.clone();
        // Version 1 takes `with` as a header.
        let with = parts.headers.get("with").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        let body = extract::read_body(Request::from_parts(parts, body), BODY_BYTES_MAX).await?;
        let mut input = Input::read(uri.query().unwrap_or_default(), &content_type, &body)?;
        if let Some(with) = with {
            input.0.entry("with").or_insert(Value::String(with));
        }
        let key = key.map(|key| Idempotency { key, request_hash: hash(&method, &uri, &body) });
        Ok(Self { app: app.clone(), access, uri, input, key, scope: PhantomData })
    }
}

/// Who calls with that key, within the limit of calls.
pub async fn known(app: &App, key: &str) -> Result<Arc<Access>, Refusal> {
    let access = app.engine.authenticate(key).await?.ok_or_else(Refusal::unauthenticated)?;
    context::leave_key(access.key_id);
    if let Some(quota) = app.limits.compat.take(access.key_id.uuid()) {
        context::leave_quota(quota);
        quota.retry_after_s.map_or(Ok(()), |seconds| Err(Refusal::too_many(seconds)))?;
    }
    Ok(access)
}

/// No `Accept`, or one that JSON satisfies.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).peekable();
    accepted.peek().is_none()
        || accepted.any(|range| {
            let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            matches!(&*essence, "" | "*/*" | "application/*" | "application/json") || essence.ends_with("+json")
        })
}

fn hash(method: &Method, uri: &Uri, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), b"\n", uri.to_string().as_bytes(), b"\n", body] {
        hash.update(part);
    }
    hash.finalize().into()
}

impl<S> Ask<S> {
    pub fn space(&self) -> crate::engine::Space {
        self.access.space
    }

    /// Who asks, for the record.
    pub fn context(&self, source: &str) -> Context {
        self.app.engine.context(self.space(), &self.access.key_id.to_string(), source)
    }

    /// Makes a change and answers with what it made; the answer is kept under the request's
    /// `Idempotency-Key`, where it has one.
    pub async fn change<A: Act>(&self, source: &str, act: A, render: impl Fn(&A::Output) -> (StatusCode, Value) + Send + Sync + 'static) -> Answer {
        let render = move |output: A::Output| {
            let (status, body) = render(&output);
            Reply::new(status.as_u16(), &body)
        };
        let reply = self.app.engine.run_keyed(self.context(source), act, self.key.clone(), render).await?;
        Ok(crate::http::reply::json_bytes(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK), reply.body))
    }
}

/// Names and values of a call, as a tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input(pub Map<String, Value>);

impl Input {
    pub fn read(query: &str, content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let mut values = parse_form(query.as_bytes())?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let looks_like_json = body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| matches!(byte, b'{' | b'['));
        let more = match essence {
            _ if body.is_empty() => Map::new(),
            "application/x-www-form-urlencoded" if !looks_like_json => parse_form(body)?,
            _ if essence.ends_with("json") || looks_like_json => match serde_json::from_slice(body) {
                Ok(Value::Object(members)) => members,
                Ok(_) => return Err(Refusal::malformed("The body must be a JSON object.")),
                Err(error) => return Err(Refusal::malformed(format!("The body is not JSON: {error}."))),
            },
            "" => parse_form(body)?,
            _ => return Err(Refusal::malformed("The body must be JSON (application/json) or a form (application/x-www-form-urlencoded).")),
        };
        values.extend(more);
        Ok(Self(values))
    }

    /// What is there and says something: `null` and `""` are absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty()))
    }

    /// A text or a number as a text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(scalar)
    }

    /// A list: an array, an object with numbers for names (from a form), or a text with commas.
    pub fn list(&self, name: &str) -> Vec<Value> {
        match self.get(name) {
            Some(Value::String(text)) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| item.into()).collect(),
            Some(value) => items(value),
            None => Vec::new(),
        }
    }

    /// Texts of a list.
    pub fn words(&self, name: &str) -> Vec<String> {
        self.list(name).iter().filter_map(scalar).collect()
    }
}

/// The items of a list that may have come from a form.
pub fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Object(members) if !members.is_empty() && members.keys().all(|key| key.parse::<u32>().is_ok()) => {
            let ordered: BTreeMap<u32, &Value> = members.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
            ordered.into_values().cloned().collect()
        }
        other => vec![other.clone()],
    }
}

/// A text, number or boolean as a text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Reads `a=1&b[0][c]=2&d[]=3`.
fn parse_form(text: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let mut root = Map::new();
    for (i, (name, value)) in form_urlencoded::parse(text).enumerate() {
        if i >= VALUES_MAX {
            return Err(Refusal::malformed(format!("There are more than {VALUES_MAX} values.")));
        }
        let path: Vec<&str> = name.split('[').map(|part| part.strip_suffix(']').unwrap_or(part)).collect();
        if path.len() > DEPTH_MAX {
            return Err(Refusal::malformed(format!("{name} has more than {DEPTH_MAX} levels.")));
        }
        insert(&mut root, &path, value.into_owned());
    }
    Ok(root)
}

/// The last value of a name counts; `[]` appends.
fn insert(object: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((name, rest)) = path.split_first() else { return };
    let name = if name.is_empty() { object.len().to_string() } else { (*name).to_owned() };
    if rest.is_empty() {
        object.insert(name, Value::String(value));
        return;
    }
    let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

/// Reads fields one after the other and keeps what is wrong with each, so that all of it is told at once.
pub struct Fields<'a> {
    input: &'a Input,
    errors: Vec<(String, String)>,
}

impl<'a> Fields<'a> {
    pub fn of(input: &'a Input) -> Self {
        Self { input, errors: Vec::new() }
    }

    pub fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push((field.to_owned(), message.into()));
    }

    pub fn required(&mut self, field: &str) -> Option<String> {
        let text = self.input.text(field);
        if text.is_none() {
            self.wrong(field, format!("The {} field is required.", field.replace('_', " ")));
        }
        text
    }

    /// A text of a kind; `expected` completes "must be …".
    pub fn parsed<T: std::str::FromStr>(&mut self, field: &str, text: Option<String>, expected: &str) -> Option<T> {
        let text = text?;
        let value = text.parse().ok();
        if value.is_none() {
            self.wrong(field, format!("The {} must be {expected}.", field.replace('_', " ")));
        }
        value
    }

    /// A name of a person: a line of text.
    pub fn line(&mut self, field: &str, text: Option<String>) -> Option<String> {
        self.parsed::<Line>(field, text, "a line of at most 200 characters").map(Line::into_string)
    }

    /// Yes or no, as Laravel takes it.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        match self.input.text(field)?.as_str() {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => {
                self.wrong(field, format!("The {} field must be true or false.", field.replace('_', " ")));
                None
            }
        }
    }

    pub fn done(self) -> Result<(), Refusal> {
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::fields(self.errors)) }
    }
}

/// `{"data": …}`.
pub fn data(value: Value) -> Value {
    serde_json::json!({ "data": value })
}

/// 200 with a document.
pub fn ok(value: &Value) -> Answer {
    Ok(json(StatusCode::OK, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_and_json_read_alike() {
        let form = Input::read(
            "page=2",
            "application/x-www-form-urlencoded",
            b"filters[0][field]=code&filters[0][value]=A+1&meta[][field]=x&select[]=id&select[]=email",
        )
        .unwrap();
        assert_eq!(form.text("page").unwrap(), "2");
        assert_eq!(form.list("filters"), vec![json!({"field": "code", "value": "A 1"})]);
        assert_eq!(form.words("select"), ["id", "email"]);
        let json = Input::read(
            "page=2",
            "application/json; charset=utf-8",
            br#"{"filters":[{"field":"code","value":"A 1"}],"select":"id,email","page":3,"empty":""}"#,
        )
        .unwrap();
        assert_eq!(json.list("filters"), form.list("filters"));
        assert_eq!(json.words("select"), ["id", "email"]);
        assert_eq!((json.text("page").unwrap(), json.get("empty")), ("3".into(), None));
    }

    #[test]
    fn what_cannot_be_read_is_a_400() {
        for (content_type, body) in [("application/json", "{"), ("application/json", "[1]"), ("text/xml", "<a/>"), ("multipart/form-data; boundary=x", "--x")] {
            assert_eq!(Input::read("", content_type, body.as_bytes()).unwrap_err().status(), 400, "{content_type}");
        }
        let deep = format!("a{}=1", "[b]".repeat(10));
        assert_eq!(Input::read(&deep, "", b"").unwrap_err().status(), 400);
        assert_eq!(Input::read("a=1&a[b]=2", "", b"").unwrap().0["a"], json!({"b": "2"}));
    }
}
