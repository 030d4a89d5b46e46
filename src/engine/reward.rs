//! Rewards: falling due, being decided upon, going out, coming back.

use super::{
    Error, Result, Shared, Space,
    campaign::{self, Campaign},
    conversion,
    event::EventType,
    list::{Listing, Page, Query},
    participant::{Campaigns, Participant, evidence, find},
    view::{self, Beneficiary, Why},
    work::{Act, Work, statement},
};
use goodword_core::{
    decide::{self, Before, Candidate, Cause, Decision, Grant, LeadStatus, Occasion, Outcome, RewardChange, RewardFacts, RewardOutcome, TouchedReward},
    explain::{Check, Reason},
    ids::{CampaignId, ConversionId, LeadId, ReferrerId, RewardDefinitionId, RewardId, SignalId},
    money::{Currency, Money},
    reward::{Cadence, RewardAction, RewardDefinition, RewardState, RewardValue, Role, Trigger},
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Row, Tx};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// One row.
#[derive(Debug, Clone)]
pub struct RewardRow {
    pub number: i64,
    pub id: RewardId,
    pub campaign: CampaignId,
    pub definition: RewardDefinitionId,
    pub version: i64,
    pub beneficiary: Uuid,
    pub role: Role,
    pub lead: LeadId,
    pub cause: String,
    pub conversion: Option<ConversionId>,
    pub kind: String,
    pub amount: Option<Money>,
    pub metric: Option<String>,
    pub units: Option<i64>,
    pub coupon: Option<String>,
    pub basis: Option<Money>,
    pub reversed_minor: i64,
    pub state: RewardState,
    pub reason: Reason,
    pub note: Option<String>,
    pub hold_until: Option<Timestamp>,
    pub recalled: bool,
    pub budget_period: Option<i64>,
    pub due_at: Timestamp,
    pub issued_at: Option<Timestamp>,
    pub attempts: i64,
    pub signal: SignalId,
    pub updated_at: Timestamp,
}

pub(super) const SELECT: &str = "SELECT no, id, campaign_id, definition_id, version, beneficiary_id, role, lead_id, cause, conversion_id, kind, amount_minor, currency, metric, units, coupon, basis_minor, basis_currency, \
     reversed_minor, state, reason, note, hold_until, recalled, budget_period, due_at, issued_at, attempts, signal_id, updated_at FROM rewards";

/// Money from its two columns.
pub(super) fn money(row: &Row<'_>, minor: usize, currency: usize) -> store::Result<Option<Money>> {
    match (row.get::<Option<i64>>(minor)?, row.get::<Option<String>>(currency)?) {
        (Some(minor), Some(code)) => code
            .parse::<Currency>()
            .map(|currency| Some(Money::new(minor, currency)))
            .map_err(|_| store::Error::Database(format!("there is no currency {code}"))),
        _ => Ok(None),
    }
}

impl RewardRow {
    pub fn read(row: &Row<'_>) -> store::Result<Self> {
        let broken = |what: &str| store::Error::Database(format!("a reward has an unknown {what}"));
        Ok(Self {
            number: row.get(0)?,
            id: RewardId::from_uuid(row.get(1)?),
            campaign: CampaignId::from_uuid(row.get(2)?),
            definition: RewardDefinitionId::from_uuid(row.get(3)?),
            version: row.get(4)?,
            beneficiary: row.get(5)?,
            role: if row.text(6)? == "lead" { Role::Lead } else { Role::Referrer },
            lead: LeadId::from_uuid(row.get(7)?),
            cause: row.get(8)?,
            conversion: row.get::<Option<Uuid>>(9)?.map(ConversionId::from_uuid),
            kind: row.get(10)?,
            amount: money(row, 11, 12)?,
            metric: row.get(13)?,
            units: row.get(14)?,
            coupon: row.get(15)?,
            basis: money(row, 16, 17)?,
            reversed_minor: row.get(18)?,
            state: RewardState::parse(row.text(19)?).ok_or_else(|| broken("state"))?,
            reason: Reason::parse(row.text(20)?).ok_or_else(|| broken("reason"))?,
            note: row.get(21)?,
            hold_until: row.get::<Option<i64>>(22)?.map(Timestamp::from_ms),
            recalled: row.get(23)?,
            budget_period: row.get(24)?,
            due_at: Timestamp::from_ms(row.get(25)?),
            issued_at: row.get::<Option<i64>>(26)?.map(Timestamp::from_ms),
            attempts: row.get(27)?,
            signal: SignalId::from_uuid(row.get(28)?),
            updated_at: Timestamp::from_ms(row.get(29)?),
        })
    }

    /// Whether it is for a number of leads, not for one.
    fn is_counted(&self) -> bool {
        self.cause.starts_with("milestone:") || self.cause.starts_with("every:")
    }

    /// Whether it was left to its beneficiary when its ground was lost.
    fn is_noted(&self) -> bool {
        self.state == RewardState::Issued && lost_ground(self.reason)
    }

    pub fn view(&self, campaign: &Campaign, name: &str, beneficiary: &Participant) -> view::Reward {
        let lead = self.role == Role::Lead;
        view::Reward {
            id: self.id,
            number: self.number,
            campaign: campaign.reference(),
            definition_id: self.definition,
            name: name.to_owned(),
            state: self.state,
            why: self.reason.into(),
            beneficiary: Beneficiary {
                role: self.role,
                referrer_id: (!lead).then(|| ReferrerId::from_uuid(self.beneficiary)),
                lead_id: lead.then(|| LeadId::from_uuid(self.beneficiary)),
                email: beneficiary.email.clone(),
                name: beneficiary.name(),
            },
            lead_id: self.lead,
            cause: self.cause.clone(),
            conversion_id: self.conversion,
            kind: self.kind.clone(),
            amount: self.amount,
            basis: self.basis,
            metric: self.metric.clone(),
            units: self.units,
            coupon: self.coupon.clone(),
            reversed: self.amount.filter(|_| self.reversed_minor > 0).map(|amount| Money::new(self.reversed_minor, amount.currency)),
            note: self.note.clone(),
            hold_until: self.hold_until,
            due_at: self.due_at,
            issued_at: self.issued_at,
            attempts: self.attempts,
            actions: self.state.actions(),
            signal_id: self.signal,
            version: self.version,
            updated_at: self.updated_at,
        }
    }
}

/// The definition as it was when the reward fell due.
async fn definition(tx: &mut Tx<'_>, shared: &Shared, space: Space, row: &RewardRow) -> Result<RewardDefinition> {
    let configuration = shared.configurations.at(tx, space, row.campaign, row.version).await?;
    let definition = configuration.and_then(|configuration| configuration.reward(row.definition).cloned());
    Ok(definition.ok_or_else(|| store::Error::Database(format!("{} names a definition that version {} does not have", row.id, row.version)))?)
}

async fn complete(tx: &mut Tx<'_>, shared: &Shared, space: Space, row: &RewardRow, campaign: &Campaign) -> Result<view::Reward> {
    let definition = definition(tx, shared, space, row).await?;
    let beneficiary = find(tx, space, row.beneficiary).await?.ok_or(Error::NotFound { what: "participant" })?;
    Ok(row.view(campaign, definition.terms.name.as_str(), &beneficiary))
}

