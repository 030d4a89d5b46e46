//! From facts and a signal to a decision: pure functions, the heart of the product.
//!
//! A decision carries every check that was made, with what was expected and what was
//! found. The caller reads the facts, calls in here and writes what comes out in one
//! transaction.

use crate::{
    campaign::{AfterRefund, CampaignSettings, CampaignStatus, ConversionKind, Rule},
    condition::Verdict,
    explain::{Check, Reason},
    ids::{ConversionId, LeadId},
    money::Money,
    reward::{Cadence, Issuing, Review, RewardDefinition, RewardState, RewardValue, Trigger},
    time::{DAY_MS, MINUTE_MS, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use utoipa::ToSchema;

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It changed what it was meant to change.
    Applied,
    /// It was kept and counts, but did not bring about more yet.
    Recorded,
    /// It was meant for us, but changed nothing; the reason says why.
    Ignored,
    /// It was not allowed; the reason says why.
    Refused,
    /// It had been done before.
    Unchanged,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Recorded => "recorded",
            Outcome::Ignored => "ignored",
            Outcome::Refused => "refused",
            Outcome::Unchanged => "unchanged",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Applied, Self::Recorded, Self::Ignored, Self::Refused, Self::Unchanged].into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// An outcome with its reason and the checks that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Outcome,
    pub reason: Reason,
    pub checks: Vec<Check>,
}

impl Decision {
    pub fn applied(checks: Vec<Check>) -> Self {
        Self { outcome: Outcome::Applied, reason: Reason::Done, checks }
    }

    pub fn unchanged(reason: Reason) -> Self {
        Self { outcome: Outcome::Unchanged, reason, checks: Vec::new() }
    }

    pub fn refused(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, reason, checks: vec![Check::new(reason, false, expected, found)] }
    }

    /// Applied if all checks passed, otherwise `failed` with the first failing check's reason.
    fn by_checks(checks: Vec<Check>, failed: Outcome) -> Self {
        match checks.iter().find(|check| check.failed()) {
            Some(check) => Self { outcome: failed, reason: check.reason, checks },
            None => Self::applied(checks),
        }
    }
}

/// What is known of the campaign.
#[derive(Debug, Clone, Copy)]
pub struct CampaignFacts<'a> {
    pub status: CampaignStatus,
    /// When the status was last changed. Before that the campaign counts as live, but for its pauses.
    pub status_since: Timestamp,
    /// When it was not live and later was again: from, until.
    pub pauses: &'a [(Timestamp, Timestamp)],
    pub settings: &'a CampaignSettings,
}

impl CampaignFacts<'_> {
    /// Whether it was over by then, so that nothing that happened then counts.
    pub fn is_over(&self, at: Timestamp) -> bool {
        (self.status == CampaignStatus::Ended && self.status_since <= at) || self.settings.ends_at.is_some_and(|end| end <= at)
    }
}

/// What is known of a referrer.
#[derive(Debug, Clone)]
pub struct ReferrerFacts {
    pub suspended_at: Option<Timestamp>,
    /// The last suspension that has ended: from, until.
    pub was_suspended: Option<(Timestamp, Timestamp)>,
    /// How many leads the referrer has.
    pub leads: i64,
    /// How many of them are qualified.
    pub qualified: i64,
}

/// Checks that the campaign took part in the world at that time.
fn campaign_checks(campaign: CampaignFacts<'_>, at: Timestamp, checks: &mut Vec<Check>) {
    let pause = campaign.pauses.iter().find(|(from, until)| *from <= at && at < *until);
    let live = campaign.status == CampaignStatus::Live || (campaign.status != CampaignStatus::Draft && at < campaign.status_since);
    let found = match pause {
        Some((from, until)) => format!("not live from {from} until {until}"),
        None if live => "live".to_owned(),
        None => format!("{} since {}", campaign.status.as_str(), campaign.status_since),
    };
    checks.push(Check::new(Reason::CampaignLive, live && pause.is_none(), "live", found));
    if let Some(start) = campaign.settings.starts_at {
        checks.push(Check::new(Reason::CampaignStarted, at >= start, format!("not before {start}"), at.to_string()));
    }
    if let Some(end) = campaign.settings.ends_at {
        checks.push(Check::new(Reason::CampaignNotEnded, at < end, format!("before {end}"), at.to_string()));
    }
}

