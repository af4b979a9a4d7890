#!/usr/bin/env bash
# Tests the plain service of saga-by-curl.sh with `accordant conform`: repeats, duplicates at the same
# time, and whether what is made good is made good once.
#
# Needs bash, python3 and the accordant binary (`cargo build --release --bin accordant`).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
accordant=${ACCORDANT:-${CARGO_TARGET_DIR:-$here/../target}/release/accordant}
[ -x "$accordant" ] || {
    echo "$accordant is not there: build it with \`cargo build --release --bin accordant\`" >&2
    exit 1
}
desk=127.0.0.1:${DESK_PORT:-7703}

python3 -u "$here/saga-by-curl/desk.py" "${desk#*:}" 1000 >/dev/null 2>&1 &
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    (: <"/dev/tcp/${desk%:*}/${desk#*:}") 2>/dev/null && break
    sleep 0.1
done

"$accordant" conform --participant "http://$desk" --name desk --state /free --plain '{
    "act":        {"path": "/bookings"},
    "compensate": {"method": "DELETE", "path": "/bookings/{act#/id}"}}'
