# What the sections of the benchmark share. Sourced by scripts/bench.sh, which
# sets `bin`, `work`, `rounds`, `secs` and `here`.
# shellcheck shell=sh disable=SC2034,SC2154

# Never sold out within a run.
endless=1000000000

# The functions on lists of numbers that every section's awk begins with.
stats='
    function sort(list, count,   i, j, t) {
        for (i = 2; i <= count; i++) {
            t = list[i]
            for (j = i - 1; j >= 1 && list[j] > t; j--) list[j + 1] = list[j]
            list[j + 1] = t
        }
    }
    # Of an even number of values the mean of the two in the middle.
    function median(list, count) {
        sort(list, count)
        return (list[int((count + 1) / 2)] + list[int(count / 2) + 1]) / 2
    }
    function spread(list, count, format,   middle) {
        middle = median(list, count)
        return sprintf(format " (" format "–" format ")", middle, list[1], list[count])
    }'

now() { date +%s.%N; }
say() { printf '%s\n' "$*" >&2; }
die() { say "bench: $*"; exit 1; }

# require PROGRAM PACKAGE: a comparison that is left out silently looks like one
# that was won.
require() {
    command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"
}

# Every server is started once, and each in turn does all of the work while the
# others idle.
start_servers() {
    for kind in $servers; do
        "$bin" lab "$kind" >"$work/$kind.url" 2>"$work/$kind.log" &
        pids="$pids $!"
    done
    for kind in $servers; do
        tries=0
        until [ -s "$work/$kind.url" ]; do
            tries=$((tries + 1))
            [ "$tries" -le 600 ] || die "no $kind: $(cat "$work/$kind.log")"
            sleep 0.1
        done
    done
    echo "sqlite:$work/shop.db" >"$work/sqlite.url"
}

# stop_servers: by their number, and waited for, so that their folders are gone.
stop_servers() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || :
    done
    wait
    pids=
}

url_of() { cat "$work/$1.url"; }

# seed KIND SKUS: nothing but the opening balances is in the ledger then.
seed() {
    "$bin" seed --skus "$2" --stock "$endless" --database-url "$(url_of "$1")" >/dev/null 2>"$work/seed.log" ||
        die "seeding $1: $(cat "$work/seed.log")"
    case $1 in
    # Otherwise whoever runs when a checkpoint is due pays for all before.
    postgres) psql -qX "$(url_of postgres)" -c CHECKPOINT ;;
    esac
}

# stockbench_run KIND ARGUMENTS...: the report is in $work/report.json. An audit
# that fails is a result; a run that could not be judged is none.
stockbench_run() {
    url=$(url_of "$1")
    shift
    rm -f "$work/report.json"
    code=0
    "$bin" run "$@" --duplicates 0 --fault none --database-url "$url" -o json \
        >"$work/report.json" 2>"$work/run.log" || code=$?
    return 0
}

# figure NAME: a number or word of the report that stands on a line of its own
# under a name that is used once.
figure() {
    sed -n "s/^ *\"$1\": \([^,]*\),*\$/\1/p" "$work/report.json" | head -n 1
}

# deducted_p99: in milliseconds; `p99` stands in every distribution.
deducted_p99() {
    awk '/^  "latency_us"/ { latency = 1 } latency && /"deducted": [{]/ { sale = 1 }
        sale && /"p99":/ { gsub(/[^0-9]/, "", $2); printf "%.1f\n", $2 / 1000; exit }' "$work/report.json"
}

# The even rounds go the other way round: whatever the first one leaves behind
# (a warm cache, work put off) must not always help or hurt the same one.
in_turns() {
    if [ $(($1 % 2)) -eq 1 ]; then echo "$2 $3"; else echo "$3 $2"; fi
}
