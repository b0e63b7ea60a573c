"""The study of the proximal term: on or off, 1, 2 or 5 updates a phase, several weights, 5 seeds, two data sets.

    python docs/studies/proximal.py

writes docs/studies/proximal.json and docs/images/proximal.png, from which docs/proximal.md quotes; with the argument
`draw` it draws what the file has. All arms make the
same number of generator updates, and m updates of a phase see the same latents whether the term is there or not.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import vifx
from vifx import data, evaluation, games, networks, training
from vifx.evaluation import feature_network
from vifx.training import Progress

SEEDS, LAMBDAS, INNER = 5, (0.0, 1.0, 5.0, 25.0), (1, 2, 5)
UPDATES = {"grid25": 6000, "digits": 4000}
EVALUATIONS = 10
HERE = Path(__file__).parent


def leaky(x):
    return nn.leaky_relu(x, 0.2)


def build(dataset, inner, weight):
    """A plain non-saturating GAN of multilayer perceptrons; the weight of the proximal term may be traced."""
    size, width, latent = (2, 64, 8) if dataset == "grid25" else (64, 128, 16)
    final = networks.MLP((width, width), outputs=size, activation=leaky)
    critic = networks.Critic(networks.MLP((width, width), activation=leaky))
    generator = final if dataset == "grid25" else Squashed(final)
    objective = games.gan(generator, critic, prior=vifx.standard_normal(latent), proximal=lambda updates: weight)
    rate = 1e-3 if dataset == "grid25" else 3e-4
    optimizer = optax.adam(rate, b1=0.5)
    turn = training.descend(objective.objective, "model", optimizer)
    turn = turn if inner == 1 else training.repeat(turn, inner, fresh=False)
    step = training.in_turn(
        training.descend(objective.objective, "critic", optimizer), training.anchored(turn, "generator")
    )
    return objective, step


class Squashed(nn.Module):
    """Pixels in [−1, 1]."""

    body: nn.Module

    def __call__(self, z):
        return jnp.tanh(self.body(z))


def program(dataset, inner, arrays):
    """(key, weight) -> samples at the evaluations: a whole run as one function, to be mapped over seeds and weights."""
    batch_size = 128 if dataset == "grid25" else 64
    rounds = UPDATES[dataset] // inner // EVALUATIONS
    samples = 2500 if dataset == "grid25" else 360

    def run(key, weight):
        model, step = build(dataset, inner, weight)
        init_key, slot_key, run_key = jax.random.split(key, 3)
        params, state = model.objective.init(init_key, {"x": arrays[:batch_size]})
        progress = Progress(dict(params), dict(state), step.init(slot_key, params, state))

        def update(progress, i):
            rows_key, noise = jax.random.split(jax.random.fold_in(run_key, i))
            rows = jax.random.randint(rows_key, (batch_size,), 0, len(arrays))
            progress, metrics = step.update(noise, progress, {"x": arrays[rows]})
            return progress, metrics["critic/accuracy"]

        def stage(progress, i):
            progress, accuracy = jax.lax.scan(update, progress, i * rounds + jnp.arange(rounds))
            drawn = model.generative.sample(jax.random.key(7), progress.params, progress.state, examples=samples)
            return progress, (drawn.values["x"], jnp.mean(accuracy))

        _, (drawn, accuracy) = jax.lax.scan(stage, progress, jnp.arange(EVALUATIONS))
        return drawn, accuracy

    return run


def quality(dataset, drawn):
    """Score and spread of one run's samples at every evaluation."""
    if dataset == "grid25":
        modes = data.modes("grid25")
        found = [evaluation.mode_coverage(each, modes.centres, modes.scale) for each in drawn]
        return [float(f.captured) for f in found], [f.high_quality for f in found]
    features = feature_network(data.Config("digits"))
    test = data.load(data.Config("digits")).test["x"]
    real = features(test)
    images = [np.clip((np.asarray(each).reshape(-1, 8, 8, 1) + 1) / 2, 0, 1) for each in drawn]
    spread = [evaluation.prdc(real, features(each)).coverage for each in images]
    return spread, [float(evaluation.fmd(features, each, test).distance) for each in images]


def collapse(spread):
    """The share of the run at which the spread falls below 0.7 of its largest so far, for good; None if it does not."""
    spread = np.asarray(spread)
    low = spread < 0.7 * np.maximum.accumulate(spread)
    if not low[-1]:
        return None
    first = len(low) - int(np.argmin(low[::-1])) if not low.all() else 0
    return (first + 1) / len(low)


