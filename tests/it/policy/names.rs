//! A name server on the home network that says whatever an attacker likes (RFC 1035).

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::namespace::Namespace;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What a name leads to.
#[derive(Clone, Debug)]
pub(super) enum Answers {
    /// All of these, of either family.
    All(Vec<IpAddr>),
    /// Another one each time it is asked for.
    Turns(Vec<IpAddr>),
    /// Another name, with its address in the same answer.
    Alias(&'static str, IpAddr),
}

/// Who asked for which name.
type Asked = Arc<Mutex<Vec<(IpAddr, String)>>>;

/// The running server.
pub(super) struct Names {
    asked: Asked,
    stop: Arc<AtomicBool>,
}

impl Names {
    pub(super) fn start(
        namespace: &Namespace,
        address: &'static str,
        zone: HashMap<&'static str, Answers>,
    ) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Asked::default());
        let (ends, notes) = (Arc::clone(&stop), Arc::clone(&asked));
        namespace.run(move || {
            let socket = UdpSocket::bind((address, 53)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            std::thread::spawn(move || serve(&socket, &zone, &notes, &ends));
        });
        Self { asked, stop }
    }

    /// Who asked for this name, once for each question.
    pub(super) fn asked_for(&self, name: &str) -> Vec<IpAddr> {
        let asked = self.asked.lock().unwrap();
        let of_name = asked.iter().filter(|(_, there)| there == name);
        of_name.map(|(who, _)| *who).collect()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn serve(
    socket: &UdpSocket,
    zone: &HashMap<&'static str, Answers>,
    notes: &Mutex<Vec<(IpAddr, String)>>,
    stop: &AtomicBool,
) {
    let mut asked = HashMap::<(String, u16), usize>::new();
    let mut query = [0; 1500];
    while !stop.load(Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut query) else {
            continue;
        };
        if let Some((name, _)) = read_name(&query[..length], 12) {
            notes.lock().unwrap().push((from.ip(), name));
        }
        if let Some(answer) = answer(&query[..length], zone, &mut asked) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(
    query: &[u8],
    zone: &HashMap<&'static str, Answers>,
    asked: &mut HashMap<(String, u16), usize>,
) -> Option<Vec<u8>> {
    let (name, end) = read_name(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let count = asked.entry((name.clone(), kind)).or_default();
    *count += 1;
    let known = zone.get(name.as_str());
    let of_kind = |ip: &&IpAddr| {
        if kind == A {
            ip.is_ipv4()
        } else {
            kind == AAAA && ip.is_ipv6()
        }
    };
    let mut records = Vec::new();
    match known {
        Some(Answers::All(ips)) => {
            records.extend(ips.iter().filter(of_kind).map(|ip| address_record(None, *ip)))
        }
        Some(Answers::Turns(ips)) => {
            let ips: Vec<&IpAddr> = ips.iter().filter(of_kind).collect();
            if !ips.is_empty() {
                records.push(address_record(None, *ips[(*count - 1) % ips.len()]));
            }
        }
        Some(Answers::Alias(other, ip)) => {
            let other = write_name(other);
            records.push(record(None, CNAME, &other));
            if of_kind(&ip) {
                records.push(address_record(Some(&other), *ip));
            }
        }
        None => {}
    }
    let code = if known.is_some() { 0 } else { 3 };
    let mut out = query.get(..2)?.to_vec();
    // A response that is authoritative, recursion desired and available.
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(query.get(12..end + 4)?);
    out.extend(records.concat());
    Some(out)
}

fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

fn write_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// Of the name asked for where none is given.
fn record(name: Option<&[u8]>, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut out = name.unwrap_or(&[0xc0, 12]).to_vec();
    out.extend(kind.to_be_bytes());
    // Class IN, not to be kept.
    out.extend([0, 1, 0, 0, 0, 0]);
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend(data);
    out
}

fn address_record(name: Option<&[u8]>, ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => record(name, A, &ip.octets()),
        IpAddr::V6(ip) => record(name, AAAA, &ip.octets()),
    }
}
