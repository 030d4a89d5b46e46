//! A campaign's configuration. Every change makes a new version; every decision
//! names the version it used.

use crate::{
    Invalid,
    condition::Condition,
    ids::RewardDefinitionId,
    money::{Currency, Money},
    reward::{Review, RewardDefinition},
    text::{Line, WebUrl},
    time::{Period, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a campaign stands. `ended` is final, and comes by itself at `ends_at`; what is due
/// is still reviewed and issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    Draft,
    Live,
    Paused,
    Ended,
}

impl CampaignStatus {
    pub const ALL: [CampaignStatus; 4] = [CampaignStatus::Draft, CampaignStatus::Live, CampaignStatus::Paused, CampaignStatus::Ended];

    pub const fn as_str(self) -> &'static str {
        match self {
            CampaignStatus::Draft => "draft",
            CampaignStatus::Live => "live",
            CampaignStatus::Paused => "paused",
            CampaignStatus::Ended => "ended",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What a campaign is made of, beside its rewards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignSettings {
    pub name: Line,
    /// BCP 47 language tag of the public pages.
    #[serde(default = "english")]
    #[schema(pattern = "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", example = "en")]
    pub language: String,
    /// The currency that is offered where none is named.
    #[serde(default = "dollars")]
    pub currency: Currency,
    #[serde(default)]
    pub starts_at: Option<Timestamp>,
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    #[serde(default)]
    pub link: LinkSettings,
    /// What is asked of a lead beside first name and e-mail address.
    #[serde(default)]
    #[schema(max_items = 30)]
    pub lead_fields: Vec<Field>,
    /// What is asked of a referrer beside first name and e-mail address.
    #[serde(default)]
    #[schema(max_items = 30)]
    pub referrer_fields: Vec<Field>,
    #[serde(default)]
    pub attribution: Attribution,
    #[serde(default)]
    pub duplicates: Duplicates,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub budget: Option<Budget>,
    /// Whether rewards are reviewed, where their definition does not say.
    #[serde(default)]
    pub review: Review,
    #[serde(default)]
    pub after_refund: AfterRefund,
    #[serde(default)]
    pub rule: Rule,
    /// Whether people can enrol themselves at `/join/{campaign}`.
    #[serde(default = "yes")]
    pub open_enrolment: bool,
    #[serde(default)]
    pub words: Words,
}

fn english() -> String {
    "en".to_owned()
}
fn dollars() -> Currency {
    "USD".parse().expect("USD is a currency")
}
const fn yes() -> bool {
    true
}

/// Where a referral link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSettings {
    #[serde(default)]
    pub mode: LinkMode,
    /// The company's own page: where `direct` links lead, and where the hosted page
    /// leads after its form.
    #[serde(default)]
    pub destination: Option<WebUrl>,
    /// The query parameter that carries the code to the destination.
    #[serde(default = "reference")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,40}$", example = "ref")]
    pub parameter: String,
}

fn reference() -> String {
    "ref".to_owned()
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { mode: LinkMode::default(), destination: None, parameter: reference() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkMode {
    /// A landing page of ours that collects the lead.
    #[default]
    Hosted,
    /// Straight to the destination, with the code as a parameter.
    Direct,
}

/// A question on a form, and a typed value of a participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The name under which the value is kept.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,39}$", example = "company")]
    pub key: String,
    pub label: Line,
    #[serde(default)]
    pub kind: FieldKind,
    #[serde(default)]
    pub required: bool,
    /// What can be chosen, for `select`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub options: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    #[default]
    Text,
    Phone,
    Url,
    Number,
    Date,
    Select,
    Checkbox,
}

impl Field {
    /// The value in its canonical form, or what was expected.
    pub fn check(&self, value: &serde_json::Value) -> Result<serde_json::Value, Invalid> {
        use serde_json::Value;
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return Err(Invalid::new(format!("a text, number or boolean for {}", self.label))),
        };
        let expected = |what: &str| Err(Invalid::new(format!("{what} for {}", self.label)));
        if text.chars().count() > 1_000 || text.chars().any(|c| c.is_control() && c != '\n') {
            return expected("at most 1,000 characters");
        }
        match self.kind {
            FieldKind::Text => Ok(text.into()),
            FieldKind::Phone => {
                let digits = text.chars().filter(char::is_ascii_digit).count();
                let allowed = text.chars().all(|c| c.is_ascii_digit() || " +-()./x".contains(c));
                if allowed && (5..=20).contains(&digits) { Ok(text.into()) } else { expected("a phone number") }
            }
            FieldKind::Url => text.parse::<WebUrl>().map(|url| url.as_str().into()).or_else(|_| expected("a web address")),
            FieldKind::Number => match serde_json::from_str::<serde_json::Number>(&text) {
                Ok(number) => Ok(number.into()),
                Err(_) => expected("a number"),
            },
            FieldKind::Date => match text.parse::<Timestamp>() {
                Ok(at) if text.len() == 10 => Ok(at.date().into()),
                _ => expected("a date like 2026-11-20"),
            },
            FieldKind::Select => match self.options.iter().find(|option| option.as_str().eq_ignore_ascii_case(&text)) {
                Some(option) => Ok(option.as_str().into()),
                None => expected("one of the options"),
            },
            FieldKind::Checkbox => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => Ok(true.into()),
                "false" | "0" | "off" | "no" => Ok(false.into()),
                _ => expected("true or false"),
            },
        }
    }
}

/// Which link gets the lead when a visitor used several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    #[serde(default)]
    pub model: AttributionModel,
    /// A link counts for so many days after it was used.
    #[serde(default = "attribution_days")]
    #[schema(minimum = 1, maximum = 730)]
    pub window_days: u32,
}

