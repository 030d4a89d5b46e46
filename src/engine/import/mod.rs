//! Imports: files of people, qualifications and coupons, of any size.
//!
//! A thread reads and checks the rows; the engine works through them window by window, so that
//! memory stays the same whatever the file holds. Referrers go in by the thousand ([`referrers`]),
//! in chunks that are sized so that whoever else writes waits a few milliseconds at most. Leads and
//! qualifications are decisions, one by one, many at a time ([`single`]).
//!
//! A bad row is told with its line and its reason, and the good ones are kept. Running a file again
//! changes nothing: what is there is found by its own keys.

pub mod columns;
pub mod referrers;
pub mod rows;
mod single;

pub use rows::{Format, Raw};

use super::{
    Engine, Error, Result, Space,
    campaign::{self, AddCoupons, Campaign},
    work::Context,
};
use columns::{Item, NewReferrer, Reader, reason};
use futures_util::StreamExt;
use goodword_core::{
    ids::{CampaignId, Mint, RewardDefinitionId},
    text::Code,
    time::Timestamp,
};
use goodword_store as store;
use referrers::{AddReferrers, Added};
use rows::Rows;
use serde::{Deserialize, Serialize};
use single::{Fate, ImportLead, ImportQualification};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImportKind)]
pub enum Kind {
    Referrers,
    Leads,
    Qualifications,
    Coupons,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Referrers => "referrers",
            Kind::Leads => "leads",
            Kind::Qualifications => "qualifications",
            Kind::Coupons => "coupons",
        }
    }
}

/// What is to be imported, and how.
#[derive(Debug, Clone)]
pub struct Order {
    pub kind: Kind,
    pub format: Format,
    /// Only qualifications can do without.
    pub campaign: Option<CampaignId>,
    /// Whose pool coupons go into; the campaign's only coupon reward where absent.
    pub reward: Option<RewardDefinitionId>,
    /// Columns that are passed over.
    pub ignore: Vec<String>,
    /// An event for each referrer, instead of one for each chunk of them.
    pub each: bool,
    /// Check everything and keep nothing.
    pub dry_run: bool,
    /// Rows told again under the same id are the same signals.
    pub id: Uuid,
}

/// Who imports.
#[derive(Debug, Clone)]
pub struct Importer {
    pub space: Space,
    pub actor: Arc<str>,
}

/// What has become of the rows so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Rows that were read, bad ones too.
    pub rows: u64,
    /// Rows that changed something; in a dry run, those that would.
    pub imported: u64,
    /// Rows that say what was so already.
    pub already_there: u64,
    /// Rows that were refused, each with its reason.
    pub bad: u64,
    /// Why the import ended before the file did; what was imported by then is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line that it begins on, from 1.
    pub line: u64,
    pub reason: String,
    pub row: Raw,
}

/// Is told how it goes.
pub trait Watch: Send {
    /// The columns of a CSV file, before its first row.
    fn header(&mut self, _columns: &[String]) {}
    fn progress(&mut self, _report: &Report) {}
    /// In the order of the file.
    fn bad(&mut self, row: &BadRow);
}

/// Rows that are worked on at a time. Referrers are sorted within a window: neighbours in an index are
/// inserted together, which writes a fraction of the pages.
const WINDOW: usize = 8_192;
/// Decisions that wait for the same commit.
const IN_FLIGHT_SQLITE: usize = 256;
/// As many as there are connections.
const IN_FLIGHT_POSTGRES: usize = 32;
/// Coupons in one transaction.
const COUPONS_PER_CHUNK: usize = 1_000;

struct Window {
    items: Vec<(u64, Raw, Item)>,
    bad: Vec<BadRow>,
    /// Why the file ends here, if it does so before its time.
    broken: Option<String>,
}

/// What the reading thread sends.
enum Step {
    Header(Result<Option<Vec<String>>, String>),
    Window(Window),
}

