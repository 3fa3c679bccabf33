//! How a record lies in a segment: a fixed head, optional fields, the key, a small value.
//!
//! Decides the bytes of a record and its length. Refuses to know segments and indexes.
//!
//! ```text
//! 0  version u64
//! 8  accessed_s u32
//! 12 value_bytes u32
//! 16 key_bytes u8
//! 17 frequency and disk state u8
//! 18 bits u16
//! 20 flags u32, expires_s u32, cas u64, handle u32: each if its bit is set
//!    key
//!    value, unless it has memory of its own (then `handle` names it)
//! ```

use super::{DiskState, Fields};

/// Records start at multiples of this.
pub(super) const ALIGN_BYTES: usize = 4;
/// Length of the fixed head.
pub(super) const HEADER_BYTES: usize = 20;
/// The longest record: every optional field, the longest key and the longest small value.
pub(super) const RECORD_BYTES_MAX: usize =
    (HEADER_BYTES + 20 + 255 + super::INLINE_BYTES_MAX).next_multiple_of(ALIGN_BYTES);
/// The highest frequency that is counted.
pub(super) const FREQUENCY_MAX: u8 = 3;

const FLAGS: u16 = 1;
const EXPIRES: u16 = 1 << 1;
const CAS: u16 = 1 << 2;
const LARGE: u16 = 1 << 3;
const LAYOUT: u16 = FLAGS | EXPIRES | CAS | LARGE;
const STALE: u16 = 1 << 4;
const TOKEN_SENT: u16 = 1 << 5;
const FETCHED: u16 = 1 << 6;
const TOMBSTONE: u16 = 1 << 7;
const ON_DISK: u16 = 1 << 8;
const DEAD: u16 = 1 << 9;

const FREQUENCY: u8 = 3;
const DISK_SHIFT: u8 = 2;

/// Length of the optional fields, by layout bits.
const OPTIONAL_BYTES: [u8; 16] = {
    let mut table = [0; 16];
    let mut bits = 0;
    while bits < 16 {
        table[bits] = optional_bytes(bits as u16);
        bits += 1;
    }
    table
};

const fn optional_bytes(bits: u16) -> u8 {
    let mut bytes = 0;
    if bits & FLAGS != 0 {
        bytes += 4;
    }
    if bits & EXPIRES != 0 {
        bytes += 4;
    }
    if bits & CAS != 0 {
        bytes += 8;
    }
    if bits & LARGE != 0 {
        bytes += 4;
    }
    bytes
}

/// The fixed head of a record, decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) version: u64,
    pub(super) accessed_s: u32,
    pub(super) value_bytes: u32,
    pub(super) key_bytes: u8,
    state: u8,
    bits: u16,
}

impl Header {
    /// The head that a record with these fields needs.
    pub(super) fn new(fields: &Fields, key_bytes: u8, value_bytes: u32, large: bool) -> Self {
        let mut header = Self {
            version: 0,
            accessed_s: 0,
            value_bytes,
            key_bytes,
            state: 0,
            bits: needed_bits(fields) | if large { LARGE } else { 0 },
        };
        header.set_fields(fields);
        header
    }

    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Self {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a record has a whole head");
        let [v0, v1, v2, v3, v4, v5, v6, v7, rest @ ..] = *head;
        let [a0, a1, a2, a3, b0, b1, b2, b3, key_bytes, state, c0, c1] = rest;
        Self {
            version: u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
            accessed_s: u32::from_le_bytes([a0, a1, a2, a3]),
            value_bytes: u32::from_le_bytes([b0, b1, b2, b3]),
            key_bytes,
            state,
            bits: u16::from_le_bytes([c0, c1]),
        }
    }

    #[inline]
    pub(super) fn write(&self, bytes: &mut [u8]) {
        let head: &mut [u8; HEADER_BYTES] =
            bytes.first_chunk_mut().expect("a record has a whole head");
        head[0..8].copy_from_slice(&self.version.to_le_bytes());
        head[8..12].copy_from_slice(&self.accessed_s.to_le_bytes());
        head[12..16].copy_from_slice(&self.value_bytes.to_le_bytes());
        head[16] = self.key_bytes;
        head[17] = self.state;
        head[18..20].copy_from_slice(&self.bits.to_le_bytes());
    }

    /// Where the key begins.
    #[inline]
    pub(super) fn key_start(&self) -> usize {
        HEADER_BYTES + usize::from(OPTIONAL_BYTES[usize::from(self.bits & LAYOUT)])
    }

    /// Length of the key and of the value that follows it.
    #[inline]
    pub(super) fn body_bytes(&self) -> usize {
        let value = if self.is_large() {
            0
        } else {
            self.value_bytes as usize
        };
        usize::from(self.key_bytes) + value
    }

