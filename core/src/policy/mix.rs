/// Scatters `value` under `seed`: the finalizer of SplitMix64 (Steele, Lea, Flood 2014, with Stafford's variant 13
/// of its constants), twice, so that neither argument cancels the other.
pub(super) const fn mix(seed: u64, value: u64) -> u64 {
    finish(finish(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ value)
}

const fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first number of SplitMix64 with seed 0, as published with the xoshiro generators.
    #[test]
    fn the_finalizer_is_the_published_one() {
        assert_eq!(finish(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }
}
