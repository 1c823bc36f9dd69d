#!/bin/sh
# Fetches a real MySQL server into a folder of its own (default: .deps/mysql)
# and leaves a wrapper, <folder>/mysqld, that starts it. Debian stable ships
# MariaDB only; MySQL itself is in Debian unstable.
set -eu

dest=${1:-.deps/mysql}
if [ -x "$dest/mysqld" ] && "$dest/mysqld" --version >/dev/null 2>&1; then
    exit 0
fi

sh "$(dirname "$0")/unpack.sh" unstable "$dest" mysql-server-core
dest=$(cd "$dest" && pwd -P)

mysqld=$(find "$dest/root" -type f -name mysqld | head -n 1)
messages=$(dirname "$(find "$dest/root" -path '*english/errmsg.sys' | head -n 1)")
plugins=$(find "$dest/root" -type d -path '*mysql/plugin' | head -n 1)
cat >"$dest/mysqld" <<WRAPPER
#!/bin/sh
# Written by scripts/mysql.sh: MySQL on its own loader and libraries.
[ "\${1:-}" = --no-defaults ] && shift
exec "$dest/exec" "$mysqld" --no-defaults \\
    --lc-messages-dir="$(dirname "$messages")" --plugin-dir="$plugins" "\$@"
WRAPPER
chmod a+rx "$dest/mysqld"
"$dest/mysqld" --version >&2
