#!/usr/bin/env bash
# Submit an array job of one shard a task, and a job that merges the shards once all have succeeded:
# launchers/slurm_array.sh [FLAGS OF ictc run] [-- FLAGS OF ictc merge]
#
# To submit failed tasks again, name them: ARRAY=3,7 launchers/slurm_array.sh, with the same flags.
# launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

# submit SBATCH_FLAGS... -- COMMAND...: print the number of the job.
submit() {
  local own=() more=() job
  read -ra more <<<"${SBATCH_FLAGS:-}"
  while [[ $1 != -- ]]; do
    own+=("$1")
    shift
  done
  job="$(sbatch --parsable --gres="gpu:$GPUS_PER_TASK" "${more[@]}" "${own[@]}" \
    "$REPOSITORY/launchers/slurm_job.sh" "$REPOSITORY" "${@:2}")"
  printf '%s\n' "${job%%;*}" # what follows is the name of the cluster
}

submit_shards() {
  local flags=("$@")
  add_default --vlm_model "${VLM_MODEL-$SINGLE_GPU_MODEL}"
  add_default --num_gpus "${GPUS_PER_TASK##*:}"
  submit --job-name=ictc --array="${ARRAY:-0-$((NUM_SHARDS - 1))}" --output="$logs/shard_%a.%A.log" -- \
    ictc run --ads_dir "$ADS_DIR" --output_dir "$OUTPUT_DIR" --shard_from env --num_shards "$NUM_SHARDS" "${flags[@]}"
}

# submit_merge JOB FLAGS...: the model is that of the shards.
submit_merge() {
  local job="$1" shard shards=()
  for ((shard = 0; shard < NUM_SHARDS; shard++)); do
    shards+=("$OUTPUT_DIR/shard_$shard")
  done
  submit --job-name=ictc_merge --dependency="afterok:$job" --kill-on-invalid-dep=yes --output="$logs/merge.%j.log" -- \
    ictc merge "${shards[@]}" --output_dir "$OUTPUT_DIR/merged" "${@:2}"
}

require_folders
require NUM_SHARDS "into how many shards the collection is split"
[[ $NUM_SHARDS =~ ^[1-9][0-9]*$ ]] || fail "NUM_SHARDS=$NUM_SHARDS is no number of shards"
command -v sbatch >/dev/null || fail "found no sbatch; run this where Slurm jobs are submitted"
use_ictc
GPUS_PER_TASK="${GPUS_PER_TASK:-1}"
logs="$OUTPUT_DIR/slurm_logs"
mkdir -p -- "$logs"

run_flags=()
while (($#)) && [[ $1 != -- ]]; do
  run_flags+=("$1")
  shift
done
array_job="$(submit_shards "${run_flags[@]}")"
say "Submitted job $array_job: the shards. Logs: $logs"
merge_job="$(submit_merge "$array_job" "${@:2}")"
say "Submitted job $merge_job: the merge, after the shards, into $OUTPUT_DIR/merged"
