//! The defects that other referral systems were publicly reported for, each as a test of
//! what happens here. The numbers are those of the list of public failures; 14 is
//! `tests/isolation.rs`.

mod support;

use futures_util::future::LocalBoxFuture;
use goodword::engine::{
    Error,
    participant::{Join, ReferrerKey},
    qualify::{Convert, LeadKey, Qualify},
    signal::SignalFilter,
};
use goodword_core::{
    decide::Outcome,
    explain::Reason,
    reward::{RewardAction, RewardState},
};
use goodword_store::Engine as Database;
use serde_json::json;
use support::{
    site::{self, Actor},
    *,
};

/// 1.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_reward_is_claimed_by_64_clients_at_once_and_paid_once() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"review": "always", "rewards": [ten_euros(json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        let answers = at_once(64, |_| {
            let lead = lead.clone();
            async move { lead.qualify().await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.qualified).count(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.already_qualified && answer.outcome == Outcome::Unchanged).count(), 63);
        let reward = campaign.reward().await;
        for action in [RewardAction::Approve, RewardAction::Issue] {
            at_once(64, |_| {
                let reward = reward.clone();
                async move { reward.decide(action).await }
            })
            .await;
        }
        assert_eq!(reward.state().await, RewardState::Issued);
        assert_eq!(reward.history().await, [("due", Some(1000)), ("in_review", None), ("approved", None), ("issued", None)]);
        assert_eq!(app.count_events("reward.issued").await, 1);
        app.check_books().await;
    })
    .await;
}

/// 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_twice_at_once_makes_one_lead_and_one_event() {
    on_both(async |app| {
        let referrer = app.campaign(json!({})).await.referrer("priya@example.com").await;
        let joined = at_once(32, |_| {
            let referrer = referrer.clone();
            async move { referrer.join(person("maya@example.net")).await.unwrap() }
        })
        .await;
        assert_eq!(joined.iter().filter(|joined| joined.created).count(), 1);
        let first = joined.iter().find(|joined| joined.created).unwrap().lead.as_ref().unwrap().id;
        for again in &joined {
            assert_eq!(again.lead.as_ref().unwrap().id, first);
            assert!(again.created || (again.outcome, again.reason) == (Outcome::Unchanged, Reason::AlreadyDone));
        }
        assert_eq!(app.count_events("lead.created").await, 1);
        app.check_books().await;
    })
    .await;
}

/// 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_lead_who_used_two_links_belongs_to_the_first_and_the_second_is_on_record() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let (priya, tom) = (campaign.referrer("priya@example.com").await, campaign.referrer("tom@example.com").await);
        let lead = priya.lead("maya@example.net").await;
        let second = tom.join(person("Maya@Example.net")).await.unwrap();
        assert_eq!((second.outcome, second.reason), (Outcome::Ignored, Reason::FirstReferrerKept));
        assert_eq!(second.lead.unwrap().referrer.id, priya.id);
        let told = app.signals(SignalFilter { participant: Some(lead.id.uuid()), kind: Some("lead.add".into()), ..Default::default() }).await;
        assert_eq!(told.len(), 2);
        assert_eq!(told[1].payload["referrer"]["code"], json!(tom.code));
        assert_eq!(check(&told[1].checks, Reason::FirstReferrerKept).found, "the lead of another referrer");

        // At the same moment, through 16 links each of two referrers.
        let joined = at_once(32, |i| {
            let referrer = if i % 2 == 0 { priya.clone() } else { tom.clone() };
            async move { referrer.join(person("noor@example.net")).await.unwrap() }
        })
        .await;
        assert_eq!(joined.iter().filter(|joined| joined.created).count(), 1);
        let owners: Vec<_> = joined.iter().map(|joined| joined.lead.as_ref().unwrap().referrer.id).collect();
        assert!(owners.iter().all(|owner| *owner == owners[0]));
        app.check_books().await;
    })
    .await;
}

/// 4.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_delivered_three_times_is_one_conversion_one_decision_and_one_reward() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [commission(10.0, json!({"cadence": {"type": "ongoing"}}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        let first = lead.buys("A-1", "50.00 EUR").await;
        assert!(first.qualified && !first.repeated);
        for amount in ["50.00 EUR", "99.00 EUR"] {
            let again = lead.buys("A-1", amount).await;
            assert!(again.repeated);
            assert_eq!((again.signal_id, again.outcome, &again.checks, again.qualified), (first.signal_id, first.outcome, &first.checks, true));
            assert_eq!(again.conversion, first.conversion);
            assert_eq!(again.rewards, first.rewards);
        }
        let answers = at_once(48, |_| {
            let lead = lead.clone();
            async move { lead.buys("A-2", "20.00 EUR").await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.signal_id == answers[0].signal_id && answer.conversion == answers[0].conversion));
        assert_eq!(campaign.rewards().await.iter().map(|reward| reward.view.amount.unwrap().minor).collect::<Vec<_>>(), [500, 200]);
        assert_eq!(app.count_events("conversion.recorded").await, 2);
        app.check_books().await;
    })
    .await;
}

