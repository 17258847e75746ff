# What the launchers of long runs share: settings, and tmux sessions that outlive the login. Sourced, never run.
# shellcheck shell=bash

shopt -s inherit_errexit # a failure inside $(...) ends the launcher, too

# shellcheck source=launchers/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# What fits one GPU of 40 GB.
# shellcheck disable=SC2034
SINGLE_GPU_MODEL=Qwen/Qwen3.5-9B

# As the user would type it again.
LAUNCHER="$(printf '%q ' "$0" "$@")"

# Export what the settings file sets, except what the environment sets already.
load_settings() {
  local file="${ICTC_SETTINGS:-$REPOSITORY/launchers/env}" setting
  if [[ ! -f $file ]]; then
    [[ -z ${ICTC_SETTINGS:-} ]] || fail "ICTC_SETTINGS=$file is no file"
    return 0
  fi
  while IFS= read -r -d '' setting; do
    if [[ $setting =~ ^[A-Za-z_][A-Za-z_0-9]*= && ! -v ${BASH_REMATCH[0]%=} ]]; then
      export "${setting?}"
    fi
  done < <(print_settings "$file")
  wait "$!" || fail "$file can't be read as settings; the lines above say why"
}

# Print the environment after reading the file, each setting ended by a zero byte.
print_settings() {
  set -a
  # shellcheck source=launchers/env.example
  source "$1" >&2
  env -0
}

load_settings
VENV="${ICTC_VENV:-$VENV}"

# require NAME MEANING
require() {
  [[ -n ${!1:-} ]] || fail "$1 is not set, $2; set it in the environment, or in launchers/env (see launchers/env.example)"
}

require_folders() {
  require ADS_DIR "the folder of images"
  require OUTPUT_DIR "the folder for results"
  [[ -d $ADS_DIR ]] || fail "ADS_DIR=$ADS_DIR is no folder; name the folder of images"
}

# Put the program first on PATH, with what lies beside it: vLLM calls compilers of its environment by name.
use_ictc() {
  if [[ -x $VENV/bin/ictc ]]; then
    export PATH="$VENV/bin:$PATH"
  elif ! command -v ictc >/dev/null; then
    fail "found no ictc in $VENV nor on PATH; install it (see docs/usage.md), or name its environment: ICTC_VENV=/path"
  fi
}

# add_default FLAG VALUE: add to the array `flags`, unless VALUE is empty or the flag is there in either spelling.
add_default() {
  local flag
  for flag in "${flags[@]}"; do
    flag="${flag%%=*}"
    [[ ${flag//-/_} != "${1//-/_}" ]] || return 0
  done
  [[ -z $2 ]] || flags=("$1" "$2" "${flags[@]}")
}

# start_session SESSION COMMAND...: start it where it outlives the login, unless it runs there, and show it.
start_session() {
  local session="$1" start_file
  shift
  use_ictc
  start_file="$(write_start_file "$@")"
  if command -v tmux >/dev/null; then
    start_in_tmux "$session" "$start_file"
    attach "$session"
  else
    start_in_background "$session" "$start_file"
  fi
}

# Write a script that runs the command with this environment and no other, and print its path. A tmux server has the
# environment of whoever started it first, and a command line has a length limit and is read by everyone.
write_start_file() {
  local path input=""
  path="$(mktemp "${TMPDIR:-/tmp}/ictc-start.XXXXXX")"
  [[ -t 0 ]] || input="</dev/null" # nobody is there to answer a question
  {
    printf 'rm -f -- %s\n' "${path@Q}"
    # shellcheck disable=SC2016  # for that script to expand
    printf 'for name in $(compgen -e); do [[ $name =~ ^(TERM$|TMUX) ]] || unset -v "$name"; done\n'
    (unset TERM "${!TMUX@}" && export -p)
    printf 'cd -- %s\nsource %s\n' "${PWD@Q}" "${REPOSITORY@Q}/launchers/session.sh"
    printf 'run_in_session %s %s %s\n' "${LAUNCHER@Q}" "${*@Q}" "$input"
  } >"$path"
  printf '%s\n' "$path"
}

start_in_tmux() {
  local session="$1" start_file="$2"
  if ! tmux has-session -t "=$session" 2>/dev/null; then
    # The window stays when its command has ended, so that the end can be read.
    tmux new-session -d -s "$session" bash "$start_file" \; set-window-option -t "=$session:" remain-on-exit on
    say "Started in the tmux session $session."
  elif tmux respawn-pane -t "=$session:" bash "$start_file" 2>/dev/null; then
    say "Started again in the tmux session $session, where the last run had ended."
  else
    rm -f -- "$start_file"
    say "The tmux session $session is running already; nothing was started."
  fi
}

attach() {
  local session="$1"
  if [[ ! -t 0 || ! -t 1 ]]; then
    say "To watch: tmux attach -t $session"
  elif [[ -n ${TMUX:-} ]]; then
    exec tmux switch-client -t "=$session"
  else
    exec tmux attach-session -t "=$session"
  fi
}

start_in_background() {
  local log="$OUTPUT_DIR/$1.log" start_file="$2"
  mkdir -p -- "$OUTPUT_DIR"
  exec 9>>"$log"
  if is_locked 9; then
    rm -f -- "$start_file"
    say "It is running already; nothing was started. Log: $log"
    return
  fi
  # The child inherits file 9, and with it the lock.
  nohup bash "$start_file" </dev/null >&9 2>&1 &
  say "There is no tmux, so it runs in the background as process $!. Log: $log"
}

# is_locked FILE_NUMBER: lock it, unless another process has. Where locks are missing, ictc's own refuses a second run.
is_locked() {
  local status=0
  flock --nonblock --conflict-exit-code 75 "$1" 2>/dev/null || status=$?
  ((status == 75))
}

# run_in_session LAUNCHER COMMAND...: what runs inside the session.
run_in_session() {
  local launcher="$1" status=0
  shift
  trap : INT # Ctrl-C is for the command; this shell is to tell how it ended
  "$@" || status=$?
  say $'\n'"Ended with exit status $status."
  ((status == 0)) || say "To resume, with the same settings: $launcher"
  return "$status"
}
