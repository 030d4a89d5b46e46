//! Sockets, middleware and shutdown.
//!
//! There is no onion around everything: [`wrap_api`] and [`wrap_pages`] put on their
//! routers what these need, so that a redirect pays for nothing but its route.

use super::{
    App, Problem, auth,
    context::{self, RequestId},
    limit::{self, ClientIp, Neighbourhood, Peer},
    openapi,
    problem::X_REQUEST_ID,
    routes::{Queries, Routes},
    unread,
};
use crate::config::Config;
use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    any::Any,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
};
use tower::Service;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, CompressionLevel,
        predicate::{And, NotForContentType, Predicate, SizeAbove},
    },
};
use tracing::{Instrument, field::Empty};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 4_096;
/// How long a request's head may take, and how long a connection may be idle: a little longer than the
/// 60 seconds for which proxies keep theirs, so that it is they who close.
const HEAD_DEADLINE: Duration = Duration::from_secs(75);
const HEADERS_MAX: usize = 64;
/// A request's head at most; hyper looks after it has read, and may take in twice as much.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long requests may go on after the signal to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Smaller answers fit into one packet anyway.
const COMPRESSED_BYTES_MIN: u64 = 1_024;

/// The address is taken at once, also when a server before this one has just stopped.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Completes when the process is asked to stop, by SIGTERM or Ctrl-C, from the moment of this call. A second
/// Ctrl-C does not wait.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async {
        let Ok((mut terminate, mut interrupt)) = signals else {
            tracing::error!("signals cannot be received; the process can only be killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            interrupt.recv().await;
            #[expect(clippy::disallowed_methods, reason = "who asks twice does not want to wait")]
            std::process::exit(130);
        });
    }
}

/// Serves until `stop` completes, then lets requests finish.
pub async fn serve(listener: TcpListener, router: Router, app: &App, stop: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let connections = GracefulShutdown::new();
    let seats = Arc::new(Semaphore::new(app.config.connections_max));
    let door = Arc::new(Door::new(&app.config));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            // A seat first: those who find none wait in the kernel's backlog.
            let seat = Arc::clone(&seats).acquire_owned().await;
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Some(place) = Door::enter(&door, peer.ip()) else {
            app.metrics.connections_refused.fetch_add(1, Relaxed);
            continue;
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let mut router = router.clone();
            unread::read(request, move |request| router.call(request))
        });
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        let metrics = Arc::clone(&app.metrics);
        tokio::spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection");
            }
            metrics.connections.fetch_sub(1, Relaxed);
            drop((place, seat));
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were still running after {} s and were cut off", DRAIN_DEADLINE.as_secs());
    }
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return; // that one connection only
    }
    tracing::error!(%error, "no connection can be accepted; is the limit of open files too low?");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Counts the connections from each address.
struct Door {
    inside: Mutex<HashMap<Neighbourhood, usize>>,
    each_max: usize,
    trusted: Vec<ipnet::IpNet>,
}

struct Place {
    door: Arc<Door>,
    from: Option<Neighbourhood>,
}

impl Door {
    fn new(config: &Config) -> Self {
        Self { inside: Mutex::default(), each_max: config.connections_per_address_max, trusted: config.trusted_proxies.clone() }
    }

    fn enter(door: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        if door.trusted.iter().any(|net| net.contains(&ip)) {
            return Some(Place { door: Arc::clone(door), from: None }); // everybody comes through the proxy
        }
        let from = Neighbourhood::from(ip);
        let mut inside = door.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let count = inside.entry(from).or_default();
        if *count >= door.each_max {
            return None;
        }
        *count += 1;
        Some(Place { door: Arc::clone(door), from: Some(from) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut inside = self.door.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&from);
            }
        }
    }
}

/// What a router of the API needs: request ids, access log and metrics, rate-limit headers, compression,
/// and problems for panics and for methods that a route does not have.
pub fn wrap_api(router: Router<App>, app: &App) -> Router<App> {
    router
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(panics(app))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_compressing()))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
}

/// What a router of pages needs: as [`wrap_api`], but nothing is compressed, for pages hold tokens next to
/// what the visitor typed (BREACH); and browsers are told not to guess and not to tell.
pub fn wrap_pages(router: Router<App>, app: &App) -> Router<App> {
    router.layer(panics(app)).layer(middleware::map_response(browser_headers)).layer(middleware::from_fn_with_state(app.clone(), observe))
}

type Compressed = And<SizeAbove, NotForContentType>;

fn worth_compressing() -> Compressed {
    SizeAbove::new(COMPRESSED_BYTES_MIN).and(NotForContentType::const_new("image/png"))
}

/// A panic is a mistake of ours, and answers only the request that met it.
fn panics(app: &App) -> CatchPanicLayer<impl Fn(Box<dyn Any + Send>) -> Response + Clone + Send + use<>> {
    let metrics = Arc::clone(&app.metrics);
    CatchPanicLayer::custom(move |panic: Box<dyn Any + Send>| {
        metrics.panics.fetch_add(1, Relaxed);
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        tracing::error!(panic = text.unwrap_or("unknown"), "a handler panicked");
        Problem::internal().into_response()
    })
}

