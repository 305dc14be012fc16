//! Where an address is: the operator's overrides first, then the GeoIP files he brought. Unknown is a valid answer.

mod overrides;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use iploop_platform::exits::Place;
use iploop_platform::node::{GeoFacts, Point};
use maxminddb::geoip2::{City, Isp};
use maxminddb::{MaxMindDbError, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use overrides::Override;
use overrides::Overrides;

/// Largest GeoIP file that is read, in bytes. The fullest ones on the market are a few hundred megabytes.
pub const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The `[geo]` section: where devices are. Without files and overrides every place is unknown, which is a valid state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GeoConfig {
    /// A GeoIP2 or GeoLite2 City file (`.mmdb`), or one of the same form; you bring it, with its licence.
    #[schemars(example = &"/var/lib/iploop/GeoLite2-City.mmdb")]
    pub city: Option<PathBuf>,
    /// A GeoLite2 ASN or GeoIP2 ISP file, or one of the same form.
    #[schemars(example = &"/var/lib/iploop/GeoLite2-ASN.mmdb")]
    pub asn: Option<PathBuf>,
    /// Places of address ranges, for loopback and for the operator's own exits. The most specific range wins.
    pub overrides: Vec<Override>,
}

impl GeoConfig {
    /// Everything that is wrong with the files and the overrides. Reads the files; meant for the start.
    pub fn file_mistakes(&self) -> Vec<GeoError> {
        Geo::open(self).err().unwrap_or_default()
    }
}

/// Why a GeoIP file or an override can't be used: a mistake in the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeoError {
    /// A file that can't be read, is too large or is no database.
    #[error("geo.{key}: {path} can't be used: {source}", path = path.display())]
    File {
        /// `city` or `asn`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MaxMindDbError,
    },
    /// A database of another kind.
    #[error("geo.{key}: {path} holds \"{kind}\"; needed is one of kind {expected}", path = path.display())]
    Kind {
        /// `city` or `asn`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file says it is.
        kind: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An override that makes no sense.
    #[error("geo.overrides: {cidr}: {problem}")]
    Override {
        /// The range.
        cidr: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Place and network.
    pub place: Place,
    /// The region's own code (`FL` for Florida; ISO 3166-2 without the country).
    pub region_code: Option<String>,
    /// The country's name and a rounded point; what it is served by depends on the device.
    pub facts: GeoFacts,
}

/// Looks addresses up.
///
/// The files are read into memory once: mapped ones would crash the process when somebody replaces them in place.
#[derive(Debug)]
pub struct Geo {
    city: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
    overrides: Overrides,
}

impl Geo {
    /// Reads the files and checks the overrides.
    ///
    /// # Errors
    /// Names each key that is wrong, and what is wrong with it.
    pub fn open(config: &GeoConfig) -> Result<Self, Vec<GeoError>> {
        let city = config.city.as_deref();
        let city = open("city", city, "City", &["City", "Enterprise", "Location"]);
        let asn = open("asn", config.asn.as_deref(), "ASN or ISP", &["ASN", "ISP"]);
        match (city, asn, Overrides::new(&config.overrides)) {
            (Ok(city), Ok(asn), Ok(overrides)) => Ok(Self { city, asn, overrides }),
            (city, asn, overrides) => {
                let files = city.err().into_iter().chain(asn.err());
                Err(files.chain(overrides.err().into_iter().flatten()).collect())
            }
        }
    }

    /// What is known of an address. A file that turns out to be damaged there counts as not knowing.
    pub fn locate(&self, ip: IpAddr) -> Located {
        let ip = ip.to_canonical();
        let mut located = Located::default();
        let place = &mut located.place;
        if let Some(city) = lookup::<City<'_>>(self.city.as_ref(), ip) {
            place.country = city
                .country
                .iso_code
                .filter(|code| code.len() == 2)
                .map(str::to_ascii_uppercase);
            located.facts.country_name = owned(city.country.names.english);
            located.facts.point = match (city.location.latitude, city.location.longitude) {
                (Some(latitude), Some(longitude)) => Point::from_degrees(latitude, longitude),
                _ => None,
            };
            let region = city.subdivisions.first();
            place.region = region.and_then(|region| owned(region.names.english));
            located.region_code = region.and_then(|region| owned(region.iso_code));
            place.city = owned(city.city.names.english);
            place.zip = owned(city.postal.code);
        }
        if let Some(isp) = lookup::<Isp<'_>>(self.asn.as_ref(), ip) {
            place.asn = isp.autonomous_system_number.filter(|asn| *asn != 0);
            place.isp = owned(isp.isp.or(isp.autonomous_system_organization));
        }
        self.overrides.apply(ip, &mut located);
        located
    }
}

fn open(
    key: &'static str,
    path: Option<&Path>,
    expected: &'static str,
    kinds: &[&str],
) -> Result<Option<Reader<Vec<u8>>>, GeoError> {
    let Some(path) = path else { return Ok(None) };
    let failed = |source| GeoError::File {
        key,
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.into()))?
        .len();
    if length > MAX_FILE_BYTES {
        return Err(failed(MaxMindDbError::invalid_database(
            "it is larger than 2 GiB",
        )));
    }
    let reader = Reader::open_readfile(path).map_err(failed)?;
    let kind = &reader.metadata().database_type;
    if !kinds.iter().any(|known| kind.contains(known)) {
        return Err(GeoError::Kind {
            key,
            path: path.to_owned(),
            kind: kind.clone(),
            expected,
        });
    }
    Ok(Some(reader))
}

fn lookup<'r, T: Deserialize<'r>>(reader: Option<&'r Reader<Vec<u8>>>, ip: IpAddr) -> Option<T> {
    reader?.lookup(ip).ok()?.decode().ok()?
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
