//! What a later run of this node has to know of its cluster, and how this one fares.
//!
//! Decides what is kept, and when it has changed. Refuses to know how notes get to the disk.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ClusterSettings, Node, NodeOut};
use crate::disk::{NOTE_LAYOUT, NOTE_MEMBERS};
use crate::id::WorkerId;
use crate::layout::{Health, LayoutState};
use crate::member::Guid;
use crate::membership::{Input, SEEDS_MAX};
use crate::notes;
use crate::time::Now;

/// What has changed and is to be kept.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    pub(super) formation: bool,
    pub(super) layout: bool,
    /// Perhaps.
    pub(super) members: bool,
    /// The number that this run has to have.
    pub(super) generation: Option<u64>,
    members_kept: Vec<u8>,
}

impl Node {
    /// Hands over each note that is to be kept, with its name.
    pub(crate) fn take_notes(&mut self, mut keep: impl FnMut(&[u8], Vec<u8>)) {
        if core::mem::take(&mut self.keeping.formation)
            && let Some(formation) = self.membership.formation()
        {
            let generation = self.membership.identity().id.generation;
            let order = self.membership.formations();
            let name = notes::formation_name(WorkerId(0));
            keep(&name, notes::formation(generation, order, formation));
        }
        if core::mem::take(&mut self.keeping.layout) {
            let entries = self.membership.layout().entries();
            keep(NOTE_LAYOUT, notes::layout(entries));
        }
        if core::mem::take(&mut self.keeping.members) {
            let content = self.members_note();
            if content != self.keeping.members_kept {
                keep(NOTE_MEMBERS, content.clone());
                self.keeping.members_kept = content;
            }
        }
    }

    /// The number that this run is to have, once it is on disk: see
    /// [`handle_generation_kept`](Self::handle_generation_kept).
    pub(crate) fn take_generation(&mut self) -> Option<u64> {
        self.keeping.generation.take()
    }

    /// The number that this run is to have is on disk, or there is no disk.
    pub(crate) fn handle_generation_kept(
        &mut self,
        now: Now,
        generation: u64,
        out: &mut NodeOut<'_>,
    ) {
        if generation > self.membership.identity().id.generation {
            self.tell(now, Input::Generation(generation), out);
            self.renew_view();
        }
    }

    /// How this node fares has changed, or has not.
    pub(crate) fn note_health(
        &mut self,
        now: Now,
        flags: Health,
        set: bool,
        out: &mut NodeOut<'_>,
    ) {
        let health = self.health.with(flags, set);
        if health != self.health {
            self.health = health;
            self.tell(now, Input::Health(health), out);
        }
    }

    /// Where the others are reached, but for those that have left for good.
    fn members_note(&self) -> Vec<u8> {
        let own = self.membership.identity().id.guid;
        let descriptors = self.membership.descriptors();
        let others = descriptors.filter(|descriptor| {
            let place = self.membership.layout().entry(&descriptor.guid);
            let has_left = place.is_some_and(|place| place.state == LayoutState::Left);
            descriptor.guid != own && !has_left
        });
        let others = others.take(SEEDS_MAX);
        notes::members(others.map(|it| (it.guid, &*it.peer_address)))
    }
}

/// Looks for those whom the last run knew, too. The operator's seeds come first.
pub(super) fn add_members(settings: &mut ClusterSettings) {
    let known: Vec<(Guid, String)> = core::mem::take(&mut settings.members);
    for (_, address) in known {
        let is_new = address != settings.peer_address && !settings.seeds.contains(&address);
        if is_new && settings.seeds.len() < SEEDS_MAX {
            settings.seeds.push(address);
        }
    }
}
