//! Webhooks from end to end: a request comes in, is committed, is told signed to every endpoint, and what came
//! of it is recorded.

use super::{Sizes, count, per_op_us};
use crate::{
    limit::Reached,
    load::Load,
    push::{Sink, run_push},
    report::{Figure, median},
    server::{Engine, Home, Server},
    world::World,
};
use serde_json::json;
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
/// As many as one endpoint is called with at once, by default.
const CONNECTIONS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(180);

pub fn sqlite(sizes: &Sizes) -> Vec<Figure> {
    measure(Engine::Sqlite, "SQLite", sizes, [0.08, 0.2], 0.15)
}

pub fn postgres(sizes: &Sizes) -> Vec<Figure> {
    measure(Engine::Postgres, "PostgreSQL", sizes, [0.04, 0.1], 0.35)
}

/// What one round reached.
struct Round {
    per_second: f64,
    /// Processor time for a delivery, with its share of the request that gave cause for it.
    cpu_us: f64,
    limit: Reached,
}

struct Bench<'a> {
    home: &'a Home,
    world: &'a World,
    server: &'a Server,
    sink: &'a mut Sink,
    endpoints: u64,
    /// Events that a request gives cause for: each endpoint is told of all.
    events: u64,
    /// The next lead that was not qualified yet.
    from: u64,
}

fn measure(engine: Engine, name: &str, sizes: &Sizes, goals: [f64; 2], cpu_goal_ms: f64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (endpoints, goal) in [1, 5].into_iter().zip(goals) {
        let Some(home) = Home::new(engine) else { return figures };
        let (world, server) = World::make(&home, 2_000, sizes.leads / 2);
        let mut sink = Sink::start();
        let mut bench = Bench { home: &home, world: &world, server: &server, sink: &mut sink, endpoints: 0, events: 0, from: 0 };
        // What the requests cost of which nobody is told.
        let (intake, intake_cpu_us) = bench.intake(sizes.lasts);
        bench.register(endpoints);
        let bytes = bench.look_at_events();
        let rounds: Vec<Round> = (0..sizes.rounds)
            .map(|_| {
                let limit = run_push(bench.sink.address, bytes, CONNECTIONS * endpoints as usize, sizes.lasts);
                bench.round(sizes.lasts, limit)
            })
            .collect();
        let pick = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let (rate, cpu_us) = (pick(|round| round.per_second), pick(|round| round.cpu_us));
        let events = bench.events;
        let what = format!("{name}, {endpoints} endpoint(s), {events} events a request, request to recorded attempt, beside a bare signed push");
        figures.push(Figure {
            cpu_us: Some(cpu_us),
            limit_cpu_us: Some(pick(|round| round.limit.cpu_us)),
            ..Figure::new("webhooks", what, "/s", rate).at_least(
                pick(|round| round.limit.per_second),
                pick(|round| round.per_second / round.limit.per_second),
                goal,
            )
        });
        let what = format!(
            "{name}, {endpoints} endpoint(s), processor time of a delivery with its share of the request ({intake:.0}/s at {intake_cpu_us:.0} µs alone)"
        );
        figures.push(Figure::new("webhooks", what, "ms", cpu_us / 1e3).below(cpu_goal_ms));
        let alone = cpu_us - intake_cpu_us / (endpoints * events) as f64;
        figures.push(Figure::new("webhooks", format!("{name}, {endpoints} endpoint(s), of which is the delivery"), "µs", alone));
        let drained = bench.drain(sizes.lasts);
        let what = format!("{name}, {endpoints} endpoint(s), backlog of an outage while requests go on, beside the rate without one");
        figures.push(Figure::new("webhooks", what, "/s", drained).at_least(rate, drained / rate, 0.5));
        server.stop();
    }
    figures
}

impl Bench<'_> {
    fn register(&mut self, endpoints: u64) {
        for n in 0..endpoints {
            let body = json!({"url": format!("http://{}/{n}", self.sink.address)});
            self.server.json("POST", "/v1/endpoints", &self.world.key, Some(&body));
        }
        self.endpoints = endpoints;
    }

    /// Learns from the last request how many events one gives cause for. Answers their mean size.
    fn look_at_events(&mut self) -> usize {
        let list = self.server.json("GET", "/v1/events?limit=10", &self.world.key, None);
        let newest = list["data"].as_array().expect("events");
        let told: Vec<_> = newest.iter().filter(|event| event["data"]["lead"]["id"] == newest[0]["data"]["lead"]["id"]).collect();
        self.events = told.len() as u64;
        told.iter().map(|event| event.to_string().len()).sum::<usize>() / told.len()
    }

    fn load(&mut self, lasts: Duration) -> u64 {
        let load = Load {
            address: self.server.address,
            question: self.world.qualification(),
            clients: CLIENTS,
            lasts,
            rate: None,
            core: None,
            numbers: self.from..self.world.leads,
        };
        let outcome = load.run();
        assert_eq!(outcome.failed, 0, "{:?}", outcome.first_failure);
        self.from = outcome.next;
        outcome.done
    }

    /// Requests alone: their rate, and what each costs.
    fn intake(&mut self, lasts: Duration) -> (f64, f64) {
        let (begun, cpu) = (Instant::now(), self.server.cpu());
        let done = self.load(lasts);
        (done as f64 / begun.elapsed().as_secs_f64(), per_op_us(self.server.cpu() - cpu, done))
    }

    fn round(&mut self, lasts: Duration, limit: Reached) -> Round {
        let (before, begun, cpu) = (self.sink.taken(), Instant::now(), self.server.cpu());
        let done = self.load(lasts) * self.endpoints * self.events;
        self.wait(before + done, begun);
        let (took, cpu) = (begun.elapsed(), self.server.cpu() - cpu);
        assert_eq!(self.sink.taken(), before + done, "nothing twice");
        Round { per_second: done as f64 / took.as_secs_f64(), cpu_us: per_op_us(cpu, done), limit }
    }

    /// Until so many have arrived, and all that is recorded.
    fn wait(&mut self, taken: u64, begun: Instant) {
        let mut all_there = || self.sink.taken() >= taken && count(self.home, "SELECT count(*) FROM deliveries WHERE state = 'due'") == 0;
        while !all_there() {
            assert!(begun.elapsed() < DEADLINE, "deliveries are missing");
            std::thread::sleep(Duration::from_millis(5));
        }
        let tries = count(
            self.home,
            "SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.space = d.space AND a.delivery_id = d.id)",
        );
        assert_eq!(tries, 0, "each has its attempt");
    }

    /// The receivers refuse for a while, and take everything again while requests go on. The rate at which they
    /// get it, from the first one.
    fn drain(&mut self, lasts: Duration) -> f64 {
        let before = self.sink.taken();
        self.sink.fail(true);
        let missed = self.load(lasts * 2) * self.endpoints * self.events;
        self.sink.fail(false);
        // The endpoints are probed now and then.
        let waiting = Instant::now();
        while self.sink.taken() == before {
            assert!(waiting.elapsed() < DEADLINE, "nobody is told again");
            std::thread::sleep(Duration::from_millis(1));
        }
        let begun = Instant::now();
        let more = self.load(lasts / 2) * self.endpoints * self.events;
        self.wait(before + missed + more, begun);
        (missed + more) as f64 / begun.elapsed().as_secs_f64()
    }
}
