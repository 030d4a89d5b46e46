//! The document of the API at `/openapi.json`, made from the routes, and its page at `/docs`.

use super::{App, IdempotencyKey, auth, problem, reference, reply};
use crate::config::Config;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use goodword_core::{ids, time::Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, OnceLock},
};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{Info, OpenApi, Paths, Server, Tag},
};

/// A chapter of the reference, in the order of the page: its name and what it is about.
pub type Chapter = (&'static str, &'static str);

const DESCRIPTION: &str = "\
Goodword runs referral programs: people share links, friends join, companies report what the friends buy, rewards follow.

JSON everywhere; times are RFC 3339 in UTC; ids say what they name (`lead_…`). In requests `null` and `\"\"` mean the same as leaving a field out, \
and unknown fields and parameters are refused. A write takes an `Idempotency-Key`: sent again with it, the same request gets the first answer, \
or where that showed what is kept as a hash only, a 409 that names what was made. Lists are walked with `cursor`. \
Errors are RFC 9457 problems that name the field, the reason and the next step.";

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// `extensions(("x-goodword-unkeyed" = json!(true)))` of a write that takes no key, and says why.
const UNKEYED: &str = "x-goodword-unkeyed";

/// Completes what the routes say of themselves: title, server, chapters, keys, the common answers, and the
/// schemas that answers refer to.
pub fn document(routes: OpenApi, config: &Config, chapters: &[Chapter]) -> Value {
    let mut components = routes.components.unwrap_or_default();
    components.schemas.extend(problem::schema_components());
    components.schemas.extend(shared_schemas());
    components.responses.extend(problem::response_components().map(|(name, response)| (name, response.into())));
    components.security_schemes.extend(auth::security_schemes().map(|(name, scheme)| (name.to_owned(), scheme.into())));

    let mut info = Info::new("Goodword", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut api = OpenApi::new(info, Paths::new());
    api.paths = routes.paths;
    api.components = Some(components);
    api.servers = Some(vec![Server::new(config.public_url())]);
    api.security = Some(auth::security());
    api.tags = Some(chapters.iter().map(|(name, about)| with_description(Tag::new(*name), about)).collect());

    let mut document = serde_json::to_value(&api).unwrap_or_default();
    let parameters: Map<String, Value> = IdempotencyKey::into_params(|| None)
        .into_iter()
        .filter_map(|parameter| Some(("IdempotencyKey".to_owned(), serde_json::to_value(parameter).ok()?)))
        .collect();
    document["components"]["parameters"] = parameters.into();
    lift_schemas(&mut document);
    merge_flattened(&mut document);
    relax_bodies(&mut document);
    open_objects(&mut document);
    name_variants(&mut document);
    name_operations(&mut document);
    name_writes(&mut document);
    drop_impossible(&mut document);
    drop_unused(&mut document);
    document
}

fn with_description(mut tag: Tag, about: &str) -> Tag {
    tag.description = Some(about.to_owned());
    tag
}

/// Schemas that parameters refer to: utoipa collects those of bodies only.
fn shared_schemas() -> Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)> {
    fn named<T: ToSchema>() -> (String, utoipa::openapi::RefOr<utoipa::openapi::Schema>) {
        (T::name().into_owned(), T::schema())
    }
    vec![
        named::<Timestamp>(),
        named::<ids::WorkspaceId>(),
        named::<ids::ApiKeyId>(),
        named::<ids::CampaignId>(),
        named::<ids::RewardDefinitionId>(),
        named::<ids::ReferrerId>(),
        named::<ids::LeadId>(),
        named::<ids::ConversionId>(),
        named::<ids::RewardId>(),
        named::<ids::SignalId>(),
        named::<ids::EventId>(),
        named::<ids::VisitId>(),
        named::<ids::VisitorId>(),
        named::<ids::EndpointId>(),
        named::<ids::DeliveryId>(),
        named::<ids::ReplayId>(),
    ]
}

/// Each operation: its path, method and content.
pub(super) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(method)?))))
}

fn each_operation(document: &mut Value, mut change: impl FnMut(&str, &mut Map<String, Value>)) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, item) in paths {
        for method in METHODS {
            if let Some(Value::Object(operation)) = item.get_mut(method) {
                change(method, operation);
            }
        }
    }
}

/// Objects of somebody's own making say that they may hold anything: generators take `{"type": "object"}` for one
/// without members.
fn open_objects(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object"))));
            let says_more = ["properties", "additionalProperties", "allOf", "oneOf", "anyOf"].iter().any(|word| members.contains_key(*word));
            if is_object && !says_more {
                members.insert("additionalProperties".to_owned(), true.into());
            }
            members.values_mut().for_each(open_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(open_objects),
        _ => {}
    }
}

