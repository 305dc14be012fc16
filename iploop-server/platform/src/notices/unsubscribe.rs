//! Links that end a kind of report without signing in: good for that alone.

use crate::ids::AccountId;
use crate::login::SigningSecret;

/// A kind of report that a link can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Each Monday.
    Weekly,
    /// The first of each month.
    Monthly,
}

impl Report {
    /// `weekly` or `monthly`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

const PURPOSE: &str = "unsubscribe";

/// The token of such a link. It works as long as the server keeps its secret.
pub(super) fn token(secret: &SigningSecret, account: AccountId, report: Report) -> String {
    let message = format!("{account}.{}", report.as_str());
    let tag = secret.tag(PURPOSE, &message);
    format!("{message}.{tag}")
}

/// What a token is good for, if it is one of ours.
pub(super) fn read(secret: &SigningSecret, token: &str) -> Option<(AccountId, Report)> {
    let (message, tag) = token.rsplit_once('.')?;
    if !secret.is_tag(PURPOSE, message, tag) {
        return None;
    }
    let (account, report) = message.split_once('.')?;
    let report = [Report::Weekly, Report::Monthly]
        .into_iter()
        .find(|known| known.as_str() == report)?;
    Some((account.parse().ok()?, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_account_and_report_only() {
        let secret = SigningSecret::ephemeral();
        let account = AccountId::new();
        let weekly = token(&secret, account, Report::Weekly);
        assert_eq!(read(&secret, &weekly), Some((account, Report::Weekly)));
        assert_eq!(read(&SigningSecret::ephemeral(), &weekly), None);
        for bad in [
            weekly.replace("weekly", "monthly"),
            weekly[1..].to_owned(),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(read(&secret, &bad), None, "{bad}");
        }
    }
}
