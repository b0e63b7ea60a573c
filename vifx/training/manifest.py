"""What a checkpoint says of itself: every leaf with its path, shape, dtype and checksum."""

from __future__ import annotations

__all__ = [
    "check_manifest",
    "check_structure",
    "describe",
    "first_line",
    "named_leaves",
    "rebuild",
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
from jax.sharding import Mesh

from vifx.core.types import Array, PyTree
from vifx.training.errors import CheckpointError
from vifx.training.metrics import encode
from vifx.training.sharding import replicate

FORMAT = 1


class _Leaf(NamedTuple):
    """One array as it is stored.

    Attributes:
      data: its values; a typed key's are the words that it is made of.
      dtype: the dtype's name; a typed key's has its generator in it.
    """

    data: np.ndarray
    dtype: str


def named_leaves(tree: PyTree) -> dict[str, _Leaf]:
    """Copy the leaves of a tree to the host, by path."""
    return {name: _leaf(leaf) for name, leaf in _by_path(tree).items()}


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _leaf(leaf: Any) -> _Leaf:
    if _is_key(leaf):
        return _Leaf(np.asarray(jax.random.key_data(leaf)), f"key:{_generator(leaf)}")
    array = np.asarray(leaf)
    return _Leaf(array, str(array.dtype))


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
    leaves: Mapping[str, _Leaf], *, step: int, config_hash: str, metrics: Mapping[str, int | float]
) -> dict[str, Any]:
    """Return the manifest of a checkpoint, as JSON, with a checksum of its own.

    It has the step, the config_hash, the metrics (see `encode`) and each leaf's form and checksum.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "config_hash": config_hash,
        "metrics": encode(metrics),
        "leaves": [
            {"path": path, "shape": list(leaf.data.shape), "dtype": leaf.dtype, "sha256": _digest(leaf.data)}
            for path, leaf in leaves.items()
        ],
    }
    return {**manifest, "sha256": _digest_json(manifest)}


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


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
    where: Path,
    manifest: Mapping[str, Any],
    state: Mapping[str, np.ndarray],
    template: PyTree,
    mesh: Mesh | None,
    others: Sequence[int],
) -> PyTree:
    """Verify each array that was read and put it where it belongs in the template.

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
        if _digest(data) != leaf["sha256"]:
            finding = f"{where}: leaf {leaf['path']} is damaged (its checksum is wrong)"
            raise CheckpointError(finding, step=manifest["step"], others=others)
        arrays[leaf["path"]] = _restored(data, leaf["dtype"])
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(template)]
    tree = jax.tree.unflatten(jax.tree.structure(template), [arrays[path] for path in paths])
    return tree if mesh is None else replicate(tree, mesh)


def _restored(data: np.ndarray, dtype: str) -> Array:
    array = jnp.array(data)
    return jax.random.wrap_key_data(array, impl=dtype.removeprefix("key:")) if dtype.startswith("key:") else array


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for a message of one line."""
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]
