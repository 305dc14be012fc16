//! Connections for hyper's pool.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use crate::wire::{Dialer, Link, Place};

/// Dials what an address names.
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) Dialer);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Link>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            let place = Place::of(&uri)?;
            Ok(TokioIo::new(dialer.dial(&place).await?))
        })
    }
}
