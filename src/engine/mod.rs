//! Commands and queries. A command reads facts, asks `goodword-core` for a decision
//! and writes decision, state and events in one transaction.
//!
//! | module | what it does |
//! |---|---|
//! | [`work`] | what every change has in common: context, signals, events, kept answers |
//! | [`workspace`], [`access`] | sides, API keys, the test clock |
//! | [`campaign`] | versioned configuration |
//! | [`participant`] | referrers and leads: enrolling, joining, claims, erasure |
//! | [`qualify`], [`conversion`] | qualification, conversions, refunds, explanations |
//! | [`trial`], [`Engine::rehearse`] | trying a rule on the past, and a change on the present |
//! | [`inbound`] | what other systems send to secret addresses |
//! | [`reward`] | the life of rewards |
//! | [`number`], [`paged`] | for interfaces that count: numbers of things, lists by page |
//! | [`visit`], [`statistics`], [`rollup`] | uses of links; questions about everything, and the sums that answer them |
//! | [`endpoint`], [`delivery`] | who is told what happens, and what became of telling them |
//! | [`vault`] | secrets at rest |
//! | [`event`], [`feed`], [`signal`], [`sample`] | what the world is told, and what it told us |
//! | [`import`], [`mod@export`] | files of people and what became of them, of any size |
//! | [`history`] | what happened elsewhere, brought in as it was |
//! | [`clock`] | what happens because time has passed |

pub mod access;
pub mod campaign;
pub mod clock;
pub mod conversion;
pub mod delivery;
pub mod door;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod export;
pub mod feed;
pub mod history;
pub mod import;
pub mod inbound;
pub mod list;
pub mod number;
pub mod paged;
pub mod participant;
pub mod qualify;
mod rehearsal;
pub mod reward;
mod rollup;
pub mod sample;
pub mod signal;
pub mod statistics;
pub mod trial;
pub mod vault;
pub mod view;
pub mod visit;
pub mod work;
pub mod workspace;

pub use error::{Error, Result};

use access::Access;
use futures_util::future::BoxFuture;
use goodword_core::{
    campaign::CampaignStatus,
    ids::{Mint, WorkspaceId},
    text::Code,
    time::Timestamp,
};
use goodword_store::{self as store, Arg, Migration, Store, StoreStats, Tx};
use quick_cache::sync::Cache;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;
use vault::Vault;
use work::{Act, Change, Claim, Conclude, Context, Idempotency, Keyed, Made, Reply};

/// The schema's history. A number that was released is never changed again.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "init", sql: include_str!("../../migrations/0001_init.sql") },
    Migration { number: 2, name: "numbers", sql: include_str!("../../migrations/0002_numbers.sql") },
    Migration { number: 3, name: "delivery", sql: include_str!("../../migrations/0003_delivery.sql") },
    Migration { number: 4, name: "inbound", sql: include_str!("../../migrations/0004_inbound.sql") },
    Migration { number: 5, name: "room", sql: include_str!("../../migrations/0005_room.sql") },
    Migration { number: 6, name: "ranking", sql: include_str!("../../migrations/0006_ranking.sql") },
    Migration { number: 7, name: "unreadable", sql: include_str!("../../migrations/0007_unreadable.sql") },
    Migration { number: 8, name: "pauses", sql: include_str!("../../migrations/0008_pauses.sql") },
    Migration { number: 9, name: "lead source", sql: include_str!("../../migrations/0009_lead_source.sql") },
    Migration { number: 10, name: "roll-up", sql: include_str!("../../migrations/0010_rollup.sql") },
    Migration { number: 11, name: "rewards", sql: include_str!("../../migrations/0011_rewards.sql") },
];

/// One side of a workspace: its live data or its test data. Every table is keyed by
/// it, so the two never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(i64);

impl Space {
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> i64 {
        self.0
    }

