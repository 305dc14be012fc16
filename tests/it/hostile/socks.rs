//! SOCKS5 that had accidents, in any pieces.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};

use super::mutate::Dice;
use crate::harness::{Customer, Place, Settings, World};

/// The handshake as one piece; addresses are whole, so that no accident makes another one.
fn handshake(customer: &Customer, to: SocketAddr, dice: &mut Dice) -> Vec<u8> {
    let IpAddr::V4(ip) = to.ip() else {
        panic!("the origin has an IPv6 address")
    };
    let mut greeting = vec![5, 1, 2];
    let mut login = customer.socks5_login();
    let mut request = vec![5, 1, 0, 1];
    let address = [&ip.octets()[..], &to.port().to_be_bytes()].concat();
    for _ in 0..=dice.below(2) {
        let byte = u8::try_from(dice.below(256)).unwrap();
        match dice.below(8) {
            0 | 1 => {
                let at = dice.below(greeting.len());
                greeting[at] = byte;
            }
            2 => {
                let at = dice.below(login.len());
                login[at] = byte;
            }
            3 => login.insert(dice.below(login.len()), byte),
            4 => {
                login.remove(dice.below(login.len()));
            }
            5 | 6 => {
                let at = dice.below(request.len());
                request[at] = byte;
            }
            _ => {
                let whole = [greeting, login, request, address].concat();
                return whole[..dice.below(whole.len())].to_vec();
            }
        }
    }
    [greeting, login, request, address].concat()
}

#[test]
fn socks_that_had_accidents_is_answered_or_closed_and_harms_nobody() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let mut dice = Dice::of(super::seed());
    for _ in 0..super::size(300, 4_000) {
        let bytes = handshake(&customer, world.origin.http, &mut dice);
        let mut stream = customer.dial();
        let pieces = match dice.below(4) {
            0 => 1,
            1 => 1 + dice.below(9),
            _ => bytes.len().max(1),
        };
        for piece in bytes.chunks(pieces) {
            // It may have been refused by then.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end after {bytes:?}"),
            _ => {}
        }
        // A method or none; then a login's answer; then a reply: nothing else is ever said, unless it was taken for SOCKS4, HTTP or TLS.
        let is_answer = matches!(
            &answer[..],
            [] | [5, 0 | 2 | 255]
                | [5, 2, 1, _]
                | [5, 2, 1, 0, 5, 0..=8, 0, ..]
                | [b'H', b'T', b'T', b'P', ..]
                | [0, 91, ..]
                | [21, 3, _, 0, 2, _, _]
        );
        assert!(is_answer, "{answer:?} after {bytes:?}");
    }
    assert!(customer.socks5(world.origin.http).is_ok());
    super::assert_unharmed(&world);
}
