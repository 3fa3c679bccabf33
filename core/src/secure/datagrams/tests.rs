use alloc::vec;

use proptest::prelude::*;

use super::super::testing::{alike, credentials, hex, seed};
use super::*;
use crate::secure::Secrets;

fn guid(name: &str) -> Guid {
    Guid::new(name).expect("a guid")
}

fn node(name: &str) -> NodeId {
    NodeId {
        guid: guid(name),
        generation: 1,
    }
}

/// A node of cluster `c` with secrets of one letter each.
fn datagrams(name: &str, letters: &str) -> Datagrams {
    Datagrams::new(&credentials("c", letters), node(name), &seed(1))
}

fn sealed(from: &mut Datagrams, to: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.seal(guid(to), payload, &mut bytes);
    bytes
}

fn opened(by: &mut Datagrams, bytes: &[u8]) -> Result<Vec<u8>, DatagramRefusal> {
    let mut into = b"before".to_vec();
    let opened = by.open(bytes, &mut into);
    let payload = into
        .strip_prefix(b"before")
        .expect("nothing else is touched");
    assert!(opened.is_ok() || payload.is_empty());
    opened.map(|()| payload.to_vec())
}

/// draft-irtf-cfrg-xchacha-03, A.3.1.
#[test]
fn the_cipher_is_the_draft_s() {
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let nonce: Vec<u8> = (0x40..=0x57).collect();
    let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
                     for the future, sunscreen would be it."
        .to_vec();
    let cipher = XChaCha20Poly1305::new_from_slice(&key).expect("32 bytes");
    let associated = hex("50515253c0c1c2c3c4c5c6c7");
    let tag = cipher
        .encrypt_in_place_detached(XNonce::from_slice(&nonce), &associated, &mut text)
        .expect("it is short");
    let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                    731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                    2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                    21f9664c97637da9768812f615c68b13b52e";
    assert_eq!(text, hex(expected));
    assert_eq!(tag.to_vec(), hex("c0875924c1c7987947deafd8780acf49"));
}

/// Changing any of this locks running nodes out: it takes a new version. The sealed bytes are
/// those of a second implementation that shares no code with this.
#[test]
fn a_datagram_is_these_bytes_for_ever() {
    let mut from = datagrams("one", "a");
    let expected = "016026d18d3c38076d9252fbd870ecc9ecc90000000000000000e5d194b62c8a\
                    f169e9c3ec2ebe66828c93f04f42a0";
    assert_eq!(sealed(&mut from, "two", b"hello"), hex(expected));
    let mut from = datagrams("one", "");
    let bytes = sealed(&mut from, "two", b"hello");
    assert_eq!(bytes, hex("008c40219a68656c6c6f"));
}

#[test]
fn the_overhead_leaves_room_for_a_packet() {
    assert_eq!((OVERHEAD_BYTES, PAYLOAD_BYTES_MAX), (42, 1358));
    let (mut one, mut two) = (datagrams("one", "a"), datagrams("two", "a"));
    let payload = [7; PAYLOAD_BYTES_MAX];
    let bytes = sealed(&mut one, "two", &payload);
    assert_eq!(bytes.len(), DATAGRAM_BYTES_MAX);
    assert_eq!(opened(&mut two, &bytes), Ok(payload.to_vec()));
}

#[test]
#[should_panic(expected = "1359 bytes in one datagram")]
fn a_payload_that_does_not_fit_is_wrong() {
    sealed(
        &mut datagrams("one", "a"),
        "two",
        &[0; PAYLOAD_BYTES_MAX + 1],
    );
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let bytes = |generation, number, name| {
        let node = NodeId {
            guid: guid(name),
            generation,
        };
        let mut from = Datagrams::new(&credentials("c", "a"), node, &seed(number));
        sealed(&mut from, "two", b"hello")
    };
    assert_eq!(bytes(1, 1, "one"), bytes(1, 1, "one"));
    // Either is enough for another nonce.
    let run = |bytes: Vec<u8>| bytes[6..18].to_vec();
    let runs = [
        bytes(1, 1, "one"),
        bytes(1, 2, "one"),
        bytes(2, 1, "one"),
        bytes(1, 1, "two"),
    ]
    .map(run);
    for (index, run) in runs.iter().enumerate() {
        assert!(!runs[..index].contains(run), "{runs:?}");
    }
}

