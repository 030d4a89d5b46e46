use super::{
    Result,
    place::{self, Side},
    serve,
};
use crate::{
    config::{Config, DataFlags},
    engine::workspace,
};
use std::io::Write;

/// Make an API key, where all others are lost
///
/// Works while the server runs. Other keys are made by POST /v1/api-keys, with fewer rights than this one.
#[derive(Debug, clap::Args)]
pub struct Key {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Create(Create),
}

/// Make a key that may do everything on one side of a workspace, and print it this once
///
/// Keys that were lost still open: look for them with GET /v1/api-keys, and revoke them.
#[derive(Debug, clap::Args)]
struct Create {
    /// The workspace, by name or id, where there are several
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// The side of the workspace
    #[arg(long, default_value = "live")]
    side: Side,
    /// What the key is called in lists
    #[arg(long, value_name = "TEXT", default_value = "Made on the command line")]
    name: String,
    #[command(flatten)]
    settings: DataFlags,
}

impl Key {
    pub fn run(self) -> Result {
        let What::Create(command) = self.what;
        super::block_on(command.create())
    }
}

impl Create {
    async fn create(self) -> Result {
        let (engine, store) = serve::open_beside(&Config::load(&self.settings.0)?).await?;
        let made = async {
            let workspace = place::choose(engine.read(|tx| Box::pin(workspace::all(tx))).await?, self.workspace.as_deref())?;
            let space = if self.side == Side::Test { workspace.test } else { workspace.live };
            Ok(engine.create_key(space, &self.name).await?)
        };
        let made: Result<workspace::Secret> = made.await;
        store.close().await?;
        writeln!(std::io::stdout(), "{}", made?.reveal())?;
        Ok(())
    }
}
