//! Nobody reaches what belongs to somebody else: for every operation of the OpenAPI document, so that a new
//! one cannot be forgotten. Four sides, live and test of two workspaces, each with data of every kind; for
//! each of them, the keys of the other three are strangers.
//!
//! A new kind of id is made in [`Side::fill`], a new body that cannot be empty is added to [`body`].

mod web;

use goodword::{config::Config, engine::Space, routes};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use web::{Answer, Operation, Web, resolve};

/// One side of a workspace, and everything that can be named in it.
struct Side {
    name: &'static str,
    space: Space,
    admin: String,
    /// An id of every kind, by the name of its schema.
    ids: BTreeMap<&'static str, String>,
    /// What else names something, by the name of the member or parameter.
    names: BTreeMap<&'static str, String>,
}

impl Side {
    async fn fill(web: &Web, name: &'static str, space: Space) -> Self {
        let admin = web.admin_key(space).await;
        let post = async |path: &str, body: Value| web.ok("POST", path, &admin, body).await;
        let secret = |what: &str| format!("{what} canary {name}");

        let rewards = json!([
            {"name": secret("Cash"), "beneficiary": "referrer", "value": {"type": "commission", "percent": "10"}},
            {"name": secret("Voucher"), "beneficiary": "lead", "value": {"type": "coupon"}}
        ]);
        let campaign = post("/v1/campaigns", json!({"name": secret("Campaign"), "status": "live", "rewards": rewards})).await;
        let (campaign_id, voucher) = (&campaign["id"], &campaign["rewards"][1]["id"]);
        let coupon = format!("CANARY-{name}-1");
        post(&format!("/v1/reward-definitions/{}/coupons", text(voucher)), json!({"codes": [coupon, format!("CANARY-{name}-2")]})).await;
        let email = |who: &str| format!("{who}.canary@{name}.example");
        let referrer = post("/v1/referrers", json!({"campaign_id": campaign_id, "email": email("anna"), "external_id": format!("anna-{name}")})).await;
        let lead = post("/v1/leads", json!({"code": referrer["code"], "email": email("ben"), "external_id": format!("ben-{name}")})).await;
        let order = json!({"lead_id": lead["lead"]["id"], "external_id": format!("order-{name}"), "amount_minor": 5_000, "currency": "EUR"});
        let converted = post("/v1/conversions", order).await;
        let reward = first(web, "/v1/rewards?kind=commission", &admin).await;
        let event = first(web, "/v1/events", &admin).await;
        let hook = post("/v1/inbound-hooks", json!({"name": secret("Hook"), "campaign_id": campaign_id, "mapping": {"email": {"path": "email"}}})).await;
        let address = text(&hook["url"]).replace("https://refer.example", "");
        let told = web.send("POST", &address, None, Some(&json!({"email": email("nobody")}))).await;
        assert!(told.status < 300, "{} {}", told.status, told.body);
        let message = first(web, &format!("/v1/inbound-hooks/{}/messages", text(&hook["id"])), &admin).await;
        // Nothing is sent there: no dispatcher runs here.
        let endpoint = post("/v1/endpoints", json!({"url": format!("https://192.0.43.8/canary-{name}"), "campaign_id": campaign_id})).await;
        let tested = post(&format!("/v1/endpoints/{}/test", text(&endpoint["id"])), json!({})).await;
        let replay = post(&format!("/v1/endpoints/{}/replay", text(&endpoint["id"])), json!({"since": "2020-01-01T00:00:00Z"})).await;
        let spare = post("/v1/api-keys", json!({"name": secret("Spare"), "scopes": ["read"]})).await;

        let ids = [
            ("cmp_id", campaign_id),
            ("rdf_id", voucher),
            ("ref_id", &referrer["id"]),
            ("lead_id", &lead["lead"]["id"]),
            ("cnv_id", &converted["conversion"]["id"]),
            ("rwd_id", &reward["id"]),
            ("sig_id", &converted["signal_id"]),
            ("evt_id", &event["id"]),
            ("key_id", &spare["id"]),
            ("hook_id", &hook["id"]),
            ("ep_id", &endpoint["id"]),
            ("dlv_id", &tested["delivery_id"]),
            ("rpl_id", &replay["id"]),
            ("msg_id", &message["id"]),
        ];
        let names = [
            ("code", text(&referrer["code"])),
            ("referrer_email", email("anna")),
            ("email", email("ben")),
            ("coupon", coupon),
            ("external_id", format!("order-{name}")),
            ("lead_external_id", format!("ben-{name}")),
            ("conversion_external_id", format!("order-{name}")),
        ];
        Self { name, space, ids: ids.map(|(kind, id)| (kind, text(id))).into(), names: names.into(), admin }
    }

