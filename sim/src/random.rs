//! Random: one stream of random numbers per purpose, derived from the seed and the purpose's name.
//! Removing one element of a run leaves every other draw as it was.

pub use fastrand::Rng;

/// The stream for this purpose.
pub fn stream(seed: u64, purpose: &str) -> Rng {
    Rng::with_seed(xxhash_rust::xxh3::xxh3_64_with_seed(purpose.as_bytes(), seed))
}
