//! Nobody sees or changes what belongs to another workspace, or to the other side of
//! their own. The routes come from the OpenAPI document, so that none can be forgotten.

mod support;

use goodword_store::Value as Column;
use serde_json::{Value, json};
use std::collections::HashMap;
use support::{
    TestApp, person,
    site::{Actor, Site},
    ten_euros,
};

/// Stands in everything that the owner's world holds.
const MARK: &str = "onlyowners";

/// One thing of every kind that has an id, by the format of its id.
async fn a_full_world(site: &Site) -> HashMap<String, String> {
    let rewards =
        json!([ten_euros(json!({"name": format!("{MARK} reward")})), ten_euros(json!({"name": format!("{MARK} coupon"), "value": {"type": "coupon"}}))]);
    let campaign = site.app.campaign(json!({"name": format!("{MARK} campaign"), "rewards": rewards})).await;
    let (_, referrer) = campaign.try_enrol(person(&format!("priya-{MARK}@example.com")), Some(&format!("P-{MARK}"))).await.unwrap();
    let lead = referrer.lead(&format!("maya-{MARK}@example.net")).await;
    let answer = lead.buys(&format!("{MARK}-1"), "50.00 EUR").await;
    let made = async |path: &str, body: Value| {
        let reply = site.call(Actor::Test, "POST", path, Some(&body)).await;
        assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
        reply.json()
    };
    let listed = async |path: &str| {
        site.call(Actor::Test, "GET", path, None).await.json()["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{path} is empty")).to_owned()
    };
    let mapping = json!({"email": {"path": "email"}, "external_id": {"path": "id"}});
    let hook = made("/v1/inbound-hooks", json!({"name": format!("{MARK} hook"), "campaign_id": campaign.id, "mapping": mapping})).await;
    let address = hook["url"].as_str().expect("a hook has an address");
    let path = address.strip_prefix(&site.url).unwrap_or(address);
    let told = site.send("POST", path, &[("content-type", "application/json")], &json!({"email": lead.email, "id": format!("{MARK}-2")}).to_string()).await;
    assert!(told.status < 300, "{told:?}");
    let hook = hook["id"].as_str().unwrap().to_owned();
    [
        ("cmp-id", campaign.id.to_string()),
        ("rdf-id", campaign.definition().await.to_string()),
        ("ref-id", referrer.id.to_string()),
        ("lead-id", lead.id.to_string()),
        ("cnv-id", answer.conversion.unwrap().id.to_string()),
        ("rwd-id", answer.rewards[0].id.to_string()),
        ("sig-id", answer.signal_id.to_string()),
        ("evt-id", listed("/v1/events").await),
        ("key-id", listed("/v1/api-keys").await),
        ("msg-id", listed(&format!("/v1/inbound-hooks/{hook}/messages")).await),
        ("hook-id", hook),
    ]
    .into_iter()
    .map(|(format, id)| (format.to_owned(), id))
    .collect()
}

/// What a route is sent, where its body must hold something. `X` stands for the owner's id.
fn body_of(method: &str, path: &str) -> Value {
    match (method, path) {
        ("POST", "/v1/api-keys") => json!({"name": "Mine", "scopes": ["read"]}),
        ("POST", "/v1/campaigns") => json!({"name": "Mine"}),
        ("POST", "/v1/campaigns/{id}/try-rule") => json!({"rule": {}}),
        ("POST", "/v1/conversions") => json!({"kind": "order", "amount": "1.00", "currency": "EUR"}),
        ("POST", "/v1/conversions/refunds") => json!({"conversion_external_id": format!("{MARK}-1")}),
        ("POST", "/v1/inbound-hooks") => json!({"name": "Mine", "mapping": {"email": {"path": "email"}}}),
        ("POST", "/v1/inbound-hooks/{id}/preview") => json!({"payload": {"email": "x@example.net"}}),
        ("POST", "/v1/leads") => json!({"email": "x@example.net"}),
        ("POST", "/v1/leads/claims") => json!({"evidence": "They said so."}),
        ("POST", "/v1/qualifications/batch") => json!({"qualifications": [{"lead_id": "X"}]}),
        ("POST", "/v1/referrers") => json!({"email": "x@example.net"}),
        ("POST", "/v1/reward-definitions") => ten_euros(json!({})),
        ("POST", "/v1/reward-definitions/{id}/coupons") => json!({"codes": ["C-1"]}),
        ("POST", "/v1/rewards/actions") => json!({"action": "reject", "ids": ["X"]}),
        ("PUT", "/v1/rewards/{id}/total-spend") => json!({"total_spend": {"amount": "9.00", "currency": "EUR"}}),
        ("POST", "/v1/test/clock") => json!({"advance_seconds": 0}),
        ("PATCH", "/v1/campaigns/{id}") => json!({"name": "Stolen"}),
        ("PATCH", "/v1/reward-definitions/{id}" | "/v1/inbound-hooks/{id}" | "/v1/api-keys/{id}") => json!({"name": "Stolen"}),
        ("PATCH", _) => json!({"first_name": "Stolen"}),
        _ => json!({}),
    }
}

