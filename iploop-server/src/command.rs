//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The IPLoop server: gateway, hub and API in one process.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Command {
    /// What to do.
    #[command(subcommand)]
    pub act: Act,
    /// Where things are; the same for all acts.
    #[command(flatten)]
    pub place: Place,
}

/// Where the configuration and the data are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The configuration file (TOML). Every key has an environment twin, IPLOOP_SECTION__KEY.
    #[arg(long, global = true, env = "IPLOOP_CONFIG")]
    pub config: Option<PathBuf>,
    /// The folder for the embedded database, the journal, secrets and the mail outbox [default: data].
    #[arg(long, global = true, env = "IPLOOP_DATA")]
    pub data: Option<PathBuf>,
}

/// What the server can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Serve until SIGTERM or SIGINT, then drain.
    Serve,
    /// Say what is wrong with the configuration, key by key, without starting anything.
    Check,
    /// Describe the configuration, on standard output.
    #[command(subcommand)]
    Config(ConfigAct),
    /// The API as an OpenAPI 3.1 document, on standard output; the same as a running server's /api/openapi.json.
    Openapi,
    /// Accounts, without a browser.
    #[command(subcommand)]
    Account(AccountAct),
    /// The mails that customers get.
    #[command(subcommand)]
    Mail(MailAct),
    /// Partners, whose apps bring devices.
    #[command(subcommand)]
    Partner(PartnerAct),
    /// The books.
    #[command(subcommand)]
    Ledger(LedgerAct),
}

/// Acts on the books.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum LedgerAct {
    /// Prove that the books balance: all entries, what follows from them, and the usage that they stand for.
    ///
    /// Prints what was checked and every difference with its ids; exit status 1 if there is one. A server may run meanwhile.
    Check,
}

/// Descriptions of the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigAct {
    /// A configuration file with every key, its default and its meaning.
    Sample,
    /// The JSON schema of the configuration file, for editors.
    Schema,
}

/// Acts on accounts.
#[derive(Debug, Subcommand)]
pub enum AccountAct {
    /// Make an account; its id and key are printed as JSON.
    ///
    /// The password is read from standard input, or made up and shown this once where standard input is a terminal or empty.
    Create {
        /// Login address.
        #[arg(long)]
        email: String,
        /// May see and change the whole platform.
        #[arg(long)]
        admin: bool,
        /// The address counts as verified: the proxy is open at once.
        #[arg(long)]
        verified: bool,
        /// Also make a key of this name.
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
    },
    /// Suspend an account: a running server refuses its logins and ends its connections within seconds.
    Suspend(AccountReason),
    /// Let a suspended account go on.
    Reinstate(AccountReason),
    /// Say what an account is, and what decides about signing in to it.
    Show {
        /// Login address.
        email: String,
    },
    /// Let in somebody who lost the second factor, or whose own list of networks keeps them out.
    ///
    /// Both are taken away unless one of them is named. All logins of the account end, its password stays, and a mail tells the
    /// owner. Find out first who asks.
    Unlock(AccountUnlock),
}

/// Whom to let in, and what to take away.
#[derive(Debug, Args)]
pub struct AccountUnlock {
    /// Login address.
    pub email: String,
    /// Take away the second factor only, with its recovery codes.
    #[arg(long)]
    pub second_factor: bool,
    /// Take away the list of networks from which to sign in only.
    #[arg(long)]
    pub ip_allow_list: bool,
    /// Why; it goes on record.
    #[arg(long)]
    pub reason: String,
}

/// Which account, and why.
#[derive(Debug, Args)]
pub struct AccountReason {
    /// The account's id.
    #[arg(long, value_name = "ID")]
    pub account: String,
    /// Why; it goes on record.
    #[arg(long)]
    pub reason: String,
}

/// Acts on mails.
#[derive(Debug, Subcommand)]
pub enum MailAct {
    /// Write every mail with made-up values as an HTML and a text file, to look at them.
    Preview {
        /// The folder, made if it is missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Acts on partners.
#[derive(Debug, Subcommand)]
pub enum PartnerAct {
    /// Make a partner; its id and key are printed as JSON. The key is shown this once.
    Create {
        /// The company's name.
        #[arg(long)]
        name: String,
        /// Contact address.
        #[arg(long)]
        email: Option<String>,
    },
}
