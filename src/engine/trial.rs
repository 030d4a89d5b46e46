//! Trying a rule on the past: what would have come of a campaign's leads under another
//! rule. Decisions are pure, so this is the same code as the real thing, without writing.

use super::{
    Result, Shared, Space,
    campaign::{self, Campaign},
    conversion::{self, ConversionRow},
    participant::{Participant, SELECT, find},
    work::statement,
};
use goodword_core::{
    campaign::{CampaignSettings, CampaignStatus, Rule},
    condition::Subject,
    decide::{self, CampaignFacts, ConversionFacts, Evidence, LeadFacts, LeadStatus, QualifyFacts},
    explain::Check,
    ids::{CampaignId, LeadId},
    money::Money,
    time::Timestamp,
};
use goodword_store::Tx;
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Leads that are looked at, the newest first: a trial is one snapshot and has an end.
pub const LEADS_MAX: i64 = 10_000;
/// Leads that are listed.
const LISTED_MAX: usize = 100;

/// What a rule would have made of the campaign's leads.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trial {
    /// Leads that were looked at; at most 10,000, the newest.
    pub leads: i64,
    /// How many conversions would qualify under the current rule, and under the tried one.
    pub qualified_now: i64,
    pub qualified_then: i64,
    /// Leads for whom it would make a difference; at most 100 are listed.
    pub differences: i64,
    pub listed: Vec<Difference>,
}

/// A lead for whom the rules differ.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    pub lead_id: LeadId,
    pub name: String,
    /// Qualified by conversions under the current rule, and under the tried one.
    pub now: bool,
    pub then: bool,
    /// The checks of the last conversion that was looked at under the tried rule.
    pub checks: Vec<Check>,
}

/// Replays the conversions of leads that joined after `since`.
pub async fn rule(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: CampaignId, rule: &Rule, since: Timestamp) -> Result<Trial> {
    let campaign = campaign::get(tx, shared, space, id).await?;
    let tried = CampaignSettings { rule: rule.clone(), ..campaign.settings().clone() };
    tried.validate().map_err(|(field, invalid)| super::Error::invalid(field, invalid))?;
    let sql = statement(SELECT, " WHERE space = $1 AND lead_since >= $2 AND campaign_id = $3 ORDER BY lead_since DESC LIMIT $4");
    let leads = tx.fetch(&sql, &[space.into(), since.ms().into(), id.uuid().into(), LEADS_MAX.into()], Participant::read).await?;
    let mut trial = Trial { leads: leads.len() as i64, qualified_now: 0, qualified_then: 0, differences: 0, listed: Vec::new() };
    let mut referrers: HashMap<Uuid, Participant> = HashMap::new();
    for lead in leads {
        let conversions = conversion::of_lead(tx, space, lead.id).await?;
        let Some(referrer_id) = lead.referrer_id else { continue };
        if let std::collections::hash_map::Entry::Vacant(free) = referrers.entry(referrer_id)
            && let Some(referrer) = find(tx, space, referrer_id).await?
        {
            free.insert(referrer);
        }
        let Some(referrer) = referrers.get(&referrer_id) else { continue };
        let (now, _) = replay(&campaign, campaign.settings(), &lead, referrer, &conversions);
        let (then, checks) = replay(&campaign, &tried, &lead, referrer, &conversions);
        trial.qualified_now += i64::from(now);
        trial.qualified_then += i64::from(then);
        if now != then {
            trial.differences += 1;
            if trial.listed.len() < LISTED_MAX {
                trial.listed.push(Difference { lead_id: lead.lead(), name: lead.name(), now, then, checks });
            }
        }
    }
    Ok(trial)
}

/// Whether the lead's conversions, in their order, would qualify it.
fn replay(campaign: &Campaign, settings: &CampaignSettings, lead: &Participant, referrer: &Participant, conversions: &[ConversionRow]) -> (bool, Vec<Check>) {
    let (mut spent_minor, mut goals) = (0, Vec::new());
    let mut checks = Vec::new();
    for row in conversions.iter().filter(|row| !row.fully_refunded()) {
        let kept = row.kept();
        goals.extend(row.goal.clone());
        let verdict = settings.rule.condition.as_ref().map(|condition| {
            condition.evaluate(&Subject {
                kind: row.kind.as_str(),
                amount_minor: kept.map_or(0, |money| money.minor),
                currency: kept.as_ref().map_or("", |money: &Money| money.currency.as_str()),
                source: &row.source,
                properties: &row.properties,
            })
        });
        let facts = QualifyFacts {
            // The rule is tried, not the campaign's status since then.
            campaign: CampaignFacts { status: CampaignStatus::Live, status_since: campaign.status_since, pauses: &[], settings },
            lead: LeadFacts {
                id: lead.lead(),
                status: LeadStatus::Pending,
                joined_at: lead.lead_since.unwrap_or(lead.created_at),
                qualified_at: None,
                risk: Vec::new(),
            },
            referrer: referrer.referrer_facts(),
            at: row.occurred_at,
            evidence: Evidence::Conversion(ConversionFacts {
                id: row.id,
                kind: row.kind,
                amount: kept,
                condition: verdict.as_ref(),
                spent_minor: spent_minor + kept.map_or(0, |money| money.minor),
                goals: &goals,
            }),
        };
        let decision = decide::qualify(&facts);
        if decision.qualifies {
            return (true, decision.decision.checks);
        }
        if decision.counts {
            spent_minor += kept.map_or(0, |money| money.minor);
        } else if row.goal.is_some() {
            goals.pop();
        }
        checks = decision.decision.checks;
    }
    (false, checks)
}
