//! The catalogue of events: what the world is told, in the past tense.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

// `$word` is a tt and no literal: utoipa reads the names of serde only from bare tokens.
macro_rules! events {
    ($($name:ident $word:tt $label:literal $sentence:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        pub enum EventType { $(#[serde(rename = $word)] $name,)* }

        impl EventType {
            pub const ALL: &'static [EventType] = &[$(EventType::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(EventType::$name => $word,)* }
            }

            /// A title for pages and pickers.
            pub const fn label(self) -> &'static str {
                match self { $(EventType::$name => $label,)* }
            }

            /// When it happens, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(EventType::$name => $sentence,)* }
            }
        }
    };
}

events! {
    ReferrerCreated "referrer.created" "New Referrer" "Triggers when somebody becomes a referrer.";
    ReferrersImported "referrers.imported" "Referrers Imported" "Triggers when a chunk of an import has added referrers.";
    ReferrerUpdated "referrer.updated" "Referrer Updated" "Triggers when a referrer's data changes.";
    ReferrerSuspended "referrer.suspended" "Referrer Suspended" "Triggers when a referrer is suspended.";
    ReferrerReactivated "referrer.reactivated" "Referrer Reactivated" "Triggers when a suspended referrer is active again.";
    LeadCreated "lead.created" "New Referral" "Triggers when a referrer's friend becomes a lead.";
    LeadClaimed "lead.claimed" "Lead Claimed" "Triggers when a lead is given to a referrer by a late claim.";
    LeadReleased "lead.released" "Lead Released" "Triggers when a forced claim takes a lead from its referrer.";
    LeadUpdated "lead.updated" "Lead Updated" "Triggers when a lead's data changes.";
    LeadQualified "lead.qualified" "Referral Qualified" "Triggers when a lead is qualified.";
    LeadUnqualified "lead.unqualified" "Referral Unqualified" "Triggers when a qualified lead is pending again.";
    LeadRejected "lead.rejected" "Lead Rejected" "Triggers when a lead is rejected.";
    LeadRestored "lead.restored" "Lead Restored" "Triggers when a rejected lead is pending again.";
    ParticipantErased "participant.erased" "Participant Erased" "Triggers when a person's data has been erased.";
    ConversionRecorded "conversion.recorded" "Conversion Recorded" "Triggers when a conversion of a lead is recorded.";
    ConversionIgnored "conversion.ignored" "Conversion Ignored" "Triggers when a conversion changes nothing, with the reason.";
    ConversionRefunded "conversion.refunded" "Conversion Refunded" "Triggers when a conversion is refunded, in part or in full.";
    RewardDue "reward.due" "Reward Due" "Triggers when a reward falls due.";
    RewardSkipped "reward.skipped" "Reward Skipped" "Triggers when a reward is not given because of a limit, the budget, or a cap in another currency.";
    RewardOnHold "reward.on_hold" "Reward on Hold" "Triggers when a reward is held.";
    RewardInReview "reward.in_review" "Reward in Review" "Triggers when a reward waits for somebody to look at it.";
    RewardApproved "reward.approved" "Reward Approved" "Triggers when a reward is approved.";
    RewardIssuing "reward.issuing" "Reward to Issue" "Triggers when a reward is to be issued by an automation.";
    RewardIssued "reward.issued" "Reward Issued" "Triggers when a reward is issued.";
    RewardFailed "reward.failed" "Reward Failed" "Triggers when a reward could not be issued.";
    RewardChanged "reward.changed" "Reward Changed" "Triggers when a reward's amount changes before it is issued.";
    RewardRejected "reward.rejected" "Reward Rejected" "Triggers when a reward is rejected.";
    RewardCancelled "reward.cancelled" "Reward Cancelled" "Triggers when a reward is cancelled before it is issued.";
    RewardReversed "reward.reversed" "Reward Reversed" "Triggers when an issued reward is reversed, in part or in full.";
    RewardRefundNoted "reward.refund_noted" "Refund After Reward" "Triggers when a conversion is refunded whose reward was issued and stays.";
    CouponsLow "coupons.low" "Coupons Running Out" "Triggers when 85, 95 or 100 percent of a pool's coupons are used.";
    CampaignPublished "campaign.published" "Campaign Published" "Triggers when a campaign goes live.";
    CampaignChanged "campaign.changed" "Campaign Changed" "Triggers when a campaign's configuration or status changes.";
    VisitRecorded "visit.recorded" "Visit Recorded" "Triggers when somebody uses a referral link.";
    EndpointFailing "endpoint.failing" "Endpoint Failing" "Triggers when an endpoint has taken nothing for a day.";
    EndpointDisabled "endpoint.disabled" "Endpoint Disabled" "Triggers when an endpoint is switched off after five days of failures.";
    EndpointGone "endpoint.gone" "Endpoint Gone" "Triggers when an endpoint has answered that nobody is there any more.";
    IntegrationDisconnected "integration.disconnected" "Integration Disconnected" "Triggers when an automation that had registered for events takes them no longer.";
    EndpointTested "endpoint.tested" "Test" "Triggers when somebody asks for a test of an endpoint, which alone receives it.";
}

impl EventType {
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == word)
    }

    /// Whether endpoints must ask for it by name: there are too many of them otherwise.
    pub const fn is_opt_in(self) -> bool {
        matches!(self, Self::VisitRecorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_its_word_and_reads_well() {
        for &event in EventType::ALL {
            assert_eq!(EventType::parse(event.as_str()), Some(event));
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
            assert!(event.sentence().starts_with("Triggers when ") && event.sentence().ends_with('.'), "{event:?}");
        }
    }
}
