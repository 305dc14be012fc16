//! Requests that were good, and then had accidents. The same seed makes the same ones.
//!
//! Addresses are marks of one byte until a request is sent: an accident can lose, double or displace one, and never makes
//! another address of it. So nothing but loopback is ever dialled.

/// Stands for the origin by HTTP.
pub(super) const ORIGIN: u8 = 0x1e;
/// Stands for an address to CONNECT to.
pub(super) const ELSEWHERE: u8 = 0x1f;
/// Stands for the field with the login, and its line end.
pub(super) const LOGIN: u8 = 0x1d;

/// What a smuggled request asks for.
pub(super) const SMUGGLED: &str = "/smuggled";

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Less than `bound`; 0 if there is nothing to choose.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap().max(1);
        usize::try_from(self.next() % bound).unwrap()
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Good requests.
fn templates() -> Vec<Vec<u8>> {
    [
        "CONNECT ELSEWHERE HTTP/1.1\r\nHost: ELSEWHERE\r\nLOGIN\r\n",
        "CONNECT ELSEWHERE HTTP/1.1\r\nHost: ELSEWHERE\r\nLOGINUser-Agent: x\r\nProxy-Connection: keep-alive\r\n\r\nearly bytes",
        "GET http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINConnection: close\r\n\r\n",
        "GET http://ORIGIN/echo?a=b&c=%41 HTTP/1.1\r\nHost: ORIGIN\r\nLOGINAccept: */*\r\nCookie: a=b; c=d\r\nX-Kept: y\r\n\r\n",
        "HEAD http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGIN\r\n",
        "GET http://ORIGIN/echo HTTP/1.0\r\nLOGIN\r\n",
        "POST http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
        "PUT http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: z\r\n\r\n",
        "POST http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        "POST http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "DELETE http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINConnection: X-Hop\r\nX-Hop: 1\r\n\r\n",
        "OPTIONS http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINMax-Forwards: 0\r\n\r\n",
        "GET http://ORIGIN/echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGINUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: ORIGIN\r\nLOGIN\r\n",
    ]
    .iter()
    .map(|text| marked(text))
    .collect()
}

fn marked(text: &str) -> Vec<u8> {
    let mark = |byte: u8| char::from(byte).to_string();
    text.replace("ORIGIN", &mark(ORIGIN))
        .replace("ELSEWHERE", &mark(ELSEWHERE))
        .replace("LOGIN", &mark(LOGIN))
        .into_bytes()
}

const LINES: &[&str] = &[
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding:\x0bchunked",
    "transfer-encoding: CHUNKED",
    "Transfer_Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 00005",
    "Content-Length: 99999999999999999999",
    "Content-Length: -1",
    "Content-Length:\t11",
    "Host: ORIGIN",
    "Host: 10.0.0.1",
    "Host:",
    "Host: ORIGIN, ORIGIN",
    "Connection: close, Host",
    "Connection: Transfer-Encoding",
    "Connection: Content-Length",
    "Proxy-Authorization: Basic AAAA",
    "Proxy-Authorization: Bearer",
    "LOGINX: y",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "Trailer: Content-Length",
    "X-IPLoop-Rotate: 1",
    "X-Forwarded-For: 127.0.0.1",
    ": no name",
    "no colon",
    "(comment): x",
    " folded: first",
    "X\u{e9}: y",
    "X: \u{1}",
    "",
];

const METHODS: &[&str] = &[
    "get",
    "GETT",
    "G\0T",
    "TRACE",
    "PRI",
    "CONNECT",
    "POST",
    "QUERY",
    "PROPFIND",
    "",
    " GET",
    "GET\t",
    "!#$%&'*+-.^_`|~",
    "G(T",
];

const TARGETS: &[&str] = &[
    "*",
    "/",
    "//ORIGIN/echo",
    "http://ORIGIN",
    "http://ORIGIN?x",
    "http://ORIGIN/%",
    "http://ORIGIN/%zz",
    "http://ORIGIN/%00",
    "http://ORIGIN/%0d%0aX:%20y",
    "http://ORIGIN/../..//echo",
    "http://ORIGIN/\u{fc}",
    "http://ORIGIN/#fragment",
    "http://ORIGIN\\echo",
    "http://user@ORIGIN/",
    "http://user:pass@ORIGIN/echo",
    "http://[::1]/",
    "http://10.0.0.1/",
    "http://localhost/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http:/ORIGIN/",
    "http:///echo",
    "HTTP://ORIGIN/echo",
    "https://ORIGIN/echo",
    "ftp://ORIGIN/echo",
    "javascript:x",
    "ELSEWHERE",
    "ELSEWHERE:1",
    ":80",
    "ORIGIN/echo",
];

const VERSIONS: &[&str] = &[
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/11",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/1.1 x",
    "HTTP/1.",
    "HTTP/1.1\t",
    "",
];

const ENDS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\x0b",
    b"\x85",
    b"",
];

const BYTES: &[u8] = b"\0\t\x0b\x0c \r\n:;,\"\\%\x7f\x80\xa0\xff\x1b";

