//! flush_all: of this node alone, or as this node's part in that of all nodes.
//!
//! Decides which rounds of questions to the workers carry it out. Refuses to know which nodes take
//! part, which the node decides.

use crate::id::{ConnId, WorkerId};
use crate::machine::Actions;
use crate::message::{Answer, FlushName, Message, Question, Token};
use crate::node::FlushOrder;
use crate::protocol::peer::{FlushStep, Frame};
use crate::time::Now;

use super::Worker;
use super::gather::{Asker, Gathered, Purpose};

/// What workers are asked in a step of a flush of all nodes.
pub(super) const fn question(name: FlushName, step: FlushStep) -> Question {
    match step {
        FlushStep::Hold => Question::BeginFlush(name),
        FlushStep::Drop { version } => Question::Flush(Some(name), version),
        FlushStep::At { unix_ms, noted } => Question::FlushAt { unix_ms, noted },
    }
}

impl Worker {
    pub(super) fn perform_flush(
        &mut self,
        now: Now,
        conn: ConnId,
        delay_s: u32,
        noreply: bool,
        actions: &mut Actions,
    ) {
        self.shard.figures.cmd_flush += 1;
        let at_unix_ms = match delay_s {
            0 => 0,
            _ => now.unix_ms + u64::from(delay_s) * 1000,
        };
        let purpose = match at_unix_ms {
            _ if self.cluster.is_member => Purpose::FlushEverywhere(at_unix_ms),
            0 => Purpose::BeginFlush(self.own_flush()),
            _ => Purpose::FlushAt(at_unix_ms),
        };
        self.ask_for(now, conn, purpose, !noreply, actions);
    }

    /// A name for a flush of this node alone.
    fn own_flush(&self) -> FlushName {
        FlushName {
            node: None,
            number: self.rounds.next() << 16 | u64::from(self.id.0),
        }
    }

    /// Has the node flush all nodes, here or on worker 0, for the round of `token`.
    pub(super) fn flush_everywhere(
        &mut self,
        now: Now,
        token: Token,
        at_unix_ms: u64,
        actions: &mut Actions,
    ) {
        if self.id != WorkerId(0) {
            let message = Message::FlushEverywhere { token, at_unix_ms };
            actions.messages.push((WorkerId(0), message));
            return;
        }
        self.with_node(now, actions, |node, out| {
            node.handle_flush(now, token, at_unix_ms, out);
        });
    }

    /// Another node wants this one to take a step of its flush.
    pub(super) fn begin_flush_step(
        &mut self,
        now: Now,
        conn: ConnId,
        number: u64,
        step: FlushStep,
        actions: &mut Actions,
    ) {
        let Some(node) = self.partner_node(conn) else {
            return;
        };
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = true;
        }
        let node = Some(node);
        let purpose = Purpose::FlushStep(FlushName { node, number }, step);
        self.begin_round(now, Asker::Peer(conn), purpose, actions);
    }

    /// All workers have taken a step.
    pub(super) fn end_flush_step(
        &mut self,
        now: Now,
        asker: Asker,
        name: FlushName,
        step: FlushStep,
        gathered: &Gathered,
        actions: &mut Actions,
    ) {
        let (version, held) = (gathered.version, !gathered.lapsed);
        let Asker::Peer(conn) = asker else {
            self.with_node(now, actions, |node, out| {
                node.handle_flush_step(now, name.number, step, version, held, out);
            });
            return;
        };
        self.send_frame(conn, &Frame::FlushReply { version, held });
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = false;
        }
        self.runnable_peers.push(conn);
    }

    /// Does what the node wants done.
    pub(super) fn carry_out_flush(&mut self, now: Now, order: FlushOrder, actions: &mut Actions) {
        match order {
            FlushOrder::Step { number, step } => {
                let node = self.cluster.me();
                let purpose = Purpose::FlushStep(FlushName { node, number }, step);
                self.begin_round(now, Asker::Own, purpose, actions);
            }
            FlushOrder::Adopt { version } => {
                self.begin_round(now, Asker::Own, Purpose::Flush(None, version), actions);
            }
            FlushOrder::Note { unix_ms, noted } => {
                let purpose = Purpose::NoteFlush { unix_ms, noted };
                self.begin_round(now, Asker::Own, purpose, actions);
            }
            FlushOrder::Tell(token, reached) => {
                let answer = match reached {
                    true => Answer::Done,
                    false => Answer::Unreached,
                };
                if token.worker == self.id {
                    self.handle_tell(now, token, answer, actions);
                } else {
                    let message = Message::Tell { token, answer };
                    actions.messages.push((token.worker, message));
                }
            }
        }
    }

    /// Drops everything up to `version`.
    pub(super) fn answer_flush(
        &mut self,
        now: Now,
        name: Option<FlushName>,
        version: u64,
        actions: &mut Actions,
    ) -> Answer {
        let is_alone = name.is_some_and(|name| name.node.is_none());
        if version > 0 && (is_alone || version >= self.flush_noted) {
            (self.flush_at_unix_ms, self.flush_noted) = (0, version);
            self.shard.note_flush_at(now, 0);
        }
        let mut router = super::Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        let held = self.shard.flush(now, name, version, &mut router);
        if version > 0 && self.cluster.node.is_some() {
            self.with_node(now, actions, |node, _| node.note_flushed(version));
        }
        match held {
            true => Answer::Done,
            false => Answer::Lapsed,
        }
    }

    /// Takes note of a flush to come, unless a later word is known.
    pub(super) fn answer_flush_at(
        &mut self,
        now: Now,
        unix_ms: u64,
        noted: u64,
        actions: &mut Actions,
    ) -> Answer {
        if noted < self.flush_noted {
            return Answer::Done;
        }
        (self.flush_at_unix_ms, self.flush_noted) = (unix_ms, noted);
        self.shard.note_flush_at(now, unix_ms);
        if self.cluster.node.is_some() {
            self.with_node(now, actions, |node, _| node.note_flush_at(unix_ms, noted));
        }
        Answer::Done
    }

    /// Flushes if a pending flush has become due, on a node that is alone; in a cluster its node
    /// does that.
    #[inline]
    pub(super) fn drive_pending_flush(&mut self, now: Now, actions: &mut Actions) {
        let is_due = self.flush_at_unix_ms != 0 && now.unix_ms >= self.flush_at_unix_ms;
        if !is_due || self.cluster.is_member {
            return;
        }
        self.flush_at_unix_ms = 0;
        if self.id == WorkerId(0) {
            let purpose = Purpose::BeginFlush(self.own_flush());
            self.begin_round(now, Asker::Own, purpose, actions);
        }
    }
}
