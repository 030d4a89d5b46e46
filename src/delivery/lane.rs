//! One endpoint's queue: what this node has taken for it, the connections to it, and how
//! much it can take. A receiver that hangs holds up its own lane and nothing else.

use super::{
    Station,
    client::{Connection, Target},
    schedule,
};
use crate::engine::{
    delivery::{Claimed, FailureKind, LEASE, Next, Taken, Tried, Want},
    door::Door,
    endpoint::{Endpoint, Shape, SkipReason},
};
use bytes::Bytes;
use goodword_core::{ids::EndpointId, time::Timestamp};
use hyper::StatusCode;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Deliveries that one lane has in hand at most, beside those that are being sent.
const AHEAD_MAX: usize = 500;
/// After so many failures in a row, one delivery at a time probes the receiver.
const PROBE_AFTER: u32 = 10;
/// And so long is waited between two probes at most.
const REST_MAX: Duration = Duration::from_secs(60);
/// A receiver that says when to come again is left alone so long at most; each delivery may wait longer.
const REST_ASKED_MAX: Duration = Duration::from_secs(3_600);
/// A connection that was not used for so long is closed: receivers and proxies keep theirs a little longer.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// A streak of failures of this age says more than that one message was not understood.
const STREAK_MS: i64 = 60_000;

/// A delivery in hand.
pub struct Job {
    pub claimed: Claimed,
    /// The event's id, which is the message's.
    pub id: Arc<str>,
    pub body: Bytes,
    /// Whose it is until then.
    pub until: Instant,
}

/// What is worth telling the engine about an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    FailingSince(Timestamp),
    Gone,
}

pub struct Lane {
    pub id: Uuid,
    /// Through which deliveries come in as they are written.
    pub door: Arc<Door>,
    state: Mutex<State>,
}

struct State {
    endpoint: Arc<Endpoint>,
    target: Arc<Target>,
    queue: VecDeque<Job>,
    /// Tasks that send.
    running: usize,
    idle: Vec<Connection>,
    /// There is more in the database.
    more: bool,
    /// Failures in a row, and since when.
    failures: u32,
    failing_since: Option<Timestamp>,
    gone: bool,
    /// By the clock of deliveries, as everything that waits for long.
    rest_until: Option<Timestamp>,
    /// When that was said.
    rests_since: Instant,
    /// What may be sent now, by the endpoint's rate.
    tokens: f64,
    tokens_at: Instant,
    pace: Pace,
}

/// How many deliveries end in a second: as many are taken ahead.
struct Pace {
    ended: usize,
    since: Instant,
    per_second: usize,
}

impl Pace {
    fn count(&mut self, now: Instant) {
        self.ended += 1;
        let passed = now.duration_since(self.since);
        if passed >= Duration::from_secs(1) {
            self.per_second = (self.ended as f64 / passed.as_secs_f64()) as usize;
            (self.ended, self.since) = (0, now);
        }
    }

    fn ahead(&self) -> usize {
        self.per_second.max(self.ended).min(AHEAD_MAX)
    }
}

enum Step {
    Send(Job, Arc<Target>),
    /// The endpoint's rate allows no more for the moment.
    Wait(Duration),
    /// The endpoint is left alone for a while: these are given back.
    Rest(Taken),
    End,
}

