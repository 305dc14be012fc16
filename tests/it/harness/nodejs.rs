//! Scripts for Node.js, beside the libraries that they drive.

use std::process::{Command, Output};

use serde_json::Value;

use super::{PATIENCE, World, node_folder, repository, run};

/// Runs a script of `tests/clients` on this order.
pub(crate) fn nodejs(world: &World, script: &str, order: &Value) -> Output {
    // Modules are looked for beside the script.
    let folder = world.folder().join("scripts");
    std::fs::create_dir_all(&folder).unwrap();
    let sources = std::fs::read_dir(repository().join("tests/clients")).unwrap();
    for source in sources.map(|source| source.unwrap().path()) {
        if source.extension().is_some_and(|ending| ending == "mjs") {
            std::fs::copy(&source, folder.join(source.file_name().unwrap())).unwrap();
        }
    }
    let modules = folder.join("node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(node_folder().join("node_modules"), modules).unwrap();
    }
    let mut command = Command::new("node");
    command
        .arg(folder.join(script))
        .arg(order.to_string())
        .env("NODE_EXTRA_CA_CERTS", &world.authority.ca);
    run(&mut command, 2 * PATIENCE)
}
