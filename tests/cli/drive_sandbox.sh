# A service's test in a shell: drives the sandbox with curl, and prints what it saw.
set -eu

state=
drive() { # METHOD PATH BODY
  state=$(curl -sS --fail -X "$1" "$TAXIZER_BASE_URL/_sandbox/$2" -H 'Content-Type: application/json' -d "$3")
}
number() { # NAME
  printf %s "$state" | grep -o "\"$1\": [0-9.]*" | head -n 1 | cut -d ' ' -f 2
}
connect() {
  answer=$(curl -sS -w '\n%{http_code}' "$TAXIZER_BASE_URL/v1/Auth/Connect" -H 'Content-Type: application/json' \
    -d "{\"clientId\": \"$TAXIZER_CLIENT_ID\", \"clientSecret\": \"$TAXIZER_CLIENT_SECRET\"}")
  status=$(printf %s "$answer" | tail -n 1)
  jwt=$(printf %s "$answer" | sed -n 's/.*"jwtToken": "\([^"]*\)".*/\1/p')
}
register() {
  status=$(curl -sS -o /dev/null -w '%{http_code}' "$TAXIZER_BASE_URL/v1/Devices/Register" \
    -H "Authorization: Bearer $jwt" -d '{}')
}

drive POST fail '{"kind": "answer", "code": 503, "where": "connect", "times": 1}'
connect; statuses=$status
connect; statuses="$statuses, $status"
register; statuses="$statuses, $status"
drive POST revoke '{}'
register; statuses="$statuses, $status"
drive PATCH settings '{"clock_offset": 60}'
counts="$(number connects), $(number connects_ok), $(number unauthorized)"
seen=$(curl -sSN --max-time 2 "$TAXIZER_BASE_URL/_sandbox/events" 2>/dev/null | sed -n 's/^event: \(.*\)/"\1"/p' | grep -v '"state"' | paste -sd , -) || true
echo "{\"statuses\": [$statuses], \"counts\": [$counts], \"offset\": $(number clock_offset), \"seen\": [$seen]}"
