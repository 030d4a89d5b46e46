//! Rewards: what is promised (definitions), and the life of what fell due.

use crate::{
    Invalid,
    explain::Reason,
    ids::RewardDefinitionId,
    money::{Money, Percent},
    text::Line,
    time::Period,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Referrer,
    Lead,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Referrer => "referrer",
            Role::Lead => "lead",
        }
    }
}

/// What is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardValue {
    /// The same amount each time.
    Fixed { amount: Money },
    /// A share of the conversion's amount.
    Commission {
        percent: Percent,
        /// At most this much for one reward.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cap: Option<Money>,
    },
    /// Points, credits, or anything else that is counted.
    Custom {
        /// What is counted: "points".
        metric: Line,
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        units: i64,
    },
    /// The next unused code of the definition's pool.
    Coupon {},
}

impl RewardValue {
    pub const fn kind(&self) -> &'static str {
        match self {
            RewardValue::Fixed { .. } => "fixed",
            RewardValue::Commission { .. } => "commission",
            RewardValue::Custom { .. } => "custom",
            RewardValue::Coupon {} => "coupon",
        }
    }
}

/// What gives cause for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A lead is qualified.
    #[default]
    Qualified,
    /// A lead joined, qualified or not.
    Joined,
}

/// How often.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cadence {
    /// Once for each lead.
    #[default]
    Once,
    /// For each payment of a qualified lead, for so many months after it qualified.
    Ongoing {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 120)]
        months: Option<u32>,
    },
    /// When the referrer reaches a number of leads; each step once.
    Milestones {
        #[schema(min_items = 1, max_items = 50)]
        steps: Vec<Milestone>,
    },
    /// For every so many leads of the referrer.
    Every {
        #[schema(minimum = 1, maximum = 10_000)]
        count: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u32,
    /// What is given at this step; the definition's own value where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<RewardValue>,
}

/// At most so many for one participant in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardLimit {
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u32,
    pub period: Period,
}

/// Whether a person looks at it before it is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Review {
    Never,
    /// When the lead shows a sign of risk.
    #[default]
    Risk,
    Always,
}

/// How it leaves the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Issuing {
    /// Somebody gives it and says so.
    #[default]
    ByHand,
    /// An automation gives it: `reward.issuing` is sent, and the reward waits until
    /// success or failure is reported.
    External,
}

/// A promise of a campaign: who gets what, when, how often and after which checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RewardDefinition {
    pub id: RewardDefinitionId,
    #[serde(flatten)]
    pub terms: RewardTerms,
}

/// Everything of a reward definition that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardTerms {
    pub name: Line,
    pub beneficiary: Role,
    pub value: RewardValue,
    /// Only active definitions give rewards.
    #[serde(default = "yes")]
    pub active: bool,
    #[serde(default)]
    pub trigger: Trigger,
    #[serde(default)]
    pub cadence: Cadence,
    #[serde(default)]
    pub limit: Option<RewardLimit>,
    /// Days between falling due and going on.
    #[serde(default)]
    #[schema(maximum = 365)]
    pub hold_days: u32,
    /// The campaign's review policy where absent.
    #[serde(default)]
    pub review: Option<Review>,
    #[serde(default)]
    pub issuing: Issuing,
    /// Issue without anybody pressing a button.
    #[serde(default)]
    pub auto_issue: bool,
}

const fn yes() -> bool {
    true
}

