//! A node as foca knows it, and foca's packets in bytes.
//!
//! Decides which of two runs of a node counts, and how identities and headers are laid out.
//! Refuses to know what foca does with them.
//!
//! ```text
//! header   = kind:u8 incarnation:u16 sender:identity receiver:identity
//!            [ probe:u8 [ other:identity ] ]
//! member   = state:u8 incarnation:u16 identity
//! identity = guid:text generation:u64 renewal:u32 address
//! address  = 4 octets:4 port:u16 | 6 octets:16 port:u16
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};
use nom::combinator::map_opt;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64, be_u128};
use nom::{IResult, Parser};

use crate::layout::{guid, push_text};
use crate::member::{Guid, NodeId};

/// Most bytes of an identity: guid, generation, renewal, address.
const IDENTITY_BYTES_MAX: usize = 1 + 32 + 8 + 4 + 1 + 16 + 2;
/// Most bytes of a header, which names three nodes.
const HEADER_BYTES_MAX: usize = 4 + 3 * IDENTITY_BYTES_MAX;

/// One run of a node, and how often that run has come back after others took it for dead.
///
/// Nothing in here changes without a new generation or renewal: to foca another identity is
/// another member, and the one before it is down for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The run.
    pub id: NodeId,
    /// Counts the times that it was declared down and has come back with its memory intact.
    pub renewal: u32,
    /// Where its datagrams go, and where it accepts other nodes.
    pub address: SocketAddr,
}

impl Identity {
    /// The identity under which this run comes back after it was declared down.
    pub(super) const fn renewed(&self) -> Self {
        let renewal = self.renewal.saturating_add(1);
        Self { renewal, ..*self }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}+{}@{}", self.id, self.renewal, self.address)
    }
}

impl foca::Identity for Identity {
    type Addr = Guid;

    // Foca would come back at once, and where two nodes have one name each would take the other
    // down again every few milliseconds. `Membership` comes back at its own pace.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> Guid {
        self.id.guid
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}

/// Foca's packets in bytes. It has no state.
pub(super) struct Wire;

/// Bytes that are not what foca has asked for, or no room for what it has to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireError;

impl fmt::Display for WireError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a gossip packet is malformed")
    }
}

impl core::error::Error for WireError {}

