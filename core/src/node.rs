//! The node: who else is there, which partitions are whose, and what all workers must know of it.
//!
//! Decides what membership is told and what is made of its events, when names of seeds are looked
//! up, and what view of the cluster the workers have. One of the two places that route; it
//! refuses to know items, replicas and the bytes on connections.
//!
//! It is a child of worker 0. Connections to the peer port may be accepted by any worker: their
//! hellos and questions are handed to it as frames, and what it has to say comes back as frames
//! for a [`Place`].

mod calls;
mod flushing;
mod keeping;
mod survey;
#[cfg(test)]
mod tests;
mod view;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::id::{ConnId, Ticket, WorkerId};
use crate::layout::{Health, LayoutEntry, LayoutState, TooLong};
use crate::machine::Actions;
use crate::member::{Guid, NodeId};
use crate::membership::{
    Event, Evidence, Formation, Input, Membership, MembershipSettings, Met, Outputs, Start, Wish,
};
use crate::notice::{Notice, Severity};
use crate::placement::Placement;
use crate::protocol::peer::{
    self, Frame, Introduction, Reason, VERSION_HIGHEST, VERSION_LOWEST, common_version,
};
use crate::replication::SplitBrain;
use crate::secure::{Credentials, Datagrams, Refusal, Seed};
use crate::time::{Now, Time};

use calls::{Call, Calls};
pub(crate) use flushing::FlushOrder;
use flushing::Flushing;
use keeping::Keeping;
use survey::Survey;
pub use view::{ClusterView, MemberView};

/// The slot of the node's own tickets. Those of a worker's links have others.
pub(crate) const NODE_TICKET_SLOT: u32 = u32::MAX;
/// Names of seeds are looked up anew so often while a seed is sought, in milliseconds.
const RESOLVE_MS: u64 = 5000;
/// Longest part of a state in one frame, in bytes.
const STATE_PART_BYTES_MAX: usize = 32 * 1024;
/// Questions whose answers are awaited by others, at most.
const ASKED_MAX: usize = 256;

/// What a node is told of its cluster at its start.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The cluster's name.
    pub name: String,
    /// What this node shows to others, and asks them for.
    pub credentials: Credentials,
    /// This run.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub address: SocketAddr,
    /// Where clients reach it, as it advertises.
    pub client_address: String,
    /// Where other nodes reach it, as it advertises.
    pub peer_address: String,
    /// Its release.
    pub version: String,
    /// Where it stands.
    pub rack: String,
    /// Its share, relative to the others'.
    pub weight: u32,
    /// Replicas of each partition.
    pub replication_factor: u8,
    /// Writes are refused with fewer in-sync replicas, the primary included.
    pub in_sync_min: usize,
    /// What a part of the cluster does that can't reach a majority. With
    /// [`Majority`](SplitBrain::Majority) a node that looks for others does not serve before it
    /// has found one.
    pub split_brain: SplitBrain,
    /// Where other nodes may be found, as `host:port`: those that the operator names.
    pub seeds: Vec<String>,
    /// Where the other nodes that its last run knew are reached. They are seeds, too.
    pub members: Vec<(Guid, String)>,
    /// The cluster that its last run belonged to.
    pub formation: Option<Formation>,
    /// The layout that its last run has kept.
    pub layout: Vec<LayoutEntry>,
    /// Whether it holds items already.
    pub holds_data: bool,
}

/// One connection of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) worker: WorkerId,
    pub(crate) conn: ConnId,
}

/// What is to be done with a connection after something has been said on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// Both ends have said hello: it is with this node, or with a command.
    Settle(Option<NodeId>),
    /// It is closed once all has been sent.
    Finish,
    /// What it waited for has been said.
    GoOn,
}

/// Something to be said on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Say {
    pub(crate) place: Place,
    /// Whole frames.
    pub(crate) frames: Vec<u8>,
    pub(crate) then: Then,
}

/// What comes of handling something.
pub(crate) struct NodeOut<'a> {
    pub(crate) actions: &'a mut Actions,
    pub(crate) says: &'a mut Vec<Say>,
}

