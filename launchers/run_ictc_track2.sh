#!/usr/bin/env bash
# Cluster the collection by track 2, in the tmux session ictc_t2: launchers/run_ictc_track2.sh [FLAGS OF ictc run]
#
# The same command again resumes, or attaches while it runs. launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

require_folders
flags=("$@")
add_default --vlm_model "${VLM_MODEL:-}"
start_session ictc_t2 ictc run --ads_dir "$ADS_DIR" --output_dir "$OUTPUT_DIR/track2_identity" --track 2 "${flags[@]}"
