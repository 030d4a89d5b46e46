//! A load generator: as little HTTP as is needed to ask and to count answers, so that it
//! takes little of the machine that the server needs too.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is asked, by the number of the question.
pub type Question = Arc<dyn Fn(u64) -> String + Send + Sync>;

#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub question: Question,
    pub clients: usize,
    pub lasts: Duration,
    /// Open loop: so many a second whether or not earlier ones were answered, and each
    /// counted from the instant at which it should have been sent. Closed loop without.
    pub rate: Option<f64>,
    pub core: Option<usize>,
    /// Numbers start here and end there.
    pub numbers: std::ops::Range<u64>,
}

#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub took: Duration,
    /// Answers of 2xx and 3xx, and all others.
    pub done: u64,
    pub failed: u64,
    /// No number from here on was asked.
    pub next: u64,
    /// Of the answers that count, sorted.
    latencies_us: Vec<u32>,
    pub first_failure: Option<String>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    pub fn ms(&self, percentile: f64) -> f64 {
        percentile_ms(&self.latencies_us, percentile)
    }
}

pub fn percentile_ms(sorted_us: &[u32], percentile: f64) -> f64 {
    let place = (sorted_us.len() as f64 * percentile / 100.0) as usize;
    sorted_us.get(place.min(sorted_us.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

impl Load {
    /// Runs on a thread of its own.
    pub fn run(self) -> Outcome {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(core) = self.core {
                    crate::machine::pin(core);
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(self.all())
            });
            thread.join().expect("the generator")
        })
    }

    async fn all(&self) -> Outcome {
        let next = Arc::new(AtomicU64::new(self.numbers.start));
        let mut connections = Vec::new();
        for _ in 0..self.clients {
            connections.push(Connection::open(self.address).await.expect("connect"));
        }
        let begun = Instant::now();
        let tasks: Vec<_> = connections.into_iter().map(|connection| tokio::spawn(self.clone().one(connection, next.clone(), begun))).collect();
        let mut all = Outcome::default();
        for task in tasks {
            let one = task.await.expect("a client");
            all.done += one.done;
            all.failed += one.failed;
            all.latencies_us.extend(one.latencies_us);
            all.first_failure = all.first_failure.or(one.first_failure);
        }
        all.latencies_us.sort_unstable();
        all.took = begun.elapsed();
        all.next = next.load(Relaxed).min(self.numbers.end);
        all
    }

    async fn one(self, mut connection: Connection, next: Arc<AtomicU64>, begun: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= self.numbers.end || begun.elapsed() >= self.lasts {
                return outcome;
            }
            let mut due = Instant::now();
            if let Some(rate) = self.rate {
                due = begun + Duration::from_secs_f64((number - self.numbers.start) as f64 / rate);
                if due >= begun + self.lasts {
                    return outcome;
                }
                tokio::time::sleep_until(due.into()).await;
            }
            match connection.ask(&(self.question)(number)).await {
                Ok((status, _)) if status < 400 => {
                    outcome.done += 1;
                    outcome.latencies_us.push(due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
                }
                Ok((status, body)) => {
                    outcome.failed += 1;
                    outcome.first_failure.get_or_insert_with(|| format!("{status}: {body}"));
                }
                Err(error) => {
                    outcome.failed += 1;
                    outcome.first_failure.get_or_insert_with(|| error.to_string());
                    match Connection::open(self.address).await {
                        Ok(again) => connection = again,
                        Err(_) => return outcome,
                    }
                }
            }
        }
    }
}

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &str) -> io::Result<(u16, String)> {
        let broken = || io::Error::other("not an answer of ours");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let head_len = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..head_len]).map_err(|_| broken())?;
        let status = head.get(9..12).and_then(|code| code.parse::<u16>().ok()).ok_or_else(broken)?;
        let length = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-length")))
            .and_then(|(_, length)| length.parse::<usize>().ok())
            .unwrap_or(0);
        while self.buffer.len() < head_len + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = if status >= 400 || length < 64 * 1024 { String::from_utf8_lossy(&self.buffer[head_len..]).into_owned() } else { String::new() };
        Ok((status, body))
    }
}

/// A request in the words of HTTP/1.1.
pub fn request(method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    if let Some(key) = key {
        text += &format!("authorization: Bearer {key}\r\n");
    }
    match body {
        Some(body) => text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        None => text += "\r\n",
    }
    text
}