impl Engine {
    /// Imports a file. Fails only before its first row; from then on, the report says what happened.
    pub async fn import(&self, importer: Importer, order: Order, input: impl Read + Send + 'static, watch: &mut dyn Watch) -> Result<Report> {
        let now = self.now(importer.space);
        let (space, shared) = (importer.space, self.shared_arc());
        let campaign = match order.campaign {
            Some(id) => Some(self.read(move |tx| Box::pin(async move { campaign::get(tx, &shared, space, id).await })).await?),
            None if order.kind == Kind::Qualifications => None,
            None => return Err(Error::Invalid { field: "campaign".into(), expected: "the campaign that the rows are for".into() }),
        };
        let pool = match order.kind {
            Kind::Coupons => Some(coupon_reward(campaign.as_ref(), order.reward)?),
            _ => None,
        };
        let (sender, mut windows) = mpsc::channel(1);
        let (told, for_reader) = (order.clone(), campaign.clone());
        // A thread of its own: waiting for a slow input must hold up neither the runtime nor its end.
        std::thread::Builder::new()
            .name("import-reader".into())
            .spawn(move || read_windows(&told, for_reader, now, input, &sender))
            .map_err(|error| store::Error::Unavailable(format!("start a thread: {error}")))?;

        let mut job = Job {
            engine: self,
            importer,
            order,
            campaign,
            pool,
            report: Report::default(),
            pace: Pace::new(self),
            seen: HashSet::new(),
            keys: RandomState::new(),
        };
        while let Some(read) = windows.recv().await {
            match read {
                Step::Header(Err(expected)) => return Err(Error::Invalid { field: "file".into(), expected }),
                Step::Header(Ok(header)) => watch.header(&header.unwrap_or_default()),
                Step::Window(mut window) => {
                    let broken = window.broken.take();
                    job.report.rows += (window.items.len() + window.bad.len()) as u64;
                    let (mut bad, outcome) = job.window(window, watch).await;
                    bad.sort_by_key(|row| row.line);
                    job.report.bad += bad.len() as u64;
                    bad.iter().for_each(|row| watch.bad(row));
                    watch.progress(&job.report);
                    job.report.stopped = match outcome {
                        Ok(()) => broken,
                        Err(error) => Some(reason(&error)),
                    };
                    if job.report.stopped.is_some() {
                        break;
                    }
                }
            }
        }
        Ok(job.report)
    }
}

/// The definition whose pool is filled.
fn coupon_reward(campaign: Option<&Campaign>, named: Option<RewardDefinitionId>) -> Result<RewardDefinitionId> {
    if let Some(id) = named {
        return Ok(id);
    }
    let rewards = campaign.map_or(&[][..], |campaign| &campaign.configuration.rewards);
    let mut coupons = rewards.iter().filter(|reward| reward.terms.value.kind() == "coupon");
    match (coupons.next(), coupons.next()) {
        (Some(reward), None) => Ok(reward.id),
        (None, _) => Err(Error::Invalid { field: "campaign".into(), expected: "a campaign with a reward that gives coupons".into() }),
        _ => Err(Error::Invalid { field: "reward".into(), expected: "the reward whose coupons these are, because the campaign has several".into() }),
    }
}

/// Reads, checks and sorts, on a thread of its own.
fn read_windows(order: &Order, campaign: Option<Campaign>, now: Timestamp, input: impl Read, sender: &mpsc::Sender<Step>) {
    let opened = Rows::open(order.format, input).and_then(|rows| {
        let reader = Reader::new(order.kind, campaign, &order.ignore, rows.header(), now)?;
        Ok((rows, reader))
    });
    let (mut rows, reader) = match opened {
        Ok((rows, reader)) => {
            let header = rows.header().map(<[String]>::to_vec);
            if sender.blocking_send(Step::Header(Ok(header))).is_err() {
                return;
            }
            (rows, reader)
        }
        Err(error) => {
            let _ = sender.blocking_send(Step::Header(Err(error))); // Whoever is gone needs no answer.
            return;
        }
    };
    loop {
        let mut window = Window { items: Vec::new(), bad: Vec::new(), broken: None };
        let more = loop {
            if window.items.len() + window.bad.len() >= WINDOW {
                break true;
            }
            match rows.next_row() {
                Ok(Some(row)) => match reader.read(&row) {
                    Ok(item) => window.items.push((row.line, row.raw, item)),
                    Err(reason) => window.bad.push(BadRow { line: row.line, reason, row: row.raw }),
                },
                Ok(None) => break false,
                Err(error) => {
                    window.broken = Some(error);
                    break false;
                }
            }
        };
        prepare(&mut window);
        if sender.blocking_send(Step::Window(window)).is_err() || !more {
            return;
        }
    }
}

/// Sorts referrers as the index of identities has them, the first row of a person first, and draws codes
/// for them in the order of theirs.
fn prepare(window: &mut Window) {
    let referrer = |item: &Item| matches!(item, Item::Referrer(_));
    if !window.items.first().is_some_and(|(_, _, item)| referrer(item)) {
        return;
    }
    window.items.sort_by(|(_, _, a), (_, _, b)| match (a, b) {
        (Item::Referrer(a), Item::Referrer(b)) => a.identity.cmp(&b.identity),
        _ => std::cmp::Ordering::Equal,
    });
    let mut mint = Mint::new(Timestamp::default(), u128::from_ne_bytes(super::random_bytes()));
    let mut drawn: Vec<Code> = window.items.iter().map(|_| Code::from_random(mint.random())).collect();
    drawn.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    for ((_, _, item), code) in window.items.iter_mut().zip(drawn) {
        if let Item::Referrer(row) = item
            && !row.chosen
        {
            row.code = code;
        }
    }
}

