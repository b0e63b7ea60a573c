"""The study of five regularizers of a small classifier: Fashion-MNIST, 6,000 training images, 5 seeds.

    python docs/studies/regularizers.py

writes docs/studies/regularizers.json and docs/images/regularizers.png, from which docs/supervised.md quotes; with the
argument `draw` it draws what the file has. Every arm is experiments/classifier_fashion_mnist.py with one option
changed. A seed draws the images, the initial values, the order of the data and the noise, the same in every arm, so
that differences between arms are taken seed by seed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t

from vifx import data, evaluation, experiment, training
from vifx.data import images
from vifx.evaluation.style import STYLE, dress
from vifx.experiment import classifier

HERE = Path(__file__).parent
FILE = experiment.load(HERE.parents[1] / "experiments/classifier_fashion_mnist.py")
SEEDS, CHOOSING = (0, 1, 2, 3, 4), 5
EXAMPLES, BATCH, EPOCHS = 6000, 64, 20
NOISE = (0.1, 0.2)
STRENGTHS = {
    "mixup": ("alpha", (0.1, 0.2, 0.4, 1.0)),
    "sample_pairing": ("paired", (0.25, 0.5, 0.75, 1.0)),
    "spectral": ("spectral_weight", (5e-3, 2e-2, 5e-2, 0.2)),
    "gradient": ("gradient_weight", (0.03, 0.1, 0.3, 1.0)),
    "weight_decay": ("decay", (0.1, 0.3, 0.5, 1.0)),
}
ARMS = ("none", *STRENGTHS)
METRICS = {
    "accuracy": "accuracy",
    "nll": "−log q(y | x), nats",
    "nll_tempered": "the same, tempered",
    "calibration_error": "calibration error",
    "accuracy_noise": "accuracy, noise 0.2",
}


def build(regularizer, seed, **strength):
    config = data.Config("fashion_mnist", batch_size=BATCH, validation=5000)
    options = {"examples": EXAMPLES, "channels": (16, 32), "hidden": (64,), "data": config}
    return FILE.build(FILE.config(regularizer=regularizer, seed=seed, **options, **strength))


def train(regularizer, seeds, **strength):
    """The parameters and states of all seeds, which one program trains one after the other."""
    built = build(regularizer, seeds[0], **strength)
    split = built.splits.train
    subsets = [classifier.subset(split, EXAMPLES, seed) for seed in seeds]
    arrays = {name: jnp.asarray(np.stack([each[name] for each in subsets])) for name in split}
    transform, batches = built.source.transform, EXAMPLES // BATCH

    def run(inputs):
        key, arrays = inputs
        init_key, slot_key, order_key, noise_key = jax.random.split(key, 4)

        def minibatch(rows, noise):
            return transform(noise, {name: array[rows] for name, array in arrays.items()})

        first = minibatch(jnp.arange(BATCH), noise_key)
        params, state = built.objective.init(init_key, first)
        progress = training.Progress(dict(params), dict(state), built.step.init(slot_key, params, state))

        def update(progress, turn):
            number, rows = turn
            noise, own = jax.random.split(jax.random.fold_in(noise_key, 1 + number))
            progress, metrics = built.step.update(own, progress, minibatch(rows, noise))
            return progress, metrics["nll/y"]

        def epoch(progress, number):
            order = jax.random.permutation(jax.random.fold_in(order_key, number), EXAMPLES)
            rows = order[: batches * BATCH].reshape(batches, BATCH)
            progress, losses = jax.lax.scan(update, progress, (number * batches + jnp.arange(batches), rows))
            return progress, jnp.mean(losses)

        progress, losses = jax.lax.scan(epoch, progress, jnp.arange(EPOCHS))
        return progress.params, progress.state, losses[-1]

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    found = jax.jit(lambda keys, arrays: jax.lax.map(run, (keys, arrays)))(keys, arrays)
    return built, [jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in range(len(seeds))]


def splits(built):
    return images.scaled(built.splits.validation), images.scaled(built.splits.test)


def choose():
    """The strength of each regularizer with the best validation likelihood, at a seed that the study does not use."""
    found = {}
    for regularizer, (option, strengths) in STRENGTHS.items():
        scores = {}
        for strength in strengths:
            built, [(params, state, _)] = train(regularizer, (CHOOSING,), **{option: strength})
            key = jax.random.key(CHOOSING)
            scores[strength] = evaluation.predict(key, built.generative, params, state, splits(built)[0]).nll.mean
        found[regularizer] = {"option": option, "scores": list(scores.items()), "best": min(scores, key=scores.get)}
        print(regularizer, {strength: round(score, 4) for strength, score in scores.items()}, flush=True)
    return found


def measure(regularizer, chosen):
    strength = {chosen[regularizer]["option"]: chosen[regularizer]["best"]} if regularizer in chosen else {}
    began = time.monotonic()
    built, runs = train(regularizer, SEEDS, **strength)
    validation, test = splits(built)
    rows = []
    for seed, (params, state, loss) in zip(SEEDS, runs, strict=True):
        joint, key = built.generative, jax.random.key(seed)
        plain = evaluation.predict(key, joint, params, state, test)
        temperature = evaluation.calibrating_temperature(evaluation.predict(key, joint, params, state, validation))
        noised = [evaluation.predict(key, joint, params, state, test, noise=size) for size in NOISE]
        rows.append(
            {
                "arm": regularizer,
                "seed": seed,
                "training_loss": float(loss),
                "accuracy": plain.accuracy.mean,
                "nll": plain.nll.mean,
                "nll_tempered": plain.tempered(temperature).nll.mean,
                "temperature": temperature,
                "calibration_error": evaluation.calibration(plain).error,
                "accuracy_noise_small": noised[0].accuracy.mean,
                "accuracy_noise": noised[1].accuracy.mean,
            }
        )
    print(f"{regularizer}: {time.monotonic() - began:.0f} s", flush=True)
    return rows


def values(rows, arm, metric):
    return np.array([row[metric] for row in sorted(rows, key=lambda row: row["seed"]) if row["arm"] == arm])


def difference(rows, arm, metric):
    """The mean of the paired differences to `none`, and half of its 95 % interval by Student's t."""
    each = values(rows, arm, metric) - values(rows, "none", metric)
    return each.mean(), t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))