fn referrer_active(referrer: &ReferrerFacts, at: Timestamp) -> Check {
    let check = |active, found| Check::new(Reason::ReferrerActive, active, "active", found);
    match (referrer.suspended_at, referrer.was_suspended) {
        (_, Some((from, until))) if from <= at && at < until => check(false, format!("suspended from {from} until {until}")),
        (Some(since), _) => check(at < since, format!("suspended since {since}")),
        (None, _) => check(true, "active".to_owned()),
    }
}

// ---------------------------------------------------------------- joining

/// What is known when somebody wants to become a lead.
#[derive(Debug, Clone)]
pub struct JoinFacts<'a> {
    pub campaign: CampaignFacts<'a>,
    pub at: Timestamp,
    pub referrer: ReferrerFacts,
    /// The mailboxes of referrer and lead, and whether they are one participant.
    pub same_person: bool,
    /// Somebody of that address who is in the campaign already.
    pub existing: Option<Existing>,
    /// Labels of required fields that are empty.
    pub missing_fields: Vec<String>,
    /// When the link was used, where that is known.
    pub link_used_at: Option<Timestamp>,
    pub risk: Vec<Reason>,
}

/// A participant who is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// A referrer whom nobody referred.
    ReferrerOnly,
    /// A lead of the referrer who is claiming.
    LeadOfSame,
    /// A lead of somebody else.
    LeadOfOther,
}

/// Decides whether somebody becomes a lead of a referrer.
pub fn join(facts: &JoinFacts<'_>) -> Decision {
    let mut checks = Vec::with_capacity(10);
    match facts.existing {
        Some(Existing::LeadOfSame) => return Decision::unchanged(Reason::AlreadyDone),
        Some(Existing::LeadOfOther) => {
            checks.push(Check::new(Reason::FirstReferrerKept, false, "no earlier referrer", "the lead of another referrer"));
            return Decision { outcome: Outcome::Ignored, reason: Reason::FirstReferrerKept, checks };
        }
        Some(Existing::ReferrerOnly) | None => {}
    }
    checks.push(Check::new(
        Reason::NotSelf,
        !facts.same_person,
        "two different people",
        if facts.same_person { "the referrer's own address" } else { "two different addresses" },
    ));
    campaign_checks(facts.campaign, facts.at, &mut checks);
    checks.push(referrer_active(&facts.referrer, facts.at));
    let known = facts.existing.is_some();
    checks.push(Check::new(Reason::NotYetInCampaign, !known, "not in the campaign", if known { "a referrer of the campaign" } else { "not in the campaign" }));
    if let Some(limit) = facts.campaign.settings.limits.leads_per_referrer {
        checks.push(Check::new(
            Reason::ReferralLimit,
            facts.referrer.leads < i64::from(limit),
            format!("fewer than {limit} leads"),
            format!("{} leads", facts.referrer.leads),
        ));
    }
    if let Some(used) = facts.link_used_at {
        let days = facts.campaign.settings.attribution.window_days;
        let within = facts.at <= used.plus_days(days);
        let check = Check::new(Reason::AttributionWindow, within, format!("at most {days} days after the link was used"), format!("used at {used}"));
        checks.push(check);
    }
    if !facts.missing_fields.is_empty() {
        checks.push(Check::new(Reason::RequiredFields, false, "all required fields", format!("missing: {}", facts.missing_fields.join(", "))));
    }
    Decision::by_checks(checks, Outcome::Refused)
}

/// What is known when somebody says that a participant was referred by a referrer.
#[derive(Debug, Clone)]
pub struct ClaimFacts<'a> {
    pub campaign: CampaignFacts<'a>,
    pub at: Timestamp,
    pub referrer: ReferrerFacts,
    pub same_person: bool,
    pub existing: Existing,
    /// Whether the lead is qualified: then its rewards belong to the first referrer.
    pub qualified: bool,
    /// Move the lead even if it belongs to somebody else.
    pub force: bool,
    /// Whether the claimed referrer was referred by this participant.
    pub circular: bool,
}

