#!/usr/bin/env bash
# Draw example ads and cluster them by product category, without a GPU: launchers/demo.sh [OUT]
#
# Makes .venv (or ICTC_VENV=) and installs into it on the first call. PYTHON= names the Python to use.
# OUT is demo_output in the repository unless given; the same command again resumes.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

readonly NUM_CATEGORIES=8  # of the ads that are drawn

main() {
  (($# <= 1)) || fail "usage: ${0##*/} [OUT]"
  local out="${1:-$REPOSITORY/demo_output}" started
  make_environment
  install_once "demo" install_package lite,analysis

  started=$SECONDS
  if [[ ! -d $out/ads ]]; then
    "$VENV/bin/python" "$REPOSITORY/examples/draw_ads.py" "$out"
  fi
  "$VENV/bin/ictc" run --ads_dir "$out/ads" --output_dir "$out/results" --engine lite \
    --criterion "product category" --num_clusters "$NUM_CATEGORIES"
  "$VENV/bin/ictc" evaluate "$out/results" --truth "$out/truth.csv" --column category --output_dir "$out/evaluation"
  printf '\nThe demo took %d s without the installation. Look at %s\n' "$((SECONDS - started))" "$out/results/report.html"
  printf 'Results: %s\nImages:  %s\n' "$out/results/ictc_final_results.json" "$out/results/categorized_images"
}

main "$@"
