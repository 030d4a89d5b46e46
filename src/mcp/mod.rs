//! `/mcp`: the Model Context Protocol, so that an assistant can look after a referral
//! program. Streamable HTTP without sessions: every request is one POST with one JSON-RPC
//! message and an API key.
//!
//! Few [`tools`], each with what it is good for. What moves money takes two steps, see
//! [`promise`].

mod promise;
mod tools;

use crate::http::{App, Caller, Problem, Read, extract::read_body, reply::json_bytes};
use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

/// The versions of the protocol that are understood, newest first.
const PROTOCOL_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const BODY_BYTES_MAX: usize = 256 * 1024;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

pub fn router() -> Router<App> {
    Router::new().route("/mcp", post(answer).get(no_stream).delete(no_stream))
}

/// There are no sessions, so there is no stream to listen to and nothing to end.
async fn no_stream() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response()
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    take(&app, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn take(app: &App, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    same_origin(&parts.headers, &app.config.public_url())?;
    let caller = Caller::<Read>::from_request_parts(&mut parts, app).await?;
    known_version(&parts.headers)?;
    let bytes = read_body(Request::from_parts(parts, body), BODY_BYTES_MAX).await?;
    Ok(match Message::parse(&bytes) {
        Ok(Message::Request { id, method, params }) => reply(StatusCode::OK, &id, dispatch(app, &caller, &method, &params).await),
        // A notification, or an answer to a question that is never asked.
        Ok(Message::Other) => StatusCode::ACCEPTED.into_response(),
        Err(fault) => reply(StatusCode::BAD_REQUEST, &Value::Null, Err(fault)),
    })
}

/// A page in a browser may not speak for somebody (DNS rebinding): an Origin that is not
/// ours is refused, as the specification asks.
fn same_origin(headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = url::Url::parse(public_url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    if origin.as_bytes() == own.as_bytes() {
        return Ok(());
    }
    let detail = "The Origin of the request is not this server; pages of others may not speak for you.";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not from this page", detail))
}

/// Clients send the version that was agreed upon with every request after the first.
fn known_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("mcp-protocol-version") {
        Some(version) if !PROTOCOL_VERSIONS.iter().any(|known| version.as_bytes() == known.as_bytes()) => {
            Err(Problem::malformed(format!("The header MCP-Protocol-Version must be one of {}.", PROTOCOL_VERSIONS.join(", "))))
        }
        _ => Ok(()),
    }
}

// ---------------------------------------------------------------- JSON-RPC

/// An error of the protocol: its code, and what is wrong in words.
type Fault = (i64, String);

enum Message {
    Request { id: Value, method: String, params: Value },
    Other,
}

impl Message {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let message: Value = serde_json::from_slice(bytes).map_err(|error| (PARSE_ERROR, format!("This is not JSON: {error}.")))?;
        let Value::Object(mut message) = message else {
            return Err((INVALID_REQUEST, "Expected one JSON-RPC message, an object; send the messages of a batch one by one.".into()));
        };
        if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err((INVALID_REQUEST, "Expected \"jsonrpc\": \"2.0\".".into()));
        }
        match (message.remove("id"), message.remove("method")) {
            (Some(id @ (Value::String(_) | Value::Number(_))), Some(Value::String(method))) => {
                Ok(Self::Request { id, method, params: message.remove("params").unwrap_or_default() })
            }
            (None, Some(Value::String(_))) | (Some(_), None) => Ok(Self::Other),
            _ => Err((INVALID_REQUEST, "Expected a method, and an id that is a text or a number.".into())),
        }
    }
}

fn reply(status: StatusCode, id: &Value, result: Result<Value, Fault>) -> Response {
    let body = match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}),
    };
    json_bytes(status, body.to_string())
}

async fn dispatch(app: &App, caller: &Caller<Read>, method: &str, params: &Value) -> Result<Value, Fault> {
    match method {
        "initialize" => Ok(initialize(params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools::listed(caller)})),
        "tools/call" => call(app, caller, params).await,
        _ => Err((METHOD_NOT_FOUND, format!("There is no method {method}."))),
    }
}

fn initialize(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = PROTOCOL_VERSIONS.iter().find(|version| **version == asked).unwrap_or(&PROTOCOL_VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": false}},
        "serverInfo": {"name": "goodword", "title": "Goodword", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Goodword runs referral programs: referrers share links, friends become leads, conversions qualify leads, rewards fall due. Everything has a reason: when somebody asks why, use explain_lead. What moves money is only previewed at first: show the effect to the person, and call confirm with the token when they agree.",
    })
}

/// A tool that fails says so in words, so that the assistant can mend its call.
async fn call(app: &App, caller: &Caller<Read>, params: &Value) -> Result<Value, Fault> {
    let name = params["name"].as_str().unwrap_or_default();
    let tool = tools::named(name).ok_or_else(|| (INVALID_PARAMS, format!("There is no tool {name:?}.")))?;
    let arguments = match &params["arguments"] {
        Value::Null => json!({}),
        arguments => arguments.clone(),
    };
    Ok(match tools::run(app, caller, tool, arguments).await {
        Ok(result) => json!({"content": [{"type": "text", "text": result.to_string()}], "structuredContent": result, "isError": false}),
        Err(problem) => json!({"content": [{"type": "text", "text": problem.in_words()}], "isError": true}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_speak_for_somebody() {
        let from = |origin: &'static str| HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        for (public_url, good) in [
            ("https://refer.example", "https://refer.example"),
            ("https://refer.example:443/below", "https://refer.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert!(same_origin(&from(good), public_url).is_ok(), "{good}");
            for bad in ["null", "", "http://refer.example", "https://refer.example.evil", "https://refer.example:8443", "http://127.0.0.1"] {
                assert!(same_origin(&from(bad), public_url).is_err(), "{bad}");
            }
        }
        assert!(same_origin(&HeaderMap::new(), "https://refer.example").is_ok());
    }
}
