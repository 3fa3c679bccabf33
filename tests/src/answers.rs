//! What two nodes may answer differently to the same bytes: cas uniques and times.
//!
//! Decides where these stand in a stream of answers, and puts names in their place that are the
//! same for every node that behaves alike. Refuses to know what was asked.

use std::collections::BTreeMap;

/// The names that the cas uniques of one node have been given. A unique stands for one state of
/// one key; two keys may share one, so each key has names of its own.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    of_key: BTreeMap<Vec<u8>, Uniques>,
}

/// The uniques of one key.
#[derive(Clone, Debug, Default)]
struct Uniques {
    /// Numbered in the order of their appearance.
    names: BTreeMap<u64, usize>,
    /// The one that a `gets` has shown last.
    last: Option<u64>,
}

impl Answers {
    /// Names uniques anew from here on.
    pub fn forget_names(&mut self) {
        for uniques in self.of_key.values_mut() {
            uniques.names.clear();
        }
    }

    /// The answers with uniques and times replaced: `#1` is the first unique that was seen of
    /// its key, `~` any time, or the unique of a key that the answer does not name. Data blocks
    /// stay as they are.
    pub fn normalised(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            let data_bytes = self.push_line(line, &mut out).min(rest.len());
            out.extend_from_slice(&rest[..data_bytes]);
            bytes = &rest[data_bytes..];
        }
        out.extend_from_slice(bytes);
        out
    }

    /// The unique that `key` was last shown with, 1 before that.
    #[must_use]
    pub fn unique_of(&self, key: &[u8]) -> u64 {
        let uniques = self.of_key.get(key);
        uniques.and_then(|uniques| uniques.last).unwrap_or(1)
    }

    /// Appends `line` normalised; returns how long the data block behind it is.
    fn push_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> usize {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
        let mut data_bytes = 0;
        match words[..] {
            [b"VALUE", _, _, bytes] => data_bytes = block(bytes),
            [b"VALUE", key, _, bytes, unique] => {
                data_bytes = block(bytes);
                out.extend_from_slice(&text[..text.len() - unique.len()]);
                self.push_unique(Some(key), unique, out);
                self.of_key.entry(key.to_vec()).or_default().last = number(unique);
                out.extend_from_slice(b"\r\n");
                return data_bytes;
            }
            [b"VA", bytes, ref flags @ ..] => {
                data_bytes = block(bytes);
                out.extend_from_slice(b"VA ");
                out.extend_from_slice(bytes);
                self.push_flags(flags, out);
                out.extend_from_slice(b"\r\n");
                return data_bytes;
            }
            [
                code @ (b"HD" | b"EN" | b"NS" | b"EX" | b"NF"),
                ref flags @ ..,
            ] => {
                out.extend_from_slice(code);
                self.push_flags(flags, out);
                out.extend_from_slice(b"\r\n");
                return 0;
            }
            [b"ME", key, ref figures @ ..] => {
                out.extend_from_slice(b"ME ");
                out.extend_from_slice(key);
                self.push_figures(key, figures, out);
                out.extend_from_slice(b"\r\n");
                return 0;
            }
            [node, b"in", _] if node.starts_with(b"node-") => {
                out.extend_from_slice(node);
                out.extend_from_slice(b" in ~\r\n");
                return 0;
            }
            _ => {}
        }
        out.extend_from_slice(line);
        data_bytes
    }

    /// What a meta answer gives back: `c` is a unique, `t` and `l` are times.
    fn push_flags(&mut self, flags: &[&[u8]], out: &mut Vec<u8>) {
        let key = flags.iter().find_map(|flag| flag.strip_prefix(b"k"));
        for flag in flags {
            out.push(b' ');
            match flag.split_first() {
                Some((b'c', unique)) => {
                    out.push(b'c');
                    self.push_unique(key, unique, out);
                }
                Some((&letter @ (b't' | b'l'), time)) if number(time).is_some() => {
                    out.extend_from_slice(&[letter, b'~']);
                }
                _ => out.extend_from_slice(flag),
            }
        }
    }

    /// What `me` shows, as `name=value`.
    fn push_figures(&mut self, key: &[u8], figures: &[&[u8]], out: &mut Vec<u8>) {
        for figure in figures {
            out.push(b' ');
            let (name, value) = figure.split_at(
                figure
                    .iter()
                    .position(|&byte| byte == b'=')
                    .map_or(figure.len(), |at| at + 1),
            );
            out.extend_from_slice(name);
            match name {
                b"cas=" => self.push_unique(Some(key), value, out),
                b"exp=" | b"la=" if number(value).is_some() => out.push(b'~'),
                _ => out.extend_from_slice(value),
            }
        }
    }

    fn push_unique(&mut self, key: Option<&[u8]>, unique: &[u8], out: &mut Vec<u8>) {
        match (number(unique), key) {
            // Zero stands for none.
            (None | Some(0), _) => out.extend_from_slice(unique),
            (Some(_), None) => out.push(b'~'),
            (Some(number), Some(key)) => {
                let names = &mut self.of_key.entry(key.to_vec()).or_default().names;
                let next = names.len() + 1;
                let name = names.entry(number).or_insert(next);
                out.extend_from_slice(format!("#{name}").as_bytes());
            }
        }
    }
}

/// Length of a data block of `bytes`, with its end.
fn block(bytes: &[u8]) -> usize {
    number(bytes).map_or(0, |bytes| bytes as usize + 2)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        let bytes = Answers::default().normalised(text.as_bytes());
        String::from_utf8(bytes).expect("text stays text")
    }

    #[test]
    fn uniques_get_names_and_keep_what_they_share() {
        let text = "VALUE a 0 1 907\r\nx\r\nVALUE b 0 1 907\r\ny\r\nEND\r\n\
                    HD c908 ka\r\nHD kb c907\r\nHD c907\r\nHD c0 Oc907\r\n";
        let wanted = "VALUE a 0 1 #1\r\nx\r\nVALUE b 0 1 #1\r\ny\r\nEND\r\n\
                      HD c#2 ka\r\nHD kb c#1\r\nHD c~\r\nHD c0 Oc907\r\n";
        assert_eq!(normalised(text), wanted);
    }

    #[test]
    fn times_are_times_and_data_is_data() {
        let text = "VA 12 t900 s12 l3 h1\r\nHD c5 t7\r\n99\r\nHD t-1 ktime\r\nnode-7 in 12ms\r\n";
        let wanted = "VA 12 t~ s12 l~ h1\r\nHD c5 t7\r\n99\r\nHD t-1 ktime\r\nnode-7 in ~\r\n";
        assert_eq!(normalised(text), wanted);
        assert_eq!(
            normalised("ME a exp=-1 la=4 cas=77 fetch=no cls=1 size=60\r\n"),
            "ME a exp=-1 la=~ cas=#1 fetch=no cls=1 size=60\r\n"
        );
    }

    #[test]
    fn the_last_unique_of_a_key_is_known() {
        let mut answers = Answers::default();
        assert_eq!(answers.unique_of(b"a"), 1);
        answers.normalised(b"VALUE a 0 1 907\r\nx\r\nVALUE a 0 1 908\r\nx\r\nEND\r\n");
        assert_eq!(answers.unique_of(b"a"), 908);
    }

    #[test]
    fn what_is_cut_off_stays() {
        assert_eq!(normalised("VALUE a 0 100\r\nabc"), "VALUE a 0 100\r\nabc");
        assert_eq!(normalised("HD c9"), "HD c9");
    }
}
