//! What all nodes say of themselves, for who asks one of them.
//!
//! Decides whom to ask, for how long, and what is said of those that do not answer: what is known
//! of them here. Refuses to know how this node comes by its own figures.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::calls::Call;
use super::{Node, NodeOut, Place, Say, Then};
use crate::layout::LayoutState;
use crate::member::{Guid, NodeId};
use crate::membership::Liveness;
use crate::protocol::peer::{self, Frame, NodeFigures, NodeState, NodeStatus, Reason};
use crate::time::{Now, Time};

/// How long a survey takes at most, in milliseconds.
pub(super) const SURVEY_MS_MAX: u64 = 1000;
/// Nodes that are asked at once, at most.
const ASKED_MAX: usize = 32;
/// Who waits for a survey, at most.
const ASKERS_MAX: usize = 256;
/// Nodes in one frame of the answer: each takes less than 1200 bytes.
const PART_NODES_MAX: usize = 48;

/// The survey under way, if there is one: who asks meanwhile gets its answer, too.
#[derive(Debug, Default)]
pub(super) struct Survey {
    by: Option<Time>,
    askers: Vec<Place>,
    /// Who is to be asked.
    waiting: Vec<NodeId>,
    asked: BTreeSet<NodeId>,
    figures: BTreeMap<Guid, NodeFigures>,
}

impl Survey {
    pub(super) const fn next_deadline(&self) -> Option<Time> {
        self.by
    }

    /// Who has asked is gone.
    pub(super) fn forget(&mut self, place: Place) {
        self.askers.retain(|asker| *asker != place);
    }
}

/// What is known of one node.
struct Row {
    up: bool,
    state: NodeState,
    guid: Guid,
    address: String,
    rack: String,
    version: String,
    generation: u64,
    figures: Option<NodeFigures>,
}

impl Row {
    fn status(&self) -> NodeStatus<'_> {
        NodeStatus {
            up: self.up,
            state: self.state,
            address: &self.address,
            guid: self.guid.as_str(),
            rack: &self.rack,
            version: &self.version,
            generation: self.generation,
            figures: self.figures,
        }
    }
}

impl Node {
    /// Somebody at `place` wants to know how all nodes fare; `own` is how this one does.
    pub(crate) fn handle_survey(
        &mut self,
        now: Now,
        place: Place,
        own: NodeFigures,
        out: &mut NodeOut<'_>,
    ) {
        if self.survey.askers.len() >= ASKERS_MAX {
            super::refuse(place, Reason::Busy, "too many ask at once", out);
            return;
        }
        self.survey.askers.push(place);
        let guid = self.membership.identity().id.guid;
        self.survey.figures.insert(guid, own);
        if self.survey.by.is_none() {
            self.survey.by = Some(now.time.plus_millis(SURVEY_MS_MAX));
            let members = self.membership.members();
            let up = members.filter(|known| known.liveness != Liveness::Down);
            self.survey.waiting = up.map(|known| known.identity.id).collect();
            // The first is taken from the end.
            self.survey.waiting.reverse();
        }
        self.drive_survey(now.time, out);
    }

    /// Asks as many as may be, and answers once all have, or it has been long enough.
    pub(super) fn drive_survey(&mut self, now: Time, out: &mut NodeOut<'_>) {
        let Some(by) = self.survey.by else {
            return;
        };
        let calls = &self.calls;
        self.survey
            .asked
            .retain(|node| calls.has(Call::Figures { node: *node }));
        while self.survey.asked.len() < ASKED_MAX
            && let Some(node) = self.survey.waiting.pop()
        {
            let Some(known) = self.membership.member(&node.guid) else {
                continue;
            };
            let address = known.identity.address;
            let call = Call::Figures { node };
            if let Some(ticket) = self.calls.begin(now, call) {
                out.actions.connect.push((ticket, address));
                self.survey.asked.insert(node);
            }
        }
        let is_over = self.survey.asked.is_empty() && self.survey.waiting.is_empty();
        if is_over || by <= now {
            self.end_survey(out);
        }
    }

    /// A node has answered.
    pub(super) fn take_figures(&mut self, place: Place, nodes: &[NodeStatus<'_>]) {
        if let Some(Call::Figures { node }) = self.calls.of(place.conn)
            && self.survey.by.is_some()
            && let [status] = nodes
            && let Some(figures) = status.figures
        {
            self.survey.figures.insert(node.guid, figures);
        }
    }

    fn end_survey(&mut self, out: &mut NodeOut<'_>) {
        let survey = core::mem::take(&mut self.survey);
        let rows = self.rows(&survey.figures);
        let mut frames = Vec::new();
        let parts = rows.len().div_ceil(PART_NODES_MAX);
        for (index, part) in rows.chunks(PART_NODES_MAX).enumerate() {
            let nodes = part.iter().map(Row::status).collect();
            let last = index + 1 == parts;
            peer::encode(&Frame::StatusReply { last, nodes }, &mut frames);
        }
        for place in survey.askers {
            out.says.push(Say {
                place,
                frames: frames.clone(),
                then: Then::GoOn,
            });
        }
    }

    /// All nodes, by guid, this one included.
    fn rows(&self, figures: &BTreeMap<Guid, NodeFigures>) -> Vec<Row> {
        let own = self.membership.identity().id.guid;
        let mut guids = BTreeSet::from([own]);
        guids.extend(self.membership.members().map(|it| it.identity.id.guid));
        guids.extend(self.membership.layout().entries().map(|it| it.guid));
        let rows = guids.into_iter().map(|guid| self.row(guid, figures));
        // Who has left for good is shown only for as long as it still answers.
        let rows = rows.filter(|row| row.up || !self.has_left(&row.guid));
        rows.collect()
    }

    fn row(&self, guid: Guid, figures: &BTreeMap<Guid, NodeFigures>) -> Row {
        let me = self.membership.identity();
        let (identity, up) = match self.membership.member(&guid) {
            _ if guid == me.id.guid => (Some(me), true),
            Some(known) => (Some(&known.identity), known.liveness != Liveness::Down),
            None => (None, false),
        };
        let descriptor = self.membership.descriptor(&guid);
        let entry = self.membership.layout().entry(&guid);
        let address = match (descriptor, identity) {
            (Some(descriptor), _) => descriptor.peer_address.to_string(),
            (None, Some(identity)) => identity.address.to_string(),
            (None, None) => String::from("?"),
        };
        let known = identity.map(|identity| identity.id.generation);
        Row {
            up,
            state: entry.map_or(NodeState::Joining, |entry| shown(entry.state)),
            guid,
            address,
            rack: entry.map_or("?", |entry| &entry.rack).to_string(),
            version: descriptor.map_or("", |it| &it.version).to_string(),
            generation: known.or(entry.map(|it| it.generation)).unwrap_or(0),
            figures: figures.get(&guid).filter(|_| up).copied(),
        }
    }

    fn has_left(&self, guid: &Guid) -> bool {
        let entry = self.membership.layout().entry(guid);
        entry.is_some_and(|entry| entry.state == LayoutState::Left)
    }
}

const fn shown(state: LayoutState) -> NodeState {
    match state {
        LayoutState::Joining => NodeState::Joining,
        LayoutState::Normal => NodeState::Normal,
        LayoutState::Moving => NodeState::Moving,
        LayoutState::Leaving | LayoutState::Left => NodeState::Leaving,
    }
}
