//! Whether a hello may register: pure rules over what the device says.

use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::ConsentId;
use iploop_platform::node::ConsentRecord;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{ConsentStatement, DeviceFacts, Hello, SharingStatus, VERSION, capability};
use iploop_protocol::targeting::{ConnectionType, DeviceType};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How far a device's clock may run ahead.
const CLOCK_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest list in a hello.
const MAX_LIST: usize = 64;

/// What a hub demands of devices.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Accepted versions of the consent text.
    pub(crate) terms: Vec<String>,
    /// How long a consent holds.
    pub(crate) consent_max_age: Duration,
    /// Oldest library that is served.
    pub(crate) min_sdk_version: Option<Version>,
    /// Whether this hub has a test allow-list of its own.
    pub(crate) test_allow: bool,
    /// Most streams on one device.
    pub(crate) max_streams: u32,
}

/// A hello that keeps the rules. Partner, ban and secret are the store's question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checked {
    pub(crate) partner_key: String,
    pub(crate) device_id: String,
    pub(crate) device_secret: String,
    pub(crate) os: Option<DeviceType>,
    pub(crate) net: Option<ConnectionType>,
    pub(crate) sdk_version: String,
    pub(crate) consent: ConsentRecord,
    pub(crate) max_streams: u32,
    pub(crate) status: SharingStatus,
    /// It opened addresses for tests.
    pub(crate) has_test_allow: bool,
    /// It hears what its owner wishes from afar.
    pub(crate) hears_wishes: bool,
}

/// Why a device is sent away: the code it acts on, and a text for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Checks a hello against the rules.
///
/// # Errors
/// The first rule that is broken: version, form, age of the library, test allow-list, consent.
pub(crate) fn check(hello: Hello, rules: &Rules, now: Timestamp) -> Result<Checked, Refusal> {
    if hello.versions.len() > MAX_LIST || !hello.versions.contains(&VERSION) {
        return Err(Refusal::new(
            CloseCode::Version,
            format!("this hub speaks version {VERSION}"),
        ));
    }
    let Hello { device, consent, .. } = hello;
    check_form(&hello.agent, &device, &hello.capabilities, &hello.test_allow)?;
    if hello.max_streams == 0 {
        return Err(invalid("maxStreams is 0"));
    }
    if let Some(oldest) = &rules.min_sdk_version
        && Version::parse(&device.sdk_version).is_none_or(|version| version < *oldest)
    {
        return Err(Refusal::new(
            CloseCode::TooOld,
            format!("the oldest version served is {oldest}"),
        ));
    }
    if !hello.test_allow.is_empty() && !rules.test_allow {
        let reason = "the device opened addresses for tests; this hub is none for tests";
        return Err(Refusal::new(CloseCode::TestAllowRefused, reason));
    }
    let consent = check_consent(consent, &device, rules, now)?;
    if !is_partner_key(&hello.partner_key) {
        return Err(Refusal::new(CloseCode::PartnerRejected, "this is no partner key"));
    }
    Ok(Checked {
        partner_key: hello.partner_key,
        os: DeviceType::parse(&device.os),
        net: device.net.as_deref().and_then(ConnectionType::parse),
        device_id: device.id,
        device_secret: device.secret,
        sdk_version: device.sdk_version,
        consent,
        max_streams: hello.max_streams.min(rules.max_streams),
        status: hello.status,
        has_test_allow: !hello.test_allow.is_empty(),
        hears_wishes: hello.capabilities.iter().any(|can| can == capability::WISH),
    })
}

fn check_form(
    agent: &str,
    device: &DeviceFacts,
    capabilities: &[String],
    test_allow: &[String],
) -> Result<(), Refusal> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(16..=64).contains(&device.id.len()) || !device.id.bytes().all(is_token) {
        return Err(invalid(
            "device.id is not 16 to 64 of letters, digits, '-', '_' and '.'",
        ));
    }
    if !(32..=128).contains(&device.secret.len())
        || !device.secret.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(invalid("device.secret is not 32 to 128 visible ASCII characters"));
    }
    text("agent", agent, 0, 256)?;
    text("device.os", &device.os, 1, 32)?;
    text("device.net", device.net.as_deref().unwrap_or_default(), 0, 32)?;
    text("device.sdkVersion", &device.sdk_version, 1, 64)?;
    text("device.appId", &device.app_id, 1, 128)?;
    text("device.appVersion", &device.app_version, 0, 64)?;
    list("capabilities", capabilities, 64)?;
    list("testAllow", test_allow, 272)
}

