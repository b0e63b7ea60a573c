"""A trained model as one file that plain JAX can run: without this package, and without the experiment file."""

from __future__ import annotations

__all__ = ["FORMAT", "Exported", "export"]

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from vifx.checks import ArgumentError, require_batch, require_integer
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Params, PyTree, State
from vifx.experiment.exports import Exportable, exportables, owned

FORMAT = 1
"""The version of the file's layout."""
_PLATFORMS = ("cpu", "cuda", "tpu")
_DATE = (1980, 1, 1, 0, 0, 0)  # of every part


class Exported(NamedTuple):
    """A model as a file.

    Attributes:
      content: the bytes of the file, a zip.
      manifest: what is in it, as in its ``manifest.json``.
    """

    content: bytes
    manifest: dict[str, Any]


def export(
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    batch: Batch,
    *,
    samples: int = 64,
    examples: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Return a model as a file that plain JAX can run, on CPUs, CUDA GPUs and TPUs, with this package not installed.

    The file is a zip of ``manifest.json``, ``parameters.npz``, and for each function a program that `jax.export` made:
    ``sample``, ``encode``, and ``log_prob`` where it is exact, else ``elbo`` and ``importance_weighted_<samples>``. The
    manifest says what each takes and returns, what the model cannot do and why, and the SHA-256 of each part. Networks
    are in evaluation mode. Values are those of this process up to rounding.

    Args:
      inference: the inference joint.
      generative: the generative joint.
      params: one entry per network.
      state: one entry per network.
      batch: one minibatch as the losses see it, or its shapes: says what the evidence is like.
      samples: draws for each example of the importance-weighted bound.
      examples: how many examples each function takes; any number if not given.
      about: further facts for the manifest, under ``"about"``.

    Raises:
      TypeError: if `batch` is not a mapping of arrays.
      ValueError: if `samples` or `examples` is not positive, or a function of the model needs a fixed number of
        examples and none is given.

    Reference: the JAX documentation, "Exporting and serializing staged-out computations".
    """
    require_batch(batch)
    require_integer(samples, "samples")
    if examples is not None:
        require_integer(examples, "examples")
    functions, missing = exportables(inference, generative, batch, samples=samples)
    joints = (inference, generative)
    tree = owned(params, joints), owned(state, joints)
    names, leaves = _leaves(tree)
    parts = {"parameters.npz": _npz(names, leaves)}
    described = {}
    for name, each in functions.items():
        program, described[name] = _program(name, each, tree, leaves, examples)
        parts[f"{name}.bin"] = program
    manifest = {
        "format": FORMAT,
        "versions": {package: metadata.version(package) for package in ("vifx", "jax", "jaxlib")},
        "about": dict(about or {}),
        "platforms": list(_PLATFORMS),
        "x64": bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
        "key": str(jax.config.jax_default_prng_impl),  # pyright: ignore[reportAttributeAccessIssue]
        "parameters": names,
        "functions": described,
        "left_out": missing,
        "sha256": {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    return Exported(_zipped({"manifest.json": text.encode(), **parts}), manifest)


def _program(
    name: str, each: Exportable, tree: PyTree, leaves: list[Array], examples: int | None
) -> tuple[bytes, dict[str, Any]]:
    """Return the program of a function, serialized, and its entry in the manifest."""
    structure = jax.tree.structure(tree)
    (count,) = jax.export.symbolic_shape("n") if examples is None else (examples,)

    def call(parameters: list[Array], *inputs: Array) -> dict[str, Array]:
        return each.call(*jax.tree.unflatten(structure, parameters), *inputs)

    call.__name__ = name
    shapes = [
        jax.ShapeDtypeStruct((count, *i.like.shape) if i.each else i.like.shape, i.like.dtype) for i in each.inputs
    ]
    try:
        exported = jax.export.export(jax.jit(call), platforms=_PLATFORMS)(
            [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves], *shapes
        )
    except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        if examples is not None:
            raise
        reason = str(error).partition("\n")[0]
        sentence = f"must be a number for this model, whose {name} cannot be traced for any number of them ({reason})"
        raise ArgumentError("examples", sentence, value=examples) from error
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    described = {
        "file": f"{name}.bin",
        "doc": each.doc,
        "inputs": [
            {"name": i.name, **_described(shape), "doc": i.doc} for i, shape in zip(each.inputs, shapes, strict=True)
        ],
        "outputs": [{"name": output, **_described(shape)} for output, shape in outputs.items()],
    }
    return bytes(exported.serialize()), described


def _described(like: Any) -> dict[str, Any]:
    return {"shape": [size if isinstance(size, int) else str(size) for size in like.shape], "dtype": str(like.dtype)}


def _leaves(tree: PyTree) -> tuple[list[str], list[Array]]:
    """Return the leaves of parameters and state with their paths, ``params/encoder/kernel``."""
    paths, _ = jax.tree_util.tree_flatten_with_path({"params": tree[0], "state": tree[1]})
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    leaves = [jnp.asarray(leaf) for _, leaf in paths]
    return names, leaves


def _npz(names: list[str], leaves: list[Array]) -> bytes:
    """Return arrays as a file of NumPy, written without compression."""
    return _zipped({f"{name}.npy": _npy(np.asarray(leaf)) for name, leaf in zip(names, leaves, strict=True)})


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _zipped(parts: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()
