//! One host: what outlives a process, and the process that may run on it.
//!
//! Decides what a node does with what its membership tells it: what it keeps on disk, how it takes
//! its place in the layout. Refuses to know the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use zufar_core::layout::{Health, LayoutEntry, LayoutState};
use zufar_core::member::{Guid, NodeId};
use zufar_core::membership::{
    Event, Formation, Input, Liveness, Membership, MembershipSettings, Outputs, Start,
    next_generation,
};
use zufar_core::time::Now;

/// Partitions, as all nodes have them.
pub const PARTITIONS: u32 = 4096;

/// What a data directory keeps.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The generation of the last run.
    pub generation: Option<u64>,
    /// The cluster that it belonged to.
    pub formation: Option<Formation>,
    /// The layout that it knew.
    pub layout: Vec<LayoutEntry>,
    /// Where other nodes were found.
    pub addresses: BTreeSet<SocketAddr>,
    /// Whether there is data.
    pub data: bool,
}

/// A process.
pub struct Process {
    /// Its membership.
    pub membership: Membership,
    /// What is to be done.
    pub out: Outputs,
    /// It may serve.
    pub serving: bool,
    /// Others have its name: it is about to end.
    pub name_lost: bool,
    /// What events have told of others, to be compared with what the membership says.
    pub told: BTreeMap<Guid, (NodeId, Liveness)>,
    /// When it was last told to be woken.
    pub armed: Option<zufar_core::time::Time>,
    /// Exchanges that are under way.
    pub exchanging: BTreeSet<SocketAddr>,
    /// Hosts that it has a connection to, and to which of their processes.
    pub links: BTreeMap<usize, u32>,
    /// Suspicions that were told.
    pub suspicions: u64,
    /// Deaths that were told.
    pub deaths: u64,
}

/// A host.
pub struct Host {
    /// The name of the node that runs on it.
    pub guid: Guid,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Where it looks for others.
    pub seeds: Vec<SocketAddr>,
    /// It waits for others rather than serving alone.
    pub wait_for_others: bool,
    /// Its data directory.
    pub disk: Disk,
    /// The process, if one runs.
    pub process: Option<Process>,
    /// Counts its processes.
    pub epoch: u32,
    /// The process is stopped, and time passes without it.
    pub paused: bool,
    /// How far its clock is ahead, in milliseconds.
    pub clock_ahead_ms: i64,
    /// All generations that its processes have gone by.
    pub generations: Vec<u64>,
}

impl Host {
    /// Starts a process.
    ///
    /// # Panics
    /// If one runs.
    pub fn start(&mut self, now: Now, seed: u64) {
        assert!(self.process.is_none(), "one process at a time");
        self.epoch += 1;
        self.paused = false;
        let generation = next_generation(self.disk.generation, now.unix_ms, None);
        self.keep_generation(generation);
        let start = Start {
            id: NodeId {
                guid: self.guid,
                generation,
            },
            address: self.address,
            formation: self.disk.formation,
            layout: self.disk.layout.clone(),
            health: Health::NONE.with(Health::HOLDS_DATA, self.disk.data),
            client_address: format!("client-{}:11211", self.guid),
            peer_address: self.address.to_string(),
            version: "0.1.0".to_owned(),
        };
        let settings = MembershipSettings {
            cluster: "sim".to_owned(),
            partitions: PARTITIONS,
            replication_factor: 2,
            seeds_expected: !self.seeds.is_empty(),
            wait_for_others: self.wait_for_others,
        };
        let membership = Membership::new(now, settings, start, seed);
        let mut process = Process {
            membership: membership.expect("short texts"),
            out: Outputs::default(),
            serving: false,
            name_lost: false,
            told: BTreeMap::new(),
            armed: None,
            exchanging: BTreeSet::new(),
            links: BTreeMap::new(),
            suspicions: 0,
            deaths: 0,
        };
        let mut seeds = self.seeds.clone();
        if !seeds.is_empty() {
            seeds.extend(&self.disk.addresses);
        }
        let seeds = Input::Seeds(&seeds);
        process.membership.handle(now, seeds, &mut process.out);
        self.process = Some(process);
    }

    fn keep_generation(&mut self, generation: u64) {
        assert!(
            self.disk.generation.is_none_or(|last| last < generation),
            "the data directory has seen {:?} and is to keep {generation}",
            self.disk.generation
        );
        self.disk.generation = Some(generation);
        self.generations.push(generation);
    }

