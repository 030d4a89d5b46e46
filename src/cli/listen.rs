use super::{
    Failure, Result,
    client::{Client as Api, empty, read},
};
use crate::{
    delivery::{
        Guard,
        client::{self, Client, Target},
    },
    engine::endpoint::SigningSecret,
};
use bytes::Bytes;
use goodword_core::time::Timestamp;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Print events as they happen, and send them to a program that you are writing
///
/// Reads the feed of a running server with an API key. With --forward every event is also
/// sent to an address of yours, signed as a webhook would be.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// The server's address
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
    /// An API key that may read; better given by the environment, which other users cannot see
    #[arg(long, value_name = "KEY", env = "GOODWORD_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Only these types: lead.qualified,reward.issued
    #[arg(long, value_name = "TYPES")]
    types: Option<String>,
    /// Send each event there as well: http://localhost:3000/webhooks
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Sign with this secret; otherwise one is made and printed
    #[arg(long, value_name = "WHSEC", requires = "forward")]
    secret: Option<SigningSecret>,
    /// Print the whole event, one JSON document on each line
    #[arg(long)]
    json: bool,
}

/// How often the feed is asked.
const EVERY: Duration = Duration::from_secs(1);
/// What the API gives at once.
const PAGE: usize = 250;
/// An event has some KiB.
const PAGE_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
    has_more: bool,
}

/// What is printed of an event.
#[derive(Deserialize)]
struct Head {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created_at: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    lead: Option<Person>,
    referrer: Option<Person>,
}

#[derive(Deserialize)]
struct Person {
    name: String,
    email: String,
}

impl Listen {
    pub fn run(self) -> Result {
        super::block_on(self.listen())
    }

    async fn listen(self) -> Result {
        let forward = self.forwarder()?;
        let key = self.api_key.clone().filter(|key| !key.is_empty());
        let api = Api::new(&self.url, key)?;
        // From the newest event on. A feed with one event or none has no place to go on from.
        let newest = page(&api, "order=desc&limit=1").await?;
        let mut seen = newest.data.first().map(|event| event.get().to_owned());
        let mut cursor = newest.next_cursor;
        eprintln!("Listening to {}. Stop with Ctrl-C.", self.url);
        loop {
            let types = self.types.as_ref().map(|types| format!("&type={types}")).unwrap_or_default();
            let from = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = match page(&api, &format!("order=asc&limit={PAGE}{types}{from}")).await {
                Ok(page) => page,
                Err(Stop::Refused(failure)) => return Err(failure),
                Err(Stop::Away(why)) => {
                    eprintln!("The server is away, trying again: {why}");
                    tokio::time::sleep(EVERY).await;
                    continue;
                }
            };
            for event in &page.data {
                if seen.take().is_some_and(|seen| seen == event.get()) {
                    continue;
                }
                if !self.print(event)? {
                    return Ok(());
                }
                if let Some(forward) = &forward {
                    forward.send(event).await;
                }
            }
            cursor = page.next_cursor.or(cursor);
            if !page.has_more {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    _ = tokio::signal::ctrl_c() => return Ok(()),
                }
            }
        }
    }

    /// Whether somebody still reads.
    fn print(&self, event: &RawValue) -> Result<bool> {
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{}", event.get())
        } else {
            let head: Head = serde_json::from_str(event.get()).map_err(Failure::new)?;
            let person = head.data.lead.or(head.data.referrer).map(|person| format!("  {} <{}>", person.name, person.email)).unwrap_or_default();
            writeln!(out, "{}  {:22} {}{person}", head.created_at, head.kind, head.id)
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            outcome => Ok(outcome.map(|()| true)?),
        }
    }

    fn forwarder(&self) -> Result<Option<Forwarder>> {
        let Some(url) = &self.forward else { return Ok(None) };
        let secret = self.secret.clone().unwrap_or_else(SigningSecret::random);
        let target = Target::new(url, std::slice::from_ref(&secret), &[]).map_err(Failure::new)?;
        let client = Client::new(Arc::new(Guard::anywhere()), client::resolve(), client::TIMEOUT).map_err(Failure::new)?;
        if self.secret.is_none() {
            eprintln!("Signed with {}", secret.reveal());
        }
        Ok(Some(Forwarder { target, client }))
    }
}

async fn page(api: &Api, query: &str) -> std::result::Result<Page, Stop> {
    let away = |failure: Failure| Stop::Away(failure.to_string());
    let response = api.send(Method::GET, &format!("/v1/events?{query}"), None, empty()).await.map_err(away)?;
    let status = response.status();
    let body = read(response, PAGE_BYTES_MAX).await.map_err(away)?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|_| Stop::Refused(Failure::new("the answer is not one of a Goodword server"))),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(Stop::Away(status.to_string())),
        status => {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let detail = problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
            Err(Stop::Refused(Failure::new(detail).hint("Give an API key that may read, by --api-key or GOODWORD_API_KEY.")))
        }
    }
}

enum Stop {
    /// It may be there in a moment.
    Away(String),
    Refused(Failure),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(failure) => failure,
            Stop::Away(why) => Self::new(format!("the server does not answer: {why}")).hint("Say where it is with --url."),
        }
    }
}

struct Forwarder {
    target: Target,
    client: Client,
}

impl Forwarder {
    async fn send(&self, event: &RawValue) {
        #[derive(Deserialize)]
        struct Id {
            id: String,
        }
        let Ok(Id { id }) = serde_json::from_str(event.get()) else { return };
        #[expect(clippy::disallowed_methods, reason = "there is no engine here, and a signature needs the time")]
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::from_ms(age.as_millis() as i64);
        let body = Bytes::from(event.get().to_owned());
        match self.client.send(&self.target, &id, &body, now, &mut None).await {
            Ok(answer) => eprintln!("  -> {}  {}", answer.status.as_u16(), answer.excerpt.lines().next().unwrap_or_default()),
            Err(failure) => eprintln!("  -> {}: {}", failure.kind.as_str(), failure.detail),
        }
    }
}
