use super::{Failure, Result, serve};
use crate::{
    config::{Config, DataFlags},
    engine::{SetUp, workspace},
};
use goodword_core::text::Line;
use std::io::Write;

/// List the workspaces, or make another one
///
/// A workspace is one company's data, with a live and a test side and keys of its own. Works while the server runs.
#[derive(Debug, clap::Args)]
pub struct Workspaces {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(List),
    Create(Create),
}

/// List the workspaces
#[derive(Debug, clap::Args)]
struct List {
    /// Print a JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: DataFlags,
}

/// Make a workspace, and print an API key for each of its sides
///
/// The keys are shown this once. A running server knows the workspace within a second.
#[derive(Debug, clap::Args)]
struct Create {
    /// What it is called; no other workspace may have the name
    name: Line,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: DataFlags,
}

impl Workspaces {
    pub fn run(self) -> Result {
        super::block_on(async {
            match self.what {
                What::List(command) => command.list().await,
                What::Create(command) => command.create().await,
            }
        })
    }
}

impl List {
    async fn list(self) -> Result {
        let store = serve::open_read_only(&Config::load(&self.settings.0)?).await?;
        let all = store.read(|tx| Box::pin(workspace::all(tx))).await?;
        store.close().await?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let all: Vec<_> = all.iter().map(|workspace| serde_json::json!({"id": workspace.id, "name": workspace.name})).collect();
            writeln!(out, "{}", serde_json::Value::from(all))?;
            return Ok(());
        }
        for workspace in all {
            writeln!(out, "{}  {}", workspace.id, workspace.name)?;
        }
        Ok(())
    }
}

impl Create {
    async fn create(self) -> Result {
        let (engine, store) = serve::open_beside(&Config::load(&self.settings.0)?).await?;
        let made = engine.create_workspace(self.name).await;
        store.close().await?;
        let SetUp { workspace, live_key, test_key } = made.map_err(Failure::from)?;
        let (live, test) = (live_key.reveal(), test_key.reveal());
        let mut out = std::io::stdout().lock();
        if self.json {
            let made = serde_json::json!({"id": workspace.id, "name": workspace.name, "api_key": live, "test_api_key": test});
            writeln!(out, "{made}")?;
            return Ok(());
        }
        writeln!(out, "{}  {}", workspace.id, workspace.name)?;
        writeln!(out, "\nTwo API keys were made; they are shown this once:\n  live       {live}\n  test       {test}")?;
        writeln!(out, "\nIts desk:\n  goodword admin --workspace {}", workspace.id)?;
        Ok(())
    }
}
