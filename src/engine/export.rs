//! Exports: everything of a side, as CSV for spreadsheets or as JSON Lines in the API's shapes.
//!
//! Read page by page, each page in one snapshot, so that an export of any size needs the memory of a
//! page. What imports read (referrers and leads) can be imported again as it is.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@` or a tab for a formula. Such cells get
//! an apostrophe in front, which [`unneutralised`] takes away again.

use super::{
    Engine, Error, Result, Space,
    campaign::{self, Campaign},
    conversion, feed,
    import::{self, Format, columns::is_taken},
    list::{Cursor, LIMIT_MAX, Listing, Page},
    participant, reward, signal, view, workspace,
};
use goodword_core::{
    ids::{CampaignId, WorkspaceId},
    money::Money,
    time::Timestamp,
};
use goodword_store as store;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExportKind)]
pub enum Kind {
    Referrers,
    Leads,
    Conversions,
    Rewards,
    Events,
    Signals,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::Referrers, Kind::Leads, Kind::Conversions, Kind::Rewards, Kind::Events, Kind::Signals];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Referrers => "referrers",
            Kind::Leads => "leads",
            Kind::Conversions => "conversions",
            Kind::Rewards => "rewards",
            Kind::Events => "events",
            Kind::Signals => "signals",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    const fn columns(self) -> &'static [&'static str] {
        match self {
            Kind::Referrers => &[
                "id",
                "campaign",
                "email",
                "first_name",
                "last_name",
                "external_id",
                "code",
                "referral_link",
                "status",
                "suspended_at",
                "source",
                "leads",
                "qualified_leads",
                "created_at",
            ],
            Kind::Leads => &[
                "id",
                "campaign",
                "referrer",
                "referrer_email",
                "email",
                "first_name",
                "last_name",
                "external_id",
                "code",
                "status",
                "status_reason",
                "risk",
                "source",
                "link_used_at",
                "qualified_at",
                "created_at",
            ],
            Kind::Conversions => &[
                "id",
                "campaign",
                "lead_id",
                "external_id",
                "kind",
                "goal",
                "amount",
                "currency",
                "refunded",
                "refunded_at",
                "counts",
                "reason",
                "properties",
                "occurred_at",
                "created_at",
            ],
            Kind::Rewards => &[
                "id",
                "campaign",
                "definition_id",
                "name",
                "state",
                "reason",
                "role",
                "email",
                "person",
                "lead_id",
                "conversion_id",
                "cause",
                "kind",
                "amount",
                "currency",
                "metric",
                "units",
                "coupon",
                "reversed",
                "note",
                "hold_until",
                "due_at",
                "issued_at",
                "attempts",
            ],
            Kind::Events => &["id", "type", "api_version", "created_at", "test", "workspace_id", "campaign_id", "data"],
            Kind::Signals => &[
                "id",
                "key",
                "kind",
                "source",
                "actor",
                "campaign_id",
                "lead_id",
                "occurred_at",
                "received_at",
                "outcome",
                "reason",
                "version",
                "payload",
                "checks",
                "effects",
            ],
        }
    }
}

/// What is to be exported, and how.
#[derive(Debug, Clone)]
pub struct Order {
    pub kind: Kind,
    pub format: Format,
    pub campaign: Option<CampaignId>,
    /// Only what was created at that time or later.
    pub since: Option<Timestamp>,
    /// Begin a CSV file with a byte order mark, by which some spreadsheets know UTF-8.
    pub bom: bool,
}

/// Rows in one snapshot.
const PAGE: usize = 500;

enum Place {
    Start,
    After(Cursor),
    AfterEvent(feed::Position),
    End,
}

/// An export on its way.
pub struct Export {
    engine: Engine,
    space: Space,
    workspace: WorkspaceId,
    order: Order,
    /// The keys of the campaigns' own fields, each a column.
    fields: Vec<String>,
    place: Place,
    begun: bool,
    rows: u64,
}

