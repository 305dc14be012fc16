//! How many passwords a second argon2id alone checks beside what else the core does: the bound of signing in.

use std::time::{Duration, Instant};

use anyhow::Context;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use crate::child;

/// What to check again and again.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) password: String,
    /// The hash as the server stores it, with its parameters.
    pub(super) stored: String,
    pub(super) seconds: f64,
}

/// How often it was checked in a second.
#[derive(Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) per_second: f64,
}

/// Reads a job from standard input and does it.
pub(crate) fn main() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let stored = PasswordHash::new(&job.stored).map_err(|error| anyhow::anyhow!("stored hash: {error}"))?;
    let params = Params::try_from(&stored).map_err(|error| anyhow::anyhow!("parameters: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let check = || argon2.verify_password(job.password.as_bytes(), &stored).ok();
    check().context("another password's hash")?;
    let (start, limit) = (Instant::now(), Duration::try_from_secs_f64(job.seconds)?);
    let mut checks = 0_u32;
    while start.elapsed() < limit {
        check().context("another password's hash")?;
        checks += 1;
    }
    child::report(&Rate {
        per_second: f64::from(checks) / start.elapsed().as_secs_f64(),
    })
}
