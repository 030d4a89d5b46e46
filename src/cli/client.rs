//! A small client for our own API: one request on one connection, bodies as streams in both directions.

use super::{Failure, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io::Read, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How much of an answer that says no is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
const PIECE_BYTES: usize = 64 * 1024;

/// Where the server is, and the key that lets us in.
pub struct Client {
    base: url::Url,
    key: Option<String>,
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Client {
    pub fn new(url: &str, key: Option<String>) -> Result<Self> {
        let wrong = || Failure::new(format!("{url} is not the address of a server")).hint("Give it like http://127.0.0.1:8080.");
        let base = url::Url::parse(url).map_err(|_| wrong())?;
        let is_web = matches!(base.scheme(), "http" | "https") && base.has_host();
        if is_web { Ok(Self { base, key }) } else { Err(wrong()) }
    }

    /// Sends a request; whatever the server answers is an answer.
    pub async fn send(&self, method: Method, path: &str, content_type: Option<&str>, body: Body) -> Result<Response<Incoming>> {
        let host = self.base.host_str().unwrap_or_default();
        let unreachable = |error: &dyn std::fmt::Display| Failure::new(format!("{} cannot be reached: {error}", self.base));
        let stream = tokio::time::timeout(CONNECT_DEADLINE, self.connect()).await.map_err(|_| unreachable(&"it does not answer"))?;
        let stream = stream.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        let authority = self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base.path().trim_end_matches('/')))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json, */*;q=0.5")
            .header(header::USER_AGENT, concat!("goodword/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(Failure::new)?;
        sender.send_request(request).await.map_err(|error| unreachable(&error))
    }

    /// As [`Client::send`], for an answer that says yes; otherwise what the server's problem tells.
    pub async fn ask(&self, method: Method, path: &str, content_type: Option<&str>, body: Body) -> Result<Response<Incoming>> {
        let response = self.send(method, path, content_type, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = read(response, PROBLEM_BYTES_MAX).await.unwrap_or_default();
        Err(refused(status, &serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        if self.base.scheme() == "http" {
            return Ok(Box::new(stream));
        }
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(std::io::Error::other)?;
        Ok(Box::new(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }
}

/// The key that a server asks for.
pub fn key(given: Option<String>) -> Result<String> {
    let given = given.filter(|key| !key.is_empty());
    given.ok_or_else(|| Failure::new("a running server asks for an API key").hint("Give it as GOODWORD_API_KEY, or by --api-key."))
}

/// What the problem tells that a server answered with.
pub fn refused(status: StatusCode, problem: &serde_json::Value) -> Failure {
    let detail = problem["detail"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let failure = Failure::new(detail);
    match (problem["next_step"].as_str(), status) {
        (Some(step), _) => failure.hint(step),
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => failure.hint("Give an API key by --api-key or GOODWORD_API_KEY."),
        _ => failure,
    }
}

pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub fn whole(text: String) -> Body {
    Full::from(text).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Sends what a reader gives, as it gives it.
pub fn stream_of(mut input: impl Read + Send + 'static) -> Result<Body> {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    // A thread of its own: a terminal or a pipe may make it wait for ever.
    std::thread::Builder::new().name("reader".into()).spawn(move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = match input.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(piece.into())
                }
                Err(error) => Err(error),
            };
            if sender.blocking_send(read).is_err() {
                return;
            }
        }
    })?;
    let frames = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?.map(Frame::data), receiver)) });
    Ok(StreamBody::new(frames).boxed_unsync())
}

/// The body of an answer, if it is not larger than that.
pub async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<Bytes> {
    http_body_util::Limited::new(response.into_body(), bytes_max).collect().await.map(|body| body.to_bytes()).map_err(|error| Failure::new(error.to_string()))
}
