//! The hub over real sockets on loopback: devices made of the protocol crate's other side, stores in memory.

#[cfg(test)]
mod acting;
#[cfg(test)]
mod connecting;
#[cfg(test)]
mod draining;
#[cfg(test)]
mod exits;
#[cfg(test)]
mod living;
mod news;
#[cfg(test)]
mod registering;
#[cfg(test)]
mod support;