const fn attribution_days() -> u32 {
    90
}

impl Default for Attribution {
    fn default() -> Self {
        Self { model: AttributionModel::default(), window_days: attribution_days() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributionModel {
    /// The first link used wins.
    #[default]
    First,
    /// The last link used before joining wins.
    Last,
}

/// When two addresses are one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// The same mailbox: dots and tags are ignored where the provider ignores them.
    #[default]
    SameMailbox,
    /// The same spelling, without regard to case. Self-referral is still refused by mailbox.
    SameAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// At most so many leads for one referrer.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub leads_per_referrer: Option<u32>,
}

/// At most so much in rewards per period. Rewards in other currencies, points and
/// coupons are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub amount: Money,
    #[serde(default = "ever")]
    pub period: Period,
}

const fn ever() -> Period {
    Period::Ever
}

/// What a refund does to a reward that was issued already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterRefund {
    /// A reversal entry is written; the beneficiary owes it.
    #[default]
    Reverse,
    /// The reward stays; the operator is told.
    Note,
}

/// When a lead is qualified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whether a person, a file or an API call may qualify a lead without a conversion.
    #[serde(default = "yes")]
    pub direct: bool,
    /// Kinds of conversion that count.
    #[serde(default = "every_kind")]
    pub conversions: Vec<ConversionKind>,
    /// What the lead's counted conversions must add up to.
    #[serde(default)]
    pub minimum_spend: Option<Money>,
    /// Conversions count for so many days after the lead joined.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3_650)]
    pub within_days: Option<u32>,
    /// What must be true of a conversion for it to count.
    #[serde(default)]
    pub condition: Option<Condition>,
    /// Goals that must be reached in this order (`goal` of the conversions).
    #[serde(default)]
    #[schema(max_items = 10)]
    pub goals: Vec<Line>,
}

fn every_kind() -> Vec<ConversionKind> {
    ConversionKind::ALL.to_vec()
}

