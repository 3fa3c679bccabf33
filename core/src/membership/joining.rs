//! How a node finds its cluster, and how two nodes greet each other.
//!
//! Decides whom to look for and when to serve without having found anybody. Refuses to know how
//! connections are made; whether two belong together is `hello`'s to say.

use alloc::format;
use alloc::string::String;
use core::net::SocketAddr;

use super::gossip::{RECALL_NODES, Sink, cluster_tag};
use super::hello::{Agreement, Formation, Refusal, Standing, agree};
use super::identity::Identity;
use super::outputs::{Event, Outputs};
use super::timers::Task;
use super::{Liveness, Membership, Phase};
use crate::layout::{Health, LayoutState};
use crate::member::{Guid, NodeId};
use crate::notice::Severity;
use crate::planted::{self, Bug};
use crate::protocol::peer::{Flushes, Introduction, Reason};
use crate::time::{Now, Time};

/// How long a node looks for others before it serves alone.
pub const ALONE_MS: u64 = 2000;
/// A node that was refused does not serve alone before nobody has answered for so long.
const REFUSED_MS: u64 = 10_000;
/// How often seeds are tried until one has answered.
const JOIN_MS: u64 = 500;
/// Most seeds that are kept.
pub const SEEDS_MAX: usize = 64;
/// How often states are exchanged with somebody in a cluster of up to [`EXCHANGE_NODES`].
const EXCHANGE_MS: u64 = 5000;
/// A larger cluster exchanges larger states: each doubling makes it less often.
const EXCHANGE_NODES: usize = 32;
/// Exchanges beyond the periodic ones are at least so far apart.
const HURRY_MS: u64 = 250;
/// Members of the cluster that it leaves whom a node takes along.
const FELLOWS_MAX: usize = 64;
/// The same line about the same node is not repeated more often.
const REPEAT_MS: u64 = 60_000;
/// Lines that are remembered for that.
const LINES_MAX: usize = 64;

/// What came of a hello: the other end belongs to this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The run at the other end.
    pub node: NodeId,
    /// The cluster that both are of, for [`Input::State`](super::Input::State): what is said on
    /// this stream is said within it.
    pub formation: Option<Formation>,
    /// Whether states may be exchanged. Not with ourselves, and not before this run has a number
    /// that the other end would listen to.
    pub exchange: bool,
}

/// A line that has been told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    about: SocketAddr,
    reason: Reason,
    at: Time,
}

