//! Visits: every use of a referral link, recorded on the server.
//!
//! A visit is handed to the recorder before the answer is sent. The recorder commits
//! what has come in at most [`FLUSH_EVERY_MS`] later, so a killed process loses at most
//! the visits of that time and of one commit. When it cannot keep up, the links wait;
//! nothing is dropped.

use super::{
    Error, Result, Shared, Space,
    event::EventType,
    list::{Listing, Page, Query},
    view,
    work::{Context, Work},
};
use goodword_core::{
    campaign::{CampaignStatus, LinkMode},
    ids::{CampaignId, ReferrerId, VisitorId},
    time::{DAY_MS, Timestamp},
};
use goodword_store::{Arg, Command, Row, Store, Tx, Type};
use serde::Serialize;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a visit may wait for others before it is committed.
pub const FLUSH_EVERY_MS: u64 = 20;
/// After so long it is tried again, where the database did not take them.
const RETRY_EVERY_MS: u64 = 100;
/// What a process that has ended leaves behind is kept so long.
const RECORDERS_KEPT_MS: i64 = 7 * DAY_MS;
const BATCH_MAX: usize = 4_096;
const QUEUE_MAX: usize = 65_536;

/// What a referral link is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    Phone,
    Tablet,
    Desktop,
    Other,
}

impl Device {
    pub const fn as_str(self) -> &'static str {
        match self {
            Device::Phone => "phone",
            Device::Tablet => "tablet",
            Device::Desktop => "desktop",
            Device::Other => "other",
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "phone" => Device::Phone,
            "tablet" => Device::Tablet,
            "desktop" => Device::Desktop,
            _ => Device::Other,
        }
    }
}

/// One use of a link.
#[derive(Debug, Clone)]
pub struct Visit {
    pub space: Space,
    pub campaign: CampaignId,
    pub referrer: ReferrerId,
    pub visitor: Option<VisitorId>,
    pub at: Timestamp,
    /// The host of the page that the link stood on, without path or query.
    pub referring_host: Option<Arc<str>>,
    pub device: Device,
    pub bot: bool,
    /// How the link was shared, where it says so: `whatsapp`, `qr`, `link`.
    pub source: Arc<str>,
    pub ip: Option<IpAddr>,
}

/// Takes visits in and commits them in batches.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Visit>);

impl Recorder {
    /// Starts the task that commits. It ends when the last clone is dropped and
    /// everything is written.
    pub(super) fn start(store: Store, shared: Arc<Shared>) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(async move {
            let recorder = Uuid::now_v7();
            let mut batch = Vec::new();
            let mut n = 0;
            while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
                if batch.len() < BATCH_MAX {
                    tokio::time::sleep(Duration::from_millis(FLUSH_EVERY_MS)).await;
                    while batch.len() < BATCH_MAX
                        && let Ok(visit) = receiver.try_recv()
                    {
                        batch.push(visit);
                    }
                }
                let visits: Arc<[Visit]> = std::mem::take(&mut batch).into();
                // The disk may be full or the database away: visits wait, links go on until the queue is full.
                // Who wants to be told of visits has asked for it; nobody else pays for it.
                let wanted = visits.iter().any(|visit| shared.endpoints.asked_for(visit.space, EventType::VisitRecorded));
                n += 1;
                let record = Arc::new(Record { recorder, n, visits, tell: wanted.then(|| (shared.clone(), super::seed(super::age()))) });
                let mut failed = false;
                let told = loop {
                    match store.write(Recording(record.clone())).await {
                        Ok(told) => break told,
                        Err(error) => {
                            if !std::mem::replace(&mut failed, true) {
                                tracing::error!(%error, "visits cannot be written; they wait in memory until they can");
                            }
                            tokio::time::sleep(Duration::from_millis(RETRY_EVERY_MS)).await;
                        }
                    }
                };
                if !told.is_empty() {
                    shared.endpoints.ring(told);
                }
                if failed {
                    tracing::warn!("visits can be written again");
                }
            }
        });
        (Self(sender), task)
    }

    /// Hands a visit over; waits where the queue is full.
    pub async fn record(&self, visit: Visit) -> Result<()> {
        self.0.send(visit).await.map_err(|_| Error::Store(goodword_store::Error::Unavailable("the server is stopping".into())))
    }
}

struct Record {
    recorder: Uuid,
    /// Which of its batches this is.
    n: i64,
    visits: Arc<[Visit]>,
    /// What events need, where somebody wants them.
    tell: Option<(Arc<Shared>, u128)>,
}

/// Shared, so that it can be tried again.
struct Recording(Arc<Record>);

const COLUMNS: &[(&str, Type)] = &[
    ("space", Type::Int),
    ("campaign_id", Type::Id),
    ("participant_id", Type::Id),
    ("visitor", Type::Id),
    ("at", Type::Int),
    ("referring_host", Type::Text),
    ("device", Type::Text),
    ("bot", Type::Bool),
    ("source", Type::Text),
    ("ip", Type::Text),
];

impl Command for Recording {
    type Output = Vec<Uuid>;
    type Error = Error;

