//! The wishes about the exit, read and checked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::builder::TargetingBuilder;
use super::country::{CountryCode, CountrySet};
use super::error::TargetingError;
use super::name::FoldedName;
use super::parameter::Parameter;
use super::parse::Given;
use super::rotation::{RotateOn, Rotation, SessionName, Sticky};
use super::values::{self, Asn, ConnectionType, DeviceType, Dns, Failover, PostalCode, Profile, SessionType};

/// What a customer wishes of the exit. Whoever holds one holds values that are valid and fit together.
///
/// Prints as canonical parameter text, which parses back to an equal value; equal wishes print the same text.
/// In JSON, what was not asked for is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Targeting {
    #[serde(skip_serializing_if = "CountrySet::is_empty")]
    pub(super) countries: CountrySet,
    #[serde(rename = "exclude", skip_serializing_if = "CountrySet::is_empty")]
    pub(super) excluded: CountrySet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<FoldedName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) city: Option<FoldedName>,
    #[serde(rename = "zip", skip_serializing_if = "Option::is_none")]
    pub(super) postal_code: Option<PostalCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asn: Option<Asn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) isp: Option<FoldedName>,
    #[serde(rename = "net", skip_serializing_if = "Option::is_none")]
    pub(super) connection: Option<ConnectionType>,
    #[serde(rename = "os", skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<DeviceType>,
    pub(super) rotation: Rotation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_speed_mbps: Option<u32>,
    #[serde(
        rename = "maxLatencyMs",
        serialize_with = "as_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) max_latency: Option<Duration>,
    pub(super) dns: Dns,
    pub(super) debug: bool,
}

impl Targeting {
    /// Reads parameters without a key, with or without the dash that would stand behind the key.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, from left to right; contradictions last.
    pub fn parse(params: &str) -> Result<Self, TargetingError> {
        Given::read(params.strip_prefix('-').unwrap_or(params))?.resolve()
    }

    /// Makes wishes in code.
    pub fn builder() -> TargetingBuilder {
        TargetingBuilder::default()
    }

    /// Countries that are asked for; empty for any.
    pub fn countries(&self) -> &CountrySet {
        &self.countries
    }

    /// Countries that are not wanted.
    pub fn excluded(&self) -> &CountrySet {
        &self.excluded
    }

    /// Whether an exit in this country may serve; `None` for an exit whose country is unknown.
    pub fn allows_country(&self, country: Option<CountryCode>) -> bool {
        match country {
            Some(country) => {
                !self.excluded.contains(country)
                    && (self.countries.is_empty() || self.countries.contains(country))
            }
            None => self.countries.is_empty() && self.excluded.is_empty(),
        }
    }

    /// The same wishes where only these countries may serve.
    ///
    /// # Errors
    /// The countries asked for that are not among them; all of them where nothing but excluded ones is left.
    pub fn within(&self, allowed: CountrySet) -> Result<Self, CountrySet> {
        let wished = match self.countries.is_empty() {
            true => allowed,
            false => self.countries,
        };
        let outside = wished.without(allowed);
        if !outside.is_empty() {
            Err(outside)
        } else if wished.without(self.excluded).is_empty() {
            Err(self.excluded)
        } else {
            Ok(Self {
                countries: wished,
                ..self.clone()
            })
        }
    }

    /// Region or state: its name or its code.
    pub fn region(&self) -> Option<&FoldedName> {
        self.region.as_ref()
    }

    /// City.
    pub fn city(&self) -> Option<&FoldedName> {
        self.city.as_ref()
    }

    /// Postal code.
    pub fn postal_code(&self) -> Option<&PostalCode> {
        self.postal_code.as_ref()
    }

    /// Autonomous system.
    pub fn asn(&self) -> Option<Asn> {
        self.asn
    }

    /// Internet provider.
    pub fn isp(&self) -> Option<&FoldedName> {
        self.isp.as_ref()
    }

    /// How the device is connected.
    pub fn connection(&self) -> Option<ConnectionType> {
        self.connection
    }

    /// Kind of device.
    pub fn device(&self) -> Option<DeviceType> {
        self.device
    }

    /// When the exit changes.
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Browser preset for plain HTTP requests.
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// Least speed of the device in Mbit/s, 1 to 10000.
    pub fn min_speed_mbps(&self) -> Option<u32> {
        self.min_speed_mbps
    }

