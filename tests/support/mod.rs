//! What the tests of the product have in common: [`TestApp`], an engine on a fresh
//! database, spoken to in the words of a story.
#![allow(dead_code)] // Each test file uses a part.

pub mod site;

use goodword::engine::{
    Engine, Error, MIGRATIONS, Result, Space,
    campaign::{self, AddCoupons, Campaign, Change, CouponPool, Create, Edit, SetStatus},
    feed::{self, EventFilter},
    list::Page,
    participant::{self, Claim, Enrol, Enrolled, Erase, Join, Joined, Participant, Person, ReferrerKey, Suspend},
    qualify::{self, Answer, ConversionKey, Convert, Explanation, LeadKey, Qualify, Recheck, Refund, Reject, Unqualify},
    reward::{self, Decide, RewardFilter, SetBasis},
    signal::{self, SignalFilter, SignalView},
    vault::Vault,
    view,
    work::{Act, Context},
    workspace::{self, ClockMove, MoveClock, Workspace},
};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    explain::{Check, Reason},
    ids::{CampaignId, LeadId, ReferrerId, RewardDefinitionId, RewardId},
    money::Money,
    reward::{RewardAction, RewardState},
    time::{DAY_MS, Timestamp},
};
use goodword_store::{Command, Options, Store, TableInfo, Tx, Value};
use serde_json::json;

/// Seals the secrets of the installations that tests make; the program reads them with the same.
pub const SECRET_KEY: &str = "a-secret-key-that-everybody-may-know";

pub fn vault() -> Vault {
    Vault::from_text(SECRET_KEY).unwrap()
}

/// Runs a test with an app on each database.
pub async fn on_both(test: impl AsyncFn(TestApp)) {
    goodword_testkit::on_both(async |url| {
        let app = TestApp::open(&url).await;
        test(app.clone()).await;
        app.engine.store().clone().close().await.unwrap();
    })
    .await;
}

/// The engine with one workspace, seen from one of its sides: the test side, whose
/// clock can be moved, unless [`TestApp::live`] is asked for.
#[derive(Clone)]
pub struct TestApp {
    pub engine: Engine,
    pub workspace: Workspace,
    pub space: Space,
}

impl TestApp {
    pub async fn open(url: &str) -> Self {
        Self::open_at(url, "https://refer.example").await
    }

    pub async fn open_at(url: &str, public_url: &str) -> Self {
        let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
        let (engine, _recorder) = Engine::open_with(store, public_url, vault()).await.unwrap();
        let workspace = engine.set_up("Acme".parse().unwrap()).await.unwrap().unwrap().workspace;
        Self { engine, space: workspace.test, workspace }
    }

    /// The same workspace, seen from its live side.
    pub fn live(&self) -> Self {
        Self { space: self.workspace.live, ..self.clone() }
    }

    /// Another workspace of the same installation.
    pub async fn other_workspace(&self) -> Self {
        let workspace = self.engine.run(self.context(), workspace::CreateWorkspace { name: "Other".parse().unwrap() }).await.unwrap();
        self.engine.forget().await.unwrap();
        Self { engine: self.engine.clone(), space: workspace.test, workspace }
    }

    pub fn context(&self) -> Context {
        self.engine.context(self.space, "tester", "api")
    }

    pub fn now(&self) -> Timestamp {
        self.engine.now(self.space)
    }

    /// Makes a change that may be refused.
    pub async fn act<A: Act>(&self, act: A) -> Result<A::Output> {
        self.engine.run(self.context(), act).await
    }

    // ------------------------------------------------------------ time

    /// Lets days pass on the test side, with everything that they bring about.
    pub async fn pass_days(&self, days: i64) {
        self.pass(days * DAY_MS).await;
    }

    pub async fn pass(&self, ms: i64) {
        self.act(MoveClock { to: ClockMove::By(ms) }).await.unwrap();
        self.engine.forget().await.unwrap();
        self.engine.tick().await.unwrap();
    }

    /// Moves the test side's clock to an instant in the future.
    pub async fn move_to(&self, at: &str) {
        self.act(MoveClock { to: ClockMove::To(time(at)) }).await.unwrap();
        self.engine.forget().await.unwrap();
        self.engine.tick().await.unwrap();
    }

    // ------------------------------------------------------------ campaigns

