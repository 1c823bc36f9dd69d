#!/bin/sh
# Fetches a real MySQL server into a folder of its own (default: .deps/mysql)
# and leaves a wrapper, <folder>/mysqld, that starts it.
#
# Debian stable ships MariaDB only; MySQL itself is in Debian unstable. Its
# packages are downloaded through a private apt configuration (own source
# list, own package lists, own cache, an empty dpkg status so that every
# library comes along) and unpacked, never installed: nothing outside the
# folder changes, and the server runs on its own dynamic loader and libraries.
set -eu

dest=${1:-.deps/mysql}
if [ -x "$dest/mysqld" ] && "$dest/mysqld" --version >/dev/null 2>&1; then
    exit 0
fi
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || {
        echo "scripts/mysql.sh: $tool not found; install MySQL yourself and set STOCKBENCH_MYSQLD to its mysqld" >&2
        exit 1
    }
done

mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
apt=$dest/apt
rm -rf "$apt" "$dest/root" "$dest/mysqld"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/etc" "$dest/root"
: >"$apt/status"

# The mirror is whichever this system already uses for Debian itself.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ { print $1; exit }'
}
mirror=$(debian_mirror)
if [ -z "$mirror" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get -qq update
    mirror=$(debian_mirror)
fi
if [ -z "$mirror" ]; then
    echo "scripts/mysql.sh: no Debian mirror in this system's apt sources (run apt-get update first?)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror unstable main" >"$apt/sources.list"

# A mirror may be a copy of some date: its age is no error, its signature is.
private_apt() {
    apt-get -qq \
        -o Dir::Etc::SourceList="$apt/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$apt" \
        -o Dir::State::Lists="$apt/lists" \
        -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" \
        -o Debug::NoLocking=1 \
        -o APT::Sandbox::User=root \
        -o APT::Install-Recommends=false \
        -o Acquire::Languages=none \
        -o Acquire::Retries=3 \
        -o Acquire::Check-Valid-Until=false \
        "$@"
}
echo "downloading MySQL and its libraries into $dest" >&2
private_apt update
private_apt --yes --download-only install mysql-server-core >/dev/null
for package in "$apt"/cache/archives/*.deb; do
    dpkg -x "$package" "$dest/root"
done
rm -rf "$apt"

mysqld=$(find "$dest/root" -type f -name mysqld | head -n 1)
messages=$(dirname "$(find "$dest/root" -path '*english/errmsg.sys' | head -n 1)")
plugins=$(find "$dest/root" -type d -path '*mysql/plugin' | head -n 1)
loader=$(find "$dest/root" \( -type f -o -type l \) -name 'ld-linux*.so.*' | head -n 1)
libraries=$(find "$dest/root" -name '*.so.*' -not -path '*/plugin/*' -exec dirname {} + | sort -u | paste -sd:)
cat >"$dest/mysqld" <<WRAPPER
#!/bin/sh
# Written by scripts/mysql.sh: MySQL on its own loader and libraries.
[ "\${1:-}" = --no-defaults ] && shift
exec "$loader" --library-path "$libraries" "$mysqld" --no-defaults \\
    --lc-messages-dir="$(dirname "$messages")" --plugin-dir="$plugins" "\$@"
WRAPPER
chmod -R a+rX "$dest"
chmod a+x "$dest/mysqld"
"$dest/mysqld" --version >&2
