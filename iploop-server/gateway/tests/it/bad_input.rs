//! Hostile requests: none reaches an exit, each is told what is wrong with it.

use tokio::io::AsyncWriteExt as _;

use crate::store::KEY;
use crate::world::{Origin, World, base64, connect, field, get, login, status};

const HOST: &str = "Host: a.example\r\n";

/// Requests with more than one reading, or none. Each has a good login, so that nothing but its form is to blame.
fn hostile() -> Vec<Vec<u8>> {
    let login = login("");
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut add = |text: String| all.push(text.into_bytes());
    let post = format!("POST http://a.example/ HTTP/1.1\r\n{HOST}{login}");
    let get = format!("GET http://a.example/ HTTP/1.1\r\n{HOST}{login}");

    // Lengths and codings that contradict each other or themselves.
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length: 5,5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: five",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 9223372036854775808",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chun\u{a0}ked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tContent-Length: 5",
        "Content-Length : 5",
        "Content-Length\0: 5",
        "Transfer-Encoding: chunked\0",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
    ] {
        add(format!("{post}{fields}\r\n\r\n0\r\n\r\n"));
    }
    // Fields that are none, and names and values that no field has.
    for fields in [
        "No colon",
        ": no name",
        "Bad name: x",
        "Bad\tname: x",
        "Bad(name): x",
        "Bad\"name: x",
        "Bad@name: x",
        "B\u{e4}d: x",
        "X: a\0b",
        "X: a\u{1}b",
        "X: a\u{8}b",
        "X: a\u{1b}b",
        "X: a\u{7f}b",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\nInjected: b",
        "X: a\rInjected: b",
        "Expect: 200-ok",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect: 100-continue, 200-ok",
        "Expect:",
        "Max-Forwards: +1",
        "Max-Forwards: 1, 1",
        "Proxy-Authorization: Basic eDp5",
    ] {
        add(format!("{get}{fields}\r\n\r\n"));
    }
    // Fields taken away by Connection.
    for option in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Proxy-Authorization",
        "close, Host",
        "Authorization",
        "Cookie",
        "a b",
        "x\u{e9}",
        "X;y",
        "Expect",
        "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
    ] {
        add(format!("{get}Connection: {option}\r\n\r\n"));
    }
    // Hosts that are missing, repeated, or lead elsewhere.
    for host in [
        "",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nhost: b.example\r\n",
        "Host: b.example\r\n",
        "Host: a.example:81\r\n",
        "Host: a.example@b.example\r\n",
        "Host: a.example, b.example\r\n",
        "Host: a.example b.example\r\n",
        "Host: \r\n",
        "Host: http://a.example\r\n",
        "Host: a.example/\r\n",
        "Host: a..example\r\n",
        "Host: 0x7f.1\r\n",
        "Host : a.example\r\n",
    ] {
        add(format!("GET http://a.example/ HTTP/1.1\r\n{host}{login}\r\n"));
    }
    // Request lines and targets.
    for line in [
        "GET / HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a.example HTTP/1.1",
        "GET //a.example/ HTTP/1.1",
        "GET https://a.example/ HTTP/1.1",
        "GET ftp://a.example/ HTTP/1.1",
        "GET http:a.example HTTP/1.1",
        "GET http:/a.example/ HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///a.example HTTP/1.1",
        "GET http://u@a.example/ HTTP/1.1",
        "GET http://u:p@a.example/ HTTP/1.1",
        "GET http://a.example\\@b.example/ HTTP/1.1",
        "GET http://a.example#@b.example/ HTTP/1.1",
        "GET http://a.example/#x HTTP/1.1",
        "GET http://a.example:x/ HTTP/1.1",
        "GET http://a.example:65536/ HTTP/1.1",
        "GET http://a.example:+80/ HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "GET http://::1/ HTTP/1.1",
        "GET http://[fe80::1%25eth0]/ HTTP/1.1",
        "GET http://[fe80::1%eth0]/ HTTP/1.1",
        "GET http://[v1.x]/ HTTP/1.1",
        "GET http://a.example%3a80/ HTTP/1.1",
        "GET http://a.example%2eb.example/ HTTP/1.1",
        "GET http://@a.example/ HTTP/1.1",
        "GET http://a.example:00080/ HTTP/1.1",
        "GET http://127\u{ff}0.0.1/ HTTP/1.1",
        "GET http://*.example/ HTTP/1.1",
        "GET http://0177.0.0.1/ HTTP/1.1",
        "GET http://127.1/ HTTP/1.1",
        "GET http://2130706433/ HTTP/1.1",
        "GET http://a.example/a b HTTP/1.1",
        "GET http://a.example/\u{e9} HTTP/1.1",
        "GET http://a.example/\u{1}x HTTP/1.1",
        "GET  http://a.example/ HTTP/1.1",
        "GET http://a.example/  HTTP/1.1",
        "GET\thttp://a.example/ HTTP/1.1",
        " GET http://a.example/ HTTP/1.1",
        "G ET http://a.example/ HTTP/1.1",
        "G\u{e9}T http://a.example/ HTTP/1.1",
        "GET http://a.example/",
        "GET http://a.example/ HTTP/1.1 x",
        "GET http://a.example/ http/1.1",
        "GET http://a.example/ HTTP/1,1",
        "GET http://a.example/ HTTP/11",
        "GET http://a.example/ HTTP/1.01",
        "GET http://a.example/ HTTP/1.1\r",
        "TRACE http://a.example/ HTTP/1.1",
        "CONNECT a.example HTTP/1.1",
        "CONNECT http://a.example:443 HTTP/1.1",
        "CONNECT a.example:443/ HTTP/1.1",
        "CONNECT u@a.example:443 HTTP/1.1",
        "CONNECT [fe80::1%25eth0]:443 HTTP/1.1",
        "CONNECT 127.0.0.1.:443 HTTP/1.1",
        "CONNECT a.example:0443 HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "connect a.example:443 HTTP/1.1",
    ] {
        add(format!("{line}\r\n{HOST}{login}\r\n"));
    }
    for line in [
        "GET http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked",
    ] {
        add(format!("{line}\r\n{login}\r\n"));
    }
    // Too much.
    add(format!("{get}{}\r\n", "X: y\r\n".repeat(101)));
    add(format!("{get}{}\r\n", "X: y\r\n".repeat(1_000)));
    add(format!("{get}X: {}\r\n\r\n", "y".repeat(40_000)));
    add(format!("{get}X: {}\r\n\r\n", "y".repeat(64 * 1024)));
    add(format!(
        "GET http://a.example/{} HTTP/1.1\r\n{HOST}{login}\r\n",
        "y".repeat(40_000)
    ));
    add(format!(
        "{} http://a.example/ HTTP/1.1\r\n{HOST}{login}\r\n",
        "M".repeat(33)
    ));
    // No HTTP at all.
    add("\r\n\r\n\r\n".to_owned());
    add(format!("\n{get}\r\n"));
    add(format!("\u{feff}{get}\r\n"));
    add(format!("{get}\r\n").replace("\r\n", "\n"));
    add(format!("{get}\r\n").replace("\r\n", "\r"));
    add("\0\0\0\0".to_owned());
    add("EHLO a.example\r\n\r\n".to_owned());
    add("\u{1}\u{2}\u{3}".to_owned());
    all
}

