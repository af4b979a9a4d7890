#!/usr/bin/env bash
# Two sagas by curl alone, without any database: two plain services in Python, a coordinator, and
# one request for each saga. The second one is refused by the hotel, so its flight is given back.
#
# Needs bash, curl, python3 and the accordant binary (`cargo build --release --bin accordant`).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
accordant=${ACCORDANT:-${CARGO_TARGET_DIR:-$here/../target}/release/accordant}
[ -x "$accordant" ] || {
    echo "$accordant is not there: build it with \`cargo build --release --bin accordant\`" >&2
    exit 1
}
coordinator=127.0.0.1:${COORDINATOR_PORT:-7650}
flights=127.0.0.1:${FLIGHTS_PORT:-7701}
hotels=127.0.0.1:${HOTELS_PORT:-7702}

directory=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$directory"' EXIT

python3 -u "$here/saga-by-curl/desk.py" "${flights#*:}" 10 >"$directory/flights" &
python3 -u "$here/saga-by-curl/desk.py" "${hotels#*:}" 1 >"$directory/hotels" &
"$accordant" serve --listen "$coordinator" --journal "sqlite:$directory/journal.db" \
    --participant "flights=http://$flights" --participant "hotels=http://$hotels" \
    >"$directory/coordinator" 2>&1 &

up() { curl --fail --silent --retry 50 --retry-delay 1 --retry-connrefused "$1" >/dev/null; }
up "http://$flights/free" && up "http://$hotels/free" && up "http://$coordinator/v1/transactions"

book() {
    curl --silent --show-error "http://$coordinator/v1/transactions" \
        --header "Idempotency-Key: $1" --header "Content-Type: application/json" --data '{
      "wait": "completed",
      "steps": [
        {"name": "flight", "action": {
          "participant": "flights",
          "act":        {"path": "/bookings"},
          "compensate": {"method": "DELETE", "path": "/bookings/{flight#/id}"}}},
        {"name": "hotel", "after": ["flight"], "action": {
          "participant": "hotels",
          "act":        {"path": "/bookings", "body": {"flight": {"$result": "flight#/id"}}},
          "compensate": {"method": "DELETE", "path": "/bookings/{hotel#/id}"}}}
      ]}'
}

show() {
    python3 -c '
import json, sys
told = json.load(sys.stdin)
if "outcome" not in told:
    sys.exit(f"not taken: {told}")
steps = ", ".join(action["name"] + " " + action["state"] for action in told["actions"])
print(told["idempotency_key"] + ":", told["outcome"] + ";", steps)'
}

{
    book trip-1 | show
    book trip-2 | show
    book trip-2 | show # the same key: nothing is done again
    echo "flights: $(curl --silent "http://$flights/free"), hotels: $(curl --silent "http://$hotels/free")"
} | tee "$directory/said"
echo
echo "what the flight desk was asked:"
grep -v GET "$directory/flights"

diff "$directory/said" - <<'SAID' || { echo "not what was to be expected"; cat "$directory/coordinator"; exit 1; }
trip-1: committed; flight done, hotel done
trip-2: aborted; flight compensated, hotel refused
trip-2: aborted; flight compensated, hotel refused
flights: {"free": 9}, hotels: {"free": 0}
SAID
