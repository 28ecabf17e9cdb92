# Sourced by the other scripts: builds what is measured, for release, and says in HOLDFAST and TESTBED where it is.
# Set both beforehand to measure binaries that exist.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
command -v cargo >/dev/null || [[ -n "${HOLDFAST:-}" && -n "${TESTBED:-}" ]] || {
    echo "missing: cargo, or HOLDFAST and TESTBED with the paths of both binaries" >&2
    exit 2
}
# One after the other: together they would share features, and the simulator's planted bugs would be in the product.
if [[ -z "${HOLDFAST:-}" ]]; then
    (cd "$root" && cargo build --release --package holdfast --bin holdfast)
    HOLDFAST="$target/release/holdfast"
fi
if [[ -z "${TESTBED:-}" ]]; then
    (cd "$root" && cargo build --release --package testbed)
    TESTBED="$target/release/testbed"
fi
