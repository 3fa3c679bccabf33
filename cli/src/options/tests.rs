use super::*;

fn address(text: &str) -> Option<(String, Option<u16>)> {
    let address: ListenAddress = text.parse().ok()?;
    Some((address.host, address.port))
}

#[test]
fn addresses_come_with_and_without_ports() {
    for (text, host, port) in [
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1:8122", "127.0.0.1", Some(8122)),
        ("localhost:1", "localhost", Some(1)),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:8122", "::1", Some(8122)),
        ("fe80::1:2", "fe80::1:2", None),
        ("0.0.0.0:0", "0.0.0.0", Some(0)),
    ] {
        assert_eq!(address(text), Some((host.to_owned(), port)), "{text}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        ":1",
        "a:",
        "a:b",
        "a:65536",
        "[::1",
        "[::1]x",
        "[::1]:",
        "a b",
        "notls:a:1",
        "mtls:a",
    ] {
        assert_eq!(address(text), None, "{text}");
    }
}

#[test]
fn modes_are_octal() {
    assert_eq!("700".parse(), Ok(OctalMode(0o700)));
    assert_eq!("0660".parse(), Ok(OctalMode(0o660)));
    for text in ["", "8", "1000", "rwx", "-1"] {
        assert!(text.parse::<OctalMode>().is_err(), "{text}");
    }
}
