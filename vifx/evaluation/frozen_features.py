"""The frozen classifier whose features FMD is measured in: trained once for each dataset, then read from disk."""

from __future__ import annotations

__all__ = ["feature_network", "features_of", "image_classifier"]

import hashlib
import io
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import traverse_util
from numpy.typing import NDArray

from vifx import data, networks, training
from vifx.checks import ArgumentError
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.nets import as_net
from vifx.core.types import Array, Params
from vifx.data import Dataset
from vifx.data.rows import length, read
from vifx.evaluation.batches import in_batches
from vifx.evaluation.image_quality import Features
from vifx.files import write_whole
from vifx.variational import kl

_BATCH, _EVALUATION_BATCH = 128, 500
_EPOCHS, _LEAST_STEPS = 4, 600
_LEARNING_RATE = 1e-3
_COMPONENTS = 64
_MOST_PIXELS = 160_000_000  # of the training images together
_RECIPE = "8-bit pixels; conv 4x4/2 32, 64; dense 128; adam, cosine decay"


def features_of(config: data.Config) -> Features:
    """Return `feature_network` of a dataset with labels, and of one without its 64 leading principal components.

    Those are of the training images that `feature_network` takes, in units of a white pixel; there are fewer where
    images have fewer pixels.

    Raises:
      ValueError: as `feature_network`.
    """
    dataset = _published(config)
    if dataset.info.classes is not None:
        return feature_network(config)
    images = dataset.train["x"]
    components = data.pca(images, min(_COMPONENTS, len(images) - 1, math.prod(images.shape[1:])))
    identity = _digest({"axes": components.axes, "mean": components.mean})
    return Features(components.project, identity, origin="principal components", folder=_if_writable(_folder(config)))


def feature_network(config: data.Config, *, seed: int = 0) -> Features:
    """Return the features of a dataset of 8-bit images: the 128 units below the output of a small classifier.

    The classifier has two 4×4 convolutions of stride 2 and a dense layer, and minimizes −log q(y | x) over the
    dataset's published training split, whatever `config` holds out (as much of it as 160 million pixels, from its
    beginning): so every experiment on a dataset measures with one and the same network. The first call trains it
    (about two minutes on two CPU cores for Fashion-MNIST) and keeps the weights in the data directory, as
    ``features/<dataset>-<hash>.npz`` with a hash of recipe, data and seed; later calls read them. Copy the file to
    measure with the same weights on another machine, where training could round differently.

    Args:
      config: which dataset, and where prepared data lies.
      seed: seed of the initial weights and of the order of the data.

    Raises:
      ValueError: if the dataset has no labelled 8-bit images, or the file of weights is damaged or cannot be
        written.
    """
    weights, accuracy, folder = _weights(config, seed)
    params = traverse_util.unflatten_dict(dict(weights), sep="/")
    net = as_net(_body())
    apply = jax.jit(lambda params, images: net.apply(params, {}, images)[0])

    def features(images: NDArray[np.uint8]) -> NDArray[Any]:
        return _in_batches(apply, params["body"], images)

    return Features(features, _digest(weights), accuracy, folder=_if_writable(folder))


def image_classifier(config: data.Config, *, seed: int = 0) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the classifier that `feature_network` is a part of: from 8-bit images to the likeliest class of each.

    Args:
      config: which dataset, and where prepared data lies.
      seed: as for `feature_network`.

    Raises:
      ValueError: as `feature_network`.
    """
    weights, _, _ = _weights(config, seed)
    params = traverse_util.unflatten_dict(dict(weights), sep="/")
    classes = params["head"]["Dense_0"]["bias"].shape[-1]
    predict = _predict(classes)
    return lambda images: _in_batches(predict, params, images)


def _weights(config: data.Config, seed: int) -> tuple[Mapping[str, NDArray[Any]], float, Path]:
    """Return the classifier's weights, its accuracy and the folder where they lie; train it where there is no file."""
    dataset = _published(config)
    x, classes = dataset.train["x"], dataset.info.classes
    if x.dtype != np.uint8 or x.ndim != 4 or classes is None:
        raise ValueError(f"{config.name}: features need labelled 8-bit images, got {x.dtype} {x.shape[1:]}")
    path = _path(config, dataset, seed)
    if path.is_file():
        return *_read(path), path.parent
    _require_writable(path.parent, config)
    params = _train(dataset, classes, seed)
    weights = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    accuracy = _accuracy(params, dataset, classes)
    _write(path, weights, accuracy)
    return weights, accuracy, path.parent


