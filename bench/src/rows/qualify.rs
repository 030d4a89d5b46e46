//! Durable qualification through the whole HTTP path.

use super::{Sizes, count, per_op_us};
use crate::{
    limit::{Reached, run_pgbench, run_writer},
    load::{Load, Outcome},
    mirror::Mirror,
    report::{Figure, median},
    server::{Engine, Home, Server, block_on},
    world::{World, scattered},
};
use goodword_core::ids::LeadId;

/// The lead whose qualification is the sample of what one writes.
pub const SAMPLE: u64 = 0;

/// Qualifies one lead, and learns from the database what that has written.
pub fn sample(home: &Home, world: &World, server: &Server) -> Mirror {
    let lead = LeadId::from_uuid(crate::world::lead_id(SAMPLE)).to_string();
    let body = serde_json::json!({"lead_id": lead, "qualified": true, "external_id": "order-000000000000"});
    let answer = server.json("POST", "/v1/qualifications", &world.key, Some(&body));
    assert_eq!(answer["qualified"], true, "{answer}");
    block_on(async {
        let options = goodword_store::Options { read_only: true, ..goodword_store::Options::new(home.url(), goodword::engine::MIGRATIONS) };
        let store = goodword_store::Store::open(options).await.expect("the database");
        let mirror = Mirror::sample(&store, world, SAMPLE).await;
        store.close().await.expect("close");
        mirror
    })
}

/// What a run of the generator reached, with the server's processor time.
pub fn run(server: &Server, world: &World, clients: usize, lasts: std::time::Duration, rate: Option<f64>, from: u64) -> (Outcome, f64) {
    let cpu = server.cpu();
    let load = Load { address: server.address, question: world.qualification(), clients, lasts, rate, core: None, numbers: from..world.leads };
    let outcome = load.run();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.first_failure);
    let cpu_us = per_op_us(server.cpu() - cpu, outcome.done);
    // The roll-ups of what was written belong to the next second, not to the next round.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    (outcome, cpu_us)
}

/// Counts what is in the books: each answer must have left its reward there.
fn verify(home: &Home, expected: u64) {
    assert_eq!(count(home, "SELECT count(*) FROM rewards"), expected as i64, "an answer without its reward, or a reward without an answer");
}

pub fn sqlite(sizes: &Sizes) -> Vec<Figure> {
    let home = Home::new(Engine::Sqlite).expect("a folder");
    let (world, server) = World::make(&home, sizes.leads / 10, sizes.leads);
    let (rows, bytes) = sample(&home, &world, &server).size();
    eprintln!("one qualification writes {rows} rows, {bytes} bytes");
    server.stop();
    let [copy, unchanged] = ["limit.db", "sample.db"].map(|name| home.folder().join(name));
    for path in [&copy, &unchanged] {
        std::fs::copy(home.file(), path).expect("a copy");
    }
    let server = Server::start(&home, None);

    let mut figures = Vec::new();
    let (mut from, mut limit_from, mut done) = (first_fresh(&world), 1, 1);
    let mut best: f64 = 0.0;
    for clients in [32, 64, 256] {
        let mut rounds: Vec<(Outcome, f64, Reached)> = Vec::new();
        for _ in 0..sizes.rounds {
            let limit = run_writer(&copy, &unchanged, clients, sizes.lasts, limit_from, &world);
            limit_from += limit.done + clients as u64;
            let (ours, cpu_us) = run(&server, &world, clients, sizes.lasts, None, from);
            (from, done) = (ours.next, done + ours.done);
            rounds.push((ours, cpu_us, limit));
        }
        let pick = |value: fn(&(Outcome, f64, Reached)) -> f64| median(rounds.iter().map(value).collect());
        best = best.max(pick(|round| round.0.per_second()));
        figures.push(Figure {
            cpu_us: Some(pick(|round| round.1)),
            limit_cpu_us: Some(pick(|round| round.2.cpu_us)),
            p50_ms: Some(pick(|round| round.0.ms(50.0))),
            p99_ms: Some(pick(|round| round.0.ms(99.0))),
            ..Figure::new("qualify", format!("SQLite, {clients} clients, beside a bare group-commit writer"), "/s", pick(|round| round.0.per_second()))
                .at_least(pick(|round| round.2.per_second), pick(|round| round.0.per_second() / round.2.per_second), 0.5)
        });
    }
    // Nothing of the limit may be under way, or held in memory, beside what is not measured against it.
    for path in [&copy, &unchanged] {
        std::fs::remove_file(path).expect("the copy");
    }
    assert!(std::process::Command::new("sync").status().is_ok_and(|ended| ended.success()), "sync");
    figures.extend(half_of_peak(&server, &world, "SQLite", best, sizes, &mut from, &mut done));
    server.stop();
    verify(&home, done);
    figures
}

