#!/usr/bin/env bash
# One run of BERT: run_and_time.sh --hyperparameters FILE --data DIR --results DIR --seed N [--checkpoint DIR]
# Starts one process per accelerator that the hyperparameter file names; one process on the CPU for 0.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)

file=""
previous=""
for argument in "$@"; do
  [ "$previous" = --hyperparameters ] && file=$argument
  previous=$argument
done
[ -r "$file" ] || { echo "error: --hyperparameters ${file:-is missing}: cannot be read." >&2; exit 2; }
accelerators=$(sed -n 's/^accelerators: *\([0-9]*\).*/\1/p' "$file")

export PYTHONPATH="$root:$root/language_model/pytorch${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # ranks share the cores; training.threads rules the CPU run
cd "$here"
if [ "${accelerators:-0}" -gt 1 ]; then
  exec python -m torch.distributed.run --standalone --nproc-per-node="$accelerators" train.py "$@"
fi
exec python train.py "$@" # one process needs no rendezvous
