//! Bytes ↔ frames: incremental, and with every length checked before anything is allocated for it.
