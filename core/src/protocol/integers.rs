//! Big-endian numbers, as they stand in frames.
//!
//! Decides nothing: these are nom's parsers of the same names, which go byte by byte. What is read
//! with every request between nodes is read by these, at once.

use nom::error::{Error, ErrorKind};
use nom::{Err, IResult};

#[inline]
fn chunk<const N: usize>(input: &[u8]) -> IResult<&[u8], [u8; N]> {
    match input.split_first_chunk() {
        Some((chunk, rest)) => Ok((rest, *chunk)),
        None => Err(Err::Error(Error::new(input, ErrorKind::Eof))),
    }
}

#[inline]
pub(super) fn be_u8(input: &[u8]) -> IResult<&[u8], u8> {
    chunk(input).map(|(rest, bytes)| (rest, u8::from_be_bytes(bytes)))
}

#[inline]
pub(super) fn be_u16(input: &[u8]) -> IResult<&[u8], u16> {
    chunk(input).map(|(rest, bytes)| (rest, u16::from_be_bytes(bytes)))
}

#[inline]
pub(super) fn be_u32(input: &[u8]) -> IResult<&[u8], u32> {
    chunk(input).map(|(rest, bytes)| (rest, u32::from_be_bytes(bytes)))
}

#[inline]
pub(super) fn be_u64(input: &[u8]) -> IResult<&[u8], u64> {
    chunk(input).map(|(rest, bytes)| (rest, u64::from_be_bytes(bytes)))
}

/// So many bytes.
#[inline]
pub(super) fn take(input: &[u8], bytes: usize) -> IResult<&[u8], &[u8]> {
    match input.split_at_checked(bytes) {
        Some((taken, rest)) => Ok((rest, taken)),
        None => Err(Err::Error(Error::new(input, ErrorKind::Eof))),
    }
}
