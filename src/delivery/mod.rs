//! Tells endpoints what happens: takes due deliveries, sends them, writes down what came of it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`lane`] | one endpoint's queue, connections and pace |
//! | [`client`] | one signed POST |
//! | [`address`] | which addresses are called |
//! | [`sign`], [`schedule`] | signatures, and when to try again |
//! | [`shape`], [`referral_factory`] | bodies, in the shapes that receivers understand |
//! | [`meter`] | what is counted |
//!
//! One task claims in batches for all lanes that have room, each lane sends by itself, and
//! one task records results in batches. A lane that keeps up takes deliveries as they are
//! written ([`crate::engine::door`]). Deliveries arrive at least once: what a killed
//! process had in hand is sent again by whoever takes it after its lease, under the same id.
//! While an endpoint fails, its deliveries wait, one of them probes, and everything goes out
//! as soon as it is taken again.

pub mod address;
pub mod client;
pub mod lane;
pub mod meter;
pub mod referral_factory;
pub mod schedule;
pub mod shape;
pub mod sign;

pub use address::Guard;
pub use meter::Meter;

use crate::engine::{
    Engine, Error, Result, Space, campaign,
    delivery::{self, Claim, Claimed, Clamp, LEASE, Record, Release, Skip, SkipTaken, StepReplay, Taken, Tried, Want},
    door::{Handed, Seat},
    endpoint::{DISABLE_AFTER_MS, Endpoint, EndpointStatus, Failing, Gone, Recovered, Shape, SkipReason, WARN_AFTER_MS},
    feed::Event,
    number, random_bytes,
};
use bytes::Bytes;
use client::{Client, Target};
use goodword_core::time::Timestamp;
use goodword_store as store;
use lane::{Health, Job, Lane};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use uuid::Uuid;

/// How often the database is asked what is due: for retries, and for what other nodes wrote.
const POLL: Duration = Duration::from_secs(1);
/// How often is looked at how much is due.
const MEASURE: Duration = Duration::from_secs(5);
/// So long apart are claims, and records, while there is much to do: a commit for ten costs little more than one
/// for one. What comes after a quiet time waits for neither.
const PACE: Duration = Duration::from_millis(10);
/// Deliveries claimed at once at most, for all lanes: some milliseconds of the writer's time.
const CLAIM_MAX: usize = 1_000;
/// Lanes that one claim is for at most: on PostgreSQL each is a round trip.
const LANES_MAX: usize = 64;
/// Deliveries in hand at most, for all lanes: some ten MiB.
const HELD_MAX: usize = 20_000;
/// Results that wait to be written; more, and the lanes wait.
const TRIED_MAX: usize = 8_192;
/// Deliveries that were taken as they were written, handed to their lanes at once.
const HANDED_MAX: usize = 1_000;
/// Results written at once.
const RECORD_MAX: usize = 1_000;
/// Bodies kept for other endpoints of the same event, and how long: what is erased meanwhile is not sent hours later.
const BODIES_MAX: usize = 4_096;
const BODIES_FOR: Duration = Duration::from_secs(10);
/// How long what is being sent may go on after the signal to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// What it needs to know. Tests have their own clock.
#[derive(Clone)]
pub struct Settings {
    pub guard: Arc<Guard>,
    pub resolve: client::Resolve,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub timeout: Duration,
}

impl Settings {
    pub fn new(engine: &Engine, guard: Arc<Guard>) -> Self {
        let engine = engine.clone();
        Self { guard, resolve: client::resolve(), clock: Arc::new(move || engine.wall()), timeout: client::TIMEOUT }
    }
}

/// What the lanes share.
pub struct Station {
    pub engine: Engine,
    pub client: Client,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub tried: mpsc::Sender<Tried>,
    pub meter: Arc<Meter>,
    /// Leases are in this name.
    node: Uuid,
}

impl Station {
    /// Gives back what was taken and not tried; without the database it is given back when the lease ends.
    async fn give_back(&self, taken: Taken) {
        if taken.0.is_empty() {
            return;
        }
        let release = Release { taken, node: self.node, now: (self.clock)() };
        if let Err(error) = self.engine.store().write(release).await {
            tracing::warn!(%error, "what was taken is given back when its lease ends");
        }
    }
}

