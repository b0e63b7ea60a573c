"""The arrays of a checkpoint on disk: the one place that knows orbax, which installs log handlers when imported."""

from __future__ import annotations

__all__ = ["items", "read", "saver"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np


def saver() -> Any:
    """Return what writes a checkpoint behind the training, in all processes at once; it appears whole, by a rename."""
    import orbax.checkpoint as ocp

    state, manifest = ocp.StandardCheckpointHandler(), ocp.JsonCheckpointHandler()
    return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(state=state, manifest=manifest))


def items(arrays: Mapping[str, np.ndarray | jax.Array], manifest: Mapping[str, Any]) -> Any:
    """Return what the saver saves: arrays by name in ``state``, and a manifest in ``manifest``."""
    import orbax.checkpoint as ocp

    return ocp.args.Composite(state=ocp.args.StandardSave(arrays), manifest=ocp.args.JsonSave(manifest))


def read(path: Path, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return arrays whole, by name, however they are divided; each process reads for itself, whoever else does.

    Raises:
      Exception: whatever orbax raises where a file is damaged.
    """
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"read-{me}")
    kinds = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    with ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
    ) as reader:
        return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=kinds))
