//! Foca, and the datagrams around its packets.
//!
//! Decides how foca is tuned, what a datagram looks like, and which member states of foca's
//! amount to an event. Refuses to know why a member is what it is.
//!
//! ```text
//! datagram = version:u8 cluster:u32 length:u16 packet records
//! ```
//!
//! `packet` is foca's, and may be empty. `cluster` tells clusters apart that were formed apart:
//! nothing of a stranger's gossip is believed.

use core::num::{NonZeroU8, NonZeroUsize};
use core::time::Duration;

use foca::{Config, Foca, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer};
use nom::Parser;
use nom::combinator::{rest, verify};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::hello::Formation;
use super::identity::{Identity, Wire, incarnation_of};
use super::outputs::{Counters, Event, Outputs};
use super::random::Random;
use super::rumours::Rumours;
use super::timers::{Task, Timers};
use super::{Known, Liveness};
use crate::member::Guid;
use crate::planted::{self, Bug};
use crate::time::Time;
use core::net::SocketAddr;

/// Longest datagram before it is sealed, in bytes: 1400 less the 42 that sealing adds.
pub const DATAGRAM_BYTES_MAX: usize = 1358;
/// Version, cluster, length of the packet.
const HEAD_BYTES: usize = 1 + 4 + 2;
const DATAGRAM_VERSION: u8 = 1;

/// How often a member is probed.
const PROBE_MS: u64 = 500;
/// How long a member has to answer before others are asked to try.
const PROBE_RTT_MS: u64 = 150;
/// How often news are sent on, beside what rides along with probes.
pub(super) const TELL_MS: u64 = 200;
/// To how many others.
pub(super) const TELL_NODES: usize = 3;
/// How often members that are down are told that they are, so that they come back if they live.
pub(super) const RECALL_MS: u64 = 5000;
/// How many of them.
pub(super) const RECALL_NODES: usize = 2;

/// A node that is declared down again and again comes back so often.
pub(super) const RETURN_MS: u64 = 250;

pub(super) type Swim = Foca<Identity, Wire, Random, NoCustomBroadcast>;

/// What depends on the size of the cluster and on how this node fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) suspicion_ms: u64,
    pub(super) times_max: u8,
}

/// How often one node tells one piece of news: a multiple of the logarithm of the cluster's size,
/// so that all hear of it even where datagrams get lost.
pub(super) fn times_max(members: usize) -> u8 {
    let doublings = u8::try_from((members + 1).ilog2()).unwrap_or(u8::MAX);
    doublings.saturating_mul(3).clamp(6, 36)
}

pub(super) fn config(tuning: Tuning) -> Config {
    let ms = Duration::from_millis;
    let count = |number: usize| NonZeroUsize::new(number).expect("not 0");
    let periodic = |every_ms, nodes| {
        Some(PeriodicParams {
            frequency: ms(every_ms),
            num_members: count(nodes),
        })
    };
    Config {
        probe_period: ms(PROBE_MS),
        probe_rtt: ms(PROBE_RTT_MS),
        num_indirect_probes: count(3),
        max_transmissions: NonZeroU8::new(tuning.times_max).expect("not 0"),
        suspect_to_down_after: ms(tuning.suspicion_ms),
        remove_down_after: None,
        max_packet_size: count(DATAGRAM_BYTES_MAX - HEAD_BYTES),
        notify_down_members: true,
        // Exchanges over streams bring all members at once.
        periodic_announce: None,
        periodic_announce_to_down_members: periodic(RECALL_MS, RECALL_NODES),
        periodic_gossip: periodic(TELL_MS, TELL_NODES),
    }
}

/// What a datagram says of the cluster that it belongs to.
pub(super) fn cluster_tag(cluster: &str, formation: Option<Formation>) -> u32 {
    let mut hasher = Xxh3::new();
    hasher.update(cluster.as_bytes());
    hasher.update(&Formation::to_wire(formation).to_be_bytes());
    (hasher.digest() >> 32) as u32
}

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Malformed,
    Stranger,
}

/// Foca's packet and the records behind it.
pub(super) fn open(datagram: &[u8], tag: u32) -> Result<(&[u8], &[u8]), Foreign> {
    if datagram.len() > DATAGRAM_BYTES_MAX {
        return Err(Foreign::Malformed);
    }
    let version = verify(be_u8, |version| *version == DATAGRAM_VERSION);
    let parts = (version, be_u32, length_data(be_u16), rest);
    let parsed: nom::IResult<_, _> = { parts }.parse(datagram);
    match parsed {
        Ok((_, (_, cluster, packet, records))) if cluster == tag => Ok((packet, records)),
        Ok(_) => Err(Foreign::Stranger),
        Err(_) => Err(Foreign::Malformed),
    }
}

