# shellcheck shell=bash
# A PostgreSQL cluster of its own for tests and migrations: in a temporary folder, on a Unix socket, for as long as the script runs.

# The folder of the newest PostgreSQL's programs.
postgres_bin() {
  local folder
  for folder in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do
    [ -x "$folder/initdb" ] && printf '%s\n' "$folder"
  done | sort -V | tail -n 1
}

install_postgres() {
  # Debian's package would make a cluster of the host's own and start it.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  apt_install "a PostgreSQL for tests" postgresql
}

# Runs a program of PostgreSQL, which refuses to be root.
as_postgres() {
  if is_root; then runuser -u postgres -- "$@"; else "$@"; fi
}

start_postgres() {
  local bin=$1
  postgres_folder=$(mktemp -d "${TMPDIR:-/tmp}/longshore-postgres-XXXXXX")
  ! is_root || chown postgres "$postgres_folder"
  # Nothing of it outlives the script: that it is not durable makes it faster.
  as_postgres "$bin/initdb" --pgdata "$postgres_folder/data" --username postgres --auth trust --encoding UTF8 --locale C --no-sync &&
    as_postgres "$bin/pg_ctl" --pgdata "$postgres_folder/data" --log "$postgres_folder/log" --wait --silent --options \
      "-k $postgres_folder -c listen_addresses='' -c fsync=off -c synchronous_commit=off -c max_connections=200" start
}

stop_postgres() {
  [ -n "${postgres_folder:-}" ] || return 0
  as_postgres "$(postgres_bin)/pg_ctl" --pgdata "$postgres_folder/data" --mode immediate --silent stop || true # it may not have come up
  rm -rf "$postgres_folder"
  postgres_folder=
}

# Sets LONGSHORE_TEST_POSTGRES to the URL of a cluster's database, or says why tests that need it will be skipped.
# Whoever calls it calls stop_postgres at its end.
ensure_postgres() {
  local bin log=$cache/postgres.log
  bin=$(postgres_bin)
  if [ -z "$bin" ] && on_debian && is_root; then
    one_at_a_time install_postgres
    bin=$(postgres_bin)
  fi
  if [ -z "$bin" ]; then
    say "note        PostgreSQL is not installed: tests that need it will be skipped."
    return 1
  fi
  if ! start_postgres "$bin" >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    say "note        PostgreSQL could not be started ($log): tests that need it will be skipped."
    stop_postgres >/dev/null 2>&1
    return 1
  fi
  export LONGSHORE_TEST_POSTGRES="postgres://postgres@localhost/postgres?host=$postgres_folder"
}
