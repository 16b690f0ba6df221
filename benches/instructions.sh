#!/bin/sh
# Counts the instructions of everything that is done for each message, without its input and output, and compares with
# benches/instructions.baseline. Fails where more than TOLERANCE hundredths more are needed, and where Frame::parse needs more
# than LIMIT hundredths of what httparse::parse_headers does with the same header bytes. Needs valgrind; says so loudly where
# there is none.
#
#   sh benches/instructions.sh            compares
#   sh benches/instructions.sh --record   writes the baseline anew: to be committed with what has changed the counts
set -eu
cd "$(dirname "$0")/.."
LIMIT=${LIMIT:-110}
TOLERANCE=${TOLERANCE:-3}
# Another compiler makes other code: a baseline of another one shows great losses only.
TOLERANCE_ACROSS_COMPILERS=15
baseline=benches/instructions.baseline

loudly() {
    echo '########################################################################' >&2
    printf '# %s\n' "$@" >&2
    echo '########################################################################' >&2
}

if ! command -v valgrind >/dev/null; then
    loudly 'valgrind is not installed: NO INSTRUCTIONS ARE COUNTED.' 'What has become slower is NOT SEEN here.'
    exit 0
fi

program=$(cargo bench --locked --no-default-features --bench instructions --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

# Instructions of a whole run that does WORK so often.
run() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$program" --count "$1" "$2" >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; exit 1; }
    sed -n 's/^summary: *//p; s/^totals: *//p' "$scratch/out" | tail -n 1
}

# Instructions of WORK once: the difference of two runs, so that starting up does not count.
once() {
    few=$(run "$1" 1000)
    many=$(run "$1" 2000)
    echo $(((many - few) / 1000))
}

compiler=$(rustc --version)
"$program" --list >"$scratch/list"
{
    echo "# Instructions of each piece of work; written by: sh benches/instructions.sh --record"
    echo "# $compiler, $(uname -m)"
    while read -r work; do
        count=$(once "$work")
        echo "$work $count"
    done <"$scratch/list"
} >"$scratch/counted"

count_of() { # count_of WORK FILE
    sed -n "s/^$1 //p" "$2"
}

if [ "${1:-}" = --record ]; then
    cp "$scratch/counted" "$baseline"
    cat "$baseline"
    exit 0
fi

failed=''
if [ "$(sed -n 2p "$scratch/counted")" != "$(sed -n 2p "$baseline")" ]; then
    TOLERANCE=$TOLERANCE_ACROSS_COMPILERS
    loudly "The baseline was recorded with: $(sed -n 's/^# //; 2p' "$baseline")" "This is: $compiler, $(uname -m)" \
        "Only what needs $TOLERANCE % more is seen. Record the baseline anew: sh benches/instructions.sh --record"
fi
while read -r work; do
    now=$(count_of "$work" "$scratch/counted")
    before=$(count_of "$work" "$baseline")
    if [ -z "$before" ]; then
        echo "$work: not in $baseline" >&2
        failed=yes
        continue
    fi
    verdict=''
    if [ $((now * 100)) -gt $((before * (100 + TOLERANCE))) ]; then
        verdict="  more than $TOLERANCE % too many"
        failed=yes
    elif [ $((now * 100)) -lt $((before * (100 - TOLERANCE))) ]; then
        verdict='  fewer: record the baseline anew, or they may come back unseen'
    fi
    printf '%-20s %6d instructions, baseline %6d%s\n' "$work" "$now" "$before" "$verdict"
done <"$scratch/list"

frame=$(count_of frame "$scratch/counted")
httparse=$(count_of httparse "$scratch/counted")
ratio=$(((frame * 100 + httparse / 2) / httparse))
printf 'Frame::parse to httparse::parse_headers: %d.%02d\n' $((ratio / 100)) $((ratio % 100))
if [ $((frame * 100)) -gt $((LIMIT * httparse)) ]; then
    printf 'more than %d.%02d times\n' $((LIMIT / 100)) $((LIMIT % 100)) >&2
    failed=yes
fi
[ -z "$failed" ]