impl Membership {
    /// What this node says of itself in a hello, and in the reply to that of `to`.
    #[must_use]
    pub fn introduction(&self, to: Option<&Guid>) -> Introduction<'_> {
        let known = to.and_then(|guid| self.known_generation(guid));
        Introduction {
            cluster: &self.settings.cluster,
            formation: Formation::to_wire(self.formation),
            partitions: self.settings.partitions,
            replication_factor: self.settings.replication_factor,
            generation: self.identity.id.generation,
            address: &self.address,
            known_generation: known.unwrap_or(0),
            serving: self.phase == Phase::Serving,
            holds_data: self.holds_data(),
            flushes: Flushes::default(),
        }
    }

    /// The highest generation of a node that was heard of.
    fn known_generation(&self, guid: &Guid) -> Option<u64> {
        let member = self
            .view
            .get(guid)
            .map(|known| known.identity.id.generation);
        let described = self.descriptors.get(guid).map(|it| it.generation);
        let placed = self.layout.entry(guid).map(|it| it.generation);
        member.max(described).max(placed)
    }

    /// Whether this node or one that it knows of holds data: what can't be given up for joining
    /// another cluster.
    #[must_use]
    pub fn holds_data(&self) -> bool {
        let mut descriptors = self.descriptors.values();
        let described = descriptors.any(|descriptor| {
            let place = self.layout.entry(&descriptor.guid);
            descriptor.health.has(Health::HOLDS_DATA)
                && place.is_none_or(|place| place.state != LayoutState::Left)
        });
        described || self.joined_data
    }

    /// Takes the hello of another node, or its reply to ours, with the protocol versions that it
    /// speaks. Both ends call this; both come to the same.
    ///
    /// # Errors
    /// When the two do not belong together. `theirs` of the refusal is for the other end, where
    /// this was a hello; the operator of this one is told already.
    pub fn meet(
        &mut self,
        now: Now,
        from: SocketAddr,
        versions: (u16, u16),
        guid: &str,
        theirs: &Introduction<'_>,
        out: &mut Outputs,
    ) -> Result<Met, Refusal> {
        let result = self.try_meet(now, versions, guid, theirs, out);
        if let Err(refusal) = &result {
            let (reason, text) = (refusal.reason, refusal.ours.clone());
            self.note_refusal(now.time, from, reason, text, out);
            if refusal.we_give_way {
                self.lose_name(out);
            }
        }
        result
    }

    fn try_meet(
        &mut self,
        now: Now,
        versions: (u16, u16),
        guid: &str,
        theirs: &Introduction<'_>,
        out: &mut Outputs,
    ) -> Result<Met, Refusal> {
        let parsed = (Guid::new(guid).ok(), theirs.address.parse().ok());
        let (Some(guid), Some(address)) = parsed else {
            return Err(malformed());
        };
        let generation = theirs.generation;
        let node = NodeId { guid, generation };
        let standing = Standing {
            id: node,
            address,
            cluster: theirs.cluster,
            formation: Formation::from_wire(theirs.formation),
            partitions: theirs.partitions,
            replication_factor: theirs.replication_factor,
            serving: theirs.serving,
            holds_data: theirs.holds_data,
        };
        let known = self.view.get(&guid).copied();
        let up = known.filter(|known| known.liveness != Liveness::Down);
        let up = up.filter(|_| !planted::has(Bug::AllowTwins));
        let up = up.map(|known| known.identity);
        let agreement = agree(&self.standing(), &standing, versions, up.as_ref())?;
        match agreement {
            Agreement::Together | Agreement::TheyJoin => {}
            Agreement::Ourselves => {
                return Ok(Met {
                    node,
                    formation: self.formation,
                    exchange: false,
                });
            }
            Agreement::WeJoin(formation) | Agreement::Begin(formation) => {
                self.form(now, formation, out);
                // Its nodes' descriptors come later, and until then others may be met.
                self.joined_data = theirs.holds_data;
            }
        }
        if theirs.known_generation > self.identity.id.generation {
            self.outlived(theirs.known_generation, out);
        }
        self.refused_at = None;
        let exchange = self.generation_wanted.is_none();
        Ok(Met {
            node,
            formation: self.formation,
            exchange,
        })
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            id: self.identity.id,
            address: self.identity.address,
            cluster: &self.settings.cluster,
            formation: self.formation,
            partitions: self.settings.partitions,
            replication_factor: self.settings.replication_factor,
            serving: self.phase == Phase::Serving,
            holds_data: self.holds_data(),
        }
    }

    /// Tells the operator of a refusal, ours or theirs.
    pub(super) fn note_refusal(
        &mut self,
        now: Time,
        from: SocketAddr,
        reason: Reason,
        text: String,
        out: &mut Outputs,
    ) {
        self.hands.counters.refusals += 1;
        if self.first_time(now, from, reason) {
            out.notice(Severity::Error, "peer-refused", text);
        }
    }

    fn first_time(&mut self, now: Time, about: SocketAddr, reason: Reason) -> bool {
        self.told
            .retain(|told| now.millis_since(told.at) < REPEAT_MS);
        let known = self.told.iter();
        let mut known = known.filter(|told| (told.about, told.reason) == (about, reason));
        if known.next().is_some() {
            return false;
        }
        if self.told.len() >= LINES_MAX {
            self.told.remove(0);
        }
        self.told.push(Told {
            about,
            reason,
            at: now,
        });
        true
    }

    /// This node belongs to `formation` from now on.
    pub(super) fn form(&mut self, now: Now, formation: Formation, out: &mut Outputs) {
        if self.formation == Some(formation) {
            return;
        }
        if self.formation.is_some() {
            // None of the cluster that it leaves holds data. They shall come along.
            let guid = self.identity.id.guid;
            self.layout.retain_only(&guid);
            self.descriptors.retain(|other, _| *other == guid);
            self.hands.rumours.clear();
            for fellow in self.reachable().iter().take(FELLOWS_MAX) {
                out.exchange(fellow.address);
            }
            let text = format!("joining another cluster `{}`", self.settings.cluster);
            out.notice(Severity::Warning, "cluster-joined", text);
            out.events.push(Event::LayoutChanged);
        }
        self.formation = Some(formation);
        self.formations += 1;
        self.hands.tag = cluster_tag(&self.settings.cluster, self.formation);
        out.events.push(Event::Formed(formation));
        // What was heard before may have been dropped for coming from strangers.
        self.hurry(now.time, out);
    }

    pub(super) fn set_seeds(&mut self, seeds: &[SocketAddr], out: &mut Outputs) {
        let kept = seeds.iter().take(SEEDS_MAX);
        self.hands.counters.no_room += (seeds.len() - kept.len()) as u64;
        self.seeds.clear();
        self.seeds.extend(kept);
        self.seeds.retain(|seed| *seed != self.identity.address);
        if self.phase == Phase::Looking {
            self.try_seeds(out);
        }
    }

    fn try_seeds(&self, out: &mut Outputs) {
        for seed in &self.seeds {
            out.exchange(*seed);
        }
    }

    /// Looks for others until there is one, or it has been long enough.
    pub(super) fn join(&mut self, now: Now, out: &mut Outputs) {
        if self.phase == Phase::Serving {
            return;
        }
        if self.formation.is_none() && self.holds_data() {
            // Its data is a cluster already, which others may join.
            self.form(now, Formation::of(self.identity.id), out);
        }
        if !self.settings.seeds_expected {
            self.serve(now, true, out);
            return;
        }
        self.try_seeds(out);
        let looked_ms = now.time.millis_since(self.started);
        // A seed that refuses is not silent.
        let refused_ms = self.refused_at.map(|at| now.time.millis_since(at));
        let silent = refused_ms.is_none_or(|ms| ms > REFUSED_MS);
        if looked_ms >= ALONE_MS && silent && self.generation_wanted.is_none() {
            if !self.settings.wait_for_others {
                self.serve(now, true, out);
                return;
            }
            if !self.waiting_told {
                self.waiting_told = true;
                let text = "no other node answers: waiting for one, as split-brain is `majority`";
                out.notice(Severity::Warning, "waiting-for-nodes", text.into());
            }
        }
        self.hands.timers.push(now.time, JOIN_MS, Task::Join);
    }

    /// There is at least one other node.
    pub(super) fn found_others(&mut self, now: Now, out: &mut Outputs) {
        if self.phase == Phase::Looking && self.generation_wanted.is_none() {
            self.serve(now, false, out);
        }
    }

    fn serve(&mut self, now: Now, alone: bool, out: &mut Outputs) {
        if self.formation.is_none() {
            self.form(now, Formation::of(self.identity.id), out);
        }
        self.phase = Phase::Serving;
        out.events.push(Event::Serving { alone });
    }

    /// Exchanges states with somebody who is up, and tries somebody who is not.
    pub(super) fn exchange(&mut self, now: Time, out: &mut Outputs) {
        let mut up = self.reachable();
        let doublings = (up.len() / EXCHANGE_NODES).max(1).ilog2();
        let every_ms = EXCHANGE_MS * u64::from(1 + doublings);
        // Apart from each other, also where all have started at once.
        let after_ms = every_ms * 3 / 4 + self.hands.random.below(every_ms / 2);
        self.hands.timers.push(now, after_ms, Task::Exchange);
        if self.phase == Phase::Looking {
            return;
        }
        let is_up = |address: &SocketAddr| up.iter().any(|member| member.address == *address);
        let mut absent: alloc::vec::Vec<SocketAddr> = self.absent().map(|it| it.address).collect();
        absent.extend(self.seeds.iter().filter(|seed| !is_up(seed)));
        if planted::has(Bug::NeverTryAgain) {
            return;
        }
        self.hands.random.choose(&mut absent, 1);
        let is_suspected = |member: &Identity| {
            let known = self.view.get(&member.id.guid);
            known.is_some_and(|known| known.liveness == Liveness::Suspected)
        };
        if up.iter().any(is_suspected) && !planted::has(Bug::LeaveSuspected) {
            // One that never hears that it is suspected stays so: foca tells it only so often, and
            // forgets to take it down when it loses its own identity meanwhile.
            up.retain(is_suspected);
        }
        self.hands.random.choose(&mut up, 1);
        for member in up {
            out.exchange(member.address);
        }
        for address in absent {
            out.exchange(address);
        }
        self.recall(now, out);
    }

    /// Members that are down and have not left.
    fn absent(&self) -> impl Iterator<Item = &Identity> {
        self.view.iter().filter_map(|(guid, known)| {
            let place = self.layout.entry(guid);
            let left = place.is_some_and(|place| place.state == LayoutState::Left);
            (known.liveness == Liveness::Down && !left).then_some(&known.identity)
        })
    }

    /// Foca stops all it does when the last other member is down, and with it the calls to those
    /// that might come back: two halves of two nodes would never heal.
    fn recall(&mut self, now: Time, out: &mut Outputs) {
        if self.foca.num_members() > 0 {
            return;
        }
        let mut absent: alloc::vec::Vec<Identity> = self.absent().copied().collect();
        self.hands.random.choose(&mut absent, RECALL_NODES);
        for identity in absent {
            let Self { foca, hands, .. } = self;
            let announced = foca.announce(identity, Sink { hands, out, now });
            assert!(announced.is_ok(), "a header always finds room");
        }
    }

    /// Exchanges states soon: something has changed that news in datagrams may not bring.
    pub(super) fn hurry(&mut self, now: Time, out: &mut Outputs) {
        let again = self.hurried_at.map(|at| now.millis_since(at));
        if again.is_some_and(|ms| ms < HURRY_MS) {
            return;
        }
        let mut up = self.reachable();
        self.hands.random.choose(&mut up, 1);
        for member in up {
            self.hurried_at = Some(now);
            out.exchange(member.address);
        }
    }

    /// A run of this node is known of that comes after this one.
    pub(super) fn own_name_seen(&mut self, identity: &Identity, out: &mut Outputs) {
        if identity.id.generation <= self.identity.id.generation {
            return;
        }
        if identity.address == self.identity.address {
            self.outlived(identity.id.generation, out);
        } else {
            // It may be another live node: a hello will tell.
            out.exchange(identity.address);
        }
    }

    fn outlived(&mut self, known: u64, out: &mut Outputs) {
        if self.generation_wanted.is_none_or(|wanted| wanted < known) {
            self.generation_wanted = Some(known);
            let text = format!(
                "others know run {known} of this node, and this is run {}: its clock or its data \
                 directory has gone back",
                self.identity.id.generation
            );
            out.notice(Severity::Warning, "generation-behind", text);
            out.events.push(Event::GenerationWanted { known });
        }
    }

    /// The other end of a stream that we have opened refuses us.
    pub(super) fn refused(
        &mut self,
        now: Now,
        from: SocketAddr,
        reason: Reason,
        text: &str,
        out: &mut Outputs,
    ) {
        // Two clusters that were formed apart go on apart. All else has to be set right before
        // this node may serve.
        if !matches!(reason, Reason::Formation | Reason::Busy) {
            self.refused_at = Some(now.time);
        }
        let text = format!("{from} refuses this node: {text}");
        self.note_refusal(now.time, from, reason, text, out);
        // Whoever looks for others may yet be let in, when the one that has its name is gone.
        if reason == Reason::Guid && self.phase == Phase::Serving {
            self.lose_name(out);
        }
    }

    fn lose_name(&mut self, out: &mut Outputs) {
        self.gone = true;
        out.events.push(Event::NameLost);
    }
}

fn malformed() -> Refusal {
    let text = String::from("an introduction is malformed");
    Refusal {
        reason: Reason::Frame,
        ours: text.clone(),
        theirs: text,
        we_give_way: false,
    }
}
