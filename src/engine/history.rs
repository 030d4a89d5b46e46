//! What happened elsewhere, brought in as it was: people with their codes, attribution and times, and
//! rewards with their state. No rule is asked and no reward is given, for all of that was decided there;
//! every event has the time at which it happened.
//!
//! Brought again, the same changes nothing; what has happened there since is added.

use super::{
    Error, Result, Space,
    campaign::{self, Campaign},
    event::EventType,
    number::{self, Keep, Numbered},
    participant::{self, New, Participant, evidence},
    reward::{self, Entry, RewardRow},
    view,
    work::{Act, Context, Work, statement},
};
use goodword_core::{
    decide::{Decision, LeadStatus},
    explain::Reason,
    ids::{CampaignId, LeadId, ReferrerId, RewardDefinitionId, RewardId, SignalId},
    money::Money,
    reward::{Cadence, RewardState, RewardValue, Role},
    text::{Code, Email},
    time::Timestamp,
};
use goodword_store::{Row, Tx};
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// Who does it, for the record.
pub const ACTOR: &str = "import";

/// A person as another system had them.
#[derive(Debug, Clone, Serialize)]
pub struct Past {
    /// The id that they had there.
    pub number: Option<i64>,
    pub code: Option<Code>,
    pub email: Email,
    pub first_name: String,
    pub last_name: String,
    /// Answers by the keys of the campaign's fields.
    pub fields: view::Fields,
    pub source: String,
    #[serde(skip)]
    pub ip: Option<String>,
    pub signed_up_at: Timestamp,
    /// Who referred them.
    pub referrer: Option<ReferrerId>,
    pub qualified_at: Option<Timestamp>,
    pub unsubscribed_at: Option<Timestamp>,
}

/// What becomes of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They are new here.
    Added { id: Uuid, notes: Vec<String> },
    /// They are here, and something has happened since.
    Changed { id: Uuid, notes: Vec<String> },
    /// They are here as they were there.
    Same { id: Uuid, notes: Vec<String> },
    /// They cannot come.
    Refused(String),
}

impl Fate {
    pub const fn id(&self) -> Option<Uuid> {
        match self {
            Fate::Added { id, .. } | Fate::Changed { id, .. } | Fate::Same { id, .. } => Some(*id),
            Fate::Refused(_) => None,
        }
    }
}

/// What is here already of somebody who comes.
#[derive(Debug)]
pub enum Here {
    Nobody { code: Option<Code>, notes: Vec<String> },
    Somebody(Box<Participant>),
    Other(String),
}

/// Compares somebody who comes with who is here: by code, and by e-mail address in the campaign. A campaign
/// that is not here yet has nobody.
pub async fn meet(tx: &mut Tx<'_>, space: Space, campaign: Option<&Campaign>, past: &Past) -> Result<Here> {
    let same_address = |person: &Participant| person.email.eq_ignore_ascii_case(past.email.as_str());
    let mut notes = Vec::new();
    let mut code = past.code.clone();
    if let Some(wanted) = &past.code {
        let sql = "SELECT participant_id, space FROM codes WHERE code_key = $1";
        let owner = tx.fetch_one(sql, &[wanted.key().as_str().into()], |row| Ok((row.get::<Option<Uuid>>(0)?, row.get::<i64>(1)?))).await?;
        let person = match owner {
            Some((Some(id), of)) if of == space.number() => participant::find(tx, space, id).await?,
            _ => None,
        };
        match (owner, person) {
            (None, _) => {}
            (_, Some(person)) if same_address(&person) && campaign.is_some_and(|campaign| campaign.id == person.campaign) => {
                return Ok(Here::Somebody(Box::new(person)));
            }
            (Some(_), person) => {
                let whose = person.map_or("somebody else".to_owned(), |person| person.email);
                notes.push(format!(
                    "the code {wanted} belongs to {whose} (codes are compared without case): a new one is given, and the old link leads to them"
                ));
                code = None;
            }
        }
    }
    let Some(campaign) = campaign else { return Ok(Here::Nobody { code, notes }) };
    Ok(match participant::by_email(tx, space, campaign, &past.email).await? {
        Some(person) if same_address(&person) => Here::Somebody(Box::new(person)),
        Some(person) => Here::Other(format!(
            "the campaign takes {} and {} for one mailbox; it compares plain addresses with duplicates: same_address",
            past.email, person.email
        )),
        None => Here::Nobody { code, notes },
    })
}

