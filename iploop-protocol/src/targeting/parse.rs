//! From text to what is given: the tokeniser, the dispatch by name, and the joining of the two fields.

use std::time::Duration;

use super::MAX_FIELD_BYTES;
use super::country::{CountryCode, CountrySet};
use super::error::{Contradiction, TargetingError, ValueFault};
use super::name::FoldedName;
use super::parameter::Parameter;
use super::rotation::SessionWishes;
use super::values::{
    self, Asn, ConnectionType, DeviceType, Dns, Failover, LATENCY_MS, PostalCode, Profile, RotateMode,
    SPEED_MBPS, SessionId, SessionType,
};
use super::wishes::Targeting;

/// What the parameters say one by one, before anyone asked whether they fit together.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) countries: Option<CountrySet>,
    pub(super) excluded: Option<CountrySet>,
    pub(super) region: Option<FoldedName>,
    pub(super) city: Option<FoldedName>,
    pub(super) postal_code: Option<PostalCode>,
    pub(super) asn: Option<Asn>,
    pub(super) isp: Option<FoldedName>,
    pub(super) connection: Option<ConnectionType>,
    pub(super) device: Option<DeviceType>,
    pub(super) sessions: SessionWishes,
    pub(super) profile: Option<Profile>,
    pub(super) min_speed_mbps: Option<u32>,
    pub(super) max_latency: Option<Duration>,
    pub(super) dns: Option<Dns>,
    pub(super) debug: Option<bool>,
}

impl Given {
    /// Reads the parameters of one field, without a dash in front.
    pub(super) fn read(text: &str) -> Result<Self, TargetingError> {
        if text.len() > MAX_FIELD_BYTES {
            return Err(TargetingError::TooLong);
        }
        let mut given = Self::default();
        let mut seen = [false; Parameter::ALL.len()];
        let mut rest = (!text.is_empty()).then_some(text);
        while let Some(text) = rest {
            let (parameter, value, after) = next_parameter(text)?;
            // A bare repetition at the end of a name (salt-lake-city) is first of all a parameter given twice.
            if std::mem::replace(&mut seen[parameter as usize], true) {
                return Err(TargetingError::Duplicate {
                    parameter,
                    in_both_fields: false,
                });
            }
            given.set(parameter, value)?;
            rest = after;
        }
        Ok(given)
    }

    /// Reads one value. A value that was there before is replaced.
    pub(super) fn set(&mut self, parameter: Parameter, value: &str) -> Result<(), TargetingError> {
        values::check_dashes(value)
            .and_then(|()| self.read_value(parameter, value))
            .map_err(|fault| match parameter_inside(parameter, value) {
                Some(name) => TargetingError::unknown(name),
                None => TargetingError::value(parameter, value, fault),
            })
    }

    /// Joins what the two fields say.
    pub(super) fn join(self, other: Self) -> Result<Self, TargetingError> {
        let (ours, theirs) = (self.sessions, other.sessions);
        Ok(Self {
            countries: join(Parameter::Country, self.countries, other.countries)?,
            excluded: join(Parameter::Exclude, self.excluded, other.excluded)?,
            region: join(Parameter::Region, self.region, other.region)?,
            city: join(Parameter::City, self.city, other.city)?,
            postal_code: join(Parameter::Zip, self.postal_code, other.postal_code)?,
            asn: join(Parameter::Asn, self.asn, other.asn)?,
            isp: join(Parameter::Isp, self.isp, other.isp)?,
            connection: join(Parameter::Net, self.connection, other.connection)?,
            device: join(Parameter::Os, self.device, other.device)?,
            sessions: SessionWishes {
                session: join(Parameter::Session, ours.session, theirs.session)?,
                session_type: join(Parameter::Sesstype, ours.session_type, theirs.session_type)?,
                rotate: join(Parameter::Rotate, ours.rotate, theirs.rotate)?,
                lifetime: join(Parameter::Lifetime, ours.lifetime, theirs.lifetime)?,
                idle: join(Parameter::Idle, ours.idle, theirs.idle)?,
                failover: join(Parameter::Failover, ours.failover, theirs.failover)?,
            },
            profile: join(Parameter::Profile, self.profile, other.profile)?,
            min_speed_mbps: join(Parameter::Speed, self.min_speed_mbps, other.min_speed_mbps)?,
            max_latency: join(Parameter::Latency, self.max_latency, other.max_latency)?,
            dns: join(Parameter::Dns, self.dns, other.dns)?,
            debug: join(Parameter::Debug, self.debug, other.debug)?,
        })
    }