const CHUNKS: &[&str] = &[
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "05;a=\"b\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhel",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\n folded\r\n\r\n",
    "\r\n",
];

/// A request with one to four accidents.
pub(super) fn request(dice: &mut Dice) -> Vec<u8> {
    let templates = templates();
    let mut request = templates[dice.below(templates.len())].clone();
    for _ in 0..=dice.below(4) {
        request = accident(request, &templates, dice);
    }
    request
}

fn accident(mut request: Vec<u8>, templates: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let at = dice.below(request.len());
    match dice.below(20) {
        0 | 1 => with_line(&request, &marked(dice.pick(LINES)), dice),
        2 => {
            let lines = lines_of(&request);
            let line = lines[dice.below(lines.len())].clone();
            with_line(&request, line.strip_suffix(b"\r\n").unwrap_or(&line), dice)
        }
        3 => {
            let mut lines = lines_of(&request);
            lines.remove(dice.below(lines.len()));
            lines.concat()
        }
        4 => {
            let mut lines = lines_of(&request);
            let (a, b) = (dice.below(lines.len()), dice.below(lines.len()));
            lines.swap(a, b);
            lines.concat()
        }
        5 => {
            let mut lines = lines_of(&request);
            let which = dice.below(lines.len());
            let line = &mut lines[which];
            let kept = line.strip_suffix(b"\r\n").unwrap_or(line).to_vec();
            *line = [&kept[..], dice.pick(ENDS)].concat();
            lines.concat()
        }
        6 => {
            request.insert(at, dice.pick(BYTES));
            request
        }
        7 => {
            if let Some(byte) = request.get_mut(at).filter(|byte| !is_mark(**byte)) {
                let flipped = *byte ^ (1 << dice.below(8));
                *byte = if is_mark(flipped) { b'?' } else { flipped };
            }
            request
        }
        8 => {
            request.truncate(at);
            request
        }
        9 => {
            request.drain(at..(at + dice.below(8)).min(request.len()));
            request
        }
        10 => {
            request.splice(at..at, dice.pick(ENDS).iter().copied());
            request
        }
        11 => with_word(&request, 0, dice.pick(METHODS)),
        12 | 13 => with_word(&request, 1, dice.pick(TARGETS)),
        14 => with_word(&request, 2, dice.pick(VERSIONS)),
        15 => {
            let long = 1 << (6 + dice.below(12));
            let line = match dice.below(3) {
                0 => format!("X-Long: {}", "y".repeat(long)),
                1 => "X: y\r\n".repeat(long / 64),
                _ => format!("{}: y", "x".repeat(long)),
            };
            with_line(&request, line.as_bytes(), dice)
        }
        16 => {
            let head = end_of_head(&request);
            request.truncate(head);
            request.extend(dice.pick(CHUNKS).bytes());
            request
        }
        17 => {
            let smuggled = format!("GET http://ORIGIN{SMUGGLED} HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
            request.extend(marked(&smuggled));
            request
        }
        18 => {
            let other = &templates[dice.below(templates.len())];
            let from = dice.below(other.len());
            request.truncate(at);
            request.extend(&other[from..]);
            request
        }
        _ => {
            let flip = |byte: u8| {
                if byte.is_ascii_alphabetic() {
                    byte ^ 0x20
                } else {
                    byte
                }
            };
            let to = (at + 24).min(request.len());
            request[at.min(to)..to]
                .iter_mut()
                .for_each(|byte| *byte = flip(*byte));
            request
        }
    }
}

/// Whether what was smuggled may have become an honest request by accident.
pub(super) fn has_login_behind_smuggled(request: &[u8]) -> bool {
    let smuggled = SMUGGLED.as_bytes();
    let at = request.windows(smuggled.len()).position(|part| part == smuggled);
    at.is_some_and(|at| request[at..].contains(&LOGIN))
}

fn is_mark(byte: u8) -> bool {
    [ORIGIN, ELSEWHERE, LOGIN].contains(&byte)
}

/// Each with its line end; there is always one.
fn lines_of(request: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = request
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        lines.push(Vec::new());
    }
    lines
}

fn with_line(request: &[u8], line: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut lines = lines_of(request);
    let at = dice.below(lines.len());
    lines.insert(at, [line, b"\r\n"].concat());
    lines.concat()
}

/// The first line with another word in this place.
fn with_word(request: &[u8], place: usize, word: &str) -> Vec<u8> {
    let end = request
        .iter()
        .position(|byte| *byte == b'\r')
        .unwrap_or(request.len());
    let mut words: Vec<Vec<u8>> = request[..end]
        .split(|byte| *byte == b' ')
        .map(<[u8]>::to_vec)
        .collect();
    if let Some(old) = words.get_mut(place) {
        *old = marked(word);
    }
    [&words.join(&b' ')[..], &request[end..]].concat()
}

fn end_of_head(request: &[u8]) -> usize {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(request.len(), |end| end + 4)
}