/// What happens in the life of a referral, for tests that disturb it: every step writes to
/// several tables.
async fn an_eventful_campaign(app: &TestApp) -> (TestCampaign, TestReferrer) {
    let campaign = app
        .campaign(json!({
            "budget": {"amount": {"amount": "100.00", "currency": "EUR"}},
            "rewards": [
                commission(10.0, json!({"auto_issue": true})),
                ten_euros(json!({"name": "A coupon", "value": {"type": "coupon"}, "beneficiary": "lead"})),
                ten_euros(json!({"name": "Step", "cadence": {"type": "milestones", "steps": [{"count": 1}]}})),
            ],
        }))
        .await;
    let coupons = campaign.get().await.configuration.rewards[1].id;
    app.act(goodword::engine::campaign::AddCoupons { campaign: campaign.id, definition: coupons, codes: vec!["SPRING-1".into(), "SPRING-2".into()] })
        .await
        .unwrap();
    let referrer = campaign.referrer("priya@example.com").await;
    (campaign, referrer)
}

/// 5.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_between_any_two_steps_leaves_both_or_neither() {
    on_both(async |app| {
        if app.engine.store().engine() == Database::Sqlite {
            return; // There is no connection; the crash test kills the whole process.
        }
        let (campaign, referrer) = an_eventful_campaign(&app).await;
        let faults = Faults::install(&app).await;
        for n in 0..40 {
            let lead = referrer.lead(&format!("friend-{n}@example.net")).await;
            faults.after(n, Fault::Disconnect).await;
            let first = campaign.try_convert(lead.order(&format!("A-{n}"), "10.00 EUR")).await;
            faults.none().await;
            // Whoever hears nothing, or that nothing is known, sends it again.
            let again = lead.buys(&format!("A-{n}"), "10.00 EUR").await;
            assert!(again.qualified, "broken at row {n}: {again:?}");
            match first {
                Ok(first) => assert_eq!((again.signal_id, again.repeated), (first.signal_id, true), "broken at row {n}"),
                Err(Error::Store(goodword_store::Error::Unavailable(_))) => {}
                Err(other) => panic!("broken at row {n}: {other}"),
            }
        }
        let conversions = app.number("SELECT count(*) FROM conversions WHERE space = $1").await;
        let signals = app.number("SELECT count(*) FROM signals WHERE space = $1 AND kind = 'conversion'").await;
        assert_eq!((conversions, signals), (40, 40));
        assert_eq!(app.count_events("lead.qualified").await, 40);
        assert_eq!(campaign.rewards().await.iter().filter(|reward| reward.view.kind == "commission").count(), 40);
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

/// 6.
#[tokio::test(flavor = "multi_thread")]
async fn a_reward_is_issued_only_when_the_provider_has_said_so() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"issuing": "external", "auto_issue": true}))]})).await;
        campaign.referrer("priya@example.com").await.lead("maya@example.net").await.qualify().await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.state, reward.view.issued_at, reward.view.attempts), (RewardState::Issuing, None, 1));
        app.pass_days(30).await;
        assert_eq!(reward.state().await, RewardState::Issuing, "nobody knows what became of it, so nobody says that it was issued");
        let failed = reward.decide(RewardAction::Fail).await;
        assert_eq!((failed.state, failed.issued_at), (RewardState::Failed, None));
        assert_eq!(reason_of(reward.try_decide(RewardAction::Confirm).await), Some(Reason::RewardState));
        assert_eq!(reward.decide(RewardAction::Retry).await.attempts, 2);
        let confirmed = at_once(32, |_| {
            let reward = reward.clone();
            async move { reward.decide(RewardAction::Confirm).await }
        })
        .await;
        assert!(confirmed.iter().all(|reward| reward.state == RewardState::Issued && reward.issued_at.is_some()));
        assert_eq!(app.count_events("reward.issued").await, 1);
        assert_eq!(app.count_events("reward.issuing").await, 2);
    })
    .await;
}

/// 7.
#[tokio::test(flavor = "multi_thread")]
async fn payments_at_the_same_time_add_up_exactly() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rule": {"minimum_spend": {"amount": "320.00", "currency": "EUR"}}, "rewards": [ten_euros(json!({}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let leads = [referrer.lead("maya@example.net").await, referrer.lead("noor@example.net").await];
        let answers = at_once(64, |i| {
            let lead = leads[i % 2].clone();
            async move { lead.buys(&format!("A-{i}"), "10.00 EUR").await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.qualified).count(), 2, "each lead by its last payment, and by no other");
        let mut missing: Vec<_> = answers.iter().filter_map(|answer| check(&answer.checks, Reason::MinimumSpend).miss.clone()).collect();
        missing.sort();
        missing.dedup();
        assert_eq!(missing.len(), 31, "no payment saw the same sum as another of its lead: {missing:?}");
        assert_eq!(campaign.participant(referrer.id).await.qualified_leads, 2);
        assert_eq!(campaign.rewards().await.len(), 2);
        app.check_books().await;
    })
    .await;
}

