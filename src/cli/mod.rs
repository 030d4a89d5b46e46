//! The command line: one file for each command.

mod admin;
mod backup;
mod client;
mod demo;
mod doctor;
mod export;
mod import;
mod key;
mod listen;
mod log;
mod mcp;
mod migrate;
mod openapi;
mod place;
mod progress;
mod referral_factory;
mod serve;
mod version;
mod workspace;

use crate::{config::ConfigError, engine};
use clap::{
    Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
};
use std::fmt;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Magenta.on_default().bold())
    .usage(AnsiColor::Magenta.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().bold());

const EXAMPLES: &str = "\
Examples:
  goodword serve                                    start with everything in ./goodword-data
  goodword serve --listen 0.0.0.0:80 --public-url https://refer.example.com
  goodword serve --database-url postgres://goodword@db/goodword
  goodword listen --forward http://localhost:3000   events as they happen, sent on signed
  goodword openapi > openapi.json                   the API as a document

Every flag of a command can also be set by environment (--listen is GOODWORD_LISTEN)
or in goodword.toml in the data folder (listen = \"127.0.0.1:8080\").";

/// Goodword, the self-hosted referral engine.
///
/// People share links, friends join, purchases come in, rewards follow: one program on an
/// embedded database, or several on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "goodword", version, styles = STYLES, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Admin(admin::Admin),
    #[command(name = "workspace")]
    Workspaces(workspace::Workspaces),
    Key(key::Key),
    Demo(demo::Demo),
    Import(import::Import),
    Export(export::Export),
    Backup(backup::Backup),
    Migrate(migrate::Migrate),
    Doctor(doctor::Doctor),
    Listen(listen::Listen),
    Mcp(mcp::Mcp),
    Openapi(openapi::Openapi),
    Version(version::Version),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result {
        match self.command {
            Command::Serve(command) => command.run(),
            Command::Admin(command) => command.run(),
            Command::Workspaces(command) => command.run(),
            Command::Key(command) => command.run(),
            Command::Demo(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Backup(command) => command.run(),
            Command::Migrate(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Listen(command) => command.run(),
            Command::Mcp(command) => command.run(),
            Command::Openapi(command) => command.run(),
            Command::Version(command) => command.run(),
        }
    }
}

/// Why a command could not do what was asked: one sentence, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    hint: Option<String>,
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error).hint("`goodword serve --help` lists every setting.")
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self::new(error)
    }
}

impl From<goodword_store::Error> for Failure {
    fn from(error: goodword_store::Error) -> Self {
        Self::new(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

/// Runs a command that waits for things.
fn block_on(work: impl Future<Output = Result>) -> Result {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent_and_explained() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
        assert!(cli.render_long_help().to_string().contains("goodword.toml"));
    }

    #[test]
    fn serve_takes_every_setting() {
        let cli = Cli::try_parse_from(["goodword", "serve", "-d", "x", "--listen", "127.0.0.1:0", "--trusted-proxies", "10.0.0.0/8"]).unwrap();
        assert!(matches!(cli.command, Command::Serve(_)));
        assert!(Cli::try_parse_from(["goodword", "serve", "--no-such"]).is_err());
    }
}
