//! Statistics over much that has happened.

use super::{Sizes, count};
use crate::{
    load::{Connection, percentile_ms, request},
    machine::now_ms,
    report::Figure,
    server::{Engine, Home, Server, block_on},
    world::{Grown, World, lead_id, referrer_id, scattered},
};
use goodword_core::time::{DAY_MS, Timestamp};
use goodword_store::Value;
use std::time::{Duration, Instant};
use uuid::Uuid;

const DAYS: u64 = 90;
const SOURCES: [&str; 5] = ["link", "whatsapp", "email", "qr", "facebook"];
const CHUNK: u64 = 10_000;
const ASKED: usize = 300;

pub fn measure(sizes: &Sizes) -> Vec<Figure> {
    [Engine::Sqlite, Engine::Postgres].into_iter().flat_map(|engine| on(engine, sizes)).collect()
}

fn on(engine: Engine, sizes: &Sizes) -> Vec<Figure> {
    let (visits, leads) = if sizes.quick { (1_000_000, 100_000) } else { (10_000_000, 1_000_000) };
    let Some(small_home) = Home::new(engine) else { return Vec::new() };
    let home = Home::new(engine).expect("a database");
    let small = busy(&small_home, 10_000, 1_000);
    let large = busy(&home, visits, leads);
    let mut figures = vec![Figure::new("statistics", format!("{engine:?}, rolled up of {visits} visits and {leads} leads"), "/s", large.rolled_up_per_second)];
    for (name, path) in questions(&large.world) {
        let small_path = questions(&small.world).into_iter().find(|(same, _)| *same == name).map(|(_, path)| path).expect("the same question");
        let before = ask(&small, &small_path);
        let after = ask(&large, &path);
        let p50 = percentile_ms(&after, 50.0);
        figures.push(Figure {
            p50_ms: Some(p50),
            p99_ms: Some(percentile_ms(&after, 99.0)),
            ..Figure::new("statistics", format!("{engine:?}, {name}: p99"), "ms", percentile_ms(&after, 99.0)).below(25.0)
        });
        let growth = p50 / percentile_ms(&before, 50.0);
        figures.push(Figure::new("statistics", format!("{engine:?}, {name}: p50, beside 10,000 visits"), "ms", p50).at_most(
            percentile_ms(&before, 50.0),
            growth,
            3.0,
        ));
    }
    figures.push(same_as_raw(engine, &home, &large));
    figures
}

struct Busy {
    world: World,
    server: Server,
    rolled_up_per_second: f64,
}

/// A world in which much has happened in the last 90 days; loaded as rows, and rolled up
/// by the product.
fn busy(home: &Home, visits: u64, leads: u64) -> Busy {
    let (world, server) = World::make(home, 10_000.min(leads), leads);
    // One real visit is the mould of all others.
    let (status, _) = server.ask("GET", &format!("/{}", world.code(false, 0).as_str()), None, None);
    assert_eq!(status, 302);
    std::thread::sleep(Duration::from_millis(200));
    server.stop();
    block_on(async {
        let store = home.store().await;
        let now = now_ms();
        let mould = Grown::new(&store, "visits").await;
        let row = mould.row(|_| true);
        let at = |i: u64| Value::Int(now - (scattered(i, DAYS * 1000) as i64) * (DAY_MS / 1000));
        for from in (0..visits).step_by(CHUNK as usize) {
            let rows = (from..(from + CHUNK).min(visits)).map(|i| {
                let mut row = row.clone();
                row.insert("seq", Value::Int(1_000 + i as i64));
                row.insert("participant_id", Value::Id(referrer_id(i % world.referrers)));
                row.insert("at", at(i));
                row.insert("bot", Value::Bool(i % 10 == 0));
                row.insert("source", Value::Text(SOURCES[i as usize % SOURCES.len()].to_owned()));
                mould.values(row)
            });
            store.load(&mould.table, rows.collect()).await.expect("visits");
        }
        let mould = Grown::new(&store, "events").await;
        let row = mould.row(|row| row["type"] == Value::Text("lead.created".to_owned()));
        for from in (0..leads).step_by(CHUNK as usize) {
            let rows = (from..(from + CHUNK).min(leads)).map(|i| {
                let mut row = row.clone();
                row.insert("seq", Value::Int(1_000 + i as i64));
                row.insert("id", Value::Id(Uuid::from_u128(lead_id(i).as_u128() + (1 << 64))));
                row.insert("participant_id", Value::Id(lead_id(i)));
                row.insert("referrer_id", Value::Id(referrer_id(world.referrer_of(i))));
                row.insert("created_at", at(i));
                mould.values(row)
            });
            store.load(&mould.table, rows.collect()).await.expect("events");
        }
        store.reset_identities().await.expect("numbers go on");
        store.close().await.expect("close");
    });
    home.settle();
    let server = Server::start(home, None);
    let begun = Instant::now();
    server.json("GET", "/v1/statistics", &world.key, None);
    let rolled_up_per_second = (visits + leads) as f64 / begun.elapsed().as_secs_f64();
    // As autovacuum does within a minute: before, PostgreSQL knows nothing of what the roll-ups hold.
    home.settle();
    Busy { world, server, rolled_up_per_second }
}

