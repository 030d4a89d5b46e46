//! One signed POST: addresses checked where the connection is made, redirects not followed,
//! answers read up to a bound.

use super::{
    address::Guard,
    schedule,
    sign::{self, Signer},
};
use crate::engine::{
    delivery::{FailureKind, RESPONSE_BYTES_MAX},
    endpoint::{Endpoint, Method, SigningSecret},
    vault::Vault,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use goodword_core::time::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How long a connection may take, its name's resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one try may take altogether: what Standard Webhooks recommends at least.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Of an answer so much is read, so that its connection can be used again; a longer one is cut off.
const READ_BYTES_MAX: usize = 64 * 1024;
/// A connection's buffer at most; also the longest head of an answer.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("Goodword/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_TOKEN: HeaderName = HeaderName::from_static("webhook-token");
const INSTALLATION: HeaderName = HeaderName::from_static(sign::INSTALLATION);

/// Where and how an endpoint is called: everything that can be prepared once.
pub struct Target {
    pub url: Arc<str>,
    /// Names of the endpoint's own headers, with spaces between.
    pub header_names: Arc<str>,
    /// What is added to bodies that are not native.
    pub credentials: Vec<(String, String)>,
    method: Method,
    host: Host,
    port: u16,
    tls: bool,
    path: Uri,
    authority: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    signers: Vec<Signer>,
    /// Until when there is more than one of them.
    previous_until: Option<Timestamp>,
}

impl Target {
    /// Reads an endpoint's secrets. An error says which part cannot be used.
    pub fn of(endpoint: &Endpoint, vault: &Vault, now: Timestamp) -> Result<Self, String> {
        let secrets = endpoint.secrets(vault, now).map_err(|error| error.to_string())?;
        let headers = endpoint.headers(vault).map_err(|error| error.to_string())?;
        let target = Self::new(&endpoint.url, &secrets, &headers)?;
        let credentials = endpoint.credentials(vault).map_err(|error| error.to_string())?;
        let method = endpoint.layout.as_ref().map_or(Method::Post, |layout| layout.method);
        Ok(Self { credentials, method, previous_until: endpoint.previous_until, ..target })
    }

    pub fn new(url: &str, secrets: &[SigningSecret], headers: &[(String, String)]) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        let host = parsed.host().ok_or("the address has no host")?.to_owned();
        let path = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
        let own = headers.iter().map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)));
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        Ok(Self {
            url: url.into(),
            header_names: names.join(" ").into(),
            credentials: Vec::new(),
            method: Method::Post,
            tls: parsed.scheme() == "https",
            port: parsed.port_or_known_default().unwrap_or(80),
            path: path.parse().map_err(|_| "the address has no path that can be sent")?,
            authority: HeaderValue::from_str(authority).map_err(|error| error.to_string())?,
            headers: own.collect::<Option<_>>().ok_or("a header cannot be sent")?,
            signers: secrets.iter().filter_map(Signer::new).collect(),
            previous_until: None,
            host,
        })
    }

    fn request(&self, id: &str, body: Bytes, now: Timestamp) -> Option<Request<Full<Bytes>>> {
        let both = self.previous_until.is_some_and(|until| now < until);
        let signers = if both { &self.signers[..] } else { &self.signers[..self.signers.len().min(1)] };
        let timestamp = (now.ms() / 1_000).to_string();
        let signature = sign::signature(signers, id, &timestamp, &body);
        let token = sign::token(signers, id, &timestamp);
        let mut request = match self.method {
            Method::Post => Request::post(self.path.clone()).header(header::CONTENT_TYPE, JSON).body(Full::new(body)),
            Method::Get => {
                let own = self.path.to_string();
                let and = if own.contains('?') { '&' } else { '?' };
                Request::get(format!("{own}{and}{}", std::str::from_utf8(&body).ok()?)).body(Full::default())
            }
        }
        .ok()?;
        let headers = request.headers_mut();
        headers.reserve(9 + self.headers.len());
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(id).ok()?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_str(&timestamp).ok()?);
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).ok()?);
        headers.insert(WEBHOOK_TOKEN, HeaderValue::from_str(&token).ok()?);
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        Some(request)
    }
}

/// What a receiver has said.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// What it asked for in Retry-After, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The first bytes of it.
    pub excerpt: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    pub kind: FailureKind,
    pub detail: String,
}

impl Failure {
    fn new(kind: FailureKind, detail: impl std::fmt::Display) -> Self {
        Self { kind, detail: detail.to_string() }
    }
}

/// An open connection to an endpoint. Dropped, it is closed.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    used: bool,
    pub since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Finds the addresses of a name. Tests have names of their own.
pub type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// As the machine does it.
pub fn resolve() -> Resolve {
    Arc::new(|name, port| Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }))
}

/// Makes connections and sends requests.
#[derive(Clone)]
pub struct Client {
    guard: Arc<Guard>,
    resolve: Resolve,
    tls: TlsConnector,
    timeout: Duration,
    /// Which installation sends.
    installation: Option<HeaderValue>,
}

