//! Random stories, told to SQLite and to PostgreSQL: the same decisions, the same rows,
//! and books that balance on both.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment")]

mod support;

use goodword::engine::{
    Engine, Error, Result,
    campaign::{AddCoupons, Change, Create, Edit, SetStatus},
    event::EventType,
    participant::{Claim, Enrol, Erase, Join, ReferrerKey, Suspend, Update},
    qualify::{ConversionKey, Convert, LeadKey, Qualify, Recheck, Refund, Reject, Unqualify},
    reward::{Decide, EndHold, SetBasis},
    work::{Act, Context},
    workspace::CreateWorkspace,
};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    ids::{CampaignId, Mint, RewardId},
    reward::RewardAction,
    time::{DAY_MS, HOUR_MS, Timestamp},
};
use goodword_store::Value as Column;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt::Debug,
};
use support::{TestApp, commission, money, person, ten_euros};

/// Something that somebody does. People and orders are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Enrol { who: usize },
    Join { referrer: usize, who: usize },
    Claim { referrer: usize, who: usize, force: bool },
    Qualify { who: usize, id: Option<usize>, days_ago: i64 },
    Unqualify { who: usize },
    Reject { who: usize, rejected: bool },
    Convert { who: usize, order: usize, euros: i64, dollars: bool, goal: Option<&'static str>, plan: &'static str, days_ago: i64 },
    Refund { order: usize, id: Option<usize>, cents: Option<i64> },
    Decide { reward: usize, action: RewardAction, minor: Option<i64> },
    SetBasis { reward: usize, euros: i64 },
    Wait { hours: i64 },
    Change { what: usize },
    Status { status: CampaignStatus },
    Recheck { who: usize },
    Suspend { who: usize, suspended: bool },
    Rename { who: usize, code: usize },
    AddCoupon { code: usize },
    Erase { who: usize },
}

/// Addresses; some are the same mailbox.
const PEOPLE: [&str; 9] = [
    "priya@example.com",
    "tom@example.com",
    "noor@gmail.com",
    "n.oor+1@googlemail.com",
    "emil@example.net",
    "maya@example.net",
    "Maya@Example.net",
    "ida+tag@example.net",
    "olaf@example.org",
];

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE.len();
    let referrer = || 0..3usize;
    let friend = || 4..7usize;
    let goal = || prop::option::of(prop::sample::select(vec!["trial", "paid", "other"]));
    let plan = || prop::sample::select(vec!["pro", "basic", ""]);
    let action = prop::sample::select([&RewardAction::ALL[..], &[RewardAction::Fail; 5], &[RewardAction::Confirm, RewardAction::Issue]].concat());
    let status = prop::sample::select(vec![CampaignStatus::Live, CampaignStatus::Live, CampaignStatus::Paused]);
    prop_oneof![
        3 => who().prop_map(|who| Step::Enrol { who }),
        12 => (referrer(), prop_oneof![1 => who(), 3 => friend()]).prop_map(|(referrer, who)| Step::Join { referrer, who }),
        2 => (referrer(), who(), any::<bool>()).prop_map(|(referrer, who, force)| Step::Claim { referrer, who, force }),
        6 => (friend(), prop::option::of(0..3usize), 0..2i64).prop_map(|(who, id, days_ago)| Step::Qualify { who, id, days_ago }),
        2 => friend().prop_map(|who| Step::Unqualify { who }),
        3 => (friend(), any::<bool>()).prop_map(|(who, rejected)| Step::Reject { who, rejected }),
        14 => (prop_oneof![1 => who(), 3 => friend()], 0..8usize, 0..90i64, prop::bool::weighted(0.1), goal(), plan(), 0..2i64)
            .prop_map(|(who, order, euros, dollars, goal, plan, days_ago)| Step::Convert { who, order, euros, dollars, goal, plan, days_ago }),
        4 => (0..8usize, prop::option::of(0..3usize), prop::option::of(1..4_000i64)).prop_map(|(order, id, cents)| Step::Refund { order, id, cents }),
        20 => (0..9usize, action, prop::option::of(1..900i64)).prop_map(|(reward, action, minor)| Step::Decide { reward, action, minor }),
        1 => (0..12usize, 0..200i64).prop_map(|(reward, euros)| Step::SetBasis { reward, euros }),
        4 => (1..40i64).prop_map(|hours| Step::Wait { hours }),
        3 => (0..8usize).prop_map(|what| Step::Change { what }),
        1 => status.prop_map(|status| Step::Status { status }),
        3 => friend().prop_map(|who| Step::Recheck { who }),
        1 => (referrer(), any::<bool>()).prop_map(|(who, suspended)| Step::Suspend { who, suspended }),
        1 => (who(), 0..3usize).prop_map(|(who, code)| Step::Rename { who, code }),
        1 => (0..6usize).prop_map(|code| Step::AddCoupon { code }),
        1 => who().prop_map(|who| Step::Erase { who }),
    ]
}

