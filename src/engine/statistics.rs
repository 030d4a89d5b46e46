//! Statistics: questions about what happened, answered from the [roll-ups](super::rollup).

use super::{Result, Space, event::EventType, view};
use goodword_core::{
    ids::{CampaignId, ReferrerId},
    money::Money,
    time::{Period, Timestamp},
};
use goodword_store::{self as store, Row, Tx};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;
use uuid::Uuid;

/// What is counted per day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Uses of links by people; bots are counted apart.
    Visits,
    BotVisits,
    Referrers,
    Leads,
    /// Qualifications, less those that were taken back.
    Qualified,
    Conversions,
    /// Rewards that fell due.
    RewardsDue,
    /// Rewards that were issued, less those that were reversed.
    Rewarded,
}

impl Metric {
    pub const ALL: [Metric; 8] =
        [Self::Visits, Self::BotVisits, Self::Referrers, Self::Leads, Self::Qualified, Self::Conversions, Self::RewardsDue, Self::Rewarded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Metric::Visits => "visits",
            Metric::BotVisits => "bot_visits",
            Metric::Referrers => "referrers",
            Metric::Leads => "leads",
            Metric::Qualified => "qualified",
            Metric::Conversions => "conversions",
            Metric::RewardsDue => "rewards_due",
            Metric::Rewarded => "rewarded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == word)
    }

    /// What an event adds, and how often.
    pub(super) fn of(event: EventType) -> Option<(Metric, i64)> {
        Some(match event {
            EventType::ReferrerCreated | EventType::ReferrersImported => (Metric::Referrers, 1),
            EventType::LeadCreated | EventType::LeadClaimed => (Metric::Leads, 1),
            EventType::LeadReleased => (Metric::Leads, -1),
            EventType::LeadQualified => (Metric::Qualified, 1),
            EventType::LeadUnqualified => (Metric::Qualified, -1),
            EventType::ConversionRecorded => (Metric::Conversions, 1),
            EventType::RewardDue => (Metric::RewardsDue, 1),
            EventType::RewardIssued => (Metric::Rewarded, 1),
            EventType::RewardReversed => (Metric::Rewarded, -1),
            _ => return None,
        })
    }
}

// ---------------------------------------------------------------- questions

/// What a question is about: a campaign or all of them, and days (UTC, both included).
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub campaign: Option<CampaignId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Scope {
    fn days(&self) -> (i64, i64) {
        (self.from.map_or(0, Timestamp::day), self.to.map_or(i64::MAX / 2, Timestamp::day))
    }
}

/// How many came how far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Funnel {
    pub visits: i64,
    pub bot_visits: i64,
    pub referrers: i64,
    pub leads: i64,
    pub qualified: i64,
    pub conversions: i64,
    pub rewards_due: i64,
    pub rewarded: i64,
    /// What rewards were worth that fell due, were issued, and what conversions were
    /// worth: an amount per currency.
    pub due_amounts: Vec<Money>,
    pub rewarded_amounts: Vec<Money>,
    pub conversion_amounts: Vec<Money>,
}

impl Funnel {
    fn add(&mut self, metric: Metric, count: i64, currency: &str, amount_minor: i64) {
        match metric {
            Metric::Visits => self.visits += count,
            Metric::BotVisits => self.bot_visits += count,
            Metric::Referrers => self.referrers += count,
            Metric::Leads => self.leads += count,
            Metric::Qualified => self.qualified += count,
            Metric::Conversions => self.conversions += count,
            Metric::RewardsDue => self.rewards_due += count,
            Metric::Rewarded => self.rewarded += count,
        }
        let amounts = match metric {
            Metric::RewardsDue => &mut self.due_amounts,
            Metric::Rewarded => &mut self.rewarded_amounts,
            Metric::Conversions => &mut self.conversion_amounts,
            _ => return,
        };
        let Ok(currency) = currency.parse() else { return };
        match amounts.iter_mut().find(|money| money.currency == currency) {
            Some(money) => money.minor += amount_minor,
            None => amounts.push(Money::new(amount_minor, currency)),
        }
    }
}

/// A funnel for each value that is grouped by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Group {
    /// The source, the campaign's id, or the first day of the period.
    pub key: String,
    /// For people: the campaign's name, or the key.
    pub label: String,
    #[serde(flatten)]
    pub funnel: Funnel,
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Day,
    Week,
    Month,
    /// Leads, and what they bring, under the source that the lead came from, whichever system tells it later; referrers
    /// under their own; visits under the channel of the link (`whatsapp`, `qr`, `link`).
    Source,
    Campaign,
}

const ROWS_MAX: i64 = 50_000;

