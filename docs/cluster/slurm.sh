#!/usr/bin/env bash
# Several nodes of a Slurm cluster: Ray on all of them, the command on the first.
#
#   sbatch slurm.sh collect meta-llama/Llama-3.1-8B --tokens 1000000000 --dtype bfloat16 --out /shared/atlases/llama
#
# The environment with Clew, the model, and --out lie on the shared file system. A job that is ended early goes on with
# the same command: submit it again.
#SBATCH --job-name=clew
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

# Where models and atlases lie: all nodes see it.
export CLEW_HOME="${CLEW_HOME:-$PWD/clew-home}"
# One secret for all nodes of this job, in a file that only you may read.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$PWD/.ray-token-$SLURM_JOB_ID"
(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

# A model is pulled once, and not by all nodes at once.
[[ "${1:-}" == collect || "${1:-}" == explain ]] && [[ -n "${2:-}" ]] && clew pull "$2"

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Starts Ray on every node, runs the command on the first when all are there, and stops Ray after it.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats -- \
    clew "$@" --ray "$head:6379"
