//! Connections to the peer port: other nodes, and commands that ask this one.
//!
//! Decides what a frame is answered with. Refuses to know how frames are laid out.

use crate::id::ConnId;
use crate::machine::Actions;
use crate::protocol::peer::{
    self, Frame, NodeState, NodeStatus, PeerError, Reason, common_version, decode,
};
use crate::session::Words;
use crate::time::Now;

use super::Worker;
use super::gather::{Asker, Gathered, Purpose};
use super::requests::Flow;

impl Worker {
    /// Takes the next frame of a peer connection.
    pub(super) fn drive_peer(
        &mut self,
        now: Now,
        conn: ConnId,
        input: &[u8],
        actions: &mut Actions,
    ) -> Flow {
        let Some(session) = self.links.session(conn) else {
            return Flow::Need;
        };
        let greeted = session.greeted;
        if session.finishing {
            // What a refused peer has sent on is as good as never read.
            return match input.len() {
                0 => Flow::Need,
                bytes => Flow::On(bytes),
            };
        }
        let (frame, consumed) = match decode(input, self.settings.limits.frame_bytes_max) {
            Ok(Some(found)) => found,
            Ok(None) => return Flow::Need,
            Err(error) => {
                self.refuse_peer(now, conn, &error);
                return Flow::On(input.len());
            }
        };
        match frame {
            Frame::Hello {
                lowest, highest, ..
            } => match common_version(lowest, highest) {
                Some(version) => {
                    if let Some(session) = self.links.session(conn) {
                        session.greeted = true;
                    }
                    let settings = alloc::sync::Arc::clone(&self.settings);
                    let guid = settings.guid.as_str();
                    self.send_frame(
                        now,
                        conn,
                        &Frame::HelloReply {
                            version,
                            guid,
                            node: None,
                        },
                    );
                }
                None => self.refuse_frame(
                    now,
                    conn,
                    Reason::Version,
                    "no peer protocol version that both speak",
                ),
            },
            Frame::StatusRequest if greeted => {
                let sequence = self.with_session(conn, |session, _, buffers| {
                    session.reserve(Words::Prepared, &[], now, buffers)
                });
                if let Some(sequence) = sequence {
                    let asker = Asker::Slot(conn, sequence);
                    self.begin_round(now, asker, Purpose::Status, actions);
                }
            }
            Frame::StatusRequest => {
                self.refuse_frame(now, conn, Reason::Order, "a hello comes first");
            }
            Frame::Unknown { .. } => {
                self.refuse_frame(now, conn, Reason::Frame, "a frame of an unknown kind");
            }
            Frame::StateRequest { .. } | Frame::DeathQuestion { .. } => {
                self.refuse_frame(now, conn, Reason::Busy, "not a member of a cluster");
            }
            Frame::StateReply { .. }
            | Frame::DeathAnswer { .. }
            | Frame::HelloReply { .. }
            | Frame::Refused { .. }
            | Frame::StatusReply { .. } => {
                self.refuse_frame(now, conn, Reason::Order, "an answer to no question");
            }
        }
        Flow::On(consumed)
    }

    fn refuse_peer(&mut self, now: Now, conn: ConnId, error: &PeerError) {
        let text = alloc::format!("{error}");
        self.refuse_frame(now, conn, Reason::Frame, &text);
    }

    fn refuse_frame(&mut self, now: Now, conn: ConnId, reason: Reason, text: &str) {
        self.send_frame(now, conn, &Frame::Refused { reason, text });
        if let Some(session) = self.links.session(conn) {
            session.finish();
        }
    }

    fn send_frame(&mut self, now: Now, conn: ConnId, frame: &Frame<'_>) {
        let mut bytes = self.links.buffers.take();
        peer::encode(frame, &mut bytes);
        self.say(now, conn, &bytes);
        self.links.buffers.give(bytes);
    }

    /// The answer to a status request: one node, this one.
    pub(super) fn status_frame(&self, gathered: &Gathered) -> alloc::vec::Vec<u8> {
        let figures = &gathered.figures;
        let node = NodeStatus {
            up: true,
            state: NodeState::Normal,
            disk: self.disk_state(gathered),
            address: &self.settings.peer_address,
            guid: &self.settings.guid,
            rack: &self.settings.rack,
            version: &self.settings.version,
            generation: 0,
            items: figures.curr_items,
            dirty_items: figures.dirty_items,
            dirty_bytes: figures.dirty_bytes,
            written_lag_ms: figures.written_lag_ms,
            synced_lag_ms: figures.synced_lag_ms,
            disk_items: figures.disk_items,
            disk_bytes: figures.disk_bytes,
            memory_bytes: figures.memory_bytes,
            memory_bytes_max: self.memory_bytes,
        };
        let nodes = alloc::vec![node];
        let mut bytes = alloc::vec::Vec::new();
        peer::encode(&Frame::StatusReply { nodes }, &mut bytes);
        bytes
    }
}
