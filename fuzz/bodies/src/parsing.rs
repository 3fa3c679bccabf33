//! Lines of commands, as the parser reads them.
//!
//! Decides what must hold of whatever a line is read as: it lies within the line, says the same
//! when written out and read again, and is answered in whole lines.

use bytes::Bytes;
use zufar_core::command::{Failure, Item, KEY_BYTES_MAX, Operation, Outcome, Value};
use zufar_core::protocol::{
    GetRequest, Key, KeyBuffer, NextKey, ParseLimits, Refusal, Request, Then, next_key, parse,
    parse_get_prefix, render, render_value,
};
use zufar_core::time::{Now, Time};

use crate::requests::line_of;

const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_700_000_000_250,
};

/// Reads each line of `input`, whose first byte says what is allowed.
pub fn parsing(input: &[u8]) {
    let Some((&allowed, script)) = input.split_first() else {
        return;
    };
    let limits = ParseLimits {
        value_bytes_max: if allowed & 1 == 0 { 1 << 20 } else { 1 << 30 },
        flush_enabled: allowed & 2 == 0,
        shutdown_enabled: allowed & 4 == 0,
    };
    for line in script.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match parse(line, NOW, &limits) {
            Ok(request) => check_request(line, &request, &limits),
            Err(refusal) => check_refusal(line, &refusal),
        }
    }
}

fn check_refusal(line: &[u8], refusal: &Refusal<'_>) {
    let reply = refusal.reply();
    assert!(reply.is_empty() == refusal.silent);
    assert!(refusal.silent || is_one_line(reply));
    if let Then::Swallow(bytes) = refusal.then {
        assert!((2..=i32::MAX as u64).contains(&bytes));
    }
    if let Some(key) = &refusal.evict {
        check_key(line, key);
        assert!(matches!(refusal.then, Then::Swallow(_)));
    }
}

fn check_request(line: &[u8], request: &Request<'_>, limits: &ParseLimits) {
    match request {
        Request::Get(get) => {
            assert!(get.keys_bytes() <= line.len());
            assert!(get.keys().next().is_some());
            for key in get.keys() {
                check_key(line, &Key::plain(key).expect("a get has legal keys"));
            }
            check_prefix(line, get);
            check_streamed(line, get);
        }
        Request::Store(store) => {
            check_key(line, &store.key);
            assert!(store.data_bytes <= limits.value_bytes_max);
        }
        Request::Key(command) => check_key(line, &command.key),
        _ => {}
    }
    let written = line_of(request, NOW);
    let again = parse(&written, NOW, limits)
        .unwrap_or_else(|refusal| panic!("{} is refused: {refusal:?}", written.escape_ascii()));
    assert_eq!(meaning(request), meaning(&again));
    assert_eq!(answers(request), answers(&again));
    assert_eq!(line_of(&again, NOW), written);
}

/// The same keys come out of a line that is read as it comes.
fn check_streamed(line: &[u8], get: &GetRequest<'_>) {
    let mut rest = line[line.len() - get.keys_bytes()..].to_vec();
    rest.extend_from_slice(b"\r\nnext");
    let mut rest = rest.as_slice();
    for key in get.keys() {
        let next = next_key(rest);
        let NextKey::Key {
            key: read,
            consumed,
        } = next
        else {
            panic!("{next:?} where a key is");
        };
        assert_eq!(read, key);
        rest = &rest[consumed..];
    }
    let consumed = rest.len() - b"next".len();
    assert_eq!(next_key(rest), NextKey::End { consumed });
}

/// A long line is recognised by its first word alone, as the same request.
fn check_prefix(line: &[u8], get: &GetRequest<'_>) {
    match parse_get_prefix(line) {
        Some((head, consumed)) => {
            assert!(consumed <= line.len() && get.touch.is_none());
            assert_eq!((head.with_cas, head.located), (get.with_cas, get.located));
        }
        None => assert!(get.touch.is_some()),
    }
}

fn check_key(line: &[u8], key: &Key<'_>) {
    let (line, sent) = (line.as_ptr_range(), key.sent().as_ptr_range());
    assert!(line.start <= sent.start && sent.end <= line.end);
    let mut buffer = KeyBuffer::default();
    let bytes = key.bytes(&mut buffer).len();
    assert!((1..=KEY_BYTES_MAX).contains(&bytes) && bytes <= key.sent().len());
}

