//! Many customers who ask one request after the other, and what came of each.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Customer, PATIENCE, Response, read_head, read_response};

/// From the start of one request to that of the next, where the first took less: many customers, not a race for the processor.
const PACE: Duration = Duration::from_millis(50);

/// How a customer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Connect,
    Socks5,
}

impl Way {
    const ALL: [Self; 3] = [Self::Plain, Self::Connect, Self::Socks5];
}

/// What a request came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The destination's answer, whole.
    Served(Response),
    /// The gateway's, by HTTP.
    Refused(Response),
    /// The gateway's, by SOCKS5.
    Reply(u8),
    /// No connection could be made.
    NoConnection(io::Error),
    /// The connection ended before the answer did.
    Broken(io::Error),
}

/// One request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) way: Way,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

impl Asked {
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.outcome, Outcome::Served(_))
    }

    /// When the outcome was known.
    pub(crate) fn ended(&self) -> Instant {
        self.began + self.took
    }
}

/// Customers at work; they stop with this value at the latest.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    customers: Vec<JoinHandle<Vec<Asked>>>,
}

impl Load {
    /// So many customers, a third each by plain HTTP, CONNECT and SOCKS5, every request on a connection of its own for
    /// `path` at `to`. A customer goes on until `enough` says so of what it heard, or it is told to stop.
    pub(crate) fn start(
        customer: &Customer,
        count: usize,
        to: SocketAddr,
        path: &str,
        enough: fn(&Outcome) -> bool,
    ) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let customers = (0..count).map(|number| {
            let (customer, path) = (customer.clone(), path.to_owned());
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&asked));
            let way = Way::ALL[number % Way::ALL.len()];
            std::thread::spawn(move || {
                let mut all = Vec::new();
                while !stop.load(Relaxed) {
                    let asked = ask(&customer, way, to, &path);
                    let (next, is_enough) = (asked.began + PACE, enough(&asked.outcome));
                    all.push(asked);
                    count.fetch_add(1, Relaxed);
                    if is_enough {
                        break;
                    }
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                all
            })
        });
        Self {
            customers: customers.collect(),
            asked,
            stop,
        }
    }

    /// Requests so far, whatever came of them.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// Customers who have not had enough yet.
    pub(crate) fn working(&self) -> usize {
        self.customers.iter().filter(|one| !one.is_finished()).count()
    }

    /// Has every customer finish its request and stop; all requests, in the order in which they began.
    pub(crate) fn stop(mut self) -> Vec<Asked> {
        self.stop.store(true, Relaxed);
        let mut all: Vec<Asked> = self
            .customers
            .drain(..)
            .flat_map(|customer| customer.join().unwrap())
            .collect();
        all.sort_by_key(|asked| asked.began);
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// One request from the connection to the end of the answer.
pub(crate) fn ask(customer: &Customer, way: Way, to: SocketAddr, path: &str) -> Asked {
    let began = Instant::now();
    let outcome = match customer.try_dial() {
        Err(error) => Outcome::NoConnection(error),
        Ok(stream) => converse(stream, customer, way, to, path).unwrap_or_else(Outcome::Broken),
    };
    Asked {
        way,
        began,
        took: began.elapsed(),
        outcome,
    }
}

fn converse(
    mut stream: TcpStream,
    customer: &Customer,
    way: Way,
    to: SocketAddr,
    path: &str,
) -> io::Result<Outcome> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let login = customer.login();
    let (target, login) = match way {
        Way::Plain => (format!("http://{to}{path}"), login),
        Way::Connect => {
            write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n")?;
            let answer = Response::of_head(whole(read_head(&mut stream)?)?);
            if answer.status != 200 {
                return Ok(Outcome::Refused(answer));
            }
            (path.to_owned(), String::new())
        }
        Way::Socks5 => {
            let code = customer.try_socks5(&mut stream, to)?;
            if code != 0 {
                return Ok(Outcome::Reply(code));
            }
            (path.to_owned(), String::new())
        }
    };
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {to}\r\n{login}Connection: close\r\n\r\n"
    )?;
    let answer = read_response(&mut stream, false)?;
    whole(answer.head.clone())?;
    Ok(match answer.field("X-IPLoop-Error") {
        Some(_) => Outcome::Refused(answer),
        None => Outcome::Served(answer),
    })
}

/// A head that is there, to its end.
fn whole(head: String) -> io::Result<String> {
    match head.ends_with("\r\n\r\n") {
        true => Ok(head),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
