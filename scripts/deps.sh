#!/bin/sh
# Installs what the tests need: PostgreSQL, PgBouncer, MariaDB with Galera and Redis from
# Debian's packages, MySQL, a newer PgBouncer and a reader of HdrHistogram logs into an
# ignored folder.
# Costs nothing when all is there.
set -eu

folder=${1:-.deps}
scripts=$(dirname "$0")

missing=
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
has cc || missing="$missing gcc libc6-dev"
has initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
{ has mariadbd && has mariadb-install-db && has my_print_defaults; } ||
    missing="$missing mariadb-server-core mariadb-client-core"
# The whole package, for the script by which a Galera node gets its state.
{ has wsrep_sst_rsync && has rsync && ls /usr/lib/galera/libgalera_smm.so >/dev/null 2>&1; } ||
    missing="$missing mariadb-server galera-4 rsync"
has redis-server || missing="$missing redis-server"
has pgbouncer || missing="$missing pgbouncer"
# For another implementation's reader of HdrHistogram logs.
{ has python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; } || missing="$missing python3-venv"

if [ -n "$missing" ]; then
    if ! has apt-get || [ "$(id -u)" -ne 0 ]; then
        echo "scripts/deps.sh: please install:$missing (this script can do it as root on Debian)" >&2
        exit 1
    fi
    echo "installing$missing" >&2
    # The servers are wanted as programs, not as services of this machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get -qq update
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null
fi

if [ ! -x "$folder/hdrh/bin/python" ] || ! "$folder/hdrh/bin/python" -c 'import hdrh' 2>/dev/null; then
    rm -rf "$folder/hdrh"
    python3 -m venv "$folder/hdrh"
    "$folder/hdrh/bin/pip" install --quiet --disable-pip-version-check hdrhistogram==0.10.3
fi

if [ -z "${STOCKBENCH_MYSQLD:-}" ] || [ "$STOCKBENCH_MYSQLD" = "$folder/mysql/mysqld" ]; then
    sh "$scripts/mysql.sh" "$folder/mysql"
fi
sh "$scripts/pgbouncer.sh" "$folder/pgbouncer"
