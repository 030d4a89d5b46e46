//! From what somebody else sends to a conversion: where in the payload each value is.

use crate::{
    Invalid,
    campaign::ConversionKind,
    money::{Currency, DecimalMark, Money, joined},
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
    /// (`/customer/email`, RFC 6901). In a list, `*` is the first item that holds something
    /// at the rest of the path (`answers.*.email`), and `answers[field.ref=mail].email` the
    /// one with that text at that place. Several places with `|` between: the first that
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
    /// In decimals: `12.50`, and texts as people write them: `1.299,50 €`, `$1,299.50`.
    #[serde(default)]
    pub amount: Option<Place>,
    /// The decimal mark of amounts that are texts. Needed where they may mean two amounts:
    /// `1.299`.
    #[serde(default)]
    pub decimal: Option<DecimalMark>,
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

    /// The same, unless it says that it has yet to happen.
    pub fn happened_by(self, now: Timestamp) -> Result<Self, (&'static str, Invalid)> {
        match self.occurred_at.map(|at| at.happened_by(now)) {
            Some(Err(invalid)) => Err(("occurred_at", invalid)),
            _ => Ok(self),
        }
    }
}

impl Place {
    fn of<'a>(&'a self, payload: &'a Value) -> Option<std::borrow::Cow<'a, Value>> {
        match self {
            Place::Value(text) => Some(std::borrow::Cow::Owned(Value::String(text.clone()))),
            Place::Path(paths) => paths.split('|').find_map(|path| lookup(payload, path.trim())).map(std::borrow::Cow::Borrowed),
        }
    }

    fn text(&self, payload: &Value) -> Option<String> {
        as_text(&*self.of(payload)?)
    }
}

/// A part of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step<'a> {
    /// A member of an object, or the number of an item.
    Name(&'a str),
    /// `*`: any item of a list.
    Any,
    /// `[field.ref=mail]`: the items of a list that have this text at that place.
    Where { place: &'a str, text: &'a str },
}

/// Reads a path with dots. What other languages of paths have and this one has not is refused with what to
/// write instead, so that it is not taken for a name that never comes.
fn steps(path: &str) -> Result<Vec<Step<'_>>, Invalid> {
    let refused = |expected: &str| Err(Invalid::new(format!("{expected}, not {path:?}")));
    if path == "$" || path.starts_with("$.") || path.starts_with("$[") || path.starts_with('.') {
        return refused("a path that begins with a name, like customer.email");
    }
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let name = &rest[..rest.find(['.', '[']).unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        match name {
            "*" => steps.push(Step::Any),
            // A list of lists, or a list that is the whole payload.
            "" if rest.starts_with('[') => {}
            "" if rest.starts_with('.') => return refused("one dot between names; a member without a name as a JSON pointer"),
            _ if name.contains('*') => return refused("* alone for any item of a list, as in answers.*.email; a name with an asterisk as a JSON pointer"),
            _ => steps.push(Step::Name(name)),
        }
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((condition, after)) = inner.split_once(']') else { return refused("a ] after [") };
            match condition.split_once('=').map(|(place, text)| (place.trim(), text.trim())) {
                Some((place, text)) if is_plain(place) && !text.is_empty() && !text.starts_with(['=', '"', '\'']) => steps.push(Step::Where { place, text }),
                Some(_) => return refused("answers[field.ref=mail]: a plain path, = and the text itself between [ and ]"),
                None => {
                    return refused(
                        "answers.0 for an item by its number, answers.* for any, answers[field.ref=mail] for one by what it has; a name with brackets as a JSON pointer",
                    );
                }
            }
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(steps),
            None => return refused("a dot, or nothing, after ]"),
        }
    }
}

/// Names with dots between, and nothing else.
fn is_plain(path: &str) -> bool {
    path.split('.').all(|name| !name.is_empty() && !name.contains(['[', '*', '!', '<', '>', '~']))
}

fn check_path(paths: &str) -> Result<(), Invalid> {
    if paths.is_empty() || paths.len() > PATH_LEN_MAX {
        return Err(Invalid::new(format!("a path of 1 to {PATH_LEN_MAX} characters")));
    }
    for path in paths.split('|').map(str::trim) {
        match path.strip_prefix('/') {
            _ if path.is_empty() => return Err(Invalid::new("a path before and after each |")),
            // RFC 6901: ~0 and ~1 are all that is escaped.
            Some(pointer) if pointer.replace("~0", "").replace("~1", "").contains('~') => {
                return Err(Invalid::new(format!("~0 for ~ and ~1 for / in a JSON pointer, not {path:?}")));
            }
            Some(pointer) if pointer.split('/').any(|name| name == "*") => {
                return Err(Invalid::new(format!("a path with dots where * is any item, as in answers.*.email, not {path:?}")));
            }
            Some(_) => {}
            None => drop(steps(path)?),
        }
    }
    Ok(())
}

