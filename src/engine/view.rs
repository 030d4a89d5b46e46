//! What things look like outside: the same shapes in the API, in events and in exports.
//! Keys are always present; what is not known is `null`.

use super::{endpoint::EndpointStatus, visit::Device};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    decide::{LeadStatus, Outcome},
    explain::{Check, Reason},
    ids::{CampaignId, ConversionId, EndpointId, LeadId, ReferrerId, RewardDefinitionId, RewardId, SignalId, VisitorId},
    money::Money,
    reward::{RewardAction, RewardState, Role},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answers of forms and API calls, by the key of their field.
pub type Fields = serde_json::Map<String, serde_json::Value>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CampaignRef {
    pub id: CampaignId,
    pub name: String,
}

/// A reason in its stable word and in a sentence, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Why {
    pub reason: Reason,
    pub sentence: &'static str,
    /// Empty where nothing is to be done.
    pub next_step: &'static str,
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        Self { reason, sentence: reason.sentence(), next_step: reason.next_step() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Referrer {
    pub id: ReferrerId,
    /// For the interfaces that count: stable for ever.
    pub number: i64,
    pub campaign: CampaignRef,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    /// "Priya Shah": for lists and pickers.
    pub name: String,
    pub external_id: Option<String>,
    #[schema(value_type = Object)]
    pub fields: Fields,
    pub source: String,
    pub code: String,
    pub referral_link: String,
    pub status: ReferrerStatus,
    pub suspended_at: Option<Timestamp>,
    /// Leads of this referrer, and how many of them are qualified.
    pub leads: i64,
    pub qualified_leads: i64,
    /// The same person as a lead of somebody else.
    pub lead_id: Option<LeadId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferrerStatus {
    Active,
    Suspended,
}

/// A lead's referrer, without their private data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReferrerRef {
    pub id: ReferrerId,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub name: String,
    pub code: String,
    pub referral_link: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Lead {
    pub id: LeadId,
    /// For the interfaces that count: stable for ever.
    pub number: i64,
    pub campaign: CampaignRef,
    pub referrer: ReferrerRef,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    /// "Maya Rossi": for lists and pickers.
    pub name: String,
    pub external_id: Option<String>,
    #[schema(value_type = Object)]
    pub fields: Fields,
    pub source: String,
    /// The lead's own code, which qualifies the lead.
    pub code: String,
    pub status: LeadStatus,
    /// Why the status is what it is.
    pub status_reason: Option<Why>,
    /// Signs of risk that were seen.
    pub risk: Vec<Reason>,
    pub link_used_at: Option<Timestamp>,
    pub qualified_at: Option<Timestamp>,
    /// The same person as a referrer.
    pub referrer_id: Option<ReferrerId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Conversion {
    pub id: ConversionId,
    pub campaign: CampaignRef,
    pub lead_id: LeadId,
    /// The id in the system that it comes from: an order, an invoice, a deal.
    pub external_id: String,
    pub kind: ConversionKind,
    pub goal: Option<String>,
    pub amount: Option<Money>,
    pub refunded: Option<Money>,
    pub refunded_at: Option<Timestamp>,
    /// Whether it counts towards the campaign's rule.
    pub counts: bool,
    pub why: Why,
    #[schema(value_type = Object)]
    pub properties: serde_json::Value,
    pub occurred_at: Timestamp,
    pub signal_id: SignalId,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reward {
    pub id: RewardId,
    /// For the interfaces that count: stable for ever.
    pub number: i64,
    pub campaign: CampaignRef,
    pub definition_id: RewardDefinitionId,
    /// The definition's name.
    pub name: String,
    pub state: RewardState,
    pub why: Why,
    /// Who gets it.
    pub beneficiary: Beneficiary,
    /// The lead that gave cause for it.
    pub lead_id: LeadId,
    /// What it is for: a lead (`lead_…`), a conversion (`cnv_…`), a step (`milestone:5`), or the
    /// second time that so many leads were reached (`every:2`).
    #[schema(example = "lead_01m7wk82v0ec0r40r40m30e209")]
    pub cause: String,
    pub conversion_id: Option<ConversionId>,
    /// `fixed`, `commission`, `custom` or `coupon`.
    pub kind: String,
    /// `null` for points and coupons, and until a commission can be computed.
    pub amount: Option<Money>,
    /// What a commission is computed from.
    pub basis: Option<Money>,
    pub metric: Option<String>,
    pub units: Option<i64>,
    pub coupon: Option<String>,
    pub reversed: Option<Money>,
    pub note: Option<String>,
    pub hold_until: Option<Timestamp>,
    pub due_at: Timestamp,
    pub issued_at: Option<Timestamp>,
    /// How often issuing was tried.
    pub attempts: i64,
    /// What can be done with it now.
    pub actions: Vec<RewardAction>,
    pub signal_id: SignalId,
    /// The version of the campaign's configuration that it was decided with.
    pub version: i64,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Beneficiary {
    pub role: Role,
    pub referrer_id: Option<ReferrerId>,
    pub lead_id: Option<LeadId>,
    pub email: String,
    pub name: String,
}

/// One line in the life of a reward. Money that is taken back is negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RewardEntry {
    pub n: i64,
    pub state: RewardState,
    pub why: Why,
    pub note: Option<String>,
    pub amount: Option<Money>,
    pub actor: String,
    pub signal_id: SignalId,
    pub at: Timestamp,
}

/// What was made of a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Evidence {
    pub signal_id: SignalId,
    pub outcome: Outcome,
    pub why: Why,
    pub checks: Vec<Check>,
}

/// The campaign itself, where an event is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CampaignState {
    pub id: CampaignId,
    pub name: String,
    pub status: CampaignStatus,
    pub version: i64,
}

/// A use of a referral link, where an event is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VisitRef {
    pub referrer_id: ReferrerId,
    pub visitor_id: Option<VisitorId>,
    pub referring_host: Option<String>,
    pub device: Device,
    pub bot: bool,
    /// How the link was shared: `link`, `qr`, `whatsapp`.
    pub source: String,
    pub at: Timestamp,
}

/// An endpoint, where an event is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EndpointRef {
    pub id: EndpointId,
    pub url: String,
    pub status: EndpointStatus,
    /// Since when it has taken nothing.
    pub failing_since: Option<Timestamp>,
}

