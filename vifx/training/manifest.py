"""What a checkpoint says of itself: every leaf with its path, shape, dtype and checksum."""

from __future__ import annotations

__all__ = [
    "Leaf",
    "check_manifest",
    "check_structure",
    "describe",
    "first_line",
    "named_leaves",
    "rebuild",
    "verified",
]

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, PyTree
from vifx.training.checksums import checksum
from vifx.training.errors import CheckpointError
from vifx.training.layout import Layout
from vifx.training.metrics import encode

FORMAT = 2
"""Of the manifests that are written; those of 1, whose arrays are all whole, are read as well."""
WHOLE = ""
"""The name of the part of an array that is all of it."""


class Leaf(NamedTuple):
    """One array as it is stored.

    Attributes:
      data: its values; a typed key's are the words that it is made of. Those of an array that is divided over devices
        stay there, and every process stores its own.
      dtype: the dtype's name; a typed key's has its generator in it.
      parts: the checksums of the parts that this process has, by the part's name, such as ``"0:4,8:16"``.
    """

    data: np.ndarray | jax.Array
    dtype: str
    parts: Mapping[str, str]


def named_leaves(tree: PyTree) -> dict[str, Leaf]:
    """Return the leaves of a tree by path: copied to the host, but for those that are divided over devices."""
    return {name: _leaf(leaf) for name, leaf in _by_path(tree).items()}


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _leaf(leaf: Any) -> Leaf:
    if _is_key(leaf):
        words = _leaf(jax.random.key_data(leaf))
        return words._replace(dtype=f"key:{_generator(leaf)}")
    if isinstance(leaf, jax.Array) and not leaf.is_fully_replicated:
        shards = [shard for shard in leaf.addressable_shards if shard.replica_id == 0]
        parts = {_name(shard.index, leaf.shape): checksum([np.asarray(shard.data)]) for shard in shards}
        return Leaf(leaf, str(leaf.dtype), parts)
    # A view would be of a buffer that the next update is given.
    array = np.array(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
    return Leaf(array, str(array.dtype), {WHOLE: checksum([array])})


def _name(index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
    bounds = (part.indices(length) for part, length in zip(index, shape, strict=True))
    return ",".join(f"{start}:{stop}" for start, stop, _ in bounds)


def _part(array: np.ndarray, name: str) -> np.ndarray:
    if name == WHOLE:
        return array
    bounds = (map(int, part.split(":")) for part in name.split(","))
    return array[tuple(slice(*each) for each in bounds)]


def _form(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape and dtype under which a leaf, or the shape of one, is stored."""
    if _is_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf).shape, f"key:{_generator(leaf)}"
    return jnp.shape(leaf), str(jnp.result_type(leaf))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _generator(key: Any) -> str:
    names = []
    jax.eval_shape(lambda key: names.append(str(jax.random.key_impl(key))), key)
    return names[0]


def describe(
    leaves: Mapping[str, Leaf],
    parts: Sequence[Mapping[str, str]],
    *,
    step: int,
    config_hash: str,
    metrics: Mapping[str, int | float],
) -> dict[str, Any]:
    """Return the manifest of a checkpoint, as JSON, with a checksum of its own.

    It has the step, the config_hash, the metrics (see `encode`) and each leaf's form and checksums.

    Args:
      parts: the checksums of the parts of each leaf, those of all processes.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "config_hash": config_hash,
        "metrics": encode(metrics),
        "leaves": [
            {"path": path, "shape": list(leaf.data.shape), "dtype": leaf.dtype, "sha256": dict(each)}
            for (path, leaf), each in zip(leaves.items(), parts, strict=True)
        ],
    }
    return {**manifest, "sha256": _digest_json(manifest)}


def _digest_json(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def check_manifest(where: Path, manifest: Any, step: int, others: Sequence[int]) -> dict[str, Any]:
    """Check that a manifest is whole, of this format and of the step that it lies under.

    Raises:
      CheckpointError: if not.
    """
    if isinstance(manifest, dict) and isinstance(manifest.get("format"), int) and manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{where}: has format {manifest['format']}, this version of vifx reads up to {FORMAT}; update vifx"
        )
    body = {k: v for k, v in manifest.items() if k != "sha256"} if isinstance(manifest, dict) else {}
    if not body or manifest.get("sha256") != _digest_json(body):
        finding = f"{where}: the manifest is damaged (its checksum is wrong)"
        raise CheckpointError(finding, step=step, others=others)
    if manifest["step"] != step:
        finding = f"{where}: holds step {manifest['step']}, not {step}: the directory was renamed"
        raise CheckpointError(finding, step=step, others=others)
    return manifest


def check_structure(where: Path, manifest: Mapping[str, Any], template: PyTree) -> None:
    """Check that the leaves stored are those of the template.

    Raises:
      CheckpointError: if one is missing, is too many, or differs in shape or dtype; the message
        has its path.
    """
    fix = "resume with the code and config that wrote it"
    stored = {leaf["path"]: leaf for leaf in manifest["leaves"]}
    wanted = _by_path(template)
    for path in wanted:
        if path not in stored:
            raise CheckpointError(f"{where}: has no leaf {path}, which the step needs; {fix}")
    for path, leaf in stored.items():
        if path not in wanted:
            raise CheckpointError(f"{where}: has a leaf {path}, which the step does not know; {fix}")
        shape, dtype = _form(wanted[path])
        if tuple(leaf["shape"]) != shape:
            raise CheckpointError(f"{where}: leaf {path} has shape {tuple(leaf['shape'])}, expected {shape}; {fix}")
        if leaf["dtype"] != dtype:
            raise CheckpointError(f"{where}: leaf {path} has dtype {leaf['dtype']}, expected {dtype}; {fix}")


def rebuild(
    manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], template: PyTree, layout: Layout | None
) -> PyTree:
    """Put verified arrays, by path, where they belong in the template."""
    kinds = {leaf["path"]: leaf["dtype"] for leaf in manifest["leaves"]}
    tree = jax.tree_util.tree_map_with_path(
        lambda path, _: _restored(arrays[name := jax.tree_util.keystr(path)], kinds[name], placed=layout is not None),
        template,
    )
    return tree if layout is None else layout.place(tree)


def verified(
    where: Path, manifest: Mapping[str, Any], state: Mapping[str, np.ndarray], others: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return the arrays that were read, by path.

    Raises:
      CheckpointError: if one is missing or its checksum, shape or dtype is not the stored one.
    """
    arrays = {}
    for i, leaf in enumerate(manifest["leaves"]):
        stored_dtype = "uint32" if leaf["dtype"].startswith("key:") else leaf["dtype"]
        shape = tuple(leaf["shape"])
        # Arrays without elements are not stored: orbax refuses them.
        data = state.get(str(i)) if math.prod(shape) else np.zeros(shape, jnp.dtype(stored_dtype))
        if not isinstance(data, np.ndarray) or data.shape != shape or str(data.dtype) != stored_dtype:
            finding = f"{where}: leaf {leaf['path']} is missing or cut short"
            raise CheckpointError(finding, step=manifest["step"], others=others)
        parts = {WHOLE: leaf["sha256"]} if manifest["format"] == 1 else leaf["sha256"]
        if any(checksum([_part(data, name)]) != expected for name, expected in parts.items()):
            finding = f"{where}: leaf {leaf['path']} is damaged (its checksum is wrong)"
            raise CheckpointError(finding, step=manifest["step"], others=others)
        arrays[leaf["path"]] = data
    return arrays


def _restored(data: np.ndarray, dtype: str, *, placed: bool) -> Array | np.ndarray:
    if dtype.startswith("key:"):
        return jax.random.wrap_key_data(jnp.array(data), impl=dtype.removeprefix("key:"))
    return data if placed else jnp.array(data)  # what is divided over devices may not fit on one


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for a message of one line."""
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]
