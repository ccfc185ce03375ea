#!/usr/bin/env bash
# Start Ray on this machine, shaped like what was detected of it; all arguments go to `ray start`.
#   jobs/ray/node.sh --head                     the first machine; the daily job is started there
#   jobs/ray/node.sh --address=HEAD:6379        every other one
# All machines need the same token: copy ~/.ray/auth_token of the first one (`ray get-auth-token --generate` makes it).
set -euo pipefail
umask 077

clone="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
ray="$clone/.venv/bin/ray"
python="$clone/.venv/bin/python"
[[ -x "$ray" ]] || { ray=ray; python=python; }

shape='import json; from raytrain.machine.detect import detect; p = detect()
print(p.pcores, p.num_gpus, p.memory_bytes, json.dumps(p.custom_resources(), separators=(",", ":")))'
read -r cores gpus memory resources < <("$python" -c "$shape")

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Else Ray runs a task that was killed for memory again, for ever.
export RAY_task_oom_retries=0
exec "$ray" start --disable-usage-stats --dashboard-host=127.0.0.1 --object-store-memory=268435456 \
    --num-cpus="$cores" --num-gpus="$gpus" --memory="$memory" --resources="$resources" "$@"
