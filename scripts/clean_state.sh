#!/usr/bin/env bash
# Runs commands as on a machine on which nothing was done before, and prints how long each took:
# in a fresh clone of the last commit, with an empty HOME (so no pip cache), without variables of
# this shell, and with a PATH that has everything but cmake, compiler caches and virtual
# environments.  Nothing outside of a temporary folder is written, which is removed in the end,
# except that `make setup` may install system packages where it is allowed to.
#
#   scripts/clean_state.sh                          make bench, then make test: 40 minutes
#   scripts/clean_state.sh "make setup" "make lint"
#
# KEEP=1 keeps the folder; TMPDIR says where it is made (4 GB for the default).
# Ends with the exit status of the first command that failed; the others run all the same.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- "make bench" "make test"
say() { printf '%s\n' "$*" >&2; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/clean-state.XXXXXX")
[ -n "${KEEP:-}" ] || trap 'rm -rf "$folder"' EXIT
mkdir "$folder/home" "$folder/bin" "$folder/tmp"

[ -z "$(git -C "$root" status --porcelain)" ] || say "what is not committed is left out"
git clone --quiet "$root" "$folder/clone"

# Everything in PATH as links; the first of a name counts, as it does there.
hidden=' cmake cmake3 ctest cpack ccache sccache distcc '
IFS=: read -ra places <<<"$PATH"
for place in "${places[@]}"; do
    [ -d "$place" ] || continue
    [ ! -e "$place/../pyvenv.cfg" ] || continue
    place=$(cd "$place" && pwd)
    found=()
    for program in "$place"/*; do
        name=${program##*/} target=$program
        [ -x "$program" ] && [ ! -d "$program" ] && [ ! -L "$folder/bin/$name" ] || continue
        # A compiler's name may be a link to the cache that stands in for it.
        [ ! -L "$program" ] || target=$(readlink -f "$program")
        case $hidden in *" $name "* | *" ${target##*/} "*) continue ;; esac
        found+=("$program")
    done
    [ ${#found[@]} -eq 0 ] || ln -s "${found[@]}" "$folder/bin/"
done

# Where packages come from is no state of this project.
kept=()
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT PIP_CONFIG_FILE \
    http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR \
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
    [ -z "${!name:-}" ] || kept+=("$name=${!name}")
done
if [ -z "${PIP_CONFIG_FILE:-}" ]; then
    for file in "${HOME:-}/.config/pip/pip.conf" "${HOME:-}/.pip/pip.conf"; do
        [ ! -f "$file" ] || { kept+=("PIP_CONFIG_FILE=$file"); break; }
    done
fi

status=0
took=()
for command in "$@"; do
    say "== $command"
    began=$SECONDS
    result=0
    (cd "$folder/clone" && exec env -i "${kept[@]}" PATH="$folder/bin" HOME="$folder/home" \
        TMPDIR="$folder/tmp" LANG="${LANG:-C.UTF-8}" TERM="${TERM:-dumb}" \
        bash -c "$command") || result=$?
    took+=("$(printf '%6d s  exit %d  %s' $((SECONDS - began)) "$result" "$command")")
    [ "$status" -ne 0 ] || status=$result
done
printf '%s\n' "${took[@]}"
[ -z "${KEEP:-}" ] || say "kept: $folder"
exit "$status"