    /// A live campaign: its settings, with `rewards` among them.
    pub async fn campaign(&self, settings: serde_json::Value) -> TestCampaign {
        self.campaign_that_is(CampaignStatus::Live, settings).await
    }

    pub async fn campaign_that_is(&self, status: CampaignStatus, settings: serde_json::Value) -> TestCampaign {
        let campaign = self.try_campaign(status, settings).await.unwrap();
        TestCampaign { app: self.clone(), id: campaign.id }
    }

    pub async fn try_campaign(&self, status: CampaignStatus, mut settings: serde_json::Value) -> Result<Campaign> {
        let object = settings.as_object_mut().unwrap();
        let rewards = object.remove("rewards").map(|rewards| serde_json::from_value(rewards).unwrap()).unwrap_or_default();
        object.entry("name").or_insert(json!("Spring"));
        // Leads convert within a minute here, which is a sign of risk elsewhere.
        object.entry("review").or_insert(json!("never"));
        let settings = serde_json::from_value(settings).unwrap();
        self.act(Create { settings, rewards, status, code: None }).await
    }

    // ------------------------------------------------------------ questions

    pub async fn signals(&self, filter: SignalFilter) -> Vec<SignalView> {
        let space = self.space;
        let page = Page { limit: 1_000, ascending: true, ..Page::default() };
        self.engine.read(move |tx| Box::pin(async move { signal::list(tx, space, &filter, &page).await })).await.unwrap().data
    }

    /// Types of all events of this side, in the order of the feed.
    pub async fn events(&self) -> Vec<String> {
        self.event_bodies().await.into_iter().map(|(kind, _)| kind).collect()
    }

