//! What the tests need and a bare machine lacks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{root, run, target};

/// Installs only what is missing; says what, before it does.
pub(crate) fn for_tests() -> Result<()> {
    let mut packages = Vec::new();
    if !has_postgres() {
        packages.push("postgresql");
    }
    for (program, package) in [
        ("curl", "curl"),
        ("redis-server", "redis-server"),
        ("ip", "iproute2"),
        ("python3", "python3"),
        ("node", "nodejs"),
        ("npm", "npm"),
        ("chromium", "chromium"),
        // A single file of source is compiled as it is started, which takes the compiler.
        ("javac", "default-jdk-headless"),
    ] {
        if !is_installed(program) {
            packages.push(package);
        }
    }
    // Debian's Python has no venv of its own.
    if !works(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        packages.push("python3-venv");
    }
    if !is_installed("go") && !stripe_mock().exists() {
        packages.push("golang-go");
    }
    install(&packages)?;
    python_clients()?;
    node_clients()?;
    install_go_program(&stripe_mock(), "github.com/stripe/stripe-mock")?;
    if let Err(error) = install_go_program(&pebble(), "github.com/letsencrypt/pebble/v2/cmd/pebble") {
        println!("{error:#}; it wants a newer Go than some systems have");
    }
    Ok(())
}

/// The program that stands in for Stripe in the tests of payments.
pub(crate) fn stripe_mock() -> PathBuf {
    go_program("STRIPE_MOCK", "stripe-mock")
}

/// The directory of certificates in the test of ACME.
pub(crate) fn pebble() -> PathBuf {
    go_program("PEBBLE", "pebble")
}

/// As the environment names it, or where we install it.
fn go_program(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(named) => named.into(),
        None => target("clients").join("bin").join(name),
    }
}

fn install_go_program(program: &Path, module: &str) -> Result<()> {
    if program.exists() {
        return Ok(());
    }
    let folder = target("clients").join("bin");
    println!("Installing {module} into {} …", folder.display());
    run(Command::new("go")
        .args(["install", &format!("{module}@latest")])
        .env("GOBIN", &folder))
}

/// The Python of the client tests, with the libraries that they drive.
pub(crate) fn python() -> PathBuf {
    target("clients").join("python/bin/python3")
}

/// The folder whose `node_modules` the client tests use.
pub(crate) fn node_folder() -> PathBuf {
    target("clients").join("node")
}

fn python_clients() -> Result<()> {
    let wanted = root().join("tests/clients/requirements.txt");
    let folder = target("clients").join("python");
    if is_stamped(&folder, &wanted)? {
        return Ok(());
    }
    println!("Installing the Python clients into {} …", folder.display());
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(python())
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&wanted))?;
    stamp(&folder, &wanted)
}

fn node_clients() -> Result<()> {
    let source = root().join("tests/clients");
    let folder = node_folder();
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), folder.join(file))?;
    }
    npm_packages("the Node.js clients", &folder)
}

/// Installs what the lock file of a folder names, unless that is there.
pub(crate) fn npm_packages(what: &str, folder: &Path) -> Result<()> {
    let wanted = folder.join("package-lock.json");
    let modules = folder.join("node_modules");
    if is_stamped(&modules, &wanted)? {
        return Ok(());
    }
    println!("Installing {what} into {} …", modules.display());
    run(Command::new("npm")
        .args(["ci", "--silent", "--no-audit", "--no-fund", "--prefer-offline"])
        // Without a network the answer comes in seconds.
        .args(["--fetch-retries=1", "--fetch-retry-mintimeout=1000"])
        .current_dir(folder))?;
    stamp(&modules, &wanted)
}

/// Whether `folder` was made from `wanted` as it is now.
fn is_stamped(folder: &Path, wanted: &Path) -> Result<bool> {
    let wanted = std::fs::read(wanted).with_context(|| format!("{} can't be read", wanted.display()))?;
    Ok(std::fs::read(folder.join("stamp")).is_ok_and(|stamp| stamp == wanted))
}

fn stamp(folder: &Path, wanted: &Path) -> Result<()> {
    std::fs::copy(wanted, folder.join("stamp"))?;
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("please install: {}", packages.join(", "));
    }
    println!("Installing {} …", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = match is_root() {
            true => Command::new("apt-get"),
            false => {
                let mut command = Command::new("sudo");
                command.arg("apt-get");
                command
            }
        };
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        command
    };
    run(&mut apt(&["update", "-qq"]))?;
    let mut all = vec!["install", "-y", "-qq", "--no-install-recommends"];
    all.extend(packages);
    run(&mut apt(&all))
}

fn has_postgres() -> bool {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    installed
        .map(|version| version.path().join("bin/initdb"))
        .any(|initdb| initdb.exists())
        || is_installed("initdb")
}

/// Whether `program` is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

fn works(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
