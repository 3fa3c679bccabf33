//! The parts of an answer's line.
//!
//! Decides how they are taken apart. Refuses to know what they mean.

/// The returned flags of a meta command: a word each, but `k` together with the `b` behind it.
pub(super) fn of_meta<'w>(words: &[&'w [u8]]) -> Vec<Vec<&'w [u8]>> {
    let mut fields: Vec<Vec<&[u8]>> = Vec::new();
    for &word in words {
        match fields.last_mut() {
            Some(last) if word == b"b" && last[0].starts_with(b"k") => last.push(word),
            _ if word.is_empty() => {}
            _ => fields.push(vec![word]),
        }
    }
    fields
}

/// What stands behind `name=`.
pub(super) fn field<'w>(word: &'w [u8], name: &str) -> Option<&'w [u8]> {
    word.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// A number without a sign.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A number with or without a sign.
pub(super) fn signed(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A value without the spaces at its end.
pub(super) fn trimmed(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|&byte| byte != b' ');
    &value[..end.map_or(0, |end| end + 1)]
}