/// A tool that takes events, such as n8n, Make or Zapier, where an event is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IntegrationRef {
    /// As it named itself: `n8n`, `make`, `zapier`.
    pub name: String,
    pub endpoint_id: EndpointId,
    /// `gone` where it said that nobody is there any more, `disabled` after five days without an answer.
    pub status: EndpointStatus,
}

/// A pool of coupons, where an event is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CouponsRef {
    /// The reward that they are for.
    pub definition_id: RewardDefinitionId,
    pub name: String,
    pub total: i64,
    pub used: i64,
    /// How much of the pool is used: 85, 95, then 100.
    pub used_percent: i64,
}

/// What an event carries: everything that a receiver needs, so that no second request
/// is necessary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct EventData {
    pub campaign: Option<CampaignRef>,
    pub campaign_state: Option<CampaignState>,
    pub referrer: Option<Referrer>,
    pub lead: Option<Lead>,
    pub conversion: Option<Conversion>,
    pub reward: Option<Reward>,
    pub visit: Option<VisitRef>,
    pub endpoint: Option<EndpointRef>,
    pub integration: Option<IntegrationRef>,
    pub evidence: Option<Evidence>,
    /// The money that moved: a conversion's or reward's amount; negative where it went back.
    pub moved: Option<Money>,
    /// How many, for events about many.
    pub count: Option<i64>,
    /// The pool of coupons that it is about.
    pub coupons: Option<CouponsRef>,
    /// The person that it was about was erased, and everything that it told of them: all else is `null`.
    pub erased: bool,
}

impl EventData {
    /// Where the person came from that the event is about.
    pub fn person_source(&self) -> Option<&str> {
        // A visitor is nobody yet; what counts is how the link came to them.
        let visit = self.visit.as_ref().map(|visit| visit.source.as_str());
        visit.or_else(|| self.lead.as_ref().map(|lead| lead.source.as_str())).or_else(|| self.referrer.as_ref().map(|referrer| referrer.source.as_str()))
    }
}

pub fn full_name(first: &str, last: &str) -> String {
    match (first.is_empty(), last.is_empty()) {
        (_, true) => first.to_owned(),
        (true, _) => last.to_owned(),
        _ => format!("{first} {last}"),
    }
}