impl Engine {
    /// Begins an export; [`Export::next_page`] gives it piece by piece.
    pub async fn export(&self, space: Space, order: Order) -> Result<Export> {
        let workspace = self.read(move |tx| Box::pin(async move { workspace::of_space(tx, space).await })).await?.id;
        let (shared, campaign) = (self.shared_arc(), order.campaign);
        let campaigns = self
            .read(move |tx| {
                Box::pin(async move {
                    match campaign {
                        Some(id) => Ok(vec![campaign::get(tx, &shared, space, id).await?]),
                        None => {
                            let page = Page { limit: 10_000, ascending: true, ..Page::default() };
                            Ok(campaign::list(tx, &shared, space, &campaign::CampaignFilter::default(), &page).await?.data)
                        }
                    }
                })
            })
            .await?;
        let fields = own_fields(order.kind, &campaigns);
        Ok(Export { engine: self.clone(), space, workspace, order, fields, place: Place::Start, begun: false, rows: 0 })
    }
}

fn own_fields(kind: Kind, campaigns: &[Campaign]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for campaign in campaigns {
        let settings = campaign.settings();
        // A lead who became a referrer, or the other way round, has the fields of both.
        let fields = match kind {
            Kind::Referrers => &settings.referrer_fields,
            Kind::Leads => &settings.lead_fields,
            _ => return Vec::new(),
        };
        for field in fields {
            if !keys.contains(&field.key) {
                keys.push(field.key.clone());
            }
        }
    }
    keys
}

impl Export {
    /// Rows that were given so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next piece, whole rows; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<u8>>> {
        if matches!(self.place, Place::End) {
            return Ok(None);
        }
        let mut out = Vec::new();
        if !self.begun && self.order.format == Format::Csv {
            if self.order.bom {
                out.extend_from_slice("\u{feff}".as_bytes());
            }
            let import = match self.order.kind {
                Kind::Referrers => Some(import::Kind::Referrers),
                Kind::Leads => Some(import::Kind::Leads),
                _ => None,
            };
            let own = self.fields.iter().map(|key| if import.is_some_and(|kind| is_taken(kind, key)) { format!("fields.{key}") } else { key.clone() });
            let header: Vec<String> = self.order.kind.columns().iter().map(|name| (*name).to_owned()).chain(own).collect();
            write_record(&mut out, header.iter().map(|name| name.as_bytes()))?;
        }
        self.begun = true;
        self.page(&mut out).await?;
        Ok(Some(out))
    }

    async fn page(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let (space, shared) = (self.space, self.engine.shared_arc());
        let page = Page {
            limit: PAGE,
            ascending: true,
            after: if let Place::After(cursor) = self.place { Some(cursor) } else { None },
            created_after: self.order.since.map(|since| since.plus_ms(-1)),
            created_before: None,
        };
        let campaign = self.order.campaign;
        let people = participant::PeopleFilter { campaign, ..Default::default() };
        match self.order.kind {
            Kind::Referrers => {
                let listing =
                    self.engine.read(move |tx| Box::pin(async move { participant::list_referrers(tx, &shared, space, &people, &page).await })).await?;
                self.write(out, listing)
            }
            Kind::Leads => {
                let listing = self.engine.read(move |tx| Box::pin(async move { participant::list_leads(tx, &shared, space, &people, &page).await })).await?;
                self.write(out, listing)
            }
            Kind::Conversions => {
                let filter = conversion::ConversionFilter { campaign, ..Default::default() };
                let listing = self.engine.read(move |tx| Box::pin(async move { conversion::list(tx, &shared, space, &filter, &page).await })).await?;
                self.write(out, listing)
            }
            Kind::Rewards => {
                let filter = reward::RewardFilter { campaign, ..Default::default() };
                let listing = self.engine.read(move |tx| Box::pin(async move { reward::list(tx, &shared, space, &filter, &page).await })).await?;
                self.write(out, listing)
            }
            Kind::Signals => {
                let filter = signal::SignalFilter { campaign, ..Default::default() };
                let listing = self.engine.read(move |tx| Box::pin(async move { signal::list(tx, space, &filter, &page).await })).await?;
                self.write(out, listing)
            }
            Kind::Events => {
                let filter = feed::EventFilter { campaign, created_after: page.created_after, ..Default::default() };
                let after = if let Place::AfterEvent(position) = self.place { Some(position) } else { None };
                let workspace = self.workspace;
                let (rows, more) =
                    self.engine.read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &filter, after, true, LIMIT_MAX).await })).await?;
                for row in &rows {
                    self.write_row(out, &row.event)?;
                }
                self.place = match rows.last() {
                    Some(row) if more => Place::AfterEvent(feed::Position(row.position.0, row.position.1)),
                    _ => Place::End,
                };
                Ok(())
            }
        }
    }

    fn write<T: Exported>(&mut self, out: &mut Vec<u8>, listing: Listing<T>) -> Result<()> {
        for row in &listing.data {
            self.write_row(out, row)?;
        }
        self.place = listing.next.map_or(Place::End, Place::After);
        Ok(())
    }

    fn write_row<T: Exported>(&mut self, out: &mut Vec<u8>, row: &T) -> Result<()> {
        self.rows += 1;
        match self.order.format {
            Format::JsonLines => {
                serde_json::to_writer(&mut *out, row).map_err(broken)?;
                out.push(b'\n');
                Ok(())
            }
            Format::Csv => {
                let mut cells = row.cells();
                if let Some(fields) = row.fields() {
                    cells.extend(self.fields.iter().map(|key| fields.get(key).map_or(Cell::Empty, field_cell)));
                }
                write_record(out, cells.iter().map(|cell| cell.text().into_owned().into_bytes()))
            }
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    store::Error::Database(error.to_string()).into()
}

fn write_record(out: &mut Vec<u8>, cells: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    writer.write_record(cells).map_err(broken)?;
    writer.flush().map_err(broken)
}

/// Characters at the start of a cell that make a spreadsheet compute it.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULA)
}

