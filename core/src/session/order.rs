//! Answers in their order, though they come in any.
//!
//! Decides which answer leaves next and what leaves with it. Refuses to know what commands do,
//! and who carries them out.
//!
//! A command whose answer comes later has a slot. One behind it that is answered at once needs
//! none: its answer lies behind the slot and leaves with that. The words of commands that wait, and
//! what lies behind them, are one buffer, in the order in which they leave.

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::output::{Buffers, Output};
use super::{Located, Rendering, Session};
use crate::command::{Failure, Outcome, Value};
use crate::member::Guid;
use crate::planted::{self, Bug};
use crate::protocol::{ErrorLine, Sink};
use crate::time::{Now, Time};

/// Kept bytes of which more than this have left are moved to the front, if those are most.
const LEFT_BYTES_MAX: usize = 16 * 1024;

/// How an answer that comes later is put into words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    /// By the command line, which is kept.
    Line,
    /// As one VALUE of a get, whose key is kept.
    Value { with_cas: bool },
    /// By whoever fills the slot.
    Prepared,
}

/// A place in the order of answers.
#[derive(Debug)]
struct Slot {
    words: Words,
    /// Where the command line is kept, or the key of a get.
    kept_at: u64,
    context_bytes: usize,
    /// Answers behind it that are kept behind that.
    behind_bytes: usize,
    /// The answer, if it has come before another one that is ahead of it.
    output: Output,
    ready: bool,
    failed: Option<Failure>,
    /// Who has carried it out may be asked for.
    names_holder: bool,
    /// The other node that has carried it out, if that may be asked for.
    holder: Option<Guid>,
    /// Takes its turn and says nothing.
    muted: bool,
    started: Time,
    /// A get ends with it, and says whether its records are located.
    ends: Option<bool>,
}

/// What a session keeps until it leaves: bytes in, in their order, and out.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// The position of the first of them, counted since the session began.
    first: u64,
    /// How many of them have left.
    left: usize,
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    /// Where bytes are appended.
    fn sink(&mut self, buffers: &mut Buffers) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
        &mut self.bytes
    }

    fn get(&self, position: u64, bytes: usize) -> &[u8] {
        let start = (position - self.first) as usize;
        &self.bytes[start..start + bytes]
    }

    /// All before `position` has left.
    fn leave(&mut self, position: u64) {
        self.left = (position - self.first) as usize;
        if self.left > LEFT_BYTES_MAX && self.left > self.bytes.len() / 2 {
            self.bytes.drain(..self.left);
            self.first = position;
            self.left = 0;
        }
    }

    fn clear(&mut self, buffers: &mut Buffers) {
        self.first = self.end();
        self.left = 0;
        buffers.give(core::mem::take(&mut self.bytes));
    }
}

/// The answers that a session waits for, in their order.
#[derive(Debug, Default)]
pub(super) struct Order {
    slots: VecDeque<Slot>,
    first_sequence: u64,
    kept: Kept,
}

impl Order {
    /// Answers that have not come, or not left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that wait with them.
    #[inline]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes.len() - self.kept.left
    }

    pub(super) fn clear(&mut self, buffers: &mut Buffers) {
        for mut slot in self.slots.drain(..) {
            slot.output.clear(buffers);
        }
        self.kept.clear(buffers);
    }

    /// The place of a slot that waits.
    fn index(&self, sequence: u64) -> Option<usize> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        let slot = self.slots.get(index)?;
        (!slot.ready).then_some(index)
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let index = self.index(sequence)?;
        self.slots.get_mut(index)
    }
}

