//! What a node knows of the cluster, told whole and merged.
//!
//! Decides what a state consists of, and what is believed of another's: all that it says of who
//! exists, nothing that it says of who is dead. Refuses to know how states travel.

use alloc::vec::Vec;

use foca::{Member, State};

use super::gossip::Sink;
use super::identity::Identity;
use super::outputs::{Event, Outputs};
use super::records::{
    Malformed, Parts, Record, RecordKind, next_record, push_descriptor, push_entry,
    push_member_record,
};
use super::timers::Task;
use super::{Liveness, Membership};
use crate::layout::{Descriptor, LayoutEntry, LayoutState, Merged, NODES_MAX};
use crate::member::Guid;
use crate::planted::{self, Bug};
use crate::time::{Now, Time};

impl Membership {
    /// This node's whole state in parts of at most `part_bytes_max` bytes, each of which can be
    /// merged for itself. `give` takes them in order, and whether it is the last one.
    ///
    /// What another has sent is to be merged before the answer to it is taken from here: then one
    /// exchange brings back two sides that have taken each other for dead.
    ///
    /// # Panics
    /// If a part could not hold the longest record: 1 KiB is enough.
    pub fn state(&self, part_bytes_max: usize, give: &mut dyn FnMut(&[u8], bool)) {
        let mut parts = Parts::new(part_bytes_max, give);
        let ours = Member::new(self.identity, self.hands.incarnation, State::Alive);
        parts.add(|into| push_member_record(&ours, into));
        for member in self.foca.iter_membership_state() {
            if member.id().id.guid != self.identity.id.guid {
                parts.add(|into| push_member_record(member, into));
            }
        }
        for descriptor in self.descriptors.values() {
            parts.add(|into| push_descriptor(descriptor, into).expect("it has been encoded"));
        }
        for entry in self.layout.entries() {
            parts.add(|into| push_entry(entry, into).expect("it has been encoded"));
        }
        parts.finish();
    }

    pub(super) fn merge_state(&mut self, now: Now, records: &[u8], out: &mut Outputs) {
        let mut members = Vec::new();
        self.merge_records(now, records, &mut members, out);
        let Self { foca, hands, .. } = self;
        let sink = Sink {
            hands,
            out,
            now: now.time,
        };
        let applied = foca.apply_many(members.into_iter(), true, sink);
        self.settle(now, applied, out);
        if self.foca.num_members() > 0 {
            self.found_others(now, out);
        }
    }

    /// Merges records from a state or from the tail of a datagram. Members that may be believed
    /// come back in `members`.
    pub(super) fn merge_records(
        &mut self,
        now: Now,
        mut records: &[u8],
        members: &mut Vec<Member<Identity>>,
        out: &mut Outputs,
    ) {
        while !records.is_empty() {
            match next_record(&mut records) {
                Ok(Record::Descriptor(descriptor)) => {
                    self.merge_descriptor(now.time, descriptor, out);
                }
                Ok(Record::Layout(entry)) => self.merge_entry(now.time, entry, out),
                Ok(Record::Member(member)) => members.extend(self.believed(member, out)),
                // A later release may say more.
                Ok(Record::Unknown) => {}
                Err(Malformed) => {
                    self.hands.counters.malformed += 1;
                    return;
                }
            }
        }
    }

    /// What foca is to be told of another's member.
    ///
    /// To foca, down is for good: a node that is up here is not taken down because another side
    /// of a partition could not reach it. If it is dead, our own probes find out.
    fn believed(
        &mut self,
        member: Member<Identity>,
        out: &mut Outputs,
    ) -> Option<Member<Identity>> {
        let identity = *member.id();
        if identity.id.guid == self.identity.id.guid {
            self.own_name_seen(&identity, out);
            // It has to refute that it is dead, or to come back if it has been declared down.
            let doubted = match member.state() {
                State::Alive => false,
                State::Suspect => !planted::has(Bug::LeaveSuspected),
                State::Down => true,
            };
            return (doubted && identity == self.identity).then_some(member);
        }
        let Some(known) = self.view.get(&identity.id.guid) else {
            if self.view.len() >= NODES_MAX {
                self.hands.counters.no_room += 1;
                return None;
            }
            return Some(member);
        };
        let up_here = known.identity == identity && known.liveness != Liveness::Down;
        match up_here {
            true => Some(Member::new(identity, member.incarnation(), State::Alive)),
            false => Some(member),
        }
    }

