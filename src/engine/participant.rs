//! Participants: the people of a campaign, as referrers, as leads, or as both.

use super::{
    Error, Result, Shared, Space,
    campaign::{self, Campaign, claim_code},
    event::EventType,
    list::{Listing, Page, Query},
    reward,
    view::{self, Fields, ReferrerStatus, Why},
    work::{Act, Signal, SignalRecord, Work, statement},
};
use goodword_core::{
    campaign::{Duplicates, Field},
    decide::{self, ClaimFacts, Decision, Existing, JoinFacts, LeadStatus, Outcome, ReferrerFacts},
    explain::{Check, Reason},
    ids::{CampaignId, DeliveryId, EndpointId, EventId, LeadId, ReferrerId, SignalId, VisitorId},
    text::{Code, Email},
    time::{HOUR_MS, Timestamp},
};
use goodword_store::{self as store, Row, Tx};
use serde_json::json;
use uuid::Uuid;

/// One row: a person in a campaign.
#[derive(Debug, Clone)]
pub struct Participant {
    pub number: i64,
    pub id: Uuid,
    pub campaign: CampaignId,
    pub email: String,
    pub mailbox: String,
    pub first_name: String,
    pub last_name: String,
    pub external_id: Option<String>,
    pub fields: Fields,
    pub source: String,
    pub code: String,
    pub referrer_since: Option<Timestamp>,
    pub suspended_at: Option<Timestamp>,
    pub was_suspended: Option<(Timestamp, Timestamp)>,
    pub leads: i64,
    pub qualified_leads: i64,
    pub lead_status: Option<LeadStatus>,
    pub lead_since: Option<Timestamp>,
    pub referrer_id: Option<Uuid>,
    pub link_used_at: Option<Timestamp>,
    pub qualified_at: Option<Timestamp>,
    pub first_qualified_at: Option<Timestamp>,
    pub qualified_by_conversion: bool,
    pub status_reason: Option<Reason>,
    pub risk: Vec<Reason>,
    pub ip: Option<String>,
    pub visitor: Option<Uuid>,
    pub unsubscribed_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub(super) const SELECT: &str = "SELECT coalesce(number, no), id, campaign_id, email, mailbox, first_name, last_name, external_id, fields, source, code, referrer_since, suspended_at, leads, qualified_leads, \
     lead_status, lead_since, referrer_id, link_used_at, qualified_at, first_qualified_at, qualified_by, status_reason, risk, ip, visitor, unsubscribed_at, created_at, updated_at, was_suspended_from, was_suspended_until FROM participants";

/// What the address of somebody who was erased begins with.
const ERASED_PREFIX: &str = "erased-";

impl Participant {
    /// Whether nothing is left of a person but that there was somebody.
    pub fn is_erased(&self) -> bool {
        self.email.starts_with(ERASED_PREFIX) && self.email.ends_with("@invalid")
    }

    /// Erasing is for ever: nothing is written down anew about who was erased, and their link does not come back.
    fn refuse_erased(&self) -> Result<()> {
        if !self.is_erased() {
            return Ok(());
        }
        Err(Error::Conflict { reason: None, detail: "The person's data was erased, which is final. Who comes back is somebody new: create them.".into() })
    }

    pub fn read(row: &Row<'_>) -> store::Result<Self> {
        let broken = |what: &str| store::Error::Database(format!("a participant has an unknown {what}"));
        let at = |column: usize| row.get::<Option<i64>>(column).map(|ms| ms.map(Timestamp::from_ms));
        let lead_status = match row.get::<Option<String>>(15)? {
            Some(word) => Some(LeadStatus::parse(&word).ok_or_else(|| broken("lead status"))?),
            None => None,
        };
        let fields = match row.text(8)? {
            "{}" => Fields::new(),
            text => serde_json::from_str(text).map_err(|_| broken("field"))?,
        };
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            campaign: CampaignId::from_uuid(row.get(2)?),
            email: row.get(3)?,
            mailbox: row.get(4)?,
            first_name: row.get(5)?,
            last_name: row.get(6)?,
            external_id: row.get(7)?,
            fields,
            source: row.get(9)?,
            code: row.get(10)?,
            referrer_since: at(11)?,
            suspended_at: at(12)?,
            was_suspended: at(29)?.zip(at(30)?),
            leads: row.get(13)?,
            qualified_leads: row.get(14)?,
            lead_status,
            lead_since: at(16)?,
            referrer_id: row.get(17)?,
            link_used_at: at(18)?,
            qualified_at: at(19)?,
            first_qualified_at: at(20)?,
            qualified_by_conversion: row.get::<Option<String>>(21)?.as_deref() == Some("conversion"),
            status_reason: row.get::<Option<String>>(22)?.and_then(|word| Reason::parse(&word)),
            risk: row.text(23)?.split(',').filter_map(Reason::parse).collect(),
            ip: row.get(24)?,
            visitor: row.get(25)?,
            unsubscribed_at: at(26)?,
            created_at: Timestamp::from_ms(row.get(27)?),
            updated_at: Timestamp::from_ms(row.get(28)?),
        })
    }

    pub fn name(&self) -> String {
        view::full_name(&self.first_name, &self.last_name)
    }

    pub const fn referrer(&self) -> ReferrerId {
        ReferrerId::from_uuid(self.id)
    }

    pub const fn lead(&self) -> LeadId {
        LeadId::from_uuid(self.id)
    }

    pub fn referrer_facts(&self) -> ReferrerFacts {
        ReferrerFacts { suspended_at: self.suspended_at, was_suspended: self.was_suspended, leads: self.leads, qualified: self.qualified_leads }
    }

    pub fn referrer_view(&self, campaign: &Campaign, shared: &Shared) -> view::Referrer {
        view::Referrer {
            id: self.referrer(),
            number: self.number,
            campaign: campaign.reference(),
            email: self.email.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            name: self.name(),
            external_id: self.external_id.clone(),
            fields: self.fields.clone(),
            source: self.source.clone(),
            code: self.code.clone(),
            referral_link: shared.link(&self.code),
            status: if self.suspended_at.is_some() { ReferrerStatus::Suspended } else { ReferrerStatus::Active },
            suspended_at: self.suspended_at,
            leads: self.leads,
            qualified_leads: self.qualified_leads,
            lead_id: self.lead_since.map(|_| self.lead()),
            created_at: self.referrer_since.unwrap_or(self.created_at),
            updated_at: self.updated_at,
        }
    }

    pub fn referrer_ref(&self, shared: &Shared) -> view::ReferrerRef {
        view::ReferrerRef {
            id: self.referrer(),
            email: self.email.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            name: self.name(),
            code: self.code.clone(),
            referral_link: shared.link(&self.code),
        }
    }

    pub fn lead_view(&self, campaign: &Campaign, referrer: &Participant, shared: &Shared) -> view::Lead {
        view::Lead {
            id: self.lead(),
            number: self.number,
            campaign: campaign.reference(),
            referrer: referrer.referrer_ref(shared),
            email: self.email.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            name: self.name(),
            external_id: self.external_id.clone(),
            fields: self.fields.clone(),
            source: self.source.clone(),
            code: self.code.clone(),
            status: self.lead_status.unwrap_or(LeadStatus::Pending),
            status_reason: self.status_reason.map(Why::from),
            risk: self.risk.clone(),
            link_used_at: self.link_used_at,
            qualified_at: self.qualified_at,
            referrer_id: self.referrer_since.map(|_| self.referrer()),
            created_at: self.lead_since.unwrap_or(self.created_at),
            updated_at: self.updated_at,
        }
    }
}