/// The node.
pub(crate) struct Node {
    settings: ClusterSettings,
    membership: Membership,
    placement: Placement,
    datagrams: Datagrams,
    /// Reused from call to call.
    outputs: Outputs,
    opened: Vec<u8>,
    calls: Calls,
    /// The cluster that both ends of a connection have agreed to be of, while it is open.
    agreed: BTreeMap<Place, Option<Formation>>,
    /// Who waits for the verdict on a run, by the number that membership knows.
    asked: BTreeMap<u64, Place>,
    next_asker: u64,
    /// For each seed what it was last resolved to.
    resolved: Vec<Vec<SocketAddr>>,
    resolve_at: Option<Time>,
    resolving: u32,
    serving: bool,
    keeping: Keeping,
    health: Health,
    survey: Survey,
    flushing: Flushing,
    view: Arc<ClusterView>,
    /// The workers have not seen the view as it is.
    view_changed: bool,
}

impl Node {
    /// The node of a run that begins `now`.
    ///
    /// # Errors
    /// When what it says of itself is too long.
    pub(crate) fn new(
        now: Now,
        mut settings: ClusterSettings,
        seed: &Seed,
    ) -> Result<Self, TooLong> {
        keeping::add_members(&mut settings);
        let health = Health::NONE.with(Health::HOLDS_DATA, settings.holds_data);
        let membership = Membership::new(
            now,
            MembershipSettings {
                cluster: settings.name.clone(),
                partitions: crate::hash::PARTITIONS as u32,
                replication_factor: settings.replication_factor,
                seeds_expected: !settings.seeds.is_empty(),
                wait_for_others: settings.split_brain == SplitBrain::Majority,
            },
            Start {
                id: settings.id,
                address: settings.address,
                formation: settings.formation,
                layout: settings.layout.clone(),
                health,
                client_address: settings.client_address.clone(),
                peer_address: settings.peer_address.clone(),
                version: settings.version.clone(),
            },
            seed.number("membership 1"),
        )?;
        let placement = Placement::new(&[], settings.replication_factor);
        let view = Arc::new(ClusterView::of(&membership, &placement, false, Vec::new()));
        Ok(Self {
            datagrams: Datagrams::new(&settings.credentials, settings.id, seed),
            membership,
            placement,
            outputs: Outputs::default(),
            opened: Vec::new(),
            calls: Calls::default(),
            agreed: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_asker: 0,
            resolved: settings.seeds.iter().map(|_| Vec::new()).collect(),
            resolve_at: (!settings.seeds.is_empty()).then_some(now.time),
            resolving: 0,
            serving: false,
            keeping: Keeping::default(),
            health,
            survey: Survey::default(),
            flushing: Flushing::new(settings.formation, settings.split_brain),
            view,
            view_changed: true,
            settings,
        })
    }

    /// The view that the workers are to have, if it is a new one.
    pub(crate) fn take_view(&mut self) -> Option<Arc<ClusterView>> {
        core::mem::take(&mut self.view_changed).then(|| Arc::clone(&self.view))
    }

    /// Whether its cluster holds data, as far as it knows.
    pub(crate) fn holds_data(&self) -> bool {
        self.membership.holds_data()
    }

    /// When [`handle_deadline`](Self::handle_deadline) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let deadlines = [
            self.membership.next_deadline(),
            self.resolve_at,
            self.calls.next_deadline(),
            self.survey.next_deadline(),
            self.flushing.next_deadline(self.serving, &self.calls),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what has become due. All datagrams that have come are to be handed over first.
    pub(crate) fn handle_deadline(&mut self, now: Now, out: &mut NodeOut<'_>) {
        if self.resolve_at.is_some_and(|at| at <= now.time) {
            self.resolve(now.time, out);
        }
        while let Some(overdue) = self.calls.next_overdue(now.time) {
            self.end_call(overdue, out);
        }
        self.drive_survey(now.time, out);
        self.drive_flush(now, out);
        if self
            .membership
            .next_deadline()
            .is_some_and(|at| at <= now.time)
        {
            self.tell(now, Input::Deadline, out);
        }
    }

