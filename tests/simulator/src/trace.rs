//! What happened, as one number, and in words for whoever asks.
//!
//! Decides what counts as the same run. Refuses to know what any of it means.

use zufar_core::time::Time;

/// A hash over everything that has happened, in order.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    told: bool,
}

impl Trace {
    /// A trace that also prints each event to standard error, if `told`.
    #[must_use]
    pub fn new(told: bool) -> Self {
        Self {
            told,
            ..Self::default()
        }
    }

    /// The hash so far: equal for equal runs.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Takes note of one event: when, on which host, what, and two numbers below 2^32 that tell
    /// it from others.
    pub fn note(&mut self, at: Time, host: u16, what: &str, one: u64, other: u64) {
        self.events += 1;
        self.mix(at.as_nanos());
        self.bytes(what.as_bytes());
        self.mix(one | u64::from(host) << 32);
        self.mix(other);
        if self.told {
            tell(&format!(
                "{:>12} host {host} {what} {one} {other}",
                at.as_nanos() / 1000
            ));
        }
    }

    /// Takes note of bytes that have crossed a connection.
    pub fn data(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
        if self.told {
            tell(&format!("             {:?}", Excerpt(bytes)));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        for byte in words.remainder() {
            self.mix(u64::from(*byte));
        }
        self.mix(bytes.len() as u64);
    }

    const fn mix(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[allow(clippy::print_stderr)] // Only where somebody asked to be told.
fn tell(line: &str) {
    eprintln!("{line}");
}

/// The first bytes of something long, as text.
pub struct Excerpt<'a>(pub &'a [u8]);

impl std::fmt::Debug for Excerpt<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN_BYTES_MAX: usize = 160;
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        write!(formatter, "{:?}", String::from_utf8_lossy(shown))?;
        if shown.len() < self.0.len() {
            write!(formatter, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}
