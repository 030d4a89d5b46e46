//! From what somebody else sends to a conversion: where in the payload each value is.

use crate::{
    Invalid,
    campaign::ConversionKind,
    money::{Currency, Decimal, Money, amount_from},
    text::{Code, Email, Line},
    time::{SECOND_MS, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// A place in the payload: `customer.email`, `items.0.sku`, or a JSON pointer
    /// (`/customer/email`, RFC 6901). Several places with `|` between: the first that
    /// holds something.
    Path(String),
    /// Always the same.
    Value(String),
}

const PATH_LEN_MAX: usize = 300;

/// Which value is found where. What names the lead is tried in this order: id of your
/// own, code, coupon, e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HookMapping)]
pub struct Mapping {
    #[serde(default)]
    pub email: Option<Place>,
    #[serde(default)]
    pub code: Option<Place>,
    #[serde(default)]
    pub coupon: Option<Place>,
    #[serde(default)]
    pub lead_external_id: Option<Place>,
    /// The event's own id: told twice, it counts once. Without it, the payload itself
    /// is the id: the same bytes count once.
    #[serde(default)]
    pub external_id: Option<Place>,
    #[serde(default)]
    pub kind: Option<Place>,
    /// In decimals: `12.50`.
    #[serde(default)]
    pub amount: Option<Place>,
    /// In minor units: `1250`.
    #[serde(default)]
    pub amount_minor: Option<Place>,
    #[serde(default)]
    pub currency: Option<Place>,
    #[serde(default)]
    pub goal: Option<Place>,
    /// RFC 3339, or seconds or milliseconds since 1970.
    #[serde(default)]
    pub occurred_at: Option<Place>,
    /// The part of the payload that conditions see as `properties`; all of it where absent.
    #[serde(default)]
    pub properties: Option<Place>,
}

/// What a mapping found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Mapped {
    #[schema(value_type = Option<String>)]
    pub email: Option<Email>,
    #[schema(value_type = Option<String>)]
    pub code: Option<Code>,
    pub coupon: Option<String>,
    pub lead_external_id: Option<String>,
    pub external_id: Option<String>,
    pub kind: ConversionKind,
    pub amount: Option<Money>,
    pub goal: Option<String>,
    pub occurred_at: Option<Timestamp>,
    #[schema(value_type = Object)]
    pub properties: Value,
}

impl Mapped {
    pub fn names_a_lead(&self) -> bool {
        self.lead_external_id.is_some() || self.code.is_some() || self.coupon.is_some() || self.email.is_some()
    }
}

impl Place {
    fn of<'a>(&'a self, payload: &'a Value) -> Option<std::borrow::Cow<'a, Value>> {
        match self {
            Place::Value(text) => Some(std::borrow::Cow::Owned(Value::String(text.clone()))),
            Place::Path(paths) => paths.split('|').find_map(|path| lookup(payload, path.trim())).map(std::borrow::Cow::Borrowed),
        }
    }

    /// The value as text; numbers and booleans in their JSON form.
    fn text(&self, payload: &Value) -> Option<String> {
        match &*self.of(payload)? {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
        .filter(|text| !text.is_empty())
    }
}

/// The value at a place; nothing where it is null or an empty text.
fn lookup<'a>(payload: &'a Value, path: &str) -> Option<&'a Value> {
    let found = if path.is_empty() || path.starts_with('/') {
        payload.pointer(path)
    } else {
        // A form's names may have dots themselves.
        payload.get(path).or_else(|| {
            path.split('.').try_fold(payload, |value, part| match value {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                other => other.get(part),
            })
        })
    };
    found.filter(|value| !value.is_null() && value.as_str() != Some(""))
}

impl Mapping {
    /// Whether it can find anything. The field is a JSON pointer.
    pub fn validate(&self) -> Result<(), (&'static str, Invalid)> {
        if self.email.is_none() && self.code.is_none() && self.coupon.is_none() && self.lead_external_id.is_none() {
            return Err(("/mapping", Invalid::new("a place for email, code, coupon or lead_external_id, to find the lead")));
        }
        for (field, from) in self.fields() {
            if let Place::Path(path) = from
                && (path.is_empty() || path.len() > PATH_LEN_MAX)
            {
                return Err((field, Invalid::new(format!("a path of 1 to {PATH_LEN_MAX} characters"))));
            }
        }
        Ok(())
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, &Place)> {
        [
            ("/mapping/email", &self.email),
            ("/mapping/code", &self.code),
            ("/mapping/coupon", &self.coupon),
            ("/mapping/lead_external_id", &self.lead_external_id),
            ("/mapping/external_id", &self.external_id),
            ("/mapping/kind", &self.kind),
            ("/mapping/amount", &self.amount),
            ("/mapping/amount_minor", &self.amount_minor),
            ("/mapping/currency", &self.currency),
            ("/mapping/goal", &self.goal),
            ("/mapping/occurred_at", &self.occurred_at),
            ("/mapping/properties", &self.properties),
        ]
        .into_iter()
        .filter_map(|(field, from)| Some((field, from.as_ref()?)))
    }