    /// Waits until every event can be read: on PostgreSQL when every transaction that is
    /// older than it has ended, those of other tests included.
    async fn settled(&self) {
        while self.number("SELECT count(*) FROM events WHERE space = $1 AND NOT {settled}").await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Types and data of all events of this side, in the order of the feed.
    pub async fn event_bodies(&self) -> Vec<(String, serde_json::Value)> {
        self.settled().await;
        let (space, workspace) = (self.space, self.workspace.id);
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (rows, more) = self
                .engine
                .read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &EventFilter::default(), after, true, 250).await }))
                .await
                .unwrap();
            after = rows.last().map(|row| feed::Position(row.position.0, row.position.1)).or(after);
            all.extend(rows.into_iter().map(|row| (row.event.kind.as_str().to_owned(), serde_json::from_str(row.event.data.get()).unwrap())));
            if !more {
                return all;
            }
        }
    }

    pub async fn count_events(&self, kind: &str) -> usize {
        self.events().await.iter().filter(|event| *event == kind).count()
    }

    /// A number that a query gives; `$1` is the space.
    pub async fn number(&self, sql: &str) -> i64 {
        let (space, sql) = (self.space, sql.to_owned());
        self.engine
            .read(move |tx| Box::pin(async move { Ok(tx.fetch_one(&sql, &[space.into()], |row| row.get::<Option<i64>>(0)).await?.flatten().unwrap_or(0)) }))
            .await
            .unwrap()
    }

    /// Every row of every table, in the order of its key.
    pub async fn everything(&self) -> Vec<(TableInfo, Vec<Vec<Value>>)> {
        let store = self.engine.store();
        let mut tables = Vec::new();
        for table in store.tables().await.unwrap().into_iter().filter(|table| table.name != "faults") {
            let rows = store.scan(&table, None, 1_000_000).await.unwrap();
            tables.push((table, rows));
        }
        tables
    }

    /// What must be true whatever has happened: see each assertion.
    pub async fn check_books(&self) {
        let none = async |what: &str, sql: &str| {
            let n = self.number(sql).await;
            assert_eq!(n, 0, "{what}");
        };
        none(
            "a referrer's count of leads differs from their leads",
            "SELECT count(*) FROM participants p WHERE space = $1 AND leads <> (SELECT count(*) FROM participants l WHERE l.space = p.space AND l.referrer_id = p.id)",
        )
        .await;
        none(
            "a referrer's count of qualified leads differs from them",
            "SELECT count(*) FROM participants p WHERE space = $1 AND qualified_leads <> (SELECT count(*) FROM participants l WHERE l.space = p.space AND l.referrer_id = p.id AND l.lead_status = 'qualified')",
        )
        .await;
        none("something was reversed beyond its amount", "SELECT count(*) FROM rewards WHERE space = $1 AND reversed_minor > coalesce(amount_minor, 0)").await;
        none("something was refunded beyond its amount", "SELECT count(*) FROM conversions WHERE space = $1 AND refunded_minor > coalesce(amount_minor, 0)")
            .await;
        none(
            "a reward's state differs from the last line of its history",
            "SELECT count(*) FROM rewards r WHERE space = $1 AND state <> (SELECT e.state FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id ORDER BY n DESC LIMIT 1)",
        )
        .await;
        none(
            "a budget differs from what its rewards reserve",
            "SELECT count(*) FROM budgets b WHERE space = $1 AND NOT EXISTS (SELECT 1 FROM reward_entries e JOIN rewards x ON x.space = e.space AND x.id = e.reward_id WHERE x.space = b.space AND x.campaign_id = b.campaign_id AND e.state = 'reversed') AND used_minor <> coalesce((SELECT CAST(sum(amount_minor) AS bigint) FROM rewards r
             WHERE r.space = b.space AND r.campaign_id = b.campaign_id AND r.currency = b.currency AND r.budget_period = b.period), 0)",
        )
        .await;
        none("a signal has no outcome or reason", "SELECT count(*) FROM signals WHERE space = $1 AND (outcome = '' OR reason = '')").await;
        none(
            "a coupon that was given belongs to no reward",
            "SELECT count(*) FROM coupons c WHERE space = $1 AND reward_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rewards r WHERE r.space = c.space AND r.id = c.reward_id AND r.coupon = c.code)",
        )
        .await;
        none(
            "a coupon went to two rewards",
            "SELECT count(*) FROM (SELECT definition_id, coupon FROM rewards WHERE space = $1 AND coupon IS NOT NULL GROUP BY definition_id, coupon HAVING count(*) > 1) twice",
        )
        .await;
    }

    /// What the statistics say must be what the tables hold.
    pub async fn check_statistics(&self) {
        self.settled().await;
        self.engine.catch_up_statistics().await.unwrap();
        let space = self.space;
        let funnel =
            self.engine.read(move |tx| Box::pin(async move { goodword::engine::statistics::funnel(tx, space, &Default::default()).await })).await.unwrap();
        let raw = async |sql: &str| self.number(sql).await;
        assert_eq!(funnel.visits, raw("SELECT count(*) FROM visits WHERE space = $1 AND NOT bot").await, "visits");
        assert_eq!(funnel.bot_visits, raw("SELECT count(*) FROM visits WHERE space = $1 AND bot").await, "visits by bots");
        assert_eq!(funnel.referrers, raw("SELECT count(*) FROM participants WHERE space = $1 AND referrer_since IS NOT NULL").await, "referrers");
        assert_eq!(funnel.leads, raw("SELECT count(*) FROM participants WHERE space = $1 AND lead_since IS NOT NULL").await, "leads");
        assert_eq!(funnel.qualified, raw("SELECT count(*) FROM participants WHERE space = $1 AND lead_status = 'qualified'").await, "qualified leads");
        assert_eq!(funnel.conversions, raw("SELECT count(*) FROM conversions WHERE space = $1 AND counts").await, "conversions");
        assert_eq!(funnel.rewarded, raw("SELECT count(*) FROM rewards WHERE space = $1 AND state = 'issued'").await, "issued rewards");
        assert_eq!(
            funnel.rewarded_amounts.iter().map(|money| money.minor).sum::<i64>(),
            raw("SELECT CAST(sum(amount_minor - reversed_minor) AS bigint) FROM rewards WHERE space = $1 AND state IN ('issued', 'reversed')").await,
            "the worth of issued rewards"
        );
        let differing = raw("SELECT count(*) FROM participants p LEFT JOIN statistics_referrers s ON s.space = p.space AND s.participant_id = p.id
             WHERE p.space = $1 AND (p.leads <> coalesce(s.leads, 0) OR p.qualified_leads <> coalesce(s.qualified, 0))")
        .await;
        assert_eq!(differing, 0, "a referrer's statistics differ from their leads");
    }
}

/// A campaign of the app.
#[derive(Clone)]
pub struct TestCampaign {
    pub app: TestApp,
    pub id: CampaignId,
}