/// 8.
#[tokio::test(flavor = "multi_thread")]
async fn one_referral_gets_one_coupon_and_no_coupon_goes_to_two() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"value": {"type": "coupon"}, "beneficiary": "lead"}))]})).await;
        let codes: Vec<String> = (0..20).map(|i| format!("SPRING-{i}")).collect();
        campaign.add_coupons(&codes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        // 24 leads of as many referrers, so that they wait for nothing but the coupons; each told twice.
        let mut leads = Vec::new();
        for i in 0..24 {
            leads.push(campaign.referrer(&format!("referrer-{i}@example.com")).await.lead(&format!("lead-{i}@example.net")).await);
        }
        at_once(48, |i| {
            let lead = leads[i / 2].clone();
            async move { lead.qualify().await }
        })
        .await;
        let rewards = campaign.rewards().await;
        assert_eq!(rewards.len(), 24);
        let mut given: Vec<_> = rewards.iter().filter_map(|reward| reward.view.coupon.clone()).collect();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 20, "every coupon went to one lead");
        for reward in &rewards {
            let expected = if reward.view.coupon.is_some() { (RewardState::Approved, Reason::Done) } else { (RewardState::OnHold, Reason::CouponLeft) };
            assert_eq!((reward.view.state, reward.view.why.reason), expected);
        }
        assert_eq!(app.count_events("coupons.low").await, 3, "at 85, 95 and 100 percent");
        app.check_books().await;
    })
    .await;
}

/// 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_row_leaves_nothing_behind() {
    on_both(async |app| {
        let (campaign, referrer) = an_eventful_campaign(&app).await;
        let faults = Faults::install(&app).await;
        let disturb = async |what: &str, least: usize, step: &dyn Fn() -> LocalBoxFuture<'static, bool>| {
            for n in 0.. {
                let before = app.everything().await;
                faults.after(n, Fault::Fail).await;
                let done = step().await;
                faults.none().await;
                if done {
                    assert!(n >= least, "{what} was not disturbed at each of its rows: {n}");
                    return;
                }
                assert!(app.everything().await == before, "{what} left something behind at row {n}");
            }
        };
        let join = referrer.clone();
        disturb("joining", 5, &move || {
            let join = join.clone();
            Box::pin(async move { join.join(person("maya@example.net")).await.is_ok() })
        })
        .await;
        let lead = TestLead {
            id: referrer.join(person("maya@example.net")).await.unwrap().lead.unwrap().id,
            campaign: campaign.clone(),
            email: "maya@example.net".into(),
        };
        for (what, least, order, amount) in [("an order that qualifies", 20, "A-1", "50.00 EUR"), ("one more order", 3, "A-2", "5.00 EUR")] {
            let lead = lead.clone();
            disturb(what, least, &move || {
                let lead = lead.clone();
                Box::pin(async move { lead.campaign.try_convert(lead.order(order, amount)).await.is_ok() })
            })
            .await;
        }
        for (what, least, order, amount) in
            [("a partial refund", 4, "A-1", Some("10.00 EUR")), ("a full refund", 4, "A-1", None), ("the refund that ends the qualification", 8, "A-2", None)]
        {
            let campaign = campaign.clone();
            disturb(what, least, &move || {
                let campaign = campaign.clone();
                Box::pin(async move { campaign.try_refund(order, None, amount).await.is_ok() })
            })
            .await;
        }
        let again = lead.clone();
        disturb("qualifying again", 12, &move || {
            let again = again.clone();
            Box::pin(async move { again.try_qualify().await.is_ok() })
        })
        .await;
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

/// 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_lead_or_a_suspended_referrer_earns_nothing_and_hears_why() {
    on_both(async |app| {
        let rewards = json!([ten_euros(json!({})), ten_euros(json!({"name": "For joining", "trigger": "joined"}))]);
        let campaign = app.campaign(json!({"rewards": rewards})).await;
        let referrer = campaign.referrer("priya@example.com").await;

        let rejected = referrer.lead("maya@example.net").await;
        assert_eq!(campaign.states().await, ["approved"], "for joining");
        let answer = rejected.reject().await;
        assert_eq!(
            answer.rewards.iter().map(|reward| (reward.state, reward.why.reason)).collect::<Vec<_>>(),
            [(RewardState::Cancelled, Reason::LeadNotRejected)]
        );
        for answer in [rejected.qualify().await, rejected.buys("A-1", "50.00 EUR").await] {
            assert_eq!((answer.outcome, answer.why.reason), (Outcome::Ignored, Reason::LeadNotRejected));
            assert_eq!(check(&answer.checks, Reason::LeadNotRejected).found, "rejected");
        }
        assert_eq!(campaign.states().await, ["cancelled"]);

        let lead = referrer.lead("noor@example.net").await;
        referrer.suspend(true).await;
        for answer in [lead.qualify().await, lead.buys("A-2", "50.00 EUR").await] {
            assert_eq!((answer.outcome, answer.why.reason), (Outcome::Ignored, Reason::ReferrerActive));
            assert!(check(&answer.checks, Reason::ReferrerActive).found.starts_with("suspended since "));
        }
        let refused = referrer.join(person("emil@example.net")).await.unwrap();
        assert_eq!((refused.outcome, refused.reason), (Outcome::Refused, Reason::ReferrerActive));
        assert_eq!(campaign.states().await, ["cancelled", "approved"]);
    })
    .await;
}

