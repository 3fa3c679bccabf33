//! Outcomes in, bytes out.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::Failure;
use crate::protocol::{ParseLimits, parse};
use crate::time::Time;

const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_700_000_000_500,
};
const LIMITS: ParseLimits = ParseLimits {
    value_bytes_max: 1 << 20,
    flush_enabled: true,
    shutdown_enabled: false,
};

const ITEM: Item<'static> = Item {
    value: Value::Small(b"hello"),
    flags: 5,
    cas: 99,
    expired_s_before: 0,
    expires_s: 0,
    accessed_s: 1_699_999_990,
    fetched: false,
    stale: false,
    token_sent: false,
    won: false,
    vivified: false,
    memory_bytes: 72,
};

fn answer(line: &str, outcome: &Outcome<'_>) -> String {
    let request = parse(line.as_bytes(), NOW, &LIMITS).expect("a request");
    let mut sink = Vec::new();
    render(&mut sink, &request, outcome, NOW);
    String::from_utf8(sink).expect("ASCII")
}

fn hit(line: &str, item: Item<'_>) -> String {
    answer(line, &Outcome::Item(item))
}

const STORED: Outcome<'static> = Outcome::Stored {
    cas: 7,
    value_bytes: 12,
};
const NUMBER: Outcome<'static> = Outcome::Number {
    number: 1234,
    cas: 7,
    expired_s_before: 0,
    expires_s: 1_700_000_031,
    vivified: false,
};

#[test]
fn values_of_get_and_gets() {
    let mut sink = Vec::new();
    render_value(&mut sink, b"key", false, &ITEM);
    render_value(&mut sink, b"key", true, &ITEM);
    assert_eq!(
        sink,
        b"VALUE key 5 5\r\nhello\r\nVALUE key 5 5 99\r\nhello\r\n"
    );
}

#[test]
fn the_longest_numbers_fit() {
    let item = Item {
        flags: u32::MAX,
        cas: u64::MAX,
        ..ITEM
    };
    let mut sink = Vec::new();
    render_value(&mut sink, b"k", true, &item);
    assert_eq!(
        sink,
        b"VALUE k 4294967295 5 18446744073709551615\r\nhello\r\n"
    );
}