def signed(value, digits):
    return f"{value:+.{digits}f}".replace("-", "−")


def table(rows):
    """One line an arm: the mean of `none`, and the paired differences of the others with their intervals."""
    digits = dict.fromkeys(METRICS, 3) | {"accuracy": 4}
    none = [f"{values(rows, 'none', metric).mean():.{digits[metric]}f}" for metric in METRICS]
    lines = [f"| none | {' | '.join(none)} |"]
    for arm in STRENGTHS:
        found = [(difference(rows, arm, metric), digits[metric]) for metric in METRICS]
        cells = [f"{signed(mean, count)} ± {half:.{count}f}" for (mean, half), count in found]
        bold = [
            f"**{cell}**" if abs(mean) > half else cell for cell, ((mean, half), _) in zip(cells, found, strict=True)
        ]
        lines.append(f"| {arm} | {' | '.join(bold)} |")
    return lines


def draw(rows, path):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.1), dpi=STYLE.dpi, layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(METRICS), sharey=True)
    places = np.arange(len(STRENGTHS))[::-1]
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        dress(axes, "difference to none", "")
        axes.set_title(title, loc="left", fontsize=STYLE.label_size, color=STYLE.text)
        axes.axvline(0, color=STYLE.muted, linewidth=1.0)
        for place, arm, colour in zip(places, STRENGTHS, STYLE.lines, strict=False):
            each = values(rows, arm, metric) - values(rows, "none", metric)
            mean, half = difference(rows, arm, metric)
            axes.plot([mean - half, mean + half], [place, place], color=colour, linewidth=2.0)
            axes.plot(mean, place, "o", color=colour, markersize=6)
            axes.plot(each, np.full(len(each), place - 0.22), "o", color=colour, markersize=2.5, alpha=0.6)
        axes.set_yticks(places, list(STRENGTHS))
        axes.xaxis.set_major_locator(MaxNLocator(4))
    evaluation.save_figure(figure, path)


def main(arguments):
    target = HERE / "regularizers.json"
    if "draw" not in arguments:
        chosen = choose()
        rows = [row for arm in ARMS for row in measure(arm, chosen)]
        target.write_text(json.dumps({"chosen": chosen, "rows": rows}, indent=1) + "\n")
    found = json.loads(target.read_text())
    print(*table(found["rows"]), sep="\n")
    draw(found["rows"], HERE.parent / "images" / "regularizers.png")


if __name__ == "__main__":
    main(sys.argv[1:])
