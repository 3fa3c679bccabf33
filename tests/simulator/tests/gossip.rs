//! Gossip on virtual time: random runs, and what is promised of detection and quiet.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use zufar_core::membership::{Event, Input};
use zufar_simulator::gossip::check::converged;
use zufar_simulator::gossip::detect::{Death, Quiet, detection_ms, quiet, settled};
use zufar_simulator::gossip::plan::Fault;
use zufar_simulator::gossip::{Plan, Report, World, run};

/// Seeds that have failed once.
const OLD: [u64; 15] = [
    311, 337, 441, 448, 523, 568, 600, 603, 642, 941, 1097, 1162, 1633, 1861, 2668,
];
const SEEDS: u64 = 150;

fn checked(seed: u64) -> Report {
    let plan = Plan::draw(seed);
    let once = || {
        let report = run(&plan, seed, false);
        report.unwrap_or_else(|what| {
            panic!("seed {seed}: {what}; cargo gossip --seed {seed} --trace")
        })
    };
    let report = once();
    assert_eq!(once(), report, "seed {seed}: a second run was another one");
    report
}

#[test]
fn whatever_goes_wrong_all_agree_again() {
    let mut sum = Report::default();
    let mut hashes = BTreeSet::new();
    for seed in (0..SEEDS).chain(OLD) {
        let report = checked(seed);
        hashes.insert(report.hash);
        sum.deaths += report.deaths;
        sum.renewals += report.renewals;
        sum.fast_deaths += report.fast_deaths;
        sum.generations_wanted += report.generations_wanted;
        sum.names_lost += report.names_lost;
    }
    assert!(hashes.len() as u64 >= SEEDS, "seeds differ");
    // The runs get to what they are for.
    for count in [
        sum.deaths,
        sum.renewals,
        sum.fast_deaths,
        sum.generations_wanted,
        sum.names_lost,
    ] {
        assert!(count > 0, "{sum:?}");
    }
}

#[test]
fn many_nodes_agree_again_after_a_partition() {
    for hosts in [30, 100] {
        let mut plan = Plan::draw(1);
        plan.hosts = hosts;
        plan.seeds = 3;
        plan.at_once = true;
        plan.wait_for_others = false;
        plan.with_data = vec![1, hosts - 1];
        plan.faults_ms = 20_000;
        let side = (0..hosts / 3).collect();
        let for_ms = 15_000;
        let kill = Fault::Kill {
            host: hosts - 2,
            gone_ms: 7000,
            lose_disk: false,
            clock_back_ms: 0,
        };
        plan.faults = vec![
            (1000, Fault::Partition { side, for_ms }),
            (9000, kill),
            (
                17_000,
                Fault::Pause {
                    host: 5,
                    for_ms: 700,
                },
            ),
        ];
        let report = run(&plan, 7, false).unwrap_or_else(|what| panic!("{hosts} hosts: {what}"));
        assert!(report.deaths as usize > hosts, "the partition was noticed");
    }
}

#[test]
fn nobody_is_suspected_where_nothing_goes_wrong() {
    for (hosts, for_ms) in [
        (2, 3_600_000),
        (3, 3_600_000),
        (7, 3_600_000),
        (30, 300_000),
    ] {
        let Quiet {
            suspicions, deaths, ..
        } = quiet(hosts, for_ms, hosts as u64);
        assert_eq!((suspicions, deaths), (0, 0), "{hosts} hosts");
    }
}

#[test]
fn a_killed_process_is_down_for_all_within_a_second_and_a_hung_one_within_a_few() {
    for hosts in [2, 3, 5, 7] {
        for seed in 0..30 {
            let (_, all_ms) = detection_ms(hosts, Death::Kill, seed);
            assert!(all_ms <= 1000, "{hosts} hosts, seed {seed}: {all_ms} ms");
            let (first_ms, all_ms) = detection_ms(hosts, Death::Hang, seed);
            assert!(first_ms >= 1500, "suspicion comes first");
            assert!(all_ms <= 6000, "{hosts} hosts, seed {seed}: {all_ms} ms");
        }
    }
}

/// A process that comes back before anybody has noticed is another run nevertheless.
#[test]
fn a_restart_that_nobody_saw_is_told_as_one() {
    for down_ms in [0, 5, 100, 400] {
        let mut world = settled(3, down_ms);
        let before = world.hosts[1].process.as_ref();
        let before = before.expect("it runs").membership.identity().id;
        world.events.clear();
        world.kill(1);
        world.run_for(down_ms.max(1));
        world.start(1);
        let after = world.hosts[1].process.as_ref();
        let after = after.expect("it runs").membership.identity().id;
        world.run_for(3000);
        for host in [0, 2] {
            let events = world.events.iter().filter(|(_, at, _)| *at == host);
            let restarts = events.filter(|(_, _, it)| *it == Event::Restarted { before, after });
            assert_eq!(restarts.count(), 1, "host {host}, down for {down_ms} ms");
        }
    }
}

#[test]
fn an_orderly_stop_is_known_at_once() {
    let mut world = settled(5, 1);
    let node = world.hosts[2].process.as_ref();
    let node = node.expect("it runs").membership.identity().id;
    world.events.clear();
    world.input(2, Input::Leave);
    world.run_for(500);
    let downs = world.events.iter();
    let downs = downs.filter(|(_, _, event)| *event == Event::Down(node));
    assert_eq!(downs.count(), 4);
}

/// Any one live node is enough, also where two clusters have begun apart.
#[test]
fn clusters_that_began_apart_come_together_when_one_is_empty() {
    let mut world = World::new(4, 1, 3, false);
    // Two know only each other, two only each other, and then one of each meet.
    for host in 0..4 {
        let seeds = [vec![], vec![0], vec![], vec![2]];
        world.hosts[host].seeds = seeds[host]
            .iter()
            .map(|seed| zufar_simulator::gossip::world::address(*seed))
            .collect();
        world.start(host);
    }
    world.run_for(5000);
    for host in 0..4 {
        world.place(host, zufar_core::layout::LayoutState::Normal);
    }
    world.run_for(1000);
    let formation = |world: &World, host: usize| {
        let process = world.hosts[host].process.as_ref();
        process.and_then(|it| it.membership.formation())
    };
    assert_ne!(formation(&world, 1), formation(&world, 3));
    let other = [zufar_simulator::gossip::world::address(3)];
    world.input(1, Input::Seeds(&other));
    world.run_for(15_000);
    assert_eq!(formation(&world, 0), formation(&world, 2));
    for host in 0..4 {
        world.place(host, zufar_core::layout::LayoutState::Normal);
    }
    world.run_for(2000);
    assert_eq!(converged(&world), Ok(()));
}
