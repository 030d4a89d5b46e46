//! Bodies as Referral Factory sends them. It publishes no schema for them; what is known is that they carry
//! the user's fields on the first level, under the names of its API, and the referrer beside the lead
//! (`docs/moving-from-referral-factory.md`).

use crate::engine::{event::EventType, feed::Event};
use goodword_core::{campaign::CampaignSettings, ids::RewardDefinitionId, time::Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The ten ways to share, in the order of the vendor's documentation.
pub const SOCIALS: [&str; 10] = ["sms", "lineme", "email", "wechat", "twitter", "facebook", "linkedin", "telegram", "whatsapp", "messenger"];
/// The field of a person's family name, which is no field of a campaign with us.
pub const LAST_NAME: &str = "Last Name";

/// What is read beside an event to write it in this shape: its people are named by numbers there.
pub struct Beside<'a> {
    /// Where the world reaches this server.
    pub public_url: &'a str,
    /// The campaign's number and settings, while it is there.
    pub campaign: Option<(i64, &'a CampaignSettings)>,
    /// Numbers of reward definitions.
    pub definitions: &'a HashMap<RewardDefinitionId, i64>,
}

impl<'a> Beside<'a> {
    /// Nothing is known beside the event.
    pub fn none(public_url: &'a str) -> Self {
        static NOTHING: std::sync::LazyLock<HashMap<RewardDefinitionId, i64>> = std::sync::LazyLock::new(HashMap::new);
        Self { public_url, campaign: None, definitions: &NOTHING }
    }
}

/// What of an event goes into a body.
#[derive(Deserialize)]
struct Data {
    referrer: Option<Person>,
    lead: Option<Person>,
    reward: Option<Reward>,
}

#[derive(Deserialize)]
struct Person {
    number: i64,
    email: String,
    first_name: String,
    last_name: String,
    fields: Map<String, Value>,
    source: String,
    code: String,
    created_at: Timestamp,
    #[serde(default)]
    qualified_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Reward {
    number: i64,
    definition_id: RewardDefinitionId,
    name: String,
    state: String,
    beneficiary: Beneficiary,
    kind: String,
    amount: Option<Amount>,
    units: Option<i64>,
    coupon: Option<String>,
    issued_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Beneficiary {
    referrer_id: Option<Value>,
}

#[derive(Deserialize)]
struct Amount {
    amount: String,
    currency: String,
}

/// The body of an event: the user that it is about, or the reward with the user who gets it.
pub fn body(event: &Event, beside: &Beside<'_>) -> serde_json::Result<Map<String, Value>> {
    let data: Data = serde_json::from_str(event.data.get())?;
    let mut body = Map::new();
    body.insert("event".into(), word(event.kind).into());
    body.insert("event_id".into(), event.id.to_string().into());
    if let Some(reward) = &data.reward {
        let is_referrers = reward.beneficiary.referrer_id.is_some();
        let recipient = if is_referrers { data.referrer.as_ref() } else { data.lead.as_ref() };
        if let Some(recipient) = recipient {
            body.extend(user(recipient, !is_referrers, &data, beside));
        }
        body.extend(reward_of(reward, recipient, beside));
    } else if let Some(person) = data.lead.as_ref().or(data.referrer.as_ref()) {
        body.extend(user(person, data.lead.is_some(), &data, beside));
    }
    if let Some(referrer) = data.referrer.as_ref().filter(|_| data.lead.is_some()) {
        body.extend([
            ("referrer_first_name".to_owned(), referrer.first_name.as_str().into()),
            ("referrer_email".to_owned(), referrer.email.as_str().into()),
            ("referrer_code".to_owned(), referrer.code.as_str().into()),
            ("referrer".to_owned(), user(referrer, false, &data, beside).into()),
        ]);
    }
    Ok(body)
}

/// The vendor's word for an event, where it has one.
const fn word(kind: EventType) -> &'static str {
    match kind {
        EventType::ReferrerCreated | EventType::LeadCreated => "user.join",
        EventType::LeadQualified => "user.qualified",
        EventType::RewardIssuing | EventType::RewardIssued => "reward_issued",
        other => other.as_str(),
    }
}

/// A user, as the vendor's API shows one.
fn user(person: &Person, is_lead: bool, data: &Data, beside: &Beside<'_>) -> Map<String, Value> {
    let url = format!("{}/{}", beside.public_url, person.code);
    let socials: Vec<Value> = SOCIALS.iter().map(|social| json!({"social": social, "url": format!("{url}/socials/{social}")})).collect();
    let user = json!({
        "id": person.number,
        "campaign_id": beside.campaign.map(|(number, _)| number),
        "referrer_id": data.referrer.as_ref().filter(|_| is_lead).map(|referrer| referrer.number),
        "first_name": person.first_name,
        "email": person.email,
        "code": person.code,
        "source": source(&person.source),
        "type": if is_lead { "person_invited" } else { "person_referring" },
        "url": url,
        "qr": {"src": format!("{url}/qr-code"), "download": format!("{url}/download-qr-code")},
        "signed_up_at": person.created_at.date(),
        "qualified_at": person.qualified_at.map(Timestamp::date),
        "meta": meta(&person.last_name, &person.fields, beside.campaign.map(|(_, settings)| settings)),
        "sharing": {"socials": socials, "subject": null, "text": beside.campaign.and_then(|(_, settings)| settings.words.share.clone())},
    });
    match user {
        Value::Object(user) => user,
        _ => Map::new(),
    }
}

/// A reward, in the place of its user's id: `id` is the reward's, `recipient_id` the user's.
fn reward_of(reward: &Reward, recipient: Option<&Person>, beside: &Beside<'_>) -> Map<String, Value> {
    let metric = if reward.kind == "fixed" { "amount" } else { &reward.kind };
    let reward = json!({
        "id": reward.number,
        "reward_id": beside.definitions.get(&reward.definition_id),
        "reward_name": reward.name,
        "recipient_id": recipient.map(|person| person.number),
        "metric": metric,
        "status": reward.state,
        "issued_at": reward.issued_at.map(Timestamp::date),
        "count": 1,
        "total": reward.amount.as_ref().map(|amount| amount.amount.clone()).or_else(|| reward.units.map(|units| units.to_string())),
        "currency": reward.amount.as_ref().map(|amount| amount.currency.clone()),
        "coupon": reward.coupon,
    });
    match reward {
        Value::Object(reward) => reward,
        _ => Map::new(),
    }
}

/// Fields by their labels. The family name is one of them, where there is one.
pub fn meta(last_name: &str, fields: &Map<String, Value>, settings: Option<&CampaignSettings>) -> Vec<Value> {
    let label = |key: &str| {
        let known = settings.into_iter().flat_map(|settings| settings.lead_fields.iter().chain(&settings.referrer_fields));
        known.into_iter().find(|field| field.key == key).map_or(key, |field| field.label.as_str()).to_owned()
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let last_name = (!last_name.is_empty()).then(|| json!({"field": LAST_NAME, "value": last_name}));
    last_name.into_iter().chain(fields.iter().map(|(key, value)| json!({"field": label(key), "value": text(value)}))).collect()
}

/// Where somebody came from, in the vendor's words: `Direct`, `Referred`, `Api`, `N8n`.
pub fn source(word: &str) -> String {
    match word {
        "cli" | "import" | "csv" => "Added".to_owned(),
        word => {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}

/// Our words for one of the vendor's.
pub fn sources_of(word: &str) -> Vec<String> {
    let own = word.to_lowercase();
    let more: &[&str] = if own == "added" { &["cli", "import", "csv"] } else { &[] };
    more.iter().map(|word| (*word).to_owned()).chain([own.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_the_vendors_words() {
        for (ours, theirs) in [("direct", "Direct"), ("referred", "Referred"), ("api", "Api"), ("n8n", "N8n"), ("import", "Added"), ("", "")] {
            assert_eq!(source(ours), theirs);
            assert!(theirs.is_empty() || sources_of(theirs).iter().any(|word| word == ours));
        }
    }
}
