//! See the body of the same name in bodies/.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| zufar_fuzz_bodies::link_frames(input));
