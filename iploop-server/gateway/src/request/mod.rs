//! Who asks: the login beside a request, whatever protocol it came by.

mod login;

pub(crate) use self::login::{LoginFault, from_basic, from_password};
