use super::{Result, place, serve};
use crate::{
    config::{Config, ServerFlags},
    engine::{self, workspace},
    pages::admin,
};
use std::io::Write;

/// Print a link that signs a browser in at the desk
///
/// The link is good for half an hour, the browser stays signed in for twelve. Works while the server runs.
#[derive(Debug, clap::Args)]
pub struct Admin {
    /// The workspace, by name or id, where there are several
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    #[command(flatten)]
    settings: ServerFlags,
}

impl Admin {
    pub fn run(self) -> Result {
        let config = Config::load(&self.settings.0)?;
        super::block_on(async {
            let store = serve::open_read_only(&config).await?;
            let workspace = place::choose(store.read(|tx| Box::pin(workspace::all(tx))).await?, self.workspace.as_deref())?;
            let secret = engine::installation_secret(&store).await?;
            let link = admin::sign_in_link(&secret, &config.public_url(), workspace.live, engine::wall());
            store.close().await?;
            writeln!(std::io::stdout(), "{link}")?;
            Ok(())
        })
    }
}
