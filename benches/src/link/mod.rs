//! The link emulator: a TCP relay on loopback that delays both ways and limits the rate, in user space.
//!
//! It stands for the path between two machines, seen from above TCP:
//!
//! * **Delay.** Each byte leaves half a round trip after it came. A new connection pays its handshake too: the first bytes
//!   of the client start one round trip after its connect, and the other end accepts after one and a half.
//! * **In flight.** At most [`IN_FLIGHT_BYTES`] per connection and direction, near what Linux allows by default. There is
//!   no loss and no slow start, which favours new connections, the direct ones first of all.
//! * **Rate.** One limit per direction for all connections together, shared packet by packet in turn (`shaper`), with a
//!   short queue per connection: a router with fair queueing (as fq_codel, RFC 8290). Socket buffers in front of the
//!   queue are kept small, so that what waits beyond it waits at the sender.
//!
//! Timers tick in milliseconds: a delay is up to one longer than asked, for every peer alike.

mod relay;
mod shaper;

use std::net::SocketAddr;
use std::rc::Rc;

use clap::Args;
use serde::{Deserialize, Serialize};
use socket2::Socket;
use tokio::task::spawn_local;

use self::relay::Relay;
use crate::child;
use crate::route::listen;

/// Bytes of one connection on their way in one direction: a window of twice that, whose acknowledgements take the way back.
const IN_FLIGHT_BYTES: usize = 2 * 1024 * 1024;
/// Payload of a packet on the emulated path: Ethernet's 1,500 less the headers.
const PACKET_BYTES: u16 = 1_460;
/// Receive buffer in front of a limited link; the kernel doubles it for its own bookkeeping.
const LIMITED_RECEIVE_BYTES: usize = 16 * 1024;

/// What the path is like.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct LinkOptions {
    /// Where the other end listens
    #[arg(long)]
    upstream: SocketAddr,
    /// Round trip in milliseconds
    #[arg(long, default_value_t = 50)]
    rtt_ms: u64,
    /// Bytes per second in each direction, shared by all connections
    #[arg(long)]
    rate: Option<u64>,
}

/// What the link's process prints when it listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
}

/// Runs a link until standard input ends.
pub(crate) fn main(options: &LinkOptions) -> anyhow::Result<()> {
    child::end_with_stdin();
    child::local_runtime(async {
        let prepare: Option<fn(&Socket) -> std::io::Result<()>> = options.rate.map(|_| shallow as _);
        let listener = listen("127.0.0.1:0".parse()?, prepare)?;
        child::report(&Ready {
            address: listener.local_addr()?,
        })?;
        let relay = Rc::new(Relay::new(options));
        loop {
            let (client, _) = listener.accept().await?;
            let relay = Rc::clone(&relay);
            spawn_local(async move {
                // Either end going away ends the connection, and the other end sees that.
                let _ = relay.carry(client).await;
            });
        }
    })?
}

/// Socket options in front of a limited link. The small segment keeps the small window from stalling: loopback's own segments
/// are 64 KiB.
fn shallow(socket: &Socket) -> std::io::Result<()> {
    socket.set_recv_buffer_size(LIMITED_RECEIVE_BYTES)?;
    socket.set_tcp_mss(u32::from(PACKET_BYTES))
}
