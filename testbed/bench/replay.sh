#!/usr/bin/env bash
# A backlog after a cut: how fast it is replayed while live writes go on, and what those feel.
# Options are those of `testbed replay --help`.
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh"
echo "$(nproc) cores, load average $(cut -d' ' -f1 /proc/loadavg)"
exec "$TESTBED" replay --holdfast "$HOLDFAST" "$@"
