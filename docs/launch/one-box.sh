#!/usr/bin/env bash
# EXPERIMENT=experiments/vae_fashion_mnist.py RUN=runs/vae bash docs/launch/one-box.sh
# One host with several GPUs needs one process, which drives them all. Called again, it goes on.
set -euo pipefail

experiment=${EXPERIMENT:-experiments/vae_fashion_mnist.py}
read -ra options <<<"${OPTIONS:---data.batch-size 256}"
mesh=${MESH:-data=$(nvidia-smi --list-gpus | wc -l)}
run=${RUN:-runs/vae}

if compgen -G "$run/checkpoints/[0-9]*" >/dev/null; then
  command=(vifx resume "$run")
else
  command=(vifx train "$experiment" "${options[@]}" --run "$run")
fi
exec "${command[@]}" --distributed auto --mesh "$mesh"