    /// Test spaces have odd numbers.
    /// The test side beside this live side.
    pub const fn test_side(self) -> Self {
        Self(self.0 | 1)
    }

    pub const fn is_test(self) -> bool {
        self.0 % 2 == 1
    }
}

impl From<Space> for Arg<'_> {
    fn from(space: Space) -> Self {
        Arg::Int(space.0)
    }
}

/// What commands and queries share beside the database.
pub struct Shared {
    /// Where the world reaches this server, without a slash at the end.
    pub public_url: String,
    pub configurations: campaign::Configurations,
    pub endpoints: endpoint::Registry,
    pub vault: Vault,
}

impl Shared {
    /// The referral link of a code.
    pub fn link(&self, code: &str) -> String {
        format!("{}/{code}", self.public_url)
    }
}

/// The referral engine. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// SHA-256 of an API key.
type KeyHash = [u8; 32];

struct Inner {
    store: Store,
    shared: Arc<Shared>,
    keys: RwLock<HashMap<KeyHash, (Arc<Access>, Instant)>>,
    used_keys: Mutex<HashMap<Uuid, Timestamp>>,
    clocks: RwLock<HashMap<Space, i64>>,
    /// Whose side a space is.
    workspaces: RwLock<HashMap<Space, WorkspaceId>>,
    links: Cache<String, (Arc<visit::Link>, u64)>,
    /// Rises whenever something that is kept in memory changes, here or on another node.
    generation: AtomicU64,
    /// The number of the last change that this node has seen in the database.
    seen_generation: AtomicI64,
    statistics_turn: tokio::sync::Mutex<rollup::Turn>,
    secret: [u8; 32],
    recorder: visit::Recorder,
}

/// How long a node may go on with what it keeps in memory after another node changed it.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Links kept in memory; about 200 bytes each.
const LINKS_MAX: usize = 100_000;
/// How often a change is made again when a drawn code was taken or a rule changed meanwhile.
const ATTEMPTS: usize = 8;

impl Engine {
    /// Opens the engine on an open store, for tests and tools: its vault's key lies in the
    /// database. The task ends when all visits are written after the last clone of the
    /// engine is dropped.
    pub async fn open(store: Store, public_url: &str) -> Result<(Self, tokio::task::JoinHandle<()>)> {
        let vault = Vault::open_to_the_database(&installation_secret(&store).await?);
        Self::open_with(store, public_url, vault).await
    }

    /// Opens the engine with the vault that the installation's secrets are sealed in.
    pub async fn open_with(store: Store, public_url: &str, vault: Vault) -> Result<(Self, tokio::task::JoinHandle<()>)> {
        vault.check(&store).await?;
        Self::open_unchecked(store, public_url, vault).await
    }

    /// Opens the engine for tools that seal and open nothing.
    pub async fn open_without_key(store: Store, public_url: &str) -> Result<(Self, tokio::task::JoinHandle<()>)> {
        Self::open_unchecked(store, public_url, Vault::none()).await
    }

    async fn open_unchecked(store: Store, public_url: &str, vault: Vault) -> Result<(Self, tokio::task::JoinHandle<()>)> {
        let secret = installation_secret(&store).await?;
        let shared = Arc::new(Shared {
            public_url: public_url.trim_end_matches('/').to_owned(),
            configurations: campaign::Configurations::default(),
            endpoints: endpoint::Registry::new(store.engine() == store::Engine::Sqlite),
            vault,
        });
        let (recorder, task) = visit::Recorder::start(store.clone(), shared.clone());
        let engine = Self(Arc::new(Inner {
            store,
            shared,
            keys: RwLock::default(),
            used_keys: Mutex::default(),
            clocks: RwLock::default(),
            workspaces: RwLock::default(),
            links: Cache::new(LINKS_MAX),
            generation: AtomicU64::new(0),
            seen_generation: AtomicI64::new(-1),
            statistics_turn: tokio::sync::Mutex::default(),
            secret,
            recorder,
        }));
        engine.refresh().await?;
        engine.refresh_endpoints().await?;
        Ok((engine, task))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub fn store_stats(&self) -> StoreStats {
        self.0.store.stats()
    }

    /// A round trip to the database.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.0.store.ping().await?)
    }

