//! Decisions by example and by property.

use goodword_core::{
    campaign::{AfterRefund, CampaignSettings, CampaignStatus, ConversionKind},
    condition::Verdict,
    decide::*,
    explain::{Check, Reason},
    ids::{ConversionId, LeadId, Mint},
    money::{Currency, MAX_MINOR, Money, Percent},
    reward::{Issuing, Review, RewardDefinition, RewardState, RewardTerms, RewardValue},
    time::{DAY_MS, Period, Timestamp},
};
use proptest::prelude::*;
use serde_json::json;

// ---------------------------------------------------------------- facts

const NOW: Timestamp = Timestamp::from_ms(1_795_000_000_000); // 2026-11-18T11:06:40Z

fn days(n: i64) -> Timestamp {
    NOW.plus_ms(n * DAY_MS)
}

fn euros(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

fn settings(value: serde_json::Value) -> CampaignSettings {
    let mut value = value;
    value["name"] = json!("Spring");
    let settings: CampaignSettings = serde_json::from_value(value).unwrap();
    settings.validate().unwrap();
    settings
}

/// Facts borrow; in a test they may do so for ever.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn live(settings: &CampaignSettings) -> CampaignFacts<'_> {
    CampaignFacts { status: CampaignStatus::Live, status_since: days(-100), pauses: &[], settings }
}

fn active() -> ReferrerFacts {
    ReferrerFacts { suspended_at: None, was_suspended: None, leads: 0, qualified: 0 }
}

fn lead_id() -> LeadId {
    Mint::new(NOW, 1).id()
}

fn conversion_id(seed: u128) -> ConversionId {
    Mint::new(NOW, seed).id()
}

/// A stranger joins an active referrer of a live campaign.
fn joining(settings: &CampaignSettings) -> JoinFacts<'_> {
    JoinFacts {
        campaign: live(settings),
        at: NOW,
        referrer: active(),
        same_person: false,
        existing: None,
        missing_fields: Vec::new(),
        link_used_at: None,
        risk: Vec::new(),
    }
}

/// A lead who joined ten days ago is qualified directly.
fn qualifying(settings: &CampaignSettings) -> QualifyFacts<'_> {
    QualifyFacts {
        campaign: live(settings),
        lead: LeadFacts { id: lead_id(), status: LeadStatus::Pending, joined_at: days(-10), qualified_at: None, risk: Vec::new() },
        referrer: active(),
        at: NOW,
        evidence: Evidence::Direct,
    }
}

fn order(amount: Option<Money>, goals: &[String]) -> ConversionFacts<'_> {
    ConversionFacts { id: conversion_id(2), kind: ConversionKind::Order, amount, condition: None, spent_minor: amount.map_or(0, |amount| amount.minor), goals }
}

fn by<'a>(settings: &'a CampaignSettings, conversion: ConversionFacts<'a>) -> QualifyFacts<'a> {
    QualifyFacts { evidence: Evidence::Conversion(conversion), ..qualifying(settings) }
}

fn check(checks: &[Check], reason: Reason) -> &Check {
    checks.iter().find(|check| check.reason == reason).unwrap_or_else(|| panic!("no check of {reason:?} in {}", summary(checks)))
}

/// Whatever is decided: a reason that fits the checks, and checks that say what was
/// expected and found.
fn is_explained(decision: &Decision) {
    let failed: Vec<_> = decision.checks.iter().filter(|check| check.failed()).collect();
    for check in &decision.checks {
        assert!(!check.expected.is_empty() && !check.found.is_empty(), "{check:?}");
        assert!(check.miss.is_none() || check.failed(), "a miss where nothing was missed: {check:?}");
    }
    match decision.outcome {
        // A refund is made as far as something is left.
        Outcome::Applied => assert!(failed.is_empty() || decision.reason == Reason::Refunded, "applied in spite of {failed:?}"),
        Outcome::Unchanged => assert!(matches!(decision.reason, Reason::AlreadyDone | Reason::NothingToRefund)),
        Outcome::Ignored | Outcome::Refused => assert_eq!(failed.first().map(|check| check.reason), Some(decision.reason)),
        Outcome::Recorded => assert!(failed.first().is_none_or(|check| check.reason == decision.reason || decision.reason == Reason::AlreadyQualified)),
    }
}

// ---------------------------------------------------------------- joining and claims

#[test]
fn joining_by_example() {
    let plain = settings(json!({}));
    let limited = settings(json!({"limits": {"leads_per_referrer": 3}, "attribution": {"window_days": 5}}));
    let dated = settings(json!({"starts_at": days(-1), "ends_at": days(1)}));
    let with = |campaign, change: &dyn Fn(&mut JoinFacts<'_>)| {
        let mut facts = joining(campaign);
        change(&mut facts);
        let decision = join(&facts);
        is_explained(&decision);
        assert_eq!(decision, join(&facts), "the same facts, the same decision");
        (decision.outcome, decision.reason)
    };
    use Outcome::*;
    assert_eq!(with(&plain, &|_| {}), (Applied, Reason::Done));
    assert_eq!(with(&plain, &|f| f.same_person = true), (Refused, Reason::NotSelf));
    assert_eq!(with(&plain, &|f| f.existing = Some(Existing::LeadOfSame)), (Unchanged, Reason::AlreadyDone));
    assert_eq!(with(&plain, &|f| f.existing = Some(Existing::LeadOfOther)), (Ignored, Reason::FirstReferrerKept));
    assert_eq!(with(&plain, &|f| f.existing = Some(Existing::ReferrerOnly)), (Refused, Reason::NotYetInCampaign));
    assert_eq!(with(&plain, &|f| f.missing_fields = vec!["Phone".into()]), (Refused, Reason::RequiredFields));
    assert_eq!(with(&plain, &|f| f.campaign.status = CampaignStatus::Draft), (Refused, Reason::CampaignLive));
    assert_eq!(with(&plain, &|f| f.referrer.suspended_at = Some(NOW)), (Refused, Reason::ReferrerActive));
    assert_eq!(with(&plain, &|f| f.referrer.suspended_at = Some(NOW.plus_ms(1))), (Applied, Reason::Done));
    assert_eq!(with(&limited, &|f| f.referrer.leads = 2), (Applied, Reason::Done));
    assert_eq!(with(&limited, &|f| f.referrer.leads = 3), (Refused, Reason::ReferralLimit));
    assert_eq!(with(&limited, &|f| f.link_used_at = Some(days(-5))), (Applied, Reason::Done));
    assert_eq!(with(&limited, &|f| f.link_used_at = Some(days(-5).plus_ms(-1))), (Refused, Reason::AttributionWindow));
    assert_eq!(with(&dated, &|f| f.at = days(-1)), (Applied, Reason::Done));
    assert_eq!(with(&dated, &|f| f.at = days(-1).plus_ms(-1)), (Refused, Reason::CampaignStarted));
    assert_eq!(with(&dated, &|f| f.at = days(1).plus_ms(-1)), (Applied, Reason::Done));
    assert_eq!(with(&dated, &|f| f.at = days(1)), (Refused, Reason::CampaignNotEnded));
}

