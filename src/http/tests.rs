//! The layers together, on a real engine and, where it matters, on real sockets.

use super::{
    Admin, App, Body, BodyOrForm, Caller, ClientIp, IdempotencyKey, IfMatch, Json, Path, Problem, Query, Read, Routes, Versioned, Write, limit::Peer, openapi,
    routes, server,
};
use crate::{
    config::Config,
    engine::{
        Engine, MIGRATIONS, Space,
        access::Scope,
        workspace::{CreateKey, Secret},
    },
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Response, StatusCode},
    response::IntoResponse,
};
use goodword_core::ids::LeadId;
use goodword_store::{Options, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewThing {
    /// Its name.
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Thing {
    name: String,
    part: Option<Part>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Part {
    id: Option<LeadId>,
}

#[derive(Debug, Serialize, ToSchema)]
struct List<T> {
    data: Vec<T>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Filter {
    /// How many.
    limit: Option<u32>,
}

/// Makes a thing.
#[utoipa::path(post, path = "/v1/things", tag = "things", request_body = NewThing)]
async fn create(_: Caller<Write>, _: IdempotencyKey, body: Body<NewThing>) -> Result<Json<Thing>, Problem> {
    Ok(Json(Thing { name: body.value.name, part: None }))
}

/// Lists things.
#[utoipa::path(get, path = "/v1/things", tag = "things", params(Filter))]
async fn list(caller: Caller<Read>, Query(filter): Query<Filter>) -> Result<Json<List<Thing>>, Problem> {
    let thing = || Thing { name: caller.key_name.clone(), part: Some(Part { id: None }) };
    Ok(Json(List { data: (0..filter.limit.unwrap_or(1)).map(|_| thing()).collect() }))
}

/// One thing.
#[utoipa::path(get, path = "/v1/things/{id}", tag = "things")]
async fn read(_: Caller<Read>, Path((id,)): Path<(LeadId,)>) -> Result<Versioned<Thing>, Problem> {
    Ok(Versioned { value: Thing { name: id.to_string(), part: None }, version: 3 })
}

#[utoipa::path(delete, path = "/v1/things/{id}", tag = "things", params(IfMatch))]
async fn delete(_: Caller<Admin>, Path((_id,)): Path<(LeadId,)>, _: IfMatch) -> Result<Json<Thing>, Problem> {
    Ok(Json(Thing { name: "gone".into(), part: None }))
}

#[utoipa::path(post, path = "/v1/public", tag = "public", security(()), request_body(content((NewThing = "application/json"), (NewThing = "application/x-www-form-urlencoded"))))]
async fn public(State(app): State<App>, client: ClientIp, body: BodyOrForm<NewThing>) -> Result<Json<Thing>, Problem> {
    app.limits.form(client)?;
    Ok(Json(Thing { name: body.value.name, part: None }))
}

#[utoipa::path(get, path = "/v1/panic", tag = "things")]
async fn panic() -> Result<Json<Thing>, Problem> {
    panic!("as it must")
}

#[utoipa::path(get, path = "/v1/slow", tag = "things")]
async fn slow() -> Result<Json<Thing>, Problem> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(Json(Thing { name: "slow".into(), part: None }))
}

fn api() -> Routes {
    Routes::new().routes(routes!(create, list)).routes(routes!(read, delete)).routes(routes!(public)).routes(routes!(panic)).routes(routes!(slow))
}

const CHAPTERS: &[openapi::Chapter] = &[("things", "About things."), ("unused", "Nothing.")];

fn not_found(_: &axum::http::HeaderMap) -> Response<axum::body::Body> {
    (StatusCode::NOT_FOUND, "page").into_response()
}

struct Server {
    app: App,
    router: Router,
    admin: String,
    read: String,
    _dir: tempfile::TempDir,
}

async fn server(change: impl FnOnce(&mut Config)) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    change(&mut config);
    let store = Store::open(Options::new(format!("sqlite:{}", dir.path().join("t.db").display()), MIGRATIONS)).await.unwrap();
    let (engine, _) = Engine::open(store, "http://t").await.unwrap();
    let set_up = engine.set_up("Test".parse().unwrap()).await.unwrap().unwrap();
    let space: Space = set_up.workspace.live;
    let secret = Secret::new(false, &[7; 25]);
    let create = CreateKey { name: "reader".parse().unwrap(), scopes: vec![Scope::Read], space, secret: secret.clone() };
    engine.run(engine.context(space, "test", "cli"), create).await.unwrap();
    let app = App::new(engine, config);
    let router = server::router(app.clone(), api(), CHAPTERS, Router::new(), not_found);
    Server { app, router, admin: set_up.live_key.reveal().into(), read: secret.reveal().into(), _dir: dir }
}

impl Server {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, axum::http::HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(path).extension(Peer(SocketAddr::from(([198, 51, 100, 7], 9))));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(axum::body::Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 22).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }

    async fn get(&self, path: &str, key: &str) -> (StatusCode, axum::http::HeaderMap, Value) {
        self.send("GET", path, &[("authorization", &format!("Bearer {key}"))], "").await
    }
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_cover() {
    let server = server(|_| {}).await;
    let (status, headers, body) = server.get("/v1/things", &server.read).await;
    assert_eq!((status.as_u16(), &body["data"][0]["name"]), (200, &json!("reader")));
    assert_eq!(
        (&headers["ratelimit-limit"], &headers["ratelimit-remaining"], &headers["ratelimit-reset"]),
        (&"6000".parse().unwrap(), &"5999".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(server.send("GET", "/v1/things", &[("x-api-key", &server.read)], "").await.0, 200);
    assert_eq!(server.send("GET", "/v1/things", &[("authorization", &format!("bearer  {}", server.read))], "").await.0, 200);

    let id = "lead_01jd3x5w8me4qv9c2t7k6hz0ab";
    let (status, _, problem) = server.send("DELETE", &format!("/v1/things/{id}"), &[("x-api-key", &server.read)], "").await;
    assert_eq!((status.as_u16(), &problem["code"], &problem["next_step"]), (403, &json!("forbidden"), &json!("Use a key that has it, or add it to this key.")));
    assert_eq!(server.send("DELETE", &format!("/v1/things/{id}"), &[("x-api-key", &server.admin)], "").await.0, 200);
    let (status, headers, _) = server.get(&format!("/v1/things/{id}"), &server.admin).await;
    assert_eq!((status.as_u16(), &headers["etag"]), (200, &"\"v3\"".parse().unwrap()));
    let (status, _, thing) = server.send("POST", "/v1/things", &[("x-api-key", &server.admin), ("content-type", "application/json")], "{\"name\":\"n\"}").await;
    assert_eq!((status.as_u16(), &thing["name"]), (200, &json!("n")));
}

#[tokio::test]
async fn without_a_known_key_nothing_opens() {
    let server = server(|_| {}).await;
    let in_query = format!("/v1/things?api_key={}", server.admin);
    let none: &[(&str, &str)] = &[];
    for (path, headers) in [
        ("/v1/things", none),
        (&in_query, none),
        ("/v1/things", &[("x-api-key", "gw_live_x")]),
        ("/v1/things", &[("authorization", "Basic YTpi")]),
        ("/v1/things", &[("x-api-key", "")]),
    ] {
        let (status, headers, problem) = server.send("GET", path, headers, "").await;
        assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("unauthorized")), "{path}");
        assert!(headers.contains_key("www-authenticate") && !headers.contains_key("ratelimit-limit"));
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let server = server(|config| (config.rate_limit_per_minute, config.form_limit_per_minute) = (2, 1)).await;
    assert_eq!(server.get("/v1/things", &server.read).await.0, 200);
    assert_eq!(server.get("/v1/things", &server.read).await.0, 200);
    let (status, headers, problem) = server.get("/v1/things", &server.read).await;
    assert_eq!(
        (status.as_u16(), &problem["code"], &headers["retry-after"], &headers["ratelimit-remaining"]),
        (429, &json!("too_many_requests"), &"30".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(server.get("/v1/things", &server.admin).await.0, 200, "another key has a limit of its own");

    let form = &[("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(server.send("POST", "/v1/public", form, "name=x").await.0, 200);
    assert_eq!(server.send("POST", "/v1/public", form, "name=x").await.0, 429);
}

#[tokio::test]
async fn what_goes_wrong_is_a_problem_with_the_requests_id() {
    let server = server(|_| {}).await;
    for (method, path, status) in [("GET", "/v1/nothing", 404), ("PUT", "/v1/things", 405), ("GET", "/v1/panic", 500), ("POST", "/elsewhere", 404)] {
        let (found, headers, problem) = server.send(method, path, &[("x-request-id", "mine-1")], "").await;
        assert_eq!(
            (found.as_u16(), &problem["request_id"], &headers["x-request-id"]),
            (status, &json!("mine-1"), &"mine-1".parse().unwrap()),
            "{path}: {problem}"
        );
        assert_eq!(headers["content-type"], super::problem::MEDIA_TYPE);
    }
    let (_, headers, _) = server.send("PUT", "/v1/things", &[], "").await;
    assert_eq!(headers["allow"], "POST,GET,HEAD");
    let (_, headers, _) = server.send("GET", "/v1/panic", &[("x-request-id", "not sane")], "").await;
    assert_eq!(headers["x-request-id"].len(), 32);
    let (status, _, page) = server.send("GET", "/elsewhere", &[], "").await;
    assert_eq!((status.as_u16(), page), (404, json!("page")));
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_can_read_it() {
    let server = server(|_| {}).await;
    let (_, headers, _) = server.send("GET", "/v1/things?limit=100", &[("x-api-key", &server.read), ("accept-encoding", "gzip")], "").await;
    assert_eq!(headers["content-encoding"], "gzip");
    let (_, headers, _) = server.send("GET", "/v1/things?limit=1", &[("x-api-key", &server.read), ("accept-encoding", "gzip")], "").await;
    assert!(!headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn the_metrics_are_for_the_operator() {
    let server = server(|config| config.metrics_token = Some("hush".into())).await;
    let _ = server.get("/v1/things", &server.read).await;
    assert_eq!(server.send("GET", "/metrics", &[], "").await.0, 401);
    assert_eq!(server.get("/metrics", "hus").await.0, 401);
    let (status, _, text) = server.get("/metrics", "hush").await;
    assert_eq!(status, 200);
    assert!(text.as_str().unwrap().contains("goodword_http_requests_total{method=\"GET\",route=\"/v1/things\",status=\"2xx\"} 1"));
}

#[tokio::test]
async fn the_document_tells_all_that_the_types_know() {
    let server = server(|_| {}).await;
    let (_, _, document) = server.send("GET", "/openapi.json", &[], "").await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(openapi::gaps(&document), Vec::<String>::new());
    let create = &document["paths"]["/v1/things"]["post"];
    assert_eq!(
        create["responses"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503", "508"]
    );
    assert_eq!(create["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Thing");
    assert_eq!(create["requestBody"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/NewThing");
    assert_eq!(create["parameters"][0]["$ref"], "#/components/parameters/IdempotencyKey");
    assert_eq!(document["components"]["schemas"]["NewThing"]["additionalProperties"], false);
    let list = &document["paths"]["/v1/things"]["get"];
    assert_eq!(
        (&list["parameters"][0]["name"], &list["parameters"][0]["in"], &list["parameters"][0]["required"]),
        (&json!("limit"), &json!("query"), &json!(false))
    );
    assert_eq!(list["responses"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200", "400", "401", "403", "404", "422", "429", "500", "503", "508"]);
    assert_eq!(list["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/List_Thing");
    let delete = &document["paths"]["/v1/things/{id}"]["delete"];
    assert!(delete["responses"]["412"].is_object());
    assert_eq!((&delete["parameters"][0]["name"], &delete["parameters"][1]["name"]), (&json!("If-Match"), &json!("id")));
    assert!(document["paths"]["/v1/public"]["post"]["parameters"].is_null(), "a public write has no keys of either kind");
    assert_eq!(document["security"].as_array().unwrap().len(), 2);
    assert!(!document.to_string().contains("x-goodword"));

    let (_, headers, page) = server.send("GET", "/docs", &[], "").await;
    let page = page.as_str().unwrap();
    for expected in ["id=\"things_create\"", "Makes a thing", "About things.", "/v1/things/lead_01jd3x5w8me4qv9c2t7k6hz0ab", "--json '{\n  &quot;name&quot;"] {
        assert!(page.contains(expected), "{expected}");
    }
    let etag = headers["etag"].to_str().unwrap();
    assert_eq!(server.send("GET", "/docs", &[("if-none-match", etag)], "").await.0, 304);
}

#[tokio::test]
async fn parameters_that_nobody_reads_are_refused() {
    let server = server(|_| {}).await;
    for (path, field) in [("/v1/things?lim=1", "lim"), ("/v1/slow?a=b", "a"), ("/v1/slow?", ""), ("/v1/things/lead_01jd3x5w8me4qv9c2t7k6hz0ab?x", "x")] {
        let (status, _, problem) = server.get(path, &server.read).await;
        let found = problem["errors"][0]["field"].as_str().unwrap_or_default();
        assert_eq!((status == 422, found), (!field.is_empty(), field), "{path}: {problem}");
    }
}

async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let server = server(|config| config.connections_per_address_max = 2).await;
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (app, router) = (server.app.clone(), server.router.clone());
    let serving = tokio::spawn(async move {
        server::serve(listener, router, &app, async {
            let _ = stopped.await;
        })
        .await;
    });
    assert!(talk(address, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ends_with("ok\n"));
    assert!(talk(address, "GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.contains("x-request-id"));
    let long = format!("GET /healthz HTTP/1.1\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    assert!(!talk(address, &long).await.contains(" 200 "), "a head has a limit");

    let idle = TcpStream::connect(address).await.unwrap();
    let running = tokio::spawn(talk(address, "GET /v1/slow HTTP/1.1\r\nhost: x\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(talk(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await, "", "a third connection from one address is closed");
    stop.send(()).unwrap();
    assert!(running.await.unwrap().starts_with("HTTP/1.1 200"), "the request that was running is answered");
    tokio::time::timeout(Duration::from_secs(2), serving).await.expect("idle connections do not hold it up").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_refusal_does_not_close_the_connection_without_saying_so() {
    let server = server(|_| {}).await;
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (app, router) = (server.app.clone(), server.router.clone());
    let _serving = tokio::spawn(async move { server::serve(listener, router, &app, std::future::pending()).await });
    let head = |length: usize| format!("POST /v1/things HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut piece = vec![0; 4_096];
    for _ in 0..3 {
        // The body comes later than the answer could, which needs nothing of it.
        stream.write_all(format!("{}\r\n", head(12)).as_bytes()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.read(&mut piece)).await.is_err(), "the answer waits for the body");
        stream.write_all(b"{\"name\":\"n\"}").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let len = stream.read(&mut piece).await.unwrap();
            assert!(len > 0, "the connection is still there");
            answer.extend_from_slice(&piece[..len]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 401 ") && !String::from_utf8_lossy(&answer).contains("connection: close"));
    }
    let closes = [
        (format!("{}\r\n", head(10_000_000)), "a body that is too long to be read for nothing"),
        (format!("{}\r\n{{", head(12)), "a body that does not come"),
        (format!("{}expect: 100-continue\r\n\r\n", head(12)), "a body that waits to be asked for"),
    ];
    for (request, why) in closes {
        let answer = talk(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("connection: close"), "{why}: {answer}");
    }
}

/// The document of the real API, held together.
#[test]
fn the_apis_document_has_no_gaps() {
    assert_eq!(openapi::gaps(&crate::routes::document(&Config::default())), Vec::<String>::new());
}
