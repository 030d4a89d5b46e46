//! Qualification: directly, by conversions, and back again by refunds.

use super::{
    Error, Result, Shared, Space,
    campaign::{self, Campaign},
    conversion::{self, ConversionRow},
    event::EventType,
    participant::{self, Participant, evidence},
    reward::{self, Ground},
    view::{self, Why},
    work::{Act, Question, Signal, SignalRecord, Work},
};
use goodword_core::{
    campaign::{ConversionKind, Rule},
    condition::Verdict,
    decide::{self, CampaignFacts, ConversionFacts, Decision, Evidence, LeadStatus, Occasion, Outcome, QualifyFacts, ReferrerFacts, RefundFacts},
    explain::{Check, Reason},
    ids::{CampaignId, ConversionId, LeadId, SignalId},
    money::Money,
    text::{Code, Email},
    time::Timestamp,
};
use goodword_store::{Row, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// How a caller names a lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadKey {
    Id(LeadId),
    /// The lead's own code.
    Code(Code),
    Email(Email),
    /// A coupon that the lead was given.
    Coupon(String),
    ExternalId(String),
}

/// What came of a signal about a lead.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    pub signal_id: SignalId,
    pub outcome: Outcome,
    pub why: Why,
    pub checks: Vec<Check>,
    /// The lead as it stands now; `null` where nobody matched.
    pub lead: Option<view::Lead>,
    pub conversion: Option<view::Conversion>,
    /// Rewards that this brought about or changed.
    pub rewards: Vec<view::Reward>,
    /// The lead is qualified by this signal.
    pub qualified: bool,
    /// The lead had been qualified before.
    pub already_qualified: bool,
    /// The signal had been told before: this is the first decision again.
    pub repeated: bool,
}

enum Found {
    One(Uuid),
    None(String),
    Several(Vec<Participant>),
}

/// Of leads in several campaigns those whose campaign was not over when it happened: nothing
/// would come of the others. All of them where that is true of none.
async fn not_over<L: Clone>(tx: &mut Tx<'_>, shared: &Shared, space: Space, at: Timestamp, leads: Vec<L>, of: impl Fn(&L) -> CampaignId) -> Result<Vec<L>> {
    if leads.len() < 2 {
        return Ok(leads);
    }
    let mut left = Vec::new();
    for lead in &leads {
        if !campaign::get(tx, shared, space, of(lead)).await?.facts().is_over(at) {
            left.push(lead.clone());
        }
    }
    Ok(if left.is_empty() { leads } else { left })
}

/// Who is meant by what happened then. A person in several campaigns is ambiguous unless the
/// campaign is named, or all of them but one are over.
async fn resolve(tx: &mut Tx<'_>, shared: &Shared, space: Space, key: &LeadKey, campaign: Option<CampaignId>, at: Timestamp) -> Result<Found> {
    match key {
        LeadKey::Id(id) => Ok(Found::One(id.uuid())),
        LeadKey::Code(code) => Ok(participant::by_code(tx, space, code).await?.map_or_else(|| Found::None(format!("nobody has the code {code}")), Found::One)),
        LeadKey::Coupon(coupon) => {
            let mut holders = coupon_holders(tx, space, coupon).await?;
            holders.retain(|(_, of)| campaign.is_none_or(|campaign| campaign == *of));
            let holders = not_over(tx, shared, space, at, holders, |(_, of)| *of).await?;
            match holders.as_slice() {
                [] => Ok(Found::None("nobody was given that coupon".to_owned())),
                [(holder, _)] => Ok(Found::One(*holder)),
                _ => Err(Error::conflict(Reason::PersonAmbiguous, format!("Several people were given the coupon {coupon}."))),
            }
        }
        LeadKey::Email(email) => match campaign {
            Some(id) => {
                let campaign = campaign::get(tx, shared, space, id).await?;
                let found = participant::by_email(tx, space, &campaign, email).await?;
                Ok(found.map_or_else(|| Found::None(format!("nobody in the campaign has the address {email}")), |p| Found::One(p.id)))
            }
            None => {
                let leads = participant::by_email_anywhere(tx, space, email).await?.into_iter().filter(|p| p.lead_since.is_some()).collect();
                let mut leads = not_over(tx, shared, space, at, leads, |lead: &Participant| lead.campaign).await?;
                match leads.len() {
                    0 => Ok(Found::None(format!("no lead has the address {email}"))),
                    1 => Ok(Found::One(leads.remove(0).id)),
                    _ => Ok(Found::Several(leads)),
                }
            }
        },
        LeadKey::ExternalId(id) => {
            let filter = participant::PeopleFilter { external_id: Some(id.clone()), campaign, ..Default::default() };
            let leads = participant::list_leads(tx, shared, space, &filter, &super::list::Page { limit: 20, ..Default::default() }).await?.data;
            let leads = not_over(tx, shared, space, at, leads, |lead| lead.campaign.id).await?;
            match leads.as_slice() {
                [] => Ok(Found::None(format!("no lead has the external id {id}"))),
                [lead] => Ok(Found::One(lead.id.uuid())),
                _ => Err(Error::conflict(Reason::PersonAmbiguous, format!("Leads of several campaigns have the external id {id}."))),
            }
        }
    }
}

/// Who was given a coupon, and in which campaign: pools of several may hold the same code.
pub async fn coupon_holders(tx: &mut Tx<'_>, space: Space, coupon: &str) -> Result<Vec<(Uuid, CampaignId)>> {
    let sql = "SELECT DISTINCT r.beneficiary_id, r.campaign_id FROM coupons c JOIN rewards r ON r.space = c.space AND r.id = c.reward_id WHERE c.space = $1 AND c.code_key = $2";
    let read = |row: &Row<'_>| Ok((row.get::<Uuid>(0)?, CampaignId::from_uuid(row.get(1)?)));
    Ok(tx.fetch(sql, &[space.into(), coupon.trim().to_lowercase().as_str().into()], read).await?)
}

/// A lead with its referrer and campaign, both people locked.
struct Case {
    lead: Participant,
    referrer: Participant,
    campaign: Campaign,
}

enum Opened {
    Case(Box<Case>),
    Nobody(Decision),
}

async fn open(work: &mut Work<'_, '_>, key: &LeadKey, campaign: Option<CampaignId>, at: Timestamp) -> Result<Opened> {
    open_told(work, key, campaign, at, None).await
}

