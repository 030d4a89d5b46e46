//! What grows with the number of people, and what must not: cost, memory, time to start.

use super::{Sizes, qualify};
use crate::{
    machine,
    report::{Figure, median},
    server::{Engine, Home, Server},
    world::World,
};
use std::time::Duration;

/// As many as a small world has to give.
const QUALIFICATIONS: u64 = 9_000;
const CLIENTS: usize = 64;

pub fn measure(sizes: &Sizes) -> Vec<Figure> {
    let mut figures = empty(sizes);
    let home = Home::new(Engine::Sqlite).expect("a folder");
    let (large, server) = World::make(&home, 500_000, 500_000);
    server.stop();
    let (_, ready_ms) = starts(&home, sizes);
    figures.push(Figure::new("scale", "ready with 1,000,000 participants", "ms", ready_ms).below(500.0));
    let server = Server::start(&home, None);

    let mut from = 0;
    let (mut small_us, mut large_us) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds.max(3) {
        let small_home = Home::new(Engine::Sqlite).expect("a folder");
        let (small, small_server) = World::make(&small_home, 1_000, QUALIFICATIONS);
        small_us.push(cost(&small_server, &small, 0));
        small_server.stop();
        large_us.push(cost(&server, &large, from));
        from += QUALIFICATIONS;
    }
    let ratio = median(small_us.iter().zip(&large_us).map(|(small, large)| large / small).collect());
    figures.push(Figure::new("scale", "processor time of a qualification among 1,000,000 people, beside among 10,000", "µs", median(large_us)).at_most(
        median(small_us),
        ratio,
        1.5,
    ));
    let load = qualify::run(&server, &large, 256, sizes.lasts, None, from).0;
    let (_, highest) = machine::memory(server.pid());
    figures.push(
        Figure::new("scale", format!("highest memory with 1,000,000 participants, 256 clients at {:.0}/s", load.per_second()), "MiB", highest).below(150.0),
    );
    figures
}

fn cost(server: &Server, world: &World, from: u64) -> f64 {
    let cpu = server.cpu();
    let load = crate::load::Load {
        address: server.address,
        question: world.qualification(),
        clients: CLIENTS,
        lasts: Duration::from_secs(60),
        rate: None,
        core: None,
        numbers: from..from + QUALIFICATIONS,
    };
    let done = load.run();
    assert_eq!(done.failed, 0, "{:?}", done.first_failure);
    // The roll-ups are part of the cost.
    std::thread::sleep(Duration::from_secs(2));
    super::per_op_us(server.cpu() - cpu, done.done)
}

/// Idle memory and the time to be ready, in MiB and ms, each the median of several starts.
fn starts(home: &Home, sizes: &Sizes) -> (f64, f64) {
    let (mut idle, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds.max(3) {
        let server = Server::start(home, None);
        std::thread::sleep(Duration::from_secs(2));
        idle.push(machine::memory(server.pid()).0);
        ready.push(server.ready_after.as_secs_f64() * 1000.0);
        server.stop();
    }
    (median(idle), median(ready))
}

fn empty(sizes: &Sizes) -> Vec<Figure> {
    let home = Home::new(Engine::Sqlite).expect("a folder");
    let first = Server::start(&home, None);
    let first_ms = first.ready_after.as_secs_f64() * 1000.0;
    first.stop();
    let (idle, ready_ms) = starts(&home, sizes);
    let home = Home::new(Engine::Sqlite).expect("a folder");
    let (world, server) = World::make(&home, sizes.leads / 10, sizes.leads);
    let load = qualify::run(&server, &world, 256, sizes.lasts, None, 0).0;
    let (_, highest) = machine::memory(server.pid());
    vec![
        Figure::new("scale", "idle memory", "MiB", idle).below(30.0),
        Figure::new("scale", format!("highest memory, 256 clients at {:.0}/s", load.per_second()), "MiB", highest).below(120.0),
        Figure::new("scale", "ready, the very first start (makes the database)", "ms", first_ms),
        Figure::new("scale", "ready, empty", "ms", ready_ms).below(150.0),
    ]
}
