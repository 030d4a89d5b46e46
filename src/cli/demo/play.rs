//! Plays the story: every step is an ordinary command of the engine, at the time of the story.

use super::{
    people::Dice,
    story::{AUTUMN, DAYS, Lead, PLUMBER, Referrer, SOFTWARE, Size, Step, Story, TEAM_SIZES, tell},
};
use crate::{
    cli::{
        Failure, Result,
        progress::{Progress, count},
    },
    engine::{
        self, Engine, SetUp, Space,
        campaign::{self, Campaign},
        list::Page,
        participant::{Claim, Enrol, Join, Person, ReferrerKey, Suspend},
        qualify::{ConversionKey, Convert, LeadKey, Qualify, Refund, Reject, Unqualify},
        reward::{self, Decide, EndHold, RewardFilter},
        visit::Visit,
        work::Context,
        workspace,
    },
};
use futures_util::future::join_all;
use goodword_core::{
    campaign::{CampaignSettings, CampaignStatus},
    ids::{CampaignId, LeadId, ReferrerId},
    money::{Currency, Money},
    reward::{RewardAction, RewardState, RewardTerms},
    text::Code,
    time::{DAY_MS, HOUR_MS, Timestamp},
};
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc};

/// Steps that are played at the same time at most.
const AT_ONCE: usize = 64;
const SEED: u64 = 0x600D_0DD5;

/// What a program needs to begin with.
pub struct Made {
    pub campaign: CampaignId,
    pub campaign_number: i64,
    pub people: (usize, usize),
    pub code: String,
}

pub(super) struct Stage<'e> {
    pub(super) engine: &'e Engine,
    space: Space,
    begin: i64,
    pub(super) dice: Dice,
    actor: Arc<str>,
    story: Story,
    campaigns: Vec<Campaign>,
    referrers: Vec<Option<ReferrerId>>,
    codes: Vec<Option<String>>,
    leads: Vec<Option<LeadId>>,
    pounds: Currency,
    dollars: Currency,
}

/// What a step needs before it, and is waited for by steps of the same.
fn person_of(step: &Step) -> Option<(bool, usize)> {
    match step {
        Step::Enrol { referrer } | Step::JoinSelf { referrer } | Step::Suspend { referrer, .. } => Some((false, *referrer)),
        Step::Claim { participant, .. } => Some((false, *participant)),
        Step::Join { lead, .. }
        | Step::JoinAgain { lead, .. }
        | Step::Convert { lead, .. }
        | Step::Qualify { lead }
        | Step::Unqualify { lead }
        | Step::Reject { lead, .. } => Some((true, *lead)),
        Step::Visit { .. } | Step::Refund { .. } | Step::Operate | Step::Night | Step::EndCampaign { .. } => None,
    }
}

/// What came of a step that others build upon.
enum Came {
    Referrer(usize, ReferrerId, String),
    Lead(usize, LeadId),
    Nothing,
}