    /// Makes the first workspace with a key for each side, unless there is one already.
    pub async fn set_up(&self, name: goodword_core::text::Line) -> Result<Option<SetUp>> {
        if !self.read(|tx| Box::pin(workspace::all(tx))).await?.is_empty() {
            return Ok(None);
        }
        self.create_workspace(name).await.map(Some)
    }

    /// Makes a workspace with a key for each side.
    pub async fn create_workspace(&self, name: goodword_core::text::Line) -> Result<SetUp> {
        let workspace = self.run(self.context(Space::new(0), "cli", "cli"), workspace::CreateWorkspace { name }).await?;
        self.forget().await?;
        let live_key = self.create_key(workspace.live, "First key").await?;
        let test_key = self.create_key(workspace.test, "First test key").await?;
        Ok(SetUp { workspace, live_key, test_key })
    }

    /// A key that may do everything on a side.
    pub async fn create_key(&self, space: Space, name: &str) -> Result<workspace::Secret> {
        let secret = workspace::Secret::new(space.is_test(), &random_bytes());
        let name = name.parse().map_err(|invalid| Error::invalid("/name", invalid))?;
        let create = workspace::CreateKey { name, scopes: vec![access::Scope::Admin], space, secret: secret.clone() };
        self.run(self.context(space, "cli", "cli"), create).await?;
        Ok(secret)
    }

