#!/usr/bin/env bash
# What a POST costs more than the direct call, next to fsync on the same disk.
# Options are those of `testbed post --help`.
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh"
echo "$(nproc) cores, load average $(cut -d' ' -f1 /proc/loadavg)"
exec "$TESTBED" post --holdfast "$HOLDFAST" "$@"
