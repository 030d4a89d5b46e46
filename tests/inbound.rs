//! Inbound hooks, as the shops, forms and CRMs of others meet them.

mod support;

use goodword::engine::inbound::{Received, Unreadable};
use goodword_core::time::DAY_MS;
use serde_json::{Value, json};
use support::{
    TestCampaign, at_once, commission,
    site::{Actor, Reply, Site, on_both, raw},
    ten_euros,
};

/// A hook with its secret address.
struct Hook<'s> {
    site: &'s Site,
    id: String,
    path: String,
}

impl<'s> Hook<'s> {
    async fn new(site: &'s Site, campaign: Option<&TestCampaign>, mapping: Value) -> Self {
        let made =
            site.json("POST", "/v1/inbound-hooks", json!({"name": "Shop", "campaign_id": campaign.map(|campaign| campaign.id), "mapping": mapping})).await;
        let url = made["url"].as_str().unwrap();
        Self { site, id: made["id"].as_str().unwrap().to_owned(), path: url.strip_prefix(&site.url).unwrap().to_owned() }
    }

    async fn send(&self, content_type: &str, body: &str) -> Reply {
        self.site.send("POST", &self.path, &[("content-type", content_type)], body).await
    }

    /// Something comes in; what the sender is told of it.
    async fn receives(&self, payload: Value) -> Value {
        let reply = self.send("application/json", &payload.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    async fn receives_form(&self, form: &str) -> Value {
        let reply = self.send("application/x-www-form-urlencoded", form).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// The mapping is mended.
    async fn remap(&self, mapping: Value) {
        self.site.json("PATCH", &format!("/v1/inbound-hooks/{}", self.id), json!({"mapping": mapping})).await;
    }

    async fn preview(&self, body: Value) -> Reply {
        self.site.call(Actor::Test, "POST", &format!("/v1/inbound-hooks/{}/preview", self.id), Some(&body)).await
    }

    /// The inbox, oldest first.
    async fn messages(&self) -> Vec<Value> {
        let list = self.site.json("GET", &format!("/v1/inbound-hooks/{}/messages?order=asc&limit=250", self.id), Value::Null).await;
        list["data"].as_array().unwrap().clone()
    }

    async fn replay(&self, message: &Value) -> Value {
        self.site.json("POST", &format!("/v1/inbound-messages/{}/replay", message["id"].as_str().unwrap()), json!({})).await
    }
}

impl Site {
    /// A call that goes well.
    async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.call(Actor::Test, method, path, (!body.is_null()).then_some(&body)).await;
        assert!((200..300).contains(&reply.status), "{method} {path}: {} {}", reply.status, reply.text);
        reply.json()
    }

    async fn conversions(&self) -> Vec<Value> {
        self.json("GET", "/v1/conversions?limit=250&order=asc", Value::Null).await["data"].as_array().unwrap().clone()
    }
}

/// Ten euros for Priya when Maya, her friend, has spent fifty.
async fn program(site: &Site) -> TestCampaign {
    let settings = json!({"rule": {"minimum_spend": {"amount": "50.00", "currency": "EUR"}}, "rewards": [ten_euros(json!({"auto_issue": true}))]});
    let campaign = site.app.campaign(settings).await;
    campaign.referrer("priya@example.com").await.lead("maya@example.com").await;
    campaign
}

fn shop() -> Value {
    json!({
        "email": {"path": "billing.email | customer.email"}, "external_id": {"path": "/order/id"}, "amount": {"path": "totals.0.gross"},
        "currency": {"path": "currency"}, "occurred_at": {"path": "paid_at"}, "kind": {"value": "invoice"}, "properties": {"path": "order"},
    })
}

fn order(id: u32, gross: &str) -> Value {
    json!({"customer": {"email": " Maya@Example.com "}, "billing": {"email": ""}, "order": {"id": id, "plan": "pro"}, "totals": [{"gross": gross}], "currency": "eur"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_becomes_a_conversion_that_the_rule_decides_upon() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), shop()).await;
            let mut payload = order(1042, "60.00");
            let paid_at = site.app.now().plus_ms(-1);
            payload["paid_at"] = json!(paid_at.ms());
            let receipt = hook.receives(payload.clone()).await;
            assert_eq!((&receipt["state"], &receipt["detail"]), (&json!("decided"), &json!("")));

            let [conversion] = &site.conversions().await[..] else { panic!("one conversion") };
            assert_eq!((&conversion["external_id"], &conversion["kind"]), (&json!("1042"), &json!("invoice")));
            assert_eq!((&conversion["amount"]["amount_minor"], &conversion["amount"]["currency"]), (&json!(6_000), &json!("EUR")));
            assert_eq!((&conversion["properties"], &conversion["occurred_at"]), (&json!({"id": 1042, "plan": "pro"}), &json!(paid_at)));
            assert_eq!(campaign.states().await, ["issued"]);

            // It is kept as it came, and what became of it is explained.
            let [message] = &hook.messages().await[..] else { panic!("one message") };
            assert_eq!((&message["id"], &message["payload"], &message["hook_id"]), (&receipt["id"], &payload, &json!(hook.id)));
            let signal = site.json("GET", &format!("/v1/signals/{}", message["signal_id"].as_str().unwrap()), Value::Null).await;
            assert_eq!((&signal["outcome"], &signal["source"], &signal["actor"]), (&json!("applied"), &json!("hook"), &json!(hook.id)));
            assert!(!signal["checks"].as_array().unwrap().is_empty());
            site.app.check_books().await;
        },
    )
    .await;
}