/// `told` is the kind of the signal, and its id in the system that it comes from.
async fn open_told(work: &mut Work<'_, '_>, key: &LeadKey, campaign: Option<CampaignId>, at: Timestamp, told: Option<(&str, &str)>) -> Result<Opened> {
    let space = work.context.space;
    if let Some(id) = campaign {
        campaign::get(work.tx, work.shared, space, id).await?;
    }
    let nobody = |found: String| {
        Opened::Nobody(Decision {
            outcome: Outcome::Ignored,
            reason: Reason::PersonUnknown,
            checks: vec![Check::new(Reason::PersonUnknown, false, "a lead of the campaign", found)],
        })
    };
    let id = match resolve(work.tx, work.shared, space, key, campaign, at).await? {
        Found::One(id) => id,
        Found::None(found) => return Ok(nobody(found)),
        Found::Several(leads) => {
            let mut names = Vec::new();
            for lead in &leads {
                names.push(format!("{} in {}", lead.lead(), lead.campaign));
            }
            return Err(Error::conflict(Reason::PersonAmbiguous, format!("The person is a lead in several campaigns: {}.", names.join(", "))));
        }
    };
    let found = participant::find_locked_with_referrer(work.tx, space, id).await?;
    let Some((lead, referrer)) = found.filter(|(lead, _)| campaign.is_none_or(|campaign| campaign == lead.campaign)) else {
        return Ok(nobody("nobody with that id or code in the campaign".to_owned()));
    };
    if lead.referrer_id.is_none() {
        let check = Check::new(Reason::LeadKnown, false, "somebody who was referred", "a referrer whom nobody referred");
        return Ok(Opened::Nobody(Decision { outcome: Outcome::Ignored, reason: Reason::LeadKnown, checks: vec![check] }));
    }
    if let Some((kind, id)) = told {
        work.will_ask_seen(&external_key(kind, lead.campaign, id)).await?;
    }
    let campaign = campaign::get(work.tx, work.shared, space, lead.campaign).await?;
    let referrer = referrer.ok_or_else(|| goodword_store::Error::Database(format!("{} has no referrer", lead.lead())))?;
    Ok(Opened::Case(Box::new(Case { lead, referrer, campaign })))
}

/// The first answer again, for a signal that was told before.
async fn again(work: &mut Work<'_, '_>, record: SignalRecord) -> Result<Answer> {
    let space = work.context.space;
    let lead = match record.participant {
        Some(id) => match participant::find(work.tx, space, id).await?.filter(|p| p.lead_since.is_some()) {
            Some(lead) => {
                let campaign = campaign::get(work.tx, work.shared, space, lead.campaign).await?;
                Some(participant::lead_view(work.tx, work.shared, space, &lead, &campaign).await?)
            }
            None => None,
        },
        None => None,
    };
    let conversion = match record.effects.iter().find(|effect| effect.kind == EventType::ConversionRecorded.as_str()).and_then(|effect| effect.id.parse().ok())
    {
        Some(id) => Some(conversion::get(work.tx, work.shared, space, id).await?),
        None => None,
    };
    let filter = reward::RewardFilter { signal: Some(record.id), lead: record.participant.map(LeadId::from_uuid), ..Default::default() };
    let rewards = reward::list(work.tx, work.shared, space, &filter, &super::list::Page { limit: 100, ascending: true, ..Default::default() }).await?.data;
    let qualified = record.effects.iter().any(|effect| effect.kind == EventType::LeadQualified.as_str());
    Ok(Answer {
        signal_id: record.id,
        outcome: record.outcome,
        why: record.reason.into(),
        checks: record.checks,
        lead,
        conversion,
        rewards,
        qualified,
        already_qualified: was_qualified(record.reason),
        repeated: true,
    })
}

fn lead_facts(lead: &Participant) -> decide::LeadFacts {
    decide::LeadFacts {
        id: lead.lead(),
        status: lead.lead_status.unwrap_or(LeadStatus::Pending),
        joined_at: lead.lead_since.unwrap_or(lead.created_at),
        qualified_at: lead.qualified_at,
        risk: lead.risk.clone(),
    }
}

impl Case {
    fn lead_view(&self, shared: &Shared) -> view::Lead {
        self.lead.lead_view(&self.campaign, &self.referrer, shared)
    }

    fn data(&self, shared: &Shared, conversion: Option<view::Conversion>, signal: SignalId, decision: &Decision) -> view::EventData {
        view::EventData {
            campaign: Some(self.campaign.reference()),
            referrer: Some(self.referrer.referrer_view(&self.campaign, shared)),
            lead: Some(self.lead_view(shared)),
            moved: conversion.as_ref().and_then(|conversion| conversion.amount),
            conversion,
            evidence: Some(evidence(signal, decision)),
            ..Default::default()
        }
    }

    /// Writes the lead's new status and the referrer's count, and keeps both here up to date.
    async fn set_status(&mut self, work: &mut Work<'_, '_>, status: LeadStatus, at: Timestamp, by_conversion: bool, reason: Option<Reason>) -> Result<()> {
        let space = work.context.space;
        let now = work.now();
        let was = self.lead.lead_status == Some(LeadStatus::Qualified);
        let is = status == LeadStatus::Qualified;
        self.lead.lead_status = Some(status);
        self.lead.status_reason = reason;
        self.lead.updated_at = now;
        if is {
            self.lead.qualified_at = Some(at);
            self.lead.qualified_by_conversion = by_conversion;
        } else {
            self.lead.qualified_at = None;
        }
        let by = if by_conversion { "conversion" } else { "direct" };
        work.tx
            .push(
                "UPDATE participants SET lead_status = $3, qualified_at = $4, first_qualified_at = coalesce(first_qualified_at, $4), qualified_by = $5, status_reason = $6, risk = $7, updated_at = $8 WHERE space = $1 AND id = $2",
                &[
                    space.into(),
                    self.lead.id.into(),
                    status.as_str().into(),
                    self.lead.qualified_at.map(Timestamp::ms).into(),
                    is.then_some(by).into(),
                    reason.map(Reason::as_str).into(),
                    participant::risk_words(&self.lead.risk).as_str().into(),
                    now.ms().into(),
                ],
            )
            .await?;
        let change = i64::from(is) - i64::from(was);
        if change != 0 {
            self.referrer.qualified_leads += change;
            self.referrer.updated_at = now;
            work.tx
                .push(
                    "UPDATE participants SET qualified_leads = qualified_leads + $3, updated_at = $4 WHERE space = $1 AND id = $2",
                    &[space.into(), self.referrer.id.into(), change.into(), now.ms().into()],
                )
                .await?;
        }
        Ok(())
    }

    /// The lead becomes qualified: status, event, rewards.
    async fn qualify(
        &mut self,
        work: &mut Work<'_, '_>,
        signal: SignalId,
        at: Timestamp,
        conversion: Option<&view::Conversion>,
        decision: &Decision,
    ) -> Result<(Vec<view::Reward>, Vec<Check>)> {
        let before = self.lead.clone();
        if conversion.is_some()
            && let Some(risk) = decide::conversion_risk(self.lead.lead_since.unwrap_or(self.lead.created_at), at)
            && !self.lead.risk.contains(&risk)
        {
            self.lead.risk.push(risk);
        }
        self.set_status(work, LeadStatus::Qualified, at, conversion.is_some(), None).await?;
        let data = self.data(work.shared, conversion.cloned(), signal, decision);
        work.emit(EventType::LeadQualified, &self.lead.lead(), Some(self.lead.id), &data)?;
        let occasion = self.occasion(at, true, conversion.map(|c| (c.id, c.amount)), before.first_qualified_at.or(Some(at)));
        // `first_qualified_at` as it was before: it says whether rewards can exist already.
        let lead = Participant { first_qualified_at: before.first_qualified_at, ..self.lead.clone() };
        let result = reward::give(work, signal, &self.campaign, &lead, &self.referrer, &occasion).await;
        self.lead.first_qualified_at = before.first_qualified_at.or(Some(at));
        result
    }

