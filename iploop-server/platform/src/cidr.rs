//! Networks in configuration: CIDR prefixes, and single addresses for those of one address.
//!
//! For `#[serde(deserialize_with = "iploop_platform::cidr::deserialize")]` on a `Vec<IpNet>` of a configuration struct.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Reads a list of `10.0.0.0/24`, `10.0.0.7`, `2001:db8::/32` and their like.
///
/// # Errors
/// Names the text and the forms that there are.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| parse(text).ok_or_else(|| wrong(text)))
        .collect()
}

fn parse(text: &str) -> Option<IpNet> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    single.or_else(|_| text.parse()).ok()
}

fn wrong<E: Error>(text: &str) -> E {
    E::custom(format_args!(
        "{text:?} is no network; write an address as 10.0.0.7, or a prefix as 10.0.0.0/24"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<IpNet>, String> {
        let mut json = serde_json::Deserializer::from_str(json);
        deserialize(&mut json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_single_address_is_a_network_of_its_own() {
        let networks = read(r#"["10.0.0.7", "10.0.0.0/24", "2001:db8::1", "2001:db8::/32"]"#).unwrap();
        let texts: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        assert_eq!(
            texts,
            ["10.0.0.7/32", "10.0.0.0/24", "2001:db8::1/128", "2001:db8::/32"]
        );
    }

    #[test]
    fn anything_else_is_named_with_the_way_out() {
        for text in ["10.0.0.0/33", "10.0.0", "proxy.example.com", ""] {
            let error = read(&format!("[\"{text}\"]")).unwrap_err();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("10.0.0.0/24"),
                "{error}"
            );
        }
    }
}
