//! What the pages show of a campaign and of a referrer, read from the engine.

use super::{
    referrer::{Amount, Goal, Referred, State},
    words::Language,
};
use crate::engine::{
    Error, Result, Shared, Space,
    campaign::{self, Campaign},
    list,
    participant::{self, Participant, PeopleFilter},
    reward::{self, RewardRow},
    statistics, view, workspace,
};
use goodword_core::{
    campaign::Configuration,
    decide::LeadStatus,
    ids::{LeadId, ReferrerId},
    money::Money,
    reward::{Cadence, RewardState, RewardValue, Role, Trigger},
    time::Timestamp,
};
use goodword_store::Tx;
use std::collections::{BTreeMap, HashMap};

/// What each side gets, in words.
#[derive(Debug, Default)]
pub struct Offers {
    /// The friend.
    pub gives: Option<String>,
    /// The referrer.
    pub gets: Option<String>,
}

/// Of several active rewards the first one that is given for each lead.
pub fn offers(configuration: &Configuration, language: &Language) -> Offers {
    let of = |role: Role| {
        let mut active = configuration.rewards.iter().map(|definition| &definition.terms).filter(|terms| terms.active && terms.beneficiary == role);
        let terms = active.find(|terms| !matches!(terms.cadence, Cadence::Milestones { .. } | Cadence::Every { .. }))?;
        Some(language.reward(&terms.value, terms.name.as_str()))
    };
    Offers { gives: of(Role::Lead), gets: of(Role::Referrer) }
}

/// The next step of the first reward that has steps.
pub fn goal(configuration: &Configuration, language: &Language, referrer: &Participant) -> Option<Goal> {
    configuration.rewards.iter().map(|definition| &definition.terms).filter(|terms| terms.active && terms.beneficiary == Role::Referrer).find_map(|terms| {
        let reached = if terms.trigger == Trigger::Joined { referrer.leads } else { referrer.qualified_leads };
        let (goal, value): (i64, &RewardValue) = match &terms.cadence {
            Cadence::Milestones { steps } => {
                let next = steps.iter().filter(|step| i64::from(step.count) > reached).min_by_key(|step| step.count)?;
                (next.count.into(), next.value.as_ref().unwrap_or(&terms.value))
            }
            Cadence::Every { count } => ((reached / i64::from(*count) + 1) * i64::from(*count), &terms.value),
            Cadence::Once | Cadence::Ongoing { .. } => return None,
        };
        Some(Goal { reached, goal, reward: language.reward(value, terms.name.as_str()) })
    })
}

/// Everything on a referrer's own page, in one snapshot.
pub struct Portal {
    pub campaign: Campaign,
    pub referrer: Participant,
    pub company: String,
    pub visits: i64,
    pub earned: Vec<Amount>,
    pub on_its_way: Vec<Amount>,
    pub coupons: Vec<(String, String)>,
    pub people: Vec<Referred>,
    pub more_people: i64,
}

const PEOPLE_MAX: usize = 20;
const COUPONS_MAX: i64 = 20;
/// Rewards that are looked at to say how it stands with each of the people shown.
const REWARDS_MAX: i64 = 200;

