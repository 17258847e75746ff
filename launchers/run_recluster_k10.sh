#!/usr/bin/env bash
# Cluster the three tracks' results again with K = 10, one after the other, in the tmux session ictc_k10:
# launchers/run_recluster_k10.sh [FLAGS OF ictc recluster]
#
# The same command again resumes, or attaches while it runs. launchers/env.example documents the settings.
set -euo pipefail
# shellcheck source=launchers/session.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/session.sh"

# recluster TRACK FLAGS...
recluster() {
  local track="$1" source_names=([1]=full_run [2]=track2_identity [3]=track3_cultural)
  shift
  ictc recluster --source_dir "$OUTPUT_DIR/${source_names[track]}" --output_dir "$OUTPUT_DIR/track${track}_k10" \
    --track "$track" "$@"
}

recluster_tracks() {
  local track flags=("$@")
  add_default --num_clusters 10
  add_default --vlm_model "${VLM_MODEL:-}"
  for track in $TRACKS; do
    recluster "$track" "${flags[@]}"
  done
}

require OUTPUT_DIR "the folder for results"
TRACKS="${TRACKS:-1 2 3}"
[[ $TRACKS =~ ^[1-3]( [1-3])*$ ]] || fail "TRACKS=$TRACKS must be some of 1 2 3, with one space between them"
if [[ ${1:-} == --in_session ]]; then
  recluster_tracks "${@:2}"
else
  start_session ictc_k10 "$REPOSITORY/launchers/run_recluster_k10.sh" --in_session "$@"
fi
