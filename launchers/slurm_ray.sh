#!/usr/bin/env bash
# Submit one job over several nodes, with a Ray cluster of its own: launchers/slurm_ray.sh [FLAGS OF ictc run]
#
# The same command again resumes. launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

require_folders
require NUM_NODES "how many nodes the job takes"
[[ $NUM_NODES =~ ^[1-9][0-9]*$ ]] || fail "NUM_NODES=$NUM_NODES is no number of nodes"
command -v sbatch >/dev/null || fail "found no sbatch; run this where Slurm jobs are submitted"
use_ictc
command -v ray >/dev/null || fail "found no ray beside ictc; install it: pip install 'ictc[ray]'"
logs="$OUTPUT_DIR/slurm_logs"
mkdir -p -- "$logs"

flags=("$@")
add_default --vlm_model "${VLM_MODEL-$SINGLE_GPU_MODEL}"
read -ra more <<<"${SBATCH_FLAGS:-}"
job="$(sbatch --parsable --job-name=ictc_ray --nodes="$NUM_NODES" --ntasks-per-node=1 \
  --gres="gpu:${GPUS_PER_TASK:-1}" --output="$logs/ray.%j.log" "${more[@]}" \
  "$REPOSITORY/launchers/slurm_job.sh" "$REPOSITORY" "$REPOSITORY/launchers/slurm_ray_cluster.sh" \
  ictc run --ads_dir "$ADS_DIR" --output_dir "$OUTPUT_DIR" "${flags[@]}")"
say "Submitted job ${job%%;*}: a run over $NUM_NODES nodes. Logs: $logs"
