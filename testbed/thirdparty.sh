#!/usr/bin/env bash
# A service that is not ours, through a cut: two json-servers (npm) behind two appliances, started from the two files in
# docs/examples/third-party, with a line between them that is cut while clients write at both sites. Then full exports
# of both services are compared with each other and with what clients were told. Exit code 0: nothing but times differs.
# Options: --help. `testbed/thirdparty.sh line` is the line alone, for a start by hand. HOLDFAST=/path takes a binary
# that exists; JSON_SERVER=/path/to/json-server an installed service. Needs Python 3.9, Node and npm; uses the ports in
# those files.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
version=0.17.4

if [[ "${1:-}" == line ]]; then
    exec python3 "$root/testbed/thirdparty/line.py"
fi
for tool in python3 node npm; do
    command -v "$tool" >/dev/null || { echo "missing: $tool" >&2; exit 2; }
done
if [[ -z "${HOLDFAST:-}" ]]; then
    (cd "$root" && cargo build --release --locked --package holdfast --bin holdfast)
    HOLDFAST="${CARGO_TARGET_DIR:-$root/target}/release/holdfast"
fi
if [[ -z "${JSON_SERVER:-}" ]]; then
    installed="$(mktemp -d -t json-server-XXXXXX)"
    trap 'rm -rf "$installed"' EXIT
    npm install --silent --no-audit --no-fund --prefix "$installed" "json-server@$version" >&2
    JSON_SERVER="$installed/node_modules/json-server/lib/cli/bin.js"
fi
PYTHONDONTWRITEBYTECODE=1 python3 "$root/testbed/thirdparty/run.py" --holdfast "$HOLDFAST" --json-server "$JSON_SERVER" "$@"
