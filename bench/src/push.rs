//! Where webhooks go, and the limit beside them: signed POSTs of which nobody keeps a record.

use crate::{
    limit::Reached,
    load::{Connection, percentile_ms},
    machine,
    server::block_on,
};
use goodword::{
    delivery::sign::{Signer, signature},
    engine::endpoint::SigningSecret,
};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A receiver in a process of its own, so that its processor time is nobody's.
pub struct Sink {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
}

impl Sink {
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child = command.args(["limit", "sink"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the sink");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = answers.next().and_then(Result::ok).and_then(|line| line.parse().ok()).expect("an address");
        Self { ask: child.stdin.take().expect("a pipe"), child, answers, address }
    }

    /// How many it has taken.
    pub fn taken(&mut self) -> u64 {
        self.say("count")
    }

    /// From now on it answers 503, or takes everything.
    pub fn fail(&mut self, fails: bool) {
        self.say(if fails { "fail" } else { "take" });
    }

    fn say(&mut self, word: &str) -> u64 {
        writeln!(self.ask, "{word}").expect("the sink");
        self.answers.next().and_then(Result::ok).and_then(|line| line.parse().ok()).expect("a count")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sink itself. It prints its address, and what it has taken for each line that it is sent.
pub fn sink() {
    let (taken, fails): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
    let (counted, switch) = (taken.clone(), fails.clone());
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "fail" => switch.store(true, Relaxed),
                "take" => switch.store(false, Relaxed),
                _ => {}
            }
            println!("{}", counted.load(Relaxed));
        }
    });
    block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address"));
        let local = tokio::task::LocalSet::new();
        let accepting = local.run_until(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(take(stream, taken.clone(), fails.clone()));
            }
        });
        accepting.await;
    });
}

async fn take(mut stream: TcpStream, taken: Arc<AtomicU64>, fails: Arc<AtomicBool>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let whole = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4 + content_length(&buffer[..end]);
            }
            if !stream.read_buf(&mut buffer).await.is_ok_and(|len| len > 0) {
                return;
            }
        };
        while buffer.len() < whole {
            if !stream.read_buf(&mut buffer).await.is_ok_and(|len| len > 0) {
                return;
            }
        }
        buffer.drain(..whole);
        let answer: &[u8] = if fails.load(Relaxed) {
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        } else {
            taken.fetch_add(1, Relaxed);
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.trim().split_once(':'));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).find_map(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}

/// Runs the limit: as many signed POSTs with bodies of that size as go through those connections.
pub fn run_push(to: SocketAddr, bytes: usize, connections: usize, lasts: Duration) -> Reached {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["limit", "push", &to.to_string(), &bytes.to_string(), &connections.to_string(), &lasts.as_secs_f64().to_string()]);
    let output = command.stderr(Stdio::inherit()).output().expect("the limit");
    serde_json::from_slice(&output.stdout).expect("what it reached")
}

/// In the child process.
pub fn push(to: SocketAddr, bytes: usize, connections: usize, lasts: Duration) -> Reached {
    let signer = Arc::new(Signer::new(&SigningSecret::random()).expect("a signer"));
    let (begun, cpu) = (Instant::now(), machine::cpu(std::process::id()));
    let mut latencies_us = block_on(async move {
        let tasks = (0..connections).map(|n| {
            let signer = signer.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(to).await.expect("connect");
                let body = "x".repeat(bytes);
                let mut latencies_us = Vec::new();
                while begun.elapsed() < lasts {
                    let sent = Instant::now();
                    let (id, at) = (format!("evt_{n:08}{:012}", latencies_us.len()), (machine::now_ms() / 1_000).to_string());
                    let signature = signature(std::slice::from_ref(&signer), &id, &at, body.as_bytes());
                    let request = format!(
                        "POST /0 HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\ncontent-length: {bytes}\r\n\r\n{body}"
                    );
                    connection.ask(&request).await.expect("an answer");
                    latencies_us.push(sent.elapsed().as_micros() as u32);
                }
                latencies_us
            })
        });
        let mut all = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            all.extend(task.await.expect("a connection"));
        }
        all
    });
    let took = begun.elapsed();
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
