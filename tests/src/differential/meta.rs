//! The meta commands of a stream.
//!
//! Decides their flags: which come together, with what arguments, and in which order. Refuses to
//! know classic commands and answers.

use super::Listed;
use super::generator::Generator;
use super::keys::Family;
use super::ledger::CasChoice;
use super::request::{Request, Silence};

/// Most flags of a request, so that it has no more than 20 tokens with its word, its key, a
/// length and a `b`.
const FLAGS_MAX: usize = 16;
/// Most bytes behind the letter of an opaque.
const OPAQUE_BYTES_MAX: usize = 31;

/// The flags of one request, as they are drawn.
#[derive(Default)]
struct Flags {
    flags: Vec<Flag>,
    quiet: bool,
}

/// A flag, and the cas unique that is its argument.
struct Flag {
    text: Vec<u8>,
    cas: Option<CasChoice>,
}

impl Flags {
    fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref().to_vec();
        if !self.has(text[0]) {
            self.flags.push(Flag { text, cas: None });
        }
    }

    fn add_cas(&mut self, letter: u8, choice: CasChoice) {
        self.flags.push(Flag {
            text: vec![letter],
            cas: Some(choice),
        });
    }

    fn has(&self, letter: u8) -> bool {
        self.flags.iter().any(|flag| flag.text[0] == letter)
    }
}

