//! Countries by ISO 3166-1 alpha-2, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ValueFault;

/// A country: an officially assigned code of ISO 3166-1 alpha-2.
///
/// `XK` is in besides: the standard leaves it to its users, and GeoIP databases use it for Kosovo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode(u8);

impl CountryCode {
    /// The country of a two-letter code, in any case.
    pub fn parse(code: &str) -> Option<Self> {
        let &[first, second] = code.as_bytes() else {
            return None;
        };
        let place = *INDEX.get(letter(first)?)?.get(letter(second)?)?;
        (place != UNASSIGNED).then_some(Self(place))
    }

    /// The code in capitals.
    pub fn as_str(self) -> &'static str {
        let start = usize::from(self.0) * 3;
        CODES.get(start..start + 2).unwrap_or("ZZ")
    }

    /// Every country, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT).map(Self)
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CountryCode {
    type Err = ValueFault;

    fn from_str(code: &str) -> Result<Self, ValueFault> {
        Self::parse(code).ok_or(ValueFault::NotACountry)
    }
}

impl Serialize for CountryCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CountryCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&code).ok_or_else(|| D::Error::custom("not a country code of ISO 3166-1 alpha-2"))
    }
}

/// A set of countries in 32 bytes. Prints as the grammar writes it: codes by alphabet, joined by `+`, `eu` in front.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CountrySet([u64; 4]);

impl CountrySet {
    /// Most countries in one parameter.
    pub const MAX_COUNTRIES: usize = 64;

    /// No country.
    pub const EMPTY: Self = Self([0; 4]);

    /// The 27 members of the European Union.
    pub const EUROPEAN_UNION: Self = Self(members());

    /// Reads codes and `eu`, joined by `+` (or by a space, which is what a query string makes of `+`).
    ///
    /// # Errors
    ///
    /// [`ValueFault::NotACountry`] for a code that is not assigned or an empty place in the list,
    /// [`ValueFault::TooLong`] for more than [`Self::MAX_COUNTRIES`].
    pub fn parse(list: &str) -> Result<Self, ValueFault> {
        let mut set = Self::EMPTY;
        for code in list.split(['+', ' ']) {
            if let Some(country) = CountryCode::parse(code) {
                set.insert(country);
            } else if code.eq_ignore_ascii_case("eu") {
                set = set.union(Self::EUROPEAN_UNION);
            } else {
                return Err(ValueFault::NotACountry);
            }
        }
        if set.len() > Self::MAX_COUNTRIES {
            Err(ValueFault::TooLong)
        } else {
            Ok(set)
        }
    }

    /// Adds a country.
    pub fn insert(&mut self, country: CountryCode) {
        let (word, bit) = Self::place(country);
        self.0[word] |= bit;
    }

    /// Whether the country is in.
    pub fn contains(&self, country: CountryCode) -> bool {
        let (word, bit) = Self::place(country);
        self.0[word] & bit != 0
    }

    /// Whether every country of `other` is in.
    pub fn contains_all(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .zip(self.0)
            .all(|(theirs, ours)| theirs & !ours == 0)
    }

    /// How many countries are in.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// The countries of both.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(ours, theirs)| *ours |= theirs);
        self
    }

    /// The countries that `other` has not.
    #[must_use]
    pub fn without(mut self, other: Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(ours, theirs)| *ours &= !theirs);
        self
    }

    /// The countries, by code.
    pub fn iter(&self) -> impl Iterator<Item = CountryCode> {
        let set = *self;
        CountryCode::all().filter(move |country| set.contains(*country))
    }

    fn place(country: CountryCode) -> (usize, u64) {
        (usize::from(country.0 / 64), 1 << (country.0 % 64))
    }
}

impl FromIterator<CountryCode> for CountrySet {
    fn from_iter<I: IntoIterator<Item = CountryCode>>(countries: I) -> Self {
        let mut set = Self::EMPTY;
        countries.into_iter().for_each(|country| set.insert(country));
        set
    }
}

impl fmt::Display for CountrySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut joint, single) = if self.contains_all(&Self::EUROPEAN_UNION) {
            f.write_str("eu")?;
            ("+", self.without(Self::EUROPEAN_UNION))
        } else {
            ("", *self)
        };
        for country in single.iter() {
            write!(f, "{joint}{country}")?;
            joint = "+";
        }
        Ok(())
    }
}

