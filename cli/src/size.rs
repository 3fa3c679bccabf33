//! Sizes as operators write them: `64`, `64m`, `1g`, `512k`, `64MiB`.
//!
//! Decides the notation and what a bare number means. Refuses to know which sizes make sense.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// A size of which `BARE` says how many bytes a bare number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size<const BARE: u64> {
    bytes: u64,
}

/// A size whose bare number counts MiB, as memcached's `-m` does.
pub(crate) type MebiSize = Size<MIB>;
/// A size whose bare number counts bytes, as memcached's `-I` does.
pub(crate) type ByteSize = Size<1>;

impl<const BARE: u64> Size<BARE> {
    pub(crate) const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl<const BARE: u64> FromStr for Size<BARE> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let unit = match suffix.to_ascii_lowercase().as_str() {
            "" => BARE,
            "b" => 1,
            "k" | "kb" | "kib" => KIB,
            "m" | "mb" | "mib" => MIB,
            "g" | "gb" | "gib" => GIB,
            "t" | "tb" | "tib" => TIB,
            _ => return Err(format!("`{text}` is not a size such as 64m or 1g")),
        };
        if number.is_empty() {
            return Err(format!("`{text}` is not a size such as 64m or 1g"));
        }
        let too_large = || format!("`{text}` is too large");
        let number: u64 = number.parse().map_err(|_| too_large())?;
        let bytes = number.checked_mul(unit).ok_or_else(too_large)?;
        Ok(Self { bytes })
    }
}

impl<'de, const BARE: u64> Deserialize<'de> for Size<BARE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText<const BARE: u64>;

        impl<const BARE: u64> Visitor<'_> for NumberOrText<BARE> {
            type Value = Size<BARE>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64 or \"64m\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

/// Shows `bytes` in the largest unit that divides it.
pub(crate) fn show(bytes: u64) -> String {
    let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    for (unit, name) in units {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}
