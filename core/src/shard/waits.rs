//! Queues of commands behind a disk read, or behind a disk that is too far behind.
//!
//! Decides that commands of one key keep their order while other keys go on, and how many reads
//! are under way at once. Refuses to know what the commands do.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::command::Operation;
use crate::command::owned::{CommandBuffers, OwnedCommand};
use crate::hash::KeyHash;
use crate::id::Ticket;
use crate::message::Caller;
use crate::time::Time;

/// A command that waits.
pub(super) struct Pending {
    pub(super) caller: Caller,
    pub(super) command: OwnedCommand,
    /// It is not held up beyond this, however often it is tried.
    until: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has been asked yet, or the commands are being carried out.
    Open,
    /// A read is wanted, but enough are under way.
    Waiting,
    /// A read is under way.
    Loading,
    /// The first command is a write that waits for the disk until then.
    Stalled(Time),
}

struct Wait {
    hash: KeyHash,
    state: State,
    commands: VecDeque<Pending>,
    /// The key that the last read was for, once it has come back.
    read: Vec<u8>,
    /// What is read may be older than what came, and went again, meanwhile.
    overtaken: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    wait: Option<Wait>,
}

/// All queues of one shard, one for each key hash that something waits for.
pub(super) struct Waits {
    loads_max: usize,
    loads: usize,
    by_hash: BTreeMap<u64, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    waiting: VecDeque<u32>,
    stalled: BTreeSet<(Time, u32)>,
    buffers: CommandBuffers,
}

impl Waits {
    pub(super) fn new(loads_max: usize) -> Self {
        Self {
            loads_max,
            loads: 0,
            by_hash: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            stalled: BTreeSet::new(),
            buffers: CommandBuffers::default(),
        }
    }

    /// The queue that a command of this hash must join.
    #[inline]
    pub(super) fn behind(&self, hash: KeyHash) -> Option<u32> {
        if self.by_hash.is_empty() {
            return None;
        }
        self.by_hash.get(&hash.bits()).copied()
    }

