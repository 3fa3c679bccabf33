//! Answers that wait a moment for those behind them.
//!
//! Decides whether what a session has to say leaves now, or with an answer that another worker or
//! another node is about to give. Refuses to know who that is.
//!
//! Of a pipeline of requests those whose keys are here are answered at once, and the others a
//! little later. Written apart that is two system calls, two packets and two wake-ups of the client
//! where there need be one each. Nothing waits that has no answer behind it.

use alloc::collections::VecDeque;

use crate::id::ConnId;
use crate::machine::Actions;
use crate::time::Time;

use super::Links;

/// How long answers wait at most, in milliseconds: a few times what a hop takes.
const WAIT_MS_MAX: u64 = 1;
/// Bytes from which on they don't.
const BYTES_MAX: usize = 16 * 1024;

/// Sessions whose answers wait.
#[derive(Debug, Default)]
pub(super) struct Corked {
    /// In the order in which they stop waiting. A session is here once, and perhaps without need.
    until: VecDeque<(Time, ConnId)>,
}

impl Corked {
    /// When the first of them stops waiting.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.until.front().map(|(until, _)| *until)
    }
}

impl Links {
    /// Has the driver write what a session has to say, now or in a moment.
    pub(super) fn write(&mut self, now: Time, conn: ConnId, actions: &mut Actions) {
        let stopping = self.stopping;
        let Some(session) = self.session(conn) else {
            return;
        };
        let bytes = session.output.len();
        if bytes == 0 {
            return;
        }
        if stopping || session.is_in_order() || bytes >= BYTES_MAX {
            // What is said to one connection is mostly said together.
            if actions.write.last() != Some(&conn) {
                actions.write.push(conn);
            }
        } else if !session.corked {
            session.corked = true;
            let until = now.plus_millis(WAIT_MS_MAX);
            self.corked.until.push_back((until, conn));
        }
    }

    /// Has those written that have waited long enough: all, where nothing more will be answered.
    pub(super) fn uncork_due(&mut self, now: Time, actions: &mut Actions) {
        let stopping = self.stopping;
        let is_due = |(until, _): &mut (Time, ConnId)| stopping || *until <= now;
        while let Some((_, conn)) = self.corked.until.pop_front_if(is_due) {
            if let Some(session) = self.session(conn) {
                session.corked = false;
                actions.write.push(conn);
            }
        }
    }

    /// Forgets those that have been written, so that nobody is woken for them.
    pub(super) fn uncork_sent(&mut self) {
        while let Some((_, conn)) = self.corked.until.front().copied() {
            if let Some(session) = self.session(conn) {
                if !session.output.is_empty() {
                    return;
                }
                session.corked = false;
            }
            self.corked.until.pop_front();
        }
    }
}
