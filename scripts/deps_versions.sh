#!/bin/sh
# Fetches the further versions that `make versions` runs on into a folder
# (default: .deps). Costs nothing when all is there.
set -eu

folder=${1:-.deps}
scripts=$(dirname "$0")

for major in 16 17 18; do
    sh "$scripts/postgres.sh" "$major" "$folder/postgres-$major"
done
sh "$scripts/mariadb.sh" "$folder/mariadb-11.8"
