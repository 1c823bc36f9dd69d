#!/bin/sh
# Measures stockbench and writes a Markdown document: against pgbench and
# sysbench, the strategies against each other, bulk seeding against COPY.
#
#   sh scripts/bench.sh [parity] [strategies] [hot] [lock] [seeding] >docs/bench.md
#
# Without a name every section is run. ROUNDS (5) is how often everything is
# done, in turns; SECS (8) and CELL_SECS (3) are the seconds of one run of the
# parity section and of the others; SERVERS and STRATEGIES choose some only.
# shellcheck disable=SC1090,SC2034 # the sections use what is set here
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${STOCKBENCH:-target/release/stockbench}
rounds=${ROUNDS:-5}
secs=${SECS:-8}
cell_secs=${CELL_SECS:-3}
[ "$secs" -ge 4 ] || { echo "bench: SECS must be 4 at least" >&2; exit 1; }
servers=${SERVERS-postgres mysql mariadb}
databases="sqlite $servers"
sections=${*:-parity strategies hot lock seeding}
if [ -z "${STOCKBENCH_MYSQLD:-}" ] && [ -x "$here/../.deps/mysql/mysqld" ]; then
    export STOCKBENCH_MYSQLD="$here/../.deps/mysql/mysqld"
fi

work=$(mktemp -d)
pids=
running=
# shellcheck source=scripts/bench/lib.sh
. "$here/bench/lib.sh"
for part in machine parity strategies hot seeding; do
    . "$here/bench/$part.sh"
done
trap '[ -z "$running" ] || kill "$running" 2>/dev/null || :; stop_servers; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

for section in $sections; do
    case $section in
    parity)
        require pgbench postgresql
        require psql postgresql-client
        require sysbench sysbench
        require mariadb mariadb-client-core
        ;;
    strategies | hot | lock) ;;
    seeding) require psql postgresql-client ;;
    *) die "no section $section: parity, strategies, hot, lock, seeding" ;;
    esac
done
start_servers
machine
for section in $sections; do
    "$section"
done
