//! A customer that speaks each protocol by hand, so that a test sees every byte.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{PATIENCE, Response, read_head, read_response};

/// A proxy and a login.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) proxy: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A tunnel whose answer was good.
pub(crate) struct Tunnel {
    pub(crate) stream: TcpStream,
    /// Of CONNECT; empty after SOCKS5.
    pub(crate) answer: Response,
}

impl Customer {
    /// The same customer with targeting behind the key: `-country-US`.
    pub(crate) fn with(&self, targeting: &str) -> Self {
        Self {
            password: format!("{}{targeting}", self.password),
            ..self.clone()
        }
    }

    /// A connection to the proxy on which nothing was said.
    pub(crate) fn dial(&self) -> TcpStream {
        self.try_dial().unwrap()
    }

    /// As [`Customer::dial`], but nobody may be there.
    pub(crate) fn try_dial(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.proxy)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The field that carries the login, with its line end.
    pub(crate) fn login(&self) -> String {
        let login = BASE64.encode(format!("{}:{}", self.user, self.password));
        format!("Proxy-Authorization: Basic {login}\r\n")
    }

    /// A plain request on a connection of its own.
    pub(crate) fn get(&self, url: &str) -> Response {
        self.try_get(url).unwrap()
    }

    /// As [`Customer::get`], but the connection may break.
    pub(crate) fn try_get(&self, url: &str) -> std::io::Result<Response> {
        let host = url.split('/').nth(2).unwrap_or_default();
        let mut stream = self.dial();
        write!(
            stream,
            "GET {url} HTTP/1.1\r\nHost: {host}\r\n{}Connection: close\r\n\r\n",
            self.login()
        )?;
        read_response(&mut stream, false)
    }

    /// Sends bytes as they are and reads to the end.
    pub(crate) fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.dial();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer ends it as well.
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// CONNECT; the answer where it is not good.
    pub(crate) fn connect(&self, to: impl std::fmt::Display) -> Result<Tunnel, Response> {
        let mut stream = self.dial();
        write!(
            stream,
            "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n",
            self.login()
        )
        .unwrap();
        let answer = Response::of_head(read_head(&mut stream).unwrap());
        if answer.status == 200 {
            return Ok(Tunnel { stream, answer });
        }
        let length = answer.field("Content-Length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        Err(Response { body, ..answer })
    }

    /// SOCKS5 with a login, by address; the reply code where it is not good.
    pub(crate) fn socks5(&self, to: SocketAddr) -> Result<Tunnel, u8> {
        let mut stream = self.dial();
        match self.try_socks5(&mut stream, to).unwrap() {
            0 => Ok(Tunnel::of_socks5(stream)),
            code => Err(code),
        }
    }

    /// SOCKS5 with a login, by name.
    pub(crate) fn socks5_name(&self, name: &str, port: u16) -> Result<Tunnel, u8> {
        let length = u8::try_from(name.len()).unwrap();
        let address = [&[3, length][..], name.as_bytes()].concat();
        let mut stream = self.dial();
        match self.speak_socks5(&mut stream, &address, port).unwrap() {
            0 => Ok(Tunnel::of_socks5(stream)),
            code => Err(code),
        }
    }

    /// SOCKS5 with a login, by address, on a connection that may break: the reply code.
    pub(crate) fn try_socks5(&self, stream: &mut TcpStream, to: SocketAddr) -> std::io::Result<u8> {
        let address = match to.ip() {
            IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
            IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
        };
        self.speak_socks5(stream, &address, to.port())
    }

    fn speak_socks5(&self, stream: &mut TcpStream, address: &[u8], port: u16) -> std::io::Result<u8> {
        stream.write_all(&[5, 1, 2])?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, [5, 2]);
        stream.write_all(&self.socks5_login())?;
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, [1, 0], "the login was refused");
        let request = [&[5, 1, 0][..], address, &port.to_be_bytes()].concat();
        stream.write_all(&request)?;
        read_reply(stream)
    }

    /// SOCKS5 UDP ASSOCIATE, if datagrams are open: the connection that keeps the association, and where datagrams go.
    pub(crate) fn associate(&self) -> Option<(TcpStream, SocketAddr)> {
        let mut stream = self.dial();
        let request = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
        let said = [&[5, 1, 2][..], &self.socks5_login(), &request].concat();
        stream.write_all(&said).unwrap();
        let mut heard = [0; 14];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..4], [5, 2, 1, 0]);
        if heard[5] != 0 {
            return None;
        }
        let ip = Ipv4Addr::new(heard[8], heard[9], heard[10], heard[11]);
        let port = u16::from_be_bytes([heard[12], heard[13]]);
        Some((stream, SocketAddr::new(ip.into(), port)))
    }

    /// The message of RFC 1929.
    pub(crate) fn socks5_login(&self) -> Vec<u8> {
        let (user, password) = (self.user.as_bytes(), self.password.as_bytes());
        let length = |field: &[u8]| vec![u8::try_from(field.len()).unwrap()];
        [
            vec![1],
            length(user),
            user.to_vec(),
            length(password),
            password.to_vec(),
        ]
        .concat()
    }
}

impl Tunnel {
    fn of_socks5(stream: TcpStream) -> Self {
        Self {
            stream,
            answer: Response::of_head(String::new()),
        }
    }

    /// A plain request to the destination itself.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask(path);
        read_response(&mut self.stream, false).unwrap()
    }

    /// Sends the request and reads nothing; its bytes.
    pub(crate) fn ask(&mut self, path: &str) -> u64 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        request.len() as u64
    }
}

/// A SOCKS5 reply with its bound address (RFC 1928 section 6): its code.
pub(crate) fn read_reply(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut reply = [0; 4];
    stream.read_exact(&mut reply)?;
    assert_eq!((reply[0], reply[2]), (5, 0), "{reply:?}");
    let mut bound = vec![0; if reply[3] == 4 { 18 } else { 6 }];
    stream.read_exact(&mut bound)?;
    Ok(reply[1])
}
