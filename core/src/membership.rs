//! Who is there: gossip about liveness, what nodes say of themselves, and the layout.
//!
//! Decides which nodes this one knows, which of them are up, whether two that meet belong
//! together, and when this node may serve. Refuses to know where data lies and who may
//! acknowledge a write: being up grants nothing. Sockets, secrets and names of hosts are the
//! caller's.
//!
//! Foca (SWIM) finds failures and nothing else. Descriptors and the layout are merged beside it,
//! ride along in its datagrams, and are exchanged whole over streams: at the start, after a heal,
//! and every few seconds.
//!
//! The caller hands over all datagrams that have come before it tells that a deadline has. Should
//! the process not have run for a while, the machine waits a little for them by itself.

mod awareness;
mod deaths;
mod exchange;
mod generation;
mod gossip;
mod hello;
mod identity;
mod joining;
mod outputs;
mod random;
mod records;
mod rumours;
#[cfg(test)]
mod tests;
mod timers;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use foca::{Member, Timer};

use self::awareness::Awareness;
use self::deaths::{Deaths, EVIDENCE_MS_MAX, Finding, WITNESSES_MAX};
use self::gossip::{Foreign, Hands, Sink, Swim, Tuning, cluster_tag};
use self::identity::Wire;
use self::joining::Told;
use self::random::Random;
use self::rumours::Rumours;
use self::timers::{Task, Timers};
use crate::layout::{Descriptor, Health, Layout, LayoutEntry, TooLong};
use crate::member::{Guid, NodeId};
use crate::notice::Severity;
use crate::protocol::peer::DeathVerdict;
use crate::time::{Now, Time};

pub use self::generation::next_generation;
pub use self::gossip::DATAGRAM_BYTES_MAX;
pub use self::hello::{Agreement, Formation, Refusal, Standing, agree};
pub use self::identity::Identity;
pub use self::joining::{ALONE_MS, Met, SEEDS_MAX};
pub use self::outputs::{Counters, Event, Evidence, Input, Outputs, Wish};

/// What all nodes of a cluster have in common, and how this one begins.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// The cluster's name, at most 255 bytes.
    pub cluster: String,
    /// Partitions of the key space.
    pub partitions: u32,
    /// Replicas of each.
    pub replication_factor: u8,
    /// There are seeds, and this node is to look for them first.
    pub seeds_expected: bool,
    /// Without any other node this one waits (`split-brain = "majority"`) and does not serve.
    pub wait_for_others: bool,
}

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// This run. Its generation is [`next_generation`]'s, and is on disk.
    pub id: NodeId,
    /// Where its datagrams and streams arrive, as others reach it.
    pub address: SocketAddr,
    /// The cluster that the last run belonged to.
    pub formation: Option<Formation>,
    /// The layout that the last run has kept.
    pub layout: Vec<LayoutEntry>,
    /// How this node fares.
    pub health: Health,
    /// Where clients reach it, as it advertises.
    pub client_address: String,
    /// Where other nodes reach it, as it advertises.
    pub peer_address: String,
    /// Its release.
    pub version: String,
}

/// Whether a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// It does.
    Up,
    /// It has not, and may still show that it lives. It counts as up.
    Suspected,
    /// It does not.
    Down,
}

/// A member as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its run and its address.
    pub identity: Identity,
    /// Whether it answers.
    pub liveness: Liveness,
    /// Of one that is down: when this node has found by itself that its process has died.
    pub died_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Others are looked for. Nothing is served.
    Looking,
    Serving,
}

/// The membership of one node.
pub struct Membership {
    settings: MembershipSettings,
    foca: Swim,
    hands: Hands,
    tuning: Tuning,
    awareness: Awareness,
    /// This node, as foca has it.
    identity: Identity,
    /// Its address as text, for introductions.
    address: Box<str>,
    formation: Option<Formation>,
    /// How many clusters this run has been of.
    formations: u64,
    /// The cluster held data when this node joined it.
    joined_data: bool,
    phase: Phase,
    /// Nothing is said or heard any more.
    gone: bool,
    started: Time,
    /// Foca's members but this node, as events have told of them.
    view: BTreeMap<Guid, Known>,
    /// That of foca's members when `view` was last compared with them.
    fingerprint: u64,
    descriptors: BTreeMap<Guid, Descriptor>,
    layout: Layout,
    deaths: Deaths,
    seeds: Vec<SocketAddr>,
    /// The highest generation of this node that others know, if it is above this run's.
    generation_wanted: Option<u64>,
    /// When somebody has last refused this node, if nobody has accepted it since.
    refused_at: Option<Time>,
    /// When it last came back after it was declared down.
    returned_at: Option<Time>,
    /// A [`Task::Return`] is under way.
    returning: bool,
    hurried_at: Option<Time>,
    waiting_told: bool,
    told: Vec<Told>,
    /// A [`Task::Tell`] is under way.
    telling: bool,
}

