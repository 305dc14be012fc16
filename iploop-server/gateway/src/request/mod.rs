//! Who asks: the login beside a request, whatever protocol it came by.

mod login;

pub(crate) use self::login::{Login, LoginFault, from_basic, from_password};
