//! An example of every event, made from the types that real events are made from.

use super::{
    endpoint::EndpointStatus,
    event::EventType,
    view::{
        Beneficiary, CampaignRef, CampaignState, Conversion, CouponsRef, EndpointRef, EventData, Evidence, IntegrationRef, Lead, Referrer, ReferrerRef,
        ReferrerStatus, Reward, VisitRef,
    },
    visit::Device,
};
use goodword_core::{
    campaign::{CampaignStatus, ConversionKind},
    decide::{LeadStatus, Outcome},
    explain::Reason,
    ids::Id,
    money::Money,
    reward::{RewardState, Role},
    time::Timestamp,
};

/// 2026-11-20T13:45:00Z.
pub const AT: Timestamp = Timestamp::from_ms(1_795_182_300_000);

/// An id of the examples: of the right shape, and of nothing.
pub fn id<K>(n: u8) -> Id<K> {
    Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(AT.ms() as u64, &[n, 1, 2, 3, 4, 5, 6, 7, 8, 9]).into_uuid())
}

fn money(minor: i64) -> Option<Money> {
    Some(Money::new(minor, "EUR".parse().ok()?))
}

fn campaign() -> CampaignRef {
    CampaignRef { id: id(1), name: "Refer a friend".into() }
}

fn referrer() -> Referrer {
    Referrer {
        id: id(2),
        number: 41,
        campaign: campaign(),
        email: "priya@example.com".into(),
        first_name: "Priya".into(),
        last_name: "Shah".into(),
        name: "Priya Shah".into(),
        external_id: None,
        fields: Default::default(),
        source: "api".into(),
        code: "PRIYA7".into(),
        referral_link: "https://refer.example.com/PRIYA7".into(),
        status: ReferrerStatus::Active,
        suspended_at: None,
        leads: 3,
        qualified_leads: 1,
        lead_id: None,
        created_at: AT,
        updated_at: AT,
    }
}

fn lead(status: LeadStatus) -> Lead {
    let from = referrer();
    Lead {
        id: id(3),
        number: 42,
        campaign: campaign(),
        referrer: ReferrerRef {
            id: from.id,
            email: from.email,
            first_name: from.first_name,
            last_name: from.last_name,
            name: from.name,
            code: from.code,
            referral_link: from.referral_link,
        },
        email: "maya@example.com".into(),
        first_name: "Maya".into(),
        last_name: "Rossi".into(),
        name: "Maya Rossi".into(),
        external_id: None,
        fields: Default::default(),
        source: "form".into(),
        code: "MAYA2K".into(),
        status,
        status_reason: None,
        risk: Vec::new(),
        link_used_at: Some(AT),
        qualified_at: (status == LeadStatus::Qualified).then_some(AT),
        referrer_id: None,
        created_at: AT,
        updated_at: AT,
    }
}

fn conversion(counts: bool) -> Conversion {
    Conversion {
        id: id(4),
        campaign: campaign(),
        lead_id: id(3),
        external_id: "order-1042".into(),
        kind: ConversionKind::Order,
        goal: None,
        amount: money(12_900),
        refunded: None,
        refunded_at: None,
        counts,
        why: if counts { Reason::Done } else { Reason::ConversionWindow }.into(),
        properties: serde_json::json!({"plan": "pro"}),
        occurred_at: AT,
        signal_id: id(5),
        created_at: AT,
    }
}

fn reward(state: RewardState) -> Reward {
    Reward {
        id: id(6),
        number: 7,
        campaign: campaign(),
        definition_id: id(7),
        name: "20 EUR for the referrer".into(),
        state,
        why: Reason::Done.into(),
        beneficiary: Beneficiary {
            role: Role::Referrer,
            referrer_id: Some(id(2)),
            lead_id: None,
            email: "priya@example.com".into(),
            name: "Priya Shah".into(),
        },
        lead_id: id(3),
        cause: id::<goodword_core::ids::Lead>(3).to_string(),
        conversion_id: None,
        kind: "fixed".into(),
        amount: money(2_000),
        basis: None,
        metric: None,
        units: None,
        coupon: None,
        reversed: None,
        note: None,
        hold_until: None,
        due_at: AT,
        issued_at: (state == RewardState::Issued).then_some(AT),
        attempts: 0,
        actions: state.actions(),
        signal_id: id(5),
        version: 1,
        updated_at: AT,
    }
}

fn evidence(outcome: Outcome, reason: Reason) -> Evidence {
    Evidence { signal_id: id(5), outcome, why: reason.into(), checks: Vec::new() }
}

fn endpoint(status: EndpointStatus) -> EndpointRef {
    EndpointRef { id: id(8), url: "https://example.com/webhooks/goodword".into(), status, failing_since: (status == EndpointStatus::Failing).then_some(AT) }
}

/// The members of an event's data that its type does not tell of: schemas are made from the examples, so there
/// must be none. Looked at wherever our own checks are on.
pub fn unheard_of(kind: EventType, told: &EventData) -> Vec<String> {
    let [shown, told] = [&data(kind), told].map(|data| serde_json::to_value(data).unwrap_or_default());
    let told = told.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    told.filter(|(name, _)| shown[name.as_str()].is_null()).map(|(name, _)| name.clone()).collect()
}

