//! One direction of a connection: bytes on their way, and bytes that have arrived.
//!
//! Decides that order is kept and that room is bounded, as a socket's buffers are. Refuses to
//! know who writes and who reads.

use std::collections::VecDeque;

use zufar_core::time::Time;

/// Something on its way.
#[derive(Debug)]
enum Segment {
    Bytes(Vec<u8>),
    End,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    in_flight: VecDeque<Segment>,
    in_flight_bytes: usize,
    arrived: VecDeque<u8>,
    capacity: usize,
    /// Nothing overtakes what was sent before.
    last_arrival: Time,
    ended: bool,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            arrived: VecDeque::new(),
            capacity,
            last_arrival: Time::ZERO,
            ended: false,
        }
    }

    /// Bytes that a writer could put in now.
    pub(crate) fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.in_flight_bytes + self.arrived.len())
    }

    /// Sends `bytes`, which fit; they arrive at the time returned.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, arrival: Time) -> Time {
        self.in_flight_bytes += bytes.len();
        self.put(Segment::Bytes(bytes), arrival)
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self, arrival: Time) -> Time {
        self.put(Segment::End, arrival)
    }

    fn put(&mut self, segment: Segment, arrival: Time) -> Time {
        self.in_flight.push_back(segment);
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }

    /// The next segment arrives.
    pub(crate) fn arrive(&mut self) {
        match self.in_flight.pop_front() {
            Some(Segment::Bytes(bytes)) => {
                self.in_flight_bytes -= bytes.len();
                self.arrived.extend(bytes);
            }
            Some(Segment::End) => self.ended = true,
            None => {}
        }
    }

    /// What is on its way will never arrive, but for its first `kept` segments.
    pub(crate) fn truncate(&mut self, kept: usize) {
        self.in_flight.truncate(kept);
        let bytes = |segment: &Segment| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::End => 0,
        };
        self.in_flight_bytes = self.in_flight.iter().map(bytes).sum();
    }

    /// Segments on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes up to `bytes_max` of what has arrived.
    pub(crate) fn read(&mut self, bytes_max: usize) -> Vec<u8> {
        let bytes = self.arrived.len().min(bytes_max);
        let (first, second) = self.arrived.as_slices();
        let cut = bytes.min(first.len());
        let read = [&first[..cut], &second[..bytes - cut]].concat();
        self.arrived.drain(..bytes);
        read
    }

    /// Whether a read would give bytes or the end.
    pub(crate) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ended
    }

    /// Whether all has been read, and the end is there.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ended && self.arrived.is_empty()
    }
}
