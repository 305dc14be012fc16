//! The customer's library, `iploop-client`, against a whole system.

mod management;
mod proxy;

use iploop_client::{Api, Customer, ProxyLogin, Retries};

use crate::harness::World;

/// Runs what a test asks; its world is made and ended outside.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(test)
}

/// The API of this world, for nobody yet.
fn api(world: &World) -> Api {
    Api::at(&format!("http://{}", world.ready.api)).unwrap()
}

/// The world's account at its proxy, by `http` or `https`.
fn customer(world: &World, scheme: &str, key: &str) -> Customer {
    let proxy = format!("{scheme}://{}", world.ready.proxy);
    let ca = std::fs::read(&world.authority.ca).unwrap();
    let builder = Customer::builder(&proxy, ProxyLogin::new(key).unwrap());
    builder.trust_pem(&ca).retries(Retries::NONE).build().unwrap()
}