/// 11.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_refers_themselves_whatever_their_address_looks_like() {
    on_both(async |app| {
        for duplicates in ["same_mailbox", "same_address"] {
            let campaign = app.campaign(json!({"duplicates": duplicates, "rewards": [ten_euros(json!({"trigger": "joined"}))]})).await;
            for (own, variants) in [
                (
                    "priya.shah@gmail.com",
                    &[
                        "PRIYA.SHAH@GMAIL.COM",
                        "priyashah@gmail.com",
                        "p.r.i.y.a.s.h.a.h@gmail.com",
                        "priyashah+friend@gmail.com",
                        "Priya.Shah+1@googlemail.com",
                    ][..],
                ),
                ("tom@outlook.com", &["Tom@Outlook.com", "tom+2@outlook.com"][..]),
                ("noor@icloud.com", &["noor@me.com", "noor+shop@icloud.com"][..]),
                ("emil@example.com", &["EMIL@example.com", " emil@Example.COM "][..]),
            ] {
                let referrer = campaign.referrer(own).await;
                for variant in variants {
                    let refused = referrer.join(person(variant)).await.unwrap();
                    assert_eq!((refused.outcome, refused.reason), (Outcome::Refused, Reason::NotSelf), "{variant}");
                    assert_eq!(check(&refused.checks, Reason::NotSelf).found, "the referrer's own address");
                }
            }
            assert!(campaign.rewards().await.is_empty());
        }
        // A plus tag at a provider that may deliver it elsewhere is no proof, but a sign: the reward is looked at.
        let campaign = app.campaign(json!({"review": "risk", "rewards": [ten_euros(json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("priya+friend@example.com").await;
        lead.qualify().await;
        assert_eq!((campaign.reward().await.view.state, campaign.reward().await.view.why.reason), (RewardState::InReview, Reason::ReviewRisk));
    })
    .await;
}

/// 12.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_counts_once_and_refunds_add_up_to_at_most_the_amount() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [commission(10.0, json!({"auto_issue": true}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("A-1", "100.00 EUR").await;
        let reward = campaign.reward().await;

        let told = at_once(32, |_| {
            let campaign = campaign.clone();
            async move { campaign.refund("A-1", Some("R-1"), Some("30.00 EUR")).await }
        })
        .await;
        assert_eq!(told.iter().filter(|answer| !answer.repeated).count(), 1);
        assert_eq!(reward.now().await.reversed, Some(money("3.00 EUR")));

        // 20 refunds of 10.00 ask for more than what is left.
        at_once(20, |i| {
            let campaign = campaign.clone();
            async move { campaign.refund("A-1", Some(&format!("R-2-{i}")), Some("10.00 EUR")).await }
        })
        .await;
        let reversed = reward.now().await;
        assert_eq!((reversed.state, reversed.reversed), (RewardState::Reversed, Some(money("10.00 EUR"))));
        let more = campaign.refund("A-1", Some("R-3"), None).await;
        assert_eq!((more.outcome, more.why.reason), (Outcome::Unchanged, Reason::NothingToRefund));
        let balance: i64 = reward.history().await.iter().filter_map(|(_, amount)| *amount).sum();
        assert_eq!(balance, 0, "what was given less what was reversed, never below zero: {:?}", reward.history().await);
        assert_eq!(lead.status().await, "pending");
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

/// 13.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_after_the_payout_is_an_entry_of_its_own_or_a_note_as_the_campaign_says() {
    on_both(async |app| {
        for (policy, state, event) in [("reverse", RewardState::Reversed, "reward.reversed"), ("note", RewardState::Issued, "reward.refund_noted")] {
            let campaign = app.campaign(json!({"after_refund": policy, "rewards": [ten_euros(json!({"auto_issue": true}))]})).await;
            let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
            lead.buys("A-1", "50.00 EUR").await;
            let reward = campaign.reward().await;
            assert_eq!(reward.view.state, RewardState::Issued);
            campaign.refund("A-1", Some("R-1"), None).await;
            let after = reward.now().await;
            assert_eq!((after.state, after.why.reason), (state, Reason::Refunded));
            assert!(after.issued_at.is_some(), "what was paid stays on record as paid");
            let history = reward.history().await;
            assert_eq!(history[..3], [("due", Some(1000)), ("approved", None), ("issued", None)]);
            let expected = if policy == "reverse" { ("reversed", Some(-1000)) } else { ("issued", None) };
            assert_eq!(history[3..], [expected]);
            assert_eq!(app.count_events(event).await, 1);
        }
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

/// 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_straight_on_carries_the_code_and_nothing_else() {
    site::on_both(
        |_| {},
        async |site| {
            let link = json!({"mode": "direct", "destination": "https://shop.example/welcome?from=friend", "parameter": "ref"});
            let campaign = site.app.campaign(json!({"link": link})).await;
            let priya = goodword::engine::participant::Person {
                first_name: "Priya".into(),
                last_name: "Shah".into(),
                external_id: Some("CRM-77".into()),
                ..person("priya@example.com")
            };
            let (_, referrer) = campaign.try_enrol(priya, None).await.unwrap();
            for path in [format!("/{}", referrer.code), format!("/{}?utm_source=qr&email=maya@example.net", referrer.code.to_lowercase())] {
                let reply = site.send("GET", &path, &[("user-agent", "Mozilla/5.0 (iPhone)"), ("referer", "https://news.example/priya@example.com")], "").await;
                assert_eq!(
                    (reply.status, reply.header("location")),
                    (302, Some(format!("https://shop.example/welcome?from=friend&ref={}", referrer.code).as_str()))
                );
                let said = format!("{:?}{}", reply.headers, reply.text).to_lowercase();
                for personal in ["priya", "shah", "crm-77", "@", "%40", &referrer.id.to_string()] {
                    assert!(!said.contains(personal), "{personal} in {said}");
                }
            }
            while site.app.number("SELECT count(*) FROM visits WHERE space = $1").await < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert_eq!(site.app.number("SELECT count(*) FROM visits WHERE space = $1 AND referring_host = 'news.example' AND device = 'phone'").await, 2);
        },
    )
    .await;
}

/// 16.
#[tokio::test(flavor = "multi_thread")]
async fn visitors_behind_a_trusted_proxy_are_told_apart_and_nobody_else_is_believed() {
    for trusted in [true, false] {
        site::on_both(
            |config| {
                config.form_limit_per_minute = 2;
                config.trusted_proxies = if trusted { vec!["127.0.0.0/8".parse().unwrap()] } else { vec![] };
            },
            async |site| {
                let referrer = site.app.campaign(json!({})).await.referrer("priya@example.com").await;
                let path = format!("/{}", referrer.code);
                let from = async |visitor: &str| {
                    site.send("POST", &path, &[("x-forwarded-for", visitor), ("content-type", "application/x-www-form-urlencoded")], "email=x").await.status
                };
                let mut answers = Vec::new();
                for visitor in ["198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.3, 198.51.100.2"] {
                    answers.push(from(visitor).await == 429);
                }
                let expected = if trusted { [false, false, true, false, false] } else { [false, false, true, true, true] };
                assert_eq!(answers, expected, "trusted: {trusted}");
                for visitor in ["198.51.100.7", "198.51.100.8"] {
                    site.send("GET", &path, &[("x-forwarded-for", visitor)], "").await;
                }
                while site.app.number("SELECT count(*) FROM visits WHERE space = $1").await < 2 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                let addresses = site.app.number("SELECT count(DISTINCT ip) FROM visits WHERE space = $1 AND ip LIKE '198.51.100.%'").await;
                assert_eq!(addresses, if trusted { 2 } else { 0 });
            },
        )
        .await;
    }
}

/// 17.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_answer_is_there_so_is_the_reward() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"auto_issue": true}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        let answer = lead.buys("A-1", "50.00 EUR").await;
        assert_eq!(answer.rewards[0].state, RewardState::Issued);
        // Nothing of it waits in a queue or a task: all of it carries the signal of the answer.
        let signal = app.signals(SignalFilter { kind: Some("conversion".into()), ..Default::default() }).await.remove(0);
        assert_eq!(signal.id, answer.signal_id);
        let effects: Vec<_> = signal.effects.iter().map(|effect| effect.kind.as_str()).collect();
        assert_eq!(effects, ["conversion.recorded", "lead.qualified", "reward.due", "reward.approved", "reward.issued"]);
        assert_eq!(app.events().await[3..], effects);
    })
    .await;
}

/// 18.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_up_an_amount_without_a_key() {
    site::on_both(
        |_| {},
        async |site| {
            let rewards = json!([commission(10.0, json!({"cadence": {"type": "ongoing"}})), ten_euros(json!({"trigger": "joined"}))]);
            let campaign = site.app.campaign(json!({"rewards": rewards})).await;
            let referrer = campaign.referrer("priya@example.com").await;
            // What a buyer can write: the link's parameters, cookies, the form. None of it is money.
            let path = format!("/{}?amount=9999&commission=9999&value=9999&price=9999", referrer.code);
            let cookies = [("cookie", "amount=9999; order_total=9999; goodword=9999"), ("user-agent", "Mozilla/5.0")];
            assert_eq!(site.send("GET", &path, &cookies, "").await.status, 200);
            let token =
                goodword::pages::form::Guard::new(site.app.engine.secret()).token(&format!("/{}", referrer.code), site.app.engine.wall().plus_ms(-10_000));
            let form = format!("first_name=Maya&email=maya%40example.net&amount=9999&commission=9999&qualified=true&form_token={token}");
            let headers = [("content-type", "application/x-www-form-urlencoded"), cookies[0], cookies[1]];
            let reply = site.send("POST", &path, &headers, &form).await;
            assert_eq!(reply.status, 303, "{reply:?}");
            assert_eq!(campaign.reward().await.view.amount, Some(money("10.00 EUR")), "what the campaign promises for joining");
            assert_eq!(site.app.number("SELECT count(*) FROM conversions WHERE space = $1").await, 0);
            // The API takes amounts only from keys that may report.
            let order = json!({"email": "maya@example.net", "campaign_id": campaign.id, "amount": "9999.00", "currency": "EUR", "external_id": "A-1"});
            for (actor, status) in [(Actor::Nobody, 401), (Actor::Forger, 401), (Actor::Reader, 403)] {
                assert_eq!(site.call(actor, "POST", "/v1/conversions", Some(&order)).await.status, status, "{actor:?}");
            }
            assert_eq!(campaign.rewards().await.len(), 1);
            let told = site.call(Actor::Test, "POST", "/v1/conversions", Some(&order)).await;
            assert_eq!(told.json()["rewards"][0]["amount"]["amount"], "999.90", "{told:?}");
        },
    )
    .await;
}

/// 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_or_a_coupon_alone_attributes_without_any_click() {
    on_both(async |app| {
        let welcome = ten_euros(json!({"name": "Welcome", "trigger": "joined", "beneficiary": "lead", "value": {"type": "coupon"}}));
        let campaign = app.campaign(json!({"rewards": [welcome, ten_euros(json!({}))]})).await;
        campaign.add_coupons(&["WELCOME-1", "WELCOME-2"]).await;
        let (_, referrer) = campaign.try_enrol(person("priya@example.com"), Some("PRIYA10")).await.unwrap();
        // The code, told at a till, in any case.
        let joined = app
            .act(Join {
                campaign: Some(campaign.id),
                referrer: ReferrerKey::Code("priya10".parse().unwrap()),
                person: person("maya@example.net"),
                link_used_at: None,
            })
            .await
            .unwrap();
        assert_eq!(joined.lead.as_ref().unwrap().referrer.id, referrer.id);
        assert_eq!(joined.rewards[0].coupon.as_deref(), Some("WELCOME-1"));
        // The coupon, on an order, names its lead.
        let answer = campaign.convert(Convert { lead: LeadKey::Coupon("welcome-1".into()), ..campaign.order("nobody@example.net", "A-1", "50.00 EUR") }).await;
        assert!(answer.qualified);
        assert_eq!(answer.lead.unwrap().id, joined.lead.unwrap().id);
        // A coupon that nobody was given names nobody, and that is said.
        let answer = campaign.convert(Convert { lead: LeadKey::Coupon("WELCOME-2".into()), ..campaign.order("nobody@example.net", "A-2", "50.00 EUR") }).await;
        assert_eq!((answer.outcome, answer.why.reason), (Outcome::Ignored, Reason::PersonUnknown));
    })
    .await;
}