    fn merge_descriptor(&mut self, now: Time, descriptor: Descriptor, out: &mut Outputs) {
        let guid = descriptor.guid;
        if guid == self.identity.id.guid {
            // Nobody else writes ours. One of a later run shows in the hello, too.
            return;
        }
        let room = self.descriptors.len() < NODES_MAX;
        match self.descriptors.get(&guid) {
            Some(known) if !descriptor.supersedes(known) => return,
            None if !room => {
                self.hands.counters.no_room += 1;
                return;
            }
            Some(_) | None => {}
        }
        self.publish_descriptor(now, descriptor);
        out.events.push(Event::Described(guid));
    }

    /// Keeps a descriptor and tells others.
    pub(super) fn publish_descriptor(&mut self, now: Time, descriptor: Descriptor) {
        let mut record = Vec::new();
        push_descriptor(&descriptor, &mut record)
            .expect("descriptors are checked where they begin");
        let guid = descriptor.guid;
        self.hands.rumours.add(RecordKind::Descriptor, guid, record);
        self.descriptors.insert(guid, descriptor);
        self.begin_to_tell(now);
    }

    fn merge_entry(&mut self, now: Time, entry: LayoutEntry, out: &mut Outputs) {
        let guid = entry.guid;
        let mut record = Vec::new();
        push_entry(&entry, &mut record).expect("entries are checked where they begin");
        match self.layout.merge(entry) {
            Merged::Known => return,
            Merged::NoRoom => {
                self.hands.counters.no_room += 1;
                return;
            }
            Merged::Changed => {}
        }
        self.hands.rumours.add(RecordKind::Layout, guid, record);
        self.begin_to_tell(now);
        out.events.push(Event::LayoutChanged);
    }

    /// This node's own place in the layout.
    pub(super) fn place(
        &mut self,
        now: Time,
        state: LayoutState,
        weight: u32,
        rack: &str,
        out: &mut Outputs,
    ) {
        let own = self.identity.id;
        let known = self.layout.entry(&own.guid);
        let same = known.is_some_and(|it| {
            it.generation == own.generation
                && (it.state, it.weight, &*it.rack) == (state, weight, rack)
        });
        if same {
            return;
        }
        let (generation, sequence) = match known {
            Some(known) if known.generation >= own.generation => {
                (known.generation, known.sequence.saturating_add(1))
            }
            Some(_) | None => (own.generation, 1),
        };
        let later = known.map(|known| known.later.clone());
        let entry = LayoutEntry {
            guid: own.guid,
            generation,
            sequence,
            state,
            weight,
            rack: rack.into(),
            later: later.unwrap_or_default(),
        };
        self.merge_entry(now, entry, out);
    }

    /// Takes a node out of the layout for good: only a later run of it can come back.
    pub(super) fn remove(&mut self, now: Time, guid: &Guid, out: &mut Outputs) {
        let known = self.layout.entry(guid);
        if let Some(known) = known.filter(|known| known.state != LayoutState::Left) {
            let entry = LayoutEntry {
                state: LayoutState::Left,
                sequence: known.sequence.saturating_add(1),
                ..known.clone()
            };
            self.merge_entry(now, entry, out);
        }
    }

    fn begin_to_tell(&mut self, now: Time) {
        if !self.telling {
            self.telling = true;
            self.hands.timers.push(now, 0, Task::Tell);
        }
    }

    /// Sends news to a few others, and goes on while there are any.
    pub(super) fn tell(&mut self, now: Time, out: &mut Outputs) {
        let mut others = self.reachable();
        if others.is_empty() {
            // Whoever comes gets it all in an exchange.
            self.hands.rumours.clear();
        }
        self.hands
            .random
            .choose(&mut others, super::gossip::TELL_NODES);
        for other in others {
            if !self.hands.rumours.is_empty() {
                self.hands.send(other.address, &[], out);
            }
        }
        self.telling = !self.hands.rumours.is_empty();
        if self.telling {
            self.hands
                .timers
                .push(now, super::gossip::TELL_MS, Task::Tell);
        }
    }
}