impl Lane {
    pub fn new(endpoint: Arc<Endpoint>, target: Target) -> Self {
        let now = Instant::now();
        let state = State {
            target: Arc::new(target),
            queue: VecDeque::new(),
            running: 0,
            idle: Vec::new(),
            more: false,
            failures: 0,
            failing_since: endpoint.failing_since,
            gone: false,
            rest_until: None,
            rests_since: now,
            tokens: 1.0,
            tokens_at: now,
            pace: Pace { ended: 0, since: now, per_second: 0 },
            endpoint,
        };
        Self { id: state.endpoint.id.uuid(), door: Arc::default(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.state().endpoint.clone()
    }

    pub fn target(&self) -> Arc<Target> {
        self.state().target.clone()
    }

    /// Whether it was made from another state of the endpoint.
    pub fn is_made_from(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.state().endpoint, endpoint)
    }

    pub fn change(&self, endpoint: Arc<Endpoint>, target: Target) {
        let mut state = self.state();
        if state.target.url != target.url {
            state.idle.clear();
        }
        // Somebody switched it on again: it begins anew.
        if endpoint.updated_at != state.endpoint.updated_at {
            (state.failures, state.rest_until, state.gone) = (0, None, false);
            state.failing_since = endpoint.failing_since;
        }
        state.target = Arc::new(target);
        state.endpoint = endpoint;
        self.door.set_room(state.room_ahead());
    }

    /// How many more it has room for. Remembers that somebody asked.
    pub fn want(&self, now: Timestamp) -> Option<Want> {
        let mut state = self.state();
        state.more = true;
        self.door.set_room(0);
        let limit = state.room(now)?;
        Some(Want { endpoint: self.id, in_order: state.endpoint.in_order, limit })
    }

    /// Takes what was claimed for it; `more` where there may be more.
    pub fn fill(self: &Arc<Self>, jobs: Vec<Job>, more: bool, station: &Arc<Station>) {
        self.state().more = more;
        self.take(jobs, station);
    }

    /// Takes these beside what it has.
    pub fn take(self: &Arc<Self>, jobs: Vec<Job>, station: &Arc<Station>) {
        let mut state = self.state();
        state.queue.extend(jobs);
        self.door.set_room(state.room_ahead());
        let starting = state.queue.len().min(state.at_once().saturating_sub(state.running));
        state.running += starting;
        drop(state);
        for _ in 0..starting {
            tokio::spawn(self.clone().send_on(station.clone()));
        }
    }

    /// Sends one after the other until nothing is left.
    async fn send_on(self: Arc<Self>, station: Arc<Station>) {
        let mut connection = self.state().idle.pop();
        loop {
            match self.step((station.clock)()) {
                Step::End => break,
                Step::Rest(taken) => {
                    station.give_back(taken).await;
                    break;
                }
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Send(job, target) => {
                    let begun = Instant::now();
                    let (tried, health, rest) = try_once(&station, job, &target, &mut connection).await;
                    let hungry = self.ended(begun, health, rest, (station.clock)());
                    if hungry {
                        station.engine.shared().endpoints.ring([self.id]);
                    }
                    // Waits where the database cannot keep up.
                    if station.tried.send(tried).await.is_err() {
                        break;
                    }
                }
            }
        }
        if let Some(connection) = connection {
            self.state().idle.push(connection);
        }
    }

    fn step(&self, at: Timestamp) -> Step {
        let now = Instant::now();
        let mut state = self.state();
        if state.rests(at) {
            state.running -= 1;
            return Step::Rest(state.empty());
        }
        if state.running > state.at_once() {
            state.running -= 1;
            return Step::End;
        }
        // What will not be ours any more when it is done is left to whoever takes it next.
        while state.queue.front().is_some_and(|job| job.until < now + super::client::TIMEOUT) {
            state.queue.pop_front();
        }
        if state.queue.is_empty() {
            state.running -= 1;
            return Step::End;
        }
        if let Some(wait) = state.take_token(now) {
            return Step::Wait(wait);
        }
        match state.queue.pop_front() {
            Some(job) => Step::Send(job, state.target.clone()),
            None => Step::Wait(Duration::ZERO),
        }
    }

    /// Takes note of how a try went. Answers whether more should be claimed.
    fn ended(&self, begun: Instant, health: Health, rest: Option<Duration>, at: Timestamp) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.pace.count(now);
        // Many are under way when a receiver goes down. What they say is known already: only a probe makes the
        // next one wait longer.
        let is_known = state.failures >= PROBE_AFTER && begun < state.rests_since;
        match health {
            Health::Well => (state.failures, state.failing_since, state.rest_until) = (0, None, None),
            Health::Gone => state.gone = true,
            Health::FailingSince(_) => {
                state.failures = state.failures.saturating_add(u32::from(!is_known));
                state.failing_since.get_or_insert(at);
            }
        }
        let probing = state.failures.checked_sub(PROBE_AFTER).filter(|_| !is_known).map(|beyond| Duration::from_secs(1 << beyond.min(6)).min(REST_MAX));
        if let Some(rest) = rest.map(|asked| asked.min(REST_ASKED_MAX)).max(probing) {
            state.rest_until = state.rest_until.filter(|_| is_known).max(Some(at.plus_ms(rest.as_millis() as i64)));
            state.rests_since = now;
        }
        self.door.set_room(state.room_ahead());
        state.more && state.room(at).is_some()
    }

    /// What the engine should be told, if it does not know.
    pub fn health(&self, now: Timestamp) -> Health {
        let state = self.state();
        match state.failing_since {
            _ if state.gone => Health::Gone,
            Some(since) if state.failures >= PROBE_AFTER || now.ms() - since.ms() >= STREAK_MS => Health::FailingSince(since),
            _ => Health::Well,
        }
    }

    /// Gives up what is waiting, and closes what is idle.
    pub fn empty(&self) -> Taken {
        let mut state = self.state();
        state.idle.clear();
        state.more = false;
        self.door.set_room(0);
        state.empty()
    }

    /// Closes connections that nobody has used for a while. Answers whether the lane is of no more use.
    pub fn tidy(&self) -> bool {
        let mut state = self.state();
        state.idle.retain(|connection| connection.since.elapsed() < IDLE_MAX);
        state.queue.is_empty() && state.running == 0 && state.idle.is_empty() && state.failures == 0
    }

    /// Whether the last try was taken.
    pub fn is_well(&self) -> bool {
        let state = self.state();
        state.failures == 0 && state.failing_since.is_none()
    }