/// Fills the live side with a year, and the test side with a little.
pub async fn play(engine: &Engine, made: &SetUp, size: Size, progress: &mut Progress) -> Result<Made> {
    let now = engine.wall().ms();
    let first_day = now.div_euclid(DAY_MS) - (DAYS - 1);
    let begin = first_day * DAY_MS;
    let weekday = (first_day + 3).rem_euclid(7); // 1970-01-01 was a Thursday.
    let space = made.workspace.live;
    let keys = engine.read(move |tx| Box::pin(async move { workspace::list_keys(tx, space, &Page::default()).await })).await?;
    let actor: Arc<str> = keys.data.first().map_or_else(|| "cli".into(), |key| key.id.to_string().into());
    let story = tell(size, weekday, now - begin, SEED);
    let (referrers, leads, steps) = (story.referrers.len(), story.leads.len(), story.steps.len());
    let mut stage = Stage {
        engine,
        space,
        begin,
        dice: Dice::new(SEED),
        actor,
        campaigns: Vec::new(),
        referrers: vec![None; referrers],
        codes: vec![None; referrers],
        leads: vec![None; leads],
        story,
        pounds: "GBP".parse().map_err(Failure::new)?,
        dollars: "USD".parse().map_err(Failure::new)?,
    };
    stage.set_the_scene().await?;
    let mut next = 0;
    while next < steps {
        next = stage.advance(next).await?;
        let day = stage.story.steps.get(next).map_or(DAYS, |(at, _)| at / DAY_MS);
        progress.show(|| format!("day {day} of {DAYS}: {} played", count(next as u64, "step")));
    }
    stage.connect().await?;
    stage.test_side(made.workspace.test).await?;
    progress.show(|| "adding up the statistics".to_owned());
    // Visits reach the database some milliseconds after they happened.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    engine.catch_up_statistics().await?;
    engine.forget().await?;
    let first = &stage.campaigns[SOFTWARE];
    let code = stage.codes.iter().zip(&stage.story.referrers).find_map(|(code, referrer)| code.clone().filter(|_| referrer.campaign == SOFTWARE));
    Ok(Made { campaign: first.id, campaign_number: first.number, people: (referrers, leads), code: code.unwrap_or_default() })
}

