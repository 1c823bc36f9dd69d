# What each strategy is worth, from one hot SKU to ten thousand.
# shellcheck shell=sh disable=SC2154

# Left out: `units` (a row per unit: no stock that lasts), those with a Redis or
# services of their own, and those that differ from one listed in what they
# answer, not in what they do to a row.
strategies=${STRATEGIES:-naive-tx pessimistic optimistic cas atomic atomic-returning constraint serializable advisory idempotent buckets group-commit}

strategies() {
    : >"$work/cells"
    for round in $(seq "$rounds"); do
        for kind in $databases; do
            for skus in 1 100 10000; do
                for strategy in $strategies; do
                    say "strategies, round $round of $rounds: $kind, $skus SKUs, $strategy"
                    stockbench_run "$kind" -s "$strategy" -c 64 --skus "$skus" --stock "$endless" -d "${cell_secs}s"
                    verdict=$(figure passed)
                    case $verdict:$code in
                    # 3: refuted. 1: could not be judged, or nothing was sold.
                    true:*) ;;
                    *:3) verdict=failed ;;
                    *) verdict=none
                       say "  $(tail -n 1 "$work/run.log")" ;;
                    esac
                    echo "$kind $skus $strategy $verdict $(figure orders_per_s | grep . || echo 0) $(deducted_p99 | grep . || echo 0)" >>"$work/cells"
                done
            done
        done
    done
    cat <<TEXT

## Strategies

64 clients for ${cell_secs} s, one unit of one SKU per order, SKUs alike, stock that never runs out: orders sold per
second, and the 99th percentile of their latency in ms. **failed**: the audit refuted it in at least one round;
– : it could not be run, or its run not be judged.
TEXT
    for kind in $databases; do
        printf '\n### %s\n\n' "$kind"
        echo "| strategy | 1 SKU: orders/s | p99 ms | 100 SKUs: orders/s | p99 ms | 10,000 SKUs: orders/s | p99 ms |"
        echo "|---|---:|---:|---:|---:|---:|---:|"
        awk -v kind="$kind" "$stats"'
            $1 != kind { next }
            { if (!($3 in seen)) { seen[$3] = 1; order[++strategies] = $3 }
              cell = $3 " " $2; n = ++count[cell]; goodput[cell, n] = $5; p99[cell, n] = $6
              if ($4 == "failed" || $4 == "none" && verdict[cell] != "failed") verdict[cell] = $4 }
            function of(values, cell, format,   list, i) {
                for (i = 1; i <= count[cell]; i++) list[i] = values[cell, i]
                return format == "" ? sprintf("%.1f", median(list, count[cell])) : spread(list, count[cell], format)
            }
            END {
                split("1 100 10000", sizes, " ")
                for (s = 1; s <= strategies; s++) {
                    row = "| `" order[s] "` |"
                    for (i = 1; i <= 3; i++) {
                        cell = order[s] " " sizes[i]
                        if (verdict[cell] == "failed") row = row " **failed** | |"
                        else if (verdict[cell] == "none") row = row " – | |"
                        else row = row " " of(goodput, cell, "%.0f") " | " of(p99, cell, "") " |"
                    }
                    print row
                }
            }' "$work/cells"
    done
}
