//! Why something happened, or did not: checks, reasons, and the next step.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use utoipa::ToSchema;

/// One condition that was looked at, with what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    pub reason: Reason,
    /// What was looked at, where several things were: a reward definition's name, a conversion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// `true`: met. `false`: not met. `null`: could not be looked at yet.
    pub passed: Option<bool>,
    /// What the rule asks for, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// How near it was: "4.00 EUR short of the minimum".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss: Option<String>,
}

impl Check {
    pub fn new(reason: Reason, passed: bool, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, about: None, passed: Some(passed), expected: expected.into(), found: found.into(), miss: None }
    }

    pub fn about(mut self, what: impl Into<String>) -> Self {
        self.about = Some(what.into());
        self
    }

    pub fn miss(mut self, miss: impl Into<String>) -> Self {
        self.miss = Some(miss.into());
        self
    }

    pub fn failed(&self) -> bool {
        self.passed == Some(false)
    }
}

/// The catalogue of reasons. `serde` gives each its stable word outside; each has a
/// sentence and a next step here and nowhere else.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $sentence:literal, $next:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $sentence,)* }
            }

            /// What to do about it; empty where nothing is to be done.
            pub const fn next_step(self) -> &'static str {
                match self { $(Reason::$name => $next,)* }
            }
        }
    };
}

reasons! {
    Done = "It was done.", "";
    AlreadyDone = "It had been done before; nothing was changed.", "";
    AlreadyQualified = "The conversion counts; the lead had been qualified before.", "";

    // The campaign
    CampaignLive = "The campaign must be live at the time of the event.", "Publish or resume the campaign, then check the lead again.";
    CampaignStarted = "The event must not be earlier than the campaign's start.", "Move the campaign's start if the event should count.";
    CampaignNotEnded = "The event must not be later than the campaign's end.", "Move the campaign's end if the event should count.";

    // Participants and attribution
    PersonUnknown = "Nobody in the campaign matches.", "Compare the e-mail address, code or coupon with the people in the campaign; the lead must be created before it can be qualified.";
    PersonAmbiguous = "The person is in more than one campaign.", "Say which campaign with campaign_id.";
    ReferrerKnown = "The referrer must exist in the campaign.", "Check the code, e-mail address or id of the referrer.";
    ReferrerActive = "The referrer must be active at the time of the event.", "Reactivate the referrer if the suspension was a mistake.";
    ReferralLimit = "The referrer must be within the campaign's limit of leads.", "Raise the limit of leads per referrer in the campaign.";
    NotSelf = "Nobody can refer themselves.", "Nothing to do: the address belongs to the referrer.";
    NotCircular = "Nobody can be referred by their own lead.", "Nothing to do: the referrer is a lead of this person.";
    NotYetInCampaign = "Somebody who is already in the campaign cannot be referred.", "If the referral is genuine, record a claim with evidence.";
    FirstReferrerKept = "The lead belongs to the referrer whose link was used first.", "If the first attribution was wrong, move the lead with a forced claim and evidence.";
    LeadKnown = "The person must be a lead in the campaign.", "Record a claim to make the person a lead of a referrer.";
    LeadNotRejected = "The lead must not have been rejected.", "Restore the lead if it was rejected by mistake.";
    LeadPending = "The lead must not be qualified already.", "";
    RequiredFields = "All required fields must be filled in.", "Send the missing fields.";
    AttributionWindow = "The link must have been used within the campaign's attribution window.", "Widen the window if such leads should count.";

    // The rule
    ConversionKind = "The rule accepts only certain kinds of conversion.", "Add the kind to the rule if it should count.";
    ConversionWindow = "Conversions must happen within the rule's days after the lead joined.", "Widen the rule's window if what comes later should count.";
    ConversionAfterJoining = "The conversion must not be earlier than the lead.", "Check the time of the conversion.";
    CurrencyMatches = "The amount must be in the currency of the rule's minimum, or of the commission's cap: different currencies never meet.", "Send the amount in that currency.";
    MinimumSpend = "The lead's spend within the window must reach the minimum.", "Wait for more conversions, or lower the minimum.";
    Condition = "The rule's condition must be true for the conversion's properties.", "Compare the condition with the properties that were sent.";
    Goals = "The goals of the rule must be reached in their order.", "Wait for the missing goals.";
    ManualAllowed = "The rule must allow qualification without a conversion.", "Allow direct qualification in the rule, or send conversions.";

    // Rewards
    RewardActive = "The reward definition must be active.", "Activate the reward definition, then check the lead again.";
    RewardAmount = "A commission needs an amount to be computed from.", "Send the amount with the conversion, or set the reward's total spend.";
    RewardLimit = "The beneficiary must be within the reward's limit.", "Raise the limit, then check the lead again.";
    RewardMonths = "Ongoing rewards are paid for a number of months only.", "Nothing to do, unless the reward definition should pay for more months.";
    Milestone = "The reward is given when a number of leads is reached.", "Nothing to do: the reward falls due by itself when the referrer has so many leads.";
    EveryN = "The reward is given for every so many leads.", "Nothing to do: the reward falls due by itself when the referrer has so many leads.";
    Budget = "The reward must fit into the campaign's budget.", "Raise the budget, then check the lead again.";
    CouponLeft = "A coupon must be left in the pool.", "Upload more coupons, then approve the reward.";
    HoldDays = "The reward is on hold for the days that its definition says.", "It goes on by itself when the time has passed.";
    ReviewAlways = "Every reward of this definition is reviewed.", "Approve or reject it.";
    ReviewRisk = "The lead shows a sign of risk, so the reward is reviewed.", "Look at the signs, then approve or reject it.";
    OnlyOnce = "A cause pays a reward once.", "";
    IssuingFailed = "The automation could not issue the reward.", "Read its note, mend the cause, then retry.";
    RewardState = "The reward's state does not allow this.", "See the reward's history.";
    LeadUnqualified = "The lead is not qualified any more.", "";
    LeadMoved = "The lead was given to another referrer.", "";
    Refunded = "The conversion was refunded.", "";
    NothingToRefund = "The conversion has been refunded in full before.", "";
    ConversionKnown = "The conversion must be known.", "Send the conversion first; check its id.";

    // Signs of risk
    SameAddress = "Lead and referrer joined from the same network address.", "";
    PlusTag = "The address carries a plus tag, which often means the same person again.", "";
    SameVisitor = "Lead and referrer used the same browser.", "";
    ManyLeads = "The referrer brought unusually many leads within an hour.", "";
    FastConversion = "The lead converted within a minute of joining.", "";
}

/// As serde has them, in the order of [`Reason::ALL`].
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let word = |reason: &Reason| serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    Reason::ALL.iter().map(word).collect()
});

impl Reason {
    /// The stable word used in the API and in the database.
    pub fn as_str(self) -> &'static str {
        &WORDS[self as usize]
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_sentence_and_survives_its_word() {
        for &reason in Reason::ALL {
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
            assert!(reason.next_step().is_empty() || reason.next_step().ends_with('.'), "{reason:?}");
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
    }
}
