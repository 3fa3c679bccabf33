//! Fields that may be absent, with one bit each in front of them.
//!
//! Decides bits and their order. Refuses to know what the fields mean.

use alloc::vec::Vec;

use nom::Err;
use nom::error::{Error, ErrorKind};

use crate::command::Expiry;
use crate::protocol::integers::{be_u8, be_u16, be_u32, be_u64};

pub(super) type Refused<'a> = Err<Error<&'a [u8]>>;

/// These bytes are not of the form.
pub(super) fn refused(input: &[u8]) -> Refused<'_> {
    Err::Error(Error::new(input, ErrorKind::Verify))
}

const BITS: u32 = u16::BITS;

/// Writes a code, the bits, and the fields that are present. [`end`](Self::end) puts the bits in.
pub(super) struct Writer<'a> {
    into: &'a mut Vec<u8>,
    bits_at: usize,
    bits: u16,
    next: u32,
}

impl<'a> Writer<'a> {
    pub(super) fn new(code: u8, into: &'a mut Vec<u8>) -> Self {
        into.push(code);
        let bits_at = into.len();
        into.extend_from_slice(&[0; 2]);
        Self {
            into,
            bits_at,
            bits: 0,
            next: 0,
        }
    }

    #[inline]
    pub(super) fn flag(&mut self, set: bool) {
        assert!(self.next < BITS, "one bit a field");
        self.bits |= u16::from(set) << self.next;
        self.next += 1;
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.into.push(byte);
    }

    #[inline]
    pub(super) fn number(&mut self, number: Option<u32>) {
        self.flag(number.is_some());
        if let Some(number) = number {
            self.into.extend_from_slice(&number.to_be_bytes());
        }
    }

    #[inline]
    pub(super) fn long(&mut self, number: Option<u64>) {
        self.flag(number.is_some());
        if let Some(number) = number {
            self.into.extend_from_slice(&number.to_be_bytes());
        }
    }

    #[inline]
    pub(super) fn expiry(&mut self, expiry: Option<Expiry>) {
        self.number(expiry.map(Expiry::as_unix_s));
    }

    pub(super) fn end(self) {
        self.into[self.bits_at..self.bits_at + 2].copy_from_slice(&self.bits.to_be_bytes());
    }
}

/// Reads what a [`Writer`] wrote, in the same order.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    bits: u16,
    next: u32,
}

impl<'a> Reader<'a> {
    /// The code, and a reader of the fields behind it.
    pub(super) fn new(input: &'a [u8]) -> Result<(u8, Self), Refused<'a>> {
        let (input, code) = be_u8(input)?;
        let (input, bits) = be_u16(input)?;
        let reader = Self {
            input,
            bits,
            next: 0,
        };
        Ok((code, reader))
    }

    pub(super) fn refused(&self) -> Refused<'a> {
        refused(self.input)
    }

    #[inline]
    pub(super) fn flag(&mut self) -> bool {
        assert!(self.next < BITS, "one bit a field");
        let set = self.bits >> self.next & 1 == 1;
        self.next += 1;
        set
    }

    pub(super) fn byte(&mut self) -> Result<u8, Refused<'a>> {
        let (input, byte) = be_u8(self.input)?;
        self.input = input;
        Ok(byte)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<Option<u32>, Refused<'a>> {
        if !self.flag() {
            return Ok(None);
        }
        let (input, number) = be_u32(self.input)?;
        self.input = input;
        Ok(Some(number))
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<Option<u64>, Refused<'a>> {
        if !self.flag() {
            return Ok(None);
        }
        let (input, number) = be_u64(self.input)?;
        self.input = input;
        Ok(Some(number))
    }

    #[inline]
    pub(super) fn expiry(&mut self) -> Result<Option<Expiry>, Refused<'a>> {
        let at = self.number()?;
        Ok(at.map(|at| match at {
            0 => Expiry::Never,
            at => Expiry::At(at),
        }))
    }

    /// What follows the last field. A bit that nobody has asked for belongs to a field that
    /// this version does not know, and where that would end is unknown, too.
    pub(super) fn end(self) -> Result<&'a [u8], Refused<'a>> {
        let unknown = self.next < BITS && self.bits >> self.next != 0;
        if unknown {
            return Err(self.refused());
        }
        Ok(self.input)
    }
}
