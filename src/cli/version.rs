use super::Result;
use std::io::Write;

/// Print the version, and those of what it is built with
#[derive(Debug, clap::Args)]
pub struct Version {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Version {
    pub fn run(self) -> Result {
        let version = env!("CARGO_PKG_VERSION");
        let commit = option_env!("GOODWORD_COMMIT").unwrap_or("unknown");
        let sqlite = rusqlite::version();
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let line = if self.json {
            serde_json::json!({"version": version, "commit": commit, "sqlite": sqlite, "target": format!("{arch}-{os}")}).to_string()
        } else {
            format!("goodword {version} (commit {commit}, SQLite {sqlite}, {arch}-{os})")
        };
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }
}