pub fn risk_words(risk: &[Reason]) -> String {
    risk.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(",")
}

// ---------------------------------------------------------------- finding people

pub async fn find(tx: &mut Tx<'_>, space: Space, id: Uuid) -> Result<Option<Participant>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2");
    Ok(tx.fetch_one(&sql, &[space.into(), id.into()], Participant::read).await?)
}

pub async fn find_locked(tx: &mut Tx<'_>, space: Space, id: Uuid) -> Result<Option<Participant>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2 FOR UPDATE");
    Ok(tx.fetch_one(&sql, &[space.into(), id.into()], Participant::read).await?)
}

/// A person and, where there is one, who referred them: both locked, in one question.
pub async fn find_locked_with_referrer(tx: &mut Tx<'_>, space: Space, id: Uuid) -> Result<Option<(Participant, Option<Participant>)>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id IN ($2, (SELECT referrer_id FROM participants WHERE space = $1 AND id = $2)) FOR UPDATE");
    let mut found = tx.fetch(&sql, &[space.into(), id.into()], Participant::read).await?;
    let Some(place) = found.iter().position(|person| person.id == id) else { return Ok(None) };
    let person = found.swap_remove(place);
    let referrer = match person.referrer_id {
        None => None,
        // Somebody else's lead since the question was asked: the lock was waited for.
        Some(referrer) if found.first().is_none_or(|found| found.id != referrer) => find_locked(tx, space, referrer).await?,
        Some(_) => found.pop(),
    };
    Ok(Some((person, referrer)))
}

/// The referrer of that id; 404 if there is none, or if the person only is a lead.
pub async fn referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<Participant> {
    find(tx, space, id.uuid()).await?.filter(|p| p.referrer_since.is_some()).ok_or(Error::NotFound { what: "referrer" })
}

/// The lead of that id; 404 if there is none, or if the person only is a referrer.
pub async fn lead(tx: &mut Tx<'_>, space: Space, id: LeadId) -> Result<Participant> {
    find(tx, space, id.uuid()).await?.filter(|p| p.lead_since.is_some()).ok_or(Error::NotFound { what: "lead" })
}

/// Whose code it is, on this side.
pub async fn by_code(tx: &mut Tx<'_>, space: Space, code: &Code) -> Result<Option<Uuid>> {
    let sql = "SELECT participant_id FROM codes WHERE code_key = $1 AND space = $2";
    Ok(tx.fetch_one(sql, &[code.key().as_str().into(), space.into()], |row| row.get::<Option<Uuid>>(0)).await?.flatten())
}

/// The person with that address in a campaign.
pub async fn by_email(tx: &mut Tx<'_>, space: Space, campaign: &Campaign, email: &Email) -> Result<Option<Participant>> {
    let sql = statement(SELECT, " WHERE space = $1 AND campaign_id = $2 AND identity = $3");
    let identity = identity(campaign, email);
    Ok(tx.fetch_one(&sql, &[space.into(), campaign.id.uuid().into(), identity.as_str().into()], Participant::read).await?)
}

/// Everybody with that address on this side, in any campaign; at most 20.
pub async fn by_email_anywhere(tx: &mut Tx<'_>, space: Space, email: &Email) -> Result<Vec<Participant>> {
    let sql = statement(SELECT, " WHERE space = $1 AND (identity = $2 OR identity = $3) ORDER BY id LIMIT 20");
    Ok(tx.fetch(&sql, &[space.into(), email.mailbox_key().as_str().into(), email.address_key().as_str().into()], Participant::read).await?)
}

/// Which addresses are one person, as the campaign has it.
pub fn identity(campaign: &Campaign, email: &Email) -> String {
    match campaign.settings().duplicates {
        Duplicates::SameMailbox => email.mailbox_key(),
        Duplicates::SameAddress => email.address_key(),
    }
}

/// How a caller names a referrer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferrerKey {
    Id(ReferrerId),
    Code(Code),
    Email(Email),
}

async fn referrer_by(tx: &mut Tx<'_>, shared: &Shared, space: Space, key: &ReferrerKey, campaign: Option<CampaignId>) -> Result<Option<Uuid>> {
    match key {
        ReferrerKey::Id(id) => Ok(Some(id.uuid())),
        ReferrerKey::Code(code) => by_code(tx, space, code).await,
        ReferrerKey::Email(email) => {
            let Some(campaign) = campaign else {
                return Err(Error::Invalid { field: "/campaign_id".into(), expected: "the campaign, because the referrer is named by e-mail address".into() });
            };
            let campaign = campaign::get(tx, shared, space, campaign).await?;
            Ok(by_email(tx, space, &campaign, email).await?.map(|p| p.id))
        }
    }
}

/// Filters for referrers and leads; those that do not apply are ignored by neither:
/// the API offers each list its own.
#[derive(Debug, Clone, Default)]
pub struct PeopleFilter {
    pub campaign: Option<CampaignId>,
    pub email: Option<Email>,
    pub code: Option<Code>,
    pub external_id: Option<String>,
    pub source: Option<String>,
    pub search: Option<String>,
    pub referrer: Option<ReferrerId>,
    pub lead_status: Option<LeadStatus>,
    pub suspended: Option<bool>,
}

impl PeopleFilter {
    fn apply(&self, query: &mut Query) {
        if let Some(id) = self.campaign {
            query.and_id("campaign_id =", id.uuid());
        }
        if let Some(email) = &self.email {
            query.and_text("mailbox =", &email.mailbox_key());
        }
        if let Some(code) = &self.code {
            query.and_text("lower(code) =", &code.key());
        }
        if let Some(id) = &self.external_id {
            query.and_text("external_id =", id);
        }
        if let Some(source) = &self.source {
            query.and_text("source =", source);
        }
        if let Some(search) = &self.search {
            query.and_contains(&["first_name", "last_name", "email", "code"], search);
        }
        if let Some(id) = self.referrer {
            query.and_id("referrer_id =", id.uuid());
        }
        if let Some(status) = self.lead_status {
            query.and_text("lead_status =", status.as_str());
        }
        if let Some(suspended) = self.suspended {
            query.and(if suspended { "suspended_at IS NOT NULL" } else { "suspended_at IS NULL" });
        }
    }
}

