//! The differences between memcached 1.6.18 and Zufar that are meant.
//!
//! Decides which they are and why. Each is either a change of memcached's between 1.6.18 and
//! 1.6.45, or Zufar's own decision where memcached's behaviour can't be wanted. What is not here
//! must be equal.

macro_rules! listed {
    ($($(#[$doc:meta])* $name:ident = $reason:literal,)*) => {
        /// A difference that is none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Listed {
            $($(#[$doc])* $name,)*
        }

        impl Listed {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Why it is none.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)*
                }
            }
        }
    };
}

listed! {
    /// The answer to `version`.
    Version = "Zufar follows 1.6.45",
    /// Meta flags `E` and `x`.
    NewerFlag = "E and x came with 1.6.27; 1.6.18 calls them invalid",
    /// `mg` with `C`.
    GetCompare = "since 1.6.40 mg drops v where C is the item's cas unique; 1.6.18 ignores C",
    /// `ms` with `s`.
    StoredSize = "1.6.45 returns the size of what was stored; 1.6.18 returns no s for ms",
    /// `ms` with `MA` or `MP` and `N`.
    AppendVivifies = "since 1.6.20 append and prepend make a missing item with N's expiry",
    /// `ma` with `N` and `q` on a miss.
    QuietVivify = "since 1.6.40 q hides the success of a vivifying ma, too (proto_parser.c, \
        process_marithmetic_cmd sets skip there); 1.6.18 forgets it",
    /// Spaces behind a number that has become shorter.
    DecrPadding = "protocol.txt: a number that has become shorter MAY be padded with spaces; \
        memcached does, Zufar does not",
    /// `h`, `X`, `Z` and `W` after counting.
    CountedMarks = "memcached counts in place unless the number needs more digits or the item is \
        being sent; then it makes a new item, without marks. Zufar's items always keep theirs",
    /// `ma` with `T`.
    CountedTouch = "where memcached makes a new item for a number, T changes the old one, which \
        is gone (do_add_delta gives it to process_marithmetic_cmd): the new one keeps its \
        expiry. Zufar touches the item",
    /// Numbers of 2^63 and more.
    NumberBeyondEnd = "where a stored number is 2^63 or more, memcached looks for a minus sign \
        (safe_strtoull) beyond the value's end, and finds whatever lies there",
    /// `k` of a key in base64, and that of `me`.
    KeyAsSent = "memcached tells the key in the form in which the item was stored; Zufar in the \
        form of the request, which is what a client compares it with",
    /// `t` of an item that has just been made to expire.
    WrappedTtl = "memcached's 32-bit subtraction wraps round; Zufar says 0",
    /// `l` and `la`: seldom met, because streams are shorter than what clocks may differ by.
    LastAccess = "memcached does not note the time of every access: not of the first fetch, and \
        not of those while an item is active. Zufar does, so its numbers are lower",
    /// `exp` of `me`.
    InspectExpiry = "1.6.18 subtracts the wrong way round (proto_text.c, process_meta_command), \
        1.6.45 does not",
    /// `cls` and `size` of `me`.
    InspectMemory = "slab classes and item sizes are memcached's own; Zufar tells those of its \
        memory tier",
    /// Values of nearly the item limit.
    ItemLimit = "memcached's item limit includes the key and about 60 bytes of its own, Zufar's \
        is the value's alone",
}