impl TestCampaign {
    pub async fn get(&self) -> Campaign {
        let (space, shared, id) = (self.app.space, self.app.engine.shared_arc(), self.id);
        self.app.engine.read(move |tx| Box::pin(async move { campaign::get(tx, &shared, space, id).await })).await.unwrap()
    }

    /// The only reward definition, or the first.
    pub async fn definition(&self) -> RewardDefinitionId {
        self.get().await.configuration.rewards[0].id
    }

    pub async fn set_status(&self, status: CampaignStatus) -> Campaign {
        self.app.act(SetStatus { id: self.id, if_version: None, status }).await.unwrap()
    }

    /// Changes settings, member by member.
    pub async fn change(&self, patch: serde_json::Value) -> Campaign {
        self.try_edit(None, Change::Settings { patch: patch.as_object().unwrap().clone(), unset: Vec::new() }).await.unwrap()
    }

    /// Changes the first reward definition.
    pub async fn change_reward(&self, patch: serde_json::Value) -> Campaign {
        let id = self.definition().await;
        self.try_edit(None, Change::EditReward { id, patch: patch.as_object().unwrap().clone(), unset: Vec::new() }).await.unwrap()
    }

    pub async fn try_edit(&self, if_version: Option<i64>, change: Change) -> Result<Campaign> {
        Ok(self.app.act(Edit { id: self.id, if_version, change }).await?.0)
    }

    pub async fn add_coupons(&self, codes: &[&str]) -> CouponPool {
        let definition = self.definition().await;
        let codes = codes.iter().map(|&code| code.to_owned()).collect();
        self.app.act(AddCoupons { campaign: self.id, definition, codes }).await.unwrap()
    }

    // ------------------------------------------------------------ people

    pub async fn referrer(&self, email: &str) -> TestReferrer {
        self.try_enrol(person(email), None).await.unwrap_or_else(|error| panic!("enrol {email}: {error}")).1
    }

    pub async fn try_enrol(&self, person: Person, code: Option<&str>) -> Result<(Enrolled, TestReferrer)> {
        let code = code.map(|code| code.parse().unwrap());
        let enrolled = self.app.act(Enrol { campaign: self.id, person, code }).await?;
        let referrer = TestReferrer { campaign: self.clone(), id: enrolled.participant.referrer(), code: enrolled.participant.code.clone() };
        Ok((enrolled, referrer))
    }

    pub async fn participant(&self, id: impl Into<LeadId>) -> Participant {
        let (space, id) = (self.app.space, id.into().uuid());
        self.app.engine.read(move |tx| Box::pin(async move { participant::find(tx, space, id).await })).await.unwrap().unwrap()
    }

    // ------------------------------------------------------------ what is told about them

    pub async fn convert(&self, convert: Convert) -> Answer {
        self.try_convert(convert).await.unwrap_or_else(|error| panic!("convert: {error}"))
    }

    pub async fn try_convert(&self, convert: Convert) -> Result<Answer> {
        self.app.act(convert).await
    }

    /// An order of somebody, named by e-mail address.
    pub fn order(&self, email: &str, external_id: &str, amount: &str) -> Convert {
        Convert { campaign: Some(self.id), lead: LeadKey::Email(email.parse().unwrap()), ..order(external_id, amount) }
    }

    pub async fn refund(&self, order: &str, refund: Option<&str>, amount: Option<&str>) -> Answer {
        self.try_refund(order, refund, amount).await.unwrap_or_else(|error| panic!("refund {order}: {error}"))
    }

    pub async fn try_refund(&self, order: &str, refund: Option<&str>, amount: Option<&str>) -> Result<Answer> {
        let conversion = ConversionKey::External { campaign: Some(self.id), id: order.to_owned() };
        self.app.act(Refund { conversion, external_id: refund.map(str::to_owned), amount: amount.map(money), note: None }).await
    }

    // ------------------------------------------------------------ rewards

    pub async fn rewards(&self) -> Vec<TestReward> {
        let (space, shared, filter) = (self.app.space, self.app.engine.shared_arc(), RewardFilter { campaign: Some(self.id), ..Default::default() });
        let page = Page { limit: 10_000, ascending: true, ..Page::default() };
        let mut rewards = self.app.engine.read(move |tx| Box::pin(async move { reward::list(tx, &shared, space, &filter, &page).await })).await.unwrap().data;
        rewards.sort_by_key(|reward| reward.number);
        rewards.into_iter().map(|view| TestReward { app: self.app.clone(), id: view.id, view }).collect()
    }