#[test]
fn claims_by_example() {
    let plain = settings(json!({"limits": {"leads_per_referrer": 3}}));
    let with = |change: &dyn Fn(&mut ClaimFacts<'_>)| {
        let mut facts = ClaimFacts {
            campaign: live(&plain),
            at: NOW,
            referrer: active(),
            same_person: false,
            existing: Existing::ReferrerOnly,
            qualified: false,
            force: false,
            circular: false,
        };
        change(&mut facts);
        let decision = claim(&facts);
        is_explained(&decision);
        (decision.outcome, decision.reason)
    };
    use Outcome::*;
    assert_eq!(with(&|_| {}), (Applied, Reason::Done));
    assert_eq!(with(&|f| f.campaign.status = CampaignStatus::Draft), (Applied, Reason::Done));
    assert_eq!(with(&|f| f.campaign.status = CampaignStatus::Ended), (Ignored, Reason::CampaignLive));
    assert_eq!(with(&|f| f.same_person = true), (Ignored, Reason::NotSelf));
    assert_eq!(with(&|f| f.circular = true), (Ignored, Reason::NotCircular));
    assert_eq!(with(&|f| f.referrer.leads = 3), (Ignored, Reason::ReferralLimit));
    assert_eq!(with(&|f| f.referrer.suspended_at = Some(days(-1))), (Ignored, Reason::ReferrerActive));
    assert_eq!(with(&|f| f.existing = Existing::LeadOfSame), (Unchanged, Reason::AlreadyDone));
    assert_eq!(with(&|f| f.existing = Existing::LeadOfOther), (Ignored, Reason::FirstReferrerKept));
    let forced = |qualified| {
        move |f: &mut ClaimFacts<'_>| {
            f.existing = Existing::LeadOfOther;
            f.force = true;
            f.qualified = qualified;
        }
    };
    assert_eq!(with(&forced(false)), (Applied, Reason::Done));
    assert_eq!(with(&forced(true)), (Ignored, Reason::LeadPending));
}

// ---------------------------------------------------------------- qualification

#[test]
fn direct_qualification_by_example() {
    let plain = settings(json!({}));
    let conversions_only = settings(json!({"rule": {"direct": false}}));
    let with = |campaign, change: &dyn Fn(&mut QualifyFacts<'_>)| {
        let mut facts = qualifying(campaign);
        change(&mut facts);
        let qualification = qualify(&facts);
        is_explained(&qualification.decision);
        assert_eq!(qualification.qualifies, qualification.decision.outcome == Outcome::Applied);
        assert!(!qualification.counts);
        (qualification.decision.outcome, qualification.decision.reason)
    };
    use Outcome::*;
    assert_eq!(with(&plain, &|_| {}), (Applied, Reason::Done));
    assert_eq!(with(&plain, &|f| f.lead.status = LeadStatus::Qualified), (Unchanged, Reason::AlreadyDone));
    assert_eq!(with(&plain, &|f| f.lead.status = LeadStatus::Rejected), (Ignored, Reason::LeadNotRejected));
    assert_eq!(with(&conversions_only, &|_| {}), (Refused, Reason::ManualAllowed));
}

/// Suspended, paused: the time of the event decides, not the time of the telling.
#[test]
fn what_was_true_at_the_time_of_the_event_counts() {
    let plain = forever(settings(json!({})));
    let at = |at: Timestamp, change: &dyn Fn(&mut QualifyFacts<'static>)| {
        let mut facts = QualifyFacts { at, ..qualifying(plain) };
        change(&mut facts);
        qualify(&facts).decision
    };
    for status in [CampaignStatus::Paused, CampaignStatus::Ended] {
        let since = |f: &mut QualifyFacts<'static>| (f.campaign.status, f.campaign.status_since) = (status, days(-2));
        assert_eq!(at(days(-2).plus_ms(-1), &since).outcome, Outcome::Applied);
        let refused = at(days(-2), &since);
        assert_eq!(refused.reason, Reason::CampaignLive);
        assert_eq!(check(&refused.checks, Reason::CampaignLive).found, format!("{} since {}", status.as_str(), days(-2)));
    }
    let draft = |f: &mut QualifyFacts<'static>| f.campaign.status = CampaignStatus::Draft;
    assert_eq!(at(days(-5), &draft).reason, Reason::CampaignLive, "before it was a draft there was nothing");

    for status in [CampaignStatus::Live, CampaignStatus::Paused, CampaignStatus::Ended] {
        let pauses = forever([(days(-8), days(-7)), (days(-6), days(-4))]);
        let paused = |f: &mut QualifyFacts<'static>| (f.campaign.status, f.campaign.status_since, f.campaign.pauses) = (status, days(-2), pauses);
        for (moment, live) in [(days(-6).plus_ms(-1), true), (days(-6), false), (days(-4).plus_ms(-1), false), (days(-4), true), (days(-8), false)] {
            assert_eq!(at(moment, &paused).outcome == Outcome::Applied, live, "{moment}");
        }
        let found = check(&at(days(-5), &paused).checks, Reason::CampaignLive).found.clone();
        assert_eq!(found, format!("not live from {} until {}", days(-6), days(-4)));
    }

    let suspended = |f: &mut QualifyFacts<'static>| f.referrer.suspended_at = Some(days(-2));
    assert_eq!(at(days(-2).plus_ms(-1), &suspended).outcome, Outcome::Applied);
    assert_eq!(at(days(-2), &suspended).reason, Reason::ReferrerActive);
    let once = |f: &mut QualifyFacts<'static>| f.referrer.was_suspended = Some((days(-6), days(-4)));
    for (moment, active) in [(days(-6).plus_ms(-1), true), (days(-6), false), (days(-4).plus_ms(-1), false), (days(-4), true)] {
        assert_eq!(at(moment, &once).outcome == Outcome::Applied, active, "{moment}");
    }
    let found = check(&at(days(-5), &once).checks, Reason::ReferrerActive).found.clone();
    assert_eq!(found, format!("suspended from {} until {}", days(-6), days(-4)));
}

