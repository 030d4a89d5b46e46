//! What the native API says and does, beside what its document holds it to.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod web;

use serde_json::{Value, json};
use web::{Answer, Operation, Web};

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

#[tokio::test]
async fn a_name_that_several_campaigns_have_names_none() {
    on_both(async |web, key| {
        let first = campaign(web, key, "Spring").await;
        assert_eq!(web.send("GET", "/v1/exports/leads?campaign=Spring", Some(key), None).await.status, 200);
        campaign(web, key, "Spring").await;
        let answer = web.send("GET", "/v1/exports/leads?campaign=Spring", Some(key), None).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (422, &json!("campaign")), "{}", answer.body);
        for name in ["id", "code"] {
            let path = format!("/v1/exports/leads?campaign={}", first[name].as_str().unwrap());
            assert_eq!(web.send("GET", &path, Some(key), None).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn what_became_of_an_event_is_found_over_all_endpoints() {
    on_both(async |web, key| {
        // Nothing is sent there: no dispatcher runs here.
        let endpoint = async |name: &str| web.ok("POST", "/v1/endpoints", key, json!({"url": format!("https://192.0.43.8/{name}")})).await["id"].clone();
        let (first, second) = (endpoint("a").await, endpoint("b").await);
        let campaign = campaign(web, key, "Spring").await;
        web.ok("PATCH", &format!("/v1/endpoints/{}", second.as_str().unwrap()), key, json!({"enabled": false})).await;
        for name in ["ada", "bea"] {
            web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": format!("{name}@example.com")})).await;
        }
        let list = async |query: &str| web.ok("GET", &format!("/v1/deliveries?{query}"), key, Value::Null).await;
        let count = async |query: &str| list(query).await["data"].as_array().unwrap().len();
        let all = list("order=asc").await["data"].as_array().unwrap().clone();
        let types: Vec<_> = all.iter().map(|row| row["event_type"].as_str().unwrap()).collect();
        assert_eq!(types.iter().filter(|kind| **kind == "referrer.created").count(), 4, "{types:?}");
        let of_first = all.iter().filter(|row| row["endpoint_id"] == first).count();
        let event = all.last().unwrap()["event_id"].as_str().unwrap();
        assert_eq!(count(&format!("event_id={event}")).await, 2);
        assert_eq!(count(&format!("event_id={event}&endpoint_id={}", second.as_str().unwrap())).await, 1);
        assert_eq!(count(&format!("endpoint_id={}", first.as_str().unwrap())).await, of_first);
        assert_eq!(count("state=skipped&event_type=referrer.created").await, 2);
        assert_eq!(count("state=delivered").await + count("status_class=5").await, 0);
        assert_eq!((count("created_before=2020-01-01").await, count("created_after=2020-01-01").await), (0, all.len()));
        // Page by page in both orders, it is the same list.
        for order in ["asc", "desc"] {
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = list(&format!("order={order}&limit=2{cursor}")).await;
                walked.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            let mut ids: Vec<_> = all.iter().map(|row| row["id"].clone()).collect();
            if order == "desc" {
                ids.reverse();
            }
            assert_eq!(walked, ids);
        }
        assert_eq!(web.send("GET", "/v1/deliveries?status_class=6", Some(key), None).await.body["errors"][0]["field"], "status_class");
    })
    .await;
}

#[tokio::test]
async fn revoking_a_key_names_the_endpoints_that_go_on_sending() {
    on_both(async |web, key| {
        let made = web.ok("POST", "/v1/api-keys", key, json!({"name": "Shop", "scopes": ["write"]})).await;
        let shop = made["secret"].as_str().unwrap();
        web.ok("POST", "/v1/endpoints", key, json!({"url": "https://192.0.43.8/other"})).await;
        let endpoint = web.ok("POST", "/v1/endpoints", shop, json!({"url": "https://192.0.43.8/shop"})).await;
        let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
        let revoked = web.ok("DELETE", &path, key, json!({})).await;
        assert!(revoked["revoked_at"].is_string(), "{revoked}");
        assert_eq!(revoked["endpoints"], json!([endpoint["id"]]));
        let address = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
        assert_eq!(web.ok("GET", &address, key, Value::Null).await["status"], "active");
        // Once it is deleted, nothing is left of the key.
        web.ok("DELETE", &address, key, json!({})).await;
        assert_eq!(web.ok("DELETE", &path, key, json!({})).await["endpoints"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_only_reports_learns_the_names_of_campaigns_and_no_more() {
    on_both(async |web, key| {
        let spring = campaign(web, key, "Spring").await;
        web.ok("POST", "/v1/campaigns", key, json!({"name": "Draft"})).await;
        let made = web.ok("POST", "/v1/api-keys", key, json!({"name": "Shop", "scopes": ["report"]})).await;
        let shop = made["secret"].as_str().unwrap();
        assert_eq!(web.ok("GET", "/v1/me", shop, Value::Null).await["api_key"]["scopes"], json!(["report"]));
        let names = web.ok("GET", "/v1/campaigns/names?status=live", shop, Value::Null).await;
        assert_eq!(names["data"], json!([{"id": spring["id"], "name": "Spring"}]));
        for path in ["/v1/campaigns".to_owned(), format!("/v1/campaigns/{}", spring["id"].as_str().unwrap()), "/v1/leads".to_owned()] {
            assert_eq!(web.send("GET", &path, Some(shop), None).await.status, 403, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_referrers_own_page_has_an_address_that_may_be_mailed_to_them() {
    on_both(async |web, key| {
        let campaign = campaign(web, key, "Spring").await;
        let referrer = web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": "ada@example.com"})).await;
        let path = format!("/v1/referrers/{}/page", referrer["id"].as_str().unwrap());
        let url = web.ok("GET", &path, key, Value::Null).await["url"].as_str().unwrap().to_owned();
        let page = url.strip_prefix("https://refer.example").unwrap();
        let shown = web.send("GET", page, None, None).await;
        assert_eq!(shown.status, 200);
        assert!(shown.body.as_str().unwrap().contains(referrer["code"].as_str().unwrap()));
        // Who has the address sees the page: a key that may only read does not learn it.
        let reader = web.ok("POST", "/v1/api-keys", key, json!({"name": "Reader", "scopes": ["read"]})).await;
        assert_eq!(web.send("GET", &path, reader["secret"].as_str(), None).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn nobody_changes_a_campaign_that_somebody_else_has_changed() {
    on_both(async |web, key| {
        let made = web.send("POST", "/v1/campaigns", Some(key), Some(&json!({"name": "Spring", "rewards": []}))).await;
        assert_eq!((made.status, made.headers["etag"].to_str().unwrap()), (201, "\"v1\""));
        let path = format!("/v1/campaigns/{}", made.body["id"].as_str().unwrap());
        let changed = web.send("PATCH", &path, Some(key), Some(&json!({"name": "Summer"}))).await;
        assert_eq!((changed.status, changed.headers["etag"].to_str().unwrap()), (200, "\"v2\""));
        let terms = json!({"campaign_id": made.body["id"], "name": "Cash", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount_minor": 500, "currency": "EUR"}}});
        let defined = web.send_with(&[("if-match", "\"v2\"")], "POST", "/v1/reward-definitions", Some(key), Some(&terms)).await;
        assert_eq!((defined.status, defined.headers["etag"].to_str().unwrap()), (201, "\"v3\""), "{}", defined.body);
        let definition = format!("/v1/reward-definitions/{}", defined.body["id"].as_str().unwrap());
        assert_eq!(web.send("GET", &definition, Some(key), None).await.headers["etag"], "\"v3\"");
        for (method, path) in [("POST", format!("{path}/publish")), ("POST", format!("{path}/pause")), ("POST", format!("{path}/end")), ("DELETE", path.clone())] {
            let body = json!({});
            let body = (method == "POST").then_some(&body);
            let stale = web.send_with(&[("if-match", "\"v1\"")], method, &path, Some(key), body).await;
            assert_eq!(stale.status, 412, "{method} {path}: {}", stale.body);
        }
        assert_eq!(web.ok("GET", &path, key, Value::Null).await["status"], "draft");
        assert_eq!(web.send_with(&[("if-match", "\"v3\"")], "DELETE", &path, Some(key), None).await.status, 204);
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_new_campaign_is_named() {
    on_both(async |web, key| {
        let existing = format!("/v1/campaigns/{}", campaign(web, key, "Spring").await["id"].as_str().unwrap());
        for (settings, field) in [
            (json!({"currency": "XXQ"}), "/currency"),
            (json!({"starts_at": "soon"}), "/starts_at"),
            (json!({"attribution": {"model": "best"}}), "/attribution/model"),
            (json!({"attribution": {"windo_days": 3}}), "/attribution/windo_days"),
            (json!({"rule": {"bogus": 1}}), "/rule/bogus"),
            (json!({"lead_fields": [{"key": "size", "label": "Size", "kind": "colour"}]}), "/lead_fields/0/kind"),
            (json!({"nmae": "x"}), "/nmae"),
            (json!({"rule": {"condition": "amount >"}}), "/rule/condition"),
            (json!({"rule": {"condition": "no_such_name == 1"}}), "/rule/condition"),
            (json!({"rule": {"minimum_spend": {"amount": "0.00", "currency": "EUR"}}}), "/rule/minimum_spend"),
            (json!({"rule": {"minimum_spend": {"amount": "a lot", "currency": "EUR"}}}), "/rule/minimum_spend"),
            (json!({"budget": {"amount": {"amount": "100.00", "currency": "EUR"}, "period": "fortnight"}}), "/budget/period"),
            (json!({"link": {"mode": "direct"}}), "/link/destination"),
            (json!({"link": {"mode": "direct", "destination": "nowhere"}}), "/link/destination"),
        ] {
            let mut new = settings.clone();
            new["name"] = "Summer".into();
            for (method, path, body) in [("POST", "/v1/campaigns", &new), ("PATCH", existing.as_str(), &settings)] {
                let refused = web.send(method, path, Some(key), Some(body)).await;
                assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some(field)), "{}: {}", refused.asked, refused.body);
                assert!(!refused.body["errors"][0]["detail"].as_str().unwrap_or_default().contains("expected unknown"), "{}", refused.body);
            }
        }
        let refused = web.send("POST", "/v1/campaigns", Some(key), Some(&json!({"name": 5}))).await;
        assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("/name")));
    })
    .await;
}

#[tokio::test]
async fn an_amount_that_is_too_large_is_called_so() {
    on_both(async |web, key| {
        for amount in [json!("99999999999999999999"), json!("10000000000.01"), json!(99999999999999999999.0)] {
            let body = json!({"email": "bea@example.com", "amount": amount, "currency": "EUR"});
            let refused = web.send("POST", "/v1/conversions", Some(key), Some(&body)).await;
            assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("/amount")), "{}", refused.body);
            assert_eq!(refused.body["errors"][0]["detail"], "Expected an amount of at most 1,000,000,000,000 minor units.", "{}", refused.asked);
        }
    })
    .await;
}

#[tokio::test]
async fn statistics_do_not_end_before_they_begin() {
    on_both(async |web, key| {
        for path in ["/v1/statistics", "/v1/statistics/series"] {
            let refused = web.send("GET", &format!("{path}?from=2026-11-20&to=2026-11-19"), Some(key), None).await;
            assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("to")), "{}", refused.body);
            web.ok("GET", &format!("{path}?from=2026-11-20T18:00:00Z&to=2026-11-20"), key, Value::Null).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_version_of_a_campaign_has_the_etag_that_it_had_then() {
    on_both(async |web, key| {
        let path = format!("/v1/campaigns/{}", campaign(web, key, "Spring").await["id"].as_str().unwrap());
        web.ok("PATCH", &path, key, json!({"name": "Summer"})).await;
        for version in [1, 2] {
            let answer = web.send("GET", &format!("{path}/versions/{version}"), Some(key), None).await;
            assert_eq!((answer.status, answer.headers["etag"].to_str().unwrap()), (200, &*format!("\"v{version}\"")));
        }
    })
    .await;
}

#[tokio::test]
async fn joins_that_were_refused_are_found_with_the_referrer_whose_link_was_used() {
    on_both(async |web, key| {
        let campaign = campaign(web, key, "Spring").await;
        let referrer =
            async |name: &str| web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": format!("{name}@example.com")})).await;
        let (ada, bea) = (referrer("ada").await, referrer("bea").await);
        web.ok("POST", "/v1/leads", key, json!({"code": bea["code"], "email": "cleo@example.com"})).await;
        for (email, reason) in [("ada@example.com", "not_self"), ("bea@example.com", "not_yet_in_campaign")] {
            let refused = web.send("POST", "/v1/leads", Some(key), Some(&json!({"code": ada["code"], "email": email}))).await;
            assert_eq!((refused.status, refused.body["reason"].as_str()), (409, Some(reason)), "{}", refused.body);
        }
        let found = async |query: String| web.ok("GET", &format!("/v1/signals?kind=lead.add&{query}"), key, Value::Null).await["data"].clone();
        let of_ada = found(format!("referrer_id={}&outcome=refused", ada["id"].as_str().unwrap())).await;
        let reasons: Vec<_> = of_ada.as_array().unwrap().iter().map(|signal| signal["why"]["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["not_yet_in_campaign", "not_self"]);
        assert!(of_ada.as_array().unwrap().iter().all(|signal| signal["referrer_id"] == ada["id"] && signal["lead_id"].is_null()), "{of_ada}");
        assert_eq!(found(format!("referrer_id={}&outcome=refused", bea["id"].as_str().unwrap())).await, json!([]));
        // Nobody's data is given to whom it is not about: what is told of a person leaves these out.
        let lead = ada["id"].as_str().unwrap().replace("ref_", "lead_");
        assert_eq!(found(format!("lead_id={lead}")).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn reward_definitions_are_listed_page_by_page() {
    on_both(async |web, key| {
        let terms =
            |name: &str| json!({"name": name, "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount_minor": 500, "currency": "EUR"}}});
        let mut made = Vec::new();
        for name in ["Spring", "Gone", "Summer"] {
            let new = json!({"name": name, "rewards": [terms("Cash"), terms("More cash"), terms("Mug")]});
            let campaign = web.ok("POST", "/v1/campaigns", key, new).await;
            match name {
                "Gone" => drop(web.send("DELETE", &format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap()), Some(key), None).await),
                _ => made.extend(campaign["rewards"].as_array().unwrap().iter().map(|reward| reward["id"].clone())),
            }
        }
        let removed = made.remove(1);
        assert_eq!(web.send("DELETE", &format!("/v1/reward-definitions/{}", removed.as_str().unwrap()), Some(key), None).await.status, 204);
        let list = async |query: &str| web.ok("GET", &format!("/v1/reward-definitions?{query}"), key, Value::Null).await;
        for order in ["asc", "desc"] {
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = list(&format!("order={order}&limit=2{cursor}")).await;
                walked.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
                assert_eq!(page["has_more"], page["next_cursor"].is_string());
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            let mut expected = made.clone();
            if order == "desc" {
                expected.reverse();
            }
            assert_eq!(walked, expected, "{order}");
        }
        assert_eq!(list("search=cash&limit=2").await["data"].as_array().unwrap().len(), 2);
        assert_eq!(list("search=cash&limit=2").await["has_more"], true);
        assert_eq!(list("search=mug&limit=2").await["has_more"], false);
        assert_eq!(web.send("GET", "/v1/reward-definitions?limit=0", Some(key), None).await.body["errors"][0]["field"], "limit");
        assert_eq!(web.send("GET", "/v1/reward-definitions?cursor=x", Some(key), None).await.body["errors"][0]["field"], "cursor");
    })
    .await;
}

#[tokio::test]
async fn nothing_has_happened_tomorrow() {
    on_both(async |web, key| {
        let campaign = campaign(web, key, "Spring").await;
        let referrer = web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": "ada@example.com"})).await;
        web.ok("POST", "/v1/leads", key, json!({"code": referrer["code"], "email": "bea@example.com"})).await;
        let hours = |hours: i64| web.engine.wall().plus_ms(hours * 3_600_000).to_string();
        for (path, field, body) in [
            ("/v1/conversions", "/occurred_at", json!({"email": "bea@example.com"})),
            ("/v1/qualifications", "/occurred_at", json!({"email": "bea@example.com"})),
            ("/v1/leads", "/link_used_at", json!({"code": referrer["code"], "email": "cleo@example.com"})),
        ] {
            let told = async |at: String| {
                let mut body = body.clone();
                body[&field[1..]] = at.into();
                web.send("POST", path, Some(key), Some(&body)).await
            };
            let refused = told(hours(25)).await;
            assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some(field)), "{}: {}", refused.asked, refused.body);
            assert_eq!(refused.body["errors"][0]["detail"], "Expected a time that is not more than a day in the future.");
            let taken = told(hours(23)).await;
            assert!(taken.status < 300, "a clock or a time zone may be ahead: {}: {}", taken.asked, taken.body);
        }
    })
    .await;
}

/// A request that is sent twice with a key; both answers.
async fn twice(web: &Web, key: &str, name: &str, path: &str, body: &Value) -> [Answer; 2] {
    let headers = [("idempotency-key", name)];
    let first = web.send_with(&headers, "POST", path, Some(key), Some(body)).await;
    [first, web.send_with(&headers, "POST", path, Some(key), Some(body)).await]
}

#[tokio::test]
async fn a_secret_lies_open_nowhere_and_is_shown_again_only_where_it_is_kept() {
    on_both(async |web, key| {
        let endpoint = web.ok("POST", "/v1/endpoints", key, json!({"url": "https://192.0.43.8/first"})).await;
        let rotate = format!("/v1/endpoints/{}/secret/rotate", endpoint["id"].as_str().unwrap());
        for (path, body, collection, secret, is_kept) in [
            ("/v1/api-keys", json!({"name": "Shop", "scopes": ["report"]}), "/v1/api-keys", "secret", false),
            ("/v1/inbound-hooks", json!({"name": "Shop", "mapping": {"email": {"path": "email"}}}), "/v1/inbound-hooks", "url", false),
            ("/v1/endpoints", json!({"url": "https://192.0.43.8/second"}), "/v1/endpoints", "secret", true),
            (&*rotate, json!({"overlap_hours": 1}), "/v1/endpoints", "secret", true),
        ] {
            let rows = async || web.ok("GET", collection, key, Value::Null).await["data"].as_array().unwrap().len();
            let before = rows().await;
            let [first, again] = twice(web, key, path, path, &body).await;
            let id = first.body["id"].as_str().unwrap();
            assert_eq!((first.status, first.headers["location"].to_str().unwrap()), (201, &*format!("{collection}/{id}")), "{}", first.asked);
            if is_kept {
                assert_eq!((again.status, &again.body, again.headers.contains_key("idempotent-replayed")), (201, &first.body, true), "{}", first.asked);
                assert_eq!(again.headers["location"], first.headers["location"]);
            } else {
                assert_eq!((again.status, again.body["code"].as_str()), (409, Some("secret_was_shown")), "{}", first.asked);
                assert!(again.body["detail"].as_str().unwrap().contains(id), "{}", again.body);
            }
            assert_eq!(rows().await, before + usize::from(path != rotate), "{}: it is done once", first.asked);

            let mut other = body.clone();
            other[if path == rotate {
                "overlap_hours"
            } else if is_kept {
                "concurrency"
            } else {
                "name"
            }] = if is_kept { json!(2) } else { json!("Till") };
            let reused = web.send_with(&[("idempotency-key", path)], "POST", path, Some(key), Some(&other)).await;
            assert_eq!((reused.status, reused.body["code"].as_str()), (409, Some("idempotency_key_reused")), "{}", reused.asked);
            let secret = first.body[secret].as_str().unwrap().rsplit(['_', '/']).next().unwrap();
            assert!(!is_anywhere(web, secret).await, "{}: the secret lies open", first.asked);
        }
    })
    .await;
}

/// Whether a text can be read in any table.
async fn is_anywhere(web: &Web, text: &str) -> bool {
    let store = web.engine.store();
    for table in store.tables().await.unwrap() {
        let rows = store.scan(&table, None, 100_000).await.unwrap();
        let holds = |value: &goodword_store::Value| match value {
            goodword_store::Value::Text(held) => held.contains(text),
            goodword_store::Value::Bytes(held) => held.windows(text.len()).any(|part| part == text.as_bytes()),
            _ => false,
        };
        if rows.iter().flatten().any(holds) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn many_at_once_are_answered_once() {
    on_both(async |web, key| {
        let campaign = campaign(web, key, "Spring").await;
        let terms = json!({"campaign_id": campaign["id"], "name": "Cash", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount_minor": 500, "currency": "EUR"}}});
        web.ok("POST", "/v1/reward-definitions", key, terms).await;
        let referrer = web.ok("POST", "/v1/referrers", key, json!({"campaign_id": campaign["id"], "email": "ada@example.com"})).await;
        for name in ["bea", "cleo"] {
            web.ok("POST", "/v1/leads", key, json!({"code": referrer["code"], "email": format!("{name}@example.com")})).await;
        }
        let batch = json!({"qualifications": [{"email": "bea@example.com"}, {"email": "nobody"}, {"email": "cleo@example.com", "occurred_at": "2099-01-01"}]});
        let refused = web.send("POST", "/v1/qualifications/batch", Some(key), Some(&batch)).await;
        assert_eq!(refused.status, 422, "a batch that cannot be read is refused as a whole");
        let batch = json!({"qualifications": [{"email": "bea@example.com"}, {"email": "cleo@example.com", "occurred_at": "2099-01-01"}]});
        let [first, again] = twice(web, key, "q", "/v1/qualifications/batch", &batch).await;
        assert_eq!((first.status, &again.body), (200, &first.body));
        assert!(again.headers.contains_key("idempotent-replayed") && !first.headers.contains_key("idempotent-replayed"));
        assert_eq!(first.body["data"][0]["answer"]["qualified"], true);
        assert_eq!(first.body["data"][1]["problem"]["errors"][0]["field"], "/occurred_at");

        let reward = web.ok("GET", "/v1/rewards", key, Value::Null).await["data"][0]["id"].clone();
        let [first, again] = twice(web, key, "r", "/v1/rewards/actions", &json!({"action": "approve", "ids": [reward]})).await;
        assert_eq!((first.status, first.body["done"].as_u64(), &again.body), (200, Some(1), &first.body));
        let other = web.send_with(&[("idempotency-key", "r")], "POST", "/v1/rewards/actions", Some(key), Some(&json!({"action": "reject", "ids": [reward]}))).await;
        assert_eq!((other.status, other.body["code"].as_str()), (409, Some("idempotency_key_reused")));

        let hook = web.ok("POST", "/v1/inbound-hooks", key, json!({"name": "Shop", "mapping": {"email": {"path": "mail"}}})).await;
        let address = hook["url"].as_str().unwrap().strip_prefix("https://refer.example").unwrap();
        let receipt = web.send("POST", address, None, Some(&json!({"email": "bea@example.com"}))).await.body;
        for (name, path) in [
            ("h", format!("/v1/inbound-hooks/{}/replay", hook["id"].as_str().unwrap())),
            ("m", format!("/v1/inbound-messages/{}/replay", receipt["id"].as_str().unwrap())),
        ] {
            let [first, again] = twice(web, key, name, &path, &json!({})).await;
            assert_eq!((first.status, &again.body, again.headers.contains_key("idempotent-replayed")), (200, &first.body, true), "{}", first.asked);
        }
    })
    .await;
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_answered_again() {
    on_both(async |web, key| {
        let made = campaign(web, key, "Spring").await;
        let terms = json!({"campaign_id": made["id"], "name": "Cash", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount_minor": 500, "currency": "EUR"}}});
        let definition = web.ok("POST", "/v1/reward-definitions", key, terms).await;
        let referrer = web.ok("POST", "/v1/referrers", key, json!({"campaign_id": made["id"], "email": "ada@example.com"})).await;
        let lead = web.ok("POST", "/v1/leads", key, json!({"code": referrer["code"], "email": "bea@example.com"})).await;
        let empty = web.ok("POST", "/v1/campaigns", key, json!({"name": "Winter"})).await;
        let hook = web.ok("POST", "/v1/inbound-hooks", key, json!({"name": "Shop", "mapping": {"email": {"path": "mail"}}})).await;
        let endpoint = web.ok("POST", "/v1/endpoints", key, json!({"url": "https://192.0.43.8/first"})).await;
        let revoked = web.ok("POST", "/v1/api-keys", key, json!({"name": "Shop", "scopes": ["report"]})).await;
        for (collection, it) in [
            ("reward-definitions", &definition),
            ("leads", &lead["lead"]),
            ("referrers", &referrer),
            ("campaigns", &empty),
            ("inbound-hooks", &hook),
            ("endpoints", &endpoint),
            ("api-keys", &revoked),
        ] {
            let path = format!("/v1/{collection}/{}", it["id"].as_str().unwrap());
            let remove = async |path: &str, name: &str| web.send_with(&[("idempotency-key", name)], "DELETE", path, Some(key), None).await;
            let [first, again] = [remove(&path, collection).await, remove(&path, collection).await];
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{}", first.asked);
            assert!(matches!(first.status, 200 | 204), "{}: {}", first.asked, first.body);
            assert!(again.headers.contains_key("idempotent-replayed") && !first.headers.contains_key("idempotent-replayed"), "{}", first.asked);
            let (kind, _) = path.rsplit_once('_').unwrap();
            let other = remove(&format!("{kind}_{:0>26}", 7), collection).await;
            assert_eq!((other.status, other.body["code"].as_str()), (409, Some("idempotency_key_reused")), "{}", other.asked);
        }
        let refused = web.send_with(&[], "DELETE", "/v1/leads/lead_00000000000000000000000007", Some(key), Some(&json!({"why": "asked to"}))).await;
        assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("/why")), "a body is not ignored");
    })
    .await;
}

#[tokio::test]
async fn every_write_heeds_an_idempotency_key() {
    let (_guard, url) = goodword_testkit::sqlite_url();
    let web = Web::open(&url).await;
    let (_, side) = web.workspace("Acme").await;
    let key = web.admin_key(side).await;
    let document = goodword::routes::document(&goodword::config::Config::default());
    let mut unkeyed = Vec::new();
    for operation in
        Operation::all(&document).into_iter().filter(|operation| ["post", "put", "patch", "delete"].contains(&operation.method) && !operation.is_public())
    {
        let parameters: Vec<_> = operation.parameters(&document).collect();
        if !parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
            unkeyed.push(operation.path);
            continue;
        }
        // An id as the document has it: `lead_id` is what begins with `lead_`.
        let kind = parameters.iter().find_map(|parameter| parameter["schema"]["$ref"].as_str()?.strip_prefix("#/components/schemas/")?.strip_suffix("id"));
        let path = operation.path.replace("{id}", &format!("{}{:0>26}", kind.unwrap_or_default(), 7)).replace("{version}", "1");
        let path = if path == "/v1/imports" { path + "?kind=qualifications" } else { path };
        let refused = web.send_with(&[("idempotency-key", "not one")], &operation.verb(), &path, Some(&key), None).await;
        assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("Idempotency-Key")), "{path}: {}", refused.body);
    }
    assert_eq!(unkeyed, ["/v1/campaigns/{id}/try-rule", "/v1/inbound-hooks/{id}/preview"], "these change nothing");
}