pub async fn list_referrers(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &PeopleFilter, page: &Page) -> Result<Listing<view::Referrer>> {
    let mut query = Query::new(SELECT, space);
    query.and("referrer_since IS NOT NULL");
    filter.apply(&mut query);
    let rows = query.page(tx, page, "referrer_since", Participant::read, |p| (p.referrer_since.map_or(0, Timestamp::ms), p.id)).await?;
    let mut campaigns = Campaigns::default();
    let mut data = Vec::with_capacity(rows.data.len());
    for row in &rows.data {
        data.push(row.referrer_view(campaigns.get(tx, shared, space, row.campaign).await?, shared));
    }
    Ok(Listing { data, next: rows.next })
}

pub async fn list_leads(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &PeopleFilter, page: &Page) -> Result<Listing<view::Lead>> {
    let mut query = Query::new(SELECT, space);
    query.and("lead_since IS NOT NULL");
    filter.apply(&mut query);
    let rows = query.page(tx, page, "lead_since", Participant::read, |p| (p.lead_since.map_or(0, Timestamp::ms), p.id)).await?;
    let mut campaigns = Campaigns::default();
    let mut data = Vec::with_capacity(rows.data.len());
    for row in &rows.data {
        let campaign = campaigns.get(tx, shared, space, row.campaign).await?;
        data.push(lead_view(tx, shared, space, row, campaign).await?);
    }
    Ok(Listing { data, next: rows.next })
}

pub async fn lead_view(tx: &mut Tx<'_>, shared: &Shared, space: Space, lead: &Participant, campaign: &Campaign) -> Result<view::Lead> {
    let referrer = referrer_of(tx, space, lead).await?;
    Ok(lead.lead_view(campaign, &referrer, shared))
}

async fn referrer_of(tx: &mut Tx<'_>, space: Space, lead: &Participant) -> Result<Participant> {
    let id = lead.referrer_id.ok_or(Error::NotFound { what: "lead" })?;
    Ok(find(tx, space, id).await?.ok_or_else(|| store::Error::Database(format!("{} has no referrer", lead.lead())))?)
}

/// Campaigns that were read for a list, each once.
#[derive(Default)]
pub(super) struct Campaigns(std::collections::HashMap<CampaignId, Campaign>);

impl Campaigns {
    pub async fn get(&mut self, tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId) -> Result<&Campaign> {
        use std::collections::hash_map::Entry;
        match self.0.entry(id) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(free) => Ok(free.insert(campaign::get(tx, shared, space, id).await?)),
        }
    }
}

// ---------------------------------------------------------------- enrolling referrers

/// What a person tells about themselves.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Person {
    pub email: Email,
    pub first_name: String,
    pub last_name: String,
    pub external_id: Option<String>,
    pub fields: Fields,
    #[serde(skip)]
    pub ip: Option<String>,
    #[serde(skip)]
    pub visitor: Option<VisitorId>,
}

/// The fields as the campaign wants them: known keys, right types. Returns them with
/// the labels of required ones that are missing.
pub fn checked_fields(definitions: &[Field], given: &Fields) -> Result<(Fields, Vec<String>)> {
    let mut checked = Fields::new();
    for (key, value) in given {
        let Some(field) = definitions.iter().find(|field| field.key == *key) else {
            let known = definitions.iter().map(|field| field.key.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::Invalid {
                field: format!("/fields/{key}"),
                expected: if known.is_empty() { "no fields, because the campaign has none".into() } else { format!("one of the campaign's fields: {known}") },
            });
        };
        let empty = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        if !empty {
            let value = field.check(value).map_err(|invalid| Error::invalid(format!("/fields/{key}"), invalid))?;
            checked.insert(key.clone(), value);
        }
    }
    let missing = definitions.iter().filter(|field| field.required && !checked.contains_key(&field.key)).map(|field| field.label.to_string()).collect();
    Ok((checked, missing))
}

/// Makes somebody a referrer of a campaign. Somebody who is one already stays as they are.
#[derive(Debug, Clone)]
pub struct Enrol {
    pub campaign: CampaignId,
    pub person: Person,
    pub code: Option<Code>,
}

#[derive(Debug, Clone)]
pub struct Enrolled {
    pub participant: Participant,
    pub campaign: Campaign,
    pub created: bool,
}

impl Act for Enrol {
    type Output = Enrolled;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Enrolled> {
        let space = work.context.space;
        let campaign = campaign::get(work.tx, work.shared, space, self.campaign).await?;
        let existing = by_email(work.tx, space, &campaign, &self.person.email).await?;
        if let Some(participant) = existing.as_ref().filter(|p| p.referrer_since.is_some()) {
            return Ok(Enrolled { participant: participant.clone(), campaign, created: false });
        }
        if campaign.status == goodword_core::campaign::CampaignStatus::Ended {
            return Err(Error::conflict(Reason::CampaignLive, "The campaign has ended; nobody can join it any more."));
        }
        let (fields, missing) = checked_fields(&campaign.settings().referrer_fields, &self.person.fields)?;
        if !missing.is_empty() {
            return Err(Error::Invalid { field: "/fields".into(), expected: format!("the required fields; missing: {}", missing.join(", ")) });
        }
        let now = work.now();
        let participant = match existing {
            Some(lead) => {
                // A lead who passes the word on: the same person, who may have told more of themselves.
                let mut both = Participant { referrer_since: Some(now), updated_at: now, ..lead };
                both.fields.extend(fields);
                if let Some(code) = self.code.as_ref().filter(|code| !code.as_str().eq_ignore_ascii_case(&both.code)) {
                    claim_code(work, code, campaign.id, Some(both.id), true).await?;
                    both.code = code.to_string();
                }
                if both.external_id.is_none() {
                    external_id_is_free(work, campaign.id, self.person.external_id.as_deref(), both.id).await?;
                    both.external_id = self.person.external_id.clone();
                }
                work.tx
                    .execute(
                        "UPDATE participants SET referrer_since = $3, fields = $4, code = $5, external_id = $6, updated_at = $3 WHERE space = $1 AND id = $2",
                        &[
                            space.into(),
                            both.id.into(),
                            now.ms().into(),
                            serde_json::to_string(&both.fields).unwrap_or_default().as_str().into(),
                            both.code.as_str().into(),
                            both.external_id.as_deref().into(),
                        ],
                    )
                    .await?;
                both
            }
            None => insert(work, &campaign, &self.person, fields, self.code.as_ref(), New::Referrer).await?,
        };
        let mut signal = work.signal("referrer.add", Some(campaign.id), Some(participant.id), &self.person);
        signal.participant = Some(participant.id);
        let decision = Decision::applied(Vec::new());
        let data = view::EventData {
            campaign: Some(campaign.reference()),
            referrer: Some(participant.referrer_view(&campaign, work.shared)),
            evidence: Some(evidence(signal.id, &decision)),
            ..Default::default()
        };
        work.emit(EventType::ReferrerCreated, &participant.referrer(), Some(participant.id), &data)?;
        work.record(&signal, &decision, Some(campaign.version)).await?;
        Ok(Enrolled { participant, campaign, created: true })
    }
}

pub(super) fn evidence(signal_id: SignalId, decision: &Decision) -> view::Evidence {
    view::Evidence { signal_id, outcome: decision.outcome, why: decision.reason.into(), checks: decision.checks.clone() }
}

