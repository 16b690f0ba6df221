#!/bin/sh
# Carries out one command, which comes as JSON on standard input. Exit status 0: every action succeeded. Otherwise the last line
# on standard error becomes the errorMessage that the owner sees.
set -eu

command=$(cat)
for action in $THINGIF_ACTIONS; do
    case $action in
        turnPower) ;;
        *) echo "this lamp cannot $action" >&2; exit 1 ;;
    esac
done
# A quote within a text of JSON has a backslash before it, so that this is found nowhere else.
case $(printf %s "$command" | tr -d ' \n') in
    *'"power":true'*) power=true ;;
    *'"power":false'*) power=false ;;
    *) echo 'power is neither true nor false' >&2; exit 1 ;;
esac
echo "$power" >"$LAMP_DIR/power" # the relay
"$(dirname -- "$0")/report.sh"
