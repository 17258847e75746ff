#!/usr/bin/env bash
# Run one shard on a virtual machine with a single GPU, in the tmux session ictc: launchers/start_vm.sh [FLAGS OF ictc run]
#
# Fit for a startup script: it needs no terminal and no home directory, and at each start of the machine it resumes.
# launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

install_for_cluster() (
  cd -- "$REPOSITORY" # the file of requirements names this package by a relative path
  "$VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r requirements_cluster.txt
)

require_folders
require NUM_SHARDS "into how many shards the collection is split"
require SHARD_INDEX "which shard is this machine's, from 0"
if [[ ${MAKE_ENVIRONMENT:-no} == yes ]]; then
  make_environment
  install_once "cluster" install_for_cluster
fi
flags=("$@")
add_default --vlm_model "${VLM_MODEL-$SINGLE_GPU_MODEL}"
add_default --num_gpus 1
start_session ictc ictc run --ads_dir "$ADS_DIR" --output_dir "$OUTPUT_DIR" \
  --num_shards "$NUM_SHARDS" --shard_index "$SHARD_INDEX" "${flags[@]}"