    fn occasion(&self, at: Timestamp, qualified: bool, conversion: Option<(ConversionId, Option<Money>)>, since: Option<Timestamp>) -> Occasion {
        Occasion {
            lead: self.lead.lead(),
            joined: false,
            qualified,
            again: false,
            conversion,
            qualified_since: since,
            at,
            leads: self.referrer.leads,
            qualified_leads: self.referrer.qualified_leads,
        }
    }

    /// The lead is pending again: status, event, rewards back.
    async fn unqualify(
        &mut self,
        work: &mut Work<'_, '_>,
        signal: SignalId,
        status: LeadStatus,
        event: EventType,
        reason: Reason,
        decision: &Decision,
    ) -> Result<Vec<view::Reward>> {
        let was_qualified = self.lead.lead_status == Some(LeadStatus::Qualified);
        let at = work.now();
        self.set_status(work, status, at, false, Some(reason)).await?;
        let data = self.data(work.shared, None, signal, decision);
        if was_qualified && event != EventType::LeadUnqualified {
            work.emit(EventType::LeadUnqualified, &self.lead.lead(), Some(self.lead.id), &data)?;
        }
        work.emit(event, &self.lead.lead(), Some(self.lead.id), &data)?;
        let ground = Ground::Lead { rejected: status == LeadStatus::Rejected, qualified_leads: self.referrer.qualified_leads, reason };
        reward::take_back(work, signal, &self.campaign, &self.lead, &self.referrer, &ground).await
    }
}

fn was_qualified(reason: Reason) -> bool {
    matches!(reason, Reason::AlreadyDone | Reason::AlreadyQualified)
}

fn answer(signal: SignalId, decision: Decision, lead: Option<view::Lead>) -> Answer {
    Answer {
        signal_id: signal,
        outcome: decision.outcome,
        why: decision.reason.into(),
        already_qualified: was_qualified(decision.reason),
        checks: decision.checks,
        lead,
        conversion: None,
        rewards: Vec::new(),
        qualified: false,
        repeated: false,
    }
}

// ---------------------------------------------------------------- directly

/// Qualifies a lead because somebody says so.
#[derive(Debug, Clone)]
pub struct Qualify {
    pub lead: LeadKey,
    pub campaign: Option<CampaignId>,
    /// The id of the event outside, where it has one: told twice, it is the same.
    pub external_id: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub note: Option<String>,
}

impl Act for Qualify {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let occurred_at = self.occurred_at.unwrap_or(work.context.now);
        let told = self.external_id.as_deref().map(|id| ("qualify", id));
        let opened = open_told(work, &self.lead, self.campaign, occurred_at, told).await?;
        let mut signal = work.signal(
            "lead.qualify",
            self.campaign,
            None,
            &json!({"lead": self.lead, "campaign_id": self.campaign, "external_id": self.external_id, "occurred_at": self.occurred_at, "note": self.note}),
        );
        signal.occurred_at = occurred_at;
        if let Some(id) = &self.external_id {
            signal.key = opened.external_key("qualify", self.campaign, id);
            if let Some(record) = work.seen(&signal.key).await? {
                return again(work, record).await;
            }
        }
        let mut case = match opened {
            Opened::Case(case) => case,
            Opened::Nobody(decision) => return nobody(work, signal, decision).await,
        };
        about(&mut signal, &case);
        let facts = QualifyFacts {
            campaign: case.campaign.facts(),
            lead: lead_facts(&case.lead),
            referrer: case.referrer.referrer_facts(),
            at: signal.occurred_at,
            evidence: Evidence::Direct,
        };
        let qualification = decide::qualify(&facts);
        let mut decision = qualification.decision;
        let mut rewards = Vec::new();
        if qualification.qualifies {
            let (given, skipped) = case.qualify(work, signal.id, signal.occurred_at, None, &decision).await?;
            rewards = given;
            decision.checks.extend(skipped);
        }
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer { rewards, qualified: qualification.qualifies, ..answer(signal.id, decision, Some(lead)) })
    }
}

/// The business key: unique in the campaign that it turned out to be about. What found
/// nobody has a key of its own, so that it can be told again when the lead is there.
fn external_key(kind: &str, campaign: CampaignId, id: &str) -> String {
    format!("{kind}:{campaign}:{id}")
}

impl Opened {
    fn external_key(&self, kind: &str, named: Option<CampaignId>, id: &str) -> String {
        match (self, named) {
            (Opened::Case(case), _) => external_key(kind, case.campaign.id, id),
            (Opened::Nobody(_), Some(campaign)) => format!("{kind}:unmatched:{campaign}:{id}"),
            (Opened::Nobody(_), None) => format!("{kind}:unmatched::{id}"),
        }
    }
}

fn about(signal: &mut Signal, case: &Case) {
    signal.campaign = Some(case.campaign.id);
    signal.participant = Some(case.lead.id);
}

async fn nobody(work: &mut Work<'_, '_>, signal: Signal, decision: Decision) -> Result<Answer> {
    work.record(&signal, &decision, None).await?;
    Ok(answer(signal.id, decision, None))
}

impl Qualify {
    /// The qualification that a signal told, to be decided upon once more, at its own time.
    pub fn from_signal(signal: &SignalRecord) -> Result<Self> {
        #[derive(Deserialize)]
        struct Told {
            lead: LeadKey,
            campaign_id: Option<CampaignId>,
            note: Option<String>,
        }
        let told: Told = serde_json::from_str(&signal.payload).map_err(|_| untellable())?;
        Ok(Self { lead: told.lead, campaign: told.campaign_id, external_id: None, occurred_at: Some(signal.occurred_at), note: told.note })
    }
}

/// A signal whose content was erased, or that only says what was done.
pub(super) fn untellable() -> Error {
    Error::Conflict { reason: None, detail: "The content of this signal is not kept any more, so it cannot be told again.".into() }
}

/// Takes a qualification back: the lead is pending again.
#[derive(Debug, Clone)]
pub struct Unqualify {
    pub lead: LeadKey,
    pub campaign: Option<CampaignId>,
    pub note: Option<String>,
}