/// An id outside names one person of a campaign.
async fn external_id_is_free(work: &mut Work<'_, '_>, campaign: CampaignId, external_id: Option<&str>, own: Uuid) -> Result<()> {
    let Some(external_id) = external_id else { return Ok(()) };
    let sql = "SELECT id FROM participants WHERE space = $1 AND campaign_id = $2 AND external_id = $3";
    let args = [work.context.space.into(), campaign.uuid().into(), external_id.into()];
    match work.tx.fetch_one(sql, &args, |row| row.get::<Uuid>(0)).await? {
        Some(id) if id != own => Err(Error::Conflict { reason: None, detail: format!("Somebody else in the campaign has the external id {external_id}.") }),
        _ => Ok(()),
    }
}

pub(super) enum New<'a> {
    Referrer,
    Lead { referrer: &'a Participant, link_used_at: Option<Timestamp>, risk: &'a [Reason] },
}

/// Inserts a person with a code of their own.
pub(super) async fn insert(
    work: &mut Work<'_, '_>,
    campaign: &Campaign,
    person: &Person,
    fields: Fields,
    code: Option<&Code>,
    new: New<'_>,
) -> Result<Participant> {
    let space = work.context.space;
    let now = work.now();
    let id = work.mint.id::<goodword_core::ids::Lead>().uuid();
    let drawn;
    let (code, chosen) = match code {
        Some(code) => (code, true),
        None => {
            drawn = Code::from_random(work.mint.random());
            (&drawn, false)
        }
    };
    claim_code(work, code, campaign.id, Some(id), chosen).await?;
    external_id_is_free(work, campaign.id, person.external_id.as_deref(), id).await?;
    let lead = match &new {
        New::Referrer => None,
        New::Lead { referrer, link_used_at, risk } => Some((referrer.id, *link_used_at, *risk)),
    };
    let participant = Participant {
        number: 0,
        id,
        campaign: campaign.id,
        email: person.email.to_string(),
        mailbox: person.email.mailbox_key(),
        first_name: person.first_name.clone(),
        last_name: person.last_name.clone(),
        external_id: person.external_id.clone(),
        fields,
        source: work.context.source.to_string(),
        code: code.to_string(),
        referrer_since: if lead.is_none() { Some(now) } else { None },
        suspended_at: None,
        was_suspended: None,
        leads: 0,
        qualified_leads: 0,
        lead_status: lead.map(|_| LeadStatus::Pending),
        lead_since: lead.map(|_| now),
        referrer_id: lead.map(|(referrer, ..)| referrer),
        link_used_at: lead.and_then(|(_, used, _)| used),
        qualified_at: None,
        first_qualified_at: None,
        qualified_by_conversion: false,
        status_reason: None,
        risk: lead.map_or_else(Vec::new, |(_, _, risk)| risk.to_vec()),
        ip: person.ip.clone(),
        visitor: person.visitor.map(|id| id.uuid()),
        unsubscribed_at: None,
        created_at: now,
        updated_at: now,
    };
    let number = work
        .tx
        .fetch_one(
            "INSERT INTO participants (space, id, campaign_id, identity, email, mailbox, first_name, last_name, external_id, fields, source, code, referrer_since, lead_status, lead_since, referrer_id, link_used_at, risk, ip, visitor, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $21) RETURNING no",
            &[
                space.into(),
                id.into(),
                campaign.id.uuid().into(),
                identity(campaign, &person.email).as_str().into(),
                participant.email.as_str().into(),
                participant.mailbox.as_str().into(),
                participant.first_name.as_str().into(),
                participant.last_name.as_str().into(),
                participant.external_id.as_deref().into(),
                serde_json::to_string(&participant.fields).unwrap_or_default().as_str().into(),
                participant.source.as_str().into(),
                participant.code.as_str().into(),
                participant.referrer_since.map(Timestamp::ms).into(),
                participant.lead_status.map(LeadStatus::as_str).into(),
                participant.lead_since.map(Timestamp::ms).into(),
                participant.referrer_id.into(),
                participant.link_used_at.map(Timestamp::ms).into(),
                risk_words(&participant.risk).as_str().into(),
                participant.ip.as_deref().into(),
                participant.visitor.into(),
                now.ms().into(),
            ],
            |row| row.get::<i64>(0),
        )
        .await?;
    Ok(Participant { number: number.unwrap_or_default(), ..participant })
}

// ---------------------------------------------------------------- joining as a lead

/// Somebody joins as the lead of a referrer.
#[derive(Debug, Clone)]
pub struct Join {
    /// The code's campaign where absent.
    pub campaign: Option<CampaignId>,
    pub referrer: ReferrerKey,
    pub person: Person,
    /// When the link was used, where that is known.
    pub link_used_at: Option<Timestamp>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Joined {
    pub signal_id: SignalId,
    pub outcome: Outcome,
    pub reason: Reason,
    pub checks: Vec<Check>,
    /// The lead: the new one, or the one that was there.
    pub lead: Option<view::Lead>,
    pub rewards: Vec<view::Reward>,
    pub created: bool,
}

/// More leads than this within an hour are looked at.
const LEADS_PER_HOUR: i64 = 20;

impl Act for Join {
    type Output = Joined;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Joined> {
        self.join(work, None).await
    }
}

impl Join {
    /// Joins, with a code of the lead's own choice where there is one: imports bring theirs along.
    pub(super) async fn join(&self, work: &mut Work<'_, '_>, code: Option<&Code>) -> Result<Joined> {
        let space = work.context.space;
        let referrer_id = referrer_by(work.tx, work.shared, space, &self.referrer, self.campaign).await?;
        let referrer = match referrer_id {
            // Locked: its count of leads is part of the decision.
            Some(id) => find_locked(work.tx, space, id).await?.filter(|p| self.campaign.is_none_or(|campaign| campaign == p.campaign)),
            None => None,
        };
        let Some(referrer) = referrer else {
            if let Some(id) = self.campaign {
                campaign::get(work.tx, work.shared, space, id).await?;
            }
            let found = match &self.referrer {
                ReferrerKey::Id(id) => format!("nobody has the id {id}"),
                ReferrerKey::Code(code) => format!("nobody has the code {code}"),
                ReferrerKey::Email(email) => format!("nobody has the address {email}"),
            };
            let decision = Decision::refused(Reason::ReferrerKnown, "a referrer of the campaign", found);
            let signal = work.signal("lead.add", self.campaign, None, &self.payload());
            work.record(&signal, &decision, None).await?;
            return Ok(Joined {
                signal_id: signal.id,
                outcome: decision.outcome,
                reason: decision.reason,
                checks: decision.checks,
                lead: None,
                rewards: Vec::new(),
                created: false,
            });
        };
        let campaign = campaign::get(work.tx, work.shared, space, referrer.campaign).await?;
        let (fields, missing_fields) = checked_fields(&campaign.settings().lead_fields, &self.person.fields)?;
        let existing = by_email(work.tx, space, &campaign, &self.person.email).await?;
        let risk = self.risk(work, &referrer).await?;
        let facts = JoinFacts {
            campaign: campaign.facts(),
            at: work.now(),
            referrer: referrer.referrer_facts(),
            same_person: referrer.mailbox == self.person.email.mailbox_key() || existing.as_ref().is_some_and(|p| p.id == referrer.id),
            existing: existing.as_ref().filter(|p| p.id != referrer.id).map(|p| existing_as(p, referrer.id)),
            missing_fields,
            link_used_at: self.link_used_at,
            risk: risk.clone(),
        };
        let mut decision = decide::join(&facts);
        let mut signal = work.signal("lead.add", Some(campaign.id), existing.as_ref().map(|p| p.id), &self.payload());
        let mut lead = None;
        let mut rewards = Vec::new();
        match decision.outcome {
            Outcome::Applied => {
                let participant =
                    insert(work, &campaign, &self.person, fields, code, New::Lead { referrer: &referrer, link_used_at: self.link_used_at, risk: &risk })
                        .await?;
                signal.participant = Some(participant.id);
                let (view, given) = became_lead(work, signal.id, &campaign, &participant, referrer, EventType::LeadCreated, &mut decision).await?;
                lead = Some(view);
                rewards = given;
            }
            Outcome::Unchanged | Outcome::Ignored => {
                if let Some(participant) = existing.filter(|p| p.lead_since.is_some()) {
                    lead = Some(lead_view(work.tx, work.shared, space, &participant, &campaign).await?);
                }
            }
            // Whoever it was did not become a lead: it is the referrer who asks what became of their link.
            Outcome::Refused | Outcome::Recorded => signal.participant = Some(referrer.id),
        }
        work.record(&signal, &decision, Some(campaign.version)).await?;
        let created = decision.outcome == Outcome::Applied;
        Ok(Joined { signal_id: signal.id, outcome: decision.outcome, reason: decision.reason, checks: decision.checks, lead, rewards, created })
    }

