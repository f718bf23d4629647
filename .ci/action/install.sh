#!/usr/bin/env bash
# Installs the edgepress that this action came with into an environment of its own.
set -euo pipefail
python3 -m venv "$RUNNER_TEMP/edgepress"
"$RUNNER_TEMP/edgepress/bin/pip" install -q -c "$GITHUB_ACTION_PATH/constraints.txt" "${GITHUB_ACTION_PATH}[toolkit]"
