//! When the exit changes: the session parameters resolved to one answer (the table in the module's documentation).

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::error::{Contradiction, TargetingError};
use super::parameter::Parameter;
use super::values::{Failover, RotateMode, SessionId, SessionType};

/// When the exit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Rotation {
    /// Another exit IP for each tunnel or plain request, best effort.
    #[default]
    EachTunnel,
    /// The exit IP differs from the last one that this key used, else the request fails with `no_distinct_exit`.
    EachRequestDistinct,
    /// The same exit for a while.
    Sticky(Sticky),
}

impl Rotation {
    /// The sticky session that is asked for, if one is.
    pub fn sticky(&self) -> Option<&Sticky> {
        match self {
            Self::Sticky(sticky) => Some(sticky),
            Self::EachTunnel | Self::EachRequestDistinct => None,
        }
    }
}

/// The sticky session that a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sticky {
    /// Which session of the account.
    pub session: SessionName,
    /// Age, counted from the first use, at which the session ends.
    #[serde(rename = "lifetimeSeconds", serialize_with = "as_seconds")]
    pub lifetime: Duration,
    /// Time without use after which the session ends earlier.
    #[serde(
        rename = "idleSeconds",
        serialize_with = "as_seconds_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle: Option<Duration>,
    /// What brings a new exit.
    pub rotate: RotateOn,
    /// What follows when the exit goes away.
    pub failover: Failover,
}

/// Which sticky session. In JSON the id, or `null`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionName {
    /// The customer named it.
    Given(SessionId),
    /// The gateway derives it from key, targeting and client address, and tells it in the answer.
    Derived,
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(id) => serializer.serialize_some(id),
            Self::Derived => serializer.serialize_none(),
        }
    }
}

/// What brings a sticky session a new exit, besides the loss of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotateOn {
    /// Nothing. A session that has ended starts afresh on its next use and may find the same exit.
    #[default]
    #[serde(rename = "none")]
    Nothing,
    /// The end of the lifetime: the next exit is another one.
    #[serde(rename = "time")]
    Clock,
    /// The API, the header `X-IPLoop-Rotate: 1` or a new id.
    #[serde(rename = "manual")]
    Demand,
    /// A change of the device's public address, which ends the session.
    IpChange,
}

impl RotateOn {
    /// Lifetime of a session that names none: 10 minutes, or 24 hours on demand, where no clock may change the exit.
    pub const fn default_lifetime(self) -> Duration {
        match self {
            Self::Nothing | Self::Clock | Self::IpChange => Duration::from_secs(600),
            Self::Demand => Duration::from_secs(86_400),
        }
    }

    /// The word of the grammar, if one was needed.
    pub(super) const fn mode(self) -> Option<RotateMode> {
        match self {
            Self::Nothing => None,
            Self::Clock => Some(RotateMode::Time),
            Self::Demand => Some(RotateMode::Manual),
            Self::IpChange => Some(RotateMode::IpChange),
        }
    }
}

/// The session parameters as given.
#[derive(Clone, Debug, Default)]
pub(super) struct SessionWishes {
    pub(super) session: Option<SessionId>,
    pub(super) session_type: Option<SessionType>,
    pub(super) rotate: Option<RotateMode>,
    pub(super) lifetime: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) failover: Option<Failover>,
}

impl SessionWishes {
    /// Turns the wishes into one answer, or finds the two that contradict each other.
    pub(super) fn resolve(self) -> Result<Rotation, TargetingError> {
        let conflict = |parameter, with, why| Err(TargetingError::Conflict { parameter, with, why });
        match (self.asks_to_move(), self.asks_to_stay()) {
            (Some(moves), Some(stays)) => conflict(moves, stays, Contradiction::MovesAndStays),
            (_, None) if self.failover.is_some() => {
                conflict(Parameter::Failover, Parameter::Session, Contradiction::NoSession)
            }
            (_, None) if self.is_distinct() => Ok(Rotation::EachRequestDistinct),
            (_, None) => Ok(Rotation::EachTunnel),
            (None, Some(_)) => {
                let sticky = self.into_sticky();
                if sticky.idle.is_some_and(|idle| idle > sticky.lifetime) {
                    return conflict(
                        Parameter::Idle,
                        Parameter::Lifetime,
                        Contradiction::IdleBeyondLifetime,
                    );
                }
                Ok(Rotation::Sticky(sticky))
            }
        }
    }

    fn asks_to_move(&self) -> Option<Parameter> {
        match (self.session_type, self.rotate) {
            (Some(SessionType::Rotating | SessionType::PerRequest), _) => Some(Parameter::Sesstype),
            (_, Some(RotateMode::Request)) => Some(Parameter::Rotate),
            _ => None,
        }
    }

    fn asks_to_stay(&self) -> Option<Parameter> {
        let stays_by_rotate = matches!(
            self.rotate,
            Some(RotateMode::Time | RotateMode::Manual | RotateMode::IpChange)
        );
        [
            (Parameter::Session, self.session.is_some()),
            (
                Parameter::Sesstype,
                self.session_type == Some(SessionType::Sticky),
            ),
            (Parameter::Rotate, stays_by_rotate),
            (Parameter::Lifetime, self.lifetime.is_some()),
            (Parameter::Idle, self.idle.is_some()),
        ]
        .into_iter()
        .find_map(|(parameter, asks)| asks.then_some(parameter))
    }

    fn is_distinct(&self) -> bool {
        self.session_type == Some(SessionType::PerRequest) || self.rotate == Some(RotateMode::Request)
    }

    fn into_sticky(self) -> Sticky {
        let rotate = match self.rotate {
            None | Some(RotateMode::Request) => RotateOn::Nothing,
            Some(RotateMode::Time) => RotateOn::Clock,
            Some(RotateMode::Manual) => RotateOn::Demand,
            Some(RotateMode::IpChange) => RotateOn::IpChange,
        };
        Sticky {
            session: self.session.map_or(SessionName::Derived, SessionName::Given),
            lifetime: self.lifetime.unwrap_or(rotate.default_lifetime()),
            idle: self.idle,
            rotate,
            failover: self.failover.unwrap_or(Failover::Any),
        }
    }
}

fn as_seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

fn as_seconds_if_any<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs()).serialize(serializer)
}