#[test]
fn conversions_by_example() {
    let rule = json!({"conversions": ["order", "deal"], "minimum_spend": {"amount": "50.00", "currency": "EUR"}, "within_days": 30, "condition": "properties.plan == \"pro\""});
    let campaign = forever(settings(json!({"rule": rule})));
    let with = |change: &dyn Fn(&mut QualifyFacts<'static>, &mut ConversionFacts<'static>)| {
        let mut conversion = ConversionFacts { condition: Some(&Verdict::True), ..order(Some(euros(6_000)), &[]) };
        let mut facts = qualifying(campaign);
        change(&mut facts, &mut conversion);
        let facts = QualifyFacts { evidence: Evidence::Conversion(conversion), ..facts };
        let qualification = qualify(&facts);
        is_explained(&qualification.decision);
        assert_eq!(qualification, qualify(&facts), "the same facts, the same decision");
        qualification
    };
    let said = |qualification: &Qualification, reason| {
        let check = check(&qualification.decision.checks, reason);
        (check.expected.clone(), check.found.clone(), check.miss.clone())
    };
    assert!(with(&|_, _| {}).qualifies);

    let kind = with(&|_, c| c.kind = ConversionKind::Invoice);
    assert_eq!((kind.counts, kind.decision.reason), (false, Reason::ConversionKind));
    assert_eq!(said(&kind, Reason::ConversionKind), ("order, deal".into(), "invoice".into(), None));

    let early = with(&|f, _| f.at = f.lead.joined_at.plus_ms(-60_001));
    assert_eq!((early.counts, early.decision.reason), (false, Reason::ConversionAfterJoining));
    assert!(with(&|f, _| f.at = f.lead.joined_at.plus_ms(-60_000)).counts, "clocks may differ by a minute");

    assert!(with(&|f, _| f.at = f.lead.joined_at.plus_days(30)).counts, "at the edge of the window");
    for (late, miss) in [(1, "1 day too late"), (DAY_MS, "1 day too late"), (DAY_MS + 1, "2 days too late")] {
        let qualification = with(&|f, _| f.at = f.lead.joined_at.plus_days(30).plus_ms(late));
        assert_eq!((qualification.counts, qualification.decision.reason), (false, Reason::ConversionWindow));
        assert_eq!(said(&qualification, Reason::ConversionWindow).2.as_deref(), Some(miss));
    }

    let dollars = with(&|_, c| c.amount = Some(Money::new(6_000, "USD".parse().unwrap())));
    assert_eq!((dollars.counts, dollars.decision.reason), (false, Reason::CurrencyMatches));
    assert_eq!(said(&dollars, Reason::CurrencyMatches), ("EUR".into(), "USD".into(), Some("USD instead of EUR".into())));
    assert_eq!(with(&|_, c| c.amount = None).decision.reason, Reason::CurrencyMatches, "nothing is no euros");

    for (verdict, found) in [(Verdict::False, "false"), (Verdict::Error("no such key: plan".into()), "no such key: plan")] {
        let verdict = forever(verdict);
        let qualification = with(&|_, c| c.condition = Some(verdict));
        assert_eq!((qualification.counts, qualification.decision.reason), (false, Reason::Condition));
        assert_eq!(said(&qualification, Reason::Condition), ("properties.plan == \"pro\"".into(), found.into(), None));
    }

    let short = with(&|_, c| c.spent_minor = 4_600);
    assert_eq!((short.counts, short.qualifies, short.decision.outcome, short.decision.reason), (true, false, Outcome::Recorded, Reason::MinimumSpend));
    let miss = Some("4.00 EUR short of the minimum".into());
    assert_eq!(said(&short, Reason::MinimumSpend), ("at least 50.00 EUR".into(), "46.00 EUR".into(), miss));
    assert!(with(&|_, c| c.spent_minor = 5_000).qualifies, "exactly the minimum");

    let already = with(&|f, _| f.lead.status = LeadStatus::Qualified);
    assert_eq!((already.counts, already.qualifies, already.decision.outcome), (true, false, Outcome::Recorded));
}

#[test]
fn goals_are_reached_in_their_order() {
    let campaign = settings(json!({"rule": {"goals": ["Trial", "Paid", "Renewed"]}}));
    for (seen, reached, miss) in [
        (&["trial"][..], "Trial", Some("1 of 3 goals reached; next: Paid")),
        (&["paid"], "none yet", Some("0 of 3 goals reached; next: Trial")),
        (&["trial", "renewed"], "Trial", Some("1 of 3 goals reached; next: Paid")),
        (&["paid", "trial", "PAID"], "Trial, Paid", Some("2 of 3 goals reached; next: Renewed")),
        (&["trial", "trial", "other", "paid", "renewed"], "Trial, Paid, Renewed", None),
    ] {
        let goals: Vec<String> = seen.iter().map(|&goal| goal.to_owned()).collect();
        let qualification = qualify(&by(&campaign, order(None, &goals)));
        is_explained(&qualification.decision);
        let goals = check(&qualification.decision.checks, Reason::Goals);
        assert_eq!((goals.found.as_str(), goals.miss.as_deref(), qualification.qualifies), (reached, miss, miss.is_none()), "{seen:?}");
        assert!(qualification.counts);
    }
}

// ---------------------------------------------------------------- rewards

fn definition(terms: serde_json::Value) -> RewardDefinition {
    let mut all = json!({"name": "Reward", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "EUR"}}});
    for (key, value) in terms.as_object().unwrap() {
        all[key] = value.clone();
    }
    let definition = RewardDefinition { id: Mint::new(NOW, 3).id(), terms: serde_json::from_value(all).unwrap() };
    definition.terms.validate().unwrap();
    definition
}

fn occasion() -> Occasion {
    Occasion {
        lead: lead_id(),
        joined: false,
        qualified: true,
        again: false,
        conversion: None,
        qualified_since: Some(NOW),
        at: NOW,
        leads: 1,
        qualified_leads: 1,
    }
}

fn causes(terms: serde_json::Value, occasion: &Occasion) -> Vec<String> {
    candidates(&[definition(terms)], occasion).0.iter().map(|candidate| candidate.cause.key()).collect()
}