    /// Checks that everything fits together.
    pub(super) fn resolve(self) -> Result<Targeting, TargetingError> {
        let countries = self.countries.unwrap_or_default();
        let excluded = self.excluded.unwrap_or_default();
        if !countries.is_empty() && excluded.contains_all(&countries) {
            return Err(TargetingError::Conflict {
                parameter: Parameter::Exclude,
                with: Parameter::Country,
                why: Contradiction::NoCountryLeft,
            });
        }
        Ok(Targeting {
            countries,
            excluded,
            region: self.region,
            city: self.city,
            postal_code: self.postal_code,
            asn: self.asn,
            isp: self.isp,
            connection: self.connection,
            device: self.device,
            rotation: self.sessions.resolve()?,
            profile: self.profile,
            min_speed_mbps: self.min_speed_mbps,
            max_latency: self.max_latency,
            dns: self.dns.unwrap_or(Dns::Exit),
            debug: self.debug.unwrap_or(false),
        })
    }

    fn read_value(&mut self, parameter: Parameter, value: &str) -> Result<(), ValueFault> {
        fn listed<T>(value: Option<T>) -> Result<Option<T>, ValueFault> {
            value.map(Some).ok_or(ValueFault::NotInList)
        }
        match parameter {
            Parameter::Country => self.countries = Some(CountrySet::parse(value)?),
            Parameter::Exclude => self.excluded = Some(CountrySet::parse(value)?),
            Parameter::Region => self.region = Some(FoldedName::decode(value)?),
            Parameter::City => self.city = Some(FoldedName::decode(value)?),
            Parameter::Zip => self.postal_code = Some(PostalCode::parse(value)?),
            Parameter::Asn => self.asn = Some(Asn::parse(value)?),
            Parameter::Isp => self.isp = Some(FoldedName::decode(value)?),
            Parameter::Net => self.connection = listed(ConnectionType::parse(value))?,
            Parameter::Os => self.device = listed(DeviceType::parse(value))?,
            Parameter::Session => self.sessions.session = Some(SessionId::new(value)?),
            Parameter::Sesstype => self.sessions.session_type = listed(SessionType::parse(value))?,
            Parameter::Lifetime => self.sessions.lifetime = Some(values::parse_span(value)?),
            Parameter::Idle => self.sessions.idle = Some(values::parse_span(value)?),
            Parameter::Rotate => self.sessions.rotate = listed(RotateMode::parse(value))?,
            Parameter::Failover => self.sessions.failover = listed(Failover::parse(value))?,
            Parameter::Profile => self.profile = listed(Profile::parse(value))?,
            Parameter::Speed => {
                self.min_speed_mbps = u32::try_from(values::number_within(value, &SPEED_MBPS)?).ok()
            }
            Parameter::Latency => {
                self.max_latency = Some(Duration::from_millis(values::number_within(value, &LATENCY_MS)?));
            }
            Parameter::Dns => self.dns = listed(Dns::parse(value))?,
            Parameter::Debug => {
                self.debug = listed(match value {
                    "1" => Some(true),
                    "0" => Some(false),
                    _ => None,
                })?;
            }
        }
        Ok(())
    }
}

/// Splits the first parameter off: its name, its value, and the text after the dash that ends it.
fn next_parameter(text: &str) -> Result<(Parameter, &str, Option<&str>), TargetingError> {
    let (name, rest) = text
        .split_once('-')
        .map_or((text, None), |(name, rest)| (name, Some(rest)));
    let parameter = Parameter::parse(name).ok_or_else(|| TargetingError::unknown(name))?;
    let Some(rest) = rest else {
        return Ok((parameter, "", None));
    };
    let mut end = token_end(rest, 0);
    while end < rest.len() {
        let next = token_end(rest, end + 1);
        let token = &rest[end + 1..next];
        if Parameter::parse(token).is_some() && !is_same_asn(parameter, &rest[..next]) {
            return Ok((parameter, &rest[..end], Some(&rest[end + 1..])));
        }
        end = next;
    }
    Ok((parameter, rest, None))
}

