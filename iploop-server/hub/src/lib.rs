//! IPLoop's hub: node connections, registration, liveness, quality and the directory of live nodes.

pub mod directory;
pub mod geo;
pub mod quality;
