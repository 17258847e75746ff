#!/usr/bin/env bash
# Cluster the collection on one GPU, in the tmux session ictc: launchers/run_ictc_single_gpu.sh [FLAGS OF ictc run]
#
# It takes the first visible GPU unless --gpu_id names another one.
# The same command again resumes, or attaches while it runs. launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

require_folders
flags=("$@")
add_default --vlm_model "${VLM_MODEL-$SINGLE_GPU_MODEL}"
add_default --num_gpus 1
start_session ictc ictc run --ads_dir "$ADS_DIR" --output_dir "$OUTPUT_DIR/full_run" "${flags[@]}"