impl Membership {
    /// The membership of a run that begins `now`. What it draws, it draws from `seed`, which should
    /// differ between nodes. [`Input::Deadline`] is due at once.
    ///
    /// # Errors
    /// When what the node says of itself is too long for a descriptor.
    pub fn new(
        now: Now,
        settings: MembershipSettings,
        start: Start,
        seed: u64,
    ) -> Result<Self, TooLong> {
        let identity = Identity {
            id: start.id,
            renewal: 0,
            address: start.address,
        };
        let descriptor = own_descriptor(&start);
        descriptor.encode(&mut Vec::new())?;
        let mut random = Random::new(seed);
        let tuning = Tuning {
            suspicion_ms: Awareness::default().suspicion_ms(1),
            times_max: gossip::times_max(1),
        };
        let swim_random = Random::new(random.bits());
        let config = gossip::config(tuning);
        let mut hands = Hands {
            own: (start.id.guid, start.address),
            tag: cluster_tag(&settings.cluster, start.formation),
            timers: Timers::default(),
            rumours: Rumours::default(),
            random,
            times_max: tuning.times_max,
            incarnation: 0,
            failed_probe: None,
            defunct: false,
            counters: Counters::default(),
        };
        hands.timers.push(now.time, 0, Task::Join);
        hands.timers.push(now.time, 0, Task::Exchange);
        let mut layout = Layout::default();
        for entry in start.layout {
            layout.merge(entry);
        }
        Ok(Self {
            settings,
            foca: Swim::new(identity, config, swim_random, Wire),
            hands,
            tuning,
            awareness: Awareness::default(),
            identity,
            address: identity.address.to_string().into(),
            formation: start.formation,
            formations: 0,
            joined_data: false,
            phase: Phase::Looking,
            gone: false,
            started: now.time,
            view: BTreeMap::new(),
            fingerprint: 0,
            descriptors: BTreeMap::from([(start.id.guid, descriptor)]),
            layout,
            deaths: Deaths::default(),
            seeds: Vec::new(),
            generation_wanted: None,
            refused_at: None,
            returned_at: None,
            returning: false,
            hurried_at: None,
            waiting_told: false,
            told: Vec::new(),
            telling: false,
        })
    }

