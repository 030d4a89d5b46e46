//! The recorded table: requests and the answers that the specification says they have. `recorded.json` has
//! at least one row for each row of the tables in sections 2.4, 2.8 and 2.9, and names it.

use crate::site::{Site, on_both, on_both_limited};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The row of the specification: `U1`, `v1 GET /users`, `n8n POST /users`, `2.3`.
    row: String,
    /// What is shown.
    #[serde(rename = "why")]
    why: Option<String>,
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A body in JSON.
    json: Option<Value>,
    /// A body as a form.
    form: Option<String>,
    /// A body as it stands.
    raw: Option<String>,
    status: u16,
    /// What the answer holds: a subset of its members.
    #[serde(default)]
    answer: Value,
    /// Values that later rows need: name and JSON pointer.
    #[serde(default)]
    keep: BTreeMap<String, String>,
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("recorded.json")).unwrap()
}

/// What every row of the specification's tables is called in the recorded table.
const ENDPOINTS: &[&str] = &[
    "U1",
    "U2",
    "U3",
    "U4",
    "U5",
    "U6",
    "U7",
    "C1",
    "C2",
    "C3",
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "R10",
    "v1 GET /campaigns",
    "v1 GET /campaigns/{id}",
    "v1 GET /users",
    "v1 GET /users/{id}",
    "v1 POST /users",
    "v1 PUT /users/{id}",
    "v1 DELETE /users/{id}",
    "v1 GET /rewards",
    "v1 404",
    "n8n GET /test",
    "n8n GET /campaigns",
    "n8n GET /rewards",
    "n8n GET /user-sources",
    "n8n POST /users",
    "n8n POST /users/qualify",
    "n8n POST /webhooks",
    "n8n DELETE /webhooks/{id}",
    "n8n PUT /rewards/{reward_id}",
    "n8n DELETE /rewards/{reward_id}",
    "2.3",
    "3.3",
    "1.4",
];

#[test]
fn every_endpoint_of_the_specification_has_a_row() {
    let rows = rows();
    let recorded: BTreeSet<&str> = rows.iter().map(|row| row.row.as_str()).collect();
    let expected: BTreeSet<&str> = ENDPOINTS.iter().copied().collect();
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn the_recorded_table() {
    on_both(async |site| {
        let campaign = site.usual_campaign().await;
        let report_key = site.key_with(&[goodword::engine::access::Scope::Report]).await;
        let read_key = site.key_with(&[goodword::engine::access::Scope::Read]).await;
        let mut known: BTreeMap<String, Value> = BTreeMap::from([
            ("campaign".into(), json!(campaign.number)),
            ("campaign_code".into(), json!(campaign.code)),
            ("campaign_id".into(), json!(campaign.id)),
            ("url".into(), json!(site.url)),
            ("key".into(), json!(site.key)),
            ("report_key".into(), json!(report_key)),
            ("read_key".into(), json!(read_key)),
        ]);
        for (i, row) in rows().into_iter().enumerate() {
            let name = format!("row {i}, {}: {} {} ({})", row.row, row.method, row.path, row.why.clone().unwrap_or_default());
            play(&site, &row, &mut known, &name).await;
        }
        site.close().await;
    })
    .await;
}

async fn play(site: &Site, row: &Row, known: &mut BTreeMap<String, Value>, name: &str) {
    let path = filled(&row.path, known);
    let mut headers: Vec<(String, String)> = row.headers.iter().map(|(name, value)| (name.to_lowercase(), filled(value, known))).collect();
    let mut default = |name: &str, value: String| {
        if !headers.iter().any(|(known, _)| known == name) {
            headers.push((name.to_owned(), value));
        }
    };
    default("authorization", format!("Bearer {}", site.key));
    default("accept", "application/json".into());
    let body = match (&row.json, &row.form, &row.raw) {
        (Some(body), ..) => {
            default("content-type", "application/json".into());
            filled_value(body, known).to_string()
        }
        (None, Some(form), _) => {
            default("content-type", "application/x-www-form-urlencoded".into());
            filled(form, known)
        }
        (None, None, raw) => raw.clone().unwrap_or_default(),
    };
    let headers: Vec<(&str, &str)> = headers.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // Roll-ups follow what has happened within a second; here at once.
    site.catch_up().await;
    let reply = site.send(&row.method, &path, &headers, &body).await;
    assert_eq!(reply.status, row.status, "{name}: {}", reply.text);
    if let Err(difference) = matches(&filled_value(&row.answer, known), &reply.body, "") {
        panic!("{name}: {difference}");
    }
    for (name, pointer) in &row.keep {
        let value = reply.body.pointer(pointer).unwrap_or_else(|| panic!("{name} at {pointer}: {:#}", reply.body));
        known.insert(name.clone(), value.clone());
    }
}

/// `{name}` in a text.
fn filled(text: &str, known: &BTreeMap<String, Value>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replace(&format!("{{{name}}}"), &value)
    })
}

