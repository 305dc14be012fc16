//! The client's half of the origin's protocol on one open stream, every byte checked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pattern;
use crate::wire::{HEADER_BYTES, Request};

/// An answer that takes longer counts as an error.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The small request is 64 bytes up, its header included, and 64 bytes down.
const SMALL_BYTES: usize = 64;
/// Payload of the answer on a new connection.
pub(crate) const FIRST_ANSWER_BYTES: usize = 1_024;

/// A seed that no other exchange of this process has.
pub(crate) fn next_seed() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// 64 bytes there, 64 bytes back.
pub(crate) async fn small(stream: &mut TcpStream) -> anyhow::Result<()> {
    let seed = next_seed();
    let up = SMALL_BYTES - HEADER_BYTES;
    let mut message = [0; SMALL_BYTES];
    message[..HEADER_BYTES].copy_from_slice(
        &Request::Exchange {
            seed,
            up: up as u64,
            down: SMALL_BYTES as u64,
        }
        .encode(),
    );
    message[HEADER_BYTES..].copy_from_slice(pattern::piece(seed, 0, up as u64));
    answered::<SMALL_BYTES>(stream, seed, &message).await
}

/// A bare header there, 1 KiB back: what a new connection does first.
pub(crate) async fn first(stream: &mut TcpStream) -> anyhow::Result<()> {
    let seed = next_seed();
    let message = Request::Exchange {
        seed,
        up: 0,
        down: FIRST_ANSWER_BYTES as u64,
    }
    .encode();
    answered::<FIRST_ANSWER_BYTES>(stream, seed, &message).await
}

async fn answered<const N: usize>(stream: &mut TcpStream, seed: u32, message: &[u8]) -> anyhow::Result<()> {
    let mut answer = [0; N];
    timeout(ANSWER_LIMIT, async {
        stream.write_all(message).await?;
        stream.read_exact(&mut answer).await
    })
    .await
    .map_err(|_| anyhow::anyhow!("no answer in {ANSWER_LIMIT:?}"))??;
    Ok(pattern::check(seed, 0, &answer)?)
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::origin;

    #[tokio::test]
    async fn origin_answers_small_first_and_large_exchanges_on_one_connection() {
        let tasks = LocalSet::new();
        let origin = origin::in_process(&tasks).await;
        tasks
            .run_until(async {
                let mut stream = TcpStream::connect(origin).await.unwrap();
                small(&mut stream).await.unwrap();
                first(&mut stream).await.unwrap();
                let seed = next_seed();
                let total = 1_000_001;
                stream
                    .write_all(
                        &Request::Exchange {
                            seed,
                            up: 3,
                            down: total as u64,
                        }
                        .encode(),
                    )
                    .await
                    .unwrap();
                stream.write_all(pattern::piece(seed, 0, 3)).await.unwrap();
                let mut answer = vec![0; total];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(pattern::check(seed, 0, &answer), Ok(()));
                small(&mut stream).await.unwrap();
            })
            .await;
    }

    #[tokio::test]
    async fn origin_ends_a_connection_whose_payload_is_wrong() {
        let tasks = LocalSet::new();
        let origin = origin::in_process(&tasks).await;
        tasks
            .run_until(async {
                for total in [16_usize, 100_000] {
                    let mut stream = TcpStream::connect(origin).await.unwrap();
                    let mut message = Request::Exchange {
                        seed: 1,
                        up: total as u64,
                        down: 1,
                    }
                    .encode()
                    .to_vec();
                    message.extend_from_slice(pattern::piece(1, 0, total as u64));
                    *message.last_mut().unwrap() ^= 1;
                    stream.write_all(&message).await.unwrap();
                    let mut answer = Vec::new();
                    // An end or a reset, but never an answer.
                    let _ = stream.read_to_end(&mut answer).await;
                    assert!(answer.is_empty());
                }
            })
            .await;
    }
}
