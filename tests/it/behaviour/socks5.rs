//! SOCKS5 as it may arrive: byte by byte, with the longest fields, with methods and commands that nobody knows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{Customer, Place, Settings, Tunnel, World, read_reply};

const OFFER_PASSWORD: [u8; 3] = [5, 1, 2];

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset behind the answer ends it too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// A connection whose login was accepted.
fn logged_in(customer: &Customer) -> TcpStream {
    let mut stream = customer.dial();
    stream.write_all(&OFFER_PASSWORD).unwrap();
    assert_eq!(read(&mut stream), [5, 2]);
    stream.write_all(&customer.socks5_login()).unwrap();
    assert_eq!(read(&mut stream), [1, 0]);
    stream
}

#[test]
fn handshakes_arrive_byte_by_byte_or_all_at_once() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer().with("-country-DE");
    let std::net::SocketAddr::V4(to) = world.origin.http else {
        panic!("the origin has an IPv6 address")
    };
    let request = [&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat();
    let methods: Vec<u8> = [5, 255].into_iter().chain(1..=255).collect();
    let whole = [&methods[..], &customer.socks5_login(), &request].concat();
    for bytewise in [true, false] {
        let mut stream = customer.dial();
        let pieces = if bytewise { 1 } else { whole.len() };
        for piece in whole.chunks(pieces) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(read(&mut stream), [5, 2]);
        assert_eq!(read(&mut stream), [1, 0]);
        assert_eq!(read_reply(&mut stream).unwrap(), 0);
        let answer = String::new();
        let mut tunnel = Tunnel {
            stream,
            answer: crate::harness::Response::of_head(answer),
        };
        assert_eq!(tunnel.get("/echo").json()["ip"], Place::BERLIN.address);
    }
}

#[test]
fn fields_may_have_255_bytes() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let good = world.customer();
    // Both fields full: filler is allowed where the key stands in the user name, and a session name fills that.
    let user = format!("{}-session-{}", good.password, "s".repeat(64));
    let full = Customer {
        user,
        password: "x".repeat(255),
        ..good.clone()
    };
    let mut tunnel = full.socks5(world.origin.http).ok().unwrap();
    assert_eq!(tunnel.get("/echo").json()["ip"], Place::BERLIN.address);

    for (user, password) in [
        ("u".repeat(255), "p".repeat(255)),
        ("iploop".to_owned(), "p".repeat(255)),
        (String::new(), String::new()),
        ("u".repeat(255), good.password.clone()),
    ] {
        let wrong = Customer {
            user,
            password,
            ..good.clone()
        };
        let mut stream = wrong.dial();
        stream.write_all(&OFFER_PASSWORD).unwrap();
        assert_eq!(read(&mut stream), [5, 2]);
        stream.write_all(&wrong.socks5_login()).unwrap();
        let refused: [u8; 2] = read(&mut stream);
        assert!(refused[0] == 1 && refused[1] != 0, "{refused:?}");
        assert_eq!(rest(stream), b"", "and then it ends");
    }
    let mut stream = logged_in(&good);
    let name = [b"a".repeat(63), b"b".repeat(63), b"c".repeat(63), b"d".repeat(63)].join(&b'.');
    assert_eq!(name.len(), 255);
    stream
        .write_all(&[&[5, 1, 0, 3, 255][..], &name, &[0, 80]].concat())
        .unwrap();
    assert_eq!(
        read_reply(&mut stream).unwrap(),
        1,
        "longer than any name (RFC 1035)"
    );
}

#[test]
fn every_request_that_is_not_followed_gets_its_reply_code() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let name = |name: &[u8]| [&[3, u8::try_from(name.len()).unwrap()][..], name].concat();
    let v4 = |octets: [u8; 4]| [&[1][..], &octets].concat();
    for (what, command, address, port, reply) in [
        ("BIND", 2, v4([93, 184, 216, 34]), 80, 7),
        ("UDP ASSOCIATE", 3, v4([0, 0, 0, 0]), 0, 7),
        ("no command", 0, v4([93, 184, 216, 34]), 80, 7),
        ("unknown command", 0x83, v4([93, 184, 216, 34]), 80, 7),
        ("unknown address type", 1, vec![2, 0, 0, 0, 0], 80, 8),
        ("a private address", 1, v4([192, 168, 1, 1]), 80, 2),
        ("loopback", 1, v4([127, 0, 0, 1]), 80, 2),
        ("a private address as a name", 1, name(b"192.168.1.1"), 80, 2),
        ("an old form of loopback", 1, name(b"127.1"), 80, 1),
        ("a number", 1, name(b"2130706433"), 80, 1),
        ("hexadecimal", 1, name(b"0x7f000001"), 80, 1),
        ("octal", 1, name(b"0177.0.0.1"), 80, 1),
        ("an address with a dot behind it", 1, name(b"127.0.0.1."), 80, 1),
        ("an address with a port", 1, name(b"127.0.0.1:80"), 80, 1),
        ("an address with spaces", 1, name(b" 127.0.0.1 "), 80, 1),
        ("an address with zero bytes", 1, name(b"127.0.0.1\0\0"), 80, 1),
        (
            "an address in wide letters",
            1,
            name("127。0。0。1".as_bytes()),
            80,
            1,
        ),
        ("an address behind a user", 1, name(b"user@10.0.0.1"), 80, 1),
        ("IPv6 as a name", 1, name(b"::1"), 80, 2),
        ("IPv6 in brackets", 1, name(b"[::1]"), 80, 2),
        ("IPv4 in IPv6 as a name", 1, name(b"::ffff:10.0.0.1"), 80, 2),
        ("NAT64 as a name", 1, name(b"64:ff9b::7f00:1"), 80, 2),
        ("6to4 as a name", 1, name(b"2002:7f00:1::"), 80, 2),
        ("a zone", 1, name(b"fe80::1%eth0"), 80, 1),
        ("a zone in brackets", 1, name(b"[fe80::1%25eth0]"), 80, 1),
        ("bytes that are no text", 1, name(b"\xff\xfe"), 80, 1),
        ("an asterisk", 1, name(b"*.example"), 80, 1),
        ("an empty name", 1, name(b""), 80, 1),
        ("a name with a line break", 1, name(b"a\r\nb.example"), 80, 1),
        ("a name with a zero byte", 1, name(b"a.example\0.b"), 80, 1),
        ("a local name", 1, name(b"printer.local"), 80, 2),
        ("a name of one label", 1, name(b"router"), 80, 2),
        ("a mail port", 1, v4([93, 184, 216, 34]), 25, 2),
        ("port 0", 1, v4([93, 184, 216, 34]), 0, 2),
    ] {
        let mut stream = logged_in(&customer);
        let port = u16::to_be_bytes(port);
        stream
            .write_all(&[&[5, command, 0][..], &address, &port].concat())
            .unwrap();
        assert_eq!(read_reply(&mut stream).unwrap(), reply, "{what}");
        assert_eq!(rest(stream), b"", "{what}: and then it ends");
    }
    assert_eq!(world.origin.visits().len(), 0);
}

#[test]
fn greetings_that_offer_nothing_fitting_are_told_so() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    for (greeting, answer) in [
        (&[5, 1, 0][..], &[5, 0xff][..]),
        (&[5, 0], &[5, 0xff]),
        (&[5, 3, 0, 1, 0x80], &[5, 0xff]),
        // SOCKS4: its own refusal.
        (&[4, 1, 0, 80, 93, 184, 216, 34, 0], &[0, 0x5b, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut stream = customer.dial();
        stream.write_all(greeting).unwrap();
        assert_eq!(rest(stream), answer, "{greeting:?}");
    }
}