impl Default for Rule {
    fn default() -> Self {
        Self { direct: true, conversions: every_kind(), minimum_spend: None, within_days: None, condition: None, goals: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversionKind {
    Order,
    Invoice,
    Deal,
    Custom,
}

impl ConversionKind {
    pub const ALL: [ConversionKind; 4] = [ConversionKind::Order, ConversionKind::Invoice, ConversionKind::Deal, ConversionKind::Custom];

    pub const fn as_str(self) -> &'static str {
        match self {
            ConversionKind::Order => "order",
            ConversionKind::Invoice => "invoice",
            ConversionKind::Deal => "deal",
            ConversionKind::Custom => "custom",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The words on the public pages. `{referrer}` and `{reward}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Headline of the landing page.
    #[serde(default)]
    pub headline: Option<Line>,
    #[serde(default)]
    #[schema(max_length = 2_000)]
    pub text: Option<String>,
    #[serde(default)]
    pub button: Option<Line>,
    /// What a lead reads after the form.
    #[serde(default)]
    #[schema(max_length = 2_000)]
    pub thanks: Option<String>,
    /// Headline of the sign-up page for referrers.
    #[serde(default)]
    pub join_headline: Option<Line>,
    /// The text that is offered for sharing.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub share: Option<String>,
    #[serde(default)]
    pub terms: Option<WebUrl>,
}

impl CampaignSettings {
    /// Whether its parts make sense together. The field is a JSON pointer.
    pub fn validate(&self) -> Result<(), (&'static str, Invalid)> {
        if let (Some(start), Some(end)) = (self.starts_at, self.ends_at)
            && end <= start
        {
            return Err(("/ends_at", Invalid::new("a time after starts_at")));
        }
        let tag = |text: &str| {
            text.len() <= 35
                && text.split('-').enumerate().all(|(i, part)| {
                    part.bytes().all(|b| b.is_ascii_alphanumeric()) && if i == 0 { (2..=3).contains(&part.len()) } else { (2..=8).contains(&part.len()) }
                })
        };
        if !tag(&self.language) {
            return Err(("/language", Invalid::new("a language tag like en or de-CH")));
        }
        if self.link.mode == LinkMode::Direct && self.link.destination.is_none() {
            return Err(("/link/destination", Invalid::new("the address that direct links lead to")));
        }
        let word = |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !word(&self.link.parameter, 40) {
            return Err(("/link/parameter", Invalid::new("1 to 40 letters, digits, hyphens or underscores")));
        }
        fields_are_sound(&self.lead_fields).map_err(|invalid| ("/lead_fields", invalid))?;
        fields_are_sound(&self.referrer_fields).map_err(|invalid| ("/referrer_fields", invalid))?;
        if !(1..=730).contains(&self.attribution.window_days) {
            return Err(("/attribution/window_days", Invalid::new("1 to 730 days")));
        }
        if self.limits.leads_per_referrer.is_some_and(|n| !(1..=1_000_000).contains(&n)) {
            return Err(("/limits/leads_per_referrer", Invalid::new("a number from 1 to 1,000,000")));
        }
        if self.budget.is_some_and(|budget| budget.amount.minor <= 0) {
            return Err(("/budget/amount", Invalid::new("an amount above zero")));
        }
        if self.rule.minimum_spend.is_some_and(|money| money.minor <= 0) {
            return Err(("/rule/minimum_spend", Invalid::new("an amount above zero")));
        }
        if self.rule.within_days.is_some_and(|days| !(1..=3_650).contains(&days)) {
            return Err(("/rule/within_days", Invalid::new("1 to 3,650 days")));
        }
        if self.rule.goals.len() > 10 {
            return Err(("/rule/goals", Invalid::new("at most 10 goals")));
        }
        if !self.rule.direct && self.rule.conversions.is_empty() {
            return Err(("/rule/conversions", Invalid::new("at least one kind, or direct qualification")));
        }
        let long = |text: &Option<String>, max: usize| text.as_ref().is_some_and(|text| text.chars().count() > max);
        if long(&self.words.text, 2_000) || long(&self.words.thanks, 2_000) {
            return Err(("/words", Invalid::new("texts of at most 2,000 characters")));
        }
        if long(&self.words.share, 500) {
            return Err(("/words/share", Invalid::new("at most 500 characters")));
        }
        Ok(())
    }
}

fn fields_are_sound(fields: &[Field]) -> Result<(), Invalid> {
    if fields.len() > 30 {
        return Err(Invalid::new("at most 30 fields"));
    }
    for (i, field) in fields.iter().enumerate() {
        let key = field.key.as_bytes();
        let well_formed =
            (1..=40).contains(&key.len()) && key[0].is_ascii_lowercase() && key.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !well_formed || ["email", "first_name", "last_name", "code"].contains(&field.key.as_str()) {
            return Err(Invalid::new("keys of lower-case letters, digits and underscores, other than email, first_name, last_name and code"));
        }
        if fields[..i].iter().any(|other| other.key == field.key) {
            return Err(Invalid::new(format!("each key once, but {} is there twice", field.key)));
        }
        if (field.kind == FieldKind::Select) == field.options.is_empty() || field.options.len() > 200 {
            return Err(Invalid::new(format!("1 to 200 options for a select and none for others ({})", field.key)));
        }
    }
    Ok(())
}

/// The whole configuration at one version: what a decision is made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub settings: CampaignSettings,
    pub rewards: Vec<RewardDefinition>,
}

impl Configuration {
    pub fn reward(&self, id: RewardDefinitionId) -> Option<&RewardDefinition> {
        self.rewards.iter().find(|definition| definition.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: serde_json::Value) -> CampaignSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_name_is_enough() {
        let campaign = settings(json!({"name": "Spring"}));
        assert_eq!(campaign.validate(), Ok(()));
        assert_eq!(serde_json::from_value::<CampaignSettings>(serde_json::to_value(&campaign).unwrap()).unwrap(), campaign);
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        for (value, field) in [
            (json!({"name": "x", "starts_at": "2026-02-01", "ends_at": "2026-01-01"}), "/ends_at"),
            (json!({"name": "x", "link": {"mode": "direct"}}), "/link/destination"),
            (json!({"name": "x", "language": "english please"}), "/language"),
            (json!({"name": "x", "lead_fields": [{"key": "a", "label": "A"}, {"key": "a", "label": "B"}]}), "/lead_fields"),
            (json!({"name": "x", "lead_fields": [{"key": "a", "label": "A", "kind": "select"}]}), "/lead_fields"),
            (json!({"name": "x", "rule": {"direct": false, "conversions": []}}), "/rule/conversions"),
            (json!({"name": "x", "budget": {"amount": {"amount_minor": 0, "currency": "EUR"}}}), "/budget/amount"),
        ] {
            assert_eq!(settings(value).validate().unwrap_err().0, field);
        }
        assert!(serde_json::from_value::<CampaignSettings>(json!({"name": "x", "colour": "red"})).is_err());
    }

    #[test]
    fn values_follow_their_field() {
        let field = |kind, options: &[&str]| Field {
            key: "f".into(),
            label: "F".parse().unwrap(),
            kind,
            required: false,
            options: options.iter().map(|o| o.parse().unwrap()).collect(),
        };
        assert_eq!(field(FieldKind::Number, &[]).check(&json!("12.5")).unwrap(), json!(12.5));
        assert_eq!(field(FieldKind::Select, &["Red", "Blue"]).check(&json!("blue")).unwrap(), json!("Blue"));
        assert_eq!(field(FieldKind::Checkbox, &[]).check(&json!("on")).unwrap(), json!(true));
        assert_eq!(field(FieldKind::Date, &[]).check(&json!("2026-11-20")).unwrap(), json!("2026-11-20"));
        assert!(field(FieldKind::Number, &[]).check(&json!("twelve")).is_err());
        assert!(field(FieldKind::Select, &["Red"]).check(&json!("green")).is_err());
        assert!(field(FieldKind::Phone, &[]).check(&json!("call me")).is_err());
        assert!(field(FieldKind::Text, &[]).check(&json!({"a": 1})).is_err());
    }
}