impl Act for Unqualify {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let now = work.context.now;
        let opened = open(work, &self.lead, self.campaign, now).await?;
        let mut signal = work.signal("lead.unqualify", self.campaign, None, &json!({"lead": self.lead, "campaign_id": self.campaign, "note": self.note}));
        let mut case = match opened {
            Opened::Case(case) => case,
            Opened::Nobody(decision) => return nobody(work, signal, decision).await,
        };
        about(&mut signal, &case);
        let mut rewards = Vec::new();
        let decision = if case.lead.lead_status == Some(LeadStatus::Qualified) {
            let decision = Decision::applied(Vec::new());
            rewards = case.unqualify(work, signal.id, LeadStatus::Pending, EventType::LeadUnqualified, Reason::LeadUnqualified, &decision).await?;
            decision
        } else {
            Decision::unchanged(Reason::AlreadyDone)
        };
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer { rewards, already_qualified: false, ..answer(signal.id, decision, Some(lead)) })
    }
}

/// Rejects a lead, or restores a rejected one. A rejected lead earns nothing.
#[derive(Debug, Clone)]
pub struct Reject {
    pub lead: LeadId,
    pub rejected: bool,
    pub note: Option<String>,
}

impl Act for Reject {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let kind = if self.rejected { "lead.reject" } else { "lead.restore" };
        let mut case = match open(work, &LeadKey::Id(self.lead), None, work.context.now).await? {
            Opened::Case(case) => case,
            Opened::Nobody(_) => return Err(Error::NotFound { what: "lead" }),
        };
        let mut signal = work.signal(kind, None, None, &json!({"lead_id": self.lead, "note": self.note}));
        about(&mut signal, &case);
        let is_rejected = case.lead.lead_status == Some(LeadStatus::Rejected);
        let mut rewards = Vec::new();
        let decision = match (self.rejected, is_rejected) {
            (true, false) => {
                let decision = Decision::applied(Vec::new());
                rewards = case.unqualify(work, signal.id, LeadStatus::Rejected, EventType::LeadRejected, Reason::LeadNotRejected, &decision).await?;
                decision
            }
            (false, true) => {
                let mut decision = Decision::applied(Vec::new());
                let now = work.now();
                case.set_status(work, LeadStatus::Pending, now, false, None).await?;
                let data = case.data(work.shared, None, signal.id, &decision);
                work.emit(EventType::LeadRestored, &self.lead, Some(case.lead.id), &data)?;
                // What it was given for joining, and lost, is given back.
                let occasion = Occasion { joined: true, ..case.occasion(now, false, None, None) };
                let (given, skipped) = reward::give(work, signal.id, &case.campaign, &case.lead, &case.referrer, &occasion).await?;
                rewards = given;
                decision.checks.extend(skipped);
                decision
            }
            _ => Decision::unchanged(Reason::AlreadyDone),
        };
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer { rewards, already_qualified: false, ..answer(signal.id, decision, Some(lead)) })
    }
}

// ---------------------------------------------------------------- by conversions

/// A business event: an order, an invoice, a deal.
#[derive(Debug, Clone)]
pub struct Convert {
    pub lead: LeadKey,
    pub campaign: Option<CampaignId>,
    /// Unique in the system that it comes from.
    pub external_id: Option<String>,
    pub kind: ConversionKind,
    pub amount: Option<Money>,
    pub goal: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub properties: serde_json::Value,
    /// It was told before and did not count: it is decided upon once more.
    pub replays: Option<SignalId>,
}

/// What a conversion's signal keeps, and what it is told again from.
#[derive(Deserialize)]
struct ConvertPayload {
    lead: LeadKey,
    campaign_id: Option<CampaignId>,
    external_id: Option<String>,
    kind: ConversionKind,
    amount: Option<Money>,
    goal: Option<String>,
    #[serde(default)]
    properties: serde_json::Value,
}

impl Convert {
    /// The conversion that a signal told, to be decided upon once more, at its own time.
    pub fn from_signal(signal: &SignalRecord) -> Result<Self> {
        let told: ConvertPayload = serde_json::from_str(&signal.payload).map_err(|_| untellable())?;
        Ok(Self {
            lead: told.lead,
            campaign: told.campaign_id,
            external_id: Some(told.external_id.unwrap_or_else(|| signal.id.to_string())),
            kind: told.kind,
            amount: told.amount,
            goal: told.goal,
            occurred_at: Some(signal.occurred_at),
            properties: told.properties,
            replays: Some(signal.id),
        })
    }

    fn payload(&self) -> serde_json::Value {
        json!({
            "lead": self.lead, "campaign_id": self.campaign, "external_id": self.external_id, "kind": self.kind, "amount": self.amount,
            "goal": self.goal, "occurred_at": self.occurred_at, "properties": self.properties, "replays": self.replays,
        })
    }
}

