//! A year that never was.

mod integrations;
mod people;
mod play;
mod story;

use super::{
    Failure, Result,
    progress::{self, Progress, count},
    serve,
};
use crate::{
    config::{Config, ServerFlags},
    engine::{Engine, SetUp},
    http::server,
    pages::admin,
};
use goodword_core::ids::CampaignId;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// Fill a new installation with a believable year, and serve it
///
/// Two companies' programs with everything that happens in them: leads in every state, rewards in
/// every state with their reasons, refunds, claims, refusals, visits by day, webhooks that arrived
/// and others that did not, an inbound hook. All people are made up,
/// and so are their addresses at example.com, .org and .net. Without --data it lives in a temporary
/// folder, which goes when the server stops.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// How much happens in the year
    #[arg(long, default_value = "medium")]
    size: story::Size,
    /// Print one line of JSON when it is ready, for programs
    #[arg(long)]
    json: bool,
    /// Only fill it, and end
    #[arg(long)]
    no_serve: bool,
    #[command(flatten)]
    settings: ServerFlags,
}

/// The line for programs.
#[derive(serde::Serialize)]
struct Ready<'a> {
    url: &'a str,
    api_key: &'a str,
    test_api_key: &'a str,
    campaign_id: CampaignId,
    campaign_integer_id: i64,
}

const WORKSPACE_NAME: &str = "Northlight & Brightwater";

impl Demo {
    pub fn run(self) -> Result {
        let mut config = Config::load(&self.settings.0)?;
        // Only what was asked for in so many words is filled: never the database of the environment.
        let temporary = !self.settings.0.names("data");
        if temporary {
            config.data = temporary_folder()?;
        }
        if !self.settings.0.names("database_url") {
            config.database_url = None;
        }
        // Whoever tries it out has the receiver on the same machine.
        if !self.settings.0.names("allow_networks") {
            config.allow_networks = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(Into::into).into();
        }
        let _log = super::log::start(&config)?;
        let data = config.data.clone();
        let outcome = super::block_on(self.play(config));
        if temporary && (!self.no_serve || outcome.is_err()) {
            std::fs::remove_dir_all(&data).map_err(|error| Failure::new(format!("{}: {error}", data.display())))?;
        }
        outcome
    }

    async fn play(&self, mut config: Config) -> Result {
        let mut stop = std::pin::pin!(server::stop_signal());
        let listener = if self.no_serve { None } else { Some(self.listen(&mut config)?) };
        let store = serve::open_served(&config).await?;
        let (engine, visits) = serve::open_engine(&store, &config).await?;
        let name = WORKSPACE_NAME.parse().map_err(Failure::new)?;
        let Some(made) = engine.set_up(name).await? else {
            return Err(Failure::new("there is something in this installation already").hint("Name a new folder with --data DIR, or leave it out."));
        };
        let mut progress = Progress::new();
        let year = tokio::select! {
            year = play::play(&engine, &made, self.size, &mut progress) => year?,
            () = &mut stop => return Err(Failure::new("stopped before the year was over")),
        };
        progress.clear();
        self.tell(&config, &engine, &made, &year, &progress)?;
        match listener {
            Some(listener) => serve::run(listener, store, engine, visits, config, stop).await,
            None => {
                drop(engine);
                let _ = visits.await;
                Ok(store.close().await?)
            }
        }
    }

    /// The address of the configuration; another port where that is taken and was not asked for.
    fn listen(&self, config: &mut Config) -> Result<tokio::net::TcpListener> {
        let listener = match server::bind(config.listen) {
            Err(_) if !self.settings.0.names("listen") => {
                config.listen.set_port(0);
                server::bind(config.listen)
            }
            bound => bound,
        };
        let listener = listener.map_err(|error| Failure::new(format!("cannot listen on {}: {error}", config.listen)).hint("Choose another with --listen."))?;
        config.listen = listener.local_addr()?;
        Ok(listener)
    }

    fn tell(&self, config: &Config, engine: &Engine, made: &SetUp, year: &play::Made, progress: &Progress) -> Result {
        let url = config.public_url();
        let (key, test_key) = (made.live_key.reveal(), made.test_key.reveal());
        if self.json {
            let ready = Ready { url: &url, api_key: key, test_api_key: test_key, campaign_id: year.campaign, campaign_integer_id: year.campaign_number };
            println!("{}", serde_json::to_string(&ready).map_err(Failure::new)?);
            return Ok(());
        }
        let (referrers, leads) = year.people;
        let took = progress::duration(progress.elapsed());
        println!("A year with {} and {} was played in {took}.", count(referrers as u64, "referrer"), count(leads as u64, "lead"));
        println!("  data       {}", config.data.display());
        println!("  live key   {key}");
        println!("  test key   {test_key}");
        if self.no_serve {
            println!("\nServe it:\n  goodword serve --data {}", config.data.display());
            return Ok(());
        }
        println!("  address    {url}");
        println!("  reference  {url}/docs");
        println!("  a link     {url}/{}", year.code);
        println!("  the desk   {}", admin::sign_in_link(engine.secret(), &url, made.workspace.live, engine.wall()));
        println!("\nTry it:");
        println!("  export KEY={key}");
        println!("  curl \"{url}/v1/statistics/funnel?campaign_id={}\" -H \"Authorization: Bearer $KEY\"", year.campaign);
        println!("  curl \"{url}/v1/rewards?state=in_review&limit=3\" -H \"Authorization: Bearer $KEY\"");
        println!("  curl \"{url}/v1/leads?status=pending&limit=1\" -H \"Authorization: Bearer $KEY\"");
        println!("  curl \"{url}/v1/leads/LEAD_ID/explanation\" -H \"Authorization: Bearer $KEY\"\n");
        Ok(())
    }
}

/// A new folder that only we can read.
fn temporary_folder() -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let random = u64::from_le_bytes(crate::engine::random_bytes());
    let path = std::env::temp_dir().join(format!("goodword-demo-{random:016x}"));
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(path)
}