    /// Carries out what events ask for, until there are no more. Returns them all.
    ///
    /// # Panics
    /// If they contradict each other.
    pub fn heed(&mut self, now: Now) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let Some(process) = self.process.as_mut() else {
                return all;
            };
            let events = std::mem::take(&mut process.out.events);
            if events.is_empty() {
                return all;
            }
            for event in &events {
                self.heed_one(now, *event);
            }
            all.extend(events);
        }
    }

    fn heed_one(&mut self, now: Now, event: Event) {
        let Some(process) = self.process.as_mut() else {
            return;
        };
        process.heard(event);
        match event {
            Event::Formed(formation) => self.disk.formation = Some(formation),
            Event::Up(node) | Event::Restarted { after: node, .. } => {
                let known = process.membership.member(&node.guid);
                let address = known.map(|known| known.identity.address);
                self.disk.addresses.extend(address);
            }
            Event::LayoutChanged => {
                let entries = process.membership.layout().entries();
                self.disk.layout = entries.cloned().collect();
            }
            Event::Serving { .. } => {
                process.serving = true;
                process.take_place(now);
            }
            Event::GenerationWanted { known } => {
                let generation = next_generation(self.disk.generation, now.unix_ms, Some(known));
                self.keep_generation(generation);
                if let Some(process) = self.process.as_mut() {
                    let input = Input::Generation(generation);
                    process.membership.handle(now, input, &mut process.out);
                    if process.serving {
                        process.take_place(now);
                    }
                }
            }
            Event::NameLost => process.name_lost = true,
            _ => {}
        }
    }
}

impl Process {
    fn take_place(&mut self, now: Now) {
        let guid = self.membership.identity().id.guid;
        let placed = self.membership.layout().entry(&guid);
        let state = match placed.map(|entry| entry.state) {
            None | Some(LayoutState::Left) => LayoutState::Joining,
            Some(_) => LayoutState::Normal,
        };
        self.place(now, state);
    }

    /// Takes a place in the layout.
    pub fn place(&mut self, now: Now, state: LayoutState) {
        let input = Input::Place {
            state,
            weight: 100,
            rack: "r",
        };
        self.membership.handle(now, input, &mut self.out);
    }

    /// Events have an order: nobody goes up who is up.
    fn heard(&mut self, event: Event) {
        let told = &mut self.told;
        match event {
            Event::Appeared(node) => {
                let before = told.insert(node.guid, (node, Liveness::Down));
                assert_eq!(before, None, "{node:?} appears twice");
            }
            Event::Up(node) => {
                let before = told.insert(node.guid, (node, Liveness::Up));
                assert_eq!(before, Some((node, Liveness::Down)), "{node:?} goes up");
            }
            Event::Suspected(node) => {
                self.suspicions += 1;
                let before = told.insert(node.guid, (node, Liveness::Suspected));
                assert_eq!(before, Some((node, Liveness::Up)), "{node:?} is suspected");
            }
            Event::Cleared(node) => {
                let before = told.insert(node.guid, (node, Liveness::Up));
                assert_eq!(before, Some((node, Liveness::Suspected)), "{node:?} lives");
            }
            Event::Down(node) => {
                self.deaths += 1;
                let before = told.insert(node.guid, (node, Liveness::Down));
                let (known, _) = before.expect("whoever goes down has appeared");
                assert_eq!(known, node, "another run goes down");
            }
            Event::Restarted { before, after } => {
                assert!(before.generation < after.generation, "{before:?} {after:?}");
                let known = told.get_mut(&before.guid);
                let known = known.expect("whoever restarts has appeared");
                assert_eq!(known.0, before, "an unknown run has restarted");
                known.0 = after;
            }
            _ => {}
        }
    }

    /// What events have told is what the membership says.
    pub fn check(&self) {
        assert_eq!(self.told.len(), self.membership.members().len());
        for known in self.membership.members() {
            let told = self.told.get(&known.identity.id.guid);
            assert_eq!(told, Some(&(known.identity.id, known.liveness)));
        }
        let counters = self.membership.counters();
        assert_eq!(counters.faults, 0, "foca is driven wrongly");
        assert_eq!(counters.malformed, 0, "what a node says is understood");
    }
}
