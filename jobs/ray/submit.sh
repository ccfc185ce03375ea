#!/usr/bin/env bash
# Submit the daily job to a running Ray cluster and follow its log; all arguments go to the job.
#   RAY_ADDRESS=http://127.0.0.1:8265 jobs/ray/submit.sh --config configs/daily.yaml --store /shared/store
set -euo pipefail
: "${RAY_ADDRESS:?names the job server, as in RAY_ADDRESS=http://127.0.0.1:8265}"

clone="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
ray="$clone/.venv/bin/ray"
[[ -x "$ray" ]] || ray=ray

exec "$ray" job submit --address "$RAY_ADDRESS" --working-dir "$clone" -- python -m raytrain.jobs.daily "$@"