impl Stage<'_> {
    /// Milliseconds from the beginning of the year to now.
    pub(super) fn now_ms(&self) -> i64 {
        self.engine.wall().ms() - self.begin
    }

    /// A moment of the year.
    pub(super) const fn time(&self, at: i64) -> Timestamp {
        Timestamp::from_ms(self.begin + at)
    }

    pub(super) fn context(&mut self, at: i64, source: &str) -> Context {
        let seed = u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll());
        let actor = if source == "form" || source == "clock" { source.into() } else { self.actor.clone() };
        let now = Timestamp::from_ms(self.begin + at);
        Context { space: self.space, now, wall: now, actor, source: source.into(), seed }
    }

    pub(super) async fn create(&mut self, at: i64, settings: Value, rewards: Value, status: CampaignStatus, code: &str) -> Result<Campaign> {
        let settings: CampaignSettings = serde_json::from_value(settings).map_err(Failure::new)?;
        let rewards: Vec<RewardTerms> = serde_json::from_value(rewards).map_err(Failure::new)?;
        let code: Option<Code> = Some(code.parse().map_err(Failure::new)?);
        let context = self.context(at, "api");
        Ok(self.engine.run(context, campaign::Create { settings, rewards, status, code }).await?)
    }

    async fn set_the_scene(&mut self) -> Result {
        let team_sizes = TEAM_SIZES;
        let software = json!({
            "name": "Northlight partners", "language": "en", "currency": "USD",
            "link": {"mode": "hosted", "destination": "https://www.example.com/northlight/start"},
            "lead_fields": [
                {"key": "company", "label": "Company", "required": true},
                {"key": "team_size", "label": "Team size", "kind": "select", "options": team_sizes},
            ],
            "referrer_fields": [{"key": "company", "label": "Company"}],
            "limits": {"leads_per_referrer": 400},
            "budget": {"amount": {"amount": "4000.00", "currency": "USD"}, "period": "month"},
            "rule": {
                "conversions": ["invoice"], "minimum_spend": {"amount": "50.00", "currency": "USD"},
                "condition": "has(properties.plan) && properties.plan != \"free\"",
            },
            "words": {
                "headline": "{referrer} thinks Northlight is for you", "button": "Start free for 30 days",
                "text": "Northlight keeps the books of small companies in order. Start with a friend's link and get 500 credits.",
                "join_headline": "Tell friends about Northlight, and earn 20% of what they pay",
            },
        });
        let rewards = json!([
            {
                "name": "20% of every payment", "beneficiary": "referrer", "cadence": {"type": "ongoing", "months": 12},
                "value": {"type": "commission", "percent": 20, "cap": {"amount": "40.00", "currency": "USD"}},
                "hold_days": 30, "issuing": "external", "auto_issue": true,
            },
            {
                "name": "500 credits to start with", "beneficiary": "lead", "value": {"type": "custom", "metric": "credits", "units": 500},
                "auto_issue": true, "review": "never",
            },
            {
                "name": "Milestones", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "25.00", "currency": "USD"}}, "review": "always",
                "cadence": {"type": "milestones", "steps": [
                    {"count": 1},
                    {"count": 5, "value": {"type": "fixed", "amount": {"amount": "100.00", "currency": "USD"}}},
                    {"count": 10, "value": {"type": "fixed", "amount": {"amount": "250.00", "currency": "USD"}}},
                    {"count": 25, "value": {"type": "fixed", "amount": {"amount": "750.00", "currency": "USD"}}},
                ]},
            },
        ]);
        let software = self.create(0, software, rewards, CampaignStatus::Live, "northlight").await?;
        self.campaigns.push(software);

        let plumber = json!({
            "name": "Brightwater neighbours", "language": "en-GB", "currency": "GBP",
            "link": {"mode": "hosted", "destination": "https://www.example.org/brightwater/book"},
            "lead_fields": [{"key": "phone", "label": "Phone", "kind": "phone"}],
            "attribution": {"model": "last", "window_days": 60},
            "rule": {"conversions": ["order"], "within_days": 28},
            "words": {"headline": "{referrer} recommends Brightwater Plumbing", "button": "Get 10% off"},
        });
        let rewards = json!([
            {
                "name": "£25 for every neighbour", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "25.00", "currency": "GBP"}},
                "hold_days": 7, "review": "risk", "limit": {"count": 12, "period": "year"},
            },
            {"name": "10% off the first visit", "beneficiary": "lead", "trigger": "joined", "value": {"type": "coupon"}, "auto_issue": true, "review": "never"},
        ]);
        let plumber = self.create(HOUR_MS, plumber, rewards, CampaignStatus::Live, "brightwater").await?;
        let pool = plumber.configuration.rewards.iter().find(|reward| reward.terms.value.kind() == "coupon").map(|reward| reward.id);
        if let Some(definition) = pool {
            let codes: Vec<String> = (0..self.story.coupons).map(|n| format!("FLOW-{:04}-{:04}", n + 1, self.dice.below(10_000))).collect();
            for codes in codes.chunks(1_000) {
                let context = self.context(2 * HOUR_MS, "api");
                self.engine.run(context, campaign::AddCoupons { campaign: plumber.id, definition, codes: codes.to_vec() }).await?;
            }
        }
        self.campaigns.push(plumber);

        let autumn = json!({"name": "Northlight autumn double", "currency": "USD", "lead_fields": [{"key": "company", "label": "Company"}]});
        let rewards = json!([{
            "name": "$80 this autumn", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "80.00", "currency": "USD"}},
        }]);
        let (from, _) = super::story::AUTUMN_DAYS;
        let autumn = self.create((from - 1) * DAY_MS, autumn, rewards, CampaignStatus::Live, "autumn-double").await?;
        self.campaigns.push(autumn);
        let draft = json!({"name": "Spring teaser", "currency": "EUR", "language": "de"});
        self.create((DAYS - 9) * DAY_MS, draft, json!([]), CampaignStatus::Draft, "spring-teaser").await?;
        Ok(())
    }

    /// Plays as many of the next steps as can happen at once; returns the step after them.
    async fn advance(&mut self, from: usize) -> Result<usize> {
        let mut busy = HashSet::new();
        let mut batch = Vec::new();
        let mut next = from;
        while next < self.story.steps.len() && batch.len() < AT_ONCE {
            let (at, step) = self.story.steps[next].clone();
            if let Step::Visit { referrer, .. } = &step {
                // Whoever joins in this batch is visited after it.
                if busy.contains(&(false, *referrer)) {
                    break;
                }
                self.visit(at, &step).await?;
                next += 1;
                continue;
            }
            match person_of(&step) {
                Some(person) if busy.insert(person) => batch.push((at, step)),
                Some(_) => break,
                // These see everything that was before them, and everything after sees them.
                None if batch.is_empty() => {
                    self.alone(at, step).await?;
                    return Ok(next + 1);
                }
                None => break,
            }
            next += 1;
        }
        let mut running = Vec::with_capacity(batch.len());
        for (at, step) in batch {
            running.push(self.begin_step(at, step));
        }
        for came in join_all(running.into_iter().flatten()).await {
            match came? {
                Came::Referrer(i, id, code) => (self.referrers[i], self.codes[i]) = (Some(id), Some(code)),
                Came::Lead(i, id) => self.leads[i] = Some(id),
                Came::Nothing => {}
            }
        }
        Ok(next)
    }

    async fn visit(&mut self, at: i64, step: &Step) -> Result {
        let Step::Visit { referrer, host, device, bot, source } = step else { return Ok(()) };
        let Some(id) = self.referrers[*referrer] else { return Ok(()) };
        let campaign = self.campaigns[self.story.referrers[*referrer].campaign].id;
        let visit = Visit {
            space: self.space,
            campaign,
            referrer: id,
            visitor: None,
            at: Timestamp::from_ms(self.begin + at),
            referring_host: host.map(Into::into),
            device: *device,
            bot: *bot,
            source: (*source).into(),
            ip: None,
        };
        Ok(self.engine.recorder().record(visit).await?)
    }

    /// A step that others may be played beside; `None` where it is about somebody who never came.
    fn begin_step(&mut self, at: i64, step: Step) -> Option<impl Future<Output = Result<Came>> + use<>> {
        let (source, doing) = match &step {
            Step::Enrol { referrer } => (self.story.referrers[*referrer].source, self.enrol(*referrer)),
            Step::Join { lead, used_before_ms } => {
                let used = Timestamp::from_ms(self.begin + at - used_before_ms);
                (self.story.leads[*lead].source, self.join(*lead, self.story.leads[*lead].referrer, Some(used))?)
            }
            Step::JoinAgain { lead, referrer } => ("form", self.join(*lead, *referrer, None)?),
            Step::JoinSelf { referrer } => ("form", self.join_self(*referrer)?),
            Step::Claim { participant, referrer } => ("api", self.claim(*participant, *referrer)?),
            Step::Suspend { referrer, suspended } => {
                let note = if *suspended { "Many leads from one network address" } else { "Cleared after a call" };
                ("api", Doing::Suspend(Suspend { referrer: self.referrers[*referrer]?, suspended: *suspended, note: Some(note.into()) }))
            }
            Step::Convert { lead, id, kind, minor, plan } => {
                let referrer = &self.story.referrers[self.story.leads[*lead].referrer];
                let currency = if referrer.campaign == PLUMBER { self.pounds } else { self.dollars };
                let convert = Convert {
                    lead: LeadKey::Id(self.leads[*lead]?),
                    campaign: Some(self.campaigns[referrer.campaign].id),
                    external_id: Some(id.clone()),
                    kind: *kind,
                    amount: Some(Money::new(*minor, currency)),
                    goal: None,
                    occurred_at: Some(Timestamp::from_ms(self.begin + at)),
                    properties: json!({"plan": plan}),
                    replays: None,
                };
                (if referrer.campaign == PLUMBER { "zapier" } else { "stripe" }, Doing::Convert(convert))
            }
            Step::Qualify { lead } => {
                let qualify = Qualify {
                    lead: LeadKey::Id(self.leads[*lead]?),
                    campaign: None,
                    external_id: None,
                    occurred_at: None,
                    note: Some("The neighbour called; the job is done.".into()),
                };
                ("api", Doing::Qualify(qualify))
            }
            Step::Unqualify { lead } => {
                ("api", Doing::Unqualify(Unqualify { lead: LeadKey::Id(self.leads[*lead]?), campaign: None, note: Some("The job was cancelled".into()) }))
            }
            Step::Reject { lead, rejected } => {
                let note = if *rejected { "Already a customer under another address" } else { "A mix-up: it is a new customer" };
                ("api", Doing::Reject(Reject { lead: self.leads[*lead]?, rejected: *rejected, note: Some(note.into()) }))
            }
            Step::Visit { .. } | Step::Refund { .. } | Step::Operate | Step::Night | Step::EndCampaign { .. } => return None,
        };
        let (engine, context) = (self.engine.clone(), self.context(at, source));
        Some(async move { doing.run(&engine, context, &step).await })
    }

    fn enrol(&self, referrer: usize) -> Doing {
        let Referrer { campaign, person, company, ip, .. } = &self.story.referrers[referrer];
        let fields = company.map(|company| ("company".to_owned(), Value::from(company))).into_iter().collect();
        let person = Person {
            email: match person.email.parse() {
                Ok(email) => email,
                Err(_) => unreachable!("the story's addresses are addresses; a test says so"),
            },
            first_name: person.first.into(),
            last_name: person.last.into(),
            external_id: None,
            fields,
            ip: Some(ip.clone()),
            visitor: None,
        };
        Doing::Enrol(Enrol { campaign: self.campaigns[*campaign].id, person, code: None })
    }

    fn join(&self, lead: usize, referrer: usize, link_used_at: Option<Timestamp>) -> Option<Doing> {
        let Lead { person, company, team_size, ip, .. } = &self.story.leads[lead];
        let campaign = self.story.referrers[referrer].campaign;
        let fields = match campaign {
            SOFTWARE => json!({"company": company, "team_size": team_size}),
            AUTUMN => json!({"company": company}),
            _ => json!({"phone": format!("+44 20 7946 {:04}", lead % 1_000)}), // a range kept free for drama
        };
        let person = Person {
            email: person.email.parse().ok()?,
            first_name: person.first.into(),
            last_name: person.last.into(),
            external_id: (campaign == SOFTWARE).then(|| format!("cus_{:06}", 400_000 + lead)),
            fields: fields.as_object().cloned().unwrap_or_default(),
            ip: Some(ip.clone()),
            visitor: None,
        };
        Some(Doing::Join(Join { campaign: Some(self.campaigns[campaign].id), referrer: ReferrerKey::Id(self.referrers[referrer]?), person, link_used_at }))
    }

    fn join_self(&self, referrer: usize) -> Option<Doing> {
        let own = &self.story.referrers[referrer];
        let fields = if own.campaign == SOFTWARE { json!({"company": own.company.unwrap_or("Self-employed")}) } else { json!({}) };
        let person = Person {
            email: own.person.email.parse().ok()?,
            first_name: own.person.first.into(),
            last_name: own.person.last.into(),
            external_id: None,
            fields: fields.as_object().cloned().unwrap_or_default(),
            ip: Some(own.ip.clone()),
            visitor: None,
        };
        let campaign = Some(self.campaigns[own.campaign].id);
        Some(Doing::Join(Join { campaign, referrer: ReferrerKey::Id(self.referrers[referrer]?), person, link_used_at: None }))
    }

    fn claim(&self, participant: usize, referrer: usize) -> Option<Doing> {
        Some(Doing::Claim(Claim {
            participant: self.referrers[participant]?.uuid(),
            referrer: ReferrerKey::Id(self.referrers[referrer]?),
            evidence: "Named the referrer on the phone; the call is noted in the CRM.".into(),
            force: false,
        }))
    }

    async fn alone(&mut self, at: i64, step: Step) -> Result {
        match step {
            Step::Refund { campaign, id, minor } => {
                let currency = if campaign == PLUMBER { self.pounds } else { self.dollars };
                let refund = Refund {
                    conversion: ConversionKey::External { campaign: Some(self.campaigns[campaign].id), id: id.clone() },
                    external_id: Some(format!("re_{id}")),
                    amount: minor.map(|minor| Money::new(minor, currency)),
                    note: None,
                };
                let context = self.context(at, if campaign == PLUMBER { "zapier" } else { "stripe" });
                self.engine.run(context, refund).await?;
                Ok(())
            }
            Step::EndCampaign { campaign } => {
                let context = self.context(at, "api");
                self.campaigns[campaign] =
                    self.engine.run(context, campaign::SetStatus { id: self.campaigns[campaign].id, if_version: None, status: CampaignStatus::Ended }).await?;
                Ok(())
            }
            Step::Night => self.end_holds(at).await,
            Step::Operate => self.operate(at).await,
            _ => Ok(()),
        }
    }

    async fn end_holds(&mut self, at: i64) -> Result {
        let (space, now) = (self.space, Timestamp::from_ms(self.begin + at));
        let due = self.engine.read(move |tx| Box::pin(reward::holds_ended(tx, space, now, 10_000))).await?;
        let running: Vec<_> = due.into_iter().map(|reward| self.engine.run(self.context(at, "clock"), EndHold { reward })).collect();
        for done in join_all(running).await {
            done?;
        }
        Ok(())
    }

    /// Rewards in review are looked at within some days, payouts are confirmed by the payout service the
    /// next day, what is given by hand is given on Fridays; a little is always left for tomorrow.
    async fn operate(&mut self, at: i64) -> Result {
        let now = self.begin + at;
        let friday = (now / DAY_MS + 3) % 7 == 4;
        let mut running = Vec::new();
        for state in [RewardState::InReview, RewardState::Approved, RewardState::Issuing, RewardState::Failed, RewardState::Issued] {
            if state == RewardState::Approved && !friday || state == RewardState::Issued && (now / DAY_MS) % 29 != 0 {
                continue;
            }
            let (space, shared) = (self.space, self.engine.shared_arc());
            let page = Page { limit: 2_000, ..Page::default() };
            let filter = RewardFilter { state: Some(state), ..Default::default() };
            let rewards = self.engine.read(move |tx| Box::pin(async move { reward::list(tx, &shared, space, &filter, &page).await })).await?.data;
            for reward in rewards {
                let fate = Dice::new(SEED ^ reward.number as u64).below(100);
                let days = (now - reward.updated_at.ms()) / DAY_MS;
                let (action, note) = match (state, fate) {
                    (RewardState::InReview, 0..76) if days > fate as i64 % 4 => (RewardAction::Approve, None),
                    (RewardState::InReview, 76..88) if days > 2 => (RewardAction::Reject, Some("The lead and the referrer share a household")),
                    (RewardState::InReview, 88..92) if days > 1 => (RewardAction::Hold, Some("Waiting for proof of purchase")),
                    (RewardState::Approved, 0..93) => (RewardAction::Issue, None),
                    (RewardState::Approved, 93..96) => (RewardAction::Cancel, Some("The referrer asked us to donate it instead")),
                    (RewardState::Issuing, 0..89) if days > 0 => (RewardAction::Confirm, Some("Paid out")),
                    (RewardState::Issuing, 89..97) if days > 0 && reward.attempts < 2 => (RewardAction::Fail, Some("The payout account is not verified")),
                    (RewardState::Issuing, 89..97) if days > 0 => (RewardAction::Confirm, Some("Paid out")),
                    (RewardState::Failed, 89..94) if days > 5 => (RewardAction::Retry, None),
                    (RewardState::Issued, 98..100) if reward.amount.is_some() && days < 60 => (RewardAction::Reverse, Some("Paid by mistake")),
                    _ => continue,
                };
                let decide = Decide { reward: reward.id, action, note: note.map(str::to_owned), amount_minor: None };
                let source = if matches!(action, RewardAction::Confirm | RewardAction::Fail) { "zapier" } else { "api" };
                running.push(self.engine.run(self.context(at, source), decide));
            }
        }
        for done in join_all(running).await {
            done?;
        }
        Ok(())
    }

    /// A small campaign to try things with.
    async fn test_side(&mut self, space: Space) -> Result {
        self.space = space;
        let now = self.engine.wall().ms() - self.begin;
        let settings = json!({"name": "Playground", "currency": "USD"});
        let rewards = json!([
            {"name": "$10 for a friend", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "USD"}}},
            {"name": "$5 to start with", "beneficiary": "lead", "value": {"type": "fixed", "amount": {"amount": "5.00", "currency": "USD"}}, "hold_days": 3},
        ]);
        let campaign = self.create(now - 3 * HOUR_MS, settings, rewards, CampaignStatus::Live, "playground").await?;
        let person = |email: &str, first: &str, last: &str| -> Result<Person> {
            let email = email.parse().map_err(Failure::new)?;
            Ok(Person { email, first_name: first.into(), last_name: last.into(), external_id: None, fields: Default::default(), ip: None, visitor: None })
        };
        let code: Code = "TRY-ME".parse().map_err(Failure::new)?;
        let enrol = Enrol { campaign: campaign.id, person: person("priya.shah@example.com", "Priya", "Shah")?, code: Some(code) };
        let context = self.context(now - 2 * HOUR_MS, "api");
        let referrer = self.engine.run(context, enrol).await?.participant;
        for (i, (email, first, last)) in [("maya.rossi@example.org", "Maya", "Rossi"), ("chidi.okafor@example.net", "Chidi", "Okafor")].into_iter().enumerate()
        {
            let join =
                Join { campaign: Some(campaign.id), referrer: ReferrerKey::Id(referrer.referrer()), person: person(email, first, last)?, link_used_at: None };
            let context = self.context(now - HOUR_MS, "form");
            let joined = self.engine.run(context, join).await?;
            if let (0, Some(lead)) = (i, joined.lead) {
                let qualify = Qualify { lead: LeadKey::Id(lead.id), campaign: None, external_id: None, occurred_at: None, note: None };
                let context = self.context(now - HOUR_MS / 2, "api");
                self.engine.run(context, qualify).await?;
            }
        }
        Ok(())
    }
}

