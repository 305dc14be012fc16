//! One connection through the link: read, wait for the line, wait out the delay, write.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::shaper::{Line, Shaper};
use super::{IN_FLIGHT_BYTES, LIMITED_RECEIVE_BYTES, LinkOptions, PACKET_BYTES};

/// One read where no rate limits.
const READ_BYTES: usize = 64 * 1024;
/// A packet counts for at least this much of what may be in flight, so that the number of packets has a bound too.
const LEAST_CHARGE_BYTES: usize = 1_024;

/// All connections of one link.
pub(super) struct Relay {
    upstream: SocketAddr,
    rtt: Duration,
    limits: Option<[Rc<Rate>; 2]>,
    next_connection: Cell<u64>,
}

impl Relay {
    /// Starts the lines of a limited link; call it where tasks can be spawned.
    pub(super) fn new(options: &LinkOptions) -> Relay {
        let rtt = Duration::from_millis(options.rtt_ms);
        let limits = options
            .rate
            .map(|rate| [(); 2].map(|()| Rc::new(Rate::new(rate, rtt / 2))));
        for rate in limits.iter().flatten() {
            spawn_local(Rc::clone(rate).run());
        }
        Relay {
            upstream: options.upstream,
            rtt,
            limits,
            next_connection: Cell::new(0),
        }
    }

    /// Carries one accepted connection to its end.
    pub(super) async fn carry(&self, client: TcpStream) -> anyhow::Result<()> {
        let path = Timeline::new(Instant::now(), self.rtt);
        let connection = self.next_connection.get();
        self.next_connection.set(connection + 1);
        client.set_nodelay(true)?;
        let (client_reads, client_writes) = client.into_split();

        sleep_until(path.client_sends_from).await;
        let limit = |index: usize| self.limits.as_ref().map(|limits| Rc::clone(&limits[index]));
        let (up, arriving_up) = Way::new(path.one_way, connection, limit(0));
        let reading_up = spawn_local(up.read(client_reads));
        let _end_with_us = AbortOnDrop(reading_up.abort_handle());

        sleep_until(path.server_accepts_at).await;
        let (server_reads, server_writes) = self.dial().await?.into_split();
        let (down, arriving_down) = Way::new(path.one_way, connection, limit(1));
        // A failed half takes the other with it: a reset has no half.
        tokio::try_join!(
            async { reading_up.await? },
            write(arriving_up, server_writes),
            down.read(server_reads),
            write(arriving_down, client_writes),
        )?;
        Ok(())
    }

    async fn dial(&self) -> anyhow::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.limits.is_some() {
            socket.set_recv_buffer_size(u32::try_from(LIMITED_RECEIVE_BYTES)?)?;
        }
        let stream = socket.connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// When the ends of a new connection may speak.
#[derive(Debug, PartialEq, Eq)]
struct Timeline {
    /// SYN and SYN-ACK have passed.
    client_sends_from: Instant,
    /// The ACK has arrived too.
    server_accepts_at: Instant,
    one_way: Duration,
}

impl Timeline {
    fn new(connect: Instant, rtt: Duration) -> Timeline {
        let one_way = rtt / 2;
        Timeline {
            client_sends_from: connect + rtt,
            server_accepts_at: connect + rtt + one_way,
            one_way,
        }
    }
}

/// Ends a task with its owner.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A packet on its way, and its share of what may be in flight.
struct Travelling {
    arrives_at: Instant,
    packet: Bytes,
    _in_flight: OwnedSemaphorePermit,
}

/// A packet that waits for a limited line. It holds its connection's way open: the end travels behind the last packet.
struct Queued {
    packet: Bytes,
    in_flight: OwnedSemaphorePermit,
    delay: mpsc::Sender<Travelling>,
}

/// One direction of a limited link.
pub(super) struct Rate {
    shaper: RefCell<Shaper<Queued>>,
    pushed: Notify,
    left: Notify,
    one_way: Duration,
}

impl Rate {
    fn new(bytes_per_second: u64, one_way: Duration) -> Rate {
        Rate {
            shaper: RefCell::new(Shaper::new(bytes_per_second)),
            pushed: Notify::new(),
            left: Notify::new(),
            one_way,
        }
    }

    /// Queues a packet once its connection has room.
    async fn push(&self, connection: u64, queued: Queued) {
        while !self.shaper.borrow().has_room(connection) {
            self.left.notified().await;
        }
        let bytes = queued.packet.len();
        self.shaper
            .borrow_mut()
            .push(Instant::now(), connection, bytes, queued);
        self.pushed.notify_one();
    }