/// Decides on a late claim, or the pairing of two participants.
pub fn claim(facts: &ClaimFacts<'_>) -> Decision {
    let mut checks = Vec::with_capacity(6);
    if facts.existing == Existing::LeadOfSame {
        return Decision::unchanged(Reason::AlreadyDone);
    }
    checks.push(Check::new(Reason::NotSelf, !facts.same_person, "two different people", if facts.same_person { "the same person" } else { "two people" }));
    checks.push(Check::new(
        Reason::NotCircular,
        !facts.circular,
        "a referrer whom this person did not refer",
        if facts.circular { "a lead of this person" } else { "nobody whom this person referred" },
    ));
    if facts.campaign.status == CampaignStatus::Ended {
        campaign_checks(facts.campaign, facts.at, &mut checks);
    }
    checks.push(referrer_active(&facts.referrer, facts.at));
    if let Some(limit) = facts.campaign.settings.limits.leads_per_referrer {
        checks.push(Check::new(
            Reason::ReferralLimit,
            facts.referrer.leads < i64::from(limit),
            format!("fewer than {limit} leads"),
            format!("{} leads", facts.referrer.leads),
        ));
    }
    if facts.existing == Existing::LeadOfOther {
        checks.push(Check::new(Reason::FirstReferrerKept, facts.force, "no earlier referrer, or a forced claim", "the lead of another referrer"));
        checks.push(Check::new(Reason::LeadPending, !facts.qualified, "a pending lead", if facts.qualified { "qualified" } else { "pending" }));
    }
    Decision::by_checks(checks, Outcome::Ignored)
}

// ---------------------------------------------------------------- qualification

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadStatus {
    Pending,
    Qualified,
    Rejected,
}

impl LeadStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            LeadStatus::Pending => "pending",
            LeadStatus::Qualified => "qualified",
            LeadStatus::Rejected => "rejected",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Qualified, Self::Rejected].into_iter().find(|status| status.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct LeadFacts {
    pub id: LeadId,
    pub status: LeadStatus,
    pub joined_at: Timestamp,
    pub qualified_at: Option<Timestamp>,
    pub risk: Vec<Reason>,
}

/// What says that the lead should be qualified.
#[derive(Debug, Clone)]
pub enum Evidence<'a> {
    /// A person, a file or an API call says so.
    Direct,
    Conversion(ConversionFacts<'a>),
}

#[derive(Debug, Clone)]
pub struct ConversionFacts<'a> {
    pub id: ConversionId,
    pub kind: ConversionKind,
    pub amount: Option<Money>,
    /// What the rule's condition said, where the rule has one.
    pub condition: Option<&'a Verdict>,
    /// Net amount of the lead's conversions that count, this one included, in the rule's currency.
    pub spent_minor: i64,
    /// Goals of the lead's conversions that count, this one included, in order of time.
    pub goals: &'a [String],
}

#[derive(Debug, Clone)]
pub struct QualifyFacts<'a> {
    pub campaign: CampaignFacts<'a>,
    pub lead: LeadFacts,
    pub referrer: ReferrerFacts,
    /// When it happened in the world.
    pub at: Timestamp,
    pub evidence: Evidence<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qualification {
    pub decision: Decision,
    /// The lead becomes qualified now.
    pub qualifies: bool,
    /// The conversion counts towards the rule.
    pub counts: bool,
}

/// Decides whether a lead is qualified by a conversion, or directly.
pub fn qualify(facts: &QualifyFacts<'_>) -> Qualification {
    let rule = &facts.campaign.settings.rule;
    let mut checks = Vec::with_capacity(12);
    campaign_checks(facts.campaign, facts.at, &mut checks);
    checks.push(referrer_active(&facts.referrer, facts.at));
    checks.push(Check::new(Reason::LeadNotRejected, facts.lead.status != LeadStatus::Rejected, "not rejected", facts.lead.status.as_str()));
    if checks.iter().any(Check::failed) {
        return Qualification { decision: Decision::by_checks(checks, Outcome::Ignored), qualifies: false, counts: false };
    }
    let already = facts.lead.status == LeadStatus::Qualified;
    match &facts.evidence {
        Evidence::Direct if already => Qualification { decision: Decision::unchanged(Reason::AlreadyDone), qualifies: false, counts: false },
        Evidence::Direct => {
            checks.push(Check::new(
                Reason::ManualAllowed,
                rule.direct,
                "direct qualification allowed",
                if rule.direct { "allowed" } else { "conversions only" },
            ));
            let decision = Decision::by_checks(checks, Outcome::Refused);
            Qualification { qualifies: decision.outcome == Outcome::Applied, counts: false, decision }
        }
        Evidence::Conversion(conversion) => {
            conversion_checks(rule, facts.lead.joined_at, facts.at, conversion, &mut checks);
            if checks.iter().any(Check::failed) {
                return Qualification { decision: Decision::by_checks(checks, Outcome::Ignored), qualifies: false, counts: false };
            }
            progress_checks(rule, conversion.spent_minor, conversion.goals, &mut checks);
            if already {
                let decision = Decision { outcome: Outcome::Recorded, reason: Reason::AlreadyQualified, checks };
                return Qualification { decision, qualifies: false, counts: true };
            }
            let decision = Decision::by_checks(checks, Outcome::Recorded);
            Qualification { qualifies: decision.outcome == Outcome::Applied, counts: true, decision }
        }
    }
}

