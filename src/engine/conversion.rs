//! Conversions that were recorded for leads.

use super::{
    Error, Result, Shared, Space,
    campaign::Campaign,
    list::{Listing, Page, Query},
    participant::Campaigns,
    reward::money,
    view,
    work::statement,
};
use goodword_core::{
    campaign::ConversionKind,
    explain::Reason,
    ids::{CampaignId, ConversionId, LeadId, SignalId},
    money::Money,
    time::Timestamp,
};
use goodword_store::{self as store, Row, Tx};
use uuid::Uuid;

/// One row.
#[derive(Debug, Clone)]
pub struct ConversionRow {
    pub id: ConversionId,
    pub campaign: CampaignId,
    pub participant: Uuid,
    pub external_id: String,
    pub kind: ConversionKind,
    pub goal: Option<String>,
    pub amount: Option<Money>,
    pub refunded_minor: i64,
    pub refunded_at: Option<Timestamp>,
    pub counts: bool,
    pub reason: Reason,
    pub properties: serde_json::Value,
    pub occurred_at: Timestamp,
    pub signal: SignalId,
    /// Where it was told from: conditions may ask.
    pub source: String,
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT id, campaign_id, participant_id, external_id, kind, goal, amount_minor, currency, refunded_minor, refunded_at, counts, reason, properties, occurred_at, signal_id, source, created_at FROM conversions";

impl ConversionRow {
    pub fn read(row: &Row<'_>) -> store::Result<Self> {
        let broken = |what: &str| store::Error::Database(format!("a conversion has an unknown {what}"));
        Ok(Self {
            id: ConversionId::from_uuid(row.get(0)?),
            campaign: CampaignId::from_uuid(row.get(1)?),
            participant: row.get(2)?,
            external_id: row.get(3)?,
            kind: ConversionKind::parse(row.text(4)?).ok_or_else(|| broken("kind"))?,
            goal: row.get(5)?,
            amount: money(row, 6, 7)?,
            refunded_minor: row.get(8)?,
            refunded_at: row.get::<Option<i64>>(9)?.map(Timestamp::from_ms),
            counts: row.get(10)?,
            reason: Reason::parse(row.text(11)?).ok_or_else(|| broken("reason"))?,
            properties: serde_json::from_str(row.text(12)?).map_err(|_| broken("property"))?,
            occurred_at: Timestamp::from_ms(row.get(13)?),
            signal: SignalId::from_uuid(row.get(14)?),
            source: row.get(15)?,
            created_at: Timestamp::from_ms(row.get(16)?),
        })
    }

    pub fn view(&self, campaign: &Campaign) -> view::Conversion {
        view::Conversion {
            id: self.id,
            campaign: campaign.reference(),
            lead_id: LeadId::from_uuid(self.participant),
            external_id: self.external_id.clone(),
            kind: self.kind,
            goal: self.goal.clone(),
            amount: self.amount,
            refunded: self.amount.filter(|_| self.refunded_minor > 0).map(|amount| Money::new(self.refunded_minor, amount.currency)),
            refunded_at: self.refunded_at,
            counts: self.counts,
            why: self.reason.into(),
            properties: self.properties.clone(),
            occurred_at: self.occurred_at,
            signal_id: self.signal,
            created_at: self.created_at,
        }
    }

    /// Nothing is left of it.
    pub fn fully_refunded(&self) -> bool {
        self.refunded_at.is_some() && self.amount.is_none_or(|amount| self.refunded_minor >= amount.minor)
    }

    /// What is left of its amount.
    pub fn kept(&self) -> Option<Money> {
        self.amount.map(|amount| Money::new(amount.minor - self.refunded_minor, amount.currency))
    }
}

pub async fn find_locked(tx: &mut Tx<'_>, space: Space, id: ConversionId) -> Result<Option<ConversionRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2 FOR UPDATE");
    Ok(tx.fetch_one(&sql, &[space.into(), id.uuid().into()], ConversionRow::read).await?)
}

pub async fn find(tx: &mut Tx<'_>, space: Space, id: ConversionId) -> Result<Option<ConversionRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2");
    Ok(tx.fetch_one(&sql, &[space.into(), id.uuid().into()], ConversionRow::read).await?)
}

/// Conversions with that id outside, in any campaign of the side; at most 20.
pub async fn by_external_id(tx: &mut Tx<'_>, space: Space, campaign: Option<CampaignId>, external_id: &str) -> Result<Vec<ConversionRow>> {
    let mut query = Query::new(SELECT, space);
    query.and_text("external_id =", external_id);
    if let Some(id) = campaign {
        query.and_id("campaign_id =", id.uuid());
    }
    Ok(query.page(tx, &Page { limit: 20, ..Page::default() }, "occurred_at", ConversionRow::read, |row| (row.occurred_at.ms(), row.id.uuid())).await?.data)
}

/// All of a lead's conversions, oldest first.
pub async fn of_lead(tx: &mut Tx<'_>, space: Space, lead: Uuid) -> Result<Vec<ConversionRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND participant_id = $2 ORDER BY occurred_at, id LIMIT 10000");
    Ok(tx.fetch(&sql, &[space.into(), lead.into()], ConversionRow::read).await?)
}

pub async fn get(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: ConversionId) -> Result<view::Conversion> {
    let row = find(tx, space, id).await?.ok_or(Error::NotFound { what: "conversion" })?;
    Ok(row.view(&super::campaign::get(tx, shared, space, row.campaign).await?))
}

#[derive(Debug, Clone, Default)]
pub struct ConversionFilter {
    pub campaign: Option<CampaignId>,
    pub lead: Option<LeadId>,
    pub external_id: Option<String>,
    pub kind: Option<ConversionKind>,
    pub counts: Option<bool>,
}

pub async fn list(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &ConversionFilter, page: &Page) -> Result<Listing<view::Conversion>> {
    let mut query = Query::new(SELECT, space);
    if let Some(id) = filter.campaign {
        query.and_id("campaign_id =", id.uuid());
    }
    if let Some(id) = filter.lead {
        query.and_id("participant_id =", id.uuid());
    }
    if let Some(id) = &filter.external_id {
        query.and_text("external_id =", id);
    }
    if let Some(kind) = filter.kind {
        query.and_text("kind =", kind.as_str());
    }
    if let Some(counts) = filter.counts {
        query.and(if counts { "counts" } else { "NOT counts" });
    }
    let rows = query.page(tx, page, "created_at", ConversionRow::read, |row| (row.created_at.ms(), row.id.uuid())).await?;
    let mut campaigns = Campaigns::default();
    let mut data = Vec::with_capacity(rows.data.len());
    for row in &rows.data {
        data.push(row.view(campaigns.get(tx, shared, space, row.campaign).await?));
    }
    Ok(Listing { data, next: rows.next })
}
