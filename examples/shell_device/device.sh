#!/bin/sh
# A device in shell: a lamp whose relay is a file. `thingif listen` holds the connection and runs ./actuate.sh for each command;
# `thingif call` reports the state through the same connection.
#
#   export THINGIF_BROKER=mqtt://127.0.0.1 THINGIF_APP=demo THINGIF_THING=lamp-1
#   export THINGIF_APP_KEY_FILE=app-key THINGIF_PASSWORD_FILE=password
#   export LAMP_DIR=./lamp-1
#   ./device.sh
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
: "${LAMP_DIR:?a directory for the lamp}"
umask 077
mkdir -p "$LAMP_DIR"
LAMP_DIR=$(cd -- "$LAMP_DIR" && pwd)
export LAMP_DIR THINGIF_CREDENTIALS="$LAMP_DIR/credential.json"
[ -e "$LAMP_DIR/power" ] || echo false >"$LAMP_DIR/power"

# The state, once at the start: onboards first if this is the lamp's first start.
[ -e "$THINGIF_CREDENTIALS" ] || thingif onboard >&2
"$here/report.sh"

# Stays until it is told to stop; a lost connection is made again.
exec thingif listen --exec "$here/actuate.sh"