fn check_consent(
    consent: ConsentStatement,
    device: &DeviceFacts,
    rules: &Rules,
    now: Timestamp,
) -> Result<ConsentRecord, Refusal> {
    let required = |reason: &str| Refusal::new(CloseCode::ConsentRequired, reason);
    let id: ConsentId = consent
        .id
        .parse()
        .map_err(|_| invalid("consent.id is not a UUID"))?;
    text("consent.textVersion", &consent.text_version, 0, 64)?;
    text("consent.language", &consent.language, 1, 35)?;
    text("consent.act", &consent.act, 0, 64)?;
    list("consent.networks", &consent.networks, 32)?;
    if !rules.terms.contains(&consent.text_version) {
        return Err(required("the owner agreed to a text that is not in force"));
    }
    if consent.text_hash.len() != 64 || !consent.text_hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("consent.textHash is not a SHA-256 in hex"));
    }
    if consent.act.trim().is_empty() {
        return Err(required("the record names no act of the owner"));
    }
    if !consent.minimum_age {
        return Err(required("the owner did not confirm the minimum age"));
    }
    let given_at = moment(&consent.given_at).ok_or_else(|| invalid("consent.givenAt is not RFC 3339"))?;
    if given_at > now.plus(CLOCK_AHEAD) {
        return Err(required("the consent is from the future"));
    }
    if now.since(given_at) > rules.consent_max_age {
        return Err(required("the consent is too old"));
    }
    Ok(ConsentRecord {
        id,
        text_version: consent.text_version,
        text_hash: consent.text_hash.to_ascii_lowercase(),
        language: consent.language,
        given_at,
        act: consent.act,
        app_id: device.app_id.clone(),
        app_version: device.app_version.clone(),
        networks: consent.networks.into(),
        minimum_age: true,
    })
}

fn invalid(reason: &str) -> Refusal {
    Refusal::new(CloseCode::InvalidHello, reason)
}

fn text(field: &str, text: &str, least: usize, most: usize) -> Result<(), Refusal> {
    if (least..=most).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(invalid(&format!(
            "{field} is not {least} to {most} bytes of text"
        )))
    }
}

fn list(field: &str, entries: &[String], most: usize) -> Result<(), Refusal> {
    if entries.len() > MAX_LIST {
        return Err(invalid(&format!("{field} has more than {MAX_LIST} entries")));
    }
    entries.iter().try_for_each(|entry| text(field, entry, 1, most))
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000)
        .ok()
        .map(Timestamp::from_millis)
}

/// `iplp_` and 48 hexadecimal digits.
fn is_partner_key(key: &str) -> bool {
    key.strip_prefix("iplp_")
        .is_some_and(|digits| digits.len() == 48 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A version as numbers: up to four of them, with dots; what follows a `-` or `+` does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u32; 4]);