pub async fn get(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: RewardId) -> Result<view::Reward> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2");
    let row = tx.fetch_one(&sql, &[space.into(), id.uuid().into()], RewardRow::read).await?.ok_or(Error::NotFound { what: "reward" })?;
    let campaign = campaign::get(tx, shared, space, row.campaign).await?;
    complete(tx, shared, space, &row, &campaign).await
}

/// As [`get`], within a change: it stays like that until the change is made.
pub async fn get_locked(work: &mut Work<'_, '_>, id: RewardId) -> Result<view::Reward> {
    Ok(Case::open(work, id).await?.view())
}

/// The row of a reward.
pub async fn row(tx: &mut Tx<'_>, space: Space, id: RewardId) -> Result<Option<RewardRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND id = $2");
    Ok(tx.fetch_one(&sql, &[space.into(), id.uuid().into()], RewardRow::read).await?)
}

/// The reward of that number.
pub async fn by_number(tx: &mut Tx<'_>, space: Space, number: i64) -> Result<Option<RewardRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND no = $2");
    Ok(tx.fetch_one(&sql, &[space.into(), number.into()], RewardRow::read).await?)
}

/// What a definition has given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub count: i64,
    pub amount_minor: i64,
    pub units: i64,
}

/// What the definitions of a kind have given, without what was cancelled, rejected or reversed.
pub async fn totals(tx: &mut Tx<'_>, space: Space, kind: &str) -> Result<HashMap<RewardDefinitionId, Totals>> {
    let sql =
        "SELECT definition_id, count(*), CAST(coalesce(sum(amount_minor - reversed_minor), 0) AS bigint), CAST(coalesce(sum(units), 0) AS bigint) FROM rewards
               WHERE space = $1 AND kind = $2 AND state NOT IN ('cancelled', 'rejected', 'reversed') GROUP BY definition_id";
    let read = |row: &Row<'_>| Ok((RewardDefinitionId::from_uuid(row.get(0)?), Totals { count: row.get(1)?, amount_minor: row.get(2)?, units: row.get(3)? }));
    Ok(tx.fetch(sql, &[space.into(), kind.into()], read).await?.into_iter().collect())
}

/// The code that the next reward of a definition will give.
pub async fn next_coupon(tx: &mut Tx<'_>, space: Space, definition: RewardDefinitionId) -> Result<Option<String>> {
    let sql = "SELECT code FROM coupons WHERE space = $1 AND definition_id = $2 AND reward_id IS NULL ORDER BY no LIMIT 1";
    Ok(tx.fetch_one(sql, &[space.into(), definition.uuid().into()], |row| row.get::<String>(0)).await?)
}

/// The whole life of a reward, oldest first.
pub async fn history(tx: &mut Tx<'_>, space: Space, id: RewardId) -> Result<Vec<view::RewardEntry>> {
    let sql = "SELECT n, state, reason, note, amount_minor, currency, actor, signal_id, at FROM reward_entries WHERE space = $1 AND reward_id = $2 ORDER BY n LIMIT 1000";
    let read = |row: &Row<'_>| {
        Ok(view::RewardEntry {
            n: row.get(0)?,
            state: RewardState::parse(row.text(1)?).ok_or_else(|| store::Error::Database("a reward entry has an unknown state".into()))?,
            why: Reason::parse(row.text(2)?).map(Why::from).ok_or_else(|| store::Error::Database("a reward entry has an unknown reason".into()))?,
            note: row.get(3)?,
            amount: money(row, 4, 5)?,
            actor: row.get(6)?,
            signal_id: SignalId::from_uuid(row.get(7)?),
            at: Timestamp::from_ms(row.get(8)?),
        })
    };
    Ok(tx.fetch(sql, &[space.into(), id.uuid().into()], read).await?)
}

#[derive(Debug, Clone, Default)]
pub struct RewardFilter {
    pub campaign: Option<CampaignId>,
    pub state: Option<RewardState>,
    pub beneficiary: Option<Uuid>,
    pub lead: Option<LeadId>,
    pub definition: Option<RewardDefinitionId>,
    pub kind: Option<String>,
    pub signal: Option<SignalId>,
    pub search: Option<String>,
}

pub async fn list(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &RewardFilter, page: &Page) -> Result<Listing<view::Reward>> {
    let mut query = Query::new(SELECT, space);
    if let Some(id) = filter.campaign {
        query.and_id("campaign_id =", id.uuid());
    }
    if let Some(state) = filter.state {
        query.and_text("state =", state.as_str());
    }
    if let Some(id) = filter.beneficiary {
        query.and_id("beneficiary_id =", id);
    }
    if let Some(id) = filter.lead {
        query.and_id("lead_id =", id.uuid());
    }
    if let Some(id) = filter.definition {
        query.and_id("definition_id =", id.uuid());
    }
    if let Some(kind) = &filter.kind {
        query.and_text("kind =", kind);
    }
    if let Some(id) = filter.signal {
        query.and_id("signal_id =", id.uuid());
    }
    if let Some(search) = &filter.search {
        query.and_contains(&["coupon", "cause", "note"], search);
    }
    let rows = query.page(tx, page, "due_at", RewardRow::read, |row| (row.due_at.ms(), row.id.uuid())).await?;
    let mut campaigns = Campaigns::default();
    let mut data = Vec::with_capacity(rows.data.len());
    for row in &rows.data {
        let campaign = campaigns.get(tx, shared, space, row.campaign).await?.clone();
        data.push(complete(tx, shared, space, row, &campaign).await?);
    }
    Ok(Listing { data, next: rows.next })
}

/// What a referrer's own rewards of one state add up to, by what is counted.
pub struct Total {
    pub state: RewardState,
    pub money: Option<Money>,
    /// How many, and of what.
    pub units: Option<(i64, String)>,
}

pub async fn totals_of_referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<Vec<Total>> {
    let sql = "SELECT state, currency, metric, CAST(sum(amount_minor - reversed_minor) AS bigint), CAST(sum(units) AS bigint) FROM rewards \
         WHERE space = $1 AND beneficiary_id = $2 AND role = 'referrer' GROUP BY state, currency, metric LIMIT 1000";
    let read = |row: &Row<'_>| {
        Ok(Total {
            state: RewardState::parse(row.text(0)?).ok_or_else(|| store::Error::Database("a reward has an unknown state".to_owned()))?,
            money: money(row, 3, 1)?,
            units: row.get::<Option<i64>>(4)?.zip(row.get::<Option<String>>(2)?),
        })
    };
    Ok(tx.fetch(sql, &[space.into(), id.uuid().into()], read).await?)
}

/// The coupons that a referrer was given, newest first.
pub async fn coupons_of_referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId, limit: i64) -> Result<Vec<RewardRow>> {
    let sql = statement(
        SELECT,
        " WHERE space = $1 AND beneficiary_id = $2 AND role = 'referrer' AND state = 'issued' AND coupon IS NOT NULL ORDER BY due_at DESC, id LIMIT $3",
    );
    Ok(tx.fetch(&sql, &[space.into(), id.uuid().into(), limit.into()], RewardRow::read).await?)
}

/// A referrer's own rewards, newest first.
pub async fn latest_of_referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId, limit: i64) -> Result<Vec<RewardRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND beneficiary_id = $2 AND role = 'referrer' ORDER BY due_at DESC, id LIMIT $3");
    Ok(tx.fetch(&sql, &[space.into(), id.uuid().into(), limit.into()], RewardRow::read).await?)
}

