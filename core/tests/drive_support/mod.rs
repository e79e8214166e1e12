//! A toy machine, and a runtime that does what a script says.
#![allow(unreachable_pub, reason = "test code has no outside")]

pub mod echo;
pub mod scripted;