impl Act for Convert {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let space = work.context.space;
        if self.amount.is_some_and(|amount| amount.minor < 0) {
            return Err(Error::Invalid { field: "/amount".into(), expected: "an amount of zero or more; report refunds as refunds".into() });
        }
        let occurred_at = self.occurred_at.unwrap_or(work.context.now);
        let told = self.external_id.as_deref().filter(|_| self.replays.is_none()).map(|id| ("conversion", id));
        let opened = open_told(work, &self.lead, self.campaign, occurred_at, told).await?;
        let mut signal = work.signal("conversion", self.campaign, None, &self.payload());
        signal.occurred_at = occurred_at;
        let external_id = match &self.external_id {
            Some(id) if self.replays.is_some() => {
                // Told before anybody knew the person, it takes the key that it would have now: sent once more, it
                // is found.
                let key = opened.external_key("conversion", self.campaign, id);
                if matches!(opened, Opened::Case(_)) && work.seen(&key).await?.is_none() {
                    signal.key = key;
                }
                id.clone()
            }
            Some(id) => {
                signal.key = opened.external_key("conversion", self.campaign, id);
                if let Some(record) = work.seen(&signal.key).await? {
                    return again(work, record).await;
                }
                id.clone()
            }
            None => signal.id.to_string(),
        };
        let mut case = match opened {
            Opened::Case(case) => case,
            Opened::Nobody(decision) => {
                let data = view::EventData { evidence: Some(evidence(signal.id, &decision)), ..Default::default() };
                work.emit(EventType::ConversionIgnored, &signal.id, None, &data)?;
                return nobody(work, signal, decision).await;
            }
        };
        about(&mut signal, &case);
        let before = match self.replays {
            Some(_) => conversion::by_external_id(work.tx, space, Some(case.campaign.id), &external_id).await?.pop(),
            None => None,
        };
        if before.as_ref().is_some_and(|row| row.counts || row.fully_refunded()) {
            let decision = Decision::unchanged(Reason::AlreadyDone);
            work.record(&signal, &decision, Some(case.campaign.version)).await?;
            let lead = case.lead_view(work.shared);
            return Ok(Answer { already_qualified: false, ..answer(signal.id, decision, Some(lead)) });
        }
        let id: ConversionId = before.as_ref().map_or_else(|| work.mint.id(), |row| row.id);
        let mut row = ConversionRow {
            id,
            campaign: case.campaign.id,
            participant: case.lead.id,
            external_id,
            kind: self.kind,
            goal: self.goal.clone(),
            amount: self.amount,
            refunded_minor: 0,
            refunded_at: None,
            counts: true,
            reason: Reason::Done,
            properties: self.properties.clone(),
            occurred_at: signal.occurred_at,
            signal: signal.id,
            source: work.context.source.to_string(),
            created_at: work.now(),
        };
        if let Some(before) = &before {
            (row.refunded_minor, row.refunded_at, row.source) = (before.refunded_minor, before.refunded_at, before.source.clone());
        }
        let rule = &case.campaign.settings().rule;
        let mut rows =
            if rule.minimum_spend.is_some() || !rule.goals.is_empty() { conversion::of_lead(work.tx, space, case.lead.id).await? } else { Vec::new() };
        rows.insert(rows.partition_point(|earlier| earlier.occurred_at <= row.occurred_at), row.clone());
        let verdict = work.ask(question(rule, &row).into_iter().collect())?.pop();
        let qualification = case.consider(&row, &progress(&rows, None, rule), verdict.as_ref(), case.campaign.facts(), case.referrer.referrer_facts());
        let mut decision = qualification.decision;
        row.counts = qualification.counts;
        row.reason = decision.reason;
        if before.is_some() {
            redecide(work, &row).await?;
        } else {
            insert(work, &row).await?;
        }
        let conversion = row.view(&case.campaign);
        let event = if qualification.counts { EventType::ConversionRecorded } else { EventType::ConversionIgnored };
        let data = case.data(work.shared, Some(conversion.clone()), signal.id, &decision);
        work.emit(event, &id, Some(case.lead.id), &data)?;
        let mut rewards = Vec::new();
        if qualification.qualifies {
            let (given, skipped) = case.qualify(work, signal.id, signal.occurred_at, Some(&conversion), &decision).await?;
            rewards = given;
            decision.checks.extend(skipped);
        } else if qualification.counts && case.lead.lead_status == Some(LeadStatus::Qualified) {
            let occasion = case.occasion(signal.occurred_at, false, Some((id, row.kept())), case.lead.first_qualified_at);
            let (given, skipped) = reward::give(work, signal.id, &case.campaign, &case.lead, &case.referrer, &occasion).await?;
            rewards = given;
            decision.checks.extend(skipped);
        }
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer { rewards, qualified: qualification.qualifies, conversion: Some(conversion), ..answer(signal.id, decision, Some(lead)) })
    }
}

async fn insert(work: &mut Work<'_, '_>, row: &ConversionRow) -> Result<()> {
    work.tx
        .push(
            "INSERT INTO conversions (space, id, campaign_id, participant_id, external_id, kind, goal, amount_minor, currency, counts, reason, properties, occurred_at, signal_id, source, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            &[
                work.context.space.into(),
                row.id.uuid().into(),
                row.campaign.uuid().into(),
                row.participant.into(),
                row.external_id.as_str().into(),
                row.kind.as_str().into(),
                row.goal.as_deref().into(),
                row.amount.map(|amount| amount.minor).into(),
                row.amount.as_ref().map(|amount| amount.currency.as_str()).into(),
                row.counts.into(),
                row.reason.as_str().into(),
                row.properties.to_string().as_str().into(),
                row.occurred_at.ms().into(),
                row.signal.uuid().into(),
                row.source.as_str().into(),
                row.created_at.ms().into(),
            ],
        )
        .await?;
    Ok(())
}

/// A conversion that did not count was decided upon once more, as it is told now.
async fn redecide(work: &mut Work<'_, '_>, row: &ConversionRow) -> Result<()> {
    work.tx
        .push(
            "UPDATE conversions SET participant_id = $3, kind = $4, goal = $5, amount_minor = $6, currency = $7, counts = $8, reason = $9, properties = $10, occurred_at = $11, signal_id = $12
             WHERE space = $1 AND id = $2",
            &[
                work.context.space.into(),
                row.id.uuid().into(),
                row.participant.into(),
                row.kind.as_str().into(),
                row.goal.as_deref().into(),
                row.amount.map(|amount| amount.minor).into(),
                row.amount.as_ref().map(|amount| amount.currency.as_str()).into(),
                row.counts.into(),
                row.reason.as_str().into(),
                row.properties.to_string().as_str().into(),
                row.occurred_at.ms().into(),
                row.signal.uuid().into(),
            ],
        )
        .await?;
    Ok(())
}

/// How far a lead has come by conversions that count.
struct Progress {
    /// In the currency of the rule's minimum.
    spent_minor: i64,
    goals: Vec<String>,
    conversions: i64,
}

fn progress(rows: &[ConversionRow], except: Option<ConversionId>, rule: &Rule) -> Progress {
    let counted = || rows.iter().filter(move |row| row.counts && Some(row.id) != except && !row.fully_refunded());
    let currency = rule.minimum_spend.map(|minimum| minimum.currency);
    Progress {
        spent_minor: counted().filter_map(ConversionRow::kept).filter(|money| Some(money.currency) == currency).map(|money| money.minor).sum(),
        goals: counted().filter_map(|row| row.goal.clone()).collect(),
        conversions: counted().count() as i64,
    }
}

/// What the rule's condition is asked about a conversion.
fn question(rule: &Rule, row: &ConversionRow) -> Option<Question> {
    let condition = rule.condition.clone()?;
    Some(Question { condition, kind: row.kind, amount: row.amount, source: row.source.as_str().into(), properties: row.properties.clone() })
}

impl Case {
    /// What the rule says of a conversion.
    fn consider(
        &self,
        row: &ConversionRow,
        progress: &Progress,
        verdict: Option<&Verdict>,
        campaign: CampaignFacts<'_>,
        referrer: ReferrerFacts,
    ) -> decide::Qualification {
        decide::qualify(&QualifyFacts {
            campaign,
            lead: lead_facts(&self.lead),
            referrer,
            at: row.occurred_at,
            evidence: Evidence::Conversion(ConversionFacts {
                id: row.id,
                kind: row.kind,
                amount: row.amount,
                condition: verdict,
                spent_minor: progress.spent_minor,
                goals: &progress.goals,
            }),
        })
    }
}

// ---------------------------------------------------------------- refunds