// ---------------------------------------------------------------- falling due

/// Gives what the occasion gives cause for. Returns the rewards, and the checks of
/// those that were not given.
///
/// Lead and referrer are locked by the caller, so counts and limits are exact; the
/// budget's row is locked here; and the unique key on (definition, cause, beneficiary)
/// stands behind it all.
pub(super) async fn give(
    work: &mut Work<'_, '_>,
    signal: SignalId,
    campaign: &Campaign,
    lead: &Participant,
    referrer: &Participant,
    occasion: &Occasion,
) -> Result<(Vec<view::Reward>, Vec<Check>)> {
    let configuration = campaign.configuration.clone();
    let (candidates, mut skipped) = decide::candidates(&configuration.rewards, occasion);
    let mut given = Vec::with_capacity(candidates.len());
    for candidate in &candidates {
        let role = candidate.definition.terms.beneficiary;
        let beneficiary = if role == Role::Lead { lead } else { referrer };
        let before = match candidate.cause {
            // Nothing can exist for a lead that never was qualified before.
            Cause::Lead(_) if occasion.qualified && lead.first_qualified_at.is_none() => None,
            _ => existing(work, candidate, beneficiary.id).await?,
        };
        let mut candidate = candidate.clone();
        if let Some(before) = before.as_ref().filter(|row| candidate.basis.is_none() && row.reason != Reason::Refunded) {
            // Qualified again without a payment: what it was computed from still stands.
            (candidate.basis, candidate.conversion) = (before.basis, before.conversion);
        }
        let candidate = &candidate;
        if let Some(row) = before.as_ref().filter(|row| row.recalled || row.is_counted() && row.is_noted()) {
            // On its way, or left to its beneficiary, when its ground was lost, and the ground is there again.
            let reason = if row.recalled { row.reason } else { Reason::Done };
            save(work, &RewardRow { recalled: false, reason, updated_at: work.now(), ..row.clone() }).await?;
        }
        let facts = facts(work, campaign, candidate, beneficiary.id, before.as_ref(), &lead.risk).await?;
        let (outcome, checks) = decide::reward(candidate, &facts);
        match outcome {
            RewardOutcome::Skip(reason) => {
                if reason != Reason::OnlyOnce {
                    let data = view::EventData {
                        campaign: Some(campaign.reference()),
                        referrer: Some(referrer.referrer_view(campaign, work.shared)),
                        lead: Some(lead.lead_view(campaign, referrer, work.shared)),
                        evidence: Some(view::Evidence { signal_id: signal, outcome: Outcome::Ignored, why: reason.into(), checks: checks.clone() }),
                        ..Default::default()
                    };
                    work.emit(EventType::RewardSkipped, &candidate.definition.id, Some(beneficiary.id), &data)?;
                }
                skipped.extend(checks);
            }
            RewardOutcome::Give(grant) => {
                let row = insert(work, signal, campaign, candidate, beneficiary.id, occasion.lead, &grant).await?;
                given.push(settle(work, signal, campaign, candidate.definition, row, &grant, true, lead, referrer).await?);
            }
            RewardOutcome::Reinstate(grant) => {
                if let Some(row) = before {
                    let row = reinstate(work, campaign, candidate, row, signal, &grant).await?;
                    given.push(settle(work, signal, campaign, candidate.definition, row, &grant, false, lead, referrer).await?);
                }
            }
        }
    }
    Ok((given, skipped))
}

async fn existing(work: &mut Work<'_, '_>, candidate: &Candidate<'_>, beneficiary: Uuid) -> Result<Option<RewardRow>> {
    let sql = statement(SELECT, " WHERE space = $1 AND definition_id = $2 AND cause = $3 AND beneficiary_id = $4 FOR UPDATE");
    let key = candidate.cause.key();
    let args = [work.context.space.into(), candidate.definition.id.uuid().into(), key.as_str().into(), beneficiary.into()];
    Ok(work.tx.fetch_one(&sql, &args, RewardRow::read).await?)
}

async fn facts<'a>(
    work: &mut Work<'_, '_>,
    campaign: &'a Campaign,
    candidate: &Candidate<'_>,
    beneficiary: Uuid,
    before: Option<&RewardRow>,
    risk: &'a [Reason],
) -> Result<RewardFacts<'a>> {
    let space = work.context.space;
    // Limits and budgets are of the period in which rewards fall due, whenever their cause happened.
    let at = work.now();
    let settings = campaign.settings();
    let definition = candidate.definition;
    let given = match definition.terms.limit {
        Some(limit) => {
            let sql = "SELECT count(*) FROM rewards WHERE space = $1 AND beneficiary_id = $2 AND definition_id = $3 AND due_at >= $4 AND state NOT IN ('cancelled', 'rejected', 'reversed')";
            let args = [space.into(), beneficiary.into(), definition.id.uuid().into(), at.start_of(limit.period).ms().into()];
            work.tx.fetch_one(sql, &args, |row| row.get::<i64>(0)).await?.unwrap_or_default()
        }
        None => 0,
    };
    let budget_used_minor = match settings.budget {
        Some(budget) => used_locked(work, campaign.id, budget.amount.currency, at.start_of(budget.period)).await?,
        None => 0,
    };
    let coupon_left = match candidate.value {
        RewardValue::Coupon {} => pool_locked(work, definition.id).await?.is_some(),
        _ => false,
    };
    let before = before.map(|row| Before { state: row.state, lost_ground: lost_ground(row.reason) });
    Ok(RewardFacts { settings, at, before, given, budget_used_minor, coupon_left, risk })
}

/// Reasons for which the engine takes rewards back, and gives them again when the ground
/// is there again. What a person took back stays so.
const fn lost_ground(reason: Reason) -> bool {
    matches!(reason, Reason::LeadUnqualified | Reason::LeadNotRejected | Reason::LeadMoved | Reason::Refunded)
}

