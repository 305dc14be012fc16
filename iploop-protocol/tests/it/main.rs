//! The tunnel against its specification, its vectors, itself and its enemies. Needs no feature, socket, task or real
//! time, but for `python`.

#[cfg(test)]
mod document;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
#[cfg(test)]
mod promises;
#[cfg(feature = "websocket")]
#[cfg(test)]
mod python;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
