//! `/v1/events`: what happened, as a feed that never skips.

use super::{Order, checked_limit};
use crate::{
    engine::{
        event::EventType,
        feed::{self, Event, EventFilter, Position},
        sample,
        view::EventData,
    },
    http::{App, Caller, Json, Path, Problem, Query, Read, Routes, routes},
};
use axum::extract::State;
use goodword_core::{
    ids::{CampaignId, EventId, LeadId, ReferrerId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::OnceLock};
use utoipa::{IntoParams, PartialSchema, ToSchema};

pub fn router() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(types)).routes(routes!(event_type)).routes(routes!(event_sample))
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    pub data: Vec<Event>,
    pub has_more: bool,
    /// The place after the last event: keep it, and go on from there. With `order=asc` it
    /// is there even at the end of the feed.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Feed {
    #[param(minimum = 1, maximum = 250, default = 25)]
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<Order>,
    created_after: Option<Timestamp>,
    /// One or several types, with commas between.
    #[serde(rename = "type", default)]
    #[param(style = Form, explode = false)]
    kinds: Vec<EventType>,
    campaign_id: Option<CampaignId>,
    lead_id: Option<LeadId>,
    /// Events about the referrer, and about everybody whom they referred.
    referrer_id: Option<ReferrerId>,
    source: Option<String>,
}

/// List events
///
/// In the order in which they were committed. With `order=asc` and the last
/// `next_cursor`, polling never skips and never repeats an event.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Feed))]
async fn list(State(app): State<App>, caller: Caller<Read>, Query(query): Query<Feed>) -> Result<Json<EventList>, Problem> {
    let limit = checked_limit(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<Position>).transpose()?;
    let filter = EventFilter {
        kinds: query.kinds,
        campaign: query.campaign_id,
        participant: query.lead_id.map(|id| id.uuid()),
        referrer: query.referrer_id.map(|id| id.uuid()),
        source: query.source,
        created_after: query.created_after,
    };
    let ascending = query.order.unwrap_or_default() == Order::Asc;
    let (space, workspace) = (caller.space, caller.workspace_id);
    let (rows, has_more) = app.engine.read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &filter, after, ascending, limit).await })).await?;
    let last = rows.last().map(|row| Position(row.position.0, row.position.1)).or(after);
    let next_cursor = last.filter(|_| has_more || ascending).map(|position| position.to_string());
    Ok(Json(EventList { data: rows.into_iter().map(|row| row.event).collect(), has_more, next_cursor }))
}

/// Get an event
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events")]
async fn get(State(app): State<App>, caller: Caller<Read>, Path((id,)): Path<(EventId,)>) -> Result<Json<Event>, Problem> {
    let (space, workspace) = (caller.space, caller.workspace_id);
    Ok(Json(app.engine.read(move |tx| Box::pin(feed::get(tx, space, workspace, id))).await?))
}

/// A type of event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventTypeView {
    #[serde(rename = "type")]
    pub kind: EventType,
    pub label: &'static str,
    pub description: &'static str,
    /// Endpoints are told of it only if they ask for it by name.
    pub opt_in: bool,
    /// An event of this type.
    #[schema(value_type = Event)]
    pub example: Value,
    /// What every event of this type looks like, as JSON Schema (2020-12).
    #[schema(value_type = Object)]
    pub schema: Value,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypes {
    #[schema(value_type = Vec<EventTypeView>)]
    pub data: &'static [EventTypeView],
}

/// The catalogue, made once from the types.
fn catalogue() -> &'static [EventTypeView] {
    static CATALOGUE: OnceLock<Vec<EventTypeView>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let definitions = definitions();
        let data = EventType::ALL.iter().map(|&kind| {
            let example = serde_json::to_value(example(kind)).unwrap_or_default();
            let schema = schema(kind, &example, &definitions);
            EventTypeView { kind, label: kind.label(), description: kind.sentence(), opt_in: kind.is_opt_in(), example, schema }
        });
        data.collect()
    })
}

/// An event of that type, from the types that real events are made from.
fn example(kind: EventType) -> Event {
    let data = sample::data(kind);
    Event {
        id: sample::id(10),
        kind,
        api_version: feed::API_VERSION,
        created_at: sample::AT,
        test: false,
        workspace_id: sample::id(11),
        campaign_id: data.campaign.as_ref().map(|campaign| campaign.id),
        data: serde_json::value::to_raw_value(&data).unwrap_or_default(),
        is_erased: false,
    }
}

