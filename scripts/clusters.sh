#!/bin/sh
# Runs every strategy that keeps its stock on one server on three-node clusters,
# with clients on all nodes, and the naive ones too. The table says what holds there
# and goes to standard output as Markdown. Ends with 1 where a strategy's own word
# on several nodes (`strategies list`) is not what was seen.
set -eu

bin=${STOCKBENCH:-target/release/stockbench}
clusters=${CLUSTERS:-galera group-replication group-replication-single}
clients=${CLIENTS:-300}
seconds=${SECONDS_EACH:-4}
work=$(mktemp -d)
labs=
trap 'for lab in $labs; do kill -INT "$lab" 2>/dev/null || :; done; wait; rm -rf "$work"' EXIT
failed=0

# Starts a lab and writes its URL to a file.
# $1 kind
lab() {
    "$bin" lab "$1" >"$work/$1.url" 2>"$work/$1.err" &
    labs="$labs $!"
    started=$!
    until [ -s "$work/$1.url" ]; do
        kill -0 "$started" 2>/dev/null || { cat "$work/$1.err" >&2; exit 1; }
        sleep 0.2
    done
}

lab redis
redis=$(head -1 "$work/redis.url")
echo "| cluster | strategy | its word there | sold | conflicts per order | codes | findings | verdict |"
echo "|---|---|---|---:|---:|---|---|---|"
for cluster in $clusters; do
    lab "$cluster"
    url=$(head -1 "$work/$cluster.url")
    # Where one node takes all writes it is one node to them.
    case $cluster in *-single) column=2 ;; *) column=3 ;; esac
    "$bin" strategies list | awk -v column="$column" '$2 == "safe" || $1 == "naive" || $1 == "naive-tx" || $1 == "read-replica" { print $1, $column }' >"$work/strategies"
    while read -r strategy word; do
        [ -z "${STRATEGIES:-}" ] || case " $STRATEGIES " in *" $strategy "*) ;; *) continue ;; esac
        code=0
        "$bin" run --database-url "$url" --redis-url "$redis" -s "$strategy" -c "$clients" -d "${seconds}s" \
            --skus 5 --stock 100000 --think 1ms --retry-delay 1ms,50ms --max-tries 0 \
            -o json >"$work/report.json" 2>"$work/errors" </dev/null || code=$?
        python3 - "$work/report.json" "$work/errors" "$cluster" "$strategy" "$word" "$code" <<'PY' || failed=1
import json, sys
path, errors, cluster, strategy, word, code = sys.argv[1:]
start = f"| {cluster} | `{strategy}` | {word} "
if code == "2":
    print(f"{start}| | | | | {open(errors).read().strip().removeprefix('stockbench: ')} |", flush=True)
    sys.exit(0)
said = open(errors).read().strip()
try:
    report = json.load(open(path))
except ValueError:
    print(f"{start}| | | | | NOT AS SAID (exit {code}: {said[-200:]}) |", flush=True)
    sys.exit(1)
kinds = (report["audit"] or {}).get("findings_by_kind", {})
codes = ", ".join(sorted(report["errors"], key=report["errors"].get, reverse=True)[:4])
expected = "0" if word == "safe" else "3"
verdict = "as said" if code == expected else f"NOT AS SAID (exit {code}: {said[-120:]})"
print(f"{start}| {report['outcomes'].get('deducted', 0):,} | {report['conflict_rate']:.2f} | {codes} "
      f"| {', '.join(f'{kind} {count:,}' for kind, count in kinds.items())} | {verdict} |", flush=True)
sys.exit(code != expected)
PY
    done <"$work/strategies"
    kill -INT "${labs##* }" 2>/dev/null || :
    wait "${labs##* }" || :
    labs=${labs% *}
done
exit $failed