def _published(config: data.Config) -> Dataset:
    """Return a dataset with the part of its published training split that features are made of."""
    dataset = data.load(replace(config, validation=0, workers=0))
    most = max(1, _MOST_PIXELS // math.prod(dataset.info.shape))
    if not config.streaming and length(dataset.train) <= most:
        return dataset
    return replace(dataset, train=read(dataset.train, np.arange(min(most, length(dataset.train)))))


def _folder(config: data.Config) -> Path:
    return data.data_directory(config.directory) / "features"


def _if_writable(folder: Path) -> Path | None:
    """Return a folder that can be written or made, else None."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return folder if os.access(there, os.W_OK) else None


def _body() -> networks.Conditional:
    return networks.Conditional(networks.ConvEncoder((32, 64)), networks.MLP((128,)), inputs=(networks.Pixels(),))


def _classifier(classes: int) -> networks.Conditional:
    return networks.Conditional(_body(), networks.CategoricalHead(classes))


def _train(dataset: Dataset, classes: int, seed: int) -> Params:
    inference = Joint(evidence("x", "y"))
    generative = Joint(evidence("x"), factor("y | x", _classifier(classes), name="classifier"))
    objective = kl(inference, generative)
    steps = _steps(dataset)
    step = training.optimize(objective, optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps)))
    source = data.Resident(dataset.train, _BATCH, seed)
    try:
        fitted = training.fit(jax.random.key(seed), step, objective, source, steps=steps, observe=None)
    except training.Interrupted as stopped:  # it is part of a larger run, which has its own way to stop
        raise KeyboardInterrupt("interrupted while the feature network was trained") from stopped
    return fitted.train_state.params["classifier"]


def _steps(dataset: Dataset) -> int:
    return max(_LEAST_STEPS, _EPOCHS * len(dataset.train["x"]) // _BATCH)


def _accuracy(params: Params, dataset: Dataset, classes: int) -> float:
    return float(np.mean(_in_batches(_predict(classes), params, dataset.test["x"]) == dataset.test["y"]))


def _predict(classes: int) -> Callable[[Params, Array], Array]:
    net = as_net(_classifier(classes))
    return jax.jit(lambda params, images: net.apply(params, {}, images)[0].logits.argmax(axis=-1))


def _in_batches(apply: Any, params: Params, images: NDArray[Any]) -> NDArray[Any]:
    key = jax.random.key(0)  # nothing is drawn
    rows = lambda rows: apply(rows.params, rows.batch["x"])  # noqa: E731
    return in_batches(key, rows, params, {}, {"x": images}, batch_size=_EVALUATION_BATCH)


def _path(config: data.Config, dataset: Dataset, seed: int) -> Path:
    steps = f"{_steps(dataset)} steps of {_BATCH} at {_LEARNING_RATE}"
    content = hashlib.sha256(f"{_RECIPE}; {steps}; seed {seed}".encode())
    for array in (dataset.train["x"], dataset.train["y"]):
        content.update(str(array.shape).encode())
        content.update(np.ascontiguousarray(array).tobytes())
    name = f"{config.name.replace('/', '-')}-{content.hexdigest()[:12]}.npz"
    return _folder(config) / name


def _digest(weights: Mapping[str, NDArray[Any]]) -> str:
    content = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        content.update(f"{name} {array.dtype} {array.shape};".encode())
        content.update(array.tobytes())
    return content.hexdigest()[:12]


def _require_writable(folder: Path, config: data.Config) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise ArgumentError(
            "directory",
            f"must be a folder that can be written: {folder} cannot keep the feature network ({error}); choose "
            "another, or set $VIFX_DATA",
            value=config.directory,
            owner=config,
        ) from error


def _write(path: Path, weights: Mapping[str, NDArray[Any]], accuracy: float) -> None:
    entries: dict[str, Any] = {f"weights/{name}": array for name, array in weights.items()}
    file = io.BytesIO()
    np.savez(file, accuracy=accuracy, checksum=_digest(weights), **entries)
    write_whole(path, file.getvalue())


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], float]:
    try:
        with path.open("rb") as stream, np.load(stream) as file:  # NumPy itself leaves a damaged file open
            entries = {name: file[name] for name in file.files}
        accuracy, checksum = float(entries.pop("accuracy")), str(entries.pop("checksum"))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot read the feature network ({error}); delete it to train it again") from error
    weights = {name.removeprefix("weights/"): array for name, array in entries.items()}
    if (found := _digest(weights)) != checksum:
        raise ValueError(f"{path}: expected weights of checksum {checksum}, found {found}; delete it to train it again")
    return weights, accuracy