/// Brings people into a campaign, in one transaction. A referrer comes before those whom they referred.
pub struct BringPeople {
    pub campaign: CampaignId,
    pub people: Vec<Past>,
}

impl Act for BringPeople {
    type Output = Vec<Fate>;
    // Thousands of rows.
    const MAY_SHARE: bool = false;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Vec<Fate>> {
        let campaign = campaign::get(work.tx, work.shared, work.context.space, self.campaign).await?;
        let mut fates = Vec::with_capacity(self.people.len());
        for past in &self.people {
            fates.push(bring(work, &campaign, past).await?);
        }
        Ok(fates)
    }
}

async fn bring(work: &mut Work<'_, '_>, campaign: &Campaign, past: &Past) -> Result<Fate> {
    let space = work.context.space;
    match meet(work.tx, space, Some(campaign), past).await? {
        Here::Other(why) => Ok(Fate::Refused(why)),
        Here::Nobody { code, mut notes } => {
            let (id, dropped) = add(work, campaign, past, code.as_ref()).await?;
            notes.extend(dropped);
            notes.extend(keep_number(work, id, past).await?);
            Ok(Fate::Added { id, notes })
        }
        Here::Somebody(person) => {
            if let Some(other) = number::kept(work.tx, space, Numbered::Participant, person.id).await?
                && past.number.is_some_and(|number| number != other)
            {
                return Ok(Fate::Refused(format!("user {other} has the same address")));
            }
            let mut changed = false;
            let mut notes = Vec::new();
            // Only forward: what was taken back there may have been decided again here.
            if let (Some(at), Some(LeadStatus::Pending), None) = (past.qualified_at, person.lead_status, person.first_qualified_at) {
                qualify(work, campaign, &person, at).await?;
                changed = true;
            }
            if let (Some(at), None) = (past.unsubscribed_at, person.unsubscribed_at) {
                unsubscribe(work, person.id, at).await?;
                changed = true;
            }
            match (past.referrer, person.referrer_id) {
                (Some(theirs), Some(ours)) if theirs.uuid() != ours => notes.push("another referrer has them here; that one is kept".to_owned()),
                (Some(_), None) => notes.push("they were referred there and are a referrer of their own here; that is kept".to_owned()),
                _ => {}
            }
            notes.extend(keep_number(work, person.id, past).await?);
            Ok(if changed { Fate::Changed { id: person.id, notes } } else { Fate::Same { id: person.id, notes } })
        }
    }
}

/// A change at another time, in the same transaction.
fn context_at(work: &Work<'_, '_>, at: Timestamp, source: &str) -> Context {
    Context { now: at, source: source.into(), ..work.context.clone() }
}

