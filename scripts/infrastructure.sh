# shellcheck shell=bash
# What start-, stop- and reset-infrastructure share. Works in the folder of the project.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

fail() { # CODE REASON
    echo "$(basename "$0"): $2" >&2
    exit "$1"
}

# Chooses the stack; sets `stack` and its `file`.
stack() {
    stack=$1 file=docker-compose.$1.yml
    [[ $stack =~ ^(dev|test|prod)$ ]] || fail 64 "no stack $stack, but: dev test prod"
    command -v docker >/dev/null || fail 69 'no docker: install Docker 20.10 or newer with its compose plugin'
    docker compose version >/dev/null 2>&1 || fail 69 'docker has no compose: install its compose plugin, 2.24 or newer'
}

compose() { docker compose --file "$file" "$@"; }

# Passwords of prod, made where they are missing and never changed. The files can be read by the users inside the
# containers, whose numbers are not ours; the folder can be entered by nobody else.
make_secrets() {
    mkdir -p secrets
    chmod 700 secrets
    local redis archive access secret
    keep admin_token "$(random)"
    keep grafana_password "$(random)"
    keep alert_webhook_url "$NO_WEBHOOK"
    keep postgres_password "$(random)"
    redis=$(keep redis_password "$(random)" && cat secrets/redis_password)
    archive=$(keep archive_password "$(random)" && cat secrets/archive_password)
    access=$(keep s3_access_key "liap$(random | head -c 16)" && cat secrets/s3_access_key)
    secret=$(keep s3_secret_key "$(random)" && cat secrets/s3_secret_key)
    keep redis_url "redis+sentinel://:$redis@redis-sentinel:26379/liap/0"
    keep database_url "postgresql://liap:$archive@pgbouncer:6432/liap_archive"
    keep pgbouncer_users "\"liap\" \"$archive\""
    keep aws_credentials "[default]
aws_access_key_id = $access
aws_secret_access_key = $secret"
}

# What stands in secrets/alert_webhook_url until somebody fills it in; the name leads nowhere by definition.
NO_WEBHOOK=http://alerts.invalid/

keep() { # NAME VALUE
    [[ -s secrets/$1 ]] && return
    # Under its own name a file is always whole.
    (umask 022 && printf '%s\n' "$2" >"secrets/$1.part" && mv "secrets/$1.part" "secrets/$1")
}

# 192 bits, in letters and digits that need no quoting anywhere.
random() { od --address-radix=n --format=x1 --read-bytes=24 /dev/urandom | tr -d ' \n'; }
