# What the figures depend on: the machine and the versions of everything.
# shellcheck shell=sh disable=SC2154

field() { sed -n "s/^$1[[:space:]]*: *//p" "$2" | head -n 1; }

# The first line a run prints names the server; the path of a private one and
# its password say nothing.
server_version() {
    "$bin" seed --skus 1 --stock 1 --database-url "$(url_of "$1")" |
        sed -n '1s/ at [^ ]*, /, /p'
}

machine() {
    memory=$(awk '/^MemTotal/ { printf "%.1f", $2 / 1048576 }' /proc/meminfo)
    cat <<TEXT
# stockbench measured

Written by \`make bench\` on $(date -u '+%Y-%m-%d %H:%M') UTC. Every comparison is made in one session,
its sides in turns for $rounds rounds; a figure is the median, in brackets the smallest and the largest.
Client and servers share the machine.

| | |
|---|---|
| processor | $(nproc) × $(field 'model name' /proc/cpuinfo) |
| memory | $memory GiB |
| kernel | $(uname -sr) |
| load before | $(cut -d' ' -f1-3 /proc/loadavg) |
| stockbench | $("$bin" --version | cut -d' ' -f2), $(git -C "$here/.." describe --always --dirty 2>/dev/null || echo 'commit unknown') |
TEXT
    for kind in sqlite $servers; do
        echo "| $kind | $(server_version "$kind") |"
    done
    for tool in psql pgbench sysbench; do
        command -v "$tool" >/dev/null || continue
        echo "| $tool | $("$tool" --version | sed "s/^$tool //") |"
    done
}
