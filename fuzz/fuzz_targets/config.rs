#![no_main]

// The gateway is a program and no library; its configuration needs nothing of the rest of it.
#[path = "../../gateway/src"]
#[allow(dead_code, unused_imports)]
mod gateway {
    pub(crate) mod config;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::config::fuzzing::any_file(data));
