use super::Result;

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
        if self.json {
            println!("{}", serde_json::json!({"version": version, "commit": commit, "sqlite": sqlite, "target": format!("{arch}-{os}")}));
        } else {
            println!("goodword {version} (commit {commit}, SQLite {sqlite}, {arch}-{os})");
        }
        Ok(())
    }
}