    /// The join that a signal told, to be decided upon once more.
    pub fn from_signal(signal: &SignalRecord) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum By {
            ReferrerId(ReferrerId),
            Code(Code),
            ReferrerEmail(Email),
        }
        #[derive(serde::Deserialize)]
        struct Told {
            referrer: By,
            campaign_id: Option<CampaignId>,
            person: Person,
            link_used_at: Option<Timestamp>,
        }
        let told: Told = serde_json::from_str(&signal.payload).map_err(|_| super::qualify::untellable())?;
        let referrer = match told.referrer {
            By::ReferrerId(id) => ReferrerKey::Id(id),
            By::Code(code) => ReferrerKey::Code(code),
            By::ReferrerEmail(email) => ReferrerKey::Email(email),
        };
        Ok(Self { campaign: told.campaign_id, referrer, person: told.person, link_used_at: told.link_used_at })
    }

    fn payload(&self) -> serde_json::Value {
        let referrer = match &self.referrer {
            ReferrerKey::Id(id) => json!({"referrer_id": id}),
            ReferrerKey::Code(code) => json!({"code": code}),
            ReferrerKey::Email(email) => json!({"referrer_email": email}),
        };
        json!({"referrer": referrer, "campaign_id": self.campaign, "person": self.person, "link_used_at": self.link_used_at})
    }

    async fn risk(&self, work: &mut Work<'_, '_>, referrer: &Participant) -> Result<Vec<Reason>> {
        let mut risk = Vec::new();
        if self.person.ip.is_some() && self.person.ip == referrer.ip {
            risk.push(Reason::SameAddress);
        }
        if self.person.visitor.is_some_and(|visitor| Some(visitor.uuid()) == referrer.visitor) {
            risk.push(Reason::SameVisitor);
        }
        if self.person.email.has_plus_tag() {
            risk.push(Reason::PlusTag);
        }
        if referrer.leads >= LEADS_PER_HOUR {
            let sql = "SELECT count(*) FROM participants WHERE space = $1 AND referrer_id = $2 AND lead_since > $3";
            let since = work.now().ms() - HOUR_MS;
            let recent = work.tx.fetch_one(sql, &[work.context.space.into(), referrer.id.into(), since.into()], |row| row.get::<i64>(0)).await?;
            if recent.unwrap_or_default() >= LEADS_PER_HOUR {
                risk.push(Reason::ManyLeads);
            }
        }
        Ok(risk)
    }
}

fn existing_as(participant: &Participant, referrer: Uuid) -> Existing {
    match participant.referrer_id {
        None => Existing::ReferrerOnly,
        Some(id) if id == referrer => Existing::LeadOfSame,
        Some(_) => Existing::LeadOfOther,
    }
}

/// Counts the new lead for its referrer, tells the world, and gives what is given for joining.
async fn became_lead(
    work: &mut Work<'_, '_>,
    signal: SignalId,
    campaign: &Campaign,
    lead: &Participant,
    referrer: Participant,
    event: EventType,
    decision: &mut Decision,
) -> Result<(view::Lead, Vec<view::Reward>)> {
    let space = work.context.space;
    let now = work.now();
    work.tx
        .execute(
            "UPDATE participants SET leads = leads + 1, referrer_since = coalesce(referrer_since, $3), updated_at = $3 WHERE space = $1 AND id = $2",
            &[space.into(), referrer.id.into(), now.ms().into()],
        )
        .await?;
    let is_new = referrer.referrer_since.is_none();
    let referrer = Participant { leads: referrer.leads + 1, referrer_since: referrer.referrer_since.or(Some(now)), updated_at: now, ..referrer };
    if is_new {
        // A lead whose own code was passed on.
        let data = view::EventData {
            campaign: Some(campaign.reference()),
            referrer: Some(referrer.referrer_view(campaign, work.shared)),
            evidence: Some(evidence(signal, decision)),
            ..Default::default()
        };
        work.emit(EventType::ReferrerCreated, &referrer.referrer(), Some(referrer.id), &data)?;
    }
    let view = lead.lead_view(campaign, &referrer, work.shared);
    let data = view::EventData {
        campaign: Some(campaign.reference()),
        referrer: Some(referrer.referrer_view(campaign, work.shared)),
        lead: Some(view.clone()),
        evidence: Some(evidence(signal, decision)),
        ..Default::default()
    };
    work.emit(event, &lead.lead(), Some(lead.id), &data)?;
    let occasion = decide::Occasion {
        lead: lead.lead(),
        joined: true,
        qualified: false,
        again: false,
        conversion: None,
        qualified_since: None,
        at: now,
        leads: referrer.leads,
        qualified_leads: referrer.qualified_leads,
    };
    let (rewards, skipped) = reward::give(work, signal, campaign, lead, &referrer, &occasion).await?;
    decision.checks.extend(skipped);
    Ok((view, rewards))
}

// ---------------------------------------------------------------- claims

