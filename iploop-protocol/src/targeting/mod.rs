//! What a customer writes beside the API key to say which exit a request wants: one parser for gateway, client
//! library, bindings and the `explain` endpoint.
//!
//! [`Credentials::parse`] reads user name and password of a proxy login; [`Targeting::parse`] reads parameters
//! alone; [`Targeting::builder`] makes the same from code; `Display` prints the canonical text, which parses back to
//! an equal [`Targeting`]. The cases that every language must agree on are in `vectors/targeting.json`.
//!
//! # Grammar
//!
//! ABNF of RFC 5234; literals match in any case. Each field holds at most [`MAX_FIELD_BYTES`] bytes.
//!
//! ```text
//! user-name  = [ user [ "-" params ] / params / key [ "-" params ] ]
//! password   = key [ "-" params ]          ; when the user name holds no key
//!            / [ params / filler ]         ; when it does: see Credentials::parse
//! user       = "iploop" / uuid / short-id  ; "iploop" claims no account
//! short-id   = 1*32( ALPHA / DIGIT / "_" ) ; not a parameter name
//! key        = "iploop_" 48HEXDIG          ; read in any case, kept in lower case
//! params     = [ param *( "-" param ) ]
//! param      = name "-" token *( "-" token )
//! token      = *<any character but "-">
//! name       = "country" / "exclude" / "region" / "state" / "city" / "zip" / "asn" / "isp" / "net" / "os"
//!            / "session" / "sesstype" / "lifetime" / "idle" / "rotate" / "failover"
//!            / "profile" / "speed" / "latency" / "dns" / "debug"
//! ```
//!
//! ABNF alone leaves open where a value ends: the token after a name always belongs to its value, further tokens join
//! it (with their `-`) until a token that is a parameter name. So `session-a-b-city-new-york` is session `a-b` and
//! city `new york`, and `city-state-college` is State College. A parameter name deeper inside a place's or a
//! provider's name is written with `_` for the space before it: `city-salt_lake_city`. One value holds a name on
//! purpose and is read whole: `failover-same-asn`.
//!
//! | parameter | value |
//! |---|---|
//! | `country`, `exclude` | two-letter codes ([`CountryCode`]) joined by `+`, and `eu` for the 27 members; at most 64 countries |
//! | `region` (`state`), `city`, `isp` | [`FoldedName`]: any case, spaces as `-`, `_`, `+` or `%20`; at most 64 bytes |
//! | `zip` | 2 to 12 letters and digits ([`PostalCode`]) |
//! | `asn` | `12345` or `AS12345` ([`Asn`]) |
//! | `net` | `wifi`, `cellular`, `ethernet` ([`ConnectionType`]) |
//! | `os` | `android`, `ios`, `windows`, `mac`, `linux`, `browser` ([`DeviceType`]) |
//! | `session` | 1 to 64 of `A-Z a-z 0-9 . _ -`, case kept ([`SessionId`]) |
//! | `sesstype` | `rotating`, `sticky`, `per-request` ([`SessionType`]) |
//! | `lifetime`, `idle` | `30` or `30m` (minutes), `120s`, `1h`; 10 s to 24 h |
//! | `rotate` | `request`, `time`, `manual`, `ip-change` ([`RotateMode`]) |
//! | `failover` | `any`, `same-asn`, `same-ip`, `none` ([`Failover`]) |
//! | `profile` | a browser preset ([`Profile`]): `chrome-win`, `safari-ios`, … |
//! | `speed` | least Mbit/s, 1 to 10000 |
//! | `latency` | most milliseconds, 1 to 60000 |
//! | `dns` | `exit`, `gateway` ([`Dns`]) |
//! | `debug` | `1`, `0` |
//!
//! A parameter repeated in one field is an error. The same parameter in both fields must say the same.
//!
//! # Sessions
//!
//! Some parameters ask the exit to move, some ask it to stay; one of each is a contradiction. The first that applies:
//!
//! | `sesstype` ↓ `rotate` → | none | `request` | `time` | `manual` | `ip-change` |
//! |---|---|---|---|---|---|
//! | none | each tunnel ¹ | distinct ² | sticky, [`RotateOn::Clock`] | sticky, [`RotateOn::Demand`] | sticky, [`RotateOn::IpChange`] |
//! | `rotating` | each tunnel ² | distinct ² | conflict | conflict | conflict |
//! | `per-request` | distinct ² | distinct ² | conflict | conflict | conflict |
//! | `sticky` | sticky | conflict | sticky, clock | sticky, demand | sticky, IP change |
//!
//! ¹ Sticky when `session`, `lifetime` or `idle` is given.  ² Conflict when one of them is given.
//!
//! *Each tunnel* is [`Rotation::EachTunnel`], *distinct* is [`Rotation::EachRequestDistinct`]. A sticky session is
//! named by `session`, otherwise the gateway derives its name. It lasts 10 minutes unless `lifetime` says otherwise,
//! and 24 hours under `rotate-manual`, where a clock would be another way to a new exit. `idle` longer than the
//! lifetime and `failover` without a sticky session are contradictions too.

mod builder;
mod country;
mod credentials;
mod error;
mod name;
mod parameter;
mod parse;
mod rotation;
mod values;
#[cfg(test)]
mod vectors;
mod wishes;

pub use builder::TargetingBuilder;
pub use country::{CountryCode, CountrySet};
pub use credentials::{AddressLogin, ClaimedUser, Credentials, KeyKind, KeyText};
pub use error::{Contradiction, CredentialsError, CredentialsFault, Excerpt, TargetingError, ValueFault};
pub use name::FoldedName;
pub use parameter::Parameter;
pub use rotation::{RotateOn, Rotation, SessionName, Sticky};
pub use values::{
    Asn, ConnectionType, DeviceType, Dns, Failover, PostalCode, Profile, RotateMode, SessionId, SessionType,
};
pub use wishes::{Gate, Targeting};

/// Longest user name, password or parameter text that is looked at, in bytes.
///
/// The canonical text of any [`Targeting`] is shorter, so that what was printed can be read again.
pub const MAX_FIELD_BYTES: usize = 1024;
