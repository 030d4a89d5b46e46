//! `/mcp` as the protocol asks for it, and that money moves only as it was stated.

mod support;

use goodword_core::{
    campaign::CampaignStatus,
    reward::{RewardAction, RewardState},
    time::MINUTE_MS,
};
use serde_json::{Value, json};
use support::{
    TestCampaign,
    site::{Actor, Reply, Site, on_both},
    ten_euros, time,
};

/// What a message is answered with.
async fn post(site: &Site, actor: Actor, message: &Value) -> Reply {
    site.call(actor, "POST", "/mcp", Some(message)).await
}

/// The answer of the protocol to a request.
async fn ask(site: &Site, actor: Actor, method: &str, params: Value) -> Value {
    let reply = post(site, actor, &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await;
    assert_eq!(reply.status, 200, "{method}: {}", reply.text);
    let answer = reply.json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
    answer
}

/// What a tool gives, or what it says is wrong.
async fn tool(site: &Site, actor: Actor, name: &str, arguments: Value) -> Result<Value, String> {
    let result = &ask(site, actor, "tools/call", json!({"name": name, "arguments": arguments})).await["result"];
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    if result["isError"] == true {
        assert!(result.get("structuredContent").is_none() && !text.starts_with('{'), "words, not a document: {text}");
        return Err(text);
    }
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), result["structuredContent"]);
    Ok(result["structuredContent"].clone())
}

#[track_caller]
fn says(answer: Result<Value, String>, words: &str) {
    let error = answer.expect_err(words);
    assert!(error.contains(words), "{error}");
}

/// A campaign whose only reward is the referrer's, with one lead, Maya, of Priya's.
async fn program(site: &Site, terms: Value) -> TestCampaign {
    let campaign = site.app.campaign(json!({"rule": {"direct": true}, "rewards": [ten_euros(terms)]})).await;
    campaign.referrer("priya@example.com").await.lead("maya@example.com").await;
    campaign
}

