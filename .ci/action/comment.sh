#!/usr/bin/env bash
# Writes REPORT as a comment of the pull request, or updates the comment that an earlier run with this TITLE wrote.
# A token that may not comment, such as that of a pull request from a fork, is a warning: the summary shows the report, too.
set -euo pipefail
unset "${!PYTHON@}"
pull=$(python3 -I "$(dirname "$0")/event.py" pull)
if [ -z "$pull" ]; then
  echo "No pull request: the comparison is in the job's summary only."
  exit 0
fi
mark="<!-- edgepress compare $(printf %s "$TITLE" | sha256sum | cut -c1-16) -->"
body=$RUNNER_TEMP/edgepress-comment-$$.md
{
  printf '%s\n' "$mark"
  head -c 60000 "$REPORT" | iconv -c -f utf-8 -t utf-8 # GitHub takes 65,536 characters; whole ones
  if [ "$(wc -c <"$REPORT")" -gt 60000 ]; then printf '\n\n(cut; the whole comparison is in the summary of the job)\n'; fi
} >"$body"

comments=repos/$GITHUB_REPOSITORY/issues/$pull/comments
own=".[] | select(.user.login == \"github-actions[bot]\" and (.body | startswith(\"$mark\"))) | .id"
if id=$(gh api --paginate "$comments" --jq "$own") && id=${id%%$'\n'*} &&
  if [ -n "$id" ]; then
    gh api --silent -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id" -F "body=@$body"
  else
    gh api --silent "$comments" -F "body=@$body"
  fi
then echo "Commented on pull request $pull."; else
  echo "::warning title=edgepress::The comment could not be written. The job needs 'permissions: pull-requests: write'; a fork has none."
fi