async fn cells(tx: &mut Tx<'_>, space: Space, scope: &Scope, column: &str) -> Result<Vec<(String, Metric, i64, String, i64)>> {
    let (from, to) = scope.days();
    let filter =
        if scope.campaign.is_some() { "campaign_id = $4" } else { "campaign_id IN (SELECT id FROM campaigns WHERE space = $1 AND deleted_at IS NULL)" };
    let sql = format!(
        "SELECT {column}, metric, CAST(sum(count) AS bigint), currency, CAST(sum(amount_minor) AS bigint) FROM statistics_daily WHERE space = $1 AND day >= $2 AND day <= $3 AND {filter} GROUP BY 1, 2, 4 ORDER BY 1 LIMIT {ROWS_MAX}"
    );
    let mut args = vec![space.into(), from.into(), to.into()];
    if let Some(id) = scope.campaign {
        args.push(id.uuid().into());
    }
    let read = |row: &Row<'_>| {
        let key = match column {
            "day" => row.get::<i64>(0)?.to_string(),
            "campaign_id" => CampaignId::from_uuid(row.get(0)?).to_string(),
            "''" => String::new(),
            _ => row.get::<String>(0)?,
        };
        let metric = Metric::parse(row.text(1)?).ok_or_else(|| store::Error::Database("a statistic has an unknown metric".into()))?;
        Ok((key, metric, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    Ok(tx.fetch(&sql, &args, read).await?)
}

pub async fn funnel(tx: &mut Tx<'_>, space: Space, scope: &Scope) -> Result<Funnel> {
    let mut funnel = Funnel::default();
    for (_, metric, count, currency, amount) in cells(tx, space, scope, "''").await? {
        funnel.add(metric, count, &currency, amount);
    }
    Ok(funnel)
}

pub async fn groups(tx: &mut Tx<'_>, space: Space, scope: &Scope, by: GroupBy) -> Result<Vec<Group>> {
    let column = match by {
        GroupBy::Day | GroupBy::Week | GroupBy::Month => "day",
        GroupBy::Source => "source",
        GroupBy::Campaign => "campaign_id",
    };
    let mut names = BTreeMap::new();
    if by == GroupBy::Campaign {
        let read = |row: &Row<'_>| Ok((CampaignId::from_uuid(row.get(0)?).to_string(), row.get::<String>(1)?));
        names.extend(tx.fetch("SELECT id, name FROM campaigns WHERE space = $1 LIMIT 10000", &[space.into()], read).await?);
    }
    let mut groups: Vec<Group> = Vec::new();
    for (key, metric, count, currency, amount) in cells(tx, space, scope, column).await? {
        let key = match (by, key.parse::<i64>()) {
            (GroupBy::Day, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).date(),
            (GroupBy::Week, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).start_of(Period::Week).date(),
            (GroupBy::Month, Ok(day)) => Timestamp::from_ms(day * goodword_core::time::DAY_MS).start_of(Period::Month).date(),
            _ => key,
        };
        if groups.last().is_none_or(|group| group.key != key) {
            let label = names.get(&key).cloned().unwrap_or_else(|| key.clone());
            groups.push(Group { key, label, funnel: Funnel::default() });
        }
        if let Some(group) = groups.last_mut() {
            group.funnel.add(metric, count, &currency, amount);
        }
    }
    Ok(groups)
}

/// A referrer with what they brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopReferrer {
    pub referrer: view::ReferrerRef,
    pub campaign_id: CampaignId,
    pub visits: i64,
    pub leads: i64,
    pub qualified: i64,
    pub rewarded: i64,
}

/// Those with the most qualified leads, then the most leads.
pub async fn top_referrers(tx: &mut Tx<'_>, shared: &super::Shared, space: Space, campaign: Option<CampaignId>, limit: i64) -> Result<Vec<TopReferrer>> {
    let campaigns = match campaign {
        Some(id) => vec![id.uuid()],
        None => {
            tx.fetch("SELECT id FROM campaigns WHERE space = $1 AND deleted_at IS NULL ORDER BY id DESC LIMIT 200", &[space.into()], |row| row.get::<Uuid>(0))
                .await?
        }
    };
    let mut found = Vec::new();
    for id in campaigns {
        let sql = "SELECT participant_id, visits, leads, qualified, rewarded FROM statistics_referrers WHERE space = $1 AND campaign_id = $2 ORDER BY qualified DESC, leads DESC LIMIT $3";
        let read = |row: &Row<'_>| Ok((row.get::<Uuid>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?, row.get::<i64>(3)?, row.get::<i64>(4)?));
        found.extend(tx.fetch(sql, &[space.into(), id.into(), limit.into()], read).await?.into_iter().map(|row| (id, row)));
    }
    found.sort_by_key(|(_, (_, visits, leads, qualified, _))| std::cmp::Reverse((*qualified, *leads, *visits)));
    let mut top = Vec::new();
    for (campaign, (id, visits, leads, qualified, rewarded)) in found.into_iter().take(limit as usize) {
        if let Some(referrer) = super::participant::find(tx, space, id).await? {
            top.push(TopReferrer { referrer: referrer.referrer_ref(shared), campaign_id: CampaignId::from_uuid(campaign), visits, leads, qualified, rewarded });
        }
    }
    Ok(top)
}

/// How often the links of some referrers were used, by people.
pub async fn visits_of(tx: &mut Tx<'_>, space: Space, referrers: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    super::number::by_ids(tx, "SELECT participant_id, visits FROM statistics_referrers WHERE space = $1 AND participant_id", "", space, referrers).await
}

/// How many people some campaigns have.
pub async fn people_of(tx: &mut Tx<'_>, space: Space, campaigns: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    super::number::by_ids(tx, "SELECT campaign_id, count(*) FROM participants WHERE space = $1 AND campaign_id", " GROUP BY campaign_id", space, campaigns)
        .await
}

/// What one referrer brought.
pub async fn of_referrer(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<(i64, i64, i64, i64)> {
    let sql = "SELECT visits, leads, qualified, rewarded FROM statistics_referrers WHERE space = $1 AND participant_id = $2";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    Ok(tx.fetch_one(sql, &[space.into(), id.uuid().into()], read).await?.unwrap_or_default())
}
