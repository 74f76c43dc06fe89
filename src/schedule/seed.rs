//! The stable shares of `H` and `@every`: a hash of host and id, so that a fleet spreads out and each member keeps its
//! place across restarts.

use sha2::{Digest, Sha256};

/// The source of the shares.
#[derive(Clone, Debug)]
pub struct Seed(Vec<u8>);

impl Seed {
    /// The seed of one deployment on one host.
    pub fn new(host: &str, id: &str) -> Self {
        Self([host.as_bytes(), &[0], id.as_bytes()].concat())
    }

    /// A number below `among`: the same one each time for the same `purpose`.
    pub fn choose(&self, purpose: &str, among: u64) -> u64 {
        let hash = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(&self.0).finalize();
        let number = hash.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte));
        number % among.max(1)
    }
}
