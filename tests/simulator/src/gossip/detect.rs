//! How long it takes until a death is known, and how quiet gossip is without one.
//!
//! Decides what is measured. The figures are of virtual time: equal for equal seeds.

use zufar_core::membership::{Event, Liveness};

use super::check::converged;
use super::world::World;
use crate::random::Random;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It is killed: its host resets its connections.
    Kill,
    /// Its host is gone without a word.
    Vanish,
    /// It hangs.
    Hang,
}

/// `hosts` that have come to know each other.
///
/// # Panics
/// If they have not within half a minute.
#[must_use]
pub fn settled(hosts: usize, seed: u64) -> World {
    let mut world = World::new(hosts, 3.min(hosts), seed, false);
    for host in 0..hosts {
        world.start(host);
    }
    for _ in 0..300 {
        world.run_for(100);
        for host in 0..hosts {
            world.place(host, zufar_core::layout::LayoutState::Normal);
        }
        world.run_for(0);
        if converged(&world).is_ok() {
            return world;
        }
    }
    panic!(
        "{hosts} hosts do not come together: {:?}",
        converged(&world)
    );
}

/// How long it takes, in milliseconds, until the first and until all others know of a death.
///
/// # Panics
/// If somebody does not know after a minute.
#[must_use]
pub fn detection_ms(hosts: usize, death: Death, seed: u64) -> (u64, u64) {
    let mut world = settled(hosts, seed);
    let mut random = Random::new(seed);
    world.run_for(random.between(10_000, 20_000));
    let victim = random.below(hosts as u64) as usize;
    let guid = world.hosts[victim].guid;
    world.events.clear();
    let begun = world.time();
    if death == Death::Vanish {
        for other in 0..hosts {
            world.network.cut(victim, other, true);
            world.network.cut(other, victim, true);
        }
    }
    match death {
        Death::Kill | Death::Vanish => world.kill(victim),
        Death::Hang => world.pause(victim),
    }
    let known = |world: &World| {
        let others = world.hosts.iter().filter(|host| host.guid != guid);
        let mut views = others.filter_map(|host| host.process.as_ref());
        views.all(|process| {
            let member = process.membership.member(&guid);
            member.is_some_and(|member| member.liveness == Liveness::Down)
        })
    };
    while !known(&world) {
        assert!(world.time().millis_since(begun) < 60_000, "nobody notices");
        world.run_for(10);
    }
    let downs = world
        .events
        .iter()
        .filter_map(|(at, _, event)| match event {
            Event::Down(node) if node.guid == guid => Some(at.millis_since(begun)),
            _ => None,
        });
    let downs: Vec<u64> = downs.collect();
    let (first, last) = (downs.iter().min(), downs.iter().max());
    (*first.expect("somebody"), *last.expect("somebody"))
}

/// What was told and sent while nothing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Suspicions of all nodes.
    pub suspicions: u64,
    /// Deaths that any node was told of.
    pub deaths: u64,
    /// Bytes of datagrams that a node has sent in a second.
    pub datagram_bytes_per_s: u64,
    /// Bytes that a node has sent on streams in a second.
    pub stream_bytes_per_s: u64,
}

/// Lets `hosts` be for `for_ms` once they know each other.
#[must_use]
pub fn quiet(hosts: usize, for_ms: u64, seed: u64) -> Quiet {
    let mut world = settled(hosts, seed);
    let before = world.bytes_sent;
    for _ in 0..for_ms / 1000 {
        world.run_for(1000);
        world.events.clear();
    }
    let per_s = |bytes: u64| bytes * 1000 / for_ms / hosts as u64;
    let processes = world.hosts.iter().filter_map(|host| host.process.as_ref());
    processes.fold(
        Quiet {
            datagram_bytes_per_s: per_s(world.bytes_sent.0 - before.0),
            stream_bytes_per_s: per_s(world.bytes_sent.1 - before.1),
            ..Quiet::default()
        },
        |sum, process| Quiet {
            suspicions: sum.suspicions + process.suspicions,
            deaths: sum.deaths + process.deaths,
            ..sum
        },
    )
}
