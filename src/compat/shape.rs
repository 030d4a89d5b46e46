//! What things look like in this API (sections 1.2, 1.3 and 2.5), in both versions.

pub use crate::delivery::referral_factory::{LAST_NAME, SOCIALS, source};

use crate::delivery::referral_factory::meta;
use crate::engine::{
    Result, Shared, Space,
    campaign::{self, Campaign},
    number::{self, Numbered},
    participant::Participant,
    statistics::{self, Funnel, GroupBy},
};
use goodword_core::{
    campaign::{CampaignStatus, Field, FieldKind},
    decide::LeadStatus,
    ids::CampaignId,
    time::Timestamp,
};
use goodword_store::Tx;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Which version of the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What is read beside some people to show them.
pub struct People {
    version: Version,
    url: String,
    campaigns: HashMap<CampaignId, Campaign>,
    referrers: HashMap<uuid::Uuid, i64>,
    reach: HashMap<uuid::Uuid, i64>,
    /// The relations that were asked for.
    with: Vec<String>,
}

impl People {
    pub async fn load(tx: &mut Tx<'_>, shared: &Shared, space: Space, version: Version, with: &[String], rows: &[Participant]) -> Result<Self> {
        let mut campaigns = HashMap::new();
        for row in rows {
            if let std::collections::hash_map::Entry::Vacant(free) = campaigns.entry(row.campaign) {
                free.insert(campaign::get(tx, shared, space, row.campaign).await?);
            }
        }
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut referrers: Vec<_> = rows.iter().filter_map(|row| row.referrer_id).collect();
        referrers.sort_unstable();
        referrers.dedup();
        Ok(Self {
            version,
            url: shared.public_url.clone(),
            campaigns,
            referrers: number::of(tx, space, Numbered::Participant, &referrers).await?,
            reach: statistics::visits_of(tx, space, &ids).await?,
            with: with.to_vec(),
        })
    }

    /// One person alone.
    pub async fn one(tx: &mut Tx<'_>, shared: &Shared, space: Space, version: Version, with: &[String], person: &Participant) -> Result<Value> {
        Ok(Self::load(tx, shared, space, version, with, std::slice::from_ref(person)).await?.user(person))
    }

    pub fn user(&self, p: &Participant) -> Value {
        let campaign = self.campaigns.get(&p.campaign);
        let url = format!("{}/{}", self.url, p.code);
        let reach = self.reach.get(&p.id).copied().unwrap_or_default();
        let socials: Vec<Value> = SOCIALS.iter().map(|social| json!({"social": social, "url": format!("{url}/socials/{social}")})).collect();
        let mut user = json!({
            "id": p.number,
            "campaign_id": campaign.map(|campaign| campaign.number),
            "referrer_id": p.referrer_id.and_then(|id| self.referrers.get(&id)),
            "first_name": p.first_name,
            "email": p.email,
            "code": p.code,
            "reach": reach,
            "source": source(&p.source),
            "type": if p.lead_since.is_some() { "person_invited" } else { "person_referring" },
            "ip": p.ip,
            "url": url,
            "qr": {"src": format!("{url}/qr-code"), "download": format!("{url}/download-qr-code")},
            "signed_up_at": p.created_at.date(),
            "qualified_at": p.qualified_at.map(Timestamp::date),
            "unsubscribed_at": p.unsubscribed_at.map(Timestamp::date),
            "meta": meta(&p.last_name, &p.fields, campaign.map(Campaign::settings)),
        });
        match self.version {
            Version::V2 => {
                let text = campaign.and_then(|campaign| campaign.settings().words.share.clone());
                user["sharing"] = json!({"socials": socials, "subject": null, "text": text});
                if super::envelope::wants(&self.with, "user.analytics") {
                    user["analytics"] = json!({"reach": reach, "referrals": p.leads, "qualified_referrals": p.qualified_leads});
                }
            }
            Version::V1 => {
                user["sharing"] = json!(socials);
                user["qualified"] = json!(p.lead_status == Some(LeadStatus::Qualified));
                user["referrals_count"] = json!(p.leads);
                user["converted_referrals_count"] = json!(p.qualified_leads);
                user["date"] = user["signed_up_at"].clone();
                if super::envelope::wants(&self.with, "campaign") {
                    user["campaign"] = campaign.map_or(Value::Null, |campaign| campaign_shape(campaign, Version::V1, &self.url, 0, None));
                }
            }
        }
        user
    }
}

/// The key of the field that a label (or the key itself) names.
pub fn field_key<'a>(fields: &'a [Field], label: &str) -> Option<&'a str> {
    let same = |text: &str| text.eq_ignore_ascii_case(label.trim());
    fields.iter().find(|field| same(field.label.as_str()) || same(&field.key)).map(|field| field.key.as_str())
}

/// What a campaign has brought.
pub async fn funnels(tx: &mut Tx<'_>, space: Space) -> Result<HashMap<String, Funnel>> {
    let groups = statistics::groups(tx, space, &statistics::Scope::default(), GroupBy::Campaign).await?;
    Ok(groups.into_iter().map(|group| (group.key, group.funnel)).collect())
}

/// A campaign; `analytics` is how many people it has and what they brought, where that was asked for.
pub fn campaign_shape(campaign: &Campaign, version: Version, url: &str, reach: i64, analytics: Option<(i64, &Funnel)>) -> Value {
    let settings = campaign.settings();
    let mut shape = json!({
        "id": campaign.number,
        "name": settings.name,
        "code": campaign.code,
        "lang": settings.language,
        "url": format!("{url}/{}", campaign.code),
        "status": status(campaign.status),
        "starts_at": settings.starts_at.map(Timestamp::date),
        "ends_at": settings.ends_at.map(Timestamp::date),
        "created_at": campaign.created_at.date(),
        "fields": {"person_referring": fields(&settings.referrer_fields), "person_invited": fields(&settings.lead_fields)},
        "assets": {"logo": {"type": "square", "path": null}},
    });
    match version {
        Version::V2 => shape["reach"] = json!(reach.to_string()),
        Version::V1 => {
            shape["reach"] = json!(reach);
            shape["live"] = json!(campaign.status == CampaignStatus::Live);
            // Two clients of this version read two names.
            shape["start_at"] = shape["starts_at"].clone();
            shape["end"] = shape["ends_at"].clone();
        }
    }
    if let Some((users, funnel)) = analytics {
        shape["analytics"] = json!({"reach": reach, "users": users, "referrals": funnel.leads, "qualified_referrals": funnel.qualified});
    }
    shape
}

/// There is no word for a campaign that has ended: it is paused for ever.
pub const fn status(status: CampaignStatus) -> &'static str {
    match status {
        CampaignStatus::Live => "launched",
        CampaignStatus::Draft => "draft",
        CampaignStatus::Paused | CampaignStatus::Ended => "paused",
    }
}

fn fields(fields: &[Field]) -> Vec<Value> {
    let shape = |field: &Field| {
        let options = field.options.iter().map(|option| option.as_str()).collect::<Vec<_>>().join(",");
        let kind = if field.kind == FieldKind::Select { "select" } else { "input" };
        let mut shape = Map::new();
        for (name, value) in
            [("id", json!(field.key)), ("type", json!(kind)), ("label", json!(field.label)), ("value", json!(options)), ("required", json!(field.required))]
        {
            shape.insert(name.to_owned(), value);
        }
        Value::Object(shape)
    };
    fields.iter().map(shape).collect()
}
