//! The OpenAPI document and the routes hold together, and the document is fit for generators.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod web;

use goodword::{config::Config, http::openapi, routes};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use web::{Operation, Web, file, paths_of, resolve};

fn document() -> Value {
    routes::document(&Config::default())
}

/// Addresses that are no part of the native API: what operators and browsers ask. The prefix ends at a slash.
const UNDOCUMENTED: &[&str] = &["/openapi.json", "/docs", "/healthz", "/readyz", "/metrics"];

fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let (_guard, url) = goodword_testkit::sqlite_url();
    let (web, document) = (Web::open(&url).await, document());
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let served = paths_of(&web.router);
    let api: BTreeSet<String> = served.iter().filter(|path| is_api(path)).cloned().collect();
    assert_eq!(documented.difference(&served).collect::<Vec<_>>(), Vec::<&String>::new(), "documented, but not served");
    assert_eq!(api.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "served, but not documented");
    assert!(UNDOCUMENTED.iter().all(|path| served.contains(*path)), "the router is shown as expected: {served:?}");

    // Methods: a path that is asked for with a method that nobody has tells which ones it has.
    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for operation in Operation::all(&document) {
        methods.entry(operation.path).or_default().insert(operation.verb());
    }
    for (path, methods) in methods {
        let answer = web.send("BREW", &path.replace(['{', '}'], ""), None, None).await;
        let allowed = answer.headers["allow"].to_str().unwrap().split(',').map(str::trim);
        let allowed: BTreeSet<String> = allowed.filter(|method| *method != "HEAD").map(str::to_owned).collect();
        assert_eq!((answer.status, allowed), (405, methods), "{path}");
    }
}

#[test]
fn nothing_in_the_document_is_missing_or_leads_nowhere() {
    assert_eq!(openapi::gaps(&document()), Vec::<String>::new());
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let chapters: BTreeSet<&str> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut summaries = BTreeMap::new();
    let mut wrong = Vec::new();
    for operation in Operation::all(&document) {
        let mut check = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{}: {what}", operation.name()));
            }
        };
        let content = operation.content;
        let summary = content["summary"].as_str().unwrap_or_default();
        check(!summary.is_empty() && summary.len() <= 60 && !summary.ends_with('.'), "a summary of at most 60 characters without a full stop");
        let chapter = content["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        check(matches!(chapter, [tag] if chapters.contains(tag.as_str().unwrap())), "one of the chapters as its tag");
        if let Some(other) = summaries.insert((chapter.first().map(Value::to_string), summary.to_owned()), operation.name()) {
            check(false, &format!("a summary of its own; {other} has the same"));
        }
        check(operation.is_public() || (content["security"].is_null() && !document["security"].is_null()), "a key, or security(()) where everybody may");

        let responses = content["responses"].as_object().unwrap();
        check(responses.keys().any(|status| status.starts_with('2') || status.starts_with('3')), "an answer when it goes well");
        let mut errors = vec!["429", "500", "503"];
        if !operation.is_public() {
            errors.extend(["401", "403"]);
        }
        if operation.path.contains('{') {
            errors.push("404");
        }
        if content["requestBody"].is_object() {
            errors.extend(["400", "413", "415", "422"]);
        }
        for status in errors {
            check(responses.contains_key(status), &format!("the answer {status}"));
        }
        for (status, response) in responses {
            let response = resolve(&document, response);
            check(response["description"].as_str().is_some_and(|text| !text.is_empty()), &format!("what {status} means"));
            let is_problem = response["content"]["application/problem+json"]["schema"]["$ref"] == "#/components/schemas/Problem";
            check(!status.starts_with(['4', '5']) || is_problem, &format!("a problem for {status}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn operation_ids_are_unique_and_make_good_names() {
    let document = document();
    let mut seen = BTreeMap::new();
    for operation in Operation::all(&document) {
        let id = operation.id();
        let well_formed = id.starts_with(|c: char| c.is_ascii_lowercase()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(well_formed && (3..=64).contains(&id.len()), "{}: {id:?} is no snake_case name", operation.name());
        if let Some(other) = seen.insert(id, operation.name()) {
            panic!("{} and {other} are both {id}", operation.name());
        }
    }
}

/// A generated client names a type after its schema, and a variant after its title.
#[test]
fn every_variant_has_a_name() {
    let document = document();
    let mut names = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for variant in schema["oneOf"].as_array().into_iter().flatten().filter(|variant| variant["properties"].is_object()) {
            let title = variant["title"].as_str().unwrap_or_default();
            assert!(title.starts_with(name.as_str()) && title.len() > name.len(), "{name}: {variant}");
            assert!(names.insert(title) && document["components"]["schemas"].get(title).is_none(), "{title} is the name of something else");
        }
    }
    assert!(names.contains("RewardValueFixed") && names.contains("PlacePath"), "{names:?}");
}

#[test]
fn what_changes_something_does_not_say_that_it_makes_something() {
    for operation in Operation::all(&document()) {
        let answers = &operation.content["responses"];
        assert!(answers["201"].is_null() || operation.verb() == "POST", "{}", operation.name());
    }
    let document = document();
    let statuses = |path: &str| ["200", "201"].map(|status| document["paths"][path]["post"]["responses"][status].is_object());
    assert_eq!(statuses("/v1/rewards/{id}/approve"), [true, false]);
    assert_eq!(statuses("/v1/campaigns"), [false, true]);
    assert_eq!(statuses("/v1/referrers"), [true, true]);
}

#[test]
fn an_example_of_an_event_is_an_event() {
    let schema = &document()["paths"]["/v1/event-types/{type}/sample"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/Event");
}

/// The committed document is the one of the code, so that a change of the API shows in a review.
/// `UPDATE=1 cargo test --test openapi` writes it.
#[test]
fn the_committed_document_is_that_of_the_code() {
    let (path, made) = (file("openapi.json"), format!("{:#}\n", document()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "the API has changed: look at the difference after `UPDATE=1 cargo test --test openapi`, and commit openapi.json with it");
}