/// Does this conversion count at all?
fn conversion_checks(rule: &Rule, joined_at: Timestamp, at: Timestamp, conversion: &ConversionFacts<'_>, checks: &mut Vec<Check>) {
    let accepted = rule.conversions.contains(&conversion.kind);
    let expected = rule.conversions.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    checks.push(Check::new(
        Reason::ConversionKind,
        accepted,
        if expected.is_empty() { "no conversions".to_owned() } else { expected },
        conversion.kind.as_str(),
    ));
    // Clocks of different machines disagree by a little; a minute is no forgery.
    checks.push(Check::new(Reason::ConversionAfterJoining, at.plus_ms(MINUTE_MS) >= joined_at, format!("not before {joined_at}"), at.to_string()));
    if let Some(days) = rule.within_days {
        let deadline = joined_at.plus_days(days);
        let mut check = Check::new(Reason::ConversionWindow, at <= deadline, format!("within {days} days of joining, until {deadline}"), at.to_string());
        if at > deadline {
            let late = (at.ms() - deadline.ms() + DAY_MS - 1) / DAY_MS;
            check = check.miss(format!("{late} {} too late", if late == 1 { "day" } else { "days" }));
        }
        checks.push(check);
    }
    if let Some(minimum) = rule.minimum_spend {
        let found = conversion.amount.map_or_else(|| "no amount".to_owned(), |money| money.currency.to_string());
        let matches = conversion.amount.is_some_and(|money| money.currency == minimum.currency);
        let miss = format!("{found} instead of {}", minimum.currency);
        let check = Check::new(Reason::CurrencyMatches, matches, minimum.currency.to_string(), found);
        checks.push(if matches { check } else { check.miss(miss) });
    }
    if let Some(condition) = &rule.condition {
        let (passed, found) = match conversion.condition {
            Some(Verdict::True) => (Some(true), "true".to_owned()),
            Some(Verdict::False) => (Some(false), "false".to_owned()),
            Some(Verdict::Error(error)) => (Some(false), error.clone()),
            None => (None, "not evaluated".to_owned()),
        };
        checks.push(Check { passed, ..Check::new(Reason::Condition, false, condition.source(), found) });
    }
}

/// Is there time left for what is still missing? Explains a pending lead.
pub fn window_check(rule: &Rule, joined_at: Timestamp, now: Timestamp) -> Option<Check> {
    let days = rule.within_days?;
    let deadline = joined_at.plus_days(days);
    let check = Check::new(Reason::ConversionWindow, now <= deadline, format!("conversions within {days} days of joining, until {deadline}"), now.to_string());
    Some(if check.failed() { check.miss(format!("the time for conversions was over on {}", deadline.date())) } else { check })
}

/// How far has the lead come? Also used to explain a pending lead.
pub fn progress_checks(rule: &Rule, spent_minor: i64, goals: &[String], checks: &mut Vec<Check>) {
    if let Some(minimum) = rule.minimum_spend {
        let spent = Money::new(spent_minor, minimum.currency);
        let mut check = Check::new(Reason::MinimumSpend, spent.minor >= minimum.minor, format!("at least {minimum}"), spent.to_string());
        if spent.minor < minimum.minor {
            check = check.miss(format!("{} short of the minimum", Money::new(minimum.minor - spent.minor, minimum.currency)));
        }
        checks.push(check);
    }
    if !rule.goals.is_empty() {
        let mut reached = 0;
        for seen in goals {
            if rule.goals.get(reached).is_some_and(|next| next.as_str().eq_ignore_ascii_case(seen)) {
                reached += 1;
            }
        }
        let names = |goals: &[crate::text::Line]| goals.iter().map(|goal| goal.as_str()).collect::<Vec<_>>().join(", ");
        let mut check = Check::new(
            Reason::Goals,
            reached == rule.goals.len(),
            names(&rule.goals),
            if reached == 0 { "none yet".to_owned() } else { names(&rule.goals[..reached]) },
        );
        if let Some(next) = rule.goals.get(reached) {
            check = check.miss(format!("{} of {} goals reached; next: {next}", reached, rule.goals.len()));
        }
        checks.push(check);
    }
}

/// Signs of risk that show when a lead converts.
pub fn conversion_risk(joined_at: Timestamp, at: Timestamp) -> Option<Reason> {
    (at.ms() - joined_at.ms() < MINUTE_MS).then_some(Reason::FastConversion)
}