/// The schemas of everything that events carry, by their names.
fn definitions() -> Map<String, Value> {
    let mut schemas = vec![("Event".to_owned(), Event::schema()), ("EventData".to_owned(), EventData::schema())];
    Event::schemas(&mut schemas);
    EventData::schemas(&mut schemas);
    schemas.into_iter().filter_map(|(name, schema)| Some((name, relocated(serde_json::to_value(schema).ok()?)))).collect()
}

const COMPONENTS: &str = "#/components/schemas/";

/// References into an OpenAPI document become references into a schema's own definitions.
fn relocated(value: Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix(COMPONENTS) {
            Some(name) => format!("#/$defs/{name}").into(),
            None => text.into(),
        },
        Value::Array(items) => items.into_iter().map(relocated).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, relocated(value))).collect::<Map<_, _>>().into(),
        other => other,
    }
}

/// The schema of one type: the envelope with its type, and `null` for what it never carries.
fn schema(kind: EventType, example: &Value, definitions: &Map<String, Value>) -> Value {
    let properties_of = |name: &str| definitions.get(name).map(|schema| schema["properties"].clone()).unwrap_or_default();
    let (mut envelope, mut data) = (properties_of("Event"), properties_of("EventData"));
    for (name, member) in data.as_object_mut().into_iter().flatten() {
        if example["data"][name.as_str()].is_null() {
            *member = json!({"type": "null"});
        }
    }
    let closed = |properties: &Value| {
        let names: Vec<&String> = properties.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        json!({"type": "object", "properties": properties, "required": names})
    };
    envelope["type"] = json!({"const": kind});
    envelope["data"] = closed(&data);
    let mut schema = closed(&envelope);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = kind.label().into();
    schema["description"] = kind.sentence().into();
    let mut needed = BTreeMap::new();
    collect(&schema, definitions, &mut needed);
    schema["$defs"] = needed.into_iter().map(|(name, schema)| (name.to_owned(), schema.clone())).collect::<Map<_, _>>().into();
    schema
}

/// The definitions that a schema refers to, and those that they refer to.
fn collect<'a>(value: &'a Value, definitions: &'a Map<String, Value>, found: &mut BTreeMap<&'a str, &'a Value>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
            if let Some((name, schema)) = name.and_then(|name| definitions.get_key_value(name))
                && found.insert(name, schema).is_none()
            {
                collect(schema, definitions, found);
            }
            members.values().for_each(|member| collect(member, definitions, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, definitions, found)),
        _ => {}
    }
}

/// List the types of events
///
/// Each with an example and its JSON Schema.
#[utoipa::path(get, path = "/v1/event-types", tag = "events")]
async fn types(_: State<App>, _: Caller<Read>) -> Result<Json<EventTypes>, Problem> {
    Ok(Json(EventTypes { data: catalogue() }))
}

/// Get a type of event
#[utoipa::path(get, path = "/v1/event-types/{type}", tag = "events", params(("type" = EventType, Path)))]
async fn event_type(_: State<App>, _: Caller<Read>, Path((kind,)): Path<(EventType,)>) -> Result<Json<EventTypeView>, Problem> {
    catalogue().iter().find(|view| view.kind == kind).cloned().map(Json).ok_or_else(|| Problem::not_found("type of event"))
}

/// Get an example of an event
///
/// The bytes that an endpoint would be sent.
#[utoipa::path(get, path = "/v1/event-types/{type}/sample", tag = "events", params(("type" = EventType, Path)))]
async fn event_sample(_: State<App>, _: Caller<Read>, Path((kind,)): Path<(EventType,)>) -> Result<Json<Event>, Problem> {
    Ok(Json(example(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every member of every example is described, and nothing is described that is not there.
    #[test]
    fn examples_and_schemas_say_the_same() {
        for view in catalogue() {
            for part in ["", "/data"] {
                let example = view.example.pointer(part).and_then(Value::as_object).unwrap();
                let schema = view.schema.pointer(&part.replace("/data", "/properties/data")).unwrap();
                let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
                let mut shown: Vec<_> = example.keys().collect();
                described.sort();
                shown.sort();
                assert_eq!(described, shown, "{} {part}", view.kind.as_str());
            }
            let text = view.schema.to_string();
            assert!(!text.contains(COMPONENTS), "{}", view.kind.as_str());
            for name in text.split("#/$defs/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(view.schema["$defs"].get(name).is_some(), "{}: {name} is not defined", view.kind.as_str());
            }
        }
    }
}
