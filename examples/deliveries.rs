//! How many deliveries in a second, and how much CPU each takes: events are committed,
//! delivered signed over HTTP on loopback, and every attempt is recorded durably.
//!
//! `cargo run --release --example deliveries -- sqlite|postgres [events] [endpoints]`
//!
//! The receiver is another process, so that its CPU is not counted.

use axum::http::Response;
use bytes::Bytes;
use goodword::{
    delivery::{Dispatcher, Guard, Meter, Settings},
    engine::{
        Engine, MIGRATIONS, Result,
        endpoint::{Create, Shape, SigningSecret, Terms},
        event::EventType,
        sample,
        work::{Act, Work},
    },
};
use goodword_core::ids::LeadId;
use goodword_store::{Options, Store};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io::{BufRead, Read, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Tell;

impl Act for Tell {
    type Output = ();

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<()> {
        let id: LeadId = work.mint.id();
        work.emit(EventType::LeadCreated, &id, Some(id.uuid()), &sample::data(EventType::LeadCreated))
    }
}

/// Takes everything; answers the number of requests on stdout for every line on stdin.
async fn receive() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let count: Arc<AtomicUsize> = Arc::default();
    let asked = count.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            println!("{}", asked.load(Relaxed));
        }
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = stream.set_nodelay(true);
        let count = count.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let count = count.clone();
            async move {
                let _ = request.into_body().collect().await;
                count.fetch_add(1, Relaxed);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// CPU seconds of this process, and of PostgreSQL if it is asked for.
fn cpu_seconds(postgres: bool) -> f64 {
    let of = |pid: &str| -> f64 {
        let mut text = String::new();
        let read = std::fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read_to_string(&mut text));
        let fields: Vec<&str> = if read.is_ok() { text.rsplit(')').next().unwrap_or_default().split_whitespace().collect() } else { Vec::new() };
        (11..=12).filter_map(|i| fields.get(i)?.parse::<f64>().ok()).sum::<f64>() / 100.0
    };
    let mut total = of("self");
    if postgres {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if name.trim() == "postgres" && (line.contains("durable") || line.contains("test_")) {
                total += of(&pid);
            }
        }
    }
    total
}

async fn measure(kind: &str, events: usize, endpoints: usize) {
    let mut receiver = Command::new(std::env::current_exe().unwrap()).arg("receive").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(receiver.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap();
    let mut ask = receiver.stdin.take().unwrap();
    let mut count = move || -> usize {
        writeln!(ask).unwrap();
        lines.next().unwrap().unwrap().parse().unwrap()
    };

    let is_postgres = kind == "postgres";
    let (_sqlite, _postgres, url);
    if is_postgres {
        let (guard, at) = goodword_testkit::durable_postgres_url().expect("PostgreSQL is installed");
        (_postgres, url) = (Some(guard), at);
    } else {
        let (guard, at) = goodword_testkit::sqlite_url();
        (_sqlite, url) = (Some(guard), at);
    }
    let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
    let (engine, _) = Engine::open(store, "https://refer.example").await.unwrap();
    let space = engine.set_up("Bench".parse().unwrap()).await.unwrap().unwrap().workspace.live;
    for n in 0..endpoints {
        let url = format!("http://{address}/{n}").parse().unwrap();
        let create = Create { url, terms: Terms::default(), shape: Shape::Native, source: "bench".into(), secret: SigningSecret::random() };
        engine.run(engine.context(space, "bench", "api"), create).await.unwrap();
    }

    // Everything is intake first, so that its cost is known apart; then delivery alone; then both together.
    for (name, together) in [("backlog", false), ("intake and delivery together", true)] {
        let settings = Settings::new(&engine, Arc::new(Guard::new(vec!["127.0.0.0/8".parse().unwrap()])));
        let before = count();
        let (start, cpu) = (Instant::now(), cpu_seconds(is_postgres));
        let dispatcher = together.then(|| Dispatcher::start(&engine, settings.clone(), Arc::new(Meter::default())).unwrap());
        let clients = (0..32).map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for _ in 0..events / 32 {
                    engine.run(engine.context(space, "bench", "api"), Tell).await.unwrap();
                }
            })
        });
        futures_util::future::join_all(clients.collect::<Vec<_>>()).await;
        let intake = start.elapsed();
        let (intake_cpu, deliveries) = (cpu_seconds(is_postgres) - cpu, events / 32 * 32 * endpoints);
        let (start, cpu) = if together { (start, cpu) } else { (Instant::now(), cpu_seconds(is_postgres)) };
        let dispatcher = dispatcher.unwrap_or_else(|| Dispatcher::start(&engine, settings, Arc::new(Meter::default())).unwrap());
        while count() - before < deliveries {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let arrived = start.elapsed();
        loop {
            let sql = "SELECT count(*) FROM deliveries WHERE due_at IS NOT NULL";
            let left = engine.read(move |tx| Box::pin(async move { Ok(tx.fetch_one(sql, &[], |row| row.get::<i64>(0)).await?.unwrap_or(0)) })).await.unwrap();
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (took, cpu) = (start.elapsed(), cpu_seconds(is_postgres) - cpu);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "{kind}, {endpoints} endpoint(s), {name}: {:.0} deliveries/s recorded ({:.0}/s arrived), {:.3} ms CPU each{}; {} too many; intake {:.0} events/s{}; load {}",
            deliveries as f64 / took.as_secs_f64(),
            deliveries as f64 / arrived.as_secs_f64(),
            cpu * 1e3 / deliveries as f64,
            if together { " with intake" } else { "" },
            count() - before - deliveries,
            (events / 32 * 32) as f64 / intake.as_secs_f64(),
            if together { String::new() } else { format!(" at {:.3} ms CPU", intake_cpu * 1e3 / events as f64) },
            load.split(' ').next().unwrap_or_default(),
        );
        dispatcher.stop().await;
    }
    drop(count);
    let _ = receiver.kill();
    let _ = receiver.wait();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default| arguments.get(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("receive") => runtime.block_on(receive()),
        Some(kind @ ("sqlite" | "postgres")) => runtime.block_on(measure(kind, number(1, 20_000), number(2, 1))),
        _ => eprintln!("deliveries sqlite|postgres [events] [endpoints]"),
    }
}
