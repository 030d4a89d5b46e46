//! Deliveries, from the event to the receiver and back into the log: real HTTP on loopback,
//! on both databases. Time that must pass is a clock that is moved.

use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures_util::StreamExt;
use goodword::{
    config::Config,
    delivery::{Dispatcher, Guard, Meter, Settings, address, client, schedule, sign},
    engine::{
        Engine, Error, MIGRATIONS, Result, Space,
        delivery::{self, Attempt, DeliveryFilter, DeliveryState, DeliveryView, FailureKind, Resend, StartReplay},
        endpoint::{self, Create, Created, Delete, EndpointStatus, RotateSecret, SigningSecret, SkipReason, Terms, Update},
        event::EventType,
        feed::{self, EventFilter},
        list::Page,
        sample,
        work::{Act, Context, Work},
        workspace::Workspace,
    },
    http::App,
    routes,
};
use goodword_core::{
    ids::{DeliveryId, EndpointId, EventId, LeadId},
    time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp},
};
use goodword_store::{Options, Store};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{HeaderMap, Response, body::Frame, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tower::ServiceExt;
use uuid::Uuid;

// ---------------------------------------------------------------- receivers

/// What a receiver has been sent.
#[derive(Clone)]
struct Seen {
    id: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
}

impl Seen {
    fn verifies(&self, secret: &SigningSecret) -> bool {
        standardwebhooks::Webhook::new(&secret.reveal()).unwrap().verify(&self.body, &self.headers).is_ok()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a receiver does.
enum Answer {
    Status(u16),
    With(u16, &'static str, String),
    After(Duration),
    Never,
    Huge(usize),
}

struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    /// Answers the n-th request as it is told, counted from 0.
    async fn start(answer: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", answer).await
    }

    async fn start_on(address: &str, answer: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (all, answer) = (seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (all, answer) = (all.clone(), answer.clone());
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (all, answer) = (all.clone(), answer.clone());
                    async move { Ok::<_, Infallible>(respond(request, &all, &*answer).await) }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, seen }
    }

    async fn well() -> Self {
        Self::start(|_, _| Answer::Status(200)).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.id).collect()
    }
}

type Answered = Response<BoxBody<Bytes, Infallible>>;

async fn respond(request: hyper::Request<hyper::body::Incoming>, all: &Mutex<Vec<Seen>>, answer: &(dyn Fn(&Seen, usize) -> Answer + Send + Sync)) -> Answered {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let id = parts.headers["webhook-id"].to_str().unwrap().to_owned();
    let seen = Seen { id, path: parts.uri.to_string(), headers: parts.headers, body, at: Instant::now() };
    let n = {
        let mut all = all.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let small = |status: u16| Response::builder().status(status).body(BoxBody::new(http_body_util::Full::new(Bytes::from_static(b"heard")))).unwrap();
    match answer(&seen, n) {
        Answer::Status(status) => small(status),
        Answer::With(status, name, value) => {
            let mut response = small(status);
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Answer::After(time) => {
            tokio::time::sleep(time).await;
            small(200)
        }
        Answer::Never => std::future::pending().await,
        Answer::Huge(bytes) => {
            static PIECE: [u8; 65_536] = [b'x'; 65_536];
            let pieces = futures_util::stream::iter(0..bytes / PIECE.len()).map(|_| Ok(Frame::data(Bytes::from_static(&PIECE))));
            Response::new(BoxBody::new(StreamBody::new(pieces)))
        }
    }
}

// ---------------------------------------------------------------- a node

/// An engine that delivers.
struct Node {
    engine: Engine,
    workspace: Workspace,
    space: Space,
    /// How far the clock of deliveries is ahead.
    ahead_ms: Arc<AtomicI64>,
    dispatcher: Option<Dispatcher>,
    meter: Arc<Meter>,
    resolve: client::Resolve,
}

fn loopback() -> Arc<Guard> {
    Arc::new(Guard::new(vec!["127.0.0.0/8".parse().unwrap()]))
}

impl Node {
    /// With nothing delivering yet.
    async fn asleep(url: &str) -> Self {
        let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
        let (engine, _) = Engine::open(store, "https://refer.example").await.unwrap();
        let made = engine.set_up("Northlight".parse().unwrap()).await.unwrap().map(|made| made.workspace);
        let workspace = match made {
            Some(workspace) => workspace,
            None => engine.read(|tx| Box::pin(goodword::engine::workspace::all(tx))).await.unwrap().remove(0),
        };
        Self { space: workspace.live, workspace, engine, ahead_ms: Arc::default(), dispatcher: None, meter: Arc::default(), resolve: client::resolve() }
    }

    async fn open(url: &str) -> Self {
        let mut node = Self::asleep(url).await;
        node.start(Duration::from_secs(15));
        node
    }

    fn start(&mut self, timeout: Duration) {
        self.start_with(timeout, loopback());
    }

    fn start_with(&mut self, timeout: Duration, guard: Arc<Guard>) {
        let (engine, ahead) = (self.engine.clone(), self.ahead_ms.clone());
        let clock = Arc::new(move || engine.wall().plus_ms(ahead.load(Ordering::SeqCst)));
        let settings = Settings { guard, resolve: self.resolve.clone(), clock, timeout };
        self.dispatcher = Some(Dispatcher::start(&self.engine, settings, self.meter.clone()).unwrap());
    }

    fn pass(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn context(&self) -> Context {
        let mut context = self.engine.context(self.space, "key_tests", "api");
        context.wall = context.wall.plus_ms(self.ahead_ms.load(Ordering::SeqCst));
        context
    }

    async fn act<A: Act>(&self, act: A) -> Result<A::Output> {
        self.engine.run(self.context(), act).await
    }

    async fn endpoint(&self, url: &str, terms: Terms) -> Created {
        let create = Create { url: url.parse().unwrap(), terms, source: "test".into(), secret: SigningSecret::random() };
        self.act(create).await.unwrap()
    }

    /// Makes so many events about different people.
    async fn tell(&self, count: usize) -> Vec<EventId> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.event(Tell { kind: EventType::LeadCreated, about: None, fail: false }).await);
        }
        all
    }

    /// Makes an event.
    async fn event(&self, tell: Tell) -> EventId {
        let (about, space) = (self.act(tell).await.unwrap(), self.space);
        let sql = "SELECT id FROM events WHERE space = $1 AND participant_id = $2 ORDER BY seq DESC LIMIT 1";
        let id = self.engine.read(move |tx| Box::pin(async move { Ok(tx.fetch_one(sql, &[space.into(), about.into()], |row| row.get::<Uuid>(0)).await?) }));
        EventId::from_uuid(id.await.unwrap().unwrap())
    }

    async fn deliveries(&self, of: EndpointId) -> Vec<DeliveryView> {
        let space = self.space;
        let page = Page { limit: 100_000, ascending: true, ..Page::default() };
        let filter = DeliveryFilter { endpoint: Some(of), ..DeliveryFilter::default() };
        self.engine.read(move |tx| Box::pin(async move { delivery::list(tx, space, &filter, &page).await })).await.unwrap().data
    }

    async fn delivery(&self, id: DeliveryId) -> (DeliveryView, Vec<Attempt>) {
        let space = self.space;
        self.engine.read(move |tx| Box::pin(async move { Ok((delivery::get(tx, space, id).await?, delivery::attempts(tx, space, id).await?)) })).await.unwrap()
    }

    async fn status(&self, of: EndpointId) -> EndpointStatus {
        let space = self.space;
        self.engine.read(move |tx| Box::pin(endpoint::get(tx, space, of))).await.unwrap().status
    }

    /// Types of all events of the side.
    async fn events(&self) -> Vec<EventType> {
        let (space, workspace) = (self.space, self.workspace.id);
        loop {
            let unsettled = self.number("SELECT count(*) FROM events WHERE NOT ({settled})").await;
            if unsettled == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rows = self.engine.read(move |tx| Box::pin(async move { feed::list(tx, space, workspace, &EventFilter::default(), None, true, 250).await }));
        rows.await.unwrap().0.into_iter().map(|row| row.event.kind).collect()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        self.engine.read(move |tx| Box::pin(async move { Ok(tx.fetch_one(sql, &[], |row| row.get::<i64>(0)).await?.unwrap_or(0)) })).await.unwrap()
    }

    fn gauge(&self, name: &str) -> f64 {
        let mut text = String::new();
        self.meter.render(&mut text);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    }

    async fn close(mut self) {
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.stop().await;
        }
        self.engine.store().clone().close().await.unwrap();
    }
}

/// Writes an event.
struct Tell {
    kind: EventType,
    about: Option<Uuid>,
    /// After the event was written.
    fail: bool,
}

impl Act for Tell {
    /// About whom.
    type Output = Uuid;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Uuid> {
        let about = self.about.unwrap_or_else(|| work.mint.id::<goodword_core::ids::Lead>().uuid());
        let id = LeadId::from_uuid(about);
        work.emit(self.kind, &id, Some(about), &sample::data(self.kind))?;
        if self.fail {
            return Err(Error::Conflict { reason: None, detail: "as it must".into() });
        }
        Ok(about)
    }
}

/// Waits for something that happens soon.
async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn on_both(test: impl AsyncFn(Node)) {
    goodword_testkit::on_both(async |url| test(Node::open(&url).await).await).await;
}

fn ordered() -> Terms {
    Terms { in_order: Some(true), ..Terms::default() }
}

// ---------------------------------------------------------------- what arrives

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_signed_and_is_in_the_log() {
    on_both(async |node| {
        let receiver = Receiver::well().await;
        let headers = Some(vec![("X-Token".to_owned(), "hush-hush".to_owned())]);
        let made = node.endpoint(&receiver.url, Terms { headers, ..Terms::default() }).await;
        let events = node.tell(3).await;
        soon("three messages", async || receiver.count() == 3).await;
        let seen = receiver.seen().into_iter().find(|seen| seen.id == events[0].to_string()).unwrap();
        assert_eq!(receiver.ids().into_iter().collect::<HashSet<_>>(), events.iter().map(ToString::to_string).collect());
        assert!(seen.verifies(&made.secret), "the official library accepts it");
        assert!(!seen.verifies(&SigningSecret::random()));
        assert_eq!(
            (seen.path.as_str(), &seen.headers["x-token"], &seen.headers["content-type"]),
            ("/hook?key=1", &"hush-hush".parse().unwrap(), &"application/json".parse().unwrap())
        );
        assert_eq!(seen.headers["webhook-token"].len(), 64);
        assert_eq!(seen.headers["goodword-installation"], sign::installation(node.engine.secret()), "by which it is known if it comes back");
        // The bytes are those of the feed.
        let (space, workspace, id) = (node.space, node.workspace.id, events[0]);
        let event = node.engine.read(move |tx| Box::pin(feed::get(tx, space, workspace, id))).await.unwrap();
        assert_eq!(seen.body, serde_json::to_vec(&event).unwrap());
        assert_eq!(seen.json()["data"]["lead"]["name"], "Maya Rossi");

        soon("the log", async || node.deliveries(made.endpoint.id).await.iter().all(|delivery| delivery.state == DeliveryState::Delivered)).await;
        let (delivery, tries) = node.delivery(endpoint::delivery_id(events[0], made.endpoint.id)).await;
        assert_eq!((delivery.status, delivery.attempts, tries.len()), (Some(200), 1, 1));
        assert_eq!(
            (tries[0].response.as_deref(), tries[0].url.as_str(), tries[0].header_names.as_slice()),
            (Some("heard"), receiver.url.as_str(), &["X-Token".to_owned()][..])
        );
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_its_deliveries_are_written_together_or_not_at_all() {
    on_both(async |node| {
        let receiver = Receiver::well().await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let before = node.number("SELECT count(*) FROM events").await;
        assert!(node.act(Tell { kind: EventType::LeadCreated, about: None, fail: true }).await.is_err());
        assert_eq!(node.number("SELECT count(*) FROM events").await, before);
        assert_eq!(node.number("SELECT count(*) FROM deliveries").await, 0);
        node.tell(5).await;
        assert_eq!(
            node.number("SELECT count(*) FROM events e WHERE e.type = 'lead.created' AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id)")
                .await,
            0
        );
        soon("five messages", async || receiver.count() == 5).await;
        // And what nobody wants is in the feed only.
        node.act(Delete { id: made.endpoint.id }).await.unwrap();
        node.tell(1).await;
        assert_eq!(node.number("SELECT count(*) FROM deliveries").await, 5);
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_endpoint_wants() {
    on_both(async |node| {
        let (few, source, other, several) = (Receiver::well().await, Receiver::well().await, Receiver::well().await, Receiver::well().await);
        let types = |types: &[EventType]| Terms { types: Some(Some(types.to_vec())), ..Terms::default() };
        node.endpoint(&few.url, types(&[EventType::RewardIssued, EventType::VisitRecorded])).await;
        node.endpoint(&source.url, Terms { person_source: Some(Some("form".into())), ..Terms::default() }).await;
        node.endpoint(&other.url, Terms { person_source: Some(Some("import".into())), ..Terms::default() }).await;
        node.endpoint(&several.url, Terms { person_source: Some(Some("import, form".into())), ..Terms::default() }).await;
        for kind in [EventType::LeadCreated, EventType::RewardIssued, EventType::VisitRecorded] {
            node.act(Tell { kind, about: None, fail: false }).await.unwrap();
        }
        let kinds = |receiver: &Receiver| {
            let mut kinds: Vec<_> = receiver.seen().iter().map(|seen| seen.json()["type"].as_str().unwrap().to_owned()).collect();
            kinds.sort();
            kinds
        };
        soon("what they want", async || few.count() == 2 && source.count() == 2 && several.count() == 2).await;
        assert_eq!(kinds(&few), ["reward.issued", "visit.recorded"]);
        assert_eq!(kinds(&source), ["lead.created", "reward.issued"], "a lead from a form; visits must be asked for");
        assert_eq!(other.count(), 0);
        node.close().await;
    })
    .await;
}

// ---------------------------------------------------------------- what goes wrong

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_receiver_is_tried_again_until_it_takes_it() {
    on_both(async |node| {
        let receiver = Receiver::start(|_, n| Answer::Status(if n < 2 { 500 } else { 204 })).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let event = node.tell(1).await[0];
        let id = endpoint::delivery_id(event, made.endpoint.id);
        for tries in 1..=2 {
            soon("a try in the log", async || node.delivery(id).await.0.attempts == tries).await;
            let (delivery, _) = node.delivery(id).await;
            assert_eq!((delivery.state, delivery.status, delivery.error), (DeliveryState::Retrying, Some(500), Some(FailureKind::Status)));
            let wait = delivery.next_attempt_at.unwrap().ms() - node.context().wall.ms();
            let planned = schedule::WAITS_MS[tries as usize - 1];
            assert!((planned - 2_000..=planned + planned / 5).contains(&wait), "{wait} ms after {tries} tries");
            assert_eq!(receiver.count(), tries as usize, "not before its time");
            node.pass(planned + planned / 5 + 1);
        }
        soon("it is taken", async || node.delivery(id).await.0.state == DeliveryState::Delivered).await;
        assert_eq!(receiver.ids(), vec![event.to_string(); 3], "the same id each time");
        assert_eq!(node.delivery(id).await.1.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(500), Some(500), Some(204)]);
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tries_and_then_it_is_a_row_that_says_so() {
    on_both(async |node| {
        let receiver = Receiver::start(|_, n| Answer::Status(if n < 10 { 400 } else { 200 })).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let event = node.tell(1).await[0];
        let id = endpoint::delivery_id(event, made.endpoint.id);
        for tries in 1..=schedule::TRIES {
            soon("a try", async || receiver.count() == tries && node.delivery(id).await.0.attempts == tries as i64).await;
            if let Some(wait) = schedule::WAITS_MS.get(tries - 1) {
                node.pass(wait + wait / 5 + 1);
            }
        }
        let (delivery, tries) = node.delivery(id).await;
        assert_eq!(
            (delivery.state, delivery.reason, delivery.next_attempt_at, tries.len()),
            (DeliveryState::Exhausted, Some(SkipReason::AttemptsExhausted), None, 10)
        );
        // Somebody mended it and sends it again.
        node.act(Resend { id }).await.unwrap();
        soon("it is taken", async || node.delivery(id).await.0.state == DeliveryState::Delivered).await;
        assert_eq!(receiver.ids().last().unwrap(), &event.to_string());
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_gone_is_told_nothing_until_they_come_back() {
    on_both(async |node| {
        let watcher = Receiver::well().await;
        let types = vec![EventType::EndpointGone, EventType::IntegrationDisconnected];
        node.endpoint(&watcher.url, Terms { types: Some(Some(types)), ..Terms::default() }).await;
        let receiver = Receiver::start(|_, n| Answer::Status(if n == 0 { 410 } else { 200 })).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let first = node.tell(1).await[0];
        let id = made.endpoint.id;
        soon("it is gone", async || node.status(id).await == EndpointStatus::Gone).await;
        let missed = node.tell(2).await;
        soon("others are told", async || watcher.count() == 2).await;
        let told: HashMap<String, Value> = watcher.seen().iter().map(|seen| (seen.json()["type"].as_str().unwrap().to_owned(), seen.json())).collect();
        assert_eq!(told["endpoint.gone"]["data"]["endpoint"]["id"], id.to_string());
        let integration = &told["integration.disconnected"]["data"]["integration"];
        assert_eq!((&integration["name"], &integration["status"]), (&json!("test"), &json!("gone")));
        let rows = node.deliveries(id).await;
        assert_eq!(rows.iter().filter(|row| row.event_type == EventType::LeadCreated).count(), 3);
        assert!(rows.iter().all(|row| (row.state, row.reason) == (DeliveryState::Skipped, Some(SkipReason::EndpointGone))), "{rows:#?}");
        assert_eq!(receiver.ids(), [first.to_string()]);

        // The same address told anew by the same key is the same endpoint, with a new secret.
        let again = node.endpoint(&receiver.url, Terms::default()).await;
        assert_eq!((again.endpoint.id, again.replaced, again.endpoint.status), (id, true, EndpointStatus::Active));
        assert_ne!(again.secret, made.secret);
        let replay = node.act(StartReplay { endpoint: id, since: Timestamp::from_ms(0), until: None }).await.unwrap();
        // What it missed is also that it was gone, in no order beside what people did.
        soon("what was missed, under its own ids", async || {
            let sent: HashSet<String> = receiver.ids().into_iter().skip(1).collect();
            missed.iter().chain([&first]).all(|event| sent.contains(&event.to_string()))
        })
        .await;
        assert!(receiver.seen().last().unwrap().verifies(&again.secret));
        let (space, replay_id) = (node.space, replay.id);
        let replay = async || node.engine.read(move |tx| Box::pin(delivery::replay(tx, space, replay_id))).await.unwrap();
        soon("its end", async || replay().await.finished_at.is_some()).await;
        let done = replay().await;
        assert!(done.queued >= 3 && done.looked_at >= done.queued, "{done:?}");
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_when_to_come_again() {
    on_both(async |node| {
        let receiver = Receiver::start(|_, n| if n == 0 { Answer::With(429, "retry-after", "3600".into()) } else { Answer::Status(200) }).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let id = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
        soon("a try", async || node.delivery(id).await.0.attempts == 1).await;
        let wait = node.delivery(id).await.0.next_attempt_at.unwrap().ms() - node.context().wall.ms();
        assert!((HOUR_MS - MINUTE_MS..=HOUR_MS).contains(&wait), "{wait}");
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    on_both(async |node| {
        let inside = Receiver::well().await;
        let target = inside.url.clone();
        let receiver = Receiver::start(move |_, _| Answer::With(302, "location", target.clone())).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let id = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
        soon("a try", async || node.delivery(id).await.0.attempts == 1).await;
        let (delivery, _) = node.delivery(id).await;
        assert_eq!((delivery.status, delivery.error, delivery.state), (Some(302), Some(FailureKind::Redirect), DeliveryState::Retrying));
        assert_eq!(inside.count(), 0);
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_inside_is_not_called() {
    goodword_testkit::on_both(async |url| {
        let mut node = Node::asleep(&url).await;
        node.start_with(Duration::from_secs(15), Arc::default());
        let receiver = Receiver::well().await;
        // A literal address, and a name that leads there.
        for url in [receiver.url.clone(), receiver.url.replace("127.0.0.1", "localhost")] {
            let made = node.endpoint(&url, Terms::default()).await;
            let id = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
            soon("it is refused", async || node.delivery(id).await.0.state == DeliveryState::Skipped).await;
            let (delivery, tries) = node.delivery(id).await;
            assert_eq!((delivery.reason, tries[0].error), (Some(SkipReason::AddressRefused), Some(FailureKind::AddressRefused)));
            assert!(tries[0].response.as_deref().unwrap().contains("allow_networks"), "{tries:?}");
            node.act(Delete { id: made.endpoint.id }).await.unwrap();
        }
        assert_eq!(receiver.count(), 0);
        assert!(address::special("127.0.0.1".parse().unwrap()).is_some());
        node.close().await;
    })
    .await;
}

/// A name whose answer changes between two connections: what it leads to is judged at each of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_bound_anew_leads_nowhere() {
    goodword_testkit::on_both(async |url| {
        let mut node = Node::asleep(&url).await;
        let inside = Arc::new(AtomicBool::new(false));
        let bound = inside.clone();
        node.resolve = Arc::new(move |name, port| {
            assert_eq!(name, "rebind.example");
            let address = if bound.load(Ordering::SeqCst) { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
            Box::pin(async move { Ok(vec![(address, port).into()]) })
        });
        // Only the address of the first answer is allowed; the receiver listens on all of them.
        node.start_with(Duration::from_secs(15), Arc::new(Guard::new(vec!["127.0.0.2/32".parse().unwrap()])));
        let receiver = Receiver::start_on("0.0.0.0", |_, _| Answer::With(200, "connection", "close".into())).await;
        let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let made = node.endpoint(&format!("http://rebind.example:{port}/"), Terms::default()).await;
        let first = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
        soon("the first answer is allowed", async || node.delivery(first).await.0.state == DeliveryState::Delivered).await;
        inside.store(true, Ordering::SeqCst);
        let second = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
        soon("the second one is not", async || node.delivery(second).await.0.reason == Some(SkipReason::AddressRefused)).await;
        // Sent again by hand, it is judged again.
        node.act(Resend { id: second }).await.unwrap();
        soon("again", async || node.delivery(second).await.1.len() == 2).await;
        assert_eq!(receiver.count(), 1);
        // The operator allows the network: what was refused can be sent.
        node.dispatcher.take().unwrap().stop().await;
        node.start(Duration::from_secs(15));
        node.act(Resend { id: second }).await.unwrap();
        soon("it is sent", async || node.delivery(second).await.0.state == DeliveryState::Delivered).await;
        node.close().await;
    })
    .await;
}

/// The age of what has been due longest is what an operator watches.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_that_waits_is_a_figure() {
    on_both(async |mut node| {
        let oldest = |node: &Node| node.gauge("goodword_deliveries_oldest_due_seconds");
        node.dispatcher.take().unwrap().stop().await;
        let receiver = Receiver::start(|_, n| if n == 0 { Answer::Never } else { Answer::Status(200) }).await;
        node.endpoint(&receiver.url, Terms { concurrency: Some(1), ..Terms::default() }).await;
        node.tell(3).await;
        node.pass(HOUR_MS);
        node.start(Duration::from_secs(2));
        soon("an hour", async || (3_600.0..3_700.0).contains(&oldest(&node))).await;
        // The one that hung waits for its next try; nothing else is due.
        soon("nothing waits", async || oldest(&node) == 0.0 && receiver.count() == 3).await;
        node.close().await;
    })
    .await;
}

/// One receiver that is dead for days is no alarm about this server: what waits for it is a figure of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_dead_receiver_is_another_figure() {
    on_both(async |mut node| {
        let figures = |node: &Node| (node.gauge("goodword_deliveries_oldest_due_seconds"), node.gauge("goodword_deliveries_oldest_failing_seconds"));
        let dead = Receiver::start(|_, _| Answer::Status(500)).await;
        // One request hangs, so that what comes after it is seen to wait.
        let well = Receiver::start(|_, n| if n == 41 { Answer::Never } else { Answer::Status(200) }).await;
        let leads = || Terms { types: Some(Some(vec![EventType::LeadCreated])), ..Terms::default() };
        let made = node.endpoint(&dead.url, leads()).await.endpoint.id;
        let taking = node.endpoint(&well.url, Terms { concurrency: Some(1), ..leads() }).await.endpoint.id;
        node.tell(40).await;
        soon("it is known to fail", async || node.status(made).await == EndpointStatus::Failing).await;
        soon("the others are told", async || node.deliveries(taking).await.iter().all(|row| row.state == DeliveryState::Delivered)).await;
        // A day later all of them are due, and each probe that fails puts off one of them.
        node.pass(DAY_MS);
        node.tell(1).await;
        soon("a day", async || figures(&node).1 > 80_000.0).await;
        assert!(figures(&node).0 < 60.0, "{:?}", figures(&node));
        soon("one more", async || well.count() == 41).await;
        // Also after a restart, when no lane has tried anything yet; and what this server itself keeps is the alarm.
        node.dispatcher.take().unwrap().stop().await;
        node.tell(2).await;
        node.pass(HOUR_MS);
        node.meter = Arc::default();
        node.start(Duration::from_secs(2));
        soon("both", async || (3_600.0..3_700.0).contains(&figures(&node).0) && figures(&node).1 > 80_000.0).await;
        soon("it has gone", async || figures(&node).0 == 0.0 && well.count() >= 43).await;
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_behind_a_failure_is_no_alarm_either() {
    on_both(async |node| {
        let receiver = Receiver::start(|_, n| Answer::Status(if n < 2 { 500 } else { 200 })).await;
        let made = node.endpoint(&receiver.url, ordered()).await;
        let tell = |kind| node.event(Tell { kind, about: Some(Uuid::from_u128(1)), fail: false });
        let tried = async |count| node.deliveries(made.endpoint.id).await[0].attempts == count;
        tell(EventType::LeadCreated).await;
        soon("it has failed", async || tried(1).await).await;
        node.pass(7_000);
        soon("and again: the next try is minutes away", async || tried(2).await).await;
        tell(EventType::LeadUpdated).await;
        soon("it waits", async || node.gauge("goodword_deliveries_oldest_failing_seconds") > 0.0).await;
        assert_eq!(node.gauge("goodword_deliveries_oldest_due_seconds"), 0.0);
        node.pass(10 * MINUTE_MS);
        soon("both go", async || receiver.count() == 4).await;
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    on_both(async |node| {
        let latency = async |node: &Node, fast: &Receiver| {
            let from = fast.count();
            let mut told = Vec::new();
            for _ in 0..100 {
                told.push((Instant::now(), node.tell(1).await[0].to_string()));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            soon("all of them", async || fast.count() >= from + 100).await;
            let arrived: HashMap<String, Instant> = fast.seen().into_iter().map(|seen| (seen.id, seen.at)).collect();
            let mut waits: Vec<Duration> = told.iter().map(|(at, id)| arrived[id].saturating_duration_since(*at)).collect();
            waits.sort();
            waits[98]
        };
        let fast = Receiver::well().await;
        node.endpoint(&fast.url, Terms::default()).await;
        for _ in 0..8 {
            node.endpoint(&Receiver::well().await.url, Terms::default()).await;
        }
        latency(&node, &fast).await; // Connections are made, statements prepared.
        let alone = latency(&node, &fast).await;
        let hanging = Receiver::start(|_, _| Answer::Never).await;
        node.endpoint(&hanging.url, Terms::default()).await;
        let beside = latency(&node, &fast).await;
        assert!(hanging.count() > 0);
        // Twice as long at most; and what a loaded machine adds to a few milliseconds.
        assert!(beside <= alone * 2 + Duration::from_millis(100), "p99 {alone:?} alone, {beside:?} beside one that hangs");
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_answers_cost_no_memory() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        line.trim_end_matches(" kB").parse::<i64>().unwrap() / 1024
    };
    let (_guard, url) = goodword_testkit::sqlite_url();
    let node = Node::open(&url).await;
    let receiver = Receiver::start(|_, n| if n < 20 { Answer::Status(200) } else { Answer::Huge(64 << 20) }).await;
    let made = node.endpoint(&receiver.url, Terms::default()).await;
    let all_done = async |count: usize| {
        soon("the log", async || node.deliveries(made.endpoint.id).await.iter().filter(|row| row.state == DeliveryState::Delivered).count() == count).await;
    };
    node.tell(20).await;
    all_done(20).await;
    let before = resident();
    node.tell(20).await;
    all_done(40).await;
    let grown = resident() - before;
    // The receiver in this same process is counted as well.
    assert!(grown <= 16, "{grown} MiB more");
    let (_, tries) = node.delivery(node.deliveries(made.endpoint.id).await.last().unwrap().id).await;
    assert_eq!(tries[0].response.as_ref().unwrap().len(), delivery::RESPONSE_BYTES_MAX);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_a_failure_and_the_others_go_on() {
    on_both(async |node| {
        node.dispatcher.as_ref().unwrap();
        let mut node = node;
        node.dispatcher.take().unwrap().stop().await;
        node.start(Duration::from_secs(1));
        let receiver = Receiver::start(|_, n| if n == 0 { Answer::Never } else { Answer::After(Duration::from_millis(1)) }).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        node.tell(3).await;
        soon("one timed out", async || node.deliveries(made.endpoint.id).await.iter().any(|row| row.error == Some(FailureKind::Timeout))).await;
        soon("the others", async || node.deliveries(made.endpoint.id).await.iter().filter(|row| row.state == DeliveryState::Delivered).count() == 2).await;
        node.close().await;
    })
    .await;
}

// ---------------------------------------------------------------- order, rate, secrets

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_events_come_in_their_order() {
    on_both(async |node| {
        // Every third request fails once, which would let the next ones pass.
        let failed = Mutex::new(HashSet::new());
        let receiver = Receiver::start(move |seen, n| {
            let fails = n % 3 == 0 && failed.lock().unwrap().insert(seen.id.clone());
            Answer::Status(if fails { 503 } else { 200 })
        })
        .await;
        let made = node.endpoint(&receiver.url, ordered()).await;
        let people: Vec<Uuid> = (0..4).map(|n| Uuid::from_u128(n + 1)).collect();
        let mut told: HashMap<Uuid, Vec<String>> = HashMap::new();
        for _ in 0..5 {
            for &person in &people {
                let event = node.event(Tell { kind: EventType::LeadUpdated, about: Some(person), fail: false }).await;
                told.entry(person).or_default().push(event.to_string());
            }
        }
        soon("all of them", async || {
            node.pass(6_000);
            tokio::time::sleep(Duration::from_millis(200)).await;
            node.deliveries(made.endpoint.id).await.iter().all(|row| row.state == DeliveryState::Delivered)
        })
        .await;
        // The last time that each was sent is when it was taken.
        let mut last: HashMap<String, usize> = HashMap::new();
        last.extend(receiver.ids().into_iter().zip(0..));
        for ids in told.values() {
            assert!(ids.windows(2).all(|pair| last[&pair[0]] < last[&pair[1]]), "{:?}", ids.iter().map(|id| last[id]).collect::<Vec<_>>());
        }
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_faster_than_an_endpoint_allows() {
    on_both(async |node| {
        let receiver = Receiver::well().await;
        node.endpoint(&receiver.url, Terms { rate_per_second: Some(Some(20)), concurrency: Some(2), ..Terms::default() }).await;
        node.tell(30).await;
        soon("all of them", async || receiver.count() == 30).await;
        let seen = receiver.seen();
        let took = seen[29].at - seen[0].at;
        // 30 less the two that may come at once.
        assert!(took >= Duration::from_millis(1_300), "{took:?} for 30 at 20 a second");
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_without_losing_anything() {
    on_both(async |node| {
        let receiver = Receiver::well().await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let fresh = SigningSecret::random();
        let rotated = node.act(RotateSecret { id: made.endpoint.id, secret: fresh.clone(), overlap_hours: 2 }).await.unwrap();
        assert!(rotated.endpoint.previous_until.is_some());
        node.tell(1).await;
        soon("a message", async || receiver.count() == 1).await;
        let seen = receiver.seen().remove(0);
        assert!(seen.verifies(&fresh) && seen.verifies(&made.secret), "both, for a while");
        node.pass(2 * HOUR_MS + MINUTE_MS);
        node.tell(1).await;
        soon("a message", async || receiver.count() == 2).await;
        let signatures = receiver.seen()[1].headers["webhook-signature"].to_str().unwrap().split(' ').count();
        assert_eq!(signatures, 1, "then only the new one");
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_days_of_failures_switch_an_endpoint_off_after_a_warning() {
    on_both(async |node| {
        let receiver = Receiver::start(|_, _| Answer::Status(500)).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        let id = made.endpoint.id;
        let failing_since = || async { node.events().await.iter().filter(|kind| kind.as_str().starts_with("endpoint.")).copied().collect::<Vec<_>>() };
        // Something happens every six hours.
        for quarter in 0..=24 {
            let tries = receiver.count();
            node.tell(1).await;
            soon("a try", async || receiver.count() > tries).await;
            soon("the log", async || node.deliveries(id).await.iter().all(|row| row.state != DeliveryState::Delivering)).await;
            let told = failing_since().await;
            match quarter {
                0..=3 => assert_eq!(told, [], "{quarter}"),
                6..=19 => assert_eq!(told, [EventType::EndpointFailing], "{quarter}"),
                _ => {}
            }
            if node.status(id).await == EndpointStatus::Disabled {
                assert!(quarter >= 20, "{quarter}");
                break;
            }
            node.pass(6 * HOUR_MS);
        }
        assert_eq!(node.status(id).await, EndpointStatus::Disabled);
        assert_eq!(failing_since().await, [EventType::EndpointFailing, EventType::EndpointDisabled]);
        // What happens now is written down as missed; what waited is, too.
        node.tell(1).await;
        soon("skipped", async || node.deliveries(id).await.iter().all(|row| matches!(row.state, DeliveryState::Skipped | DeliveryState::Exhausted))).await;
        let enabled = node.act(Update { id, url: None, terms: Terms::default(), enabled: Some(true) }).await.unwrap();
        assert_eq!((enabled.status, enabled.failing_since), (EndpointStatus::Active, None));
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_back_gets_what_waited_at_once() {
    on_both(async |node| {
        let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_up = up.clone();
        let receiver = Receiver::start(move |_, _| Answer::Status(if is_up.load(Ordering::SeqCst) { 200 } else { 502 })).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        node.tell(30).await;
        soon("tries", async || receiver.count() >= 10).await;
        node.pass(10 * MINUTE_MS);
        soon("it is known to fail", async || node.status(made.endpoint.id).await == EndpointStatus::Failing).await;
        up.store(true, Ordering::SeqCst);
        // No delivery waits for the hours that its schedule says.
        soon("all of them", async || node.deliveries(made.endpoint.id).await.iter().all(|row| row.state == DeliveryState::Delivered)).await;
        soon("it is well", async || node.status(made.endpoint.id).await == EndpointStatus::Active).await;
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_fail_together_are_one_failure_of_the_receiver() {
    on_both(async |mut node| {
        node.dispatcher.take().unwrap().stop().await;
        let receiver = Receiver::start(|_, n| if n < 20 { Answer::Never } else { Answer::Status(200) }).await;
        node.endpoint(&receiver.url, Terms { concurrency: Some(20), ..Terms::default() }).await;
        node.tell(30).await;
        node.start(Duration::from_millis(500));
        soon("as many tries as are allowed at once", async || receiver.count() == 20).await;
        soon("all of them failed", async || node.number("SELECT count(*) FROM deliveries WHERE attempts = 1").await == 20).await;
        // A second later it is probed, and takes what waits; not a minute later, as after ten failed probes.
        node.pass(1_500);
        soon("all of the others", async || node.number("SELECT count(*) FROM deliveries WHERE state = 'delivered'").await >= 10).await;
        node.close().await;
    })
    .await;
}

// ---------------------------------------------------------------- nodes that come and go

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_nothing() {
    goodword_testkit::on_both(async |url| {
        let receiver = Receiver::start(|_, n| if n % 2 == 0 { Answer::After(Duration::from_millis(30)) } else { Answer::Status(200) }).await;
        let mut node = Node::asleep(&url).await;
        node.endpoint(&receiver.url, Terms { concurrency: Some(5), ..Terms::default() }).await;
        let told: HashSet<String> = node.tell(200).await.iter().map(ToString::to_string).collect();
        node.start(Duration::from_secs(15));
        soon("half of them", async || receiver.count() >= 100).await;
        node.dispatcher.take().unwrap().kill().await;
        assert!(receiver.ids().iter().collect::<HashSet<_>>().len() < 200, "it was in the middle");
        // Another takes over when the leases end; on one process at once.
        if node.engine.store().engine() == goodword_store::Engine::Postgres {
            node.pass(31_000);
        }
        node.start(Duration::from_secs(15));
        soon("all of them", async || receiver.ids().into_iter().collect::<HashSet<_>>() == told).await;
        soon("the log", async || node.number("SELECT count(*) FROM deliveries WHERE state <> 'delivered'").await == 0).await;
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_keeps_up_is_told_without_a_claim() {
    on_both(async |mut node| {
        let receiver = Receiver::start(|_, n| if (1..=3).contains(&n) { Answer::Never } else { Answer::Status(200) }).await;
        let plain = node.endpoint(&receiver.url, Terms::default()).await.endpoint.id;
        node.tell(1).await;
        let all_have_arrived = async |node: &Node| node.deliveries(plain).await.iter().all(|delivery| delivery.state == DeliveryState::Delivered);
        soon("the first one", async || all_have_arrived(&node).await).await;
        // It is taken by the transaction that writes it: nobody has ever seen it waiting.
        let in_hand = node.tell(3).await;
        let states: Vec<_> = node.deliveries(plain).await.into_iter().map(|delivery| (delivery.state, delivery.attempts)).collect();
        assert_eq!(states[1..], [(DeliveryState::Delivering, 0); 3]);
        soon("all of them", async || in_hand.iter().all(|id| receiver.ids().contains(&id.to_string()))).await;
        // What it had in hand when it was killed goes to another when the lease ends.
        node.dispatcher.take().unwrap().kill().await;
        let late = node.tell(1).await[0];
        assert_eq!(node.deliveries(plain).await.pop().unwrap().state, DeliveryState::Due, "nobody is there to take it");
        if node.engine.store().engine() == goodword_store::Engine::Postgres {
            node.pass(31_000);
        }
        node.start(Duration::from_secs(15));
        soon("the rest", async || all_have_arrived(&node).await && receiver.ids().contains(&late.to_string())).await;
        node.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_work_and_do_nothing_twice() {
    let Some((_guard, url)) = goodword_testkit::postgres_url() else { return };
    let one = Node::open(&url).await;
    let two = Node::open(&url).await;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(two.engine.clone().keep_endpoints_fresh(stopped.clone()));
    tokio::spawn(one.engine.clone().keep_endpoints_fresh(stopped));
    let receiver = Receiver::start(|_, _| Answer::After(Duration::from_millis(2))).await;
    one.endpoint(&receiver.url, Terms::default()).await;
    // The other node knows of it within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut told, more) = tokio::join!(one.tell(300), two.tell(300));
    told.extend(more);
    soon("all of them", async || receiver.count() >= 600).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ids = receiver.ids();
    assert_eq!(ids.len(), 600, "nothing twice");
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), told.iter().map(ToString::to_string).collect());
    // A node whose list was not confirmed asks the database: no event is missed.
    let three = Node::asleep(&url).await;
    let another = Receiver::well().await;
    one.endpoint(&another.url, Terms::default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    three.tell(1).await;
    soon("from a node that was asleep", async || another.count() == 1).await;
    three.close().await;
    two.close().await;
    one.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_back_stalls_nothing() {
    on_both(async |node| {
        let mut node = node;
        let receiver = Receiver::start(|_, n| Answer::Status(if n == 0 { 500 } else { 200 })).await;
        let made = node.endpoint(&receiver.url, Terms::default()).await;
        node.pass(400 * DAY_MS);
        let id = endpoint::delivery_id(node.tell(1).await[0], made.endpoint.id);
        soon("a try", async || node.delivery(id).await.0.attempts == 1).await;
        node.dispatcher.take().unwrap().stop().await;
        node.pass(-400 * DAY_MS);
        node.start(Duration::from_secs(15));
        let latest = node.context().wall.ms() + schedule::WAIT_MAX_MS + MINUTE_MS;
        soon("its time is put right", async || node.delivery(id).await.0.next_attempt_at.is_some_and(|at| at.ms() <= latest)).await;
        node.close().await;
    })
    .await;
}

/// A server of its own process, killed at the end.
struct Process {
    child: std::process::Child,
    url: String,
    key: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(data: &std::path::Path, database: Option<&str>, key: Option<String>) -> Self {
        use std::io::BufRead;
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_goodword"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--allow-networks", "127.0.0.0/8", "--data"]).arg(data);
        if let Some(url) = database {
            command.args(["--database-url", url]);
        }
        let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let (mut url, mut live) = (None, key);
        for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let word = |prefix: &str| line.split_whitespace().find(|word| word.starts_with(prefix)).map(str::to_owned);
            url = url.or_else(|| word("http://"));
            live = live.or_else(|| word("gw_live_"));
            if url.is_some() && live.is_some() {
                break;
            }
        }
        Self { child, url: url.expect("the address is printed"), key: live.expect("a key is printed") }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let output = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "30",
                "-H",
                &format!("Authorization: Bearer {}", self.key),
                "-H",
                "Content-Type: application/json",
                "-d",
                &body.to_string(),
            ])
            .arg(format!("{}{path}", self.url))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// As above, with a process that is killed by signal 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_a_fan_out_loses_nothing() {
    goodword_testkit::on_both(async |url| {
        let data = tempfile::tempdir().unwrap();
        let database = url.starts_with("postgres").then_some(url.as_str());
        // The first one takes its time until the server is killed, so that it is in the middle on any machine.
        let (alive, long) = (Arc::new(std::sync::atomic::AtomicBool::new(true)), Duration::from_secs(10));
        let slow = alive.clone();
        let first = move |_: &Seen, n: usize| Answer::After(if n >= 20 && slow.load(Ordering::SeqCst) { long } else { Duration::from_millis(20) });
        let receivers = [Receiver::start(first).await, Receiver::start(|_, _| Answer::After(Duration::from_millis(20))).await];
        let server = Process::start(data.path(), database, None);
        let campaign = server.post("/v1/campaigns", &json!({"name": "Spring", "status": "live"}))["id"].clone();
        for receiver in &receivers {
            let made = server.post("/v1/endpoints", &json!({"url": receiver.url, "event_types": ["referrer.created"], "concurrency": 2}));
            assert_eq!(made["status"], "active", "{made}");
        }
        let mut told = HashSet::new();
        for n in 0..60 {
            let made = server.post("/v1/referrers", &json!({"campaign_id": campaign, "email": format!("priya{n}@example.com")}));
            told.insert(made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned());
        }
        let (sent, key) = (receivers[0].count(), server.key.clone());
        drop(server);
        alive.store(false, Ordering::SeqCst);
        assert!(sent < 60, "it was in the middle: {sent}");
        let _server = Process::start(data.path(), database, Some(key));
        for receiver in &receivers {
            let arrived = || receiver.seen().iter().map(|seen| seen.json()["data"]["referrer"]["id"].as_str().unwrap().to_owned()).collect::<HashSet<_>>();
            let deadline = Instant::now() + Duration::from_secs(60); // PostgreSQL: until the leases of the dead end
            while arrived() != told {
                assert!(Instant::now() < deadline, "{} of 60 arrived", arrived().len());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // One id for one event, however often it was sent.
            let ids: HashSet<String> = receiver.ids().into_iter().collect();
            assert_eq!(ids.len(), 60);
        }
    })
    .await;
}

/// The live tail: printed, and forwarded to a program of one's own, signed.
#[tokio::test(flavor = "multi_thread")]
async fn listening_prints_what_happens_and_forwards_it_signed() {
    use std::io::{BufRead, BufReader};
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), None, None);
    let campaign = server.post("/v1/campaigns", &json!({"name": "Spring", "status": "live"}))["id"].clone();
    let (receiver, secret) = (Receiver::well().await, SigningSecret::random());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_goodword"));
    command.args(["listen", "--url", &server.url, "--forward", &receiver.url, "--secret", &secret.reveal(), "--types", "referrer.created"]);
    command.env("GOODWORD_API_KEY", &server.key).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut listening = Killed(command.spawn().unwrap());
    let mut said = BufReader::new(listening.0.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("Listening to "));
    let mut made = Vec::new();
    for n in 0..3 {
        let body = json!({"campaign_id": campaign, "email": format!("priya{n}@example.com")});
        made.push(server.post("/v1/referrers", &body)["id"].as_str().unwrap().to_owned());
    }
    soon("all are forwarded", async || receiver.count() == 3).await;
    let seen = receiver.seen();
    assert!(seen.iter().all(|seen| seen.verifies(&secret)));
    let told: Vec<_> = seen.iter().map(|seen| seen.json()["data"]["referrer"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, made, "in their order, and nothing that was before");
    let printed: Vec<String> = BufReader::new(listening.0.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    assert!(printed.iter().zip(&seen).all(|(line, seen)| line.contains("referrer.created") && line.contains(&seen.id)), "{printed:?}");
    assert!(said.next().unwrap().unwrap().contains("-> 200"));
}

/// A process that does not outlive its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---------------------------------------------------------------- the interface

struct Api {
    router: axum::Router,
    key: String,
    _dir: tempfile::TempDir,
    app: App,
}

impl Api {
    async fn open(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data = dir.path().into();
        config.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.set_public_url("https://refer.example");
        let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
        let (engine, _) = Engine::open_with(store, &config.public_url(), config.vault().unwrap()).await.unwrap();
        let key = engine.set_up("Northlight".parse().unwrap()).await.unwrap().unwrap().live_key.reveal().to_owned();
        let app = App::new(engine, config);
        Self { router: routes::router(app.clone()), key, _dir: dir, app }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value, HeaderMap) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .extension(goodword::http::limit::Peer("127.0.0.1:1".parse().unwrap()))
            .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) })
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default(), parts.headers)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_endpoint_over_the_api() {
    goodword_testkit::on_both(async |url| {
        let api = Api::open(&url).await;
        let settings = Settings::new(&api.app.engine, api.app.guard.clone());
        let dispatcher = Dispatcher::start(&api.app.engine, settings, api.app.metrics.delivery.clone()).unwrap();
        let receiver = Receiver::well().await;

        for (url, why) in [
            ("http://10.0.0.1/", "private"),
            ("http://[::1]/", "this machine"),
            ("http://169.254.169.254/latest", "link-local"),
            ("https://refer.example/x", "this server itself"),
        ] {
            let (status, problem, _) = api.ask("POST", "/v1/endpoints", json!({"url": url})).await;
            assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("/url")), "{url}");
            assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
        }
        let body =
            json!({"url": receiver.url, "event_types": ["lead.created", "endpoint.tested"], "headers": {"X-Token": "canary-header-value"}, "source": "n8n"});
        let (status, made, headers) = api.ask("POST", "/v1/endpoints", body.clone()).await;
        assert_eq!((status, made["status"].as_str(), made["replaced"].as_bool()), (201, Some("active"), Some(false)), "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        assert_eq!(headers["location"], format!("/v1/endpoints/{id}"));
        let secret: SigningSecret = made["secret"].as_str().unwrap().parse().unwrap();

        let (status, again, _) = api.ask("POST", "/v1/endpoints", body).await;
        assert_eq!((status, again["id"].as_str(), again["replaced"].as_bool()), (201, Some(id.as_str()), Some(true)));
        let second: SigningSecret = again["secret"].as_str().unwrap().parse().unwrap();
        assert_ne!(second, secret);
        let (_, list, _) = api.ask("GET", "/v1/endpoints?source=n8n", Value::Null).await;
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!((list["data"][0]["header_names"][0].as_str(), list["data"][0].get("secret")), (Some("X-Token"), None));

        let (status, sent, _) = api.ask("POST", &format!("/v1/endpoints/{id}/test"), json!({})).await;
        assert_eq!(status, 201, "{sent}");
        let delivery = format!("/v1/deliveries/{}", sent["delivery_id"].as_str().unwrap());
        soon("the test is in the log", async || api.ask("GET", &delivery, Value::Null).await.1["state"] == "delivered").await;
        let (_, detail, _) = api.ask("GET", &delivery, Value::Null).await;
        assert_eq!((detail["tries"][0]["status"].as_i64(), detail["event"]["type"].as_str()), (Some(200), Some("endpoint.tested")), "{detail}");
        assert!(receiver.seen()[0].verifies(&second));
        assert_eq!(receiver.seen()[0].json()["data"]["endpoint"]["id"], id);
        // The log shows the bytes that were sent.
        let request = &detail["request"];
        assert_eq!((request["method"].as_str(), request["webhook_id"].as_str()), (Some("POST"), Some(receiver.ids()[0].as_str())));
        assert_eq!(request["body"].as_str().unwrap().as_bytes(), receiver.seen()[0].body);

        // In a shape of its own too, without what is secret; and nobody's data travels in an address.
        let other = Receiver::well().await;
        let layout = json!({"fields": [{"field": "lead_email", "as": "mail"}], "constants": {"list": "7"}});
        let flat = json!({"url": other.url, "shape": "flat", "layout": layout, "credentials": {"api_key": "canary-key"}});
        let (status, flat, _) = api.ask("POST", "/v1/endpoints", flat).await;
        assert_eq!(status, 201, "{flat}");
        let flat = format!("/v1/endpoints/{}", flat["id"].as_str().unwrap());
        let (_, sent, _) = api.ask("POST", &format!("{flat}/test"), json!({})).await;
        soon("the flat one arrives", async || other.count() == 1).await;
        assert_eq!(other.seen()[0].json(), json!({"mail": "maya@example.com", "list": "7", "api_key": "canary-key"}));
        let (_, shown, _) = api.ask("GET", &format!("/v1/deliveries/{}", sent["delivery_id"].as_str().unwrap()), Value::Null).await;
        let body: Value = serde_json::from_str(shown["request"]["body"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({"mail": "maya@example.com", "list": "7", "api_key": "********"}));
        let (status, problem, _) = api.ask("PATCH", &flat, json!({"layout": {"method": "GET"}})).await;
        assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("/layout/method")), "{problem}");
        assert_eq!(api.ask("DELETE", &flat, Value::Null).await.0, 204);

        let (status, again, _) = api.ask("POST", &format!("{delivery}/resend"), json!({})).await;
        assert_eq!((status, again["state"].as_str()), (200, Some("due")), "{again}");
        soon("it comes again", async || receiver.count() == 2).await;
        assert_eq!(receiver.ids()[0], receiver.ids()[1]);
        soon("it is written", async || {
            api.ask("GET", &format!("/v1/endpoints/{id}/deliveries?state=delivered&status_class=2&event_type=endpoint.tested"), Value::Null).await.1["data"]
                .as_array()
                .is_some_and(|rows| rows.len() == 1)
        })
        .await;
        assert_eq!(api.ask("GET", &format!("/v1/endpoints/{id}/deliveries?status_class=5"), Value::Null).await.1["data"], json!([]));

        let (status, changed, _) =
            api.ask("PATCH", &format!("/v1/endpoints/{id}"), json!({"unset": ["event_types"], "concurrency": 3, "enabled": false})).await;
        assert_eq!(
            (status, changed["event_types"].clone(), changed["concurrency"].as_i64(), changed["status"].as_str()),
            (200, Value::Null, Some(3), Some("disabled")),
            "{changed}"
        );
        let (status, problem, _) = api.ask("POST", &format!("/v1/endpoints/{id}/replay"), json!({"since": "2026-01-01T00:00:00Z"})).await;
        assert_eq!(status, 409, "{problem}");
        let (status, changed, _) = api.ask("PATCH", &format!("/v1/endpoints/{id}"), json!({"person_source": " link, n8n"})).await;
        assert_eq!((status, changed["person_source"].as_str()), (200, Some("link,n8n")), "{changed}");
        for nothing in ["link,", "link,,n8n", " ", ","] {
            for (method, path) in [("PATCH", format!("/v1/endpoints/{id}")), ("POST", "/v1/endpoints".to_owned())] {
                let mut body = json!({"person_source": nothing});
                if method == "POST" {
                    body["url"] = receiver.url.clone().into();
                }
                let (status, problem, _) = api.ask(method, &path, body).await;
                assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("/person_source")), "{method} {nothing:?}: {problem}");
            }
        }
        api.ask("PATCH", &format!("/v1/endpoints/{id}"), json!({"unset": ["person_source"]})).await;
        api.ask("PATCH", &format!("/v1/endpoints/{id}"), json!({"enabled": true})).await;
        let (status, replay, _) = api.ask("POST", &format!("/v1/endpoints/{id}/replay"), json!({"since": "2026-01-01T00:00:00Z"})).await;
        assert_eq!(status, 201, "{replay}");
        let replay = format!("/v1/replays/{}", replay["id"].as_str().unwrap());
        soon("the replay ends", async || !api.ask("GET", &replay, Value::Null).await.1["finished_at"].is_null()).await;

        let (status, rotated, _) = api.ask("POST", &format!("/v1/endpoints/{id}/secret/rotate"), json!({"overlap_hours": 1})).await;
        assert_eq!(status, 201, "{rotated}");
        for _ in 0..2 {
            assert_eq!(api.ask("DELETE", &format!("/v1/endpoints/{id}"), Value::Null).await.0, 204, "again is harmless");
        }
        assert_eq!(api.ask("GET", &format!("/v1/endpoints/{id}"), Value::Null).await.0, 404);
        let (_, rows, _) = api.ask("GET", &format!("/v1/endpoints/{id}/deliveries"), Value::Null).await;
        assert!(!rows["data"].as_array().unwrap().is_empty(), "its log stays");
        // What it was to be told cannot be sent there any more, and the answer says how it is sent nevertheless.
        let (status, problem, _) = api.ask("POST", &format!("{delivery}/resend"), json!({})).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
        for word in ["was deleted", "anew", "/v1/endpoints/{id}/replay", "since"] {
            assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        }

        // Nothing of what was secret lies in the database or its log.
        dispatcher.stop().await;
        let text = api.app.metrics.render(api.app.engine.store_stats());
        assert!(text.contains("goodword_deliveries_total{outcome=\"delivered\"} 3"), "{text}");
        if let Some(path) = url.strip_prefix("sqlite:") {
            for name in [path.to_owned(), format!("{path}-wal")] {
                let Ok(bytes) = std::fs::read(&name) else { continue };
                for secret in
                    ["canary-header-value".to_owned(), second.reveal(), second.reveal()[6..].to_owned(), rotated["secret"].as_str().unwrap().to_owned()]
                {
                    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} lies in {name}");
                }
                assert!(!bytes.windows(32).any(|window| window == second.bytes()), "the secret's bytes lie in {name}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_has_an_example_and_a_schema() {
    let (_guard, url) = goodword_testkit::sqlite_url();
    let api = Api::open(&url).await;
    let (status, types, _) = api.ask("GET", "/v1/event-types", Value::Null).await;
    assert_eq!((status, types["data"].as_array().unwrap().len()), (200, EventType::ALL.len()));
    for view in types["data"].as_array().unwrap() {
        let kind = view["type"].as_str().unwrap();
        assert_eq!(view["schema"]["properties"]["type"]["const"], kind);
        let (status, sample, _) = api.ask("GET", &format!("/v1/event-types/{kind}/sample"), Value::Null).await;
        assert_eq!((status, &sample), (200, &view["example"]), "{kind}");
    }
    assert_eq!(api.ask("GET", "/v1/event-types/nothing.happened", Value::Null).await.0, 404);
}
