# Sourced by the scripts beside it. TESTBED names a testbed that is built already; else Cargo builds one.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
testbed() {
    if [ -n "${TESTBED:-}" ]; then
        "$TESTBED" "$@"
    else
        cargo run --quiet --release --locked --manifest-path "$here/../Cargo.toml" -p testbed -- "$@"
    fi
}
