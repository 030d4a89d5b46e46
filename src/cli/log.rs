//! The log, and traces where they are wanted.

use super::{Failure, Result};
use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Lives as long as the program; what was traced last is sent when it is dropped, which waits for the
/// collector and so belongs outside of the runtime.
#[must_use]
pub(super) struct Log(#[allow(dead_code, reason = "kept for its Drop")] Traces);

/// Sends the log to stderr, so that stdout is for answers.
pub(super) fn start(config: &Config) -> Result<Log> {
    let filter: EnvFilter = config.log.parse().map_err(Failure::new)?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_json = match config.log_format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: AnyLayer = if is_json { lines.json().flatten_event(true).with_span_list(false).boxed() } else { lines.with_ansi(is_terminal).boxed() };
    let mut layers = vec![lines];
    let traces = Traces::start(config, &mut layers)?;
    Registry::default().with(layers.with_filter(filter)).try_init().map_err(Failure::new)?;
    Ok(Log(traces))
}

#[cfg(feature = "otel")]
struct Traces(Option<opentelemetry_sdk::trace::SdkTracerProvider>);

#[cfg(feature = "otel")]
impl Traces {
    fn start(config: &Config, layers: &mut Vec<AnyLayer>) -> Result<Self> {
        use opentelemetry::trace::TracerProvider;
        use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
        use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

        let Some(endpoint) = &config.otlp_endpoint else { return Ok(Self(None)) };
        if !endpoint.starts_with("http://") {
            return Err(Failure::new(format!("otlp_endpoint: expected http://, found {endpoint}")).hint("A collector beside Goodword speaks TLS to the world."));
        }
        let exporter = SpanExporter::builder().with_http().with_endpoint(format!("{endpoint}/v1/traces")).with_protocol(Protocol::HttpBinary).build();
        let resource = Resource::builder().with_service_name("goodword").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter.map_err(Failure::new)?).with_resource(resource).build();
        layers.push(tracing_opentelemetry::layer().with_tracer(provider.tracer("goodword")).boxed());
        Ok(Self(Some(provider)))
    }
}

#[cfg(feature = "otel")]
impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

#[cfg(not(feature = "otel"))]
struct Traces;

#[cfg(not(feature = "otel"))]
impl Traces {
    fn start(config: &Config, _: &mut Vec<AnyLayer>) -> Result<Self> {
        match config.otlp_endpoint {
            None => Ok(Self),
            Some(_) => {
                Err(Failure::new("otlp_endpoint is set, and this program was built without traces")
                    .hint("Build it with: cargo build --release --features otel"))
            }
        }
    }
}
