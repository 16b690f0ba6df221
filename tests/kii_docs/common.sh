# Sourced by the scripts beside it. Given by the test: SITE, APP_ID, APP_KEY, ADMIN_ID, ADMIN_SECRET, WORK; where curl finds the
# authority to trust (CURL_CA_BUNDLE), and mosquitto_sub the port, which the commands leave at its default (XDG_CONFIG_HOME).
set -euo pipefail

HEAD=$WORK/head BODY=$WORK/body
SUBSCRIBER= LOG=$WORK/subscriber

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    [ ! -f "$HEAD" ] || grep -v '^[*{}]' "$HEAD" >&2 || true
    [ ! -f "$BODY" ] || cat "$BODY" >&2
    [ ! -f "$LOG" ] || cat "$LOG" >&2
    exit 1
}

# expect STATUS COMMAND...: runs a curl that is verbose, and keeps the head and the body of its answer.
expect() {
    local status=$1
    shift
    "$@" >"$BODY" 2>"$HEAD" || fail "curl ended with $?"
    grep -q "^< HTTP/1.1 $status " "$HEAD" || fail "expected $status"
}

status() { sed -n 's/^< HTTP\/1.1 \([0-9]*\) .*/\1/p' "$HEAD" | tail -n 1; }

# field NAME: a text or number at the top of the body.
field() { sed -n "s/^  \"$1\" : \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$BODY" | head -n 1; }

# header NAME VALUE: the answer has this header.
header() {
    tr -d '\r' <"$HEAD" | grep -qi "^< $1: $2\$" || fail "no header $1: $2"
}

# body_has TEXT...: the body has each of these lines.
body_has() {
    local text
    for text in "$@"; do
        grep -qF -- "$text" "$BODY" || fail "the body has no: $text"
    done
}

# until_ready COMMAND...: repeats a curl once a second while it is answered with 503.
until_ready() {
    local tries
    for tries in $(seq 60); do
        "$@" >"$BODY" 2>"$HEAD" || fail "curl ended with $?"
        case $(status) in
            503) sleep 1 ;;
            200) return 0 ;;
            *) fail "neither 503 nor 200" ;;
        esac
    done
    fail "not ready after $tries tries"
}

# wait_for TEXT: until the subscriber has said it.
wait_for() {
    local tries runs=yes
    for tries in $(seq 600); do
        ! grep -qF -- "$1" "$LOG" || return 0
        # What it said last may come between two looks.
        [ "$runs" = yes ] || fail "the subscriber has ended without: $1"
        kill -0 "$SUBSCRIBER" 2>/dev/null || runs=no
        sleep 0.1
    done
    fail "nothing of: $1 (waited $tries times)"
}

# subscribed: once the subscriber that was started last, in the background, has its SUBACK.
subscribed() {
    SUBSCRIBER=$!
    trap 'kill "$SUBSCRIBER" 2>/dev/null || true' EXIT
    wait_for "Subscribed (mid: 1): 0"
}

# endpoint_fields: takes from the body what a connection needs.
endpoint_fields() {
    INSTALLATION_ID=$(field installationID) USERNAME=$(field username) PASSWORD=$(field password)
    MQTT_TOPIC=$(field mqttTopic) BROKER_HOST=$(field host)
    [ "${#MQTT_TOPIC}" = 23 ] || fail "an unlikely topic: $MQTT_TOPIC"
}

# A thing and its token, as its maker would get them.
onboard_thing() {
    expect 200 curl -v -X POST -u "$APP_ID:$APP_KEY" \
        -H "Content-Type: application/vnd.kii.OnboardingWithVendorThingIDByThing+json" \
        "$SITE/thing-if/apps/$APP_ID/onboardings" \
        -d "{\"vendorThingID\": \"$1\", \"thingPassword\": \"thing-password\"}"
    THING_ID=$(field thingID) THING_TOKEN=$(field accessToken)
}

admin_token() {
    expect 200 curl -v -X POST -H "Content-Type: application/json" "$SITE/api/apps/$APP_ID/oauth2/token" \
        -d "{\"grant_type\": \"client_credentials\", \"client_id\": \"$ADMIN_ID\", \"client_secret\": \"$ADMIN_SECRET\"}"
    ADMIN_TOKEN=$(field access_token)
}

# A user who has logged in.
log_in() {
    expect 201 curl -v -X POST -u "$APP_ID:$APP_KEY" -H "Content-Type: application/json" "$SITE/api/apps/$APP_ID/users" \
        -d "{\"loginName\": \"$1\", \"password\": \"user-password\"}"
    USER_ID=$(field userID)
    expect 200 curl -v -X POST -H "Content-Type: application/json" "$SITE/api/apps/$APP_ID/oauth2/token" \
        -d "{\"username\": \"$1\", \"password\": \"user-password\"}"
    USER_TOKEN=$(field access_token)
}
