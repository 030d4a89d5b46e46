//! The limits: what the machine does when nothing but the least is done. Each runs as a
//! process of its own, so that its processor time can be told from the generator's.

use crate::{
    load::percentile_ms,
    machine,
    mirror::Mirror,
    push,
    server::{Home, block_on},
    world::World,
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// What a limit reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reached {
    pub done: u64,
    pub per_second: f64,
    pub cpu_us: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Which limit, in the words of the child process's arguments.
#[derive(Debug, clap::Subcommand)]
pub enum Limit {
    /// A thread that writes what a qualification writes, for callers that wait, with one commit for all that wait
    Writer { file: PathBuf, sample: PathBuf, clients: usize, seconds: f64, from: u64, campaign: String, referrers: u64, leads: u64 },
    /// The same HTTP stack, answering the same redirect each time
    Redirect { folder: PathBuf },
    /// A receiver that counts
    Sink,
    /// Signed POSTs to it, and nothing else
    Push { to: SocketAddr, bytes: usize, connections: usize, seconds: f64 },
}

impl Limit {
    /// In the child process.
    pub fn run(self) {
        match self {
            Limit::Writer { file, sample, clients, seconds, from, campaign, referrers, leads } => {
                let world = World { key: String::new(), campaign, referrers, leads };
                let reached = writer(&file, &sample, clients, Duration::from_secs_f64(seconds), from, &world);
                println!("{}", serde_json::to_string(&reached).expect("JSON"));
            }
            Limit::Redirect { folder } => redirect(&folder),
            Limit::Sink => push::sink(),
            Limit::Push { to, bytes, connections, seconds } => {
                let reached = push::push(to, bytes, connections, Duration::from_secs_f64(seconds));
                println!("{}", serde_json::to_string(&reached).expect("JSON"));
            }
        }
    }
}

// ---------------------------------------------------------------- durable writes on SQLite

/// Runs the writer on a copy of the product's database. What it writes is learnt from the
/// sample, another copy.
pub fn run_writer(file: &Path, sample: &Path, clients: usize, lasts: Duration, from: u64, world: &World) -> Reached {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("limit").arg("writer").args([file, sample]).args([clients.to_string(), lasts.as_secs_f64().to_string(), from.to_string()]);
    command.args([&world.campaign, &world.referrers.to_string(), &world.leads.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().expect("the limit");
    serde_json::from_slice(&output.stdout).expect("what it reached")
}

type Job = (u64, oneshot::Sender<()>);

fn writer(file: &Path, sample: &Path, clients: usize, lasts: Duration, from: u64, world: &World) -> Reached {
    let mirror = block_on(async {
        let options =
            goodword_store::Options { read_only: true, ..goodword_store::Options::new(format!("sqlite:{}", sample.display()), goodword::engine::MIGRATIONS) };
        let store = goodword_store::Store::open(options).await.expect("the copy");
        let mirror = Mirror::sample(&store, world, crate::rows::qualify::SAMPLE).await;
        store.close().await.expect("close");
        mirror
    });
    let (sender, mut queue) = mpsc::channel::<Job>(4096);
    let file = file.to_owned();
    let thread = std::thread::spawn(move || {
        let db = rusqlite::Connection::open(file).expect("the copy");
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; PRAGMA cache_size = -32768")
            .expect("pragmas");
        let mut batch = Vec::new();
        while queue.blocking_recv_many(&mut batch, 1024) > 0 {
            db.execute_batch("BEGIN IMMEDIATE").expect("begin");
            for (number, _) in &batch {
                mirror.write(&db, *number).expect("write");
            }
            db.execute_batch("COMMIT").expect("commit");
            for (_, reply) in batch.drain(..) {
                let _ = reply.send(());
            }
        }
    });
    let (begun, cpu) = (Instant::now(), machine::cpu(std::process::id()));
    let next = Arc::new(AtomicU64::new(from));
    let mut latencies_us = block_on(async move {
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (sender, next) = (sender.clone(), next.clone());
                tokio::spawn(async move {
                    let mut latencies_us = Vec::new();
                    while begun.elapsed() < lasts {
                        let (reply, answer) = oneshot::channel();
                        let asked = Instant::now();
                        sender.send((next.fetch_add(1, Relaxed), reply)).await.expect("the writer");
                        answer.await.expect("an answer");
                        latencies_us.push(asked.elapsed().as_micros() as u32);
                    }
                    latencies_us
                })
            })
            .collect();
        drop(sender);
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("a client"));
        }
        all
    });
    let took = begun.elapsed();
    thread.join().expect("the writer");
    latencies_us.sort_unstable();
    let done = latencies_us.len() as u64;
    Reached {
        done,
        per_second: done as f64 / took.as_secs_f64(),
        cpu_us: (machine::cpu(std::process::id()) - cpu).as_secs_f64() * 1e6 / done as f64,
        p50_ms: percentile_ms(&latencies_us, 50.0),
        p99_ms: percentile_ms(&latencies_us, 99.0),
    }
}

// ---------------------------------------------------------------- pgbench

/// Runs the script on the product's own database.
pub fn run_pgbench(home: &Home, script: &str, clients: usize, lasts: Duration) -> Reached {
    let file = home.folder().join("pgbench.sql");
    std::fs::write(&file, script).expect("the script");
    let postmaster = home.postmaster().expect("PostgreSQL");
    let cpu = machine::cpu(postmaster);
    let mut command = Command::new("pgbench");
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string(), "-T", &lasts.as_secs().max(1).to_string(), "-f"]).arg(&file).arg(home.url());
    let own = machine::cpu(std::process::id());
    let output = command.output().expect("pgbench");
    let text = String::from_utf8_lossy(&output.stdout);
    let number =
        |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin)?.trim_start_matches([' ', ':', '=']).split([' ', '/']).next()?.parse::<f64>().ok());
    let per_second = number("tps").unwrap_or_else(|| panic!("pgbench: {}{text}", String::from_utf8_lossy(&output.stderr)));
    let done = number("number of transactions actually processed").unwrap_or(1.0);
    let cpu = machine::cpu(postmaster) - cpu + machine::cpu(std::process::id()) - own;
    let latency_ms = number("latency average").unwrap_or_default();
    Reached { done: done as u64, per_second, cpu_us: cpu.as_secs_f64() * 1e6 / done, p50_ms: latency_ms, p99_ms: 0.0 }
}

// ---------------------------------------------------------------- a constant redirect

pub struct Constant {
    child: Child,
    pub address: SocketAddr,
}

impl Constant {
    pub fn start(folder: &Path, core: usize) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(std::env::current_exe().expect("this program")).arg("limit").arg("redirect").arg(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the limit");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("its words")), &mut line).expect("its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    pub fn cpu(&self) -> Duration {
        machine::cpu(self.child.id())
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn redirect(folder: &Path) {
    use axum::{
        http::{HeaderValue, StatusCode, header},
        response::{IntoResponse, Response},
    };
    use goodword::{config::Config, engine::Engine, http};
    async fn constant() -> Response {
        let mut response = StatusCode::FOUND.into_response();
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("https://shop.example.com/welcome?ref=7K3XQ9MR"));
        response
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("sqlite:{}", folder.join("constant.db").display());
        let store = goodword_store::Store::open(goodword_store::Options::new(url, goodword::engine::MIGRATIONS)).await.expect("a store");
        let (engine, _) = Engine::open(store, "http://localhost").await.expect("an engine");
        let app = http::App::new(engine, Config::default());
        let listener = http::server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("listen");
        println!("{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/{code}", axum::routing::get(constant));
        http::server::serve(listener, router, &app, std::future::pending()).await;
    });
}
