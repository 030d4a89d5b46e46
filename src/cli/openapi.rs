use super::Result;
use crate::config::{Config, ServerFlags};
use std::io::Write;

/// Print the OpenAPI document of the API
#[derive(Debug, clap::Args)]
pub struct Openapi {
    #[command(flatten)]
    settings: ServerFlags,
}

impl Openapi {
    pub fn run(self) -> Result {
        let config = Config::load(&self.settings.0)?;
        let document = crate::routes::document(&config);
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &document).map_err(super::Failure::new)?;
        writeln!(out)?;
        Ok(())
    }
}