/// Somebody says that a participant was referred by a referrer, later.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The person who was referred.
    pub participant: Uuid,
    pub referrer: ReferrerKey,
    /// Why that is believed. Kept with the signal.
    pub evidence: String,
    /// Move a pending lead of somebody else.
    pub force: bool,
}

impl Act for Claim {
    type Output = Joined;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Joined> {
        let space = work.context.space;
        let lead = find_locked(work.tx, space, self.participant).await?.ok_or(Error::NotFound { what: "participant" })?;
        let campaign = campaign::get(work.tx, work.shared, space, lead.campaign).await?;
        let referrer = match referrer_by(work.tx, work.shared, space, &self.referrer, Some(campaign.id)).await? {
            Some(id) => find_locked(work.tx, space, id).await?.filter(|p| p.campaign == campaign.id),
            None => None,
        };
        let referrer = referrer.ok_or(Error::Invalid { field: "/referrer".into(), expected: "a referrer of the same campaign".into() })?;
        let facts = ClaimFacts {
            campaign: campaign.facts(),
            at: work.now(),
            referrer: referrer.referrer_facts(),
            same_person: referrer.id == lead.id || referrer.mailbox == lead.mailbox,
            existing: existing_as(&lead, referrer.id),
            qualified: lead.lead_status == Some(LeadStatus::Qualified),
            force: self.force,
            circular: referrer.referrer_id == Some(lead.id),
        };
        let mut decision = decide::claim(&facts);
        let payload = json!({"participant": lead.lead(), "referrer": referrer.referrer(), "evidence": self.evidence, "force": self.force});
        let signal = work.signal("lead.claim", Some(campaign.id), Some(lead.id), &payload);
        let now = work.now();
        let (mut view, mut rewards) = (None, Vec::new());
        if decision.outcome == Outcome::Applied {
            if let Some(former) = lead.referrer_id {
                release(work, &signal, &campaign, &lead, former, &decision).await?;
            }
            work.tx
                .execute(
                    "UPDATE participants SET referrer_id = $3, lead_since = coalesce(lead_since, $4), lead_status = coalesce(lead_status, 'pending'), updated_at = $4 WHERE space = $1 AND id = $2",
                    &[space.into(), lead.id.into(), referrer.id.into(), now.ms().into()],
                )
                .await?;
            let lead = Participant {
                referrer_id: Some(referrer.id),
                lead_since: lead.lead_since.or(Some(now)),
                lead_status: lead.lead_status.or(Some(LeadStatus::Pending)),
                updated_at: now,
                ..lead
            };
            let (made, given) = became_lead(work, signal.id, &campaign, &lead, referrer, EventType::LeadClaimed, &mut decision).await?;
            view = Some(made);
            rewards = given;
        } else if lead.lead_since.is_some() {
            view = Some(lead_view(work.tx, work.shared, space, &lead, &campaign).await?);
        }
        work.record(&signal, &decision, Some(campaign.version)).await?;
        Ok(Joined {
            signal_id: signal.id,
            outcome: decision.outcome,
            reason: decision.reason,
            checks: decision.checks,
            lead: view,
            rewards,
            created: decision.outcome == Outcome::Applied,
        })
    }
}

/// A lead is taken from its referrer, with what it gave cause for.
async fn release(work: &mut Work<'_, '_>, signal: &Signal, campaign: &Campaign, lead: &Participant, former: Uuid, decision: &Decision) -> Result<()> {
    let space = work.context.space;
    let now = work.now();
    let former = find_locked(work.tx, space, former).await?.ok_or_else(|| store::Error::Database(format!("{} has no referrer", lead.lead())))?;
    work.tx
        .execute("UPDATE participants SET leads = leads - 1, updated_at = $3 WHERE space = $1 AND id = $2", &[space.into(), former.id.into(), now.ms().into()])
        .await?;
    let former = Participant { leads: former.leads - 1, updated_at: now, ..former };
    let data = view::EventData {
        campaign: Some(campaign.reference()),
        referrer: Some(former.referrer_view(campaign, work.shared)),
        lead: Some(lead.lead_view(campaign, &former, work.shared)),
        evidence: Some(evidence(signal.id, decision)),
        ..Default::default()
    };
    work.emit(EventType::LeadReleased, &lead.lead(), Some(lead.id), &data)?;
    reward::take_back(work, signal.id, campaign, lead, &former, &reward::Ground::Referrer).await.map(drop)
}

// ---------------------------------------------------------------- changing people

/// Changes what is known of a person. What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub participant: Uuid,
    pub as_lead: bool,
    pub email: Option<Email>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub external_id: Option<String>,
    pub fields: Fields,
    /// A new code for the referral link. The old one goes on leading to the person.
    pub code: Option<Code>,
    /// Field names to clear: `last_name`, `external_id`, `fields.company`.
    pub unset: Vec<String>,
}

impl Act for Update {
    type Output = (Participant, Campaign);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Self::Output> {
        let space = work.context.space;
        let what = if self.as_lead { "lead" } else { "referrer" };
        let before = find_locked(work.tx, space, self.participant)
            .await?
            .filter(|p| if self.as_lead { p.lead_since.is_some() } else { p.referrer_since.is_some() })
            .ok_or(Error::NotFound { what })?;
        before.refuse_erased()?;
        let campaign = campaign::get(work.tx, work.shared, space, before.campaign).await?;
        let mut after = before.clone();
        let mut identity_after = None;
        if let Some(email) = &self.email {
            let other = by_email(work.tx, space, &campaign, email).await?.filter(|other| other.id != before.id);
            if other.is_some() {
                return Err(Error::Conflict { reason: None, detail: format!("Somebody else in the campaign has the address {email}.") });
            }
            after.email = email.to_string();
            after.mailbox = email.mailbox_key();
            identity_after = Some(identity(&campaign, email));
        }
        if let Some(name) = &self.first_name {
            after.first_name = name.clone();
        }
        if let Some(name) = &self.last_name {
            after.last_name = name.clone();
        }
        if let Some(id) = &self.external_id {
            external_id_is_free(work, campaign.id, Some(id), before.id).await?;
            after.external_id = Some(id.clone());
        }
        let definitions: Vec<Field> = campaign.settings().lead_fields.iter().chain(&campaign.settings().referrer_fields).cloned().collect();
        let (fields, _) = checked_fields(&definitions, &self.fields)?;
        after.fields.extend(fields);
        for name in &self.unset {
            match name.as_str() {
                "last_name" => after.last_name.clear(),
                "external_id" => after.external_id = None,
                other => {
                    let removed = other.strip_prefix("fields.").and_then(|key| after.fields.remove(key));
                    if removed.is_none() {
                        return Err(Error::Invalid {
                            field: "/unset".into(),
                            expected: "last_name, external_id or fields.<key> of a field that is set".into(),
                        });
                    }
                }
            }
        }
        if let Some(code) = &self.code
            && !code.as_str().eq_ignore_ascii_case(&before.code)
        {
            claim_code(work, code, campaign.id, Some(before.id), true).await?;
            after.code = code.to_string();
        }
        let now = work.now();
        after.updated_at = now;
        let fields = serde_json::to_string(&after.fields).unwrap_or_default();
        work.tx
            .execute(
                "UPDATE participants SET identity = coalesce($3, identity), email = $4, mailbox = $5, first_name = $6, last_name = $7, external_id = $8, fields = $9, code = $10, updated_at = $11 WHERE space = $1 AND id = $2",
                &[
                    space.into(),
                    before.id.into(),
                    identity_after.as_deref().into(),
                    after.email.as_str().into(),
                    after.mailbox.as_str().into(),
                    after.first_name.as_str().into(),
                    after.last_name.as_str().into(),
                    after.external_id.as_deref().into(),
                    fields.as_str().into(),
                    after.code.as_str().into(),
                    now.ms().into(),
                ],
            )
            .await?;
        let payload = json!({"email": self.email, "first_name": self.first_name, "last_name": self.last_name, "external_id": self.external_id, "fields": self.fields, "code": self.code, "unset": self.unset});
        let signal = work.signal("participant.update", Some(campaign.id), Some(before.id), &payload);
        let decision = Decision::applied(Vec::new());
        let (event, data) = if self.as_lead {
            let lead = lead_view(work.tx, work.shared, space, &after, &campaign).await?;
            (EventType::LeadUpdated, view::EventData { lead: Some(lead), ..Default::default() })
        } else {
            (EventType::ReferrerUpdated, view::EventData { referrer: Some(after.referrer_view(&campaign, work.shared)), ..Default::default() })
        };
        let data = view::EventData { campaign: Some(campaign.reference()), evidence: Some(evidence(signal.id, &decision)), ..data };
        work.emit(event, &before.id, Some(before.id), &data)?;
        work.record(&signal, &decision, Some(campaign.version)).await?;
        Ok((after, campaign))
    }
}

