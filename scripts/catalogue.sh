#!/bin/sh
# Runs every strategy and every scenario on every database and writes what was
# expected, what the audit found and the verdict to docs/catalogue.md.
# ROUNDS=10 runs every cell ten times; one that fails once has failed.
set -eu

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
STOCKBENCH_WRITE_CATALOGUE=$parts STOCKBENCH_ROUNDS=${ROUNDS:-1} STOCKBENCH_REQUIRE_SERVERS=1 \
    ${CARGO:-cargo} test --test it catalogue:: -- --test-threads 1

mkdir -p docs
{
    cat <<'TEXT'
# The catalogue, run

Written by `make catalogue`: every strategy with the load of its own file, and every scenario, on
every database. A cell names what the file expects of the audit, then in brackets what else was
found; ✓ means that it was found, and that the exit code was right (0, or 3 for an unsafe strategy
that was caught: within three runs, since what goes wrong by chance need not do so in the first; a later
one is named). – means that the database cannot express it; the strategy's file says why.

TEXT
    printf 'Rounds for every cell: %s.\n\n## Strategies\n\n' "${ROUNDS:-1}"
    cat "$parts/strategies.md"
    printf '\n## Scenarios\n\n'
    cat "$parts/scenarios.md"
} >docs/catalogue.md