    /// The only reward.
    pub async fn reward(&self) -> TestReward {
        let mut rewards = self.rewards().await;
        assert_eq!(rewards.len(), 1, "one reward");
        rewards.remove(0)
    }

    /// The states of all rewards, oldest first.
    pub async fn states(&self) -> Vec<&'static str> {
        self.rewards().await.iter().map(|reward| reward.view.state.as_str()).collect()
    }
}

#[derive(Clone)]
pub struct TestReferrer {
    pub campaign: TestCampaign,
    pub id: ReferrerId,
    pub code: String,
}

impl TestReferrer {
    /// A friend joins with the referrer's code.
    pub async fn lead(&self, email: &str) -> TestLead {
        let joined = self.join(person(email)).await.unwrap_or_else(|error| panic!("join {email}: {error}"));
        assert!(joined.created, "{email} did not become a lead: {}", joined.reason.sentence());
        TestLead { campaign: self.campaign.clone(), id: joined.lead.unwrap().id, email: email.to_owned() }
    }

    /// Leads `1@example.net`, `2@…`: as many as are needed.
    pub async fn leads(&self, count: usize) -> Vec<TestLead> {
        let mut leads = Vec::new();
        for i in 1..=count {
            leads.push(self.lead(&format!("{}-{i}@example.net", self.code.to_lowercase())).await);
        }
        leads
    }

    /// Somebody tries to join with the referrer's code.
    pub async fn join(&self, person: Person) -> Result<Joined> {
        self.join_after(person, None).await
    }

    pub async fn join_after(&self, person: Person, link_used_at: Option<Timestamp>) -> Result<Joined> {
        let referrer = ReferrerKey::Code(self.code.parse().unwrap());
        self.campaign.app.act(Join { campaign: None, referrer, person, link_used_at }).await
    }

    pub async fn suspend(&self, suspended: bool) -> Participant {
        self.campaign.app.act(Suspend { referrer: self.id, suspended, note: None }).await.unwrap().0
    }

    /// Says that a participant was referred by this referrer.
    pub async fn claim(&self, participant: impl Into<LeadId>, force: bool) -> Result<Joined> {
        let participant = participant.into().uuid();
        self.campaign.app.act(Claim { participant, referrer: ReferrerKey::Id(self.id), evidence: "They said so.".into(), force }).await
    }

    pub async fn get(&self) -> Participant {
        self.campaign.participant(self.id).await
    }

    pub async fn erase(&self) {
        self.campaign.app.act(Erase { participant: self.id.uuid(), as_lead: false }).await.unwrap();
    }
}

#[derive(Clone)]
pub struct TestLead {
    pub campaign: TestCampaign,
    pub id: LeadId,
    pub email: String,
}

impl TestLead {
    pub async fn qualify(&self) -> Answer {
        self.try_qualify().await.unwrap()
    }

    pub async fn try_qualify(&self) -> Result<Answer> {
        self.campaign.app.act(self.qualification()).await
    }

    /// The plain wish to qualify this lead.
    pub fn qualification(&self) -> Qualify {
        Qualify { lead: LeadKey::Id(self.id), campaign: None, external_id: None, occurred_at: None, note: None }
    }

    pub async fn unqualify(&self) -> Answer {
        self.campaign.app.act(Unqualify { lead: LeadKey::Id(self.id), campaign: None, note: None }).await.unwrap()
    }

    pub async fn reject(&self) -> Answer {
        self.campaign.app.act(Reject { lead: self.id, rejected: true, note: None }).await.unwrap()
    }

    pub async fn restore(&self) -> Answer {
        self.campaign.app.act(Reject { lead: self.id, rejected: false, note: None }).await.unwrap()
    }

    pub async fn recheck(&self) -> Answer {
        self.campaign.app.act(Recheck { lead: self.id }).await.unwrap()
    }

    /// The lead buys something.
    pub async fn buys(&self, external_id: &str, amount: &str) -> Answer {
        self.campaign.convert(self.order(external_id, amount)).await
    }

