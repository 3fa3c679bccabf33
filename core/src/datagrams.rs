//! Datagrams on their way out.
//!
//! Decides how those of one turn are kept together until the driver sends them. Refuses to know
//! what they say, who loses them, and sockets.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::disk::Span;

/// Longest datagram that IPv4 carries, in bytes: the kernel refuses longer ones.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Datagrams that a driver reads in one turn at most.
pub const DATAGRAMS_PER_TURN: usize = 64;

/// Datagrams to send, in order: their bytes lie one behind the other in one arena, which keeps
/// its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Datagrams {
    bytes: Vec<u8>,
    entries: Vec<(SocketAddr, Span)>,
}

impl Datagrams {
    /// Adds a datagram for `to`.
    ///
    /// # Panics
    /// If it is longer than [`DATAGRAM_BYTES_MAX`]: no network would carry it.
    pub fn push(&mut self, to: SocketAddr, bytes: &[u8]) {
        assert!(
            bytes.len() <= DATAGRAM_BYTES_MAX,
            "a datagram is no longer than a packet"
        );
        let cut = |at: usize| u32::try_from(at).expect("a turn's datagrams stay below 4 GiB");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let span = Span {
            start: cut(start),
            end: cut(self.bytes.len()),
        };
        self.entries.push((to, span));
    }

    /// Each datagram with its destination, in the order of [`push`](Self::push).
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let entries = self.entries.iter();
        entries.map(|(to, span)| (*to, span.of(&self.bytes)))
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn datagrams_come_out_as_they_went_in_and_leave_their_memory() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 2));
        let mut datagrams = Datagrams::default();
        datagrams.push(v4, b"one");
        datagrams.push(v6, b"");
        datagrams.push(v4, &[7; DATAGRAM_BYTES_MAX]);
        assert_eq!(datagrams.len(), 3);
        let all: Vec<_> = datagrams.iter().collect();
        let long: &[u8] = &[7; DATAGRAM_BYTES_MAX];
        assert_eq!(all, [(v4, &b"one"[..]), (v6, b""), (v4, long)]);
        let capacity = datagrams.bytes.capacity();
        datagrams.clear();
        assert!(datagrams.is_empty());
        assert_eq!(datagrams.iter().count(), 0);
        assert_eq!(datagrams.bytes.capacity(), capacity);
    }

    #[test]
    #[should_panic(expected = "no longer than a packet")]
    fn what_no_packet_holds_is_a_bug_of_ours() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Datagrams::default().push(to, &[0; DATAGRAM_BYTES_MAX + 1]);
    }
}
