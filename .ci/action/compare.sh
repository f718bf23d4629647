#!/usr/bin/env bash
# Compares NEW with what the base commit has at OLD, and ends with the exit code of `edgepress compare`.
# In: NEW, OLD, FAIL_IF, DATA, OPTIONS. Out: the report in Markdown, the step's outputs, the job's summary.
set -euo pipefail
unset "${!PYTHON@}" # such as PYTHONPATH=.: nothing is imported from the checkout
here=$(dirname "$0")
base=$(python3 -I "$here/event.py" base)
report=$RUNNER_TEMP/edgepress-$$.md tree=$RUNNER_TEMP/edgepress-base-$$

finish() { # EXIT_CODE OUTCOME
  {
    echo "exit-code=$1"
    echo "outcome=$2"
    if [ -s "$report" ]; then echo "report=$report"; fi
  } >>"$GITHUB_OUTPUT"
  if [ -s "$report" ]; then cat "$report" >>"$GITHUB_STEP_SUMMARY"; fi
  exit "$1"
}

if [ -z "$base" ]; then
  echo "::error title=edgepress::This event has no base commit to compare with. Run the action on pull_request, merge_group or push."
  finish 1 error
fi
git fetch -q --depth=1 origin "$base"
git worktree add -q --detach "$tree" "$base"
trap 'git worktree remove --force "$tree"' EXIT

old=$tree/${OLD:-$NEW}
if [ -z "$OLD" ] && [ -e "$NEW" ] && [ ! -e "$old" ]; then
  echo "::notice title=edgepress::The base commit has nothing at this path yet: nothing was compared."
  printf '### %s\n\nThe base commit has nothing at this path yet: nothing was compared.\n' "edgepress compare" >"$report"
  finish 0 passed
fi

arguments=(--format=md)
while IFS= read -r limit; do if [ -n "$limit" ]; then arguments+=("--fail-if=$limit"); fi; done <<<"$FAIL_IF"
while IFS= read -r option; do if [ -n "$option" ]; then arguments+=("$option"); fi; done <<<"$OPTIONS"
if [ -n "$DATA" ]; then arguments+=("--data=$DATA"); fi
code=0
"$RUNNER_TEMP/edgepress/bin/python" -I -m edgepress.toolkit.cli.main --no-config compare "${arguments[@]}" -- "$old" "$NEW" >"$report" || code=$?
case $code in 0) finish 0 passed ;; 3) finish 3 failed ;; 5) finish 5 unproven ;; *) finish "$code" error ;; esac
