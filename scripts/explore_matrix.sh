#!/bin/sh
# Explores every strategy that is SQL alone with two clients, on every database
# at every isolation level, and writes what broke where to docs/explore-matrix.md.
set -eu

rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
STOCKBENCH_WRITE_EXPLORE_MATRIX=$rows STOCKBENCH_REQUIRE_SERVERS=1 ${CARGO:-cargo} test --test it \
    every_strategy_breaks_where_it_is_unsafe_and_nowhere_else

mkdir -p docs
{
    cat <<'TEXT'
# Every interleaving of two clients

Written by `make explore-matrix`: every strategy that is SQL alone, two clients with one order each
for one unit of the same SKU of which one is in stock (or what stands beside its name). ✓: every
schedule was run, or one that nobody can tell from it, and no invariant broke; bold: the invariants
that broke. The numbers are the schedules run, and those broken off because what would follow had
been seen. – : the database cannot express it, or the strategy asks for a level of its own.

TEXT
    cat "$rows"
} >docs/explore-matrix.md
