//! A referral link that leads straight on, its visit recorded.

use super::{Sizes, count, per_op_us};
use crate::{
    limit::Constant,
    load::{Load, Outcome, Question},
    report::{Figure, median},
    server::{Engine, Home, Server},
    world::{World, code, scattered},
};
use std::{sync::Arc, time::Duration};

const REFERRERS: u64 = 50_000;
const CLIENTS: usize = 32;
/// Server and generator do not take each other's core.
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;

/// A browser that has never been here.
fn visit() -> Question {
    Arc::new(|number| {
        let code = code(1 + scattered(number, REFERRERS));
        format!(
            "GET /{} HTTP/1.1\r\nhost: localhost\r\nuser-agent: Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1\r\nreferer: https://social.example.com/\r\naccept: text/html,*/*;q=0.8\r\naccept-language: en\r\n\r\n",
            code.as_str()
        )
    })
}

fn load(address: std::net::SocketAddr, lasts: Duration, numbers: std::ops::Range<u64>) -> Load {
    Load { address, question: visit(), clients: CLIENTS, lasts, rate: None, core: Some(GENERATOR_CORE), numbers }
}

pub fn measure(sizes: &Sizes) -> Vec<Figure> {
    let home = Home::new(Engine::Sqlite).expect("a folder");
    let (_, server) = World::make(&home, REFERRERS, 0);
    server.stop();
    let server = Server::start(&home, Some(SERVER_CORE));
    let constant = Constant::start(home.folder(), SERVER_CORE);
    // Each code once, as a running server has seen its links before.
    let warm = load(server.address, Duration::from_secs(600), 0..REFERRERS).run();
    assert_eq!(warm.failed, 0, "{:?}", warm.first_failure);

    let mut visits = warm.done;
    let mut rounds: Vec<(Outcome, f64, Outcome, f64)> = Vec::new();
    for _ in 0..sizes.rounds.max(3) {
        let cpu = constant.cpu();
        let limit = load(constant.address, sizes.lasts, 0..u64::MAX).run();
        let limit_cpu_us = per_op_us(constant.cpu() - cpu, limit.done);
        let cpu = server.cpu();
        let ours = load(server.address, sizes.lasts, 0..u64::MAX).run();
        assert_eq!(ours.failed, 0, "{:?}", ours.first_failure);
        // The recorder's last batch belongs to it.
        std::thread::sleep(Duration::from_millis(100));
        let cpu_us = per_op_us(server.cpu() - cpu, ours.done);
        visits += ours.done;
        rounds.push((ours, cpu_us, limit, limit_cpu_us));
        // What is rolled up, is rolled up before the next round.
        std::thread::sleep(Duration::from_secs(3));
    }
    server.stop();
    assert_eq!(count(&home, "SELECT count(*) FROM visits"), visits as i64, "an answer without its visit");

    let pick = |value: fn(&(Outcome, f64, Outcome, f64)) -> f64| median(rounds.iter().map(value).collect());
    let (cpu_us, limit_cpu_us) = (pick(|round| round.1), pick(|round| round.3));
    let rate = pick(|round| round.0.per_second());
    let figures = vec![
        Figure {
            cpu_us: Some(cpu_us),
            limit_cpu_us: Some(limit_cpu_us),
            p50_ms: Some(pick(|round| round.0.ms(50.0))),
            p99_ms: Some(pick(|round| round.0.ms(99.0))),
            ..Figure::new("redirect", "visit recorded, beside a constant redirect of the same HTTP stack", "/s", rate).at_least(
                pick(|round| round.2.per_second()),
                pick(|round| round.0.per_second() / round.2.per_second()),
                0.5,
            )
        },
        Figure::new("redirect", "processor time, beside the constant redirect", "µs", cpu_us).at_most(limit_cpu_us, pick(|round| round.1 / round.3), 2.2),
        killed(&home, sizes),
    ];
    figures
}

/// Visits that were answered and are gone after SIGKILL, in the worst of several kills.
fn killed(home: &Home, sizes: &Sizes) -> Figure {
    let mut worst_ms: f64 = 0.0;
    for round in 0..if sizes.quick { 3 } else { 10 } {
        let before = count(home, "SELECT count(*) FROM visits");
        let server = Server::start(home, Some(SERVER_CORE));
        let load = load(server.address, Duration::from_secs(60), 0..u64::MAX);
        let running = std::thread::spawn(|| load.run());
        std::thread::sleep(Duration::from_millis(900 + 37 * round));
        server.kill();
        let ours = running.join().expect("the generator");
        let kept = count(home, "SELECT count(*) FROM visits") - before;
        let lost = ours.done as f64 - kept as f64;
        worst_ms = worst_ms.max(lost / ours.per_second() * 1000.0);
    }
    Figure::new("redirect", "visits lost by SIGKILL, as time, the worst of several", "ms", worst_ms).below(50.0)
}
