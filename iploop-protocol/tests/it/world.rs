//! Two tunnels, the wires between them and a clock, all fake. Time stands still until nothing more can happen at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{StreamId, StreamKind};
use iploop_protocol::tunnel::{Closed, Config, Event, Read, Side, Tunnel};

use crate::wire::{Line, Wire};

/// Memory that the windows of both tunnels share in [`World`].
const SHARED_BUDGET_BYTES: u64 = 64 << 20;

pub(crate) const SIDES: [Side; 2] = [Side::Hub, Side::Node];

pub(crate) fn other(side: Side) -> Side {
    match side {
        Side::Hub => Side::Node,
        Side::Node => Side::Hub,
    }
}

/// One end and the wire that leads away from it.
pub(crate) struct End {
    pub(crate) tunnel: Tunnel,
    pub(crate) wire: Wire,
    pub(crate) events: VecDeque<Event>,
    pub(crate) closed: Option<Closed>,
    message: BytesMut,
    /// What went out since it was looked at last, for tests that look at frames.
    pub(crate) tapped: Option<Vec<Bytes>>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    hub: End,
    node: End,
    budget_left: Arc<AtomicU64>,
}

impl World {
    /// A hub and a node that are connected, before the handshake.
    pub(crate) fn connected(down: Line, up: Line, seed: u64) -> Self {
        Self::with(down, up, seed, |_| {})
    }

    /// Like [`World::connected`], with other limits than usual.
    pub(crate) fn with(down: Line, up: Line, seed: u64, limits: impl Fn(&mut Config)) -> Self {
        let start = Instant::now();
        let budget_left = Arc::new(AtomicU64::new(SHARED_BUDGET_BYTES));
        let end = |side, line, seed| {
            let mut config = Config::new(side);
            limits(&mut config);
            config.budget = config.budget.within(Arc::clone(&budget_left));
            End {
                tunnel: Tunnel::new(config, start),
                wire: Wire::new(line, seed, start),
                events: VecDeque::new(),
                closed: None,
                message: BytesMut::new(),
                tapped: None,
            }
        };
        Self {
            now: start,
            hub: end(Side::Hub, down, seed),
            node: end(Side::Node, up, !seed),
            budget_left,
        }
    }

    /// A hub and a node whose handshake is over.
    pub(crate) fn open(down: Line, up: Line, seed: u64) -> Self {
        let mut world = Self::connected(down, up, seed);
        world.shake_hands();
        world
    }

