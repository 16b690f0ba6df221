#!/bin/sh
# Counts the instructions of Frame::parse on a 300-byte answer, and of httparse::parse_headers on the same header bytes.
# Fails if the first needs more than LIMIT hundredths of the second. Needs valgrind.
set -eu
cd "$(dirname "$0")/.."
LIMIT=${LIMIT:-110}

program=$(cargo bench --no-default-features --bench frame_instructions --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"frame_instructions".*"executable":"\([^"]*\)".*/\1/p')
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

# Instructions of a whole run that does WORK so often.
run() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$program" --count "$1" "$2" 2>"$scratch/log" ||
        { cat "$scratch/log" >&2; exit 1; }
    sed -n 's/^summary: *//p; s/^totals: *//p' "$scratch/out" | tail -n 1
}

# Instructions of WORK once: the difference of two runs, so that starting up does not count.
once() {
    few=$(run "$1" 1000)
    many=$(run "$1" 2000)
    echo $(((many - few) / 1000))
}

frame=$(once frame)
httparse=$(once httparse)
with_array=$(once httparse-with-array)
ratio=$(((frame * 100 + httparse / 2) / httparse))
echo "Frame::parse, 300-byte answer          $frame instructions"
echo "httparse::parse_headers, same headers  $httparse instructions ($with_array with its array made each time)"
echo "ratio                                  $((ratio / 100)).$(printf %02d $((ratio % 100)))"
if [ $((frame * 100)) -gt $((LIMIT * httparse)) ]; then
    echo "more than $((LIMIT / 100)).$(printf %02d $((LIMIT % 100))) times" >&2
    exit 1
fi
