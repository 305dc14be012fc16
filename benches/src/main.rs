//! The benchmark's command line: `iploop-bench run [--quick]`.

fn main() -> anyhow::Result<()> {
    iploop_benches::cli::main()
}
