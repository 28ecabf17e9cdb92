#!/usr/bin/env bash
# What silence costs: bytes a day of one store's line, link and control with all headers, and the CPU of a hub for 100
# idle stores. Needs root (network namespaces) and `ip`. Options are those of `testbed idle --help`.
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh"
echo "$(nproc) cores, load average $(cut -d' ' -f1 /proc/loadavg)"
exec "$TESTBED" idle --holdfast "$HOLDFAST" "$@"
