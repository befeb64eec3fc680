//! The binary: command line in, exit code out. Everything else is in the library.

/// glibc's allocator keeps megabytes per thread after large bodies and costs more per request; the
/// figures are in `README.md`, "Numbers".
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    weir::cli::run()
}