// ---------------------------------------------------------------- rewards

/// What gives cause for a reward: with definition and beneficiary it is unique, in
/// the database too, so that nothing is ever paid twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Lead(LeadId),
    Conversion(ConversionId),
    Milestone(u32),
    /// The k-th time that the number of leads was reached.
    Every(i64),
}

impl Cause {
    pub fn key(self) -> String {
        match self {
            Cause::Lead(id) => id.to_string(),
            Cause::Conversion(id) => id.to_string(),
            Cause::Milestone(count) => format!("milestone:{count}"),
            Cause::Every(k) => format!("every:{k}"),
        }
    }
}

/// Something that happened and may give cause for rewards.
#[derive(Debug, Clone, Copy)]
pub struct Occasion {
    pub lead: LeadId,
    /// The lead joined just now.
    pub joined: bool,
    /// The lead became qualified just now.
    pub qualified: bool,
    /// It happened before, and is looked at again: what was missed then is made up for.
    pub again: bool,
    /// A conversion of a lead that is qualified.
    pub conversion: Option<(ConversionId, Option<Money>)>,
    /// When the lead first was qualified.
    pub qualified_since: Option<Timestamp>,
    pub at: Timestamp,
    /// The referrer's leads and qualified leads, this one included.
    pub leads: i64,
    pub qualified_leads: i64,
}

/// So many rewards for every so many leads are made up for at most.
const MISSED_MAX: i64 = 50;

/// A reward that a definition gives on an occasion, before limits and budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'a> {
    pub definition: &'a RewardDefinition,
    pub cause: Cause,
    pub value: &'a RewardValue,
    /// What a commission is computed from.
    pub basis: Option<Money>,
    pub conversion: Option<ConversionId>,
}

/// Which rewards the occasion gives cause for; and why a definition gives none, where somebody would ask.
pub fn candidates<'a>(definitions: &'a [RewardDefinition], occasion: &Occasion) -> (Vec<Candidate<'a>>, Vec<Check>) {
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for definition in definitions {
        let terms = &definition.terms;
        let before = (found.len(), missed.len());
        let (happened, count) = match terms.trigger {
            Trigger::Joined => (occasion.joined, occasion.leads),
            Trigger::Qualified => (occasion.qualified, occasion.qualified_leads),
        };
        let basis = occasion.conversion.and_then(|(_, amount)| amount);
        let conversion = occasion.conversion.map(|(id, _)| id);
        let mut give = |cause, value| found.push(Candidate { definition, cause, value, basis, conversion });
        let mut miss = |check: Check| missed.push(check.about(terms.name.as_str()));
        let leads = |n: i64| match (terms.trigger, n) {
            (Trigger::Joined, 1) => "1 lead".to_owned(),
            (Trigger::Joined, _) => format!("{n} leads"),
            (Trigger::Qualified, 1) => "1 qualified lead".to_owned(),
            (Trigger::Qualified, _) => format!("{n} qualified leads"),
        };
        match &terms.cadence {
            Cadence::Once if happened => give(Cause::Lead(occasion.lead), &terms.value),
            Cadence::Ongoing { months } => {
                // Qualified without a payment: the first payment will be the first reward.
                if let (Some((id, Some(_))), Some(since)) = (occasion.conversion, occasion.qualified_since) {
                    match months.map(|months| since.plus_months(months)).filter(|end| *end <= occasion.at) {
                        Some(end) => miss(Check::new(Reason::RewardMonths, false, format!("a payment before {end}"), occasion.at.to_string())),
                        None => give(Cause::Conversion(id), &terms.value),
                    }
                }
            }
            Cadence::Milestones { steps } if happened => {
                for step in steps.iter().filter(|step| i64::from(step.count) == count || occasion.again && i64::from(step.count) < count) {
                    give(Cause::Milestone(step.count), step.value.as_ref().unwrap_or(&terms.value));
                }
                let next = steps.iter().map(|step| i64::from(step.count)).find(|step| *step >= count);
                if let Some(next) = next.filter(|next| *next > count) {
                    miss(Check::new(Reason::Milestone, false, leads(next), leads(count)).miss(format!("{} short of {next}", leads(next - count))));
                }
            }
            Cadence::Every { count: every } if happened => {
                let every = i64::from(*every);
                let times = count / every;
                let fall_due = if occasion.again { times.min(MISSED_MAX) } else { i64::from(times > 0 && count % every == 0) };
                for k in times - fall_due + 1..=times {
                    give(Cause::Every(k), &terms.value);
                }
                if count % every != 0 {
                    let missing = format!("{} short of the next {every}", leads(every - count % every));
                    miss(Check::new(Reason::EveryN, false, format!("every {}", leads(every)), leads(count)).miss(missing));
                }
            }
            _ => {}
        }
        if !terms.active {
            let would_give = found.len() > before.0;
            found.truncate(before.0);
            missed.truncate(before.1);
            if would_give {
                missed.push(Check::new(Reason::RewardActive, false, "an active reward definition", "not active").about(terms.name.as_str()));
            }
        }
    }
    (found, missed)
}

