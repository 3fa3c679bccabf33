//! What comes over a protected stream or as a datagram, whoever sent it.
//!
//! Decides that any bytes are refused or waited for, the same however they are cut; that what was
//! altered is not read; and that what was not altered is.

use zufar_core::member::{Guid, NodeId};
use zufar_core::secure::{
    Credentials, Datagrams, HANDSHAKE_BYTES_MAX, OVERHEAD_BYTES, PAYLOAD_BYTES_MAX, Refusal,
    SECRETS_MAX, Secrets, Seed, Stream,
};

const SECRET: &[u8] = b"the secret of the fuzzed cluster";
/// More pieces than this are no other case.
const PIECES_MAX: usize = 8;

/// The first byte says what is done, the second how the rest is cut.
pub fn secure(input: &[u8]) {
    let &[what, cut, ref rest @ ..] = input else {
        return;
    };
    let cut = usize::from(cut) + 1;
    match what % 8 {
        0 => check_beginning(Side::Responder, true, rest, cut),
        1 => check_beginning(Side::Responder, false, rest, cut),
        2 => check_beginning(Side::Initiator, true, rest, cut),
        3 => check_beginning(Side::Initiator, false, rest, cut),
        4 => check_records(rest, cut),
        5 => check_altered(rest, cut),
        6 => check_datagrams(rest),
        _ => check_secrets(rest),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Initiator,
    Responder,
}

#[derive(Debug, PartialEq)]
struct Received {
    plaintext: Vec<u8>,
    output: Vec<u8>,
    refusal: Option<Refusal>,
    open: bool,
}

fn credentials(protected: bool) -> Credentials {
    let secrets = protected.then(|| Secrets::parse(SECRET).expect("it is a secret"));
    Credentials::new("fuzzed", secrets)
}

fn stream(side: Side, protected: bool) -> Stream {
    let seed = |number| Seed::new([number; 32]);
    match side {
        Side::Initiator => Stream::initiator(&credentials(protected), seed(1), &mut Vec::new()),
        Side::Responder => Stream::responder(&credentials(protected), seed(2)),
    }
}

/// Both ends after the handshake.
fn open_pair() -> (Stream, Stream) {
    let (mut opening, mut answer, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    let credentials = credentials(true);
    let mut initiator = Stream::initiator(&credentials, Seed::new([1; 32]), &mut opening);
    let mut responder = stream(Side::Responder, true);
    let accepted = responder.receive(&opening, &mut nothing, &mut answer);
    assert_eq!(accepted, Ok(()));
    let connected = initiator.receive(&answer, &mut nothing, &mut opening);
    assert_eq!((connected, nothing.len()), (Ok(()), 0));
    (initiator, responder)
}

fn receive(stream: &mut Stream, bytes: &[u8], cut: usize) -> Received {
    let (mut plaintext, mut output) = (Vec::new(), Vec::new());
    let mut refusal = None;
    for part in bytes.chunks(cut) {
        refusal = stream.receive(part, &mut plaintext, &mut output).err();
        if refusal.is_some() {
            break;
        }
    }
    Received {
        plaintext,
        output,
        refusal,
        open: stream.is_open(),
    }
}

/// Any bytes, as what a stream begins with.
fn check_beginning(side: Side, protected: bool, bytes: &[u8], cut: usize) {
    let whole = receive(&mut stream(side, protected), bytes, usize::MAX);
    let mut other = stream(side, protected);
    assert_eq!(receive(&mut other, bytes, cut), whole);
    assert!(whole.output.len() <= HANDSHAKE_BYTES_MAX);
    if protected {
        // Nobody can guess a key.
        assert!(whole.plaintext.is_empty());
    } else {
        let passed = whole.refusal.is_none() && whole.plaintext == bytes;
        assert!(passed || whole.plaintext.is_empty());
    }
    if whole.refusal.is_some() {
        assert!(!whole.open && other.finish().is_err());
        other.send(b"x", &mut Vec::new());
        assert!(receive(&mut other, b"x", 1).plaintext.is_empty());
    }
}

/// Any bytes after the handshake, as records and as what is sent in some.
fn check_records(bytes: &[u8], cut: usize) {
    let records = |cut| {
        let (_, mut responder) = open_pair();
        receive(&mut responder, bytes, cut)
    };
    let whole = records(usize::MAX);
    assert_eq!(records(cut), whole);
    assert!(whole.plaintext.is_empty() && whole.output.is_empty() && !whole.open);

    let (mut initiator, mut responder) = open_pair();
    let mut sent = Vec::new();
    for part in pieces(bytes) {
        initiator.send(part, &mut sent);
    }
    let received = receive(&mut responder, &sent, cut);
    assert_eq!((&*received.plaintext, received.refusal), (bytes, None));
    assert_eq!(responder.finish(), Ok(()));
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(bytes.len().div_ceil(PIECES_MAX).max(1))
}

/// Records of which one byte is altered.
fn check_altered(input: &[u8], cut: usize) {
    let &[high, low, mask, ref bytes @ ..] = input else {
        return;
    };
    let (mut initiator, mut responder) = open_pair();
    let mut sent = Vec::new();
    for part in pieces(bytes) {
        initiator.send(part, &mut sent);
    }
    let at = usize::from(u16::from_be_bytes([high, low]));
    let Some(byte) = sent.get_mut(at) else {
        return;
    };
    *byte ^= mask;
    let received = receive(&mut responder, &sent, cut);
    assert!(bytes.starts_with(&received.plaintext));
    let altered = received.refusal.is_some() || responder.finish().is_err();
    assert_eq!(altered, mask != 0);
    assert_eq!(received.plaintext.len() == bytes.len(), mask == 0);
}

/// Any bytes as a datagram, and as what is in one.
fn check_datagrams(bytes: &[u8]) {
    let guid = Guid::new("n").expect("it is a guid");
    let node = NodeId {
        guid,
        generation: 1,
    };
    for protected in [false, true] {
        let credentials = credentials(protected);
        let mut datagrams = Datagrams::new(&credentials, node, &Seed::new([3; 32]));
        let mut into = b"before".to_vec();
        let opened = datagrams.open(bytes, &mut into);
        assert!(opened.is_err() || !protected);
        assert!(opened.is_ok() || into == b"before");
        let payload = &bytes[..bytes.len().min(PAYLOAD_BYTES_MAX)];
        let mut sealed = Vec::new();
        datagrams.seal(guid, payload, &mut sealed);
        assert!(sealed.len() <= payload.len() + OVERHEAD_BYTES);
        into.clear();
        assert_eq!(datagrams.open(&sealed, &mut into), Ok(()));
        assert_eq!(into, payload);
        assert_eq!(datagrams.open(&sealed, &mut into).is_err(), protected);
    }
}

/// Any bytes as a file of secrets.
fn check_secrets(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    match Secrets::parse(bytes) {
        Ok(secrets) => {
            let shown = format!("{secrets:?}");
            let most = lines.min(SECRETS_MAX);
            assert!((1..=most).any(|count| shown == format!("Secrets({count})")));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
