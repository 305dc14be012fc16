//! Targeting made in code, by the same rules as text.

use std::time::Duration;

use super::country::CountrySet;
use super::error::{TargetingError, ValueFault};
use super::name::FoldedName;
use super::parameter::Parameter;
use super::parse::Given;
use super::values::{
    self, Asn, ConnectionType, DeviceType, Dns, Failover, LATENCY_MS, PostalCode, Profile, RotateMode,
    SPEED_MBPS, SessionId, SessionType,
};
use super::wishes::Targeting;

/// Makes [`Targeting`]. Each method replaces what it was given before; [`Self::build`] reports the first mistake.
///
/// ```
/// use std::time::Duration;
/// use iploop_protocol::targeting::Targeting;
///
/// let targeting = Targeting::builder()
///     .country("US")
///     .city("Salt Lake City")
///     .session("abc123")
///     .lifetime(Duration::from_secs(1800))
///     .build()?;
/// assert_eq!(targeting.to_string(), "country-US-city-salt_lake_city-session-abc123-lifetime-30m");
/// # Ok::<(), iploop_protocol::targeting::TargetingError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TargetingBuilder {
    given: Given,
    mistake: Option<TargetingError>,
}

impl TargetingBuilder {
    /// Sets a parameter by the name and value that text would have.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        let done = match Parameter::parse(name) {
            Some(parameter) => self.given.set(parameter, value),
            None => Err(TargetingError::unknown(name)),
        };
        self.keep(done)
    }

    /// Countries: codes joined by `+`, and `eu`.
    #[must_use]
    pub fn country(mut self, countries: &str) -> Self {
        let countries = self.read(Parameter::Country, countries, CountrySet::parse);
        self.given.countries = countries;
        self
    }

    /// Countries that are not wanted: codes joined by `+`, and `eu`.
    #[must_use]
    pub fn exclude(mut self, countries: &str) -> Self {
        let countries = self.read(Parameter::Exclude, countries, CountrySet::parse);
        self.given.excluded = countries;
        self
    }

    /// Region or state, by name or code.
    #[must_use]
    pub fn region(mut self, name: &str) -> Self {
        let region = self.read(Parameter::Region, name, FoldedName::new);
        self.given.region = region;
        self
    }

    /// City, by name.
    #[must_use]
    pub fn city(mut self, name: &str) -> Self {
        let city = self.read(Parameter::City, name, FoldedName::new);
        self.given.city = city;
        self
    }

    /// Postal code.
    #[must_use]
    pub fn zip(mut self, code: &str) -> Self {
        let code = self.read(Parameter::Zip, code, PostalCode::parse);
        self.given.postal_code = code;
        self
    }

    /// Autonomous system, by number.
    #[must_use]
    pub fn asn(mut self, number: u32) -> Self {
        let asn = self.read(Parameter::Asn, &number.to_string(), Asn::parse);
        self.given.asn = asn;
        self
    }

    /// Internet provider, by name.
    #[must_use]
    pub fn isp(mut self, name: &str) -> Self {
        let isp = self.read(Parameter::Isp, name, FoldedName::new);
        self.given.isp = isp;
        self
    }

    /// How the device is connected.
    #[must_use]
    pub fn connection(mut self, connection: ConnectionType) -> Self {
        self.given.connection = Some(connection);
        self
    }

    /// Kind of device.
    #[must_use]
    pub fn device(mut self, device: DeviceType) -> Self {
        self.given.device = Some(device);
        self
    }

    /// Id of a sticky session.
    #[must_use]
    pub fn session(mut self, id: &str) -> Self {
        let id = self.read(Parameter::Session, id, SessionId::new);
        self.given.sessions.session = id;
        self
    }

    /// Kind of session.
    #[must_use]
    pub fn session_type(mut self, session_type: SessionType) -> Self {
        self.given.sessions.session_type = Some(session_type);
        self
    }

    /// Age at which a sticky session ends: whole seconds, 10 s to 24 h.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        let lifetime = self.check_span(Parameter::Lifetime, lifetime);
        self.given.sessions.lifetime = lifetime;
        self
    }

    /// Time without use after which a sticky session ends: whole seconds, 10 s to 24 h.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        let idle = self.check_span(Parameter::Idle, idle);
        self.given.sessions.idle = idle;
        self
    }

    /// What brings a new exit.
    #[must_use]
    pub fn rotate(mut self, mode: RotateMode) -> Self {
        self.given.sessions.rotate = Some(mode);
        self
    }

    /// What follows when the exit of a sticky session goes away.
    #[must_use]
    pub fn failover(mut self, failover: Failover) -> Self {
        self.given.sessions.failover = Some(failover);
        self
    }

    /// Browser preset for plain HTTP requests.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.given.profile = Some(profile);
        self
    }

    /// Least speed of the device in Mbit/s, 1 to 10000.
    #[must_use]
    pub fn min_speed_mbps(mut self, speed: u32) -> Self {
        if SPEED_MBPS.contains(&u64::from(speed)) {
            self.given.min_speed_mbps = Some(speed);
            return self;
        }
        self.keep(Err(TargetingError::value(
            Parameter::Speed,
            &speed.to_string(),
            ValueFault::OutOfRange,
        )))
    }

    /// Highest latency of the device in whole milliseconds, 1 ms to 60 s.
    #[must_use]
    pub fn max_latency(mut self, latency: Duration) -> Self {
        let is_whole = latency.subsec_nanos().is_multiple_of(1_000_000);
        if is_whole && u64::try_from(latency.as_millis()).is_ok_and(|latency| LATENCY_MS.contains(&latency)) {
            self.given.max_latency = Some(latency);
            return self;
        }
        self.keep(Err(TargetingError::value(
            Parameter::Latency,
            &format!("{latency:?}"),
            ValueFault::OutOfRange,
        )))
    }

    /// Where destination names are resolved.
    #[must_use]
    pub fn dns(mut self, dns: Dns) -> Self {
        self.given.dns = Some(dns);
        self
    }

    /// Whether the answer should carry timings, attempts and the wishes.
    #[must_use]
    pub fn debug(mut self, debug: bool) -> Self {
        self.given.debug = Some(debug);
        self
    }

    /// Checks that everything fits together.
    ///
    /// # Errors
    ///
    /// The first value that was refused, else the first contradiction.
    pub fn build(self) -> Result<Targeting, TargetingError> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => self.given.resolve(),
        }
    }

    fn read<T>(
        &mut self,
        parameter: Parameter,
        text: &str,
        read: fn(&str) -> Result<T, ValueFault>,
    ) -> Option<T> {
        let value = if text.is_empty() {
            Err(ValueFault::Missing)
        } else {
            read(text)
        };
        value
            .map_err(|fault| {
                self.mistake
                    .get_or_insert_with(|| TargetingError::value(parameter, text, fault))
            })
            .ok()
    }

    fn check_span(&mut self, parameter: Parameter, span: Duration) -> Option<Duration> {
        values::check_span(span)
            .map_err(|fault| {
                self.mistake
                    .get_or_insert_with(|| TargetingError::value(parameter, &format!("{span:?}"), fault))
            })
            .ok()
    }

    fn keep(mut self, done: Result<(), TargetingError>) -> Self {
        self.mistake = self.mistake.or(done.err());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_text_make_the_same_targeting() {
        let made = Targeting::builder()
            .country("us+ca")
            .exclude("FR")
            .region("New South Wales")
            .city("Salt Lake City")
            .zip("SW1A 1AA")
            .asn(15169)
            .isp("AT&T")
            .connection(ConnectionType::Wifi)
            .device(DeviceType::Ios)
            .session("a-b")
            .session_type(SessionType::Sticky)
            .lifetime(Duration::from_secs(90))
            .idle(Duration::from_secs(60))
            .rotate(RotateMode::IpChange)
            .failover(Failover::SameAsn)
            .profile(Profile::SafariIos)
            .min_speed_mbps(10)
            .max_latency(Duration::from_millis(250))
            .dns(Dns::Gateway)
            .debug(true)
            .build()
            .unwrap();
        let text = "country-CA+US-exclude-FR-region-new_south_wales-city-salt_lake_city-zip-SW1A1AA-asn-15169-isp-at_t\
                    -net-wifi-os-ios-session-a-b-rotate-ip-change-lifetime-90s-idle-1m-failover-same-asn\
                    -profile-safari-ios-speed-10-latency-250-dns-gateway-debug-1";
        assert_eq!(made.to_string(), text);
        assert_eq!(Targeting::parse(text), Ok(made));
    }

    #[test]
    fn the_first_mistake_is_told_with_its_parameter() {
        for (builder, code, parameter) in [
            (
                Targeting::builder().country("UK").city(""),
                "invalid_country",
                "country",
            ),
            (
                Targeting::builder().city("").country("UK"),
                "invalid_value",
                "city",
            ),
            (
                Targeting::builder().session("a-city-b"),
                "invalid_value",
                "session",
            ),
            (Targeting::builder().asn(0), "invalid_value", "asn"),
            (
                Targeting::builder().lifetime(Duration::from_secs(9)),
                "invalid_value",
                "lifetime",
            ),
            (Targeting::builder().min_speed_mbps(0), "invalid_value", "speed"),
            (
                Targeting::builder().max_latency(Duration::from_micros(1500)),
                "invalid_value",
                "latency",
            ),
            (
                Targeting::builder().set("contry", "US"),
                "unknown_parameter",
                "contry",
            ),
            (
                Targeting::builder().set("country", ""),
                "invalid_value",
                "country",
            ),
            (
                Targeting::builder().rotate(RotateMode::Request).session("a"),
                "conflicting_parameters",
                "rotate",
            ),
        ] {
            let error = builder.build().unwrap_err();
            assert_eq!(
                (error.code(), error.parameter()),
                (code, Some(parameter)),
                "{error}"
            );
        }
    }
}