/// The text as a spreadsheet shows it and never computes it.
pub fn neutralised(text: &str) -> Cow<'_, str> {
    if is_formula(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text that [`neutralised`] made safe.
pub fn unneutralised(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_formula(rest)).unwrap_or(text)
}

/// What stands in a cell.
enum Cell {
    Empty,
    /// Somebody else's words.
    Text(String),
    /// Our own: an id, a number, a time.
    Own(String),
}

impl Cell {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Empty => Cow::Borrowed(""),
            Cell::Text(text) => neutralised(text),
            Cell::Own(text) => Cow::Borrowed(text),
        }
    }
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn own(value: impl ToString) -> Cell {
    Cell::Own(value.to_string())
}

fn text_or_empty(value: Option<&String>) -> Cell {
    value.map_or(Cell::Empty, text)
}

fn own_or_empty(value: Option<impl ToString>) -> Cell {
    value.map_or(Cell::Empty, own)
}

fn json(value: &impl Serialize) -> Cell {
    text(serde_json::to_string(value).unwrap_or_default())
}

/// A word as `serde` writes it.
fn word(value: &impl Serialize) -> Cell {
    own(serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default())
}

fn field_cell(value: &serde_json::Value) -> Cell {
    match value {
        serde_json::Value::Null => Cell::Empty,
        serde_json::Value::String(value) => text(value),
        other => own(other),
    }
}

fn amount(money: Option<Money>) -> [Cell; 2] {
    money.map_or([Cell::Empty, Cell::Empty], |money| [own(money.decimal()), own(money.currency)])
}

/// A row of an export: as JSON in the API's shape, as CSV in the cells of its kind's columns.
trait Exported: Serialize {
    fn cells(&self) -> Vec<Cell>;

    fn fields(&self) -> Option<&view::Fields> {
        None
    }
}

impl Exported for view::Referrer {
    fn cells(&self) -> Vec<Cell> {
        vec![
            own(self.id),
            own(self.campaign.id),
            text(&self.email),
            text(&self.first_name),
            text(&self.last_name),
            text_or_empty(self.external_id.as_ref()),
            text(&self.code),
            own(&self.referral_link),
            word(&self.status),
            own_or_empty(self.suspended_at),
            text(&self.source),
            own(self.leads),
            own(self.qualified_leads),
            own(self.created_at),
        ]
    }