/// Whose page it is; 404 also for somebody who was erased.
pub async fn owner(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<Participant> {
    let referrer = participant::referrer(tx, space, id).await?;
    if referrer.is_erased() { Err(Error::NotFound { what: "page" }) } else { Ok(referrer) }
}

pub async fn portal(tx: &mut Tx<'_>, shared: &Shared, space: Space, id: ReferrerId) -> Result<Portal> {
    let referrer = owner(tx, space, id).await?;
    let campaign = campaign::get(tx, shared, space, referrer.campaign).await?;
    let company = workspace::of_space(tx, space).await?.name;
    let (visits, ..) = statistics::of_referrer(tx, space, id).await?;
    let (earned, on_its_way) = totals(tx, space, id).await?;
    let coupons = coupons(tx, space, &campaign, id).await?;
    let rewards = rewards_by_lead(tx, space, id).await?;
    let filter = PeopleFilter { referrer: Some(id), ..Default::default() };
    let leads = participant::list_leads(tx, shared, space, &filter, &list::Page { limit: PEOPLE_MAX, ..Default::default() }).await?;
    let more_people = if leads.next.is_some() { (referrer.leads - leads.data.len() as i64).max(0) } else { 0 };
    let people = leads.data.into_iter().map(|lead| referred(lead, &rewards)).collect();
    Ok(Portal { campaign, referrer, company, visits, earned, on_its_way, coupons, people, more_people })
}

/// Whether a reward is theirs already, on its way, or neither.
const fn is_earned(state: RewardState) -> Option<bool> {
    match state {
        RewardState::Issued => Some(true),
        RewardState::Due | RewardState::OnHold | RewardState::InReview | RewardState::Approved | RewardState::Issuing | RewardState::Failed => Some(false),
        RewardState::Cancelled | RewardState::Rejected | RewardState::Reversed => None,
    }
}

async fn totals(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<(Vec<Amount>, Vec<Amount>)> {
    // By what is counted: one currency, one kind of point. Money comes first.
    let mut sums: [BTreeMap<(bool, String), i64>; 2] = Default::default();
    for total in reward::totals_of_referrer(tx, space, id).await? {
        let Some(earned) = is_earned(total.state) else { continue };
        let (what, value) = match (total.money, total.units) {
            (Some(money), _) => ((false, money.currency.as_str().to_owned()), money.minor),
            (None, Some((units, metric))) => ((true, metric), units),
            (None, None) => continue,
        };
        *sums[usize::from(earned)].entry(what).or_default() += value;
    }
    let amount = |((points, what), value): ((bool, String), i64)| {
        if points { Some(Amount::Units { units: value, metric: what }) } else { Some(Amount::Money(Money::new(value, what.parse().ok()?))) }
    };
    let [on_its_way, earned] = sums.map(|sums| sums.into_iter().filter(|(_, value)| *value != 0).filter_map(amount).collect());
    Ok((earned, on_its_way))
}

async fn coupons(tx: &mut Tx<'_>, space: Space, campaign: &Campaign, id: ReferrerId) -> Result<Vec<(String, String)>> {
    let name = |row: &RewardRow| campaign.configuration.rewards.iter().find(|reward| reward.id == row.definition).map(|reward| reward.terms.name.to_string());
    let rows = reward::coupons_of_referrer(tx, space, id, COUPONS_MAX).await?;
    Ok(rows.into_iter().filter_map(|row| Some((name(&row).unwrap_or_default(), row.coupon?))).collect())
}

struct LeadReward {
    amount: Amount,
    earned: bool,
    hold_until: Option<Timestamp>,
}

/// The latest reward for each lead that has an amount to show.
async fn rewards_by_lead(tx: &mut Tx<'_>, space: Space, id: ReferrerId) -> Result<HashMap<LeadId, LeadReward>> {
    let mut by_lead = HashMap::new();
    for row in reward::latest_of_referrer(tx, space, id, REWARDS_MAX).await? {
        let amount = match (row.amount, row.units, row.metric) {
            (Some(money), ..) => Amount::Money(money),
            (_, Some(units), Some(metric)) => Amount::Units { units, metric },
            _ => continue,
        };
        let Some(earned) = is_earned(row.state) else { continue };
        let hold_until = row.hold_until.filter(|_| row.state == RewardState::OnHold);
        by_lead.entry(row.lead).or_insert(LeadReward { amount, earned, hold_until });
    }
    Ok(by_lead)
}

fn referred(lead: view::Lead, rewards: &HashMap<LeadId, LeadReward>) -> Referred {
    let since = lead.qualified_at.unwrap_or(lead.created_at);
    let state = match (lead.status, rewards.get(&lead.id)) {
        (LeadStatus::Rejected, _) => State::NotCounted,
        (LeadStatus::Pending, _) => State::Joined,
        (LeadStatus::Qualified, None) => State::Customer { since },
        (LeadStatus::Qualified, Some(reward)) if reward.earned => State::Sent { since, reward: reward.amount.clone() },
        (LeadStatus::Qualified, Some(reward)) => State::Coming { since, reward: reward.amount.clone(), on: reward.hold_until },
    };
    Referred { first_name: lead.first_name, last_name: lead.last_name, since: lead.created_at, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn configuration(rewards: serde_json::Value) -> Configuration {
        let mut rewards = rewards;
        for reward in rewards.as_array_mut().unwrap() {
            reward["id"] = json!("rdf_01jd3x5w8me4qv9c2t7k6hz0ab");
        }
        serde_json::from_value(json!({"settings": {"name": "Spring"}, "rewards": rewards})).unwrap()
    }

    #[test]
    fn the_offer_is_what_is_given_for_each_lead() {
        let rewards = configuration(json!([
            {"name": "Bonus", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "250", "currency": "USD"}}, "cadence": {"type": "milestones", "steps": [{"count": 5}]}},
            {"name": "Old", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "1", "currency": "USD"}}, "active": false},
            {"name": "Thanks", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "150", "currency": "USD"}}},
            {"name": "10% off the first year", "beneficiary": "lead", "value": {"type": "coupon"}},
        ]));
        let offers = offers(&rewards, &Language::new("en"));
        assert_eq!((offers.gives.as_deref(), offers.gets.as_deref()), (Some("10% off the first year"), Some("$150")));
    }
}
