//! What the engine does, as stories on both databases.

mod support;

use goodword::engine::{
    Error,
    campaign::{self, Change},
    feed::{self, EventFilter},
    list::Page,
    paged,
    participant::{self, Enrol, Join, ReferrerKey, Suspend, Update},
    qualify::{Convert, LeadKey, Qualify, Unqualify},
    reward::RewardFilter,
    signal::SignalFilter,
    statistics::{self, GroupBy},
    visit::{Device, Visit},
    work::{Idempotency, Reply},
    workspace::{ClockMove, MoveClock},
};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    decide::Outcome,
    explain::{Check, Reason},
    ids::VisitorId,
    reward::{RewardAction, RewardState},
    time::{DAY_MS, HOUR_MS, Timestamp},
};
use goodword_store::Value;
use serde_json::json;
use support::*;

// ---------------------------------------------------------------- referrers

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_enrols_twice_is_one_referrer_with_one_code() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let (first, priya) = campaign.try_enrol(person("p.riya@gmail.com"), None).await.unwrap();
        assert!(first.created && first.participant.code.len() == 8);
        let again = at_once(16, |_| {
            let campaign = campaign.clone();
            async move { campaign.try_enrol(person("Priya+x@googlemail.com"), None).await.unwrap().0 }
        })
        .await;
        assert!(again.iter().all(|again| !again.created && again.participant.id == first.participant.id && again.participant.email == "p.riya@gmail.com"));
        let at_the_same_time = at_once(16, |_| {
            let campaign = campaign.clone();
            async move { campaign.try_enrol(person("tom@example.com"), None).await.unwrap().0.created }
        })
        .await;
        assert_eq!(at_the_same_time.iter().filter(|&&created| created).count(), 1);
        assert_eq!(app.count_events("referrer.created").await, 2);
        assert_eq!(priya.get().await.number, first.participant.number);

        campaign.set_status(CampaignStatus::Ended).await;
        assert_eq!(reason_of(campaign.try_enrol(person("late@example.com"), None).await), Some(Reason::CampaignLive));
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_who_passes_the_word_on_stays_one_person() {
    on_both(async |app| {
        let fields = json!([{"key": "company", "label": "Company", "required": true}]);
        let campaign = app.campaign(json!({"referrer_fields": fields})).await;
        let referrer_fields = |value: serde_json::Value| value.as_object().unwrap().clone();
        let priya = participant::Person { fields: referrer_fields(json!({"company": "Acme"})), ..person("priya@example.com") };
        let (_, priya) = campaign.try_enrol(priya, None).await.unwrap();
        let lead = priya.lead("maya@example.net").await;
        match campaign.try_enrol(person("maya@example.net"), None).await {
            Err(Error::Invalid { field, expected }) => assert_eq!((field.as_str(), expected.as_str()), ("/fields", "the required fields; missing: Company")),
            _ => panic!("a required field is missing"),
        }
        let told =
            participant::Person { fields: referrer_fields(json!({"company": "Rossi"})), external_id: Some("CRM-7".into()), ..person("maya@example.net") };
        let (enrolled, maya) = campaign.try_enrol(told, Some("MAYA-2")).await.unwrap();
        assert!(enrolled.created);
        assert_eq!(enrolled.participant.lead(), lead.id);
        let now = maya.get().await;
        assert_eq!((now.code.as_str(), now.external_id.as_deref(), &now.fields["company"]), ("MAYA-2", Some("CRM-7"), &json!("Rossi")));
        assert_eq!(now.referrer_id, Some(priya.id.uuid()), "and still is Priya's lead");
        let noor = maya.lead("noor@example.net").await;

        // A lead's own code works for friends, and makes the lead a referrer.
        let noor_code = noor.get().await.code;
        let emil =
            app.act(Join { campaign: None, referrer: ReferrerKey::Code(noor_code.parse().unwrap()), person: person("emil@example.net"), link_used_at: None });
        assert!(emil.await.unwrap().created);
        assert_eq!(app.count_events("referrer.created").await, 3);
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_can_be_chosen_and_the_old_one_goes_on_working_for_ever() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let (priya, tom) = (campaign.referrer("priya@example.com").await, campaign.referrer("tom@example.com").await);
        let rename = async |who: &TestReferrer, code: &str| {
            app.act(Update { participant: who.id.uuid(), code: Some(code.parse().unwrap()), ..Default::default() }).await.map(|(person, _)| person.code)
        };
        assert_eq!(rename(&priya, "PRIYA").await.unwrap(), "PRIYA");
        assert_eq!(priya.lead("one@example.net").await.get().await.referrer_id, Some(priya.id.uuid()), "the first code");
        let by_new = TestReferrer { code: "pRiYa".into(), ..priya.clone() };
        assert_eq!(by_new.lead("two@example.net").await.get().await.referrer_id, Some(priya.id.uuid()), "the new one, in any case");
        for taken in ["priya", priya.code.as_str(), campaign.get().await.code.as_str()] {
            assert_eq!(reason_of(rename(&tom, taken).await), None, "{taken} is taken");
        }
        assert_eq!(rename(&priya, &priya.code).await.unwrap(), priya.code, "back to one's own");
        assert_eq!(reason_of(rename(&tom, "PRIYA").await), None, "given up, but never given again");

        let winners = at_once(16, |i| {
            let (app, who) = (app.clone(), if i % 2 == 0 { priya.clone() } else { tom.clone() });
            async move {
                app.act(Update { participant: who.id.uuid(), code: Some("SPRING".parse().unwrap()), ..Default::default() }).await.is_ok().then_some(who.id)
            }
        })
        .await;
        let mut winners: Vec<_> = winners.into_iter().flatten().collect();
        winners.dedup();
        assert!(winners.iter().all(|winner| *winner == winners[0]), "one of them has it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_outside_ids_belong_to_one_person_of_a_campaign() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let with_id = |email: &str| participant::Person { external_id: Some("CRM-1".into()), ..person(email) };
        campaign.try_enrol(with_id("tom@example.com"), None).await.unwrap();
        let conflicts = [
            campaign.try_enrol(with_id("noor@example.com"), None).await.map(drop),
            priya.join(with_id("emil@example.net")).await.map(drop),
            app.act(Update { participant: priya.id.uuid(), external_id: Some("CRM-1".into()), ..Default::default() }).await.map(drop),
            app.act(Update { participant: priya.id.uuid(), email: Some("Tom@example.com".parse().unwrap()), ..Default::default() }).await.map(drop),
        ];
        for conflict in conflicts {
            assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
        }
        let elsewhere = app.campaign(json!({})).await;
        elsewhere.try_enrol(with_id("tom@example.com"), None).await.unwrap();

        // Who is who was decided: the policy cannot change under people's feet.
        let policy = async |campaign: &TestCampaign| {
            campaign.try_edit(None, Change::Settings { patch: json!({"duplicates": "same_address"}).as_object().unwrap().clone(), unset: vec![] }).await
        };
        assert!(matches!(policy(&campaign).await, Err(Error::Conflict { .. })));
        assert_eq!(policy(&app.campaign(json!({})).await).await.unwrap().version, 2);
    })
    .await;
}

// ---------------------------------------------------------------- joining

#[tokio::test(flavor = "multi_thread")]
async fn who_may_join_is_decided_and_said() {
    on_both(async |app| {
        let settings = json!({
            "starts_at": app.now().plus_days(1), "ends_at": app.now().plus_days(20),
            "attribution": {"window_days": 5}, "limits": {"leads_per_referrer": 2},
            "lead_fields": [{"key": "phone", "label": "Phone", "kind": "phone", "required": true}],
        });
        let campaign = app.campaign_that_is(CampaignStatus::Draft, settings).await;
        let priya = campaign.referrer("priya@example.com").await;
        let friend = |name: &str| participant::Person {
            fields: json!({"phone": "+44 20 7946 0000"}).as_object().unwrap().clone(),
            ..person(&format!("{name}@example.net"))
        };
        let refusal = async |person, used| {
            let joined = priya.join_after(person, used).await.unwrap();
            assert!(joined.lead.is_none() && !joined.created);
            (joined.outcome, joined.reason)
        };
        assert_eq!(refusal(friend("maya"), None).await, (Outcome::Refused, Reason::CampaignLive));
        campaign.set_status(CampaignStatus::Live).await;
        assert_eq!(refusal(friend("maya"), None).await, (Outcome::Refused, Reason::CampaignStarted));
        app.pass_days(2).await;
        assert_eq!(refusal(person("maya@example.net"), None).await, (Outcome::Refused, Reason::RequiredFields));
        assert!(matches!(
            priya.join(participant::Person { fields: json!({"phone": "call me"}).as_object().unwrap().clone(), ..person("maya@example.net") }).await,
            Err(Error::Invalid { field, .. }) if field == "/fields/phone"
        ));
        assert_eq!(refusal(friend("maya"), Some(app.now().plus_ms(-5 * DAY_MS - 1))).await, (Outcome::Refused, Reason::AttributionWindow));
        assert!(priya.join_after(friend("maya"), Some(app.now().plus_ms(-5 * DAY_MS + HOUR_MS))).await.unwrap().created, "at the edge of the window");
        assert!(priya.join(friend("noor")).await.unwrap().created);
        assert_eq!(refusal(friend("emil"), None).await, (Outcome::Refused, Reason::ReferralLimit));
        campaign.change(json!({"limits": {"leads_per_referrer": 3}})).await;
        campaign.set_status(CampaignStatus::Paused).await;
        assert_eq!(refusal(friend("emil"), None).await, (Outcome::Refused, Reason::CampaignLive));
        campaign.set_status(CampaignStatus::Live).await;
        app.pass_days(20).await;
        // It has ended by itself.
        assert_eq!(refusal(friend("emil"), None).await, (Outcome::Refused, Reason::CampaignLive));
        let unknown = app
            .act(Join { campaign: Some(campaign.id), referrer: ReferrerKey::Code("NOBODY".parse().unwrap()), person: friend("emil"), link_used_at: None })
            .await
            .unwrap();
        assert_eq!((unknown.outcome, unknown.reason), (Outcome::Refused, Reason::ReferrerKnown));

        // Each attempt is on record with its reason.
        let told = app.signals(SignalFilter { kind: Some("lead.add".into()), ..Default::default() }).await;
        let reasons: Vec<_> = told.iter().map(|signal| signal.why.reason).collect();
        assert_eq!(
            reasons,
            [
                Reason::CampaignLive,
                Reason::CampaignStarted,
                Reason::RequiredFields,
                Reason::AttributionWindow,
                Reason::Done,
                Reason::Done,
                Reason::ReferralLimit,
                Reason::CampaignLive,
                Reason::CampaignLive,
                Reason::ReferrerKnown
            ]
        );
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_cannot_be_referred_but_claimed() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"trigger": "joined"}))]})).await;
        let (priya, tom, noor) =
            (campaign.referrer("priya@example.com").await, campaign.referrer("tom@example.com").await, campaign.referrer("noor@example.com").await);
        let refused = priya.join(person("tom@example.com")).await.unwrap();
        assert_eq!((refused.outcome, refused.reason), (Outcome::Refused, Reason::NotYetInCampaign));

        let claimed = priya.claim(tom.id, false).await.unwrap();
        assert!(claimed.created && claimed.rewards.len() == 1);
        assert_eq!(priya.claim(tom.id, false).await.unwrap().outcome, Outcome::Unchanged);
        assert_eq!(tom.claim(priya.id, false).await.unwrap().reason, Reason::NotCircular, "not each other's referrers");
        assert_eq!(tom.claim(tom.id, false).await.unwrap().reason, Reason::NotSelf);

        let second = noor.claim(tom.id, false).await.unwrap();
        assert_eq!((second.outcome, second.reason), (Outcome::Ignored, Reason::FirstReferrerKept));
        let forced = noor.claim(tom.id, true).await.unwrap();
        assert_eq!(forced.lead.unwrap().referrer.id, noor.id);
        let states: Vec<_> =
            campaign.rewards().await.iter().map(|reward| (reward.view.beneficiary.email.clone(), reward.view.state, reward.view.why.reason)).collect();
        assert_eq!(
            states,
            [("priya@example.com".into(), RewardState::Cancelled, Reason::LeadMoved), ("noor@example.com".into(), RewardState::Approved, Reason::Done)],
            "one lead pays one referrer"
        );
        app.check_books().await;
        app.check_statistics().await;

        let lead = TestLead { campaign: campaign.clone(), id: tom.id.into(), email: "tom@example.com".into() };
        lead.qualify().await;
        let late = priya.claim(tom.id, true).await.unwrap();
        assert_eq!((late.outcome, late.reason), (Outcome::Ignored, Reason::LeadPending), "its rewards belong to the referrer it was qualified for");
        let evidence = app.signals(SignalFilter { kind: Some("lead.claim".into()), ..Default::default() }).await;
        assert!(evidence.iter().all(|signal| signal.payload["evidence"] == "They said so." && signal.actor == "tester"));
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_risk_are_seen_and_shown() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"review": "risk", "rewards": [ten_euros(json!({}))]})).await;
        let at = |ip: &str, email: &str| participant::Person { ip: Some(ip.into()), ..person(email) };
        let (_, priya) = campaign.try_enrol(at("192.0.2.1", "priya@example.com"), None).await.unwrap();
        let risk = async |person| priya.join(person).await.unwrap().lead.unwrap().risk;
        assert_eq!(risk(at("192.0.2.1", "maya@example.net")).await, [Reason::SameAddress]);
        assert_eq!(risk(at("192.0.2.2", "noor+1@example.net")).await, [Reason::PlusTag]);
        assert_eq!(risk(at("192.0.2.3", "emil@example.net")).await, []);
        for i in 0..17 {
            priya.lead(&format!("friend-{i}@example.net")).await;
        }
        assert_eq!(risk(person("21st@example.net")).await, [Reason::ManyLeads]);
        app.pass(2 * HOUR_MS).await;
        assert_eq!(risk(person("22nd@example.net")).await, []);

        let quick = priya.lead("quick@example.net").await;
        quick.buys("A-1", "10.00 EUR").await;
        let reward = campaign.reward().await.view;
        assert_eq!((reward.state, reward.why.reason), (RewardState::InReview, Reason::ReviewRisk));
        assert_eq!(quick.get().await.risk, [Reason::FastConversion]);
        assert!(quick.explanation().await.next_step.contains("in review"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_runs_out_says_which_and_how_full() {
    on_both(async |app| {
        let welcome = ten_euros(json!({"name": "Welcome", "trigger": "joined", "beneficiary": "lead", "value": {"type": "coupon"}}));
        let campaign = app.campaign(json!({"rewards": [welcome]})).await;
        let codes: Vec<String> = (0..20).map(|n| format!("C-{n}")).collect();
        campaign.add_coupons(&codes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        campaign.referrer("priya@example.com").await.leads(20).await;
        let told: Vec<_> = app.event_bodies().await.into_iter().filter(|(kind, _)| kind == "coupons.low").map(|(_, data)| data).collect();
        let definition = campaign.definition().await.to_string();
        let pool =
            |used: i64, used_percent: i64| json!({"definition_id": definition, "name": "Welcome", "total": 20, "used": used, "used_percent": used_percent});
        assert_eq!(told.iter().map(|data| data["coupons"].clone()).collect::<Vec<_>>(), [pool(17, 85), pool(19, 95), pool(20, 100)]);
        assert_eq!(told.iter().map(|data| data["count"].as_i64().unwrap()).collect::<Vec<_>>(), [3, 1, 0]);
    })
    .await;
}

// ---------------------------------------------------------------- qualification

#[tokio::test(flavor = "multi_thread")]
async fn an_order_sent_again_after_its_replay_gets_the_answer_of_the_replay() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
        // A shop that sends until it is understood, and knows nothing of campaigns.
        let order = Convert { campaign: None, ..campaign.order("maya@example.net", "A-1", "10.00 EUR") };
        let early = campaign.convert(order.clone()).await;
        assert_eq!(early.why.reason, Reason::PersonUnknown);
        let priya = campaign.referrer("priya@example.com").await;
        priya.lead("maya@example.net").await;
        let (space, id) = (app.space, early.signal_id);
        let told = app.engine.read(move |tx| Box::pin(goodword::engine::signal::get(tx, space, id))).await.unwrap();
        let replayed = campaign.convert(Convert::from_signal(&told).unwrap()).await;
        assert!(replayed.qualified);
        for named in [None, Some(campaign.id)] {
            let again = campaign.convert(Convert { campaign: named, ..order.clone() }).await;
            assert_eq!((again.signal_id, again.repeated, again.outcome), (replayed.signal_id, true, Outcome::Applied));
        }
        // Replayed once more it says that it was done.
        assert_eq!(campaign.convert(Convert::from_signal(&told).unwrap()).await.outcome, Outcome::Unchanged);
        assert_eq!((campaign.rewards().await.len(), app.number("SELECT count(*) FROM conversions WHERE space = $1").await), (1, 1));
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_found_by_the_referrer_too() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let (priya, tom) = (campaign.referrer("priya@example.com").await, campaign.referrer("tom@example.com").await);
        let maya = priya.lead("maya@example.net").await;
        tom.lead("noor@example.net").await;
        maya.qualify().await;
        let signals = app.signals(SignalFilter { referrer: Some(priya.id), ..Default::default() }).await;
        let found: Vec<_> = signals.iter().map(|signal| (signal.kind.as_str(), signal.lead_id, signal.referrer_id)).collect();
        let (lead, referrer) = (Some(maya.id), Some(priya.id));
        assert_eq!(found, [("referrer.add", None, referrer), ("lead.add", lead, referrer), ("lead.qualify", lead, referrer)]);
        app.events().await; // All of them can be read.
        let (space, workspace, filter) = (app.space, app.workspace.id, EventFilter { referrer: Some(priya.id.uuid()), ..Default::default() });
        let events = app.engine.read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &filter, None, true, 250).await }));
        let kinds: Vec<_> = events.await.unwrap().0.into_iter().map(|row| row.event.kind.as_str()).collect();
        assert_eq!(kinds, ["referrer.created", "lead.created", "lead.qualified"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_is_found_by_id_code_address_coupon_and_outside_id() {
    on_both(async |app| {
        let welcome = ten_euros(json!({"trigger": "joined", "beneficiary": "lead", "value": {"type": "coupon"}}));
        let campaign = app.campaign(json!({"rewards": [welcome]})).await;
        campaign.add_coupons(&["C-1", "C-2", "C-3", "C-4", "C-5", "C-6"]).await;
        let priya = campaign.referrer("priya@example.com").await;
        let leads = priya.leads(4).await;
        let with_id = participant::Person { external_id: Some("CRM-9".into()), ..person("crm@example.net") };
        let fifth = priya.join(with_id).await.unwrap().lead.unwrap();
        let coupon = campaign.rewards().await[3].view.coupon.clone().unwrap();
        let keys = [
            (leads[0].id, LeadKey::Id(leads[0].id), None),
            (leads[1].id, LeadKey::Code(leads[1].get().await.code.to_lowercase().parse().unwrap()), None),
            (leads[2].id, LeadKey::Email(leads[2].email.to_uppercase().parse().unwrap()), Some(campaign.id)),
            (leads[3].id, LeadKey::Coupon(coupon.to_lowercase()), None),
            (fifth.id, LeadKey::ExternalId("CRM-9".into()), None),
        ];
        for (expected, lead, campaign) in keys {
            let answer = app.act(Qualify { lead: lead.clone(), campaign, external_id: None, occurred_at: None, note: None }).await.unwrap();
            assert!(answer.qualified, "{lead:?}");
            assert_eq!(answer.lead.unwrap().id, expected);
        }
        assert_eq!(priya.get().await.qualified_leads, 5);
        for (lead, reason) in [
            (LeadKey::Code("NOBODY".parse().unwrap()), Reason::PersonUnknown),
            (LeadKey::Email("nobody@example.net".parse().unwrap()), Reason::PersonUnknown),
            (LeadKey::Coupon("C-6".into()), Reason::PersonUnknown),
            (LeadKey::ExternalId("CRM-1".into()), Reason::PersonUnknown),
            (LeadKey::Code(priya.code.parse().unwrap()), Reason::LeadKnown),
        ] {
            let answer = app.act(Qualify { lead, campaign: None, external_id: None, occurred_at: None, note: None }).await.unwrap();
            assert_eq!((answer.outcome, answer.why.reason), (Outcome::Ignored, reason));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_two_campaigns_is_ambiguous_until_one_is_named() {
    on_both(async |app| {
        let coupons = || ten_euros(json!({"trigger": "joined", "beneficiary": "lead", "value": {"type": "coupon"}}));
        let campaigns = [app.campaign(json!({"rewards": [coupons()]})).await, app.campaign(json!({"rewards": [coupons()]})).await];
        let mut leads = Vec::new();
        for campaign in &campaigns {
            campaign.add_coupons(&["SAME"]).await;
            let priya = campaign.referrer("priya@example.com").await;
            let maya = participant::Person { external_id: Some("CRM-1".into()), ..person("maya@example.net") };
            leads.push(priya.join(maya).await.unwrap().lead.unwrap().id);
        }
        for key in [LeadKey::Email("maya@example.net".parse().unwrap()), LeadKey::Coupon("same".into()), LeadKey::ExternalId("CRM-1".into())] {
            let qualify = Qualify { lead: key.clone(), campaign: None, external_id: None, occurred_at: None, note: None };
            assert_eq!(reason_of(app.act(qualify.clone()).await), Some(Reason::PersonAmbiguous), "{key:?}");
            let answer = app.act(Qualify { campaign: Some(campaigns[1].id), ..qualify }).await.unwrap();
            assert_eq!(answer.lead.unwrap().id, leads[1], "{key:?}");
        }
    })
    .await;
}

/// Nothing that happens now can count for a campaign that is over, so it is not the one that is meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_one_campaign_that_runs_and_others_that_are_over_is_not_ambiguous() {
    on_both(async |app| {
        let coupons = || ten_euros(json!({"trigger": "joined", "beneficiary": "lead", "value": {"type": "coupon"}}));
        let ends_at = app.now().plus_ms(30 * DAY_MS);
        let ended = app.campaign(json!({"rewards": [coupons()]})).await;
        let ran_out = app.campaign(json!({"ends_at": ends_at, "rewards": [coupons()]})).await;
        let runs = app.campaign(json!({"rewards": [coupons()]})).await;
        let mut leads = Vec::new();
        for campaign in [&ended, &ran_out, &runs] {
            campaign.add_coupons(&["SAME"]).await;
            let maya = participant::Person { external_id: Some("CRM-1".into()), ..person("maya@example.net") };
            leads.push(campaign.referrer("priya@example.com").await.join(maya).await.unwrap().lead.unwrap().id);
        }
        let then = app.now();
        app.pass_days(40).await;
        ended.set_status(CampaignStatus::Ended).await;
        let now = app.now();
        let keys = [LeadKey::Email("maya@example.net".parse().unwrap()), LeadKey::Coupon("same".into()), LeadKey::ExternalId("CRM-1".into())];
        for (n, key) in keys.into_iter().enumerate() {
            let told =
                |occurred_at| Convert { lead: key.clone(), occurred_at: Some(occurred_at), ..runs.order("maya@example.net", &format!("A-{n}"), "1.00 EUR") };
            let anywhere = |told| Convert { campaign: None, ..told };
            // What happened while all of them ran may be meant for any.
            assert_eq!(reason_of(app.act(anywhere(told(then))).await), Some(Reason::PersonAmbiguous), "{key:?}");
            assert_eq!(app.act(anywhere(told(now))).await.unwrap().lead.unwrap().id, leads[2], "{key:?}");
        }
        // Of several that are all over, none is more likely.
        runs.set_status(CampaignStatus::Ended).await;
        let qualify = Qualify { lead: LeadKey::ExternalId("CRM-1".into()), campaign: None, external_id: None, occurred_at: None, note: None };
        assert_eq!(reason_of(app.act(qualify).await), Some(Reason::PersonAmbiguous));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_ends_at_its_time_and_for_good() {
    on_both(async |app| {
        let end = app.now().plus_days(20);
        let [live, paused] = [app.campaign(json!({"ends_at": end})).await, app.campaign(json!({"ends_at": end})).await];
        let draft = app.campaign_that_is(CampaignStatus::Draft, json!({"ends_at": end})).await;
        let paused_since = paused.set_status(CampaignStatus::Paused).await.status_since;
        let past = json!({"ends_at": app.now().plus_ms(-1)});
        let edit = live.try_edit(None, Change::Settings { patch: past.as_object().unwrap().clone(), unset: Vec::new() }).await;
        assert!(matches!(edit, Err(Error::Invalid { field, .. }) if field == "/ends_at"));
        app.pass_days(19).await;
        assert_eq!(live.get().await.status, CampaignStatus::Live);

        app.pass_days(3).await;
        app.engine.tick().await.unwrap();
        // From its end on, not from when that was noticed; and what happened in the pause still does not count.
        let stands = async |campaign: &TestCampaign| campaign.get().await.status_since;
        assert_eq!((live.get().await.status, stands(&live).await), (CampaignStatus::Ended, end));
        assert_eq!((paused.get().await.status, stands(&paused).await), (CampaignStatus::Ended, end));
        assert_eq!(paused.get().await.pauses, [(paused_since, end)]);
        assert_eq!(draft.get().await.status, CampaignStatus::Draft);
        let told = app.event_bodies().await;
        let ended = told.iter().filter(|(kind, data)| kind == "campaign.changed" && data["campaign_state"]["status"] == "ended").count();
        assert_eq!(ended, 2, "{told:?}");

        let refused = async |campaign: &TestCampaign, status| match app.act(campaign::SetStatus { id: campaign.id, if_version: None, status }).await {
            Err(Error::Conflict { detail, .. }) => detail,
            other => panic!("{other:?}"),
        };
        for status in [CampaignStatus::Live, CampaignStatus::Paused] {
            assert!(refused(&live, status).await.contains("Make a new campaign"));
        }
        assert!(refused(&draft, CampaignStatus::Live).await.contains("set a later ends_at"));
        draft.try_edit(None, Change::Settings { patch: Default::default(), unset: vec!["ends_at".into()] }).await.unwrap();
        assert_eq!(draft.set_status(CampaignStatus::Live).await.status, CampaignStatus::Live);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_after_the_qualification_says_that_it_counts() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.qualify().await;
        let answer = lead.buys("A-1", "10.00 EUR").await;
        assert_eq!((answer.outcome, answer.why.reason, answer.already_qualified), (Outcome::Recorded, Reason::AlreadyQualified, true));
        assert!(answer.conversion.unwrap().counts);
        assert!(!answer.why.sentence.contains("nothing was changed"), "{}", answer.why.sentence);
        let again = lead.buys("A-1", "10.00 EUR").await;
        assert_eq!((again.repeated, again.already_qualified, again.why.reason), (true, true, Reason::AlreadyQualified));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unqualified_and_qualified_again_a_lead_pays_nothing_twice() {
    on_both(async |app| {
        let rewards = json!([
            ten_euros(json!({"name": "By hand"})),
            ten_euros(json!({"name": "By itself", "auto_issue": true})),
            commission(10.0, json!({"name": "Share"})),
            ten_euros(json!({"name": "For the friend", "beneficiary": "lead", "value": {"type": "coupon"}})),
        ]);
        let campaign = app.campaign(json!({"budget": {"amount": {"amount": "100.00", "currency": "EUR"}}, "rewards": rewards})).await;
        let coupons = campaign.get().await.configuration.rewards[3].id;
        app.act(campaign::AddCoupons { campaign: campaign.id, definition: coupons, codes: vec!["ONLY-ONE".into()] }).await.unwrap();
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("A-1", "80.00 EUR").await;
        assert_eq!(campaign.states().await, ["approved", "issued", "approved", "approved"]);
        let used = async || app.number("SELECT used_minor FROM budgets WHERE space = $1").await;
        assert_eq!(used().await, 2800);

        let answer = lead.unqualify().await;
        assert_eq!((answer.outcome, answer.rewards.len()), (Outcome::Applied, 4));
        assert_eq!(lead.status().await, "pending");
        assert_eq!(campaign.states().await, ["cancelled", "reversed", "cancelled", "cancelled"]);
        assert_eq!(used().await, 1000, "what was issued has left; the rest is free again");
        assert_eq!(lead.unqualify().await.outcome, Outcome::Unchanged);

        assert!(lead.qualify().await.qualified);
        assert_eq!(campaign.states().await, ["approved", "issued", "approved", "approved"], "the same rewards live again");
        let rewards = campaign.rewards().await;
        assert_eq!(rewards[2].view.amount, Some(money("8.00 EUR")), "what it was computed from still stands");
        assert_eq!(rewards[3].view.coupon.as_deref(), Some("ONLY-ONE"));
        assert_eq!(
            rewards[1].history().await,
            [("due", Some(1000)), ("approved", None), ("issued", None), ("reversed", Some(-1000)), ("due", Some(1000)), ("approved", None), ("issued", None)]
        );
        assert_eq!(rewards[1].view.attempts, 2);
        assert!(!lead.qualify().await.qualified);
        assert!(lead.buys("A-1", "80.00 EUR").await.repeated);
        assert_eq!(campaign.rewards().await.len(), 4);
        app.check_books().await;
        app.check_statistics().await;

        // What a person takes back stays taken back.
        rewards[0].decide(RewardAction::Cancel).await;
        rewards[1].reverse(None).await.unwrap();
        lead.recheck().await;
        lead.unqualify().await;
        lead.qualify().await;
        assert_eq!(campaign.states().await, ["cancelled", "reversed", "approved", "approved"]);
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_lead_can_be_restored_with_what_it_had() {
    on_both(async |app| {
        let rewards = json!([ten_euros(json!({"name": "Joined", "trigger": "joined"})), ten_euros(json!({"name": "Qualified"}))]);
        let campaign = app.campaign(json!({"rewards": rewards})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.qualify().await;
        lead.reject().await;
        assert_eq!((lead.status().await, campaign.states().await), ("rejected", vec!["cancelled", "cancelled"]));
        assert_eq!(lead.reject().await.outcome, Outcome::Unchanged);
        assert_eq!(lead.unqualify().await.outcome, Outcome::Unchanged);
        lead.restore().await;
        assert_eq!((lead.status().await, campaign.states().await), ("pending", vec!["approved", "cancelled"]));
        lead.qualify().await;
        assert_eq!((lead.status().await, campaign.states().await), ("qualified", vec!["approved", "approved"]));
        let kinds = app.events().await.into_iter().filter(|kind| kind.starts_with("lead.")).collect::<Vec<_>>();
        assert_eq!(kinds, ["lead.created", "lead.qualified", "lead.unqualified", "lead.rejected", "lead.restored", "lead.qualified"]);
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_found_nobody_is_told_again_when_the_lead_is_there() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let priya = campaign.referrer("priya@example.com").await;
        for named in [Some(campaign.id), None] {
            let email = format!("maya-{}@example.net", named.is_some());
            let order = || Convert { campaign: named, ..campaign.order(&email, &format!("A-{}", named.is_some()), "10.00 EUR") };
            let early = campaign.convert(order()).await;
            assert_eq!((early.outcome, early.why.reason), (Outcome::Ignored, Reason::PersonUnknown));
            assert!(campaign.convert(order()).await.repeated, "told twice, it is on record once");
            priya.lead(&email).await;
            let late = campaign.convert(order()).await;
            assert!(late.qualified && !late.repeated, "{:?}", late.why);
            assert!(campaign.convert(order()).await.repeated);
        }
    })
    .await;
}

// ---------------------------------------------------------------- conversions

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_true_false_or_cannot_be_asked() {
    on_both(async |app| {
        let rule = json!({"condition": "properties.plan == \"pro\" && amount_minor >= 1000 && source == \"api\""});
        let campaign = app.campaign(json!({"rule": rule})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        let answer = async |id: &str, amount: &str, properties| campaign.convert(Convert { properties, ..lead.order(id, amount) }).await;
        let basic = answer("1", "50.00 EUR", json!({"plan": "basic"})).await;
        assert_eq!((basic.outcome, check(&basic.checks, Reason::Condition).found.as_str()), (Outcome::Ignored, "false"));
        let missing = answer("2", "50.00 EUR", json!({})).await;
        assert!(check(&missing.checks, Reason::Condition).found.contains("plan"), "{:?}", missing.checks);
        let wrong_type = answer("3", "50.00 EUR", json!({"plan": 7})).await;
        assert_eq!(wrong_type.why.reason, Reason::Condition);
        assert!(answer("4", "50.00 EUR", json!({"plan": "pro"})).await.qualified);

        // Somebody changes the condition all the time: each conversion is decided by one version, and says which.
        let campaign = app.campaign(json!({"rule": {"condition": "properties.n >= 0"}})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let leads = priya.leads(12).await;
        let edits = {
            let campaign = campaign.clone();
            tokio::spawn(async move {
                for n in 1..6 {
                    campaign.change(json!({"rule": {"condition": format!("properties.n >= 0 && properties.n > -{n}")}})).await;
                }
            })
        };
        let answers = at_once(12, |i| {
            let (campaign, order) = (campaign.clone(), Convert { properties: json!({"n": i}), ..leads[i].order(&format!("B-{i}"), "1.00 EUR") });
            async move { campaign.convert(order).await }
        })
        .await;
        edits.await.unwrap();
        for answer in answers {
            assert!(answer.qualified, "{answer:?}");
            let signal = app
                .signals(SignalFilter { participant: Some(answer.lead.unwrap().id.uuid()), kind: Some("conversion".into()), ..Default::default() })
                .await
                .remove(0);
            let version = signal.version.unwrap();
            let expected = &check(&answer.checks, Reason::Condition).expected;
            assert!(version == 1 && expected == "properties.n >= 0" || expected.ends_with(&format!("> -{}", version - 1)), "{version}: {expected}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goals_are_reached_in_the_order_of_time_whatever_order_they_are_told_in() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rule": {"direct": false, "goals": ["Trial", "Paid"]}})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let lead = priya.lead("maya@example.net").await;
        assert_eq!(lead.qualify().await.why.reason, Reason::ManualAllowed);
        let trial = lead.reaches("trial").await;
        assert_eq!(check(&trial.checks, Reason::Goals).miss.as_deref(), Some("1 of 2 goals reached; next: Paid"));
        assert_eq!(lead.explanation().await.verdict, "Pending: 1 of 2 goals reached; next: Paid.");
        assert!(lead.reaches("PAID").await.qualified);

        let late = priya.lead("noor@example.net").await;
        let reach = async |goal: &str, at| {
            campaign.convert(Convert { goal: Some(goal.into()), occurred_at: Some(at), ..late.order(&format!("{goal}-late"), "1.00 EUR") }).await.qualified
        };
        app.pass_days(3).await;
        assert!(!reach("Paid", app.now().plus_ms(-DAY_MS)).await);
        assert!(reach("Trial", app.now().plus_ms(-2 * DAY_MS)).await, "told last, but happened first");

        let wrong = priya.lead("emil@example.net").await;
        assert!(!wrong.reaches("paid ").await.qualified);
        app.pass_days(1).await;
        assert!(!wrong.reaches("trial").await.qualified, "paid before the trial is the wrong order");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_is_reached_by_several_conversions_and_explained_until_then() {
    on_both(async |app| {
        let rule = json!({"minimum_spend": {"amount": "50.00", "currency": "EUR"}, "within_days": 30});
        let campaign = app.campaign(json!({"rule": rule, "rewards": [ten_euros(json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        assert_eq!(lead.explanation().await.verdict, "Pending: 50.00 EUR short of the minimum.");
        let first = lead.buys("A-1", "46.00 EUR").await;
        assert_eq!((first.outcome, first.why.reason), (Outcome::Recorded, Reason::MinimumSpend));
        let explanation = lead.explanation().await;
        assert_eq!(explanation.verdict, "Pending: 4.00 EUR short of the minimum.");
        assert_eq!(explanation.nearest_miss.as_deref(), Some("4.00 EUR short of the minimum"));
        assert_eq!(explanation.next_step, "Wait for more conversions, or lower the minimum.");
        assert_eq!(explanation.conversions.len(), 1);

        app.pass(30 * DAY_MS + HOUR_MS).await;
        let late = lead.buys("A-2", "10.00 EUR").await;
        assert_eq!(check(&late.checks, Reason::ConversionWindow).miss.as_deref(), Some("1 day too late"));
        campaign.change(json!({"rule": {"within_days": 60}})).await;
        let rechecked = lead.recheck().await;
        assert!(rechecked.qualified, "what came too late then counts now: {:?}", rechecked.checks);
        assert_eq!((campaign.states().await, rechecked.rewards.len()), (vec!["approved"], 1));
        assert_eq!(lead.recheck().await.outcome, Outcome::Unchanged);
        let explanation = lead.explanation().await;
        assert_eq!((explanation.verdict.as_str(), explanation.next_step.as_str()), ("Qualified: all conditions were met.", "1 reward is approved: issue."));
        assert_eq!(explanation.decided_by.unwrap().actor, "tester");
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_by_yesterdays_rule_is_looked_at_again_with_todays() {
    on_both(async |app| {
        let campaign =
            app.campaign(json!({"rule": {"conversions": ["invoice"], "condition": "properties.plan == \"pro\""}, "rewards": [ten_euros(json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        assert_eq!(
            campaign.convert(Convert { properties: json!({"plan": "basic"}), ..lead.order("A-1", "9.00 EUR") }).await.why.reason,
            Reason::ConversionKind
        );
        assert!(!lead.recheck().await.qualified);
        campaign.change(json!({"rule": {"conversions": ["order", "invoice"]}})).await;
        assert!(!lead.recheck().await.qualified, "the condition");
        assert_eq!(lead.explanation().await.verdict, "Pending: The rule's condition must be true for the conversion's properties.");
        campaign.change(json!({"rule": {"condition": "properties.plan != \"free\""}})).await;
        assert!(lead.recheck().await.qualified);
        assert_eq!(campaign.reward().await.view.state, RewardState::Approved);
        app.check_statistics().await;
    })
    .await;
}

// ---------------------------------------------------------------- refunds

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_refund_makes_a_commission_smaller_before_and_after_it_was_issued() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"budget": {"amount": {"amount": "50.00", "currency": "EUR"}}, "rewards": [commission(10.0, json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("A-1", "100.00 EUR").await;
        let reward = campaign.reward().await;
        let answer = campaign.refund("A-1", Some("R-1"), Some("25.00 EUR")).await;
        assert_eq!(answer.conversion.unwrap().refunded, Some(money("25.00 EUR")));
        assert_eq!(answer.rewards[0].amount, Some(money("7.50 EUR")));
        assert_eq!(app.number("SELECT used_minor FROM budgets WHERE space = $1").await, 750);
        reward.decide(RewardAction::Issue).await;
        let answer = campaign.refund("A-1", Some("R-2"), Some("25.00 EUR")).await;
        assert_eq!(answer.rewards.iter().map(|reward| (reward.state, reward.reversed)).collect::<Vec<_>>(), [(RewardState::Issued, Some(money("2.50 EUR")))]);
        assert_eq!(lead.status().await, "qualified");
        app.check_statistics().await;
        assert!(matches!(campaign.try_refund("A-1", None, Some("1.00 USD")).await, Err(Error::Invalid { .. })));
        assert!(matches!(campaign.try_refund("A-1", None, Some("-1.00 EUR")).await, Err(Error::Invalid { .. })));
        let answer = campaign.refund("A-1", Some("R-3"), None).await;
        assert_eq!(answer.rewards.len(), 1, "told once");
        assert_eq!((answer.rewards[0].state, answer.rewards[0].reversed), (RewardState::Reversed, Some(money("7.50 EUR"))));
        assert_eq!(lead.status().await, "pending");
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_one_of_several_orders_takes_back_only_what_it_paid_for() {
    on_both(async |app| {
        let rewards = json!([ten_euros(json!({})), commission(10.0, json!({"name": "Each payment", "cadence": {"type": "ongoing"}}))]);
        let campaign = app.campaign(json!({"rewards": rewards})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("A-1", "100.00 EUR").await;
        lead.buys("A-2", "50.00 EUR").await;
        let shown = async || {
            campaign
                .rewards()
                .await
                .iter()
                .map(|reward| (reward.view.name.clone(), reward.view.amount.unwrap().minor, reward.view.state.as_str()))
                .collect::<Vec<_>>()
        };
        campaign.refund("A-1", None, None).await;
        let expected =
            [("Ten euros".to_owned(), 1000, "approved"), ("Each payment".to_owned(), 1000, "cancelled"), ("Each payment".to_owned(), 500, "approved")];
        assert_eq!(shown().await, expected, "the lead is still qualified by the other order");
        lead.recheck().await;
        assert_eq!(shown().await, expected, "and a refunded order pays nothing");
        campaign.refund("A-2", None, None).await;
        assert_eq!(campaign.states().await, ["cancelled", "cancelled", "cancelled"]);
        assert_eq!(lead.explanation().await.verdict, "Pending again: The conversion was refunded.");
        lead.buys("A-3", "20.00 EUR").await;
        assert_eq!(campaign.states().await, ["approved", "cancelled", "cancelled", "approved"]);
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_lives_again_follows_its_new_payment() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [commission(10.0, json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.buys("A-1", "100.00 EUR").await;
        campaign.refund("A-1", None, None).await;
        lead.buys("A-2", "60.00 EUR").await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.state, reward.view.amount), (RewardState::Approved, Some(money("6.00 EUR"))));
        campaign.refund("A-2", None, Some("30.00 EUR")).await;
        assert_eq!(reward.now().await.amount, Some(money("3.00 EUR")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_of_what_is_unknown_or_costs_nothing_are_answered() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
        let unknown = campaign.refund("A-1", Some("R-1"), None).await;
        assert_eq!((unknown.outcome, unknown.why.reason), (Outcome::Ignored, Reason::ConversionKnown));
        assert!(campaign.refund("A-1", Some("R-1"), None).await.repeated);
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        assert!(lead.buys("A-1", "0.00 EUR").await.qualified, "a free order is an order");
        assert!(matches!(campaign.try_convert(lead.order("A-2", "-5.00 EUR")).await, Err(Error::Invalid { field, .. }) if field == "/amount"));
        let cancelled = campaign.refund("A-1", Some("R-2"), None).await;
        assert_eq!((cancelled.outcome, lead.status().await), (Outcome::Applied, "pending"));
        assert_eq!(campaign.states().await, ["cancelled"]);
        assert_eq!(campaign.refund("A-1", Some("R-3"), None).await.why.reason, Reason::NothingToRefund);
        app.check_books().await;
    })
    .await;
}

// ---------------------------------------------------------------- rewards

#[tokio::test(flavor = "multi_thread")]
async fn a_commission_whose_cap_is_in_another_currency_is_not_given() {
    on_both(async |app| {
        let capped = json!({"type": "commission", "percent": 10, "cap": {"amount": "5.00", "currency": "EUR"}});
        let campaign = app.campaign(json!({"rewards": [commission(10.0, json!({"value": capped, "auto_issue": true}))]})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(3).await;
        let dollars = leads[0].buys("A-1", "1000000.00 USD").await;
        assert!(dollars.qualified && dollars.rewards.is_empty(), "the lead is qualified all the same");
        let told = check(&dollars.checks, Reason::CurrencyMatches);
        assert_eq!((told.passed, told.expected.as_str(), told.found.as_str()), (Some(false), "EUR, the currency of the cap", "USD"));
        assert_eq!(app.count_events("reward.skipped").await, 1);
        assert_eq!(leads[1].buys("A-2", "1000000.00 EUR").await.rewards[0].amount, Some(money("5.00 EUR")));

        // Nor does it get there by hand.
        campaign.change_reward(json!({"auto_issue": false})).await;
        leads[2].qualify().await;
        let waits = campaign.rewards().await.remove(1);
        assert!(matches!(waits.set_basis("1000000.00 USD").await, Err(Error::Invalid { field, .. }) if field == "/total_spend"));
        assert_eq!(waits.set_basis("1000000.00 EUR").await.unwrap().amount, Some(money("5.00 EUR")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commission_without_an_amount_waits_for_its_total_spend() {
    on_both(async |app| {
        let share = commission(10.0, json!({"value": {"type": "commission", "percent": 10, "cap": {"amount": "8.00", "currency": "EUR"}}, "hold_days": 2}));
        let campaign = app.campaign(json!({"budget": {"amount": {"amount": "9.00", "currency": "EUR"}}, "rewards": [share]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        priya.lead("maya@example.net").await.qualify().await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.state, reward.view.why.reason, reward.view.amount), (RewardState::OnHold, Reason::RewardAmount, None));
        assert_eq!(reason_of(reward.try_decide(RewardAction::Approve).await), Some(Reason::RewardAmount));
        let set = reward.set_basis("500.00 EUR").await.unwrap();
        assert_eq!((set.amount, set.state, set.why.reason), (Some(money("8.00 EUR")), RewardState::OnHold, Reason::HoldDays));
        assert_eq!(reward.set_basis("40.00 EUR").await.unwrap().amount, Some(money("4.00 EUR")));
        assert_eq!(app.number("SELECT used_minor FROM budgets WHERE space = $1").await, 400);
        app.pass_days(2).await;
        assert_eq!(reward.now().await.state, RewardState::Approved);
        assert_eq!(reward.now().await.hold_until, None);
        reward.decide(RewardAction::Issue).await;
        assert_eq!(reason_of(reward.set_basis("10.00 EUR").await), Some(Reason::RewardState));

        priya.lead("noor@example.net").await.qualify().await;
        let second = campaign.rewards().await.remove(1);
        assert_eq!(reason_of(second.set_basis("60.00 EUR").await), Some(Reason::Budget));
        assert!(matches!(second.set_basis("-60.00 EUR").await, Err(Error::Invalid { .. })));
        assert_eq!(second.set_basis("50.00 EUR").await.unwrap().amount, Some(money("5.00 EUR")));
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself_when_its_days_have_passed() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"hold_days": 14, "auto_issue": true}))]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        priya.lead("maya@example.net").await.qualify().await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.state, reward.view.why.reason), (RewardState::OnHold, Reason::HoldDays));
        app.pass(14 * DAY_MS - HOUR_MS).await;
        assert_eq!(reward.state().await, RewardState::OnHold);
        app.pass(HOUR_MS).await;
        assert_eq!(reward.state().await, RewardState::Issued);
        // Two nodes that look at the same time do it once.
        priya.lead("noor@example.net").await.qualify().await;
        app.act(MoveClock { to: ClockMove::By(15 * DAY_MS) }).await.unwrap();
        app.engine.forget().await.unwrap();
        at_once(8, |_| {
            let engine = app.engine.clone();
            async move { engine.tick().await.unwrap() }
        })
        .await;
        assert_eq!(app.count_events("reward.issued").await, 2);
        let ended = app.signals(SignalFilter { kind: Some("clock.hold_ended".into()), ..Default::default() }).await;
        assert_eq!((ended.len(), &*ended[0].actor), (2, "clock"));
        // The clock only moves forward, and only on the test side.
        assert!(matches!(app.act(MoveClock { to: ClockMove::By(-1) }).await, Err(Error::Invalid { .. })));
        assert!(matches!(app.act(MoveClock { to: ClockMove::By(101 * 365 * DAY_MS) }).await, Err(Error::Invalid { .. })));
        assert!(matches!(app.live().act(MoveClock { to: ClockMove::By(1) }).await, Err(Error::Conflict { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_looks_at_rewards_where_the_policy_says_so() {
    on_both(async |app| {
        for (review, own, risky, expected) in [
            ("never", json!({}), true, (RewardState::Approved, Reason::Done)),
            ("risk", json!({}), false, (RewardState::Approved, Reason::Done)),
            ("risk", json!({}), true, (RewardState::InReview, Reason::ReviewRisk)),
            ("always", json!({}), false, (RewardState::InReview, Reason::ReviewAlways)),
            ("always", json!({"review": "never"}), true, (RewardState::Approved, Reason::Done)),
            ("never", json!({"review": "always"}), false, (RewardState::InReview, Reason::ReviewAlways)),
        ] {
            let campaign = app.campaign(json!({"review": review, "rewards": [ten_euros(own)]})).await;
            let email = if risky { "maya+1@example.net" } else { "maya@example.net" };
            campaign.referrer("priya@example.com").await.lead(email).await.qualify().await;
            let reward = campaign.reward().await.view;
            assert_eq!((reward.state, reward.why.reason), expected, "{review}, {risky}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recalled_on_its_way_is_taken_back_when_it_is_known_what_became_of_it() {
    on_both(async |app| {
        let external = || commission(10.0, json!({"issuing": "external", "auto_issue": true}));
        let start = async || {
            let campaign = app.campaign(json!({"rewards": [external()]})).await;
            let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
            lead.buys("A-1", "100.00 EUR").await;
            let reward = campaign.reward().await;
            assert_eq!(reward.view.state, RewardState::Issuing);
            (campaign, lead, reward)
        };
        // All of it.
        let (campaign, _, reward) = start().await;
        campaign.refund("A-1", None, None).await;
        assert_eq!(reward.state().await, RewardState::Issuing, "nobody knows yet");
        let after = reward.decide(RewardAction::Confirm).await;
        assert_eq!((after.state, after.reversed, after.why.reason), (RewardState::Reversed, Some(money("10.00 EUR")), Reason::Refunded));
        // A part of it.
        let (campaign, _, reward) = start().await;
        campaign.refund("A-1", None, Some("40.00 EUR")).await;
        let after = reward.decide(RewardAction::Confirm).await;
        assert_eq!((after.state, after.reversed), (RewardState::Issued, Some(money("4.00 EUR"))));
        // It never arrived.
        let (campaign, _, reward) = start().await;
        campaign.refund("A-1", None, None).await;
        assert_eq!(reward.decide(RewardAction::Fail).await.state, RewardState::Cancelled);
        // The campaign leaves what was issued.
        let (campaign, _, reward) = start().await;
        campaign.change(json!({"after_refund": "note"})).await;
        campaign.refund("A-1", None, None).await;
        assert_eq!(reward.decide(RewardAction::Confirm).await.state, RewardState::Issued);
        assert_eq!(app.count_events("reward.refund_noted").await, 1);
        // The ground is there again before it arrives.
        let (_, lead, reward) = start().await;
        lead.unqualify().await;
        lead.qualify().await;
        assert_eq!(reward.decide(RewardAction::Confirm).await.state, RewardState::Issued);
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_for_a_count_that_is_lost_follows_the_policy_of_the_campaign() {
    on_both(async |app| {
        let steps = || json!({"type": "milestones", "steps": [{"count": 2}]});
        for (cadence, policy) in [(steps(), "reverse"), (json!({"type": "every", "count": 2}), "reverse"), (steps(), "note")] {
            let campaign = app.campaign(json!({"after_refund": policy, "rewards": [ten_euros(json!({"cadence": cadence, "auto_issue": true}))]})).await;
            let leads = campaign.referrer("priya@example.com").await.leads(3).await;
            for lead in &leads[..2] {
                lead.qualify().await;
            }
            let reward = campaign.reward().await;
            assert_eq!(reward.view.state, RewardState::Issued);
            let noted = app.count_events("reward.refund_noted").await;
            // The third lead, who was not needed for it, makes no difference.
            leads[2].qualify().await;
            assert!(leads[2].unqualify().await.rewards.is_empty());

            let lost = leads[0].unqualify().await.rewards;
            let after = reward.now().await;
            let expected = if policy == "note" { (RewardState::Issued, None) } else { (RewardState::Reversed, Some(money("10.00 EUR"))) };
            assert_eq!((lost.len(), after.state, after.reversed, after.why.reason), (1, expected.0, expected.1, Reason::LeadUnqualified));
            assert!(leads[1].unqualify().await.rewards.is_empty(), "said once");

            for lead in &leads {
                lead.qualify().await;
            }
            let after = reward.now().await;
            assert_eq!((after.state, after.why.reason), (RewardState::Issued, Reason::Done));
            assert_eq!(campaign.rewards().await.len(), 1);
            let kept: i64 = reward.history().await.iter().filter_map(|(_, amount)| *amount).sum();
            assert_eq!(kept, 1000, "never paid twice");
            for lead in &leads[..2] {
                lead.unqualify().await;
            }
            let told = app.count_events("reward.refund_noted").await - noted;
            assert_eq!(told, if policy == "note" { 2 } else { 0 }, "once each time that it was lost");
        }
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_for_a_count_that_is_lost_is_recalled() {
    on_both(async |app| {
        let external = ten_euros(json!({"cadence": {"type": "milestones", "steps": [{"count": 2}]}, "issuing": "external", "auto_issue": true}));
        for (again, action, expected) in [
            (false, RewardAction::Confirm, RewardState::Reversed),
            (false, RewardAction::Fail, RewardState::Cancelled),
            (true, RewardAction::Confirm, RewardState::Issued),
        ] {
            let campaign = app.campaign(json!({"rewards": [external]})).await;
            let leads = campaign.referrer("priya@example.com").await.leads(2).await;
            for lead in &leads {
                lead.qualify().await;
            }
            let reward = campaign.reward().await;
            // The lead in whose name it stands is qualified all the time.
            leads[0].unqualify().await;
            assert_eq!(reward.state().await, RewardState::Issuing, "nobody knows yet");
            if again {
                leads[0].qualify().await;
            }
            assert_eq!(reward.decide(action).await.state, expected);
            if !again {
                leads[0].qualify().await;
                assert_eq!(reward.state().await, RewardState::Issuing, "the same reward, once more");
            }
            assert_eq!(campaign.rewards().await.len(), 1);
        }
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reversal_by_hand_takes_what_is_left_and_no_more() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"auto_issue": true}))]})).await;
        campaign.referrer("priya@example.com").await.lead("maya@example.net").await.qualify().await;
        let reward = campaign.reward().await;
        assert_eq!(reward.reverse(Some(300)).await.unwrap().reversed, Some(money("3.00 EUR")));
        for wrong in [0, -1, 701] {
            assert!(matches!(reward.reverse(Some(wrong)).await, Err(Error::Invalid { .. })), "{wrong}");
        }
        app.check_statistics().await;
        at_once(10, |_| {
            let reward = reward.clone();
            async move { reward.reverse(Some(700)).await.is_ok() }
        })
        .await;
        let now = reward.now().await;
        assert_eq!((now.state, now.reversed), (RewardState::Reversed, Some(money("10.00 EUR"))));
        assert_eq!(reward.history().await.iter().filter_map(|(_, amount)| *amount).sum::<i64>(), 0);
        assert!(now.actions.is_empty());
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_is_possible_in_its_states_and_refused_with_a_reason_in_others() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"review": "always", "rewards": [ten_euros(json!({"issuing": "external"}))]})).await;
        campaign.referrer("priya@example.com").await.lead("maya@example.net").await.qualify().await;
        let reward = campaign.reward().await;
        for (action, state, then) in [
            (RewardAction::Hold, RewardState::OnHold, &[RewardAction::Approve, RewardAction::Reject, RewardAction::Cancel][..]),
            (RewardAction::Approve, RewardState::Approved, &[RewardAction::Hold, RewardAction::Reject, RewardAction::Cancel, RewardAction::Issue]),
            (RewardAction::Issue, RewardState::Issuing, &[RewardAction::Confirm, RewardAction::Fail]),
            (RewardAction::Fail, RewardState::Failed, &[RewardAction::Hold, RewardAction::Reject, RewardAction::Cancel, RewardAction::Retry]),
            (RewardAction::Retry, RewardState::Issuing, &[RewardAction::Confirm, RewardAction::Fail]),
            (RewardAction::Confirm, RewardState::Issued, &[RewardAction::Reverse]),
            (RewardAction::Reverse, RewardState::Reversed, &[]),
        ] {
            let now = reward.decide(action).await;
            assert_eq!((now.state, now.actions.as_slice()), (state, then));
            assert_eq!(reward.decide(action).await, now, "done twice, it is done once");
        }
        assert_eq!(reason_of(reward.try_decide(RewardAction::Approve).await), Some(Reason::RewardState));
        let kinds = app.events().await.into_iter().filter(|kind| kind.starts_with("reward.")).collect::<Vec<_>>().join(" ");
        assert_eq!(
            kinds,
            "reward.due reward.in_review reward.on_hold reward.approved reward.issuing reward.failed reward.issuing reward.issued reward.reversed"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_coupons_warns_and_when_it_is_empty_rewards_wait() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"value": {"type": "coupon"}}))]})).await;
        let codes: Vec<String> = (0..20).map(|i| format!("C-{i}")).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
        assert_eq!((campaign.add_coupons(&codes).await.added, campaign.add_coupons(&["c-0", "C-1", "C-20"]).await.added), (20, 1));
        campaign.add_coupons(&[]).await;
        let priya = campaign.referrer("priya@example.com").await;
        let mut warned_at = Vec::new();
        for (i, lead) in priya.leads(22).await.iter().enumerate() {
            lead.qualify().await;
            if app.count_events("coupons.low").await > warned_at.len() {
                warned_at.push(i + 1);
            }
        }
        assert_eq!(warned_at, [18, 20, 21], "85, 95 and 100 percent of 21");
        let waiting = campaign.rewards().await.pop().unwrap();
        assert_eq!((waiting.view.state, waiting.view.why.reason), (RewardState::OnHold, Reason::CouponLeft));
        assert_eq!(reason_of(waiting.try_decide(RewardAction::Approve).await), Some(Reason::CouponLeft));
        // One that was not issued goes back into the pool.
        campaign.rewards().await[0].decide(RewardAction::Cancel).await;
        let approved = waiting.decide(RewardAction::Approve).await;
        assert_eq!((approved.state, approved.coupon.as_deref()), (RewardState::Approved, Some("C-0")));
        assert_eq!(campaign.add_coupons(&["C-21"]).await.used, 21);
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_lead_pays_and_payments_pay_for_so_many_months() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"cadence": {"type": "every", "count": 3}}))]})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(7).await;
        let mut paid = Vec::new();
        for lead in &leads {
            paid.push(lead.qualify().await.rewards.len());
        }
        assert_eq!(paid, [0, 0, 1, 0, 0, 1, 0]);
        leads[0].unqualify().await;
        leads[1].unqualify().await;
        assert_eq!(campaign.states().await, ["approved", "cancelled"], "six are not reached any more");
        leads[0].qualify().await;
        assert_eq!(campaign.states().await, ["approved", "approved"]);

        let ongoing = json!({"type": "ongoing", "months": 2});
        let campaign = app.campaign(json!({"rewards": [commission(10.0, json!({"cadence": ongoing}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        assert_eq!(lead.qualify().await.rewards.len(), 0, "the first payment will be the first reward");
        let mut paid = Vec::new();
        for i in 0..5 {
            app.pass_days(20).await;
            paid.push(lead.buys(&format!("A-{i}"), "10.00 EUR").await.rewards.len());
        }
        assert_eq!(paid[..2], [1, 1]);
        assert_eq!(paid[3..], [0, 0], "80 and 100 days are more than two months");
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_budget_or_a_limit_held_back_is_made_up_for_when_it_is_raised() {
    on_both(async |app| {
        let budget = |amount: &str| json!({"budget": {"amount": {"amount": amount, "currency": "EUR"}, "period": "month"}});
        let mut settings = budget("10.00");
        settings["rewards"] = json!([ten_euros(json!({})), ten_euros(json!({"name": "Step", "cadence": {"type": "milestones", "steps": [{"count": 2}]}}))]);
        let campaign = app.campaign(settings).await;
        let leads = campaign.referrer("priya@example.com").await.leads(3).await;
        for lead in &leads {
            lead.qualify().await;
        }
        assert_eq!(campaign.rewards().await.len(), 1);
        assert_eq!(app.count_events("reward.skipped").await, 3);
        assert_eq!(leads[1].recheck().await.outcome, Outcome::Unchanged);
        campaign.change(budget("40.00")).await;
        let made_up = leads[1].recheck().await;
        let names: Vec<_> = made_up.rewards.iter().map(|reward| reward.name.as_str()).collect();
        assert_eq!((made_up.outcome, names), (Outcome::Applied, vec!["Ten euros", "Step"]), "the milestone that was missed, too");
        leads[2].recheck().await;
        leads[2].recheck().await;
        assert_eq!(campaign.rewards().await.len(), 4);
        assert_eq!(app.number("SELECT used_minor FROM budgets WHERE space = $1").await, 4000);
        // A new month has its own money.
        app.pass_days(32).await;
        let (more, _) = (campaign.referrer("tom@example.com").await.lead("noor@example.net").await, ());
        assert_eq!(more.qualify().await.rewards.len(), 1);

        let limited = app.campaign(json!({"rewards": [ten_euros(json!({"limit": {"count": 1, "period": "week"}}))]})).await;
        let leads = limited.referrer("priya@example.com").await.leads(3).await;
        leads[0].qualify().await;
        assert_eq!(check(&leads[1].qualify().await.checks, Reason::RewardLimit).expected, "at most 1 a week");
        limited.change_reward(json!({"limit": {"count": 2, "period": "week"}})).await;
        assert_eq!(leads[1].recheck().await.rewards.len(), 1);
        app.pass_days(8).await;
        assert_eq!(leads[2].qualify().await.rewards.len(), 1, "another week");
        app.check_books().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reward_that_is_not_given_says_why_and_what_to_do() {
    on_both(async |app| {
        let share = commission(10.0, json!({"name": "Share", "cadence": {"type": "ongoing", "months": 1}, "auto_issue": true}));
        let step = ten_euros(json!({"name": "Step", "cadence": {"type": "milestones", "steps": [{"count": 3}]}}));
        let campaign = app.campaign(json!({"rewards": [share, step, ten_euros(json!({"name": "Off", "active": false}))]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let lead = priya.lead("maya@example.net").await;
        let qualified = lead.buys("A-1", "10.00 EUR").await;
        assert_eq!((qualified.outcome, qualified.rewards.len()), (Outcome::Applied, 1));
        let said = check(&qualified.checks, Reason::Milestone);
        assert_eq!((said.about.as_deref(), said.miss.as_deref()), (Some("Step"), Some("2 qualified leads short of 3")));
        assert_eq!(check(&qualified.checks, Reason::RewardActive).about.as_deref(), Some("Off"));
        app.pass_days(40).await;
        let late = lead.buys("A-2", "10.00 EUR").await;
        assert!(late.rewards.is_empty());
        assert_eq!(check(&late.checks, Reason::RewardMonths).about.as_deref(), Some("Share"));
        priya.lead("noor@example.net").await.qualify().await;
        let explanation = lead.explanation().await;
        assert_eq!(check(&explanation.checks, Reason::Milestone).found, "2 qualified leads", "as it is now");
        assert_eq!(check(&explanation.checks, Reason::RewardMonths).about.as_deref(), Some("Share"));
        assert!(explanation.checks.iter().any(|check| check.reason == Reason::RewardActive) && !explanation.next_step.is_empty());

        // Two that the budget holds back can be told apart; when it is raised, nothing is left to say.
        let budget = |amount: &str| json!({"budget": {"amount": {"amount": amount, "currency": "EUR"}}});
        let mut settings = budget("5.00");
        settings["rewards"] = json!([ten_euros(json!({"name": "One"})), ten_euros(json!({"name": "Two"}))]);
        let campaign = app.campaign(settings).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        lead.qualify().await;
        let explanation = lead.explanation().await;
        let held: Vec<_> = explanation.checks.iter().filter(|check| check.reason == Reason::Budget).map(|check| check.about.clone().unwrap()).collect();
        assert_eq!(held, ["One", "Two"]);
        assert_eq!(explanation.next_step, "Raise the budget, then check the lead again.");
        assert_eq!(explanation.nearest_miss.as_deref(), Some("5.00 EUR over the budget"));
        campaign.change(budget("50.00")).await;
        lead.recheck().await;
        let explanation = lead.explanation().await;
        assert_eq!((explanation.nearest_miss, explanation.next_step.as_str()), (None, "2 rewards are approved: issue."));
        assert!(!explanation.checks.iter().any(Check::failed));

        // What is not given for joining is said too.
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"trigger": "joined", "limit": {"count": 1, "period": "ever"}}))]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        priya.lead("maya@example.net").await;
        let second = priya.join(person("noor@example.net")).await.unwrap();
        assert!(second.created && check(&second.checks, Reason::RewardLimit).failed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_lead_is_told_what_really_stands_in_the_way() {
    on_both(async |app| {
        let rule = json!({"minimum_spend": {"amount": "10.00", "currency": "EUR"}, "within_days": 5});
        let campaign = app.campaign(json!({"rule": rule})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(2).await;
        leads[0].buys("A-1", "5.00 EUR").await;
        assert_eq!(leads[0].explanation().await.next_step, "Wait for more conversions, or lower the minimum.");
        assert_eq!(check(&leads[0].explanation().await.checks, Reason::ConversionWindow).passed, Some(true), "there is time left");

        // The only one was in another currency.
        leads[1].buys("B-1", "50.00 USD").await;
        let explanation = leads[1].explanation().await;
        let said = check(&explanation.checks, Reason::CurrencyMatches);
        let bought = explanation.conversions[0].occurred_at;
        assert_eq!((said.expected.as_str(), said.found.as_str(), said.about.clone()), ("EUR", "USD", Some(format!("order B-1 of {bought}"))));
        assert_eq!(explanation.verdict, "Pending: USD instead of EUR.");
        assert_eq!(explanation.next_step, Reason::CurrencyMatches.next_step());
        // What counted after that is nearer.
        leads[1].buys("B-2", "6.00 EUR").await;
        assert_eq!(leads[1].explanation().await.nearest_miss.as_deref(), Some("4.00 EUR short of the minimum"));

        let over = leads[0].get().await.lead_since.unwrap().plus_days(5).date();
        app.pass_days(7).await;
        let explanation = leads[0].explanation().await;
        assert_eq!(explanation.verdict, format!("Pending: the time for conversions was over on {over}."));
        assert_eq!(explanation.next_step, Reason::ConversionWindow.next_step());
        // Enough came in time: a lower minimum is all that it takes.
        campaign.change(json!({"rule": {"minimum_spend": {"amount": "5.00", "currency": "EUR"}}})).await;
        assert!(!leads[0].explanation().await.checks.iter().any(Check::failed));
        assert!(leads[0].recheck().await.qualified);
    })
    .await;
}

// ---------------------------------------------------------------- configuration

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_campaign_is_a_version_that_can_be_restored() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
        let lead = campaign.referrer("priya@example.com").await.lead("maya@example.net").await;
        assert_eq!(campaign.change(json!({"name": "Summer"})).await.version, 2);
        assert_eq!(campaign.change(json!({"name": "Summer"})).await.version, 2, "nothing changed");
        lead.qualify().await;
        assert_eq!(campaign.reward().await.view.version, 2);
        campaign.change_reward(json!({"name": "Twenty", "value": {"type": "fixed", "amount": {"amount": "20.00", "currency": "EUR"}}})).await;
        let reward = campaign.reward().await;
        assert_eq!((reward.view.name.as_str(), reward.view.amount), ("Ten euros", Some(money("10.00 EUR"))), "it is what was promised then");
        let stale = campaign.try_edit(Some(2), Change::Restore(1)).await;
        assert!(matches!(stale, Err(Error::VersionChanged { current: 3 })));
        let restored = campaign.try_edit(Some(3), Change::Restore(1)).await.unwrap();
        assert_eq!((restored.version, restored.settings().name.as_str(), restored.configuration.rewards[0].terms.name.as_str()), (4, "Spring", "Ten euros"));
        let removed = campaign.try_edit(None, Change::RemoveReward(restored.configuration.rewards[0].id)).await.unwrap();
        assert!(removed.configuration.rewards.is_empty());
        assert_eq!(reward.decide(RewardAction::Issue).await.state, RewardState::Issued, "what was promised is kept");

        let (space, shared, id) = (app.space, app.engine.shared_arc(), campaign.id);
        let versions =
            app.engine.read(move |tx| Box::pin(async move { campaign::versions(tx, &shared, space, id, &Page::default()).await })).await.unwrap().data;
        let notes: Vec<_> = versions.iter().map(|version| (version.version, version.note.as_str())).collect();
        assert_eq!(
            notes,
            [(5, "Reward removed: Ten euros"), (4, "Version 1 restored"), (3, "Reward changed: Twenty"), (2, "Settings changed"), (1, "Created")]
        );
        // 16 who saw the same version: one wins.
        let won = at_once(16, |i| {
            let campaign = campaign.clone();
            async move {
                let patch = json!({"name": format!("Name {i}")}).as_object().unwrap().clone();
                campaign.try_edit(Some(5), Change::Settings { patch, unset: vec![] }).await.is_ok()
            }
        })
        .await;
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        for (patch, field) in [
            (json!({"link": {"mode": "direct"}}), "/link/destination"),
            (json!({"rule": {"condition": "properties.plan =="}}), "/rule/condition"),
            (json!({"colour": "red"}), "/colour"),
        ] {
            let refused = campaign.try_edit(None, Change::Settings { patch: patch.as_object().unwrap().clone(), unset: vec![] }).await;
            assert!(matches!(&refused, Err(Error::Invalid { field: at, .. }) if at == field || field == "/colour"), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_before_a_pause_still_counts_when_it_is_told_later() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(3).await;
        app.pass_days(1).await;
        let before = app.now();
        app.pass_days(1).await;
        campaign.set_status(CampaignStatus::Paused).await;
        app.pass_days(1).await;
        let tell = async |lead: &TestLead, at: Timestamp| app.act(Qualify { occurred_at: Some(at), ..lead.qualification() }).await.unwrap();
        assert!(tell(&leads[0], before).await.qualified);
        let paused = tell(&leads[1], app.now()).await;
        assert_eq!((paused.outcome, paused.why.reason), (Outcome::Ignored, Reason::CampaignLive));
        assert!(check(&paused.checks, Reason::CampaignLive).found.starts_with("paused since "));
        campaign.set_status(CampaignStatus::Live).await;
        assert!(tell(&leads[1], app.now()).await.qualified);
        campaign.set_status(CampaignStatus::Ended).await;
        assert_eq!(tell(&leads[2], app.now().plus_ms(1)).await.why.reason, Reason::CampaignLive);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_during_a_pause_does_not_count_whenever_it_is_told() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(3).await;
        let tell = async |lead: &TestLead, id: &str, at| campaign.convert(Convert { occurred_at: Some(at), ..lead.order(id, "10.00 EUR") }).await;
        let mut during = Vec::new();
        for away in ["first", "second"] {
            app.pass_days(1).await;
            let from = campaign.set_status(CampaignStatus::Paused).await.status_since;
            app.pass_days(1).await;
            let at = app.now();
            assert_eq!(tell(&leads[0], away, app.now()).await.why.reason, Reason::CampaignLive);
            app.pass_days(1).await;
            during.push((at, from, campaign.set_status(CampaignStatus::Live).await.status_since));
            app.pass_days(1).await;
        }
        for (i, (at, from, until)) in during.into_iter().enumerate() {
            let told = tell(&leads[1], &format!("told-{i}"), at).await;
            assert_eq!((told.outcome, told.why.reason), (Outcome::Ignored, Reason::CampaignLive));
            assert_eq!(check(&told.checks, Reason::CampaignLive).found, format!("not live from {from} until {until}"));
            assert!(tell(&leads[2], &format!("before-{i}"), from.plus_ms(-1)).await.outcome != Outcome::Ignored);
        }
        // Somebody who looks at the lead again decides by how things stand today, as the next step says.
        assert!(leads[1].recheck().await.qualified);
        app.check_statistics().await;
    })
    .await;
}

// ---------------------------------------------------------------- records

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_each_thing_once_in_the_order_it_happened() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"auto_issue": true}))]})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(20).await;
        at_once(40, |i| {
            let lead = leads[i / 2].clone();
            async move { lead.buys(&format!("A-{}", i / 2), "5.00 EUR").await }
        })
        .await;
        let events = app.event_bodies().await;
        for lead in &leads {
            let own: Vec<_> = events.iter().filter(|(_, data)| data["lead"]["id"] == json!(lead.id)).map(|(kind, _)| kind.as_str()).collect();
            assert_eq!(own, ["lead.created", "conversion.recorded", "lead.qualified", "reward.due", "reward.approved", "reward.issued"]);
        }
        // Each signal names its effects, and each effect is an event.
        let signals = app.signals(SignalFilter::default()).await;
        assert_eq!(signals.iter().map(|signal| signal.effects.len()).sum::<usize>(), events.len());
        assert!(signals.iter().all(|signal| signal.kind == "api_key.create" || !signal.effects.is_empty() || signal.outcome != Outcome::Applied));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_answered_once_and_its_key_serves_no_other() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let render = |enrolled: participant::Enrolled| Reply::new(201, &json!({"id": enrolled.participant.referrer(), "created": enrolled.created}));
        let ask = async |app: &TestApp, email: &str, hash: u8| {
            let enrol = Enrol { campaign: campaign.id, person: person(email), code: None };
            app.engine.run_keyed(app.context(), enrol, Some(Idempotency { key: "K-1".into(), request_hash: [hash; 32] }), render).await
        };
        let first = ask(&app, "priya@example.com", 1).await.unwrap();
        assert!(!first.replayed && first.body.contains("true"));
        let again = ask(&app, "priya@example.com", 1).await.unwrap();
        assert_eq!((again.replayed, again.status, &again.body), (true, 201, &first.body));
        assert!(matches!(ask(&app, "tom@example.com", 2).await, Err(Error::IdempotencyReuse)));
        // A request that failed has used up nothing.
        let failed = app
            .engine
            .run_keyed(
                app.context(),
                Enrol { campaign: campaign.id, person: person("noor@example.com"), code: Some("PRIYA".parse().unwrap()) },
                Some(Idempotency { key: "K-2".into(), request_hash: [3; 32] }),
                render,
            )
            .await;
        assert!(failed.is_ok());
        let replies = at_once(32, |_| {
            let (app, campaign) = (app.clone(), campaign.clone());
            async move {
                let enrol = Enrol { campaign: campaign.id, person: person("emil@example.com"), code: None };
                app.engine.run_keyed(app.context(), enrol, Some(Idempotency { key: "K-3".into(), request_hash: [4; 32] }), render).await.unwrap()
            }
        })
        .await;
        assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
        // Kept for 30 days, then the key is free again.
        app.engine.sweep(30, 30).await.unwrap();
        assert!(ask(&app, "priya@example.com", 1).await.unwrap().replayed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_many_changes_holds_its_key_until_it_is_answered_or_dead() {
    on_both(async |app| {
        let campaign = app.campaign(json!({})).await;
        let key = |hash: u8| Some(Idempotency { key: "K-1".into(), request_hash: [hash; 32] });
        let many = async |hash: u8, emails: &[&str]| {
            let changes = async {
                for email in emails {
                    campaign.try_enrol(person(email), None).await?;
                }
                Reply::new(200, &emails)
            };
            app.engine.run_many_keyed(app.context(), key(hash), changes).await
        };
        // It dies after the first of its changes: whoever comes at once is told to wait, later ones go on.
        let dies = async {
            campaign.referrer("priya@example.com").await;
            std::future::pending::<Result<Reply, Error>>().await
        };
        let died = app.engine.run_many_keyed(app.context(), key(1), dies);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(500), died).await.is_err());
        let emails = ["priya@example.com", "tom@example.com"];
        assert!(matches!(many(1, &emails).await, Err(Error::IdempotencyUnderWay)));
        assert!(matches!(many(2, &emails).await, Err(Error::IdempotencyReuse)));
        app.pass(60_000).await;
        assert!(matches!(many(2, &emails).await, Err(Error::IdempotencyReuse)));
        assert!(!many(1, &emails).await.unwrap().replayed);
        let again = many(1, &emails).await.unwrap();
        assert_eq!((again.replayed, &*again.body), (true, r#"["priya@example.com","tom@example.com"]"#));
        app.pass(60_000).await;
        assert!(many(1, &emails).await.unwrap().replayed, "an answer does not go like a claim");

        // One that failed has used up nothing.
        let fails = async { Err::<Reply, _>(Error::NotFound { what: "lead" }) };
        let other = |hash: u8| Some(Idempotency { key: "K-2".into(), request_hash: [hash; 32] });
        assert!(matches!(app.engine.run_many_keyed(app.context(), other(3), fails).await, Err(Error::NotFound { .. })));
        let works = async { Reply::new(200, &true) };
        assert!(!app.engine.run_many_keyed::<Error>(app.context(), other(4), works).await.unwrap().replayed);

        // An answer that may tell of somebody who was erased meanwhile is not kept.
        let lead = campaign.referrer("ada@example.com").await.lead("maya@example.net").await;
        let third = || Some(Idempotency { key: "K-3".into(), request_hash: [5; 32] });
        let erases = async {
            lead.erase().await;
            Reply::new(200, &"maya@example.net")
        };
        app.engine.run_many_keyed::<Error>(app.context(), third(), erases).await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM idempotency WHERE space = $1 AND body LIKE '%maya%'").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn test_and_live_and_other_workspaces_never_meet() {
    on_both(async |app| {
        let sides = [app.clone(), app.live(), app.other_workspace().await];
        let mut worlds = Vec::new();
        for side in &sides {
            let campaign = side.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
            let referrer = campaign.referrer("priya@example.com").await;
            let lead = referrer.lead("maya@example.net").await;
            let order = lead.buys("A-1", "10.00 EUR").await;
            assert!(order.qualified && !order.repeated, "the same order id is another order on another side");
            worlds.push((campaign, referrer, lead));
        }
        for (i, side) in sides.iter().enumerate() {
            let (_, _, own) = &worlds[i];
            let answer = side.act(Qualify { lead: LeadKey::Email("maya@example.net".parse().unwrap()), ..own.qualification() }).await.unwrap();
            assert_eq!(answer.lead.unwrap().id, own.id, "an address means the person of one's own side");
            for (j, (campaign, referrer, lead)) in worlds.iter().enumerate().filter(|(j, _)| *j != i) {
                let stranger = TestCampaign { app: side.clone(), ..campaign.clone() };
                assert!(matches!(stranger.try_enrol(person("x@example.com"), None).await, Err(Error::NotFound { .. })), "{i} {j}");
                assert!(matches!(stranger.try_edit(None, Change::Restore(1)).await, Err(Error::NotFound { .. })));
                let their_lead = TestLead { campaign: stranger.clone(), ..lead.clone() };
                assert_eq!(their_lead.qualify().await.why.reason, Reason::PersonUnknown);
                assert_eq!(side.act(Unqualify { lead: LeadKey::Id(lead.id), campaign: None, note: None }).await.unwrap().why.reason, Reason::PersonUnknown);
                let by_code = TestReferrer { campaign: stranger.clone(), ..referrer.clone() };
                assert_eq!(by_code.join(person("y@example.net")).await.unwrap().reason, Reason::ReferrerKnown);
                let reward = TestReward { app: side.clone(), ..campaign.reward().await };
                assert!(matches!(reward.try_decide(RewardAction::Issue).await, Err(Error::NotFound { .. })));
                let (space, shared, id) = (side.space, side.engine.shared_arc(), lead.id);
                let explained = side
                    .engine
                    .read(move |tx| Box::pin(async move { goodword::engine::qualify::explanation(tx, &shared, space, id, Timestamp::default()).await }))
                    .await;
                assert!(matches!(explained, Err(Error::NotFound { .. })));
            }
            assert_eq!(side.number("SELECT count(*) FROM participants WHERE space = $1").await, 2);
            assert_eq!(side.count_events("lead.qualified").await, 1);
            side.check_books().await;
            side.check_statistics().await;
        }
        let wall = sides[1].now();
        app.pass_days(10).await;
        assert!(sides[1].now().ms() - wall.ms() < DAY_MS && sides[2].now().ms() - wall.ms() < DAY_MS, "a moved clock is that side's own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_what_the_tables_hold() {
    on_both(async |app| {
        let campaigns = [
            app.campaign(json!({"name": "One", "rewards": [ten_euros(json!({"auto_issue": true}))]})).await,
            app.campaign(json!({"name": "Two", "rewards": [commission(10.0, json!({"auto_issue": true}))]})).await,
        ];
        for (n, campaign) in campaigns.iter().enumerate() {
            let priya = campaign.referrer("priya@example.com").await;
            let tom = campaign.referrer("tom@example.com").await;
            let leads = priya.leads(4 + n).await;
            tom.lead("tom-friend@example.net").await;
            for (i, lead) in leads.iter().enumerate() {
                app.pass_days(9).await;
                lead.buys(&format!("A-{i}"), "30.00 EUR").await;
            }
            campaign.refund("A-0", None, None).await;
            campaign.refund("A-1", None, Some("10.00 EUR")).await;
            leads[2].reject().await;
            for i in 0..7 {
                let visit = Visit {
                    space: app.space,
                    campaign: campaign.id,
                    referrer: priya.id,
                    visitor: None,
                    at: app.now(),
                    referring_host: Some("news.example".into()),
                    device: Device::Phone,
                    bot: i % 3 == 0,
                    source: if i % 2 == 0 { "qr".into() } else { "whatsapp".into() },
                    ip: None,
                };
                app.engine.recorder().record(visit).await.unwrap();
            }
        }
        while app.number("SELECT count(*) FROM visits WHERE space = $1 AND {settled}").await < 14 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        app.check_statistics().await;
        app.check_statistics().await;
        let space = app.space;
        let ask = async |by| app.engine.read(move |tx| Box::pin(async move { statistics::groups(tx, space, &Default::default(), by).await })).await.unwrap();
        let whole = app.engine.read(move |tx| Box::pin(async move { statistics::funnel(tx, space, &Default::default()).await })).await.unwrap();
        assert_eq!((whole.visits, whole.bot_visits, whole.leads, whole.qualified), (8, 6, 11, 5));
        for by in [GroupBy::Day, GroupBy::Week, GroupBy::Month, GroupBy::Source, GroupBy::Campaign] {
            let groups = ask(by).await;
            let sum = |of: fn(&statistics::Funnel) -> i64| groups.iter().map(|group| of(&group.funnel)).sum::<i64>();
            assert_eq!(
                (sum(|f| f.visits), sum(|f| f.leads), sum(|f| f.qualified), sum(|f| f.rewarded)),
                (whole.visits, whole.leads, whole.qualified, whole.rewarded),
                "{by:?}"
            );
        }
        assert_eq!(ask(GroupBy::Campaign).await.iter().map(|group| group.label.as_str()).collect::<std::collections::BTreeSet<_>>().len(), 2);
        let shared = app.engine.shared_arc();
        let top = app.engine.read(move |tx| Box::pin(async move { statistics::top_referrers(tx, &shared, space, None, 3).await })).await.unwrap();
        assert_eq!(
            top.iter().map(|top| (top.referrer.email.as_str(), top.leads, top.qualified, top.visits)).collect::<Vec<_>>()[..2],
            [("priya@example.com", 5, 3, 4), ("priya@example.com", 4, 2, 4)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_person_who_was_erased() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"lead_fields": [{"key": "note", "label": "Note"}], "rewards": [ten_euros(json!({})), ten_euros(json!({"name": "Friend", "beneficiary": "lead"}))]})).await;
        // Told before anybody knew them, refused, joined, bought, claimed, answered under a key, decided upon with a note.
        let email = "Maya_O%Rossi@example.net";
        campaign.convert(campaign.order(email, "EARLY", "10.00 EUR")).await;
        let priya = campaign.referrer("priya@example.com").await;
        let render = |joined: participant::Joined| Reply::new(201, &json!({"lead": joined.lead, "checks": joined.checks}));
        let maya = participant::Person { fields: json!({"note": "call Maya"}).as_object().unwrap().clone(), external_id: Some("CRM-MAYA".into()), ..person(email) };
        let join = Join { campaign: None, referrer: ReferrerKey::Code(priya.code.parse().unwrap()), person: maya, link_used_at: None };
        let keyed = async || app.engine.run_keyed(app.context(), join.clone(), Some(Idempotency { key: "K-1".into(), request_hash: [0; 32] }), render).await;
        keyed().await.unwrap();
        let lead = TestLead { campaign: campaign.clone(), id: priya.join(person(email)).await.unwrap().lead.unwrap().id, email: email.into() };
        campaign.convert(Convert { properties: json!({"ship_to": email}), ..campaign.order(email, "A-1", "10.00 EUR") }).await;
        let tom = campaign.referrer("tom@example.com").await;
        tom.claim(lead.id, false).await.unwrap();
        campaign.try_enrol(person(email), None).await.unwrap();
        let maya_refers = TestReferrer { campaign: campaign.clone(), id: lead.id.into(), code: lead.get().await.code };
        let friend = maya_refers.lead("noor@example.net").await;
        app.act(Join { campaign: Some(campaign.id), referrer: ReferrerKey::Email(email.parse().unwrap()), person: person("emil@example.net"), link_used_at: None }).await.unwrap();
        friend.qualify().await;
        for reward in campaign.rewards().await {
            app.act(goodword::engine::reward::Decide { reward: reward.id, action: RewardAction::Reject, note: Some(format!("Asked {email}")), amount_minor: None }).await.unwrap();
        }
        // Somebody whose address the wildcards of a careless LIKE would match.
        let neighbour = priya.lead("MayaXOooRossi@example.net").await;

        let found = |tables: &[(goodword_store::TableInfo, Vec<Vec<Value>>)], text: &str| -> Vec<String> {
            let holds = |value: &Value| matches!(value, Value::Text(held) if held.to_lowercase().contains(text));
            tables.iter().filter(|(_, rows)| rows.iter().flatten().any(holds)).map(|(table, _)| table.name.clone()).collect()
        };
        let needle = email.to_lowercase();
        assert_eq!(found(&app.everything().await, &needle), ["conversions", "events", "idempotency", "participants", "reward_entries", "rewards", "signals"]);
        lead.erase().await;
        let after = app.everything().await;
        for text in [needle.as_str(), "call maya", "crm-maya"] {
            assert_eq!(found(&after, text), Vec::<String>::new(), "{text}");
        }
        assert!(matches!(keyed().await, Err(Error::IdempotencyErased)), "it was done, and is not done again");
        // The events are there still, in a shape of their own.
        let blank = app.event_bodies().await.into_iter().find(|(kind, _)| kind == "conversion.recorded").unwrap().1;
        assert_eq!((blank["erased"].as_bool(), blank.get("lead"), blank.get("moved")), (Some(true), Some(&json!(null)), Some(&json!(null))));
        assert_eq!(neighbour.get().await.email, "MayaXOooRossi@example.net");
        assert_eq!(found(&after, "mayaxooorossi@example.net"), ["events", "participants", "signals"]);
        // The numbers stay.
        assert_eq!((priya.get().await.leads, campaign.rewards().await.len()), (2, 4));
        // A list leaves out who was erased, and nobody whose address only looks like it.
        campaign.referrer("erased-tapes@example.org").await;
        let space = app.space;
        let everybody = paged::Filter { limit: 100, ..Default::default() };
        let page = app.engine.read(move |tx| Box::pin(async move { paged::people(tx, space, &everybody).await })).await.unwrap();
        assert!(page.rows.iter().any(|person| person.email == "erased-tapes@example.org"));
        assert!(page.rows.iter().all(|person| !person.is_erased()));
        // And nothing is written down about them again, by a synchronisation that does not know.
        let renamed = Update { participant: lead.id.uuid(), as_lead: true, first_name: Some("Maya".into()), ..Default::default() };
        assert!(matches!(app.act(renamed).await, Err(Error::Conflict { .. })));
        let reactivated = Suspend { referrer: maya_refers.id, suspended: false, note: None };
        assert!(matches!(app.act(reactivated).await, Err(Error::Conflict { .. })), "their link does not come back");
        let mut again = person(email);
        again.first_name = "New".into();
        assert!(tom.join(again).await.unwrap().created, "who comes back is new");
        app.check_books().await;
        app.check_statistics().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lead_brings_counts_where_the_lead_came_from() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"auto_issue": true}))]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let from = |source: &str| goodword::engine::work::Context { source: source.into(), ..app.context() };
        let join = Join { campaign: None, referrer: ReferrerKey::Id(priya.id), person: person("maya@example.net"), link_used_at: None };
        app.engine.run(from("form"), join).await.unwrap();
        let order = Convert { lead: LeadKey::Email("maya@example.net".parse().unwrap()), ..campaign.order("maya@example.net", "A-1", "10.00 EUR") };
        app.engine.run(from("stripe"), order).await.unwrap();
        app.check_statistics().await;
        let space = app.space;
        let groups = app.engine.read(move |tx| Box::pin(async move { statistics::groups(tx, space, &Default::default(), GroupBy::Source).await }));
        let told: Vec<_> = groups
            .await
            .unwrap()
            .into_iter()
            .map(|g| (g.key, g.funnel.referrers, g.funnel.leads, g.funnel.qualified, g.funnel.conversions, g.funnel.rewarded))
            .collect();
        assert_eq!(told, [("api".to_owned(), 1, 0, 0, 0, 0), ("form".to_owned(), 0, 1, 1, 1, 1)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dossier_holds_what_is_known_of_a_person() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({"beneficiary": "lead"}))]})).await;
        let priya = campaign.referrer("priya@example.com").await;
        let visitor = VisitorId::from_uuid(uuid::Uuid::from_u128(7));
        for visitor in [Some(visitor), None] {
            let (ip, referring_host, source) = (Some("192.0.2.7".parse().unwrap()), None, "qr".into());
            let visit = Visit {
                space: app.space,
                campaign: campaign.id,
                referrer: priya.id,
                visitor,
                at: app.now(),
                referring_host,
                device: Device::Phone,
                bot: false,
                source,
                ip,
            };
            app.engine.recorder().record(visit).await.unwrap();
        }
        while app.number("SELECT count(*) FROM visits WHERE space = $1").await < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let maya = participant::Person { ip: Some("192.0.2.8".into()), visitor: Some(visitor), ..person("maya@example.net") };
        let id = priya.join(maya).await.unwrap().lead.unwrap().id;
        let lead = TestLead { campaign: campaign.clone(), id, email: "maya@example.net".into() };
        lead.buys("A-1", "10.00 EUR").await;
        campaign.try_enrol(person("maya@example.net"), None).await.unwrap();
        let (space, shared, id) = (app.space, app.engine.shared_arc(), lead.id.uuid());
        let dossier = app.engine.read(move |tx| Box::pin(async move { participant::dossier(tx, &shared, space, id).await })).await.unwrap();
        assert_eq!(dossier.lead.as_ref().unwrap().email, "maya@example.net");
        assert_eq!(dossier.referrer.as_ref().unwrap().code, dossier.lead.as_ref().unwrap().code);
        assert_eq!((dossier.conversions.len(), dossier.rewards.len()), (1, 1));
        let kinds: Vec<_> = dossier.signals.iter().map(|signal| signal.kind.as_str()).collect();
        assert_eq!(kinds, ["lead.add", "conversion", "referrer.add"]);
        assert_eq!((dossier.ip.as_deref(), dossier.visitor_id), (Some("192.0.2.8"), Some(visitor)));
        assert_eq!(dossier.visits.iter().map(|visit| (visit.visit.source.as_str(), visit.ip.as_deref())).collect::<Vec<_>>(), [("qr", Some("192.0.2.7"))]);
        let events: Vec<_> = dossier.events.iter().map(|event| event.kind.as_str()).collect();
        assert!(["lead.created", "conversion.recorded", "reward.due", "referrer.created"].iter().all(|kind| events.contains(kind)), "{events:?}");
        assert!(!events.contains(&"campaign.published") && dossier.deliveries.is_empty() && dossier.cut.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_through_everything_once() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rewards": [ten_euros(json!({}))]})).await;
        for lead in campaign.referrer("priya@example.com").await.leads(13).await {
            lead.qualify().await;
        }
        for ascending in [true, false] {
            let mut seen = Vec::new();
            let mut page = Page { limit: 5, ascending, ..Page::default() };
            loop {
                let (space, shared, asked) = (app.space, app.engine.shared_arc(), page.clone());
                let part = app
                    .engine
                    .read(move |tx| Box::pin(async move { goodword::engine::reward::list(tx, &shared, space, &RewardFilter::default(), &asked).await }))
                    .await
                    .unwrap();
                seen.extend(part.data.iter().map(|reward| reward.id));
                match part.next {
                    Some(cursor) => page.after = Some(cursor),
                    None => break,
                }
            }
            assert_eq!(seen.len(), 13);
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 13);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_conversion_other_than_an_order_counts_like_one() {
    on_both(async |app| {
        let campaign = app.campaign(json!({"rule": {"conversions": ["deal", "custom"]}})).await;
        let leads = campaign.referrer("priya@example.com").await.leads(2).await;
        for (lead, kind) in leads.iter().zip([ConversionKind::Deal, ConversionKind::Custom]) {
            assert!(campaign.convert(Convert { kind, amount: None, external_id: None, ..lead.order("", "0 EUR") }).await.qualified);
        }
    })
    .await;
}

/// A reward as an older version wrote it.
#[derive(Clone)]
struct OldReward(uuid::Uuid);

impl goodword_store::Command for OldReward {
    type Output = ();
    type Error = goodword_store::Error;

    async fn apply(&self, tx: &mut goodword_store::Tx<'_>) -> goodword_store::Result<()> {
        let id = uuid::Uuid::from_u128(7);
        let sql = "INSERT INTO rewards (space, id, campaign_id, definition_id, version, beneficiary_id, role, lead_id, cause, kind, amount_minor, currency, state, reason, note, due_at, signal_id, updated_at)
            VALUES (1, $1, $2, $2, 1, $2, 'referrer', $2, 'lead_7', 'fixed', 1000, 'EUR', 'due', 'done', 'by hand', 5, $2, 6)";
        tx.push(sql, &[self.0.into(), id.into()]).await
    }
}

#[tokio::test]
async fn rewards_outlive_the_change_of_their_key_which_still_pays_once() {
    use goodword::engine::MIGRATIONS;
    use goodword_store::{Options, Store};
    goodword_testkit::on_both(async |url| {
        let store = Store::open(Options::new(&url, &MIGRATIONS[..10])).await.unwrap();
        store.write(OldReward(uuid::Uuid::from_u128(1))).await.unwrap();
        let rewards = async |store: &Store| {
            let table = store.tables().await.unwrap().into_iter().find(|table| table.name == "rewards").unwrap();
            store.scan(&table, None, 10).await.unwrap()
        };
        let before = rewards(&store).await;
        assert_eq!(before.len(), 1);
        store.close().await.unwrap();

        let store = Store::open(Options::new(&url, MIGRATIONS)).await.unwrap();
        assert_eq!(rewards(&store).await, before);
        let again = store.write(OldReward(uuid::Uuid::from_u128(2))).await.unwrap_err();
        assert!(again.to_string().contains("rewards"), "{again}");
        assert_eq!(rewards(&store).await, before, "the same cause, definition and beneficiary");
        store.close().await.unwrap();
    })
    .await;
}
