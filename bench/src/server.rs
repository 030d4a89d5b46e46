//! The product itself: `goodword serve` as a child process.

use crate::{
    load::{Connection, request},
    machine,
};
use serde_json::Value;
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Where its data live.
pub struct Home {
    folder: tempfile::TempDir,
    postgres: Option<(goodword_testkit::Postgres, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Home {
    /// `None` where PostgreSQL is not installed.
    pub fn new(engine: Engine) -> Option<Self> {
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(goodword_testkit::durable_postgres_url()?),
        };
        Some(Self { folder: tempfile::Builder::new().prefix("goodword-bench-").tempdir_in(crate::folder()).expect("a folder"), postgres })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The SQLite file.
    pub fn file(&self) -> PathBuf {
        self.folder().join("goodword.db")
    }

    pub fn url(&self) -> String {
        match &self.postgres {
            Some((_, url)) => url.clone(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    /// The postmaster, whose children are PostgreSQL.
    pub fn postmaster(&self) -> Option<u32> {
        let folder = self.postgres.as_ref()?.1.split_once("host=")?.1;
        std::fs::read_to_string(Path::new(folder).join("data/postmaster.pid")).ok()?.lines().next()?.parse().ok()
    }

    /// Makes what was loaded look as if it had been there for long.
    pub fn settle(&self) {
        if let Some((_, url)) = &self.postgres {
            sql(url, "VACUUM ANALYZE");
            sql(url, "CHECKPOINT");
        }
    }

    /// The database, opened next to the server or without one.
    pub async fn store(&self) -> goodword_store::Store {
        let options = goodword_store::Options::new(self.url(), goodword::engine::MIGRATIONS);
        goodword_store::Store::open(options).await.expect("the database")
    }
}

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub ready_after: Duration,
    /// Of the live side, where this is the first start.
    pub key: Option<String>,
    postmaster: Option<u32>,
}

impl Server {
    pub fn start(home: &Home, core: Option<usize>) -> Self {
        let program = crate::program();
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        command.arg("serve").arg("--data").arg(home.folder()).args(["--listen", &free.to_string()]);
        command.args(["--rate-limit-per-minute", "0", "--log", "warn"]);
        command.env_remove("DATABASE_URL").env("GOODWORD_DATABASE_URL", home.url());
        // Webhooks of the bench go to this machine.
        command.env("GOODWORD_ALLOW_NETWORKS", "127.0.0.0/8");
        let words = home.folder().join("words.txt");
        let begun = Instant::now();
        let child = command.stdout(File::create(&words).expect("a file")).spawn().expect("start goodword");
        let mut server = Self { child, address: free, ready_after: Duration::ZERO, key: None, postmaster: home.postmaster() };
        while !server.is_ready() {
            assert!(server.child.try_wait().is_ok_and(|ended| ended.is_none()), "goodword has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.ready_after = begun.elapsed();
        let words = std::fs::read_to_string(words).unwrap_or_default();
        server.key = words.lines().find_map(|line| line.trim().strip_prefix("live")).map(|key| key.trim().to_owned());
        server
    }

    fn is_ready(&self) -> bool {
        let text = request("GET", "/readyz", None, None);
        block_on(async { Connection::open(self.address).await?.ask(&text).await }).is_ok_and(|(status, _)| status == 200)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time of the server, and of PostgreSQL where there is one.
    pub fn cpu(&self) -> Duration {
        machine::cpu(self.pid()) + self.postmaster.map_or(Duration::ZERO, machine::cpu)
    }

    pub fn ask(&self, method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> (u16, String) {
        let text = request(method, path, key, body);
        block_on(async { Connection::open(self.address).await?.ask(&text).await }).expect("an answer")
    }

    /// As [`Self::ask`], for what must succeed.
    pub fn json(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Value {
        let (status, text) = self.ask(method, path, Some(key), body.map(Value::to_string).as_deref());
        assert!(status < 300, "{method} {path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.child.wait();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs statements on PostgreSQL.
pub fn sql(url: &str, statements: &str) {
    let done = Command::new("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statements, url]).status();
    assert!(done.is_ok_and(|status| status.success()), "{statements}");
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