/// What is reserved of a budget in the period that begins there. Its row stays locked.
async fn used_locked(work: &mut Work<'_, '_>, campaign: CampaignId, currency: Currency, period: Timestamp) -> Result<i64> {
    let args: [Arg<'_>; 4] = [work.context.space.into(), campaign.uuid().into(), currency.as_str().into(), period.ms().into()];
    work.tx.execute("INSERT INTO budgets (space, campaign_id, currency, period, used_minor) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING", &args).await?;
    let sql = "SELECT used_minor FROM budgets WHERE space = $1 AND campaign_id = $2 AND currency = $3 AND period = $4 FOR UPDATE";
    Ok(work.tx.fetch_one(sql, &args, |row| row.get::<i64>(0)).await?.unwrap_or_default())
}

/// Reserves money of the budget (or gives it back, where negative).
async fn reserve(work: &mut Work<'_, '_>, campaign: CampaignId, amount: Money, period: i64) -> Result<()> {
    work.tx
        .execute(
            "UPDATE budgets SET used_minor = used_minor + $5 WHERE space = $1 AND campaign_id = $2 AND currency = $3 AND period = $4",
            &[work.context.space.into(), campaign.uuid().into(), amount.currency.as_str().into(), period.into(), amount.minor.into()],
        )
        .await?;
    Ok(())
}

/// The budget period that an amount falls into, where the campaign has a budget for it.
fn budget_period(campaign: &Campaign, amount: Option<Money>, at: Timestamp) -> Option<i64> {
    let budget = campaign.settings().budget?;
    amount.filter(|amount| amount.currency == budget.amount.currency).map(|_| at.start_of(budget.period).ms())
}

async fn insert(
    work: &mut Work<'_, '_>,
    signal: SignalId,
    campaign: &Campaign,
    candidate: &Candidate<'_>,
    beneficiary: Uuid,
    lead: LeadId,
    grant: &Grant,
) -> Result<RewardRow> {
    let now = work.now();
    let id: RewardId = work.mint.id();
    let coupon = match candidate.value {
        RewardValue::Coupon {} if grant.reason != Reason::CouponLeft => take_coupon(work, campaign, candidate.definition.id, id).await?,
        _ => None,
    };
    let period = budget_period(campaign, grant.amount, now);
    if let (Some(period), Some(amount)) = (period, grant.amount) {
        reserve(work, campaign.id, amount, period).await?;
    }
    let (metric, units) = match candidate.value {
        RewardValue::Custom { metric, units } => (Some(metric.to_string()), Some(*units)),
        _ => (None, None),
    };
    let row = RewardRow {
        number: 0,
        id,
        campaign: campaign.id,
        definition: candidate.definition.id,
        version: campaign.version,
        beneficiary,
        role: candidate.definition.terms.beneficiary,
        lead,
        cause: candidate.cause.key(),
        conversion: candidate.conversion,
        kind: candidate.value.kind().to_owned(),
        amount: grant.amount,
        metric,
        units,
        coupon,
        basis: candidate.basis,
        reversed_minor: 0,
        state: grant.state(),
        reason: grant.reason,
        note: None,
        hold_until: grant.hold_until,
        recalled: false,
        budget_period: period,
        due_at: now,
        issued_at: (grant.state() == RewardState::Issued).then_some(now),
        attempts: i64::from(grant.path.iter().any(|state| state.is_attempt())),
        signal,
        updated_at: now,
    };
    insert_row(work, row).await
}

/// Writes a new reward. Returns it with its number.
pub(super) async fn insert_row(work: &mut Work<'_, '_>, row: RewardRow) -> Result<RewardRow> {
    let number = work
        .tx
        .fetch_one(
            "INSERT INTO rewards (space, id, campaign_id, definition_id, version, beneficiary_id, role, lead_id, cause, conversion_id, kind, amount_minor, currency, metric, units, coupon, basis_minor, basis_currency, state, reason, hold_until, budget_period, due_at, issued_at, attempts, signal_id, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $23) RETURNING no",
            &[
                work.context.space.into(),
                row.id.uuid().into(),
                row.campaign.uuid().into(),
                row.definition.uuid().into(),
                row.version.into(),
                row.beneficiary.into(),
                row.role.as_str().into(),
                row.lead.uuid().into(),
                row.cause.as_str().into(),
                row.conversion.map(ConversionId::uuid).into(),
                row.kind.as_str().into(),
                row.amount.map(|amount| amount.minor).into(),
                row.amount.as_ref().map(|amount| amount.currency.as_str()).into(),
                row.metric.as_deref().into(),
                row.units.into(),
                row.coupon.as_deref().into(),
                row.basis.map(|basis| basis.minor).into(),
                row.basis.as_ref().map(|basis| basis.currency.as_str()).into(),
                row.state.as_str().into(),
                row.reason.as_str().into(),
                row.hold_until.map(Timestamp::ms).into(),
                row.budget_period.into(),
                row.due_at.ms().into(),
                row.issued_at.map(Timestamp::ms).into(),
                row.attempts.into(),
                row.signal.uuid().into(),
            ],
            |row| row.get::<i64>(0),
        )
        .await?;
    Ok(RewardRow { number: number.unwrap_or_default(), ..row })
}

/// A reward that was taken back when its lead lost the qualification lives again.
async fn reinstate(
    work: &mut Work<'_, '_>,
    campaign: &Campaign,
    candidate: &Candidate<'_>,
    row: RewardRow,
    signal: SignalId,
    grant: &Grant,
) -> Result<RewardRow> {
    let now = work.now();
    let coupon = match (&row.coupon, candidate.value) {
        (None, RewardValue::Coupon {}) if grant.reason != Reason::CouponLeft => take_coupon(work, campaign, row.definition, row.id).await?,
        _ => row.coupon.clone(),
    };
    let period = budget_period(campaign, grant.amount, now);
    if let (Some(period), Some(amount)) = (period, grant.amount) {
        reserve(work, campaign.id, amount, period).await?;
    }
    let row = RewardRow {
        version: campaign.version,
        conversion: candidate.conversion,
        amount: grant.amount,
        basis: candidate.basis,
        coupon,
        reversed_minor: 0,
        state: grant.state(),
        reason: grant.reason,
        hold_until: grant.hold_until,
        recalled: false,
        budget_period: period,
        due_at: now,
        issued_at: (grant.state() == RewardState::Issued).then_some(now),
        attempts: row.attempts + i64::from(grant.path.iter().any(|state| state.is_attempt())),
        signal,
        updated_at: now,
        ..row
    };
    save(work, &row).await?;
    Ok(row)
}

/// Writes what can change about a reward.
async fn save(work: &mut Work<'_, '_>, row: &RewardRow) -> Result<()> {
    work.tx
        .execute(
            "UPDATE rewards SET version = $3, amount_minor = $4, currency = $5, coupon = $6, basis_minor = $7, basis_currency = $8, reversed_minor = $9, state = $10, reason = $11, note = $12, hold_until = $13,
                 recalled = $14, budget_period = $15, due_at = $16, issued_at = $17, attempts = $18, signal_id = $19, updated_at = $20, conversion_id = $21 WHERE space = $1 AND id = $2",
            &[
                work.context.space.into(),
                row.id.uuid().into(),
                row.version.into(),
                row.amount.map(|amount| amount.minor).into(),
                row.amount.as_ref().map(|amount| amount.currency.as_str()).into(),
                row.coupon.as_deref().into(),
                row.basis.map(|basis| basis.minor).into(),
                row.basis.as_ref().map(|basis| basis.currency.as_str()).into(),
                row.reversed_minor.into(),
                row.state.as_str().into(),
                row.reason.as_str().into(),
                row.note.as_deref().into(),
                row.hold_until.map(Timestamp::ms).into(),
                row.recalled.into(),
                row.budget_period.into(),
                row.due_at.ms().into(),
                row.issued_at.map(Timestamp::ms).into(),
                row.attempts.into(),
                row.signal.uuid().into(),
                row.updated_at.ms().into(),
                row.conversion.map(ConversionId::uuid).into(),
            ],
        )
        .await?;
    Ok(())
}

/// Total and used coupons of a pool that is not empty. Its row stays locked.
async fn pool_locked(work: &mut Work<'_, '_>, definition: RewardDefinitionId) -> Result<Option<(i64, i64)>> {
    let sql = "SELECT total, used FROM coupon_pools WHERE space = $1 AND definition_id = $2 FOR UPDATE";
    let pool = work.tx.fetch_one(sql, &[work.context.space.into(), definition.uuid().into()], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))).await?;
    Ok(pool.filter(|(total, used)| used < total))
}