async fn add(work: &mut Work<'_, '_>, campaign: &Campaign, past: &Past, code: Option<&Code>) -> Result<(Uuid, Vec<String>)> {
    let definitions = if past.referrer.is_some() { &campaign.settings().lead_fields } else { &campaign.settings().referrer_fields };
    let (mut fields, mut dropped) = (view::Fields::new(), Vec::new());
    for (key, value) in &past.fields {
        match definitions.iter().find(|field| field.key == *key).map(|field| field.check(value)) {
            Some(Ok(value)) => {
                fields.insert(key.clone(), value);
            }
            Some(Err(invalid)) => dropped.push(format!("{key}: expected {}; the value is left out", invalid.expected)),
            None => dropped.push(format!("{key}: the campaign has no such field; the value is left out")),
        }
    }
    let person = participant::Person {
        email: past.email.clone(),
        first_name: past.first_name.clone(),
        last_name: past.last_name.clone(),
        external_id: None,
        fields: fields.clone(),
        ip: past.ip.clone(),
        visitor: None,
    };
    let mut signal = work.signal(if past.referrer.is_some() { "lead.import" } else { "referrer.import" }, Some(campaign.id), None, past);
    signal.occurred_at = past.signed_up_at;
    let decision = Decision::applied(Vec::new());
    let context = context_at(work, past.signed_up_at, &past.source);
    let referrer = match past.referrer {
        Some(id) => Some(participant::find_locked(work.tx, work.context.space, id.uuid()).await?.ok_or(Error::NotFound { what: "referrer" })?),
        None => None,
    };
    let then = &mut work.within(&context);
    let new = match &referrer {
        None => New::Referrer,
        Some(referrer) => New::Lead { referrer, link_used_at: None, risk: &[] },
    };
    let participant = participant::insert(then, campaign, &person, fields, code, new).await?;
    signal.participant = Some(participant.id);
    let mut data = view::EventData { campaign: Some(campaign.reference()), evidence: Some(evidence(signal.id, &decision)), ..Default::default() };
    match referrer {
        None => {
            data.referrer = Some(participant.referrer_view(campaign, then.shared));
            then.emit(EventType::ReferrerCreated, &participant.referrer(), Some(participant.id), &data)?;
        }
        Some(referrer) => {
            let args = [then.context.space.into(), referrer.id.into(), past.signed_up_at.ms().into()];
            then.tx
                .execute("UPDATE participants SET leads = leads + 1, referrer_since = coalesce(referrer_since, $3) WHERE space = $1 AND id = $2", &args)
                .await?;
            let is_new = referrer.referrer_since.is_none();
            let referrer = Participant { leads: referrer.leads + 1, referrer_since: referrer.referrer_since.or(Some(past.signed_up_at)), ..referrer };
            data.referrer = Some(referrer.referrer_view(campaign, then.shared));
            if is_new {
                // A lead who passed the word on.
                then.emit(EventType::ReferrerCreated, &referrer.referrer(), Some(referrer.id), &data)?;
            }
            data.lead = Some(participant.lead_view(campaign, &referrer, then.shared));
            then.emit(EventType::LeadCreated, &participant.lead(), Some(participant.id), &data)?;
        }
    }
    then.tell().await?;
    work.record(&signal, &decision, Some(campaign.version)).await?;
    if let Some(at) = past.qualified_at.filter(|_| participant.lead_since.is_some()) {
        qualify(work, campaign, &participant, at).await?;
    }
    if let Some(at) = past.unsubscribed_at {
        unsubscribe(work, participant.id, at).await?;
    }
    Ok((participant.id, dropped))
}

