//! What goes to other workers at the end of a turn.
//!
//! Decides how many requests may be under way to each other worker, so that no queue grows
//! without bound; answers always may go. Refuses to know what requests and answers say.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::id::WorkerId;
use crate::message::{Message, Parcel};

/// Parcels kept for later turns.
const SPARE_MAX: usize = 16;

pub(super) struct Outbox {
    /// For each worker the parcel of this turn.
    parcels: Vec<Option<Box<Parcel>>>,
    credit: Vec<u32>,
    /// Workers to which no more requests may go.
    exhausted: usize,
    #[expect(clippy::vec_box, reason = "parcels travel in their boxes")]
    spare: Vec<Box<Parcel>>,
    dirty: bool,
}

impl Outbox {
    pub(super) fn new(workers: u16, credit: u32) -> Self {
        Self {
            parcels: (0..workers).map(|_| None).collect(),
            credit: (0..workers).map(|_| credit).collect(),
            exhausted: 0,
            spare: Vec::new(),
            dirty: false,
        }
    }

    /// This turn's parcel for `worker`.
    pub(super) fn parcel(&mut self, worker: WorkerId) -> &mut Parcel {
        self.dirty = true;
        let spare = &mut self.spare;
        self.parcels[usize::from(worker.0)].get_or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// Whether one more request may go to any worker.
    #[inline]
    pub(super) fn has_credit(&self) -> bool {
        self.exhausted == 0
    }

    pub(super) fn spend(&mut self, worker: WorkerId) {
        let credit = &mut self.credit[usize::from(worker.0)];
        *credit -= 1;
        self.exhausted += usize::from(*credit == 0);
    }

    pub(super) fn earn(&mut self, worker: WorkerId, requests: usize) {
        let requests = u32::try_from(requests).expect("no more comes back than went out");
        let credit = &mut self.credit[usize::from(worker.0)];
        self.exhausted -= usize::from(*credit == 0 && requests > 0);
        *credit += requests;
    }

    /// Keeps the memory of a parcel that has been read.
    pub(super) fn keep(&mut self, mut parcel: Box<Parcel>) {
        if self.spare.len() < SPARE_MAX {
            parcel.clear();
            self.spare.push(parcel);
        }
    }

    /// Hands this turn's parcels to the driver.
    pub(super) fn post(&mut self, messages: &mut Vec<(WorkerId, Message)>) {
        if !core::mem::take(&mut self.dirty) {
            return;
        }
        for (worker, parcel) in (0..).zip(&mut self.parcels) {
            if let Some(parcel) = parcel.take_if(|parcel| !parcel.is_empty()) {
                messages.push((WorkerId(worker), Message::Parcel(parcel)));
            }
        }
    }
}