#[test]
fn which_occasion_gives_cause_for_which_reward() {
    let lead = lead_id().to_string();
    let payment = Some((conversion_id(2), Some(euros(5_000))));
    let payment_id = conversion_id(2).to_string();
    let joined = Occasion { joined: true, qualified: false, qualified_since: None, ..occasion() };
    let paid = Occasion { qualified: false, conversion: payment, ..occasion() };
    let once = json!({});
    assert_eq!(causes(once.clone(), &occasion()), [lead.as_str()]);
    assert!(causes(once.clone(), &joined).is_empty() && causes(once, &paid).is_empty());
    assert!(causes(json!({"active": false}), &occasion()).is_empty());
    assert_eq!(causes(json!({"trigger": "joined"}), &joined), [lead.as_str()]);
    assert!(causes(json!({"trigger": "joined"}), &occasion()).is_empty());

    let ongoing = |months: Option<u32>| json!({"cadence": {"type": "ongoing", "months": months}});
    assert!(causes(ongoing(None), &occasion()).is_empty(), "qualified without a payment");
    assert_eq!(causes(ongoing(None), &paid), [payment_id.as_str()]);
    assert!(causes(ongoing(None), &Occasion { qualified_since: None, ..paid }).is_empty());
    assert!(causes(ongoing(None), &Occasion { conversion: Some((conversion_id(2), None)), ..paid }).is_empty());
    let qualified_since = Some("2026-01-31T10:00:00Z".parse().unwrap());
    for (at, months, pays) in
        [("2026-02-28T09:59:59.999Z", 1, true), ("2026-02-28T10:00:00Z", 1, false), ("2026-03-31T09:59:59.999Z", 2, true), ("2026-03-31T10:00:00Z", 2, false)]
    {
        let paid = Occasion { at: at.parse().unwrap(), qualified_since, ..paid };
        assert_eq!(!causes(ongoing(Some(months)), &paid).is_empty(), pays, "{at}");
    }

    let milestones = json!({"cadence": {"type": "milestones", "steps": [{"count": 1}, {"count": 3}, {"count": 5}]}});
    let at_count = |qualified_leads| Occasion { qualified_leads, ..occasion() };
    for (count, expected) in [(1, vec!["milestone:1"]), (2, vec![]), (3, vec!["milestone:3"]), (4, vec![]), (5, vec!["milestone:5"]), (6, vec![])] {
        assert_eq!(causes(milestones.clone(), &at_count(count)), expected, "{count}");
    }
    assert_eq!(causes(milestones, &Occasion { again: true, ..at_count(4) }), ["milestone:1", "milestone:3"], "looking again makes up for what was missed");

    // What is not given and somebody would ask about is said.
    let missed = |terms: serde_json::Value, occasion: Occasion| {
        let definitions = [definition(terms)];
        let (found, missed) = candidates(&definitions, &occasion);
        assert!(missed.iter().all(|check| check.failed() && check.about.as_deref() == Some(definitions[0].terms.name.as_str())));
        assert!(found.is_empty() || missed.is_empty());
        missed.into_iter().map(|check| (check.reason, check.expected, check.found, check.miss)).next()
    };
    let said = |reason, expected: &str, found: &str, miss: Option<&str>| Some((reason, expected.to_owned(), found.to_owned(), miss.map(str::to_owned)));
    let steps = || json!({"cadence": {"type": "milestones", "steps": [{"count": 1}, {"count": 4}]}});
    assert_eq!(missed(steps(), at_count(2)), said(Reason::Milestone, "4 qualified leads", "2 qualified leads", Some("2 qualified leads short of 4")));
    assert_eq!((missed(steps(), at_count(1)), missed(steps(), at_count(4)), missed(steps(), at_count(5)), missed(steps(), joined)), (None, None, None, None));
    let third = || json!({"trigger": "joined", "cadence": {"type": "every", "count": 3}});
    let fifth = Occasion { joined: true, qualified: false, leads: 5, ..occasion() };
    assert_eq!(missed(third(), fifth), said(Reason::EveryN, "every 3 leads", "5 leads", Some("1 lead short of the next 3")));
    assert_eq!(missed(json!({"active": false}), occasion()), said(Reason::RewardActive, "an active reward definition", "not active", None));
    assert_eq!((missed(json!({"active": false}), paid), missed(json!({}), occasion())), (None, None), "it would not have been given either");
    let late = Occasion { at: days(40), ..paid };
    let over = said(Reason::RewardMonths, &format!("a payment before {}", NOW.plus_months(1)), &days(40).to_string(), None);
    assert_eq!((missed(ongoing(Some(1)), late), missed(ongoing(Some(2)), late)), (over, None));

    let every = |count: u32| json!({"cadence": {"type": "every", "count": count}});
    for (count, expected) in [(1, vec![]), (2, vec![]), (3, vec!["every:1"]), (4, vec![]), (6, vec!["every:2"])] {
        assert_eq!(causes(every(3), &at_count(count)), expected, "{count}");
    }
    assert_eq!(causes(every(3), &Occasion { again: true, ..at_count(7) }), ["every:1", "every:2"]);
    assert!(causes(every(3), &Occasion { again: true, ..at_count(2) }).is_empty());
    assert_eq!(causes(every(1), &Occasion { again: true, ..at_count(1_000) }).len(), 50, "bounded");
}

