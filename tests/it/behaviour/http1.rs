//! What HTTP/1.1 has besides requests and answers, through gateway, hub and device.

use std::io::{Read as _, Write as _};

use crate::harness::{Place, Settings, World, read_head};

#[test]
fn interim_answers_and_trailers_of_both_sides_pass() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let mut stream = customer.dial();
    let (url, host) = (world.origin.url("/hints"), world.origin.http);
    write!(
        stream,
        "PUT {url} HTTP/1.1\r\nHost: {host}\r\n{}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        customer.login()
    )
    .unwrap();
    // The origin itself says that it wants the content.
    assert_eq!(read_head(&mut stream).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"3\r\nabc\r\n0\r\nX-Up: 1\r\n\r\n").unwrap();
    assert_eq!(
        read_head(&mut stream).unwrap(),
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    );
    let head = read_head(&mut stream).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("X-IPLoop-Exit-Ip: 127.0.1.8\r\n"),
        "{head}"
    );
    let expected = b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    let mut content = vec![0; expected.len()];
    stream.read_exact(&mut content).unwrap();
    assert_eq!(content, expected);
    let received = world.origin.visits()[0].raw();
    assert!(
        received.ends_with(b"3\r\nabc\r\n0\r\nX-Up: 1\r\n\r\n"),
        "{}",
        String::from_utf8_lossy(&received)
    );
    // The connection serves another request.
    let url = world.origin.url("/bytes/2");
    write!(
        stream,
        "GET {url} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        customer.login()
    )
    .unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
}
