#!/usr/bin/env bash
# One machine with many GPUs: a cluster of it alone, one worker for each GPU.
#
#   bash one-machine.sh collect gpt2 --tokens 100000000 --dtype bfloat16
#   WORKERS=2 bash one-machine.sh explain smollm2 --components "neuron.5.*"
#
# While it runs, in another terminal: clew cluster status
set -euo pipefail

options=(--ray auto)
[[ -n "${WORKERS:-}" ]] && options+=(--workers "$WORKERS")

# With a head node of its own, a second command can work beside the first, and the status can be asked from outside.
# It ends with this script. Without it, --ray local starts one for as long as a command runs.
port="${PORT:-6379}"
ray start --head --block --port "$port" --dashboard-port "${DASHBOARD_PORT:-8265}" --disable-usage-stats &
head=$!
trap 'kill "$head" 2>/dev/null; wait "$head" 2>/dev/null || true' EXIT
export RAY_ADDRESS="127.0.0.1:$port"
until clew cluster status >/dev/null 2>&1; do
    kill -0 "$head"
    sleep 1
done

clew "$@" "${options[@]}"
