//! A field of a change: kept, cleared or set.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of a field in the body of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is: the field is not sent.
    #[default]
    Keep,
    /// `null` is sent. What that means, the field's own documentation says.
    Null,
    /// It becomes this.
    To(T),
}

impl<T> Change<T> {
    /// Whether nothing is sent.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T> From<T> for Change<T> {
    fn from(value: T) -> Self {
        Self::To(value)
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Null => serializer.serialize_none(),
            Self::To(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::To))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::keys::ChangeKeyBody;

    use super::Change;

    #[test]
    fn what_is_kept_is_not_sent_and_what_is_cleared_is_null() {
        let change = ChangeKeyBody {
            expires_at: Change::Null,
            is_active: false.into(),
            ..ChangeKeyBody::default()
        };
        let sent = serde_json::to_value(&change).unwrap();
        assert_eq!(sent, json!({ "expiresAt": null, "isActive": false }));
        assert_eq!(serde_json::from_value::<ChangeKeyBody>(sent).unwrap(), change);
    }
}
