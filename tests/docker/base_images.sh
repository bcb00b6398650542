#!/usr/bin/env bash
# Stand-ins for the public images that the Dockerfile and the Compose files name, from Debian packages, for a machine that
# reaches a Debian mirror but no image registry. They get the public names: to be used for tests, and only where the real
# ones are absent.
#
#   tests/docker/base_images.sh [--force]
#
# Needs root, a Docker engine that answers, and mmdebstrap (which is installed if it is missing). A name that is taken is
# left alone, unless --force says otherwise or it is a stand-in that another version of this script made. SUITE says which
# Debian the packages come from: "trixie" has PostgreSQL 17 and HAProxy 3.0, as the names say, but Python 3.13, Redis 8 and
# RabbitMQ 4. Every stand-in has the label "stand-in".
set -euo pipefail

SUITE=${SUITE:-trixie}
MADE_BY="$SUITE, $(cksum <"$0" | cut -d' ' -f1)"
BASE=shop-stand-in
NAMES="python:3.12-slim postgres:17 redis:7-alpine haproxy:3.0-alpine rabbitmq:3-management"
PACKAGES=ca-certificates,python3,python3-venv,python3-pip,postgresql,redis-server,redis-tools,haproxy,rabbitmq-server,busybox
export DOCKER_BUILDKIT=0 # the builder that needs no image of its own
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT

main() {
    local name missing=""
    docker info >/dev/null 2>&1 || fail "no Docker engine answers"
    for name in $NAMES; do
        if [ "${1:-}" = --force ] || ! is_here "$name"; then missing+=" $name"; fi
    done
    [ -n "$missing" ] || { echo "all there: $NAMES"; return; }
    is_here "$BASE" || base
    for name in $missing; do
        mkdir "$SCRATCH/context"
        "${name%%:*}" >"$SCRATCH/context/Dockerfile"
        docker_build "$name" "$SCRATCH/context"
        rm -rf "$SCRATCH/context"
    done
}

fail() { echo "base_images.sh: $*" >&2; exit 1; }

is_here() {
    local labels
    labels=$(docker image inspect --format '{{json .Config.Labels}}' "$1" 2>/dev/null) || return
    case $labels in
        *'"stand-in":"'"$MADE_BY"'"'*) return 0 ;;
        *'"stand-in":'*) return 1 ;;
    esac
}

docker_build() {
    docker build --quiet --label stand-in="$MADE_BY" --tag "$1" "$2" >"$SCRATCH/log" 2>&1 \
        || { cat "$SCRATCH/log"; fail "$1 could not be built"; }
    echo "built $1 after $SECONDS s"
}

# ---- one Debian with everything, which all the others are

