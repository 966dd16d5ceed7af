#!/usr/bin/env bash
# Creates the virtual environment $1 and installs the project into it, with what it needs from
# the system: a GL library to render with, and a C++ compiler and cmake, because LIBERO's
# dependency robomimic builds the small source package egl_probe.
# PYTHON=... chooses the interpreter.
set -euo pipefail

venv=${1:?usage: scripts/setup.sh FOLDER}
cd "$(dirname "$0")/.."
. scripts/build_tools.sh

say() { printf '%s\n' "$*" >&2; }
stop() { say "error: $*"; exit 1; }

# Installs Debian packages where that is allowed without a question; otherwise returns 1.
apt_install() {
    local prefix=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        prefix=(sudo -n)
    fi
    say "installing $*"
    "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1 || true
    "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

python=
if [ ! -x "$venv/bin/python" ]; then
    # pyenv's shims exist for versions that are not active, so every candidate is tried.
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
        if fits "$candidate"; then python=$candidate; break; fi
    done
    [ -n "$python" ] || stop "no Python 3.10, 3.11 or 3.12 found (tried ${PYTHON:-python3.11," \
        "python3.12, python3.10, python3}); install one, or name it: make PYTHON=/path/to/python3.11"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv" || stop "$python cannot create virtual environments;" \
            "this installs what it lacks: sudo apt-get install python$version-venv"
    fi
    say "creating $venv with $("$python" --version)"
    "$python" -m venv "$venv"
elif ! fits "$venv/bin/python"; then
    stop "$venv has $("$venv/bin/python" --version), which is too old or too new; remove it"
fi
python=$venv/bin/python

has_library() {
    "$python" - "$@" <<'EOF'
import ctypes, sys
def loads(name):
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
sys.exit(not any(loads(name) for name in sys.argv[1:]))
EOF
}

if [ "$(uname -s)" = Linux ] && ! has_library libEGL.so.1 libOSMesa.so.8 libOSMesa.so.6; then
    # Newer releases of Debian have no OSMesa any more; EGL alone is enough.
    apt_install libegl1 libosmesa6 || apt_install libegl1 || stop "no EGL or OSMesa library found;" \
        "this installs them: sudo apt-get update && sudo apt-get install -y libegl1 libosmesa6"
fi

if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
    apt_install g++ make || stop "no C++ compiler found;" \
        "this installs one: sudo apt-get update && sudo apt-get install -y g++ make"
fi
if ! command -v make >/dev/null; then
    apt_install make || stop "no make found; this installs it: sudo apt-get install -y make"
fi
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH
provide_cmake "$python" || apt_install cmake || stop "no cmake found, and none could be installed;" \
    "this installs one: sudo apt-get update && sudo apt-get install -y cmake"
# egl_probe asks for a version of cmake so old that cmake 4 refuses it without this.
export CMAKE_POLICY_VERSION_MINIMUM=3.5

say "installing the project into $venv (one to three minutes)"
"$python" -m pip install --quiet --disable-pip-version-check -e '.[dev,video]'

# OpenCV, a dependency of LIBERO's simulator, wants libraries that small images lack.
if ! "$python" -c 'import cv2' 2>/dev/null; then
    apt_install libgl1 libglib2.0-0 || apt_install libgl1 libglib2.0-0t64 || true
    "$python" -c 'import cv2' || stop "OpenCV does not load;" \
        "this usually helps: sudo apt-get install -y libgl1 libglib2.0-0"
fi
say "ready: $venv/bin/mbrl --help"
