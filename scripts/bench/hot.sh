# What committing in groups is worth where it matters: one SKU, many clients.
# And what the order of two statements is worth there, because it decides how
# long the row is locked.
# shellcheck shell=sh disable=SC2154

# duel FILE STRATEGY-A STRATEGY-B ARGUMENTS...: both on one SKU, on every
# database, in turns.
duel() {
    rows=$1
    one=$2
    other=$3
    shift 3
    for round in $(seq "$rounds"); do
        for kind in $databases; do
            for strategy in $(in_turns "$round" "$one" "$other"); do
                say "round $round of $rounds: $kind, $(basename "$strategy" .toml) $*"
                stockbench_run "$kind" -s "$strategy" --skus 1 --stock "$endless" -d "${cell_secs}s" "$@"
                side=ours
                [ "$strategy" = "$one" ] || side=theirs
                echo "$round $kind $side $(figure orders_per_s | grep . || echo 0) $(figure passed) $(figure connections) $(figure concurrency)" >>"$rows"
            done
        done
    done
}

# One line a database and number of clients.
duel_rows() {
    awk "$stats"'
        { cell = $2 " | " $7 " | " $6
          if (!(cell in n)) order[++cells] = cell
          n[cell] = $1; value[cell, $3, $1] = $4; audits[cell]++; passed[cell] += $5 == "true" }
        function of(cell, side,   list, r) {
            for (r = 1; r <= n[cell]; r++) list[r] = value[cell, side, r]
            return median(list, n[cell])
        }
        END {
            for (c = 1; c <= cells; c++) {
                cell = order[c]
                for (r = 1; r <= n[cell]; r++) {
                    slow = value[cell, "theirs", r]
                    ratio[r] = slow > 0 ? value[cell, "ours", r] / slow : 0
                }
                printf "| %s | %.0f | %.0f | %s | %d of %d |\n", cell, of(cell, "ours"), of(cell, "theirs"),
                    spread(ratio, n[cell], "%.1f"), passed[cell], audits[cell]
            }
        }' "$1"
}

hot() {
    duel "$work/hot" group-commit pessimistic -c 512
    cat <<TEXT

## One hot SKU

\`group-commit\` against \`pessimistic\`: one SKU that never sells out, ${cell_secs} s each; the ratio is taken round by
round.

| database | clients | connections | group-commit: orders/s | pessimistic: orders/s | ratio | audits passed |
|---|---:|---:|---:|---:|---:|---:|
TEXT
    duel_rows "$work/hot"
}

lock() {
    for clients in 32 64; do
        duel "$work/lock" "$here/bench/entry-first.toml" "$here/bench/stock-first.toml" -c "$clients"
    done
    cat <<TEXT

## Which statement comes first

The same two statements in one transaction on one SKU: the ledger entry first, or the deduction first, which then
holds the row for a round trip more. Entry first the balance is not known yet, and a refusal costs an INSERT that is
rolled back.

| database | clients | connections | entry first: orders/s | stock first: orders/s | ratio | audits passed |
|---|---:|---:|---:|---:|---:|---:|
TEXT
    duel_rows "$work/lock"
}
