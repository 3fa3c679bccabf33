//! What was encoded reads the same, and whatever else comes is refused without harm.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::command::Expiry;

fn expiry() -> impl Strategy<Value = Expiry> {
    (0_u32..5).prop_map(|at| match at {
        0 => Expiry::Never,
        at => Expiry::At(at * 1_000_000_000 / 2),
    })
}

fn long() -> impl Strategy<Value = Option<u64>> {
    option::of(any::<u64>())
}

fn fetch_operation() -> impl Strategy<Value = Operation<'static>> {
    let flags = any::<[bool; 4]>();
    let times = (option::of(expiry()), option::of(expiry()));
    (flags, times, option::of(any::<i32>()), long()).prop_map(
        |([touch_only, recache, no_bump, meta], (touch, vivify), recache_s, new_cas)| {
            Operation::Fetch(Fetch {
                touch,
                touch_only,
                vivify,
                recache_s,
                recache,
                new_cas,
                no_bump,
                meta,
            })
        },
    )
}

fn store_operation() -> impl Strategy<Value = Operation<'static>> {
    let mode = prop::sample::select(vec![
        StoreMode::Set,
        StoreMode::Add,
        StoreMode::Replace,
        StoreMode::Append,
        StoreMode::Prepend,
    ]);
    let times = (expiry(), option::of(expiry()));
    (mode, any::<u32>(), times, long(), long(), any::<bool>()).prop_map(
        |(mode, flags, (expiry, vivify), compare, new_cas, invalidate)| {
            Operation::Store(Store {
                mode,
                flags,
                expiry,
                value: Value::Small(&[]),
                compare,
                new_cas,
                invalidate,
                vivify,
            })
        },
    )
}

fn delete_operation() -> impl Strategy<Value = Operation<'static>> {
    let flags = (any::<[bool; 3]>(), any::<u32>());
    (flags, long(), long(), option::of(expiry())).prop_map(
        |(([stale, drop_value, refused_store], flags), compare, new_cas, expiry)| {
            Operation::Delete(Delete {
                compare,
                new_cas,
                stale,
                drop_value,
                expiry,
                flags,
                refused_store,
            })
        },
    )
}

fn arithmetic_operation() -> impl Strategy<Value = Operation<'static>> {
    let initial = option::of((any::<u64>(), expiry()));
    let numbers = (any::<bool>(), any::<u64>());
    (numbers, initial, option::of(expiry()), long(), long()).prop_map(
        |((decrement, delta), initial, touch, compare, new_cas)| {
            Operation::Arithmetic(Arithmetic {
                decrement,
                delta,
                initial,
                touch,
                compare,
                new_cas,
            })
        },
    )
}

fn any_operation() -> impl Strategy<Value = Operation<'static>> {
    prop_oneof![
        fetch_operation(),
        store_operation(),
        delete_operation(),
        arithmetic_operation(),
        Just(Operation::Inspect),
    ]
}

fn any_outcome() -> impl Strategy<Value = Outcome<'static>> {
    let failure = prop::sample::select(vec![
        Failure::TooLarge,
        Failure::OutOfMemory,
        Failure::NonNumeric,
        Failure::Backlog,
        Failure::DiskRead,
        Failure::DiskFull,
        Failure::Unreachable,
        Failure::Unknown,
    ]);
    let times = any::<[u32; 3]>();
    let item = (times, any::<[u32; 2]>(), any::<u64>(), any::<[bool; 5]>());
    let item = item.prop_map(|(times, [flags, memory_bytes], cas, marks)| {
        let [expired_s_before, expires_s, accessed_s] = times;
        let [fetched, stale, token_sent, won, vivified] = marks;
        Outcome::Item(Item {
            value: Value::Small(&[]),
            flags,
            cas,
            expired_s_before,
            expires_s,
            accessed_s,
            fetched,
            stale,
            token_sent,
            won,
            vivified,
            memory_bytes,
        })
    });
    let number = (any::<[u64; 2]>(), any::<[u32; 2]>(), any::<bool>());
    let number = number.prop_map(|([number, cas], [expired_s_before, expires_s], vivified)| {
        Outcome::Number {
            number,
            cas,
            expired_s_before,
            expires_s,
            vivified,
        }
    });
    prop_oneof![
        item,
        number,
        (any::<u64>(), any::<u32>())
            .prop_map(|(cas, value_bytes)| Outcome::Stored { cas, value_bytes }),
        failure.prop_map(Outcome::Failed),
        Just(Outcome::NotFound),
        Just(Outcome::NotStored),
        Just(Outcome::Exists),
        Just(Outcome::Deleted),
    ]
}

/// As [`Debug`] writes it: neither an operation nor an outcome can be compared.
fn text(anything: &impl core::fmt::Debug) -> String {
    format!("{anything:?}")
}

fn with_store_value<'a>(operation: &Operation<'static>, bytes: &'a [u8]) -> Operation<'a> {
    let value = if bytes.len() > INLINE_BYTES_MAX {
        Value::Large(Bytes::copy_from_slice(bytes))
    } else {
        Value::Small(bytes)
    };
    crate::message::dressed_operation(operation, value)
}