/// A running dispatcher.
pub struct Dispatcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts to deliver.
    pub fn start(engine: &Engine, settings: Settings, meter: Arc<Meter>) -> Result<Self> {
        let client =
            Client::new(settings.guard, settings.resolve, settings.timeout).map_err(|error| Error::Store(store::Error::Database(error.to_string())))?;
        let client = client.marked(engine.secret());
        let (tried, results) = mpsc::channel(TRIED_MAX);
        let node = uuid::Builder::from_random_bytes(random_bytes()).into_uuid();
        let station = Arc::new(Station { engine: engine.clone(), client, clock: settings.clock, tried, meter, node });
        let handed = engine.shared().endpoints.doors.open(node);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let lanes = Lanes::default();
            let recorder = tokio::spawn(record(engine_parts(&station), lanes.clone(), results));
            let replayer = tokio::spawn(replay(engine_parts(&station), stopped.clone()));
            Loop { station, lanes, bodies: HashMap::new(), bodies_since: Instant::now(), measured_at: None }.run(stopped, handed).await;
            let _ = replayer.await;
            let _ = recorder.await;
        });
        Ok(Self { stop, task })
    }

    /// Stops taking, lets what is being sent end, and writes down what came of it.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }

    /// Stops at once, as a killed process would. What is being sent at the moment still arrives.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

type Lanes = Arc<std::sync::Mutex<HashMap<Uuid, Arc<Lane>>>>;