    /// An id of the kind that a schema describes; None for what is no id.
    fn id_for(&self, schema: &Value) -> Option<&str> {
        let reference = [schema].into_iter().chain(schema["oneOf"].as_array().into_iter().flatten()).find_map(|schema| schema["$ref"].as_str())?;
        let kind = reference.rsplit('/').next()?;
        // The kinds of the document's other resources are made known here when they come.
        kind.ends_with("_id").then(|| self.ids.get(kind).map(String::as_str)).flatten()
    }

    /// The path with this side's ids in it.
    fn path(&self, document: &Value, operation: Operation<'_>) -> String {
        let parameters = operation.parameters(document).filter(|parameter| parameter["in"] == "path");
        parameters.fold(operation.path.to_owned(), |path, parameter| {
            let name = text(&parameter["name"]);
            let id = match self.id_for(&parameter["schema"]) {
                Some(id) => id,
                None if name == "version" => "1",
                None if resolve(document, &parameter["schema"])["enum"].is_array() => resolve(document, &parameter["schema"])["enum"][0].as_str().unwrap(),
                None if operation.is_public() => "a-secret-that-nobody-knows",
                None => panic!("{}: tests/isolation.rs must learn to make {name}: {}", operation.name(), parameter["schema"]),
            };
            path.replace(&format!("{{{name}}}"), id)
        })
    }
}

