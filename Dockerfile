# The binary with the lab servers that Debian has (no MySQL: name one with
# --database-url). Kept by eye: where this project is tested no image can be built.
#
#   docker build -t stockbench .
#   docker run --rm stockbench run --lab postgres -s optimistic -c 100
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql mariadb-server galera-4 rsync redis-server \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/stockbench /usr/local/bin/stockbench
WORKDIR /work
ENTRYPOINT ["stockbench"]
