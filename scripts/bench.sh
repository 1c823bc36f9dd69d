#!/bin/sh
# Compares what can be compared, in one session and in turns: the goodput of
# the safe strategies on one hot SKU, on every server that can be started, and
# bulk seeding against psql's own COPY of the same rows.
set -eu

bin=${STOCKBENCH:-target/release/stockbench}
rounds=${ROUNDS:-3}
work=$(mktemp -d)
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || :; done; wait; rm -rf "$work"' EXIT INT TERM

for kind in postgres mysql mariadb; do
    "$bin" lab "$kind" >"$work/$kind.url" 2>"$work/$kind.log" &
    pids="$pids $!"
done
for kind in postgres mysql mariadb; do
    tries=0
    until [ -s "$work/$kind.url" ] || [ "$tries" -ge 600 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    [ -s "$work/$kind.url" ] || { echo "no $kind: $(cat "$work/$kind.log")" >&2; exit 1; }
done
echo "sqlite:$work/shop.db" >"$work/sqlite.url"

echo "goodput in orders/s: 1 SKU, 1,000 units, 3,000 orders, 64 clients; $rounds rounds in turns"
for round in $(seq "$rounds"); do
    for kind in sqlite postgres mysql mariadb; do
        for strategy in pessimistic optimistic cas atomic atomic-returning constraint serializable idempotent buckets units group-commit; do
            "$bin" run -s "$strategy" --duplicates 0 --database-url "$(cat "$work/$kind.url")" \
                --skus 1 --stock 1000 --orders 3000 --concurrency 64 -o json \
                >"$work/report.json" 2>/dev/null || :
            sed -n 's/^    "orders_per_s": \([0-9.]*\),.*/\1/p; s/^  "passed": \(.*\),/\1/p' "$work/report.json" |
                paste -sd' ' - | sed "s/^/$kind $strategy /" >>"$work/goodput"
        done
    done
done
sort "$work/goodput" | awk '
    { key = $1 " " $2; n[key]++; value[key, n[key]] = $3; if ($4 != "true") failed[key] = " (audit failed)" }
    END {
        for (key in n) {
            for (i = 1; i <= n[key]; i++) for (j = i + 1; j <= n[key]; j++)
                if (value[key, j] + 0 < value[key, i] + 0) { t = value[key, i]; value[key, i] = value[key, j]; value[key, j] = t }
            split(key, part, " ")
            printf "  %-9s %-18s %9.1f  (%s to %s)%s\n", part[1], part[2], value[key, int((n[key] + 1) / 2)], value[key, 1], value[key, n[key]], failed[key]
        }
    }' | sort

if command -v psql >/dev/null; then
    url=$(cat "$work/postgres.url")
    awk 'BEGIN { for (i = 1; i <= 1000000; i++) print i "\t50\t0" }' >"$work/sku"
    awk 'BEGIN { for (i = 1; i <= 1000000; i++) print "0\t" i "\topening\taccepted\t50\t50\t0" }' >"$work/ledger"
    "$bin" seed --database-url "$url" >/dev/null
    psql -q "$url" -c 'CREATE TABLE copied_sku (LIKE stockbench_sku INCLUDING ALL)' \
        -c 'CREATE TABLE copied_ledger (LIKE stockbench_ledger INCLUDING ALL)'
    now() { date +%s.%N; }
    for round in $(seq "$rounds"); do
        start=$(now)
        "$bin" seed --skus 1000000 --stock 50 --database-url "$url" >/dev/null
        middle=$(now)
        psql -q "$url" -c 'TRUNCATE copied_sku, copied_ledger' -c "\\copy copied_sku from '$work/sku'" \
            -c "\\copy copied_ledger (order_id, sku_id, kind, status, delta, balance, run_id) from '$work/ledger'"
        end=$(now)
        echo "$start $middle $end"
    done | awk '
        { ours = $2 - $1; theirs = $3 - $2
          printf "seeding 1,000,000 SKUs: %.2f s, psql COPY of the same rows %.2f s, ratio %.2f\n", ours, theirs, ours / theirs }'
fi
