//! Apps that carry the SDK, and whether we looked at them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AppId, PartnerId};

/// Most apps of a partner.
pub const MAX_APPS: u32 = 100;

/// An app: a row of `partner_apps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Whose it is.
    pub partner: PartnerId,
    /// What its users call it.
    pub name: String,
    /// Where it runs.
    pub platform: AppPlatform,
    /// What devices name in their consent as `appId`.
    pub bundle_id: String,
    /// Where users get it.
    pub store_url: Option<String>,
    /// What we think of it.
    pub state: AppState,
    /// Why, in the words of who reviewed it.
    pub state_reason: Option<String>,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// When it or its state last changed.
    pub changed_at: Timestamp,
}

/// What a partner says of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFacts {
    /// What its users call it.
    pub name: String,
    /// Where it runs.
    pub platform: AppPlatform,
    /// What devices name in their consent as `appId`.
    pub bundle_id: String,
    /// Where users get it.
    pub store_url: Option<String>,
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$of:meta])* $name:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $type {
            $($(#[$of])* $name,)*
        }

        impl $type {
            /// Its name in the database and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($text => Ok(Self::$name),)*
                    _ => Err(UnknownName),
                }
            }
        }
    };
}

/// Nothing has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing has this name")]
pub struct UnknownName;

names! {
    /// Where an app runs: the names of devices' systems.
    AppPlatform {
        /// Android.
        Android "android",
        /// iOS and iPadOS.
        Ios "ios",
        /// Windows.
        Windows "windows",
        /// macOS.
        Mac "mac",
        /// Linux.
        Linux "linux",
        /// A browser's extension.
        Browser "browser",
    }
}

names! {
    /// What we think of an app.
    AppState {
        /// Nobody looked yet.
        Pending "pending",
        /// It may bring devices.
        Approved "approved",
        /// It may not.
        Rejected "rejected",
        /// It may no longer.
        Suspended "suspended",
    }
}

/// How an app of a partner stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppStanding {
    /// What devices name in their consent as `appId`.
    pub bundle_id: String,
    /// Where it runs.
    pub platform: AppPlatform,
    /// What we think of it.
    pub state: AppState,
}

/// Whether a device that names this app may register, as its partner's apps stand. Where it does not say what it runs on, one of
/// several platforms is enough.
pub fn admits_device(apps: &[AppStanding], bundle_id: &str, platform: Option<&str>, review: bool) -> bool {
    let mut fitting = apps
        .iter()
        .filter(|app| app.bundle_id == bundle_id)
        .filter(|app| platform.is_none_or(|platform| app.platform.as_str() == platform))
        .peekable();
    match fitting.peek() {
        None => AppState::admits(None, review),
        Some(_) => fitting.any(|app| AppState::admits(Some(app.state), review)),
    }
}

impl AppState {
    /// Whether devices of such an app may register. None: the partner has no such app.
    ///
    /// Without review, only what somebody decided against is refused.
    pub fn admits(state: Option<Self>, review: bool) -> bool {
        match state {
            Some(Self::Approved) => true,
            Some(Self::Rejected | Self::Suspended) => false,
            Some(Self::Pending) | None => !review,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_admitted_by_the_app_that_it_names_on_what_it_runs() {
        let app = |bundle_id: &str, platform, state| AppStanding {
            bundle_id: bundle_id.to_owned(),
            platform,
            state,
        };
        let apps = [
            app("com.a", AppPlatform::Android, AppState::Approved),
            app("com.a", AppPlatform::Ios, AppState::Suspended),
            app("com.b", AppPlatform::Ios, AppState::Pending),
        ];
        for (bundle_id, platform, reviewed, unreviewed) in [
            ("com.a", Some("android"), true, true),
            ("com.a", Some("ios"), false, false),
            ("com.a", Some("linux"), false, true),
            ("com.a", None, true, true),
            ("com.b", Some("ios"), false, true),
            ("com.b", None, false, true),
            ("com.c", Some("ios"), false, true),
        ] {
            let admits = |review| admits_device(&apps, bundle_id, platform, review);
            assert_eq!(
                (admits(true), admits(false)),
                (reviewed, unreviewed),
                "{bundle_id} {platform:?}"
            );
        }
    }

    #[test]
    fn what_was_decided_against_is_refused_also_without_review() {
        for review in [true, false] {
            assert!(AppState::admits(Some(AppState::Approved), review));
            assert!(!AppState::admits(Some(AppState::Rejected), review));
            assert!(!AppState::admits(Some(AppState::Suspended), review));
            assert_eq!(AppState::admits(Some(AppState::Pending), review), !review);
            assert_eq!(AppState::admits(None, review), !review);
        }
    }
}