#[test]
fn rewards_by_example() {
    let decide = |terms: serde_json::Value, campaign: serde_json::Value, basis: Option<Money>, change: &dyn Fn(&mut RewardFacts<'_>)| {
        let definition = definition(terms);
        let occasion = Occasion { conversion: basis.map(|basis| (conversion_id(2), Some(basis))), ..occasion() };
        let definitions = [definition];
        let candidate = candidates(&definitions, &occasion).0.remove(0);
        let settings = settings(campaign);
        let mut facts = RewardFacts { settings: &settings, at: NOW, before: None, given: 0, budget_used_minor: 0, coupon_left: true, risk: &[] };
        change(&mut facts);
        assert_eq!(reward(&candidate, &facts), reward(&candidate, &facts), "the same facts, the same decision");
        reward(&candidate, &facts)
    };
    let path = |outcome: &RewardOutcome| match outcome {
        RewardOutcome::Give(grant) | RewardOutcome::Reinstate(grant) => {
            (grant.path.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" "), grant.reason)
        }
        RewardOutcome::Skip(reason) => (String::new(), *reason),
    };
    let plain = || json!({"review": "never"});
    let nothing: &dyn Fn(&mut RewardFacts<'_>) = &|_| {};
    let risky: &dyn Fn(&mut RewardFacts<'_>) = &|f| f.risk = &[Reason::PlusTag];
    let no_coupon: &dyn Fn(&mut RewardFacts<'_>) = &|f| f.coupon_left = false;
    let coupon = || json!({"value": {"type": "coupon"}});
    let share = || json!({"value": {"type": "commission", "percent": 10}});
    for (terms, campaign, change, expected) in [
        (json!({}), plain(), nothing, ("due approved", Reason::Done)),
        (json!({"auto_issue": true}), plain(), nothing, ("due approved issued", Reason::Done)),
        (json!({"auto_issue": true, "issuing": "external"}), plain(), nothing, ("due approved issuing", Reason::Done)),
        (json!({"hold_days": 14, "auto_issue": true}), plain(), nothing, ("due on_hold", Reason::HoldDays)),
        (json!({"auto_issue": true}), json!({"review": "always"}), nothing, ("due in_review", Reason::ReviewAlways)),
        (json!({}), json!({"review": "risk"}), nothing, ("due approved", Reason::Done)),
        (json!({}), json!({"review": "risk"}), risky, ("due in_review", Reason::ReviewRisk)),
        (json!({"review": "never"}), json!({"review": "always"}), risky, ("due approved", Reason::Done)),
        (coupon(), plain(), nothing, ("due approved", Reason::Done)),
        (coupon(), plain(), no_coupon, ("due on_hold", Reason::CouponLeft)),
        (share(), plain(), nothing, ("due on_hold", Reason::RewardAmount)),
    ] {
        let (outcome, checks) = decide(terms.clone(), campaign, None, change);
        let (path, reason) = path(&outcome);
        assert_eq!((path.as_str(), reason), expected, "{terms}");
        assert!(checks.iter().all(|check| !check.failed()));
    }
    let (outcome, _) = decide(json!({"hold_days": 14}), plain(), None, nothing);
    assert!(matches!(outcome, RewardOutcome::Give(grant) if grant.hold_until == Some(days(14)) && grant.amount == Some(euros(1_000))));

    // Given before: once is once, unless it lost its ground.
    for state in RewardState::ALL {
        for lost_ground in [false, true] {
            let (outcome, checks) = decide(json!({}), plain(), None, &|f| f.before = Some(Before { state, lost_ground }));
            let back = matches!(state, RewardState::Cancelled | RewardState::Reversed) && lost_ground;
            assert_eq!(matches!(outcome, RewardOutcome::Reinstate(_)), back, "{state:?} {lost_ground}");
            if !back {
                assert_eq!(outcome, RewardOutcome::Skip(Reason::OnlyOnce));
                assert_eq!(check(&checks, Reason::OnlyOnce).found, format!("there is one, {}", state.as_str()));
            }
        }
    }

    // Limits and budgets.
    let limited = || json!({"limit": {"count": 2, "period": "month"}});
    assert!(matches!(decide(limited(), plain(), None, &|f| f.given = 1).0, RewardOutcome::Give(_)));
    let (outcome, checks) = decide(limited(), plain(), None, &|f| f.given = 2);
    assert_eq!(outcome, RewardOutcome::Skip(Reason::RewardLimit));
    assert_eq!((check(&checks, Reason::RewardLimit).expected.as_str(), check(&checks, Reason::RewardLimit).found.as_str()), ("at most 2 a month", "2 given"));
    let budget = || json!({"review": "never", "budget": {"amount": {"amount": "25.00", "currency": "EUR"}, "period": "month"}});
    assert!(matches!(decide(json!({}), budget(), None, &|f| f.budget_used_minor = 1_500).0, RewardOutcome::Give(_)), "to the last cent");
    let (outcome, checks) = decide(json!({}), budget(), None, &|f| f.budget_used_minor = 1_501);
    assert_eq!(outcome, RewardOutcome::Skip(Reason::Budget));
    let told = check(&checks, Reason::Budget);
    assert_eq!(
        (told.expected.as_str(), told.found.as_str(), told.miss.as_deref()),
        ("10.00 EUR within 25.00 EUR a month", "9.99 EUR left", Some("0.01 EUR over the budget"))
    );
    let dollars = json!({"value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "USD"}}});
    assert!(matches!(decide(dollars, budget(), None, &|f| f.budget_used_minor = 2_500).0, RewardOutcome::Give(_)), "a budget in euros says nothing of dollars");
    let capped = |currency: &str| json!({"value": {"type": "commission", "percent": 10, "cap": {"amount": "5.00", "currency": currency}}});
    let (outcome, checks) = decide(capped("USD"), plain(), Some(euros(100_000_000)), nothing);
    assert_eq!(outcome, RewardOutcome::Skip(Reason::CurrencyMatches), "never without its cap");
    let told = check(&checks, Reason::CurrencyMatches);
    assert_eq!((told.expected.as_str(), told.found.as_str()), ("USD, the currency of the cap", "EUR"));
    let (outcome, _) = decide(capped("EUR"), plain(), Some(euros(100_000_000)), nothing);
    assert!(matches!(outcome, RewardOutcome::Give(grant) if grant.amount == Some(euros(500))));
    let (outcome, _) = decide(share(), budget(), Some(euros(9_999)), nothing);
    assert!(matches!(outcome, RewardOutcome::Give(grant) if grant.amount == Some(euros(1_000))), "9.999 rounds to 10.00");
}

#[test]
fn shares_are_rounded_and_capped() {
    let eur: Currency = "EUR".parse().unwrap();
    for (basis_points, basis, cap, expected) in [
        (1_000, 12_345, None, 1_234), // 1234.5 to even
        (1_000, 12_355, None, 1_236), // 1235.5 to even
        (1_250, 999, None, 125),      // 124.875
        (1, 4_999, None, 0),          // 0.4999
        (10_000, 777, None, 777),     // all of it
        (1_000, 12_345, Some(euros(1_000)), 1_000),
        (1_000, 12_345, Some(euros(1_234)), 1_234),
        (1_000, 12_345, Some(Money::new(1, "USD".parse().unwrap())), 1_234), // a cap in another currency caps nothing
        (0, 12_345, None, 0),
    ] {
        let share = commission(Percent::from_basis_points(basis_points).unwrap(), cap, euros(basis));
        assert_eq!(share, Money::new(expected, eur), "{basis_points} of {basis}");
    }
}

#[test]
fn what_nothing_holds_goes_on() {
    for (review, risk, auto, issuing, expected) in [
        (Review::Never, true, false, Issuing::ByHand, "approved"),
        (Review::Never, true, true, Issuing::ByHand, "approved issued"),
        (Review::Never, true, true, Issuing::External, "approved issuing"),
        (Review::Risk, true, true, Issuing::ByHand, "in_review"),
        (Review::Always, false, true, Issuing::External, "in_review"),
    ] {
        let mut definition = definition(json!({"auto_issue": auto}));
        definition.terms.issuing = issuing;
        let (path, _) = onward(&definition, review, if risk { &[Reason::SameAddress] } else { &[] });
        assert_eq!(path.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn a_commission_that_could_never_pay_is_named() {
    let terms = |value: serde_json::Value, trigger: &str, cadence: serde_json::Value| -> RewardTerms {
        serde_json::from_value(json!({"name": "x", "beneficiary": "referrer", "value": value, "trigger": trigger, "cadence": cadence})).unwrap()
    };
    let share = |percent: i64| json!({"type": "commission", "percent": percent});
    let once = || json!({"type": "once"});
    let points = json!({"type": "custom", "metric": "points", "units": 1});
    let step = |value| json!({"type": "milestones", "steps": [{"count": 1, "value": value}]});
    for (terms, field) in [
        (terms(share(10), "qualified", once()), None),
        (terms(share(0), "qualified", once()), Some("/value/percent")),
        (terms(share(10), "joined", once()), Some("/trigger")),
        (terms(points.clone(), "joined", step(share(10))), Some("/trigger")),
        (terms(points, "joined", once()), None),
    ] {
        assert_eq!(terms.validate().err().map(|(field, _)| field), field);
    }
}

// ---------------------------------------------------------------- taking back

#[test]
fn what_is_taken_back_in_every_state() {
    use RewardState as S;
    let share = RewardValue::Commission { percent: Percent::from_basis_points(1_000).unwrap(), cap: None };
    let fixed = RewardValue::Fixed { amount: euros(1_000) };
    let points = RewardValue::Custom { metric: "points".parse().unwrap(), units: 5 };
    let before_issued = [S::Due, S::OnHold, S::InReview, S::Approved, S::Failed];
    for state in S::ALL {
        let touched = |value, amount, reversed_minor| TouchedReward { state, value, amount, reversed_minor, basis: Some(euros(10_000)) };
        let of = |value, amount, kept, policy| take_back(&touched(value, amount, 0), kept, policy);
        for policy in [AfterRefund::Reverse, AfterRefund::Note] {
            // Nothing is left.
            let expected = match state {
                S::Cancelled | S::Rejected | S::Reversed => RewardChange::Keep,
                S::Issuing => RewardChange::Recall,
                S::Issued if policy == AfterRefund::Note => RewardChange::Note,
                S::Issued => RewardChange::Reverse { minor: 1_000, full: true },
                _ => RewardChange::Cancel,
            };
            assert_eq!(of(&fixed, Some(euros(1_000)), None, policy), expected, "{state:?} {policy:?}");
            assert_eq!(of(&share, Some(euros(1_000)), None, policy), expected, "{state:?} {policy:?}");
            // A part is left: only a share follows it.
            assert_eq!(of(&fixed, Some(euros(1_000)), Some(euros(4_000)), policy), RewardChange::Keep);
            let expected = match state {
                S::Cancelled | S::Rejected | S::Reversed => RewardChange::Keep,
                S::Issuing => RewardChange::Recall,
                S::Issued if policy == AfterRefund::Note => RewardChange::Note,
                S::Issued => RewardChange::Reverse { minor: 600, full: false },
                _ => RewardChange::Reduce(euros(400)),
            };
            assert_eq!(of(&share, Some(euros(1_000)), Some(euros(4_000)), policy), expected, "{state:?} {policy:?}");
            assert_eq!(of(&share, Some(euros(1_000)), Some(euros(10_000)), policy), RewardChange::Keep, "all of it is left");
        }
        if before_issued.contains(&state) {
            assert_eq!(of(&share, None, Some(euros(4_000)), AfterRefund::Reverse), RewardChange::Keep, "no amount yet");
            assert_eq!(of(&share, Some(euros(1_000)), Some(euros(4)), AfterRefund::Reverse), RewardChange::Cancel, "a share of nothing");
        }
        if state == S::Issued {
            assert_eq!(of(&points, None, None, AfterRefund::Reverse), RewardChange::Reverse { minor: 0, full: true });
            assert_eq!(take_back(&touched(&share, Some(euros(1_000)), 600), Some(euros(4_000)), AfterRefund::Reverse), RewardChange::Keep, "told again");
            assert_eq!(
                take_back(&touched(&share, Some(euros(1_000)), 900), Some(euros(4_000)), AfterRefund::Reverse),
                RewardChange::Keep,
                "more was reversed by hand"
            );
        }
    }
}

#[test]
fn a_refund_that_leaves_too_little_takes_the_qualification() {
    let spend = forever(settings(json!({"rule": {"minimum_spend": {"amount": "50.00", "currency": "EUR"}}})));
    let plain = forever(settings(json!({})));
    let goals = forever(settings(json!({"rule": {"goals": ["trial", "paid"]}})));
    let trial = forever(["trial".to_owned()]);
    let facts = |settings: &'static CampaignSettings| RefundFacts {
        rule: &settings.rule,
        amount: Some(euros(6_000)),
        refunded_before_minor: 0,
        refund_minor: None,
        fully_refunded_before: false,
        counts: true,
        lead_status: LeadStatus::Qualified,
        qualified_by_conversion: true,
        other_spent_minor: 0,
        other_conversions: 0,
        other_goals: &[],
    };
    for (what, facts, unqualifies) in [
        ("all of the only order", facts(plain), true),
        ("a part of the only order", RefundFacts { refund_minor: Some(5_999), ..facts(plain) }, false),
        ("all of one of two orders", RefundFacts { other_conversions: 1, ..facts(plain) }, false),
        ("down to the minimum", RefundFacts { refund_minor: Some(1_000), ..facts(spend) }, false),
        ("below the minimum", RefundFacts { refund_minor: Some(1_001), ..facts(spend) }, true),
        ("the others suffice", RefundFacts { other_conversions: 1, other_spent_minor: 5_000, ..facts(spend) }, false),
        ("its goal is lost", RefundFacts { other_conversions: 1, other_goals: trial, ..facts(goals) }, true),
        ("its goal was reached all the same", RefundFacts { refund_minor: Some(1), other_conversions: 1, other_goals: trial, ..facts(goals) }, false),
        ("qualified by a person", RefundFacts { qualified_by_conversion: false, ..facts(plain) }, false),
        ("it never counted", RefundFacts { counts: false, ..facts(plain) }, false),
        ("pending anyway", RefundFacts { lead_status: LeadStatus::Pending, ..facts(plain) }, false),
        ("a conversion without an amount", RefundFacts { amount: None, ..facts(plain) }, true),
        ("a free order", RefundFacts { amount: Some(euros(0)), ..facts(plain) }, true),
    ] {
        let refunded = refund(&facts);
        assert_eq!(refunded.unqualifies, unqualifies, "{what}");
        assert_eq!(refunded.decision.outcome, Outcome::Applied, "{what}");
    }
    for (asked, passed, miss) in [(6_000, true, None), (6_001, false, Some("0.01 EUR more than is left"))] {
        let refunded = refund(&RefundFacts { refund_minor: Some(asked), ..facts(plain) });
        let told = check(&refunded.decision.checks, Reason::Refunded);
        assert_eq!((told.passed, told.miss.as_deref(), refunded.refunded_minor), (Some(passed), miss, 6_000));
    }
    for done in [RefundFacts { refunded_before_minor: 6_000, ..facts(plain) }, RefundFacts { amount: None, fully_refunded_before: true, ..facts(plain) }] {
        let refunded = refund(&done);
        assert_eq!((refunded.decision.outcome, refunded.decision.reason, refunded.unqualifies), (Outcome::Unchanged, Reason::NothingToRefund, false));
    }
}

// ---------------------------------------------------------------- properties

fn money() -> impl Strategy<Value = Money> {
    (0..=MAX_MINOR, prop::sample::select(vec!["EUR", "USD", "JPY"])).prop_map(|(minor, code)| Money::new(minor, code.parse().unwrap()))
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (-40 * DAY_MS..40 * DAY_MS).prop_map(|ms| NOW.plus_ms(ms))
}

fn any_settings() -> impl Strategy<Value = CampaignSettings> {
    let kinds = prop::sample::subsequence(ConversionKind::ALL.to_vec(), 1..=4);
    let spend = prop::option::of((1..=MAX_MINOR, prop::sample::select(vec!["EUR", "USD"])));
    let goals = prop::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    let window = prop::option::of(1u32..60);
    let dates = prop::option::of((instant(), 1u32..60));
    let limit = prop::option::of(1u32..4);
    (any::<bool>(), any::<bool>(), kinds, spend, goals, window, dates, limit).prop_map(|(direct, condition, kinds, spend, goals, window, dates, limit)| {
        let mut value =
            json!({"rule": {"direct": direct, "conversions": kinds, "goals": goals, "within_days": window}, "limits": {"leads_per_referrer": limit}});
        if let Some((minor, currency)) = spend {
            value["rule"]["minimum_spend"] = json!({"amount_minor": minor, "currency": currency});
        }
        if condition {
            value["rule"]["condition"] = json!("amount_minor > 5");
        }
        if let Some((start, length)) = dates {
            value["starts_at"] = json!(start);
            value["ends_at"] = json!(start.plus_days(length));
        }
        settings(value)
    })
}

fn any_referrer() -> impl Strategy<Value = ReferrerFacts> {
    (prop::option::of(instant()), prop::option::of((instant(), instant())), 0i64..6).prop_map(|(suspended_at, was_suspended, leads)| ReferrerFacts {
        suspended_at,
        was_suspended,
        leads,
        qualified: leads / 2,
    })
}

proptest! {
    #[test]
    fn every_join_is_explained(
        settings in any_settings(), referrer in any_referrer(), status in prop::sample::select(CampaignStatus::ALL.to_vec()), status_since in instant(), at in instant(),
        pauses in prop::collection::vec((instant(), instant()), 0..3), same_person: bool, existing in prop::option::of(prop::sample::select(vec![Existing::ReferrerOnly, Existing::LeadOfSame, Existing::LeadOfOther])),
        missing: bool, link_used_at in prop::option::of(instant()), force: bool, circular: bool, qualified: bool,
    ) {
        let campaign = CampaignFacts { status, status_since, pauses: &pauses, settings: &settings };
        let facts = JoinFacts {
            campaign, at, referrer: referrer.clone(), same_person, existing, link_used_at, risk: Vec::new(),
            missing_fields: if missing { vec!["Phone".into()] } else { Vec::new() },
        };
        let decision = join(&facts);
        is_explained(&decision);
        prop_assert_eq!(&decision, &join(&facts));
        prop_assert!(decision.outcome != Outcome::Applied || !same_person && existing.is_none() && status != CampaignStatus::Draft);
        if let Some(existing) = existing {
            let decision = claim(&ClaimFacts { campaign, at, referrer, same_person, existing, qualified, force, circular });
            is_explained(&decision);
            prop_assert!(decision.outcome != Outcome::Applied || !same_person && !circular && (existing == Existing::ReferrerOnly || force && !qualified));
        }
    }

    #[test]
    fn every_signal_about_a_lead_is_explained(
        settings in any_settings(), referrer in any_referrer(), campaign_status in prop::sample::select(CampaignStatus::ALL.to_vec()), status_since in instant(),
        pauses in prop::collection::vec((instant(), instant()), 0..3), lead_status in prop::sample::select(vec![LeadStatus::Pending, LeadStatus::Qualified, LeadStatus::Rejected]), joined_at in instant(), at in instant(),
        direct: bool, kind in prop::sample::select(ConversionKind::ALL.to_vec()), amount in prop::option::of(money()), before in 0..=MAX_MINOR,
        verdict in prop::sample::select(vec![Verdict::True, Verdict::False, Verdict::Error("no such key".into())]),
        goals in prop::collection::vec(prop::sample::select(vec!["a".to_owned(), "b".into(), "c".into(), "d".into()]), 0..6),
    ) {
        let conversion = ConversionFacts {
            id: conversion_id(2), kind, amount, condition: settings.rule.condition.as_ref().map(|_| &verdict), goals: &goals,
            spent_minor: before + amount.map_or(0, |amount| amount.minor),
        };
        let facts = QualifyFacts {
            campaign: CampaignFacts { status: campaign_status, status_since, pauses: &pauses, settings: &settings },
            lead: LeadFacts { id: lead_id(), status: lead_status, joined_at, qualified_at: None, risk: Vec::new() },
            referrer, at,
            evidence: if direct { Evidence::Direct } else { Evidence::Conversion(conversion) },
        };
        let qualification = qualify(&facts);
        is_explained(&qualification.decision);
        prop_assert_eq!(&qualification, &qualify(&facts));
        prop_assert_eq!(qualification.qualifies, qualification.decision.outcome == Outcome::Applied);
        if qualification.qualifies {
            prop_assert_eq!(lead_status, LeadStatus::Pending);
            prop_assert!(!qualification.decision.checks.iter().any(Check::failed));
        }
        prop_assert!(!qualification.counts || !direct);
        // What does not count is ignored, and what counts is at least kept.
        if !direct {
            prop_assert_eq!(qualification.counts, !matches!(qualification.decision.outcome, Outcome::Ignored));
        }
    }

    /// Refunds in any sizes and order: they add up to at most the amount, a full one ends
    /// it, and a commission follows them down without ever being reversed beyond itself.
    #[test]
    fn refunds_add_up_to_at_most_the_amount(
        amount in 0..1_000_000i64, basis_points in 0u32..=10_000, cap in prop::option::of(1..50_000i64),
        asked in prop::collection::vec(prop::option::weighted(0.9, 1..400_000i64), 1..12), policy in prop::sample::select(vec![AfterRefund::Reverse, AfterRefund::Note]),
    ) {
        let campaign = settings(json!({}));
        let percent = Percent::from_basis_points(basis_points).unwrap();
        let cap = cap.map(euros);
        let value = RewardValue::Commission { percent, cap };
        let issued = commission(percent, cap, euros(amount));
        let (mut refunded, mut ended, mut reversed, mut state) = (0, false, 0, RewardState::Issued);
        let mut before_issue = issued;
        for refund_minor in asked {
            let facts = RefundFacts {
                rule: &campaign.rule, amount: Some(euros(amount)), refunded_before_minor: refunded, refund_minor, fully_refunded_before: ended, counts: true,
                lead_status: LeadStatus::Qualified, qualified_by_conversion: true, other_spent_minor: 0, other_conversions: 1, other_goals: &[],
            };
            let told = refund(&facts);
            is_explained(&told.decision);
            prop_assert!(told.refunded_minor >= refunded && told.refunded_minor <= amount);
            prop_assert_eq!(told.full, told.refunded_minor == amount);
            prop_assert!(told.decision.outcome == Outcome::Applied || ended);
            refunded = told.refunded_minor;
            if told.decision.outcome != Outcome::Applied { continue }
            ended = told.full;
            let kept = (!told.full).then(|| euros(amount - refunded));
            match take_back(&TouchedReward { state, value: &value, amount: Some(issued), reversed_minor: reversed, basis: Some(euros(amount)) }, kept, policy) {
                RewardChange::Reverse { minor, full } => {
                    prop_assert!(policy == AfterRefund::Reverse && minor >= 0);
                    reversed += minor;
                    if full { state = RewardState::Reversed }
                }
                RewardChange::Note => prop_assert_eq!(policy, AfterRefund::Note),
                RewardChange::Keep => {}
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(reversed <= issued.minor);
            if policy == AfterRefund::Reverse {
                let due = kept.map_or(0, |kept| commission(percent, cap, kept).minor);
                prop_assert_eq!(issued.minor - reversed, due, "what stays is what the rest would have given");
            }
            let due = TouchedReward { state: RewardState::Approved, value: &value, amount: Some(before_issue), reversed_minor: 0, basis: Some(euros(amount)) };
            if let RewardChange::Reduce(less) = take_back(&due, kept, policy) {
                prop_assert!(less.minor < before_issue.minor && less.minor > 0);
                before_issue = less;
            }
        }
    }

    #[test]
    fn a_commission_is_never_above_its_basis_or_its_cap(basis_points in 0u32..=10_000, basis in money(), cap in prop::option::of(money())) {
        let share = commission(Percent::from_basis_points(basis_points).unwrap(), cap, basis);
        prop_assert_eq!(share.currency, basis.currency);
        prop_assert!(share.minor >= 0 && share.minor <= basis.minor);
        if let Some(cap) = cap.filter(|cap| cap.currency == basis.currency) {
            prop_assert!(share.minor <= cap.minor);
        }
    }

    /// However rewards come: what a budget gives is never more than the budget, and what a
    /// limit gives is never more than the limit.
    #[test]
    fn budgets_and_limits_hold(budget in 1..100_000i64, limit in 1u32..10, bases in prop::collection::vec(0..200_000i64, 1..40)) {
        let campaign = settings(json!({"review": "never", "budget": {"amount": {"amount_minor": budget, "currency": "EUR"}}}));
        let definitions = [definition(json!({"value": {"type": "commission", "percent": 25}, "limit": {"count": limit, "period": "ever"}}))];
        let (mut used, mut given) = (0, 0);
        for basis in bases {
            let occasion = Occasion { conversion: Some((conversion_id(2), Some(euros(basis)))), ..occasion() };
            let candidate = candidates(&definitions, &occasion).0.remove(0);
            let facts = RewardFacts { settings: &campaign, at: NOW, before: None, given, budget_used_minor: used, coupon_left: false, risk: &[] };
            match reward(&candidate, &facts) {
                (RewardOutcome::Give(grant), _) => {
                    used += grant.amount.unwrap().minor;
                    given += 1;
                }
                (RewardOutcome::Skip(reason), checks) => {
                    prop_assert!(check(&checks, reason).failed());
                    prop_assert!(matches!(reason, Reason::Budget | Reason::RewardLimit));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(used <= budget && given <= i64::from(limit));
        }
    }

    /// The k-th lead: milestones and every-N pay each count once, however high it goes.
    #[test]
    fn counts_are_paid_once_each(every in 1u32..7, steps in prop::collection::btree_set(1u32..30, 1..8), leads in 1i64..40) {
        let steps: Vec<_> = steps.into_iter().map(|count| json!({"count": count})).collect();
        let definitions = [definition(json!({"cadence": {"type": "every", "count": every}})), definition(json!({"cadence": {"type": "milestones", "steps": steps.clone()}}))];
        let mut paid = Vec::new();
        for qualified_leads in 1..=leads {
            paid.extend(candidates(&definitions, &Occasion { qualified_leads, ..occasion() }).0.iter().map(|candidate| candidate.cause.key()));
        }
        let mut again: Vec<_> = candidates(&definitions, &Occasion { qualified_leads: leads, again: true, ..occasion() }).0.iter().map(|candidate| candidate.cause.key()).collect();
        paid.sort();
        again.sort();
        prop_assert_eq!(&paid, &again, "looking again finds exactly what was paid");
        paid.dedup();
        prop_assert_eq!(paid.len(), again.len());
        let reached = steps.iter().filter(|step| step["count"].as_i64().unwrap() <= leads).count();
        prop_assert_eq!(paid.len(), (leads / i64::from(every)) as usize + reached);
    }
}

#[test]
fn periods_say_how_often() {
    for (period, words) in [(Period::Day, "a day"), (Period::Week, "a week"), (Period::Month, "a month"), (Period::Year, "a year"), (Period::Ever, "in all")] {
        assert_eq!(period.to_string(), words);
    }
}