/// Suspends a referrer, or makes one active again. A suspended referrer earns nothing
/// for what happens while suspended; the time of the event decides, also when it is told
/// after the (last) suspension has ended. Checking a lead again makes up for a mistake.
#[derive(Debug, Clone)]
pub struct Suspend {
    pub referrer: ReferrerId,
    pub suspended: bool,
    pub note: Option<String>,
}

impl Act for Suspend {
    type Output = (Participant, Campaign);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Self::Output> {
        let space = work.context.space;
        let before =
            find_locked(work.tx, space, self.referrer.uuid()).await?.filter(|p| p.referrer_since.is_some()).ok_or(Error::NotFound { what: "referrer" })?;
        let campaign = campaign::get(work.tx, work.shared, space, before.campaign).await?;
        if before.suspended_at.is_some() == self.suspended {
            return Ok((before, campaign));
        }
        before.refuse_erased()?;
        let now = work.now();
        let suspended_at = self.suspended.then_some(now);
        let was_suspended = before.suspended_at.map(|from| (from, now)).or(before.was_suspended);
        work.tx
            .execute(
                "UPDATE participants SET suspended_at = $3, was_suspended_from = $4, was_suspended_until = $5, updated_at = $6 WHERE space = $1 AND id = $2",
                &[
                    space.into(),
                    before.id.into(),
                    suspended_at.map(Timestamp::ms).into(),
                    was_suspended.map(|(from, _)| from.ms()).into(),
                    was_suspended.map(|(_, until)| until.ms()).into(),
                    now.ms().into(),
                ],
            )
            .await?;
        let after = Participant { suspended_at, was_suspended, updated_at: now, ..before };
        let (kind, event) =
            if self.suspended { ("referrer.suspend", EventType::ReferrerSuspended) } else { ("referrer.reactivate", EventType::ReferrerReactivated) };
        let signal = work.signal(kind, Some(campaign.id), Some(after.id), &json!({"note": self.note}));
        let decision = Decision::applied(Vec::new());
        let data = view::EventData {
            campaign: Some(campaign.reference()),
            referrer: Some(after.referrer_view(&campaign, work.shared)),
            evidence: Some(evidence(signal.id, &decision)),
            ..Default::default()
        };
        work.emit(event, &self.referrer, Some(after.id), &data)?;
        work.record(&signal, &decision, Some(campaign.version)).await?;
        Ok((after, campaign))
    }
}

/// What is kept of a person who was erased: that there was somebody, without anything
/// that says who.
#[derive(Debug, Clone)]
pub struct Erase {
    pub participant: Uuid,
    pub as_lead: bool,
}

impl Act for Erase {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let space = work.context.space;
        let what = if self.as_lead { "lead" } else { "referrer" };
        let person = find_locked(work.tx, space, self.participant)
            .await?
            .filter(|p| if self.as_lead { p.lead_since.is_some() } else { p.referrer_since.is_some() })
            .ok_or(Error::NotFound { what })?;
        let campaign = campaign::get(work.tx, work.shared, space, person.campaign).await?;
        let id = person.id;
        let anonymous = format!("{ERASED_PREFIX}{}@invalid", id.simple());
        let now = work.now().ms();
        let own = [space.into(), id.into()];
        work.tx
            .execute(
                "UPDATE participants SET identity = $3, email = $3, mailbox = $3, first_name = '', last_name = '', external_id = NULL, fields = '{}', ip = NULL, visitor = NULL, suspended_at = coalesce(suspended_at, $4), updated_at = $4 WHERE space = $1 AND id = $2",
                &[own[0], own[1], anonymous.as_str().into(), now.into()],
            )
            .await?;
        // What was told about them, and what was told to the world, keeps its shape and loses
        // its content: what is theirs, and what quotes them, by id or by address, in the name
        // of somebody else. Erasures are rare, so whole tables are read.
        let id_quoted = format!("%{}%", person.lead().to_string().trim_start_matches("lead_"));
        let email_quoted = quoted(&person.email);
        let by_email = [own[0], own[1], email_quoted.as_str().into()];
        for sql in [
            "UPDATE signals SET payload = '{\"erased\":true}' WHERE space = $1 AND (participant_id = $2 OR lower(payload) LIKE $3 ESCAPE '\\')",
            "UPDATE conversions SET properties = '{}' WHERE space = $1 AND (participant_id = $2 OR lower(properties) LIKE $3 ESCAPE '\\')",
            "UPDATE inbound_messages SET body = '{\"erased\":true}', detail = '' WHERE space = $1 AND (signal_id IN (SELECT id FROM signals WHERE space = $1 AND participant_id = $2) OR lower(body) LIKE $3 ESCAPE '\\')",
            "UPDATE rewards SET note = NULL WHERE space = $1 AND (beneficiary_id = $2 OR lead_id = $2 OR lower(note) LIKE $3 ESCAPE '\\')",
            "UPDATE reward_entries SET note = NULL WHERE space = $1 AND (lower(note) LIKE $3 ESCAPE '\\' OR reward_id IN (SELECT id FROM rewards WHERE space = $1 AND (beneficiary_id = $2 OR lead_id = $2)))",
        ] {
            work.tx.execute(sql, &by_email).await?;
        }
        work.tx.execute("UPDATE signals SET checks = '[]' WHERE space = $1 AND lower(checks) LIKE $2 ESCAPE '\\'", &[own[0], by_email[2]]).await?;
        for sql in [
            "UPDATE events SET body = '{\"erased\":true}' WHERE space = $1 AND (body LIKE $2 OR lower(body) LIKE $3 ESCAPE '\\')",
            "UPDATE idempotency SET body = '{\"erased\":true}' WHERE space = $1 AND (status = 0 OR body LIKE $2 OR lower(body) LIKE $3 ESCAPE '\\')",
        ] {
            work.tx.execute(sql, &[own[0], id_quoted.as_str().into(), by_email[2]]).await?;
        }
        let visits = "UPDATE visits SET ip = NULL, visitor = NULL WHERE space = $1 AND (participant_id = $2 OR visitor = $3)";
        work.tx.execute(visits, &[own[0], own[1], person.visitor.into()]).await?;
        let signal = work.signal("participant.erase", Some(campaign.id), Some(id), &json!({}));
        let decision = Decision::applied(Vec::new());
        let data = view::EventData { campaign: Some(campaign.reference()), evidence: Some(evidence(signal.id, &decision)), ..Default::default() };
        work.emit(EventType::ParticipantErased, &id, Some(id), &data)?;
        work.record(&signal, &decision, Some(campaign.version)).await
    }
}

