use super::{Failure, Result};
use crate::{
    config::{Config, ServerFlags},
    delivery::{self, Dispatcher},
    engine::{Engine, MIGRATIONS, SetUp, vault},
    http::{App, server},
    pages::admin,
    routes,
};
use goodword_store::{Options, Store};
use std::{io::Write, path::Path, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};

/// The database's name in the data folder.
const DATABASE_NAME: &str = "goodword.db";
const WORKSPACE_NAME: &str = "My company";
/// How long the last deliveries, visits and statistics may take to be written.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Serve the API and the pages
///
/// The first start makes the data folder, a workspace and an API key, and prints how to go on.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    settings: ServerFlags,
}

impl Serve {
    pub fn run(self) -> Result {
        let config = Config::load(&self.settings.0)?;
        let _log = super::log::start(&config)?;
        super::block_on(serve(config))
    }
}

async fn serve(mut config: Config) -> Result {
    let listener = server::bind(config.listen)
        .map_err(|error| Failure::new(format!("cannot listen on {}: {error}", config.listen)).hint("Choose another with --listen 127.0.0.1:8081."))?;
    config.listen = listener.local_addr()?;
    let store = open_served(&config).await?;
    let (engine, visits) = open_engine(&store, &config).await?;
    let set_up = engine.set_up(WORKSPACE_NAME.parse().map_err(Failure::new)?).await?;
    // Before anybody is told that it is ready: from then on it stops in good order.
    let asked_to_stop = server::stop_signal();
    welcome(&config, &engine, set_up.as_ref());
    run(listener, store, engine, visits, config, asked_to_stop).await
}

/// Serves an open installation until the process is asked to stop.
pub(super) async fn run(
    listener: TcpListener,
    store: Store,
    engine: Engine,
    visits: JoinHandle<()>,
    config: Config,
    asked_to_stop: impl Future<Output = ()>,
) -> Result {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let fresh = tokio::spawn(engine.clone().keep_endpoints_fresh(stopped.clone()));
    let background = tokio::spawn(engine.clone().run_background(config.visit_ip_days, config.delivery_days, stopped));
    let app = App::new(engine, config);
    let dispatcher = Dispatcher::start(&app.engine, delivery::Settings::new(&app.engine, app.guard.clone()), app.metrics.delivery.clone())?;
    tracing::info!(listen = %app.config.listen, url = app.config.public_url(), "ready");
    server::serve(listener, routes::router(app.clone()), &app, asked_to_stop).await;

    // What still works is told to stop, what is still kept in memory is written, and then the database closes.
    let _ = stop.send(true);
    drop(app);
    let rest = async {
        dispatcher.stop().await;
        let _ = fresh.await;
        let _ = background.await;
        let _ = visits.await;
    };
    if tokio::time::timeout(CLOSE_DEADLINE, rest).await.is_err() {
        tracing::warn!("the last visits could not be written within {} s", CLOSE_DEADLINE.as_secs());
    }
    store.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// The address of the database that the configuration names.
pub(super) fn database_url(config: &Config) -> String {
    config.database_url.clone().unwrap_or_else(|| format!("sqlite:{}", config.data.join(DATABASE_NAME).display()))
}

/// Opens the database that the configuration names, making the data folder where there is none.
pub(super) async fn open_store(config: &Config) -> Result<Store> {
    make_folder(&config.data)?;
    Ok(Store::open(Options::new(database_url(config), MIGRATIONS)).await?)
}

/// As [`open_store`], for a server: whoever finds the database in use is told where to go.
pub(super) async fn open_served(config: &Config) -> Result<Store> {
    make_folder(&config.data)?;
    let options = Options { address: Some(config.local_url()), ..Options::new(database_url(config), MIGRATIONS) };
    Ok(Store::open(options).await?)
}

/// Opens the engine for a small change by whoever runs the machine, also while a server uses the database. It needs no
/// secret key, because it seals and opens nothing.
pub(super) async fn open_beside(config: &Config) -> Result<(Engine, Store)> {
    let options = Options { beside: true, ..Options::new(database_url(config), MIGRATIONS) };
    must_be_up_to_date(&options).await?;
    let store = Store::open(options).await?;
    let (engine, _) = Engine::open_without_key(store.clone(), &config.public_url()).await?;
    Ok((engine, store))
}

async fn must_be_up_to_date(options: &Options) -> Result {
    if Store::pending_migrations(options).await?.is_empty() {
        return Ok(());
    }
    let what = "the database is not there, or not up to date";
    Err(Failure::new(what).hint("`goodword migrate` brings it up to date. Or did you mean another --data DIR?"))
}

/// Opens the engine with the installation's secret key. A key is made at the first start only: a new one beside an
/// old database would open nothing, and look like the right one the next time.
pub(super) async fn open_engine(store: &Store, config: &Config) -> Result<(Engine, JoinHandle<()>)> {
    if let Some(path) = config.secret_key_path()
        && !path.exists()
        && vault::probe(store).await?.is_some()
    {
        return Err(Failure::new(format!("the secret key of this database is missing: there is no file {}", path.display())).hint(PUT_KEY_BACK));
    }
    Ok(Engine::open_with(store.clone(), &config.public_url(), config.vault()?).await?)
}

/// How to go on where a database has lost its key.
pub(super) const PUT_KEY_BACK: &str =
    "Put back the secret.key that belongs to the database, from where its backups are kept; or give its text as GOODWORD_SECRET_KEY.";

/// Opens the database only to read, also while a server uses it.
pub(super) async fn open_read_only(config: &Config) -> Result<Store> {
    let mut options = Options::new(database_url(config), MIGRATIONS);
    options.read_only = true;
    must_be_up_to_date(&options).await?;
    Ok(Store::open(options).await?)
}

/// Nobody else's business: the folder holds keys and addresses.
fn make_folder(path: &Path) -> Result {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::new(format!("cannot make the data folder {}: {error}", path.display())).hint("Choose another with --data DIR."))
}

/// Where to go from here. Keys are shown this once. A reader that has gone away stops nothing.
fn welcome(config: &Config, engine: &Engine, set_up: Option<&SetUp>) {
    let url = config.public_url();
    let (version, data) = (env!("CARGO_PKG_VERSION"), config.data.display());
    let mut text = format!("Goodword {version} is ready at {url}\n  reference  {url}/docs\n  data       {data}\n\n");
    if let Some(SetUp { workspace, live_key, test_key }) = set_up {
        let link = admin::sign_in_link(engine.secret(), &url, workspace.live, engine.wall());
        let (live, test) = (live_key.reveal(), test_key.reveal());
        text += &format!("This is the first start. Two API keys were made; they are shown this once:\n  live       {live}\n  test       {test}\n\n");
        text += &format!("Open the desk (the link is good for half an hour; `goodword admin` makes another):\n  {link}\n\n");
        text += &format!("Try it:\n  curl {url}/v1/me -H \"Authorization: Bearer {test}\"\n\n");
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
}
