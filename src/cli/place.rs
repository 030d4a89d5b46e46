//! On what a command works: the database of the configuration, or a server that runs.

use super::{
    Failure, Result,
    client::{self, Client},
    log::Log,
    serve,
};
use crate::{
    config::{Config, DataFlags},
    engine::{
        self, Engine, MIGRATIONS, Space,
        campaign::{self, Campaign},
        workspace::{self, Workspace},
    },
};
use goodword_store::{Options, Store};

/// Where the data is: here, or behind a running server.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Work through a running server at this address, like http://127.0.0.1:8080
    #[arg(long, value_name = "URL", help_heading = "Running server")]
    url: Option<String>,
    /// The API key for --url; better given by the environment, which other users cannot see
    #[arg(long, value_name = "KEY", env = "GOODWORD_API_KEY", hide_env_values = true, help_heading = "Running server")]
    api_key: Option<String>,
    /// The workspace, by name or id, where there are several
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    workspace: Option<String>,
    /// The side of the workspace [default: live]; with --url the key says which
    #[arg(long, conflicts_with = "url")]
    side: Option<Side>,
    #[command(flatten)]
    settings: DataFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    Live,
    Test,
}

/// An open database, and the side that is worked on.
pub struct Opened {
    pub engine: Engine,
    pub space: Space,
    store: Store,
    visits: tokio::task::JoinHandle<()>,
}

impl Place {
    /// The running server, if one is to be asked.
    pub fn server(&self) -> Result<Option<Client>> {
        let Some(url) = &self.url else { return Ok(None) };
        Client::new(url, Some(client::key(self.api_key.clone())?)).map(Some)
    }

    /// The configuration, and the log.
    pub fn start(&self) -> Result<(Config, Log)> {
        let config = Config::load(&self.settings.0)?;
        let log = super::log::start(&config)?;
        Ok((config, log))
    }

    /// Opens the database. `rest` is the command line that would do the same through a server.
    pub async fn open(&self, config: &Config, rest: &str) -> Result<Opened> {
        let store = serve::open_store(config).await.map_err(|failure| in_use(failure, config, rest))?;
        let (engine, visits) = serve::open_engine(&store, config).await?;
        let workspace = self.workspace(&engine).await?;
        let space = if self.side == Some(Side::Test) { workspace.test } else { workspace.live };
        Ok(Opened { engine, space, store, visits })
    }

    async fn workspace(&self, engine: &Engine) -> Result<Workspace> {
        choose(engine.read(|tx| Box::pin(workspace::all(tx))).await?, self.workspace.as_deref())
    }
}

/// The workspace of that name or id; the only one where none was named.
pub fn choose(mut all: Vec<Workspace>, named: Option<&str>) -> Result<Workspace> {
    let names = || all.iter().map(|workspace| workspace.name.as_str()).collect::<Vec<_>>().join(", ");
    match named {
        None if all.len() == 1 => Ok(all.remove(0)),
        _ if all.is_empty() => {
            Err(Failure::new("there is no workspace yet").hint("Start the server once: `goodword serve` makes one. Or did you mean another --data DIR?"))
        }
        None => Err(Failure::new(format!("there are several workspaces: {}", names())).hint("Say which with --workspace NAME.")),
        Some(name) => match all.iter().position(|workspace| workspace.name == *name || workspace.id.to_string() == *name) {
            Some(i) => Ok(all.remove(i)),
            None => Err(Failure::new(format!("there is no workspace {name}; there are {}", names()))),
        },
    }
}

/// SQLite's file belongs to the server while it runs: says how to go through it. It left its address with its lock.
fn in_use(failure: Failure, config: &Config, rest: &str) -> Failure {
    if !failure.what.contains("another goodword process") {
        return failure;
    }
    match Store::address_in_use(&Options::new(serve::database_url(config), MIGRATIONS)) {
        Some(url) => failure.hint(format!("The server is running. Go through it:\n  GOODWORD_API_KEY=gw_… goodword {rest} --url {url}")),
        None => failure.hint("It is no server: wait until that command has ended."),
    }
}

impl Opened {
    pub async fn campaign(&self, name: &str) -> Result<Campaign> {
        let (space, shared, wanted) = (self.space, self.engine.shared_arc(), name.to_owned());
        let found = self.engine.read(move |tx| Box::pin(async move { campaign::named(tx, &shared, space, &wanted).await })).await;
        found.map_err(|error| match error {
            engine::Error::NotFound { .. } => {
                let other = if self.space.is_test() { "live" } else { "test" };
                Failure::new(format!("there is no campaign {name} on this side"))
                    .hint(format!("Name it by its id, code or exact name. The other side is --side {other}."))
            }
            other => other.into(),
        })
    }

    /// Writes what is still kept in memory and releases the database.
    pub async fn close(self) -> Result {
        drop(self.engine);
        let _ = self.visits.await;
        Ok(self.store.close().await?)
    }
}