impl Session {
    /// Whether nothing is left to be said or waited for.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_in_order() && self.output.is_empty()
    }

    /// Whether the next answer may go straight to the output.
    #[inline]
    pub(crate) fn is_in_order(&self) -> bool {
        self.order.slots.is_empty()
    }

    /// The number that the next slot will have.
    #[inline]
    pub(crate) fn next_sequence(&self) -> u64 {
        self.order.first_sequence + self.order.slots.len() as u64
    }

    /// Reserves the next place in the order of answers.
    pub(crate) fn reserve(
        &mut self,
        words: Words,
        context: &[u8],
        now: Now,
        buffers: &mut Buffers,
    ) -> u64 {
        let sequence = self.next_sequence();
        let kept_at = self.order.kept.end();
        if !context.is_empty() {
            self.order.kept.sink(buffers).extend_from_slice(context);
        }
        self.keys_wait |= matches!(words, Words::Value { .. });
        self.order.slots.push_back(Slot {
            words,
            kept_at,
            context_bytes: context.len(),
            behind_bytes: 0,
            output: Output::default(),
            ready: false,
            failed: None,
            names_holder: matches!(words, Words::Line) || self.keys.located,
            holder: None,
            muted: false,
            started: now.time,
            ends: None,
        });
        sequence
    }

    /// Puts an outcome into its slot, if the slot still waits for it.
    pub(crate) fn complete(
        &mut self,
        sequence: u64,
        outcome: &Outcome<'_>,
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
    ) -> bool {
        let Some(index) = self.order.index(sequence) else {
            return false;
        };
        let slot = &mut self.order.slots[index];
        let words = self.order.kept.get(slot.kept_at, slot.context_bytes);
        let located = Located {
            holder: slot.holder.as_ref(),
            started: slot.started,
        };
        // The first one leaves now: it needs no place of its own.
        let output = match index {
            0 => &mut self.output,
            _ => &mut slot.output,
        };
        output.prepare(buffers);
        slot.failed = context.put(slot.words, words, outcome, located, now, output);
        slot.ready = true;
        self.flush_ready(now, context, buffers);
        true
    }

    /// Answers a command that has been carried out at once, behind others that have not.
    pub(crate) fn answer_behind(
        &mut self,
        words: Words,
        line: &[u8],
        outcome: &Outcome<'_>,
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
    ) {
        let located = Located {
            holder: None,
            started: now.time,
        };
        if planted::has(Bug::AnswerOutOfOrder) {
            self.output.prepare(buffers);
            context.put(words, line, outcome, located, now, &mut self.output);
            return;
        }
        if !self.needs_slot(words, outcome)
            && let Some(last) = self.order.slots.back_mut()
        {
            let sink = self.order.kept.sink(buffers);
            let before = sink.len();
            context.put(words, line, outcome, located, now, sink);
            last.behind_bytes += sink.len() - before;
            return;
        }
        let sequence = self.reserve(words, line, now, buffers);
        self.complete(sequence, outcome, now, context, buffers);
    }

    /// Whether an answer has to be remembered as one: its value is shared, or the end of its get
    /// says more than END.
    fn needs_slot(&self, words: Words, outcome: &Outcome<'_>) -> bool {
        let is_shared = match outcome {
            Outcome::Item(item) => matches!(item.value, Value::Large(_)),
            _ => false,
        };
        let is_told_later = match words {
            Words::Value { .. } => self.keys.located || matches!(outcome, Outcome::Failed(_)),
            Words::Line => false,
            Words::Prepared => true,
        };
        is_shared || is_told_later
    }

    /// Fills a prepared slot with `text`.
    pub(crate) fn fill(
        &mut self,
        sequence: u64,
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
        fill: impl FnOnce(&mut Output),
    ) -> bool {
        let Some(slot) = self.order.slot(sequence) else {
            return false;
        };
        slot.output.prepare(buffers);
        if !slot.muted {
            fill(&mut slot.output);
        }
        slot.ready = true;
        self.flush_ready(now, context, buffers);
        true
    }

    /// Has a slot take its turn without a word.
    pub(crate) fn mute(&mut self, sequence: u64, muted: bool) {
        if let Some(slot) = self.order.slot(sequence) {
            slot.muted = muted;
        }
    }

    /// Moves answers to the output, as far as they are complete.
    fn flush_ready(&mut self, now: Now, context: &Rendering<'_>, buffers: &mut Buffers) {
        while let Some(mut slot) = self.order.slots.pop_front_if(|slot| slot.ready) {
            self.order.first_sequence += 1;
            self.output.prepare(buffers);
            if slot.failed.is_some() {
                self.keys_failed = slot.failed;
            } else if let Words::Value { .. } = slot.words {
                self.note_key(slot.holder);
            }
            self.output.append(&mut slot.output, buffers);
            if let Some(located) = slot.ends {
                self.end_keys(located, slot.started, now, context);
            }
            let behind_at = slot.kept_at + slot.context_bytes as u64;
            let kept = &mut self.order.kept;
            if slot.behind_bytes > 0 {
                self.output.put(kept.get(behind_at, slot.behind_bytes));
            }
            kept.leave(behind_at + slot.behind_bytes as u64);
        }
        if self.is_in_order() {
            self.order.kept.clear(buffers);
        }
    }

    /// Ends the answer of a get: END, or the error of a key that could not be looked up.
    fn end_keys(&mut self, located: bool, started: Time, now: Now, context: &Rendering<'_>) {
        match self.keys_failed.take() {
            Some(failure) => self
                .output
                .put(ErrorLine::of_failure(failure, false).as_bytes()),
            None => self.output.put(b"END\r\n"),
        }
        if located {
            let own = self.keys_own || self.keys_holders.is_empty();
            let own = own.then_some(context.guid);
            let others = self.keys_holders.iter().map(Guid::as_str);
            let guids: Vec<&str> = own.into_iter().chain(others).collect();
            context.locate(&guids, started, now, &mut self.output);
        }
        self.keys_own = false;
        self.keys_holders.clear();
    }

    /// A key of the get under way was carried out by this node at once.
    #[inline]
    pub(crate) const fn note_own_key(&mut self) {
        self.keys_own = true;
    }

    fn note_key(&mut self, holder: Option<Guid>) {
        match holder {
            None => self.keys_own = true,
            Some(holder) if self.keys_holders.contains(&holder) => {}
            Some(holder) => self.keys_holders.push(holder),
        }
    }

    /// Another node has carried out what a slot waits for.
    pub(crate) fn note_holder(&mut self, sequence: u64, holder: &Guid) {
        if let Some(slot) = self.order.slot(sequence)
            && slot.names_holder
        {
            slot.holder = Some(*holder);
        }
    }

    /// Ends the get under way: at once where nothing is waited for, else in its turn.
    pub(crate) fn finish_keys(&mut self, now: Now, context: &Rendering<'_>, buffers: &mut Buffers) {
        let located = self.keys.located;
        let started = self.keys_started;
        let Some(last) = self.order.slots.back_mut() else {
            self.output.prepare(buffers);
            self.end_keys(located, started, now, context);
            return;
        };
        if !self.keys_wait && !located {
            return self.say(b"END\r\n", buffers);
        }
        if self.keys_wait && !last.ready && last.behind_bytes == 0 {
            last.ends = Some(located);
            last.started = started;
            return;
        }
        let sequence = self.reserve(Words::Prepared, &[], now, buffers);
        if let Some(slot) = self.order.slot(sequence) {
            slot.ends = Some(located);
            slot.started = started;
        }
        self.fill(sequence, now, context, buffers, |_| {});
    }

    /// A key of the get under way that failed at once.
    pub(crate) fn note_key_failure(&mut self, failure: Failure) {
        self.keys_failed = Some(failure);
    }

    /// Says `text` in its turn.
    pub(crate) fn say(&mut self, text: &[u8], buffers: &mut Buffers) {
        match self.order.slots.back_mut() {
            None => {
                self.output.prepare(buffers);
                self.output.put(text);
            }
            Some(last) => {
                last.behind_bytes += text.len();
                self.order.kept.sink(buffers).extend_from_slice(text);
            }
        }
    }
}