    /// Takes one input and adds what is to be done to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Outputs) {
        if self.gone {
            return;
        }
        if self.hands.timers.notice_stall(now.time).is_some() {
            self.hands.counters.stalls += 1;
            self.awareness.doubt();
        }
        match input {
            Input::Datagram { from, bytes } => self.datagram(now, from, bytes, out),
            Input::Deadline => {
                while let Some(task) = self.hands.timers.pop_due(now.time) {
                    self.carry_out(now, task, out);
                }
            }
            Input::Seeds(seeds) => self.set_seeds(seeds, out),
            Input::State { formation, records } => match formation == self.formation {
                true => self.merge_state(now, records, out),
                // One of us has gone over to another cluster since they have met.
                false => self.hands.counters.strangers += 1,
            },
            Input::Refused { from, reason, text } => {
                self.refused(now, from, reason, text, out);
            }
            Input::Evidence { node, evidence } => self.evidence(now, node, evidence, out),
            Input::Asked { asker, about } => self.asked(now, asker, about, out),
            Input::Answered { about, verdict } => {
                if self.deaths.answered(about, verdict) == Finding::Dead {
                    self.declare_dead(now, about, out);
                }
            }
            Input::Health(health) => self.set_health(now, health),
            Input::Place {
                state,
                weight,
                rack,
            } => self.place(now.time, state, weight, rack, out),
            Input::Remove(guid) => self.remove(now.time, &guid, out),
            Input::Generation(generation) => self.renumber(now, generation, out),
            Input::Leave => self.leave(now, out),
        }
        self.look(now, out);
    }

    /// When [`Input::Deadline`] is due. A late or spurious one is harmless. O(1).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match self.gone {
            true => None,
            false => self.hands.timers.next(),
        }
    }

    /// This node.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The cluster that it belongs to, if it has found or begun one.
    #[must_use]
    pub const fn formation(&self) -> Option<Formation> {
        self.formation
    }

    /// How many clusters this run has been of.
    pub const fn formations(&self) -> u64 {
        self.formations
    }

    /// All other nodes that were heard of, by guid.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Known> {
        self.view.values()
    }

    /// One of them.
    #[must_use]
    pub fn member(&self, guid: &Guid) -> Option<&Known> {
        self.view.get(guid)
    }

    /// What a node says of itself, this one included.
    #[must_use]
    pub fn descriptor(&self, guid: &Guid) -> Option<&Descriptor> {
        self.descriptors.get(guid)
    }

    /// What all nodes say of themselves, by guid.
    pub fn descriptors(&self) -> impl ExactSizeIterator<Item = &Descriptor> {
        self.descriptors.values()
    }

    /// Who is in the cluster, be they up or down.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What has been counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.hands.counters
    }

    /// Members that are not down.
    fn reachable(&self) -> Vec<Identity> {
        let members = self.view.values();
        let up = members.filter(|known| known.liveness != Liveness::Down);
        up.map(|known| known.identity).collect()
    }

    fn datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8], out: &mut Outputs) {
        self.hands.counters.datagrams += 1;
        let (packet, records) = match gossip::open(bytes, self.hands.tag) {
            Ok(parts) => parts,
            Err(Foreign::Malformed) => {
                self.hands.counters.malformed += 1;
                return;
            }
            Err(Foreign::Stranger) => {
                self.hands.counters.strangers += 1;
                self.meet_stranger(now.time, from, out);
                return;
            }
        };
        if !packet.is_empty() {
            let Self { foca, hands, .. } = self;
            let sink = Sink {
                hands,
                out,
                now: now.time,
            };
            let handled = foca.handle_data(packet, sink);
            if matches!(handled, Err(foca::Error::DataFromOurselves)) {
                self.own_name_speaks(now.time, packet, out);
            } else {
                self.settle(now, handled, out);
            }
        }
        // Members come from foca's packets only.
        let mut members: Vec<Member<Identity>> = Vec::new();
        self.merge_records(now, records, &mut members, out);
    }

    /// Gossip of another cluster of our name, or of this one under its former formation. A hello
    /// tells which.
    fn meet_stranger(&mut self, now: Time, from: SocketAddr, out: &mut Outputs) {
        let again = self.hurried_at.map(|at| now.millis_since(at));
        if self.phase == Phase::Serving && again.is_none_or(|ms| ms >= gossip::TELL_MS) {
            self.hurried_at = Some(now);
            out.exchange(from);
        }
    }

    /// A packet from a node of our name: late words of an earlier run, or another live node.
    fn own_name_speaks(&mut self, now: Time, packet: &[u8], out: &mut Outputs) {
        self.hands.counters.own_name += 1;
        let Ok((_, header)) = identity::header(packet) else {
            return;
        };
        if header.src.address != self.identity.address {
            self.meet_stranger(now, header.src.address, out);
        }
    }

    /// Takes note of what foca complains about.
    fn settle(&mut self, now: Now, result: Result<(), foca::Error>, out: &mut Outputs) {
        use foca::Error;
        match result {
            Ok(()) => {}
            Err(
                Error::DataTooBig
                | Error::DataFromOurselves
                | Error::IndirectForOurselves
                | Error::MalformedPacket
                | Error::Decode(_)
                | Error::CustomBroadcast(_),
            ) => self.hands.counters.malformed += 1,
            Err(
                error @ (Error::NotUndead
                | Error::SameIdentity
                | Error::NotConnected
                | Error::IncompleteProbeCycle
                | Error::Encode(_)
                | Error::InvalidConfig),
            ) => {
                self.hands.counters.faults += 1;
                let at = now.time.as_millis();
                let text = format!("gossip is driven wrongly at {at} ms: {error}");
                out.notice(Severity::Error, "gossip-fault", text);
            }
        }
    }

    fn carry_out(&mut self, now: Now, task: Task, out: &mut Outputs) {
        match task {
            Task::Foca(timer) => self.swim_timer(now, timer, out),
            Task::Join => self.join(now, out),
            Task::Exchange => self.exchange(now.time, out),
            Task::Tell => self.tell(now.time, out),
            Task::Return => {
                self.returning = false;
                self.come_back(now, out);
            }
            Task::Verdict(guid) => self.deaths.expire(&guid, &mut out.answers),
        }
    }

    fn swim_timer(&mut self, now: Now, timer: Timer<Identity>, out: &mut Outputs) {
        let ends_a_probe = matches!(timer, Timer::ProbeRandomMember(_));
        let Self { foca, hands, .. } = self;
        hands.failed_probe = None;
        let sink = Sink {
            hands,
            out,
            now: now.time,
        };
        let handled = foca.handle_timer(timer, sink);
        if ends_a_probe {
            match self.hands.failed_probe.take() {
                Some(guid) => {
                    self.hands.counters.probes_failed += 1;
                    self.awareness.probe_failed(guid);
                }
                None => self.awareness.probe_answered(),
            }
        }
        self.settle(now, handled, out);
    }

    fn evidence(&mut self, now: Now, node: NodeId, evidence: Evidence, out: &mut Outputs) {
        let known = self.view.get(&node.guid);
        let known = known.filter(|known| known.liveness != Liveness::Down);
        let current = known.is_some_and(|known| known.identity.id == node);
        if evidence == Evidence::Connected
            && let Some(known) = known
            && known.identity.id.generation < node.generation
        {
            // It has restarted so quickly that gossip has not noticed yet.
            out.exchange(known.identity.address);
        }
        if !current && evidence != Evidence::Connected {
            return;
        }
        let witnesses = self.witnesses(node);
        let (finding, opened) =
            self.deaths
                .note(node, evidence, !witnesses.is_empty(), &mut out.answers);
        if opened {
            self.begin_case(now, node);
        }
        match finding {
            Finding::Nothing => {}
            Finding::Dead => self.declare_dead(now, node, out),
            Finding::Ask => {
                let mut witnesses = witnesses;
                self.hands.random.choose(&mut witnesses, WITNESSES_MAX);
                out.wishes.extend(witnesses.iter().map(|witness| Wish::Ask {
                    guid: witness.id.guid,
                    address: witness.address,
                    about: node,
                }));
            }
        }
    }

    /// Who may be asked about `node`.
    fn witnesses(&self, node: NodeId) -> Vec<Identity> {
        let members = self.view.values();
        let up = members.filter(|known| known.liveness == Liveness::Up);
        let others = up.filter(|known| known.identity.id.guid != node.guid);
        others.map(|known| known.identity).collect()
    }

    fn begin_case(&mut self, now: Now, node: NodeId) {
        let task = Task::Verdict(node.guid);
        self.hands.timers.push(now.time, EVIDENCE_MS_MAX, task);
    }

    fn asked(&mut self, now: Now, asker: u64, about: NodeId, out: &mut Outputs) {
        let verdict = match self.view.get(&about.guid) {
            Some(known) if known.identity.id.generation > about.generation => DeathVerdict::Dead,
            Some(known) if known.identity.id != about => DeathVerdict::Unknown,
            Some(known) if known.liveness == Liveness::Down => DeathVerdict::Dead,
            Some(known) => {
                let address = known.identity.address;
                let answers = &mut out.answers;
                let (reconnect, opened) = self.deaths.asked(asker, about, answers);
                if reconnect {
                    out.wishes.push(Wish::Reconnect {
                        node: about,
                        address,
                    });
                }
                if opened {
                    self.begin_case(now, about);
                }
                return;
            }
            None => DeathVerdict::Unknown,
        };
        out.answers.push((asker, about, verdict));
    }

    fn declare_dead(&mut self, now: Now, node: NodeId, out: &mut Outputs) {
        self.deaths.close(&node.guid, &mut out.answers);
        let Some(known) = self.view.get_mut(&node.guid) else {
            return;
        };
        if known.identity.id != node || known.liveness == Liveness::Down {
            return;
        }
        known.died_at = Some(now.time);
        self.hands.counters.fast_deaths += 1;
        let dead = core::iter::once(Member::down(known.identity));
        let Self { foca, hands, .. } = self;
        let mut sink = Sink {
            hands,
            out,
            now: now.time,
        };
        let applied = foca.apply_many(dead, true, &mut sink);
        let told = foca.gossip(&mut sink);
        self.settle(now, applied.and(told), out);
    }

    fn set_health(&mut self, now: Now, health: Health) {
        let own = self.own().clone();
        if own.health != health {
            let sequence = own.sequence.saturating_add(1);
            self.publish_descriptor(
                now.time,
                Descriptor {
                    health,
                    sequence,
                    ..own
                },
            );
        }
    }

    fn own(&self) -> &Descriptor {
        let own = self.descriptors.get(&self.identity.id.guid);
        own.expect("this node has a descriptor from the start")
    }

    /// This run goes by another number.
    fn renumber(&mut self, now: Now, generation: u64, out: &mut Outputs) {
        assert!(
            generation > self.identity.id.generation,
            "generations only rise"
        );
        if self
            .generation_wanted
            .is_some_and(|known| known >= generation)
        {
            return;
        }
        let guid = self.identity.id.guid;
        let identity = Identity {
            id: NodeId { guid, generation },
            renewal: 0,
            ..self.identity
        };
        self.change_identity(now, identity, out);
        self.generation_wanted = None;
        let descriptor = Descriptor {
            generation,
            sequence: 1,
            ..self.own().clone()
        };
        self.publish_descriptor(now.time, descriptor);
        match self.phase {
            Phase::Looking => self.hands.timers.push(now.time, 0, Task::Join),
            Phase::Serving => self.hurry(now.time, out),
        }
    }

    fn change_identity(&mut self, now: Now, identity: Identity, out: &mut Outputs) {
        let Self { foca, hands, .. } = self;
        hands.incarnation = 0;
        hands.defunct = false;
        let mut sink = Sink {
            hands,
            out,
            now: now.time,
        };
        let changed = foca.change_identity(identity, &mut sink);
        // Foca would begin to probe again only when it hears from somebody.
        let resumed = foca.apply_many(core::iter::empty(), true, &mut sink);
        self.identity = identity;
        self.settle(now, changed.and(resumed), out);
    }

    /// Others have declared this node down, and it lives: it comes back under another identity.
    fn come_back(&mut self, now: Now, out: &mut Outputs) {
        if !self.hands.defunct {
            return;
        }
        self.change_identity(now, self.identity.renewed(), out);
        self.returned_at = Some(now.time);
        self.hands.counters.renewals += 1;
        self.awareness.doubt();
        let text = "other nodes took this one for dead; it is back, with all it holds";
        out.notice(Severity::Warning, "declared-down", text.into());
    }

    /// Foca's identity is used up.
    fn declared_down(&mut self, now: Now, out: &mut Outputs) {
        let returned_ms = self.returned_at.map(|at| now.time.millis_since(at));
        match returned_ms.and_then(|ms| gossip::RETURN_MS.checked_sub(ms)) {
            None | Some(0) => self.come_back(now, out),
            Some(left_ms) if !self.returning => {
                self.returning = true;
                self.hands.timers.push(now.time, left_ms, Task::Return);
            }
            Some(_) => {}
        }
    }

    fn leave(&mut self, now: Now, out: &mut Outputs) {
        let Self { foca, hands, .. } = self;
        let sink = Sink {
            hands,
            out,
            now: now.time,
        };
        let left = foca.leave_cluster(sink);
        self.settle(now, left, out);
        self.gone = true;
    }

    /// Compares foca's members with what events have told of, and tells the difference.
    fn look(&mut self, now: Now, out: &mut Outputs) {
        if self.gone {
            return;
        }
        if self.hands.defunct {
            self.declared_down(now, out);
        }
        let fingerprint = gossip::fingerprint(&self.foca);
        if fingerprint != self.fingerprint {
            self.fingerprint = fingerprint;
            self.compare(now, out);
        }
        self.retune();
    }

    fn compare(&mut self, now: Now, out: &mut Outputs) {
        let mut own_name = None;
        let mut came_up = false;
        for member in self.foca.iter_membership_state() {
            let mut after = Known {
                identity: *member.id(),
                liveness: gossip::liveness(member.state()),
                died_at: None,
            };
            let guid = after.identity.id.guid;
            if let Some(before) = self.view.get(&guid)
                && before.identity == after.identity
                && after.liveness == Liveness::Down
            {
                after.died_at = before.died_at;
            }
            if guid == self.identity.id.guid {
                own_name = Some(after.identity);
                continue;
            }
            let before = self.view.insert(guid, after);
            if before.as_ref() == Some(&after) {
                continue;
            }
            let was_down = before.is_none_or(|known| known.liveness == Liveness::Down);
            came_up |= was_down && after.liveness != Liveness::Down;
            if after.liveness == Liveness::Down {
                self.deaths.close(&guid, &mut out.answers);
            }
            gossip::tell(before.as_ref(), &after, out);
        }
        if let Some(identity) = own_name {
            self.own_name_seen(&identity, out);
        }
        if came_up {
            self.hurry(now.time, out);
        }
    }

    fn retune(&mut self) {
        let members = self.foca.num_members() + 1;
        let tuning = Tuning {
            suspicion_ms: self.awareness.suspicion_ms(members),
            times_max: gossip::times_max(members),
        };
        if tuning != self.tuning {
            self.tuning = tuning;
            self.hands.times_max = tuning.times_max;
            let changed = self.foca.set_config(gossip::config(tuning));
            assert!(changed.is_ok(), "only what may change has changed");
        }
    }
}

fn own_descriptor(start: &Start) -> Descriptor {
    Descriptor {
        guid: start.id.guid,
        generation: start.id.generation,
        sequence: 1,
        health: start.health,
        client_address: start.client_address.as_str().into(),
        peer_address: start.peer_address.as_str().into(),
        version: start.version.as_str().into(),
        later: Box::default(),
    }
}
