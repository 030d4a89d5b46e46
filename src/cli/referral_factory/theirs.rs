//! What the vendor's API and exports tell, read generously: numbers may be texts, times may lack an offset,
//! and what is not there is not there.

use goodword_core::{campaign::CampaignStatus, reward::RewardState, time::Timestamp};
use serde_json::Value;

pub struct TheirCampaign {
    pub id: i64,
    pub name: String,
    pub code: String,
    pub language: String,
    pub status: CampaignStatus,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub referrer_fields: Vec<TheirField>,
    pub lead_fields: Vec<TheirField>,
}

pub struct TheirField {
    pub label: String,
    pub options: Vec<String>,
    pub required: bool,
}

/// How the referrer of a user is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TheirReferrer {
    Id(i64),
    Code(String),
    Email(String),
}

#[derive(Debug, Clone)]
pub struct TheirUser {
    pub id: Option<i64>,
    pub campaign_id: Option<i64>,
    pub referrer: Option<TheirReferrer>,
    pub code: Option<String>,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub source: String,
    pub ip: Option<String>,
    pub signed_up_at: Option<Timestamp>,
    /// Whether they are qualified, and since when where that is known.
    pub qualified: bool,
    pub qualified_at: Option<Timestamp>,
    pub unsubscribed_at: Option<Timestamp>,
    /// Labels and values.
    pub meta: Vec<(String, String)>,
}

impl TheirUser {
    /// For the report.
    pub fn label(&self) -> String {
        match self.id {
            Some(id) => format!("user {id} ({})", self.email),
            None => self.email.clone(),
        }
    }
}

/// What a reward definition promises, as version 1 tells it.
pub struct TheirDefinition {
    pub id: i64,
    pub campaign_id: i64,
    pub name: String,
    pub for_lead: bool,
    pub metric: String,
    pub value: String,
    pub joined: bool,
}

/// A due or an issued reward.
#[derive(Debug, Clone)]
pub struct TheirReward {
    pub id: i64,
    pub definition: i64,
    pub recipient: i64,
    pub metric: &'static str,
    pub state: RewardState,
    pub total: String,
    pub coupon: Option<String>,
    pub issued_at: Option<Timestamp>,
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

pub fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A time with or without an offset, or a date.
pub fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let joined = text.replacen(' ', "T", 1);
    [text.to_owned(), joined.clone(), format!("{joined}Z"), format!("{joined}:00Z"), text.replace('/', "-")].iter().find_map(|text| text.parse().ok())
}

fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(time)
}

/// Yes and no in the words of exports.
pub fn is_yes(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "y" | "qualified" | "converted")
}

impl TheirCampaign {
    pub fn read(value: &Value) -> Option<Self> {
        let fields = |role: &str| value["fields"][role].as_array().into_iter().flatten().filter_map(TheirField::read).collect();
        Some(Self {
            id: number(&value["id"])?,
            name: text(&value["name"])?,
            code: text(&value["code"]).unwrap_or_default(),
            language: text(&value["lang"]).unwrap_or_default(),
            status: match text(&value["status"]).as_deref() {
                Some("launched" | "live") => CampaignStatus::Live,
                Some("draft") => CampaignStatus::Draft,
                _ => CampaignStatus::Paused,
            },
            starts_at: time_of(&value["starts_at"]),
            ends_at: time_of(&value["ends_at"]),
            created_at: time_of(&value["created_at"]),
            referrer_fields: fields("person_referring"),
            lead_fields: fields("person_invited"),
        })
    }
}

impl TheirField {
    fn read(value: &Value) -> Option<Self> {
        let options = match &value["value"] {
            Value::Array(items) => items.iter().filter_map(text).collect(),
            Value::Object(members) => members.values().filter_map(text).collect(),
            Value::String(list) => list.split([',', '\n', ';', '|']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let is_select = value["type"] == "select";
        Some(Self { label: text(&value["label"])?, options: if is_select { options } else { Vec::new() }, required: value["required"] == true })
    }
}

impl TheirUser {
    pub fn read(value: &Value) -> Option<Self> {
        let meta = value["meta"].as_array().into_iter().flatten().filter_map(|item| Some((text(&item["field"])?, text(&item["value"])?)));
        let qualified_at = time_of(&value["qualified_at"]);
        Some(Self {
            id: Some(number(&value["id"])?),
            campaign_id: number(&value["campaign_id"]),
            referrer: number(&value["referrer_id"]).map(TheirReferrer::Id),
            code: text(&value["code"]),
            first_name: text(&value["first_name"]).unwrap_or_default(),
            last_name: text(&value["last_name"]).unwrap_or_default(),
            email: text(&value["email"]).unwrap_or_default(),
            source: text(&value["source"]).unwrap_or_default(),
            ip: text(&value["ip"]),
            signed_up_at: time_of(&value["signed_up_at"]).or_else(|| time_of(&value["date"])),
            qualified: qualified_at.is_some() || value["qualified"] == true,
            qualified_at,
            unsubscribed_at: time_of(&value["unsubscribed_at"]),
            meta: meta.collect(),
        })
    }
}

impl TheirDefinition {
    pub fn read(value: &Value) -> Option<Self> {
        let word = |name: &str| text(&value[name]).unwrap_or_default().to_lowercase();
        let (recipient, when) = (word("reward_for"), word("when_referral"));
        Some(Self {
            id: number(&value["id"])?,
            campaign_id: number(&value["campaign_id"])?,
            name: text(&value["name"]).unwrap_or_default(),
            for_lead: ["invited", "lead", "referred", "friend"].iter().any(|word| recipient.contains(word)),
            metric: word("type"),
            value: text(&value["value"]).unwrap_or_default(),
            joined: ["join", "sign", "regist"].iter().any(|word| when.contains(word)),
        })
    }
}

impl TheirReward {
    pub fn read(value: &Value, metric: &'static str, issued: bool) -> Option<Self> {
        let status = text(&value["status"]).unwrap_or_default().to_lowercase();
        Some(Self {
            id: number(&value["id"])?,
            definition: number(&value["reward_id"])?,
            recipient: number(&value["recipient_id"])?,
            metric,
            state: match (issued, status.contains("fail")) {
                (false, _) => RewardState::Approved,
                (true, true) => RewardState::Failed,
                (true, false) => RewardState::Issued,
            },
            total: text(&value["total"]).unwrap_or_default(),
            coupon: text(&value["coupon"]).or_else(|| text(&value["coupon"]["code"])),
            issued_at: time_of(&value["issued_at"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_read_as_they_come() {
        for text in ["2024-12-27", "2024-12-27 00:00:00", "2024-12-27T00:00", "2024-12-27T00:00:00.000000Z", "2024/12/27"] {
            assert_eq!(time(text).map(|at| at.date()), Some("2024-12-27".to_owned()), "{text}");
        }
        assert_eq!(time("27.12.2024"), None);
    }

    #[test]
    fn the_documented_user_is_read() {
        let user = json!({ "id":"123","campaign_id":1,"referrer_id":7,"first_name":"John","email":"john@example.com","code":"ueONFmUp","source":"Direct","type":"person_referring",
            "signed_up_at":"2024-12-27","qualified_at":null,"meta":[{"field":"Country","value":"Netherlands"},{"field":"Empty","value":null}] });
        let user = TheirUser::read(&user).unwrap();
        assert_eq!((user.id, user.referrer, user.meta.len(), user.qualified), (Some(123), Some(TheirReferrer::Id(7)), 1, false));
        assert!(TheirUser::read(&json!({"first_name": "no id"})).is_none());
    }
}
