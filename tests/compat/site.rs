//! A server with a campaign, and a client that speaks to it.

use goodword::{
    config::Config,
    engine::{
        Engine, MIGRATIONS, Space,
        access::Scope,
        campaign::{AddCoupons, Campaign, Create},
        workspace::{CreateKey, Secret, Workspace},
    },
    http::{App, server},
    routes,
};
use goodword_core::campaign::CampaignStatus;
use goodword_store::{Options, Store};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Site {
    pub engine: Engine,
    pub app: App,
    pub workspace: Workspace,
    pub url: String,
    /// A key that may do everything on the test side.
    pub key: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Value,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

pub async fn on_both(test: impl AsyncFn(Site)) {
    on_both_limited(0, test).await;
}

pub async fn on_both_limited(per_minute: u32, test: impl AsyncFn(Site)) {
    goodword_testkit::on_both(async |url| {
        let site = Site::open(&url, per_minute).await;
        test(site).await;
    })
    .await;
}

impl Site {
    /// On a database that is new, or that has a workspace already.
    pub async fn open(database: &str, per_minute: u32) -> Self {
        let listener = server::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = Store::open(Options::new(database, MIGRATIONS)).await.unwrap();
        let (engine, _) = Engine::open_with(store, &url, crate::support::vault()).await.unwrap();
        engine.set_up("Acme".parse().unwrap()).await.unwrap();
        let workspace = engine.read(|tx| Box::pin(goodword::engine::workspace::all(tx))).await.unwrap().remove(0);
        let key = engine.create_key(workspace.test, "Test").await.unwrap().reveal().to_owned();
        let mut config = Config::default();
        (config.listen, config.compat_limit_per_minute) = (listener.local_addr().unwrap(), per_minute);
        config.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let app = App::new(engine.clone(), config);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (router, serving) = (routes::router(app.clone()), app.clone());
        let served = tokio::spawn(async move {
            server::serve(listener, router, &serving, async {
                let _ = stopped.await;
            })
            .await;
        });
        Self { engine, app, key, workspace, url, stop: Some(stop), served }
    }

    pub async fn close(mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.served.await;
        self.engine.store().clone().close().await.unwrap();
    }

    /// Adds up everything that has happened: also what PostgreSQL shows only when older transactions have ended.
    pub async fn catch_up(&self) {
        let unsettled = || {
            self.engine
                .read(|tx| Box::pin(async move { Ok(tx.fetch_one("SELECT count(*) FROM events WHERE NOT {settled}", &[], |row| row.get::<i64>(0)).await?) }))
        };
        while unsettled().await.unwrap().unwrap_or(0) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.engine.catch_up_statistics().await.unwrap();
    }

    pub const fn space(&self) -> Space {
        self.workspace.test
    }

    /// A key with some scopes.
    pub async fn key_with(&self, scopes: &[Scope]) -> String {
        let secret = Secret::new(true, &goodword::engine::random_bytes());
        let create = CreateKey { name: "Another".parse().unwrap(), scopes: scopes.to_vec(), space: self.space(), secret: secret.clone() };
        self.engine.run(self.engine.context(self.space(), "test", "api"), create).await.unwrap();
        self.engine.forget().await.unwrap();
        secret.reveal().to_owned()
    }

    pub async fn campaign(&self, code: &str, settings: Value, rewards: Value, coupons: &[&str]) -> Campaign {
        let create = Create {
            settings: serde_json::from_value(settings).unwrap(),
            rewards: serde_json::from_value(rewards).unwrap(),
            status: CampaignStatus::Live,
            code: Some(code.parse().unwrap()),
        };
        let context = self.engine.context(self.space(), "test", "api");
        let campaign = self.engine.run(context.clone(), create).await.unwrap();
        if let Some(definition) = campaign.configuration.rewards.iter().find(|reward| reward.terms.value.kind() == "coupon") {
            let add = AddCoupons { campaign: campaign.id, definition: definition.id, codes: coupons.iter().map(|&code| code.to_owned()).collect() };
            self.engine.run(context, add).await.unwrap();
        }
        campaign
    }

    /// The campaign of most tests: a reward of each metric.
    pub async fn usual_campaign(&self) -> Campaign {
        let settings = json!({
            "name": "Friends of Acme", "language": "en", "currency": "EUR", "review": "never", "words": {"share": "Try Acme"},
            "lead_fields": [{"key": "country", "label": "Country", "kind": "select", "options": ["Netherlands", "Germany"]}],
            "referrer_fields": [{"key": "company", "label": "Company"}],
        });
        let rewards = json!([
            {"name": "Twenty euros", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "20.00", "currency": "EUR"}}},
            {"name": "Ten percent", "beneficiary": "referrer", "value": {"type": "commission", "percent": 10}},
            {"name": "Welcome coupon", "beneficiary": "lead", "trigger": "joined", "value": {"type": "coupon"}},
            {"name": "Points", "beneficiary": "referrer", "value": {"type": "custom", "metric": "points", "units": 50}, "issuing": "external"},
        ]);
        self.campaign("cp0fYnuj", settings, rewards, &["SAVE-1", "SAVE-2", "SAVE-3", "SAVE-4", "SAVE-5", "SAVE-6"]).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(&self.url, method, path, headers, body).await
    }

    /// A call in JSON with the key.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let key = format!("Bearer {}", self.key);
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(method, path, &[("authorization", &key), ("accept", "application/json"), ("content-type", "application/json")], &text).await
    }
}

/// HTTP by hand, so that nothing is done to requests that the vendor's clients would not do.
pub async fn send(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    Reply { status, headers: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default(), text: body.to_owned() }
}