impl Generator<'_> {
    /// Adds the flag to what one request in `times` has.
    fn sometimes(&mut self, flags: &mut Flags, times: u64, text: impl AsRef<[u8]>) {
        if self.random.once_in(times) {
            flags.add(text);
        }
    }

    /// The flags that mean something to every command, or nothing to any.
    fn common(&mut self, flags: &mut Flags) {
        self.sometimes(flags, 4, "k");
        if self.random.once_in(6) {
            flags.add("q");
            flags.quiet = true;
        }
        if flags.quiet || self.random.once_in(5) {
            let mut opaque = format!("O{}", self.number());
            if self.random.once_in(3) {
                let length = self.random.below(OPAQUE_BYTES_MAX as u64 + 1) as usize;
                while opaque.len() <= length {
                    opaque.push('.');
                }
            }
            flags.add(opaque);
        }
        self.sometimes(flags, 40, "Pproxy");
        self.sometimes(flags, 40, "Lpath");
    }

    /// Puts a request together: `command key [length] flags`.
    fn with_flags(
        &mut self,
        command: &'static str,
        key: usize,
        value: Option<&[u8]>,
        mut flags: Flags,
    ) -> Request {
        flags.flags.truncate(FLAGS_MAX);
        let mut name = self.keys[key].name.clone();
        if self.random.once_in(6)
            && let Some(encoded) = self.keys[key].encoded()
        {
            name = encoded;
            flags.add("b");
        }
        let mut request = Request::new(command).word(name);
        request.keys.push(key);
        if let Some(value) = value {
            request = request.word(value.len().to_string());
        }
        while !flags.flags.is_empty() {
            let at = self.random.below(flags.flags.len() as u64) as usize;
            let flag = flags.flags.swap_remove(at);
            request = self.space(request).word(&flag.text);
            if let Some(choice) = flag.cas {
                request = request.cas(key, choice);
            }
            request.flags.push(flag.text);
        }
        if flags.quiet {
            request.silence = Silence::Usual;
        }
        request = self.end(request);
        match value {
            Some(value) => request.data(value),
            None => request,
        }
    }

    /// A request with a flag that 1.6.18 does not know, if it has one.
    fn maybe_apart(&mut self, request: Request) -> Vec<Request> {
        if request.has(b'E') || request.has(b'x') {
            self.set_apart(request, Listed::NewerFlag)
        } else {
            vec![request]
        }
    }

    /// Adds `E`, seldom, where the servers may be set apart.
    fn maybe_own_cas(&mut self, flags: &mut Flags, times: u64) {
        if self.sets_apart && !flags.quiet && self.random.once_in(times) {
            flags.add(format!("E{}", 1 + self.random.below(1 << 50)));
        }
    }

    /// mg.
    pub(super) fn meta_get(&mut self) -> Vec<Request> {
        let key = self.key();
        let mut flags = Flags::default();
        self.common(&mut flags);
        if !self.random.once_in(3) {
            flags.add("v");
        }
        for flag in ["s", "f", "t", "c", "h", "l"] {
            self.sometimes(&mut flags, 4, flag);
        }
        self.sometimes(&mut flags, 12, "u");
        if self.random.once_in(8) {
            flags.add(format!("T{}", self.exptime()));
        }
        if self.random.once_in(8) {
            flags.add(format!("N{}", self.exptime()));
        }
        if self.random.once_in(8) {
            let limit = self
                .random
                .pick(&["0", "-1", "500", "2000", "10000", "50000"]);
            flags.add(format!("R{limit}"));
        }
        if self.sets_apart && self.random.once_in(12) {
            let choice = self.cas_choice();
            flags.add_cas(b'C', choice);
            // So that it can be seen whether C is the item's.
            flags.add("c");
        }
        for flag in ["I", "F5", "J3", "D2"] {
            self.sometimes(&mut flags, 60, flag);
        }
        self.maybe_own_cas(&mut flags, 40);
        let request = self.with_flags("mg", key, None, flags);
        self.maybe_apart(request)
    }

    /// ms.
    pub(super) fn meta_store(&mut self) -> Vec<Request> {
        let mode = self
            .random
            .pick(&["", "", "", "MS", "ME", "MA", "MP", "MR"]);
        let key = if mode == "MA" {
            self.key_to_append()
        } else {
            self.key()
        };
        let extends = matches!(mode, "MA" | "MP");
        let value = self.value(key, extends);
        let mut flags = Flags::default();
        let vivifies = extends && self.sets_apart && self.random.once_in(4);
        if vivifies {
            flags.add(format!("N{}", self.exptime()));
        } else {
            self.common(&mut flags);
        }
        if !mode.is_empty() {
            flags.add(mode);
        }
        if self.random.once_in(2) {
            flags.add(format!("T{}", self.exptime()));
        }
        if self.random.once_in(2) {
            flags.add(format!("F{}", self.client_flags()));
        }
        if self.random.once_in(5) {
            let choice = self.cas_choice();
            flags.add_cas(b'C', choice);
        }
        self.sometimes(&mut flags, 6, "I");
        self.sometimes(&mut flags, 3, "c");
        self.sometimes(&mut flags, 6, "s");
        for flag in ["v", "h", "t", "f", "u", "J3", "D2"] {
            self.sometimes(&mut flags, 60, flag);
        }
        self.maybe_own_cas(&mut flags, 40);
        let request = self.with_flags("ms", key, Some(&value), flags);
        if vivifies && !request.has(b'E') {
            return self.set_apart(request, Listed::AppendVivifies);
        }
        self.maybe_apart(request)
    }

    /// md.
    pub(super) fn meta_delete(&mut self) -> Vec<Request> {
        let key = self.key();
        let mut flags = Flags::default();
        self.common(&mut flags);
        if self.random.once_in(4) {
            let choice = self.cas_choice();
            flags.add_cas(b'C', choice);
        }
        self.sometimes(&mut flags, 2, "I");
        if self.random.once_in(4) {
            flags.add(format!("T{}", self.exptime()));
        }
        for flag in ["v", "s", "c", "h", "N7", "F5", "MS"] {
            self.sometimes(&mut flags, 60, flag);
        }
        if self.sets_apart && !flags.quiet && self.random.once_in(10) {
            flags.add("x");
        }
        self.maybe_own_cas(&mut flags, 20);
        let request = self.with_flags("md", key, None, flags);
        self.maybe_apart(request)
    }

    /// ma.
    pub(super) fn meta_count(&mut self) -> Vec<Request> {
        let key = if self.random.once_in(8) {
            self.key()
        } else {
            self.key_of(Family::Counter)
        };
        let mut flags = Flags::default();
        self.common(&mut flags);
        if self.random.once_in(3) {
            flags.add(format!("N{}", self.exptime()));
        }
        let mode = self.random.pick(&["", "", "MI", "M+", "MD", "M-"]);
        let down = matches!(mode, "MD" | "M-");
        if self.random.once_in(3) {
            flags.add(format!("J{}", self.delta(false)));
        }
        if self.random.once_in(2) {
            flags.add(format!("D{}", self.delta(down)));
        }
        let touches = self.sets_apart && !flags.quiet && self.random.once_in(4);
        if touches {
            flags.add(format!("T{}", self.exptime()));
        }
        if !mode.is_empty() {
            flags.add(mode);
        }
        // memcached looks at C after it has refused a value that it keeps in chunks.
        if self.keys[key].family != Family::Big && self.random.once_in(5) {
            let choice = self.cas_choice();
            flags.add_cas(b'C', choice);
        }
        for flag in ["v", "t", "c"] {
            self.sometimes(&mut flags, 2, flag);
        }
        for flag in ["s", "h", "f", "F5", "I"] {
            self.sometimes(&mut flags, 60, flag);
        }
        self.maybe_own_cas(&mut flags, 30);
        let request = self.with_flags("ma", key, None, flags);
        if touches && !request.has(b'E') {
            let mut shown = Request::new("mg")
                .word(&self.keys[key].name)
                .word("t")
                .end();
            shown.keys.push(key);
            let mut requests = vec![request];
            requests.extend(self.set_apart(shown, Listed::CountedTouch));
            return requests;
        }
        self.maybe_apart(request)
    }

    /// me.
    pub(super) fn inspect(&mut self) -> Request {
        let key = self.key();
        let mut request = Request::new("me").word(&self.keys[key].name).end();
        request.keys.push(key);
        request
    }
}