/// Changes of the configuration, by their number.
fn change(what: usize) -> serde_json::Value {
    match what {
        0 => json!({"rule": {"minimum_spend": {"amount": "60.00", "currency": "EUR"}}}),
        1 => json!({"rule": {"minimum_spend": null}}),
        2 => json!({"rule": {"condition": "properties.plan == \"pro\""}}),
        3 => json!({"rule": {"condition": null}}),
        4 => json!({"rule": {"goals": ["trial", "paid"]}}),
        5 => json!({"rule": {"goals": []}, "limits": {"leads_per_referrer": 3}}),
        6 => json!({"budget": {"amount": {"amount": "500.00", "currency": "EUR"}, "period": "week"}, "limits": {"leads_per_referrer": null}}),
        _ => json!({"after_refund": "note", "review": "always"}),
    }
}

/// One database, in one story.
struct World {
    app: TestApp,
    campaign: CampaignId,
}

/// Time and randomness of a step: the same on both databases.
#[derive(Clone, Copy)]
struct Moment {
    story: u64,
    step: u64,
    now: Timestamp,
}

impl World {
    fn context(&self, moment: Moment) -> Context {
        let seed = u128::from(moment.story) << 64 | u128::from(moment.step);
        Context {
            space: self.app.space,
            now: moment.now,
            wall: moment.now,
            actor: "tester".into(),
            source: "api".into(),
            seed: Mint::seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0),
        }
    }

    async fn begin(engine: &Engine, moment: Moment) -> Self {
        let nowhere = Context {
            space: goodword::engine::Space::new(0),
            now: moment.now,
            wall: moment.now,
            actor: "tester".into(),
            source: "api".into(),
            seed: u128::from(moment.story),
        };
        let name = format!("Acme {}", moment.story).parse().unwrap();
        let workspace = engine.run(nowhere, CreateWorkspace { name }).await.unwrap();
        let mut world = Self { app: TestApp { engine: engine.clone(), space: workspace.test, workspace }, campaign: CampaignId::from_uuid(Default::default()) };
        let settings = json!({"name": "Spring", "review": "risk", "budget": {"amount": {"amount": "60.00", "currency": "EUR"}, "period": "week"}});
        let rewards = json!([
            ten_euros(json!({"limit": {"count": 2, "period": "week"}})),
            ten_euros(json!({"name": "Joined", "trigger": "joined", "hold_days": 2, "auto_issue": true})),
            commission(12.5, json!({"name": "Payments", "cadence": {"type": "ongoing", "months": 1}, "auto_issue": true})),
            commission(10.0, json!({"name": "Outside", "issuing": "external", "auto_issue": true, "review": "never"})),
            ten_euros(json!({"name": "Coupon", "beneficiary": "lead", "value": {"type": "coupon"}})),
            ten_euros(
                json!({"name": "Steps", "cadence": {"type": "milestones", "steps": [{"count": 2}, {"count": 3, "value": {"type": "custom", "metric": "points", "units": 5}}]}})
            ),
            ten_euros(json!({"name": "Every second", "cadence": {"type": "every", "count": 2}, "issuing": "external", "auto_issue": true, "review": "never"})),
        ]);
        let create = Create {
            settings: serde_json::from_value(settings).unwrap(),
            rewards: serde_json::from_value(rewards).unwrap(),
            status: CampaignStatus::Live,
            code: None,
        };
        world.campaign = engine.run(world.context(moment), create).await.unwrap().id;
        for who in 0..3 {
            world.act(Moment { step: 1_000_000 + who, ..moment }, Enrol { campaign: world.campaign, person: person(PEOPLE[who as usize]), code: None }).await;
        }
        world
    }

    async fn act<A: Act<Output: Debug>>(&self, moment: Moment, act: A) -> String {
        said(self.app.engine.run(self.context(moment), act).await)
    }

    /// The id of a person who may be there.
    async fn person(&self, who: usize) -> Option<uuid::Uuid> {
        let email: goodword_core::text::Email = PEOPLE[who].parse().unwrap();
        let (space, mailbox) = (self.app.space, email.mailbox_key());
        let sql = "SELECT id FROM participants WHERE space = $1 AND mailbox = $2 ORDER BY id LIMIT 1";
        let read =
            self.app.engine.read(move |tx| Box::pin(async move { Ok(tx.fetch_one(sql, &[space.into(), mailbox.as_str().into()], |row| row.get(0)).await?) }));
        read.await.unwrap()
    }

    async fn rewards(&self) -> Vec<RewardId> {
        let space = self.app.space;
        let read = |row: &goodword_store::Row<'_>| row.get(0).map(RewardId::from_uuid);
        self.app
            .engine
            .read(move |tx| Box::pin(async move { Ok(tx.fetch("SELECT id FROM rewards WHERE space = $1 ORDER BY id", &[space.into()], read).await?) }))
            .await
            .unwrap()
    }

    async fn apply(&self, moment: Moment, step: &Step) -> String {
        let email = |who: usize| PEOPLE[who].parse().unwrap();
        let lead = |who: usize| LeadKey::Email(PEOPLE[who].parse().unwrap());
        let campaign = Some(self.campaign);
        let order = |order: usize| format!("A-{order}");
        match step.clone() {
            Step::Enrol { who } => self.act(moment, Enrol { campaign: self.campaign, person: person(PEOPLE[who]), code: None }).await,
            Step::Join { referrer, who } => {
                self.act(moment, Join { campaign, referrer: ReferrerKey::Email(email(referrer)), person: person(PEOPLE[who]), link_used_at: None }).await
            }
            Step::Claim { referrer, who, force } => match self.person(who).await {
                Some(participant) => {
                    self.act(moment, Claim { participant, referrer: ReferrerKey::Email(email(referrer)), evidence: "They said so.".into(), force }).await
                }
                None => String::new(),
            },
            Step::Qualify { who, id, days_ago } => {
                let occurred_at = Some(moment.now.plus_ms(-days_ago * DAY_MS));
                self.act(moment, Qualify { lead: lead(who), campaign, external_id: id.map(order), occurred_at, note: None }).await
            }
            Step::Unqualify { who } => self.act(moment, Unqualify { lead: lead(who), campaign, note: None }).await,
            Step::Reject { who, rejected } => match self.person(who).await {
                Some(id) => self.act(moment, Reject { lead: goodword_core::ids::LeadId::from_uuid(id), rejected, note: None }).await,
                None => String::new(),
            },
            Step::Convert { who, order: id, euros, dollars, goal, plan, days_ago } => {
                let convert = Convert {
                    lead: lead(who),
                    campaign,
                    external_id: Some(order(id)),
                    kind: ConversionKind::Order,
                    amount: Some(money(&format!("{euros}.00 {}", if dollars { "USD" } else { "EUR" }))),
                    goal: goal.map(str::to_owned),
                    occurred_at: Some(moment.now.plus_ms(-days_ago * DAY_MS)),
                    properties: if plan.is_empty() { json!({}) } else { json!({"plan": plan}) },
                    replays: None,
                };
                self.act(moment, convert).await
            }
            Step::Refund { order: id, id: refund, cents } => {
                let amount = cents.map(|cents| money(&format!("{}.{:02} EUR", cents / 100, cents % 100)));
                self.act(moment, Refund { conversion: ConversionKey::External { campaign, id: order(id) }, external_id: refund.map(order), amount, note: None })
                    .await
            }
            Step::Decide { reward, action, minor } => match self.rewards().await.get(reward) {
                Some(&reward) => self.act(moment, Decide { reward, action, note: None, amount_minor: minor }).await,
                None => String::new(),
            },
            Step::SetBasis { reward, euros } => match self.rewards().await.get(reward) {
                Some(&reward) => self.act(moment, SetBasis { reward, basis: money(&format!("{euros}.00 EUR")) }).await,
                None => String::new(),
            },
            Step::Wait { .. } => {
                let (space, now) = (self.app.space, moment.now);
                let due = self.app.engine.read(move |tx| Box::pin(goodword::engine::reward::holds_ended(tx, space, now, 100))).await.unwrap();
                let mut done = format!("{due:?}");
                for (i, reward) in due.into_iter().enumerate() {
                    let moment = Moment { step: moment.step + (i as u64 + 1) * 1_000, ..moment };
                    done += &self.act(moment, EndHold { reward }).await;
                }
                done
            }
            Step::Change { what } => {
                let patch = change(what).as_object().unwrap().clone();
                self.act(moment, Edit { id: self.campaign, if_version: None, change: Change::Settings { patch, unset: vec![] } }).await
            }
            Step::Status { status } => self.act(moment, SetStatus { id: self.campaign, if_version: None, status }).await,
            Step::Recheck { who } => match self.person(who).await {
                Some(id) => self.act(moment, Recheck { lead: goodword_core::ids::LeadId::from_uuid(id) }).await,
                None => String::new(),
            },
            Step::Suspend { who, suspended } => match self.person(who).await {
                Some(id) => self.act(moment, Suspend { referrer: goodword_core::ids::ReferrerId::from_uuid(id), suspended, note: None }).await,
                None => String::new(),
            },
            Step::Rename { who, code } => match self.person(who).await {
                Some(participant) => {
                    let code = format!("VANITY-{}-{code}", moment.story).parse().unwrap();
                    self.act(moment, Update { participant, code: Some(code), ..Default::default() }).await
                }
                None => String::new(),
            },
            Step::AddCoupon { code } => {
                let campaign = self.app.engine.shared_arc();
                let (space, id) = (self.app.space, self.campaign);
                let campaign =
                    self.app.engine.read(move |tx| Box::pin(async move { goodword::engine::campaign::get(tx, &campaign, space, id).await })).await.unwrap();
                let definition = campaign.configuration.rewards[4].id;
                self.act(moment, AddCoupons { campaign: id, definition, codes: vec![format!("C-{code}")] }).await
            }
            Step::Erase { who } => match self.person(who).await {
                Some(participant) => self.act(moment, Erase { participant, as_lead: false }).await,
                None => String::new(),
            },
        }
    }

    /// The rows of this side, less the numbers that PostgreSQL gives out to those who
    /// fail, too.
    async fn rows(&self) -> Vec<(String, Vec<Vec<Column>>)> {
        let own = Column::Int(self.app.space.number());
        let mut all = Vec::new();
        for (table, rows) in self.app.everything().await {
            let Some(space) = table.columns.iter().position(|(name, _)| name == "space") else { continue };
            let given: Vec<usize> = (0..table.columns.len()).filter(|&i| ["no", "seq", "txid"].contains(&table.columns[i].0.as_str())).collect();
            let keep = |row: Vec<Column>| row.into_iter().enumerate().filter(|(i, _)| !given.contains(i)).map(|(_, value)| value).collect();
            all.push((table.name, rows.into_iter().filter(|row| row[space] == own).map(keep).collect()));
        }
        all
    }
}

