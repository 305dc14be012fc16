//! Codes that cross the wire: why a stream was reset and why a tunnel was closed.

use std::fmt;

macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$doc:meta])* $variant:ident = $value:literal => $text:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$doc])* $variant, )*
            /// A code that this version does not know.
            Other(u16),
        }

        impl $name {
            /// Every code this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn to_wire(self) -> u16 {
                match self {
                    $( Self::$variant => $value, )*
                    Self::Other(code) => code,
                }
            }

            /// From the number on the wire; every number is a code.
            pub const fn from_wire(code: u16) -> Self {
                match code {
                    $( $value => Self::$variant, )*
                    code => Self::Other(code),
                }
            }

            /// The name in logs, metrics and `docs/protocol.md`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )*
                    Self::Other(_) => "other",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Other(code) => write!(f, "other ({code})"),
                    known => f.write_str(known.name()),
                }
            }
        }
    };
}

codes! {
    /// Why a stream ended before both sides were finished (`docs/protocol.md`, RESET).
    pub enum ResetCode {
        /// Nobody waits for it any longer.
        Cancelled = 1 => "cancelled",
        /// No room for another stream: the opener may try elsewhere.
        Busy = 2 => "busy",
        /// No new streams are taken: the opener may try elsewhere.
        Draining = 3 => "draining",
        /// The device does not share at the moment: the opener may try elsewhere.
        Paused = 4 => "paused",
        /// The exit policy forbids the destination. The text names the class of the rule.
        Forbidden = 5 => "forbidden",
        /// The name could not be resolved.
        DnsFailed = 6 => "dns_failed",
        /// The destination refused the connection.
        Refused = 7 => "refused",
        /// No route to the destination.
        Unreachable = 8 => "unreachable",
        /// The destination did not answer within the time that OPEN allows.
        DialTimeout = 9 => "dial_timeout",
        /// The destination reset the connection.
        ConnectionReset = 10 => "connection_reset",
        /// The stream kind is not supported or not allowed.
        Unsupported = 11 => "unsupported",
        /// Customer's limit on this device, or of the device's owner, is reached.
        Limited = 12 => "limited",
        /// An error inside the resetting side.
        Internal = 13 => "internal",
        /// The balance of the customer is used up.
        Depleted = 14 => "depleted",
        /// The stream was idle, or lasted, longer than allowed.
        Expired = 15 => "expired",
    }
}

codes! {
    /// Why a tunnel was closed (`docs/protocol.md`, CLOSE). On a WebSocket the close frame carries `4000 +` this number.
    pub enum CloseCode {
        /// The side that closes has no further use for the tunnel.
        Done = 0 => "done",
        /// A frame could not be decoded.
        Malformed = 1 => "malformed",
        /// A frame that is not allowed in this state.
        Unexpected = 2 => "unexpected",
        /// Data beyond the credit that was given.
        WindowOverflow = 3 => "window_overflow",
        /// A frame on a stream that was never opened.
        UnknownStream = 4 => "unknown_stream",
        /// A stream id that was used before, or belongs to the other side.
        StreamIdReuse = 5 => "stream_id_reuse",
        /// More pings, resets, control messages or answers due than any honest peer causes.
        Flood = 6 => "flood",
        /// The handshake did not finish in time.
        HandshakeTimeout = 7 => "handshake_timeout",
        /// Nothing was heard, pings were not answered.
        Silent = 8 => "silent",
        /// Data on a stream that its sender had finished.
        StreamFinished = 9 => "stream_finished",
        /// The two sides share no version of the protocol.
        Version = 20 => "version",
        /// The hello lacks something, or something in it is not valid. Not to be tried again unchanged.
        InvalidHello = 21 => "invalid_hello",
        /// No valid, current consent record. Not to be tried again until consent changes.
        ConsentRequired = 22 => "consent_required",
        /// The partner key is unknown or inactive. Not to be tried again unchanged.
        PartnerRejected = 23 => "partner_rejected",
        /// The device is banned.
        Banned = 24 => "banned",
        /// The library is too old to be served.
        TooOld = 25 => "too_old",
        /// A node with a test allow-list met a hub that has none.
        TestAllowRefused = 26 => "test_allow_refused",
        /// The same device connected again elsewhere.
        Replaced = 27 => "replaced",
        /// The owner withdrew consent.
        Withdrawn = 28 => "withdrawn",
        /// The hub has no room at the moment.
        Overloaded = 29 => "overloaded",
        /// The side that closes is shutting down.
        ShuttingDown = 30 => "shutting_down",
        /// An error inside the closing side.
        Internal = 31 => "internal",
    }
}

impl CloseCode {
    /// Whether connecting again, unchanged, can succeed.
    ///
    /// Where it can't, a node stays away until its consent, key or software changes.
    pub const fn is_retryable(self) -> bool {
        !matches!(
            self,
            Self::Version
                | Self::InvalidHello
                | Self::ConsentRequired
                | Self::PartnerRejected
                | Self::Banned
                | Self::TooOld
                | Self::TestAllowRefused
                | Self::Withdrawn
        )
    }

    /// The close code of the WebSocket that carried the tunnel, in the private range of RFC 6455 section 7.4.2.
    pub const fn to_websocket(self) -> u16 {
        let code = self.to_wire();
        if code < 1000 { 4000 + code } else { 4999 }
    }

    /// The close code that the status of a WebSocket's close frame stands for; none outside the range.
    pub fn from_websocket(status: u16) -> Option<Self> {
        let code = status.checked_sub(4000).filter(|code| *code < 1000)?;
        Some(Self::from_wire(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_code_and_keeps_its_number() {
        for number in 0..=u16::MAX {
            assert_eq!(ResetCode::from_wire(number).to_wire(), number);
            assert_eq!(CloseCode::from_wire(number).to_wire(), number);
            let status = CloseCode::from_wire(number).to_websocket();
            let code = CloseCode::from_websocket(status).unwrap();
            assert_eq!(code.to_wire(), number.min(999));
        }
    }
}