/// What foca's calls reach: the rest of the machine, without foca.
pub(super) struct Hands {
    /// This node: what foca sends there is not sent.
    pub(super) own: (Guid, SocketAddr),
    pub(super) tag: u32,
    pub(super) timers: Timers,
    pub(super) rumours: Rumours,
    pub(super) random: Random,
    pub(super) times_max: u8,
    /// How often this run has had to refute that it is dead, as it says in its packets.
    pub(super) incarnation: u16,
    /// Somebody has not answered a probe, and is suspected from now on.
    pub(super) failed_probe: Option<Guid>,
    /// Others have declared this node down: to foca its identity is used up.
    pub(super) defunct: bool,
    pub(super) counters: Counters,
}

impl Hands {
    /// Sends foca's `packet`, or none, and what news have room beside it.
    pub(super) fn send(&mut self, to: SocketAddr, packet: &[u8], out: &mut Outputs) {
        let start = out.arena.len();
        let length = u16::try_from(packet.len()).expect("foca keeps to its bound");
        out.arena.push(DATAGRAM_VERSION);
        out.arena.extend_from_slice(&self.tag.to_be_bytes());
        out.arena.extend_from_slice(&length.to_be_bytes());
        out.arena.extend_from_slice(packet);
        let room = DATAGRAM_BYTES_MAX - HEAD_BYTES - packet.len();
        let times_max = u32::from(self.times_max);
        self.rumours.fill(room, times_max, &mut out.arena);
        out.end_datagram(to, start);
        self.counters.datagrams_sent += 1;
    }
}

/// Takes what foca wants done.
pub(super) struct Sink<'a> {
    pub(super) hands: &'a mut Hands,
    pub(super) out: &'a mut Outputs,
    pub(super) now: Time,
}

impl Runtime<Identity> for Sink<'_> {
    // Foca tells of no suspicions: what its members are is looked at after each call instead.
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        if matches!(notification, Notification::Defunct) {
            self.hands.defunct = true;
        }
    }

    fn send_to(&mut self, to: Identity, packet: &[u8]) {
        if let Some(incarnation) = incarnation_of(packet) {
            self.hands.incarnation = incarnation;
        }
        // An earlier identity of ours is among foca's members that are down.
        if (to.id.guid, to.address) != self.hands.own {
            self.hands.send(to.address, packet, self.out);
        }
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, .. } = &timer {
            self.hands.failed_probe = Some(member_id.id.guid);
        }
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.hands
            .timers
            .push(self.now, after_ms, Task::Foca(timer));
    }
}

/// Equal while no member has changed, whatever their order.
pub(super) fn fingerprint(foca: &Swim) -> u64 {
    let members = foca.iter_membership_state();
    members.fold(0, |sum: u64, member| {
        let Identity { id, renewal, .. } = member.id();
        let mut bytes = [0; 48];
        let guid = id.guid.as_str().as_bytes();
        bytes[..guid.len()].copy_from_slice(guid);
        bytes[32..40].copy_from_slice(&id.generation.to_be_bytes());
        bytes[40..44].copy_from_slice(&renewal.to_be_bytes());
        bytes[44..46].copy_from_slice(&member.incarnation().to_be_bytes());
        bytes[46] = liveness(member.state()) as u8;
        sum.wrapping_add(xxh3_64(&bytes))
    })
}

pub(super) const fn liveness(state: State) -> Liveness {
    match state {
        State::Alive => Liveness::Up,
        State::Suspect => Liveness::Suspected,
        State::Down => Liveness::Down,
    }
}

/// Tells what it means that a member, of which `before` was known, is `after` now.
pub(super) fn tell(before: Option<&Known>, after: &Known, out: &mut Outputs) {
    let node = after.identity.id;
    let Some(before) = before else {
        out.events.push(Event::Appeared(node));
        out.events.push(match after.liveness {
            Liveness::Down => Event::Down(node),
            Liveness::Up | Liveness::Suspected => Event::Up(node),
        });
        if after.liveness == Liveness::Suspected {
            out.events.push(Event::Suspected(node));
        }
        return;
    };
    assert!(
        before.identity <= after.identity,
        "a node never goes back to an earlier run"
    );
    if before.identity.id != node && !planted::has(Bug::HideRestart) {
        out.events.push(Event::Restarted {
            before: before.identity.id,
            after: node,
        });
    }
    match (before.liveness, after.liveness) {
        (Liveness::Down, Liveness::Up) => out.events.push(Event::Up(node)),
        (Liveness::Down, Liveness::Suspected) => {
            out.events.push(Event::Up(node));
            out.events.push(Event::Suspected(node));
        }
        (Liveness::Up, Liveness::Suspected) => out.events.push(Event::Suspected(node)),
        (Liveness::Suspected, Liveness::Up) => out.events.push(Event::Cleared(node)),
        (Liveness::Up | Liveness::Suspected, Liveness::Down) => out.events.push(Event::Down(node)),
        (Liveness::Up, Liveness::Up)
        | (Liveness::Suspected, Liveness::Suspected)
        | (Liveness::Down, Liveness::Down) => {}
    }
}