/// A conversion was refunded or cancelled, in part or in full.
#[derive(Debug, Clone)]
pub struct Refund {
    pub conversion: ConversionKey,
    /// The refund's own id: told twice, it is the same.
    pub external_id: Option<String>,
    /// All that is left where absent.
    pub amount: Option<Money>,
    pub note: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversionKey {
    Id(ConversionId),
    External { campaign: Option<CampaignId>, id: String },
}

impl Act for Refund {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let space = work.context.space;
        if self.amount.is_some_and(|amount| amount.minor <= 0) {
            return Err(Error::Invalid { field: "/amount".into(), expected: "an amount above zero".into() });
        }
        let id = match &self.conversion {
            ConversionKey::Id(id) => Some(*id),
            ConversionKey::External { campaign, id } => match conversion::by_external_id(work.tx, space, *campaign, id).await?.as_slice() {
                [] => None,
                [row] => Some(row.id),
                _ => {
                    return Err(Error::conflict(Reason::PersonAmbiguous, format!("Several campaigns have a conversion {id}.")));
                }
            },
        };
        let mut signal = work.signal(
            "conversion.refund",
            None,
            None,
            &json!({"conversion": self.conversion, "external_id": self.external_id, "amount": self.amount, "note": self.note}),
        );
        // Its lead is locked before the conversion, as everywhere.
        let owner = match id {
            Some(id) => {
                work.tx
                    .fetch_one("SELECT participant_id FROM conversions WHERE space = $1 AND id = $2", &[space.into(), id.uuid().into()], |row| {
                        row.get::<Uuid>(0)
                    })
                    .await?
            }
            None => None,
        };
        let (Some(id), Some(owner)) = (id, owner) else {
            if let ConversionKey::Id(_) = self.conversion {
                return Err(Error::NotFound { what: "conversion" });
            }
            let decision = Decision {
                outcome: Outcome::Ignored,
                reason: Reason::ConversionKnown,
                checks: vec![Check::new(Reason::ConversionKnown, false, "a conversion of that id", "none")],
            };
            if let Some(refund) = &self.external_id {
                signal.key = format!("refund::{refund}");
                if let Some(record) = work.seen(&signal.key).await? {
                    return again(work, record).await;
                }
            }
            return nobody(work, signal, decision).await;
        };
        let Opened::Case(mut case) = open(work, &LeadKey::Id(LeadId::from_uuid(owner)), None, work.context.now).await? else {
            return Err(Error::NotFound { what: "lead" });
        };
        about(&mut signal, &case);
        if let Some(refund) = &self.external_id {
            signal.key = format!("refund:{id}:{refund}");
            if let Some(record) = work.seen(&signal.key).await? {
                return again(work, record).await;
            }
        }
        let mut row = conversion::find_locked(work.tx, space, id).await?.ok_or(Error::NotFound { what: "conversion" })?;
        if let (Some(asked), Some(amount)) = (self.amount, row.amount)
            && asked.currency != amount.currency
        {
            return Err(Error::Invalid { field: "/currency".into(), expected: format!("{}, the conversion's currency", amount.currency) });
        }
        let all = conversion::of_lead(work.tx, space, owner).await?;
        let others = progress(&all, Some(id), &case.campaign.settings().rule);
        let facts = RefundFacts {
            rule: &case.campaign.settings().rule,
            amount: row.amount,
            refunded_before_minor: row.refunded_minor,
            refund_minor: self.amount.map(|money| money.minor),
            fully_refunded_before: row.fully_refunded(),
            counts: row.counts,
            lead_status: case.lead.lead_status.unwrap_or(LeadStatus::Pending),
            qualified_by_conversion: case.lead.qualified_by_conversion,
            other_spent_minor: others.spent_minor,
            other_conversions: others.conversions,
            other_goals: &others.goals,
        };
        let refund = decide::refund(&facts);
        let mut rewards = Vec::new();
        if refund.decision.outcome == Outcome::Applied {
            let before_minor = row.refunded_minor;
            row.refunded_minor = refund.refunded_minor;
            row.refunded_at = Some(work.now());
            row.reason = Reason::Refunded;
            work.tx
                .execute(
                    "UPDATE conversions SET refunded_minor = $3, refunded_at = $4, reason = $5 WHERE space = $1 AND id = $2",
                    &[space.into(), id.uuid().into(), row.refunded_minor.into(), work.context.now.ms().into(), row.reason.as_str().into()],
                )
                .await?;
            let back = row.amount.map(|amount| Money::new(before_minor - row.refunded_minor, amount.currency));
            let data = view::EventData { moved: back, ..case.data(work.shared, Some(row.view(&case.campaign)), signal.id, &refund.decision) };
            work.emit(EventType::ConversionRefunded, &id, Some(owner), &data)?;
            rewards = if refund.unqualifies {
                case.unqualify(work, signal.id, LeadStatus::Pending, EventType::LeadUnqualified, Reason::Refunded, &refund.decision).await?
            } else {
                let kept = if refund.full { None } else { row.kept() };
                reward::take_back(work, signal.id, &case.campaign, &case.lead, &case.referrer, &Ground::Conversion { id, kept }).await?
            };
        }
        let decision = refund.decision;
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer { rewards, already_qualified: false, conversion: Some(row.view(&case.campaign)), ..answer(signal.id, decision, Some(lead)) })
    }
}

// ---------------------------------------------------------------- looking again

/// Looks at a lead again: with today's rule, limits, budget and coupons. What is missing
/// is given; what is there stays. Nothing is given twice.
#[derive(Debug, Clone)]
pub struct Recheck {
    pub lead: LeadId,
}

impl Act for Recheck {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Answer> {
        let mut case = match open(work, &LeadKey::Id(self.lead), None, work.context.now).await? {
            Opened::Case(case) => case,
            Opened::Nobody(_) => return Err(Error::NotFound { what: "lead" }),
        };
        let mut signal = work.signal("lead.recheck", None, None, &json!({"lead_id": self.lead}));
        about(&mut signal, &case);
        let mut rows = conversion::of_lead(work.tx, work.context.space, case.lead.id).await?;
        let count_now = case.count_what_was_ignored(work, &mut rows, &signal).await?;
        let now = work.now();
        let ignored = ignored(work.tx, work.context.space, &rows).await?;
        let mut decision = explain(&case.campaign, &case.lead, &case.referrer, &rows, ignored, now);
        let mut rewards = Vec::new();
        let counted: Vec<&ConversionRow> = rows.iter().filter(|row| row.counts && !row.fully_refunded()).collect();
        let standing = [able(&case.campaign, &case.lead, &case.referrer, now), come(&case.campaign, &rows)].concat();
        let qualified = case.lead.lead_status == Some(LeadStatus::Pending) && !counted.is_empty() && !standing.iter().any(Check::failed);
        if qualified {
            decision = Decision::applied(standing);
            let last = counted.last().map(|row| row.view(&case.campaign));
            let (given, skipped) = case.qualify(work, signal.id, now, last.as_ref(), &decision).await?;
            rewards = given;
            decision.checks.extend(skipped);
        } else if case.lead.lead_status == Some(LeadStatus::Qualified) {
            let at = case.lead.qualified_at.unwrap_or(now);
            // The conversion that qualified the lead, and the payments after it.
            let (until, after) = counted.split_at(counted.partition_point(|row| row.occurred_at <= at));
            let first = until.last().filter(|_| case.lead.qualified_by_conversion);
            let occasions = std::iter::once((true, at, first)).chain(after.iter().map(|row| (false, row.occurred_at, Some(row))));
            for (qualified, at, conversion) in occasions {
                let since = case.lead.first_qualified_at;
                let occasion = Occasion { again: true, ..case.occasion(at, qualified, conversion.map(|row| (row.id, row.kept())), since) };
                let (given, skipped) = reward::give(work, signal.id, &case.campaign, &case.lead, &case.referrer, &occasion).await?;
                rewards.extend(given);
                for check in skipped {
                    // What is true of each payment is said once.
                    if !decision.checks.iter().any(|said| (said.reason, &said.about) == (check.reason, &check.about)) {
                        decision.checks.push(check);
                    }
                }
            }
            decision.outcome = if rewards.is_empty() { Outcome::Unchanged } else { Outcome::Applied };
        }
        if count_now && decision.outcome != Outcome::Applied {
            decision.outcome = Outcome::Recorded;
        }
        work.record(&signal, &decision, Some(case.campaign.version)).await?;
        let lead = case.lead_view(work.shared);
        Ok(Answer {
            rewards,
            qualified,
            already_qualified: !qualified && case.lead.lead_status == Some(LeadStatus::Qualified),
            ..answer(signal.id, decision, Some(lead))
        })
    }
}

