//! The demo's other systems: the campaign that they are about, two endpoints that were told of it, and a hook that took
//! orders in. Nothing is sent anywhere: what became of the deliveries is part of the story, too.

use super::play::Stage;
use crate::{
    cli::{Failure, Result},
    engine::{
        Error,
        delivery::{Claim, Claimed, FailureKind, Next, Record, Tried, Want},
        endpoint::{self, Endpoint, Failing, SigningSecret, SkipReason, Terms},
        event::EventType,
        inbound,
        participant::{Enrol, Join, Person, ReferrerKey},
        qualify::{Convert, LeadKey},
        random_bytes, workspace,
    },
};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    ids::{CampaignId, ReferrerId},
    time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// On this machine, where nobody listens, and at a name that is kept free for examples.
const CRM: &str = "http://127.0.0.1:3000/webhooks/goodword";
const ANALYTICS: &str = "https://analytics.example.com/hooks/referrals";
const GOALS: [&str; 2] = ["Books imported", "First invoice sent"];
/// Who joins, and how many of the goals they reach.
const FRIENDS: [(&str, &str, usize); 8] = [
    ("Nora", "Lindqvist", 2),
    ("Tariq", "Mansour", 2),
    ("Ines", "Carvalho", 1),
    ("Kwame", "Boateng", 2),
    ("Lena", "Vogel", 0),
    ("Mateo", "Rios", 2),
    ("Aiko", "Tanaka", 1),
    ("Owen", "Pryce", 0),
];

