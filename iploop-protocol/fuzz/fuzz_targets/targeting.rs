#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iploop_protocol_fuzz::targeting(data));