fn locked(lanes: &Lanes) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Lane>>> {
    lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the recorder needs; it must not hold the sender that it ends with.
struct Parts {
    engine: Engine,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    node: Uuid,
}

fn engine_parts(station: &Station) -> Parts {
    Parts { engine: station.engine.clone(), clock: station.clock.clone(), node: station.node }
}

struct Loop {
    station: Arc<Station>,
    lanes: Lanes,
    /// Bodies of events, for the next endpoint that wants the same one.
    bodies: HashMap<BodyKey, (Arc<str>, Bytes)>,
    bodies_since: Instant,
    measured_at: Option<Instant>,
}

/// The event; and the endpoint, where its body is not the native one.
type BodyKey = (Uuid, Option<Uuid>);

fn body_key(claimed: &Claimed, shaped: &HashMap<Uuid, Arc<Lane>>) -> BodyKey {
    (claimed.event.uuid(), shaped.contains_key(&claimed.endpoint).then_some(claimed.endpoint))
}

impl Loop {
    async fn run(mut self, mut stop: watch::Receiver<bool>, mut handed: mpsc::UnboundedReceiver<Handed>) {
        let engine = self.station.engine.clone();
        let clamp = Clamp {
            now: self.now(),
            longest_wait: Duration::from_millis(schedule::WAIT_MAX_MS as u64),
            alone: engine.store().engine() == store::Engine::Sqlite,
        };
        if let Err(error) = engine.store().write(clamp).await {
            tracing::error!(%error, "due times could not be looked at");
        }
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut claimed_at, mut taken) = (Instant::now(), Vec::new());
        loop {
            let rung = async {
                tokio::time::sleep(PACE.saturating_sub(claimed_at.elapsed())).await;
                engine.shared().endpoints.rung().await;
            };
            let polled = tokio::select! {
                biased;
                _ = stop.changed() => break,
                _ = poll.tick() => true,
                Some(one) = handed.recv() => {
                    taken.push(one);
                    while taken.len() < HANDED_MAX && let Ok(one) = handed.try_recv() {
                        taken.push(one);
                    }
                    if let Err(error) = self.take(taken.drain(..)).await {
                        tracing::warn!(%error, "what was taken is given back when its lease ends");
                    }
                    continue;
                }
                () = rung => false,
            };
            claimed_at = Instant::now();
            let mut rung = engine.shared().endpoints.take_rung();
            let outcome = async {
                if polled {
                    rung.extend(self.poll().await?);
                }
                self.serve(rung).await
            };
            if let Err(error) = outcome.await {
                tracing::warn!(%error, "deliveries cannot be taken, trying again");
                tokio::time::sleep(POLL).await;
            }
        }
        engine.shared().endpoints.doors.close();
        while let Ok(one) = handed.try_recv() {
            taken.push(one);
        }
        self.station.give_back(taken.iter().flat_map(|handed| handed.taken.iter().map(|(claimed, _)| claimed)).collect()).await;
        self.end().await;
    }

    fn now(&self) -> Timestamp {
        (self.station.clock)()
    }

    /// Asks the database for which endpoints something is due, and does what is due by itself.
    async fn poll(&mut self) -> Result<Vec<Uuid>> {
        let engine = &self.station.engine;
        if self.bodies_since.elapsed() > BODIES_FOR {
            self.bodies.clear();
            self.bodies_since = Instant::now();
            let doors = &engine.shared().endpoints.doors;
            locked(&self.lanes).retain(|id, lane| {
                let is_of_use = !lane.tidy();
                if !is_of_use {
                    doors.remove(*id);
                }
                is_of_use
            });
        }
        let now = self.now();
        let heads = engine.read(|tx| Box::pin(delivery::heads(tx))).await?;
        let due: Vec<Uuid> = heads.iter().filter(|(_, at)| *at <= now).map(|(endpoint, _)| *endpoint).collect();
        // Counting takes longer the longer the queues are; nobody looks more often.
        if self.measured_at.is_none_or(|at| at.elapsed() > MEASURE) {
            self.measured_at = Some(Instant::now());
            self.measure(heads.into_iter().filter(|(_, at)| *at <= now).collect(), now).await?;
        }
        Ok(due)
    }

    /// How much is due, and for how long: apart, what could be sent, and what waits for a receiver that fails.
    async fn measure(&self, due: Vec<(Uuid, Timestamp)>, now: Timestamp) -> Result<()> {
        let endpoints = self.station.engine.shared().endpoints.known();
        let is_held_back = |id: &Uuid| {
            endpoints.get(*id).is_some_and(|endpoint| endpoint.status == EndpointStatus::Failing)
                || locked(&self.lanes).get(id).is_some_and(|lane| lane.is_held_back(now))
        };
        let (held, free): (Vec<_>, Vec<_>) = due.into_iter().partition(|(id, _)| is_held_back(id));
        let in_order: HashSet<Uuid> = free.iter().map(|(id, _)| *id).filter(|id| endpoints.get(*id).is_some_and(|endpoint| endpoint.in_order)).collect();
        let (mut free_since, mut held_since) = (now, held.iter().map(|(_, at)| *at).min().unwrap_or(now));
        let all: Vec<Uuid> = held.iter().chain(&free).map(|(id, _)| *id).collect();
        let read = self.station.engine.read(move |tx| {
            Box::pin(async move {
                for (id, at) in free {
                    if !in_order.contains(&id) {
                        free_since = free_since.min(at);
                        continue;
                    }
                    // The first of these may wait for one of the same person that has failed.
                    let first = delivery::free_since(tx, id, now).await?;
                    free_since = free_since.min(first.unwrap_or(now));
                    if first != Some(at) {
                        held_since = held_since.min(at);
                    }
                }
                Ok((delivery::count_due(tx, &all, now).await?, free_since, held_since))
            })
        });
        let (count, free_since, held_since) = read.await?;
        self.station.meter.set_due(count, now.ms() - free_since.ms(), now.ms() - held_since.ms());
        Ok(())
    }

    /// Claims for those that have room, and fills their lanes.
    async fn serve(&mut self, rung: HashSet<Uuid>) -> Result<()> {
        let mut wants: Vec<(Arc<Lane>, Want)> = Vec::new();
        // Those that find no room ask again when they are polled.
        let is_full = locked(&self.lanes).values().map(|lane| lane.held()).sum::<usize>() >= HELD_MAX;
        for id in rung {
            match self.lane(id).await? {
                Ok(lane) => {
                    if let Some(want) = lane.want(self.now()).filter(|_| !is_full) {
                        wants.push((lane, want));
                    }
                }
                Err(reason) => self.skip(id, reason).await?,
            }
        }
        while !wants.is_empty() {
            let mut room = CLAIM_MAX;
            let mut now: Vec<(Arc<Lane>, Want)> = Vec::new();
            while let Some((lane, want)) = wants.pop() {
                let limit = want.limit.min(room);
                room -= limit;
                now.push((lane, Want { limit, ..want }));
                if room == 0 || now.len() == LANES_MAX {
                    break;
                }
            }
            self.claim(now).await?;
        }
        Ok(())
    }

    /// Hands on what was taken as it was written.
    async fn take(&mut self, handed: impl Iterator<Item = Handed>) -> Result<()> {
        let mut all: HashMap<Uuid, (Vec<Job>, Vec<Seat>)> = HashMap::new();
        for Handed { event, taken, at } in handed {
            let workspace = self.station.engine.workspace_of(event.space).await?;
            let (id, id_text): (_, Arc<str>) = (event.id, event.id.to_string().into());
            let body = match event.read(workspace).and_then(|event| shape::native(&event)) {
                Ok(body) => body,
                Err(error) => {
                    tracing::error!(%error, event = %id, "an event cannot be written out");
                    continue;
                }
            };
            let age = Duration::from_millis((self.now().ms() - at.ms()).max(0) as u64);
            let until = Instant::now() + LEASE.saturating_sub(age);
            for (claimed, seat) in taken {
                let (jobs, seats) = all.entry(claimed.endpoint).or_default();
                jobs.push(Job { id: id_text.clone(), body: body.clone(), until, claimed });
                seats.push(seat);
            }
        }
        for (id, (jobs, seats)) in all {
            match self.lane(id).await? {
                Ok(lane) => lane.take(jobs, &self.station),
                Err(reason) => {
                    let taken = jobs.iter().map(|job| &job.claimed).collect();
                    self.station.engine.store().write(SkipTaken { taken, reason, node: self.station.node, now: self.now() }).await?;
                }
            }
            drop(seats);
        }
        Ok(())
    }

    async fn claim(&mut self, wants: Vec<(Arc<Lane>, Want)>) -> Result<()> {
        let until = Instant::now() + LEASE;
        let claim = Claim { wants: wants.iter().map(|(_, want)| want.clone()).collect(), node: self.station.node, now: self.now() };
        let claimed = self.station.engine.store().write(claim).await?;
        let shaped: HashMap<Uuid, Arc<Lane>> =
            wants.iter().filter(|(lane, _)| lane.endpoint().shape != Shape::Native).map(|(lane, _)| (lane.id, lane.clone())).collect();
        self.load(&claimed, &shaped).await?;
        let mut jobs: HashMap<Uuid, Vec<Job>> = HashMap::new();
        let mut erased = Vec::new();
        let mut counts: HashMap<Uuid, usize> = HashMap::new();
        for claimed in claimed {
            *counts.entry(claimed.endpoint).or_default() += 1;
            match self.bodies.get(&body_key(&claimed, &shaped)) {
                Some((id, body)) => jobs.entry(claimed.endpoint).or_default().push(Job { id: id.clone(), body: body.clone(), until, claimed }),
                None => erased.push(claimed),
            }
        }
        if !erased.is_empty() {
            let taken = erased.iter().collect();
            self.station.engine.store().write(SkipTaken { taken, reason: SkipReason::EventErased, node: self.station.node, now: self.now() }).await?;
        }
        for (lane, want) in wants {
            let taken = counts.get(&lane.id).copied().unwrap_or(0);
            lane.fill(jobs.remove(&lane.id).unwrap_or_default(), taken >= want.limit, &self.station);
        }
        if self.bodies.len() > BODIES_MAX {
            self.bodies.clear();
        }
        Ok(())
    }

    /// Reads and writes out the bodies that are not there yet. `shaped` are the lanes with a shape of their own.
    async fn load(&mut self, claimed: &[Claimed], shaped: &HashMap<Uuid, Arc<Lane>>) -> Result<()> {
        let mut missing: HashMap<Space, HashMap<Uuid, HashSet<Option<Uuid>>>> = HashMap::new();
        for claimed in claimed {
            let key = body_key(claimed, shaped);
            if !self.bodies.contains_key(&key) {
                missing.entry(claimed.space).or_default().entry(key.0).or_default().insert(key.1);
            }
        }
        for (space, wanted) in missing {
            for event in self.station.engine.events_of(space, wanted.keys().copied().collect()).await? {
                if event.is_erased {
                    continue;
                }
                for to in wanted.get(&event.id.uuid()).into_iter().flatten() {
                    let body = match to.as_ref().and_then(|id| shaped.get(id)) {
                        None => shape::native(&event),
                        Some(lane) => body(&self.station.engine, &lane.endpoint(), &lane.target().credentials, &event).await?,
                    };
                    match body {
                        Ok(body) => drop(self.bodies.insert((event.id.uuid(), *to), (event.id.to_string().into(), body))),
                        Err(error) => tracing::error!(%error, event = %event.id, "an event cannot be written out"),
                    }
                }
            }
        }
        Ok(())
    }

    /// The lane of an endpoint; or why there is none.
    async fn lane(&mut self, id: Uuid) -> Result<std::result::Result<Arc<Lane>, SkipReason>> {
        let engine = self.station.engine.clone();
        let registry = &engine.shared().endpoints;
        let mut known = registry.known().get(id).cloned();
        if known.is_none() {
            // It may have been made a moment ago, on another node.
            self.station.engine.refresh_endpoints().await?;
            known = registry.known().get(id).cloned();
        }
        let Some(endpoint) = known else { return Ok(Err(SkipReason::EndpointDeleted)) };
        if let Some(reason) = endpoint.status.skips() {
            return Ok(Err(reason));
        }
        let lane = locked(&self.lanes).get(&id).cloned();
        match lane {
            Some(lane) if lane.is_made_from(&endpoint) => Ok(Ok(lane)),
            Some(lane) => {
                let target = self.target(&endpoint)?;
                lane.change(endpoint, target);
                // It may want other bodies now.
                self.bodies.retain(|(_, of), _| *of != Some(id));
                Ok(Ok(lane))
            }
            None => {
                let lane = Arc::new(Lane::new(endpoint.clone(), self.target(&endpoint)?));
                registry.doors.add(id, lane.door.clone());
                locked(&self.lanes).insert(id, lane.clone());
                Ok(Ok(lane))
            }
        }
    }

    fn target(&self, endpoint: &Endpoint) -> Result<Target> {
        let engine = &self.station.engine;
        Target::of(endpoint, &engine.shared().vault, self.now())
            .map_err(|problem| Error::Store(store::Error::Database(format!("the endpoint {} cannot be called: {problem}", endpoint.id))))
    }

    /// What is due for somebody who is not told any more becomes rows that say so.
    async fn skip(&self, id: Uuid, reason: SkipReason) -> Result<()> {
        if let Some(lane) = locked(&self.lanes).remove(&id) {
            self.station.engine.shared().endpoints.doors.remove(id);
            drop(lane.empty());
        }
        while self.station.engine.store().write(Skip { endpoint: id, reason, now: self.now() }).await? {}
        Ok(())
    }

    async fn end(self) {
        let lanes: Vec<_> = locked(&self.lanes).values().cloned().collect();
        let taken = Taken(lanes.iter().flat_map(|lane| lane.empty().0).collect());
        let deadline = Instant::now() + STOP_DEADLINE;
        while lanes.iter().any(|lane| lane.is_busy()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.station.give_back(taken).await;
    }
}

/// The body of an event for an endpoint, in its shape and with these credentials.
pub async fn body(engine: &Engine, endpoint: &Endpoint, credentials: &[(String, String)], event: &Event) -> Result<serde_json::Result<Bytes>> {
    if endpoint.shape == Shape::Native {
        return Ok(shape::native(event));
    }
    let (shared, space, id) = (engine.shared_arc(), endpoint.space, event.campaign_id);
    // Configurations are kept in memory; the rest is two rows.
    let beside = engine.read(move |tx| {
        Box::pin(async move {
            let campaign = match id {
                Some(id) => campaign::find(tx, &shared, space, id).await?,
                None => None,
            };
            Ok((campaign, number::definitions(tx, space).await?))
        })
    });
    let (campaign, definitions) = beside.await?;
    let beside = referral_factory::Beside {
        public_url: &engine.shared().public_url,
        campaign: campaign.as_ref().map(|campaign| (campaign.number, campaign.settings())),
        definitions: &definitions,
    };
    Ok(shape::shaped(endpoint.shape, endpoint.layout.as_ref(), credentials, event, &beside))
}

/// Takes replays further, one step after the other.
async fn replay(parts: Parts, mut stop: watch::Receiver<bool>) {
    loop {
        let waits = match parts.engine.store().write(StepReplay { now: (parts.clock)() }).await {
            Ok(Some(endpoint)) => {
                parts.engine.shared().endpoints.ring([endpoint.uuid()]);
                // Others want the database, too.
                Duration::from_millis(20)
            }
            Ok(None) => POLL,
            Err(error) => {
                tracing::warn!(%error, "a replay cannot go on, trying again");
                POLL
            }
        };
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(waits) => {}
        }
    }
}

