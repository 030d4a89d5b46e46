//! Fresh databases for tests: a SQLite file, and a database of a private PostgreSQL cluster which starts
//! with the first test that asks and stops by itself some seconds after the last test process has ended.
mod postgres;

pub use postgres::{OwnPostgres, Postgres, durable_postgres_url, postgres_url};

/// Keeps the folder of a SQLite database; it goes when this is dropped.
pub struct Sqlite(tempfile::TempDir);

impl Sqlite {
    /// The folder, empty but for the database.
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

/// The URL of a SQLite database which does not exist yet.
pub fn sqlite_url() -> (Sqlite, String) {
    let folder = tempfile::Builder::new().prefix("goodword-").tempdir().expect("create a temporary folder");
    let url = format!("sqlite:{}", folder.path().join("test.db").display());
    (Sqlite(folder), url)
}

/// Runs `test` with the URL of an empty database, on SQLite and then on PostgreSQL, and tells on which
/// it failed.
pub async fn on_both(test: impl AsyncFn(String)) {
    {
        let (_guard, url) = sqlite_url();
        let _name = Failing("SQLite");
        test(url).await;
    }
    if let Some((_guard, url)) = postgres_url() {
        let _name = Failing("PostgreSQL");
        test(url).await;
    }
}

/// Names the engine if the test panics.
struct Failing(&'static str);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("… on {}", self.0);
        }
    }
}