/// Gives the next unused code to a reward, and warns when the pool runs out.
async fn take_coupon(work: &mut Work<'_, '_>, campaign: &Campaign, definition: RewardDefinitionId, reward: RewardId) -> Result<Option<String>> {
    let Some((total, before)) = pool_locked(work, definition).await? else { return Ok(None) };
    let space = work.context.space;
    let own: [Arg<'_>; 2] = [space.into(), definition.uuid().into()];
    let sql = "SELECT no, code FROM coupons WHERE space = $1 AND definition_id = $2 AND reward_id IS NULL ORDER BY no LIMIT 1";
    let Some((no, code)) = work.tx.fetch_one(sql, &own, |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?))).await? else { return Ok(None) };
    let args = [own[0], own[1], no.into(), reward.uuid().into(), work.context.now.ms().into()];
    work.tx.execute("UPDATE coupons SET reward_id = $4, assigned_at = $5 WHERE space = $1 AND definition_id = $2 AND no = $3", &args).await?;
    work.tx.execute("UPDATE coupon_pools SET used = used + 1 WHERE space = $1 AND definition_id = $2", &own).await?;
    let used = before + 1;
    if let Some(&used_percent) = POOL_WARNINGS_PERCENT.iter().rfind(|&percent| before * 100 < total * percent && used * 100 >= total * percent) {
        let name = campaign.configuration.reward(definition).map(|definition| definition.terms.name.to_string()).unwrap_or_default();
        let data = view::EventData {
            campaign: Some(campaign.reference()),
            count: Some(total - used),
            coupons: Some(view::CouponsRef { definition_id: definition, name, total, used, used_percent }),
            ..Default::default()
        };
        work.emit(EventType::CouponsLow, &definition, None, &data)?;
    }
    Ok(Some(code))
}

/// Shares of a pool at which somebody is told, as the model product has them.
const POOL_WARNINGS_PERCENT: [i64; 3] = [85, 95, 100];

/// Writes the history of what a grant passed through, and tells the world of each step.
#[expect(clippy::too_many_arguments, reason = "what an event shows is what was read before, so that nothing is read twice")]
async fn settle(
    work: &mut Work<'_, '_>,
    signal: SignalId,
    campaign: &Campaign,
    definition: &RewardDefinition,
    row: RewardRow,
    grant: &Grant,
    first: bool,
    lead: &Participant,
    referrer: &Participant,
) -> Result<view::Reward> {
    let beneficiary = if row.role == Role::Lead { lead } else { referrer };
    let view = row.view(campaign, definition.terms.name.as_str(), beneficiary);
    let mut data = view::EventData {
        campaign: Some(campaign.reference()),
        referrer: Some(referrer.referrer_view(campaign, work.shared)),
        lead: Some(lead.lead_view(campaign, referrer, work.shared)),
        reward: Some(view.clone()),
        moved: row.amount,
        ..Default::default()
    };
    let mut entries = Vec::with_capacity(grant.path.len());
    for (n, &state) in (next_entry(work, row.id, first).await?..).zip(&grant.path) {
        let last = entries.len() + 1 == grant.path.len();
        let reason = if last { grant.reason } else { Reason::Done };
        entries.push(Entry { n, state, reason, note: None, amount: row.amount.filter(|_| state == RewardState::Due) });
        data.evidence = Some(view::Evidence { signal_id: signal, outcome: Outcome::Applied, why: reason.into(), checks: Vec::new() });
        work.emit(event_of(state), &row.id, Some(row.beneficiary), &data)?;
    }
    append(work, row.id, signal, &entries).await?;
    Ok(view)
}

pub(super) const fn event_of(state: RewardState) -> EventType {
    match state {
        RewardState::Due => EventType::RewardDue,
        RewardState::OnHold => EventType::RewardOnHold,
        RewardState::InReview => EventType::RewardInReview,
        RewardState::Approved => EventType::RewardApproved,
        RewardState::Issuing => EventType::RewardIssuing,
        RewardState::Issued => EventType::RewardIssued,
        RewardState::Failed => EventType::RewardFailed,
        RewardState::Cancelled => EventType::RewardCancelled,
        RewardState::Rejected => EventType::RewardRejected,
        RewardState::Reversed => EventType::RewardReversed,
    }
}

/// The number of the next line in a reward's history.
async fn next_entry(work: &mut Work<'_, '_>, id: RewardId, new: bool) -> Result<i64> {
    if new {
        return Ok(1);
    }
    let sql = "SELECT coalesce(max(n), 0) + 1 FROM reward_entries WHERE space = $1 AND reward_id = $2";
    Ok(work.tx.fetch_one(sql, &[work.context.space.into(), id.uuid().into()], |row| row.get::<i64>(0)).await?.unwrap_or(1))
}

/// A line in a reward's history.
pub(super) struct Entry<'a> {
    pub n: i64,
    pub state: RewardState,
    pub reason: Reason,
    pub note: Option<&'a str>,
    pub amount: Option<Money>,
}