/// Writes results in batches, and tells the engine when an endpoint's health has changed.
async fn record(parts: Parts, lanes: Lanes, mut results: mpsc::Receiver<Tried>) {
    let mut batch = Vec::new();
    let mut begun = Instant::now();
    while results.recv_many(&mut batch, RECORD_MAX).await > 0 {
        let early = PACE.saturating_sub(begun.elapsed());
        if !early.is_zero() && batch.len() < RECORD_MAX {
            tokio::time::sleep(early).await;
            while batch.len() < RECORD_MAX
                && let Ok(tried) = results.try_recv()
            {
                batch.push(tried);
            }
        }
        begun = Instant::now();
        let tried: Arc<[Tried]> = std::mem::take(&mut batch).into();
        loop {
            let record = Record { tried: tried.clone(), node: parts.node, now: (parts.clock)() };
            match parts.engine.store().write(record).await {
                Ok(()) => break,
                // What cannot be written yet is kept: the receivers have it, and it must not be sent again.
                Err(error) => tracing::error!(%error, results = tried.len(), "what came of deliveries cannot be written, trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let endpoints: HashSet<Uuid> = tried.iter().map(|tried| tried.claimed.endpoint).collect();
        let mut again = Vec::new();
        for id in endpoints {
            let Some(lane) = locked(&lanes).get(&id).cloned() else { continue };
            // The next one of the same person may go now.
            if lane.endpoint().in_order {
                again.push(id);
            }
            if let Err(error) = tell_health(&parts, &lane).await {
                tracing::warn!(%error, endpoint = %lane.endpoint_id(), "the endpoint's health could not be written");
            }
        }
        if !again.is_empty() {
            parts.engine.shared().endpoints.ring(again);
        }
    }
}

/// Tells the engine what it does not know of an endpoint yet.
async fn tell_health(parts: &Parts, lane: &Lane) -> Result<()> {
    let Some(known) = parts.engine.shared().endpoints.known().get(lane.id).cloned() else { return Ok(()) };
    let now = (parts.clock)();
    let mut context = parts.engine.context(known.space, "delivery", "delivery");
    context.wall = now;
    match lane.health(now) {
        Health::Well if known.status == EndpointStatus::Failing => {
            // Only what has been taken says that it is well; a short streak says nothing yet.
            if lane.is_well() { parts.engine.run(context, Recovered { id: known.id }).await } else { Ok(()) }
        }
        Health::FailingSince(since) => {
            let lasted_ms = now.ms() - known.failing_since.unwrap_or(since).min(since).ms();
            let warn = known.warned_at.is_none() && lasted_ms >= WARN_AFTER_MS;
            let disable = lasted_ms >= DISABLE_AFTER_MS && known.warned_at.is_some_and(|at| now.ms() - at.ms() >= WARN_AFTER_MS);
            if known.status == EndpointStatus::Active || warn || disable { parts.engine.run(context, Failing { id: known.id, since }).await } else { Ok(()) }
        }
        Health::Gone if known.status.skips().is_none() => parts.engine.run(context, Gone { id: known.id }).await,
        _ => Ok(()),
    }
}