    /// Hello and welcome.
    pub(crate) fn shake_hands(&mut self) {
        self.node
            .tunnel
            .send_control(Bytes::from_static(b"{\"type\":\"hello\"}"))
            .unwrap();
        self.wait_for(|world| matches!(world.hub.events.front(), Some(Event::Control(_))));
        self.hub
            .tunnel
            .send_control(Bytes::from_static(b"{\"type\":\"welcome\"}"))
            .unwrap();
        self.hub.tunnel.establish();
        self.wait_for(|world| matches!(world.node.events.front(), Some(Event::Control(_))));
        self.hub.events.clear();
        self.node.events.clear();
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Hub => &mut self.hub,
            Side::Node => &mut self.node,
        }
    }

    pub(crate) fn tunnel(&mut self, side: Side) -> &mut Tunnel {
        &mut self.end(side).tunnel
    }

    /// Bytes of windows that are promised away.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        SHARED_BUDGET_BYTES - self.budget_left.load(Ordering::Relaxed)
    }

    /// Whatever can happen without time going by happens.
    pub(crate) fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for side in SIDES {
                busy |= self.settle_end(side);
            }
        }
    }

    fn settle_end(&mut self, side: Side) -> bool {
        let now = self.now;
        let mut busy = false;
        while let Some(message) = self.end(other(side)).wire.receive(now) {
            busy = true;
            let handled = self.end(side).tunnel.handle_message(now, message);
            handled.unwrap_or_else(|error| panic!("{side:?} met a breach by an honest peer: {error}"));
            self.take_events(side);
        }
        let end = self.end(side);
        if end.tunnel.poll_timeout().is_some_and(|at| at <= now) {
            end.tunnel.handle_timeout(now);
            let deadline = end.tunnel.poll_timeout();
            assert!(deadline.is_none_or(|at| at > now), "the deadline moves on");
            busy = true;
        }
        let mut message = std::mem::take(&mut end.message);
        while end.wire.can_take(now) && end.tunnel.poll_transmit(now, &mut message) {
            busy = true;
            let message = message.split().freeze();
            if let Some(tapped) = &mut end.tapped {
                tapped.push(message.clone());
            }
            end.wire.send(now, message);
        }
        end.message = message;
        self.take_events(side);
        busy
    }

    fn take_events(&mut self, side: Side) {
        let end = self.end(side);
        while let Some(event) = end.tunnel.poll_event() {
            if let Event::Closed(closed) = &event {
                assert!(end.closed.is_none(), "closed once");
                end.closed = Some(closed.clone());
            }
            end.events.push_back(event);
        }
    }

    /// When something happens by itself; none: never.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        [&self.hub, &self.node]
            .into_iter()
            .flat_map(|end| {
                let takes_at = end.wire.takes_at();
                [
                    end.tunnel.poll_timeout(),
                    end.wire.arrives_at(),
                    (takes_at > self.now).then_some(takes_at),
                ]
            })
            .flatten()
            .min()
    }

    /// Settles, then lets time go by until something happens, at most until `until`; false: `until` has come.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let next = self.next_at().unwrap_or(until).max(self.now);
        self.now = next.min(until);
        if self.now < until {
            return true;
        }
        self.settle();
        false
    }

    /// Lets time go by.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time go by until something is so, at most an hour.
    pub(crate) fn wait_for(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let until = self.now + Duration::from_secs(3600);
        loop {
            self.settle();
            if is_so(self) {
                return;
            }
            assert!(self.step(until), "it never came");
        }
    }

    /// Opens a stream from one side and has the other accept it.
    pub(crate) fn stream(&mut self, opener: Side) -> StreamId {
        let id = self.ask(opener, Bytes::new());
        self.wait_for(|world| {
            let acceptor = world.end(other(opener));
            let asked = |event: &Event| matches!(event, Event::Incoming { stream, .. } if *stream == id);
            if acceptor.events.iter().any(asked) {
                acceptor.events.retain(|event| !asked(event));
                acceptor.tunnel.accept(id, Duration::ZERO).unwrap();
                world.settle();
            }
            let opened = |event: &Event| matches!(event, Event::Opened { stream, .. } if *stream == id);
            let opener = world.end(opener);
            let is_open = opener.events.iter().any(opened);
            opener.events.retain(|event| !opened(event));
            is_open
        });
        id
    }

    /// Asks for a TCP stream.
    pub(crate) fn ask(&mut self, opener: Side, early: Bytes) -> StreamId {
        let destination = Destination::parse_authority("example.com:443").unwrap();
        self.tunnel(opener)
            .open(StreamKind::Tcp, destination, 7, Duration::from_secs(10), early)
            .unwrap()
    }

    /// Writes as much as is taken; the number of bytes.
    pub(crate) fn write(&mut self, side: Side, stream: StreamId, bytes: usize) -> usize {
        static BLOCK: [u8; 64 * 1024] = [7; 64 * 1024];
        let mut data = Bytes::from_static(&BLOCK[..bytes.min(BLOCK.len())]);
        self.tunnel(side).write(stream, &mut data).unwrap()
    }

    /// Reads what is there; the number of bytes, none once the peer has finished.
    pub(crate) fn read(&mut self, side: Side, stream: StreamId) -> Option<usize> {
        let now = self.now;
        let mut bytes = 0;
        loop {
            match self.tunnel(side).read(now, stream, usize::MAX).unwrap() {
                Read::Data(data) => bytes += data.len(),
                Read::Blocked => return Some(bytes),
                Read::Finished if bytes > 0 => return Some(bytes),
                Read::Finished => return None,
            }
        }
    }
}