#[test]
fn no_nonce_comes_twice() {
    let mut from = datagrams("one", "a");
    let nonces = (0..300).map(|_| sealed(&mut from, "two", b"")[2..26].to_vec());
    let nonces: alloc::collections::BTreeSet<_> = nonces.collect();
    assert_eq!(nonces.len(), 300);
}

#[test]
fn an_altered_datagram_is_refused() {
    let bytes = sealed(&mut datagrams("one", "a"), "two", b"hello");
    let mut two = datagrams("two", "a");
    for at in 0..bytes.len() {
        for mask in [1, 0x80, 0xff] {
            let mut altered = bytes.clone();
            altered[at] ^= mask;
            assert!(opened(&mut two, &altered).is_err(), "byte {at}");
        }
    }
    for length in 0..bytes.len() {
        assert!(
            opened(&mut two, &bytes[..length]).is_err(),
            "{length} bytes"
        );
    }
    // None of them has had an effect on what is a replay.
    assert_eq!(opened(&mut two, &bytes), Ok(b"hello".to_vec()));
}

#[test]
fn what_is_refused_is_counted_by_its_reason() {
    let bytes = |letters| sealed(&mut datagrams("one", letters), "two", b"hello");
    let elsewhere = |letters| {
        let credentials = credentials("elsewhere", letters);
        let mut from = Datagrams::new(&credentials, node("one"), &seed(1));
        sealed(&mut from, "two", b"hello")
    };
    let with = |at: usize, byte| {
        let mut bytes = bytes("a");
        bytes[at] = byte;
        bytes
    };
    let mut two = datagrams("two", "a");
    assert!(opened(&mut two, &bytes("a")).is_ok());
    for (bytes, refusal) in [
        (vec![], DatagramRefusal::Length),
        (
            bytes("a")[..OVERHEAD_BYTES - 1].to_vec(),
            DatagramRefusal::Length,
        ),
        (vec![1; DATAGRAM_BYTES_MAX + 1], DatagramRefusal::Length),
        (with(0, 2), DatagramRefusal::Version),
        (b"get a\r\n".to_vec(), DatagramRefusal::Version),
        (bytes(""), DatagramRefusal::ClearText),
        (bytes("b"), DatagramRefusal::UnknownKey),
        (elsewhere("a"), DatagramRefusal::OtherCluster),
        (with(30, 0), DatagramRefusal::Forged),
        (
            sealed(&mut datagrams("one", "a"), "three", b"x"),
            DatagramRefusal::Forged,
        ),
        (bytes("a"), DatagramRefusal::Replayed),
    ] {
        assert_eq!(opened(&mut two, &bytes), Err(refusal), "{bytes:?}");
    }
    let expected = DatagramFigures {
        sealed: 0,
        opened: 1,
        length: 3,
        version: 2,
        clear_text: 1,
        encrypted: 0,
        unknown_key: 1,
        other_cluster: 1,
        forged: 2,
        replayed: 1,
        senders_evicted: 0,
    };
    assert_eq!(two.figures(), expected);
}

#[test]
fn without_secrets_only_the_cluster_is_looked_at() {
    let (mut one, mut two) = (datagrams("one", ""), datagrams("two", ""));
    let bytes = sealed(&mut one, "two", b"hello");
    assert_eq!(bytes.len(), 10);
    assert_eq!(opened(&mut two, &bytes), Ok(b"hello".to_vec()));
    let mut other = Datagrams::new(&credentials("d", ""), node("two"), &seed(1));
    assert_eq!(
        opened(&mut other, &bytes),
        Err(DatagramRefusal::OtherCluster)
    );
    assert_eq!(opened(&mut two, &bytes[..4]), Err(DatagramRefusal::Length));
    let bytes = sealed(&mut datagrams("one", "a"), "two", b"hello");
    assert_eq!(opened(&mut two, &bytes), Err(DatagramRefusal::Encrypted));
    assert_eq!((two.figures().encrypted, one.figures().sealed), (1, 1));
}

