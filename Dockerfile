# syntax=docker/dockerfile:1
# Liap in a container:
#
#   docker build --tag liap .
#   docker run --publish 8000:8000 --volume liap-data:/data --read-only --cap-drop ALL liap
#
# The image is the program and the C library it was tested with: no shell, no package manager, 13 MB.
# A static program on musl would be 3 MB less, but another allocator and another C library than what we measure.
#
# Tests are a stage of their own, because they need a browser: `docker build --target test .` runs all of scripts/test.
# Written without a container engine at hand: the commands were run one by one on Debian 12 in an empty folder, and the
# program in the resulting root folder by chroot, as user 65532 and with nothing writable but /data.

FROM rust:1.95-slim-bookworm AS source
WORKDIR /src

# Dependencies change seldom: from the manifests alone they are built in a layer of their own.
FROM source AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
 && sed -n '/^\[\[bench\]\]/,/^$/s|^name = "\(.*\)"|benches/\1.rs|p' Cargo.toml | xargs touch src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --locked --release \
 && cargo clean --locked --release --package liap \
 && rm -r src benches
COPY benches benches
COPY src src
RUN cargo build --locked --release

# The root folder: the program and what it is linked to. What the package manager knew of that goes along, so that
# scanners for known faults find its version.
RUN mkdir -p /image/usr/bin /image/etc /image/var/lib/dpkg/status.d /volume \
 && cp target/release/liap /image/usr/bin/ \
 && ldd target/release/liap | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory /image \
 && for package in libc6 libgcc-s1; do dpkg --status $package > /image/var/lib/dpkg/status.d/$package; done \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && echo 'liap:x:65532:65532::/data:/sbin/nologin' > /image/etc/passwd \
 && echo 'liap:x:65532:' > /image/etc/group

FROM source AS test
COPY . .
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
HEALTHCHECK --interval=10s --timeout=12s --start-period=30s CMD ["liap", "healthcheck"]
ENTRYPOINT ["liap"]
CMD ["serve"]