    /// Takes a datagram.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut NodeOut<'_>,
    ) {
        let mut opened = core::mem::take(&mut self.opened);
        opened.clear();
        // What is refused is counted there.
        if self.datagrams.open(bytes, &mut opened).is_ok() {
            let bytes = &opened;
            self.tell(now, Input::Datagram { from, bytes }, out);
        }
        self.opened = opened;
    }

    /// A seed's name has been looked up.
    pub(crate) fn handle_resolved(
        &mut self,
        now: Now,
        ticket: Ticket,
        addresses: Result<&[SocketAddr], &str>,
        out: &mut NodeOut<'_>,
    ) {
        let Some(known) = self.resolved.get_mut(ticket.generation as usize) else {
            return;
        };
        self.resolving = self.resolving.saturating_sub(1);
        match addresses {
            Ok(addresses) => {
                known.clear();
                known.extend_from_slice(addresses);
            }
            Err(why) => {
                let seed = &self.settings.seeds[ticket.generation as usize];
                out.actions.notices.push(Notice {
                    severity: Severity::Warning,
                    event: "seed-unknown",
                    text: alloc::format!("seed {seed} can't be looked up: {why}"),
                });
            }
        }
        let seeds: Vec<SocketAddr> = self.resolved.iter().flatten().copied().collect();
        self.tell(now, Input::Seeds(&seeds), out);
    }

    /// The process is about to stop: others shall not have to find out.
    pub(crate) fn leave(&mut self, now: Now, out: &mut NodeOut<'_>) {
        self.tell(now, Input::Leave, out);
    }

    /// A link to a node has ended; `reset` is evidence that its process has.
    pub(crate) fn handle_link_lost(
        &mut self,
        now: Now,
        node: NodeId,
        reset: bool,
        out: &mut NodeOut<'_>,
    ) {
        if reset {
            let evidence = Evidence::Reset;
            self.tell(now, Input::Evidence { node, evidence }, out);
        }
    }

    /// A link to a node could not be opened, for nobody listens there.
    pub(crate) fn handle_link_refused(&mut self, now: Now, node: NodeId, out: &mut NodeOut<'_>) {
        let evidence = Evidence::Refused;
        self.tell(now, Input::Evidence { node, evidence }, out);
    }

    /// The hello that this node begins a connection with.
    pub(crate) fn push_hello(&self, into: &mut Vec<u8>) {
        let hello = Frame::Hello {
            lowest: VERSION_LOWEST,
            highest: VERSION_HIGHEST,
            guid: self.membership.identity().id.guid.as_str(),
            node: Some(self.introduction(None)),
        };
        peer::encode(&hello, into);
    }

    fn introduction(&self, to: Option<&Guid>) -> Introduction<'_> {
        Introduction {
            flushes: self.flushing.known(),
            ..self.membership.introduction(to)
        }
    }

    /// Takes a frame of a connection that is for the node: a hello and its reply, states,
    /// questions about deaths, refusals. `opened` if this node has opened the connection.
    pub(crate) fn handle_frame(
        &mut self,
        now: Now,
        place: Place,
        opened: bool,
        frame: &Frame<'_>,
        out: &mut NodeOut<'_>,
    ) {
        match *frame {
            Frame::Hello {
                lowest,
                highest,
                guid,
                node,
            } if !opened => {
                let versions = (lowest, highest);
                self.greet(now, place, versions, guid, node.as_ref(), out);
            }
            Frame::HelloReply {
                version,
                guid,
                node: Some(node),
            } if opened => {
                let versions = (version, version);
                self.be_greeted(now, place, versions, guid, &node, out);
            }
            Frame::Refused { reason, text } => self.be_refused(now, place, reason, text, out),
            Frame::StateRequest { last, records } if !opened => {
                self.take_state(now, place, records, out);
                if last {
                    self.say_state(place, false, Then::Nothing, out);
                }
            }
            Frame::StateReply { last, records } if opened => {
                self.take_state(now, place, records, out);
                if last {
                    self.end_call(place.conn, out);
                }
            }
            Frame::StatusReply {
                last: true,
                ref nodes,
            } if opened && place.worker == WorkerId(0) => {
                self.take_figures(place, nodes);
                self.end_call(place.conn, out);
                self.drive_survey(now.time, out);
            }
            Frame::FlushReply { version, held } if opened && place.worker == WorkerId(0) => {
                self.take_flush_reply(place, version, held, now.time);
                self.end_call(place.conn, out);
                self.drive_flush(now, out);
            }
            Frame::DeathQuestion { guid, generation } if !opened => {
                self.ask(now, place, guid, generation, out);
            }
            Frame::DeathAnswer {
                guid,
                generation,
                verdict,
            } if opened => {
                if let Some(about) = node_id(guid, generation) {
                    self.tell(now, Input::Answered { about, verdict }, out);
                }
                self.end_call(place.conn, out);
            }
            _ => refuse(
                place,
                Reason::Order,
                "a frame that does not belong here",
                out,
            ),
        }
    }

    /// A connection is gone.
    pub(crate) fn handle_closed(&mut self, now: Now, place: Place, out: &mut NodeOut<'_>) {
        self.agreed.remove(&place);
        self.asked.retain(|_, asker| *asker != place);
        self.survey.forget(place);
        if place.worker == WorkerId(0) {
            self.calls.remove(place.conn);
            self.drive_survey(now.time, out);
            self.drive_flush(now, out);
        }
    }

    /// Answers another node's hello, or a command's.
    fn greet(
        &mut self,
        now: Now,
        place: Place,
        versions: (u16, u16),
        guid: &str,
        theirs: Option<&Introduction<'_>>,
        out: &mut NodeOut<'_>,
    ) {
        let Some(version) = common_version(versions.0, versions.1) else {
            let text = "no peer protocol version that both speak";
            refuse(place, Reason::Version, text, out);
            return;
        };
        let mut settled = None;
        if let Some(theirs) = theirs {
            match self.meet(now, versions, guid, theirs, out) {
                Ok(met) => {
                    self.agreed.insert(place, met.formation);
                    settled = Some(met.node);
                }
                Err((reason, text)) => {
                    refuse(place, reason, &text, out);
                    return;
                }
            }
        }
        let reply = Frame::HelloReply {
            version,
            guid: self.membership.identity().id.guid.as_str(),
            node: settled.map(|met| self.introduction(Some(&met.guid))),
        };
        say(place, &reply, Then::Settle(settled), out);
    }

    fn meet(
        &mut self,
        now: Now,
        versions: (u16, u16),
        guid: &str,
        theirs: &Introduction<'_>,
        out: &mut NodeOut<'_>,
    ) -> Result<Met, (Reason, String)> {
        // Where it says that it is reached: a connection's own address is of no use later.
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let from = theirs.address.parse().unwrap_or(nowhere);
        let mut outputs = core::mem::take(&mut self.outputs);
        let met = self
            .membership
            .meet(now, from, versions, guid, theirs, &mut outputs);
        self.outputs = outputs;
        self.carry_out(now, out);
        if let Ok(met) = &met {
            self.hear_flushes(met.formation, theirs);
        }
        met.map_err(|refusal| (refusal.reason, refusal.theirs))
    }

    /// Another node has answered our hello: of a call or of a worker's link.
    fn be_greeted(
        &mut self,
        now: Now,
        place: Place,
        versions: (u16, u16),
        guid: &str,
        theirs: &Introduction<'_>,
        out: &mut NodeOut<'_>,
    ) {
        let met = match self.meet(now, versions, guid, theirs, out) {
            Ok(met) => met,
            Err((reason, text)) => {
                refuse(place, reason, &text, out);
                return;
            }
        };
        self.agreed.insert(place, met.formation);
        let then = Then::Settle(Some(met.node));
        out.says.push(Say {
            place,
            frames: Vec::new(),
            then,
        });
        let call = match place.worker {
            WorkerId(0) => self.calls.of(place.conn),
            _ => None,
        };
        match call {
            None => {}
            Some(Call::Exchange { .. }) if met.exchange => {
                self.say_state(place, true, Then::Nothing, out);
            }
            Some(Call::Exchange { .. }) => self.end_call(place.conn, out),
            Some(Call::Ask { about }) => {
                let question = Frame::DeathQuestion {
                    guid: about.guid.as_str(),
                    generation: about.generation,
                };
                say(place, &question, Then::Nothing, out);
            }
            Some(Call::Figures { .. }) => {
                say(place, &Frame::FiguresRequest, Then::Nothing, out);
            }
            Some(Call::Flush { number, step, .. }) => {
                say(place, &Frame::Flush { number, step }, Then::Nothing, out);
            }
            Some(Call::Reconnect { .. }) => {
                let (node, evidence) = (met.node, Evidence::Connected);
                self.tell(now, Input::Evidence { node, evidence }, out);
                self.end_call(place.conn, out);
            }
        }
    }

    fn be_refused(
        &mut self,
        now: Now,
        place: Place,
        reason: Reason,
        text: &str,
        out: &mut NodeOut<'_>,
    ) {
        let call = (place.worker == WorkerId(0)).then(|| self.calls.of(place.conn));
        if let Some(Some(Call::Exchange { address })) = call {
            let from = address;
            self.tell(now, Input::Refused { from, reason, text }, out);
        }
        out.says.push(Say {
            place,
            frames: Vec::new(),
            then: Then::Finish,
        });
    }

    /// The other end of a connection that this node has opened does not get through the handshake
    /// with it: the secrets differ, or the clusters.
    pub(crate) fn handle_stream_refused(
        &mut self,
        now: Now,
        place: Place,
        refusal: &Refusal,
        out: &mut NodeOut<'_>,
    ) {
        if let Some(Call::Exchange { address }) = self.calls.of(place.conn) {
            let text = match refusal {
                Refusal::Refused { text, .. } => text.to_string(),
                other => other.to_string(),
            };
            let refused = Input::Refused {
                from: address,
                reason: refusal.reason(),
                text: &text,
            };
            self.tell(now, refused, out);
        }
    }

    fn take_state(&mut self, now: Now, place: Place, records: &[u8], out: &mut NodeOut<'_>) {
        let formation = self.agreed.get(&place).copied().flatten();
        self.tell(now, Input::State { formation, records }, out);
    }

    fn say_state(&self, place: Place, asks: bool, then: Then, out: &mut NodeOut<'_>) {
        let mut frames = Vec::new();
        self.membership
            .state(STATE_PART_BYTES_MAX, &mut |records, last| {
                let frame = match asks {
                    true => Frame::StateRequest { last, records },
                    false => Frame::StateReply { last, records },
                };
                peer::encode(&frame, &mut frames);
            });
        out.says.push(Say {
            place,
            frames,
            then,
        });
    }

    /// Another node wants to know whether a run is dead for us.
    fn ask(&mut self, now: Now, place: Place, guid: &str, generation: u64, out: &mut NodeOut<'_>) {
        let Some(about) = node_id(guid, generation).filter(|_| self.asked.len() < ASKED_MAX) else {
            refuse(place, Reason::Busy, "too many questions, or none", out);
            return;
        };
        let asker = self.next_asker;
        self.next_asker += 1;
        self.asked.insert(asker, place);
        self.tell(now, Input::Asked { asker, about }, out);
    }

    fn resolve(&mut self, now: Time, out: &mut NodeOut<'_>) {
        let found = self.resolved.iter().any(|addresses| !addresses.is_empty());
        let alone = self.membership.members().len() == 0;
        if self.resolving == 0 && (alone || !found) {
            for (generation, seed) in (0..).zip(&self.settings.seeds) {
                let slot = NODE_TICKET_SLOT;
                let ticket = Ticket { slot, generation };
                out.actions.resolve.push((ticket, seed.clone()));
                self.resolving += 1;
            }
        }
        self.resolve_at = Some(now.plus_millis(RESOLVE_MS));
    }

    /// Hands something to membership, and carries out what comes of it.
    fn tell(&mut self, now: Now, input: Input<'_>, out: &mut NodeOut<'_>) {
        let mut outputs = core::mem::take(&mut self.outputs);
        self.membership.handle(now, input, &mut outputs);
        self.outputs = outputs;
        self.carry_out(now, out);
    }

    fn carry_out(&mut self, now: Now, out: &mut NodeOut<'_>) {
        let mut outputs = core::mem::take(&mut self.outputs);
        self.send_datagrams(&outputs, out);
        out.actions.notices.append(&mut outputs.notices);
        for wish in outputs.wishes.drain(..) {
            self.grant(now.time, wish, out);
        }
        for (asker, about, verdict) in outputs.answers.drain(..) {
            if let Some(place) = self.asked.remove(&asker) {
                let answer = Frame::DeathAnswer {
                    guid: about.guid.as_str(),
                    generation: about.generation,
                    verdict,
                };
                say(place, &answer, Then::Nothing, out);
            }
        }
        let events = core::mem::take(&mut outputs.events);
        outputs.clear();
        self.outputs = outputs;
        for event in events {
            self.handle_event(now, event, out);
        }
    }

    fn send_datagrams(&mut self, outputs: &Outputs, out: &mut NodeOut<'_>) {
        let mut sealed = Vec::new();
        for (to, bytes) in outputs.datagrams() {
            let members = self.membership.members();
            let mut members = members.filter(|known| known.identity.address == to);
            // Gossip goes to members only; whoever is looked for is met over a stream first.
            if let Some(known) = members.next() {
                sealed.clear();
                self.datagrams
                    .seal(known.identity.id.guid, bytes, &mut sealed);
                out.actions.datagrams.push(to, &sealed);
            }
        }
    }

    fn handle_event(&mut self, now: Now, event: Event, out: &mut NodeOut<'_>) {
        match event {
            Event::Serving { alone } => {
                self.serving = true;
                let rack = self.settings.rack.clone();
                let own = Input::Place {
                    state: LayoutState::Normal,
                    weight: self.settings.weight,
                    rack: &rack,
                };
                self.tell(now, own, out);
                let text = match alone {
                    true => "no other node was found: this one serves alone".into(),
                    false => alloc::format!("serving in cluster `{}`", self.settings.name),
                };
                out.actions.notices.push(Notice {
                    severity: Severity::Info,
                    event: "serving",
                    text,
                });
                self.renew_view();
            }
            Event::LayoutChanged => {
                self.keeping.layout = true;
                self.place();
            }
            Event::GenerationWanted { known } => {
                self.keeping.generation = Some(known.saturating_add(1));
            }
            Event::Formed(formation) => {
                self.flushing.set_formation(formation);
                self.keeping.formation = true;
                self.renew_view();
            }
            Event::NameLost => out.actions.stop_wanted = true,
            Event::Appeared(_)
            | Event::Up(_)
            | Event::Suspected(_)
            | Event::Cleared(_)
            | Event::Down(_)
            | Event::Restarted { .. }
            | Event::Described(_) => self.renew_view(),
        }
    }

    /// Places partitions anew.
    fn place(&mut self) {
        let shares = view::shares(self.membership.layout());
        let placement = self
            .placement
            .changed(&shares, self.settings.replication_factor);
        self.placement = placement;
        self.renew_view();
    }

    fn renew_view(&mut self) {
        let mut hello = Vec::new();
        self.push_hello(&mut hello);
        self.view = Arc::new(ClusterView::of(
            &self.membership,
            &self.placement,
            self.serving,
            hello,
        ));
        self.view_changed = true;
        self.keeping.members = true;
    }

    fn grant(&mut self, now: Time, wish: Wish, out: &mut NodeOut<'_>) {
        let (call, address) = match wish {
            Wish::Exchange { address } => (Call::Exchange { address }, address),
            Wish::Ask { address, about, .. } => (Call::Ask { about }, address),
            Wish::Reconnect { node, address } => (Call::Reconnect { node }, address),
        };
        if let Some(ticket) = self.calls.begin(now, call) {
            out.actions.connect.push((ticket, address));
        }
    }
}

fn node_id(guid: &str, generation: u64) -> Option<NodeId> {
    let guid = Guid::new(guid).ok()?;
    Some(NodeId { guid, generation })
}

fn say(place: Place, frame: &Frame<'_>, then: Then, out: &mut NodeOut<'_>) {
    let mut frames = Vec::new();
    peer::encode(frame, &mut frames);
    out.says.push(Say {
        place,
        frames,
        then,
    });
}

fn refuse(place: Place, reason: Reason, text: &str, out: &mut NodeOut<'_>) {
    say(place, &Frame::Refused { reason, text }, Then::Finish, out);
}