struct Job<'e> {
    engine: &'e Engine,
    importer: Importer,
    order: Order,
    campaign: Option<Campaign>,
    pool: Option<RewardDefinitionId>,
    report: Report,
    pace: Pace,
    /// In a dry run: who was in an earlier row. Eight bytes for each.
    seen: HashSet<u64>,
    keys: RandomState,
}

impl Job<'_> {
    fn context(&self, at: Option<Timestamp>) -> Context {
        let context = self.engine.context(self.importer.space, &self.importer.actor, "import");
        // What a file tells of the past happened then: holds count from that time.
        Context { now: at.unwrap_or(context.now), ..context }
    }

    /// Works through a window; what is bad about it, and whether it can go on.
    async fn window(&mut self, window: Window, watch: &mut dyn Watch) -> (Vec<BadRow>, Result<()>) {
        let Window { items, mut bad, .. } = window;
        let outcome = match self.order.kind {
            Kind::Referrers => self.referrers(items, &mut bad, watch).await,
            Kind::Coupons => self.coupons(items).await,
            Kind::Leads | Kind::Qualifications => self.single(items, &mut bad).await,
        };
        (bad, outcome)
    }

    async fn referrers(&mut self, items: Vec<(u64, Raw, Item)>, bad: &mut Vec<BadRow>, watch: &mut dyn Watch) -> Result<()> {
        let Some(campaign) = self.campaign.clone() else { return Ok(()) };
        let fields: Arc<[_]> = campaign.settings().referrer_fields.as_slice().into();
        let mut raws = HashMap::with_capacity(items.len());
        let mut rows = VecDeque::with_capacity(items.len());
        for (line, raw, item) in items {
            let Item::Referrer(row) = item else { continue };
            if self.order.dry_run && !self.seen.insert(self.keys.hash_one(&row.identity)) {
                self.report.already_there += 1;
                continue;
            }
            raws.insert(line, raw);
            rows.push_back(*row);
        }
        let mut flying = futures_util::stream::FuturesUnordered::new();
        loop {
            while flying.len() < self.pace.lanes && !rows.is_empty() {
                let chunk: Vec<NewReferrer> = rows.drain(..self.pace.rows.min(rows.len())).collect();
                let size = chunk.len();
                let act = AddReferrers {
                    campaign: campaign.id,
                    duplicates: campaign.settings().duplicates,
                    fields: fields.clone(),
                    import: self.order.id,
                    rows: chunk,
                    each: self.order.each,
                };
                let (engine, context, dry_run) = (self.engine, self.context(None), self.order.dry_run);
                flying.push(async move { (size, engine.run_or_rehearse(context, act, dry_run).await) });
            }
            let Some((size, added)) = flying.next().await else { break };
            let Added { added, already_there, refused, took } = added?;
            self.report.imported += added;
            self.report.already_there += already_there;
            bad.extend(refused.into_iter().filter_map(|(line, reason)| Some(BadRow { line, reason, row: raws.remove(&line)? })));
            watch.progress(&self.report);
            self.pace.after(self.engine, size, took).await;
        }
        Ok(())
    }

    async fn coupons(&mut self, items: Vec<(u64, Raw, Item)>) -> Result<()> {
        let (Some(campaign), Some(definition)) = (self.order.campaign, self.pool) else { return Ok(()) };
        let codes: Vec<String> = items.into_iter().filter_map(|(_, _, item)| if let Item::Coupon(code) = item { Some(code) } else { None }).collect();
        for codes in codes.chunks(COUPONS_PER_CHUNK) {
            let act = AddCoupons { campaign, definition, codes: codes.to_vec() };
            let pool = self.engine.run_or_rehearse(self.context(None), act, self.order.dry_run).await?;
            self.report.imported += pool.added as u64;
            self.report.already_there += codes.len() as u64 - pool.added as u64;
        }
        Ok(())
    }

    /// Rows about the same person one after the other, all others at once.
    async fn single(&mut self, items: Vec<(u64, Raw, Item)>, bad: &mut Vec<BadRow>) -> Result<()> {
        let mut lanes: HashMap<String, Vec<(u64, Raw, Item)>> = HashMap::new();
        let mut order = Vec::new();
        for (line, raw, item) in items {
            let key = match &item {
                Item::Lead(row) => row.person.email.mailbox_key(),
                Item::Qualification(row) => format!("{:?}", row.lead).to_lowercase(),
                Item::Referrer(_) | Item::Coupon(_) => continue,
            };
            let lane = lanes.entry(key.clone()).or_default();
            if lane.is_empty() {
                order.push(key);
            }
            lane.push((line, raw, item));
        }
        let in_flight = if self.engine.store().engine() == store::Engine::Sqlite { IN_FLIGHT_SQLITE } else { IN_FLIGHT_POSTGRES };
        let this = &*self;
        let lanes = order.into_iter().filter_map(|key| lanes.remove(&key));
        let mut done = futures_util::stream::iter(lanes)
            .map(|lane| async move {
                let mut fates = Vec::with_capacity(lane.len());
                for (line, raw, item) in lane {
                    fates.push((line, raw, this.one(item).await));
                }
                fates
            })
            .buffer_unordered(in_flight);
        let (mut imported, mut already_there, mut failure) = (0, 0, None);
        while let Some(fates) = done.next().await {
            for (line, row, fate) in fates {
                match fate {
                    Ok(Fate::Imported) => imported += 1,
                    Ok(Fate::AlreadyThere) => already_there += 1,
                    Ok(Fate::Refused(reason)) => bad.push(BadRow { line, reason, row }),
                    Err(Error::Store(error)) => {
                        failure.get_or_insert(Error::Store(error));
                    }
                    Err(error) => bad.push(BadRow { line, reason: reason(&error), row }),
                }
            }
        }
        drop(done);
        self.report.imported += imported;
        self.report.already_there += already_there;
        failure.map_or(Ok(()), Err)
    }

    async fn one(&self, item: Item) -> Result<Fate> {
        let dry_run = self.order.dry_run;
        match (item, self.order.campaign) {
            (Item::Lead(row), Some(campaign)) => {
                let context = self.context(row.since);
                self.engine.run_or_rehearse(context, ImportLead { campaign, row: *row }, dry_run).await
            }
            (Item::Qualification(row), campaign) => self.engine.run_or_rehearse(self.context(None), ImportQualification { campaign, row }, dry_run).await,
            _ => Err(Error::Invalid { field: "campaign".into(), expected: "the campaign that the rows are for".into() }),
        }
    }
}

