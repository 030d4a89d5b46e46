//! The real program as a process of its own, and a client that knows whether it was answered.
#![allow(dead_code)] // Each test file uses a part.

use serde_json::Value;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a first start shows once.
#[derive(Debug, Clone)]
pub struct Keys {
    pub live: String,
    pub test: String,
}

/// A running `goodword serve`; it is killed when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// On the first start with a database.
    pub keys: Option<Keys>,
    /// From the start of the process to the line that says it is ready.
    pub ready_after: Duration,
}

/// How the server is started.
#[derive(Clone)]
pub struct Setup {
    pub data: PathBuf,
    pub database_url: Option<String>,
}

impl Setup {
    pub fn sqlite(data: &Path) -> Self {
        Self { data: data.to_owned(), database_url: None }
    }

    /// The URL of the database that the server writes to.
    pub fn url(&self) -> String {
        self.database_url.clone().unwrap_or_else(|| format!("sqlite:{}", self.data.join("goodword.db").display()))
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_goodword"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--rate-limit-per-minute", "0", "--data"]);
        command.arg(&self.data).stdin(Stdio::null());
        if let Some(url) = &self.database_url {
            command.arg("--database-url").arg(url);
        }
        command
    }

    pub fn start(&self) -> Server {
        self.start_as(self.command())
    }

    /// Starts `command`, which is [`Setup::command`] or something around it, and waits until it is ready.
    pub fn start_as(&self, mut command: Command) -> Server {
        std::fs::create_dir_all(&self.data).unwrap();
        let log = self.data.join("log");
        let begun = Instant::now();
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        // All that there is to say comes in one write.
        let (mut shown, mut stdout, mut chunk) = (String::new(), child.stdout.take().unwrap(), [0; 4_096]);
        while !shown.contains(" is ready at ") {
            match stdout.read(&mut chunk).unwrap() {
                0 => panic!("the server did not start: {:?}\n{}", child.wait(), std::fs::read_to_string(&log).unwrap_or_default()),
                n => shown += std::str::from_utf8(&chunk[..n]).unwrap(),
            }
        }
        let ready_after = begun.elapsed();
        let word = |prefix: &str| shown.split_whitespace().find_map(|word| word.starts_with(prefix).then(|| word.to_owned()));
        let address = word("http://").unwrap().trim_start_matches("http://").parse().unwrap();
        let keys = word("gw_live_").zip(word("gw_test_")).map(|(live, test)| Keys { live, test });
        Server { child, address, keys, ready_after }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL. Returns the moment before which everything happened that happened.
    pub fn kill(mut self) -> Instant {
        let at = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        at
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
    }

    #[allow(clippy::disallowed_methods, reason = "nobody tells when a process ends, and the thread is the test's own")]
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "the server does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) {
        self.ask_to_stop();
        assert!(self.wait().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub replayed: bool,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A connection that is opened when it is needed, for one request at a time.
#[derive(Default)]
pub struct Client(Option<BufReader<TcpStream>>);

impl Client {
    /// An error means that nobody knows whether the request was carried out.
    pub fn send(&mut self, to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        let outcome = self.try_send(to, method, path, headers, body);
        if outcome.is_err() {
            self.0 = None;
        }
        outcome
    }

    fn try_send(&mut self, to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        if self.0.as_ref().is_none_or(|stream| stream.get_ref().peer_addr().ok() != Some(to)) {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            self.0 = Some(BufReader::new(stream));
        }
        let Some(stream) = &mut self.0 else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: refer.example\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        stream.get_mut().write_all(request.as_bytes())?;

        let mut line = || -> io::Result<String> {
            let mut line = String::new();
            match stream.read_line(&mut line)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(line.trim_end().to_ascii_lowercase()),
            }
        };
        let status = line()?.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let (mut length, mut replayed) = (0, false);
        loop {
            match line()?.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().map_err(|_| io::ErrorKind::InvalidData)?,
                Some(("transfer-encoding", _)) => return Err(io::Error::other("this client reads no chunks")),
                Some(("idempotent-replayed", _)) => replayed = true,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Answer { status, replayed, body: String::from_utf8(body).map_err(|_| io::ErrorKind::InvalidData)? })
    }

    /// A request of the API that must be answered well.
    pub fn ok(&mut self, to: SocketAddr, key: &str, method: &str, path: &str, body: &Value) -> Value {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let answer = self.send(to, method, path, &headers, &body).unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path} {body}: {} {}", answer.status, answer.body);
        answer.json()
    }
}
