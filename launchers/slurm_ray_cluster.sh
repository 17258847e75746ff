#!/usr/bin/env bash
# What a job of slurm_ray.sh runs: slurm_ray_cluster.sh COMMAND...
#
# Starts Ray on the job's nodes, with its head here, on the first one. When all have joined, COMMAND runs over them.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

JOIN_TIMEOUT_S=300
COUNT_NODES='
import logging, sys, time
import ray

address, number = sys.argv[1:]
while not ray.is_initialized():
    try:
        ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False)
    except ConnectionError:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < int(number):
    time.sleep(1)
'

# wait_for_nodes NUMBER PROCESS: or fail when the process, which starts them, has ended.
wait_for_nodes() {
  timeout --kill-after=5 "$JOIN_TIMEOUT_S" python -W ignore -c "$COUNT_NODES" "$address" "$1" &
  wait -n "$!" "$2" || fail "Ray did not get $1 of $SLURM_NNODES nodes; the lines above may say why"
}

# Ends with the command's exit status, at SIGTERM after the command has ended.
run_command() {
  local status=0
  "$@" &
  run=$!
  trap 'kill -TERM "$run" 2>/dev/null || true' TERM
  while kill -0 "$run" 2>/dev/null; do
    wait "$run" || true
  done
  wait "$run" || status=$?
  return "$status"
}

# Else whoever reaches the nodes could run code on them.
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}" # tell nobody, unless asked to
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # when Ray is stopped here, nothing of worth runs on it
node_flags=(--num-cpus="$SLURM_CPUS_PER_TASK" --block)
# Other jobs may have a Ray cluster on the same node.
address="$(python -W ignore -c 'import ray; print(ray.util.get_node_ip_address())'):$((20000 + SLURM_JOB_ID % 10000))"
# shellcheck disable=SC2046  # a word a process
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

ray start --head --port="${address##*:}" --node-ip-address="${address%:*}" "${node_flags[@]}" &
wait_for_nodes 1 "$!"
if ((SLURM_NNODES > 1)); then
  # Steps don't inherit --cpus-per-task since Slurm 22.05.
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$SLURMD_NODENAME" \
    --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 ray start --address="$address" "${node_flags[@]}" &
  wait_for_nodes "$SLURM_NNODES" "$!"
fi
say "Ray has $SLURM_NNODES nodes at $address."
run_command "$@" --executor ray --ray_address "$address"
