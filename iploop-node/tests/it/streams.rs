//! What becomes of a customer's stream.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{OpenError, OpenRequest, Stream};
use iploop_protocol::tunnel::StreamError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{FakeHub, PATIENCE, World, destination, echo, exchange, nobody};

#[tokio::test]
async fn bytes_pass_both_ways_with_early_data_first_and_half_closes_kept() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let node = world.start(hub.config(&[echo])).await;
    let device = hub.register().await;
    let mut stream = device.open_for(1, &echo.to_string(), b"early ").await.unwrap();
    let late = vec![7; 300_000];
    let answer = exchange(&mut stream, &late).await.unwrap();
    assert_eq!(answer.len(), 6 + late.len());
    assert!(answer.starts_with(b"early \x07"));
    let status = node.status();
    assert_eq!(status.streams_served, 1);
    assert_eq!(status.bytes_today, 2 * (6 + 300_000));
}

#[tokio::test]
async fn the_destinations_end_arrives_while_the_customer_still_sends() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let (listener, address) = destination().await;
    let _node = world.start(hub.config(&[address])).await;
    let device = hub.register().await;
    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"bye").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"bye");
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"still here");
}

#[tokio::test]
async fn resets_pass_both_ways() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let (listener, address) = destination().await;
    let node = world.start(hub.config(&[address])).await;
    let device = hub.register().await;

    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.set_zero_linger().unwrap();
    drop(socket);
    let error = stream.read_chunk().await.unwrap_err();
    assert!(
        matches!(
            &error,
            StreamError::Reset {
                code: ResetCode::ConnectionReset,
                ..
            }
        ),
        "{error:?}"
    );

    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    stream.write_all(b"half a request").await.unwrap();
    let mut heard = [0; 14];
    socket.read_exact(&mut heard).await.unwrap();
    drop(stream);
    let error = socket.read(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // A customer that has said all and wants to hear no more breaks nothing.
    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    stream.write_all(b"a whole request").await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    while node.status().open_streams > 0 {
        tokio::task::yield_now().await;
    }
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"a whole request");
}

#[tokio::test]
async fn what_a_destination_said_before_it_broke_off_arrives() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let (listener, address) = destination().await;
    let _node = world.start(hub.config(&[address])).await;
    let device = hub.register().await;

    // It answers and resets the connection in the same moment.
    for length in [2, 30_000] {
        let mut stream = device.open(&address.to_string()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&vec![7; length]).await.unwrap();
        socket.set_zero_linger().unwrap();
        drop(socket);
        assert_eq!(heard_before_the_reset(&mut stream).await, length);
    }

    // It refuses an upload in the middle, and hangs up on what it does not read.
    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let upload = Bytes::from(vec![7; 64 * 1024]);
    stream.write_chunk(upload.clone()).await.unwrap();
    socket.read_exact(&mut [0; 1000]).await.unwrap();
    socket.write_all(b"too large").await.unwrap();
    drop(socket);
    // Until the device has noticed.
    while stream.write_chunk(upload.clone()).await.is_ok() {}
    assert_eq!(heard_before_the_reset(&mut stream).await, 9);
}

async fn heard_before_the_reset(stream: &mut Stream) -> usize {
    let mut heard = 0;
    loop {
        match stream.read_chunk().await {
            Ok(data) => heard += data.expect("a break is not an end").len(),
            Err(StreamError::Reset { code, .. }) => {
                assert_eq!(code, ResetCode::ConnectionReset);
                return heard;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn failures_have_their_codes_and_say_no_more() {
    let (world, hub, nobody) = (World::new(), FakeHub::bind().await, nobody().await);
    let node = world.start(hub.config(&[nobody])).await;
    let device = hub.register().await;
    let refused = |code| (code, String::new());
    assert_eq!(
        device.refusal(&nobody.to_string()).await,
        refused(ResetCode::Refused)
    );
    assert_eq!(
        device.refusal("nowhere.example:80").await,
        refused(ResetCode::DnsFailed)
    );
    let udp = OpenRequest {
        kind: StreamKind::Udp,
        destination: nobody.into(),
        customer: 1,
        early: Bytes::new(),
        timeout: PATIENCE,
    };
    let Err(OpenError::Refused { code, .. }) = device.tunnel.open(udp).await else {
        panic!("UDP was accepted");
    };
    assert_eq!(code, ResetCode::Unsupported);
    let refused = node.status().streams_refused;
    assert_eq!(refused.get("refused"), Some(&1));
    assert_eq!(refused.get("dns_failed"), Some(&1));
    assert_eq!(node.status().open_streams, 0);
}

#[tokio::test]
async fn who_gives_up_ends_the_work_for_it() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    world.name("slow.example", &[]);
    let node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    {
        let open = device.open("slow.example:80");
        tokio::pin!(open);
        // Until the device asks its resolver.
        while world.names.asked.load(Ordering::SeqCst) == 0 {
            tokio::select! {
                _ = &mut open => panic!("it was answered"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    while world.names.given_up.load(Ordering::SeqCst) == 0 || node.status().open_streams > 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        node.status().streams_refused.is_empty(),
        "nobody was there to refuse"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_answered_ends_with_opens_own_time() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    world.name("slow.example", &[]);
    let _node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    let begin = tokio::time::Instant::now();
    assert_eq!(device.refusal("slow.example:80").await.0, ResetCode::DnsFailed);
    assert_eq!(begin.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test]
async fn each_customer_has_limits_of_its_own() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let _node = world.start(hub.config(&[echo])).await;
    let device = hub.accept().await;
    device.welcome(Some(
        serde_json::json!({ "format": 1, "version": 1, "limits": { "openStreams": 2 } }),
    ));
    let to = echo.to_string();
    let mut first = device.open_for(1, &to, b"").await.unwrap();
    let _second = device.open_for(1, &to, b"").await.unwrap();
    let third = device.open_for(1, &to, b"").await.unwrap_err();
    let limited = OpenError::Refused {
        code: ResetCode::Limited,
        detail: "open_streams".into(),
    };
    assert_eq!(third, limited);
    assert!(device.open_for(2, &to, b"").await.is_ok());
    exchange(&mut first, b"x").await.unwrap();
    drop(first);
    // The place is free once the device has seen the end, which it was told before the next stream.
    let mut retried = device.open_for(1, &to, b"").await;
    while retried.as_ref().is_err_and(|error| *error == limited) {
        tokio::task::yield_now().await;
        retried = device.open_for(1, &to, b"").await;
    }
    assert!(retried.is_ok());
}