    /// Highest latency of the device, 1 ms to 60 s.
    pub fn max_latency(&self) -> Option<Duration> {
        self.max_latency
    }

    /// Where destination names are resolved; on the exit unless asked otherwise.
    pub fn dns(&self) -> Dns {
        self.dns
    }

    /// Whether the answer should carry timings, attempts and these wishes.
    pub fn debug(&self) -> bool {
        self.debug
    }

    /// The features of a plan that these wishes use, so that the platform can say which one a plan lacks.
    pub fn gates(&self) -> impl Iterator<Item = Gate> + use<> {
        let used = [
            (Gate::Region, self.region.is_some()),
            (Gate::City, self.city.is_some()),
            (Gate::Zip, self.postal_code.is_some()),
            (Gate::Asn, self.asn.is_some()),
            (Gate::Isp, self.isp.is_some()),
            (Gate::ConnectionType, self.connection.is_some()),
            (Gate::DeviceType, self.device.is_some()),
            (Gate::StickySession, self.rotation.sticky().is_some()),
            (Gate::Profile, self.profile.is_some()),
            (
                Gate::Performance,
                self.min_speed_mbps.is_some() || self.max_latency.is_some(),
            ),
        ];
        used.into_iter()
            .filter_map(|(gate, is_used)| is_used.then_some(gate))
    }

    /// The parameter by which these wishes use a feature, for the error that refuses it.
    pub fn parameter_for(&self, gate: Gate) -> Parameter {
        match gate {
            Gate::Region => Parameter::Region,
            Gate::City => Parameter::City,
            Gate::Zip => Parameter::Zip,
            Gate::Asn => Parameter::Asn,
            Gate::Isp => Parameter::Isp,
            Gate::ConnectionType => Parameter::Net,
            Gate::DeviceType => Parameter::Os,
            Gate::StickySession => match self.rotation.sticky() {
                Some(Sticky {
                    session: SessionName::Derived,
                    rotate: RotateOn::Nothing,
                    ..
                }) => Parameter::Sesstype,
                Some(Sticky {
                    session: SessionName::Derived,
                    ..
                }) => Parameter::Rotate,
                Some(_) | None => Parameter::Session,
            },
            Gate::Profile => Parameter::Profile,
            Gate::Performance if self.min_speed_mbps.is_none() => Parameter::Latency,
            Gate::Performance => Parameter::Speed,
        }
    }
}

impl Default for Targeting {
    /// No wish: any exit, another one for each tunnel.
    fn default() -> Self {
        Self {
            countries: CountrySet::EMPTY,
            excluded: CountrySet::EMPTY,
            region: None,
            city: None,
            postal_code: None,
            asn: None,
            isp: None,
            connection: None,
            device: None,
            rotation: Rotation::EachTunnel,
            profile: None,
            min_speed_mbps: None,
            max_latency: None,
            dns: Dns::Exit,
            debug: false,
        }
    }
}

impl FromStr for Targeting {
    type Err = TargetingError;

    fn from_str(params: &str) -> Result<Self, TargetingError> {
        Self::parse(params)
    }
}

impl fmt::Display for Targeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Params { f, joint: "" };
        text.put(
            Parameter::Country,
            (!self.countries.is_empty()).then_some(&self.countries),
        )?;
        text.put(
            Parameter::Exclude,
            (!self.excluded.is_empty()).then_some(&self.excluded),
        )?;
        text.put(Parameter::Region, self.region.as_ref())?;
        text.put(Parameter::City, self.city.as_ref())?;
        text.put(Parameter::Zip, self.postal_code.as_ref())?;
        text.put(Parameter::Asn, self.asn)?;
        text.put(Parameter::Isp, self.isp.as_ref())?;
        text.put(Parameter::Net, self.connection)?;
        text.put(Parameter::Os, self.device)?;
        match &self.rotation {
            Rotation::EachTunnel => {}
            Rotation::EachRequestDistinct => text.put(Parameter::Sesstype, Some(SessionType::PerRequest))?,
            Rotation::Sticky(sticky) => text.put_sticky(sticky)?,
        }
        text.put(Parameter::Profile, self.profile)?;
        text.put(Parameter::Speed, self.min_speed_mbps)?;
        text.put(
            Parameter::Latency,
            self.max_latency.map(|latency| latency.as_millis()),
        )?;
        text.put(Parameter::Dns, (self.dns != Dns::Exit).then_some(self.dns))?;
        text.put(Parameter::Debug, self.debug.then_some(1))
    }
}