const NOSNIFF: (HeaderName, HeaderValue) = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

async fn browser_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("strict-origin-when-cross-origin"));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("SAMEORIGIN"));
    response
}

/// The access log's name: `--log info,goodword::access=debug` shows every request. What went well and quickly
/// is not shown otherwise, for a line costs a tenth of the request it tells of.
const ACCESS: &str = "goodword::access";
const SLOW: Duration = Duration::from_secs(1);

/// Request id, access log and metrics; and what no handler may see. The log has the route's pattern and never the address itself: that
/// may hold codes, tokens and e-mail addresses.
async fn observe(State(app): State<App>, matched: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request.headers().get(X_REQUEST_ID).and_then(|id| RequestId::accept(id.to_str().ok()?)).unwrap_or_else(RequestId::mint);
    let method = request.method().clone();
    let route = matched.as_ref().map_or("(none)", MatchedPath::as_str);
    let span = tracing::info_span!("request", request_id = id.as_str(), otel.name = Empty, otel.kind = Empty);
    if app.config.otlp_endpoint.is_some() {
        span.record("otel.name", format!("{method} {route}")).record("otel.kind", "server");
    }
    let answer = async {
        match app.refuse_own_delivery(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let (mut response, left) = context::within(id.clone(), answer).instrument(span.clone()).await;

    let (status, took) = (response.status(), start.elapsed());
    app.metrics.route(&method, route).record(status, took);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(NOSNIFF.0, NOSNIFF.1);
    if let Some(quota) = left.quota {
        quota.write(headers);
    }
    span.in_scope(|| {
        let (method, status, us, key) = (method.as_str(), status.as_u16(), took.as_micros() as u64, left.key_id.map(tracing::field::display));
        match status {
            500.. => tracing::warn!(target: ACCESS, method, route, status, us, key, "answered"),
            400.. => tracing::info!(target: ACCESS, method, route, status, us, key, "answered"),
            _ if took > SLOW => tracing::info!(target: ACCESS, method, route, status, us, key, "answered slowly"),
            _ => tracing::debug!(target: ACCESS, method, route, status, us, key, "answered"),
        }
    });
    response
}

/// What an operator's tools ask: `/healthz`, `/readyz`, `/metrics`.
pub fn operations() -> Router<App> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    match tokio::time::timeout(Duration::from_secs(2), app.engine.ping()).await {
        Ok(Ok(())) => Ok(super::reply::json_bytes(StatusCode::OK, "{\"status\":\"ready\"}\n")),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            Err(Problem::unavailable("The database does not answer: see the log, or run goodword doctor."))
        }
        Err(_) => Err(Problem::unavailable("The database did not answer within 2 s.")),
    }
}

/// The figures are for the operator: they need the token, or somebody who came from the local network
/// without a proxy.
async fn metrics(State(app): State<App>, client: ClientIp, request: Request) -> Result<Response, Problem> {
    let token = auth::bearer(request.headers()).zip(app.config.metrics_token.as_deref());
    let is_known = token.is_some_and(|(sent, token)| same(sent.as_bytes(), token.as_bytes()));
    if !is_known && (app.config.metrics_token.is_some() || limit::was_forwarded(request.headers()) || !is_local(client.0)) {
        return Err(
            Problem::unauthorized().next_step("Send Authorization: Bearer with the metrics_token of the configuration, or ask from the server's own network.")
        );
    }
    let mut response = Response::new(Body::from(app.metrics.render(app.engine.store_stats())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

/// Compares secrets in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Refuses parameters where nobody would read them, as [`super::Query`] does where somebody does.
async fn refuse_query(State(queries): State<Arc<Queries>>, matched: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let query = request.uri().query().filter(|query| !query.is_empty());
    if let Some((query, matched)) = query.zip(matched)
        && queries.are_ignored(request.method(), matched.as_str())
    {
        let name = form_urlencoded::parse(query.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
        return Problem::invalid_detail(name, "There is no such parameter; this address has none.").into_response();
    }
    next.run(request).await
}

/// The whole server: the API with its reference, the operator's addresses, and the pages.
///
/// `pages` comes wrapped as it needs; `not_found` is the page for what is nowhere.
pub fn router(app: App, api: Routes, chapters: &'static [openapi::Chapter], pages: Router<App>, not_found: fn(&HeaderMap) -> Response) -> Router {
    let (routes, config) = (api.document(), Arc::clone(&app.config));
    let document = move || openapi::document(routes(), &config, chapters);
    let api = api.router.layer(middleware::from_fn_with_state(Arc::new(api.queries), refuse_query));
    let api = api.merge(openapi::router(document)).fallback(move |method: Method, uri: Uri, headers: HeaderMap| async move {
        let is_api = uri.path() == "/v1" || uri.path().starts_with("/v1/") || !matches!(method, Method::GET | Method::HEAD);
        if is_api { Problem::not_found("address").into_response() } else { not_found(&headers) }
    });
    wrap_api(api, &app).merge(operations()).merge(pages).with_state(app)
}
