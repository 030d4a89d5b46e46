//! How an event is written for a receiver.

use super::referral_factory::{self, Beside};
use crate::engine::{
    endpoint::{Layout, Method, Shape},
    feed::Event,
};
use bytes::Bytes;
use serde_json::{Map, Value};

/// The body of a delivery in the native shape: the bytes of `GET /v1/events/{id}`.
pub fn native(event: &Event) -> serde_json::Result<Bytes> {
    serde_json::to_vec(event).map(Bytes::from)
}

/// The body of a delivery in another shape; for a GET it is the parameters of the address.
pub fn shaped(shape: Shape, layout: Option<&Layout>, credentials: &[(String, String)], event: &Event, beside: &Beside<'_>) -> serde_json::Result<Bytes> {
    let everything = Layout::default();
    let layout = layout.unwrap_or(&everything);
    let whole = match shape {
        Shape::Native | Shape::Flat => flat(&serde_json::to_value(event)?),
        Shape::ReferralFactory => referral_factory::body(event, beside)?,
    };
    let mut body = match &layout.fields {
        None => whole,
        Some(fields) => {
            let mut known = flat(&Value::Object(whole.clone()));
            // Own fields of a campaign are chosen by their labels.
            for own in whole.get("meta").and_then(Value::as_array).into_iter().flatten() {
                if let Some(label) = own["field"].as_str() {
                    known.entry(label).or_insert_with(|| own["value"].clone());
                }
            }
            let field = |name: &str| known.get(name).cloned().unwrap_or_default();
            fields.iter().map(|chosen| (chosen.name.clone().unwrap_or_else(|| chosen.field.clone()), field(&chosen.field))).collect()
        }
    };
    // What the operator has set is said last, so that no field of an event can stand in its place.
    for (name, value) in layout.constants.iter().chain(credentials.iter().map(|(name, value)| (name, value))) {
        body.insert(name.clone(), value.as_str().into());
    }
    match layout.method {
        Method::Post => serde_json::to_vec(&body).map(Bytes::from),
        Method::Get => Ok(parameters(&body).into()),
    }
}

/// Everything on one level: the names of members with `_` between. What an event carries in `data` is
/// named without it; lists are texts with commas where they hold texts or numbers, and JSON otherwise.
fn flat(value: &Value) -> Map<String, Value> {
    let mut body = Map::new();
    lay_flat("", value, &mut body);
    body
}

fn lay_flat(prefix: &str, value: &Value, body: &mut Map<String, Value>) {
    let Value::Object(members) = value else {
        let value = match value {
            Value::Array(items) => list(items).into(),
            other => other.clone(),
        };
        body.insert(prefix.to_owned(), value);
        return;
    };
    for (name, member) in members {
        let name = match (prefix, name.as_str()) {
            ("", "data") => String::new(),
            ("", name) => name.to_owned(),
            (prefix, name) => format!("{prefix}_{name}"),
        };
        lay_flat(&name, member, body);
    }
}

fn list(items: &[Value]) -> String {
    if items.iter().any(|item| item.is_object() || item.is_array()) {
        return serde_json::to_string(items).unwrap_or_default();
    }
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parameters(body: &Map<String, Value>) -> String {
    let flat = flat(&Value::Object(body.clone()));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(flat.iter().map(|(name, value)| (name, text(value)))).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{endpoint::LayoutField, event::EventType, feed, sample};
    use serde_json::json;

    fn event(kind: EventType) -> Event {
        Event {
            id: sample::id(10),
            kind,
            api_version: feed::API_VERSION,
            created_at: sample::AT,
            test: false,
            workspace_id: sample::id(11),
            campaign_id: Some(sample::id(1)),
            data: serde_json::value::to_raw_value(&sample::data(kind)).unwrap(),
            is_erased: false,
        }
    }

    fn render(shape: Shape, layout: Value, credentials: &[(&str, &str)], kind: EventType) -> String {
        let layout: Layout = serde_json::from_value(layout).unwrap();
        let credentials: Vec<_> = credentials.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = shaped(shape, Some(&layout), &credentials, &event(kind), &Beside::none("https://refer.example.com")).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn everything_lies_on_one_level() {
        for &kind in EventType::ALL {
            let body: Map<String, Value> = serde_json::from_str(&render(Shape::Flat, json!({}), &[], kind)).unwrap();
            assert!(body.values().all(|value| !value.is_object() && !value.is_array()), "{kind:?}: {body:?}");
            assert_eq!(body["type"], kind.as_str());
        }
        let body: Value = serde_json::from_str(&render(Shape::Flat, json!({}), &[], EventType::LeadQualified)).unwrap();
        assert_eq!(
            (&body["lead_email"], &body["lead_referrer_email"], &body["referrer_code"], &body["campaign_name"], &body["lead_risk"]),
            (&json!("maya@example.com"), &json!("priya@example.com"), &json!("PRIYA7"), &json!("Refer a friend"), &json!(""))
        );
    }

    #[test]
    fn fields_are_chosen_and_renamed_and_constants_added() {
        let layout =
            json!({"fields": [{"field": "lead_email", "as": "email_address"}, {"field": "campaign_name"}, {"field": "nothing"}], "constants": {"list": "7"}});
        let body: Value = serde_json::from_str(&render(Shape::Flat, layout, &[("api_key", "s")], EventType::LeadCreated)).unwrap();
        assert_eq!(body, json!({"email_address": "maya@example.com", "campaign_name": "Refer a friend", "nothing": null, "list": "7", "api_key": "s"}));
        let layout = json!({"method": "GET", "fields": [{"field": "email"}, {"field": "referrer_email", "as": "by"}, {"field": "unsubscribed_at"}], "constants": {"a b": "c&d"}});
        assert_eq!(
            render(Shape::ReferralFactory, layout, &[], EventType::LeadCreated),
            "a+b=c%26d&by=priya%40example.com&email=maya%40example.com&unsubscribed_at="
        );
    }

    #[test]
    fn a_field_is_never_in_the_place_of_a_constant() {
        let layout = json!({"fields": [{"field": "lead_email", "as": "token"}]});
        let body: Value = serde_json::from_str(&render(Shape::Flat, layout, &[("token", "real")], EventType::LeadCreated)).unwrap();
        assert_eq!(body, json!({"token": "real"}));
    }

    #[test]
    fn layouts_that_are_none_are_refused() {
        assert!(serde_json::from_value::<Layout>(json!({"method": "PUT"})).is_err());
        assert!(serde_json::from_value::<Layout>(json!({"felds": []})).is_err());
        let field = LayoutField { field: "a".into(), name: None };
        assert_eq!(serde_json::from_value::<Layout>(json!({"fields": [{"field": "a"}]})).unwrap().fields, Some(vec![field]));
    }
}
