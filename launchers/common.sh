# What the launchers share: find Python, make the virtual environment, install once. Sourced, never run.
# shellcheck shell=bash

REPOSITORY="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${ICTC_VENV:-$REPOSITORY/.venv}"

# The OCR package of the lite engine has no release for Python 3.13.
PYTHON_TEST='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'
PYTHON_NEEDED="Python 3.11 or 3.12 with its venv module"

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "${0##*/}: error: $*"
  exit 1
}

is_usable_python() {
  "$1" -c "$PYTHON_TEST" >/dev/null 2>&1
}

# Print the Python to make the environment with: the one that PYTHON names, else the first that will do.
find_python() {
  local candidate candidates=(python3 python3.12 python3.11)
  if [[ -n ${PYTHON:-} ]]; then
    is_usable_python "$PYTHON" || fail "PYTHON=$PYTHON is not $PYTHON_NEEDED; name another one"
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if is_usable_python "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "found no $PYTHON_NEEDED; install it (Debian, Ubuntu: python3.12-venv), or name it: PYTHON=/path/to/python3.12"
}

make_environment() {
  local python
  if [[ -n ${PYTHON:-} || ! -x $VENV/bin/python ]]; then
    python="$(find_python)"
  fi
  if [[ ! -x $VENV/bin/python ]]; then
    say "Making the virtual environment $VENV with $("$python" --version)"
    "$python" -m venv "$VENV" || fail "could not make $VENV; remove it and try again"
  fi
  is_usable_python "$VENV/bin/python" || fail "$VENV is not of $PYTHON_NEEDED; remove it and try again"
}

# install_once NAME COMMAND...: run COMMAND, unless it ran for this NAME since what it depends on last changed.
install_once() {
  local name="$1" stamp="$VENV/installed-$1" wanted started=$SECONDS
  shift
  wanted="$REPOSITORY $(cat "$REPOSITORY"/{pyproject.toml,requirements_cluster.txt} "$REPOSITORY"/launchers/*.{sh,txt} | cksum)"
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    return
  fi
  say "Installing for the $name into $VENV (minutes the first time) ..."
  "$@" || fail "the installation failed; the lines above say why"
  printf '%s\n' "$wanted" >"$stamp"
  say "Installed in $((SECONDS - started)) s."
}

pip_install() {
  "$VENV/bin/python" -m pip install --quiet --quiet --no-input --disable-pip-version-check \
    --constraint "$REPOSITORY/launchers/constraints.txt" "$@"
}

# install_package EXTRAS: this package, so that edits take effect, and the lite engine's models.
install_package() {
  pip_install --editable "${REPOSITORY}[$1]" &&
    pip_install --no-deps --requirement "$REPOSITORY/launchers/requirements_nodeps.txt"
}
