#!/bin/sh
# Fetches the MariaDB of Debian's next release (11.8) into a folder of its own
# (default: .deps/mariadb-11.8): <folder>/bin/mariadbd starts it, and
# <folder>/bin/mariadb-install-db makes its data folder.
set -eu

dest=${1:-.deps/mariadb-11.8}
if [ -x "$dest/bin/mariadbd" ] && "$dest/bin/mariadbd" --version >/dev/null 2>&1; then
    exit 0
fi

sh "$(dirname "$0")/unpack.sh" trixie "$dest" mariadb-server-core mariadb-client-core
dest=$(cd "$dest" && pwd -P)
share=$dest/root/usr/share/mariadb

# mariadb-install-db is a script that looks for these beneath one folder.
rm -rf "$dest/bin" "$dest/sbin" "$dest/share"
mkdir -p "$dest/bin"
ln -s bin "$dest/sbin"
ln -s root/usr/share "$dest/share"
for program in mariadbd my_print_defaults resolveip; do
    found=$(find "$dest/root" -type f -name "$program" | head -n 1)
    defaults=
    [ "$program" != mariadbd ] || defaults="--no-defaults --lc-messages-dir='$share'"
    cat >"$dest/bin/$program" <<WRAPPER
#!/bin/sh
# Written by scripts/mariadb.sh: MariaDB on its own loader and libraries.
[ "\${1:-}" = --no-defaults ] && shift
exec "$dest/exec" "$found" $defaults "\$@"
WRAPPER
done
cat >"$dest/bin/mariadb-install-db" <<WRAPPER
#!/bin/sh
# Written by scripts/mariadb.sh.
[ "\${1:-}" = --no-defaults ] && shift
exec /bin/sh "$dest/root/usr/bin/mariadb-install-db" --no-defaults --basedir="$dest" "\$@"
WRAPPER
chmod -R a+rX "$dest"
chmod a+rx "$dest"/bin/*
"$dest/bin/mariadbd" --version >&2
