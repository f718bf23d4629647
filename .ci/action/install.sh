#!/usr/bin/env bash
# Installs the edgepress that this action came with into an environment of its own.
# The current folder is a checkout of somebody's pull request: no Python here imports from it, by `-I` and without variables
# that name its folders, and pip runs outside of it.
set -euo pipefail
unset "${!PYTHON@}"
cd "$RUNNER_TEMP"
python3 -I -m venv "$RUNNER_TEMP/edgepress"
"$RUNNER_TEMP/edgepress/bin/python" -I -m pip install -q -c "$GITHUB_ACTION_PATH/constraints.txt" "${GITHUB_ACTION_PATH}[toolkit]"
