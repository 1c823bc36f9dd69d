# stockbench against the benchmark tool that comes with each server: the same
# SQL in the same transaction on the same tables, the same clients and
# connections, prepared statements, durable commits.
# shellcheck shell=sh disable=SC2154

clients=32

# normal: statements without what each tool writes in its own way.
normal() {
    sed 's/::bigint//g; s/\$[0-9][0-9]*/?/g; s/:[a-z_][a-z_]*/?/g; s/--.*//; s/;//g' | tr -s ' \n' ' '
}

# check_same_sql: the strategy may change, and the scripts here be forgotten.
check_same_sql() {
    theirs=$(sed '/^\\/d; /^BEGIN/d; /^COMMIT/d' "$here/bench/atomic.pgbench" | normal)
    ours=$("$bin" strategies show atomic --dialect postgres | sed '/^BEGIN/d; /^COMMIT/d' | normal)
    [ "${ours# }" = "${theirs# }" ] || die "scripts/bench/atomic.pgbench is not what atomic sends"
    theirs=$(sed -n '/_sql = \[\[$/,/^\]\]$/p' "$here/bench/atomic.lua" | sed '/[][]/d' | normal)
    ours=$("$bin" strategies show atomic --dialect mysql | sed '/^START/d; /^COMMIT/d' | normal)
    [ "${ours# }" = "${theirs# }" ] || die "scripts/bench/atomic.lua is not what atomic sends"
}

# spent PID: seconds of processor time of all its threads, user and system.
# Nanoseconds in the kernel's books; fails once the process is gone.
spent() {
    cat /proc/"$1"/task/*/schedstat 2>/dev/null | awk '{ sum += $1 } END { printf "%.6f\n", sum / 1e9; exit !NR }'
}

# entries KIND: how many the ledger has by now.
entries() {
    case $1 in
    postgres) psql -qXAt "$(url_of "$1")" -c "$count" ;;
    *)
        mysql_login "$1"
        MYSQL_PWD=$password mariadb -N --user="$user" --host="$host" --port="$port" "$name" -e "$count"
        ;;
    esac
}
count='SELECT count(*) FROM stockbench_ledger'

mysql_login() {
    IFS=' ' read -r user password host port name <<TEXT
$(url_of "$1" | sed -E 's#^[a-z]+://([^:]*):([^@]*)@([^:]*):([0-9]+)/([^?]*).*#\1 \2 \3 \4 \5#')
TEXT
}

# measure TOOL KIND SKUS: prints orders per second by the tool's own account, µs
# of its processor time per order, and what stockbench itself says of that. The
# processor time is taken between two moments in the middle of the run, for
# every tool alike: 32 password handshakes at the start, and an audit at the
# end, cost as much as thousands of orders. The ledger tells how many came in
# between; a rate over the whole run would not, on a machine with other work.
measure() {
    "run_$1" "$2" "$3" >"$work/out" 2>"$work/err" &
    running=$!
    # Every tool connects all its clients before the first of them begins.
    until [ "$(entries "$2")" -gt "$3" ]; do
        [ -d "/proc/$running" ] || die "$1: $(tail -n 3 "$work/err" "$work/out")"
        sleep 0.1
    done
    before="$(spent "$running") $(entries "$2")"
    sleep $((secs - 2))
    at_end=$(spent "$running") || die "$1 ended early: $(tail -n 3 "$work/err" "$work/out")"
    between="$before $at_end $(entries "$2")"
    wait "$running" || die "$1: $(tail -n 3 "$work/err" "$work/out")"
    running=
    own=0
    [ "$1" != stockbench ] || { cp "$work/out" "$work/report.json" && own=$(figure cpu_us_per_order); }
    per_s=$("per_s_$1") || exit 1
    echo "$per_s $between $own" | awk '{ print $1, ($4 - $2) * 1e6 / ($5 - $3), $6 }'
}

run_stockbench() {
    exec "$bin" run -s atomic --no-seed -c "$clients" --connections "$clients" -d "${secs}s" \
        --database-url "$(url_of "$1")" -o json
}
per_s_stockbench() {
    [ "$(figure passed)" = true ] || die "atomic failed its audit"
    figure orders_per_s
}

run_pgbench() {
    exec pgbench -n -M prepared -c "$clients" -j 2 -T "$secs" -f "$here/bench/atomic.pgbench" \
        -D skus="$2" -D n=0 -D clients="$clients" -D quantity=1 -D run_id=0 "$(url_of "$1")"
}
per_s_pgbench() { sed -n 's/^tps = \([0-9.]*\) (without initial connection time)/\1/p' "$work/out"; }

run_sysbench() {
    # Refusals that both retry: deadlock, lock wait, snapshot, AUTO-INC lock.
    mysql_login "$1"
    exec sysbench --db-driver=mysql --mysql-ignore-errors=1213,1205,1020,1467 --mysql-user="$user" \
        --mysql-password="$password" --mysql-host="$host" --mysql-port="$port" --mysql-db="$name" \
        --threads="$clients" --time="$secs" --events=0 --skus="$2" "$here/bench/atomic.lua" run
}
per_s_sysbench() { sed -n 's/^ *transactions: .*(\([0-9.]*\) per sec.*/\1/p' "$work/out"; }

parity() {
    check_same_sql
    : >"$work/parity"
    for round in $(seq "$rounds"); do
        for kind in $servers; do
            case $kind in postgres) other=pgbench ;; *) other=sysbench ;; esac
            for skus in 1 10000; do
                for tool in $(in_turns "$round" stockbench "$other"); do
                    say "parity, round $round of $rounds: $kind, $skus SKUs, $tool"
                    seed "$kind" "$skus"
                    measure "$tool" "$kind" "$skus" >"$work/measured"
                    echo "$round $kind $skus $tool $other $(cat "$work/measured")" >>"$work/parity"
                done
            done
        done
    done
    cat <<TEXT

