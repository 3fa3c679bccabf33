//! One direction of a connection: bytes on their way, and bytes that have arrived.
//!
//! Decides that order is kept and that room is bounded, as a socket's buffers are. Refuses to
//! know who writes and who reads.

use std::collections::VecDeque;

use zufar_core::time::Time;

/// Something on its way.
#[derive(Debug)]
enum Segment {
    /// The connection is there.
    Start,
    Bytes(Vec<u8>),
    End,
}

impl Segment {
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Start | Self::End => 0,
        }
    }
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
    /// Bytes that have been read, of which the writer does not know yet.
    unacknowledged_bytes: usize,
    started: bool,
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
            unacknowledged_bytes: 0,
            started: false,
            ended: false,
        }
    }

    /// Bytes that a writer could put in now.
    pub(crate) fn room(&self) -> usize {
        let taken = self.in_flight_bytes + self.arrived.len() + self.unacknowledged_bytes;
        self.capacity.saturating_sub(taken)
    }

    /// Says that the connection is there, at the time returned.
    pub(crate) fn start(&mut self, arrival: Time) -> Time {
        self.put(Segment::Start, arrival)
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
        self.delay(arrival)
    }

    /// Something on its way is held up until `arrival`, and all that follows it: until the time
    /// returned.
    pub(crate) fn delay(&mut self, arrival: Time) -> Time {
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
            Some(Segment::Start) => self.started = true,
            Some(Segment::End) => self.ended = true,
            None => {}
        }
    }

    /// What is on its way will never arrive, but for its first `kept` segments.
    pub(crate) fn truncate(&mut self, kept: usize) {
        self.in_flight.truncate(kept);
        self.in_flight_bytes = self.in_flight.iter().map(Segment::bytes).sum();
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

    /// The writer does not learn that `bytes` have been read.
    pub(crate) fn leave_unacknowledged(&mut self, bytes: usize) {
        self.unacknowledged_bytes += bytes;
    }

    /// The writer learns of all that has been read. Says whether there was anything to learn.
    pub(crate) const fn acknowledge(&mut self) -> bool {
        std::mem::replace(&mut self.unacknowledged_bytes, 0) > 0
    }

    /// Whether the connection is there.
    pub(crate) fn is_started(&self) -> bool {
        self.started
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