pub(super) async fn append(work: &mut Work<'_, '_>, id: RewardId, signal: SignalId, entries: &[Entry<'_>]) -> Result<()> {
    let rows: Vec<[Arg<'_>; 11]> = entries
        .iter()
        .map(|entry| {
            [
                work.context.space.into(),
                id.uuid().into(),
                entry.n.into(),
                entry.state.as_str().into(),
                entry.reason.as_str().into(),
                entry.note.into(),
                entry.amount.map(|amount| amount.minor).into(),
                entry.amount.as_ref().map(|amount| amount.currency.as_str()).into(),
                (&*work.context.actor).into(),
                signal.uuid().into(),
                work.context.now.ms().into(),
            ]
        })
        .collect();
    let insert = "INSERT INTO reward_entries (space, reward_id, n, state, reason, note, amount_minor, currency, actor, signal_id, at)";
    Ok(work.tx.push_rows(insert, &rows, "").await?)
}

// ---------------------------------------------------------------- decisions on rewards

/// Somebody, or the clock, does something to a reward.
#[derive(Debug, Clone)]
pub struct Decide {
    pub reward: RewardId,
    pub action: RewardAction,
    pub note: Option<String>,
    /// For a reversal: so much of it; all that is left where absent.
    pub amount_minor: Option<i64>,
}

impl Act for Decide {
    type Output = view::Reward;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<view::Reward> {
        let mut case = Case::open(work, self.reward).await?;
        let signal = work.signal(
            action_word(self.action),
            Some(case.campaign.id),
            Some(case.row.beneficiary),
            &json!({"reward_id": self.reward, "note": self.note, "amount_minor": self.amount_minor}),
        );
        match case.row.state.after(self.action) {
            Err(Reason::AlreadyDone) => return Ok(case.view()),
            Err(reason) => {
                let allowed = case.row.state.actions().iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ");
                let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed };
                return Err(Error::conflict(reason, format!("The reward is {}; possible now: {allowed}.", case.row.state.as_str().replace('_', " "))));
            }
            Ok(_) => {}
        }
        let decision = Decision::applied(Vec::new());
        let note = self.note.as_deref();
        match self.action {
            RewardAction::Approve => {
                if case.row.kind == "commission" && case.row.amount.is_none() {
                    return Err(Error::conflict(Reason::RewardAmount, "The commission has no amount yet."));
                }
                if case.row.kind == "coupon" && case.row.coupon.is_none() {
                    case.row.coupon = take_coupon(work, &case.campaign, case.row.definition, case.row.id).await?;
                    if case.row.coupon.is_none() {
                        return Err(Error::conflict(Reason::CouponLeft, "No coupon is left in the pool."));
                    }
                }
                case.go(work, RewardState::Approved, Reason::Done, note, signal.id).await?;
                if case.definition.terms.auto_issue {
                    case.issue(work, note, signal.id).await?;
                }
            }
            RewardAction::Issue | RewardAction::Retry => case.issue(work, note, signal.id).await?,
            RewardAction::Confirm | RewardAction::Fail => {
                let state = if self.action == RewardAction::Confirm { RewardState::Issued } else { RewardState::Failed };
                if state == RewardState::Issued {
                    case.row.issued_at = Some(work.now());
                }
                let recalled = std::mem::take(&mut case.row.recalled);
                let reason = if state == RewardState::Failed { Reason::IssuingFailed } else { Reason::Done };
                case.go(work, state, reason, note, signal.id).await?;
                // What was recalled on its way is taken back now that it has ended, as far as its ground is lost.
                if recalled && let Some((kept, reason)) = case.lost(work).await? {
                    case.take_back(work, kept, reason, signal.id).await?;
                }
            }
            RewardAction::Reverse => {
                let left = case.row.amount.map_or(0, |amount| amount.minor) - case.row.reversed_minor;
                let minor = self.amount_minor.unwrap_or(left);
                if minor > left || (case.row.amount.is_some() && minor <= 0) {
                    return Err(Error::Invalid {
                        field: "/amount_minor".into(),
                        expected: format!("1 to {left} minor units, which is what is left of the reward"),
                    });
                }
                case.reverse(work, minor, minor == left, Reason::Done, note, signal.id).await?;
            }
            RewardAction::Hold => {
                case.row.hold_until = None;
                case.go(work, RewardState::OnHold, Reason::Done, note, signal.id).await?;
            }
            RewardAction::Reject | RewardAction::Cancel => {
                let state = if self.action == RewardAction::Reject { RewardState::Rejected } else { RewardState::Cancelled };
                case.release(work).await?;
                case.go(work, state, Reason::Done, note, signal.id).await?;
            }
        }
        work.record(&signal, &decision, Some(case.row.version)).await?;
        Ok(case.view())
    }
}

const fn action_word(action: RewardAction) -> &'static str {
    match action {
        RewardAction::Approve => "reward.approve",
        RewardAction::Hold => "reward.hold",
        RewardAction::Reject => "reward.reject",
        RewardAction::Cancel => "reward.cancel",
        RewardAction::Issue => "reward.issue",
        RewardAction::Retry => "reward.retry",
        RewardAction::Confirm => "reward.confirm",
        RewardAction::Fail => "reward.fail",
        RewardAction::Reverse => "reward.reverse",
    }
}

/// Somebody else has issued it at that time, and says so: nothing is sent.
pub(super) async fn was_issued(work: &mut Work<'_, '_>, id: RewardId, at: Timestamp, note: &str, signal: SignalId) -> Result<()> {
    let mut case = Case::open(work, id).await?;
    case.row.hold_until = None;
    case.row.issued_at = Some(at);
    case.go(work, RewardState::Issued, Reason::Done, Some(note), signal).await
}

/// Sets what a commission is computed from, before it is issued.
#[derive(Debug, Clone)]
pub struct SetBasis {
    pub reward: RewardId,
    pub basis: Money,
}

impl Act for SetBasis {
    type Output = view::Reward;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<view::Reward> {
        if self.basis.minor < 0 {
            return Err(Error::Invalid { field: "/total_spend".into(), expected: "an amount of zero or more".into() });
        }
        let mut case = Case::open(work, self.reward).await?;
        let RewardValue::Commission { percent, cap } = case.value() else {
            return Err(Error::Invalid { field: "/total_spend".into(), expected: "a commission, because other rewards are not computed".into() });
        };
        if !matches!(case.row.state, RewardState::Due | RewardState::OnHold | RewardState::InReview | RewardState::Approved | RewardState::Failed) {
            return Err(Error::conflict(Reason::RewardState, format!("The reward is {}; its amount cannot change any more.", case.row.state.as_str())));
        }
        if let Some(cap) = cap.filter(|cap| decide::cap_matches(*cap, self.basis).failed()) {
            return Err(Error::Invalid {
                field: "/total_spend".into(),
                expected: format!("an amount in {}, the currency of the commission's cap", cap.currency),
            });
        }
        let amount = decide::commission(percent, cap, self.basis);
        if case.row.basis == Some(self.basis) && case.row.amount == Some(amount) {
            return Ok(case.view());
        }
        let signal =
            work.signal("reward.total_spend", Some(case.campaign.id), Some(case.row.beneficiary), &json!({"reward_id": self.reward, "basis": self.basis}));
        let now = work.now();
        let period = budget_period(&case.campaign, Some(amount), now);
        if let (Some(period), Some(budget)) = (period, case.campaign.settings().budget) {
            let used = used_locked(work, case.campaign.id, budget.amount.currency, Timestamp::from_ms(period)).await?;
            let own = if case.row.budget_period == Some(period) { case.row.amount.map_or(0, |amount| amount.minor) } else { 0 };
            if used - own + amount.minor > budget.amount.minor {
                let left = Money::new((budget.amount.minor - used + own).max(0), budget.amount.currency);
                return Err(Error::conflict(Reason::Budget, format!("{amount} does not fit into the budget: {left} left.")));
            }
        }
        case.release(work).await?;
        if let Some(period) = period {
            reserve(work, case.campaign.id, amount, period).await?;
        }
        case.row.budget_period = period;
        case.row.basis = Some(self.basis);
        case.row.amount = Some(amount);
        case.changed(work, None, signal.id).await?;
        if case.row.state == RewardState::OnHold && case.row.reason == Reason::RewardAmount {
            // What held it is there now: it goes where it would have gone.
            let hold_days = case.definition.terms.hold_days;
            if hold_days > 0 {
                case.row.hold_until = Some(now.plus_days(hold_days));
                case.go(work, RewardState::OnHold, Reason::HoldDays, None, signal.id).await?;
            } else {
                case.onward(work, signal.id).await?;
            }
        }
        work.record(&signal, &Decision::applied(Vec::new()), Some(case.row.version)).await?;
        Ok(case.view())
    }
}

/// The time of a hold has passed: the reward goes into review, or on.
#[derive(Debug, Clone)]
pub struct EndHold {
    pub reward: RewardId,
}

impl Act for EndHold {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let mut case = Case::open(work, self.reward).await?;
        let until = case.row.hold_until;
        if case.row.state != RewardState::OnHold || until.is_none_or(|until| until > work.context.now) {
            return Ok(());
        }
        let mut signal =
            work.signal("clock.hold_ended", Some(case.campaign.id), Some(case.row.beneficiary), &json!({"reward_id": self.reward, "hold_until": until}));
        signal.key = format!("hold:{}:{}", self.reward, until.map_or(0, Timestamp::ms));
        if work.seen(&signal.key).await?.is_some() {
            return Ok(());
        }
        case.onward(work, signal.id).await?;
        work.record(&signal, &Decision::applied(Vec::new()), Some(case.row.version)).await
    }
}