/// A lead was qualified there at that time.
async fn qualify(work: &mut Work<'_, '_>, campaign: &Campaign, lead: &Participant, at: Timestamp) -> Result<()> {
    let space = work.context.space;
    let referrer = lead.referrer_id.ok_or(Error::NotFound { what: "referrer" })?;
    let referrer = participant::find_locked(work.tx, space, referrer).await?.ok_or(Error::NotFound { what: "referrer" })?;
    work.tx
        .execute(
            "UPDATE participants SET lead_status = 'qualified', qualified_at = $3, first_qualified_at = coalesce(first_qualified_at, $3), qualified_by = 'direct', status_reason = NULL, updated_at = $4 WHERE space = $1 AND id = $2",
            &[space.into(), lead.id.into(), at.ms().into(), work.context.now.ms().into()],
        )
        .await?;
    work.tx.execute("UPDATE participants SET qualified_leads = qualified_leads + 1 WHERE space = $1 AND id = $2", &[space.into(), referrer.id.into()]).await?;
    let mut signal = work.signal("lead.import_qualified", Some(campaign.id), Some(lead.id), &json!({"qualified_at": at}));
    signal.occurred_at = at;
    let decision = Decision::applied(Vec::new());
    let lead = Participant { lead_status: Some(LeadStatus::Qualified), qualified_at: Some(at), first_qualified_at: Some(at), ..lead.clone() };
    let referrer = Participant { qualified_leads: referrer.qualified_leads + 1, ..referrer };
    let data = view::EventData {
        campaign: Some(campaign.reference()),
        referrer: Some(referrer.referrer_view(campaign, work.shared)),
        lead: Some(lead.lead_view(campaign, &referrer, work.shared)),
        evidence: Some(evidence(signal.id, &decision)),
        ..Default::default()
    };
    let context = context_at(work, at, &lead.source);
    let then = &mut work.within(&context);
    then.emit(EventType::LeadQualified, &lead.lead(), Some(lead.id), &data)?;
    then.tell().await?;
    work.record(&signal, &decision, Some(campaign.version)).await
}

async fn unsubscribe(work: &mut Work<'_, '_>, id: Uuid, at: Timestamp) -> Result<()> {
    let args = [work.context.space.into(), id.into(), at.ms().into()];
    work.tx.execute("UPDATE participants SET unsubscribed_at = $3 WHERE space = $1 AND id = $2", &args).await?;
    Ok(())
}

async fn keep_number(work: &mut Work<'_, '_>, id: Uuid, past: &Past) -> Result<Option<String>> {
    let Some(number) = past.number else { return Ok(None) };
    let kept = Keep { what: Numbered::Participant, id, number }.act(work).await?;
    Ok((!kept).then(|| format!("the id {number} names somebody else here; they have a new one")))
}

// ---------------------------------------------------------------- rewards

/// A reward as another system had it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastReward {
    /// The id that it had there, for the record.
    pub number: i64,
    /// `approved` where it is due, `issued` or `failed`.
    pub state: RewardState,
    pub amount: Option<Money>,
    pub units: Option<i64>,
    pub coupon: Option<String>,
    pub issued_at: Option<Timestamp>,
}

/// Brings the rewards that a definition has given somebody: those that were issued first, in the order
/// of their times, then those that are due. By that order they are found again: the system they come from
/// does not say which due reward became which issued one.
pub struct BringRewards {
    pub definition: RewardDefinitionId,
    pub campaign: CampaignId,
    pub recipient: Uuid,
    pub rewards: Vec<PastReward>,
}

/// What became of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BroughtRewards {
    pub added: u64,
    pub changed: u64,
    pub same: u64,
    pub refused: Vec<String>,
}