/// What LIKE finds an address by, in lower case.
fn quoted(email: &str) -> String {
    let escaped = email.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Everything that is kept about a person, for the right of access. A list holds 10,000 at most, the first ones; `cut`
/// names those that are longer.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Dossier {
    pub referrer: Option<view::Referrer>,
    pub lead: Option<view::Lead>,
    /// The network address that they signed up from, until it is forgotten (`visit_ip_days`).
    pub ip: Option<String>,
    /// The random id of the browser that they signed up with.
    pub visitor_id: Option<VisitorId>,
    /// What links that browser used.
    pub visits: Vec<DossierVisit>,
    pub conversions: Vec<view::Conversion>,
    pub rewards: Vec<view::Reward>,
    pub signals: Vec<super::signal::SignalView>,
    /// Events that are about them or name them; `GET /v1/events/{id}` has what each says.
    pub events: Vec<DossierEvent>,
    /// To which endpoints these events were sent, for as long as that is kept (`delivery_days`).
    pub deliveries: Vec<DossierDelivery>,
    /// Names of lists that are not whole.
    pub cut: Vec<String>,
}

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct DossierVisit {
    #[serde(flatten)]
    pub visit: super::visit::VisitView,
    pub ip: Option<String>,
}

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct DossierEvent {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: String,
    pub created_at: Timestamp,
}

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct DossierDelivery {
    pub id: DeliveryId,
    pub endpoint_id: EndpointId,
    pub event_id: EventId,
    pub created_at: Timestamp,
}

const DOSSIER_MAX: usize = 10_000;

pub async fn dossier(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: Uuid) -> Result<Dossier> {
    let person = find(tx, space, id).await?.ok_or(Error::NotFound { what: "participant" })?;
    let campaign = campaign::get(tx, shared, space, person.campaign).await?;
    let lead = match person.lead_since {
        Some(_) => Some(lead_view(tx, shared, space, &person, &campaign).await?),
        None => None,
    };
    let everything = Page { limit: DOSSIER_MAX, ascending: true, ..Page::default() };
    let (own, one_more) = ([space.into(), id.into()], (DOSSIER_MAX as i64 + 1).into());
    let conversions = super::conversion::ConversionFilter { lead: Some(person.lead()), ..Default::default() };
    let conversions = super::conversion::list(tx, shared, space, &conversions, &everything).await?;
    let rewards = reward::RewardFilter { beneficiary: Some(id), ..Default::default() };
    let rewards = reward::list(tx, shared, space, &rewards, &everything).await?;
    let signals = super::signal::SignalFilter { participant: Some(id), ..Default::default() };
    let signals = super::signal::list(tx, space, &signals, &everything).await?;
    let mut visits = match person.visitor {
        Some(visitor) => super::visit::of_visitor(tx, space, visitor, DOSSIER_MAX + 1).await?,
        None => Vec::new(),
    };
    // As when somebody is erased: rarely asked for, so whole tables are read.
    let quoted = format!("%{}%", person.lead().to_string().trim_start_matches("lead_"));
    let naming = [own[0], own[1], quoted.as_str().into(), one_more];
    let sql = "SELECT id, type, created_at FROM events WHERE space = $1 AND (participant_id = $2 OR body LIKE $3) ORDER BY id LIMIT $4";
    let read = |row: &Row<'_>| Ok(DossierEvent { id: EventId::from_uuid(row.get(0)?), kind: row.get(1)?, created_at: Timestamp::from_ms(row.get(2)?) });
    let mut events = tx.fetch(sql, &naming, read).await?;
    let sql = "SELECT id, endpoint_id, event_id, created_at FROM deliveries
               WHERE space = $1 AND event_id IN (SELECT id FROM events WHERE space = $1 AND (participant_id = $2 OR body LIKE $3)) ORDER BY id LIMIT $4";
    let read = |row: &Row<'_>| {
        Ok(DossierDelivery {
            id: DeliveryId::from_uuid(row.get(0)?),
            endpoint_id: EndpointId::from_uuid(row.get(1)?),
            event_id: EventId::from_uuid(row.get(2)?),
            created_at: Timestamp::from_ms(row.get(3)?),
        })
    };
    let mut deliveries = tx.fetch(sql, &naming, read).await?;
    let is_cut = [
        ("visits", is_longer(&mut visits)),
        ("conversions", conversions.next.is_some()),
        ("rewards", rewards.next.is_some()),
        ("signals", signals.next.is_some()),
        ("events", is_longer(&mut events)),
        ("deliveries", is_longer(&mut deliveries)),
    ];
    Ok(Dossier {
        referrer: person.referrer_since.map(|_| person.referrer_view(&campaign, shared)),
        lead,
        ip: person.ip,
        visitor_id: person.visitor.map(VisitorId::from_uuid),
        visits: visits.into_iter().map(|(visit, ip)| DossierVisit { visit, ip }).collect(),
        conversions: conversions.data,
        rewards: rewards.data,
        signals: signals.data,
        events,
        deliveries,
        cut: is_cut.into_iter().filter(|(_, is_cut)| *is_cut).map(|(name, _)| name.to_owned()).collect(),
    })
}

/// Cuts a list to its bound.
fn is_longer<T>(list: &mut Vec<T>) -> bool {
    let is_longer = list.len() > DOSSIER_MAX;
    list.truncate(DOSSIER_MAX);
    is_longer
}

/// [`Update`] of somebody as a lead: answers with the lead.
#[derive(Debug, Clone)]
pub struct UpdateLead(pub Update);

impl Act for UpdateLead {
    type Output = view::Lead;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<view::Lead> {
        let (lead, campaign) = self.0.act(work).await?;
        lead_view(work.tx, work.shared, work.context.space, &lead, &campaign).await
    }
}
