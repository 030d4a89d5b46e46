//! `/v1/imports` and `/v1/exports`: files, as streams.

use crate::{
    engine::{
        self,
        campaign::{self, Campaign},
        export,
        import::{BadRow, Format, Importer, Kind, Order, Report, Watch},
    },
    http::{App, Caller, IdempotencyKey, Json, Path, Problem, Query, Read, Routes, Write, routes},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use goodword_core::{ids::RewardDefinitionId, time::Timestamp};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, io, time::Duration};
use tokio::sync::mpsc;
use utoipa::{
    IntoParams, IntoResponses, PartialSchema, ToSchema,
    openapi::{ContentBuilder, RefOr, Response as ResponseDoc, ResponseBuilder},
};
use uuid::Uuid;

pub fn router() -> Routes {
    Routes::new().routes(routes!(import)).routes(routes!(export))
}

/// How long the next piece of a file may take to arrive.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);
/// Bad rows in the answer; more are only counted.
const BAD_ROWS_MAX: usize = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct What {
    kind: Kind,
    /// The campaign, by id, code or exact name. Only qualifications can do without.
    campaign: Option<String>,
    /// The reward whose coupons these are, by id or name, where the campaign has several.
    reward: Option<String>,
    /// Columns to pass over, with commas between.
    #[serde(default)]
    #[param(style = Form, explode = false)]
    ignore: Vec<String>,
    /// Check everything and keep nothing.
    #[serde(default)]
    dry_run: bool,
    /// An event for each referrer, instead of one for each chunk of them.
    #[serde(default)]
    each: bool,
}

/// What became of a file.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportResult {
    #[serde(flatten)]
    pub report: Report,
    /// The columns of a CSV file.
    pub columns: Vec<String>,
    /// The rows that were refused, in their order; at most 10,000.
    pub bad_rows: Vec<BadRowView>,
    pub bad_rows_left_out: u64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BadRowView {
    /// The line that it begins on, from 1.
    pub line: u64,
    pub reason: String,
    /// Its cells, or the whole line of JSON.
    pub row: Vec<String>,
}

#[derive(Default)]
struct Kept {
    columns: Vec<String>,
    rows: Vec<BadRowView>,
    left_out: u64,
}

impl Watch for Kept {
    fn header(&mut self, columns: &[String]) {
        self.columns = columns.to_vec();
    }

    fn bad(&mut self, row: &BadRow) {
        if self.rows.len() < BAD_ROWS_MAX {
            self.rows.push(BadRowView { line: row.line, reason: row.reason.clone(), row: row.row.cells() });
        } else {
            self.left_out += 1;
        }
    }
}

/// Import a file
///
/// CSV with a header, or JSON Lines, of any size, read as it arrives. Bad rows are told with
/// their line and reason and the good ones are kept; sending the same file again changes
/// nothing. The answer comes when the whole file is done.
#[utoipa::path(post, path = "/v1/imports", tag = "imports and exports", params(What),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))))]
async fn import(
    State(app): State<App>,
    caller: Caller<Write>,
    Query(what): Query<What>,
    IdempotencyKey(key): IdempotencyKey,
    request: Request,
) -> Result<Json<ImportResult>, Problem> {
    let format = format_of(&request)?;
    let campaign = match &what.campaign {
        Some(name) => Some(named(&app, &caller, name).await?),
        None => None,
    };
    let reward = match (&what.reward, &campaign) {
        (Some(name), Some(campaign)) => Some(reward_of(campaign, name)?),
        _ => None,
    };
    let order = Order {
        kind: what.kind,
        format,
        campaign: campaign.map(|campaign| campaign.id),
        reward,
        ignore: what.ignore,
        each: what.each,
        dry_run: what.dry_run,
        id: key.map_or_else(Uuid::now_v7, |key| id_of(&key)),
    };
    let importer = Importer { space: caller.space, actor: caller.key_id.to_string().into() };
    let mut kept = Kept::default();
    let report = app.engine.import(importer, order, body_reader(request), &mut kept).await?;
    Ok(Json(ImportResult { report, columns: kept.columns, bad_rows: kept.rows, bad_rows_left_out: kept.left_out }))
}

