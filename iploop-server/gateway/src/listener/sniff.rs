//! Tells HTTP, TLS and SOCKS5 apart by the first byte.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::preface::{self, Refused};
use super::tls::Certificate;
use crate::connection::Connection;
use crate::service::Service;
use crate::tunnel::{TLS_HANDSHAKE, Tunnel};
use crate::{acme, http, http2, socks5, telemetry};

/// Serves a connection up to its tunnel, if it comes to one. The first request is due at `deadline`, TLS included.
pub(super) async fn serve(
    service: &Service,
    tls: Option<Arc<Certificate>>,
    mut customer: Connection,
    deadline: Instant,
    overloaded: bool,
) -> Option<Tunnel> {
    if !matches!(customer.read_more(deadline).await, Ok(true)) {
        telemetry::spoke("none");
        return None;
    }
    let trusted = &service.config.proxy_protocol_from;
    match preface::take(trusted, &mut customer, deadline).await {
        Ok(()) => {}
        Err(Refused::Gone) => return None,
        Err(Refused::Error(error)) => {
            http::refuse(service, customer, error).await;
            return None;
        }
    }
    if customer.ahead().first() == Some(&TLS_HANDSHAKE) {
        telemetry::spoke("tls");
        // Without a certificate there is nothing that a TLS client would understand.
        let (peer, local) = (customer.peer(), customer.local());
        let accepted = tls?.acceptor().accept(customer);
        let socket = match timeout_at(deadline, Box::pin(accepted)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return None;
            }
            Err(_) => return None,
        };
        // The handshake was all that an ACME directory wanted to see (RFC 8737 section 3).
        if socket.get_ref().1.alpn_protocol() == Some(acme::ALPN) {
            return None;
        }
        let is_http2 = socket.get_ref().1.alpn_protocol() == Some(http2::ALPN);
        customer = Connection::new(Box::new(socket), peer).at(local);
        if is_http2 {
            telemetry::spoke("http2");
            Box::pin(http2::serve(service, customer, deadline)).await;
            return None;
        }
        if !matches!(customer.read_more(deadline).await, Ok(true)) {
            return None;
        }
    }
    match customer.ahead().first() {
        Some(&socks5::FIRST_BYTE) => {
            telemetry::spoke("socks5");
            Box::pin(socks5::serve(service, customer, deadline, overloaded)).await
        }
        Some(&socks5::SOCKS4_FIRST_BYTE) => {
            telemetry::spoke("socks4");
            socks5::refuse_version_4(service, customer).await;
            None
        }
        // Whatever is none of these is told so in HTTP.
        _ => {
            telemetry::spoke("http");
            Box::pin(http::serve(service, customer, deadline, overloaded)).await
        }
    }
}