    /// Reads a payload. What is there but cannot be read is named; what is not there is absent.
    pub fn apply(&self, payload: &Value) -> Result<Mapped, (&'static str, Invalid)> {
        let text = |from: &Option<Place>| from.as_ref().and_then(|from| from.text(payload));
        fn parsed<T: std::str::FromStr<Err = Invalid>>(field: &'static str, text: Option<String>) -> Result<Option<T>, (&'static str, Invalid)> {
            text.map(|text| text.parse().map_err(|invalid| (field, invalid))).transpose()
        }
        let currency: Option<Currency> = parsed("currency", text(&self.currency))?;
        let amount = text(&self.amount).map(Decimal);
        let minor = text(&self.amount_minor);
        let minor = minor.map(|text| text.parse::<i64>().map_err(|_| ("amount_minor", Invalid::new("a whole number of minor units")))).transpose()?;
        let money = match (currency, amount.is_some() || minor.is_some()) {
            (_, false) => None,
            (None, true) => return Err(("currency", Invalid::new("the currency of the amount: map it, or set it to a value"))),
            (Some(currency), true) => amount_from(minor, amount.as_ref(), currency).map_err(|invalid| ("amount", invalid))?,
        };
        if money.is_some_and(|money| money.minor < 0) {
            return Err(("amount", Invalid::new("an amount of zero or more")));
        }
        let kind = match text(&self.kind) {
            None => ConversionKind::Order,
            Some(word) => ConversionKind::parse(&word.to_ascii_lowercase()).ok_or(("kind", Invalid::new("order, invoice, deal or custom")))?,
        };
        let goal: Option<Line> = parsed("goal", text(&self.goal))?;
        let properties = match &self.properties {
            None => Some(payload.clone()),
            Some(from) => from.of(payload).map(std::borrow::Cow::into_owned),
        };
        let properties = properties.filter(Value::is_object).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let id = |field: &'static str, from: &Option<Place>| match text(from) {
            Some(id) if id.chars().count() > 200 || id.chars().any(char::is_control) => Err((field, Invalid::new("1 to 200 characters"))),
            id => Ok(id),
        };
        Ok(Mapped {
            email: parsed("email", text(&self.email))?,
            code: parsed("code", text(&self.code))?,
            coupon: id("coupon", &self.coupon)?,
            lead_external_id: id("lead_external_id", &self.lead_external_id)?,
            external_id: id("external_id", &self.external_id)?,
            kind,
            amount: money,
            goal: goal.map(Line::into_string),
            occurred_at: text(&self.occurred_at).map(|text| instant(&text)).transpose().map_err(|invalid| ("occurred_at", invalid))?,
            properties,
        })
    }
}

/// RFC 3339, a date, or a number of seconds or milliseconds since 1970.
fn instant(text: &str) -> Result<Timestamp, Invalid> {
    match text.parse::<i64>() {
        // Seconds until the year 5138; as milliseconds that is 1973.
        Ok(number) if number.abs() < 100_000_000_000 => Ok(Timestamp::from_ms(number.saturating_mul(SECOND_MS))),
        Ok(number) => Ok(Timestamp::from_ms(number)),
        Err(_) => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping(value: Value) -> Mapping {
        let mapping: Mapping = serde_json::from_value(value).unwrap();
        mapping.validate().unwrap();
        mapping
    }

    #[test]
    fn values_are_found_in_nested_payloads_and_forms() {
        let shop = json!({"id": 1042, "customer": {"email": " Maya@example.com "}, "total": "46.00", "items": [{"sku": "A1"}], "created": 1_763_640_000});
        let mapped = mapping(json!({
            "email": {"path": "billing.email | customer.email"}, "external_id": {"path": "id"}, "amount": {"path": "/total"}, "currency": {"value": "eur"},
            "goal": {"path": "items.0.sku"}, "occurred_at": {"path": "created"},
        }))
        .apply(&shop)
        .unwrap();
        assert_eq!(mapped.email.unwrap().as_str(), "Maya@example.com");
        assert_eq!(mapped.external_id.as_deref(), Some("1042"));
        assert_eq!(mapped.amount.unwrap().to_string(), "46.00 EUR");
        assert_eq!(mapped.goal.as_deref(), Some("A1"));
        assert_eq!(mapped.occurred_at.unwrap().to_string(), "2025-11-20T12:00:00.000Z");
        assert_eq!(mapped.properties["items"][0]["sku"], "A1");
        let form = json!({"answers.email": "maya@example.com"});
        assert!(mapping(json!({"email": {"path": "answers.email"}})).apply(&form).unwrap().names_a_lead());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let sound = json!({"email": {"path": "email"}, "amount": {"path": "total"}, "currency": {"path": "currency"}});
        for (payload, field) in [
            (json!({"email": "nobody"}), "email"),
            (json!({"email": "a@example.com", "total": "1"}), "currency"),
            (json!({"email": "a@example.com", "total": "much", "currency": "EUR"}), "amount"),
            (json!({"email": "a@example.com", "total": "1", "currency": "euros"}), "currency"),
        ] {
            assert_eq!(mapping(sound.clone()).apply(&payload).unwrap_err().0, field, "{payload}");
        }
        assert!(!mapping(sound).apply(&json!({"other": 1})).unwrap().names_a_lead());
        assert!(serde_json::from_value::<Mapping>(json!({"amount": {"path": "x"}})).unwrap().validate().is_err());
    }
}