/// What must be known of a candidate before it is given.
#[derive(Debug, Clone, Copy)]
pub struct RewardFacts<'a> {
    pub settings: &'a CampaignSettings,
    pub at: Timestamp,
    /// The reward that this cause gave before.
    pub before: Option<Before>,
    /// Rewards of this definition that count for the beneficiary in the limit's period.
    pub given: i64,
    /// What is reserved of the budget in its period.
    pub budget_used_minor: i64,
    pub coupon_left: bool,
    pub risk: &'a [Reason],
}

/// A reward that was given before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    pub state: RewardState,
    /// It was taken back because its lead lost the qualification, or its conversion the
    /// money; not by a person.
    pub lost_ground: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewardOutcome {
    /// A reward falls due and goes on to the last state of the path at once.
    Give(Grant),
    /// The cause had given a reward that was taken back when the lead lost its
    /// qualification: the same reward lives again.
    Reinstate(Grant),
    /// No reward; the reason says why.
    Skip(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `None` for points and coupons, and for a commission without a basis.
    pub amount: Option<Money>,
    /// The states it passes through now, `due` first.
    pub path: Vec<RewardState>,
    pub reason: Reason,
    pub hold_until: Option<Timestamp>,
}

impl Grant {
    pub fn state(&self) -> RewardState {
        self.path.last().copied().unwrap_or(RewardState::Due)
    }
}

/// Decides on one candidate. Each check names its definition.
pub fn reward(candidate: &Candidate<'_>, facts: &RewardFacts<'_>) -> (RewardOutcome, Vec<Check>) {
    let (outcome, checks) = unnamed(candidate, facts);
    (outcome, checks.into_iter().map(|check| check.about(candidate.definition.terms.name.as_str())).collect())
}

fn unnamed(candidate: &Candidate<'_>, facts: &RewardFacts<'_>) -> (RewardOutcome, Vec<Check>) {
    let terms = &candidate.definition.terms;
    let mut checks = Vec::new();
    let reinstate = match facts.before {
        None => false,
        Some(Before { state: RewardState::Cancelled | RewardState::Reversed, lost_ground: true }) => true,
        Some(Before { state, .. }) => {
            checks.push(Check::new(Reason::OnlyOnce, false, format!("one reward for {}", candidate.cause.key()), format!("there is one, {}", state.as_str())));
            return (RewardOutcome::Skip(Reason::OnlyOnce), checks);
        }
    };
    let amount = match candidate.value {
        RewardValue::Fixed { amount } => Some(*amount),
        RewardValue::Commission { percent, cap } => candidate.basis.map(|basis| commission(*percent, *cap, basis)),
        RewardValue::Custom { .. } | RewardValue::Coupon {} => None,
    };
    if let Some(limit) = terms.limit {
        checks.push(Check::new(
            Reason::RewardLimit,
            facts.given < i64::from(limit.count),
            format!("at most {} {}", limit.count, limit.period),
            format!("{} given", facts.given),
        ));
    }
    if let (RewardValue::Commission { cap: Some(cap), .. }, Some(amount)) = (candidate.value, amount) {
        checks.push(cap_matches(*cap, amount));
    }
    if let (Some(budget), Some(amount)) = (facts.settings.budget, amount)
        && budget.amount.currency == amount.currency
    {
        let left = budget.amount.minor - facts.budget_used_minor;
        let mut check = Check::new(
            Reason::Budget,
            amount.minor <= left,
            format!("{amount} within {} {}", budget.amount, budget.period),
            format!("{} left", Money::new(left.max(0), amount.currency)),
        );
        if amount.minor > left {
            check = check.miss(format!("{} over the budget", Money::new(amount.minor - left.max(0), amount.currency)));
        }
        checks.push(check);
    }
    if let Some(failed) = checks.iter().find(|check| check.failed()) {
        return (RewardOutcome::Skip(failed.reason), checks);
    }
    let needs_amount = matches!(candidate.value, RewardValue::Commission { .. }) && amount.is_none();
    let needs_coupon = matches!(candidate.value, RewardValue::Coupon {}) && !facts.coupon_left;
    let mut grant = Grant { amount, path: vec![RewardState::Due], reason: Reason::Done, hold_until: None };
    if needs_amount || needs_coupon {
        grant.path.push(RewardState::OnHold);
        grant.reason = if needs_amount { Reason::RewardAmount } else { Reason::CouponLeft };
    } else if terms.hold_days > 0 {
        grant.path.push(RewardState::OnHold);
        grant.reason = Reason::HoldDays;
        grant.hold_until = Some(facts.at.plus_days(terms.hold_days));
    } else {
        let (steps, reason) = onward(candidate.definition, facts.settings.review, facts.risk);
        grant.path.extend(steps);
        grant.reason = reason;
    }
    (if reinstate { RewardOutcome::Reinstate(grant) } else { RewardOutcome::Give(grant) }, checks)
}

/// A cap in another currency says nothing of the share, and what nothing caps is not given.
pub fn cap_matches(cap: Money, amount: Money) -> Check {
    Check::new(Reason::CurrencyMatches, cap.currency == amount.currency, format!("{}, the currency of the cap", cap.currency), amount.currency.to_string())
}

/// A share of the basis, at most the cap where the currencies agree: [`cap_matches`].
pub fn commission(percent: crate::money::Percent, cap: Option<Money>, basis: Money) -> Money {
    let share = percent.of(basis);
    match cap {
        Some(cap) if cap.currency == share.currency && cap.minor < share.minor => cap,
        _ => share,
    }
}

/// Where a reward goes when nothing holds it: into review, or on to being issued.
pub fn onward(definition: &RewardDefinition, campaign_review: Review, risk: &[Reason]) -> (Vec<RewardState>, Reason) {
    match definition.terms.review.unwrap_or(campaign_review) {
        Review::Always => (vec![RewardState::InReview], Reason::ReviewAlways),
        Review::Risk if !risk.is_empty() => (vec![RewardState::InReview], Reason::ReviewRisk),
        Review::Risk | Review::Never => {
            let mut path = vec![RewardState::Approved];
            if definition.terms.auto_issue {
                path.push(issue(definition.terms.issuing));
            }
            (path, Reason::Done)
        }
    }
}

/// Where issuing takes a reward. Only an automation is told that one is to be issued: it would pay again what was
/// given by hand.
pub const fn issue(issuing: Issuing) -> RewardState {
    match issuing {
        Issuing::ByHand => RewardState::Issued,
        Issuing::External => RewardState::Issuing,
    }
}

// ---------------------------------------------------------------- refunds

#[derive(Debug, Clone)]
pub struct RefundFacts<'a> {
    pub rule: &'a Rule,
    /// The conversion's amount, and what was refunded of it before.
    pub amount: Option<Money>,
    pub refunded_before_minor: i64,
    /// What is refunded now; all that is left where absent.
    pub refund_minor: Option<i64>,
    /// Fully refunded before, for conversions without an amount too.
    pub fully_refunded_before: bool,
    /// The conversion counts towards the rule.
    pub counts: bool,
    pub lead_status: LeadStatus,
    /// The lead was qualified by conversions, not directly.
    pub qualified_by_conversion: bool,
    /// Net amount of the lead's *other* conversions that count, and how many they are.
    pub other_spent_minor: i64,
    pub other_conversions: i64,
    /// Goals of the lead's *other* conversions that count and are not refunded, in order of time.
    pub other_goals: &'a [String],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub decision: Decision,
    /// What the conversion has been refunded in all, after this.
    pub refunded_minor: i64,
    /// Nothing is left of the conversion.
    pub full: bool,
    pub unqualifies: bool,
}

