//! Who a node is: its lasting name, and which of its runs is meant.
//!
//! Decides the form of a guid and how runs of one node are told apart. Refuses to know addresses,
//! liveness and what a node holds.

use core::fmt;
use core::str;

/// Longest guid, in bytes.
pub const GUID_BYTES_MAX: usize = 32;

/// A node's lasting name: 1 to 32 of `a`–`z`, `0`–`9` and `-`. It survives restarts and moves
/// to other addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid {
    /// Padded with zeros, which sort before all that a guid is made of.
    bytes: [u8; GUID_BYTES_MAX],
}

/// Why a text is no guid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGuid;

impl Guid {
    /// The guid that `text` is.
    ///
    /// # Errors
    /// When it is empty, longer than [`GUID_BYTES_MAX`], or has any other character.
    pub fn new(text: &str) -> Result<Self, NotAGuid> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let length_fits = (1..=GUID_BYTES_MAX).contains(&text.len());
        if !length_fits || !text.bytes().all(allowed) {
            return Err(NotAGuid);
        }
        let mut bytes = [0; GUID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0);
        let text = &self.bytes[..length.unwrap_or(GUID_BYTES_MAX)];
        str::from_utf8(text).expect("a guid is made of ASCII characters")
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for NotAGuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a guid is 1 to {GUID_BYTES_MAX} of a-z, 0-9 and `-`"
        )
    }
}

impl core::error::Error for NotAGuid {}

/// One run of one node. What an earlier run has said or held is not what this one says or holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The node.
    pub guid: Guid,
    /// Rises with each start of the node, and is never used twice.
    pub generation: u64,
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.guid, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_guid_is_what_it_was_made_of() {
        for text in ["a", "node-0", "0123456789abcdef0123456789abcdef"] {
            let guid = Guid::new(text).expect("it is one");
            assert_eq!(guid.to_string(), text);
            assert_eq!(Guid::new(guid.as_str()), Ok(guid));
        }
        let long = "0123456789abcdef0123456789abcdef0";
        for text in ["", "Node", "a b", "a.b", "ä", "a\0", long] {
            assert_eq!(Guid::new(text), Err(NotAGuid), "{text:?}");
        }
    }

    #[test]
    fn guids_sort_as_their_texts() {
        let mut texts = ["b", "a-", "a", "aa", "a0"];
        texts.sort_unstable();
        let guids = texts.map(|text| Guid::new(text).expect("it is one"));
        assert!(guids.is_sorted());
    }
}
