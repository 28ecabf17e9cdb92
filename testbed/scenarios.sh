#!/usr/bin/env bash
# testbed/scenarios.sh [--long] [--mode loopback] [FILE ...]: plays all scenarios and prints a table. As root across
# network namespaces, else over the loopback, where what cannot be played is said to be skipped. HOLDFAST names another
# binary.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$here/.."
options=() files=()
while (($#)); do
    case "$1" in
    --mode) options+=("$1" "$2"); shift ;;
    --*) options+=("$1") ;;
    *) files+=("$1") ;;
    esac
    shift
done
((${#files[@]})) || files=(scenarios/*.yaml)
[ -n "${HOLDFAST:-}" ] || cargo build --release --locked
testbed run "${options[@]}" "${files[@]}"