    /// Length of the whole record, padding included.
    #[inline]
    pub(super) fn record_bytes(&self) -> usize {
        (self.key_start() + self.body_bytes()).next_multiple_of(ALIGN_BYTES)
    }

    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.bits & LARGE != 0
    }

    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.bits & DEAD != 0
    }

    #[inline]
    pub(super) fn is_tombstone(&self) -> bool {
        self.bits & TOMBSTONE != 0
    }

    #[inline]
    pub(super) fn is_fetched(&self) -> bool {
        self.bits & FETCHED != 0
    }

    #[inline]
    pub(super) fn is_on_disk(&self) -> bool {
        self.bits & ON_DISK != 0
    }

    /// Whether the record must stay in memory: the disk has still to learn of it.
    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.state >> DISK_SHIFT != DiskState::Clean as u8 || self.is_tombstone()
    }

    #[inline]
    pub(super) fn disk(&self) -> DiskState {
        match self.state >> DISK_SHIFT {
            0 => DiskState::Clean,
            1 => DiskState::Queued,
            _ => DiskState::Submitted,
        }
    }

    #[inline]
    pub(super) fn frequency(&self) -> u8 {
        self.state & FREQUENCY
    }

    pub(super) fn set_frequency(&mut self, frequency: u8) {
        self.state = self.state & !FREQUENCY | frequency.min(FREQUENCY_MAX);
    }

    pub(super) fn set_dead(&mut self) {
        self.bits |= DEAD;
    }

    pub(super) fn set_disk(&mut self, disk: DiskState, on_disk: bool) {
        self.state = self.frequency() | (disk as u8) << DISK_SHIFT;
        self.set_bit(ON_DISK, on_disk);
    }

    /// Counts an access; false if there was nothing to change.
    #[inline]
    pub(super) fn bump(&mut self, now_s: u32) -> bool {
        let fetched_before = self.is_fetched();
        self.bits |= FETCHED;
        self.note_demand(now_s) || !fetched_before
    }

    /// Counts an access that fetches nothing; false if there was nothing to change.
    #[inline]
    pub(super) fn note_demand(&mut self, now_s: u32) -> bool {
        let before = (self.state, self.accessed_s);
        if self.frequency() < FREQUENCY_MAX {
            self.state += 1;
        }
        self.accessed_s = now_s;
        before != (self.state, self.accessed_s)
    }

    /// Whether `fields` can be written without moving what follows them.
    pub(super) fn has_room_for(&self, fields: &Fields) -> bool {
        needed_bits(fields) & !self.bits == 0
    }

    /// Takes over what of `fields` lies in the head.
    pub(super) fn set_fields(&mut self, fields: &Fields) {
        self.version = fields.version;
        self.accessed_s = fields.accessed_s;
        self.set_bit(STALE, fields.stale);
        self.set_bit(TOKEN_SENT, fields.token_sent);
        self.set_bit(FETCHED, fields.fetched);
        self.set_bit(TOMBSTONE, fields.tombstone);
        self.set_disk(fields.disk, fields.on_disk);
    }

    fn set_bit(&mut self, bit: u16, on: bool) {
        self.bits = if on {
            self.bits | bit
        } else {
            self.bits & !bit
        };
    }

    /// Writes the optional fields behind the head, where this head has a place for them.
    pub(super) fn write_optional(&self, fields: &Fields, handle: u32, bytes: &mut [u8]) {
        let mut rest = &mut bytes[HEADER_BYTES..];
        let mut put = |bit: u16, field: &[u8]| {
            if self.bits & bit != 0 {
                let (place, after) = core::mem::take(&mut rest).split_at_mut(field.len());
                place.copy_from_slice(field);
                rest = after;
            }
        };
        put(FLAGS, &fields.flags.to_le_bytes());
        put(EXPIRES, &fields.expires_s.to_le_bytes());
        put(CAS, &fields.cas.to_le_bytes());
        put(LARGE, &handle.to_le_bytes());
    }
}

fn needed_bits(fields: &Fields) -> u16 {
    let mut bits = 0;
    if fields.flags != 0 {
        bits |= FLAGS;
    }
    if fields.expires_s != 0 {
        bits |= EXPIRES;
    }
    if fields.cas != fields.version {
        bits |= CAS;
    }
    bits
}

