//! What the native API says and does, beside what its document holds it to.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod web;

use serde_json::{Value, json};
use web::Web;

/// A test with the API on each database, and a key that may do everything on a test side.
async fn on_both(test: impl AsyncFn(&Web, &str)) {
    goodword_testkit::on_both(async |url| {
        let web = Web::open(&url).await;
        let (_, side) = web.workspace("Acme").await;
        let key = web.admin_key(side).await;
        test(&web, &key).await;
    })
    .await;
}

async fn campaign(web: &Web, key: &str, name: &str) -> Value {
    web.ok("POST", "/v1/campaigns", key, json!({"name": name, "status": "live"})).await
}

#[tokio::test]
async fn every_refusal_names_its_request() {
    on_both(async |web, key| {
        let campaign = campaign(web, key, "Spring").await;
        let referrer = web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": "ada@example.com"})).await;
        let refusals = [
            // By a rule, by a state, by the request itself.
            ("POST", "/v1/leads".to_owned(), json!({"code": referrer["code"], "email": "ada@example.com"}), 409),
            ("DELETE", format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap()), json!({}), 409),
            ("POST", "/v1/leads".to_owned(), json!({"code": referrer["code"], "email": "nobody"}), 422),
        ];
        for (method, path, body, status) in refusals {
            let answer = web.send(method, &path, Some(key), Some(&body)).await;
            assert_eq!(answer.status, status, "{}: {}", answer.asked, answer.body);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.body["request_id"].as_str(), answer.headers["x-request-id"].to_str().ok(), "{}: {}", answer.asked, answer.body);
        }
    })
    .await;
}
