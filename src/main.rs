//! Arguments to configuration to app to exit code.
use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::cli::main(std::env::args_os())
}
