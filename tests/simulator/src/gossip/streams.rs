//! Streams between processes: hello, exchange of states, questions about the dead.
//!
//! Decides what each end does with the frames that it gets, as a node would. Refuses to know when
//! they arrive.

use std::net::SocketAddr;

use zufar_core::member::{Guid, NodeId};
use zufar_core::membership::{Evidence, Formation, Input, Met};
use zufar_core::protocol::peer::{
    DeathVerdict, Frame, Introduction, VERSION_HIGHEST, VERSION_LOWEST, decode, encode,
};
use zufar_core::time::Now;

use super::host::Process;

/// Longest frame.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Longest part of a state: the frame around it takes a few bytes.
const PART_BYTES_MAX: usize = FRAME_BYTES_MAX - 64;

/// What a stream was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Exchange,
    Ask(NodeId),
    Reconnect(NodeId),
}

/// One end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) epoch: u32,
}

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) opener: End,
    pub(super) accepter: End,
    pub(super) purpose: Purpose,
    /// What the opener and the accepter have agreed to be of.
    pub(super) formations: [Option<Formation>; 2],
}

fn frame(frame: &Frame<'_>, into: &mut Vec<u8>) {
    encode(frame, into);
}

/// What the opener says first.
pub(super) fn hello(process: &Process) -> Vec<u8> {
    let guid = process.membership.identity().id.guid;
    let mut bytes = Vec::new();
    let hello = Frame::Hello {
        lowest: VERSION_LOWEST,
        highest: VERSION_HIGHEST,
        guid: guid.as_str(),
        node: Some(process.membership.introduction(None)),
    };
    frame(&hello, &mut bytes);
    bytes
}

/// What has come of the bytes that an end has got.
#[derive(Default)]
pub(super) struct Taken {
    /// To be sent to the other end.
    pub(super) reply: Vec<u8>,
    /// The stream has done what it was opened for.
    pub(super) over: bool,
    /// Whom an opener has met.
    pub(super) met: Option<Met>,
    /// What this end has agreed to be of.
    pub(super) formation: Option<Formation>,
}

/// One end of a stream gets bytes.
pub(super) struct Taking<'a> {
    pub(super) now: Now,
    pub(super) process: &'a mut Process,
    pub(super) number: u64,
    pub(super) from: SocketAddr,
    pub(super) purpose: Purpose,
    /// What this end has agreed to be of.
    pub(super) formation: Option<Formation>,
}

impl Taking<'_> {
    pub(super) fn take(mut self, mut bytes: &[u8]) -> Taken {
        let mut taken = Taken::default();
        while !bytes.is_empty() {
            let found = decode(bytes, FRAME_BYTES_MAX).expect("nodes speak the protocol");
            let (frame, consumed) = found.expect("what is said at once arrives at once");
            bytes = &bytes[consumed..];
            self.frame(frame, &mut taken);
        }
        taken.formation = self.formation;
        taken
    }

    fn input(&mut self, input: Input<'_>) {
        let process = &mut *self.process;
        process.membership.handle(self.now, input, &mut process.out);
    }

    fn merge(&mut self, records: &[u8]) {
        let formation = self.formation;
        self.input(Input::State { formation, records });
    }

    fn frame(&mut self, received: Frame<'_>, taken: &mut Taken) {
        match received {
            Frame::Hello {
                lowest,
                highest,
                guid,
                node,
            } => {
                let theirs = node.expect("nodes introduce themselves");
                self.greet((lowest, highest), guid, &theirs, taken);
            }
            Frame::HelloReply {
                version,
                guid,
                node,
            } => {
                let theirs = node.expect("nodes introduce themselves");
                self.greeted(version, guid, &theirs, taken);
            }
            Frame::Refused { reason, text } => {
                let from = self.from;
                self.input(Input::Refused { from, reason, text });
                taken.over = true;
            }
            Frame::StateRequest { last, records } => {
                self.merge(records);
                if last {
                    self.state(taken, |last, records| Frame::StateReply { last, records });
                }
            }
            Frame::StateReply { last, records } => {
                self.merge(records);
                taken.over = last;
            }
            Frame::DeathQuestion { guid, generation } => {
                let guid = Guid::new(guid).expect("a guid");
                let about = NodeId { guid, generation };
                let asker = self.number;
                self.input(Input::Asked { asker, about });
            }
            Frame::DeathAnswer {
                guid,
                generation,
                verdict,
            } => {
                let guid = Guid::new(guid).expect("a guid");
                let about = NodeId { guid, generation };
                self.input(Input::Answered { about, verdict });
                taken.over = true;
            }
            other => panic!("{other:?} on a stream between nodes"),
        }
    }

    fn greet(
        &mut self,
        versions: (u16, u16),
        guid: &str,
        theirs: &Introduction<'_>,
        taken: &mut Taken,
    ) {
        let process = &mut *self.process;
        let membership = &mut process.membership;
        let met = membership.meet(
            self.now,
            self.from,
            versions,
            guid,
            theirs,
            &mut process.out,
        );
        match met {
            Ok(met) => {
                self.formation = met.formation;
                let to = Guid::new(guid).ok();
                let own = membership.identity().id.guid;
                let reply = Frame::HelloReply {
                    version: VERSION_HIGHEST,
                    guid: own.as_str(),
                    node: Some(membership.introduction(to.as_ref())),
                };
                frame(&reply, &mut taken.reply);
            }
            Err(refusal) => {
                let refused = Frame::Refused {
                    reason: refusal.reason,
                    text: &refusal.theirs,
                };
                frame(&refused, &mut taken.reply);
                taken.over = true;
            }
        }
    }

    fn greeted(&mut self, version: u16, guid: &str, theirs: &Introduction<'_>, taken: &mut Taken) {
        let process = &mut *self.process;
        let versions = (version, version);
        let met = process.membership.meet(
            self.now,
            self.from,
            versions,
            guid,
            theirs,
            &mut process.out,
        );
        let Ok(met) = met else {
            taken.over = true;
            return;
        };
        taken.met = Some(met);
        self.formation = met.formation;
        match self.purpose {
            Purpose::Exchange if met.exchange => {
                self.state(taken, |last, records| Frame::StateRequest { last, records });
            }
            Purpose::Exchange => taken.over = true,
            Purpose::Ask(about) => {
                let question = Frame::DeathQuestion {
                    guid: about.guid.as_str(),
                    generation: about.generation,
                };
                frame(&question, &mut taken.reply);
            }
            Purpose::Reconnect(node) if node.guid == met.node.guid => {
                let node = met.node;
                let evidence = Evidence::Connected;
                self.input(Input::Evidence { node, evidence });
                taken.over = true;
            }
            Purpose::Reconnect(_) => taken.over = true,
        }
    }

    fn state(&self, taken: &mut Taken, of: for<'b> fn(bool, &'b [u8]) -> Frame<'b>) {
        let mut give = |records: &[u8], last: bool| {
            frame(&of(last, records), &mut taken.reply);
        };
        self.process.membership.state(PART_BYTES_MAX, &mut give);
    }
}

/// The answer to a question about the dead.
pub(super) fn answer(about: NodeId, verdict: DeathVerdict) -> Vec<u8> {
    let mut bytes = Vec::new();
    let answer = Frame::DeathAnswer {
        guid: about.guid.as_str(),
        generation: about.generation,
        verdict,
    };
    frame(&answer, &mut bytes);
    bytes
}