#[test]
fn secrets_are_rotated_without_a_gap() {
    for (from, to, accepted) in [
        ("a", "ab", true),
        ("ab", "a", true),
        ("ba", "ab", true),
        ("ba", "b", true),
        ("b", "ba", true),
        ("ba", "a", false),
    ] {
        let bytes = sealed(&mut datagrams("one", from), "two", b"hello");
        let opened = opened(&mut datagrams("two", to), &bytes);
        assert_eq!(opened.is_ok(), accepted, "{from} to {to}");
    }
}

#[test]
fn secrets_with_the_same_key_id_are_both_tried() {
    let [first, second] = alike();
    let set = |name, text: &str| {
        let secrets = Secrets::parse(text.as_bytes()).ok();
        Datagrams::new(&Credentials::new("c", secrets), node(name), &seed(1))
    };
    for one in [&first, &second] {
        let bytes = sealed(&mut set("one", one), "two", b"hello");
        let mut both = set("two", &[&*first, &*second].join("\n"));
        assert_eq!(opened(&mut both, &bytes), Ok(b"hello".to_vec()));
    }
    let bytes = sealed(&mut set("one", &first), "two", b"hello");
    let refused = opened(&mut set("two", &second), &bytes);
    assert!(refused.is_err());
}

#[test]
fn datagrams_may_overtake_each_other_but_not_come_twice() {
    let (mut one, mut two) = (datagrams("one", "a"), datagrams("two", "a"));
    let all: Vec<_> = (0..200).map(|_| sealed(&mut one, "two", b"x")).collect();
    assert!(opened(&mut two, &all[150]).is_ok());
    for (index, bytes) in all.iter().enumerate() {
        let expected = match index {
            // 128 are told apart: 150 and those before it.
            0..=22 | 150 => Err(DatagramRefusal::Replayed),
            _ => Ok(b"x".to_vec()),
        };
        // The window moves on with those after 150, which then are the newest.
        assert_eq!(opened(&mut two, bytes), expected, "{index}");
    }
    for bytes in &all {
        assert_eq!(opened(&mut two, bytes), Err(DatagramRefusal::Replayed));
    }
    // Another sender has a window of its own.
    let bytes = sealed(&mut datagrams("three", "a"), "two", b"x");
    assert!(opened(&mut two, &bytes).is_ok());
}

proptest! {
    #[test]
    fn what_is_sealed_opens_once(
        payload in prop::collection::vec(any::<u8>(), 0..=PAYLOAD_BYTES_MAX),
        letters in prop::sample::select(vec!["", "a", "ab"]),
    ) {
        let (mut one, mut two) = (datagrams("one", letters), datagrams("two", letters));
        let bytes = sealed(&mut one, "two", &payload);
        prop_assert!(bytes.len() <= payload.len() + OVERHEAD_BYTES);
        prop_assert_eq!(opened(&mut two, &bytes), Ok(payload));
        prop_assert_eq!(opened(&mut two, &bytes).is_ok(), letters.is_empty());
    }

    /// Also behind the head and nonce of one that was authentic.
    #[test]
    fn any_bytes_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        version in 0..3_u8,
        kept in 0..=HEAD_BYTES + NONCE_BYTES,
    ) {
        let mut all = sealed(&mut datagrams("one", "a"), "two", b"");
        all.truncate(kept);
        all.extend_from_slice(&bytes);
        if kept == 0 && !all.is_empty() {
            all[0] = version;
        }
        let mut two = datagrams("two", "a");
        prop_assert!(opened(&mut two, &all).is_err());
        prop_assert_eq!(two.figures().opened, 0);
    }
}
