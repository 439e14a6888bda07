#!/usr/bin/env bash
# Train the reference once: run_and_time.sh --hyperparameters FILE --data DIR --results DIR --seed N
#   [--checkpoint DIR]
# One process for all GPUs of the node: the reference mirrors its variables over them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1 # the tree stays as it is
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-1}"
exec python -u "$here/start_run.py" "$@"