/// Rewards whose hold has ended on a side, oldest first.
pub async fn holds_ended(tx: &mut Tx<'_>, space: Space, now: Timestamp, limit: i64) -> Result<Vec<RewardId>> {
    let sql = "SELECT id FROM rewards WHERE state = 'on_hold' AND hold_until IS NOT NULL AND hold_until <= $2 AND space = $1 ORDER BY hold_until LIMIT $3";
    Ok(tx.fetch(sql, &[space.into(), now.ms().into(), limit.into()], |row| Ok(RewardId::from_uuid(row.get(0)?))).await?)
}

/// A reward with everything around it, locked for a change.
struct Case {
    row: RewardRow,
    campaign: Campaign,
    definition: RewardDefinition,
    lead: Participant,
    referrer: Participant,
}

impl Case {
    async fn open(work: &mut Work<'_, '_>, id: RewardId) -> Result<Self> {
        let sql = statement(SELECT, " WHERE space = $1 AND id = $2 FOR UPDATE");
        let row = work.tx.fetch_one(&sql, &[work.context.space.into(), id.uuid().into()], RewardRow::read).await?.ok_or(Error::NotFound { what: "reward" })?;
        Self::around(work, row).await
    }

    /// With people whose state is known, and locked, already.
    async fn with(work: &mut Work<'_, '_>, row: RewardRow, campaign: &Campaign, lead: &Participant, referrer: &Participant) -> Result<Self> {
        if row.lead != lead.lead() {
            return Self::around(work, row).await;
        }
        let definition = definition(work.tx, work.shared, work.context.space, &row).await?;
        Ok(Self { row, campaign: campaign.clone(), definition, lead: lead.clone(), referrer: referrer.clone() })
    }

    async fn around(work: &mut Work<'_, '_>, row: RewardRow) -> Result<Self> {
        let space = work.context.space;
        let missing = |what: &str| store::Error::Database(format!("{} has no {what}", row.id));
        let campaign = campaign::get(work.tx, work.shared, space, row.campaign).await?;
        let definition = definition(work.tx, work.shared, space, &row).await?;
        let lead = find(work.tx, space, row.lead.uuid()).await?.ok_or_else(|| missing("lead"))?;
        let referrer = lead.referrer_id.ok_or_else(|| missing("referrer"))?;
        let referrer = find(work.tx, space, referrer).await?.ok_or_else(|| missing("referrer"))?;
        Ok(Self { row, campaign, definition, lead, referrer })
    }

    fn view(&self) -> view::Reward {
        let beneficiary = if self.row.role == Role::Lead { &self.lead } else { &self.referrer };
        self.row.view(&self.campaign, self.definition.terms.name.as_str(), beneficiary)
    }

    /// What is given; a milestone may have its own value.
    fn value(&self) -> RewardValue {
        let step = self.row.cause.strip_prefix("milestone:").and_then(|count| count.parse::<u32>().ok());
        match (&self.definition.terms.cadence, step) {
            (Cadence::Milestones { steps }, Some(count)) => {
                steps.iter().find(|step| step.count == count).and_then(|step| step.value.clone()).unwrap_or_else(|| self.definition.terms.value.clone())
            }
            _ => self.definition.terms.value.clone(),
        }
    }

    /// Moves it to a state, with a line in its history and an event.
    async fn go(&mut self, work: &mut Work<'_, '_>, state: RewardState, reason: Reason, note: Option<&str>, signal: SignalId) -> Result<()> {
        self.row.state = state;
        self.row.reason = reason;
        if state != RewardState::OnHold {
            self.row.hold_until = None;
        }
        if note.is_some() {
            self.row.note = note.map(str::to_owned);
        }
        self.write(work, event_of(state), note, None, signal).await
    }

    async fn changed(&mut self, work: &mut Work<'_, '_>, note: Option<&str>, signal: SignalId) -> Result<()> {
        let amount = self.row.amount;
        self.write(work, EventType::RewardChanged, note, amount, signal).await
    }

    async fn write(&mut self, work: &mut Work<'_, '_>, event: EventType, note: Option<&str>, amount: Option<Money>, signal: SignalId) -> Result<()> {
        self.row.updated_at = work.now();
        save(work, &self.row).await?;
        let n = next_entry(work, self.row.id, false).await?;
        append(work, self.row.id, signal, &[Entry { n, state: self.row.state, reason: self.row.reason, note, amount }]).await?;
        let data = view::EventData {
            campaign: Some(self.campaign.reference()),
            referrer: Some(self.referrer.referrer_view(&self.campaign, work.shared)),
            lead: Some(self.lead.lead_view(&self.campaign, &self.referrer, work.shared)),
            reward: Some(self.view()),
            moved: amount.or(self.row.amount),
            evidence: Some(evidence(signal, &Decision { outcome: Outcome::Applied, reason: self.row.reason, checks: Vec::new() })),
            ..Default::default()
        };
        work.emit(event, &self.row.id, Some(self.row.beneficiary), &data)
    }

    /// By hand it is issued at once; an automation reports what became of it.
    async fn issue(&mut self, work: &mut Work<'_, '_>, note: Option<&str>, signal: SignalId) -> Result<()> {
        self.row.attempts += 1;
        let state = decide::issue(self.definition.terms.issuing);
        if state == RewardState::Issued {
            self.row.issued_at = Some(work.now());
        }
        self.go(work, state, Reason::Done, note, signal).await
    }

    /// Where it goes when nothing holds it any more.
    async fn onward(&mut self, work: &mut Work<'_, '_>, signal: SignalId) -> Result<()> {
        let (path, reason) = decide::onward(&self.definition, self.campaign.settings().review, &self.lead.risk);
        for state in path {
            self.row.attempts += i64::from(state.is_attempt());
            if state == RewardState::Issued {
                self.row.issued_at = Some(work.now());
            }
            self.go(work, state, reason, None, signal).await?;
        }
        Ok(())
    }

    /// Gives the reserved money back to the budget, and the coupon to the pool.
    async fn release(&mut self, work: &mut Work<'_, '_>) -> Result<()> {
        if let (Some(period), Some(amount)) = (self.row.budget_period.take(), self.row.amount) {
            reserve(work, self.campaign.id, Money::new(-amount.minor, amount.currency), period).await?;
        }
        if self.row.coupon.take().is_some() {
            work.tx
                .execute(
                    "UPDATE coupons SET reward_id = NULL, assigned_at = NULL WHERE space = $1 AND definition_id = $2 AND reward_id = $3",
                    &[work.context.space.into(), self.row.definition.uuid().into(), self.row.id.uuid().into()],
                )
                .await?;
            let pool = [work.context.space.into(), self.row.definition.uuid().into()];
            work.tx.execute("UPDATE coupon_pools SET used = used - 1 WHERE space = $1 AND definition_id = $2", &pool).await?;
        }
        Ok(())
    }

    /// Takes issued money back, as an entry of its own. What was issued stays spent in
    /// the budget's eyes: the money has left, and comes back only when it is recovered.
    async fn reverse(&mut self, work: &mut Work<'_, '_>, minor: i64, full: bool, reason: Reason, note: Option<&str>, signal: SignalId) -> Result<()> {
        self.row.reversed_minor += minor;
        self.row.recalled = false;
        self.row.reason = reason;
        if full {
            self.row.state = RewardState::Reversed;
        }
        let entry = self.row.amount.map(|amount| Money::new(-minor, amount.currency));
        self.write(work, EventType::RewardReversed, note, entry, signal).await
    }
}

