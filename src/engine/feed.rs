//! Events as the world reads them: one envelope for everybody, in a stable order.

use super::{Engine, Error, Result, Space, event::EventType, list::LIMIT_MAX, view::EventData};
use goodword_core::{
    ids::{CampaignId, EventId, WorkspaceId},
    time::Timestamp,
};
use goodword_store::{self as store, Row, Tx, Value};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use uuid::Uuid;

/// The version of the envelope and of every event's data.
pub const API_VERSION: &str = "2026-11-01";

/// What happened. The same bytes wherever it is read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: EventType,
    #[schema(example = "2026-11-01")]
    pub api_version: &'static str,
    pub created_at: Timestamp,
    /// It happened on the test side.
    pub test: bool,
    pub workspace_id: WorkspaceId,
    pub campaign_id: Option<CampaignId>,
    #[schema(value_type = EventData)]
    pub data: Box<RawValue>,
    /// The person that it was about has been erased, and its data with them.
    #[serde(skip)]
    pub is_erased: bool,
}

/// An event as a transaction writes it down; beside its workspace, all that the world reads of it.
#[derive(Debug)]
pub struct Told {
    pub id: EventId,
    pub space: Space,
    pub kind: EventType,
    pub campaign: Option<CampaignId>,
    pub created_at: Timestamp,
    /// JSON.
    pub body: String,
}

impl Told {
    /// As it will be read.
    pub fn read(self, workspace_id: WorkspaceId) -> serde_json::Result<Event> {
        let is_erased = self.body == ERASED;
        let data = if is_erased { to_raw_value(&EventData { erased: true, ..EventData::default() }) } else { RawValue::from_string(self.body) };
        Ok(Event {
            id: self.id,
            kind: self.kind,
            api_version: API_VERSION,
            created_at: self.created_at,
            test: self.space.is_test(),
            workspace_id,
            campaign_id: self.campaign,
            data: data?,
            is_erased,
        })
    }
}

/// What is left of a text that told of somebody who was erased.
pub(super) const ERASED: &str = r#"{"erased":true}"#;

/// One row of the feed.
pub struct EventRow {
    pub position: (i64, i64),
    pub event: Event,
}

const SELECT: &str = "SELECT txid, seq, id, type, campaign_id, body, created_at FROM events";

fn read(space: Space, workspace_id: WorkspaceId) -> impl Fn(&Row<'_>) -> store::Result<EventRow> {
    move |row| {
        let broken = |what: &str| store::Error::Database(format!("an event has an unknown {what}"));
        let told = Told {
            id: EventId::from_uuid(row.get(2)?),
            space,
            kind: EventType::parse(row.text(3)?).ok_or_else(|| broken("type"))?,
            campaign: row.get::<Option<Uuid>>(4)?.map(CampaignId::from_uuid),
            created_at: Timestamp::from_ms(row.get(6)?),
            body: row.get(5)?,
        };
        Ok(EventRow { position: (row.get(0)?, row.get(1)?), event: told.read(workspace_id).map_err(|_| broken("body"))? })
    }
}

#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub kinds: Vec<EventType>,
    pub campaign: Option<CampaignId>,
    pub participant: Option<Uuid>,
    /// About the referrer, or about somebody whom they referred.
    pub referrer: Option<Uuid>,
    pub source: Option<String>,
    pub created_after: Option<Timestamp>,
}

/// A place in the feed: after everything that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position(pub i64, pub i64);

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{:x}", self.0, self.1)
    }
}

impl std::str::FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = |part: &str| i64::from_str_radix(part, 16).ok();
        text.split_once('.')
            .and_then(|(txid, seq)| Some(Self(parse(txid)?, parse(seq)?)))
            .ok_or_else(|| Error::Invalid { field: "cursor".into(), expected: "the next_cursor of an earlier answer".into() })
    }
}

/// Events in the order of commits (or newest first), from a place on. An event that
/// commits late is never skipped: only what is settled is shown.
pub async fn list(
    tx: &mut Tx<'_>,
    space: Space,
    workspace: WorkspaceId,
    filter: &EventFilter,
    after: Option<Position>,
    ascending: bool,
    limit: usize,
) -> Result<(Vec<EventRow>, bool)> {
    let limit = limit.min(LIMIT_MAX);
    let mut args = vec![Value::Int(space.number())];
    let mut sql = format!("{SELECT} WHERE space = $1 AND {{settled}}");
    let mut and = |condition: String, value: Value, args: &mut Vec<Value>| {
        args.push(value);
        sql.push_str(&format!(" AND {condition} ${}", args.len()));
    };
    if let [kind] = filter.kinds.as_slice() {
        and("type =".into(), Value::Text(kind.as_str().into()), &mut args);
    }
    if let Some(id) = filter.campaign {
        and("campaign_id =".into(), Value::Id(id.uuid()), &mut args);
    }
    if let Some(id) = filter.participant {
        and("participant_id =".into(), Value::Id(id), &mut args);
    }
    if let Some(id) = filter.referrer {
        and(format!("(referrer_id = ${n} OR participant_id = ${n}) AND ${n} =", n = args.len() + 1), Value::Id(id), &mut args);
    }
    if let Some(source) = &filter.source {
        and("source =".into(), Value::Text(source.clone()), &mut args);
    }
    if let Some(at) = filter.created_after {
        and("created_at >".into(), Value::Int(at.ms()), &mut args);
    }
    if filter.kinds.len() > 1 {
        let words = filter.kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect::<Vec<_>>().join(", ");
        sql.push_str(&format!(" AND type IN ({words})"));
    }
    let (compare, direction) = if ascending { (">", "ASC") } else { ("<", "DESC") };
    if let Some(Position(txid, seq)) = after {
        args.push(Value::Int(txid));
        args.push(Value::Int(seq));
        sql.push_str(&format!(" AND ({{postgres:txid,}} seq) {compare} ({{postgres:${},}} ${})", args.len() - 1, args.len()));
    }
    args.push(Value::Int(limit as i64 + 1));
    sql.push_str(&format!(" ORDER BY {{postgres:txid {direction},}} seq {direction} LIMIT ${}", args.len()));
    let args: Vec<_> = args.iter().map(Value::as_arg).collect();
    let mut rows = tx.fetch(&sql, &args, read(space, workspace)).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows, more))
}

/// Events under a condition of the engine's own.
pub(super) async fn by(tx: &mut Tx<'_>, space: Space, workspace: WorkspaceId, condition: &str, args: &[Value]) -> Result<Vec<Event>> {
    let args: Vec<_> = args.iter().map(Value::as_arg).collect();
    let rows = tx.fetch(&format!("{SELECT} WHERE {condition}"), &args, read(space, workspace)).await?;
    Ok(rows.into_iter().map(|row| row.event).collect())
}

pub async fn get(tx: &mut Tx<'_>, space: Space, workspace: WorkspaceId, id: EventId) -> Result<Event> {
    let sql = format!("{SELECT} WHERE space = $1 AND id = $2");
    let row = tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read(space, workspace)).await?;
    row.map(|row| row.event).ok_or(Error::NotFound { what: "event" })
}

impl Engine {
    /// The events of a side after a place, oldest first.
    pub async fn events_after(&self, space: Space, workspace: WorkspaceId, after: Option<Position>, limit: usize) -> Result<Vec<EventRow>> {
        self.store()
            .read(move |tx| Box::pin(async move { list(tx, space, workspace, &EventFilter::default(), after, true, limit).await.map(|(rows, _)| rows) }))
            .await
    }
}
