use super::*;

fn mebi(text: &str) -> Option<u64> {
    text.parse().ok().map(MebiSize::bytes)
}

#[test]
fn a_bare_number_counts_what_the_option_says() {
    assert_eq!(mebi("64"), Some(64 * MIB));
    assert_eq!("1048576".parse().map(ByteSize::bytes), Ok(MIB));
}

#[test]
fn suffixes_are_binary_and_their_case_does_not_matter() {
    for (text, bytes) in [
        ("512k", 512 * KIB),
        ("512K", 512 * KIB),
        ("64m", 64 * MIB),
        ("64MiB", 64 * MIB),
        ("64MB", 64 * MIB),
        ("1g", GIB),
        ("2t", 2 * TIB),
        ("100b", 100),
        ("0", 0),
    ] {
        assert_eq!(mebi(text), Some(bytes), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused() {
    for text in ["", "m", "-1", "1.5g", "64 m", "64x", "0x40", "+4", "64mm"] {
        assert_eq!(mebi(text), None, "{text}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(mebi("99999999999999999999"), None);
    assert_eq!(mebi("18446744073709551615"), None);
    assert_eq!(mebi("16777215t"), Some(16_777_215 * TIB));
    assert_eq!(mebi("16777216t"), None);
}

#[test]
fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
    assert_eq!(show(64 * MIB), "64 MiB");
    assert_eq!(show(1536 * MIB), "1536 MiB");
    assert_eq!(show(GIB), "1 GiB");
    assert_eq!(show(1000), "1000 bytes");
    assert_eq!(show(0), "0 bytes");
}
