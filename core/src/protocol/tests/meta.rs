//! Meta commands: what each flag means to each command, and their faults.

use super::*;
use crate::command::{Delete, Store};

fn fetch(line: &[u8]) -> Fetch {
    match key_request(line).operation {
        Operation::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

fn deletion(line: &[u8]) -> Delete {
    match key_request(line).operation {
        Operation::Delete(delete) => delete,
        other => panic!("{other:?}"),
    }
}

fn counting(line: &[u8]) -> Arithmetic {
    match key_request(line).operation {
        Operation::Arithmetic(arithmetic) => arithmetic,
        other => panic!("{other:?}"),
    }
}

fn storing(line: &[u8]) -> Store<'static> {
    match store_request(line).operation(Value::Small(b"")) {
        Operation::Store(store) => store,
        other => panic!("{other:?}"),
    }
}

const IN_30: Option<Expiry> = Some(Expiry::At(1_700_000_030));
const IN_60: Option<Expiry> = Some(Expiry::At(1_700_000_060));

#[test]
fn mg_flags() {
    let plain = Fetch {
        meta: true,
        ..Fetch::default()
    };
    assert_eq!(fetch(b"mg k"), plain);
    assert_eq!(fetch(b"mg k v k s c t f h l q Oabc P L"), plain);
    let all = fetch(b"mg k u N30 R10 T60 E7");
    assert!(all.no_bump && !all.touch_only);
    assert_eq!(
        (all.touch, all.recache_s, all.new_cas),
        (IN_60, Some(10), Some(7))
    );
    // The flag that comes last decides about an item that is made for want of one.
    assert_eq!(all.vivify, IN_60);
    assert_eq!(fetch(b"mg k T60 N30").vivify, IN_30);
    assert_eq!(fetch(b"mg k N-1").vivify, Some(Expiry::At(1)));
    assert_eq!(fetch(b"mg k R1700000100").recache_s, Some(100));
    assert_eq!(fetch(b"mg k R-5").recache_s, Some(-5));
}

/// `R` looks at the expiry that a `T` ahead of it has set.
#[test]
fn mg_recaches_by_what_t_has_set() {
    for (line, recache) in [
        ("mg k T30 R60", true),
        ("mg k T60 R30", false),
        ("mg k T60 R60", false),
        ("mg k T0 R60", false),
        ("mg k T-1 R60", true),
        ("mg k T-1 R0", false),
        ("mg k T-1 R-1", false),
    ] {
        let fetch = fetch(line.as_bytes());
        assert_eq!((fetch.recache, fetch.recache_s), (recache, None), "{line}");
    }
    let behind = fetch(b"mg k R60 T30");
    assert_eq!((behind.recache, behind.recache_s), (false, Some(60)));
}

#[test]
fn md_flags() {
    assert_eq!(deletion(b"md k q v k O1"), Delete::default());
    assert_eq!(
        deletion(b"md k I x T30 C5 E6 F9"),
        Delete {
            compare: Some(5),
            new_cas: Some(6),
            stale: true,
            drop_value: true,
            expiry: IN_30,
            flags: 9,
            refused_store: false,
        }
    );
    assert_eq!(deletion(b"md k C0").compare, Some(0));
}

#[test]
fn ma_flags() {
    let plain = counting(b"ma k");
    assert_eq!(
        (plain.decrement, plain.delta, plain.initial),
        (false, 1, None)
    );
    let full = counting(b"ma k MD D5 N30 J9 T60 C3 E4");
    assert!(full.decrement);
    assert_eq!((full.delta, full.touch), (5, IN_60));
    assert_eq!(full.initial, IN_60.map(|expiry| (9, expiry)));
    assert_eq!((full.compare, full.new_cas), (Some(3), Some(4)));
    assert_eq!(counting(b"ma k N0").initial, Some((0, Expiry::Never)));
    assert_eq!(counting(b"ma k J9").initial, None);
    assert_eq!(counting(b"ma k C0").compare, None);
    for (mode, decrement) in [
        ("I", false),
        ("+", false),
        ("D", true),
        ("-", true),
        ("Dx", true),
    ] {
        let line = std::format!("ma k M{mode}");
        assert_eq!(counting(line.as_bytes()).decrement, decrement, "{mode}");
    }
}

#[test]
fn ms_modes_and_flags() {
    let full = storing(b"ms k 5 T30 F7 C9 E8 I c k O1 q");
    assert_eq!((full.mode, full.flags), (StoreMode::Set, 7));
    assert_eq!(
        (Some(full.expiry), full.compare, full.new_cas),
        (IN_30, Some(9), Some(8))
    );
    assert!(full.invalidate);
    assert!(!storing(b"ms k 5 I").invalidate);
    assert_eq!(store_request(b"ms k 5").data_bytes, 5);
    for (mode, expected) in [
        ("E", StoreMode::Add),
        ("A", StoreMode::Append),
        ("P", StoreMode::Prepend),
        ("R", StoreMode::Replace),
        ("S", StoreMode::Set),
        ("Set", StoreMode::Set),
    ] {
        let line = std::format!("ms k 5 M{mode}");
        assert_eq!(storing(line.as_bytes()).mode, expected);
    }
    // With a cas unique: MR compares, ME does not, MA and MP only if it is not 0.
    assert_eq!(storing(b"ms k 5 MR C0").compare, Some(0));
    assert_eq!(storing(b"ms k 5 C0").compare, Some(0));
    assert_eq!(storing(b"ms k 5 ME C1").compare, None);
    assert_eq!(storing(b"ms k 5 MA C1").compare, Some(1));
    assert_eq!(storing(b"ms k 5 MP C0").compare, None);
    assert_eq!(storing(b"ms k 5 MA N30 T60").vivify, IN_30);
    assert_eq!(storing(b"ms k 5 N30").vivify, None);
}

#[test]
fn base64_keys() {
    let mut buffer = KeyBuffer::default();
    let request = key_request(b"mg Zm9v b v");
    assert!(request.key.is_base64());
    assert_eq!(request.key.sent(), b"Zm9v");
    assert_eq!(request.key.bytes(&mut buffer), b"foo");
    assert_eq!(
        store_request(b"ms AAE= 1 b").key.bytes(&mut buffer),
        b"\x00\x01"
    );
    assert_eq!(key_request(b"me Zm9v b").key.bytes(&mut buffer), b"foo");
    assert_eq!(key_request(b"me Zm9v").key.bytes(&mut buffer), b"Zm9v");
    assert_eq!(key_request(b"mg Zm9v").key.bytes(&mut buffer), b"Zm9v");
    let longest = b"mg "
        .iter()
        .copied()
        .chain(b"AAAA".repeat(62))
        .chain(*b" b");
    let longest: Vec<u8> = longest.collect();
    assert_eq!(key_request(&longest).key.bytes(&mut buffer).len(), 186);
    for line in ["mg k b", "mg Zm9 b", "md ==== b", "mg Zm9v= b"] {
        assert_eq!(
            refusal(line.as_bytes()).line,
            ErrorLine::KeyDecoding,
            "{line}"
        );
    }
    assert_eq!(refusal(b"ma k b").line, ErrorLine::InvalidOrDuplicateFlag);
    assert_eq!(refusal(b"me k b").line, ErrorLine::BadFormat);
    let refused = refusal(b"ms Zm9v 1048577 b q");
    assert_eq!(
        refused.evict.map(|key| key.bytes(&mut buffer).to_vec()),
        Some(b"foo".to_vec())
    );
}

#[test]
fn flag_faults() {
    use ErrorLine::{
        BadFormat, BadToken, DuplicateFlag, InvalidArithmeticMode, InvalidFlag, InvalidMetaDelta,
        InvalidMetaInitial, InvalidOrDuplicateFlag, InvalidStoreMode, KeyDecoding, OpaqueTooLong,
        TooLarge, TooManyFlags,
    };
    let long = "O".repeat(33);
    for (line, error) in [
        ("mg k v v", DuplicateFlag),
        ("mg k \u{ff}", DuplicateFlag),
        ("mg k z", InvalidFlag),
        ("mg k W", InvalidFlag),
        ("mg k S5", InvalidFlag),
        ("mg k !", InvalidFlag),
        ("mg k T", BadToken),
        ("mg k Tx", BadToken),
        ("mg k N2147483648", BadToken),
        ("mg k R1x", BadToken),
        ("mg k C-1", BadToken),
        ("md k E", BadToken),
        ("mg k Fx", BadFormat),
        ("mg k Jx", InvalidMetaInitial),
        ("mg k D", InvalidMetaDelta),
        // Of several wrong arguments the last one shows, but for F; a wrong letter ends it.
        ("mg k Tx Jx", InvalidMetaInitial),
        ("mg k Tx Fx", BadToken),
        ("mg k Fx Tx", BadToken),
        ("mg k Tx z", InvalidFlag),
        ("mg k Tx b", KeyDecoding),
        ("ma k v v", InvalidOrDuplicateFlag),
        ("ma k z", InvalidOrDuplicateFlag),
        ("ma k Tx", InvalidOrDuplicateFlag),
        ("ma k Dx", InvalidOrDuplicateFlag),
        ("ma k MX", InvalidArithmeticMode),
        ("ma k M", InvalidArithmeticMode),
        ("ma k Mi", InvalidArithmeticMode),
        ("ma k a b c d e f g h i j k l m n o p q r s", TooManyFlags),
        (
            "mg k v k s c t f h l u q O1 P L F1 I x MS N1 R1",
            TooManyFlags,
        ),
        ("mg k {}", OpaqueTooLong),
        ("md k {}", OpaqueTooLong),
        ("ma k {}", OpaqueTooLong),
    ] {
        let line = line.replace("{}", &long);
        let refused = refusal(line.as_bytes());
        assert_eq!(
            (refused.line, refused.then),
            (error, Then::Continue),
            "{line}"
        );
    }
    for (line, error) in [
        ("ms k 5 v v", DuplicateFlag),
        ("ms k 5 z q", InvalidFlag),
        ("ms k 5 MX q", InvalidStoreMode),
        ("ms k 5 M", InvalidStoreMode),
        ("ms k 5 Tx", BadToken),
        ("ms k 5 Fx", BadFormat),
        ("ms k 5 b", KeyDecoding),
        ("ms k 5 {} q", OpaqueTooLong),
        (
            "ms k 5 v k s c t f h l u q O1 P L F1 I x MS N1",
            TooManyFlags,
        ),
    ] {
        let line = line.replace("{}", &long);
        let refused = refusal(line.as_bytes());
        assert_eq!(
            (refused.line, refused.then),
            (error, Then::Swallow(7)),
            "{line}"
        );
        assert!(!refused.silent && refused.evict.is_none());
    }
    for mode in ["", " ME", " MA q"] {
        let line = std::format!("ms k 1048577{mode}");
        let refused = refusal(line.as_bytes());
        assert_eq!((refused.line, refused.silent), (TooLarge, false));
        assert_eq!(refused.evict, Key::plain(b"k"));
    }
}

#[test]
fn twenty_tokens_and_an_opaque_of_31_bytes_are_legal() {
    assert!(read(b"mg k v k s c t f h l u q O1 P L F1 I x MS N1").is_ok());
    assert!(read(b"ms k 5 k s c t f h l u q O1 P L F1 I x MS N1").is_ok());
    assert!(read(std::format!("mg k O{}", "o".repeat(31)).as_bytes()).is_ok());
}