/// 20.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_suspended_referrer_earns_is_decided_by_the_time_of_the_event() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let leads = referrer.leads(4).await;
        app.pass_days(1).await;
        let before = app.now();
        app.pass_days(1).await;
        referrer.suspend(true).await;
        app.pass_days(1).await;
        let during = app.now();
        let tell = async |i: usize, at| app.act(Qualify { occurred_at: Some(at), ..leads[i].qualification() }).await.unwrap();
        assert!(tell(0, before).await.qualified, "it happened while the referrer was active");
        assert_eq!(tell(1, during).await.why.reason, Reason::ReferrerActive);
        app.pass_days(1).await;
        referrer.suspend(false).await;
        assert_eq!(tell(1, during).await.why.reason, Reason::ReferrerActive, "told late, it still happened while suspended");
        assert!(tell(2, before).await.qualified);
        app.pass_days(1).await;
        assert!(tell(3, app.now()).await.qualified);
        assert_eq!(campaign.rewards().await.len(), 3);
    })
    .await;
}

/// 21.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_five_under_50_qualifications_at_once_gives_exactly_five_rewards() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"limit": {"count": 5, "period": "month"}}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let leads = referrer.leads(50).await;
        let answers = at_once(50, |i| {
            let lead = leads[i].clone();
            async move { lead.qualify().await }
        })
        .await;
        assert!(answers.iter().all(|answer| answer.qualified));
        assert_eq!(campaign.rewards().await.len(), 5);
        let explained = answers.iter().filter(|answer| answer.rewards.is_empty() && check(&answer.checks, Reason::RewardLimit).found == "5 given").count();
        assert_eq!(explained, 45, "the rest hear why");
        assert_eq!(app.count_events("reward.skipped").await, 45);

        let campaign = app.campaign(json!({"limits": {"leads_per_referrer": 5}})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let joined = at_once(50, |i| {
            let referrer = referrer.clone();
            async move { referrer.join(person(&format!("friend-{i}@example.net"))).await.unwrap() }
        })
        .await;
        assert_eq!(joined.iter().filter(|joined| joined.created).count(), 5);
        assert!(joined.iter().all(|joined| joined.created || joined.reason == Reason::ReferralLimit));
        app.check_books().await;
    })
    .await;
}