struct Route {
    method: String,
    path: String,
    /// Name, and the format of its ids.
    path_ids: Vec<(String, String)>,
    query_ids: Vec<(String, String)>,
    body_ids: Vec<(String, String)>,
    has_body: bool,
}

fn routes(document: &Value) -> Vec<Route> {
    let resolve = |value: &Value| -> Value {
        match value["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
            None => value.clone(),
        }
    };
    // The format of an id, also where it may be null.
    let format_of = |schema: &Value| -> Option<String> {
        let schema = resolve(schema);
        let any = schema["oneOf"].as_array().or(schema["anyOf"].as_array()).cloned().unwrap_or_default();
        let formats = std::iter::once(&schema).chain(&any).map(resolve).filter_map(|schema| schema["format"].as_str().map(str::to_owned));
        formats.into_iter().find(|format| format.ends_with("-id"))
    };
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let parameters: Vec<Value> = operation["parameters"].as_array().into_iter().flatten().map(resolve).collect();
            let ids_in = |place: &str| -> Vec<(String, String)> {
                let there = parameters.iter().filter(|parameter| parameter["in"] == place);
                there.filter_map(|parameter| Some((parameter["name"].as_str()?.to_owned(), format_of(&parameter["schema"])?))).collect()
            };
            let body = resolve(&operation["requestBody"]);
            let schema = resolve(&body["content"]["application/json"]["schema"]);
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                path_ids: ids_in("path"),
                query_ids: ids_in("query"),
                body_ids: properties.iter().filter_map(|(name, schema)| Some((name.clone(), format_of(schema)?))).collect(),
                has_body: !body.is_null(),
            });
        }
    }
    routes
}

