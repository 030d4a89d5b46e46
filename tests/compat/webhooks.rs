//! What the vendor's n8n package does with webhooks, from registering to what arrives: a real receiver, a real
//! server, on both databases.

use crate::site::{Site, on_both};
use goodword::{
    delivery::{Dispatcher, Settings},
    engine::participant::{Join, ReferrerKey},
};
use goodword_core::text::Code;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What arrived: the request line, the head and the body.
#[derive(Clone, Debug)]
struct Arrived {
    line: String,
    head: String,
    body: Value,
}

struct Receiver {
    url: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let arrived: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let all = arrived.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let all = all.clone();
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        all.lock().unwrap().push(request);
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                });
            }
        });
        Self { url, arrived }
    }

    fn at(&self, path: &str) -> Vec<Arrived> {
        let is_there = |arrived: &&Arrived| arrived.line.split([' ', '?']).nth(1) == Some(path);
        self.arrived.lock().unwrap().iter().filter(is_there).cloned().collect()
    }

    /// Waits until so many have arrived at a path.
    async fn soon(&self, path: &str, count: usize) -> Vec<Arrived> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.at(path);
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "{path}: {} of {count} within 30 s", found.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Option<Arrived> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(len) if len > 0 => bytes.extend_from_slice(&chunk[..len]),
            _ => return None,
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()).unwrap_or(0);
    while bytes.len() < head_len + length {
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).await.ok().filter(|len| *len > 0)?;
        bytes.extend_from_slice(&chunk[..len]);
    }
    let body = serde_json::from_slice(&bytes[head_len..head_len + length]).unwrap_or_default();
    Some(Arrived { line: head.lines().next().unwrap().to_owned(), head, body })
}