impl fmt::Debug for CountrySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for CountrySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// The code that someone probably meant who wrote this one.
pub(super) fn meant(code: &str) -> Option<&'static str> {
    Some(match code.to_ascii_uppercase().as_str() {
        "UK" | "EN" | "GBR" => "GB",
        "USA" => "US",
        "EL" | "GRC" => "GR",
        "DEU" | "GER" => "DE",
        "FRA" => "FR",
        "CAN" => "CA",
        "ISR" => "IL",
        "JAP" | "JPN" => "JP",
        _ => return None,
    })
}

/// ISO 3166-1 alpha-2, all 249 and `XK`, by alphabet: the place in this list is the number inside [`CountryCode`].
const CODES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Treaty on European Union, Article 52, as of 2020 (27 members). Greece is `GR` here, not the Union's own `EL`.
const MEMBERS: &str = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

const COUNT: u8 = 250;
const UNASSIGNED: u8 = u8::MAX;

/// First letter, second letter → place in [`CODES`].
static INDEX: [[u8; 26]; 26] = index();

const fn index() -> [[u8; 26]; 26] {
    let codes = CODES.as_bytes();
    let mut index = [[UNASSIGNED; 26]; 26];
    let mut place = 0;
    while place < COUNT {
        let start = place as usize * 3;
        index[(codes[start] - b'A') as usize][(codes[start + 1] - b'A') as usize] = place;
        place += 1;
    }
    index
}

const fn members() -> [u64; 4] {
    let codes = MEMBERS.as_bytes();
    let mut set = [0; 4];
    let mut start = 0;
    while start < codes.len() {
        let place = INDEX[(codes[start] - b'A') as usize][(codes[start + 1] - b'A') as usize];
        set[place as usize / 64] |= 1 << (place % 64);
        start += 3;
    }
    set
}

fn letter(byte: u8) -> Option<usize> {
    byte.is_ascii_alphabetic()
        .then(|| usize::from(byte.to_ascii_uppercase() - b'A'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_sorted_and_read_back() {
        let codes: Vec<&str> = CODES.split(' ').collect();
        assert_eq!(codes.len(), usize::from(COUNT));
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
        for (country, code) in CountryCode::all().zip(codes) {
            assert_eq!(country.as_str(), code);
            assert_eq!(CountryCode::parse(&code.to_lowercase()), Some(country));
        }
    }

    #[test]
    fn only_assigned_codes_are_countries() {
        let assigned = (b'A'..=b'Z')
            .flat_map(|first| (b'A'..=b'Z').map(move |second| [first, second]))
            .filter(|code| CountryCode::parse(std::str::from_utf8(code).unwrap()).is_some())
            .count();
        assert_eq!(assigned, 250);
        for wrong in ["", "U", "USA", "XX", "ZZ", "UK", "EU", "U1", "ü", "  "] {
            assert_eq!(CountryCode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_set_prints_what_it_reads() {
        for (read, printed) in [
            ("us", "US"),
            ("US+CA", "CA+US"),
            ("us ca+US", "CA+US"),
            ("eu", "eu"),
            ("CH+EU+AD", "eu+AD+CH"),
            (&MEMBERS.replace(' ', "+"), "eu"),
        ] {
            let set = CountrySet::parse(read).unwrap();
            assert_eq!(set.to_string(), printed);
            assert_eq!(CountrySet::parse(printed), Ok(set));
        }
        let union: Vec<_> = CountrySet::EUROPEAN_UNION
            .iter()
            .map(CountryCode::as_str)
            .collect();
        assert_eq!(union.join(" "), MEMBERS);
        assert_eq!(CountrySet::EUROPEAN_UNION.len(), 27);
        for wrong in ["", "+", "US+", "US++CA", "US,CA", "XX", "US+XX"] {
            assert_eq!(CountrySet::parse(wrong), Err(ValueFault::NotACountry), "{wrong}");
        }
        assert_eq!(
            CountrySet::parse(&CODES.replace(' ', "+")),
            Err(ValueFault::TooLong)
        );
    }

    #[test]
    fn json_holds_codes_and_refuses_others() {
        let set = CountrySet::parse("US+CA").unwrap();
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["CA","US"]"#);
        assert_eq!(
            serde_json::from_str::<CountryCode>("\"il\"").unwrap().as_str(),
            "IL"
        );
        assert!(serde_json::from_str::<CountryCode>("\"XX\"").is_err());
    }
}