/// What an event of that type carries: which members may have a value, and an example of each.
pub fn data(kind: EventType) -> EventData {
    use EventType as E;
    let applied = || Some(evidence(Outcome::Applied, Reason::Done));
    let about_campaign = || EventData { campaign: Some(campaign()), evidence: applied(), ..EventData::default() };
    let about_referrer = || EventData { referrer: Some(referrer()), ..about_campaign() };
    let about_lead = |status| EventData { lead: Some(lead(status)), ..about_referrer() };
    let about_conversion = |counts, reason| EventData {
        conversion: Some(conversion(counts)),
        moved: money(12_900),
        evidence: Some(evidence(if counts { Outcome::Recorded } else { Outcome::Ignored }, reason)),
        ..about_lead(LeadStatus::Pending)
    };
    let about_reward = |state| EventData { reward: Some(reward(state)), moved: money(2_000), ..about_lead(LeadStatus::Qualified) };
    let moved = |minor, data: EventData| EventData { moved: money(minor), ..data };
    match kind {
        E::ReferrerCreated | E::ReferrerSuspended | E::ReferrerReactivated | E::ReferrerUpdated => about_referrer(),
        E::ReferrersImported => EventData { count: Some(500), ..about_campaign() },
        E::LeadCreated | E::LeadClaimed | E::LeadReleased | E::LeadUnqualified | E::LeadRestored => about_lead(LeadStatus::Pending),
        E::LeadUpdated => EventData { lead: Some(lead(LeadStatus::Pending)), ..about_campaign() },
        E::LeadQualified => EventData { lead: Some(lead(LeadStatus::Qualified)), evidence: applied(), ..about_conversion(true, Reason::Done) },
        E::LeadRejected => about_lead(LeadStatus::Rejected),
        E::ParticipantErased => about_campaign(),
        E::ConversionRecorded => about_conversion(true, Reason::Done),
        E::ConversionIgnored => about_conversion(false, Reason::ConversionWindow),
        E::ConversionRefunded => moved(-12_900, about_conversion(true, Reason::Refunded)),
        E::RewardDue => about_reward(RewardState::Due),
        E::RewardSkipped => EventData { evidence: Some(evidence(Outcome::Ignored, Reason::RewardLimit)), ..about_lead(LeadStatus::Qualified) },
        E::RewardOnHold => about_reward(RewardState::OnHold),
        E::RewardInReview => about_reward(RewardState::InReview),
        E::RewardApproved => about_reward(RewardState::Approved),
        E::RewardIssuing => about_reward(RewardState::Issuing),
        E::RewardIssued => about_reward(RewardState::Issued),
        E::RewardFailed => about_reward(RewardState::Failed),
        E::RewardChanged | E::RewardRefundNoted => about_reward(RewardState::Due),
        E::RewardRejected => about_reward(RewardState::Rejected),
        E::RewardCancelled => about_reward(RewardState::Cancelled),
        E::RewardReversed => moved(-2_000, about_reward(RewardState::Reversed)),
        E::CouponsLow => {
            let coupons = CouponsRef { definition_id: id(7), name: "Welcome voucher".into(), total: 500, used: 425, used_percent: 85 };
            EventData { campaign: Some(campaign()), count: Some(75), coupons: Some(coupons), ..EventData::default() }
        }
        E::CampaignPublished | E::CampaignChanged => {
            let state = CampaignState { id: id(1), name: campaign().name, status: CampaignStatus::Live, version: 2 };
            EventData { campaign_state: Some(state), ..about_campaign() }
        }
        E::VisitRecorded => {
            let visit = VisitRef {
                referrer_id: id(2),
                visitor_id: Some(id(9)),
                referring_host: Some("news.example.com".into()),
                device: Device::Phone,
                bot: false,
                source: "link".into(),
                at: AT,
            };
            EventData { campaign: Some(campaign()), referrer: Some(referrer()), visit: Some(visit), ..EventData::default() }
        }
        E::EndpointFailing => EventData { endpoint: Some(endpoint(EndpointStatus::Failing)), ..EventData::default() },
        E::EndpointDisabled => EventData { endpoint: Some(endpoint(EndpointStatus::Disabled)), ..EventData::default() },
        E::EndpointGone => EventData { endpoint: Some(endpoint(EndpointStatus::Gone)), ..EventData::default() },
        E::IntegrationDisconnected => EventData {
            endpoint: Some(endpoint(EndpointStatus::Gone)),
            integration: Some(IntegrationRef { name: "zapier".into(), endpoint_id: id(8), status: EndpointStatus::Gone }),
            ..EventData::default()
        },
        // A bit of everything, so that a receiver can be set up with it.
        E::EndpointTested => {
            EventData { endpoint: Some(endpoint(EndpointStatus::Active)), conversion: Some(conversion(true)), ..about_reward(RewardState::Due) }
        }
    }
}
