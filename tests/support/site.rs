//! The whole server on a loopback port, spoken to over HTTP by [`Actor`]s.

use super::TestApp;
use goodword::{
    config::Config,
    engine::{access::Scope, workspace::Secret},
    http::{App, server},
    routes,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A key of the test side that may do everything.
    Test,
    /// A key of the same workspace's live side.
    Live,
    /// A key of another workspace's test side.
    Stranger,
    /// A key of the test side that may only look.
    Reader,
    /// Somebody without a key.
    Nobody,
    /// Somebody with a key that never was.
    Forger,
}

pub struct Site {
    pub app: TestApp,
    pub other: TestApp,
    pub url: String,
    keys: [(Actor, String); 5],
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a test with a server on each database.
pub async fn on_both(configure: impl Fn(&mut Config), test: impl AsyncFn(&Site)) {
    goodword_testkit::on_both(async |url| {
        let site = Site::open(&url, &configure).await;
        test(&site).await;
        site.close().await;
    })
    .await;
}

impl Site {
    async fn open(database: &str, configure: &impl Fn(&mut Config)) -> Self {
        let listener = server::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let mut config = Config::default();
        config.listen = listener.local_addr().unwrap();
        configure(&mut config);
        let url = format!("http://{}", config.listen);
        let app = TestApp::open_at(database, &url).await;
        let other = app.other_workspace().await;
        let engine = &app.engine;
        let key = async |space, name| engine.create_key(space, name).await.unwrap().reveal().to_owned();
        let reader = Secret::new(true, &goodword::engine::random_bytes());
        let create =
            goodword::engine::workspace::CreateKey { name: "Reader".parse().unwrap(), scopes: vec![Scope::Read], space: app.space, secret: reader.clone() };
        app.act(create).await.unwrap();
        let keys = [
            (Actor::Test, key(app.space, "Test").await),
            (Actor::Live, key(app.workspace.live, "Live").await),
            (Actor::Stranger, key(other.space, "Stranger").await),
            (Actor::Reader, reader.reveal().to_owned()),
            (Actor::Forger, Secret::new(true, &[7; 25]).reveal().to_owned()),
        ];
        let served = App::new(engine.clone(), config);
        let (stop, stopped) = oneshot::channel();
        let router = routes::router(served.clone());
        let served = tokio::spawn(async move {
            server::serve(listener, router, &served, async {
                let _ = stopped.await;
            })
            .await;
        });
        Self { app, other, url, keys, stop, served }
    }

    async fn close(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap();
        self.app.engine.store().clone().close().await.unwrap();
    }

    /// What somebody sends as `Authorization`.
    pub fn key(&self, actor: Actor) -> String {
        let (_, key) = self.keys.iter().find(|(of, _)| *of == actor).expect("somebody with a key");
        format!("Bearer {key}")
    }

    /// A call of the API, in JSON.
    pub async fn call(&self, actor: Actor, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let key = (actor != Actor::Nobody).then(|| self.key(actor));
        let mut headers = vec![("accept", "application/json")];
        headers.extend(key.as_deref().map(|key| ("authorization", key)));
        headers.extend(body.is_some().then_some(("content-type", "application/json")));
        self.send(method, path, &headers, &body.map(Value::to_string).unwrap_or_default()).await
    }

    /// HTTP by hand, so that nothing is done to requests or answers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        raw(&self.url, method, path, headers, body).await
    }
}

/// As [`Site::send`], for those who outlive it.
pub async fn raw(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let host = url.strip_prefix("http://").unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("\r\n{body}"));
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, text) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {text}"));
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let headers = rest.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Reply { status: first.split(' ').nth(1).unwrap().parse().unwrap(), headers: headers.collect(), text: text.to_owned() }
}