/// A record where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) header: Header,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that `bytes` begin with.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let header = Header::read(bytes);
        let bytes = &bytes[..header.key_start() + header.body_bytes()];
        Self { header, bytes }
    }

    #[inline]
    pub(super) fn key(&self) -> &'a [u8] {
        let start = self.header.key_start();
        &self.bytes[start..start + usize::from(self.header.key_bytes)]
    }

    /// The value that lies in the record; empty for a large one.
    #[inline]
    pub(super) fn small_value(&self) -> &'a [u8] {
        &self.bytes[self.header.key_start() + usize::from(self.header.key_bytes)..]
    }

    /// Unix seconds of the expiry, 0 for never.
    #[inline]
    pub(super) fn expires_s(&self) -> u32 {
        self.optional(EXPIRES)
    }

    /// The handle of a large value.
    pub(super) fn handle(&self) -> Option<u32> {
        self.header.is_large().then(|| self.optional(LARGE))
    }

    #[inline]
    pub(super) fn fields(&self) -> Fields {
        let header = &self.header;
        let bit = |bit: u16| header.bits & bit != 0;
        Fields {
            version: header.version,
            cas: self.cas(),
            flags: self.optional(FLAGS),
            expires_s: self.expires_s(),
            accessed_s: header.accessed_s,
            stale: bit(STALE),
            token_sent: bit(TOKEN_SENT),
            fetched: bit(FETCHED),
            tombstone: bit(TOMBSTONE),
            on_disk: bit(ON_DISK),
            disk: header.disk(),
        }
    }

    #[inline]
    fn cas(&self) -> u64 {
        if self.header.bits & CAS == 0 {
            return self.header.version;
        }
        let bytes = self.bytes[self.start_of(CAS)..].first_chunk();
        u64::from_le_bytes(*bytes.expect("the field lies in the record"))
    }

    #[inline]
    fn optional(&self, bit: u16) -> u32 {
        if self.header.bits & bit == 0 {
            return 0;
        }
        let bytes = self.bytes[self.start_of(bit)..].first_chunk();
        u32::from_le_bytes(*bytes.expect("the field lies in the record"))
    }

    /// Where an optional field begins: behind those with lower bits.
    #[inline]
    fn start_of(&self, bit: u16) -> usize {
        let before = self.header.bits & (bit - 1) & LAYOUT;
        HEADER_BYTES + usize::from(OPTIONAL_BYTES[usize::from(before)])
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn fields(number: u32) -> Fields {
        let on = |bit: u32| number & (1 << bit) != 0;
        Fields {
            version: 77,
            cas: if on(0) { 1 << 60 } else { 77 },
            flags: if on(1) { 0xdead_beef } else { 0 },
            expires_s: if on(2) { 1_700_000_000 } else { 0 },
            accessed_s: 5,
            stale: on(3),
            token_sent: on(4),
            fetched: on(5),
            tombstone: on(6),
            on_disk: on(7),
            disk: [DiskState::Clean, DiskState::Queued, DiskState::Submitted][number as usize % 3],
        }
    }

    #[test]
    fn every_layout_reads_as_written() {
        for number in 0..512 {
            let (fields, large) = (fields(number), number & 256 != 0);
            let header = Header::new(&fields, 3, 5000, large);
            let mut bytes = vec![0xee; 6000];
            header.write(&mut bytes);
            header.write_optional(&fields, 42, &mut bytes);
            bytes[header.key_start()..][..3].copy_from_slice(b"key");
            let record = Record::read(&bytes);
            assert_eq!(record.fields(), fields);
            assert_eq!(record.key(), b"key");
            assert_eq!(record.handle(), large.then_some(42));
            let value = if large { 0 } else { 5000 };
            assert_eq!(record.small_value().len(), value);
            let optional = [(0, 8), (1, 4), (2, 4), (8, 4)];
            let optional = optional.iter().filter(|(bit, _)| number & (1 << bit) != 0);
            let unpadded: usize = optional.map(|(_, bytes)| bytes).sum::<usize>() + 23 + value;
            assert_eq!(header.record_bytes(), unpadded.next_multiple_of(4));
            assert!(header.record_bytes() <= RECORD_BYTES_MAX + 5000);
        }
    }

    #[test]
    fn sixteen_and_a_hundred_bytes_take_136() {
        let plain = fields(0);
        assert_eq!(Header::new(&plain, 16, 100, false).record_bytes(), 136);
    }

    #[test]
    fn bumps_count_to_three() {
        let mut header = Header::new(&fields(0), 3, 3, false);
        for expected in [1, 2, 3] {
            assert!(header.bump(9));
            assert_eq!(header.frequency(), expected);
        }
        assert!(!header.bump(9));
        assert!(header.is_fetched() && !header.is_pinned());
        let mut unfetched = Header::new(&fields(0), 3, 3, false);
        assert!(unfetched.note_demand(9) && !unfetched.is_fetched());
        assert_eq!(unfetched.frequency(), 1);
        assert_eq!(header.disk(), DiskState::Clean);
        header.set_disk(DiskState::Submitted, true);
        assert_eq!(
            (header.frequency(), header.disk()),
            (3, DiskState::Submitted)
        );
        assert!(header.is_pinned() && header.is_on_disk());
    }

    #[test]
    fn fields_fit_where_their_place_is() {
        let with_expiry = Header::new(&fields(4), 3, 3, false);
        assert!(with_expiry.has_room_for(&fields(0)));
        assert!(with_expiry.has_room_for(&fields(4)));
        assert!(!with_expiry.has_room_for(&fields(6)));
        assert!(!with_expiry.has_room_for(&fields(5)));
    }
}
