# What committing in groups is worth where it matters: one SKU, many clients.
# shellcheck shell=sh disable=SC2154

hot() {
    : >"$work/hot"
    for round in $(seq "$rounds"); do
        for kind in $databases; do
            for strategy in $(in_turns "$round" group-commit pessimistic); do
                say "hot SKU, round $round of $rounds: $kind, $strategy"
                stockbench_run "$kind" -s "$strategy" -c 512 --skus 1 --stock "$endless" -d "${cell_secs}s"
                echo "$round $kind $strategy $(figure orders_per_s | grep . || echo 0) $(figure passed) $(figure connections)" >>"$work/hot"
            done
        done
    done
    cat <<TEXT

## One hot SKU

\`group-commit\` against \`pessimistic\`: 512 clients, one SKU that never sells out, ${cell_secs} s each; the ratio is taken
round by round.

| database | connections | group-commit: orders/s | pessimistic: orders/s | ratio | audits passed |
|---|---:|---:|---:|---:|---:|
TEXT
    awk "$stats"'
        { if (!($2 in seen)) { seen[$2] = 1; order[++kinds] = $2 }
          n[$2] = $1; value[$2, $3, $1] = $4; audits[$2]++; passed[$2] += $5 == "true"; connections[$2] = $6 }
        function of(kind, strategy,   list, r) {
            for (r = 1; r <= n[kind]; r++) list[r] = value[kind, strategy, r]
            return median(list, n[kind])
        }
        END {
            for (k = 1; k <= kinds; k++) {
                kind = order[k]
                for (r = 1; r <= n[kind]; r++) {
                    slow = value[kind, "pessimistic", r]
                    ratio[r] = slow > 0 ? value[kind, "group-commit", r] / slow : 0
                }
                printf "| %s | %d | %.0f | %.0f | %s | %d of %d |\n", kind, connections[kind], of(kind, "group-commit"),
                    of(kind, "pessimistic"), spread(ratio, n[kind], "%.1f"), passed[kind], audits[kind]
            }
        }' "$work/hot"
}
