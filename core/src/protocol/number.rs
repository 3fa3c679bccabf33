//! Decimal numbers as the text protocols write them.
//!
//! Decides which digits are a number and how numbers are written. Refuses to know what they count.

/// Most digits of a u64.
const DIGITS_MAX: usize = 20;
/// So many digits never overflow a u64.
const DIGITS_SAFE: usize = 19;

/// Reads digits alone, up to 2⁶⁴ − 1.
#[inline]
pub(super) fn digits(token: &[u8]) -> Option<u64> {
    if token.is_empty() || token.len() > DIGITS_MAX {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in &token[..token.len().min(DIGITS_SAFE)] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    match token.get(DIGITS_SAFE) {
        None => Some(number),
        Some(last) if last.is_ascii_digit() => {
            number.checked_mul(10)?.checked_add(u64::from(last - b'0'))
        }
        Some(_) => None,
    }
}

/// A u64, with or without a plus sign.
#[inline]
pub(super) fn u64(token: &[u8]) -> Option<u64> {
    digits(token.strip_prefix(b"+").unwrap_or(token))
}

/// A u32, with or without a plus sign.
#[inline]
pub(super) fn u32(token: &[u8]) -> Option<u32> {
    u64(token).and_then(|number| u32::try_from(number).ok())
}

/// An i32, with or without a sign.
#[inline]
pub(super) fn i32(token: &[u8]) -> Option<i32> {
    match token.strip_prefix(b"-") {
        None => u64(token).and_then(|number| i32::try_from(number).ok()),
        Some(magnitude) => {
            let magnitude = i64::try_from(digits(magnitude)?).ok()?;
            i32::try_from(-magnitude).ok()
        }
    }
}

/// The length of a data block: the line end behind it must fit a positive i32 too.
#[inline]
pub(super) fn data_bytes(token: &[u8]) -> Option<u32> {
    const DATA_BYTES_MAX: u64 = i32::MAX as u64 - 2;
    let number = digits(token)?;
    (number <= DATA_BYTES_MAX).then_some(number as u32)
}

/// A number, written out.
pub(crate) struct Decimal(itoa::Buffer);

impl Decimal {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(itoa::Buffer::new())
    }

    /// The digits of `number`.
    #[inline]
    pub(crate) fn write(&mut self, number: u64) -> &[u8] {
        self.0.format(number).as_bytes()
    }

    /// The digits of `number`, with its sign if it is negative.
    #[inline]
    pub(crate) fn write_signed(&mut self, number: i64) -> &[u8] {
        self.0.format(number).as_bytes()
    }
}
