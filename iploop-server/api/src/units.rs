//! Bytes and money as customers read them.

/// Bytes in a gigabyte (`docs/contracts.md`, Data).
const GIGABYTE: f64 = 1e9;

/// For display; the exact count stands beside it in every answer.
pub(crate) fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / GIGABYTE
}

/// As [`gigabytes`], for what may be below zero.
pub(crate) fn signed_gigabytes(bytes: i64) -> f64 {
    bytes as f64 / GIGABYTE
}

/// Micro-dollars in a dollar.
const DOLLAR: f64 = 1e6;

/// For display; the exact micro-dollars stand beside it in every answer.
pub(crate) fn dollars(micros: i64) -> f64 {
    micros as f64 / DOLLAR
}