fn format_of(request: &Request) -> Result<Format, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/csv" => Ok(Format::Csv),
        "application/x-ndjson" | "application/jsonl" => Ok(Format::JsonLines),
        _ => Err(Problem::unsupported_media_type("text/csv or application/x-ndjson")),
    }
}

async fn named<S>(app: &App, caller: &Caller<S>, name: &str) -> Result<Campaign, Problem> {
    let (space, shared, name) = (caller.space, app.engine.shared_arc(), name.to_owned());
    Ok(app.engine.read(move |tx| Box::pin(async move { campaign::named(tx, &shared, space, &name).await })).await?)
}

fn reward_of(campaign: &Campaign, name: &str) -> Result<RewardDefinitionId, Problem> {
    let mut rewards = campaign.configuration.rewards.iter();
    let found = rewards.find(|reward| reward.id.to_string() == name || reward.terms.name.as_str() == name);
    found.map(|reward| reward.id).ok_or_else(|| Problem::invalid("reward", "the id or name of a reward of the campaign"))
}

/// The same key names the same import.
fn id_of(key: &str) -> Uuid {
    let hash = Sha256::digest(key.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The body, for a thread that reads.
fn body_reader(request: Request) -> BodyReader {
    let (sender, pieces) = mpsc::channel(8);
    let mut body = request.into_body();
    tokio::spawn(async move {
        loop {
            let piece = match tokio::time::timeout(PIECE_DEADLINE, body.frame()).await {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => Err(io::Error::other(format!("the body broke off: {error}"))),
                Err(_) => Err(io::Error::other(format!("nothing arrived for {} seconds", PIECE_DEADLINE.as_secs()))),
            };
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    BodyReader { pieces, current: Bytes::new() }
}

struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The campaign, by id, code or exact name.
    campaign: Option<String>,
    /// Only what was created at that time or later.
    since: Option<Timestamp>,
    #[serde(default)]
    format: Shape,
    /// Begin a CSV file with a byte order mark, by which some spreadsheets know UTF-8.
    #[serde(default)]
    bom: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExportFormat)]
pub(super) enum Shape {
    #[default]
    Csv,
    Jsonl,
}

/// Export a file
///
/// Everything of a kind, oldest first, as CSV or as JSON Lines in the shapes of this API.
/// Cells that a spreadsheet would compute have an apostrophe in front, which an import takes
/// away again. The stream breaks off where something fails: a file that is whole ends with a
/// line feed and the connection in good order.
#[utoipa::path(get, path = "/v1/exports/{kind}", tag = "imports and exports", params(Wanted, ("kind" = export::Kind, Path)))]
async fn export(State(app): State<App>, caller: Caller<Read>, Path((kind,)): Path<(export::Kind,)>, Query(wanted): Query<Wanted>) -> Result<File, Problem> {
    let campaign = match &wanted.campaign {
        Some(name) => Some(named(&app, &caller, name).await?.id),
        None => None,
    };
    let format = match wanted.format {
        Shape::Csv => Format::Csv,
        Shape::Jsonl => Format::JsonLines,
    };
    let export = app.engine.export(caller.space, export::Order { kind, format, campaign, since: wanted.since, bom: wanted.bom }).await?;
    let pages = stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.next_page().await {
            Ok(Some(page)) => Some((Ok::<_, engine::Error>(page), Some(export))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "an export broke off");
                Some((Err(error), None))
            }
        }
    });
    // Fused, for who compresses the stream asks once more after its end.
    let mut response = Body::from_stream(pages.fuse()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(if format == Format::Csv { "text/csv; charset=utf-8" } else { "application/x-ndjson" }));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{}.{}\"", kind.as_str(), format.as_str())) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(File(response))
}

/// A file, as a stream.
struct File(Response);

impl IntoResponse for File {
    fn into_response(self) -> Response {
        self.0
    }
}

impl IntoResponses for File {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        let text = || ContentBuilder::new().schema(Some(String::schema())).build();
        let response = ResponseBuilder::new().description("The file.").content("text/csv", text()).content("application/x-ndjson", text()).build();
        BTreeMap::from([("200".to_owned(), RefOr::T(response))])
    }
}
