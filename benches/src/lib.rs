//! What is measured, apart from how: the bodies that `cargo bench` and the table side by side share.

pub mod parts;
pub mod usage;
