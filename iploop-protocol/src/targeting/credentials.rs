//! User name and password of a proxy login: whose key, and the parameters beside it.

use std::fmt;

use super::MAX_FIELD_BYTES;
use super::error::{CredentialsError, CredentialsFault};
use super::parameter::Parameter;
use super::parse::Given;
use super::wishes::Targeting;

/// A proxy login that has the right form. Whether the key is anybody's is for the platform to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The account that the user name claims; the platform refuses one that the key doesn't belong to.
    pub user: Option<ClaimedUser>,
    /// The key, always of [`KeyKind::Customer`].
    pub key: KeyText,
    /// The wishes of both fields together.
    pub targeting: Targeting,
}

impl Credentials {
    /// Reads `USER:KEY[-param-value…]`, with key and parameters in either field (the grammar of this module).
    ///
    /// When the user name holds the key, the password is filler, because many programs insist on one: `x`, anything.
    /// Parameters may stand in it nevertheless. They are taken from the first token on that is a parameter name with a
    /// value; a token one slip away from such a name (`contry-US`) is an error rather than filler.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Missing`] and [`CredentialsError::Invalid`] for 407, [`CredentialsError::Targeting`] for
    /// 400. A wrong key is reported before wrong parameters. No error repeats a key.
    pub fn parse(user: &str, password: &str) -> Result<Self, CredentialsError> {
        if user.len() > MAX_FIELD_BYTES || password.len() > MAX_FIELD_BYTES {
            return Err(CredentialsError::Invalid(CredentialsFault::TooLong));
        }
        let name = UserName::read(user)?;
        let (key, params) = match (name.key, key_in_front(password)?) {
            (Some(key), None) => (key, params_in_filler(password)),
            (None, Some((key, params))) => (key, params),
            (Some(first), Some((second, params))) if first == second => (first, params),
            (Some(_), Some(_)) => return Err(CredentialsError::Invalid(CredentialsFault::TwoKeys)),
            (None, None) if password.is_empty() => return Err(CredentialsError::Missing),
            (None, None) => return Err(CredentialsError::Invalid(CredentialsFault::NoKey)),
        };
        let mut given = Given::read(params)?;
        if !name.params.is_empty() {
            given = given.join(Given::read(name.params)?)?;
        }
        Ok(Self {
            user: name.claimed,
            key,
            targeting: given.resolve()?,
        })
    }
}

/// A login without a key, by the client's address: a user name alone, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressLogin {
    /// The account that the user name claims; the platform refuses another one than the address stands for.
    pub user: Option<ClaimedUser>,
    /// The wishes behind it.
    pub targeting: Targeting,
}

impl AddressLogin {
    /// Reads `USER[-param-value…]`, or an empty text.
    ///
    /// # Errors
    ///
    /// As [`Credentials::parse`]; a user name that holds a key is none of these.
    pub fn parse(user: &str) -> Result<Self, CredentialsError> {
        if user.len() > MAX_FIELD_BYTES {
            return Err(CredentialsError::Invalid(CredentialsFault::TooLong));
        }
        let name = UserName::read(user)?;
        if name.key.is_some() {
            return Err(CredentialsError::Invalid(CredentialsFault::TwoKeys));
        }
        Ok(Self {
            user: name.claimed,
            targeting: Given::read(name.params)?.resolve()?,
        })
    }
}

/// The account that a user name claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimedUser {
    /// The account's id: a UUID as a number.
    AccountId(u128),
    /// The account's short id as written: 1 to 32 letters, digits and `_`.
    ShortId(Box<str>),
}

/// A key as sent, in lower case: `iploop_` or `iplp_` and 48 hex digits. `Debug` and `Display` show the kind alone.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    text: Box<str>,
    kind: KeyKind,
}

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `iploop_`: a customer's, for the proxy and the API.
    Customer,
    /// `iplp_`: a partner's, by which devices register.
    Partner,
}

