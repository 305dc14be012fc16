//! Listens to a whole namespace and notes every connection that is made there.

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::namespace::Namespace;
use crate::harness::read_head;

/// Open on every address, so that whatever leaves the device arrives somewhere and is seen.
pub(super) const PORTS: [u16; 7] = [80, 443, 8080, 8443, 22, 25, 8081];

/// Everything that was connected to in a namespace.
pub(super) struct Recorder {
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// Starts; each connection is answered with `name`.
    pub(super) fn start(namespace: &Namespace, name: &'static str) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        for port in PORTS {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            namespace.run(move || {
                // Both families: IPv4 arrives as mapped addresses.
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
                listener.set_nonblocking(true).unwrap();
                std::thread::spawn(move || record(&listener, name, &seen, &stop));
            });
        }
        Self { seen, stop }
    }

    /// The addresses that were connected to.
    pub(super) fn seen(&self) -> Vec<SocketAddr> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn record(listener: &TcpListener, name: &str, seen: &Mutex<Vec<SocketAddr>>, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        if let Ok(to) = stream.local_addr() {
            let to = SocketAddr::new(to.ip().to_canonical(), to.port());
            seen.lock().unwrap().push(to);
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
            name.len()
        );
        std::thread::spawn(move || {
            let timeout = Some(Duration::from_secs(10));
            let _ = stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(timeout));
            // Whoever asks nothing gets no answer; either way it was seen.
            if read_head(&mut stream).is_ok_and(|head| head.ends_with("\r\n\r\n")) {
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }
}
