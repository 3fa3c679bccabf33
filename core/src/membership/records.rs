//! A node's state as records, for streams and for the tail of datagrams.
//!
//! Decides the frame around each record and how a state is cut into parts. Refuses to know how
//! records are merged.
//!
//! ```text
//! records = *( kind:u8 length:u16 body )
//! ```
//!
//! A kind that is not known is passed over.

use alloc::vec::Vec;

use foca::Member;
use nom::Parser;
use nom::combinator::all_consuming;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};

use super::identity::{Identity, member, push_member};
use crate::layout::{Descriptor, LayoutEntry, TooLong};

/// Kind and length of a record, in bytes.
const HEAD_BYTES: usize = 3;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKind {
    Descriptor,
    Layout,
    Member,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Descriptor => 1,
            Self::Layout => 2,
            Self::Member => 3,
        }
    }
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Descriptor(Descriptor),
    Layout(LayoutEntry),
    Member(Member<Identity>),
    /// Of a kind that this release does not know, or malformed within its bounds.
    Unknown,
}

/// The bytes are cut in the middle of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first record of `input`, which is not empty.
pub(super) fn next_record(input: &mut &[u8]) -> Result<Record, Malformed> {
    let head = (be_u8, length_data(be_u16));
    let parsed: nom::IResult<_, _> = { head }.parse(*input);
    let (rest, (kind, body)) = parsed.map_err(|_| Malformed)?;
    *input = rest;
    let known = match kind {
        1 => Descriptor::decode(body).map(Record::Descriptor),
        2 => LayoutEntry::decode(body).map(Record::Layout),
        3 => match all_consuming(member).parse(body) {
            Ok((_, member)) => Some(Record::Member(member)),
            Err(_) => None,
        },
        _ => None,
    };
    Ok(known.unwrap_or(Record::Unknown))
}

pub(super) fn push_descriptor(descriptor: &Descriptor, into: &mut Vec<u8>) -> Result<(), TooLong> {
    push(RecordKind::Descriptor, into, |into| descriptor.encode(into))
}

pub(super) fn push_entry(entry: &LayoutEntry, into: &mut Vec<u8>) -> Result<(), TooLong> {
    push(RecordKind::Layout, into, |into| entry.encode(into))
}

pub(super) fn push_member_record(member: &Member<Identity>, into: &mut Vec<u8>) {
    let pushed = push(RecordKind::Member, into, |into| {
        push_member(member, into);
        Ok(())
    });
    pushed.expect("members have a bound of their own");
}

fn push(
    kind: RecordKind,
    into: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let start = into.len();
    into.extend_from_slice(&[kind.code(), 0, 0]);
    if let Err(error) = body(into) {
        into.truncate(start);
        return Err(error);
    }
    let length = u16::try_from(into.len() - start - HEAD_BYTES).expect("records are short");
    into[start + 1..start + HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Cuts a state into parts of at most a given length, between records.
pub(super) struct Parts<'a> {
    records: Vec<u8>,
    part_bytes_max: usize,
    give: &'a mut dyn FnMut(&[u8], bool),
}

impl<'a> Parts<'a> {
    pub(super) fn new(part_bytes_max: usize, give: &'a mut dyn FnMut(&[u8], bool)) -> Self {
        Self {
            records: Vec::new(),
            part_bytes_max,
            give,
        }
    }

    /// Adds what `push` appends, one record.
    pub(super) fn add(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        let start = self.records.len();
        push(&mut self.records);
        if self.records.len() > self.part_bytes_max && start > 0 {
            let (full, next) = self.records.split_at(start);
            (self.give)(full, false);
            let next = next.to_vec();
            self.records = next;
        }
        assert!(
            self.records.len() <= self.part_bytes_max,
            "a part holds any record"
        );
    }

    /// Gives the last part, which may be empty.
    pub(super) fn finish(self) {
        (self.give)(&self.records, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LayoutState;
    use crate::member::Guid;

    fn entry(sequence: u64) -> LayoutEntry {
        LayoutEntry {
            guid: Guid::new("a").expect("a guid"),
            generation: 1,
            sequence,
            state: LayoutState::Normal,
            weight: 1,
            rack: "r".into(),
            later: [].into(),
        }
    }

    #[test]
    fn parts_are_cut_between_records() {
        let mut parts = Vec::new();
        let mut give = |part: &[u8], last: bool| parts.push((part.to_vec(), last));
        let mut cutter = Parts::new(100, &mut give);
        for sequence in 0..7 {
            cutter.add(|into| push_entry(&entry(sequence), into).expect("short"));
        }
        cutter.finish();
        let mut sequences = Vec::new();
        let count = parts.len();
        for (at, (part, last)) in parts.iter().enumerate() {
            assert!(part.len() <= 100);
            assert_eq!(*last, at + 1 == count);
            let mut rest = &part[..];
            while !rest.is_empty() {
                match next_record(&mut rest) {
                    Ok(Record::Layout(entry)) => sequences.push(entry.sequence),
                    other => panic!("not a record: {other:?}"),
                }
            }
        }
        assert!(count > 1);
        assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn unknown_records_are_passed_over_and_cut_ones_are_told() {
        let mut bytes = alloc::vec![200, 0, 2, 7, 7];
        push_entry(&entry(1), &mut bytes).expect("short");
        let mut rest = &bytes[..];
        assert_eq!(next_record(&mut rest), Ok(Record::Unknown));
        assert_eq!(next_record(&mut rest), Ok(Record::Layout(entry(1))));
        let mut cut = &bytes[..4];
        assert_eq!(next_record(&mut cut), Err(Malformed));
    }
}
