//! Clients write while the server is killed again and again, on both databases; on PostgreSQL, that crashes as
//! well. Whoever gets no answer sends the request again under its key until there is one. Afterwards the
//! database itself is asked: is everything there that was acknowledged, and does everything add up?
//!
//! `GOODWORD_CRASH_KILLS` (3) and `GOODWORD_CRASH_SEED` (drawn, and printed) choose the run; with
//! `GOODWORD_CRASH_KEEP` the database stays to be looked at.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod process;

use goodword_core::ids::{ConversionId, LeadId, RewardId, SignalId};
use goodword_store::{Command, Options, Row, Store, Tx};
use process::{Answer, Client, DEADLINE, Setup};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

const CLIENTS: u64 = 16;
const VISITORS: u64 = 2;
const REFERRERS: usize = 12;
/// A visit that was answered may be lost for so long; and longer where this machine's commits take longer.
const VISIT_AT_RISK: Duration = Duration::from_millis(50);
/// How long it takes the server, at most, to see that the database takes visits again.
const VISITS_RETRY: Duration = Duration::from_millis(500);
/// Answers that are asked for a second time at the end.
const ASKED_AGAIN: usize = 3_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// xorshift64*: what is done is drawn from the seed; what it meets is not.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len() as u64) as usize])
    }
}

/// What all clients know.
struct Scene {
    address: RwLock<SocketAddr>,
    authorization: String,
    codes: Vec<String>,
    /// Of somebody in a campaign of their own, whom nobody waits for.
    pulse: String,
    stop: AtomicBool,
    unanswered: AtomicU64,
    replayed: AtomicU64,
}

/// A request and its answer.
struct Told {
    key: String,
    method: &'static str,
    path: String,
    body: String,
    answer: Answer,
}

/// A visit that was answered, by the host of the page that it came from.
struct Visit {
    host: String,
    at: Instant,
}