    pub fn order(&self, external_id: &str, amount: &str) -> Convert {
        Convert { lead: LeadKey::Id(self.id), ..order(external_id, amount) }
    }

    /// The lead reaches a goal.
    pub async fn reaches(&self, goal: &str) -> Answer {
        let convert = Convert { goal: Some(goal.to_owned()), amount: None, kind: ConversionKind::Custom, ..self.order(goal, "0 EUR") };
        self.campaign.convert(convert).await
    }

    pub async fn explanation(&self) -> Explanation {
        let (space, shared, id, now) = (self.campaign.app.space, self.campaign.app.engine.shared_arc(), self.id, self.campaign.app.now());
        self.campaign.app.engine.read(move |tx| Box::pin(async move { qualify::explanation(tx, &shared, space, id, now).await })).await.unwrap()
    }

    pub async fn get(&self) -> Participant {
        self.campaign.participant(self.id).await
    }

    pub async fn status(&self) -> &'static str {
        self.get().await.lead_status.unwrap().as_str()
    }

    pub async fn erase(&self) {
        self.campaign.app.act(Erase { participant: self.id.uuid(), as_lead: true }).await.unwrap();
    }
}

/// A reward, as it was when it was asked for.
#[derive(Clone)]
pub struct TestReward {
    pub app: TestApp,
    pub id: RewardId,
    pub view: view::Reward,
}

impl TestReward {
    pub async fn decide(&self, action: RewardAction) -> view::Reward {
        self.try_decide(action).await.unwrap_or_else(|error| panic!("{}: {error}", action.as_str()))
    }

    pub async fn try_decide(&self, action: RewardAction) -> Result<view::Reward> {
        self.app.act(Decide { reward: self.id, action, note: None, amount_minor: None }).await
    }

    pub async fn reverse(&self, amount_minor: Option<i64>) -> Result<view::Reward> {
        self.app.act(Decide { reward: self.id, action: RewardAction::Reverse, note: None, amount_minor }).await
    }

    pub async fn set_basis(&self, basis: &str) -> Result<view::Reward> {
        self.app.act(SetBasis { reward: self.id, basis: money(basis) }).await
    }

    pub async fn now(&self) -> view::Reward {
        let (space, shared, id) = (self.app.space, self.app.engine.shared_arc(), self.id);
        self.app.engine.read(move |tx| Box::pin(async move { reward::get(tx, &shared, space, id).await })).await.unwrap()
    }

    pub async fn state(&self) -> RewardState {
        self.now().await.state
    }

    /// The reward's life: each state with the money that moved.
    pub async fn history(&self) -> Vec<(&'static str, Option<i64>)> {
        let (space, id) = (self.app.space, self.id);
        let entries = self.app.engine.read(move |tx| Box::pin(async move { reward::history(tx, space, id).await })).await.unwrap();
        entries.into_iter().map(|entry| (entry.state.as_str(), entry.amount.map(|amount| amount.minor))).collect()
    }
}

// ---------------------------------------------------------------- values

pub fn person(email: &str) -> Person {
    Person {
        email: email.parse().unwrap_or_else(|error| panic!("{email}: {error}")),
        first_name: "Maya".into(),
        last_name: "Rossi".into(),
        external_id: None,
        fields: Default::default(),
        ip: None,
        visitor: None,
    }
}

/// `"12.50 EUR"`.
pub fn money(text: &str) -> Money {
    let (decimal, currency) = text.split_once(' ').unwrap();
    Money::parse(decimal, currency.parse().unwrap()).unwrap()
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An order that says nothing of its lead yet.
fn order(external_id: &str, amount: &str) -> Convert {
    Convert {
        lead: LeadKey::ExternalId(String::new()),
        campaign: None,
        external_id: Some(external_id.to_owned()),
        kind: ConversionKind::Order,
        amount: Some(money(amount)),
        goal: None,
        occurred_at: None,
        properties: json!({}),
        replays: None,
    }
}

/// A reward of ten euros for the referrer, with some of its terms replaced.
pub fn ten_euros(terms: serde_json::Value) -> serde_json::Value {
    let mut reward = json!({"name": "Ten euros", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "EUR"}}});
    for (key, value) in terms.as_object().unwrap() {
        reward[key] = value.clone();
    }
    reward
}

