# Bulk seeding against psql's own COPY of the same rows.
# shellcheck shell=sh disable=SC2154

seeding() {
    url=$(url_of postgres)
    awk 'BEGIN { for (i = 1; i <= 1000000; i++) print i "\t50\t0" }' >"$work/sku"
    awk 'BEGIN { for (i = 1; i <= 1000000; i++) print "0\t" i "\topening\taccepted\t50\t50\t0" }' >"$work/ledger"
    seed postgres 1
    psql -qX "$url" -c 'CREATE TABLE copied_sku (LIKE stockbench_sku INCLUDING ALL)' \
        -c 'CREATE TABLE copied_ledger (LIKE stockbench_ledger INCLUDING ALL)'
    : >"$work/seeding"
    for round in $(seq "$rounds"); do
        for side in $(in_turns "$round" ours copy); do
            say "seeding, round $round of $rounds: $side"
            psql -qX "$url" -c CHECKPOINT
            start=$(now)
            case $side in
            ours) "$bin" seed --skus 1000000 --stock 50 --database-url "$url" >/dev/null 2>&1 ;;
            copy) psql -qX "$url" -c 'TRUNCATE copied_sku, copied_ledger' -c "\\copy copied_sku from '$work/sku'" \
                -c "\\copy copied_ledger (order_id, sku_id, kind, status, delta, balance, run_id) from '$work/ledger'" ;;
            esac
            echo "$round $side $start $(now)" >>"$work/seeding"
        done
    done
    psql -qX "$url" -c 'DROP TABLE copied_sku, copied_ledger'
    cat <<TEXT

## Seeding

1,000,000 SKUs and their opening balances into PostgreSQL, and psql's COPY of the same rows from a file.

| stockbench seed, s | psql COPY, s | ratio |
|---:|---:|---:|
TEXT
    awk "$stats"'
        { took[$2, $1] = $4 - $3; n = $1 }
        END {
            for (r = 1; r <= n; r++) { ours[r] = took["ours", r]; copy[r] = took["copy", r]; ratio[r] = ours[r] / copy[r] }
            printf "| %s | %s | %s |\n", spread(ours, n, "%.2f"), spread(copy, n, "%.2f"), spread(ratio, n, "%.2f")
        }' "$work/seeding"
}