/// A text that is nothing but `{name}` becomes the value, also a number.
fn filled_value(value: &Value, known: &BTreeMap<String, Value>) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|name| known.get(name)) {
            Some(value) => value.clone(),
            None => Value::String(filled(text, known)),
        },
        Value::Array(items) => items.iter().map(|item| filled_value(item, known)).collect(),
        Value::Object(members) => Value::Object(members.iter().map(|(name, value)| (name.clone(), filled_value(value, known))).collect()),
        other => other.clone(),
    }
}

/// Whether what was found holds what was expected. `<int>`, `<number>`, `<text>`, `<date>`, `<any>` stand for
/// values; `<absent>` for a member that is not there; a `"..."` at the end of an array for more items.
fn matches(expected: &Value, found: &Value, at: &str) -> Result<(), String> {
    let holds = match expected {
        Value::Null if at.is_empty() => true,
        Value::String(kind) if kind.starts_with('<') && kind.ends_with('>') => match kind.as_str() {
            "<int>" => found.is_i64(),
            "<number>" => found.is_number(),
            "<text>" => found.as_str().is_some_and(|text| !text.is_empty()),
            "<date>" => found.as_str().is_some_and(|text| text.len() == 10 && text.starts_with("20")),
            "<any>" => true,
            other => panic!("there is no {other}"),
        },
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}/{name}");
                match found.get(name) {
                    None if value == "<absent>" => {}
                    Some(_) if value == "<absent>" => return Err(format!("{at} is there")),
                    None => return Err(format!("{at} is missing")),
                    Some(found) => matches(value, found, &at)?,
                }
            }
            found.is_object()
        }
        Value::Array(items) => {
            let Some(list) = found.as_array() else { return Err(format!("{at} is no array")) };
            let open = items.last().is_some_and(|last| last == "...");
            let items = if open { &items[..items.len() - 1] } else { &items[..] };
            if list.len() < items.len() || (!open && list.len() != items.len()) {
                return Err(format!("{at} has {} items, expected {}", list.len(), items.len()));
            }
            for (i, (expected, found)) in items.iter().zip(list).enumerate() {
                matches(expected, found, &format!("{at}/{i}"))?;
            }
            true
        }
        other => other == found,
    };
    if holds { Ok(()) } else { Err(format!("{at}: expected {expected}, found {found}")) }
}

#[tokio::test]
async fn six_hundred_calls_a_minute_and_no_more() {
    on_both_limited(600, async |site| {
        site.usual_campaign().await;
        let mut refused = None;
        for i in 0..2_000 {
            let reply = site.call("GET", "/api/v2/campaigns?select=id", None).await;
            if reply.status == 429 {
                refused = Some((i, reply));
                break;
            }
            assert_eq!(reply.status, 200);
        }
        let (calls, reply) = refused.expect("a 429");
        assert!(calls >= 600, "{calls} calls were answered");
        assert_eq!(reply.body, json!({"code": 429, "message": "Too Many Attempts."}));
        assert!(reply.header("retry-after").is_some() && reply.header("x-ratelimit-remaining") == Some("0"), "{}", reply.headers);
        // Another key has calls of its own, and so has the native API.
        assert_eq!(site.call("GET", "/v1/campaigns", None).await.status, 200);
        site.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_with_its_key_is_done_once() {
    on_both(async |site| {
        let campaign = site.usual_campaign().await;
        let bearer = format!("Bearer {}", site.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "order-1")];
        let body = json!({"campaign_id": campaign.number, "first_name": "Ada", "email": "ada@example.com"}).to_string();
        let first = site.send("POST", "/api/v2/users", &headers, &body).await;
        let again = site.send("POST", "/api/v2/users", &headers, &body).await;
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!(first.body, again.body);
        let other = site.send("POST", "/api/v2/users", &headers, &body.replace("Ada", "Bea")).await;
        assert_eq!(other.status, 422, "{}", other.text);
        site.close().await;
    })
    .await;
}