/// What came of it, in words: errors by their kind, since each database has its own text.
fn said<T: Debug>(result: Result<T>) -> String {
    match result {
        Ok(done) => without_numbers(&format!("{done:?}")),
        Err(Error::Store(error)) => panic!("the store failed: {error}"),
        Err(error) => format!("{error:?}"),
    }
}

/// Without the numbers that count rows.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split("number: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

#[test]
fn both_databases_tell_the_same_story_and_their_books_balance() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (_folder, sqlite) = goodword_testkit::sqlite_url();
    let postgres = goodword_testkit::postgres_url();
    let urls: Vec<&str> = std::iter::once(sqlite.as_str()).chain(postgres.as_ref().map(|(_, url)| url.as_str())).collect();
    let engines: Vec<Engine> = urls.iter().map(|url| runtime.block_on(TestApp::open(url)).engine).collect();
    // The same stories each time, so that nobody is stopped by another's bad luck; with
    // PROPTEST_CASES as many others.
    let more = std::env::var("PROPTEST_CASES").is_ok();
    let config = Config { failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = if more {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(Config { cases: STORIES, ..config }, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let story = Cell::new(0);
    let happened = RefCell::new(BTreeSet::new());
    let told = runner.run(&prop::collection::vec(step(), 20..80), |steps| {
        story.set(story.get() + 1);
        happened.borrow_mut().extend(runtime.block_on(tell(&engines, story.get(), &steps))?);
        Ok(())
    });
    if let Err(failure) = told {
        panic!("{failure}");
    }
    // The stories are not dull.
    let happened = happened.into_inner();
    let is_told_here = |event: &&EventType| ["conversion.", "reward."].iter().any(|of| event.as_str().starts_with(of));
    let dull: Vec<_> = EventType::ALL.iter().filter(is_told_here).filter(|event| !happened.contains(event.as_str())).collect();
    assert!(dull.is_empty(), "{dull:?} never happened");
}

const STORIES: u32 = 48;

/// Tells a story; returns the events that happened.
async fn tell(engines: &[Engine], story: u64, steps: &[Step]) -> Result<Vec<String>, TestCaseError> {
    let mut moment = Moment { story, step: 0, now: Timestamp::from_ms(1_795_000_000_000) };
    let mut worlds = Vec::new();
    for engine in engines {
        worlds.push(World::begin(engine, moment).await);
    }
    for (i, step) in steps.iter().enumerate() {
        moment.step = i as u64 + 1;
        moment.now = moment.now.plus_ms(if let Step::Wait { hours } = step { hours * HOUR_MS } else { 61_000 });
        let mut said = Vec::new();
        for world in &worlds {
            said.push(world.apply(moment, step).await);
        }
        for other in &said[1..] {
            prop_assert_eq!(&said[0], other, "step {}: {:?}", i, step);
        }
        // Told again, whatever it was: what has a key of its own is not done twice.
        if let Step::Convert { .. } = step
            && !said[0].contains("PersonUnknown")
            && !said[0].contains("LeadKnown")
        {
            let written =
                async || worlds[0].app.number("SELECT (SELECT count(*) FROM signals WHERE space = $1) + (SELECT count(*) FROM events WHERE space = $1)").await;
            let before = written().await;
            let again = worlds[0].apply(Moment { step: moment.step + 500, ..moment }, step).await;
            prop_assert!(again.contains("repeated: true"), "step {}: {}", i, again);
            prop_assert_eq!(before, written().await);
        }
    }
    let first = worlds[0].rows().await;
    for world in &worlds {
        world.app.check_books().await;
        world.app.check_statistics().await;
        for (a, b) in first.iter().zip(&world.rows().await).filter(|((table, _), _)| !table.starts_with("statistics_")) {
            prop_assert_eq!(a, b);
        }
        let silent = world.app.number("SELECT count(*) FROM signals WHERE space = $1 AND outcome IN ('ignored', 'refused') AND reason = 'done'").await;
        prop_assert_eq!(silent, 0, "something was refused without a reason");
    }
    Ok(worlds[0].app.events().await)
}
