//! New connections through a fleet: first a healthy one, then one of which a part is dead and another slow.
//!
//! The devices are simulated, and so is their distance; server, tunnels and connections are real.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use iploop_protocol::io::{Event, Events, Incoming};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::devices::{Device, Network};
use super::requests::{Pace, connect_at};
use super::{Console, Faults};
use crate::order::{Figures, HubAccess, Mark, Order};
use crate::statistics::Latency;

/// One way to the nearest device and back, in milliseconds; to the furthest it is the other more.
const NEAREST_MS: f64 = 20.0;
const FURTHER_MS: f64 = 100.0;

/// Half of the destinations answer a dial within 1.6 times this; see [`Dice::destination_ms`].
const DESTINATION_MS: f64 = 20.0;
const SLOWEST_DESTINATION_MS: f64 = 2_000.0;

/// A slow device takes so many times as long.
const SLOWNESS: f64 = 10.0;

/// How many, and who of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    pub(super) devices: usize,
    pub(super) dead: usize,
    pub(super) slow: usize,
}

/// How a device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Healthy,
    Slow,
    /// Its connection stands and nothing comes through it.
    Vanished,
    /// It answers pings, and no dial.
    Stuck,
}

impl Fleet {
    /// The dead come first, every other one vanished.
    fn behaviour(self, number: usize) -> Behaviour {
        match number {
            number if number >= self.dead + self.slow => Behaviour::Healthy,
            number if number >= self.dead => Behaviour::Slow,
            number if number % 2 == 0 => Behaviour::Vanished,
            _ => Behaviour::Stuck,
        }
    }
}

/// The healthy fleet's figures are those before. What fails is no error of the test: [`Figures::served`] tells it.
pub(super) async fn compare(
    order: &Order,
    hub: &HubAccess,
    fleet: Fleet,
    pace: Pace,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let network = Network::of(hub)?;
    let healthy = Fleet {
        dead: 0,
        slow: 0,
        ..fleet
    };
    let serving = serve(&network, healthy, order, faults).await?;
    let before = connect_at(order, pace).await;
    drop(serving);
    let _serving = serve(&network, fleet, order, faults).await?;
    console.mark(Mark::Begin).await?;
    let after = connect_at(order, pace).await;
    console.mark(Mark::End).await?;
    let (served, failed) = (after.samples.len() as f64, after.faults.count as f64);
    Ok(Figures {
        latency: Latency::of(&after.samples),
        latency_before: Latency::of(&before.samples),
        connections: after.samples.len() as u64,
        seconds: after.seconds,
        served: Some(served / (served + failed)),
        ..Figures::default()
    })
}

/// Connects the fleet and has it serve until this is dropped.
async fn serve(
    network: &Network,
    fleet: Fleet,
    order: &Order,
    faults: &mut Faults,
) -> anyhow::Result<JoinSet<()>> {
    let mut serving = JoinSet::new();
    let devices = network.connect_all(0, fleet.devices, faults).await?;
    for (number, device) in devices.into_iter().enumerate() {
        let behaviour = fleet.behaviour(number);
        let dice = Dice::of(number);
        serving.spawn_local(conduct(device, behaviour, dice, order.destination));
    }
    Ok(serving)
}

async fn conduct(mut device: Device, behaviour: Behaviour, mut dice: Dice, to: SocketAddr) {
    match behaviour {
        Behaviour::Vanished => {
            device.halt();
            std::future::pending().await
        }
        Behaviour::Stuck => take_without_answer(&mut device.events).await,
        Behaviour::Healthy | Behaviour::Slow => {
            let distance_ms = NEAREST_MS + FURTHER_MS * dice.throw();
            let slowness = if behaviour == Behaviour::Slow {
                SLOWNESS
            } else {
                1.0
            };
            let mut dials = JoinSet::new();
            while let Some(event) = device.events.next().await {
                let Event::Incoming(incoming) = event else {
                    continue;
                };
                let took = (distance_ms + dice.destination_ms()) * slowness;
                dials.spawn_local(dial(incoming, Duration::from_secs_f64(took / 1_000.0), to));
                while dials.try_join_next().is_some() {}
            }
        }
    }
}

async fn take_without_answer(events: &mut Events) {
    while let Some(event) = events.next().await {
        if let Event::Incoming(mut incoming) = event {
            spawn_local(async move { std::future::poll_fn(|cx| incoming.poll_cancelled(cx)).await });
        }
    }
}

/// Takes as long as a device there would, and then carries the bytes.
async fn dial(mut incoming: Incoming, took: Duration, to: SocketAddr) {
    {
        let mut cancelled = pin!(std::future::poll_fn(|cx| incoming.poll_cancelled(cx)));
        tokio::select! {
            () = &mut cancelled => return,
            () = sleep(took) => {}
        }
    }
    let Ok(mut socket) = TcpStream::connect(to).await else {
        return;
    };
    if let Some(mut stream) = incoming.accept(took) {
        // Either end may break it: the load sees what that did.
        let _ = copy_bidirectional(&mut stream, &mut socket).await;
    }
}

/// The same luck in every run: the generator of Numerical Recipes (64-bit LCG), its high half.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(number: usize) -> Self {
        let mut dice = Self(number as u64 + 1);
        dice.throw();
        dice
    }

    /// 0 to 1.
    pub(super) fn throw(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as f64 / f64::from(u32::MAX)
    }

    /// A dial's time behind the device, with the long tail that destinations have: 20 to 40 ms for half of them, 130 ms for one
    /// in ten, 480 ms for one in a hundred.
    fn destination_ms(&mut self) -> f64 {
        (DESTINATION_MS / (1.0 - self.throw()).max(1e-9).powf(0.7)).min(SLOWEST_DESTINATION_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_hundred_a_fifth_is_dead_and_a_tenth_slow() {
        let fleet = Fleet {
            devices: 200,
            dead: 40,
            slow: 20,
        };
        let count = |wanted| {
            (0..fleet.devices)
                .filter(|n| fleet.behaviour(*n) == wanted)
                .count()
        };
        assert_eq!(
            [
                Behaviour::Vanished,
                Behaviour::Stuck,
                Behaviour::Slow,
                Behaviour::Healthy
            ]
            .map(count),
            [20, 20, 20, 140]
        );
    }

    #[test]
    fn destinations_have_a_long_tail() {
        let mut dice = Dice::of(7);
        let mut times: Vec<f64> = (0..10_000).map(|_| dice.destination_ms()).collect();
        times.sort_by(f64::total_cmp);
        assert!((25.0..45.0).contains(&times[5_000]), "{}", times[5_000]);
        assert!((350.0..650.0).contains(&times[9_900]), "{}", times[9_900]);
    }
}
