//! The private PostgreSQL cluster.
//!
//! It lives in a folder of its own per user, listens on a Unix socket there, and is shared by all test
//! processes. Each of them holds a shared lock on `alive` for as long as it lives; a supervisor, a shell
//! detached from all of them, stops and removes the cluster once nobody does. Whoever starts or removes the
//! cluster holds the lock on `lock`.
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// An existing server to use in place of the private one, as a URL of its maintenance database.
const SERVER_VARIABLE: &str = "GOODWORD_TEST_POSTGRES";

/// A database; it is dropped with this guard.
pub struct Postgres {
    server: Server,
    name: String,
}

/// The URL of an empty database, in a cluster which does not wait for the disk. `None`, with a loud notice,
/// if PostgreSQL is not installed; in CI (the variable `CI` is set) that is a panic.
pub fn postgres_url() -> Option<(Postgres, String)> {
    url(Kind::Fast)
}

/// As [`postgres_url`], in a cluster that keeps what it has committed through a crash of the machine.
pub fn durable_postgres_url() -> Option<(Postgres, String)> {
    url(Kind::Durable)
}

/// A durable cluster for one test alone, which may crash it. It goes with this guard.
pub struct OwnPostgres {
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl OwnPostgres {
    /// `None` as for [`postgres_url`].
    pub fn start() -> Option<Self> {
        let binaries = binaries_or_notice()?;
        // PostgreSQL's user has to get through; what is inside belongs to it.
        let folder = tempfile::Builder::new()
            .prefix("goodword-pg-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("create a temporary folder");
        let cluster = Cluster::at(folder.path().to_owned(), Kind::Durable, binaries);
        cluster.create().and_then(|()| cluster.launch()).unwrap_or_else(|e| panic!("start PostgreSQL in {}: {e}", cluster.folder.display()));
        Some(OwnPostgres { cluster, _folder: folder })
    }

    pub fn url(&self) -> String {
        self.cluster.url()
    }

    /// Stops the server as a crash does, and starts it again.
    pub fn crash(&self) {
        self.cluster.pg_ctl(&["stop", "-m", "immediate"]).and_then(|()| self.cluster.launch()).unwrap_or_else(|e| panic!("crash PostgreSQL: {e}"));
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let _ = self.cluster.pg_ctl(&["stop", "-m", "immediate"]);
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Fast,
    Durable,
}

fn url(kind: Kind) -> Option<(Postgres, String)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = Server::find(kind)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let name = format!("test_{}_{}_{now}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    server.psql(&format!("CREATE DATABASE {name}")).unwrap_or_else(|e| panic!("create a test database: {e}"));
    let url = server.url(&name);
    Some((Postgres { server, name }, url))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The cluster goes with everything in it, so failing to clean up costs nothing.
        let _ = self.server.psql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// A running server.
#[derive(Clone)]
struct Server {
    psql: PathBuf,
    /// URL of the maintenance database.
    url: String,
}

impl Server {
    fn find(kind: Kind) -> Option<Server> {
        if let Ok(url) = std::env::var(SERVER_VARIABLE) {
            return Some(Server { psql: "psql".into(), url });
        }
        let cluster = Cluster::shared(kind, binaries_or_notice()?);
        cluster.start().unwrap_or_else(|e| panic!("start PostgreSQL in {}: {e}", cluster.folder.display()));
        Some(Server { psql: cluster.binaries.join("psql"), url: cluster.url() })
    }

    /// The URL of another database on this server.
    fn url(&self, database: &str) -> String {
        let (base, query) = self.url.split_once('?').map_or((self.url.as_str(), None), |(base, query)| (base, Some(query)));
        let host = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        format!("{host}/{database}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
    }

    fn psql(&self, sql: &str) -> Result<(), String> {
        run(Command::new(&self.psql).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url]))
    }
}

struct Cluster {
    kind: Kind,
    folder: PathBuf,
    binaries: PathBuf,
    user: u32,
    /// initdb refuses to run as root, so root lends the work to another user.
    as_user: Option<&'static str>,
}

impl Cluster {
    /// The one that all tests of this user share.
    fn shared(kind: Kind, binaries: PathBuf) -> Self {
        let suffix = match kind {
            Kind::Fast => "",
            Kind::Durable => "-durable",
        };
        // Not below TMPDIR's longer names: the path of a Unix socket has room for about a hundred bytes.
        let folder = PathBuf::from(format!("/tmp/goodword-postgres-{}{suffix}", user()));
        Self::at(folder, kind, binaries)
    }

    fn at(folder: PathBuf, kind: Kind, binaries: PathBuf) -> Self {
        let user = user();
        Cluster { kind, folder, binaries, user, as_user: (user == 0).then_some("postgres") }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("cluster/data")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    fn url(&self) -> String {
        format!("postgresql://postgres@/postgres?host={}", self.socket().display())
    }

    /// Makes sure that the cluster runs, and goes on running as long as this process does.
    fn start(&self) -> Result<(), String> {
        // Locks of this process do not exclude each other's threads from what they guard.
        static STARTING: Mutex<Vec<(PathBuf, File)>> = Mutex::new(Vec::new());
        let mut alive = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.iter().any(|(folder, _)| *folder == self.folder) {
            return Ok(());
        }
        let guard = self.lock().map_err(|e| e.to_string())?;
        let file = open(&self.folder.join("alive")).map_err(|e| e.to_string())?;
        file.lock_shared().map_err(|e| e.to_string())?;
        if !self.is_running() {
            self.create()?;
            self.launch()?;
            self.supervise()?;
        }
        alive.push((self.folder.clone(), file));
        drop(guard);
        Ok(())
    }

    /// The lock on starting and stopping. The supervisor removes the file, so it counts only if it is
    /// still the one in the folder.
    fn lock(&self) -> std::io::Result<File> {
        loop {
            fs::create_dir_all(&self.folder)?;
            if fs::metadata(&self.folder)?.uid() != self.user {
                return Err(std::io::Error::other("the folder is another user's"));
            }
            let path = self.folder.join("lock");
            let Ok(file) = open(&path) else { continue }; // The folder was removed in this moment.
            file.lock()?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == file.metadata().map_or(0, |ours| ours.ino())) {
                return Ok(file);
            }
        }
    }

    fn is_running(&self) -> bool {
        run(Command::new(self.binaries.join("pg_isready")).arg("-q").arg("-h").arg(self.socket())).is_ok()
    }

    fn create(&self) -> Result<(), String> {
        // Remains of a cluster whose machine, or supervisor, was killed.
        if self.data().exists() {
            let _ = self.pg_ctl(&["stop", "-m", "immediate"]);
            fs::remove_dir_all(self.data()).map_err(|e| e.to_string())?;
        }
        fs::create_dir_all(self.socket()).map_err(|e| e.to_string())?;
        run(Command::new("chmod").arg("700").arg(self.socket()))?;
        if let Some(user) = self.as_user {
            run(Command::new("chown").arg(user).arg(self.socket()))?;
        }
        run(self.command("initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(self.data()))
    }

    fn launch(&self) -> Result<(), String> {
        let mut settings = format!("-c listen_addresses= -c unix_socket_directories={} -c max_connections=500", self.socket().display());
        if matches!(self.kind, Kind::Fast) {
            settings += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off";
        }
        let log = self.socket().join("log");
        self.pg_ctl(&["start", "-w", "-o", &settings, "-l", &log.display().to_string()])
    }

    /// Starts the supervisor. It looks every 5 s and goes by two looks, so that the pause between two test
    /// binaries does not cost a cluster.
    fn supervise(&self) -> Result<(), String> {
        let stop = format!("{} stop -m immediate -D '{}'", self.shell("pg_ctl"), self.data().display());
        let script = format!(
            "cd '{folder}' || exit
             idle=0
             while sleep 5; do
                 if flock -n -x alive true; then idle=$((idle + 1)); else idle=0; fi
                 [ $idle -ge 2 ] || continue
                 (
                     flock 9
                     flock -n -x alive true || exit 1
                     {stop}
                     rm -rf cluster alive lock
                 ) 9>>lock && break
                 idle=0
             done
             cd / && rmdir '{folder}'",
            folder = self.folder.display(),
        );
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: neither Ctrl-C nor a test runner's timeout may end it.
        shell.process_group(0).spawn().map(drop).map_err(|e| e.to_string())
    }

    fn pg_ctl(&self, args: &[&str]) -> Result<(), String> {
        run(self.command("pg_ctl").arg("-D").arg(self.data()).args(args))
    }

    /// A program of PostgreSQL as its user.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = match self.as_user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir("/");
        command
    }

    /// The same, for a shell.
    fn shell(&self, program: &str) -> String {
        let program = self.binaries.join(program);
        self.as_user.map_or_else(|| format!("'{}'", program.display()), |user| format!("runuser -u {user} -- '{}'", program.display()))
    }
}

/// Who owns a new file is who we are; std does not tell otherwise.
fn user() -> u32 {
    tempfile::tempfile().and_then(|file| file.metadata()).map_or(0, |file| file.uid())
}

fn binaries_or_notice() -> Option<PathBuf> {
    let found = binaries();
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed, and CI tests both databases");
        eprintln!("\n*** PostgreSQL is not installed: this test ran on SQLite only ***\n");
    }
    found
}

/// The folder of PostgreSQL's programs, of the newest version installed.
fn binaries() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = versions.max_by_key(|path| version(path)).map(|path| path.join("bin"));
    let in_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    newest.into_iter().chain(in_path).find(|folder| folder.join("initdb").exists())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path)
}

/// Runs a program to its end. What it says is told only if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    // Into a file, not a pipe: the server inherits it from pg_ctl and would hold a pipe open for ever.
    let said = tempfile::tempfile().map_err(|e| e.to_string())?;
    let copies = (said.try_clone().map_err(|e| e.to_string())?, said.try_clone().map_err(|e| e.to_string())?);
    command.stdin(Stdio::null()).stdout(copies.0).stderr(copies.1);
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let mut said = said;
    let mut text = String::new();
    let _ = std::io::Seek::rewind(&mut said).and_then(|()| std::io::Read::read_to_string(&mut said, &mut text));
    Err(format!("{command:?}: {status}: {text}"))
}
