use super::{
    Failure, Result,
    progress::{self, Progress, count, grouped},
    serve,
};
use crate::{
    config::{Config, DataFlags},
    engine::MIGRATIONS,
};
use goodword_store::{Options, Store};
use std::path::{Path, PathBuf};

/// Copy the database, also while the server runs
///
/// The copy is the database as it is at this moment, in one file that can take its place. Writers
/// go on meanwhile. The secret key is not part of it, and no server starts on the copy without it: keep it with
/// your backups too, but apart from them.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The file to write; it must not exist yet
    to: PathBuf,
    /// Read the copy from end to end and count its rows
    #[arg(long)]
    verify: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: DataFlags,
}

impl Backup {
    pub fn run(self) -> Result {
        let config = Config::load(&self.settings.0)?;
        let _log = super::log::start(&config)?;
        super::block_on(self.backup(config))
    }

    async fn backup(self, config: Config) -> Result {
        let url = serve::database_url(&config);
        if !url.starts_with("sqlite:") {
            return Err(Failure::new("this installation is on PostgreSQL, whose own tools make its backups").hint(format!(
                "  pg_dump --format=custom --file={} \"$DATABASE_URL\"\nand, to restore it into an empty database:\n  pg_restore --dbname=\"$DATABASE_URL\" {}",
                self.to.display(),
                self.to.display()
            )));
        }
        let mut progress = Progress::new();
        let store = serve::open_read_only(&config).await?;
        progress.show(|| "copying".to_owned());
        let copied = store.backup(&self.to).await;
        store.close().await?;
        copied?;
        let bytes = std::fs::metadata(&self.to)?.len();
        let rows = if self.verify { Some(verify(&self.to, &mut progress).await?) } else { None };
        progress.clear();
        if self.json {
            println!(
                "{}",
                serde_json::json!({"file": self.to, "secret_key_file": config.secret_key_path(), "bytes": bytes, "rows": rows, "seconds": progress.elapsed().as_secs_f64()})
            );
            return Ok(());
        }
        let took = progress::duration(progress.elapsed());
        println!("{}: {} KiB in {took}", self.to.display(), grouped(bytes / 1024));
        if let Some(rows) = rows {
            println!("It was read from end to end and is whole: {}.", count(rows, "row"));
        }
        let key = config.secret_key_path().map_or_else(|| "the secret key (secret_key)".to_owned(), |path| path.display().to_string());
        println!("Keep {key} as well, apart from the copy: no server starts on the copy without it.");
        Ok(())
    }
}

/// Reads the copy from end to end: SQLite's own check, and every table's rows. Returns their number.
async fn verify(path: &Path, progress: &mut Progress) -> Result<u64> {
    let wrong = |why: String| Failure::new(format!("the copy {} is not whole: {why}", path.display())).hint("Keep the database, and look at the disk.");
    let (copy, checked) = (path.to_owned(), path.to_owned());
    progress.show(|| "checking".to_owned());
    let check = tokio::task::spawn_blocking(move || -> rusqlite::Result<(String, i64)> {
        let conn = rusqlite::Connection::open_with_flags(&copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let answer = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0))?;
        let orphans = conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        Ok((answer, orphans))
    });
    match check.await {
        Ok(Ok((answer, 0))) if answer == "ok" => {}
        Ok(Ok((answer, 0))) => return Err(wrong(answer)),
        Ok(Ok((_, orphans))) => return Err(wrong(format!("{orphans} rows refer to rows that are not there"))),
        Ok(Err(error)) => return Err(wrong(error.to_string())),
        Err(error) => return Err(wrong(error.to_string())),
    }
    let mut options = Options::new(format!("sqlite:{}", checked.display()), MIGRATIONS);
    options.read_only = true;
    let store = Store::open(options).await?;
    let mut rows = 0;
    for table in store.tables().await? {
        let name = table.name.clone();
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        let n: Option<i64> = store.read(move |tx| Box::pin(async move { tx.fetch_one(&sql, &[], |row| row.get(0)).await })).await?;
        rows += n.unwrap_or_default() as u64;
    }
    store.close().await?;
    // Opening it has left SQLite's empty side files.
    for side in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(side);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
    Ok(rows)
}