base() {
    command -v mmdebstrap >/dev/null || apt-get -qq -y install --no-install-recommends mmdebstrap >/dev/null \
        || fail "mmdebstrap is not here and could not be installed"
    local context=$SCRATCH/base option options=()
    # How this machine reaches its mirror.
    while read -r option; do options+=(--aptopt="$option"); done \
        < <(apt-config dump | grep -E '^Acquire::(Check|https?::(Proxy|CaInfo|Verify)|Retries|ForceIPv4)')
    mkdir -p "$context/etc/ssl/certs"
    mmdebstrap --quiet --variant=minbase --include="$PACKAGES" "${options[@]}" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"; echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
        "$SUITE" "$context/root.tar" "$(mirror)" >"$SCRATCH/log" 2>&1 || { tail -20 "$SCRATCH/log"; fail "mmdebstrap failed"; }
    # Who builds on these asks the package index that this machine asks, and trusts whom it trusts.
    cp -L /etc/ssl/certs/ca-certificates.crt "$context/etc/ssl/certs/"
    pip_settings >"$context/etc/pip.conf"
    {
        echo "FROM scratch"
        echo "ADD root.tar /"
        echo "COPY etc /etc"
        env | grep -iE '^(https?|no)_proxy=' | sed -E 's/^([^=]*)=(.*)/ENV \1="\2"/' || true
        echo "ENV LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    } >"$context/Dockerfile"
    docker_build "$BASE" "$context"
}

# The mirror that this machine takes its own packages from.
mirror() {
    local found
    # shellcheck disable=SC2016  # for apt to fill in
    found=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' \
        | awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
    echo "${found:-http://deb.debian.org/debian}"
}

pip_settings() {
    echo "[global]"
    echo "cert = /etc/ssl/certs/ca-certificates.crt"
    python3 -m pip config list 2>/dev/null | grep -v file:// \
        | sed -nE "s/^(global|:env:)\.(index-url|extra-index-url|trusted-host)='([^']*)'/\2 = \3/p" || true
}

# ---- the Dockerfile of each: its user has the id that the public image gives it

python() {
    cat <<'D'
FROM shop-stand-in
RUN ln -s python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
CMD ["python"]
D
}

postgres() {
    cat >"$SCRATCH/context/docker-entrypoint.sh" <<'S'
#!/usr/bin/env bash
# What the public image's does, as far as the shop uses it.
set -euo pipefail
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    install -d -o postgres -g postgres -m 700 "$PGDATA"
    install -d -o postgres -g postgres /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086  # several words are meant
    initdb --username=postgres --pwfile=<(echo "${POSTGRES_PASSWORD:?}") ${POSTGRES_INITDB_ARGS:-}
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    pg_ctl -w -o "-c listen_addresses=''" start
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --no-psqlrc -v ON_ERROR_STOP=1 -U postgres -f "$file"
    done
    pg_ctl -w -m fast stop
fi
exec "$@"
S
    chmod 755 "$SCRATCH/context/docker-entrypoint.sh"
    cat <<'D'
FROM shop-stand-in
RUN groupmod -o -g 999 postgres && usermod -o -u 999 postgres \
 && ln -s /usr/lib/postgresql/*/bin /usr/local/postgresql \
 && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data && install -d -o postgres -g postgres /var/run/postgresql
COPY docker-entrypoint.sh /usr/local/bin/
ENV PATH=/usr/local/postgresql:$PATH PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
CMD ["postgres"]
D
}

redis() {
    cat <<'D'
FROM shop-stand-in
RUN groupmod -o -g 999 redis && usermod -o -u 999 redis && install -d -o redis -g redis /data
WORKDIR /data
VOLUME /data
CMD ["redis-server", "--protected-mode", "no"]
D
}

haproxy() {
    cat <<'D'
FROM shop-stand-in
RUN groupmod -o -g 99 haproxy && usermod -o -u 99 haproxy && install -d -o haproxy /usr/local/etc/haproxy \
 && ln -s busybox /usr/bin/wget
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
D
}

rabbitmq() {
    cat >"$SCRATCH/context/docker-entrypoint.sh" <<'S'
#!/usr/bin/env bash
# What the public image's does, as far as the shop uses it.
set -euo pipefail
[ "$1" = rabbitmq-server ] || exec "$@"
cat >/etc/rabbitmq/rabbitmq.conf <<C
loopback_users.guest = false
default_user = ${RABBITMQ_DEFAULT_USER:-guest}
default_pass = ${RABBITMQ_DEFAULT_PASS:-guest}
C
chown -R rabbitmq:rabbitmq /var/lib/rabbitmq
exec setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups env HOME=/var/lib/rabbitmq RABBITMQ_LOGS=- \
    /usr/lib/rabbitmq/bin/rabbitmq-server
S
    chmod 755 "$SCRATCH/context/docker-entrypoint.sh"
    cat <<'D'
FROM shop-stand-in
RUN echo '[rabbitmq_management].' >/etc/rabbitmq/enabled_plugins && rm -rf /var/lib/rabbitmq/* /var/lib/rabbitmq/.erlang.cookie
COPY docker-entrypoint.sh /usr/local/bin/
VOLUME /var/lib/rabbitmq
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
D
}

main "$@"
