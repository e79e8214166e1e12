//! Leaf machines, each usable alone: they answer by value, and know only the time.