/// A feature that a plan may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Choosing a region.
    Region,
    /// Choosing a city.
    City,
    /// Choosing a postal code.
    Zip,
    /// Choosing an autonomous system.
    Asn,
    /// Choosing a provider.
    Isp,
    /// Choosing how the device is connected.
    ConnectionType,
    /// Choosing the kind of device.
    DeviceType,
    /// Keeping an exit.
    StickySession,
    /// Browser presets.
    Profile,
    /// Demanding speed or latency.
    Performance,
}

/// Parameters on their way into text.
struct Params<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    joint: &'static str,
}

impl Params<'_, '_> {
    fn put(&mut self, parameter: Parameter, value: Option<impl fmt::Display>) -> fmt::Result {
        let Some(value) = value else {
            return Ok(());
        };
        let joint = std::mem::replace(&mut self.joint, "-");
        write!(self.f, "{joint}{parameter}-{value}")
    }

    /// The fewest parameters that resolve to the same session.
    fn put_sticky(&mut self, sticky: &Sticky) -> fmt::Result {
        let mode = sticky.rotate.mode();
        match &sticky.session {
            SessionName::Given(id) => self.put(Parameter::Session, Some(id))?,
            SessionName::Derived if mode.is_none() => {
                self.put(Parameter::Sesstype, Some(SessionType::Sticky))?
            }
            SessionName::Derived => {}
        }
        self.put(Parameter::Rotate, mode)?;
        let lifetime = (sticky.lifetime != sticky.rotate.default_lifetime()).then_some(sticky.lifetime);
        self.put(Parameter::Lifetime, lifetime.map(values::print_span))?;
        self.put(Parameter::Idle, sticky.idle.map(values::print_span))?;
        self.put(
            Parameter::Failover,
            (sticky.failover != Failover::Any).then_some(sticky.failover),
        )
    }
}