impl KeyKind {
    /// What a key of this kind begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Customer => "iploop_",
            Self::Partner => "iplp_",
        }
    }

    /// The kind of something that begins like a key, in any case.
    fn of(text: &str) -> Option<Self> {
        [Self::Customer, Self::Partner].into_iter().find(|kind| {
            let prefix = kind.prefix().as_bytes();
            text.as_bytes()
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        })
    }
}

impl KeyText {
    /// Hex digits behind the prefix.
    pub const HEX_DIGITS: usize = 48;

    /// Reads a key of either kind, in any case.
    ///
    /// # Errors
    ///
    /// [`CredentialsFault::NoKey`] without one of the prefixes, [`CredentialsFault::MalformedKey`] otherwise.
    pub fn parse(text: &str) -> Result<Self, CredentialsFault> {
        let kind = KeyKind::of(text).ok_or(CredentialsFault::NoKey)?;
        let secret = &text.as_bytes()[kind.prefix().len()..];
        if secret.len() == Self::HEX_DIGITS && secret.iter().all(u8::is_ascii_hexdigit) {
            Ok(Self {
                text: text.to_ascii_lowercase().into(),
                kind,
            })
        } else {
            Err(CredentialsFault::MalformedKey)
        }
    }

    /// The secret itself: for hashing and for sending, never for a log.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the key opens.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.kind.prefix())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({self})")
    }
}

/// The user name taken apart.
struct UserName<'a> {
    claimed: Option<ClaimedUser>,
    key: Option<KeyText>,
    params: &'a str,
}

impl<'a> UserName<'a> {
    fn read(text: &'a str) -> Result<Self, CredentialsError> {
        if let Some((key, params)) = key_in_front(text)? {
            return Ok(Self {
                claimed: None,
                key: Some(key),
                params,
            });
        }
        if let Some((id, params)) = uuid_in_front(text) {
            return Ok(Self {
                claimed: Some(ClaimedUser::AccountId(id)),
                key: None,
                params,
            });
        }
        let (head, params) = text.split_once('-').unwrap_or((text, ""));
        let claimed = if head.eq_ignore_ascii_case("iploop") {
            None
        } else if text.is_empty() || Parameter::parse(head).is_some() {
            return Ok(Self {
                claimed: None,
                key: None,
                params: text,
            });
        } else if is_short_id(head) {
            Some(ClaimedUser::ShortId(head.into()))
        } else {
            return Err(CredentialsError::Invalid(CredentialsFault::UserName));
        };
        Ok(Self {
            claimed,
            key: None,
            params,
        })
    }
}

/// The key that a field begins with, and the parameters behind it; `None` when it begins with something else.
fn key_in_front(field: &str) -> Result<Option<(KeyText, &str)>, CredentialsError> {
    if KeyKind::of(field).is_none() {
        return Ok(None);
    }
    let (key, params) = field.split_once('-').unwrap_or((field, ""));
    let key = KeyText::parse(key).map_err(CredentialsError::Invalid)?;
    match key.kind {
        KeyKind::Customer => Ok(Some((key, params))),
        KeyKind::Partner => Err(CredentialsError::Invalid(CredentialsFault::PartnerKey)),
    }
}

/// The UUID in its usual form that a user name begins with, and the parameters behind it.
fn uuid_in_front(text: &str) -> Option<(u128, &str)> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let (uuid, rest) = text.split_at_checked(36)?;
    let params = if rest.is_empty() {
        rest
    } else {
        rest.strip_prefix('-')?
    };
    let mut id = 0;
    for (place, byte) in uuid.bytes().enumerate() {
        match char::from(byte).to_digit(16) {
            Some(digit) if !DASHES.contains(&place) => id = id << 4 | u128::from(digit),
            None if byte == b'-' && DASHES.contains(&place) => {}
            _ => return None,
        }
    }
    Some((id, params))
}

