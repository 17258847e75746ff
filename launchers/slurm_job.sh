#!/usr/bin/env bash
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
# What slurm_array.sh submits: slurm_job.sh REPOSITORY COMMAND...
#
# Two minutes before the time limit the command gets SIGTERM and the job goes back to the queue, to resume.
set -euo pipefail
# Slurm runs a copy of this file from a folder of its own, so the repository is named.
# shellcheck source=launchers/session.sh
source "$1/launchers/session.sh"

out_of_time=no

# Wait for a process to its end, however many signals interrupt, and return its exit status.
wait_for_end() {
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" || true
  done
  wait "$1"
}

trap 'out_of_time=yes; kill -TERM "${run:-}" 2>/dev/null || true' USR1
trap : TERM # at scancel and preemption Slurm signals the command itself, too
use_ictc
"${@:2}" &
run=$!

status=0
wait_for_end "$run" || status=$?
say "Ended with exit status $status."
if [[ $out_of_time == yes ]] && ((status == 128 + 15)); then
  say "The time limit is near; back to the queue, to resume."
  # The last task of an array has the array's own number as its job's; it must not take the others along.
  task="${SLURM_ARRAY_TASK_ID:+${SLURM_ARRAY_JOB_ID:-}_$SLURM_ARRAY_TASK_ID}"
  scontrol requeue "${task:-$SLURM_JOB_ID}"
fi
exit "$status"
