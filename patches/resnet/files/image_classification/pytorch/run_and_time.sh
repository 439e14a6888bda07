#!/usr/bin/env bash
# Train once: run_and_time.sh --hyperparameters FILE --data DIR --results DIR --seed N
# One process per GPU under torchrun; a single process needs no torchrun.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONSAFEPATH=1 # modules are named from the root only; none here may shadow a package

hyperparameters=
for ((i = 1; i <= $#; i++)); do
  if [ "${!i}" = --hyperparameters ]; then
    j=$((i + 1))
    hyperparameters=${!j:-}
  fi
done
if [ ! -r "$hyperparameters" ]; then
  echo "error: --hyperparameters: cannot read '$hyperparameters'; name the rendered file." >&2
  exit 2
fi

processes=$(sed -n 's/^accelerators: *\([0-9][0-9]*\).*/\1/p' "$hyperparameters")
if [ "${processes:-0}" -le 1 ]; then
  exec python -u "$here/train.py" "$@"
fi
exec python -u -m torch.distributed.run --standalone --nproc-per-node="$processes" \
  "$here/train.py" "$@"