fn is_short_id(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The parameters in a password that need not hold any.
fn params_in_filler(password: &str) -> &str {
    let mut rest = password;
    while let Some((token, behind)) = rest.split_once('-') {
        if Parameter::parse(token).is_some() || Parameter::slip(token).is_some() {
            return rest;
        }
        rest = behind;
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "iploop_0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_key_shows_in_no_debug_text() {
        let credentials = Credentials::parse("iploop", &format!("{KEY}-country-US")).unwrap();
        assert_eq!(credentials.key.expose(), KEY);
        assert_eq!(credentials.key.to_string(), "iploop_…");
        assert!(!format!("{credentials:?}").contains("0123"));
    }

    #[test]
    fn keys_of_both_kinds_are_read_and_told_apart() {
        assert_eq!(KeyText::parse(&KEY.to_uppercase()).unwrap().expose(), KEY);
        let partner = KeyText::parse(&KEY.replace("iploop", "iplp")).unwrap();
        assert_eq!(partner.kind(), KeyKind::Partner);
        for (text, fault) in [
            ("", CredentialsFault::NoKey),
            ("hunter2", CredentialsFault::NoKey),
            ("iploop", CredentialsFault::NoKey),
            ("iploop_", CredentialsFault::MalformedKey),
            (&KEY[..54], CredentialsFault::MalformedKey),
            (&format!("{KEY}0"), CredentialsFault::MalformedKey),
            (&KEY.replace('f', "g"), CredentialsFault::MalformedKey),
            (&format!("{KEY} "), CredentialsFault::MalformedKey),
        ] {
            assert_eq!(KeyText::parse(text), Err(fault));
        }
    }

    #[test]
    fn a_user_name_alone_holds_parameters_and_no_key() {
        for (user, claimed, targeting) in [
            ("", None, ""),
            ("iploop", None, ""),
            ("iploop-country-US-session-a", None, "country-US-session-a"),
            ("country-DE", None, "country-DE"),
            (
                "4455667788-country-DE",
                Some(ClaimedUser::ShortId("4455667788".into())),
                "country-DE",
            ),
        ] {
            let login = AddressLogin::parse(user).unwrap();
            assert_eq!(
                (login.user, login.targeting.to_string().as_str()),
                (claimed, targeting)
            );
        }
        assert!(matches!(
            AddressLogin::parse("iploop-contry-US"),
            Err(CredentialsError::Targeting(_))
        ));
        for user in [KEY, "no name", &"a".repeat(MAX_FIELD_BYTES + 1)] {
            assert!(matches!(
                AddressLogin::parse(user),
                Err(CredentialsError::Invalid(_))
            ));
        }
    }

    /// Pieces of logins, so that random sequences come close to what people get wrong.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just(KEY.to_owned()),
            Just(KEY.to_uppercase()),
            Just(KEY[..40].to_owned()),
            Just(KEY[7..].to_owned()),
            Just("iplp_".to_owned()),
            Just("iploop".to_owned()),
            Just("0190b0a0-7c3e-7def-8123-456789abcdef".to_owned()),
            prop::sample::select(&Parameter::ALL[..]).prop_map(|parameter| parameter.to_string()),
            prop::sample::select(vec![
                "US", "eu", "XX", "a", "", "1", "30", "sticky", "same", "%41", "%", "+", "ü", "\n"
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.join("-"))
    }

    proptest! {
        #[test]
        fn any_login_gets_an_answer_without_the_key_in_it(user in pieces(), password in pieces()) {
            match Credentials::parse(&user, &password) {
                Ok(credentials) => {
                    prop_assert_eq!(credentials.key.expose(), KEY);
                    prop_assert_eq!(&Targeting::parse(&credentials.targeting.to_string()).unwrap(), &credentials.targeting);
                }
                Err(error) => {
                    let told = format!("{error} {error:?} {} {:?} {}", error.hint(), error.parameter(), error.code());
                    prop_assert!(!told.to_lowercase().contains("0123456789abcdef"), "{}", told);
                    prop_assert!(!told.contains(char::is_control));
                    prop_assert!(told.len() < 2000);
                }
            }
        }

        #[test]
        fn any_two_strings_get_an_answer(user in any::<String>(), password in any::<String>()) {
            let _ = Credentials::parse(&user, &password);
            let _ = Targeting::parse(&password);
        }
    }
}