/// The value at a place; nothing where it is null or an empty text.
fn lookup<'a>(payload: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() || path.starts_with('/') {
        return payload.pointer(path).filter(|value| holds_something(value));
    }
    // A form's names may have dots themselves.
    match payload.get(path) {
        Some(value) => Some(value).filter(|value| holds_something(value)),
        None => follow(payload, &steps(path).ok()?),
    }
}

fn holds_something(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

fn follow<'a>(value: &'a Value, steps: &[Step<'_>]) -> Option<&'a Value> {
    let [step, rest @ ..] = steps else { return Some(value).filter(|value| holds_something(value)) };
    match (step, value) {
        (Step::Name(name), Value::Array(items)) => follow(items.get(name.parse::<usize>().ok()?)?, rest),
        (Step::Name(name), other) => follow(other.get(name)?, rest),
        (Step::Any, Value::Array(items)) => items.iter().find_map(|item| follow(item, rest)),
        (Step::Where { place, text }, Value::Array(items)) => {
            items.iter().filter(|item| lookup(item, place).and_then(as_text).as_deref() == Some(text)).find_map(|item| follow(item, rest))
        }
        _ => None,
    }
}

/// A value as text; numbers and booleans in their JSON form.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

impl Mapping {
    /// Whether it can find anything. The field is a JSON pointer.
    pub fn validate(&self) -> Result<(), (&'static str, Invalid)> {
        if self.email.is_none() && self.code.is_none() && self.coupon.is_none() && self.lead_external_id.is_none() {
            return Err(("/mapping", Invalid::new("a place for email, code, coupon or lead_external_id, to find the lead")));
        }
        for (field, from) in self.fields() {
            if let Place::Path(path) = from {
                check_path(path).map_err(|invalid| (field, invalid))?;
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
        let amount = self.amount.as_ref().and_then(|from| from.of(payload)).and_then(|value| Some((value.is_number(), as_text(&value)?)));
        let minor = text(&self.amount_minor);
        let minor = minor.map(|text| text.parse::<i64>().map_err(|_| ("amount_minor", Invalid::new("a whole number of minor units")))).transpose()?;
        let money = match (currency, amount.is_some() || minor.is_some()) {
            (_, false) => None,
            (None, true) => return Err(("currency", Invalid::new("the currency of the amount: map it, or set it to a value"))),
            (Some(currency), true) => amount
                .map(|(is_number, text)| if is_number { Money::parse(&text, currency) } else { Money::read(&text, currency, self.decimal) })
                .transpose()
                .and_then(|amount| joined(minor, amount, currency))
                .map_err(|invalid| ("amount", invalid))?,
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
    use proptest::prelude::*;
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

    /// What a path finds, and that it may be stored.
    fn found(payload: &Value, path: &str) -> Option<String> {
        check_path(path).unwrap_or_else(|invalid| panic!("{path}: {}", invalid.expected));
        Place::Path(path.to_owned()).text(payload)
    }

    #[test]
    fn an_item_of_a_list_is_found_by_what_it_holds() {
        // Typeform leaves out what was not answered.
        let typeform = json!({"answers": [
            {"type": "text", "text": "Maya", "field": {"ref": "name", "n": 1}},
            {"type": "email", "email": "", "field": {"ref": "other"}},
            {"type": "email", "email": "work@example.com", "field": {"ref": "work", "n": 3}},
            {"type": "email", "email": "home@example.com", "field": {"ref": "home", "n": 4}},
            {"type": "choices", "choices": {"labels": ["pro"]}, "field": {"ref": "work"}},
        ]});
        for (path, holds) in [
            ("answers.*.email", Some("work@example.com")),
            ("answers[field.ref=home].email", Some("home@example.com")),
            ("answers[ field.ref = home ].email", Some("home@example.com")),
            ("answers[field.n=4].email", Some("home@example.com")),
            ("answers[field.ref=away].email | answers.*.email", Some("work@example.com")),
            // The first with that text may not be the one that has it.
            ("answers[field.ref=work].choices.labels.0", Some("pro")),
            ("answers.*.choices.labels.*", Some("pro")),
            ("answers.*.field.ref", Some("name")),
            ("answers.*.phone", None),
            ("answers[field.ref=away].email", None),
            ("answers.*", None),
            ("*.email", None),
        ] {
            assert_eq!(found(&typeform, path).as_deref(), holds, "{path}");
        }
        let list = &typeform["answers"];
        assert_eq!(found(list, "*.email").as_deref(), Some("work@example.com"));
        assert_eq!(found(list, "[field.ref=home].email").as_deref(), Some("home@example.com"));
        // A form's own names are names first.
        assert_eq!(found(&json!({"answers.*.email": "form@example.com"}), "answers.*.email").as_deref(), Some("form@example.com"));
        assert_eq!(found(&json!({"boxes": ["", "b"]}), "boxes.*").as_deref(), Some("b"));
        let pricing = json!({"attributes": [{"name": "price (net)", "value": 1}, {"name": "a.b", "value": 2}]});
        assert_eq!(found(&pricing, "attributes[name=price (net)].value").as_deref(), Some("1"));
        assert_eq!(found(&pricing, "attributes[name=a.b].value").as_deref(), Some("2"));
    }

    #[test]
    fn a_path_that_would_never_find_anything_is_refused_with_what_to_write() {
        for (path, said) in [
            ("answers[0].email", "answers.0 for an item by its number"),
            ("answers[*].email", "answers.* for any"),
            ("answers[].email", "answers.* for any"),
            ("answers[?(@.type=='email')].email", "a plain path, = and the text itself"),
            ("answers[type=\"email\"].email", "a plain path, = and the text itself"),
            ("answers[type==email].email", "a plain path, = and the text itself"),
            ("answers[type!=email].email", "a plain path, = and the text itself"),
            ("answers[*.type=email].email", "a plain path, = and the text itself"),
            ("answers[=email].email", "a plain path, = and the text itself"),
            ("answers[type=].email", "a plain path, = and the text itself"),
            ("answers[type=email.email", "a ] after ["),
            ("answers[type=email]email", "a dot, or nothing, after ]"),
            ("answers[type=email][n=1]", "a dot, or nothing, after ]"),
            ("answers[type=a|b].email", "a ] after ["),
            ("answers.**.email", "* alone for any item"),
            ("answers.q*.email", "* alone for any item"),
            ("answers..email", "one dot between names"),
            ("$.answers", "begins with a name"),
            (".answers", "begins with a name"),
            ("/answers/*/email", "a path with dots where * is any item"),
            ("/a~2b", "~0 for ~ and ~1 for /"),
            ("email |", "before and after each |"),
            ("", "1 to 300 characters"),
        ] {
            let mapping: Mapping = serde_json::from_value(json!({"email": {"path": path}})).unwrap();
            let (field, invalid) = mapping.validate().unwrap_err();
            assert!(field == "/mapping/email" && invalid.expected.contains(said), "{path}: {}", invalid.expected);
        }
    }

    #[test]
    fn an_amount_is_read_as_its_sender_writes_it() {
        let read = |total: Value, decimal: Value| {
            let sound = mapping(json!({"email": {"value": "a@example.com"}, "amount": {"path": "total"}, "currency": {"value": "EUR"}, "decimal": decimal}));
            sound
                .apply(&json!({"total": total}))
                .map(|mapped| mapped.amount.unwrap().decimal())
                .map_err(|(field, invalid)| format!("{field}: {}", invalid.expected))
        };
        assert_eq!(read(json!("1.299,50 €"), json!(null)).unwrap(), "1299.50");
        assert_eq!(read(json!("1.299"), json!(",")).unwrap(), "1299.00");
        let why = read(json!("1.299"), json!(null)).unwrap_err();
        assert!(why.starts_with("amount: ") && why.contains("`decimal`"), "{why}");
        // JSON's own numbers have a point, whatever the texts beside them have.
        assert_eq!(read(json!(12.5), json!(",")).unwrap(), "12.50");
        assert!(read(json!(1.299), json!(null)).unwrap_err().contains("at most 2 decimals"));
        assert!(serde_json::from_value::<Mapping>(json!({"decimal": ";"})).is_err());
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

    proptest! {
        #[test]
        fn a_path_that_is_refused_would_have_found_nothing(path in "[a-c.*\\[\\]=|/~ ]{0,12}", depth in 0usize..4) {
            let mut payload = json!("found");
            for name in ["a", "b", "c", "a"].iter().take(depth) {
                payload = json!({ *name: [payload] });
            }
            let place = Place::Path(path.clone());
            if check_path(&path).is_err() {
                prop_assert!(place.text(&payload).is_none() || path.contains('|') || path.trim().is_empty(), "{} was refused", path);
            }
        }
    }
}
