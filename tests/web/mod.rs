//! The whole router without a socket, for tests that speak the API's language.
#![allow(dead_code)] // Each test file uses a part.

use axum::{Router, body::Body, extract::Request};
use goodword::{
    config::Config,
    engine::{Engine, MIGRATIONS, Space, workspace},
    http::{App, limit::Peer},
    routes,
};
use goodword_store::{Options, Store};
use serde_json::Value;
use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};
use tower::ServiceExt;

pub struct Web {
    pub engine: Engine,
    pub router: Router,
}

/// What was asked, in one line, and what was answered.
pub struct Answer {
    pub asked: String,
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Value,
}

impl Web {
    pub async fn open(url: &str) -> Self {
        let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
        let (engine, _recorder) = Engine::open(store, "https://refer.example").await.unwrap();
        engine.set_up("First".parse().unwrap()).await.unwrap().unwrap();
        let mut config = Config::default();
        config.rate_limit_per_minute = 0;
        let app = App::new(engine.clone(), config);
        Self { engine, router: routes::router(app) }
    }

    /// Another workspace beside the first; the numbers of its live and test side.
    pub async fn workspace(&self, name: &str) -> (Space, Space) {
        let create = workspace::CreateWorkspace { name: name.parse().unwrap() };
        let made = self.engine.run(self.engine.context(Space::new(0), "test", "cli"), create).await.unwrap();
        self.engine.forget().await.unwrap();
        (made.live, made.test)
    }

    /// A key that may do everything on a side.
    pub async fn admin_key(&self, space: Space) -> String {
        self.engine.create_key(space, "Admin").await.unwrap().reveal().to_owned()
    }

    pub async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        self.send_with(&[], method, path, key, body).await
    }

    /// The same with headers of its own.
    pub async fn send_with(&self, headers: &[(&str, &str)], method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).extension(Peer(SocketAddr::from(([198, 51, 100, 7], 9))));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(body.map_or_else(Body::empty, |body| body.to_string().into())).unwrap();
        let (parts, sent) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(sent, 1 << 24).await.unwrap();
        let asked = format!("{method} {path} {}", body.map(Value::to_string).unwrap_or_default());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { asked, status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Sends what must go well.
    pub async fn ok(&self, method: &str, path: &str, key: &str, body: Value) -> Value {
        let answer = self.send(method, path, Some(key), (method != "GET").then_some(&body)).await;
        assert!((200..300).contains(&answer.status), "{}: {} {}", answer.asked, answer.status, answer.body);
        answer.body
    }
}

/// An operation of the OpenAPI document.
#[derive(Clone, Copy)]
pub struct Operation<'d> {
    pub method: &'d str,
    pub path: &'d str,
    pub content: &'d Value,
}

impl<'d> Operation<'d> {
    pub fn all(document: &'d Value) -> Vec<Self> {
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, content)| Self { method, path, content }));
        operations.filter(|operation| ["get", "post", "put", "patch", "delete"].contains(&operation.method)).collect()
    }

    pub fn id(&self) -> &'d str {
        self.content["operationId"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.verb(), self.path)
    }

    pub fn verb(&self) -> String {
        self.method.to_uppercase()
    }

    pub fn is_write(&self) -> bool {
        self.method != "get"
    }

    /// `security(())`: for everybody.
    pub fn is_public(&self) -> bool {
        self.content["security"].as_array().is_some_and(|ways| ways.iter().all(|way| way.as_object().is_some_and(serde_json::Map::is_empty)))
    }

    /// Parameters, where they are refered to as well.
    pub fn parameters(&self, document: &'d Value) -> impl Iterator<Item = &'d Value> {
        self.content["parameters"].as_array().into_iter().flatten().map(|parameter| resolve(document, parameter))
    }

    /// The schema of its JSON body.
    pub fn body(&self, document: &'d Value) -> Option<&'d Value> {
        self.content["requestBody"]["content"]["application/json"].get("schema").map(|schema| resolve(document, schema))
    }
}

/// What a `$ref` leads to, or the value itself.
pub fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    value["$ref"].as_str().map_or(value, |reference| document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference} leads nowhere")))
}

/// The paths of a router. axum does not list them, but shows them to who debugs.
pub fn paths_of(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    shown.split('"').filter(|part| part.starts_with('/') && !part.contains(char::is_whitespace)).map(str::to_owned).collect()
}

/// A file of the repository.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}