/// Everything that is kept of the app's side, but for the roll-ups, which any question
/// about statistics brings up to date.
async fn belongings(app: &TestApp) -> Vec<(String, Vec<Vec<Column>>)> {
    let own = Column::Int(app.space.number());
    let mut all = Vec::new();
    for (table, rows) in app.everything().await.into_iter().filter(|(table, _)| !table.name.starts_with("statistics_")) {
        let Some(space) = table.columns.iter().position(|(name, _)| name == "space") else { continue };
        all.push((table.name, rows.into_iter().filter(|row| row[space] == own).collect()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn for_every_route_and_id_a_key_of_another_side_sees_and_changes_nothing() {
    support::site::on_both(
        |config| config.rate_limit_per_minute = 0,
        async |site| {
            let ids = a_full_world(site).await;
            let document = goodword::routes::document(&goodword::config::Config::default());
            let routes = routes(&document);
            assert!(routes.iter().filter(|route| !route.path_ids.is_empty()).count() > 40, "the document is read");
            let before = belongings(&site.app).await;
            for route in &routes {
                let name = format!("{} {}", route.method, route.path);
                let mut path = route.path.replace("{version}", "1").replace("{kind}", "leads").replace("{token}", "not-a-token");
                for (parameter, format) in &route.path_ids {
                    let id = ids.get(format).unwrap_or_else(|| panic!("{name}: the world has no {format}"));
                    path = path.replace(&format!("{{{parameter}}}"), id);
                }
                assert!(!path.contains('{'), "{name}: {path}");
                let query: Vec<_> = route.query_ids.iter().map(|(parameter, format)| format!("{parameter}={}", ids[format])).collect();
                let paths = std::iter::once(path.clone()).chain(query.iter().map(|query| format!("{path}?{query}")));
                let mut body = body_of(&route.method, &route.path);
                for (parameter, format) in &route.body_ids {
                    body[parameter.as_str()] = json!(ids[format]);
                }
                let placeholder = if route.path.starts_with("/v1/rewards") { &ids["rwd-id"] } else { &ids["lead-id"] };
                let body: Value = serde_json::from_str(&body.to_string().replace("\"X\"", &format!("\"{placeholder}\""))).unwrap();
                for path in paths {
                    for actor in [Actor::Stranger, Actor::Live] {
                        let mut bodies = vec![body.clone()];
                        // Where ids contradict each other, each on its own.
                        if route.body_ids.len() > 1 {
                            for (keep, _) in &route.body_ids {
                                let mut one = body.clone();
                                one.as_object_mut().unwrap().retain(|key, _| key == keep || !route.body_ids.iter().any(|(id, _)| id == key));
                                bodies.push(one);
                            }
                        }
                        for body in bodies {
                            let reply = site.call(actor, &route.method, &path, route.has_body.then_some(&body)).await;
                            assert!(reply.status < 500, "{name} as {actor:?}: {reply:?}");
                            let shown = reply.text.replace(&format!("{MARK}-1"), ""); // told by the caller, so no secret
                            assert!(!shown.contains(MARK), "{name} as {actor:?} shows what is not theirs: {reply:?}");
                            if !route.path_ids.is_empty() {
                                assert!([403, 404].contains(&reply.status), "{name} as {actor:?} with {body}: {reply:?}");
                            }
                        }
                    }
                    for actor in [Actor::Nobody, Actor::Forger] {
                        if route.path.starts_with("/v1/hooks/") || route.path == "/v1/event-types" {
                            continue; // the address is the key; the catalogue of events is public
                        }
                        let reply = site.call(actor, &route.method, &path, route.has_body.then_some(&body)).await;
                        assert_eq!(reply.status, 401, "{name} as {actor:?}: {reply:?}");
                    }
                    if route.method != "GET" && !route.path.starts_with("/v1/hooks/") {
                        let reply = site.call(Actor::Reader, &route.method, &path, route.has_body.then_some(&body)).await;
                        let only_looks = route.path.ends_with("/preview") || route.path.ends_with("/try-rule");
                        assert!(reply.status == 403 || only_looks, "{name} by a key that may only look: {reply:?}");
                    }
                }
            }
            for (before, after) in before.iter().zip(&belongings(&site.app).await) {
                assert_eq!(before, after, "something of another side was changed");
            }
        },
    )
    .await;
}

/// The drop-in APIs count their ids, so that neighbours' ids are easily guessed.
#[tokio::test(flavor = "multi_thread")]
async fn guessed_numbers_of_the_drop_in_apis_lead_nowhere() {
    support::site::on_both(
        |config| config.compat_limit_per_minute = 0,
        async |site| {
            let ids = a_full_world(site).await;
            let before = belongings(&site.app).await;
            let numbers = (1..=6).map(|n| n.to_string());
            let identifiers: Vec<String> = numbers
                .chain([format!("P-{MARK}"), format!("priya-{MARK}@example.com"), ids["lead-id"].clone(), ids["rwd-id"].clone(), ids["cmp-id"].clone()])
                .collect();
            for actor in [Actor::Stranger, Actor::Live, Actor::Nobody] {
                for id in &identifiers {
                    for (method, path) in [
                        ("GET", format!("/api/v2/users/{id}")),
                        ("PUT", format!("/api/v2/users/{id}")),
                        ("DELETE", format!("/api/v2/users/{id}")),
                        ("GET", format!("/api/v1/users/{id}")),
                        ("PUT", format!("/api/v1/users/{id}")),
                        ("DELETE", format!("/api/v1/users/{id}")),
                        ("GET", format!("/api/v2/campaigns/{id}")),
                        ("GET", format!("/api/v1/campaigns/{id}")),
                        ("POST", format!("/api/v2/rewards/issue/{id}")),
                        ("POST", format!("/api/v2/rewards/cancel/{id}")),
                        ("PUT", format!("/api/v2/rewards/{id}/total-spend")),
                    ] {
                        let body = json!({"first_name": "Stolen", "total_spend": 9});
                        let reply = site.call(actor, method, &path, (method != "GET").then_some(&body)).await;
                        assert!((400..500).contains(&reply.status), "{method} {path} as {actor:?}: {reply:?}");
                        assert!(!reply.text.replace(id.as_str(), "").contains(MARK), "{method} {path} as {actor:?}: {reply:?}");
                    }
                }
                let qualify = json!({"email": format!("maya-{MARK}@example.net"), "qualified": true});
                site.call(actor, "PUT", "/api/v2/users/qualification", Some(&qualify)).await;
            }
            assert!(before == belongings(&site.app).await, "something was changed");
        },
    )
    .await;
}
