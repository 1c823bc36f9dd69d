#!/bin/sh
# Fetches a PgBouncer that knows prepared statements (1.21 and later) into a
# folder of its own (default: .deps/pgbouncer) and leaves a wrapper,
# <folder>/pgbouncer, that starts it. Debian 12 ships 1.18; Debian 13 has 1.24.
set -eu

dest=${1:-.deps/pgbouncer}
if [ -x "$dest/pgbouncer" ] && "$dest/pgbouncer" --version >/dev/null 2>&1; then
    exit 0
fi

sh "$(dirname "$0")/unpack.sh" trixie "$dest" pgbouncer
dest=$(cd "$dest" && pwd -P)

cat >"$dest/pgbouncer" <<WRAPPER
#!/bin/sh
# Written by scripts/pgbouncer.sh: PgBouncer on its own loader and libraries.
exec "$dest/exec" "$dest/root/usr/sbin/pgbouncer" "\$@"
WRAPPER
chmod a+rx "$dest/pgbouncer"
"$dest/pgbouncer" --version | head -n 1 >&2
