#!/bin/sh
# What an audit of a shop's own tables costs, against the bare GROUP BY that the
# database needs in any case: 1 and 10 million entries, 100,000 SKUs, on
# PostgreSQL, in turns. ENTRIES and ROUNDS choose others.
set -eu

bin=${STOCKBENCH:-target/release/stockbench}
rounds=${ROUNDS:-5}
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; wait; rm -rf "$work"' EXIT INT TERM

"$bin" lab postgres >"$work/url" 2>"$work/log" &
pid=$!
tries=0
until [ -s "$work/url" ] || [ "$tries" -ge 600 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
[ -s "$work/url" ] || { echo "no postgres: $(cat "$work/log")" >&2; exit 1; }
url=$(cat "$work/url")
now() { date +%s.%N; }

cat >"$work/stock.toml" <<'END'
[stock]
table = "product"
sku = "id"
units = "on_hand"

[[ledger]]
table = "movement"
id = "id"
sku = "product_id"
order = "order_id"
quantity = "change_amount"
kind = "type"
kinds = { opening = ["OPENING"], sale = ["SALE"] }
balance = "remaining"
time = "created_at"
END

for entries in ${ENTRIES:-1000000 10000000}; do
    psql -q -v ON_ERROR_STOP=1 "$url" >/dev/null <<END
DROP TABLE IF EXISTS product, movement;
CREATE TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL);
CREATE TABLE movement (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id BIGINT NOT NULL,
    order_id BIGINT, type VARCHAR(16) NOT NULL, change_amount BIGINT NOT NULL, remaining BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL);
INSERT INTO movement (product_id, order_id, type, change_amount, remaining, created_at)
    SELECT s, NULL, 'OPENING', 1000, 1000, '2026-01-01' FROM generate_series(1, 100000) s;
INSERT INTO movement (product_id, order_id, type, change_amount, remaining, created_at)
    SELECT 1 + n % 100000, n, 'SALE', -1, 999 - n / 100000, TIMESTAMPTZ '2026-01-01' + n * INTERVAL '10 ms'
    FROM generate_series(0, $entries - 100001) n;
CREATE INDEX ON movement (product_id);
INSERT INTO product SELECT product_id, sum(change_amount) FROM movement GROUP BY 1;
VACUUM ANALYZE;
CHECKPOINT;
END
    for round in $(seq "$rounds"); do
        start=$(now)
        psql -q "$url" -c 'SELECT product_id, sum(change_amount) FROM movement GROUP BY product_id' >/dev/null
        middle=$(now)
        "$bin" audit --mapping "$work/stock.toml" --database-url "$url" --quick -o json >"$work/audit.json"
        end=$(now)
        memory=$(sed -n 's/^  "peak_rss_bytes": \([0-9]*\),*/\1/p' "$work/audit.json")
        echo "$start $middle $end $memory"
    done | awk -v entries="$entries" '
        { n++; bare[n] = $2 - $1; audit[n] = $3 - $2; ratio[n] = audit[n] / bare[n]; if ($4 > memory) memory = $4 }
        function sorted(a,   i, j, t) { for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t } }
        END {
            sorted(bare); sorted(audit); sorted(ratio); m = int((n + 1) / 2)
            printf "%d entries: GROUP BY %.2f s (%.2f to %.2f), audit of stock, ledger and chains %.2f s (%.2f to %.2f), ratio %.2f (%.2f to %.2f), client memory %.0f MB\n",
                entries, bare[m], bare[1], bare[n], audit[m], audit[1], audit[n], ratio[m], ratio[1], ratio[n], memory / 1e6
        }'
    psql -q "$url" -c 'UPDATE product SET on_hand = on_hand + 7 WHERE id % 1000 = 7' \
        -c "UPDATE movement SET remaining = remaining + 5 WHERE product_id % 1000 = 9 AND id % 300000 > 200000"
    echo "the same with 200 damaged SKUs, every pass:"
    "$bin" audit --mapping "$work/stock.toml" --database-url "$url" -o json >"$work/audit.json" || :
    sed -n 's/^        "name": "\(.*\)",/\1/p; s/^        "seconds": \([0-9.]*\)/\1/p' "$work/audit.json" |
        paste -d'|' - - | awk -F'|' '{ printf "  %-45s %6.2f s\n", $1, $2 }'
done
