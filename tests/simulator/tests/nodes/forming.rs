//! Nodes that start at once: some form a cluster, go over to that of another one a moment later,
//! and serve there. Nothing of the first one may stay.

use zufar_core::machine::Listener;
use zufar_core::worker::Worker;
use zufar_simulator::Random;
use zufar_simulator::world::{HostId, Incident, World};

use super::{NODE, Node, WORKERS, agree_within, pass, start, world};

const SEEDS: u64 = 100;
/// Some of both workers.
const PARTITIONS: &[u16] = &[0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 4094, 4095];

/// The partitions that have no primary.
fn unserved(world: &World) -> Vec<u16> {
    let is_open = |host: HostId, partition: u16| {
        let worker: Option<&Worker> = world.machine_of(host, partition % WORKERS);
        let replica = worker.and_then(|worker| worker.replica_of(partition));
        replica.is_some_and(|replica| replica.is_open())
    };
    let served = |partition: u16| world.hosts().any(|host| is_open(host, partition));
    let all = PARTITIONS.iter().copied();
    all.filter(|partition| !served(*partition)).collect()
}

#[test]
fn nodes_that_start_at_once_come_to_one_cluster_that_serves() {
    let node = Node {
        partitions: Some(PARTITIONS),
        ..NODE
    };
    for seed in 0..SEEDS {
        let mut world = world(seed, 3);
        let everyone = (0..3).map(|host| HostId(host).address(Listener::Peer));
        world.names.insert("first:8123".into(), everyone.collect());
        let mut random = Random::new(seed);
        // The first host looks for nobody: it forms a cluster at once, and the two others may have
        // formed theirs by then.
        for host in [1, 2, 0] {
            start(&mut world, HostId(host), node);
            world.set_timer(8, random.below(20_000));
            while world.step() != Some(Incident::Timer(8)) {}
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        for _ in 0..200 {
            if unserved(&world).is_empty() {
                break;
            }
            pass(&mut world, 50);
        }
        assert_eq!(unserved(&world), [0; 0], "seed {seed}");
    }
}
