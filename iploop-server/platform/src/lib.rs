//! The business of IPLoop: accounts, keys, plans, balance and usage, and the traits at the seams.
//!
//! Everything here is rules and types. Rows live behind the traits of [`store`], devices behind [`exits::Exits`], the
//! time behind [`clock::Clock`]; the crates that implement or use them know this crate and not each other.
//!
//! Where to look; the singular (`account`, `partner`) is the thing, the plural what is done with it:
//!
//! | about | modules |
//! |---|---|
//! | a request through the proxy | [`admission`] lets it in, [`exits`] and [`sticky`] find its way out, [`metering`] counts it, [`usage`] records it |
//! | customers | [`account`], [`accounts`], [`login`], [`api_key`], [`keys`], [`ip_login`], [`proxy_defaults`], [`plan`], [`support`] |
//! | money and bytes | [`ledger`], [`billing`], [`statistics`], [`archive`] |
//! | devices | [`node`], [`owners`], [`partner`], [`partners`], [`device_news`], [`device_retention`], [`network`] |
//! | operators | [`admin`], [`abuse`] |
//! | what is told to people | [`events`], [`notices`], [`mail`], [`webhooks`], [`live`] |
//! | several processes | [`shared`], [`presence`] |
//! | for all of them | [`ids`], [`clock`], [`store`], [`secret`], [`field`], [`duration`], [`asking`], [`outbound`], [`tls`] |

pub mod abuse;
pub mod account;
pub mod accounts;
pub mod admin;
pub mod admission;
pub mod api_key;
pub mod archive;
pub mod asking;
pub mod billing;
pub mod cidr;
pub mod clock;
pub mod device_news;
pub mod device_retention;
pub mod duration;
pub mod events;
pub mod exits;
pub mod field;
pub mod ids;
pub mod ip_login;
pub mod keys;
pub mod ledger;
pub mod live;
pub mod login;
pub mod mail;
pub mod metering;
pub mod network;
pub mod node;
pub mod notices;
pub mod outbound;
pub mod owners;
pub mod partner;
pub mod partners;
pub mod plan;
pub mod presence;
pub mod proxy_defaults;
pub mod secret;
pub mod shared;
pub mod statistics;
pub mod sticky;
pub mod store;
pub mod support;
pub mod tls;
pub mod usage;
pub mod webhooks;