/// Moves what [`reply::document`] left in the answers to the components.
fn lift_schemas(document: &mut Value) {
    let mut lifted = Map::new();
    each_operation(document, |_, operation| {
        for response in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(|responses| responses.values_mut()) {
            if let Some(Value::Object(schemas)) = response.as_object_mut().and_then(|response| response.remove(reply::SCHEMAS)) {
                lifted.extend(schemas);
            }
        }
    });
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for (name, schema) in lifted {
            let kept = schemas.entry(name.as_str()).or_insert_with(|| schema.clone());
            debug_assert_eq!(*kept, schema, "two schemas are called {name}: give one another name with #[schema(as = …)]");
        }
    }
}

/// A struct with a flattened one comes as `allOf`. Where the parts refuse what they do not know, each refuses
/// the other's members; so the members are put into one object.
fn merge_flattened(document: &mut Value) {
    fn merged(schemas: &Map<String, Value>, schema: &Value) -> Option<Map<String, Value>> {
        let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
        let schema = name.map_or(Some(schema), |name| schemas.get(name))?.as_object()?;
        let Some(parts) = schema.get("allOf").and_then(Value::as_array) else { return schema.contains_key("properties").then(|| schema.clone()) };
        let mut whole = Map::from_iter([("type".to_owned(), json!("object"))]);
        for part in parts {
            let part = merged(schemas, part)?;
            for (key, value) in part {
                match (whole.get_mut(&key), value) {
                    (Some(Value::Object(members)), Value::Object(more)) => members.extend(more),
                    (Some(Value::Array(members)), Value::Array(more)) => members.extend(more),
                    (Some(_), _) => {}
                    (None, value) => drop(whole.insert(key, value)),
                }
            }
        }
        // What is said of a part is not said of the whole.
        whole.remove("description");
        whole.extend(schema.iter().filter(|(key, _)| *key != "allOf").map(|(key, value)| (key.clone(), value.clone())));
        Some(whole)
    }
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let flattened = schemas.iter().filter(|(_, schema)| schema["allOf"].is_array());
    let whole: Vec<_> = flattened.filter_map(|(name, schema)| Some((name.clone(), merged(schemas, schema)?.into()))).collect();
    schemas.extend(whole);
}

/// No body at all reads like `{}`, so it may be left out where nothing in it is required.
fn relax_bodies(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    each_operation(document, |_, operation| {
        let Some(body) = operation.get_mut("requestBody").filter(|body| body["content"]["application/json"].is_object()) else { return };
        let schema = &body["content"]["application/json"]["schema"];
        let schema = schema["$ref"].as_str().and_then(|reference| schemas.get(reference.rsplit('/').next()?)).unwrap_or(schema);
        body["required"] = schema["required"].as_array().is_some_and(|required| !required.is_empty()).into();
    });
}

/// The variants of a schema are named after it and their tag, for generators: `RewardValueFixed`.
fn name_variants(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut().into_iter().flatten();
    for (name, schema) in schemas {
        for variant in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(properties) = variant["properties"].as_object() else { continue };
            let tag = properties.get("type").and_then(|tag| tag["enum"][0].as_str()).or_else(|| properties.keys().next().map(String::as_str));
            let words = tag.into_iter().flat_map(|tag| tag.split('_')).map(|word| word[..1].to_uppercase() + &word[1..]);
            variant["title"] = words.fold(name.clone(), |title, word| title + &word).into();
        }
    }
}

/// Handlers are named within their file (`list`); outside they need their chapter, too (`leads_list`).
fn name_operations(document: &mut Value) {
    each_operation(document, |_, operation| {
        let chapter = operation.get("tags").and_then(|tags| tags[0].as_str()).unwrap_or_default().replace([' ', '-'], "_");
        if let Some(id) = operation.get_mut("operationId").filter(|_| !chapter.is_empty()) {
            *id = format!("{chapter}_{}", id.as_str().unwrap_or_default()).into();
        }
    });
}

/// Every write with a key takes an `Idempotency-Key`, unless it says otherwise.
fn name_writes(document: &mut Value) {
    each_operation(document, |method, operation| {
        let unkeyed = operation.remove(UNKEYED).is_some();
        if method != "get" && !unkeyed && !is_public(operation) {
            let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
            if let Some(parameters) = parameters.as_array_mut()
                && !parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key")
            {
                parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
            }
        }
    });
}

