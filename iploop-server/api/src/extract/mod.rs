//! Parts of a request, read with our errors.

mod body;
mod client;
mod path;
mod query;

pub(crate) use body::{Json, Raw, Submitted};
pub(crate) use client::{ClientAddress, SignInOrigin};
pub(crate) use path::Path;
pub(crate) use query::{Filters, Query};