    /// Opens a queue for `hash`, which has none.
    pub(super) fn begin(&mut self, hash: KeyHash) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("waits are bounded by reply slots")
        });
        let wait = Wait {
            hash,
            state: State::Open,
            commands: VecDeque::new(),
            read: self.buffers.take(),
            overtaken: false,
        };
        let entry = &mut self.slots[slot as usize];
        assert!(entry.wait.is_none(), "a free slot holds no wait");
        entry.generation = entry.generation.wrapping_add(1);
        entry.wait = Some(wait);
        let before = self.by_hash.insert(hash.bits(), slot);
        assert!(before.is_none(), "one queue a hash");
        slot
    }

    /// Closes an empty queue.
    pub(super) fn end(&mut self, slot: u32) {
        let wait = self.slots[slot as usize].wait.take();
        let wait = wait.expect("only an open queue is closed");
        assert!(wait.commands.is_empty(), "no command is forgotten");
        self.by_hash.remove(&wait.hash.bits());
        self.free.push(slot);
        self.buffers.give(wait.read);
    }

    fn wait(&mut self, slot: u32) -> &mut Wait {
        self.slots[slot as usize]
            .wait
            .as_mut()
            .expect("only an open queue is used")
    }

    /// Puts a command at the queue's end.
    pub(super) fn push(
        &mut self,
        slot: u32,
        caller: &Caller,
        key: &[u8],
        operation: &Operation<'_>,
    ) {
        let buffer = self.buffers.take();
        let wait = self.wait(slot);
        let command = OwnedCommand::new(buffer, wait.hash, key, operation);
        let caller = *caller;
        let pending = Pending {
            caller,
            command,
            until: None,
        };
        wait.commands.push_back(pending);
    }

    /// Puts a command at the queue's front: it was taken before all that are in it.
    pub(super) fn push_front(
        &mut self,
        slot: u32,
        caller: &Caller,
        key: &[u8],
        operation: &Operation<'_>,
    ) {
        self.push(slot, caller, key, operation);
        self.wait(slot).commands.rotate_right(1);
    }

    pub(super) fn pop(&mut self, slot: u32) -> Option<Pending> {
        self.wait(slot).commands.pop_front()
    }

    pub(super) fn unpop(&mut self, slot: u32, pending: Pending) {
        self.wait(slot).commands.push_front(pending);
    }

    /// Takes the commands of `partition` that somebody waits for, each queue's in their order. A queue
    /// behind a read stays until that has come.
    pub(super) fn take_of(&mut self, partition: u16) -> Vec<Pending> {
        let mut taken = Vec::new();
        let mut ended = Vec::new();
        for slot in self.by_hash.values().copied() {
            let wait = self.slots[slot as usize].wait.as_mut();
            let Some(wait) = wait.filter(|wait| wait.hash.partition() == partition) else {
                continue;
            };
            let all = core::mem::take(&mut wait.commands);
            let is_asked = |pending: &Pending| pending.caller.token.is_some();
            let (asked, own): (VecDeque<_>, _) = all.into_iter().partition(is_asked);
            wait.commands = own;
            taken.extend(asked);
            if let State::Stalled(until) = wait.state
                && wait.commands.is_empty()
            {
                self.stalled.remove(&(until, slot));
                ended.push(slot);
            }
        }
        for slot in ended {
            self.end(slot);
        }
        taken
    }

    /// Takes back the memory of a command that is done.
    pub(super) fn recycle(&mut self, pending: Pending) {
        self.buffers.recycle(pending.command);
    }

    /// The key of the first command, which a read is wanted for.
    pub(super) fn first_key(&self, slot: u32) -> Option<(&[u8], KeyHash)> {
        let wait = self.slots[slot as usize].wait.as_ref()?;
        let first = wait.commands.front()?;
        Some((first.command.key(), first.command.hash))
    }

    /// Claims one of the reads that may be under way; without one the queue waits its turn.
    pub(super) fn claim_load(&mut self, slot: u32) -> Option<Ticket> {
        if self.loads >= self.loads_max {
            self.wait(slot).state = State::Waiting;
            self.waiting.push_back(slot);
            return None;
        }
        self.loads += 1;
        let wait = self.wait(slot);
        wait.state = State::Loading;
        wait.overtaken = false;
        let generation = self.slots[slot as usize].generation;
        Some(Ticket { slot, generation })
    }

    /// What has a hash is changed by somebody who does not join the queue.
    pub(super) fn overtake(&mut self, hash: KeyHash) {
        if let Some(slot) = self.behind(hash) {
            self.wait(slot).overtaken = true;
        }
    }

    /// The queue that a finished read belongs to, and whether it must not be relied upon; none for
    /// a stale ticket.
    pub(super) fn loaded(&mut self, ticket: Ticket, key: &[u8]) -> Option<(u32, bool)> {
        let entry = self.slots.get_mut(ticket.slot as usize)?;
        if entry.generation != ticket.generation {
            return None;
        }
        let wait = entry.wait.as_mut()?;
        if wait.state != State::Loading {
            return None;
        }
        wait.state = State::Open;
        wait.read.clear();
        if !wait.overtaken {
            wait.read.extend_from_slice(key);
        }
        self.loads -= 1;
        Some((ticket.slot, wait.overtaken))
    }

    /// The next queue whose read may now be asked for.
    pub(super) fn next_waiting(&mut self) -> Option<u32> {
        if self.loads >= self.loads_max {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Whether the queue's last read was for `key`: reading again would bring nothing new.
    pub(super) fn has_read(&self, slot: u32, key: &[u8]) -> bool {
        self.slots[slot as usize]
            .wait
            .as_ref()
            .is_some_and(|wait| wait.read == key)
    }

    /// Reads under way or wanted.
    pub(super) fn loads(&self) -> usize {
        self.loads + self.waiting.len()
    }

    /// Lets the queue wait for the disk, at most until then.
    pub(super) fn stall(&mut self, slot: u32, until: Time) {
        let wait = self.wait(slot);
        let mut until = until;
        if let Some(first) = wait.commands.front_mut() {
            until = first.until.map_or(until, |before| before.min(until));
            first.until = Some(until);
        }
        wait.state = State::Stalled(until);
        // What the read has brought may be gone from memory by then.
        wait.read.clear();
        self.stalled.insert((until, slot));
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Whether any queue is stalled.
    pub(super) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Takes the longest stalled queue whose first command is `ready`.
    pub(super) fn next_stalled(&mut self, ready: impl Fn(&OwnedCommand) -> bool) -> Option<u32> {
        let is_ready = |slot: u32| {
            let wait = self.slots[slot as usize].wait.as_ref();
            let first = wait.and_then(|wait| wait.commands.front());
            first.is_none_or(|first| ready(&first.command))
        };
        let found = self.stalled.iter().find(|(_, slot)| is_ready(*slot));
        let (until, slot) = *found?;
        self.stalled.remove(&(until, slot));
        self.wait(slot).state = State::Open;
        Some(slot)
    }

    /// Takes a queue that has been stalled for too long.
    pub(super) fn next_overdue(&mut self, now: Time) -> Option<u32> {
        let (until, _) = *self.stalled.first()?;
        if until > now {
            return None;
        }
        self.next_stalled(|_| true)
    }

    /// When the next stalled queue is overdue.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.stalled.first().map(|(until, _)| *until)
    }
}