impl RewardTerms {
    /// Whether its parts make sense together. The field is a JSON pointer.
    pub fn validate(&self) -> Result<(), (&'static str, Invalid)> {
        let positive = |value: &RewardValue| match value {
            RewardValue::Fixed { amount } if amount.minor <= 0 => Err(("/value/amount", Invalid::new("an amount above zero"))),
            RewardValue::Commission { percent, .. } if percent.is_zero() => Err(("/value/percent", Invalid::new("a percentage above zero"))),
            RewardValue::Commission { .. } if self.trigger == Trigger::Joined => {
                Err(("/trigger", Invalid::new("qualified, because joining has no amount that a commission could be a share of")))
            }
            RewardValue::Commission { cap: Some(cap), .. } if cap.minor <= 0 => Err(("/value/cap", Invalid::new("an amount above zero"))),
            RewardValue::Custom { units, .. } if !(1..=1_000_000_000).contains(units) => {
                Err(("/value/units", Invalid::new("a number from 1 to 1,000,000,000")))
            }
            _ => Ok(()),
        };
        positive(&self.value)?;
        if self.hold_days > 365 {
            return Err(("/hold_days", Invalid::new("at most 365 days")));
        }
        if self.limit.is_some_and(|limit| !(1..=1_000_000).contains(&limit.count)) {
            return Err(("/limit/count", Invalid::new("a number from 1 to 1,000,000")));
        }
        match &self.cadence {
            Cadence::Once => {}
            Cadence::Ongoing { months } => {
                if self.trigger == Trigger::Joined {
                    return Err(("/cadence", Invalid::new("trigger qualified, because ongoing rewards follow payments")));
                }
                if months.is_some_and(|months| !(1..=120).contains(&months)) {
                    return Err(("/cadence/months", Invalid::new("1 to 120 months")));
                }
            }
            Cadence::Milestones { steps } => {
                if self.beneficiary != Role::Referrer {
                    return Err(("/beneficiary", Invalid::new("referrer, because only referrers reach milestones")));
                }
                if steps.is_empty()
                    || steps.len() > 50
                    || steps.iter().any(|step| !(1..=1_000_000).contains(&step.count))
                    || !steps.is_sorted_by(|a, b| a.count < b.count)
                {
                    return Err(("/cadence/steps", Invalid::new("1 to 50 steps with rising counts")));
                }
                for step in steps.iter().filter_map(|step| step.value.as_ref()) {
                    positive(step)?;
                }
            }
            Cadence::Every { count } => {
                if self.beneficiary != Role::Referrer {
                    return Err(("/beneficiary", Invalid::new("referrer, because leads are counted per referrer")));
                }
                if !(1..=10_000).contains(count) {
                    return Err(("/cadence/count", Invalid::new("a number from 1 to 10,000")));
                }
            }
        }
        Ok(())
    }
}

/// Where a reward stands.
///
/// ```text
/// due ─┬─> on_hold ─┬─> in_review ─┬─> approved ─> issuing ─┬─> issued ─> reversed
///      └────────────┴──────────────┘        ^               └─> failed ──┐
///                                           └────────── retry ───────────┘
/// before it is issued: cancelled, rejected
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardState {
    Due,
    OnHold,
    InReview,
    Approved,
    Issuing,
    Issued,
    Failed,
    Cancelled,
    Rejected,
    Reversed,
}