impl Codec<Identity> for Wire {
    type Error = WireError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        let (kind, probe, other) = parts(&header.message);
        bytes.push(kind);
        bytes.extend_from_slice(&header.src_incarnation.to_be_bytes());
        push_identity(&header.src, &mut bytes);
        push_identity(&header.dst, &mut bytes);
        bytes.extend(probe);
        if let Some(other) = other {
            push_identity(other, &mut bytes);
        }
        put(&bytes, buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Identity>, WireError> {
        take(buffer, header)
    }

    fn encode_member(
        &mut self,
        member: &Member<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(3 + IDENTITY_BYTES_MAX);
        push_member(member, &mut bytes);
        put(&bytes, buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<Member<Identity>, WireError> {
        take(buffer, member)
    }
}

/// All or nothing: foca goes on with the buffer after an error.
fn put(bytes: &[u8], mut buffer: impl BufMut) -> Result<(), WireError> {
    if buffer.remaining_mut() < bytes.len() {
        return Err(WireError);
    }
    buffer.put_slice(bytes);
    Ok(())
}

fn take<T>(
    mut buffer: impl Buf,
    mut parser: impl FnMut(&[u8]) -> IResult<&[u8], T>,
) -> Result<T, WireError> {
    // Foca hands over contiguous bytes.
    let bytes = buffer.chunk();
    let (rest, found) = parser(bytes).map_err(|_| WireError)?;
    let consumed = bytes.len() - rest.len();
    buffer.advance(consumed);
    Ok(found)
}

fn parts(message: &Message<Identity>) -> (u8, Option<u8>, Option<&Identity>) {
    match message {
        Message::Ping(probe) => (1, Some(*probe), None),
        Message::Ack(probe) => (2, Some(*probe), None),
        Message::PingReq {
            target,
            probe_number,
        } => (3, Some(*probe_number), Some(target)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (4, Some(*probe_number), Some(origin)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (5, Some(*probe_number), Some(target)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (6, Some(*probe_number), Some(origin)),
        Message::Announce => (7, None, None),
        Message::Feed => (8, None, None),
        Message::Gossip => (9, None, None),
        Message::Broadcast => (10, None, None),
        Message::TurnUndead => (11, None, None),
    }
}

/// Foca's header at the start of a packet.
pub(super) fn header(input: &[u8]) -> IResult<&[u8], Header<Identity>> {
    let (input, (kind, src_incarnation, src, dst)) =
        (be_u8, be_u16, identity, identity).parse(input)?;
    let (input, message) = match kind {
        1 => be_u8.map(Message::Ping).parse(input)?,
        2 => be_u8.map(Message::Ack).parse(input)?,
        3..=6 => (be_u8, identity)
            .map(|(probe_number, node)| relayed(kind, probe_number, node))
            .parse(input)?,
        _ => (input, bare(kind).ok_or_else(|| malformed(input))?),
    };
    let header = Header {
        src,
        src_incarnation,
        dst,
        message,
    };
    Ok((input, header))
}

fn malformed(input: &[u8]) -> nom::Err<nom::error::Error<&[u8]>> {
    nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Switch))
}

fn relayed(kind: u8, probe_number: u8, node: Identity) -> Message<Identity> {
    match kind {
        3 => Message::PingReq {
            target: node,
            probe_number,
        },
        4 => Message::IndirectPing {
            origin: node,
            probe_number,
        },
        5 => Message::IndirectAck {
            target: node,
            probe_number,
        },
        _ => Message::ForwardedAck {
            origin: node,
            probe_number,
        },
    }
}

const fn bare(kind: u8) -> Option<Message<Identity>> {
    match kind {
        7 => Some(Message::Announce),
        8 => Some(Message::Feed),
        9 => Some(Message::Gossip),
        10 => Some(Message::Broadcast),
        11 => Some(Message::TurnUndead),
        _ => None,
    }
}

/// How often the sender of a packet has had to refute that it is dead.
pub(super) fn incarnation_of(packet: &[u8]) -> Option<u16> {
    let bytes = packet.get(1..3)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

pub(super) fn push_member(member: &Member<Identity>, into: &mut Vec<u8>) {
    into.push(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
    into.extend_from_slice(&member.incarnation().to_be_bytes());
    push_identity(member.id(), into);
}

pub(super) fn member(input: &[u8]) -> IResult<&[u8], Member<Identity>> {
    let state = map_opt(be_u8, |code| match code {
        0 => Some(State::Alive),
        1 => Some(State::Suspect),
        2 => Some(State::Down),
        _ => None,
    });
    (state, be_u16, identity)
        .map(|(state, incarnation, identity)| Member::new(identity, incarnation, state))
        .parse(input)
}

fn push_identity(identity: &Identity, into: &mut Vec<u8>) {
    push_text(identity.id.guid.as_str(), into).expect("a guid is short");
    into.extend_from_slice(&identity.id.generation.to_be_bytes());
    into.extend_from_slice(&identity.renewal.to_be_bytes());
    match identity.address.ip() {
        IpAddr::V4(ip) => {
            into.push(4);
            into.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            into.push(6);
            into.extend_from_slice(&ip.octets());
        }
    }
    into.extend_from_slice(&identity.address.port().to_be_bytes());
}

fn identity(input: &[u8]) -> IResult<&[u8], Identity> {
    (guid, be_u64, be_u32, address)
        .map(|(guid, generation, renewal, address)| Identity {
            id: NodeId { guid, generation },
            renewal,
            address,
        })
        .parse(input)
}

fn address(input: &[u8]) -> IResult<&[u8], SocketAddr> {
    let (input, family) = be_u8(input)?;
    let (input, ip) = match family {
        4 => be_u32.map(|bits| IpAddr::V4(bits.into())).parse(input)?,
        6 => be_u128.map(|bits| IpAddr::V6(bits.into())).parse(input)?,
        _ => return Err(malformed(input)),
    };
    be_u16.map(|port| SocketAddr::new(ip, port)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::Identity as _;
    use proptest::prelude::*;

    fn any_identity() -> impl Strategy<Value = Identity> {
        ("[a-z0-9-]{1,32}", any::<(u64, u32, u16)>(), any::<IpAddr>()).prop_map(
            |(guid, (generation, renewal, port), ip)| Identity {
                id: NodeId {
                    guid: Guid::new(&guid).expect("a guid"),
                    generation,
                },
                renewal,
                address: SocketAddr::new(ip, port),
            },
        )
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(
            src in any_identity(), dst in any_identity(), node in any_identity(),
            src_incarnation: u16, probe_number: u8,
        ) {
            let relayed = (3..=6).map(|kind| relayed(kind, probe_number, node));
            let bare = (7..=11).filter_map(bare);
            let probes = [Message::Ping(probe_number), Message::Ack(probe_number)];
            for message in probes.into_iter().chain(relayed).chain(bare) {
                let header = Header { src, src_incarnation, dst, message };
                let mut bytes = Vec::new();
                Wire.encode_header(&header, &mut bytes).expect("room");
                prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
                prop_assert_eq!(incarnation_of(&bytes), Some(src_incarnation));
                for cut in 0..bytes.len() {
                    prop_assert!(Wire.decode_header(&bytes[..cut]).is_err());
                    let mut small = [0; HEADER_BYTES_MAX];
                    prop_assert!(Wire.encode_header(&header, &mut small[..cut]).is_err());
                    prop_assert_eq!(small, [0; HEADER_BYTES_MAX], "nothing half done");
                }
                bytes.push(9);
                let mut rest = &bytes[..];
                prop_assert_eq!(Wire.decode_header(&mut rest).expect("whole"), header);
                prop_assert_eq!(rest, [9]);
            }
        }

        #[test]
        fn members_come_back_as_they_were(identity in any_identity(), incarnation: u16) {
            for state in [State::Alive, State::Suspect, State::Down] {
                let member = Member::new(identity, incarnation, state);
                let mut bytes = Vec::new();
                Wire.encode_member(&member, &mut bytes).expect("room");
                prop_assert_eq!(Wire.decode_member(&bytes[..]).expect("whole"), member);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Wire.decode_header(&bytes[..]);
            let _ = Wire.decode_member(&bytes[..]);
        }

        #[test]
        fn a_renewal_and_a_later_run_win(identity in any_identity()) {
            prop_assume!(identity.renewal < u32::MAX && identity.id.generation < u64::MAX);
            let renewed = identity.renewed();
            prop_assert!(renewed.win_addr_conflict(&identity));
            prop_assert!(!identity.win_addr_conflict(&renewed));
            let mut later = identity;
            later.id.generation += 1;
            later.renewal = 0;
            prop_assert!(later.win_addr_conflict(&renewed));
        }
    }
}