def measure(dataset):
    if dataset == "grid25":
        arrays = data.load(data.Config("grid25")).train["x"]
    else:
        arrays = data.load(data.Config("digits")).train["x"].reshape(-1, 64).astype(np.float32) / 127.5 - 1
    arrays = jnp.asarray(arrays)
    rows = []
    for inner in INNER:
        # With one update a phase the weight changes nothing, to the last bit: one weight stands for all.
        weights = jnp.asarray(LAMBDAS if inner > 1 else (0.0, 25.0), jnp.float32)
        keys = jax.random.split(jax.random.key(11), SEEDS)
        run = jax.jit(jax.vmap(jax.vmap(program(dataset, inner, arrays), (0, None)), (None, 0)))
        began = time.monotonic()
        drawn, accuracy = jax.block_until_ready(run(keys, weights))
        print(f"{dataset}, {inner} updates a phase: {time.monotonic() - began:.0f} s", flush=True)
        if inner == 1:
            assert (drawn[0] == drawn[1]).all(), "one update a phase: the proximal term must change nothing"
        for w, weight in enumerate(weights[:1] if inner == 1 else weights):
            for seed in range(SEEDS):
                spread, score = quality(dataset, np.asarray(drawn[w, seed]))
                rows.append(
                    {
                        "data": dataset,
                        "updates": inner,
                        "weight": float(weight),
                        "seed": seed,
                        "spread": spread,
                        "score": score,
                        "accuracy": np.asarray(accuracy[w, seed]).tolist(),
                        "collapse": collapse(spread),
                    }
                )
    return rows


def table(rows, dataset):
    """One line an arm: medians over seeds with their range."""
    best = max if dataset == "grid25" else min
    lines = []
    for inner in INNER:
        for weight in LAMBDAS if inner > 1 else (0.0,):
            arm = [r for r in rows if (r["data"], r["updates"], r["weight"]) == (dataset, inner, weight)]

            def middle(values, digits):
                values = sorted(values)
                return f"{np.median(values):.{digits}f} ({values[0]:.{digits}f}–{values[-1]:.{digits}f})"

            digits = 2 if dataset == "grid25" else 1
            spread_digits = 0 if dataset == "grid25" else 2
            gone = [r["collapse"] for r in arm if r["collapse"] is not None]
            lines.append(
                f"| {inner} | {'any' if inner == 1 else f'{weight:g}'} "
                f"| {middle([r['spread'][-1] for r in arm], spread_digits)} "
                f"| {middle([r['score'][-1] for r in arm], digits)} "
                f"| {middle([best(r['score']) for r in arm], digits)} "
                f"| {len(gone)} of {len(arm)}{f', at {100 * np.median(gone):.0f} %' if gone else ''} |"
            )
    return lines


def draw(rows, path):
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharex="col", layout="constrained")
    colours = dict(zip(LAMBDAS, ("#222222", "#3b76af", "#d1782c", "#8a4fa3"), strict=True))
    marks = dict(zip(LAMBDAS, ("o", "s", "^", "D"), strict=True))
    names = {
        ("grid25", "spread"): "grid25: modes of 25",
        ("grid25", "score"): "grid25: share within 3σ",
        ("digits", "spread"): "digits: coverage",
        ("digits", "score"): "digits: FMD (less is better)",
    }
    for column, ((dataset, what), title) in enumerate(names.items()):
        for row, inner in enumerate((2, 5)):
            axis = axes[row, column]
            for weight in LAMBDAS:
                arm = [r[what] for r in rows if (r["data"], r["updates"], r["weight"]) == (dataset, inner, weight)]
                x = np.arange(1, EVALUATIONS + 1) / EVALUATIONS * UPDATES[dataset] / 1000
                axis.fill_between(x, np.min(arm, 0), np.max(arm, 0), color=colours[weight], alpha=0.10, lw=0)
                axis.plot(
                    x,
                    np.median(arm, 0),
                    color=colours[weight],
                    marker=marks[weight],
                    ms=3,
                    lw=1.4,
                    label=f"λ = {weight:g}",
                )
            if what == "score" and dataset == "digits":
                axis.set_yscale("log")
                axis.set_yticks([10, 30, 100, 300], ["10", "30", "100", "300"])
                axis.minorticks_off()
            if row == 0:
                axis.set_title(title, loc="left", fontsize=10)
            else:
                axis.set_xlabel("generator updates, thousands")
            if column == 0:
                axis.set_ylabel(f"{inner} updates a phase")
    axes[0, 0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def main(names):
    target = HERE / "proximal.json"
    rows = json.loads(target.read_text()) if target.exists() else []
    for dataset in names:
        rows = [r for r in rows if r["data"] != dataset] + measure(dataset)
        target.write_text(json.dumps(rows) + "\n")
    for dataset in UPDATES:
        print(dataset, *table(rows, dataset), sep="\n")
    draw(rows, HERE.parent / "images" / "proximal.png")


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "draw"] if sys.argv[1:] else list(UPDATES))
