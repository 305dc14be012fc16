//! The code in `docs/clients.md`, run as it stands there.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{PATIENCE, Place, World, chromium, node_folder, python, repository, run};

/// A world, and the code of the document as its customer would fill it in.
struct Document {
    text: String,
    world: World,
}

impl Document {
    fn open() -> Self {
        Self {
            text: std::fs::read_to_string(repository().join("docs/clients.md")).unwrap(),
            world: World::start(),
        }
    }

    /// The code below this heading, for this world's key and addresses, and with this address for the page.
    fn code(&self, heading: &str, url: &str) -> String {
        let (_, below) = self
            .text
            .split_once(&format!("\n### {heading}\n\n"))
            .unwrap_or_else(|| panic!("there is no {heading}"));
        let is_code = |line: &&str| line.is_empty() || line.starts_with("    ");
        let lines = below.lines().take_while(is_code);
        let code: String = lines
            .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
            .collect();
        let (proxy, socks) = (self.world.ready.proxy, self.world.ready.socks);
        code.replace("YOUR_KEY", &self.world.account.key)
            .replace("HOST:7777", &proxy.to_string())
            .replace("HOST:1080", &socks.to_string())
            .replace("\"HOST\", 7777", &format!("\"{}\", {}", proxy.ip(), proxy.port()))
            .replace("https://example.com/", url)
    }

    /// The page of this world, by TLS.
    fn page(&self) -> String {
        self.world.origin.https_url("/echo")
    }

    /// Writes a program into the world's folder and runs it, with the world's authority trusted.
    fn run(&self, file: &str, code: &str, program: &Path, arguments: &[&str]) -> Output {
        let path = self.world.folder().join(file);
        std::fs::write(&path, code).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&path);
        let ca = &self.world.authority.ca;
        for (name, value) in [
            ("REQUESTS_CA_BUNDLE", ca.as_os_str()),
            ("SSL_CERT_FILE", ca.as_os_str()),
            ("CURL_CA_BUNDLE", ca.as_os_str()),
            ("NODE_EXTRA_CA_CERTS", ca.as_os_str()),
            ("no_proxy", "".as_ref()),
        ] {
            command.env(name, value);
        }
        run(&mut command, 2 * PATIENCE)
    }
}

/// The page came, and as a device of New York asked for it.
fn check(heading: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{heading}: {said}{complaint}");
    assert!(
        said.contains(Place::NEW_YORK.address),
        "{heading}: {said}{complaint}"
    );
}

#[test]
fn the_documents_lines_for_curl_bring_the_page() {
    let document = Document::open();
    let code = document.code("curl", &document.page());
    assert_eq!(code.trim().lines().count(), 2, "{code}");
    for line in code.trim().lines() {
        check(line, &document.run("curl.sh", line, "sh".as_ref(), &["-e"]));
    }
}

#[test]
fn the_documents_code_for_python_brings_the_page() {
    let document = Document::open();
    for client in ["requests", "httpx", "aiohttp"] {
        let heading = format!("Python, {client}");
        let code = document.code(&heading, &document.page());
        check(&heading, &document.run("example.py", &code, &python(), &[]));
    }
}

#[test]
fn the_documents_code_for_nodejs_brings_the_page() {
    let document = Document::open();
    let modules = document.world.folder().join("node_modules");
    std::os::unix::fs::symlink(node_folder().join("node_modules"), modules).unwrap();
    for client in ["undici", "Playwright"] {
        let heading = format!("Node.js, {client}");
        let code = document.code(&heading, &document.page());
        // The tests have a browser already, which root may start without its sandbox only, and which knows no authority of ours.
        let launch = format!(
            "chromium.launch({{ executablePath: {:?}, args: [\"--no-sandbox\", \"--ignore-certificate-errors\"],",
            chromium()
        );
        let code = code
            .replace("\"playwright\"", "\"playwright-core\"")
            .replace("chromium.launch({", &launch);
        check(
            &heading,
            &document.run("example.mjs", &code, "node".as_ref(), &[]),
        );
    }
}

#[test]
fn the_documents_code_for_java_brings_the_page() {
    let document = Document::open();
    // Java trusts no authority by its environment.
    let code = document.code("Java", &document.world.origin.url("/echo"));
    let output = document.run(
        "Example.java",
        &code,
        "java".as_ref(),
        &["-XX:TieredStopAtLevel=1"],
    );
    check("Java", &output);
}