impl Act for BringRewards {
    type Output = BroughtRewards;
    // Thousands of rows.
    const MAY_SHARE: bool = false;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<BroughtRewards> {
        let space = work.context.space;
        let campaign = campaign::get(work.tx, work.shared, space, self.campaign).await?;
        let definition = campaign.configuration.reward(self.definition).ok_or(Error::NotFound { what: "reward definition" })?.clone();
        let mut result = BroughtRewards::default();
        // Locked, so that two imports at once do not bring the same twice.
        let Some(recipient) = participant::find_locked(work.tx, space, self.recipient).await? else {
            result.refused.push("the recipient is not here".to_owned());
            return Ok(result);
        };
        let args = [space.into(), self.definition.uuid().into(), self.recipient.into()];
        let brought = statement(
            reward::SELECT,
            " WHERE space = $1 AND definition_id = $2 AND beneficiary_id = $3 AND signal_id IN (SELECT id FROM signals WHERE space = $1 AND kind = 'reward.import') ORDER BY no",
        );
        let brought = work.tx.fetch(&brought, &args, RewardRow::read).await?;
        let sql = "SELECT cause FROM rewards WHERE space = $1 AND definition_id = $2 AND beneficiary_id = $3";
        let mut causes: HashSet<String> = work.tx.fetch(sql, &args, |row| row.get::<String>(0)).await?.into_iter().collect();
        let leads = match definition.terms.beneficiary {
            Role::Lead => vec![recipient.id],
            Role::Referrer => {
                let sql = "SELECT id FROM participants WHERE space = $1 AND referrer_id = $2 ORDER BY CASE WHEN qualified_at IS NULL THEN 1 ELSE 0 END, qualified_at, lead_since, no LIMIT 10000";
                work.tx.fetch(sql, &[space.into(), recipient.id.into()], |row| row.get::<Uuid>(0)).await?
            }
        };
        for (i, past) in self.rewards.iter().enumerate() {
            if let Some(row) = brought.get(i) {
                let open = matches!(row.state, RewardState::Due | RewardState::OnHold | RewardState::InReview | RewardState::Approved | RewardState::Failed);
                if past.state == RewardState::Issued && open {
                    let at = past.issued_at.unwrap_or(work.context.now);
                    let signal = work.signal("reward.import_issued", Some(campaign.id), Some(recipient.id), past);
                    reward::was_issued(work, row.id, at, &note(past), signal.id).await?;
                    work.record(&signal, &Decision::applied(Vec::new()), Some(campaign.version)).await?;
                    work.effects.clear();
                    result.changed += 1;
                } else {
                    result.same += 1;
                }
                continue;
            }
            // A reward belongs to a lead: the next one that this definition has not rewarded yet.
            let free = leads.iter().find(|lead| !causes.contains(&LeadId::from_uuid(**lead).to_string()));
            let Some(&lead) = free.or(leads.first()) else {
                result.refused.push(format!("reward {}: the referrer has no lead here that it could be for", past.number));
                continue;
            };
            let id: RewardId = work.mint.id();
            let cause = match (free, &definition.terms.cadence) {
                (Some(lead), Cadence::Once) => LeadId::from_uuid(*lead).to_string(),
                _ => format!("brought:{id}"),
            };
            causes.insert(cause.clone());
            let (metric, units) = match &definition.terms.value {
                RewardValue::Custom { metric, .. } => (Some(metric.to_string()), past.units),
                _ => (None, None),
            };
            let row = RewardRow {
                number: 0,
                id,
                campaign: campaign.id,
                definition: definition.id,
                version: campaign.version,
                beneficiary: recipient.id,
                role: definition.terms.beneficiary,
                lead: LeadId::from_uuid(lead),
                cause,
                conversion: None,
                kind: definition.terms.value.kind().to_owned(),
                amount: past.amount,
                metric,
                units,
                coupon: past.coupon.clone(),
                basis: None,
                reversed_minor: 0,
                state: past.state,
                reason: Reason::Done,
                note: None,
                hold_until: None,
                recalled: false,
                budget_period: None,
                due_at: past.issued_at.unwrap_or(work.context.now),
                issued_at: past.issued_at.filter(|_| past.state == RewardState::Issued),
                attempts: i64::from(past.state != RewardState::Approved),
                signal: SignalId::from_uuid(Uuid::nil()),
                updated_at: work.context.now,
            };
            bring_reward(work, &campaign, definition.terms.name.as_str(), &recipient, past, row).await?;
            result.added += 1;
        }
        Ok(result)
    }
}

fn note(past: &PastReward) -> String {
    format!("Brought from Referral Factory, where it was reward {}.", past.number)
}

