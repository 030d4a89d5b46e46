//! What is counted, in the text format of Prometheus. Counting is a few atomic additions.

use crate::delivery::Meter;
use axum::http::{Method, StatusCode};
use goodword_store::StoreStats;
use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Upper bounds of the histogram's buckets.
const BUCKETS_US: [u64; 12] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of a running server.
pub struct Metrics {
    routes: RwLock<Routes>,
    pub connections: AtomicI64,
    pub connections_refused: AtomicU64,
    pub panics: AtomicU64,
    pub delivery: Arc<Meter>,
    started: Instant,
}

/// By pattern, then by method.
type Routes = HashMap<Box<str>, Vec<(&'static str, Arc<Route>)>>;

/// The counters of one route and method. Hot routes keep theirs: see [`Metrics::route`].
#[derive(Default)]
pub struct Route {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Route {
    pub fn record(&self, status: StatusCode, took: Duration) {
        let took_us = took.as_micros() as u64;
        self.classes[usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1].fetch_add(1, Relaxed);
        self.buckets[BUCKETS_US.partition_point(|&bound| bound < took_us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took_us, Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (routes, connections, connections_refused, panics, delivery) = Default::default();
        Self { routes, connections, connections_refused, panics, delivery, started: Instant::now() }
    }
}

impl Metrics {
    /// The counters of a route, by its pattern (`/v1/leads/{id}`): there are as many as the router has.
    pub fn route(&self, method: &Method, pattern: &str) -> Arc<Route> {
        let method = known(method);
        let find = |routes: &Routes| routes.get(pattern)?.iter().find(|(name, _)| *name == method).map(|(_, route)| Arc::clone(route));
        if let Some(route) = find(&self.routes.read().unwrap_or_else(PoisonError::into_inner)) {
            return route;
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        find(&routes).unwrap_or_else(|| {
            let route = Arc::<Route>::default();
            routes.entry(pattern.into()).or_default().push((method, Arc::clone(&route)));
            route
        })
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self, store: StoreStats) -> String {
        let mut text = String::with_capacity(16 * 1024);
        self.render_routes(&mut text);
        self.delivery.render(&mut text);
        let gauges = [
            ("goodword_http_connections", "Open connections.", "gauge", self.connections.load(Relaxed) as f64),
            ("goodword_http_connections_refused_total", "Connections over a cap.", "counter", self.connections_refused.load(Relaxed) as f64),
            ("goodword_http_panics_total", "Requests that failed by a mistake of ours.", "counter", self.panics.load(Relaxed) as f64),
            ("goodword_store_commits_total", "Commits to the database.", "counter", store.commits as f64),
            ("goodword_store_commands_total", "Commands in those commits.", "counter", store.commands as f64),
            ("goodword_store_retries_total", "Commands that were applied again.", "counter", store.retries as f64),
            ("goodword_store_batch_max", "Commands in the largest commit.", "gauge", store.batch_max as f64),
            ("goodword_store_queue_depth", "Commands that wait for the writer.", "gauge", store.queue_depth as f64),
            ("goodword_store_apply_max_seconds", "The longest time one command took.", "gauge", store.apply_max_us as f64 / 1e6),
            ("goodword_uptime_seconds", "Time since the start.", "counter", self.started.elapsed().as_secs_f64()),
        ];
        for (name, help, kind, value) in gauges {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        if let Some(bytes) = resident_bytes() {
            let _ = writeln!(
                text,
                "# HELP process_resident_memory_bytes Memory in use.\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {bytes}"
            );
        }
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(text, "# HELP goodword_info The running version.\n# TYPE goodword_info gauge\ngoodword_info{{version=\"{version}\"}} 1");
        text
    }

    fn render_routes(&self, text: &mut String) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<_> = routes.iter().flat_map(|(pattern, methods)| methods.iter().map(move |(method, route)| (&**pattern, *method, route))).collect();
        routes.sort_by_key(|(pattern, method, _)| (*pattern, *method));
        text.push_str("# HELP goodword_http_requests_total Requests answered.\n# TYPE goodword_http_requests_total counter\n");
        for (pattern, method, route) in &routes {
            for (class, count) in CLASSES.iter().zip(&route.classes) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let _ = writeln!(text, "goodword_http_requests_total{{method=\"{method}\",route=\"{pattern}\",status=\"{class}\"}} {count}");
                }
            }
        }
        text.push_str("# HELP goodword_http_request_duration_seconds Time to answer.\n# TYPE goodword_http_request_duration_seconds histogram\n");
        for (pattern, method, route) in &routes {
            let labels = format!("method=\"{method}\",route=\"{pattern}\"");
            let mut count = 0;
            for (i, bucket) in route.buckets.iter().enumerate() {
                count += bucket.load(Relaxed);
                let bound = BUCKETS_US.get(i).map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
                let _ = writeln!(text, "goodword_http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let sum = route.sum_us.load(Relaxed) as f64 / 1e6;
            let _ = writeln!(text, "goodword_http_request_duration_seconds_sum{{{labels}}} {sum}");
            let _ = writeln!(text, "goodword_http_request_duration_seconds_count{{{labels}}} {count}");
        }
    }
}

/// The method as a label; what callers invent is one label.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER")
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_counted() {
        let metrics = Metrics::default();
        metrics.route(&Method::GET, "/v1/leads/{id}").record(StatusCode::OK, Duration::from_micros(700));
        metrics.route(&Method::GET, "/v1/leads/{id}").record(StatusCode::NOT_FOUND, Duration::from_secs(9));
        metrics.route(&Method::from_bytes(b"BREW").unwrap(), "/x").record(StatusCode::OK, Duration::ZERO);
        let text = metrics.render(StoreStats::default());
        for line in [
            "goodword_http_requests_total{method=\"GET\",route=\"/v1/leads/{id}\",status=\"2xx\"} 1",
            "goodword_http_requests_total{method=\"GET\",route=\"/v1/leads/{id}\",status=\"4xx\"} 1",
            "goodword_http_requests_total{method=\"OTHER\",route=\"/x\",status=\"2xx\"} 1",
            "goodword_http_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/leads/{id}\",le=\"0.0005\"} 0",
            "goodword_http_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/leads/{id}\",le=\"0.001\"} 1",
            "goodword_http_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/leads/{id}\",le=\"5\"} 1",
            "goodword_http_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/leads/{id}\",le=\"+Inf\"} 2",
            "goodword_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/leads/{id}\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