    /// Endpoints for which something was written.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Uuid>> {
        let visits = &self.0.visits;
        let now = super::wall();
        // A commit that was not answered may have been made all the same.
        let sql = "INSERT INTO recorders (id, batches, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET batches = excluded.batches, updated_at = excluded.updated_at WHERE recorders.batches < excluded.batches";
        if tx.execute(sql, &[self.0.recorder.into(), self.0.n.into(), now.ms().into()]).await? == 0 {
            return Ok(Vec::new());
        }
        if self.0.n == 1 {
            tx.push("DELETE FROM recorders WHERE updated_at < $1", &[now.plus_ms(-RECORDERS_KEPT_MS).ms().into()]).await?;
        }
        let ips: Vec<Option<String>> = visits.iter().map(|visit| visit.ip.map(|ip| ip.to_string())).collect();
        let rows: Vec<Vec<Arg<'_>>> = visits
            .iter()
            .zip(&ips)
            .map(|(visit, ip)| {
                vec![
                    visit.space.into(),
                    visit.campaign.uuid().into(),
                    visit.referrer.uuid().into(),
                    visit.visitor.map(|id| id.uuid()).into(),
                    visit.at.ms().into(),
                    visit.referring_host.as_deref().into(),
                    visit.device.as_str().into(),
                    visit.bot.into(),
                    (&*visit.source).into(),
                    ip.as_deref().into(),
                ]
            })
            .collect();
        tx.insert_new("visits", COLUMNS, 2, &rows).await?;
        let Some((shared, seed)) = &self.0.tell else { return Ok(Vec::new()) };
        let mut told = Vec::new();
        for (visit, n) in visits.iter().zip(0u128..) {
            if shared.endpoints.asked_for(visit.space, EventType::VisitRecorded) {
                tell(tx, shared, visit, seed.wrapping_add(n), &mut told).await?;
            }
        }
        Ok(told)
    }
}

/// Writes the event of a visit, with its deliveries.
async fn tell(tx: &mut Tx<'_>, shared: &Shared, visit: &Visit, seed: u128, told: &mut Vec<Uuid>) -> Result<()> {
    let wall = super::wall();
    let context = Context { space: visit.space, now: visit.at, wall, actor: "link".into(), source: visit.source.clone(), seed };
    let campaign = super::campaign::find(tx, shared, visit.space, visit.campaign).await?;
    let referrer = super::participant::find(tx, visit.space, visit.referrer.uuid()).await?;
    let data = view::EventData {
        referrer: campaign.as_ref().zip(referrer).map(|(campaign, referrer)| referrer.referrer_view(campaign, shared)),
        campaign: campaign.map(|campaign| campaign.reference()),
        visit: Some(view::VisitRef {
            referrer_id: visit.referrer,
            visitor_id: visit.visitor,
            referring_host: visit.referring_host.as_deref().map(str::to_owned),
            device: visit.device,
            bot: visit.bot,
            source: visit.source.to_string(),
            at: visit.at,
        }),
        ..Default::default()
    };
    let mut work = Work::new(tx, &context, shared, &[]);
    work.emit(EventType::VisitRecorded, &visit.referrer, Some(visit.referrer.uuid()), &data)?;
    work.tell().await?;
    told.extend(work.ring);
    Ok(())
}

/// A visit as it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VisitView {
    pub number: i64,
    pub campaign_id: CampaignId,
    pub referrer_id: ReferrerId,
    pub visitor_id: Option<VisitorId>,
    pub at: Timestamp,
    pub referring_host: Option<String>,
    pub device: Device,
    pub bot: bool,
    pub source: String,
}

#[derive(Debug, Clone, Default)]
pub struct VisitFilter {
    pub campaign: Option<CampaignId>,
    pub referrer: Option<ReferrerId>,
    pub bot: Option<bool>,
}

pub async fn list(tx: &mut Tx<'_>, space: Space, filter: &VisitFilter, page: &Page) -> Result<Listing<VisitView>> {
    let mut query = Query::new(VISITS, space);
    if let Some(id) = filter.campaign {
        query.and_id("campaign_id =", id.uuid());
    }
    if let Some(id) = filter.referrer {
        query.and_id("participant_id =", id.uuid());
    }
    if let Some(bot) = filter.bot {
        query.and(if bot { "bot" } else { "NOT bot" });
    }
    if let Some(after) = page.created_after {
        query.and_int("at >", after.ms());
    }
    if let Some(before) = page.created_before {
        query.and_int("at <", before.ms());
    }
    query.page_by_number(tx, page, "seq", read, |visit| visit.number).await
}

const VISITS: &str = "SELECT seq, campaign_id, participant_id, visitor, at, referring_host, device, bot, source, ip FROM visits";

fn read(row: &Row<'_>) -> goodword_store::Result<VisitView> {
    Ok(VisitView {
        number: row.get(0)?,
        campaign_id: CampaignId::from_uuid(row.get(1)?),
        referrer_id: ReferrerId::from_uuid(row.get(2)?),
        visitor_id: row.get::<Option<Uuid>>(3)?.map(VisitorId::from_uuid),
        at: Timestamp::from_ms(row.get(4)?),
        referring_host: row.get(5)?,
        device: Device::parse(row.text(6)?),
        bot: row.get(7)?,
        source: row.get(8)?,
    })
}