#[tokio::test]
async fn nothing_ambiguous_reaches_an_exit_and_each_refusal_has_a_code() {
    let world = World::start(&[]).await;
    let hostile = hostile();
    assert!(hostile.len() >= 100, "{}", hostile.len());
    for request in &hostile {
        let answer = world.ask(request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        assert!((400..500).contains(&status(&answer)), "{shown:?} got {answer:?}");
        assert!(
            field(&answer, "X-IPLoop-Error").is_some() && field(&answer, "Connection") == Some("close"),
            "{answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 4").count(),
            1,
            "one answer for {shown:?}"
        );
        assert!(!answer.contains(KEY) && !answer.contains(&KEY[7..]), "{answer}");
    }
    assert!(world.exits.asked().is_empty());
}

#[tokio::test]
async fn other_versions_of_http_are_told_so() {
    let world = World::start(&[]).await;
    for line in [
        "PRI * HTTP/2.0",
        "GET http://a.example/ HTTP/3.0",
        "GET http://a.example/ HTTP/1.2",
    ] {
        let answer = world.ask(format!("{line}\r\n{HOST}\r\n").as_bytes()).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (505, Some("http_version")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn malformed_chunks_never_make_a_whole_request() {
    for chunks in [
        "x\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "-1\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n x\r\n\r\n",
        "fffffffffffffffff\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\u{e9}\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\r\n\tz\r\n\r\n",
        "0\r\nX: y\rContent-Length: 5\r\n\r\n",
    ] {
        let mut origin = Origin::start().await;
        let to = origin.address;
        let world = World::start(&[to]).await;
        let head = format!(
            "POST http://{to}/ HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n{}\r\n3\r\nabc\r\n",
            login("")
        );
        let malformed = format!("{chunks}GET http://{to}/smuggled HTTP/1.1\r\n\r\n");
        // What comes with the head is refused before anybody is asked, however fast the origin would have answered.
        let answer = world.ask(format!("{head}{malformed}").as_bytes()).await;
        assert_eq!(
            refusal(&answer),
            (400, Some("malformed_content")),
            "{chunks:?}: {answer}"
        );
        assert!(world.exits.asked().is_empty());

        let mut customer = world.connect().await;
        customer.send(head.as_bytes()).await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        customer.send(malformed.as_bytes()).await;
        let answer = customer.rest().await;
        assert_eq!(
            refusal(&answer),
            (400, Some("malformed_content")),
            "{chunks:?}: {answer}"
        );
        let seen = at_origin.rest().await;
        assert!(
            !seen.contains("0\r\n\r\n") && !seen.contains("smuggled"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn whoever_stops_in_the_middle_of_a_request_is_told_so() {
    let origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let head = format!("POST http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{}", login(""));
    for (request, code) in [
        ("P".to_owned(), "malformed_request"),
        (head.clone(), "malformed_request"),
        (
            format!("{head}Content-Length: 5\r\n\r\nhell"),
            "malformed_content",
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
            "malformed_content",
        ),
    ] {
        let mut customer = world.connect().await;
        customer.send(request.as_bytes()).await;
        customer.socket.shutdown().await.unwrap();
        let answer = customer.rest().await;
        assert_eq!(refusal(&answer), (400, Some(code)), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_uploads_before_it_reads_hears_why_it_is_refused() {
    let world = World::start(&[]).await;
    let mut customer = world.connect().await;
    let head = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 40000000\r\n\r\n";
    customer.send(head.as_bytes()).await;
    customer.socket.write_all(&vec![7; 40_000_000]).await.unwrap();
    let answer = customer.rest().await;
    assert_eq!(refusal(&answer), (407, Some("credentials_missing")), "{answer}");
}

fn refusal(answer: &str) -> (u16, Option<&str>) {
    (status(answer), field(answer, "X-IPLoop-Error"))
}

#[tokio::test]
async fn logins_are_checked_for_each_request() {
    let (to, _origin) = crate::world::echo_origin().await;
    let world = World::start(&[to]).await;
    let wrong = format!(
        "Proxy-Authorization: Basic {}\r\n",
        base64(&format!("iploop:{}f", &KEY[..KEY.len() - 1]))
    );
    let with = |fields: &str| format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n").into_bytes();
    let mut customer = world.connect().await;
    for (fields, expected) in [
        (String::new(), (407, Some("credentials_missing"))),
        (login(""), (200, None)),
        (wrong, (407, Some("credentials_invalid"))),
        (String::new(), (407, Some("credentials_missing"))),
        (
            "Proxy-Authorization: Bearer x\r\n".to_owned(),
            (407, Some("credentials_invalid")),
        ),
        (
            "Proxy-Authorization: Basic !!!\r\n".to_owned(),
            (407, Some("credentials_invalid")),
        ),
        (login("-contry-US"), (400, Some("unknown_parameter"))),
        (login("-country-UK"), (400, Some("invalid_country"))),
        (
            login("-session-a-rotate-request"),
            (400, Some("conflicting_parameters")),
        ),
        (login("-country-US"), (200, None)),
    ] {
        customer.send(&with(&fields)).await;
        let (head, body) = customer.answer().await;
        assert_eq!(
            (status(&head), field(&head, "X-IPLoop-Error")),
            expected,
            "{head}{body}"
        );
        assert_eq!(field(&head, "Proxy-Authenticate").is_some(), expected.0 == 407);
        assert!(!body.contains(KEY));
    }
    assert_eq!(world.exits.asked().len(), 2);
}

#[tokio::test]
async fn forbidden_destinations_are_refused_before_any_exit() {
    let world = World::start(&[]).await;
    for (to, code) in [
        ("127.0.0.1:80", "destination_forbidden"),
        ("10.0.0.1:80", "destination_forbidden"),
        ("[::ffff:192.168.0.1]:80", "destination_forbidden"),
        ("169.254.169.254:80", "destination_forbidden"),
        ("localhost:80", "destination_forbidden"),
        ("printer.local:80", "destination_forbidden"),
        ("example.com:25", "port_forbidden"),
        ("example.com:0", "port_forbidden"),
    ] {
        for request in [
            format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", login("")),
            format!(
                "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{}\r\n",
                login("")
            ),
        ] {
            let mut customer = world.connect().await;
            customer.send(request.as_bytes()).await;
            let (head, _) = customer.answer().await;
            assert_eq!(
                (status(&head), field(&head, "X-IPLoop-Error")),
                (403, Some(code)),
                "{to}: {head}"
            );
        }
    }
    assert!(world.exits.asked().is_empty());
    let records = world.books().await;
    assert!(
        records
            .iter()
            .all(|record| record.bytes_up + record.bytes_down == 0)
    );
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_forgiven() {
    let (to, _origin) = crate::world::echo_origin().await;
    let world = World::start(&[to]).await;
    let answer = world.ask(&[b"\r\n", &get(to, "")[..]].concat()).await;
    assert_eq!(status(&answer), 200);
    let mut customer = world.connect().await;
    customer.send(&[b"\r\n", &connect(to, "")[..]].concat()).await;
    assert_eq!(status(&customer.head().await), 200);
}