impl Version {
    /// Reads `1.4`, `1.4.0`, `1.4.0-beta.2`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let mut version = [0; 4];
        let mut places = version.iter_mut();
        for number in numbers.split('.') {
            if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *places.next()? = number.parse().ok()?;
        }
        Some(Self(version))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch, _] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use iploop_protocol::control::SharingStatus;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn rules() -> Rules {
        Rules {
            terms: vec!["2026-11".into()],
            consent_max_age: Duration::from_secs(365 * 86_400),
            min_sdk_version: Version::parse("1.2"),
            test_allow: false,
            max_streams: 100,
        }
    }

    fn hello() -> Hello {
        Hello {
            versions: vec![VERSION],
            agent: "iploop-node/1.2.0".into(),
            partner_key: format!("iplp_{}", "0a".repeat(24)),
            device: DeviceFacts {
                id: "0123456789abcdef".into(),
                secret: "s".repeat(32),
                os: "linux".into(),
                net: Some("ethernet".into()),
                sdk_version: "1.2.0".into(),
                app_id: "com.example.app".into(),
                app_version: "7".into(),
            },
            consent: ConsentStatement {
                id: "0199c0de-0000-7000-8000-000000000000".into(),
                text_version: "2026-11".into(),
                text_hash: "AB".repeat(32),
                language: "en".into(),
                given_at: NOW.minus(Duration::from_secs(60)).to_string(),
                act: "button".into(),
                networks: vec!["wifi".into()],
                minimum_age: true,
            },
            capabilities: vec![],
            max_streams: 256,
            test_allow: vec![],
            status: SharingStatus {
                sharing: true,
                reason: None,
            },
        }
    }

    fn refused(change: impl FnOnce(&mut Hello)) -> CloseCode {
        let mut hello = hello();
        change(&mut hello);
        check(hello, &rules(), NOW).unwrap_err().code
    }

    #[test]
    fn a_hello_by_the_rules_passes_with_the_hub_s_stream_limit() {
        let checked = check(hello(), &rules(), NOW).unwrap();
        assert_eq!(checked.max_streams, 100);
        assert_eq!(checked.os, Some(DeviceType::Linux));
        assert_eq!(checked.consent.text_hash, "ab".repeat(32));
        assert_eq!(checked.consent.given_at, NOW.minus(Duration::from_secs(60)));
    }

    #[test]
    fn each_broken_rule_has_its_code() {
        use CloseCode::{ConsentRequired, InvalidHello, PartnerRejected, TestAllowRefused, TooOld};
        assert_eq!(refused(|hello| hello.versions = vec![1, 3]), CloseCode::Version);
        assert_eq!(refused(|hello| hello.versions.clear()), CloseCode::Version);
        assert_eq!(
            refused(|hello| hello.partner_key = "iploop_x".into()),
            PartnerRejected
        );
        assert_eq!(refused(|hello| hello.device.id = "short".into()), InvalidHello);
        assert_eq!(
            refused(|hello| hello.device.id = "0123456789abcde\n".into()),
            InvalidHello
        );
        assert_eq!(refused(|hello| hello.device.secret.truncate(31)), InvalidHello);
        assert_eq!(refused(|hello| hello.device.app_id.clear()), InvalidHello);
        assert_eq!(refused(|hello| hello.agent = "x".repeat(257)), InvalidHello);
        assert_eq!(
            refused(|hello| hello.capabilities = vec!["udp".into(); 65]),
            InvalidHello
        );
        assert_eq!(refused(|hello| hello.max_streams = 0), InvalidHello);
        assert_eq!(refused(|hello| hello.device.sdk_version = "1.1.9".into()), TooOld);
        assert_eq!(
            refused(|hello| hello.device.sdk_version = "nightly".into()),
            TooOld
        );
        assert_eq!(
            refused(|hello| hello.test_allow = vec!["127.0.0.1:80".into()]),
            TestAllowRefused
        );
        assert_eq!(refused(|hello| hello.consent.id = "1".into()), InvalidHello);
        assert_eq!(
            refused(|hello| hello.consent.text_version = "2020-01".into()),
            ConsentRequired
        );
        assert_eq!(
            refused(|hello| hello.consent.text_hash = "ab".into()),
            InvalidHello
        );
        assert_eq!(refused(|hello| hello.consent.act = " ".into()), ConsentRequired);
        assert_eq!(
            refused(|hello| hello.consent.minimum_age = false),
            ConsentRequired
        );
        assert_eq!(
            refused(|hello| hello.consent.given_at = "yesterday".into()),
            InvalidHello
        );
    }

    #[test]
    fn consent_ends_after_a_year_and_never_comes_from_the_future() {
        let at = |given_at: Timestamp| {
            let mut hello = hello();
            hello.consent.given_at = given_at.to_string();
            check(hello, &rules(), NOW)
                .map(drop)
                .map_err(|refusal| refusal.code)
        };
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(at(NOW.minus(year)), Ok(()));
        assert_eq!(
            at(NOW.minus(year + Duration::from_millis(1))),
            Err(CloseCode::ConsentRequired)
        );
        assert_eq!(at(NOW.plus(CLOCK_AHEAD)), Ok(()), "clocks run ahead");
        assert_eq!(at(NOW.plus(CLOCK_AHEAD * 2)), Err(CloseCode::ConsentRequired));
    }

    #[test]
    fn a_test_hub_takes_test_devices() {
        let mut hello = hello();
        hello.test_allow = vec!["127.0.0.1:8080".into()];
        let checked = check(
            hello,
            &Rules {
                test_allow: true,
                ..rules()
            },
            NOW,
        )
        .unwrap();
        assert!(checked.has_test_allow);
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("1.10.0") > version("1.9.9"));
        assert!(version("1.2") == version("1.2.0-beta.1"));
        for text in ["", "v1", "1..2", "1.2.3.4.5", "99999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_in_a_hello_panics(field in 0..9_usize, text in ".{0,300}") {
            let mut hello = hello();
            let fields = [
                &mut hello.agent, &mut hello.partner_key, &mut hello.device.id, &mut hello.device.secret,
                &mut hello.device.sdk_version, &mut hello.consent.id, &mut hello.consent.text_hash,
                &mut hello.consent.given_at, &mut hello.consent.language,
            ];
            *fields.into_iter().nth(field).unwrap() = text;
            let _ = check(hello, &rules(), NOW);
        }
    }
}
