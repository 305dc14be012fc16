//! Answers of HTTP/1.1, read from any stream without taking a byte more than theirs.

use std::io::Read;

use serde_json::Value;

/// Longest head that is read.
const MAX_HEAD: usize = 256 * 1024;

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and fields.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Takes a head apart.
    pub(crate) fn of_head(head: String) -> Self {
        let status = head.split(' ').nth(1).and_then(|text| text.get(..3));
        Self {
            status: status.and_then(|text| text.parse().ok()).unwrap_or(0),
            head,
            body: Vec::new(),
        }
    }

    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (there, value) = line.split_once(':')?;
            there.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The code of an error of ours.
    pub(crate) fn code(&self) -> &str {
        self.field("X-IPLoop-Error").unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.head, self.text()))
    }
}

/// Up to and with the empty line; empty if the stream ended before its first byte.
pub(crate) fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert!(head.len() < MAX_HEAD, "the head has no end");
        if stream.read(&mut byte)? == 0 {
            break;
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A whole answer; `is_head`: to a HEAD request.
pub(crate) fn read_response(stream: &mut impl Read, is_head: bool) -> std::io::Result<Response> {
    let mut response = Response::of_head(read_head(stream)?);
    if is_head || response.status == 204 || response.status == 304 {
        return Ok(response);
    }
    if response.field("Transfer-Encoding").is_some() {
        response.body = read_chunks(stream)?;
    } else if let Some(length) = response.field("Content-Length") {
        let length = length.parse().map_err(std::io::Error::other)?;
        response.body = vec![0; length];
        stream.read_exact(&mut response.body)?;
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

/// A chunked body with its trailer.
pub(crate) fn read_chunks(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        // The line end behind the data; after the last chunk the trailer, up to its empty line.
        while !read_line(stream)?.is_empty() {}
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(stream: &mut impl Read) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}