    /// Lets the packets leave, for ever.
    async fn run(self: Rc<Rate>) {
        loop {
            let line = self.shaper.borrow_mut().poll(Instant::now());
            match line {
                Line::Sends {
                    packet:
                        Queued {
                            packet,
                            in_flight,
                            delay,
                        },
                    left_at,
                } => {
                    let arrives_at = left_at + self.one_way;
                    // Never full, by the charge of what is in flight; closed when the connection has failed.
                    let _ = delay.try_send(Travelling {
                        arrives_at,
                        packet,
                        _in_flight: in_flight,
                    });
                    self.left.notify_waiters();
                }
                Line::Busy(until) => sleep_until(until).await,
                Line::Idle => self.pushed.notified().await,
            }
        }
    }
}

/// The reading end of one direction of one connection.
struct Way {
    one_way: Duration,
    connection: u64,
    rate: Option<Rc<Rate>>,
    in_flight: Arc<Semaphore>,
    delay: mpsc::Sender<Travelling>,
}

impl Way {
    fn new(one_way: Duration, connection: u64, rate: Option<Rc<Rate>>) -> (Way, mpsc::Receiver<Travelling>) {
        let (delay, arriving) = mpsc::channel(IN_FLIGHT_BYTES / LEAST_CHARGE_BYTES);
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_BYTES));
        (
            Way {
                one_way,
                connection,
                rate,
                in_flight,
                delay,
            },
            arriving,
        )
    }

    async fn read(self, mut from: OwnedReadHalf) -> anyhow::Result<()> {
        let most = if self.rate.is_some() {
            usize::from(PACKET_BYTES)
        } else {
            READ_BYTES
        };
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(most);
            let read = (&mut from).take(most as u64).read_buf(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let came_at = Instant::now();
            let packet = buffer.split().freeze();
            let charge = u32::try_from(read.max(LEAST_CHARGE_BYTES))?;
            let in_flight = Arc::clone(&self.in_flight).acquire_many_owned(charge).await?;
            match &self.rate {
                Some(rate) => {
                    rate.push(
                        self.connection,
                        Queued {
                            packet,
                            in_flight,
                            delay: self.delay.clone(),
                        },
                    )
                    .await;
                }
                None => {
                    let arrives_at = came_at + self.one_way;
                    let travelling = Travelling {
                        arrives_at,
                        packet,
                        _in_flight: in_flight,
                    };
                    self.delay
                        .send(travelling)
                        .await
                        .ok()
                        .context("the other end is gone")?;
                }
            }
        }
    }
}

/// The writing end: each packet when it arrives, then the end.
async fn write(mut arriving: mpsc::Receiver<Travelling>, mut to: OwnedWriteHalf) -> anyhow::Result<()> {
    while let Some(Travelling {
        arrives_at,
        packet,
        _in_flight,
    }) = arriving.recv().await
    {
        sleep_until(arrives_at).await;
        // In flight no more: what a slow reader leaves unread now waits in its own socket.
        drop(_in_flight);
        to.write_all(&packet).await?;
    }
    Ok(to.shutdown().await?)
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::{exchange, origin, route};

    async fn through_link(rtt_ms: u64, rate: Option<u64>) -> (LocalSet, SocketAddr) {
        let tasks = LocalSet::new();
        let upstream = origin::in_process(&tasks).await;
        let listener = route::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn_local(async move {
            let relay = Rc::new(Relay::new(&LinkOptions {
                upstream,
                rtt_ms,
                rate,
            }));
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let relay = Rc::clone(&relay);
                spawn_local(async move { relay.carry(client).await });
            }
        });
        (tasks, address)
    }

    #[tokio::test]
    async fn first_answer_takes_two_round_trips_and_the_next_one() {
        let (tasks, link) = through_link(20, None).await;
        tasks
            .run_until(async {
                let start = Instant::now();
                let mut stream = TcpStream::connect(link).await.unwrap();
                exchange::first(&mut stream).await.unwrap();
                let first = Instant::now();
                exchange::small(&mut stream).await.unwrap();
                assert!(first - start >= Duration::from_millis(40));
                assert!(first.elapsed() >= Duration::from_millis(20));
            })
            .await;
    }

    #[tokio::test]
    async fn bytes_and_half_close_pass_a_limited_link_in_order() {
        let (tasks, link) = through_link(2, Some(5_000_000)).await;
        tasks
            .run_until(async {
                let mut stream = TcpStream::connect(link).await.unwrap();
                let total = 200_000;
                let header = crate::wire::Request::Exchange {
                    seed: 5,
                    up: 0,
                    down: total,
                };
                stream.write_all(&header.encode()).await.unwrap();
                stream.shutdown().await.unwrap();
                let start = Instant::now();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.unwrap();
                assert_eq!(answer.len() as u64, total);
                assert_eq!(crate::pattern::check(5, 0, &answer), Ok(()));
                // 200 kB at 5 MB/s can't take less.
                assert!(start.elapsed() >= Duration::from_millis(40));
            })
            .await;
    }
}
