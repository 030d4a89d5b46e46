//! The vendor's API: page by page, below its limit of calls, again where it stumbles.

use crate::cli::{Failure, Result, client, client::Client};
use hyper::{Method, StatusCode, header};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The largest page that the API gives.
pub const PER_PAGE: i64 = 250;
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often a call is made again that found the server busy or away.
const ATTEMPTS: u32 = 6;
const DEADLINE: Duration = Duration::from_secs(90);
/// What 429 means where it does not say for how long.
const PAUSE: Duration = Duration::from_secs(60);

pub struct Remote {
    client: Client,
    pub address: String,
    every: Duration,
    last: Option<Instant>,
    pub calls: u64,
}

/// A page of a list.
pub struct Page {
    pub rows: Vec<Value>,
    pub last: i64,
    pub total: Option<i64>,
}

impl Remote {
    /// `per_minute` below the 600 of the vendor, whose third excess blocks the address.
    pub fn new(base_url: &str, token: String, per_minute: u32) -> Result<Self> {
        let base = base_url.trim_end_matches('/');
        let base = ["/api/v2", "/api/v1", "/api"].iter().find_map(|suffix| base.strip_suffix(suffix)).unwrap_or(base);
        let every = Duration::from_secs(60) / per_minute.clamp(1, 599);
        Ok(Self { client: Client::new(base, Some(token))?, address: base.to_owned(), every, last: None, calls: 0 })
    }

    /// What stands at a path; `None` where nothing does.
    pub async fn get(&mut self, path: &str) -> Result<Option<Value>> {
        for attempt in 1.. {
            if let Some(last) = self.last {
                tokio::time::sleep(self.every.saturating_sub(last.elapsed())).await;
            }
            self.last = Some(Instant::now());
            self.calls += 1;
            let answer =
                tokio::time::timeout(DEADLINE, self.call(path)).await.unwrap_or_else(|_| Err(Failure::new(format!("{path} was not answered in time"))));
            let (status, pause, body) = match answer {
                Ok(answer) => answer,
                Err(failure) if attempt >= ATTEMPTS => return Err(failure),
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, None, Value::Null),
            };
            match status {
                status if status.is_success() => return Ok(Some(body)),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Failure::new(format!("{} refuses the token ({status})", self.address))
                        .hint("Referral Factory shows it under Campaign Settings, Integrations and API. Making a new one there ends the old one."));
                }
                _ if attempt >= ATTEMPTS => return Err(Failure::new(format!("{path}: {status} {}", body["message"].as_str().unwrap_or_default()))),
                StatusCode::TOO_MANY_REQUESTS => {
                    tracing::warn!("the limit of calls is reached, waiting");
                    // From now on more slowly: a third excess has the address blocked.
                    self.every = self.every * 3 / 2;
                    tokio::time::sleep(pause.unwrap_or(PAUSE)).await;
                }
                status if status.is_server_error() => tokio::time::sleep(Duration::from_millis(500) * 2u32.pow(attempt)).await,
                status => return Err(Failure::new(format!("{path}: {status} {}", body["message"].as_str().unwrap_or_default()))),
            }
        }
        Ok(None)
    }

    async fn call(&self, path: &str) -> Result<(StatusCode, Option<Duration>, Value)> {
        let response = self.client.send(Method::GET, path, None, client::empty()).await?;
        let status = response.status();
        let pause = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        let body = client::read(response, ANSWER_BYTES_MAX).await?;
        match serde_json::from_slice(&body) {
            Ok(body) => Ok((status, pause, body)),
            Err(_) if !status.is_success() => Ok((status, pause, Value::Null)),
            Err(error) => Err(Failure::new(format!("{path} is not JSON: {error}"))),
        }
    }

    /// One page of a list; `None` where there is no such list.
    pub async fn page(&mut self, path: &str, page: i64) -> Result<Option<Page>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let Some(body) = self.get(&format!("{path}{separator}per_page={PER_PAGE}&page={page}")).await? else { return Ok(None) };
        let rows = match body {
            Value::Array(rows) => return Ok(Some(Page { total: Some(rows.len() as i64), rows, last: page })),
            ref body => body["data"].as_array().cloned().unwrap_or_default(),
        };
        let last = body["meta"]["last_page"].as_i64().unwrap_or(if body["links"]["next"].is_string() && !rows.is_empty() { page + 1 } else { page });
        Ok(Some(Page { rows, last, total: body["meta"]["total"].as_i64() }))
    }

    /// All rows of a list that is short enough to be held.
    pub async fn all(&mut self, path: &str) -> Result<Option<Vec<Value>>> {
        let mut rows = Vec::new();
        for n in 1.. {
            let Some(page) = self.page(path, n).await? else { return Ok((n > 1).then_some(rows)) };
            let is_last = page.rows.is_empty() || n >= page.last;
            rows.extend(page.rows);
            if is_last {
                break;
            }
        }
        Ok(Some(rows))
    }
}
