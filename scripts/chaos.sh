#!/bin/sh
# Kills PostgreSQL, MySQL and MariaDB with -9 under load, again and again, and
# has every unit accounted for each time: KILLS times in one long run of one
# strategy per server, and a few times under every other strategy that keeps its
# stock. Then once with commits that are not durable, where the audit must find
# what was lost. The table goes to standard output as Markdown.
#
# A crash of the server's processes: it says nothing of a loss of power, which
# takes what the system had not written, too.
set -eu

bin=${STOCKBENCH:-target/release/stockbench}
kills=${KILLS:-20}
every=${EVERY:-6}
clients=${CLIENTS:-500}
servers=${SERVERS:-postgres mysql mariadb}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Runs one strategy on a lab server of its own and prints its row.
# $1 server, $2 strategy, $3 seconds, $4 units of each SKU, more than can be sold in
# that time: where there is nothing left to sell a kill shows nothing; $5 the exit
# code it should come to, $6... more
row() {
    server=$1 strategy=$2 seconds=$3 stock=$4 expected=$5
    shift 5
    code=0
    "$bin" run --lab "$server" -s "$strategy" -c "$clients" -d "${seconds}s" --skus 100 --stock "$stock" \
        --fault "kill-server@3s/${every}s" -o json "$@" >"$work/report.json" 2>"$work/errors" || code=$?
    if [ "$code" = 2 ]; then
        echo "| $server | \`$strategy\` | | | | | | | | | | $(sed 's/^stockbench: //' "$work/errors") |"
        return
    fi
    verdict=held
    if [ "$code" != "$expected" ]; then
        verdict="FAILED (exit $code)"
        failed=1
        cat "$work/errors" >&2
        cp "$work/report.json" "${TMPDIR:-/tmp}/chaos-$server-$strategy.json" || :
    fi
    python3 - "$work/report.json" "$server" "$strategy" "$verdict" <<'PY' || failed=1
import json, sys
path, server, strategy, verdict = sys.argv[1:]
report = json.load(open(path))
kills = [mark for mark in report["faults"] if mark["fault"] == "kill-server"]
back = sorted(mark["recovered_s"] for mark in kills if mark["recovered_s"] is not None)
audit = report["audit"] or {}
kinds = audit.get("findings_by_kind", {})
told = report["outcomes"]
median = f"{back[len(back) // 2]:.1f} s" if back else "-"
most = f"{back[-1]:.1f} s" if back else "-"
print(f"| {server} {report['database']['version'].split()[0]} | `{strategy}` | {len(kills)} "
      f"| {told.get('deducted', 0) + told.get('done', 0):,} | {told.get('unknown', 0):,} "
      f"| {audit.get('unknown_recovered', 0):,} | {audit.get('unknown_not_applied', 0):,} "
      f"| {kinds.get('lost_sale', 0):,} | {kinds.get('duplicate_entry', 0):,} | {median} | {most} | {verdict} |",
      flush=True)
PY
}

echo "| server | strategy | kills | sold or done | answers lost | of these sold | not sold | acknowledged and lost | sold twice | succeeded again after (median) | at most | audit |"
echo "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
for server in $servers; do
    row "$server" atomic $((3 + kills * every)) 100000 0
    for strategy in ${STRATEGIES:-$("$bin" strategies list | awk '$2 == "safe" { print $1 }')}; do
        [ "$strategy" = atomic ] || row "$server" "$strategy" $((4 + 2 * every)) 5000 0
    done
done
case " $servers " in
*" postgres "*) row postgres atomic 10 5000 3 --lab-async-commit ;;
esac
exit $failed
