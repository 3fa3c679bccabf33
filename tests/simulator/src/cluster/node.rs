//! How a node of a cluster is started.
//!
//! Decides its settings: all that a process would have from its flags and its disk. Refuses to know
//! when, and what becomes of it.

use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::id::WorkerId;
use zufar_core::machine::Listener;
use zufar_core::member::{Guid, NodeId};
use zufar_core::node::ClusterSettings;
use zufar_core::replication::SplitBrain;
use zufar_core::secure::{Credentials, Secrets, Seed};
use zufar_core::settings::Settings;
use zufar_core::worker::Worker;

use super::plan::Plan;
use crate::rig::settings;
use crate::world::{HostId, Launch, Program, Runnable};

const MEMORY_BYTES: u64 = 64 << 20;
const CLUSTER: &str = "shop";
const SECRET: &str = "a secret that is long enough for a cluster\n";

/// The name of the node on `host`, in all of its runs.
pub(super) fn guid(host: HostId) -> Guid {
    Guid::new(&format!("node-{}", host.0)).expect("a guid")
}

/// The name by which a node's peer port is found.
pub(super) fn seed_name(host: HostId) -> String {
    format!("node-{}:8123", host.0)
}

/// What a start needs to know.
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan,
    pub(super) workers: u16,
    pub(super) generation: u64,
    /// Where others may be found.
    pub(super) seeds: Vec<String>,
    /// The partitions that are replicated; none for all.
    pub(super) partitions: Option<&'a [u16]>,
}

/// The process of a node.
pub(super) fn program(launch: Launch<'_>, start: &Start<'_>) -> Program {
    let host = launch.host;
    let has_disk = start.plan.disk.is_some();
    let shared = Arc::new(Settings {
        guid: guid(host).as_str().into(),
        ..settings(start.workers, MEMORY_BYTES, has_disk)
    });
    let recovery = match has_disk {
        true => launch.disk.recovery(),
        false => Recovery::default(),
    };
    let cluster = cluster_settings(host, start, &recovery);
    let worker = |id: u16| -> Box<dyn Runnable> {
        let worker = Worker::new(Arc::clone(&shared), WorkerId(id), &recovery);
        let mut seed = [host.0 as u8; 32];
        (seed[0], seed[1]) = (id as u8, launch.run as u8);
        let worker = worker.in_cluster(launch.now, cluster.clone(), Seed::new(seed));
        let worker = worker.expect("what it says of itself is short");
        Box::new(match start.partitions {
            Some(partitions) => worker.replicating_only(partitions),
            None => worker,
        })
    };
    Program {
        machines: (0..start.workers).map(worker).collect(),
        disk: has_disk,
    }
}

fn cluster_settings(host: HostId, start: &Start<'_>, recovery: &Recovery) -> ClusterSettings {
    let secrets = Secrets::parse(SECRET.as_bytes()).expect("it is long enough");
    let known = &recovery.cluster;
    let secrets = start.plan.secret.then_some(secrets);
    ClusterSettings {
        name: CLUSTER.into(),
        credentials: Credentials::new(CLUSTER, secrets),
        id: NodeId {
            guid: guid(host),
            generation: start.generation,
        },
        address: host.address(Listener::Peer),
        client_address: host.address(Listener::Client).to_string(),
        peer_address: host.address(Listener::Peer).to_string(),
        version: "0.1.0".into(),
        rack: "1".into(),
        weight: 100,
        replication_factor: start.plan.replication_factor,
        seeds: start.seeds.clone(),
        in_sync_min: 1,
        split_brain: match start.plan.majority {
            true => SplitBrain::Majority,
            false => SplitBrain::Available,
        },
        members: known.members.clone(),
        formation: known.formation,
        layout: known.layout.clone(),
        holds_data: recovery.holds_records,
    }
}