impl Case {
    /// Conversions that did not count when they were told may count by today's rule, and
    /// as campaign and referrer stand today.
    async fn count_what_was_ignored(&self, work: &mut Work<'_, '_>, rows: &mut [ConversionRow], signal: &Signal) -> Result<bool> {
        let rule = &self.campaign.settings().rule;
        let ignored: Vec<usize> = (0..rows.len()).filter(|&i| !rows[i].counts && !rows[i].fully_refunded()).collect();
        let mut verdicts = work.ask(ignored.iter().filter_map(|&i| question(rule, &rows[i])).collect())?.into_iter();
        let mut any = false;
        for i in ignored {
            rows[i].counts = true;
            let referrer = ReferrerFacts { was_suspended: None, ..self.referrer.referrer_facts() };
            let campaign = CampaignFacts { pauses: &[], ..self.campaign.facts() };
            let considered = self.consider(&rows[i], &progress(rows, None, rule), verdicts.next().as_ref(), campaign, referrer);
            let was = rows[i].reason;
            rows[i].counts = considered.counts;
            rows[i].reason = considered.decision.reason;
            let row = &rows[i];
            if row.counts || row.reason != was {
                let args = [work.context.space.into(), row.id.uuid().into(), row.counts.into()];
                let reason = row.reason.as_str();
                work.tx
                    .execute("UPDATE conversions SET counts = $3, reason = $4 WHERE space = $1 AND id = $2", &[args[0], args[1], args[2], reason.into()])
                    .await?;
            }
            if row.counts {
                any = true;
                let data = self.data(work.shared, Some(row.view(&self.campaign)), signal.id, &considered.decision);
                work.emit(EventType::ConversionRecorded, &row.id, Some(self.lead.id), &data)?;
            }
        }
        Ok(any)
    }
}

/// Whether a lead could be qualified by anything now: the checks.
fn able(campaign: &Campaign, lead: &Participant, referrer: &Participant, now: Timestamp) -> Vec<Check> {
    let facts = QualifyFacts { campaign: campaign.facts(), lead: lead_facts(lead), referrer: referrer.referrer_facts(), at: now, evidence: Evidence::Direct };
    let mut checks = decide::qualify(&facts).decision.checks;
    checks.retain(|check| check.reason != Reason::ManualAllowed);
    checks
}

/// How far what was told of a lead has brought it: the checks.
fn come(campaign: &Campaign, rows: &[ConversionRow]) -> Vec<Check> {
    let rule = &campaign.settings().rule;
    let progress = progress(rows, None, rule);
    let mut checks = Vec::new();
    decide::progress_checks(rule, progress.spent_minor, &progress.goals, &mut checks);
    checks
}

/// The checks that the latest conversions which do not count have failed, as they were made then; newest first.
async fn ignored(tx: &mut Tx<'_>, space: Space, rows: &[ConversionRow]) -> Result<Vec<Check>> {
    let sql = "SELECT checks FROM signals WHERE space = $1 AND id = $2";
    let mut failed = Vec::new();
    for row in rows.iter().filter(|row| !row.counts).rev().take(5) {
        let checks = tx.fetch_one(sql, &[space.into(), row.signal.uuid().into()], |row| row.get::<String>(0)).await?;
        let checks: Vec<Check> = checks.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let check = checks.into_iter().find(|check| check.failed() && check.reason == row.reason);
        // Looked at again, it may have failed another.
        let check = check.unwrap_or_else(|| Check::new(row.reason, false, "a conversion that counts", "one that does not"));
        failed.push(check.about(format!("{} {} of {}", row.kind.as_str(), row.external_id, row.occurred_at)));
    }
    Ok(failed)
}

/// What the rule says of a lead as things are: the checks of an explanation. What stands most in the way comes first.
fn explain(campaign: &Campaign, lead: &Participant, referrer: &Participant, rows: &[ConversionRow], mut ignored: Vec<Check>, now: Timestamp) -> Decision {
    let rule = &campaign.settings().rule;
    let mut checks = able(campaign, lead, referrer, now);
    let come = come(campaign, rows);
    let pending = lead.lead_status == Some(LeadStatus::Pending);
    if pending && (come.iter().any(Check::failed) || !rows.iter().any(|row| row.counts && !row.fully_refunded())) {
        checks.extend(decide::window_check(rule, lead.lead_since.unwrap_or(lead.created_at), now));
    }
    // Where the latest conversion did not count, that is what is asked about; otherwise what is still missing.
    let earlier = ignored.split_off(usize::from(rows.last().is_some_and(|row| !row.counts)));
    checks.extend(ignored.into_iter().chain(come).chain(earlier));
    if rows.is_empty() && pending {
        let expected = rule.conversions.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
        checks.push(Check { passed: None, ..Check::new(Reason::ConversionKind, false, expected, "no conversion yet") });
    }
    let failed = checks.iter().find(|check| check.failed()).map(|check| check.reason);
    match failed {
        Some(reason) => Decision { outcome: Outcome::Ignored, reason, checks },
        None => Decision { outcome: Outcome::Applied, reason: Reason::Done, checks },
    }
}

