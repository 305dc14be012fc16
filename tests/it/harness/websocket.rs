//! The origin's side of a WebSocket (RFC 6455): answers each text with who came and what was said.

use std::io::{self, BufReader, Read, Write};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::json;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Accepts the handshake with this key and serves until either side has enough.
pub(super) fn serve(stream: &mut BufReader<impl Read + Write>, key: &str, from: IpAddr) -> io::Result<()> {
    let whole = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, whole.as_bytes()));
    let out = stream.get_mut();
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    out.flush()?;
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        // What a test says is short; a client masks.
        let length = usize::from(head[1] & 0x7f);
        let mut mask = [0; 4];
        stream.read_exact(&mut mask)?;
        let mut said = vec![0; length];
        stream.read_exact(&mut said)?;
        for (at, byte) in said.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        match head[0] {
            TEXT => {
                let answer = json!({ "ip": from, "said": String::from_utf8_lossy(&said) }).to_string();
                let length = u8::try_from(answer.len()).map_err(io::Error::other)?;
                let out = stream.get_mut();
                out.write_all(&[TEXT, length])?;
                out.write_all(answer.as_bytes())?;
                out.flush()?;
            }
            CLOSE => {
                stream.get_mut().write_all(&[CLOSE, 0])?;
                return stream.get_mut().flush();
            }
            _ => return Ok(()),
        }
    }
}