fn expected_value(bytes: &[u8]) -> WireValue<'_> {
    if bytes.len() > INLINE_BYTES_MAX {
        WireValue::Chunked(u32::try_from(bytes.len()).expect("short"))
    } else {
        WireValue::Inline(bytes)
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        Just(vec![b'v'; INLINE_BYTES_MAX]),
        Just(vec![b'v'; INLINE_BYTES_MAX + 1]),
    ]
}

proptest! {
    #[test]
    fn a_request_reads_as_it_was_written(
        sequence: u64,
        key in prop::collection::vec(any::<u8>(), 1..=KEY_BYTES_MAX),
        operation in any_operation(),
        value in value(),
        later in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut bytes = Vec::new();
        let hash = KeyHash::of(&key);
        let dressed = with_store_value(&operation, &value);
        encode_request(sequence, hash, &key, &dressed, &mut bytes);
        let whole = bytes.len();
        bytes.extend_from_slice(&later);
        let read = decode_request(&bytes).expect("it is one");
        prop_assert_eq!(read.sequence, sequence);
        prop_assert_eq!(read.key, &key[..]);
        prop_assert_eq!(text(&read.operation), text(&operation));
        let stores = matches!(operation, Operation::Store(_));
        prop_assert_eq!(read.value, expected_value(if stores { &value } else { &[] }));
        for cut in [0, 7, whole / 2, whole - 1] {
            prop_assert!(decode_request(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn an_answer_reads_as_it_was_written(
        sequence: u64,
        outcome in any_outcome(),
        value in value(),
    ) {
        let mut bytes = Vec::new();
        let dressed = match &outcome {
            Outcome::Item(item) => {
                let value = if value.len() > INLINE_BYTES_MAX {
                    Value::Large(Bytes::copy_from_slice(&value))
                } else {
                    Value::Small(&value)
                };
                Outcome::Item(Item { value, ..*item })
            }
            other => crate::message::plain(other),
        };
        encode_answer(sequence, &dressed, &mut bytes);
        let read = decode_answer(&bytes).expect("it is one");
        prop_assert_eq!(read.sequence, sequence);
        prop_assert_eq!(text(&read.outcome), text(&outcome));
        let has_value = matches!(outcome, Outcome::Item(_));
        prop_assert_eq!(read.value, expected_value(if has_value { &value } else { &[] }));
        for cut in [0, 7, bytes.len() / 2, bytes.len() - 1] {
            prop_assert!(decode_answer(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn garbage_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode_request(&bytes);
        let _ = decode_answer(&bytes);
    }
}

#[test]
fn a_key_in_another_partition_is_refused() {
    let mut bytes = Vec::new();
    let hash = KeyHash::of(b"key");
    encode_request(1, hash, b"key", &Operation::Inspect, &mut bytes);
    assert!(decode_request(&bytes).is_ok());
    bytes[9] ^= 1;
    assert_eq!(decode_request(&bytes).err(), Some(Malformed));
}

#[test]
fn a_field_of_a_later_version_is_refused() {
    let mut bytes = Vec::new();
    encode_answer(1, &Outcome::NotFound, &mut bytes);
    assert!(decode_answer(&bytes).is_ok());
    bytes[9] |= 0x80;
    assert_eq!(decode_answer(&bytes).err(), Some(Malformed));
}

#[test]
fn a_value_travels_in_the_one_way_that_fits_its_length() {
    let mut bytes = Vec::new();
    let outcome = Outcome::NotFound;
    encode_answer(1, &outcome, &mut bytes);
    let value_at = bytes.len() - 5;
    bytes[value_at] = 1;
    assert_eq!(decode_answer(&bytes).err(), Some(Malformed), "0 in chunks");
}

#[test]
fn what_has_no_value_brings_none() {
    for value in [WireValue::Inline(b"v"), WireValue::Chunked(5000)] {
        let mut answer = Vec::new();
        encode_answer(1, &Outcome::Deleted, &mut answer);
        let mut request = Vec::new();
        let key = b"key";
        encode_request(1, KeyHash::of(key), key, &Operation::Inspect, &mut request);
        assert!(decode_answer(&answer).is_ok() && decode_request(&request).is_ok());
        for written in [&mut answer, &mut request] {
            written.truncate(written.len() - 5);
            value.push(written);
        }
        assert_eq!(decode_answer(&answer).err(), Some(Malformed));
        assert_eq!(decode_request(&request).err(), Some(Malformed));
    }
}

/// What can come of one operation and of no other is what sessions rely on: they have no words for
/// anything else.
#[test]
fn outcomes_are_of_their_operations() {
    let delete = |compare| {
        Operation::Delete(Delete {
            compare,
            ..Delete::default()
        })
    };
    let fetch = Operation::Fetch(Fetch::default());
    assert!(Outcome::NotFound.can_come_of(&fetch) && !Outcome::Deleted.can_come_of(&fetch));
    assert!(Outcome::Deleted.can_come_of(&delete(None)));
    assert!(!Outcome::Exists.can_come_of(&delete(None)));
    assert!(Outcome::Exists.can_come_of(&delete(Some(1))));
    assert!(!Outcome::NotStored.can_come_of(&delete(Some(1))));
    assert!(Outcome::Failed(Failure::Unknown).can_come_of(&Operation::Inspect));
}
