//! A stand-in for the vendor's API: the documented shapes, its pages, and its limit of calls.

use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[derive(Default)]
pub struct Account {
    pub campaigns: Vec<Value>,
    /// Version 1's list of definitions; not there where absent.
    pub definitions: Option<Vec<Value>>,
    pub users: Vec<Value>,
    pub due: Vec<(&'static str, Value)>,
    pub issued: Vec<(&'static str, Value)>,
}

pub struct Vendor {
    pub url: String,
    pub account: Arc<Mutex<Account>>,
    /// Paths that were asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// So many answers from now on, then only errors.
    pub answers_left: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub const TOKEN: &str = "aVeryLongOpaqueToken";

impl Vendor {
    pub async fn start(account: Account) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (account, asked, answers_left) = (Arc::new(Mutex::new(account)), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(u32::MAX)));
        let (theirs, log, left) = (account.clone(), asked.clone(), answers_left.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap() == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
                let count = {
                    let mut log = log.lock().unwrap();
                    log.push(path.clone());
                    log.len()
                };
                let (status, extra, body) =
                    if !head.contains(&format!("authorization: bearer {}", TOKEN.to_lowercase())) || !head.contains("accept: application/json") {
                        (401, "", json!({"message": "Unauthenticated."}))
                    } else if left.load(Relaxed) == 0 {
                        (400, "", json!({"message": "broken"}))
                    } else if count == 4 {
                        // Once, as a client would meet it that was too fast.
                        (429, "retry-after: 0\r\n", json!({"message": "Too Many Attempts."}))
                    } else if count == 6 {
                        (503, "", json!({"message": "Service Unavailable"}))
                    } else {
                        left.fetch_sub(1, Relaxed);
                        answer(&theirs.lock().unwrap(), &path)
                    };
                let body = body.to_string();
                let text = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{extra}content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { url, account, asked, answers_left, task }
    }
}

fn answer(account: &Account, path: &str) -> (u16, &'static str, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let number = |name: &str, default: usize| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
    };
    let (page, per_page) = (number("page", 1), number("per_page", 25).min(250));
    let of = |rewards: &[(&'static str, Value)], metric: &str| rewards.iter().filter(|(of, _)| *of == metric).map(|(_, row)| row.clone()).collect::<Vec<_>>();
    let rows: Vec<Value> = match path {
        "/api/v2/campaigns" => account.campaigns.clone(),
        "/api/v2/users" => account.users.clone(),
        "/api/v1/rewards" => match &account.definitions {
            Some(definitions) => return (200, "", json!({"data": definitions})),
            None => return (404, "", json!({"message": "Not Found"})),
        },
        path => match (path.strip_prefix("/api/v2/rewards/due/"), path.strip_prefix("/api/v2/rewards/issued/")) {
            (Some(metric), _) => of(&account.due, metric),
            (_, Some(metric)) => of(&account.issued, metric),
            _ => return (404, "", json!({"message": "Not Found"})),
        },
    };
    let last = rows.len().div_ceil(per_page).max(1);
    let data: Vec<Value> = rows.iter().skip((page - 1) * per_page).take(per_page).cloned().collect();
    let next = (page < last).then(|| format!("https://referral-factory.com{path}?page={}", page + 1));
    (200, "", json!({"data": data, "links": {"next": next}, "meta": {"current_page": page, "last_page": last, "per_page": per_page, "total": rows.len()}}))
}
