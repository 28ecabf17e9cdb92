//! Arguments to configuration to app to exit code.
use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::app::give_memory_back();
    holdfast::control::read_and_write_on_one_thread();
    holdfast::cli::main(std::env::args_os())
}