impl Stage<'_> {
    /// The last nine days, from the side of other systems.
    pub async fn connect(&mut self) -> Result {
        let begin = self.now_ms() - 9 * DAY_MS;
        let campaign = self.onboarding(begin).await?;
        let crm = self.endpoint(begin, CRM, "CRM: new and qualified referrals", campaign).await?;
        let analytics = self.endpoint(begin, ANALYTICS, "Product analytics", campaign).await?;
        let referrer = self.person(begin + HOUR_MS, campaign, "Beatriz", "Almeida").await?;

        // Both are told of the first friends; one of them takes nothing for five days, and is switched off.
        self.friends(campaign, referrer, &FRIENDS[..5], begin + 2 * HOUR_MS).await?;
        self.try_deliveries(&crm, begin + DAY_MS, |n| match n {
            3 => Came::Not(404, Next::Exhausted),
            _ => Came::Well,
        })
        .await?;
        let since = begin + DAY_MS + HOUR_MS;
        self.try_deliveries(&analytics, begin + DAY_MS, |n| match n {
            0 => Came::Well,
            n if n % 2 == 0 => Came::Not(503, Next::Exhausted),
            _ => Came::Not(503, Next::Skipped(SkipReason::EndpointDisabled)),
        })
        .await?;
        for at in [since + endpoint::WARN_AFTER_MS, since + endpoint::DISABLE_AFTER_MS] {
            let context = self.context(at, "clock");
            self.engine.run(context, Failing { id: analytics.id, since: self.time(since) }).await?;
        }
        // What happens now is skipped there.
        self.friends(campaign, referrer, &FRIENDS[5..], begin + 7 * DAY_MS).await?;
        self.try_deliveries(&crm, begin + 8 * DAY_MS, |n| match n {
            1 => Came::Later,
            _ => Came::Well,
        })
        .await?;
        self.hook(campaign).await
    }

    /// A campaign with goals, and a reward for every third friend.
    async fn onboarding(&mut self, at: i64) -> Result<CampaignId> {
        let settings = json!({
            "name": "Northlight onboarding", "currency": "USD",
            "link": {"mode": "direct", "destination": "https://www.example.com/northlight/start"},
            "rule": {"direct": false, "conversions": ["custom", "order"], "goals": GOALS},
        });
        let rewards = json!([
            {
                "name": "$60 for every third friend", "beneficiary": "referrer", "cadence": {"type": "every", "count": 3},
                "value": {"type": "fixed", "amount": {"amount": "60.00", "currency": "USD"}},
            },
            {
                "name": "A free month", "beneficiary": "lead", "value": {"type": "custom", "metric": "months", "units": 1},
                "auto_issue": true, "review": "never",
            },
        ]);
        Ok(self.create(at, settings, rewards, CampaignStatus::Live, "onboarding").await?.id)
    }

    async fn endpoint(&mut self, at: i64, url: &str, description: &str, campaign: CampaignId) -> Result<Endpoint> {
        let terms = Terms {
            description: Some(description.into()),
            types: Some(Some(vec![EventType::LeadCreated, EventType::LeadQualified])),
            campaign: Some(Some(campaign)),
            ..Terms::default()
        };
        let url = url.parse().map_err(Failure::new)?;
        let create = endpoint::Create { url, terms, source: "api".into(), secret: SigningSecret::random() };
        let context = self.context(at, "api");
        Ok(self.engine.run(context, create).await?.endpoint)
    }

    async fn person(&mut self, at: i64, campaign: CampaignId, first: &str, last: &str) -> Result<ReferrerId> {
        let context = self.context(at, "api");
        let enrol = Enrol { campaign, person: somebody(first, last)?, code: None };
        Ok(self.engine.run(context, enrol).await?.participant.referrer())
    }

    /// Friends join a day apart at most, and reach their goals in the hours that follow.
    async fn friends(&mut self, campaign: CampaignId, referrer: ReferrerId, friends: &[(&str, &str, usize)], from: i64) -> Result {
        for (i, (first, last, goals)) in friends.iter().enumerate() {
            let at = from + i as i64 * 2 * HOUR_MS;
            let join =
                Join { campaign: Some(campaign), referrer: ReferrerKey::Id(referrer), person: somebody(first, last)?, link_used_at: Some(self.time(at)) };
            let context = self.context(at + 5 * MINUTE_MS, "api");
            let Some(lead) = self.engine.run(context, join.clone()).await?.lead else { continue };
            if i == 0 {
                // The form is sent twice: nothing changes.
                let context = self.context(at + 6 * MINUTE_MS, "api");
                self.engine.run(context, join).await?;
            }
            for (n, goal) in GOALS[..*goals].iter().enumerate() {
                let at = at + (n as i64 + 1) * 20 * MINUTE_MS;
                let convert = Convert {
                    lead: LeadKey::Id(lead.id),
                    campaign: Some(campaign),
                    external_id: Some(format!("step-{}-{n}", last.to_lowercase())),
                    kind: ConversionKind::Custom,
                    amount: None,
                    goal: Some((*goal).into()),
                    occurred_at: Some(self.time(at)),
                    properties: json!({"plan": "team"}),
                    replays: None,
                };
                let context = self.context(at, "api");
                self.engine.run(context, convert).await?;
            }
        }
        Ok(())
    }

    /// What became of an endpoint's deliveries that are due by then: as if the dispatcher had sent them.
    async fn try_deliveries(&mut self, endpoint: &Endpoint, at: i64, came: impl Fn(usize) -> Came) -> Result {
        let (node, now) = (Uuid::from_u128(u128::from(self.dice.roll())), self.time(at));
        let want = Want { endpoint: endpoint.id.uuid(), in_order: false, limit: 1_000 };
        let claimed = self.engine.store().write(Claim { wants: vec![want], node, now }).await?;
        let mut tried = Vec::new();
        for (n, claimed) in claimed.into_iter().enumerate() {
            let (status, error, next) = match came(n) {
                Came::Well => (Some(204), None, Next::Delivered),
                Came::Not(status, next) => (Some(status), Some(FailureKind::Status), next),
                Came::Later => (None, Some(FailureKind::Timeout), Next::RetryAt(self.time(self.now_ms() + 12 * HOUR_MS))),
            };
            let ms = 40 + self.dice.below(200) as i64;
            tried.push(self.tried(endpoint, claimed, now, ms, status, error, next));
        }
        Ok(self.engine.store().write::<Record>(Record { tried: tried.into(), node, now }).await?)
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a try")]
    fn tried(
        &self,
        endpoint: &Endpoint,
        claimed: Claimed,
        at: Timestamp,
        duration_ms: i64,
        status: Option<u16>,
        error: Option<FailureKind>,
        next: Next,
    ) -> Tried {
        let response = status.map(|status| if status == 204 { String::new() } else { format!("{{\"error\": \"status {status}\"}}") });
        let response = response.or_else(|| Some("no answer within 15 s".into()));
        Tried { claimed, at, duration_ms, url: endpoint.url.as_str().into(), header_names: "".into(), status, error, response, next }
    }

    /// A hook that a shop sends its orders to: some that are understood, and some that are not.
    async fn hook(&mut self, campaign: CampaignId) -> Result {
        let mapping = json!({
            "email": {"path": "customer.email"}, "external_id": {"path": "id"}, "amount": {"path": "total"}, "currency": {"path": "currency"},
        });
        let token = workspace::Secret::new(false, &random_bytes()).reveal().replace("gw_", "in_");
        let create = inbound::Create {
            name: "Shop orders".parse().map_err(Failure::new)?,
            campaign: Some(campaign),
            mapping: serde_json::from_value(mapping).map_err(Failure::new)?,
            token: token.clone(),
        };
        let context = self.context(self.now_ms() - HOUR_MS, "api");
        self.engine.run(context, create).await?;
        let order = |id: &str, customer: Value, total: &str| json!({"id": id, "customer": customer, "total": total, "currency": "USD"});
        for payload in [
            order("SO-1041", json!({"email": "nora.lindqvist@example.com"}), "49.00"),
            order("SO-1042", json!({"email": "walk-in@example.com"}), "18.50"),
            order("SO-1043", json!({"name": "Counter sale"}), "12.00"),
            order("SO-1044", json!({"email": "ines.carvalho@example.com"}), "twenty"),
            order("SO-1041", json!({"email": "nora.lindqvist@example.com"}), "49.00"),
        ] {
            match self.engine.receive(&token, inbound::Received::Read(payload)).await {
                Ok(_) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What came of a try.
enum Came {
    Well,
    Not(u16, Next),
    /// No answer; it is tried again long after anybody has looked.
    Later,
}

fn somebody(first: &str, last: &str) -> Result<Person> {
    let email = format!("{}.{}@example.com", first.to_lowercase(), last.to_lowercase());
    let email = email.parse().map_err(Failure::new)?;
    Ok(Person { email, first_name: first.into(), last_name: last.into(), external_id: None, fields: Default::default(), ip: None, visitor: None })
}