fn as_millis<S: Serializer>(latency: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    latency.map(|latency| latency.as_millis()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{CountryCode, KeyText, MAX_FIELD_BYTES};
    use super::*;

    #[test]
    fn the_longest_canonical_text_fits_behind_a_key() {
        let mut countries = CountryCode::all().filter(|code| !CountrySet::EUROPEAN_UNION.contains(*code));
        let mut list = || {
            let codes: Vec<_> = countries
                .by_ref()
                .take(CountrySet::MAX_COUNTRIES)
                .map(CountryCode::as_str)
                .collect();
            codes.join("+")
        };
        let name = "a_".repeat(31) + "bc";
        let text = format!(
            "country-{}-exclude-{}-region-{name}-city-{name}-isp-{name}-zip-ABCDEFGHIJKL-asn-4294967294-net-cellular\
             -os-browser-session-{}-rotate-ip-change-lifetime-86399s-idle-86399s-failover-same-asn\
             -profile-chrome-android-speed-10000-latency-60000-dns-gateway-debug-1",
            list(),
            list(),
            "s".repeat(64)
        );
        let targeting = Targeting::parse(&text).unwrap();
        assert_eq!(targeting.to_string().len(), text.len());
        assert!(
            "iploop_".len() + KeyText::HEX_DIGITS + 1 + text.len() <= MAX_FIELD_BYTES,
            "{}",
            text.len()
        );
    }

    #[test]
    fn gates_name_the_feature_and_the_parameter_that_uses_it() {
        for (text, gate, parameter) in [
            ("city-miami", Gate::City, "city"),
            ("state-texas", Gate::Region, "region"),
            ("zip-10001", Gate::Zip, "zip"),
            ("asn-7", Gate::Asn, "asn"),
            ("isp-telekom", Gate::Isp, "isp"),
            ("net-wifi", Gate::ConnectionType, "net"),
            ("os-ios", Gate::DeviceType, "os"),
            ("session-a", Gate::StickySession, "session"),
            ("session-a-rotate-time", Gate::StickySession, "session"),
            ("sesstype-sticky", Gate::StickySession, "sesstype"),
            ("rotate-manual", Gate::StickySession, "rotate"),
            ("profile-safari", Gate::Profile, "profile"),
            ("speed-10", Gate::Performance, "speed"),
            ("latency-10", Gate::Performance, "latency"),
        ] {
            let targeting = Targeting::parse(text).unwrap();
            assert_eq!(targeting.gates().collect::<Vec<_>>(), [gate], "{text}");
            assert_eq!(targeting.parameter_for(gate).as_str(), parameter, "{text}");
        }
        let free = Targeting::parse("country-US-exclude-CA-rotate-request-dns-gateway-debug-1").unwrap();
        assert_eq!(free.gates().count(), 0);
    }

    #[test]
    fn an_exit_of_unknown_country_serves_only_those_who_do_not_care() {
        let country = |code| CountryCode::parse(code);
        let union = Targeting::parse("country-eu-exclude-DE").unwrap();
        assert!(union.allows_country(country("FR")));
        assert!(!union.allows_country(country("DE")));
        assert!(!union.allows_country(country("US")));
        assert!(!union.allows_country(None));
        assert!(!Targeting::parse("exclude-DE").unwrap().allows_country(None));
        assert!(Targeting::default().allows_country(None));
    }

    #[test]
    fn wishes_stay_within_the_countries_that_are_allowed() {
        let allowed = CountrySet::parse("de+fr").unwrap();
        let within = |text: &str| {
            let result = Targeting::parse(text).unwrap().within(allowed);
            result
                .map(|targeting| targeting.to_string())
                .map_err(|outside| outside.to_string())
        };
        assert_eq!(within(""), Ok("country-DE+FR".to_owned()));
        assert_eq!(
            within("country-de-session-a"),
            Ok("country-DE-session-a".to_owned())
        );
        assert_eq!(within("exclude-de"), Ok("country-DE+FR-exclude-DE".to_owned()));
        assert_eq!(within("country-de+us"), Err("US".to_owned()));
        assert_eq!(within("exclude-de+fr"), Err("DE+FR".to_owned()));
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Targeting::parse(""), Ok(Targeting::default()));
        assert_eq!(Targeting::parse("-country-US"), Targeting::parse("country-US"));
    }

    /// Parameters with values that are right alone; together they may contradict each other.
    fn parameters() -> impl Strategy<Value = Vec<(Parameter, String)>> {
        let one = prop::sample::select(&Parameter::ALL[..]).prop_flat_map(|parameter| {
            let value = match parameter {
                Parameter::Country | Parameter::Exclude => "(us|DE|eu|IL)([+](XK|fr|GB)){0,3}",
                Parameter::Region | Parameter::City | Parameter::Isp => "[a-zÀ-ɏа-я]{1,6}[a-z _+.']{0,20}",
                Parameter::Zip => "[0-9A-Za-z]{2,6}[ _]?[0-9]{0,4}",
                Parameter::Asn => "(AS)?[1-9][0-9]{0,8}",
                Parameter::Net => "wifi|Cellular|ethernet",
                Parameter::Os => "android|ios|windows|mac|macos|linux|browser",
                Parameter::Session => "[A-Za-z0-9._]{1,20}(-[A-Za-z0-9._]{1,10}){0,3}",
                Parameter::Sesstype => "rotating|sticky|per-request",
                Parameter::Lifetime | Parameter::Idle => "[1-9][0-9]{0,3}[smh]?",
                Parameter::Rotate => "request|time|manual|ip-change",
                Parameter::Failover => "any|same-asn|same-ip|none",
                Parameter::Profile => "(chrome|firefox)(-win|-mac|-linux)?|safari-ios|mobile",
                Parameter::Speed | Parameter::Latency => "[1-9][0-9]{0,3}",
                Parameter::Dns => "exit|gateway",
                Parameter::Debug => "[01]",
            };
            (Just(parameter), value)
        });
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_equal(parameters in parameters()) {
            let text: Vec<_> = parameters.iter().map(|(parameter, value)| format!("{parameter}-{value}")).collect();
            if let Ok(targeting) = Targeting::parse(&text.join("-")) {
                let printed = targeting.to_string();
                let read_back = Targeting::parse(&printed).unwrap();
                prop_assert_eq!(read_back.to_string(), printed);
                prop_assert_eq!(read_back, targeting);
            }
        }

        #[test]
        fn text_and_builder_agree(parameters in parameters()) {
            let text: Vec<_> = parameters.iter().map(|(parameter, value)| format!("{parameter}-{value}")).collect();
            let builder = parameters
                .iter()
                .fold(Targeting::builder(), |builder, (parameter, value)| builder.set(parameter.as_str(), value));
            if let (Ok(parsed), Ok(built)) = (Targeting::parse(&text.join("-")), builder.build()) {
                prop_assert_eq!(parsed, built);
            }
        }
    }
}