async fn bring_reward(work: &mut Work<'_, '_>, campaign: &Campaign, name: &str, recipient: &Participant, past: &PastReward, row: RewardRow) -> Result<()> {
    let space = work.context.space;
    let mut signal = work.signal("reward.import", Some(campaign.id), Some(recipient.id), past);
    signal.occurred_at = row.due_at;
    let row = reward::insert_row(work, RewardRow { signal: signal.id, ..row }).await?;
    if let Some(coupon) = &row.coupon {
        work.tx
            .execute(
                "INSERT INTO coupons (space, definition_id, code, code_key, reward_id, assigned_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
                 ON CONFLICT (space, definition_id, code_key) DO UPDATE SET reward_id = excluded.reward_id, assigned_at = excluded.assigned_at",
                &[
                    space.into(),
                    row.definition.uuid().into(),
                    coupon.as_str().into(),
                    coupon.to_lowercase().as_str().into(),
                    row.id.uuid().into(),
                    row.due_at.ms().into(),
                ],
            )
            .await?;
    }
    let decision = Decision::applied(Vec::new());
    let lead = participant::find(work.tx, space, row.lead.uuid()).await?.ok_or(Error::NotFound { what: "lead" })?;
    let referrer = match lead.referrer_id {
        Some(id) => participant::find(work.tx, space, id).await?,
        None => None,
    };
    let data = view::EventData {
        campaign: Some(campaign.reference()),
        lead: referrer.as_ref().map(|referrer| lead.lead_view(campaign, referrer, work.shared)),
        referrer: referrer.as_ref().map(|referrer| referrer.referrer_view(campaign, work.shared)),
        reward: Some(row.view(campaign, name, recipient)),
        moved: row.amount,
        evidence: Some(evidence(signal.id, &decision)),
        ..Default::default()
    };
    let context = context_at(work, row.due_at, &recipient.source);
    let then = &mut work.within(&context);
    let entry = |n, state, note, amount| Entry { n, state, reason: Reason::Done, note, amount };
    let told = note(past);
    reward::append(then, row.id, signal.id, &[entry(1, RewardState::Due, Some(told.as_str()), row.amount), entry(2, row.state, None, None)]).await?;
    then.emit(reward::event_of(RewardState::Due), &row.id, Some(row.beneficiary), &data)?;
    then.emit(reward::event_of(row.state), &row.id, Some(row.beneficiary), &data)?;
    then.tell().await?;
    work.record(&signal, &decision, Some(campaign.version)).await
}

// ---------------------------------------------------------------- definitions and positions

/// Lets a definition go by the number that it had where it came from, where that is free. Says whether it does.
pub struct KeepDefinition {
    pub definition: RewardDefinitionId,
    pub number: i64,
}

impl Act for KeepDefinition {
    type Output = bool;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<bool> {
        let space = work.context.space;
        if let Some((id, _)) = number::definition(work.tx, space, self.number).await? {
            return Ok(id == self.definition);
        }
        let args = [space.into(), self.definition.uuid().into(), self.number.into()];
        Ok(work.tx.execute("UPDATE definition_numbers SET number = $3 WHERE space = $1 AND definition_id = $2", &args).await? == 1)
    }
}

/// Remembers how far an import has come; `None` when it has come to its end.
pub struct SetPosition {
    pub source: String,
    pub page: Option<i64>,
}

impl Act for SetPosition {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let (space, source, now) = (work.context.space, self.source.as_str(), work.context.now.ms());
        match self.page {
            Some(page) => {
                work.tx
                    .execute(
                        "INSERT INTO import_positions (space, source, page, updated_at) VALUES ($1, $2, $3, $4) ON CONFLICT (space, source) DO UPDATE SET page = excluded.page, updated_at = excluded.updated_at",
                        &[space.into(), source.into(), page.into(), now.into()],
                    )
                    .await?
            }
            None => work.tx.execute("DELETE FROM import_positions WHERE space = $1 AND source = $2", &[space.into(), source.into()]).await?,
        };
        Ok(())
    }
}

/// How far an import has come that was interrupted.
pub async fn position(tx: &mut Tx<'_>, space: Space, source: &str) -> Result<Option<i64>> {
    let sql = "SELECT page FROM import_positions WHERE space = $1 AND source = $2";
    Ok(tx.fetch_one(sql, &[space.into(), source.into()], |row: &Row<'_>| row.get::<i64>(0)).await?)
}