/// How much is done at once, so that nobody waits long behind it.
struct Pace {
    /// Rows of a chunk.
    rows: usize,
    /// Chunks that are worked on at once.
    lanes: usize,
    lanes_idle: usize,
    hold_idle: Duration,
    /// Commands that the store has answered, as last seen.
    commands: u64,
    busy_until: Option<Instant>,
}

/// How long a chunk may hold SQLite's writer when nobody else writes; as much again goes into its commit.
const HOLD_SQLITE: Duration = Duration::from_millis(30);
/// PostgreSQL has no one writer to hold, and works on two chunks at once.
const HOLD_POSTGRES: Duration = Duration::from_millis(250);
const LANES_POSTGRES: usize = 2;
/// How long when somebody else writes, on either. On SQLite as much again goes into the commit, and who comes at a bad
/// moment waits for both.
const HOLD_BUSY: Duration = Duration::from_millis(2);
/// Others count for so long after they were last seen.
const BUSY_FOR: Duration = Duration::from_secs(2);
const ROWS_MIN: usize = 64;

impl Pace {
    fn new(engine: &Engine) -> Self {
        let (lanes, hold_idle) = match engine.store().engine() {
            store::Engine::Sqlite => (1, HOLD_SQLITE),
            store::Engine::Postgres => (LANES_POSTGRES, HOLD_POSTGRES),
        };
        Self { rows: 512, lanes, lanes_idle: lanes, hold_idle, commands: engine.store_stats().commands, busy_until: None }
    }

    /// Sizes the next chunk by how long this one took, and lets others go first.
    async fn after(&mut self, engine: &Engine, rows: usize, took: Duration) {
        let commands = engine.store_stats().commands;
        // The chunks themselves, and what a server does by itself each second.
        if commands > self.commands + 3 {
            self.busy_until = Some(Instant::now() + BUSY_FOR);
        }
        self.commands = commands;
        let busy = self.busy_until.is_some_and(|until| until > Instant::now());
        let hold = if busy { HOLD_BUSY } else { self.hold_idle };
        self.lanes = if busy { 1 } else { self.lanes_idle };
        let fitting = rows as f64 * hold.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.rows = (fitting as usize).clamp(self.rows / 4, self.rows * 2).clamp(ROWS_MIN, WINDOW / self.lanes_idle);
        if busy {
            tokio::time::sleep(2 * took).await; // As long as the work and its commit.
        }
    }
}
