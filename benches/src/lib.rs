//! Load generator, origin, link emulator, and the comparison of IPLoop with its peers.
//!
//! The benchmark drives finished binaries by address and file. Its own parts run as processes of their own
//! (`origin`, `link`, `load`), so that the CPU and memory of the measured tunnel are read apart from theirs.
//!
//! ```text
//! load ──route──▶ gateway side ──[link]── device side ──▶ origin      a tunnel
//! load ──────────────────────────[link]─────────────────▶ origin      direct
//! ```
//!
//! One measurement, from the outside in: [`cli`] starts `run`, which takes every test in rounds (`run::rounds`),
//! starts the peers (`peer`), gives an order to a fresh load process (`load`), reads the tunnel's processes at the
//! marks that the load reports (`process`), and prints the table (`run::table`). `benches/README.md` says what each row means.

pub mod cli;

mod child;
mod columns;
mod cores;
mod exchange;
mod faults;
mod http;
mod hub;
mod link;
mod load;
mod order;
mod origin;
mod pattern;
mod peer;
mod process;
mod reads;
mod route;
mod run;
mod statistics;
mod wire;
