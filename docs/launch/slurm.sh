#!/usr/bin/env bash
# sbatch docs/launch/slurm.sh                        one process a host, which drives all of its GPUs
# sbatch --ntasks-per-node=8 docs/launch/slurm.sh    one process a GPU
# EXPERIMENT, OPTIONS, MESH and RUNS may be set before: EXPERIMENT=experiments/glow_digits.py sbatch docs/launch/slurm.sh
#SBATCH --job-name=vifx
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-gpu=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

experiment=${EXPERIMENT:-experiments/vae_fashion_mnist.py}
read -ra options <<<"${OPTIONS:---data.batch-size 256}"
mesh=${MESH:-data=16}                 # as many devices as the job has GPUs
run=${RUNS:-runs}/$SLURM_JOB_ID       # where every host sees it; a requeued job has the same number

# Decided once, before any process starts: a run that has a checkpoint goes on.
if compgen -G "$run/checkpoints/[0-9]*" >/dev/null; then
  command=(vifx resume "$run")
else
  if [[ -e $run ]]; then mv "$run" "$run.without-checkpoint.${SLURM_RESTART_COUNT:-0}"; fi
  command=(vifx train "$experiment" "${options[@]}" --run "$run")
fi

# A lost process ends the others within half a minute; srun need not kill them, and they say which one it was.
srun --kill-on-bad-exit=0 "${command[@]}" --distributed auto --mesh "$mesh"
code=$?

# Two minutes before the end SIGTERM lets the run save and stop, with code 143; then the job goes on in its next turn.
if [[ $code -eq 143 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
