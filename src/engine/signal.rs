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
use goodword_store::Tx;
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
    pub lead_id: Option<LeadId>,
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

impl From<SignalRecord> for SignalView {
    fn from(record: SignalRecord) -> Self {
        Self {
            id: record.id,
            key: record.key,
            kind: record.kind,
            source: record.source,
            actor: record.actor,
            campaign_id: record.campaign,
            lead_id: record.participant.map(LeadId::from_uuid),
            referrer_id: record.participant.map(ReferrerId::from_uuid),
            occurred_at: record.occurred_at,
            received_at: record.received_at,
            payload: serde_json::from_str(&record.payload).unwrap_or_default(),
            outcome: record.outcome,
            why: record.reason.into(),
            version: record.version,
            checks: record.checks,
            effects: record.effects,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct SignalFilter {
    pub kind: Option<String>,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    pub campaign: Option<CampaignId>,
    pub participant: Option<Uuid>,
    pub source: Option<String>,
}

pub async fn get(tx: &mut Tx<'_>, space: Space, id: SignalId) -> Result<SignalRecord> {
    let sql = statement(SignalRecord::SELECT, " WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], SignalRecord::read).await?.ok_or(Error::NotFound { what: "signal" })
}

pub async fn list(tx: &mut Tx<'_>, space: Space, filter: &SignalFilter, page: &Page) -> Result<Listing<SignalView>> {
    let mut query = Query::new(SignalRecord::SELECT, space);
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
        query.and_id("participant_id =", id);
    }
    if let Some(source) = &filter.source {
        query.and_text("source =", source);
    }
    // Ids are ordered by time, so the key of the table is the order of the list.
    let rows = query.page_by_id(tx, page, SignalRecord::read, |record| record.id.uuid()).await?;
    Ok(rows.map(SignalView::from))
}