/// Decides what a refund or cancellation does. Refunds add up to at most the amount.
pub fn refund(facts: &RefundFacts<'_>) -> Refund {
    let amount_minor = facts.amount.map_or(0, |money| money.minor);
    let left = amount_minor - facts.refunded_before_minor;
    // What costs nothing can still be cancelled, once.
    if facts.fully_refunded_before || (amount_minor > 0 && left <= 0) {
        let decision = Decision { outcome: Outcome::Unchanged, reason: Reason::NothingToRefund, checks: Vec::new() };
        return Refund { decision, refunded_minor: facts.refunded_before_minor, full: true, unqualifies: false };
    }
    let asked = facts.refund_minor.unwrap_or(left);
    let now = asked.clamp(0, left);
    let refunded_minor = facts.refunded_before_minor + now;
    let full = facts.amount.is_none() || refunded_minor == amount_minor;
    let mut checks = Vec::new();
    if let Some(amount) = facts.amount {
        // What is asked beyond that is not refunded; the rest is.
        let found = format!("{} asked, {} left", Money::new(asked, amount.currency), Money::new(left, amount.currency));
        let mut check = Check::new(Reason::Refunded, asked <= left, "at most what is left", found);
        if asked > left {
            check = check.miss(format!("{} more than is left", Money::new(asked - left, amount.currency)));
        }
        checks.push(check);
    }
    let mut unqualifies = false;
    if facts.lead_status == LeadStatus::Qualified && facts.qualified_by_conversion && facts.counts {
        let remaining = facts.other_spent_minor + if full { 0 } else { amount_minor - refunded_minor };
        let mut progress = Vec::new();
        progress_checks(facts.rule, remaining, facts.other_goals, &mut progress);
        // A partial refund leaves the conversion's own goal reached.
        let goals_matter = full || facts.rule.goals.is_empty();
        unqualifies = progress.iter().any(|check| check.failed() && (goals_matter || check.reason != Reason::Goals)) || (full && facts.other_conversions == 0);
        checks.extend(progress);
    }
    Refund { decision: Decision { outcome: Outcome::Applied, reason: Reason::Refunded, checks }, refunded_minor, full, unqualifies }
}