/// [`Problem`](super::Problem) documents every answer; here go those that an operation cannot give.
fn drop_impossible(document: &mut Value) {
    each_operation(document, |method, operation| {
        let is_public = is_public(operation);
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let has_version = parameters.is_some_and(|parameters| parameters.iter().any(|parameter| parameter["name"] == "If-Match"));
        let possible = |status: &str| match status {
            "401" | "403" => !is_public,
            "408" | "409" | "413" | "415" => method != "get",
            "412" => has_version,
            _ => true,
        };
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.retain(|status, response| response["$ref"].is_null() || possible(status));
        }
    });
}

/// An operation without a key: `security(())`.
fn is_public(operation: &Map<String, Value>) -> bool {
    operation.get("security").and_then(Value::as_array).is_some_and(|ways| ways.iter().all(|way| *way == json!({})))
}

fn drop_unused(document: &mut Value) {
    loop {
        let used = references(document);
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| used.contains(&format!("#/components/schemas/{name}")));
        if schemas.len() == before {
            return;
        }
    }
}

fn references(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| walk(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, &mut found);
    found
}

/// What the document fails to tell: references that lead nowhere, parameters of paths that are not
/// described, bodies that would take what they do not know, operations of the same name. The test that holds code and document
/// together expects none.
pub fn gaps(document: &Value) -> Vec<String> {
    let lost = references(document).into_iter().filter(|reference| reference.strip_prefix('#').is_none_or(|pointer| document.pointer(pointer).is_none()));
    let lost = lost.map(|reference| format!("{reference} leads nowhere"));
    let unnamed = operations(document).flat_map(|(path, method, operation)| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let named: BTreeSet<&str> = parameters.filter(|parameter| parameter["in"] == "path").filter_map(|parameter| parameter["name"].as_str()).collect();
        let wanted = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        wanted.filter(move |name| !named.contains(name)).map(move |name| format!("{method} {path}: {name} is not described"))
    });
    let loose = operations(document).flat_map(|(path, method, operation)| {
        let media = operation["requestBody"]["content"].as_object().into_iter().flat_map(Map::values);
        let schemas = media
            .map(|media| media["schema"]["$ref"].as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?)).unwrap_or(&media["schema"]));
        let loose = schemas.filter(|schema| schema["properties"].is_object() && schema["additionalProperties"] != false);
        loose.map(move |_| format!("{method} {path}: the body lacks deny_unknown_fields"))
    });
    let mut ids = HashSet::new();
    let twins = operations(document).filter(|(_, _, operation)| !ids.insert(operation["operationId"].as_str()));
    let twins: Vec<_> = twins.map(|(path, method, operation)| format!("{method} {path}: {} is another operation's id", operation["operationId"])).collect();
    lost.chain(unnamed).chain(loose).chain(twins).collect()
}

/// `/openapi.json` and `/docs`, each made once, when it is asked for first. The document is not kept between them: as
/// values it takes twenty times as much memory as its text.
pub fn router(document: impl Fn() -> Value + Clone + Send + Sync + 'static) -> Router<App> {
    let page = document.clone();
    let json = lazily("application/json", move || serde_json::to_vec_pretty(&document()).unwrap_or_default());
    let page = lazily("text/html; charset=utf-8", move || reference::page(&page()).into_string().into_bytes());
    let css = lazily("text/css; charset=utf-8", || reference::CSS.as_bytes().to_vec());
    let script = lazily("text/javascript; charset=utf-8", || reference::SCRIPT.as_bytes().to_vec());
    Router::new()
        .route("/openapi.json", get(move |headers: HeaderMap| async move { json(&headers) }))
        .route("/docs", get(move |headers: HeaderMap| async move { page(&headers) }))
        .route("/docs/reference.css", get(move |headers: HeaderMap| async move { css(&headers) }))
        .route("/docs/reference.js", get(move |headers: HeaderMap| async move { script(&headers) }))
}

/// A file that is made at its first request, and not sent again to those who have it.
fn lazily(media_type: &'static str, make: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> impl Fn(&HeaderMap) -> Response + Clone + Send + Sync + 'static {
    let made = Arc::new((OnceLock::<(Bytes, HeaderValue)>::new(), make));
    move |headers| {
        let (file, make) = &*made;
        let (bytes, etag) = file.get_or_init(|| {
            let bytes = Bytes::from(make());
            let etag = Sha256::digest(&bytes).iter().take(8).fold(String::new(), |etag, byte| etag + &format!("{byte:02x}"));
            (bytes, HeaderValue::try_from(format!("\"{etag}\"")).unwrap_or(HeaderValue::from_static("\"0\"")))
        });
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| sent == etag);
        let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(bytes.clone())) };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::ETAG, etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(reference::CONTENT_SECURITY_POLICY));
        response
    }
}