/// All of a request that it shows, but for how its meta flags are spelt.
fn meaning(request: &Request<'_>) -> String {
    match request {
        Request::Get(get) => {
            let keys: Vec<&[u8]> = get.keys().collect();
            let (cas, touch, located) = (get.with_cas, get.touch, get.located);
            format!("get {cas} {touch:?} {located} {keys:?}")
        }
        Request::Store(store) => {
            let operation = store.operation(Value::Small(b""));
            let (key, bytes) = (store.key, store.data_bytes);
            let (noreply, located) = (store.noreply, store.located);
            format!("{operation:?} {key:?} {bytes} {noreply} {located}")
        }
        Request::Key(request) => {
            let (key, command, operation) = (request.key, request.command, &request.operation);
            let (noreply, located) = (request.noreply, request.located);
            format!("{operation:?} {key:?} {command:?} {noreply} {located}")
        }
        other => format!("{other:?}"),
    }
}

/// What is answered, whatever comes of the request.
fn answers(request: &Request<'_>) -> Vec<Vec<u8>> {
    let outcomes = match request {
        Request::Get(get) => {
            let key = get.keys().next().expect("a get has keys");
            let mut answer = Vec::new();
            render_value(&mut answer, key, get.with_cas, &items()[0]);
            return vec![answer];
        }
        Request::Store(_) => vec![
            Outcome::Stored {
                cas: u64::MAX,
                value_bytes: u32::MAX,
            },
            Outcome::NotStored,
            Outcome::Exists,
            Outcome::NotFound,
            Outcome::Failed(Failure::OutOfMemory),
        ],
        Request::Key(command) => outcomes(&command.operation),
        _ => return Vec::new(),
    };
    let mut answers = Vec::new();
    for outcome in outcomes {
        let mut answer = Vec::new();
        render(&mut answer, request, &outcome, NOW);
        check_answer(request, &outcome, &answer);
        answers.push(answer);
    }
    answers
}

fn check_answer(request: &Request<'_>, outcome: &Outcome<'_>, answer: &[u8]) {
    let silent = match request {
        Request::Store(store) => store.noreply,
        Request::Key(command) => command.noreply,
        _ => false,
    };
    if silent {
        assert!(answer.is_empty());
    } else if answer.starts_with(b"VA ") {
        let end = answer.iter().position(|&byte| byte == b'\n');
        let (head, value) = answer.split_at(end.expect("a line") + 1);
        assert!(is_one_line(head) && value.ends_with(b"\r\n"));
        let bytes = head[3..].split(|byte| b" \r".contains(byte)).next();
        assert_eq!(bytes, Some((value.len() - 2).to_string().as_bytes()));
    } else if !answer.is_empty() {
        assert!(is_one_line(answer), "{}", answer.escape_ascii());
    } else {
        assert!(!matches!(outcome, Outcome::Failed(_) | Outcome::Exists));
    }
}

fn is_one_line(answer: &[u8]) -> bool {
    answer.ends_with(b"\r\n") && answer.iter().filter(|&&byte| byte == b'\n').count() == 1
}

fn items() -> [Item<'static>; 2] {
    let plain = Item {
        value: Value::Small(b"41\nx"),
        flags: u32::MAX,
        cas: u64::MAX,
        expired_s_before: 0,
        expires_s: 1_700_000_100,
        accessed_s: 1_699_999_999,
        fetched: false,
        stale: false,
        token_sent: false,
        won: false,
        vivified: false,
        memory_bytes: 100,
    };
    let marked = Item {
        value: Value::Large(Bytes::from_static(b"")),
        expired_s_before: 1,
        accessed_s: u32::MAX,
        fetched: true,
        stale: true,
        token_sent: true,
        won: true,
        vivified: true,
        ..plain.clone()
    };
    [plain, marked]
}

/// What can come of `operation`.
fn outcomes(operation: &Operation<'_>) -> Vec<Outcome<'static>> {
    let mut outcomes = vec![Outcome::NotFound, Outcome::Failed(Failure::DiskRead)];
    match operation {
        Operation::Fetch(_) | Operation::Inspect => outcomes.extend(items().map(Outcome::Item)),
        Operation::Delete(_) => outcomes.push(Outcome::Deleted),
        Operation::Arithmetic(_) => outcomes.push(Outcome::Number {
            number: u64::MAX,
            cas: u64::MAX,
            expired_s_before: 0,
            expires_s: 1,
            vivified: true,
        }),
        Operation::Store(_) => {}
    }
    if let Operation::Delete(_) | Operation::Arithmetic(_) = operation {
        outcomes.push(Outcome::Failed(Failure::NonNumeric));
    }
    let compares = match operation {
        Operation::Delete(delete) => delete.compare.is_some(),
        Operation::Arithmetic(count) => count.compare.is_some(),
        _ => false,
    };
    if compares {
        outcomes.push(Outcome::Exists);
    }
    outcomes
}