impl RewardState {
    pub const ALL: [RewardState; 10] = [
        RewardState::Due,
        RewardState::OnHold,
        RewardState::InReview,
        RewardState::Approved,
        RewardState::Issuing,
        RewardState::Issued,
        RewardState::Failed,
        RewardState::Cancelled,
        RewardState::Rejected,
        RewardState::Reversed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            RewardState::Due => "due",
            RewardState::OnHold => "on_hold",
            RewardState::InReview => "in_review",
            RewardState::Approved => "approved",
            RewardState::Issuing => "issuing",
            RewardState::Issued => "issued",
            RewardState::Failed => "failed",
            RewardState::Cancelled => "cancelled",
            RewardState::Rejected => "rejected",
            RewardState::Reversed => "reversed",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether its amount is reserved in the budget and counts towards limits.
    pub const fn counts(self) -> bool {
        !matches!(self, RewardState::Cancelled | RewardState::Rejected | RewardState::Reversed)
    }

    /// Whether it is reached by an attempt to issue.
    pub const fn is_attempt(self) -> bool {
        matches!(self, RewardState::Issuing | RewardState::Issued)
    }

    /// What an operator may do now.
    pub fn actions(self) -> Vec<RewardAction> {
        RewardAction::ALL.into_iter().filter(|&action| self.after(action).is_ok()).collect()
    }

    /// The state after an action, or the reason why the action is not possible. Where
    /// the action is already done, [`Reason::AlreadyDone`].
    pub const fn after(self, action: RewardAction) -> Result<RewardState, Reason> {
        use RewardAction as A;
        use RewardState as S;
        match (action, self) {
            (A::Approve, S::Due | S::OnHold | S::InReview) => Ok(S::Approved),
            (A::Approve, S::Approved | S::Issuing | S::Issued) => Err(Reason::AlreadyDone),
            (A::Hold, S::Due | S::InReview | S::Approved | S::Failed) => Ok(S::OnHold),
            (A::Hold, S::OnHold) => Err(Reason::AlreadyDone),
            (A::Reject, S::Due | S::OnHold | S::InReview | S::Approved | S::Failed) => Ok(S::Rejected),
            (A::Reject, S::Rejected) => Err(Reason::AlreadyDone),
            (A::Cancel, S::Due | S::OnHold | S::InReview | S::Approved | S::Failed) => Ok(S::Cancelled),
            (A::Cancel, S::Cancelled) => Err(Reason::AlreadyDone),
            (A::Issue, S::Approved) => Ok(S::Issuing),
            (A::Issue, S::Issuing | S::Issued) => Err(Reason::AlreadyDone),
            (A::Retry, S::Failed) => Ok(S::Issuing),
            (A::Retry, S::Issuing | S::Issued) => Err(Reason::AlreadyDone),
            (A::Confirm, S::Issuing) => Ok(S::Issued),
            (A::Confirm, S::Issued) => Err(Reason::AlreadyDone),
            (A::Fail, S::Issuing) => Ok(S::Failed),
            (A::Fail, S::Failed) => Err(Reason::AlreadyDone),
            (A::Reverse, S::Issued) => Ok(S::Reversed),
            (A::Reverse, S::Reversed) => Err(Reason::AlreadyDone),
            _ => Err(Reason::RewardState),
        }
    }
}

/// What can be done to a reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardAction {
    Approve,
    /// Stop it until somebody approves it.
    Hold,
    /// Refuse it; the beneficiary gets nothing.
    Reject,
    /// Take it back before it is issued.
    Cancel,
    /// Give it. By hand this is done at once; an external automation confirms it.
    Issue,
    /// Give it again after a failure.
    Retry,
    /// Report that an external automation gave it.
    Confirm,
    /// Report that an external automation could not give it.
    Fail,
    /// Take it back after it was issued; recorded as an entry of its own.
    Reverse,
}

impl RewardAction {
    pub const ALL: [RewardAction; 9] = [
        RewardAction::Approve,
        RewardAction::Hold,
        RewardAction::Reject,
        RewardAction::Cancel,
        RewardAction::Issue,
        RewardAction::Retry,
        RewardAction::Confirm,
        RewardAction::Fail,
        RewardAction::Reverse,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            RewardAction::Approve => "approve",
            RewardAction::Hold => "hold",
            RewardAction::Reject => "reject",
            RewardAction::Cancel => "cancel",
            RewardAction::Issue => "issue",
            RewardAction::Retry => "retry",
            RewardAction::Confirm => "confirm",
            RewardAction::Fail => "fail",
            RewardAction::Reverse => "reverse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is done in whatever order: money that went out is only ever
        /// taken back by a reversal, and an end is an end.
        #[test]
        fn issued_money_is_only_taken_back_by_a_reversal(actions in prop::collection::vec(prop::sample::select(RewardAction::ALL.to_vec()), 0..40)) {
            let mut state = RewardState::Due;
            for action in actions {
                let Ok(next) = state.after(action) else { continue };
                if state == RewardState::Issued {
                    prop_assert_eq!(next, RewardState::Reversed);
                }
                prop_assert!(!matches!(state, RewardState::Cancelled | RewardState::Rejected | RewardState::Reversed));
                if next == RewardState::Issued {
                    prop_assert_eq!(state, RewardState::Issuing);
                }
                state = next;
            }
        }
    }

    #[test]
    fn states_survive_their_words() {
        for state in RewardState::ALL {
            assert_eq!(RewardState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