/// A reward that a refund or an unqualification may touch.
#[derive(Debug, Clone, Copy)]
pub struct TouchedReward<'a> {
    pub state: RewardState,
    pub value: &'a RewardValue,
    pub amount: Option<Money>,
    /// What was reversed of it before.
    pub reversed_minor: i64,
    /// What it was computed from.
    pub basis: Option<Money>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewardChange {
    Keep,
    /// Before it is issued: the amount becomes smaller.
    Reduce(Money),
    /// Before it is issued: it is taken back.
    Cancel,
    /// After it was issued: so much more is reversed; `full` ends the reward.
    Reverse {
        minor: i64,
        full: bool,
    },
    /// While it is being issued: it is reversed as soon as it has arrived.
    Recall,
    /// After it was issued: it stays, and the operator is told.
    Note,
}

/// What happens to a reward when `kept` of its basis is left (`None`: nothing is left).
pub fn take_back(reward: &TouchedReward<'_>, kept: Option<Money>, policy: AfterRefund) -> RewardChange {
    use RewardState as S;
    let target = match (kept, reward.value) {
        (Some(kept), RewardValue::Commission { percent, cap }) => Some(commission(*percent, *cap, kept)),
        (Some(_), _) => return RewardChange::Keep,
        (None, _) => None,
    };
    match reward.state {
        S::Cancelled | S::Rejected | S::Reversed => RewardChange::Keep,
        S::Due | S::OnHold | S::InReview | S::Approved | S::Failed => match (target, reward.amount) {
            (Some(target), Some(amount)) if target.minor >= amount.minor => RewardChange::Keep,
            (Some(target), Some(_)) if target.minor > 0 => RewardChange::Reduce(target),
            (Some(_), None) => RewardChange::Keep,
            _ => RewardChange::Cancel,
        },
        // On its way: nobody knows yet whether it arrives. It is recalled when it has.
        S::Issuing if target.is_none_or(|target| reward.amount.is_some_and(|amount| target.minor < amount.minor)) => RewardChange::Recall,
        S::Issuing => RewardChange::Keep,
        S::Issued => {
            let total = reward.amount.map_or(0, |amount| amount.minor);
            let owed = target.map_or(total, |target| (total - target.minor).max(0)) - reward.reversed_minor;
            match (policy, target) {
                (_, Some(_)) if owed <= 0 => RewardChange::Keep,
                (AfterRefund::Note, _) => RewardChange::Note,
                (AfterRefund::Reverse, _) => RewardChange::Reverse { minor: owed.max(0), full: target.is_none_or(|target| target.minor <= 0) },
            }
        }
    }
}

/// Checks in a few words, for logs: `minimum_spend failed, campaign_live ok`.
pub fn summary(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let verdict = match check.passed {
            Some(true) => "ok",
            Some(false) => "failed",
            None => "open",
        };
        let _ = write!(text, "{}{} {verdict}", if text.is_empty() { "" } else { ", " }, check.reason.as_str());
    }
    text
}