    fn fields(&self) -> Option<&view::Fields> {
        Some(&self.fields)
    }
}

impl Exported for view::Lead {
    fn cells(&self) -> Vec<Cell> {
        let risk: Vec<&str> = self.risk.iter().map(|reason| reason.as_str()).collect();
        vec![
            own(self.id),
            own(self.campaign.id),
            text(&self.referrer.code),
            text(&self.referrer.email),
            text(&self.email),
            text(&self.first_name),
            text(&self.last_name),
            text_or_empty(self.external_id.as_ref()),
            text(&self.code),
            own(self.status.as_str()),
            own_or_empty(self.status_reason.as_ref().map(|why| why.reason.as_str())),
            own(risk.join(" ")),
            text(&self.source),
            own_or_empty(self.link_used_at),
            own_or_empty(self.qualified_at),
            own(self.created_at),
        ]
    }

    fn fields(&self) -> Option<&view::Fields> {
        Some(&self.fields)
    }
}

impl Exported for view::Conversion {
    fn cells(&self) -> Vec<Cell> {
        let [value, currency] = amount(self.amount);
        let [refunded, _] = amount(self.refunded);
        vec![
            own(self.id),
            own(self.campaign.id),
            own(self.lead_id),
            text(&self.external_id),
            own(self.kind.as_str()),
            text_or_empty(self.goal.as_ref()),
            value,
            currency,
            refunded,
            own_or_empty(self.refunded_at),
            own(self.counts),
            own(self.why.reason.as_str()),
            json(&self.properties),
            own(self.occurred_at),
            own(self.created_at),
        ]
    }
}

impl Exported for view::Reward {
    fn cells(&self) -> Vec<Cell> {
        let [value, currency] = amount(self.amount);
        let [reversed, _] = amount(self.reversed);
        vec![
            own(self.id),
            own(self.campaign.id),
            own(self.definition_id),
            text(&self.name),
            own(self.state.as_str()),
            own(self.why.reason.as_str()),
            own(self.beneficiary.role.as_str()),
            text(&self.beneficiary.email),
            text(&self.beneficiary.name),
            own(self.lead_id),
            own_or_empty(self.conversion_id),
            text(&self.cause),
            own(&self.kind),
            value,
            currency,
            text_or_empty(self.metric.as_ref()),
            own_or_empty(self.units),
            text_or_empty(self.coupon.as_ref()),
            reversed,
            text_or_empty(self.note.as_ref()),
            own_or_empty(self.hold_until),
            own(self.due_at),
            own_or_empty(self.issued_at),
            own(self.attempts),
        ]
    }
}

impl Exported for feed::Event {
    fn cells(&self) -> Vec<Cell> {
        vec![
            own(self.id),
            own(self.kind.as_str()),
            own(self.api_version),
            own(self.created_at),
            own(self.test),
            own(self.workspace_id),
            own_or_empty(self.campaign_id),
            text(self.data.get()),
        ]
    }
}

impl Exported for signal::SignalView {
    fn cells(&self) -> Vec<Cell> {
        vec![
            own(self.id),
            text(&self.key),
            own(&self.kind),
            text(&self.source),
            text(&self.actor),
            own_or_empty(self.campaign_id),
            own_or_empty(self.lead_id),
            own(self.occurred_at),
            own(self.received_at),
            own(self.outcome.as_str()),
            own(self.why.reason.as_str()),
            own_or_empty(self.version),
            json(&self.payload),
            json(&self.checks),
            json(&self.effects),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_made_safe_and_come_back_as_they_were() {
        for (plain, safe) in [
            ("=1+1", "'=1+1"),
            ("+49 30 1234", "'+49 30 1234"),
            ("-5", "'-5"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("'=1", "''=1"),
            ("''=1", "'''=1"),
            ("Priya", "Priya"),
            ("'tis", "'tis"),
            ("O'Neill", "O'Neill"),
            ("", ""),
        ] {
            assert_eq!(neutralised(plain), safe);
            assert_eq!(unneutralised(safe), plain);
        }
    }
}