/// Rounds of the open loop for one of the others: a machine that is shared has moments in which everything takes three
/// times as long, and one of them is most of a hundredth.
const OPEN_LOOPS: usize = 3;

/// Open loop at half of what was reached, so that nobody who is late hides behind somebody who waits.
fn half_of_peak(server: &Server, world: &World, engine: &str, best: f64, sizes: &Sizes, from: &mut u64, done: &mut u64) -> Vec<Figure> {
    let rounds: Vec<_> = (0..sizes.rounds * OPEN_LOOPS)
        .map(|_| {
            let (ours, cpu_us) = run(server, world, 128, sizes.lasts, Some(best / 2.0), *from);
            (*from, *done) = (ours.next, *done + ours.done);
            (ours, cpu_us)
        })
        .collect();
    let pick = |value: fn(&(Outcome, f64)) -> f64| median(rounds.iter().map(value).collect());
    let p99 = pick(|round| round.0.ms(99.0));
    vec![Figure {
        cpu_us: Some(pick(|round| round.1)),
        p50_ms: Some(pick(|round| round.0.ms(50.0))),
        p99_ms: Some(p99),
        ..Figure::new("qualify", format!("{engine}, p99 in an open loop at half of that ({:.0}/s)", best / 2.0), "ms", p99).below(10.0)
    }]
}

/// The sample has taken number 0 of the order in which leads are asked for.
fn first_fresh(world: &World) -> u64 {
    (0..world.leads).find(|number| scattered(*number, world.leads) == SAMPLE).map_or(0, |number| number + 1)
}

pub fn postgres(sizes: &Sizes) -> Vec<Figure> {
    let Some(home) = Home::new(Engine::Postgres) else { return Vec::new() };
    let (world, server) = World::make(&home, sizes.leads / 10, sizes.leads);
    let script = sample(&home, &world, &server).script(&world);
    let world = World { leads: world.leads / 2, ..world };
    let (mut from, mut done) = (first_fresh(&world), 1);

    // Its best count of clients, which depends on the machine.
    let short = sizes.lasts / 2;
    let tried: Vec<_> = [8, 16, 32, 64].into_iter().map(|clients| (clients, run_pgbench(&home, &script, clients, short))).collect();
    let (best_clients, _) = tried.iter().max_by(|a, b| a.1.per_second.total_cmp(&b.1.per_second)).expect("one");
    let mut limit_done: u64 = tried.iter().map(|(_, reached)| reached.done).sum();
    let mut figures = Vec::new();
    let mut best: f64 = 0.0;
    for clients in [32, 64, 256] {
        let mut rounds: Vec<(Outcome, f64, Reached)> = Vec::new();
        for _ in 0..sizes.rounds {
            let limit = run_pgbench(&home, &script, *best_clients, sizes.lasts);
            limit_done += limit.done;
            let (ours, cpu_us) = run(&server, &world, clients, sizes.lasts, None, from);
            (from, done) = (ours.next, done + ours.done);
            rounds.push((ours, cpu_us, limit));
        }
        let pick = |value: fn(&(Outcome, f64, Reached)) -> f64| median(rounds.iter().map(value).collect());
        best = best.max(pick(|round| round.0.per_second()));
        figures.push(Figure {
            cpu_us: Some(pick(|round| round.1)),
            limit_cpu_us: Some(pick(|round| round.2.cpu_us)),
            p50_ms: Some(pick(|round| round.0.ms(50.0))),
            p99_ms: Some(pick(|round| round.0.ms(99.0))),
            ..Figure::new(
                "postgres",
                format!("PostgreSQL, {clients} clients, beside pgbench with its best {best_clients}"),
                "/s",
                pick(|round| round.0.per_second()),
            )
            .at_least(pick(|round| round.2.per_second), pick(|round| round.0.per_second() / round.2.per_second), 1.0)
        });
    }
    figures.extend(half_of_peak(&server, &world, "PostgreSQL", best, sizes, &mut from, &mut done));
    server.stop();
    verify(&home, done + limit_done);
    figures
}