/// The first visits of a browser, with its network address where that is still kept. Reads all visits of the side.
pub(super) async fn of_visitor(tx: &mut Tx<'_>, space: Space, visitor: Uuid, limit: usize) -> Result<Vec<(VisitView, Option<String>)>> {
    let sql = super::work::statement(VISITS, " WHERE space = $1 AND visitor = $2 ORDER BY seq LIMIT $3");
    Ok(tx.fetch(&sql, &[space.into(), visitor.into(), (limit as i64).into()], |row| Ok((read(row)?, row.get(9)?))).await?)
}

/// Forgets the network addresses of visits and participants that are older than allowed.
pub struct ForgetAddresses {
    pub before: Timestamp,
}

impl Command for ForgetAddresses {
    type Output = u64;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64> {
        // A bounded number at a time, so that nobody waits long behind it.
        let visits = self.of_visits(tx).await?;
        let people = tx
            .execute(
                "UPDATE participants SET ip = NULL WHERE no IN (SELECT no FROM participants WHERE ip IS NOT NULL AND created_at < $1 LIMIT 2000)",
                &[self.before.ms().into()],
            )
            .await?;
        Ok(visits + people)
    }
}

/// Visits that are looked at in one go.
const ADDRESSES_PER_ROUND: i64 = 5_000;

impl ForgetAddresses {
    /// Visits are in the order of time, so it goes on where it stopped, at the first one
    /// that is too young. The clock of a test side may be ahead: its visits hold nobody up,
    /// and are forgotten with the live ones around them.
    async fn of_visits(&self, tx: &mut Tx<'_>) -> Result<u64> {
        const FORGOTTEN: &str = "addresses_forgotten";
        let read = |row: &Row<'_>| row.get::<String>(0);
        let from = tx.fetch_one("SELECT value FROM installation WHERE key = $1", &[FORGOTTEN.into()], read).await?;
        let from = from.and_then(|seq| seq.parse::<i64>().ok()).unwrap_or_default();
        let read = |row: &Row<'_>| Ok((row.get::<i64>(0)?, Space::new(row.get(1)?), Timestamp::from_ms(row.get(2)?)));
        let next = tx.fetch("SELECT seq, space, at FROM visits WHERE seq > $1 ORDER BY seq LIMIT $2", &[from.into(), ADDRESSES_PER_ROUND.into()], read).await?;
        let old = next.iter().take_while(|(_, space, at)| *at < self.before || space.is_test());
        let Some(&(to, ..)) = old.last() else { return Ok(0) };
        tx.push("UPDATE visits SET ip = NULL WHERE seq > $1 AND seq <= $2 AND ip IS NOT NULL", &[from.into(), to.into()]).await?;
        let text = to.to_string();
        let keep = "INSERT INTO installation (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        tx.push(keep, &[FORGOTTEN.into(), text.as_str().into()]).await?;
        Ok(u64::from(next.len() as i64 == ADDRESSES_PER_ROUND))
    }
}

/// Where a code leads.
#[derive(Debug, Clone)]
pub struct Link {
    pub space: Space,
    pub campaign: CampaignId,
    /// `None` for a campaign's own code.
    pub participant: Option<Uuid>,
    /// As it was given out.
    pub code: String,
    /// For `direct` links of an active referrer: the address with the code in it, and
    /// when the campaign begins and ends.
    redirect: Option<String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

impl Link {
    /// Where it leads straight to, at that time; `None` where a page has something to say.
    pub fn redirect(&self, now: Timestamp) -> Option<&str> {
        let open = self.starts_at.is_none_or(|start| now >= start) && self.ends_at.is_none_or(|end| now < end);
        self.redirect.as_deref().filter(|_| open)
    }
}

/// Looks a code up, on whichever side it belongs to.
pub async fn resolve(tx: &mut Tx<'_>, shared: &Shared, code: &goodword_core::text::Code) -> Result<Option<Link>> {
    let sql = "SELECT space, campaign_id, participant_id, code FROM codes WHERE code_key = $1";
    let read = |row: &Row<'_>| Ok((Space::new(row.get(0)?), CampaignId::from_uuid(row.get(1)?), row.get::<Option<Uuid>>(2)?, row.get::<String>(3)?));
    let Some((space, campaign, participant, code)) = tx.fetch_one(sql, &[code.key().as_str().into()], read).await? else { return Ok(None) };
    let Some(found) = super::campaign::find(tx, shared, space, campaign).await? else { return Ok(None) };
    let active = match participant {
        Some(id) => super::participant::find(tx, space, id).await?.is_some_and(|person| person.suspended_at.is_none()),
        None => false,
    };
    let settings = found.settings();
    let direct = found.status == CampaignStatus::Live && settings.link.mode == LinkMode::Direct && active;
    let redirect = settings.link.destination.as_ref().filter(|_| direct).map(|url| url.with_parameter(&settings.link.parameter, &code));
    Ok(Some(Link { space, campaign, participant, code, redirect, starts_at: settings.starts_at, ends_at: settings.ends_at }))
}