/// The first of a list. The feed of events waits for transactions that are still running, in PostgreSQL those
/// of the tests next door too.
async fn first(web: &Web, path: &str, key: &str) -> Value {
    for _ in 0..500 {
        let list = web.ok("GET", path, key, json!(null)).await;
        if let Some(first) = list["data"].get(0) {
            return first.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{path} has nothing after 5 s");
}

/// Whether the path has an id in it.
fn names_something(document: &Value, operation: &Operation<'_>) -> bool {
    let mut in_path = operation.parameters(document).filter(|parameter| parameter["in"] == "path");
    in_path.any(|parameter| parameter["schema"]["$ref"].as_str().is_some_and(|reference| reference.ends_with("_id")))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// The body that an operation is content with, beside what names things. Most are content with nothing.
fn body(operation: Operation<'_>) -> Map<String, Value> {
    let amount = json!({"amount_minor": 100, "currency": "EUR"});
    let body = match operation.id() {
        "account_create_key" => json!({"name": "n", "scopes": ["read"]}),
        "account_move_clock" => json!({"advance_seconds": 0}),
        "campaigns_create" => json!({"name": "n"}),
        "campaigns_update" | "reward_definitions_update" | "account_update_key" => json!({"name": "stranger"}),
        "reward_definitions_create" => json!({"name": "n", "beneficiary": "lead", "value": {"type": "fixed", "amount": amount}}),
        "reward_definitions_add_coupons" => json!({"codes": ["STRANGER"]}),
        "referrers_create" | "leads_create" => json!({"email": "stranger@nowhere.example"}),
        "leads_claim" => json!({"evidence": "e"}),
        "referrers_update" | "leads_update" => json!({"first_name": "Stranger"}),
        "conversions_create" => json!({"amount_minor": 100, "currency": "EUR"}),
        "rewards_total_spend" => json!({"total_spend": amount}),
        "campaigns_try_rule" => json!({"rule": {}}),
        "inbound_hooks_create" => json!({"name": "n", "mapping": {"email": {"path": "email"}}}),
        "inbound_hooks_update" => json!({"name": "stranger"}),
        "inbound_hooks_preview" => json!({"payload": {}}),
        "endpoints_create" => json!({"url": "https://192.0.43.8/"}),
        "endpoints_update" => json!({"description": "stranger"}),
        "endpoints_replay" => json!({"since": "2020-01-01T00:00:00Z"}),
        "rewards_bulk" => json!({"action": "cancel"}),
        _ => json!({}),
    };
    body.as_object().unwrap().clone()
}

/// Everything that a side has, as the database has it; and what has no side.
async fn state(web: &Web, side: &Side) -> Vec<String> {
    // Kept answers of the one who asks, counters, when a key was used last, and roll-ups, which on PostgreSQL
    // wait for the transactions of other tests; the events that they are made of are compared.
    const PASSING: [&str; 5] = ["idempotency", "generations", "consumers", "statistics_daily", "statistics_referrers"];
    let space = side.space.number();
    let mut state = Vec::new();
    for table in web.engine.store().tables().await.unwrap() {
        if PASSING.contains(&table.name.as_str()) {
            continue;
        }
        let place = table.columns.iter().position(|(name, _)| name == "space");
        let passing = table.columns.iter().position(|(name, _)| name == "last_used_at");
        for mut row in web.engine.store().scan(&table, None, 100_000).await.unwrap() {
            if place.is_some_and(|place| row[place] == goodword_store::Value::Int(space)) {
                passing.into_iter().for_each(|place| drop(row.remove(place)));
                state.push(format!("{} {row:?}", table.name));
            }
        }
    }
    assert!(state.len() > 20, "{} has data", side.name);
    state
}

struct World {
    web: Web,
    document: Value,
    sides: Vec<Side>,
}

impl World {
    async fn make(url: &str) -> Self {
        let web = Web::open(url).await;
        let (first_live, first_test) = web.workspace("One").await;
        let (second_live, second_test) = web.workspace("Two").await;
        let mut sides = Vec::new();
        for (name, space) in [("one-live", first_live), ("one-test", first_test), ("two-live", second_live), ("two-test", second_test)] {
            sides.push(Side::fill(&web, name, space).await);
        }
        Self { web, document: routes::document(&Config::default()), sides }
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        Operation::all(&self.document)
    }

    async fn send(&self, operation: Operation<'_>, path: &str, key: Option<&str>, body: Map<String, Value>) -> Answer {
        let body = operation.content["requestBody"].is_object().then_some(Value::Object(body));
        self.web.send(&operation.verb(), path, key, body.as_ref()).await
    }

    /// Asks as everybody else for what belongs to a side. `ask` is called with the owner and a stranger's key.
    async fn as_strangers(&self, ask: impl AsyncFn(&Side, &str)) {
        for owner in &self.sides {
            let before = state(&self.web, owner).await;
            for stranger in self.sides.iter().filter(|side| side.name != owner.name) {
                ask(owner, &stranger.admin).await;
            }
            assert_eq!(before, state(&self.web, owner).await, "{} is as it was", owner.name);
        }
    }
}

/// No answer tells a word of what it was not asked with.
fn assert_tells_nothing(answer: &Answer, owner: &Side) {
    let told = answer.body.to_string().to_lowercase();
    let secrets = [format!("canary {}", owner.name), format!("canary@{}", owner.name), format!("canary-{}", owner.name)];
    for secret in secrets {
        assert!(!told.contains(&secret) || answer.asked.to_lowercase().contains(&secret), "{} told {secret}: {}", answer.asked, answer.body);
    }
    for (kind, id) in &owner.ids {
        assert!(!told.contains(id) || answer.asked.contains(id), "{} told the {kind} {id}: {}", answer.asked, answer.body);
    }
}

#[tokio::test]
async fn ids_in_the_path_are_not_there_for_anybody_else() {
    goodword_testkit::on_both(async |url| {
        let world = World::make(&url).await;
        // What needs no key opens with the secret in its address.
        let with_ids: Vec<_> =
            world.operations().into_iter().filter(|operation| names_something(&world.document, operation) && !operation.is_public()).collect();
        assert!(with_ids.len() > 30, "the document has operations with ids");
        world
            .as_strangers(async |owner, key| {
                for &operation in &with_ids {
                    let path = owner.path(&world.document, operation);
                    let answer = world.send(operation, &path, Some(key), body(operation)).await;
                    assert!(matches!(answer.status, 403 | 404), "{} of {}: {} {}", answer.asked, owner.name, answer.status, answer.body);
                    assert_tells_nothing(&answer, owner);
                }
            })
            .await;

        // The same requests find what they name when its owner sends them: deletions last.
        let mut in_order = with_ids.clone();
        in_order.sort_by_key(|operation| (operation.method == "delete", std::cmp::Reverse(operation.path)));
        for owner in &world.sides {
            for &operation in &in_order {
                let path = owner.path(&world.document, operation);
                let answer = world.send(operation, &path, Some(&owner.admin), body(operation)).await;
                assert!(answer.status < 300 || answer.status == 409, "{} by {}: {} {}", answer.asked, owner.name, answer.status, answer.body);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn ids_in_bodies_and_queries_lead_nowhere_for_anybody_else() {
    goodword_testkit::on_both(async |url| {
        let world = World::make(&url).await;
        let asked = std::cell::Cell::new(0);
        world
            .as_strangers(async |owner, key| {
                let stranger = world.sides.iter().find(|side| side.admin == key).unwrap();
                for operation in world.operations() {
                    for (place, value) in named_in(&world, operation, owner) {
                        // The path is the stranger's own, so that only the body or query is not.
                        let mut path = stranger.path(&world.document, operation);
                        let mut content = body(operation);
                        match place {
                            Place::Query(name) => path += &format!("?{name}={}", value.as_str().unwrap_or_default().replace('@', "%40")),
                            Place::Body(name) => drop(content.insert(name, value)),
                        }
                        let answer = world.send(operation, &path, Some(key), content).await;
                        assert!(answer.status < 500 && answer.status != 401, "{}: {} {}", answer.asked, answer.status, answer.body);
                        assert_tells_nothing(&answer, owner);
                        asked.set(asked.get() + 1);
                    }
                }
            })
            .await;
        assert!(asked.get() > 300, "there is much to ask: {}", asked.get());
    })
    .await;
}

enum Place {
    Query(String),
    Body(String),
}

/// Each parameter and member of a body that names something, with the owner's name for it. Deletions and
/// the like on the stranger's own things would only end the story early.
fn named_in(world: &World, operation: Operation<'_>, owner: &Side) -> Vec<(Place, Value)> {
    let document = &world.document;
    let name_for = |name: &str, schema: &Value| owner.id_for(schema).or_else(|| owner.names.get(name).map(String::as_str)).map(Value::from);
    let in_query = operation.parameters(document).filter(|parameter| parameter["in"] == "query").filter_map(|parameter| {
        let name = text(&parameter["name"]);
        Some((name_for(&name, &parameter["schema"])?, Place::Query(name)))
    });
    let properties = operation.body(document).and_then(|schema| schema["properties"].as_object()).into_iter().flatten();
    let in_body = properties.filter(|_| operation.method == "post").filter_map(|(name, schema)| {
        let value = match resolve(document, schema)["items"].as_object() {
            // A list of ids, or of things that have ids.
            Some(items) => {
                let items = Value::Object(items.clone());
                match owner.id_for(&items) {
                    Some(id) => json!([id]),
                    None => json!([one_of(document, &items, owner)?]),
                }
            }
            None => name_for(name, schema)?,
        };
        Some((value, Place::Body(name.clone())))
    });
    in_query.chain(in_body).map(|(value, place)| (place, value)).collect()
}

/// An element of a list, named by its first id.
fn one_of(document: &Value, items: &Value, owner: &Side) -> Option<Value> {
    let properties = resolve(document, items)["properties"].as_object()?;
    properties.iter().find_map(|(name, schema)| Some(json!({name: owner.id_for(schema)?})))
}

#[tokio::test]
async fn lists_show_a_side_its_own_only() {
    goodword_testkit::on_both(async |url| {
        let world = World::make(&url).await;
        world
            .as_strangers(async |owner, key| {
                for operation in world.operations().into_iter().filter(|operation| !operation.is_write() && !names_something(&world.document, operation)) {
                    let path = owner.path(&world.document, operation);
                    let answer = world.send(operation, &path, Some(key), Map::new()).await;
                    assert!(answer.status < 500, "{}: {} {}", answer.asked, answer.status, answer.body);
                    assert_tells_nothing(&answer, owner);
                }
            })
            .await;
    })
    .await;
}

/// The drop-in API has no document of its own, and numbers that can be guessed: every address of it, with every
/// way to name something.
#[tokio::test]
async fn the_drop_in_api_is_closed_as_well() {
    goodword_testkit::on_both(async |url| {
        let world = World::make(&url).await;
        let paths: Vec<String> = web::paths_of(&world.web.router).into_iter().filter(|path| path.starts_with("/api/")).collect();
        assert!(paths.len() > 20, "the router shows its paths: {paths:?}");
        let owner = &world.sides[0];
        let mut names: Vec<String> = owner.names.values().cloned().chain(owner.ids.values().cloned()).collect();
        for table in world.web.engine.store().tables().await.unwrap() {
            let place = |name: &str| table.columns.iter().position(|(column, _)| column == name);
            let (Some(no), Some(space)) = (place("no"), place("space")) else { continue };
            for row in world.web.engine.store().scan(&table, None, 10_000).await.unwrap() {
                match &row[no] {
                    goodword_store::Value::Int(number) if row[space] == goodword_store::Value::Int(owner.space.number()) => names.push(number.to_string()),
                    _ => {}
                }
            }
        }
        let before = state(&world.web, owner).await;
        for path in &paths {
            for name in &names {
                let parts = path.split('/').map(|part| if part.starts_with('{') { name.replace('@', "%40") } else { part.to_owned() });
                let path = parts.collect::<Vec<_>>().join("/");
                let body = json!({
                    "campaign_id": name, "id": name, "user_id": name, "code": name, "email": name, "coupon": name, "value": name, "total_spend": "1.00",
                    "status": "qualified", "qualified": true, "referrer": {"field": "code", "value": name}
                });
                for method in ["GET", "POST", "PUT", "DELETE"] {
                    for key in [None, Some(&world.sides[1].admin), Some(&world.sides[2].admin)] {
                        let answer = world.web.send(method, &path, key.map(String::as_str), (method != "GET").then_some(&body)).await;
                        assert!(answer.status < 500, "{}: {} {}", answer.asked, answer.status, answer.body);
                        assert!(key.is_some() || answer.status >= 400, "{} without a key: {} {}", answer.asked, answer.status, answer.body);
                        assert_tells_nothing(&answer, owner);
                    }
                }
            }
        }
        assert_eq!(before, state(&world.web, owner).await, "{} is as it was", owner.name);
    })
    .await;
}

#[tokio::test]
async fn without_a_key_nothing_opens_and_a_key_that_reads_changes_nothing() {
    goodword_testkit::on_both(async |url| {
        let world = World::make(&url).await;
        let owner = &world.sides[1];
        let mut keys = BTreeMap::new();
        for scope in ["read", "report", "rewards", "write"] {
            let made = world.web.ok("POST", "/v1/api-keys", &owner.admin, json!({"name": scope, "scopes": [scope]})).await;
            keys.insert(scope, text(&made["secret"]));
        }
        let revoked = world.web.ok("POST", "/v1/api-keys", &owner.admin, json!({"name": "old", "scopes": ["admin"]})).await;
        world.web.ok("DELETE", &format!("/v1/api-keys/{}", text(&revoked["id"])), &owner.admin, json!({})).await;
        let before = state(&world.web, owner).await;

        for operation in world.operations() {
            let path = owner.path(&world.document, operation);
            let ask = async |key: Option<&str>| world.send(operation, &path, key, body(operation)).await;
            for key in [None, Some("gw_test_unknown"), Some(text(&revoked["secret"]).as_str())] {
                let answer = ask(key).await;
                assert!(operation.is_public() || answer.status == 401, "{} without a key: {} {}", answer.asked, answer.status, answer.body);
            }
            if operation.is_public() {
                continue;
            }
            let changes = operation.is_write() && !ASKS_ONLY.contains(&operation.id());
            if changes {
                let answer = ask(Some(&keys["read"])).await;
                assert_eq!(answer.status, 403, "{} with a key that reads: {}", answer.asked, answer.body);
            }
            if !changes && !OPEN_TO_EVERY_KEY.contains(&operation.id()) {
                let answer = ask(Some(&keys["report"])).await;
                assert_eq!(answer.status, 403, "{} with a key that reports: {}", answer.asked, answer.body);
            }
            if operation.path.starts_with("/v1/api-keys") {
                for scope in ["read", "report", "rewards", "write"] {
                    assert_eq!(ask(Some(&keys[scope])).await.status, 403, "{} with {scope}", operation.name());
                }
            }
            // Keys that decide on rewards do nothing else, and keys that report do not decide.
            let decides = operation.path.starts_with("/v1/rewards/");
            if changes {
                let other = if decides { "report" } else { "rewards" };
                assert_eq!(ask(Some(&keys[other])).await.status, 403, "{} with a key for {other}", operation.name());
            }
        }
        assert_eq!(before, state(&world.web, owner).await);
    })
    .await;
}

/// What a key learns whatever its scopes: what it is, and the names of the campaigns that it may report to.
const OPEN_TO_EVERY_KEY: &[&str] = &["account_me", "campaigns_names"];

/// Questions that are too long for an address: sent like writes, with a key that reads.
const ASKS_ONLY: &[&str] = &["campaigns_try_rule", "inbound_hooks_preview"];