    /// Whether deliveries wait because the receiver failed, or asked for a rest.
    pub fn is_held_back(&self, at: Timestamp) -> bool {
        let state = self.state();
        state.failures >= PROBE_AFTER || state.rests(at)
    }

    pub fn endpoint_id(&self) -> EndpointId {
        EndpointId::from_uuid(self.id)
    }

    /// How many it has in hand.
    pub fn held(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.running
    }

    pub fn is_busy(&self) -> bool {
        self.state().running > 0
    }
}

impl State {
    fn at_once(&self) -> usize {
        if self.failures >= PROBE_AFTER { 1 } else { self.endpoint.concurrency as usize }
    }

    fn empty(&mut self) -> Taken {
        let taken = self.queue.iter().map(|job| &job.claimed).collect();
        self.queue.clear();
        taken
    }

    /// How many may be taken as they are written. None while others wait in the database, which came first, nor
    /// while it fails; and none where more than the body has to be made, the order kept, or the rate.
    fn room_ahead(&self) -> usize {
        let endpoint = &self.endpoint;
        let is_plain = endpoint.shape == Shape::Native && !endpoint.in_order && endpoint.rate_per_second.is_none();
        let is_well = self.failures == 0 && self.failing_since.is_none() && !self.gone;
        let wanted = if is_plain && is_well && !self.more { self.at_once() + self.pace.ahead() } else { 0 };
        wanted.saturating_sub(self.running + self.queue.len())
    }

    /// How many more may be claimed; `None` where it is not worth it yet.
    fn room(&self, at: Timestamp) -> Option<usize> {
        if self.rests(at) {
            return None;
        }
        let at_once = self.at_once();
        let ahead = if at_once == 1 && self.failures > 0 { 0 } else { self.pace.ahead() };
        // No more than its rate allows while the lease lasts.
        let by_rate = self.endpoint.rate_per_second.map_or(usize::MAX, |rate| (rate as usize * LEASE.as_secs() as usize / 4).max(1));
        let wanted = (at_once + ahead).min(by_rate);
        let room = wanted.saturating_sub(self.running + self.queue.len());
        // In large pieces: a claim costs a commit.
        (room > 0 && (self.queue.len() * 2 <= wanted)).then_some(room)
    }

    /// Whether it is left alone. A clock that went back does not make that longer.
    fn rests(&self, at: Timestamp) -> bool {
        self.rest_until.is_some_and(|until| at < until && until.ms() - at.ms() <= REST_ASKED_MAX.as_millis() as i64)
    }

    /// How long to wait for the endpoint's rate; takes a token where there is one.
    fn take_token(&mut self, now: Instant) -> Option<Duration> {
        let rate = f64::from(self.endpoint.rate_per_second?);
        let passed = now.duration_since(self.tokens_at).as_secs_f64();
        // A tenth of a second may come at once.
        self.tokens = (self.tokens + passed * rate).min((rate / 10.0).max(1.0));
        self.tokens_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.tokens) / rate))
    }
}

/// Sends one message and says what is to become of it.
async fn try_once(station: &Station, job: Job, target: &Target, connection: &mut Option<Connection>) -> (Tried, Health, Option<Duration>) {
    let (at, start) = ((station.clock)(), Instant::now());
    let outcome = station.client.send(target, &job.id, &job.body, at, connection).await;
    let took = start.elapsed();
    let tries = job.claimed.attempts as usize + 1;
    let ended = (station.clock)();
    let again = |retry_after_ms| {
        let random = u64::from_ne_bytes(crate::engine::random_bytes());
        schedule::next(ended, tries, retry_after_ms, random).map_or(Next::Exhausted, Next::RetryAt)
    };
    let failing = Health::FailingSince(at);
    let (status, error, response, next, health, rest) = match outcome {
        Ok(answer) => {
            let status = answer.status;
            let rest = answer.retry_after_ms.filter(|_| !status.is_success()).map(|ms| Duration::from_millis(ms.max(0) as u64));
            let (error, next, health) = if status.is_success() {
                (None, Next::Delivered, Health::Well)
            } else if status == StatusCode::GONE {
                (Some(FailureKind::Status), Next::Skipped(SkipReason::EndpointGone), Health::Gone)
            } else if status.is_redirection() {
                (Some(FailureKind::Redirect), again(None), failing)
            } else {
                (Some(FailureKind::Status), again(answer.retry_after_ms), failing)
            };
            (Some(status.as_u16()), error, Some(answer.excerpt), next, health, rest)
        }
        Err(failure) => {
            let next = match failure.kind {
                FailureKind::AddressRefused => Next::Skipped(SkipReason::AddressRefused),
                _ => again(None),
            };
            (None, Some(failure.kind), Some(failure.detail), next, failing, None)
        }
    };
    station.meter.count(next, took);
    let tried = Tried {
        claimed: job.claimed,
        at,
        duration_ms: took.as_millis() as i64,
        url: target.url.clone(),
        header_names: target.header_names.clone(),
        status,
        error,
        response,
        next,
    };
    (tried, health, rest)
}