impl Client {
    pub fn new(guard: Arc<Guard>, resolve: Resolve, timeout: Duration) -> Result<Self, rustls::Error> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { guard, resolve, tls: TlsConnector::from(Arc::new(config)), timeout, installation: None })
    }

    /// Marks what is sent with the installation that sends it.
    pub fn marked(mut self, secret: &[u8; 32]) -> Self {
        self.installation = HeaderValue::try_from(sign::installation(secret)).ok();
        self
    }

    /// Sends one message, over the connection if it is still open. Leaves the connection
    /// there if it can be used again.
    pub async fn send(&self, target: &Target, id: &str, body: &Bytes, now: Timestamp, connection: &mut Option<Connection>) -> Result<Answer, Failure> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let timeout = || Failure::new(FailureKind::Timeout, format!("no answer within {} s", self.timeout.as_secs()));
        let (head, mut open) =
            tokio::time::timeout_at(deadline, self.head(target, id, body, now, connection.take())).await.unwrap_or_else(|_| Err(timeout()))?;
        let (parts, mut body) = head.into_parts();
        let mut excerpt = Vec::new();
        // The status is the answer; what comes after it is for the log.
        let read = async {
            let mut len = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let Some(data) = frame.data_ref() else { continue };
                len += data.len();
                let room = RESPONSE_BYTES_MAX - excerpt.len();
                excerpt.extend_from_slice(&data[..data.len().min(room)]);
                if len > READ_BYTES_MAX {
                    return false;
                }
            }
            true
        };
        if tokio::time::timeout_at(deadline, read).await.unwrap_or(false) && !open.sender.is_closed() {
            open.used = true;
            open.since = Instant::now();
            *connection = Some(open);
        }
        let retry_after_ms = parts.headers.get(header::RETRY_AFTER).and_then(|value| schedule::retry_after(value.to_str().ok()?, now));
        Ok(Answer { status: parts.status, retry_after_ms, excerpt: text(&excerpt) })
    }

    async fn head(
        &self,
        target: &Target,
        id: &str,
        body: &Bytes,
        now: Timestamp,
        open: Option<Connection>,
    ) -> Result<(hyper::Response<hyper::body::Incoming>, Connection), Failure> {
        let mut open = open;
        loop {
            let mut request = target.request(id, body.clone(), now).ok_or_else(|| Failure::new(FailureKind::Internal, "the request cannot be made"))?;
            if let Some(installation) = &self.installation {
                request.headers_mut().insert(INSTALLATION, installation.clone());
            }
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => self.connect(target).await?,
            };
            let sent = match connection.sender.ready().await {
                Ok(()) => connection.sender.send_request(request).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(response) => return Ok((response, connection)),
                // The receiver closed a connection that was idle: that is no failure. A new one is made.
                Err(error) if connection.used && !error.is_parse() => continue,
                Err(error) => return Err(Failure::new(FailureKind::Broken, describe(&error))),
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Connection, Failure> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT.min(self.timeout), async {
            let tcp = self.dial(target).await?;
            // What is sent is one small piece, and nothing follows.
            let _ = tcp.set_nodelay(true);
            if !target.tls {
                return handshake(tcp).await;
            }
            let name = match &target.host {
                Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| Failure::new(FailureKind::Tls, error))?,
                Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
                Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            };
            let stream = self.tls.connect(name, tcp).await.map_err(|error| Failure::new(FailureKind::Tls, error))?;
            handshake(stream).await
        });
        connected.await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Timeout, format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))))
    }

    /// Resolves, judges every address, and connects to one that was judged: between the two
    /// nothing is resolved again.
    async fn dial(&self, target: &Target) -> Result<TcpStream, Failure> {
        let resolved: Vec<SocketAddr> = match &target.host {
            Host::Ipv4(ip) => vec![((*ip), target.port).into()],
            Host::Ipv6(ip) => vec![((*ip), target.port).into()],
            Host::Domain(name) => (self.resolve)(name.clone(), target.port).await.map_err(|error| Failure::new(FailureKind::Dns, error))?,
        };
        let allowed = self.guard.choose(resolved).map_err(|refused| Failure::new(FailureKind::AddressRefused, refused))?;
        let mut last = Failure::new(FailureKind::Dns, "the name has no address");
        for address in allowed.into_iter().take(ADDRESSES_MAX) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Failure::new(FailureKind::Connect, format!("{address}: {error}")),
            }
        }
        Err(last)
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<Connection, Failure> {
    let made = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, driver) = made.map_err(|error| Failure::new(FailureKind::Broken, error))?;
    let task = tokio::spawn(async move {
        // Whoever sends is told of what goes wrong.
        let _ = driver.await;
    });
    Ok(Connection { sender, task, used: false, since: Instant::now() })
}

/// What can be shown of an answer, and be kept by both databases.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

fn describe(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
