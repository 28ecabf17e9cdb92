#!/usr/bin/env bash
# Retries with the same key at the other site, 0 to 50 ms after the first, with control on and off.
# Options are those of `testbed retries --help`.
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh"
echo "$(nproc) cores, load average $(cut -d' ' -f1 /proc/loadavg)"
exec "$TESTBED" retries --holdfast "$HOLDFAST" "$@"
