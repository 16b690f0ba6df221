#!/bin/sh
# Reports the lamp's state. While `thingif listen` runs the call goes through its connection.
set -eu

exec thingif call --fail --retry 3 PUT 'targets/thing:{thing}/states' -d "{\"power\":$(cat "$LAMP_DIR/power")}"