    /// 32 bytes that only this installation knows: for signing cookies and tokens.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0.secret
    }

    fn statistics_turn(&self) -> &tokio::sync::Mutex<rollup::Turn> {
        &self.0.statistics_turn
    }

    /// The machine's clock.
    pub fn wall(&self) -> Timestamp {
        wall()
    }

    /// The clock of a side.
    pub fn now(&self, space: Space) -> Timestamp {
        self.wall().plus_ms(self.ahead_ms(space))
    }

    fn ahead_ms(&self, space: Space) -> i64 {
        if space.is_test() { self.0.clocks.read().ok().and_then(|clocks| clocks.get(&space).copied()).unwrap_or(0) } else { 0 }
    }

    /// A context for a caller, now.
    pub fn context(&self, space: Space, actor: &str, source: &str) -> Context {
        let age = age();
        let wall = Timestamp::from_ms(age.as_millis() as i64);
        Context { space, now: wall.plus_ms(self.ahead_ms(space)), wall, actor: actor.into(), source: source.into(), seed: seed(age) }
    }

    /// Makes a change. Durable when it returns.
    pub async fn run<A: Act>(&self, context: Context, act: A) -> Result<A::Output> {
        self.run_shared(context, Arc::new(act)).await
    }

    async fn run_shared<A: Act>(&self, mut context: Context, act: Arc<A>) -> Result<A::Output> {
        let mut answers = Vec::new();
        for _ in 1..ATTEMPTS {
            let change = Change { context: context.clone(), shared: self.0.shared.clone(), act: act.clone(), answers: answers.clone() };
            match self.0.store.write(change).await {
                // A code that was drawn belongs to somebody: draw another.
                Err(Error::Store(error)) if error.is_conflict_on("codes") => context.seed = seed(age()),
                Err(Error::Unanswered(questions)) => answers.extend(questions.into_iter().map(|question| {
                    let verdict = question.answer();
                    (question, verdict)
                })),
                outcome => return self.made(outcome?).await,
            }
        }
        let made = self.0.store.write(Change { context, shared: self.0.shared.clone(), act, answers }).await?;
        self.made(made).await
    }

    /// What a change leaves to be done after its commit.
    async fn made<T>(&self, made: Made<T>) -> Result<T> {
        if made.endpoints_changed {
            self.refresh_endpoints().await?;
            self.0.shared.endpoints.ring(made.ring);
        }
        Ok(made.output)
    }

    /// Makes a change whose answer is kept under the key of its request, where there is one.
    pub async fn run_keyed<A: Act>(
        &self,
        context: Context,
        act: A,
        key: Option<Idempotency>,
        render: impl Fn(A::Output) -> Result<Reply> + Send + Sync + 'static,
    ) -> Result<Reply> {
        match key {
            Some(key) => self.run(context, Keyed { act, key, render }).await,
            None => render(self.run(context, act).await?),
        }
    }

    /// Does what takes many changes, and keeps the answer under the key of the request, where there is one.
    pub async fn run_many_keyed<E: From<Error>>(
        &self,
        context: Context,
        key: Option<Idempotency>,
        changes: impl Future<Output = Result<Reply, E>>,
    ) -> Result<Reply, E> {
        let Some(key) = key else { return changes.await };
        if let Some(reply) = self.run(context.clone(), Claim { key: key.clone() }).await? {
            return Ok(reply);
        }
        let outcome = changes.await;
        self.run(context, Conclude { key, reply: outcome.as_ref().ok().cloned() }).await?;
        outcome
    }

    /// Asks a question in one snapshot.
    pub async fn read<T: Send + 'static>(&self, question: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + 'static) -> Result<T> {
        self.0.store.read(question).await
    }

    /// For questions: what is shared, to be moved into them.
    pub fn shared_arc(&self) -> Arc<Shared> {
        self.0.shared.clone()
    }

    // ------------------------------------------------------------ what is kept in memory

    /// Who calls with that key; `None` for a key that is not there or was revoked.
    pub async fn authenticate(&self, key: &str) -> Result<Option<Arc<Access>>> {
        let hash = workspace::hash(key);
        let kept = self.0.keys.read().ok().and_then(|keys| keys.get(&hash).cloned());
        let access = match kept {
            Some((access, at)) if at.elapsed() < KEPT_FOR => access,
            _ => {
                let Some(access) = self.read(move |tx| Box::pin(async move { workspace::access(tx, &hash).await })).await? else { return Ok(None) };
                let access = Arc::new(access);
                if let Ok(mut keys) = self.0.keys.write() {
                    if keys.len() > 10_000 {
                        keys.clear();
                    }
                    keys.insert(hash, (access.clone(), Instant::now()));
                }
                if let Ok(mut used) = self.0.used_keys.lock() {
                    used.insert(access.key_id.uuid(), self.wall());
                }
                access
            }
        };
        Ok(Some(access))
    }

    /// Where a code leads; from memory where it was looked up before.
    pub async fn link(&self, code: &Code) -> Result<Option<Arc<visit::Link>>> {
        let generation = self.0.generation.load(Ordering::Acquire);
        let key = code.key();
        if let Some((link, at)) = self.0.links.get(&key)
            && at == generation
        {
            return Ok(Some(link));
        }
        let (shared, code) = (self.0.shared.clone(), code.clone());
        let Some(link) = self.read(move |tx| Box::pin(async move { visit::resolve(tx, &shared, &code).await })).await? else { return Ok(None) };
        let link = Arc::new(link);
        self.0.links.insert(key, (link.clone(), generation));
        Ok(Some(link))
    }

    pub fn recorder(&self) -> &visit::Recorder {
        &self.0.recorder
    }

    /// Something that nodes keep in memory has changed: a campaign, a key, a clock.
    pub async fn forget(&self) -> Result<()> {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        if let Ok(mut keys) = self.0.keys.write() {
            keys.clear();
        }
        self.0.store.write(NextGeneration).await?;
        self.refresh().await
    }

    /// Takes over what other nodes have changed. Called once a second, and after every
    /// change of this node.
    pub async fn refresh(&self) -> Result<()> {
        let n = self
            .read(|tx| {
                Box::pin(async move { Ok(tx.fetch_one("SELECT n FROM generations WHERE name = 'all'", &[], |row| row.get::<i64>(0)).await?.unwrap_or(0)) })
            })
            .await?;
        if self.0.seen_generation.swap(n, Ordering::AcqRel) == n {
            return Ok(());
        }
        let workspaces = self.read(|tx| Box::pin(workspace::all(tx))).await?;
        if let Ok(mut clocks) = self.0.clocks.write() {
            *clocks = workspaces.iter().map(|workspace| (workspace.test, workspace.clock_ahead_ms)).collect();
        }
        if let Ok(mut map) = self.0.workspaces.write() {
            *map = workspaces.iter().flat_map(|workspace| [(workspace.live, workspace.id), (workspace.test, workspace.id)]).collect();
        }
        if let Ok(mut keys) = self.0.keys.write() {
            keys.clear();
        }
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Whose side a space is.
    pub async fn workspace_of(&self, space: Space) -> Result<WorkspaceId> {
        let known = self.0.workspaces.read().ok().and_then(|map| map.get(&space).copied());
        match known {
            Some(id) => Ok(id),
            None => Ok(self.read(move |tx| Box::pin(workspace::of_space(tx, space))).await?.id),
        }
    }

    /// Writes down when keys were last used. Called once a minute.
    pub async fn remember_used_keys(&self) -> Result<()> {
        let used: Vec<_> = self.0.used_keys.lock().map(|mut used| used.drain().collect()).unwrap_or_default();
        if used.is_empty() { Ok(()) } else { self.0.store.write(workspace::Touch(used)).await }
    }
}

