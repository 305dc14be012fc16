//! The fuzz targets, briefly: on what was found before and on random and damaged inputs. `fuzz/` runs the same for long.

use std::path::{Path, PathBuf};

use crate::rng::Rng;

#[expect(unreachable_pub, reason = "a crate of its own shares the file")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Inputs for each target beside its corpus.
const INPUTS: u64 = 1_500;

#[test]
fn frames() {
    run("frames", targets::frames);
}

#[test]
fn tunnel() {
    run("tunnel", targets::tunnel);
}

#[test]
fn targeting() {
    run("targeting", targets::targeting);
}

fn run(target: &str, check: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for (path, input) in &corpus {
        let _print = Input(path.display().to_string());
        check(input);
    }
    for seed in 0..INPUTS {
        let mut rng = Rng::new(seed);
        let input = if rng.chance(1, 3) {
            (0..rng.below(300)).map(|_| rng.next().to_le_bytes()[0]).collect()
        } else {
            mutated(&corpus[rng.index(corpus.len())].1, &mut rng)
        };
        let _print = Input(format!("seed {seed}: {input:02x?}"));
        check(&input);
    }
}

/// Prints the input when the test fails.
struct Input(String);

impl Drop for Input {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed on {}", self.0);
        }
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        // What long runs gather has the fuzzer's names, 40 digits: only what was kept on purpose is a test.
        .filter(|path| path.file_name().is_some_and(|name| name.len() != 40))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let input = std::fs::read(&path).unwrap();
            (path, input)
        })
        .collect()
}

/// A few bytes changed, cut, doubled.
fn mutated(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.index(input.len() + 1);
        match rng.below(5) {
            0 => input.insert(at, rng.next().to_le_bytes()[0]),
            1 => input.truncate(at),
            2 => {
                let part = input[at..].to_vec();
                input.extend(part.into_iter().take(64));
            }
            _ if at < input.len() => input[at] = rng.next().to_le_bytes()[rng.index(8)],
            _ => {}
        }
    }
    input
}