fn dispatcher(site: &Site) -> Dispatcher {
    Dispatcher::start(&site.engine, Settings::new(&site.engine, site.app.guard.clone()), site.app.metrics.delivery.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_triggers_fire() {
    on_both(async |site| {
        let campaign = site.usual_campaign().await;
        let (dispatcher, receiver) = (dispatcher(&site), Receiver::start().await);
        let number = campaign.number;

        // Activation of three workflows, as the package does it.
        let register = async |method: &str, path: &str, body: Value| {
            let reply = site.call(method, path, Some(body)).await;
            assert_eq!(reply.status, 201, "{}", reply.text);
            reply.body["webhook"]["id"].as_str().unwrap().to_owned()
        };
        let join = json!({"url": format!("{}/join", receiver.url), "event": "user.join", "sources": ["Referred"], "campaign_id": number});
        let join = register("POST", "/api/n8n/webhooks", join).await;
        let qualified = json!({"url": format!("{}/qualified", receiver.url), "event": "user.qualified", "campaign_id": number});
        register("POST", "/api/n8n/webhooks", qualified).await;
        let rewards = site.call("GET", "/api/n8n/rewards", None).await.body;
        let reward = rewards["rewards"][0]["id"].as_i64().unwrap();
        let issued = json!({"url": format!("{}/reward", receiver.url), "event": "reward_issued", "reward_id": reward});
        register("PUT", &format!("/api/n8n/rewards/{reward}"), issued).await;

        // A referrer by the API, whose source nobody asked for; and a friend by the referral link.
        let priya = json!({"campaign_id": number, "first_name": "Priya", "email": "priya@example.com"});
        let priya = site.call("POST", "/api/n8n/users", Some(priya)).await.body["data"].clone();
        let code: Code = priya["code"].as_str().unwrap().parse().unwrap();
        let mut person = crate::support::person("maya@example.com");
        person.fields.insert("country".into(), json!("Germany"));
        let joined = Join { campaign: None, referrer: ReferrerKey::Code(code), person, link_used_at: None };
        site.engine.run(site.engine.context(site.space(), "form", "referred"), joined).await.unwrap();

        let seen = receiver.soon("/join", 1).await;
        let maya = &seen[0].body;
        assert_eq!(
            (&maya["event"], &maya["email"], &maya["source"], &maya["type"], &maya["campaign_id"], &maya["referrer_id"], &maya["qualified_at"]),
            (&json!("user.join"), &json!("maya@example.com"), &json!("Referred"), &json!("person_invited"), &json!(number), &priya["id"], &Value::Null)
        );
        assert_eq!((&maya["referrer_email"], &maya["referrer"]["code"], &maya["referrer"]["id"]), (&json!("priya@example.com"), &priya["code"], &priya["id"]));
        assert!(maya["meta"].as_array().unwrap().contains(&json!({"field": "Country", "value": "Germany"})), "{maya}");
        assert!(seen[0].line.starts_with("POST ") && seen[0].head.to_lowercase().contains("webhook-signature: v1,"), "{}", seen[0].head);
        // What arrived names the user as the API does.
        let user = site.call("GET", &format!("/api/v2/users/{}", maya["id"]), None).await.body["data"].clone();
        for name in ["id", "campaign_id", "referrer_id", "first_name", "email", "code", "url", "source", "type", "qr", "signed_up_at", "meta", "sharing"] {
            assert_eq!(maya[name], user[name], "{name}");
        }

        let reply = site.call("POST", "/api/n8n/users/qualify", Some(json!({"campaign_id": number, "email": "maya@example.com"}))).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let told = &receiver.soon("/qualified", 1).await[0].body;
        assert_eq!((&told["event"], &told["id"]), (&json!("user.qualified"), &maya["id"]));
        assert!(told["qualified_at"].is_string(), "{told}");

        // Points are given by an automation: issuing them is what it is told.
        let due = site.call("GET", "/api/v2/rewards/due/custom", None).await.body["data"][0].clone();
        let reply = site.call("POST", &format!("/api/v2/rewards/issue/{}", due["id"]), Some(json!({}))).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let told = &receiver.soon("/reward", 1).await[0].body;
        assert_eq!(
            (&told["event"], &told["id"], &told["reward_id"], &told["recipient_id"], &told["email"], &told["total"], &told["metric"]),
            (&json!("reward_issued"), &due["id"], &json!(reward), &priya["id"], &json!("priya@example.com"), &json!("50"), &json!("custom"))
        );

        // Deactivation: nobody else is told from then on.
        assert_eq!(site.call("DELETE", &format!("/api/n8n/webhooks/{join}"), None).await.status, 200);
        assert_eq!(site.call("DELETE", &format!("/api/n8n/rewards/{reward}"), None).await.status, 200);
        let endpoints = site.call("GET", "/v1/endpoints", None).await.body;
        assert_eq!(endpoints["data"].as_array().unwrap().len(), 1);
        assert_eq!((receiver.at("/join").len(), receiver.at("/reward").len()), (1, 1));
        dispatcher.stop().await;
        site.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_chosen_renamed_and_added_by_post_or_get() {
    on_both(async |site| {
        let campaign = site.usual_campaign().await;
        let (dispatcher, receiver) = (dispatcher(&site), Receiver::start().await);
        let headers: serde_json::Map<String, Value> = (0..20).map(|n| (format!("X-Own-{n}"), json!(format!("value {n}")))).collect();
        let layout = json!({"fields": [{"field": "email", "as": "email_address"}, {"field": "referrer_email", "as": "by"}, {"field": "Country", "as": "land"}], "constants": {"list": "friends"}});
        let post = json!({
            "url": format!("{}/post", receiver.url), "event_types": ["lead.created"], "shape": "referral_factory", "layout": layout,
            "headers": headers, "credentials": {"api_key": "canary-credential", "user": "acme"},
        });
        let reply = site.call("POST", "/v1/endpoints", Some(post)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        assert_eq!((&reply.body["credential_names"], &reply.body["layout"]["method"]), (&json!(["api_key", "user"]), &json!("POST")));
        assert!(!reply.text.contains("canary-credential"), "credentials are not shown");
        let id = reply.body["id"].as_str().unwrap().to_owned();
        let layout = json!({"method": "GET", "fields": [{"field": "email", "as": "lead_email"}, {"field": "referrer_email", "as": "by"}], "constants": {"k": "a&b"}});
        let get = json!({"url": format!("{}/get?own=1", receiver.url), "event_types": ["lead.created"], "shape": "referral_factory", "layout": layout});
        assert_eq!(site.call("POST", "/v1/endpoints", Some(get)).await.status, 201);
        for (wrong, field) in [
            (json!({"layout": {}}), "/layout"),
            (json!({"credentials": {"a": "b"}}), "/credentials"),
            (json!({"shape": "flat", "layout": {"fields": [{"field": "a"}, {"field": "b", "as": "a"}]}}), "/layout"),
            (json!({"shape": "flat", "layout": {"fields": []}}), "/layout"),
            (json!({"shape": "flat", "layout": {"method": "GET"}}), "/layout/method"),
        ] {
            let mut body = json!({"url": format!("{}/wrong", receiver.url)});
            body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            let reply = site.call("POST", "/v1/endpoints", Some(body)).await;
            assert_eq!((reply.status, reply.body["errors"][0]["field"].as_str()), (422, Some(field)), "{}", reply.text);
        }

        let priya = json!({"campaign_id": campaign.number, "first_name": "Priya", "email": "priya@example.com"});
        let priya = site.call("POST", "/api/v2/users", Some(priya)).await.body["data"]["code"].clone();
        let lead = async |email: &str| {
            let body = json!({"code": priya, "email": email, "fields": {"country": "Germany"}});
            let reply = site.call("POST", "/v1/leads", Some(body)).await;
            assert_eq!(reply.status, 201, "{}", reply.text);
        };
        lead("maya@example.com").await;
        let seen = &receiver.soon("/post", 1).await[0];
        assert_eq!(
            seen.body,
            json!({"email_address": "maya@example.com", "by": "priya@example.com", "land": "Germany", "list": "friends", "api_key": "canary-credential", "user": "acme"})
        );
        let head = seen.head.to_lowercase();
        assert!((0..20).all(|n| head.contains(&format!("x-own-{n}: value {n}"))), "{head}");
        let seen = &receiver.soon("/get", 1).await[0];
        assert_eq!(seen.line, "GET /get?own=1&by=priya%40example.com&k=a%26b&lead_email=maya%40example.com HTTP/1.1");

        // Another layout from the next event on; and the native shape again, which is a POST.
        let change = json!({"layout": {"fields": [{"field": "code"}]}, "unset": ["credentials"]});
        assert_eq!(site.call("PATCH", &format!("/v1/endpoints/{id}"), Some(change)).await.status, 200);
        lead("noor@example.com").await;
        assert_eq!(receiver.soon("/post", 2).await[1].body.as_object().unwrap().keys().collect::<Vec<_>>(), ["code"]);
        let change = json!({"shape": "native", "unset": ["layout"]});
        assert_eq!(site.call("PATCH", &format!("/v1/endpoints/{id}"), Some(change)).await.status, 200);
        lead("omar@example.com").await;
        assert_eq!(receiver.soon("/post", 3).await[2].body["type"], "lead.created");
        dispatcher.stop().await;
        site.close().await;
    })
    .await;
}
