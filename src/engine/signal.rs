//! The log of everything that came in, and what was made of it.

use super::{
    Error, Result, Space,
    list::{Listing, Page, Query},
    view::Why,
    work::{Effect, SignalRecord, statement},
};
use goodword_core::{
    decide::Outcome,
    explain::{Check, Reason},
    ids::{CampaignId, LeadId, ReferrerId, SignalId},
    time::Timestamp,
};
use goodword_store::{Row, Tx};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A signal as it is shown: what came in, what was decided, on what grounds, and what
/// it brought about.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SignalView {
    pub id: SignalId,
    /// The business key: the same thing told again is the same signal.
    pub key: String,
    pub kind: String,
    pub source: String,
    pub actor: String,
    pub campaign_id: Option<CampaignId>,
    /// The lead that it is about.
    pub lead_id: Option<LeadId>,
    /// The referrer that it is about, who referred the lead, or whose link was used for a join that was refused.
    pub referrer_id: Option<ReferrerId>,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    pub outcome: Outcome,
    pub why: Why,
    /// The version of the configuration that it was decided with.
    pub version: Option<i64>,
    pub checks: Vec<Check>,
    pub effects: Vec<Effect>,
}

/// As [`SignalRecord::SELECT`], with the roles of the person that it is about.
const SELECT: &str =
    "SELECT id, key, kind, source, actor, campaign_id, participant_id, occurred_at, received_at, payload, outcome, reason, version, checks, effects,
    (SELECT p.lead_since IS NOT NULL FROM participants p WHERE p.space = signals.space AND p.id = signals.participant_id),
    (SELECT p.referrer_id FROM participants p WHERE p.space = signals.space AND p.id = signals.participant_id) FROM signals";

impl SignalView {
    fn read(row: &Row<'_>) -> goodword_store::Result<Self> {
        let record = SignalRecord::read(row)?;
        // Somebody may be both. What was done as a referrer says so, and so does a refused join with their link.
        let refused_join = record.kind == "lead.add" && record.outcome == Outcome::Refused;
        let is_lead = row.get::<Option<bool>>(15)?.unwrap_or(false) && !record.kind.starts_with("referrer") && !refused_join;
        let (lead, referrer) = if is_lead { (record.participant, row.get::<Option<Uuid>>(16)?) } else { (None, record.participant) };
        Ok(Self {
            id: record.id,
            key: record.key,
            kind: record.kind,
            source: record.source,
            actor: record.actor,
            campaign_id: record.campaign,
            lead_id: lead.map(LeadId::from_uuid),
            referrer_id: referrer.map(ReferrerId::from_uuid),
            occurred_at: record.occurred_at,
            received_at: record.received_at,
            payload: serde_json::from_str(&record.payload).unwrap_or_default(),
            outcome: record.outcome,
            why: record.reason.into(),
            version: record.version,
            checks: record.checks,
            effects: record.effects,
        })
    }
}

#[derive(Debug, Clone, Default)]
pub struct SignalFilter {
    pub kind: Option<String>,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    pub campaign: Option<CampaignId>,
    /// About this person. A refused join is kept with the referrer, and tells of somebody else.
    pub participant: Option<Uuid>,
    /// About the referrer, about somebody whom they referred, or a join with their link that was refused.
    pub referrer: Option<ReferrerId>,
    pub source: Option<String>,
}

pub async fn get(tx: &mut Tx<'_>, space: Space, id: SignalId) -> Result<SignalRecord> {
    let sql = statement(SignalRecord::SELECT, " WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], SignalRecord::read).await?.ok_or(Error::NotFound { what: "signal" })
}

/// A signal as it is shown.
pub async fn view(tx: &mut Tx<'_>, space: Space, id: SignalId) -> Result<SignalView> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], SignalView::read).await?.ok_or(Error::NotFound { what: "signal" })
}

pub async fn list(tx: &mut Tx<'_>, space: Space, filter: &SignalFilter, page: &Page) -> Result<Listing<SignalView>> {
    let mut query = Query::new(SELECT, space);
    if let Some(kind) = &filter.kind {
        query.and_text("kind =", kind);
    }
    if let Some(outcome) = filter.outcome {
        query.and_text("outcome =", outcome.as_str());
    }
    if let Some(reason) = filter.reason {
        query.and_text("reason =", reason.as_str());
    }
    if let Some(id) = filter.campaign {
        query.and_id("campaign_id =", id.uuid());
    }
    if let Some(id) = filter.participant {
        query.and_id("participant_id =", id).and("NOT (kind = 'lead.add' AND outcome = 'refused')");
    }
    if let Some(id) = filter.referrer {
        let own = "participant_id IN (SELECT $? UNION ALL SELECT p.id FROM participants p WHERE p.space = $1 AND p.referrer_id = $?)";
        query.and_about(own, id.uuid());
    }
    if let Some(source) = &filter.source {
        query.and_text("source =", source);
    }
    // Ids are ordered by time, so the key of the table is the order of the list.
    query.page_by_id(tx, page, SignalView::read, |signal| signal.id.uuid()).await
}