/// A command, whichever it is.
enum Doing {
    Enrol(Enrol),
    Join(Join),
    Claim(Claim),
    Suspend(Suspend),
    Convert(Convert),
    Qualify(Qualify),
    Unqualify(Unqualify),
    Reject(Reject),
}

impl Doing {
    async fn run(self, engine: &Engine, context: Context, step: &Step) -> Result<Came> {
        match (self, step) {
            (Doing::Enrol(act), Step::Enrol { referrer }) => {
                let enrolled = engine.run(context, act).await?.participant;
                Ok(Came::Referrer(*referrer, enrolled.referrer(), enrolled.code))
            }
            (Doing::Enrol(act), _) => did(engine.run(context, act).await),
            (Doing::Join(act), Step::Join { lead, .. }) => {
                let joined = engine.run(context, act).await?;
                Ok(joined.lead.map_or(Came::Nothing, |view| Came::Lead(*lead, view.id)))
            }
            (Doing::Join(act), _) => did(engine.run(context, act).await),
            (Doing::Claim(act), _) => did(engine.run(context, act).await),
            (Doing::Suspend(act), _) => did(engine.run(context, act).await),
            (Doing::Convert(act), _) => did(engine.run(context, act).await),
            (Doing::Qualify(act), _) => did(engine.run(context, act).await),
            (Doing::Unqualify(act), _) => did(engine.run(context, act).await),
            (Doing::Reject(act), _) => did(engine.run(context, act).await),
        }
    }
}

/// A refusal is part of the story; a broken database is not.
fn did<T>(outcome: engine::Result<T>) -> Result<Came> {
    match outcome {
        Ok(_) | Err(engine::Error::Conflict { .. } | engine::Error::NotFound { .. }) => Ok(Came::Nothing),
        Err(error) => Err(error.into()),
    }
}
