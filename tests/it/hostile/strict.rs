//! A reader of HTTP/1.1 that takes nothing but what has one reading (RFC 9112, RFC 9110), for what reaches the origin.

/// The request lines of what one connection carried, in order.
///
/// # Errors
/// What has two readings, or none. A request that breaks off at its end is no error: its customer broke off.
pub(super) fn read(mut bytes: &[u8], host: &str) -> Result<Vec<String>, String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            // Of a head that breaks off, each whole line has to be sound.
            let whole = bytes.windows(2).rposition(|two| two == b"\r\n").unwrap_or(0);
            return head(&bytes[..whole], None).map(|_| requests);
        };
        let (line, framing) = head(&bytes[..end], Some(host))?;
        requests.push(line);
        bytes = &bytes[end + 4..];
        match content(bytes, framing)? {
            Some(length) => bytes = &bytes[length..],
            None => return Ok(requests),
        }
    }
    Ok(requests)
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
}

/// A head without its empty line; the host is asked for where the head is whole.
fn head(head: &[u8], host: Option<&str>) -> Result<(String, Framing), String> {
    let text: String = head.iter().copied().map(char::from).collect();
    let wrong = |what: &str| Err(format!("{what}: {text:?}"));
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let is_line = matches!(&words[..], [method, target, "HTTP/1.1"]
        if is_token(method) && (target.starts_with('/') || *target == "*") && target.bytes().all(|byte| byte.is_ascii_graphic()));
    if !is_line && !text.is_empty() {
        return wrong("a request line that is none");
    }
    let (mut hosts, mut lengths, mut codings) = (Vec::new(), Vec::new(), Vec::new());
    for field in lines {
        let Some((name, value)) = field.split_once(':') else {
            return wrong("a field without a colon");
        };
        let is_text = |letter: char| letter == '\t' || (letter >= ' ' && letter != '\u{7f}');
        if !is_token(name) || !value.chars().all(is_text) {
            return wrong("a field that is none");
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts.push(value),
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            "proxy-authorization" | "proxy-connection" => return wrong("a field of ours"),
            _ => {}
        }
    }
    if host.is_some_and(|host| hosts != [host]) {
        return wrong("a host that is not the origin, alone");
    }
    let framing = match (&lengths[..], &codings[..]) {
        ([], []) => Framing::Length(0),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => match length.parse() {
            Ok(length) => Framing::Length(length),
            Err(_) => return wrong("a length that is none"),
        },
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        _ => return wrong("two framings, or an odd one"),
    };
    Ok((line.to_owned(), framing))
}

/// The bytes of a whole content; none where it breaks off.
fn content(bytes: &[u8], framing: Framing) -> Result<Option<usize>, String> {
    match framing {
        Framing::Length(length) => Ok((length <= bytes.len()).then_some(length)),
        Framing::Chunked => {
            let mut at = 0;
            loop {
                let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
                    return Ok(None);
                };
                let size = std::str::from_utf8(&bytes[at..at + end]).unwrap_or_default();
                let size = size.split(';').next().unwrap_or_default();
                if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(format!("a chunk of {size:?} bytes"));
                }
                let size = usize::from_str_radix(size, 16).map_err(|error| error.to_string())?;
                at += end + 2;
                if size == 0 {
                    return trailer(bytes, at);
                }
                let Some(line_end) = bytes.get(at + size..at + size + 2) else {
                    return Ok(None);
                };
                if line_end != b"\r\n" {
                    return Err(format!("a chunk that goes on: {line_end:?}"));
                }
                at += size + 2;
            }
        }
    }
}

fn trailer(bytes: &[u8], mut at: usize) -> Result<Option<usize>, String> {
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line: String = bytes[at..at + end].iter().copied().map(char::from).collect();
        at += end + 2;
        match line.split_once(':') {
            _ if line.is_empty() => return Ok(Some(at)),
            Some((name, _)) if is_token(name) => {}
            _ => return Err(format!("a trailer that is none: {line:?}")),
        }
    }
}

fn is_token(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_sign)
}

#[test]
fn the_strict_reader_is_strict() {
    let good = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(
        read(good.as_bytes(), "h").unwrap(),
        ["POST /a HTTP/1.1", "GET /b HTTP/1.1"]
    );
    for cut in 0..good.len() {
        assert!(read(&good.as_bytes()[..cut], "h").is_ok(), "{cut}");
    }
    for bad in [
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nX: a\nb: c\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\n X: c\r\n\r\n",
        "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ] {
        assert!(read(bad.as_bytes(), "h").is_err(), "{bad:?}");
    }
}
