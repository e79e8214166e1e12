#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plimsoll_core::fuzzing::log(data));
