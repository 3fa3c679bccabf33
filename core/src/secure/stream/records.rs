//! What follows the handshake: records.
//!
//! Decides how plaintext is cut into records and when keys are replaced. Refuses to know how the
//! keys came about.

use alloc::vec::Vec;

use snow::TransportState;

use super::Refusal;

/// Longest record, its length not counted, in bytes. Noise would allow four times as much, but a
/// record is held whole until it can be opened, and the costs of one do not show at this length.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Records after which the key of a direction is replaced by one that does not lead back to it:
/// what was said long ago on a connection can't be read with what is in memory now. The cipher
/// itself would not need it, and counters of 64 bits don't end.
pub(super) const REKEY_RECORDS: u64 = 1 << 16;

pub(super) const LENGTH_BYTES: usize = 2;
pub(super) const TAG_BYTES: usize = 16;
const PLAINTEXT_BYTES_MAX: usize = RECORD_BYTES_MAX - TAG_BYTES;

pub(super) struct Records {
    transport: TransportState,
    /// The beginning of a record, shorter than one.
    partial: Vec<u8>,
}

impl Records {
    pub(super) const fn new(transport: TransportState) -> Self {
        Self {
            transport,
            partial: Vec::new(),
        }
    }

    /// Whether anything has been received, and was authentic.
    pub(super) fn has_received(&self) -> bool {
        self.transport.receiving_nonce() > 0
    }

    /// Whether the last record is there whole.
    pub(super) const fn is_between(&self) -> bool {
        self.partial.is_empty()
    }

    pub(super) fn seal(&mut self, plaintext: &[u8], output: &mut Vec<u8>) {
        for part in plaintext.chunks(PLAINTEXT_BYTES_MAX) {
            let bytes = part.len() + TAG_BYTES;
            let length = u16::try_from(bytes).expect("a record is shorter than 64 KiB");
            output.extend_from_slice(&length.to_be_bytes());
            let start = output.len();
            output.resize(start + bytes, 0);
            let written = self.transport.write_message(part, &mut output[start..]);
            assert_eq!(written, Ok(bytes), "a record that fits is sealed");
            if self.transport.sending_nonce().is_multiple_of(REKEY_RECORDS) {
                self.transport.rekey_outgoing();
            }
        }
    }

    /// Opens all whole records, and keeps the beginning of one that is not.
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if !self.partial.is_empty() {
            let mut partial = core::mem::take(&mut self.partial);
            let opened = self.complete(&mut partial, &mut bytes, plaintext);
            self.partial = partial;
            opened?;
        }
        while let Some(whole) = whole_bytes(bytes)? {
            let Some((record, rest)) = bytes.split_at_checked(whole) else {
                break;
            };
            self.open(&record[LENGTH_BYTES..], plaintext)?;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Goes on with a record of which the beginning is there.
    fn complete(
        &mut self,
        partial: &mut Vec<u8>,
        bytes: &mut &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        // Twice at the most: for the length, and for the rest.
        loop {
            let whole = whole_bytes(partial)?;
            if whole == Some(partial.len()) {
                self.open(&partial[LENGTH_BYTES..], plaintext)?;
                partial.clear();
                return Ok(());
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let missing = whole.unwrap_or(LENGTH_BYTES) - partial.len();
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            partial.extend_from_slice(now);
            *bytes = rest;
        }
    }

    fn open(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<(), Refusal> {
        let start = plaintext.len();
        let bytes = record.len() - TAG_BYTES;
        plaintext.resize(start + bytes, 0);
        let opened = self.transport.read_message(record, &mut plaintext[start..]);
        if opened != Ok(bytes) {
            plaintext.truncate(start);
            return Err(Refusal::Forged);
        }
        if self
            .transport
            .receiving_nonce()
            .is_multiple_of(REKEY_RECORDS)
        {
            self.transport.rekey_incoming();
        }
        Ok(())
    }
}

/// How long the first record is with its length, if that has come.
fn whole_bytes(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    // An empty one would be no more than a way to have a peer work for nothing.
    if (TAG_BYTES + 1..=RECORD_BYTES_MAX).contains(&length) {
        Ok(Some(LENGTH_BYTES + length))
    } else {
        Err(Refusal::Malformed)
    }
}