/// A new workspace: what the first start makes.
pub struct SetUp {
    pub workspace: workspace::Workspace,
    pub live_key: workspace::Secret,
    pub test_key: workspace::Secret,
}

struct NextGeneration;

impl store::Command for NextGeneration {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute("INSERT INTO generations (name, n) VALUES ('all', 1) ON CONFLICT (name) DO UPDATE SET n = generations.n + 1", &[]).await?;
        Ok(())
    }
}

/// Reads the installation's secret, or makes it at the first start.
/// What only this installation knows; drawn when it is first asked for.
pub async fn installation_secret(store: &Store) -> Result<[u8; 32]> {
    const KEPT: &str = "SELECT value FROM installation WHERE key = 'secret'";
    struct Keep([u8; 32]);
    impl store::Command for Keep {
        type Output = String;
        type Error = Error;

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<String> {
            let fresh: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            tx.execute("INSERT INTO installation (key, value) VALUES ('secret', $1) ON CONFLICT DO NOTHING", &[fresh.as_str().into()]).await?;
            let kept = tx.fetch_one(KEPT, &[], |row| row.get::<String>(0)).await?;
            Ok(kept.unwrap_or(fresh))
        }
    }
    let kept: Result<Option<String>> = store.read(|tx| Box::pin(async move { Ok(tx.fetch_one(KEPT, &[], |row| row.get(0)).await?) })).await;
    let text = match kept? {
        Some(kept) => kept,
        None => store.write(Keep(random_bytes())).await?,
    };
    let mut secret = [0; 32];
    for (slot, pair) in secret.iter_mut().zip(text.as_bytes().chunks(2)) {
        *slot = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    Ok(secret)
}

/// Random bytes from the operating system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// Since 1970, by the machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
fn age() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The machine's clock.
pub fn wall() -> Timestamp {
    Timestamp::from_ms(age().as_millis() as i64)
}

fn seed(age: Duration) -> u128 {
    Mint::seed(u128::from_ne_bytes(random_bytes()), age.subsec_nanos() % 1_000_000)
}

/// Whether the public may see a campaign's pages.
pub const fn is_public(status: CampaignStatus) -> bool {
    matches!(status, CampaignStatus::Live)
}