/// One conversion that is ignored would be told to the hook, which would ignore one more.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_does_not_lead_to_a_hook_of_the_same_server() {
    let everywhere = |config: &mut goodword::config::Config| {
        config.listen.set_ip([0, 0, 0, 0].into());
        config.allow_networks = vec!["0.0.0.0/0".parse().unwrap()];
    };
    on_both(everywhere, async |site| {
        let hook = Hook::new(site, None, shop()).await;
        let port = site.url.rsplit(':').next().unwrap();
        // What this machine would send from; nothing is sent.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let own = socket.connect("8.8.8.8:9").and_then(|()| socket.local_addr()).map(|own| own.ip().to_string());
        for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0"].map(str::to_owned).into_iter().chain(own) {
            let body = json!({"url": format!("http://{host}:{port}{}", hook.path), "event_types": ["conversion.ignored"]});
            let reply = site.call(Actor::Test, "POST", "/v1/endpoints", Some(&body)).await;
            let problem = reply.json();
            assert_eq!((reply.status, &problem["errors"][0]["field"]), (422, &json!("/url")), "{host}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains("this server itself"), "{problem}");
        }
    })
    .await;
}

/// As it is when a proxy leads from an endpoint's address back to the hook.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_back_to_its_own_installation_is_refused_and_decides_nothing() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), shop()).await;
            let body = order(1042, "60.00").to_string();
            let send = async |mark: &str| {
                let headers = [("content-type", "application/json"), ("goodword-installation", mark)];
                site.send("POST", &hook.path, &headers, &body).await
            };
            let own = goodword::delivery::sign::installation(site.app.engine.secret());
            let reply = send(&own).await;
            let problem = reply.json();
            assert_eq!((reply.status, &problem["code"], &problem["status"]), (508, &json!("loop_detected"), &json!(508)), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains("webhook of this installation itself"), "{problem}");
            assert!(problem["next_step"].is_string() && problem["request_id"].is_string(), "{problem}");
            assert_eq!((hook.messages().await.len(), site.conversions().await.len()), (0, 0));
            // Nor does it get anywhere else.
            for (method, path) in [("POST", "/v1/conversions"), ("POST", "/webhook/x/qualify"), ("GET", "/some-code"), ("POST", "/some-code")] {
                assert_eq!(site.send(method, path, &[("goodword-installation", &own)], "").await.status, 508, "{method} {path}");
            }
            // One installation may well tell another.
            let reply = send(&goodword::delivery::sign::installation(&[7; 32])).await;
            assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("decided")));
            assert_eq!(site.conversions().await.len(), 1);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_taken_like_json() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let mapping = json!({
                "email": {"path": "customer.email"}, "external_id": {"path": "entry.1"}, "amount_minor": {"path": "cents"}, "currency": {"value": "EUR"},
                "goal": {"path": "boxes.1"},
            });
            let hook = Hook::new(site, Some(&campaign), mapping).await;
            let form = "customer%5Bemail%5D=maya%40example.com&entry.1=R%C3%BCckruf+7&cents=6000&boxes=a&boxes=b&empty=&customer=plain&list%5B%5D=x&list%5B%5D=y&plain=text&plain%5Binside%5D=it";
            assert_eq!(hook.receives_form(form).await["state"], "decided");
            let [conversion] = &site.conversions().await[..] else { panic!("one conversion") };
            assert_eq!((&conversion["external_id"], &conversion["goal"], &conversion["amount"]["amount"]), (&json!("Rückruf 7"), &json!("b"), &json!("60.00")));
            let payload = &hook.messages().await[0]["payload"];
            let kept = json!({
                "customer": {"email": "maya@example.com", "": "plain"}, "entry.1": "Rückruf 7", "cents": "6000", "boxes": ["a", "b"], "empty": "",
                "list": ["x", "y"], "plain": "text", "plain[inside]": "it",
            });
            assert_eq!(payload, &kept);
            let parts = [("customer[email]", "maya@example.com"), ("entry.1", "2"), ("cents", "100"), ("boxes", "a"), ("boxes", "b"), ("note", "line\r\nline")];
            let field = |(name, value): &(&str, &str)| format!("--x-1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            let file = "--x-1\r\nContent-Disposition: form-data; name=\"cv\"; filename=\"cv.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF\0\r\n";
            let body = parts.iter().map(field).collect::<String>() + file + "--x-1--\r\n";
            let reply = hook.send("multipart/form-data; boundary=\"x-1\"", &body).await;
            assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("decided")), "{}", reply.text);
            let kept = json!({"customer": {"email": "maya@example.com"}, "entry.1": "2", "cents": "100", "boxes": ["a", "b"], "note": "line\r\nline", "cv": "cv.pdf"});
            assert_eq!(hook.messages().await[1]["payload"], kept);
            assert_eq!(hook.send("multipart/form-data; boundary=x", "no parts").await.json()["state"], "unmapped");
            // Deeper than any form is.
            let name = format!("a{}", "[b]".repeat(40_000));
            assert_eq!(hook.receives_form(&format!("{name}=1")).await["state"], "unmapped");
            assert_eq!(hook.messages().await[3]["payload"][name], "1");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_is_found_by_what_names_it_most_surely() {
    on_both(
        |_| {},
        async |site| {
            let coupon = json!({"name": "Welcome", "beneficiary": "lead", "trigger": "joined", "auto_issue": true, "value": {"type": "coupon"}});
            let campaign = site.app.campaign(json!({"rule": {"direct": true}, "rewards": [coupon]})).await;
            campaign.add_coupons(&["WELCOME-1", "WELCOME-2", "WELCOME-3", "WELCOME-4"]).await;
            let priya = campaign.referrer("priya@example.com").await;
            for (name, own_id) in [("maya", "customer-1"), ("noah", "customer-2"), ("zoe", "customer-3"), ("liam", "customer-4")] {
                let joined = json!({"code": priya.code, "email": format!("{name}@example.com"), "external_id": own_id});
                site.json("POST", "/v1/leads", joined).await;
            }
            let leads = site.json("GET", "/v1/leads?order=asc", Value::Null).await["data"].clone();
            let mapping = json!({"email": {"path": "email"}, "code": {"path": "code"}, "coupon": {"path": "coupon"}, "lead_external_id": {"path": "customer"}, "external_id": {"path": "id"}});
            let hook = Hook::new(site, Some(&campaign), mapping).await;
            let all = json!({"id": "a", "customer": "customer-4", "code": leads[0]["code"], "coupon": "WELCOME-2", "email": "zoe@example.com"});
            let without = |id: &str, absent: &[&str]| {
                let mut payload = all.clone();
                payload["id"] = json!(id);
                absent.iter().for_each(|name| payload[name] = json!(null));
                payload
            };
            for (payload, email) in [
                (all.clone(), "liam@example.com"),
                (without("b", &["customer"]), "maya@example.com"),
                (without("c", &["customer", "code"]), "noah@example.com"),
                (without("d", &["customer", "code", "coupon"]), "zoe@example.com"),
            ] {
                assert_eq!(hook.receives(payload.clone()).await["state"], "decided");
                let lead = site.json("GET", &format!("/v1/leads?email={email}"), Value::Null).await["data"][0].clone();
                assert_eq!(lead["status"], "qualified", "{payload}");
            }
            assert_eq!(hook.receives(without("e", &["customer", "code", "coupon", "email"])).await["state"], "unmapped");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_what_a_mapping_finds_and_changes_nothing() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), json!({"email": {"path": "mail"}})).await;
            let nothing_yet = hook.preview(json!({})).await;
            assert_eq!(nothing_yet.status, 409);
            assert!(nothing_yet.text.contains("Nothing has come in yet"));

            hook.receives(order(1, "7.00")).await;
            hook.receives(order(2, "60.00")).await;
            let before = (hook.messages().await, site.app.signals(Default::default()).await.len());
            let own = hook.preview(json!({})).await.json();
            assert_eq!((&own["payload"], &own["mapped"]["email"]), (&order(2, "60.00"), &Value::Null), "the last one");
            assert!(own["problem"].as_str().unwrap().contains("nobody would match"));
            let tried = hook.preview(json!({"mapping": shop()})).await.json();
            assert_eq!((&tried["problem"], &tried["mapped"]["email"], &tried["mapped"]["external_id"]), (&json!(""), &json!("Maya@Example.com"), &json!("2")));
            assert_eq!((&tried["mapped"]["amount"]["amount_minor"], &tried["mapped"]["kind"]), (&json!(6_000), &json!("invoice")));
            let wrong = hook.preview(json!({"mapping": shop(), "payload": order(3, "a lot")})).await.json();
            assert_eq!(wrong["mapped"], Value::Null);
            assert!(wrong["problem"].as_str().unwrap().starts_with("amount: expected"), "{wrong}");
            let nobody = hook.preview(json!({"mapping": {"amount": {"path": "total"}}})).await;
            assert_eq!((nobody.status, &nobody.json()["errors"][0]["field"]), (422, &json!("/mapping")));
            assert_eq!((hook.messages().await, site.app.signals(Default::default()).await.len()), before);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_comes_in_is_kept_with_what_became_of_it() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, None, shop()).await;
            let stranger = hook.receives(json!({"customer": {"email": "nobody@example.com"}, "order": {"id": 1}})).await;
            assert_eq!(stranger["state"], "decided");
            let why = |message: &Value| format!("{}: {}", message["state"].as_str().unwrap(), message["detail"].as_str().unwrap());
            for (payload, said) in [
                (json!({"other": true}), "unmapped: The mapping found no e-mail address"),
                (json!({"customer": {"email": "nobody"}}), "unmapped: email: expected an e-mail address"),
                (order(2, "a lot"), "unmapped: amount: expected"),
                (json!([1, 2]), "unmapped: The mapping found no"),
                (json!("text"), "unmapped: The mapping found no"),
                (json!({}), "unmapped: The mapping found no"),
            ] {
                let receipt = hook.receives(payload.clone()).await;
                assert!(why(&receipt).starts_with(said), "{payload}: {receipt}");
            }
            // Maya is a lead of two campaigns, and the hook does not say of which.
            let other = site.app.campaign(json!({"name": "Other"})).await;
            other.referrer("priya@example.com").await.lead("maya@example.com").await;
            let receipt = hook.receives(order(3, "60.00")).await;
            assert!(why(&receipt).starts_with("failed: "), "{receipt}");

            let messages = hook.messages().await;
            assert_eq!(messages.len(), 8);
            assert_eq!((&messages[4]["payload"], &messages[5]["payload"]), (&json!([1, 2]), &json!("text")));
            let signal = site.json("GET", &format!("/v1/signals/{}", messages[0]["signal_id"].as_str().unwrap()), Value::Null).await;
            assert_eq!(signal["why"]["reason"], "person_unknown", "{signal}");
            let failed = site.json("GET", &format!("/v1/inbound-hooks/{}/messages?state=failed", hook.id), Value::Null).await;
            assert_eq!(failed["data"].as_array().unwrap().len(), 1);
            assert!(campaign.rewards().await.is_empty() && site.conversions().await.is_empty());

            // Whatever a sender calls it, JSON is JSON.
            let reply = hook.send("text/plain; charset=utf-8", &order(4, "1.00").to_string()).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(hook.send("application/json", r#"{"a": 1, "a": 2}"#).await.status, 200);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_says_it_has_yet_to_happen_is_kept_and_makes_no_conversion() {
    on_both(
        |_| {},
        async |site| {
            program(site).await;
            let hook = Hook::new(site, None, shop()).await;
            let mut payload = order(1, "60.00");
            payload["paid_at"] = json!(site.app.now().plus_ms(2 * DAY_MS).ms());
            let receipt = hook.receives(payload.clone()).await;
            let why = "occurred_at: expected a time that is not more than a day in the future.";
            assert_eq!((&receipt["state"], &receipt["detail"]), (&json!("unmapped"), &json!(why)));
            let shown = hook.preview(json!({"payload": payload})).await.json();
            assert_eq!((&shown["mapped"], &shown["problem"]), (&Value::Null, &json!(why)));
            assert!(site.conversions().await.is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_json_nor_a_form_is_kept_as_a_text() {
    on_both(
        |_| {},
        async |site| {
            program(site).await;
            let hook = Hook::new(site, None, shop()).await;
            let long = "<é>".repeat(30_000);
            for (content_type, body, said) in [
                ("application/json", "{\"a\": 1,}", "The body is not JSON: "),
                (
                    "text/plain",
                    "maya@example.com bought\0it",
                    "The body is neither JSON nor a form; it was sent as \"text/plain\". Expected application/json, ",
                ),
                ("application/xml; charset=utf-8", "<order/>", "The body is neither JSON nor a form; it was sent as \"application/xml; charset=utf-8\"."),
                ("multipart/form-data", "no boundary", "The body is neither JSON nor a form"),
                ("text/xml", &long, "The body is neither JSON nor a form"),
            ] {
                let reply = hook.send(content_type, body).await;
                assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("unreadable")), "{content_type}: {}", reply.text);
                assert!(reply.json()["detail"].as_str().unwrap().starts_with(said), "{}", reply.text);
                let message = hook.messages().await.pop().unwrap();
                assert_eq!(
                    (&message["id"], &message["detail"], &message["content_type"]),
                    (&reply.json()["id"], &reply.json()["detail"], &json!(content_type))
                );
                let kept = message["payload"].as_str().unwrap();
                assert!(body.starts_with(kept) && (kept == body || (kept.len() > 65_000 && kept.len() <= 65_536)), "{content_type}");
                assert_eq!(hook.replay(&message).await, message, "no mapping changes it");
            }
            assert!(hook.messages().await[4]["detail"].as_str().unwrap().ends_with("Its first 64 KiB are kept."));
            // A mapping is tried on what can be read.
            assert_eq!(hook.preview(json!({})).await.status, 409);
            hook.receives(order(1, "60.00")).await;
            hook.send("text/plain", "hello").await;
            assert_eq!(hook.preview(json!({})).await.json()["payload"], order(1, "60.00"));
            let unreadable = site.json("GET", &format!("/v1/inbound-hooks/{}/messages?state=unreadable", hook.id), Value::Null).await;
            assert_eq!(unreadable["data"].as_array().unwrap().len(), 6);
            let decided = hook.messages().await.into_iter().find(|message| message["state"] == "decided").unwrap();
            assert_eq!(decided["content_type"], Value::Null);
            // Larger than anything that is taken.
            assert_eq!(hook.send("text/plain", &"x".repeat((1 << 20) + 1)).await.status, 413);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_cannot_be_read_the_newest_thousand_are_kept() {
    on_both(
        |_| {},
        async |site| {
            let (hook, other) = (Hook::new(site, None, shop()).await, Hook::new(site, None, shop()).await);
            hook.receives(json!({"unmapped": true})).await;
            other.send("text/plain", "another hook's").await;
            hook.send("text/plain", "the first").await;
            let token = hook.path.rsplit('/').next().unwrap().to_owned();
            at_once(1_000, |n| {
                let (engine, token) = (site.app.engine.clone(), token.clone());
                let unreadable = Unreadable { detail: String::new(), content_type: "text/plain".into(), text: format!("text {n}") };
                async move { engine.receive(&token, Received::Unreadable(unreadable)).await.unwrap() }
            })
            .await;
            // Those that came at once did not see each other.
            hook.send("text/plain", "the last").await;
            let count = async |hook: &Hook, state: &str| {
                let (mut count, mut cursor) = (0, String::new());
                loop {
                    let path = format!("/v1/inbound-hooks/{}/messages?limit=250&state={state}&cursor={cursor}", hook.id);
                    let list = site.json("GET", &path, Value::Null).await;
                    assert!(!list.to_string().contains("the first"), "the oldest has gone");
                    count += list["data"].as_array().unwrap().len();
                    match list["next_cursor"].as_str() {
                        Some(next) => cursor = next.to_owned(),
                        None => return count,
                    }
                }
            };
            assert_eq!((count(&hook, "unreadable").await, count(&hook, "unmapped").await, count(&other, "unreadable").await), (1_000, 1, 1));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_mended_mapping_can_read_is_told_again_at_once() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let mut wrong = shop();
            wrong["email"] = json!({"path": "mail"});
            let hook = Hook::new(site, Some(&campaign), wrong).await;
            let replay = async |body: Value| site.json("POST", &format!("/v1/inbound-hooks/{}/replay", hook.id), body).await;
            let counts = |answer: &Value| ["converted", "unmatched", "unmapped", "unreadable", "failed"].map(|name| answer[name].as_u64().unwrap());
            assert_eq!(counts(&replay(json!({})).await), [0; 5], "nothing has come in");

            hook.receives(order(1, "30.00")).await;
            hook.send("text/plain", "hello").await;
            hook.receives(json!({"other": true})).await;
            site.app.pass(DAY_MS).await;
            let later = site.app.now();
            hook.receives(order(2, "30.00")).await;
            let mut nobody = order(3, "30.00");
            nobody["customer"]["email"] = json!("nobody@example.com");
            hook.receives(nobody).await;
            assert_eq!(counts(&replay(json!({})).await), [0, 0, 4, 1, 0], "nothing was mended");

            hook.remap(shop()).await;
            assert_eq!(counts(&replay(json!({"since": later})).await), [1, 1, 0, 0, 0]);
            assert!(campaign.rewards().await.is_empty());
            let rest = replay(json!({})).await;
            assert_eq!((counts(&rest), &rest["has_more"], &rest["next_cursor"]), ([1, 0, 1, 1, 0], &json!(false), &Value::Null));
            assert_eq!(campaign.states().await, ["issued"]);
            assert_eq!(counts(&replay(json!({})).await), [0, 0, 1, 1, 0], "once more changes nothing");
            assert_eq!((site.conversions().await.len(), campaign.states().await), (2, vec!["issued"]));
            site.app.check_books().await;

            // A hundred at a time, and those that stay as they are do not stand in the way.
            for n in 0..101 {
                hook.receives(json!({"other": n})).await;
            }
            let first = replay(json!({})).await;
            assert_eq!((counts(&first), &first["has_more"]), ([0, 0, 99, 1, 0], &json!(true)));
            let last = replay(json!({"cursor": first["next_cursor"]})).await;
            assert_eq!((counts(&last), &last["has_more"]), ([0, 0, 3, 0, 0], &json!(false)));

            let path = format!("/v1/inbound-hooks/{}/replay", hook.id);
            let refused = site.call(Actor::Test, "POST", &path, Some(&json!({"cursor": "x"}))).await;
            assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!("/cursor")));
            assert_eq!(site.call(Actor::Reader, "POST", &path, Some(&json!({}))).await.status, 403);
            for stranger in [Actor::Stranger, Actor::Live] {
                assert_eq!(site.call(stranger, "POST", &path, Some(&json!({}))).await.status, 404);
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_or_an_amount_that_cannot_be_understood_says_what_to_write() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let mut mapping = shop();
            mapping["email"] = json!({"path": "answers[0].email"});
            let refused = site.call(Actor::Test, "POST", "/v1/inbound-hooks", Some(&json!({"name": "Form", "mapping": mapping}))).await;
            assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!("/mapping/email")));
            assert!(refused.text.contains("answers.0 for an item by its number"), "{}", refused.text);

            let hook = Hook::new(site, Some(&campaign), shop()).await;
            let changed = site.call(Actor::Test, "PATCH", &format!("/v1/inbound-hooks/{}", hook.id), Some(&json!({"mapping": mapping}))).await;
            assert_eq!(changed.status, 422);
            assert_eq!(hook.receives(order(1, "€1,299.50")).await["state"], "decided");
            let receipt = hook.receives(order(2, "1.299")).await;
            assert_eq!(receipt["state"], "unmapped");
            assert!(receipt["detail"].as_str().unwrap().contains("set `decimal` of the mapping"), "{receipt}");
            let mut mended = shop();
            mended["decimal"] = json!(",");
            hook.remap(mended).await;
            site.json("POST", &format!("/v1/inbound-hooks/{}/replay", hook.id), json!({})).await;
            let amounts: Vec<_> = site.conversions().await.iter().map(|conversion| conversion["amount"]["amount"].clone()).collect();
            assert_eq!(amounts, ["1299.50", "1299.00"]);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_takes_a_form_in_parts_as_hooks_do() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let key = site.key(Actor::Test);
            let send = async |parts: &[(&str, &str)], file: &str| {
                let field = |(head, value): &(&str, &str)| format!("--x\r\nContent-Disposition: form-data; name={head}\r\n\r\n{value}\r\n");
                let body = parts.iter().map(field).collect::<String>() + file + "--x--\r\n";
                site.send("POST", "/v1/conversions", &[("authorization", &key), ("content-type", "multipart/form-data; boundary=x")], &body).await
            };
            let order = [
                ("\"email\"", "maya@example.com"),
                ("\"amount\"", "60.00"),
                ("\"currency\"", "EUR"),
                ("\"external_id\"", "1"),
                ("\"properties[plan]\"", "pro"),
            ];
            let file = "--x\r\nContent-Disposition: form-data; name=\"cv\"; filename=\"cv.pdf\"\r\n\r\n%PDF\r\n";
            let refused = send(&order, file).await;
            assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!("cv")), "{}", refused.text);
            assert!(site.conversions().await.is_empty());
            assert_eq!(send(&order, "").await.status, 201);
            let [conversion] = &site.conversions().await[..] else { panic!("one conversion") };
            assert_eq!((&conversion["amount"]["amount"], &conversion["properties"]), (&json!("60.00"), &json!({"plan": "pro"})));
            assert_eq!(campaign.states().await, ["issued"]);
        },
    )
    .await;
}

/// The examples of the guide: the mapping of each section, and what is sent to it.
fn examples() -> Vec<(&'static str, Value, Value)> {
    let guide = include_str!("../docs/inbound-hooks.md");
    let (_, ready) = guide.split_once("## Ready mappings").unwrap();
    let (ready, _) = ready.split_once("\n## ").unwrap();
    let between = |text: &'static str, start: &str, end: &str| {
        let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
        let (inner, _) = rest.split_once(end).unwrap();
        serde_json::from_str(inner).unwrap_or_else(|error| panic!("{error}: {inner}"))
    };
    let sections = ready.split("\n### ").skip(1);
    sections.map(|section| (section.lines().next().unwrap(), between(section, "--json '", "'\n"), between(section, "```json\n", "```"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_mappings_of_the_guide_work_as_printed() {
    on_both(
        |_| {},
        async |site| {
            let campaign = site.app.campaign(json!({"rule": {"direct": true}})).await;
            campaign.referrer("priya@example.com").await.lead("maya@example.com").await;
            let expected = [
                ("Typeform", "a3a12ec67a1365927098a606107fac15", "custom", Value::Null),
                ("Airtable", "recYk2mVQ9dJ4sXbT", "invoice", json!("1299.50")),
                ("Google Sheets", "Form responses 1/27", "order", json!("1299.50")),
                ("A shop's order", "1042", "order", json!("46.00")),
                ("A CRM's deal", "D-2041", "deal", json!("12000.00")),
            ];
            let examples = examples();
            assert_eq!(examples.iter().map(|example| example.0).collect::<Vec<_>>(), expected.iter().map(|expected| expected.0).collect::<Vec<_>>());
            for ((name, hook, sent), (_, external_id, kind, amount)) in examples.into_iter().zip(expected) {
                assert_eq!(hook["campaign_id"], "cmp_…", "{name}");
                let hook = Hook::new(site, Some(&campaign), hook["mapping"].clone()).await;
                let receipt = hook.receives(sent).await;
                assert_eq!(receipt["state"], "decided", "{name}: {receipt}");
                let conversion = site.conversions().await.pop().unwrap();
                assert_eq!((&conversion["external_id"], &conversion["kind"]), (&json!(external_id), &json!(kind)), "{name}");
                assert_eq!(conversion["amount"]["amount"], amount, "{name}");
            }
            assert_eq!(site.conversions().await.len(), 5);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_there_takes_nothing() {
    on_both(
        |_| {},
        async |site| {
            let hook = Hook::new(site, None, shop()).await;
            let guess = format!("{}0", hook.path);
            for path in [guess.as_str(), "/v1/hooks/in_test_unknown", "/v1/hooks/%00", &format!("/v1/hooks/{}", hook.id)] {
                let reply = site.send("POST", path, &[("content-type", "application/json")], "{}").await;
                assert_eq!((reply.status, &reply.json()["code"]), (404, &json!("not_found")), "{path}");
            }
            assert_eq!(site.call(Actor::Test, "GET", &hook.path, None).await.status, 405);
            let shown = site.json("GET", "/v1/inbound-hooks", Value::Null).await.to_string();
            assert!(!shown.contains(hook.path.rsplit('/').next().unwrap()), "the address is shown once");

            hook.receives(json!({"a": 1})).await;
            let message = hook.messages().await.remove(0);
            for stranger in [Actor::Stranger, Actor::Live] {
                for (method, path) in [
                    ("GET", format!("/v1/inbound-hooks/{}", hook.id)),
                    ("GET", format!("/v1/inbound-hooks/{}/messages", hook.id)),
                    ("DELETE", format!("/v1/inbound-hooks/{}", hook.id)),
                    ("GET", format!("/v1/inbound-messages/{}", message["id"].as_str().unwrap())),
                ] {
                    assert_eq!(site.call(stranger, method, &path, None).await.status, 404, "{method} {path}");
                }
            }
            assert_eq!(site.call(Actor::Test, "DELETE", &format!("/v1/inbound-hooks/{}", hook.id), None).await.status, 204);
            assert_eq!(hook.send("application/json", "{}").await.status, 404);
            let kept = site.json("GET", &format!("/v1/inbound-messages/{}", message["id"].as_str().unwrap()), Value::Null).await;
            assert_eq!(kept, message, "what it received is kept");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_told_again_pays_once() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), shop()).await;
            let told = at_once(16, |_| {
                let (url, path, payload) = (site.url.clone(), hook.path.clone(), order(1, "60.00").to_string());
                async move { raw(&url, "POST", &path, &[("content-type", "application/json")], &payload).await.json() }
            })
            .await;
            assert!(told.iter().all(|receipt| receipt["state"] == "decided"));
            // Told with more in it, it is still the same order.
            let mut more = order(1, "60.00");
            more["status"] = json!("paid");
            hook.receives(more).await;
            assert_eq!((site.conversions().await.len(), campaign.states().await), (1, vec!["issued"]));
            let messages = hook.messages().await;
            assert_eq!(messages.len(), 17, "all of them are kept");
            for message in &messages {
                assert_eq!(hook.replay(message).await["state"], "decided");
            }
            assert_eq!((site.conversions().await.len(), campaign.states().await), (1, vec!["issued"]));

            // Without an id of its own, the same payload is the same event.
            let mut mapping = shop();
            mapping["external_id"] = json!(null);
            let other = Hook::new(site, Some(&campaign), mapping).await;
            for payload in [order(2, "5.00"), order(2, "5.00"), order(3, "5.00")] {
                other.receives(payload).await;
            }
            assert_eq!(site.conversions().await.len(), 3);
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_counts_once_when_the_mapping_is_mended() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), json!({"email": {"path": "mail"}})).await;
            hook.receives(order(1, "60.00")).await;
            let [message] = &hook.messages().await[..] else { panic!("one message") };
            assert_eq!(message["state"], "unmapped");
            assert_eq!(hook.replay(message).await["state"], "unmapped", "nothing was mended");
            hook.remap(shop()).await;
            let told = hook.replay(message).await;
            assert_eq!((&told["state"], &told["detail"], &told["received_at"]), (&json!("decided"), &json!(""), &message["received_at"]));
            assert_eq!(campaign.states().await, ["issued"]);
            for _ in 0..3 {
                assert_eq!(hook.replay(message).await, told);
            }
            // And when the shop tells it by itself.
            hook.receives(order(1, "60.00")).await;
            assert_eq!((site.conversions().await.len(), campaign.states().await), (1, vec!["issued"]));
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counted_does_not_count_again_under_another_id_or_person() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let mut mapping = shop();
            mapping["external_id"] = json!(null);
            let hook = Hook::new(site, None, mapping).await;
            hook.receives(order(1, "60.00")).await;
            let [message] = &hook.messages().await[..] else { panic!("one message") };
            assert_eq!(campaign.states().await, ["issued"]);
            // Now it has an id, and then it is somebody else's, in another campaign.
            hook.remap(shop()).await;
            assert_eq!(&hook.replay(message).await, message);
            let other = site.app.campaign(json!({"name": "Other", "rule": {"direct": true}, "rewards": [ten_euros(json!({}))]})).await;
            other.referrer("priya@example.com").await.lead("noah@example.com").await;
            let mut elsewhere = shop();
            elsewhere["email"] = json!({"value": "noah@example.com"});
            hook.remap(elsewhere).await;
            assert_eq!(&hook.replay(message).await, message);
            assert_eq!((site.conversions().await.len(), campaign.states().await), (1, vec!["issued"]));
            assert!(other.rewards().await.is_empty());
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_count_is_told_again_as_the_mended_mapping_reads_it() {
    on_both(
        |_| {},
        async |site| {
            let rule = json!({"condition": "properties.plan == \"pro\""});
            let settings = json!({"rule": rule, "rewards": [commission(10.0, json!({"auto_issue": true}))]});
            let campaign = site.app.campaign(settings).await;
            let priya = campaign.referrer("priya@example.com").await;
            priya.lead("maya@example.com").await;
            priya.lead("noah@example.com").await;
            let mut wrong = shop();
            (wrong["properties"], wrong["amount"], wrong["kind"]) = (json!({"path": "totals.0"}), json!({"path": "order.id"}), json!(null));
            wrong["email"] = json!({"value": "noah@example.com"});
            let hook = Hook::new(site, Some(&campaign), wrong).await;
            hook.receives(order(7, "60.00")).await;
            let [before] = &site.conversions().await[..] else { panic!("one conversion") };
            assert_eq!((&before["counts"], &before["amount"]["amount"]), (&json!(false), &json!("7.00")));

            hook.remap(shop()).await;
            hook.replay(&hook.messages().await[0]).await;
            let [conversion] = &site.conversions().await[..] else { panic!("one conversion") };
            assert_eq!((&conversion["id"], &conversion["counts"]), (&before["id"], &json!(true)));
            assert_eq!((&conversion["amount"]["amount"], &conversion["kind"]), (&json!("60.00"), &json!("invoice")));
            assert_eq!(conversion["properties"], json!({"id": 7, "plan": "pro"}));
            let maya = site.json("GET", "/v1/leads?email=maya@example.com", Value::Null).await["data"][0].clone();
            assert_eq!((&conversion["lead_id"], &maya["status"]), (&maya["id"], &json!("qualified")));
            let rewards: Vec<_> = campaign.rewards().await.iter().map(|reward| reward.view.amount.unwrap().to_string()).collect();
            assert_eq!(rewards, ["6.00 EUR"]);
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_erased_from_the_inbox() {
    on_both(
        |_| {},
        async |site| {
            let campaign = site.app.campaign(json!({"rule": {"direct": true}})).await;
            let maya = campaign.referrer("priya@example.com").await.lead("maya@example.com").await;
            let hook = Hook::new(site, Some(&campaign), shop()).await;
            hook.receives(order(1, "60.00")).await;
            // Her address only, in something that was not understood.
            hook.receives(json!({"contact": "maya@example.com", "phone": "secret"})).await;
            hook.receives(json!({"contact": "somebody@example.com"})).await;
            maya.erase().await;
            let payloads: Vec<_> = hook.messages().await.iter().map(|message| message["payload"].clone()).collect();
            assert_eq!(payloads, [json!({"erased": true}), json!({"erased": true}), json!({"contact": "somebody@example.com"})]);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_a_lead_yet_is_found_by_a_replay() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let mut mapping = shop();
            mapping["email"] = json!({"value": "noah@example.com"});
            let hook = Hook::new(site, Some(&campaign), mapping).await;
            hook.receives(order(1, "60.00")).await;
            let [message] = &hook.messages().await[..] else { panic!("one message") };
            assert_eq!((&message["state"], site.conversions().await.len()), (&json!("decided"), 0));
            // The mapping had named the wrong one.
            hook.remap(shop()).await;
            let told = hook.replay(message).await;
            assert_ne!(told["signal_id"], message["signal_id"]);
            assert_eq!(campaign.states().await, ["issued"]);
            assert_eq!(hook.replay(message).await, told);
            assert_eq!((site.conversions().await.len(), campaign.states().await), (1, vec!["issued"]));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_hook_keeps_and_waits() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site).await;
            let hook = Hook::new(site, Some(&campaign), shop()).await;
            let pause = async |paused: bool| site.json("PATCH", &format!("/v1/inbound-hooks/{}", hook.id), json!({"paused": paused})).await;
            pause(true).await;
            assert_eq!(hook.receives(order(1, "60.00")).await["state"], "waiting");
            site.app.pass(DAY_MS).await;
            site.app.engine.decide_waiting_messages().await.unwrap();
            assert_eq!((hook.messages().await[0]["state"].clone(), campaign.rewards().await.len()), (json!("waiting"), 0));
            assert_eq!(hook.replay(&hook.messages().await[0]).await["state"], "decided", "who asks for it gets it");
            assert_eq!(campaign.states().await, ["issued"]);
            pause(false).await;
            assert_eq!(hook.receives(order(2, "1.00")).await["state"], "decided");
        },
    )
    .await;
}
