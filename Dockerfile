# syntax=docker/dockerfile:1
# Liap in a container:
#
#   docker build --tag liap .
#   docker run --publish 8000:8000 --volume liap-data:/data --read-only --cap-drop ALL liap
#   docker build --build-arg FEATURES=redis,s3,postgres --tag liap:full .
#
# The image is the program and the C library it was tested with: no shell, no package manager, 13 MB; 33 MB with all FEATURES.
# A static program on musl would be 3 MB less, but another allocator and another C library than what we measure.
#
# Tests are a stage of their own, because they need a browser: `docker build --target test .` runs all of scripts/test,
# `--target tester` only makes it ready to run.
# Written without a container engine at hand: the commands were run one by one on Debian 12 in an empty folder (without
# FEATURES), and the program, with and without them, in a root folder made so, by chroot, as user 65532 and with nothing
# writable but /data.

FROM rust:1.95-slim-bookworm AS source
WORKDIR /src

# Dependencies change seldom: from the manifests alone they are built in a layer of their own.
FROM source AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Clients for services, of: redis, s3, postgres. None of them is in the image unless it is named here.
ARG FEATURES=
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
 && sed -n '/^\[\[bench\]\]/,/^$/s|^name = "\(.*\)"|benches/\1.rs|p' Cargo.toml | xargs touch src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --locked --release --features "$FEATURES" \
 && cargo clean --locked --release --package liap \
 && rm -r src benches
COPY benches benches
COPY src src
COPY scripts/init-archive.sql scripts/init-archive.sql
RUN cargo build --locked --release --features "$FEATURES"

# The root folder: the program, what it is linked to, and whom to trust when a service has a certificate. What the
# package manager knew of that goes along, so that scanners for known faults find its version.
RUN mkdir -p /image/usr/bin /image/etc/ssl/certs /image/var/lib/dpkg/status.d /volume \
 && cp target/release/liap /image/usr/bin/ \
 && ldd target/release/liap | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory /image \
 && cp --dereference /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && for package in libc6 libgcc-s1 ca-certificates; do dpkg --status $package > /image/var/lib/dpkg/status.d/$package; done \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && echo 'liap:x:65532:65532::/data:/sbin/nologin' > /image/etc/passwd \
 && echo 'liap:x:65532:' > /image/etc/group

FROM source AS tester
COPY . .
CMD ["scripts/test"]

FROM tester AS test
RUN CI=true scripts/test

FROM scratch
LABEL org.opencontainers.image.title="Liap" \
      org.opencontainers.image.description="A self-hosted server for Liap Tui, the four-player piece game" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /volume /data
USER 65532:65532
ENV DATA_DIR=/data
VOLUME /data
EXPOSE 8000
# SIGTERM tells the tables, writes everything down and ends within SHUTDOWN_TIMEOUT_SECONDS.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=12s --start-period=30s CMD ["liap", "healthcheck", "--live"]
ENTRYPOINT ["liap"]
CMD ["serve"]