/// 22.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_never_overspent_by_many_referrers_at_once() {
    on_both(async |app| {
        let budget = json!({"amount": {"amount": "55.00", "currency": "EUR"}, "period": "month"});
        let campaign = app.campaign(json!({"budget": budget, "rewards": [ten_euros(json!({}))]})).await;
        let mut leads = Vec::new();
        for i in 0..50 {
            leads.push(campaign.referrer(&format!("referrer-{i}@example.com")).await.lead(&format!("lead-{i}@example.net")).await);
        }
        let answers = at_once(50, |i| {
            let lead = leads[i].clone();
            async move { lead.qualify().await }
        })
        .await;
        assert_eq!(campaign.rewards().await.len(), 5);
        let explained = answers.iter().filter(|answer| answer.rewards.is_empty());
        for answer in explained.clone() {
            let budget = check(&answer.checks, Reason::Budget);
            assert_eq!((budget.found.as_str(), budget.miss.as_deref()), ("5.00 EUR left", Some("5.00 EUR over the budget")));
        }
        assert_eq!(explained.count(), 45);
        assert_eq!(app.number("SELECT used_minor FROM budgets WHERE space = $1").await, 5000);

        // What happened in another month is paid in this one: it is this month's money.
        app.pass_days(40).await;
        for lead in &leads[..10] {
            app.act(Qualify { occurred_at: Some(app.now().plus_ms(-39 * 86_400_000)), ..lead.qualification() }).await.unwrap();
            lead.recheck().await;
        }
        let this_month = app.now().start_of(goodword_core::time::Period::Month);
        let paid: i64 = campaign.rewards().await.iter().filter(|reward| reward.view.due_at >= this_month).map(|reward| reward.view.amount.unwrap().minor).sum();
        assert!(paid <= 5_500, "{paid} minor units fell due this month");
        app.check_books().await;
    })
    .await;
}

