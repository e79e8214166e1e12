//! A toy machine, and a runtime that does what a script says.
#![allow(unreachable_pub, dead_code, reason = "test code has no outside, and no test uses all of it")]

pub mod echo;
pub mod scripted;