/// Why a lead is what it is: the verdict, the checks as things are now, the nearest miss,
/// the next step, and everything that was told about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    pub lead: view::Lead,
    /// One sentence: "Pending: 4.00 EUR short of the minimum."
    pub verdict: String,
    /// Since when the lead has this status.
    pub since: Timestamp,
    /// The signal that decided on the status, and who sent it.
    pub decided_by: Option<DecidedBy>,
    /// The rule's version that is looked at.
    pub version: i64,
    pub checks: Vec<Check>,
    pub nearest_miss: Option<String>,
    pub next_step: String,
    pub conversions: Vec<view::Conversion>,
    pub rewards: Vec<view::Reward>,
    /// Everything that was told about the lead, newest first; at most 100.
    pub signals: Vec<super::signal::SignalView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DecidedBy {
    pub signal_id: SignalId,
    pub actor: String,
    pub source: String,
    pub version: Option<i64>,
}

pub async fn explanation(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: LeadId, now: Timestamp) -> Result<Explanation> {
    let lead = participant::lead(tx, space, id).await?;
    let campaign = campaign::get(tx, shared, space, lead.campaign).await?;
    let referrer = lead.referrer_id.ok_or(Error::NotFound { what: "lead" })?;
    let referrer = participant::find(tx, space, referrer).await?.ok_or(Error::NotFound { what: "referrer" })?;
    let rows = conversion::of_lead(tx, space, lead.id).await?;
    let hundred = super::list::Page { limit: 100, ..Default::default() };
    let signals = super::signal::list(tx, space, &super::signal::SignalFilter { participant: Some(lead.id), ..Default::default() }, &hundred).await?.data;
    let rewards = reward::list(tx, shared, space, &reward::RewardFilter { lead: Some(id), ..Default::default() }, &hundred).await?.data;
    let status = lead.lead_status.unwrap_or(LeadStatus::Pending);
    let deciding: &[EventType] = match status {
        LeadStatus::Qualified => &[EventType::LeadQualified],
        LeadStatus::Rejected => &[EventType::LeadRejected],
        LeadStatus::Pending => &[EventType::LeadUnqualified, EventType::LeadRestored, EventType::LeadCreated, EventType::LeadClaimed],
    };
    let decided = signals.iter().find(|signal| signal.effects.iter().any(|effect| deciding.iter().any(|event| event.as_str() == effect.kind)));
    // A qualified lead is explained by what decided it, and by the rewards that it has not brought; the others by how
    // things stand.
    let checks = match decided.filter(|_| status == LeadStatus::Qualified) {
        Some(signal) => signal.checks.iter().filter(|check| check.about.is_none()).cloned().chain(held_back(&campaign, &referrer, &signals, signal)).collect(),
        None => {
            let ignored = ignored(tx, space, &rows).await?;
            explain(&campaign, &lead, &referrer, &rows, ignored, now).checks
        }
    };
    let first = checks.iter().find(|check| check.failed());
    let nearest_miss = first.and_then(|check| check.miss.clone()).or_else(|| checks.iter().find_map(|check| check.miss.clone()));
    let send = || "Send a conversion, or qualify the lead.".to_owned();
    let (verdict, next_step) = match status {
        LeadStatus::Qualified => {
            let next = Some(next_of(&rewards)).filter(|next| !next.is_empty());
            ("Qualified: all conditions were met.".to_owned(), next.unwrap_or_else(|| first.map_or("", |check| check.reason.next_step()).to_owned()))
        }
        LeadStatus::Rejected => ("Rejected: the lead earns nothing.".to_owned(), Reason::LeadNotRejected.next_step().to_owned()),
        LeadStatus::Pending => match (first, lead.status_reason) {
            (Some(check), _) => {
                let verdict = check.miss.as_ref().map_or_else(|| format!("Pending: {}", check.reason.sentence()), |miss| format!("Pending: {miss}."));
                (verdict, Some(check.reason.next_step().to_owned()).filter(|next| !next.is_empty()).unwrap_or_else(send))
            }
            (None, Some(reason)) => (format!("Pending again: {}", reason.sentence()), send()),
            (None, None) => ("Pending: nothing has been reported that could qualify the lead.".to_owned(), send()),
        },
    };
    Ok(Explanation {
        since: decided.map_or(lead.lead_since.unwrap_or(lead.created_at), |signal| signal.received_at),
        decided_by: decided.map(|signal| DecidedBy {
            signal_id: signal.id,
            actor: signal.actor.clone(),
            source: signal.source.clone(),
            version: signal.version,
        }),
        lead: lead.lead_view(&campaign, &referrer, shared),
        verdict,
        version: campaign.version,
        checks,
        nearest_miss,
        next_step,
        conversions: rows.iter().map(|row| row.view(&campaign)).collect(),
        rewards,
        signals,
    })
}

/// Whether a check is about one of the campaign's reward definitions.
fn of_reward(campaign: &Campaign, check: &Check) -> bool {
    check.about.as_ref().is_some_and(|about| campaign.configuration.rewards.iter().any(|definition| definition.terms.name.as_str() == about))
}

/// Why rewards of a qualified lead were not given, as they were looked at last: when it was decided, at each payment
/// after that, or when everything was looked at again. How many leads are missing is said as it is now.
fn held_back(campaign: &Campaign, referrer: &Participant, signals: &[super::signal::SignalView], decided: &super::signal::SignalView) -> Vec<Check> {
    let by_count = |check: &Check| matches!(check.reason, Reason::Milestone | Reason::EveryN);
    let mut found: Vec<Check> = Vec::new();
    for signal in signals {
        for check in signal.checks.iter().filter(|check| check.failed() && check.reason != Reason::OnlyOnce && !by_count(check) && of_reward(campaign, check)) {
            if !found.iter().any(|newer| (newer.reason, &newer.about) == (check.reason, &check.about)) {
                found.push(check.clone());
            }
        }
        if signal.id == decided.id || signal.kind == "lead.recheck" {
            break;
        }
    }
    let occasion = Occasion {
        lead: LeadId::from_uuid(referrer.id),
        joined: false,
        qualified: true,
        again: false,
        conversion: None,
        qualified_since: None,
        at: decided.occurred_at,
        leads: referrer.leads,
        qualified_leads: referrer.qualified_leads,
    };
    found.extend(decide::candidates(&campaign.configuration.rewards, &occasion).1.into_iter().filter(by_count));
    found
}

fn next_of(rewards: &[view::Reward]) -> String {
    use goodword_core::reward::RewardState as S;
    let waiting = |state: S| rewards.iter().filter(|reward| reward.state == state).count();
    for (state, one, many) in [
        (S::Failed, "reward has failed: read its note, mend the cause, then retry", "rewards have failed: read their notes, mend the cause, then retry"),
        (S::InReview, "reward is in review: approve or reject", "rewards are in review: approve or reject"),
        (S::Approved, "reward is approved: issue", "rewards are approved: issue"),
        (S::OnHold, "reward is on hold: see its reason", "rewards are on hold: see their reasons"),
        (S::Issuing, "reward is being issued: confirm or report a failure", "rewards are being issued: confirm or report a failure"),
    ] {
        let count = waiting(state);
        if count > 0 {
            return format!("{count} {}.", if count == 1 { one } else { many });
        }
    }
    String::new()
}