// ---------------------------------------------------------------- the protocol

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_none_are_refused_and_say_why() {
    on_both(
        |_| {},
        async |site| {
            let key = site.key(Actor::Test);
            let send = async |body: &str| {
                let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
                let reply = site.send("POST", "/mcp", &headers, body).await;
                (reply.status, reply.json())
            };
            for (body, code, words) in [
                ("{", -32700, "This is not JSON"),
                ("", -32700, "This is not JSON"),
                ("[]", -32600, "one by one"),
                (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#, -32600, "one by one"),
                ("7", -32600, "an object"),
                (r#"{"id":1,"method":"ping"}"#, -32600, "jsonrpc"),
                (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, "jsonrpc"),
                (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, "an id that is a text or a number"),
                (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, "an id that is a text or a number"),
                (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, "Expected a method"),
                (r#"{"jsonrpc":"2.0"}"#, -32600, "Expected a method"),
            ] {
                let (status, answer) = send(body).await;
                assert_eq!((status, &answer["id"], &answer["error"]["code"]), (400, &Value::Null, &json!(code)), "{body}: {answer}");
                assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{body}: {answer}");
            }
            let (status, answer) = send(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}}"#, "x".repeat(256 * 1024))).await;
            assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_and_everything_else_is_taken_in_silence() {
    on_both(
        |_| {},
        async |site| {
            assert_eq!(ask(site, Actor::Reader, "ping", Value::Null).await["result"], json!({}));
            let named = post(site, Actor::Reader, &json!({"jsonrpc": "2.0", "id": "a-b", "method": "ping"})).await.json();
            assert_eq!(named["id"], "a-b");
            for silent in [
                json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
                json!({"jsonrpc": "2.0", "method": "notifications/unheard-of", "params": {"x": 1}}),
                json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
                json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}),
            ] {
                let reply = post(site, Actor::Reader, &silent).await;
                assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{silent}");
            }
            let unknown = ask(site, Actor::Reader, "resources/list", json!({})).await;
            assert_eq!(unknown["error"], json!({"code": -32601, "message": "There is no method resources/list."}));
            for (params, message) in [
                (json!({"name": "no_such"}), r#"There is no tool "no_such"."#),
                (json!({}), r#"There is no tool ""."#),
                (json!([1]), r#"There is no tool ""."#),
            ] {
                assert_eq!(ask(site, Actor::Reader, "tools/call", params).await["error"], json!({"code": -32602, "message": message}));
            }
            for method in ["GET", "DELETE"] {
                let reply = site.call(Actor::Reader, method, "/mcp", None).await;
                assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_the_protocol_is_agreed_upon() {
    on_both(
        |_| {},
        async |site| {
            for (asked, agreed) in [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("2099-01-01", "2025-11-25"), ("", "2025-11-25")] {
                let result = &ask(site, Actor::Reader, "initialize", json!({"protocolVersion": asked, "capabilities": {}})).await["result"];
                assert_eq!((&result["protocolVersion"], &result["serverInfo"]["name"]), (&json!(agreed), &json!("goodword")), "{asked}");
                assert!(result["capabilities"]["tools"].is_object() && result["instructions"].is_string());
            }
            let key = site.key(Actor::Reader);
            for (version, status) in [("2025-06-18", 200), ("1999-01-01", 400)] {
                let headers = [("authorization", key.as_str()), ("content-type", "application/json"), ("mcp-protocol-version", version)];
                let reply = site.send("POST", "/mcp", &headers, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
                assert_eq!(reply.status, status, "{}", reply.text);
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_key_and_no_page_of_others_may_speak() {
    on_both(
        |_| {},
        async |site| {
            let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
            for nobody in [Actor::Nobody, Actor::Forger] {
                let reply = post(site, nobody, &ping).await;
                assert_eq!((reply.status, &reply.json()["code"]), (401, &json!("unauthorized")));
            }
            let key = site.key(Actor::Reader);
            for (origin, status) in [(site.url.as_str(), 200), ("http://evil.example", 403), ("null", 403)] {
                let headers = [("authorization", key.as_str()), ("content-type", "application/json"), ("origin", origin)];
                assert_eq!(site.send("POST", "/mcp", &headers, &ping.to_string()).await.status, status, "{origin}");
            }
        },
    )
    .await;
}

// ---------------------------------------------------------------- the tools

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_the_tools_that_it_may_use_and_may_use_no_others() {
    on_both(
        |_| {},
        async |site| {
            let names = async |actor| {
                let tools = ask(site, actor, "tools/list", json!({})).await["result"]["tools"].clone();
                tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let looking = ["list_campaigns", "find_people", "explain_lead", "statistics", "review_queue"];
            assert_eq!(names(Actor::Reader).await, looking);
            assert_eq!(names(Actor::Test).await, [&looking[..], &["record_conversion", "preview_reward_action", "confirm"]].concat());
            let campaign = program(site, json!({"review": "always"})).await;
            says(tool(site, Actor::Reader, "record_conversion", json!({"email": "maya@example.com", "external_id": "o-1"})).await, "lacks the scope report");
            let token =
                tool(site, Actor::Test, "record_conversion", json!({"email": "maya@example.com", "external_id": "o-1"})).await.unwrap()["token"].clone();
            says(tool(site, Actor::Reader, "confirm", json!({"token": token})).await, "not valid");
            assert!(campaign.rewards().await.is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_named_in_words() {
    on_both(
        |_| {},
        async |site| {
            for (name, arguments, words) in [
                ("find_people", json!({}), "/search: this field is required."),
                ("find_people", json!({"search": "x", "serch": "y"}), "/serch: there is no such field"),
                ("find_people", json!([1]), "Expected"),
                ("explain_lead", json!({"lead_id": "rwd_01m7wxa1fhf0fsz2z7nzgde70t"}), "/lead_id: expected"),
                ("statistics", json!({"by": "hour"}), "/by: expected one of day, week, month"),
                ("list_campaigns", json!({"all": true}), "/all: there is no such field"),
                ("record_conversion", json!({"email": "maya", "external_id": "1"}), "/email: expected an e-mail address"),
                ("record_conversion", json!({"email": "maya@example.com", "external_id": "1", "amount": "5"}), "/currency: expected the currency"),
                ("record_conversion", json!({"email": "maya@example.com", "external_id": "1", "amount": "-5", "currency": "EUR"}), "/amount: expected"),
                ("record_conversion", json!({"external_id": "1"}), "/lead_id: expected exactly one of lead_id, code, email, coupon"),
                ("record_conversion", json!({"email": "maya@example.com", "code": "MAYA", "external_id": "1"}), "/lead_id: expected exactly one of"),
                ("record_conversion", json!({"email": "maya@example.com"}), "/external_id: this field is required."),
                ("record_conversion", json!({"email": "maya@example.com", "external_id": "1", "properties": "pro"}), "/properties: expected"),
                (
                    "record_conversion",
                    json!({"email": "maya@example.com", "external_id": "1", "properties": {"x": "x".repeat(16 * 1024)}}),
                    "/properties: expected at most 16 KiB",
                ),
                ("preview_reward_action", json!({"reward_id": "rwd_01m7wxa1fhf0fsz2z7nzgde70t", "action": "burn"}), "/action: expected one of approve, hold"),
                ("confirm", json!({"token": "made-up"}), "The token is not valid, or too old. Preview it again"),
            ] {
                says(tool(site, Actor::Test, name, arguments).await, words);
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_for_is_found_and_explained() {
    on_both(
        |_| {},
        async |site| {
            let campaign = site
                .app
                .campaign(json!({"rule": {"minimum_spend": {"amount": "50.00", "currency": "EUR"}}, "rewards": [ten_euros(json!({"review": "always"}))]}))
                .await;
            let maya = campaign.referrer("priya@example.com").await.lead("maya@example.com").await;
            let recorded = json!({"email": "maya@example.com", "external_id": "o-1", "amount": "46", "currency": "EUR"});
            let recorded = tool(site, Actor::Test, "record_conversion", recorded).await.unwrap();
            assert_eq!(
                (&recorded["qualified"], &recorded["conversion"]["amount"]["amount"]),
                (&json!(false), &json!("46.00")),
                "no reward, so it is done at once"
            );

            let campaigns = tool(site, Actor::Reader, "list_campaigns", json!({})).await.unwrap();
            assert_eq!(campaigns["campaigns"][0]["rewards"].as_array().unwrap().len(), 1);
            let found = tool(site, Actor::Reader, "find_people", json!({"search": "maya"})).await.unwrap();
            assert_eq!((&found["leads"][0]["email"], &found["more"]), (&json!("maya@example.com"), &json!(false)));
            let lead_id = found["leads"][0]["id"].clone();
            let explained = tool(site, Actor::Reader, "explain_lead", json!({"lead_id": lead_id})).await.unwrap();
            assert!(explained["verdict"].as_str().unwrap().contains("4.00 EUR"), "{explained}");
            // On PostgreSQL, roll-ups wait for transactions of other tests.
            site.app.check_statistics().await;
            let funnel = tool(site, Actor::Reader, "statistics", json!({"campaign_id": campaign.id, "from": "", "to": null})).await.unwrap();
            assert_eq!((&funnel["leads"], &funnel["conversions"]), (&json!(1), &json!(1)), "{funnel}");
            let days = tool(site, Actor::Reader, "statistics", json!({"by": "day"})).await.unwrap();
            assert_eq!(days["groups"].as_array().unwrap().len(), 1, "{days}");

            maya.qualify().await;
            let queue = tool(site, Actor::Reader, "review_queue", json!({})).await.unwrap();
            assert_eq!(queue["in_review"][0]["reward"]["beneficiary"]["email"], "priya@example.com", "{queue}");
        },
    )
    .await;
}

/// Everything that a rule can ask of a conversion can be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_a_condition_or_goals_is_met_over_mcp_by_an_id_that_was_found() {
    on_both(
        |_| {},
        async |site| {
            let record = async |told: Value| tool(site, Actor::Test, "record_conversion", told).await.unwrap();
            let asking = site.app.campaign(json!({"rule": {"condition": "properties.plan == \"pro\""}})).await;
            asking.referrer("priya@example.com").await.lead("maya@example.com").await;
            let found = tool(site, Actor::Reader, "find_people", json!({"search": "maya"})).await.unwrap();
            let lead_id = found["leads"][0]["id"].clone();
            let free = record(json!({"lead_id": lead_id, "external_id": "o-1", "properties": {"plan": "free"}})).await;
            assert_eq!((&free["qualified"], &free["lead"]["id"]), (&json!(false), &lead_id));
            let pro = record(json!({"lead_id": lead_id, "external_id": "o-2", "properties": {"plan": "pro"}})).await;
            assert_eq!((&pro["qualified"], &pro["conversion"]["properties"]), (&json!(true), &json!({"plan": "pro"})), "{pro}");

            let steps = site.app.campaign(json!({"rule": {"direct": false, "goals": ["Trial", "Paid"]}})).await;
            let noah = steps.referrer("ines@example.com").await.lead("noah@example.com").await.get().await;
            let trial = record(json!({"code": noah.code, "external_id": "g-1", "goal": "Trial"})).await;
            assert_eq!((&trial["qualified"], &trial["conversion"]["goal"]), (&json!(false), &json!("Trial")), "{trial}");
            let paid = record(json!({"email": "noah@example.com", "external_id": "g-2", "goal": "Paid"})).await;
            assert_eq!(paid["qualified"], true, "{paid}");
            // A coupon that nobody was given names nobody, and the answer says so.
            let nobody = record(json!({"coupon": "TEN-OFF", "external_id": "o-3"})).await;
            assert_eq!((&nobody["outcome"], &nobody["lead"]), (&json!("ignored"), &Value::Null), "{nobody}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_and_the_other_side_are_not_there() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site, json!({"review": "always"})).await;
            tool(site, Actor::Test, "record_conversion", json!({"email": "maya@example.com", "external_id": "o-1"})).await.unwrap();
            campaign.convert(campaign.order("maya@example.com", "o-2", "5.00 EUR")).await;
            let reward = campaign.reward().await;
            let lead_id = reward.view.lead_id;
            let preview = json!({"reward_id": reward.id, "action": "approve"});
            let token = tool(site, Actor::Test, "preview_reward_action", preview.clone()).await.unwrap()["token"].clone();
            for stranger in [Actor::Stranger, Actor::Live] {
                says(tool(site, stranger, "explain_lead", json!({"lead_id": lead_id})).await, "There is no such lead");
                says(tool(site, stranger, "preview_reward_action", preview.clone()).await, "There is no such reward");
                says(tool(site, stranger, "confirm", json!({"token": token})).await, "The token is not valid");
                let found = tool(site, stranger, "find_people", json!({"search": "maya", "campaign_id": campaign.id})).await.unwrap();
                assert_eq!(found, json!({"referrers": [], "leads": [], "more": false}));
                assert_eq!(tool(site, stranger, "list_campaigns", json!({})).await.unwrap(), json!({"campaigns": []}));
                assert_eq!(tool(site, stranger, "review_queue", json!({"campaign_id": campaign.id})).await.unwrap()["in_review"], json!([]));
                let told = json!({"email": "maya@example.com", "external_id": "o-3", "campaign_id": campaign.id});
                assert!(tool(site, stranger, "record_conversion", told).await.is_err());
            }
            assert_eq!(reward.state().await, RewardState::InReview);
        },
    )
    .await;
}

// ---------------------------------------------------------------- money

#[tokio::test(flavor = "multi_thread")]
async fn a_reward_moves_only_as_it_was_previewed_and_once() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site, json!({"review": "always", "auto_issue": true})).await;
            campaign.convert(campaign.order("maya@example.com", "o-1", "50.00 EUR")).await;
            let reward = campaign.reward().await;
            let preview = async |action: &str| tool(site, Actor::Test, "preview_reward_action", json!({"reward_id": reward.id, "action": action})).await;
            let confirm = async |token: &Value| tool(site, Actor::Test, "confirm", json!({"token": token})).await;
            let (signals, events) = (site.app.signals(Default::default()).await.len(), site.app.events().await.len());

            let stated = preview("approve").await.unwrap();
            let effect = stated["effect"].as_str().unwrap();
            assert!(
                effect.contains("10.00 EUR for") && effect.contains("<priya@example.com>") && effect.contains("is issued"),
                "it issues by itself: {effect}"
            );
            assert_eq!((reward.state().await, &stated["done"]), (RewardState::InReview, &json!(false)));
            assert_eq!((site.app.signals(Default::default()).await.len(), site.app.events().await.len()), (signals, events), "a preview leaves nothing behind");

            let mut forged = stated["token"].as_str().unwrap().to_owned();
            forged.replace_range(0..1, if forged.starts_with('A') { "B" } else { "A" });
            says(confirm(&forged.into()).await, "The token is not valid");
            // It was seen as it was in review; now it is on hold.
            reward.decide(RewardAction::Hold).await;
            says(confirm(&stated["token"]).await, "Nothing was done");
            assert_eq!(reward.state().await, RewardState::OnHold);

            let stated = preview("approve").await.unwrap();
            assert_eq!(confirm(&stated["token"]).await.unwrap()["state"], "issued");
            let history = reward.history().await;
            assert!(confirm(&stated["token"]).await.is_err(), "a token is good once");
            assert_eq!(reward.history().await, history);
            says(preview("approve").await, "The reward is issued already.");
            says(preview("cancel").await, "possible now: reverse");

            let stated = preview("reverse").await.unwrap();
            assert!(stated["effect"].as_str().unwrap().contains("must be recovered"), "{stated}");
            assert_eq!(reward.state().await, RewardState::Issued);
            assert_eq!(confirm(&stated["token"]).await.unwrap()["state"], "reversed");
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_good_for_ten_minutes() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site, json!({"review": "always"})).await;
            campaign.convert(campaign.order("maya@example.com", "o-1", "50.00 EUR")).await;
            let reward = campaign.reward().await;
            let preview = async || tool(site, Actor::Test, "preview_reward_action", json!({"reward_id": reward.id, "action": "approve"})).await.unwrap();
            let confirm = async |token: &Value| tool(site, Actor::Test, "confirm", json!({"token": token})).await;

            let stated = preview().await;
            site.app.pass(10 * MINUTE_MS + 1).await;
            assert!(time(stated["valid_until"].as_str().unwrap()) < site.app.now(), "{stated}");
            says(confirm(&stated["token"]).await, "The token is not valid, or too old.");
            assert_eq!(reward.state().await, RewardState::InReview);

            let stated = preview().await;
            site.app.pass(9 * MINUTE_MS).await;
            assert_eq!(confirm(&stated["token"]).await.unwrap()["state"], "approved");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_confirm_at_once_move_money_once() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site, json!({"review": "always"})).await;
            campaign.convert(campaign.order("maya@example.com", "o-1", "50.00 EUR")).await;
            let reward = campaign.reward().await;
            let token = tool(site, Actor::Test, "preview_reward_action", json!({"reward_id": reward.id, "action": "approve"})).await.unwrap()["token"].clone();
            let confirm = || tool(site, Actor::Test, "confirm", json!({"token": token}));
            let done = futures_util::future::join_all((0..8).map(|_| confirm())).await;
            assert_eq!(done.iter().filter(|answer| answer.is_ok()).count(), 1, "{done:?}");
            assert_eq!(reward.state().await, RewardState::Approved);
            site.app.check_books().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_brings_rewards_about_waits_for_a_yes() {
    on_both(
        |_| {},
        async |site| {
            let campaign = program(site, json!({"auto_issue": true})).await;
            let told = json!({"email": "maya@example.com", "external_id": "o-1", "amount": "50", "currency": "EUR", "kind": "order"});
            let record = async || tool(site, Actor::Test, "record_conversion", told.clone()).await.unwrap();
            let confirm = async |token: &Value| tool(site, Actor::Test, "confirm", json!({"token": token})).await;

            let stated = record().await;
            let effect = stated["effect"].as_str().unwrap();
            assert!(effect.contains("qualifies the lead") && effect.contains("10.00 EUR for") && effect.contains("issued"), "{effect}");
            let nothing_yet = async || {
                assert!(campaign.rewards().await.is_empty());
                assert_eq!(site.app.number("SELECT count(*) FROM conversions WHERE space = $1").await, 0);
            };
            nothing_yet().await;
            // The same would bring about nothing now, so what was stated is not true any more.
            campaign.set_status(CampaignStatus::Paused).await;
            assert!(confirm(&stated["token"]).await.is_err());
            nothing_yet().await;
            campaign.set_status(CampaignStatus::Live).await;

            let done = confirm(&record().await["token"]).await.unwrap();
            assert_eq!((&done["qualified"], &done["rewards"][0]["state"]), (&json!(true), &json!("issued")));
            says(confirm(&stated["token"]).await, "it was done before");
            assert_eq!(record().await["repeated"], true, "told again it is the first answer, and needs no yes");
            assert_eq!(campaign.states().await, ["issued"]);
            let told_elsewhere = campaign.convert(campaign.order("maya@example.com", "o-1", "50.00 EUR")).await;
            assert!(told_elsewhere.repeated);
            site.app.check_books().await;
        },
    )
    .await;
}