// ---------------------------------------------------------------- taking back

/// Which rewards lose their ground, and what is left of it.
pub(super) enum Ground {
    /// The lead is not qualified any more: rewards for the lead, for its conversions, and
    /// for counts that are not reached without it. Where it is rejected, what it gave
    /// cause for by joining too.
    Lead { rejected: bool, qualified_leads: i64, reason: Reason },
    /// A conversion was refunded and the lead is still qualified: so much of it is left.
    Conversion { id: ConversionId, kept: Option<Money> },
    /// The lead belongs to another referrer now.
    Referrer,
}

/// Takes back what has lost its ground: cancels before, reverses after it was issued.
pub(super) async fn take_back(
    work: &mut Work<'_, '_>,
    signal: SignalId,
    campaign: &Campaign,
    lead: &Participant,
    referrer: &Participant,
    ground: &Ground,
) -> Result<Vec<view::Reward>> {
    let own = [work.context.space.into(), lead.id.into()];
    let rows = match ground {
        Ground::Conversion { id, .. } => {
            let sql = statement(SELECT, " WHERE space = $1 AND lead_id = $2 AND conversion_id = $3 ORDER BY id FOR UPDATE");
            work.tx.fetch(&sql, &[own[0], own[1], id.uuid().into()], RewardRow::read).await?
        }
        Ground::Lead { .. } => {
            // Counted rewards of the referrer may stand in the name of another lead.
            let sql = statement(
                SELECT,
                " WHERE space = $1 AND (lead_id = $2 OR (beneficiary_id = $3 AND (cause LIKE 'milestone:%' OR cause LIKE 'every:%'))) ORDER BY id FOR UPDATE",
            );
            work.tx.fetch(&sql, &[own[0], own[1], referrer.id.into()], RewardRow::read).await?
        }
        Ground::Referrer => {
            let sql = statement(SELECT, " WHERE space = $1 AND lead_id = $2 AND beneficiary_id = $3 AND cause NOT LIKE '%:%' ORDER BY id FOR UPDATE");
            work.tx.fetch(&sql, &[own[0], own[1], referrer.id.into()], RewardRow::read).await?
        }
    };
    let mut touched = Vec::new();
    for row in rows {
        let mut case = Case::with(work, row, campaign, lead, referrer).await?;
        let joined = case.definition.terms.trigger == Trigger::Joined;
        let (kept, reason) = match ground {
            Ground::Conversion { kept, .. } if case.stands_on_conversion() => (*kept, Reason::Refunded),
            Ground::Conversion { .. } => continue,
            // Whoever joined has joined.
            Ground::Lead { rejected, .. } if joined && (!rejected || case.is_counted()) => continue,
            Ground::Lead { qualified_leads, reason, .. } if case.is_counted() => {
                // The count is that of whom it was given to, who may be another than the lead's referrer now. And
                // what was recalled or noted is not told again with every lead that is lost after that.
                if case.row.beneficiary != referrer.id || case.is_reached(*qualified_leads) || case.row.recalled || case.row.is_noted() {
                    continue;
                }
                (None, *reason)
            }
            Ground::Lead { reason, .. } => (None, *reason),
            Ground::Referrer => (None, Reason::LeadMoved),
        };
        if case.take_back(work, kept, reason, signal).await? {
            touched.push(case.view());
        }
    }
    Ok(touched)
}

impl Case {
    /// Whether it is for a number of leads, not for one.
    fn is_counted(&self) -> bool {
        self.row.is_counted()
    }

    /// Whether so many qualified leads are what it stands for.
    fn is_reached(&self, qualified_leads: i64) -> bool {
        count_of(self, &self.row.cause).is_none_or(|count| count <= qualified_leads)
    }

    /// Whether a refund of its conversion takes its ground away while the lead stays qualified.
    fn stands_on_conversion(&self) -> bool {
        let for_the_payment = self.row.conversion.is_some_and(|id| self.row.cause == id.to_string());
        for_the_payment || self.row.kind == "commission" && !self.is_counted()
    }

    /// What is left of its ground and why, where something was lost.
    async fn lost(&self, work: &mut Work<'_, '_>) -> Result<Option<(Option<Money>, Reason)>> {
        if self.is_counted() {
            let beneficiary = find(work.tx, work.context.space, self.row.beneficiary).await?;
            let stands = self.definition.terms.trigger == Trigger::Joined || beneficiary.is_some_and(|referrer| self.is_reached(referrer.qualified_leads));
            return Ok((!stands).then_some((None, Reason::LeadUnqualified)));
        }
        let status = self.lead.lead_status;
        let stands =
            if self.definition.terms.trigger == Trigger::Joined { status != Some(LeadStatus::Rejected) } else { status == Some(LeadStatus::Qualified) };
        if !stands {
            return Ok(Some((None, self.lead.status_reason.unwrap_or(Reason::LeadUnqualified))));
        }
        let conversion = match self.row.conversion.filter(|_| self.stands_on_conversion()) {
            Some(id) => conversion::find(work.tx, work.context.space, id).await?.filter(|conversion| conversion.refunded_at.is_some()),
            None => None,
        };
        Ok(conversion.map(|conversion| (conversion.kept().filter(|_| !conversion.fully_refunded()), Reason::Refunded)))
    }

    /// Does what follows when so much of its ground is left; says whether that is anything.
    async fn take_back(&mut self, work: &mut Work<'_, '_>, kept: Option<Money>, reason: Reason, signal: SignalId) -> Result<bool> {
        let value = self.value();
        let facts =
            TouchedReward { state: self.row.state, value: &value, amount: self.row.amount, reversed_minor: self.row.reversed_minor, basis: self.row.basis };
        match decide::take_back(&facts, kept, self.campaign.settings().after_refund) {
            RewardChange::Keep => return Ok(false),
            RewardChange::Reduce(amount) => {
                if let (Some(period), Some(before)) = (self.row.budget_period, self.row.amount) {
                    reserve(work, self.campaign.id, Money::new(amount.minor - before.minor, amount.currency), period).await?;
                }
                self.row.amount = Some(amount);
                self.row.basis = kept;
                self.changed(work, None, signal).await?;
            }
            RewardChange::Cancel => {
                self.release(work).await?;
                self.go(work, RewardState::Cancelled, reason, None, signal).await?;
            }
            RewardChange::Reverse { minor, full } => self.reverse(work, minor, full, reason, None, signal).await?,
            RewardChange::Recall => {
                self.row.recalled = true;
                self.changed(work, Some("Recalled: it is taken back as soon as it is known what became of it."), signal).await?;
            }
            RewardChange::Note => {
                self.row.reason = reason;
                self.write(
                    work,
                    EventType::RewardRefundNoted,
                    Some("It had been issued when it lost its ground; the campaign's policy is to leave it."),
                    None,
                    signal,
                )
                .await?;
            }
        }
        Ok(true)
    }
}

/// How many qualified leads a counted reward stands for.
fn count_of(case: &Case, cause: &str) -> Option<i64> {
    if let Some(count) = cause.strip_prefix("milestone:") {
        return count.parse().ok();
    }
    let times: i64 = cause.strip_prefix("every:")?.parse().ok()?;
    match case.definition.terms.cadence {
        Cadence::Every { count } => Some(times * i64::from(count)),
        _ => None,
    }
}
