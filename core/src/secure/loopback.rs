//! Where peers may be spoken to without a secret.
//!
//! Decides that on loopback only. Refuses to know whether there is a secret.

use core::fmt;
use core::net::IpAddr;

/// Why an address can't be used: there is no cluster secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsSecret {
    /// The address.
    pub address: IpAddr,
}

/// Whether peers may be spoken to at, or listened for on, `address` without a cluster secret.
///
/// # Errors
/// When it is not loopback: not in 127.0.0.0/8, also as IPv6 writes it, and not `::1`.
pub fn loopback_only(address: IpAddr) -> Result<(), NeedsSecret> {
    if address.to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(NeedsSecret { address })
    }
}

impl fmt::Display for NeedsSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        write!(
            formatter,
            "{address} is not loopback, and without a cluster secret nodes speak to each other \
             on loopback only: set `secret-file`"
        )
    }
}

impl core::error::Error for NeedsSecret {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn loopback_needs_no_secret() {
        for text in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(loopback_only(address(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn everything_else_needs_one_and_is_told_why() {
        for text in [
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "128.0.0.1",
            "::2",
            "fe80::1",
            "::ffff:10.0.0.1",
            // Deprecated, and not loopback to the kernel.
            "::127.0.0.1",
        ] {
            let refused = loopback_only(address(text)).expect_err(text);
            let words = refused.to_string();
            assert!(words.starts_with(&address(text).to_string()), "{words}");
            assert!(words.contains("secret-file"), "{words}");
        }
    }
}