impl Scene {
    /// Sends a request until it is answered: 5xx is no answer, for nobody knows what became of it.
    fn tell(&self, client: &mut Client, method: &'static str, path: &str, key: &str, body: &Value) -> Told {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        let body = body.to_string();
        let (begun, mut tries) = (Instant::now(), 0);
        loop {
            let address = *self.address.read().unwrap();
            match client.send(address, method, path, &headers, &body) {
                Ok(answer) if answer.status < 500 => {
                    if tries > 0 {
                        self.unanswered.fetch_add(1, SeqCst);
                        self.replayed.fetch_add(answer.replayed.into(), SeqCst);
                    }
                    return Told { key: key.to_owned(), method, path: path.to_owned(), body, answer };
                }
                _ => tries += 1,
            }
            assert!(begun.elapsed() < DEADLINE, "{method} {path} is not answered");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn client(&self, number: u64, seed: u64) -> Vec<Told> {
        let (mut client, mut draw, mut told) = (Client::default(), Draw(seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)), Vec::new());
        let (mut leads, mut conversions, mut orders, mut rewards) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for n in 0.. {
            if self.stop.load(SeqCst) {
                break;
            }
            let name = format!("c{number}-{n}");
            let (path, body) = match (draw.below(100), draw.one(&leads).cloned()) {
                (35..60, Some(lead)) => {
                    orders.push((lead, name.clone()));
                    (
                        "/v1/conversions".to_owned(),
                        json!({"lead_id": orders[orders.len() - 1].0, "external_id": name, "amount_minor": 1_000 + draw.below(9_000), "currency": "EUR"}),
                    )
                }
                (60..66, Some(_)) if !orders.is_empty() => {
                    // The same order again, by somebody who knows nothing of the first time.
                    let (lead, order) = draw.one(&orders).unwrap();
                    ("/v1/conversions".to_owned(), json!({"lead_id": lead, "external_id": order, "amount_minor": 1_000, "currency": "EUR"}))
                }
                (66..74, Some(lead)) => ("/v1/qualifications".to_owned(), json!({"lead_id": lead, "external_id": name})),
                (74..80, Some(_)) if !conversions.is_empty() => {
                    let part = if draw.below(2) == 0 { json!({}) } else { json!({"amount_minor": 1 + draw.below(2_000), "currency": "EUR"}) };
                    (format!("/v1/conversions/{}/refund", draw.one(&conversions).unwrap()), part)
                }
                (80..97, Some(_)) if !rewards.is_empty() => {
                    let action = *draw.one(&["approve", "approve", "issue", "issue", "issue", "hold", "cancel", "reject", "reverse"]).unwrap();
                    (format!("/v1/rewards/{}/{action}", draw.one(&rewards).unwrap()), json!({}))
                }
                (97.., Some(lead)) => (format!("/v1/leads/{lead}/unqualify"), json!({})),
                _ => ("/v1/leads".to_owned(), json!({"code": draw.one(&self.codes), "email": format!("{name}@friends.example")})),
            };
            let now = self.tell(&mut client, "POST", &path, &format!("key-{name}"), &body);
            let known = |answer: &Value| answer.as_str().map(str::to_owned);
            if now.answer.status < 300 {
                let answer = now.answer.json();
                if path == "/v1/leads" {
                    leads.extend(known(&answer["lead"]["id"]));
                }
                conversions.extend(known(&answer["conversion"]["id"]));
                rewards.extend(answer["rewards"].as_array().into_iter().flatten().filter_map(|reward| known(&reward["id"])));
            }
            told.push(now);
        }
        told
    }

    /// How long commits take here and now, at most: writes that wait for nothing but the disk and the processor.
    fn pulse(&self) -> Duration {
        let (mut client, mut longest) = (Client::default(), Duration::ZERO);
        for n in 0.. {
            if self.stop.load(SeqCst) {
                break;
            }
            let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
            let body = json!({"code": self.pulse, "email": format!("pulse-{n}@friends.example")}).to_string();
            let (address, begun) = (*self.address.read().unwrap(), Instant::now());
            if client.send(address, "POST", "/v1/leads", &headers, &body).is_ok_and(|answer| answer.status == 201) {
                longest = longest.max(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        longest
    }

    /// A browser that follows links, at a human pace for a crowd.
    fn visitor(&self, number: u64, seed: u64) -> Vec<Visit> {
        let (mut client, mut draw, mut visits) = (Client::default(), Draw(seed ^ (number + 1_001)), Vec::new());
        for n in 0.. {
            if self.stop.load(SeqCst) {
                break;
            }
            let (host, address) = (format!("v{number}-{n}.example"), *self.address.read().unwrap());
            let referer = format!("https://{host}/");
            let headers = [("referer", referer.as_str()), ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")];
            let code = draw.one(&self.codes).unwrap();
            let answer = client.send(address, "GET", &format!("/{code}"), &headers, "");
            if let Some(answer) = answer.ok().filter(|answer| answer.status < 500) {
                assert_eq!(answer.status, 302, "{}", answer.body);
                visits.push(Visit { host, at: Instant::now() });
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        visits
    }
}

/// What is known when everything has stopped.
struct Outcome {
    told: Vec<Told>,
    visits: Vec<Visit>,
    /// When the server was killed, and when it was ready again.
    kills: Vec<(Instant, Instant)>,
    /// When the database crashed, and when the server had it again.
    outages: Vec<(Instant, Instant)>,
    /// The longest commit.
    pulse: Duration,
}

fn campaign() -> Value {
    let eur = |minor: i64| json!({"amount_minor": minor, "currency": "EUR"});
    json!({
        "name": "Crash", "status": "live", "currency": "EUR",
        "link": {"mode": "direct", "destination": "https://shop.example/"},
        "budget": {"amount": eur(3_000_000), "period": "day"},
        "rewards": [
            {"name": "Cash", "beneficiary": "referrer", "value": {"type": "fixed", "amount": eur(1_000)}, "review": "never"},
            {"name": "Share", "beneficiary": "referrer", "value": {"type": "commission", "percent": "10"}, "cadence": {"type": "ongoing"}, "review": "always"},
            {"name": "Steps", "beneficiary": "referrer", "value": {"type": "fixed", "amount": eur(500)},
             "cadence": {"type": "milestones", "steps": [{"count": 1}, {"count": 5}, {"count": 25}, {"count": 50}]}, "auto_issue": true, "review": "never"},
            {"name": "Welcome", "beneficiary": "lead", "value": {"type": "custom", "metric": "points", "units": 50}, "hold_days": 1},
        ]
    })
}

/// Runs the whole story: `crash` is called now and then instead of killing the server.
fn run(setup: &Setup, crash: Option<&dyn Fn()>) -> Outcome {
    let kills = setting("GOODWORD_CRASH_KILLS").unwrap_or(3);
    let seed = setting("GOODWORD_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("{}: {kills} kills, GOODWORD_CRASH_SEED={seed}", setup.url());
    let mut draw = Draw(seed);

    let mut server = setup.start();
    let (mut client, address) = (Client::default(), server.address);
    let key = server.keys.clone().unwrap().test;
    let campaign = client.ok(address, &key, "POST", "/v1/campaigns", &campaign());
    let referrer = |n| json!({"campaign_id": campaign["id"], "email": format!("r{n}@referrers.example")});
    let mut create = |n| client.ok(address, &key, "POST", "/v1/referrers", &referrer(n))["code"].as_str().unwrap().to_owned();
    let codes = (0..REFERRERS).map(&mut create).collect();
    let alone = client.ok(address, &key, "POST", "/v1/campaigns", &json!({"name": "Pulse", "status": "live"}));
    let pulse = client.ok(address, &key, "POST", "/v1/referrers", &json!({"campaign_id": alone["id"], "email": "pulse@referrers.example"}));
    let scene = Arc::new(Scene {
        address: RwLock::new(address),
        authorization: format!("Bearer {key}"),
        codes,
        pulse: pulse["code"].as_str().unwrap().to_owned(),
        stop: AtomicBool::new(false),
        unanswered: AtomicU64::new(0),
        replayed: AtomicU64::new(0),
    });

    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            std::thread::spawn({
                let scene = scene.clone();
                move || scene.client(n, seed)
            })
        })
        .collect();
    let visitors: Vec<_> = (0..VISITORS)
        .map(|n| {
            std::thread::spawn({
                let scene = scene.clone();
                move || scene.visitor(n, seed)
            })
        })
        .collect();
    let pulse = std::thread::spawn({
        let scene = scene.clone();
        move || scene.pulse()
    });
    let (mut killed, mut outages) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(50 + draw.below(1_550)));
        match crash.filter(|_| kill % 3 == 2) {
            Some(crash) => {
                let away = Instant::now();
                crash();
                let (begun, mut probe) = (Instant::now(), Client::default());
                while probe.send(server.address, "GET", "/readyz", &[], "").is_ok_and(|answer| answer.status != 200) {
                    assert!(begun.elapsed() < DEADLINE, "the server does not find the database again");
                    std::thread::sleep(Duration::from_millis(5));
                }
                outages.push((away, Instant::now()));
                println!("  kill {kill}: the database; the server had it again {:?} after it was back", begun.elapsed());
            }
            None => {
                let at = server.kill();
                server = setup.start();
                killed.push((at, Instant::now()));
                *scene.address.write().unwrap() = server.address;
                println!("  kill {kill}: the server; it was ready again after {:?}", server.ready_after);
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    scene.stop.store(true, SeqCst);
    let told: Vec<Told> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let visits: Vec<Visit> = visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect();
    let pulse = pulse.join().unwrap();
    let (unanswered, replayed) = (scene.unanswered.load(SeqCst), scene.replayed.load(SeqCst));
    println!(
        "  {} requests, {unanswered} sent again, {replayed} of them had been carried out; {} visits; commits took up to {pulse:?}",
        told.len(),
        visits.len()
    );

    ask_again(&scene, &told);
    client.ok(server.address, &key, "GET", "/v1/statistics", &json!(null));
    server.stop();
    Outcome { told, visits, kills: killed, outages, pulse }
}

/// Every answer that was given is given again, word for word.
fn ask_again(scene: &Scene, told: &[Told]) {
    let mut client = Client::default();
    let done: Vec<&Told> = told.iter().filter(|told| told.answer.status < 300).collect();
    for told in done.iter().step_by(done.len().div_ceil(ASKED_AGAIN).max(1)) {
        let again = scene.tell(&mut client, told.method, &told.path, &told.key, &serde_json::from_str(&told.body).unwrap());
        assert!(again.answer.replayed, "{} {} {} was done twice: {}", told.method, told.path, told.body, again.answer.body);
        assert_eq!((again.answer.status, again.answer.body), (told.answer.status, told.answer.body.clone()), "{} {}", told.path, told.body);
    }
}

// ---------------------------------------------------------------- the oracle

/// What is wrong, each fault beginning with the name of its rule.
struct Faults(Vec<String>);

impl Faults {
    fn check(&mut self, holds: bool, rule: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(format!("{rule}: {}", what()));
        }
    }
}

async fn rows<T: Send + 'static>(store: &Store, sql: &'static str, read: impl Fn(&Row<'_>) -> goodword_store::Result<T> + Send + Sync + 'static) -> Vec<T> {
    store.read(move |tx: &mut Tx<'_>| Box::pin(async move { tx.fetch(sql, &[], read).await })).await.unwrap()
}

/// The rows of a query that finds what must not be.
async fn none(store: &Store, faults: &mut Faults, rule: &str, sql: &'static str) {
    for text in rows(store, sql, |row| row.get::<String>(0)).await {
        faults.check(false, rule, || text);
    }
}

async fn ids(store: &Store, sql: &'static str) -> BTreeSet<Uuid> {
    rows(store, sql, |row| row.get::<Uuid>(0)).await.into_iter().collect()
}

async fn oracle(store: &Store, outcome: &Outcome) -> Vec<String> {
    let mut faults = Faults(Vec::new());

    // Acknowledged is there.
    let signals = ids(store, "SELECT id FROM signals").await;
    let leads = ids(store, "SELECT id FROM participants WHERE lead_since IS NOT NULL").await;
    let (conversions, rewards) = (ids(store, "SELECT id FROM conversions").await, ids(store, "SELECT id FROM rewards").await);
    for told in outcome.told.iter().filter(|told| told.answer.status < 300) {
        let answer = told.answer.json();
        let is_reward = told.path.starts_with("/v1/rewards/");
        let mut there = |id: &Value, known: &BTreeSet<Uuid>, parse: fn(&str) -> Option<Uuid>, what: &str| {
            if let Some(id) = id.as_str() {
                let found = parse(id).is_some_and(|id| known.contains(&id));
                faults.check(found, what, || format!("{id} was acknowledged to {} and is not there", told.key));
            }
        };
        there(&answer["signal_id"], &signals, |id| id.parse::<SignalId>().ok().map(|id| id.uuid()), "signals");
        there(&answer["lead"]["id"], &leads, |id| id.parse::<LeadId>().ok().map(|id| id.uuid()), "leads");
        there(&answer["conversion"]["id"], &conversions, |id| id.parse::<ConversionId>().ok().map(|id| id.uuid()), "conversions");
        let acted = if is_reward { vec![answer.clone()] } else { answer["rewards"].as_array().cloned().unwrap_or_default() };
        for reward in acted {
            there(&reward["id"], &rewards, |id| id.parse::<RewardId>().ok().map(|id| id.uuid()), "rewards");
        }
    }

    // Nothing twice.
    none(store, &mut faults, "doubled", "SELECT cause FROM rewards GROUP BY space, definition_id, cause, beneficiary_id HAVING count(*) > 1").await;
    none(store, &mut faults, "doubled", "SELECT external_id FROM conversions GROUP BY space, campaign_id, external_id HAVING count(*) > 1").await;
    none(store, &mut faults, "doubled", "SELECT key FROM signals GROUP BY space, key HAVING count(*) > 1").await;
    none(store, &mut faults, "doubled", "SELECT type FROM events GROUP BY space, id, type HAVING count(*) > 1").await;
    none(store, &mut faults, "doubled", "SELECT referring_host FROM visits WHERE referring_host IS NOT NULL GROUP BY referring_host HAVING count(*) > 1").await;

    // Every effect of a signal is one event, and every event about a person or reward the effect of a signal.
    let mut balance: BTreeMap<(String, String), i64> = BTreeMap::new();
    for effects in rows(store, "SELECT effects FROM signals", |row| row.get::<String>(0)).await {
        for effect in serde_json::from_str::<Vec<Value>>(&effects).unwrap() {
            let of = |name: &str| effect[name].as_str().unwrap_or_default().to_owned();
            *balance.entry((of("kind"), of("id"))).or_default() += 1;
        }
    }
    for (kind, body) in rows(store, "SELECT type, body FROM events", |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?))).await {
        let data: Value = serde_json::from_str(&body).unwrap();
        let about = match kind.split('.').next().unwrap_or_default() {
            "reward" if data["reward"].is_object() => "reward",
            "conversion" if data["conversion"].is_object() => "conversion",
            "lead" => "lead",
            "referrer" => "referrer",
            _ => continue,
        };
        *balance.entry((kind, data[about]["id"].as_str().unwrap_or_default().to_owned())).or_default() -= 1;
    }
    for ((kind, id), difference) in balance {
        let counted = ["reward.", "conversion.", "lead.", "referrer."].iter().any(|prefix| kind.starts_with(prefix));
        faults.check(difference == 0 || !counted || kind == "reward.skipped" || kind == "conversion.ignored", "events", || {
            format!("{kind} of {id}: {difference} more effects than events")
        });
    }

    // Sums.
    // A reward that was reversed can fall due once more. What its earlier lives paid out has left the budget too.
    let sum = "SELECT CAST(b.period AS text) || ': ' || CAST(b.used_minor AS text) FROM budgets b WHERE b.used_minor <>
        (SELECT coalesce(sum(r.amount_minor), 0) FROM rewards r WHERE r.space = b.space AND r.campaign_id = b.campaign_id AND r.currency = b.currency AND r.budget_period = b.period)
        - (SELECT coalesce(sum(e.amount_minor), 0) FROM reward_entries e WHERE e.space = b.space AND e.amount_minor < 0)
        - (SELECT coalesce(sum(r.reversed_minor), 0) FROM rewards r WHERE r.space = b.space)";
    none(store, &mut faults, "budget", sum).await;
    none(store, &mut faults, "budget", "SELECT 'overspent' FROM budgets WHERE used_minor > 3000000 OR used_minor < 0").await;
    let counts = "SELECT p.email FROM participants p WHERE p.leads <> (SELECT count(*) FROM participants l WHERE l.space = p.space AND l.referrer_id = p.id)
        OR p.qualified_leads <> (SELECT count(*) FROM participants l WHERE l.space = p.space AND l.referrer_id = p.id AND l.lead_status = 'qualified')";
    none(store, &mut faults, "counts", counts).await;
    let history = "SELECT r.kind || ' for ' || r.cause || ', ' || r.state FROM rewards r WHERE r.state <> (SELECT e.state FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id ORDER BY e.n DESC LIMIT 1)
        OR (SELECT count(*) FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id) <> (SELECT max(e.n) FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id)
        OR NOT EXISTS (SELECT 1 FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id)
        OR r.reversed_minor <> (SELECT -coalesce(sum(e.amount_minor), 0) FROM reward_entries e WHERE e.space = r.space AND e.reward_id = r.id AND e.amount_minor < 0
            AND e.n > (SELECT max(d.n) FROM reward_entries d WHERE d.space = r.space AND d.reward_id = r.id AND d.state = 'due'))
        OR r.reversed_minor > r.amount_minor";
    none(store, &mut faults, "history", history).await;
    none(store, &mut faults, "refunds", "SELECT external_id FROM conversions WHERE refunded_minor > amount_minor OR refunded_minor < 0").await;

    // The roll-ups are the raw counts.
    for (metric, plus, minus) in [
        ("leads", "lead.created", ""),
        ("qualified", "lead.qualified", "lead.unqualified"),
        ("conversions", "conversion.recorded", ""),
        ("rewards_due", "reward.due", ""),
        ("rewarded", "reward.issued", "reward.reversed"),
    ] {
        let of = |found: Vec<(String, i64)>, name: &str| found.iter().find(|(kind, _)| kind == name).map_or(0, |(_, n)| *n);
        let read = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get::<i64>(1)?));
        let events = rows(store, "SELECT type, CAST(sum(count) AS bigint) FROM events GROUP BY type", read).await;
        let daily = rows(store, "SELECT metric, CAST(sum(count) AS bigint) FROM statistics_daily GROUP BY metric", read).await;
        let (raw, rolled) = (of(events.clone(), plus) - of(events, minus), of(daily, metric));
        faults.check(raw == rolled, "statistics", || format!("{metric}: {raw} events, {rolled} in the roll-up"));
    }
    let of_referrers = "SELECT 'a referrer' FROM statistics_referrers s WHERE
        visits <> (SELECT count(*) FROM visits v WHERE v.space = s.space AND v.participant_id = s.participant_id AND NOT v.bot)
        OR qualified <> (SELECT coalesce(sum(CASE type WHEN 'lead.qualified' THEN count ELSE -count END), 0) FROM events e
            WHERE e.space = s.space AND e.referrer_id = s.participant_id AND type IN ('lead.qualified', 'lead.unqualified'))";
    none(store, &mut faults, "statistics", of_referrers).await;
    let visits = "SELECT 'visits' FROM (SELECT (SELECT count(*) FROM visits WHERE NOT bot) AS raw,
        (SELECT coalesce(sum(count), 0) FROM statistics_daily WHERE metric = 'visits') AS rolled) AS counts WHERE raw <> rolled";
    none(store, &mut faults, "statistics", visits).await;

    // Visits: none is lost but those of the last moment before a kill.
    let kept: BTreeSet<String> =
        rows(store, "SELECT referring_host FROM visits WHERE referring_host IS NOT NULL", |row| row.get::<String>(0)).await.into_iter().collect();
    // It waits for its turn, for the commit that is being made, and for its own.
    let at_risk = VISIT_AT_RISK.max(VISIT_AT_RISK / 2 + 2 * outcome.pulse);
    for visit in outcome.visits.iter().filter(|visit| !kept.contains(&visit.host)) {
        // The answer may have been read when the server was dead already.
        let kill = outcome.kills.iter().find(|(_, again)| *again >= visit.at);
        let age = kill.map_or(Duration::MAX, |(kill, _)| kill.saturating_duration_since(visit.at));
        // Visits wait in memory while the database is away; a kill before they could be written takes them along.
        let waited = |(away, back): &(Instant, Instant)| visit.at + at_risk >= *away && kill.is_some_and(|(kill, _)| *kill <= *back + at_risk + VISITS_RETRY);
        if outcome.outages.iter().any(waited) {
            continue;
        }
        faults.check(age <= at_risk, "visits", || format!("{} was answered {age:?} before the kill and is lost; at most {at_risk:?} are at risk", visit.host));
    }

    if store.engine() == goodword_store::Engine::Sqlite {
        let found = rows(store, "PRAGMA integrity_check", |row| row.get::<String>(0)).await;
        faults.check(found == ["ok"], "integrity", || format!("{found:?}"));
    }
    faults.0
}

// ---------------------------------------------------------------- the oracle sees

/// A fault put in by hand, and the rule that must find it.
const SABOTAGE: &[(&str, &str)] = &[
    ("signals", "DELETE FROM signals WHERE id IN (SELECT signal_id FROM conversions LIMIT 1)"),
    ("conversions", "DELETE FROM conversions WHERE external_id = (SELECT max(external_id) FROM conversions)"),
    ("events", "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events WHERE type = 'reward.due')"),
    ("budget", "UPDATE budgets SET used_minor = used_minor + 1"),
    ("counts", "UPDATE participants SET leads = leads + 1 WHERE no = (SELECT min(no) FROM participants)"),
    ("history", "DELETE FROM reward_entries WHERE n = 1"),
    ("refunds", "UPDATE conversions SET refunded_minor = amount_minor + 1 WHERE external_id = (SELECT min(external_id) FROM conversions)"),
    ("statistics", "UPDATE statistics_daily SET count = count + 1 WHERE metric = 'leads'"),
    ("visits", "DELETE FROM visits WHERE seq % 2 = 0"),
];

struct Sabotage(&'static str);

impl Command for Sabotage {
    type Output = u64;
    type Error = goodword_store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> goodword_store::Result<u64> {
        tx.execute(self.0, &[]).await
    }
}

async fn open(setup: &Setup) -> Store {
    Store::open(Options::new(setup.url(), goodword::engine::MIGRATIONS)).await.unwrap()
}

/// Nothing is wrong; and where something is made wrong, it is found.
fn judge(setup: &Setup, outcome: &Outcome) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(setup).await;
        let faults = oracle(&store, outcome).await;
        assert!(faults.is_empty(), "{} faults, the first of them: {:#?}", faults.len(), &faults[..faults.len().min(20)]);
        for (rule, sabotage) in SABOTAGE {
            assert!(store.write(Sabotage(sabotage)).await.unwrap() > 0, "there is something to spoil: {sabotage}");
            let found = oracle(&store, outcome).await;
            assert!(found.iter().any(|fault| fault.starts_with(&format!("{rule}:"))), "the oracle is blind for {rule}: {found:?}");
        }
        store.close().await.unwrap();
    });
}

fn is_enough(outcome: &Outcome) {
    let done = outcome.told.iter().filter(|told| told.answer.status < 300).count();
    assert!(done >= 50 && outcome.visits.len() >= 50, "the run was too short to show anything: {done} writes");
}

#[test]
fn nothing_is_lost_or_doubled_when_the_server_is_killed_on_sqlite() {
    let mut data = tempfile::tempdir().unwrap();
    data.disable_cleanup(std::env::var_os("GOODWORD_CRASH_KEEP").is_some());
    let setup = Setup::sqlite(data.path());
    let outcome = run(&setup, None);
    is_enough(&outcome);
    judge(&setup, &outcome);
}

#[test]
fn nothing_is_lost_or_doubled_when_the_server_or_postgresql_is_killed() {
    let Some(postgres) = goodword_testkit::OwnPostgres::start() else { return };
    let data = tempfile::tempdir().unwrap();
    let setup = Setup { data: data.path().to_owned(), database_url: Some(postgres.url()) };
    let outcome = run(&setup, Some(&|| postgres.crash()));
    is_enough(&outcome);
    judge(&setup, &outcome);
}
