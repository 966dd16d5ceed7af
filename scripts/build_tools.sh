# Functions for setup.sh, which sources this file.
# shellcheck shell=bash

# Whether the cmake that is found first runs where pip builds a package.  pip hides the packages
# of the environment from such a build: the `cmake` that pip itself installed into the
# environment's bin folder is a Python script, and then no longer finds its own package.
cmake_builds() {
    local hiding status=0
    command -v cmake >/dev/null || return 1
    hiding=$(mktemp -d)
    printf '%s\n' 'import sys' \
        'sys.path[:] = [p for p in sys.path if not p.endswith(("site-packages", "dist-packages"))]' \
        >"$hiding/sitecustomize.py"
    PYTHONPATH=$hiding cmake --version >/dev/null 2>&1 || status=1
    rm -rf "$hiding"
    return $status
}

# Puts a cmake on PATH that builds can run, if there is none: the program itself, from the folder
# inside the package where pip installs it.  $1: the environment's python.
provide_cmake() {
    local python=$1 folder
    cmake_builds && return 0
    "$python" -m pip install --quiet --disable-pip-version-check 'cmake<4' || return 1
    folder=$("$python" -c 'import cmake; print(cmake.CMAKE_BIN_DIR)') || return 1
    export PATH=$folder:$PATH
    cmake_builds
}