#[test]
fn large_values_are_shared() {
    #[derive(Default)]
    struct Shared(Vec<u8>, Vec<Bytes>);
    impl Sink for Shared {
        fn put(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn share(&mut self, bytes: Bytes) {
            self.1.push(bytes);
        }
    }
    let value = Bytes::from(alloc::vec![b'x'; 10_000]);
    let item = Item {
        value: Value::Large(value.clone()),
        ..ITEM
    };
    let mut sink = Shared::default();
    render_value(&mut sink, b"k", false, &item);
    assert_eq!(sink.0, b"VALUE k 5 10000\r\n\r\n");
    assert_eq!(sink.1[0].as_ptr(), value.as_ptr());
}

#[test]
fn classic_answers() {
    for (line, outcome, expected) in [
        ("set k 0 0 5", STORED, "STORED\r\n"),
        ("add k 0 0 5", Outcome::NotStored, "NOT_STORED\r\n"),
        ("cas k 0 0 5 1", Outcome::Exists, "EXISTS\r\n"),
        ("cas k 0 0 5 1", Outcome::NotFound, "NOT_FOUND\r\n"),
        ("delete k", Outcome::Deleted, "DELETED\r\n"),
        ("delete k", Outcome::NotFound, "NOT_FOUND\r\n"),
        ("incr k 1", NUMBER, "1234\r\n"),
        ("decr k 1", Outcome::NotFound, "NOT_FOUND\r\n"),
        ("touch k 1", Outcome::Item(ITEM), "TOUCHED\r\n"),
        ("touch k 1", Outcome::NotFound, "NOT_FOUND\r\n"),
    ] {
        assert_eq!(answer(line, &outcome), expected);
        assert_eq!(answer(&alloc::format!("{line} noreply"), &outcome), "");
    }
}

#[test]
fn failures_have_lines() {
    for (line, failure, expected) in [
        (
            "set k 0 0 5",
            Failure::OutOfMemory,
            "SERVER_ERROR out of memory storing object\r\n",
        ),
        (
            "ms k 5 q",
            Failure::OutOfMemory,
            "SERVER_ERROR out of memory storing object\r\n",
        ),
        (
            "append k 0 0 5",
            Failure::TooLarge,
            "SERVER_ERROR object too large for cache\r\n",
        ),
        (
            "incr k 1",
            Failure::OutOfMemory,
            "SERVER_ERROR out of memory\r\n",
        ),
        (
            "ma k q",
            Failure::NonNumeric,
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
    ] {
        assert_eq!(answer(line, &Outcome::Failed(failure)), expected);
    }
    for failure in [
        Failure::Backlog,
        Failure::DiskRead,
        Failure::DiskFull,
        Failure::Unreachable,
        Failure::Unknown,
    ] {
        for line in ["set k 0 0 5", "mg k q", "md k q", "touch k 1"] {
            let answer = answer(line, &Outcome::Failed(failure));
            assert!(answer.starts_with("SERVER_ERROR ") && answer.ends_with("\r\n"));
        }
    }
    assert_eq!(
        answer("incr k 1 noreply", &Outcome::Failed(Failure::NonNumeric)),
        ""
    );
}

#[test]
fn mg_answers() {
    assert_eq!(hit("mg k", ITEM), "HD\r\n");
    assert_eq!(hit("mg k q", ITEM), "HD\r\n");
    assert_eq!(hit("mg k v", ITEM), "VA 5\r\nhello\r\n");
    let line = "mg key s v Oop q t f c k h l P x";
    assert_eq!(
        hit(line, ITEM),
        "VA 5 s5 Oop t-1 f5 c99 kkey h0 l10\r\nhello\r\n"
    );
    let item = Item {
        fetched: true,
        ..ITEM
    };
    assert_eq!(hit("mg k h u", item), "HD h1\r\n");
    assert_eq!(answer("mg k v", &Outcome::NotFound), "EN\r\n");
    assert_eq!(answer("mg k v q k", &Outcome::NotFound), "");
    assert_eq!(
        answer("mg k v k s O1 t", &Outcome::NotFound),
        "EN kk O1\r\n"
    );
    assert_eq!(
        answer("mg Zm9v b k O1", &Outcome::NotFound),
        "EN kZm9v b O1\r\n"
    );
    assert_eq!(hit("mg Zm9v b", ITEM), "HD\r\n");
}

#[test]
fn mg_drops_the_value_that_the_client_has() {
    assert_eq!(hit("mg k v c C99", ITEM), "HD c99\r\n");
    assert_eq!(hit("mg k v c C98", ITEM), "VA 5 c99\r\nhello\r\n");
}

#[test]
fn mg_shows_the_server_flags_last() {
    let stale = Item {
        stale: true,
        won: true,
        ..ITEM
    };
    assert_eq!(hit("mg k s", stale.clone()), "HD s5 X W\r\n");
    let told = Item {
        token_sent: true,
        won: false,
        ..stale
    };
    assert_eq!(hit("mg k s", told), "HD s5 Z X\r\n");
    let vivified = Item {
        value: Value::Small(b""),
        won: true,
        ..ITEM
    };
    assert_eq!(hit("mg k v N30", vivified), "VA 0 W\r\n\r\n");
}

#[test]
fn remaining_seconds() {
    let ttl = |line: &str, before, now| {
        let item = Item {
            expired_s_before: before,
            expires_s: now,
            ..ITEM
        };
        hit(line, item)
    };
    let (in_30, in_60) = (1_700_000_031, 1_700_000_061);
    assert_eq!(ttl("mg k t", in_30, in_30), "HD t30\r\n");
    assert_eq!(ttl("mg k t T60", in_30, in_60), "HD t30\r\n");
    assert_eq!(ttl("mg k T60 t", in_30, in_60), "HD t60\r\n");
    assert_eq!(ttl("mg k t T60", 0, in_60), "HD t-1\r\n");
    assert_eq!(ttl("mg k T0 t", in_30, 0), "HD t-1\r\n");
    assert_eq!(ttl("mg k T-1 t", in_30, 1), "HD t0\r\n");
    assert_eq!(ttl("mg k t", 1_700_000_001, 1_700_000_001), "HD t0\r\n");
    assert_eq!(ttl("mg k N60 t T30", 0, in_30), "HD t-1\r\n");
}

#[test]
fn remaining_seconds_of_what_is_vivified() {
    let ttl = |line: &str, expires_s| {
        let item = Item {
            expires_s,
            vivified: true,
            won: true,
            ..ITEM
        };
        hit(line, item)
    };
    let (in_30, in_60) = (1_700_000_031, 1_700_000_061);
    assert_eq!(ttl("mg k N30 t", in_30), "HD t30 W\r\n");
    assert_eq!(ttl("mg k t N30", in_30), "HD t-1 W\r\n");
    assert_eq!(ttl("mg k N30 t T60", in_60), "HD t30 W\r\n");
    assert_eq!(ttl("mg k T60 t N30", in_30), "HD t60 W\r\n");
    let number = |line: &str| {
        let number = Outcome::Number {
            number: 5,
            cas: 7,
            expired_s_before: 0,
            expires_s: in_30,
            vivified: true,
        };
        answer(line, &number)
    };
    assert_eq!(number("ma k t N30"), "HD t-1\r\n");
    assert_eq!(number("ma k N30 t"), "HD t30\r\n");
    assert_eq!(number("ma k T60 t N30"), "HD t60\r\n");
}

#[test]
fn ms_answers() {
    assert_eq!(answer("ms k 5", &STORED), "HD\r\n");
    assert_eq!(answer("ms k 5 q", &STORED), "");
    assert_eq!(
        answer("ms k 5 s c O1 k F2 T9", &STORED),
        "HD s12 c7 O1 kk\r\n"
    );
    assert_eq!(answer("ms Zm9v 5 b k", &STORED), "HD kZm9v b\r\n");
    assert_eq!(
        answer("ms k 5 q ME c s", &Outcome::NotStored),
        "NS c0 s5\r\n"
    );
    assert_eq!(answer("ms k 5 q C1 O1", &Outcome::Exists), "EX O1\r\n");
    assert_eq!(answer("ms k 5 q C1 k", &Outcome::NotFound), "NF kk\r\n");
}

#[test]
fn md_answers() {
    assert_eq!(answer("md k", &Outcome::Deleted), "HD\r\n");
    assert_eq!(answer("md k q k", &Outcome::Deleted), "");
    assert_eq!(answer("md k O1 k v", &Outcome::Deleted), "HD O1 kk\r\n");
    assert_eq!(answer("md k q k", &Outcome::NotFound), "NF kk\r\n");
    assert_eq!(answer("md k q C1", &Outcome::Exists), "EX\r\n");
    assert_eq!(answer("md k x", &Outcome::NotStored), "NS\r\n");
}

#[test]
fn ma_answers() {
    assert_eq!(answer("ma k", &NUMBER), "HD\r\n");
    assert_eq!(answer("ma k q v", &NUMBER), "");
    assert_eq!(answer("ma k v", &NUMBER), "VA 4\r\n1234\r\n");
    assert_eq!(
        answer("ma k t v c O1 k s", &NUMBER),
        "VA 4 t-1 c7 O1 kk\r\n1234\r\n"
    );
    assert_eq!(answer("ma k t T30", &NUMBER), "HD t-1\r\n");
    assert_eq!(answer("ma k T30 t", &NUMBER), "HD t30\r\n");
    assert_eq!(answer("ma k N9 t T30", &NUMBER), "HD t-1\r\n");
    assert_eq!(answer("ma k q k", &Outcome::NotFound), "NF kk\r\n");
    assert_eq!(answer("ma k q C1 O1", &Outcome::Exists), "EX O1\r\n");
    assert_eq!(answer("ma k N0", &Outcome::NotStored), "NS\r\n");
}

#[test]
fn me_answers() {
    assert_eq!(
        hit("me k", ITEM),
        "ME k exp=-1 la=10 cas=99 fetch=no cls=1 size=72\r\n"
    );
    let item = Item {
        expires_s: 1_700_000_031,
        fetched: true,
        ..ITEM
    };
    assert_eq!(
        hit("me Zm9v b", item),
        "ME Zm9v exp=30 la=10 cas=99 fetch=yes cls=1 size=72\r\n"
    );
    assert_eq!(answer("me k", &Outcome::NotFound), "EN\r\n");
}

#[test]
fn version_and_location() {
    let mut sink = Vec::new();
    render_version(&mut sink);
    write_location(&mut sink, &["2"], 0);
    write_location(&mut sink, &["2", "a-b"], 1234);
    assert_eq!(
        sink,
        b"VERSION 1.6.45\r\nnode-2 in 0ms\r\nnode-2,node-a-b in 1234ms\r\n"
    );
}

proptest! {
    /// What is rendered for an item can be read again, and it is the item.
    #[test]
    fn a_rendered_value_reads_back(
        key in "[!-~]{1,250}",
        flags in any::<u32>(),
        cas in any::<u64>(),
        value in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let item = Item { value: Value::Small(&value), flags, cas, ..ITEM };
        let mut sink = Vec::new();
        render_value(&mut sink, key.as_bytes(), true, &item);
        let line_end = sink.windows(2).position(|pair| pair == b"\r\n").expect("a line end");
        let line = core::str::from_utf8(&sink[..line_end]).expect("text");
        let expected = alloc::format!("VALUE {key} {flags} {} {cas}", value.len());
        prop_assert_eq!(line, expected);
        prop_assert_eq!(&sink[line_end + 2..sink.len() - 2], &value[..]);
        prop_assert!(sink.ends_with(b"\r\n"));
    }

    /// A meta get returns what was asked for, in the order of the request, and nothing else.
    #[test]
    fn returned_flags_keep_the_order(
        flags in Just(b"vksctfhlquPLIxO".to_vec()).prop_shuffle(),
        count in 0_usize..15,
    ) {
        let mut line = String::from("mg k");
        for flag in &flags[..count] {
            line.push(' ');
            line.push(char::from(*flag));
        }
        let answer = hit(&line, ITEM);
        let first = answer.lines().next().expect("a line");
        let skipped = if first.starts_with("VA") { 2 } else { 1 };
        let returned: Vec<u8> =
            first.split(' ').skip(skipped).map(|flag| flag.as_bytes()[0]).collect();
        let asked: Vec<u8> = flags[..count]
            .iter()
            .copied()
            .filter(|flag| b"ksctfhlO".contains(flag))
            .collect();
        prop_assert_eq!(returned, asked);
    }
}