fn questions(world: &World) -> Vec<(&'static str, String)> {
    let day = |ago: i64| Timestamp::from_ms(now_ms() - ago * DAY_MS).date();
    let campaign = &world.campaign;
    vec![
        ("funnel of 90 days", format!("/v1/statistics?campaign_id={campaign}&from={}T00:00:00Z", day(90))),
        ("funnel of everything", "/v1/statistics".to_owned()),
        ("30 days, day by day", format!("/v1/statistics/series?campaign_id={campaign}&from={}T00:00:00Z&by=day", day(30))),
        ("90 days, by source", format!("/v1/statistics/series?campaign_id={campaign}&from={}T00:00:00Z&by=source", day(90))),
        ("top 20 referrers", format!("/v1/statistics/referrers?campaign_id={campaign}&limit=20")),
        ("one referrer", format!("/v1/referrers/{}/statistics", World::referrer_name(7))),
        ("50 latest leads", format!("/v1/leads?campaign_id={campaign}&limit=50")),
    ]
}

/// Sorted times of one question after the other.
fn ask(busy: &Busy, path: &str) -> Vec<u32> {
    let text = request("GET", path, Some(&busy.world.key), None);
    block_on(async {
        let mut connection = Connection::open(busy.server.address).await.expect("connect");
        let mut took_us = Vec::new();
        for _ in 0..ASKED {
            let begun = Instant::now();
            let (status, body) = connection.ask(&text).await.expect("an answer");
            assert_eq!(status, 200, "{path}: {body}");
            took_us.push(begun.elapsed().as_micros() as u32);
        }
        took_us.sort_unstable();
        took_us
    })
}

/// The roll-ups say what counting says: in total, and on one day by source.
fn same_as_raw(engine: Engine, home: &Home, busy: &Busy) -> Figure {
    let told = busy.server.json("GET", "/v1/statistics", &busy.world.key, None);
    let visits = count(home, "SELECT count(*) FROM visits WHERE NOT bot");
    let bots = count(home, "SELECT count(*) FROM visits WHERE bot");
    let leads = count(home, "SELECT count(*) FROM events WHERE type = 'lead.created'");
    let mut differences = u32::from(told["visits"] != visits) + u32::from(told["bot_visits"] != bots) + u32::from(told["leads"] != leads);
    let today = now_ms() / DAY_MS;
    let day = Timestamp::from_ms((today - 7) * DAY_MS).date();
    let series = busy.server.json("GET", &format!("/v1/statistics/series?from={day}T00:00:00Z&to={day}T00:00:00Z&by=source"), &busy.world.key, None);
    for source in SOURCES {
        let from = (today - 7) * DAY_MS;
        let raw = count(home, &format!("SELECT count(*) FROM visits WHERE NOT bot AND source = '{source}' AND at >= {from} AND at < {}", from + DAY_MS));
        let group = series["data"].as_array().and_then(|groups| groups.iter().find(|group| group["key"] == source));
        differences += u32::from(group.map_or(0, |group| group["visits"].as_i64().unwrap_or(-1)) != raw);
    }
    Figure::new("statistics", format!("{engine:?}, sums that differ from the raw count, of 8"), "", differences.into()).below(0.0)
}
