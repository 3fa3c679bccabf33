//! Lines in, requests or refusals out: the reference's tables, and properties.

extern crate std;

use alloc::vec::Vec;
use proptest::prelude::*;

use super::*;
use crate::command::{Arithmetic, Expiry, Fetch, KEY_BYTES_MAX, Operation, Value};
use crate::time::{Now, Time};

mod meta;

pub(super) const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_700_000_000_000,
};
pub(super) const LIMITS: ParseLimits = ParseLimits {
    value_bytes_max: 1 << 20,
    flush_enabled: true,
    shutdown_enabled: false,
};

pub(super) fn read(line: &[u8]) -> Result<Request<'_>, Refusal<'_>> {
    parse(line, NOW, &LIMITS)
}

pub(super) fn refusal(line: &[u8]) -> Refusal<'_> {
    read(line).expect_err("a line to be refused")
}

pub(super) fn key_request(line: &[u8]) -> KeyRequest<'_> {
    match read(line) {
        Ok(Request::Key(request)) => request,
        other => panic!("{other:?}"),
    }
}

pub(super) fn store_request(line: &[u8]) -> StoreRequest<'_> {
    match read(line) {
        Ok(Request::Store(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn get_request(line: &[u8]) -> GetRequest<'_> {
    match read(line) {
        Ok(Request::Get(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// `{}` in `line` stands for a key of so many bytes.
pub(super) fn with_key(line: &str, bytes: usize) -> Vec<u8> {
    line.replace("{}", &"k".repeat(bytes)).into_bytes()
}

#[test]
fn get_words_and_their_keys() {
    let get = get_request(b"get  a bb   ccc ");
    assert!(!get.with_cas && !get.located && get.touch.is_none());
    let keys: Vec<&[u8]> = get.keys().collect();
    assert_eq!(keys, [b"a".as_slice(), b"bb", b"ccc"]);
    assert!(get_request(b"gets a").with_cas);
    assert!(get_request(b"getd a").located);
    let gatsd = get_request(b"gatsd -1 a b");
    assert!(gatsd.with_cas && gatsd.located);
    assert_eq!(gatsd.touch, Some(Expiry::At(1)));
    assert_eq!(gatsd.keys().count(), 2);
    let Operation::Fetch(fetch) = gatsd.operation() else {
        panic!("a get fetches");
    };
    assert_eq!(fetch.touch, Some(Expiry::At(1)));
    assert!(!fetch.touch_only);
}

#[test]
fn many_keys_of_any_bytes_but_space() {
    let line = [b"get ".as_slice(), &b"\x01\xff\t\x00 ".repeat(1000)].concat();
    let get = get_request(&line);
    assert_eq!(get.keys().count(), 1000);
    assert!(get.keys().all(|key| key == b"\x01\xff\t\x00"));
}

#[test]
fn lines_that_lack_something() {
    for line in [
        "",
        " ",
        "   ",
        "get",
        "get ",
        "get   ",
        "gets",
        "gat",
        "gat 1",
        "gat 1  ",
        "set",
        "set k",
        "set k 0 0",
        "cas k 0 0",
        "touch k",
        "touch",
        "incr k",
        "incr",
        "decr",
        "delete",
        "del",
        "mg",
        "ms",
        "ms k",
        "md",
        "ma",
        "me",
        "verbosity",
        "verbosity x",
        "deld",
        "set k 0 0 -1",
        "set k 0 0 x",
        "set k 0 0 2147483646",
        "set k 0 0 -1 noreply",
        "ms k -1",
        "ms k S5",
        "stats cachedump x 0",
    ] {
        let refusal = refusal(line.as_bytes());
        assert_eq!(refusal, Refusal::new(ErrorLine::BadFormat), "{line:?}");
    }
}

#[test]
fn unknown_words() {
    for line in [
        "foo",
        "GET k",
        "Set k 0 0 1",
        " get k",
        "gett k",
        "dele k",
        "sets k 0 0 1",
        "flush_all_ 1",
        "extstore x",
        "lru mode flat",
        "refresh_certs",
        "stats foo",
        "stats detaill on",
        "stats noreply",
        "cache_memlimit",
        "cache_memlimit x",
        "slabs",
        "slabs automove",
        "slabs automove 7",
        "lru_crawler",
        "lru_crawler foo",
        "mgd k",
        "config get cluster",
        "foo noreply",
        "flush",
        "sh",
    ] {
        assert_eq!(
            refusal(line.as_bytes()),
            Refusal::new(ErrorLine::UnknownCommand),
            "{line:?}"
        );
    }
    assert_eq!(refusal(b"foo").reply(), b"ERROR\r\n");
}

#[test]
fn http_closes_in_silence() {
    for line in ["GET / HTTP/1.1", "POST /x HTTP/1.0", "x HTTP/2"] {
        let refusal = refusal(line.as_bytes());
        assert_eq!(
            (refusal.reply(), refusal.then),
            (b"".as_slice(), Then::Close)
        );
    }
    for line in ["HTTP/1.1", "GET / HTTP/1.1 x", "GET / http/1.1"] {
        assert_eq!(refusal(line.as_bytes()).then, Then::Continue, "{line}");
    }
}

#[test]
fn store_lines() {
    let set = store_request(b"set key 4294967295 60 7");
    assert_eq!(set.key.sent(), b"key");
    assert_eq!(
        (set.mode, set.flags, set.data_bytes),
        (StoreMode::Set, u32::MAX, 7)
    );
    assert_eq!(set.expiry, Expiry::At(1_700_000_060));
    assert!(!set.noreply && !set.located && set.meta.is_none());
    assert_eq!(store_request(b"add k +1 0 0").mode, StoreMode::Add);
    assert_eq!(store_request(b"replace k 0 0 0").mode, StoreMode::Replace);
    assert_eq!(store_request(b"append k 0 0 0").mode, StoreMode::Append);
    assert_eq!(
        store_request(b"prependd k 0 0 0 noreply").mode,
        StoreMode::Prepend
    );
    let cas = store_request(b"casd k 0 0 3 18446744073709551615 noreply");
    assert_eq!(cas.compare, Some(u64::MAX));
    assert!(cas.noreply && cas.located && cas.mode == StoreMode::Set);
    assert!(store_request(b"set k 0 0 1 noreply  ").noreply);
    assert!(!store_request(b"set k 0 0 1 noreply x").noreply);
    assert!(!store_request(b"set k 0 0 1 xnoreply").noreply);
    let Operation::Store(store) = cas.operation(Value::Small(b"abc")) else {
        panic!("a store stores");
    };
    assert_eq!(
        (store.value.as_slice(), store.compare),
        (b"abc".as_slice(), Some(u64::MAX))
    );
}

#[test]
fn refused_stores_swallow_their_data() {
    for line in [
        "set k x 0 5",
        "set k -1 0 5",
        "set k 4294967296 0 5",
        "set k 0 x 5",
        "set k 0 2147483648 5",
        "set k 0 -2147483649 5",
        "cas k 0 0 5",
        "cas k 0 0 5 -1",
        "cas k 0 0 5 x",
        "cas k 0 0 5 18446744073709551616",
        "set {} 0 0 5",
        "ms {} 5",
    ] {
        let line = with_key(line, KEY_BYTES_MAX + 1);
        let refused = refusal(&line);
        assert_eq!(refused.reply(), b"CLIENT_ERROR bad command line format\r\n");
        assert_eq!((refused.then, refused.evict), (Then::Swallow(7), None));
    }
    let refused = refusal(b"set k x 0 5 noreply");
    assert_eq!(
        (refused.reply(), refused.then),
        (b"".as_slice(), Then::Swallow(7))
    );
}

#[test]
fn values_over_the_limit() {
    assert_eq!(store_request(b"set k 0 0 1048576").data_bytes, 1 << 20);
    let refused = refusal(b"set k 0 0 1048577");
    assert_eq!(
        refused.reply(),
        b"SERVER_ERROR object too large for cache\r\n"
    );
    assert_eq!(refused.then, Then::Swallow(1_048_579));
    assert_eq!(refused.evict, Key::plain(b"k"));
    let refused = refusal(b"setd k 0 0 2147483645 noreply");
    assert_eq!(
        (refused.reply(), refused.then),
        (b"".as_slice(), Then::Swallow(2_147_483_647))
    );
    assert_eq!(refused.evict, Key::plain(b"k"));
    for line in [
        "add k 0 0 2000000",
        "append k 0 0 2000000",
        "cas k 0 0 2000000 1",
    ] {
        let refused = refusal(line.as_bytes());
        assert_eq!(
            (refused.line, refused.evict),
            (ErrorLine::TooLarge, None),
            "{line}"
        );
    }
}

#[test]
fn bad_data_chunk_follows_noreply() {
    let shown = store_request(b"set k 0 0 1").bad_data_chunk();
    assert_eq!(shown.reply(), b"CLIENT_ERROR bad data chunk\r\n");
    assert_eq!(shown.then, Then::Continue);
    assert_eq!(
        store_request(b"set k 0 0 1 noreply")
            .bad_data_chunk()
            .reply(),
        b""
    );
    assert!(
        !store_request(b"ms k 1 q")
            .bad_data_chunk()
            .reply()
            .is_empty()
    );
}

#[test]
fn commands_of_one_key() {
    let delete = key_request(b"delete k 0 noreply");
    assert_eq!((delete.command, delete.noreply), (KeyCommand::Delete, true));
    assert!(matches!(delete.operation, Operation::Delete(_)));
    for line in ["del k", "delete k 0", "delete k junk"] {
        let delete = key_request(line.as_bytes());
        assert!(delete.command == KeyCommand::Delete && !delete.located && !delete.noreply);
    }
    assert!(key_request(b"deleted k").located && key_request(b"deld k").located);
    let decr = key_request(b"decrd n 18446744073709551615 noreply");
    assert!(decr.located && decr.noreply);
    let Operation::Arithmetic(Arithmetic {
        decrement,
        delta,
        initial,
        ..
    }) = decr.operation
    else {
        panic!("decr counts");
    };
    assert_eq!((decrement, delta, initial), (true, u64::MAX, None));
    let touch = key_request(b"touch k -5");
    let Operation::Fetch(Fetch {
        touch, touch_only, ..
    }) = touch.operation
    else {
        panic!("touch fetches");
    };
    assert_eq!((touch, touch_only), (Some(Expiry::At(1)), true));
}

#[test]
fn arguments_that_are_no_numbers() {
    let text = |line: &str| core::str::from_utf8(refusal(line.as_bytes()).reply()).map(str::trim);
    for line in [
        "incr k -1",
        "incr k x",
        "decr k 18446744073709551616",
        "incr k 1x",
        "incr k 99999999999999999999",
        "incr k 000000000000000000001",
    ] {
        assert_eq!(
            text(line),
            Ok("CLIENT_ERROR invalid numeric delta argument"),
            "{line}"
        );
    }
    for line in [
        "touch k x",
        "gat x k",
        "gats 1x k",
        "flush_all x",
        "flush_all 2147483648",
    ] {
        assert_eq!(
            text(line),
            Ok("CLIENT_ERROR invalid exptime argument"),
            "{line}"
        );
    }
    for line in [
        "incr k x noreply",
        "touch k noreply",
        "verbosity noreply",
        "delete {} noreply",
    ] {
        assert_eq!(refusal(&with_key(line, 251)).reply(), b"", "{line}");
    }
}

#[test]
fn keys_up_to_250_bytes() {
    for line in [
        "get {}",
        "get a {}",
        "gat 0 {}",
        "delete {}",
        "incr {} 1",
        "touch {} 0",
        "mg {}",
        "md {}",
        "ma {}",
        "me {}",
    ] {
        assert!(read(&with_key(line, 250)).is_ok(), "{line}");
        let line = with_key(line, 251);
        assert_eq!(
            refusal(&line).reply(),
            b"CLIENT_ERROR bad command line format\r\n"
        );
    }
    assert!(read(&with_key("set {} 0 0 1", 250)).is_ok());
}

#[test]
fn exptimes_as_memcached_reads_them() {
    for (exptime, expiry) in [
        ("0", Expiry::Never),
        ("1", Expiry::At(1_700_000_001)),
        ("2592000", Expiry::At(1_702_592_000)),
        ("2592001", Expiry::At(2_592_001)),
        ("2147483647", Expiry::At(i32::MAX as u32)),
        ("-1", Expiry::At(1)),
        ("-2147483648", Expiry::At(1)),
    ] {
        let line = std::format!("set k 0 {exptime} 1");
        assert_eq!(store_request(line.as_bytes()).expiry, expiry);
    }
}

#[test]
fn flush_all() {
    let delay = |line: &[u8]| match read(line) {
        Ok(Request::FlushAll { delay_s, noreply }) => (delay_s, noreply),
        other => panic!("{other:?}"),
    };
    assert_eq!(delay(b"flush_all"), (0, false));
    assert_eq!(delay(b"flush_all 0"), (0, false));
    assert_eq!(delay(b"flush_all -1"), (0, false));
    assert_eq!(delay(b"flush_all noreply"), (0, true));
    assert_eq!(delay(b"flush_all 10 noreply"), (10, true));
    assert_eq!(delay(b"flush_all 1700000100"), (100, false));
    assert_eq!(delay(b"flush_all 3000000"), (0, false));
    let forbidden = ParseLimits {
        flush_enabled: false,
        ..LIMITS
    };
    let refused = parse(b"flush_all", NOW, &forbidden).expect_err("-F");
    assert_eq!(refused.reply(), b"CLIENT_ERROR flush_all not allowed\r\n");
}

#[test]
fn verbosity_memlimit_and_shutdown() {
    let enabled = ParseLimits {
        shutdown_enabled: true,
        ..LIMITS
    };
    assert!(matches!(
        read(b"verbosity 9 noreply"),
        Ok(Request::Verbosity {
            level: 2,
            noreply: true
        })
    ));
    assert!(matches!(
        read(b"cache_memlimit 8"),
        Ok(Request::CacheMemlimit {
            memory_bytes: 0x80_0000,
            noreply: false
        })
    ));
    assert_eq!(
        refusal(b"cache_memlimit 7").line,
        ErrorLine::MemlimitTooSmall
    );
    assert_eq!(
        refusal(b"cache_memlimit 1000000001").line,
        ErrorLine::MemlimitNotMegabytes
    );
    assert_eq!(
        refusal(b"shutdown x").reply(),
        b"SERVER_ERROR: shutdown not enabled\r\n"
    );
    let shutdown = |line| parse(line, NOW, &enabled);
    assert!(matches!(
        shutdown(b"shutdown"),
        Ok(Request::Shutdown { graceful: false })
    ));
    assert!(matches!(
        shutdown(b"shutdown graceful"),
        Ok(Request::Shutdown { graceful: true })
    ));
    assert_eq!(
        shutdown(b"shutdown now").expect_err("no such mode").line,
        ErrorLine::InvalidShutdownMode
    );
}

#[test]
fn words_without_arguments() {
    assert!(matches!(read(b"version"), Ok(Request::Version)));
    assert!(matches!(read(b"version x"), Ok(Request::Version)));
    assert!(matches!(read(b"quit"), Ok(Request::Quit)));
    assert!(matches!(read(b"mn"), Ok(Request::MetaNoop)));
    assert!(matches!(read(b"mn x"), Ok(Request::MetaNoop)));
}

#[test]
fn stats_words() {
    use StatsRequest::{
        Connections, DetailDump, DetailOff, DetailOn, General, Items, Reset, Settings, Sizes,
        Slabs, Zufar,
    };
    for (line, stats) in [
        ("stats", General),
        ("stats settings", Settings),
        ("stats items", Items),
        ("stats slabs", Slabs),
        ("stats sizes", Sizes),
        ("stats conns", Connections),
        ("stats reset", Reset),
        ("stats detail on", DetailOn),
        ("stats detail off", DetailOff),
        ("stats detail dump", DetailDump),
        ("stats zufar", Zufar),
    ] {
        assert!(matches!(read(line.as_bytes()), Ok(Request::Stats(read)) if read == stats));
    }
    for (line, error) in [
        ("stats detail", ErrorLine::DetailUsage),
        ("stats detail x", ErrorLine::DetailUsage),
        ("stats cachedump", ErrorLine::BadLine),
        ("stats cachedump 1", ErrorLine::BadLine),
        ("stats cachedump 1 0", ErrorLine::CachedumpNotAllowed),
        ("stats cachedump 64 0", ErrorLine::IllegalSlabId),
    ] {
        assert_eq!(refusal(line.as_bytes()).line, error);
    }
}

#[test]
fn things_that_zufar_does_not_have() {
    for line in ["slabs automove 0", "lru_crawler disable"] {
        assert!(matches!(
            read(line.as_bytes()),
            Ok(Request::Settled { noreply: false })
        ));
    }
    for (line, error) in [
        ("slabs automove invalid", ErrorLine::BadFormat),
        ("slabs automove 1", ErrorLine::ReassignDisabled),
        ("slabs automove window x", ErrorLine::BadFormat),
        ("slabs automove window 5", ErrorLine::ReassignDisabled),
        ("slabs automove ratio", ErrorLine::UnknownCommand),
        ("slabs reassign 1 2", ErrorLine::ReassignDisabled),
        ("lru_crawler enable", ErrorLine::CrawlerNotStarted),
        ("lru_crawler metadump all", ErrorLine::CrawlerDisabled),
        ("watch", ErrorLine::WatchNotAllowed),
    ] {
        assert_eq!(refusal(line.as_bytes()).line, error, "{line}");
    }
}

#[test]
fn every_error_line_ends() {
    for line in ErrorLine::ALL {
        let bytes = line.as_bytes();
        assert!(bytes.ends_with(b"\r\n") && bytes[..bytes.len() - 2].is_ascii());
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}

#[test]
fn long_get_lines_are_recognised_unfinished() {
    let heads = [
        ("get ", false, false),
        ("gets ", true, false),
        ("getd ", false, true),
        ("getsd ", true, true),
    ];
    for (word, with_cas, located) in heads {
        let line = [word.as_bytes(), b"a b"].concat();
        let (head, consumed) = parse_get_prefix(&line).expect("a get");
        assert_eq!(
            (head.with_cas, head.located, consumed),
            (with_cas, located, word.len())
        );
    }
    for line in [
        "gat 0 k", "get", "gett ", "ge", "", "set k", " get k", "mg k",
    ] {
        assert_eq!(parse_get_prefix(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn next_key_knows_no_more_from_not_yet() {
    let key = |key, consumed| NextKey::Key { key, consumed };
    let incomplete = |consumed| NextKey::Incomplete { consumed };
    let end = |consumed| NextKey::End { consumed };
    assert_eq!(next_key(b"  ab cd"), key(b"ab", 4));
    assert_eq!(next_key(b" cd"), incomplete(1));
    assert_eq!(next_key(b" cd\r"), incomplete(1));
    assert_eq!(next_key(b" cd\n"), key(b"cd", 3));
    assert_eq!(next_key(b" cd\r\n"), key(b"cd", 4));
    assert_eq!(next_key(b" cd\r ef"), key(b"cd\r", 4));
    assert_eq!(next_key(b"cd\nget b\n"), key(b"cd", 2));
    assert_eq!(next_key(b"\r\r\n"), key(b"\r", 2));
    assert_eq!(next_key(b"  "), incomplete(2));
    assert_eq!(next_key(b"  \r"), incomplete(2));
    assert_eq!(next_key(b""), incomplete(0));
    assert_eq!(next_key(b"  \r\nget"), end(4));
    assert_eq!(next_key(b"\n"), end(1));
}

#[test]
fn next_key_knows_the_longest_key() {
    let longest = with_key("{}", 250);
    for (line, consumed) in [("{} ", 250), ("{}\n", 250), ("{}\r\n", 251)] {
        let key = NextKey::Key {
            key: &longest,
            consumed,
        };
        assert_eq!(next_key(&with_key(line, 250)), key, "{line:?}");
    }
    for line in ["{}", "{}\r"] {
        let incomplete = NextKey::Incomplete { consumed: 0 };
        assert_eq!(next_key(&with_key(line, 250)), incomplete, "{line:?}");
    }
    for (line, bytes, consumed) in [
        ("{}", 251, 251),
        ("{}\r", 251, 252),
        (" {} ", 251, 252),
        ("{}\n", 251, 251),
        ("{}\r ", 250, 251),
    ] {
        let too_long = NextKey::TooLong { consumed };
        assert_eq!(next_key(&with_key(line, bytes)), too_long, "{line:?}");
    }
}

/// Words and arguments that come close to commands.
fn line_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        "(get|gets|gat|gats|set|add|cas|append|incr|decr|touch|del|delete|mg|ms|md|ma|me|mn)d?",
        "(stats|flush_all|verbosity|slabs|lru_crawler|shutdown|cache_memlimit|version|watch)",
    ];
    let argument = prop_oneof![
        "[a-z]{1,5}",
        "-?[0-9]{1,21}",
        "[A-Za-z][0-9A-Za-z=+/-]{0,33}",
        Just("noreply".into()),
        Just("Zm9v".into()),
        "\\PC{0,4}",
    ];
    (word, proptest::collection::vec(argument, 0..24), " {1,2}").prop_map(
        |(word, arguments, gap): (_, Vec<_>, _)| {
            let mut line: std::string::String = word;
            for argument in arguments {
                line.push_str(&gap);
                line.push_str(&argument);
            }
            line.into_bytes()
        },
    )
}

/// What must hold of whatever a line was read as.
fn check_sanity(line: &[u8]) {
    let mut buffer = KeyBuffer::default();
    match read(line) {
        Ok(Request::Get(get)) => {
            assert!(get.check_keys());
            assert!(
                get.keys()
                    .all(|key| (1..=KEY_BYTES_MAX).contains(&key.len()))
            );
        }
        Ok(Request::Store(store)) => {
            assert!((1..=KEY_BYTES_MAX).contains(&store.key.bytes(&mut buffer).len()));
            assert!(store.data_bytes <= LIMITS.value_bytes_max);
        }
        Ok(Request::Key(key)) => {
            assert!((1..=KEY_BYTES_MAX).contains(&key.key.bytes(&mut buffer).len()));
        }
        Ok(_) => {}
        Err(refusal) => {
            assert!(refusal.silent || refusal.reply().ends_with(b"\r\n"));
            if let Then::Swallow(bytes) = refusal.then {
                assert!((2..=i32::MAX as u64).contains(&bytes));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..600)) {
        check_sanity(&line);
    }

    #[test]
    fn anything_like_a_command_is_read_without_panic(line in line_like()) {
        check_sanity(&line);
    }

    /// The same keys, however the line is cut and however it is read.
    #[test]
    fn streamed_keys_are_the_keys(
        keys in proptest::collection::vec("[!-~]{1,12}", 1..20),
        gap in " {1,3}",
        line_end in " {0,2}\r?\n",
        step in 1_usize..9,
    ) {
        let keys_only = keys.join(&gap);
        let whole = [b"get ", keys_only.as_bytes()].concat();
        let read: Vec<Vec<u8>> = get_request(&whole).keys().map(<[u8]>::to_vec).collect();
        let line = [keys_only.as_bytes(), line_end.as_bytes(), b"get next"].concat();
        let mut streamed = Vec::new();
        let (mut start, mut end) = (0, 0);
        loop {
            match next_key(&line[start..end]) {
                NextKey::Key { key, consumed } => {
                    streamed.push(key.to_vec());
                    start += consumed;
                }
                NextKey::Incomplete { consumed } => {
                    start += consumed;
                    end = line.len().min(end + step);
                }
                NextKey::End { consumed } => {
                    start += consumed;
                    break;
                }
                NextKey::TooLong { .. } => panic!("no key is that long"),
            }
        }
        prop_assert_eq!(&streamed, &read);
        prop_assert_eq!(&line[start..], b"get next");
        let sent: Vec<Vec<u8>> = keys.into_iter().map(std::string::String::into_bytes).collect();
        prop_assert_eq!(&streamed, &sent);
    }

    #[test]
    fn a_store_line_is_read_as_it_was_written(
        key in "[!-~]{1,250}",
        flags in any::<u32>(),
        exptime in any::<i32>(),
        bytes in 0_u32..=1 << 20,
        cas in any::<u64>(),
    ) {
        let line = std::format!("cas {key} {flags} {exptime} {bytes} {cas}");
        let store = store_request(line.as_bytes());
        prop_assert_eq!(store.key.sent(), key.as_bytes());
        prop_assert_eq!((store.flags, store.data_bytes), (flags, bytes));
        prop_assert_eq!(store.compare, Some(cas));
        prop_assert_eq!(store.expiry, Expiry::from_exptime(exptime, NOW));
    }

    #[test]
    fn a_token_ends_at_its_first_space(line in "[a-z \u{80}-\u{ff}]{0,40}") {
        let line = line.as_bytes();
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        prop_assert_eq!(token::space_or_end(line), end);
    }
}