## Against pgbench and sysbench

\`atomic\` (BEGIN, conditional UPDATE, INSERT … SELECT, COMMIT), its statements in a pgbench and a sysbench
script: $clients clients, as many connections, prepared statements, durable commits, $secs s each from freshly seeded
tables that never sell out. CPU is the client's processor time (user and system) per order, taken from the
middle of the run for every tool alike; "by its own count" is what stockbench's report says of its whole load.
Ratios are taken round by round: a throughput above 1 and a CPU below 1 are in stockbench's favour.

| server | SKUs | against | orders/s | its orders/s | throughput ratio | CPU µs | its CPU µs | CPU ratio | CPU µs by its own count |
|---|---:|---|---:|---:|---:|---:|---:|---:|---:|
TEXT
    awk "$stats"'
        { cell = $2 " " $3 " " $5; side = $4 == $5 ? "theirs" : "ours"
          if (!(cell in rounds)) order[++cells] = cell
          if ($1 > rounds[cell]) rounds[cell] = $1
          for (i = 6; i <= 8; i++) value[cell, side, i, $1] = $i }
        function of(cell, side, i,   list, r) {
            for (r = 1; r <= rounds[cell]; r++) list[r] = value[cell, side, i, r]
            return median(list, rounds[cell])
        }
        function ratio(cell, i,   list, r) {
            for (r = 1; r <= rounds[cell]; r++) list[r] = value[cell, "ours", i, r] / value[cell, "theirs", i, r]
            return spread(list, rounds[cell], "%.2f")
        }
        END {
            for (c = 1; c <= cells; c++) {
                cell = order[c]; split(cell, part, " ")
                printf "| %s | %d | %s | %.0f | %.0f | %s | %.0f | %.0f | %s | %.0f |\n", part[1], part[2], part[3],
                    of(cell, "ours", 6), of(cell, "theirs", 6), ratio(cell, 6),
                    of(cell, "ours", 7), of(cell, "theirs", 7), ratio(cell, 7), of(cell, "ours", 8)
            }
        }' "$work/parity"
}