/// 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_milestone_is_reached_once_whoever_qualifies_at_once_and_again() {
    on_both(async |app| {
        let steps = json!({"type": "milestones", "steps": [{"count": 3}, {"count": 5, "value": {"type": "custom", "metric": "points", "units": 500}}]});
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"cadence": steps}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let leads = referrer.leads(8).await;
        at_once(8, |i| {
            let lead = leads[i].clone();
            async move { lead.qualify().await }
        })
        .await;
        let causes = async || campaign.rewards().await.iter().map(|reward| (reward.view.cause.clone(), reward.view.state.as_str())).collect::<Vec<_>>();
        let expected = [("milestone:3".to_owned(), "approved"), ("milestone:5".to_owned(), "approved")];
        assert_eq!(causes().await, expected);
        // Below the milestone, it waits; at it again, the same reward lives again.
        for lead in &leads[..4] {
            lead.unqualify().await;
        }
        assert_eq!(causes().await, [("milestone:3".to_owned(), "approved"), ("milestone:5".to_owned(), "cancelled")]);
        at_once(4, |i| {
            let lead = leads[i].clone();
            async move { lead.qualify().await }
        })
        .await;
        assert_eq!(causes().await, expected);
        assert_eq!(app.count_events("reward.due").await, 3);
        app.check_books().await;
    })
    .await;
}

