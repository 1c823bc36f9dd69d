#!/bin/sh
# Unpacks packages of another Debian release into a folder of its own:
#
#   scripts/unpack.sh SUITE FOLDER PACKAGE...
#
# The packages and every library they need go to FOLDER/root, and FOLDER/exec
# runs a program from there on its own dynamic loader and libraries.
#
# The packages are downloaded through a private apt configuration (own source
# list, own package lists, own cache, an empty dpkg status so that every
# library comes along) and unpacked, never installed: nothing outside the
# folder changes.
set -eu

suite=$1 dest=$2
shift 2

for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || {
        echo "scripts/unpack.sh: $tool not found; install $* yourself" >&2
        exit 1
    }
done

mkdir -p "$dest"
dest=$(cd "$dest" && pwd -P)
apt=$dest/apt
rm -rf "$apt" "$dest/root" "$dest/exec"
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
    echo "scripts/unpack.sh: no Debian mirror in this system's apt sources (run apt-get update first?)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"

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

echo "downloading $* with all libraries into $dest" >&2
private_apt update
private_apt --yes --download-only install "$@" >/dev/null
for package in "$apt"/cache/archives/*.deb; do
    dpkg -x "$package" "$dest/root"
done
rm -rf "$apt"

loader=$(find "$dest/root" \( -type f -o -type l \) -name 'ld-linux*.so.*' | head -n 1)
libraries=$(find "$dest/root" -name '*.so.[0-9]*' -not -path '*/plugin/*' -exec dirname {} + | sort -u | paste -sd:)
cat >"$dest/exec" <<WRAPPER
#!/bin/sh
# Written by scripts/unpack.sh: runs a program of this folder on its own loader and libraries.
exec "$loader" --library-path "$libraries" "\$@"
WRAPPER
chmod -R a+rX "$dest"
chmod a+x "$dest/exec"