/// A share of each payment for the referrer.
pub fn commission(percent: f64, terms: serde_json::Value) -> serde_json::Value {
    let mut reward = ten_euros(json!({"name": "Commission", "value": {"type": "commission", "percent": percent}}));
    for (key, value) in terms.as_object().unwrap() {
        reward[key] = value.clone();
    }
    reward
}

/// The check of a reason among others.
pub fn check(checks: &[Check], reason: Reason) -> &Check {
    checks.iter().find(|check| check.reason == reason).unwrap_or_else(|| panic!("no check of {reason:?} among {checks:?}"))
}

/// The reason of a conflict.
pub fn reason_of<T>(result: Result<T>) -> Option<Reason> {
    match result {
        Err(Error::Conflict { reason, .. }) => reason,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

/// Does something many times at once, and waits for all.
pub async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(count: usize, work: impl Fn(usize) -> F) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|i| tokio::spawn(work(i))).collect();
    let mut results = Vec::with_capacity(count);
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

// ---------------------------------------------------------------- faults

/// What a database does when a row is about to be written.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The statement fails.
    Fail,
    /// PostgreSQL ends the connection, once.
    Disconnect,
}

/// Makes the database fail at a row that is written.
pub struct Faults(Store);

impl Faults {
    /// Puts a trigger on every table.
    pub async fn install(app: &TestApp) -> Self {
        let store = app.engine.store().clone();
        let tables = store.tables().await.unwrap();
        let mut sql = vec!["CREATE TABLE faults (n bigint PRIMARY KEY, fault text NOT NULL)".to_owned(), "INSERT INTO faults VALUES (-1, 'none')".to_owned()];
        match store.engine() {
            goodword_store::Engine::Sqlite => {
                for table in &tables {
                    for verb in ["INSERT", "UPDATE", "DELETE"] {
                        sql.push(format!(
                            "CREATE TRIGGER fault_{0}_{verb} BEFORE {verb} ON {0} WHEN (SELECT n FROM faults) >= 0 BEGIN
                                 SELECT RAISE(ABORT, 'a fault') WHERE (SELECT n FROM faults) = 0; UPDATE faults SET n = n - 1; END",
                            table.name
                        ));
                    }
                }
            }
            goodword_store::Engine::Postgres => {
                // A sequence goes on when its transaction is rolled back, so a connection is cut only once.
                sql.push("CREATE SEQUENCE rows_written".to_owned());
                sql.push(
                    "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS '
                     DECLARE f faults;
                     BEGIN
                         SELECT * INTO f FROM faults;
                         IF f.fault = ''fail'' AND nextval(''rows_written'') = f.n + 1 THEN RAISE EXCEPTION ''a fault''; END IF;
                         IF f.fault = ''disconnect'' AND nextval(''rows_written'') = f.n + 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); END IF;
                         IF TG_OP = ''DELETE'' THEN RETURN OLD; END IF;
                         RETURN NEW;
                     END'"
                    .to_owned(),
                );
                for table in &tables {
                    sql.push(format!("CREATE TRIGGER fault BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION fault()", table.name));
                }
            }
        }
        let faults = Self(store);
        faults.run(sql).await;
        faults
    }

    /// The next row but `n` is not written.
    pub async fn after(&self, n: usize, fault: Fault) {
        let word = match fault {
            Fault::Fail => "fail",
            Fault::Disconnect => "disconnect",
        };
        let mut sql = vec![format!("UPDATE faults SET n = {n}, fault = '{word}'")];
        if self.0.engine() == goodword_store::Engine::Postgres {
            sql.push("ALTER SEQUENCE rows_written RESTART".to_owned());
        }
        self.run(sql).await;
    }

    pub async fn none(&self) {
        self.run(vec!["UPDATE faults SET n = -1, fault = 'none'".to_owned()]).await;
    }

    async fn run(&self, sql: Vec<String>) {
        struct Run(Vec<&'static str>);
        impl Command for Run {
            type Output = ();
            type Error = goodword_store::Error;

            async fn apply(&self, tx: &mut Tx<'_>) -> goodword_store::Result<()> {
                for sql in &self.0 {
                    tx.execute(sql, &[]).await?;
                }
                Ok(())
            }
        }
        self.0.write(Run(sql.into_iter().map(|sql| &*sql.leak()).collect())).await.unwrap();
    }
}