fn token_end(text: &str, start: usize) -> usize {
    text[start..]
        .find('-')
        .map_or(text.len(), |length| start + length)
}

/// `failover-same` means nothing, so `asn` behind it can only be the rest of the value.
fn is_same_asn(parameter: Parameter, value: &str) -> bool {
    parameter == Parameter::Failover && value.eq_ignore_ascii_case(Failover::SameAsn.as_str())
}

/// The unknown parameter that made a value wrong: in `country-US-contry-DE` the value is fine up to `contry`.
///
/// Only where a value has a fixed shape; in a name any word may belong.
fn parameter_inside(parameter: Parameter, value: &str) -> Option<&str> {
    const LONGEST_VALUE_WORDS: usize = 3;
    if parameter.is_free_text() || values::check_dashes(value).is_err() {
        return None;
    }
    let dashes = value
        .match_indices('-')
        .map(|(place, _)| place)
        .take(LONGEST_VALUE_WORDS);
    let valid_up_to = dashes
        .filter(|end| Given::default().read_value(parameter, &value[..*end]).is_ok())
        .last()?;
    let behind = &value[valid_up_to + 1..];
    if behind.split('-').all(|word| CountryCode::parse(word).is_some()) {
        return None;
    }
    let (name, has_value) = behind
        .split_once('-')
        .map_or((behind, false), |(name, _)| (name, true));
    (has_value || Parameter::nearest(name).is_some()).then_some(name)
}

fn join<T: PartialEq>(
    parameter: Parameter,
    ours: Option<T>,
    theirs: Option<T>,
) -> Result<Option<T>, TargetingError> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(TargetingError::Duplicate {
            parameter,
            in_both_fields: true,
        }),
        (ours, theirs) => Ok(ours.or(theirs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(mut text: &str) -> Vec<(Parameter, &str)> {
        let mut parameters = Vec::new();
        loop {
            let (parameter, value, rest) = next_parameter(text).unwrap();
            parameters.push((parameter, value));
            match rest {
                Some(rest) => text = rest,
                None => return parameters,
            }
        }
    }

    #[test]
    fn a_value_reaches_to_the_next_parameter_name_but_owns_its_first_token() {
        use Parameter::*;
        assert_eq!(
            split("session-a-b-city-new-york"),
            [(Session, "a-b"), (City, "new-york")]
        );
        assert_eq!(
            split("city-state-college-country-US"),
            [(City, "state-college"), (Country, "US")]
        );
        assert_eq!(split("city-city"), [(City, "city")]);
        assert_eq!(
            split("failover-same-asn-asn-7"),
            [(Failover, "same-asn"), (Asn, "7")]
        );
        assert_eq!(split("FAILOVER-SAME-ASN"), [(Failover, "SAME-ASN")]);
        assert_eq!(split("failover-any-asn-7"), [(Failover, "any"), (Asn, "7")]);
        assert_eq!(
            split("city-mexico-city-country-MX"),
            [(City, "mexico"), (City, "country-MX")]
        );
        assert_eq!(split("country-US-"), [(Country, "US-")]);
        assert_eq!(split("country--US"), [(Country, "-US")]);
        assert_eq!(split("country-"), [(Country, "")]);
        assert_eq!(split("country"), [(Country, "")]);
    }

    #[test]
    fn a_slip_behind_a_closed_value_is_called_an_unknown_parameter() {
        for (text, code, parameter) in [
            ("country-US-contry-DE", "unknown_parameter", "contry"),
            ("country-US-foo-bar", "unknown_parameter", "foo"),
            ("sesstype-per-request-foo-1", "unknown_parameter", "foo"),
            ("speed-10-latncy", "unknown_parameter", "latncy"),
            ("country-US-CA", "invalid_country", "country"),
            ("country-US-AS-CA", "invalid_country", "country"),
            ("country-US-foo", "invalid_country", "country"),
            ("profile-chrome-windows", "invalid_value", "profile"),
        ] {
            let error = Given::read(text).unwrap_err();
            assert_eq!(
                (error.code(), error.parameter()),
                (code, Some(parameter)),
                "{text}: {error}"
            );
        }
    }
}