/// 24.
#[tokio::test(flavor = "multi_thread")]
async fn money_is_whole_minor_units_and_currencies_never_meet() {
    on_both(async |app| {
        // 0.1 + 0.2, and a share of 8.25 % of 0.30: nothing is lost or made up.
        let rule = json!({"minimum_spend": {"amount": "0.30", "currency": "EUR"}});
        let campaign = app.campaign(json!({"rule": rule, "rewards": [commission(8.25, json!({"cadence": {"type": "ongoing"}}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let lead = referrer.lead("maya@example.net").await;
        assert!(!lead.buys("A-1", "0.10 EUR").await.qualified);
        let dollars = lead.buys("A-2", "100.00 USD").await;
        assert_eq!((dollars.outcome, dollars.why.reason), (Outcome::Ignored, Reason::CurrencyMatches));
        assert_eq!(check(&dollars.checks, Reason::CurrencyMatches).found, "USD");
        assert!(lead.buys("A-3", "0.20 EUR").await.qualified);
        assert_eq!(campaign.reward().await.view.amount, Some(money("0.02 EUR")), "1.65 cents");

        // The rule's currency changes: what was spent in the other one is not added.
        let campaign = app.campaign(json!({"rule": {"goals": ["trial", "paid"]}})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        campaign.convert(Convert { goal: Some("trial".into()), ..lead.order("B-1", "90.00 USD") }).await;
        campaign.change(json!({"rule": {"goals": [], "minimum_spend": {"amount": "100.00", "currency": "EUR"}}})).await;
        let answer = lead.buys("B-2", "20.00 EUR").await;
        assert_eq!(check(&answer.checks, Reason::MinimumSpend).miss.as_deref(), Some("80.00 EUR short of the minimum"));

        // A budget in euros says nothing about dollars, and a commission is in the currency of its payment.
        let campaign = app.campaign(json!({"budget": {"amount": {"amount": "1.00", "currency": "EUR"}}, "rewards": [commission(10.0, json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("C-1", "1000 JPY").await;
        assert_eq!(campaign.reward().await.view.amount, Some(money("100 JPY")));
        assert_eq!(app.number("SELECT count(*) FROM budgets WHERE space = $1 AND used_minor <> 0").await, 0);
    })
    .await;
}

/// 25.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_holds_holds_the_money() {
    on_both(async |app| {
        // Everything that would pay by itself is switched on.
        let campaign = app.campaign(json!({"review": "risk", "rewards": [ten_euros(json!({"hold_days": 3, "auto_issue": true}))]})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let lead = referrer.lead("maya+1@example.net").await;
        lead.qualify().await;
        app.pass_days(10).await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.state, reward.view.why.reason), (RewardState::InReview, Reason::ReviewRisk));
        for action in [RewardAction::Issue, RewardAction::Confirm, RewardAction::Retry] {
            assert_eq!(reason_of(reward.try_decide(action).await), Some(Reason::RewardState));
        }
        app.pass_days(400).await;
        assert_eq!(reward.state().await, RewardState::InReview);
        // Held by a person, it stays held until a person lets it go.
        reward.decide(RewardAction::Hold).await;
        app.pass_days(400).await;
        assert_eq!(reward.state().await, RewardState::OnHold);
        reward.decide(RewardAction::Reject).await;
        assert_eq!(reason_of(reward.try_decide(RewardAction::Approve).await), Some(Reason::RewardState));
        lead.recheck().await;
        assert_eq!(reward.state().await, RewardState::Rejected, "looking again does not undo what a person decided");
        assert_eq!(app.count_events("reward.issued").await, 0);
    })
    .await;
}

/// 26.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_changes_nothing_leaves_a_trace_with_its_reason() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rule": {"conversions": ["invoice"], "within_days": 30, "condition": "properties.plan == \"pro\""}})).await;
        let referrer = campaign.referrer("priya@example.com").await;
        let lead = referrer.lead("maya@example.net").await;
        let invoice =
            |id: &str| Convert { kind: goodword_core::campaign::ConversionKind::Invoice, properties: json!({"plan": "pro"}), ..lead.order(id, "50.00 EUR") };
        let cases = [
            (campaign.order("stranger@example.net", "1", "50.00 EUR"), Reason::PersonUnknown),
            (campaign.order("priya@example.com", "2", "50.00 EUR"), Reason::LeadKnown),
            (lead.order("3", "50.00 EUR"), Reason::ConversionKind),
            (Convert { occurred_at: Some(app.now().plus_ms(-3_600_000)), ..invoice("4") }, Reason::ConversionAfterJoining),
            (Convert { occurred_at: Some(app.now().plus_days(31)), ..invoice("5") }, Reason::ConversionWindow),
            (Convert { properties: json!({"plan": "basic"}), ..invoice("6") }, Reason::Condition),
            (Convert { properties: json!({}), ..invoice("7") }, Reason::Condition),
        ];
        for (convert, reason) in cases {
            let id = convert.external_id.clone().unwrap();
            let answer = campaign.convert(convert).await;
            assert_eq!((answer.outcome, answer.why.reason), (Outcome::Ignored, reason), "{id}");
            assert!(!check(&answer.checks, reason).found.is_empty() && !answer.why.next_step.is_empty());
        }
        let ignored = app.signals(SignalFilter { outcome: Some(Outcome::Ignored), ..Default::default() }).await;
        assert_eq!(ignored.iter().map(|signal| signal.payload["external_id"].as_str().unwrap().to_owned()).collect::<String>(), "1234567");
        assert_eq!(app.count_events("conversion.ignored").await, 7);
        assert_eq!(lead.explanation().await.conversions.len(), 5);
    })
    .await;
}
