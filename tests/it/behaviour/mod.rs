//! What the platform promises about requests: which exit, what when something fails, and what hostile input gets.

mod choice;
mod complaints;
mod datagrams;
mod faults;
mod hostile;
mod http1;
mod patience;
mod secrets;
mod socks5;
