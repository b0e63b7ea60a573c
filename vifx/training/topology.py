"""Devices of machines that are not there, for which programs can be compiled all the same."""

from __future__ import annotations

__all__ = ["topology"]

import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from vifx.checks import ArgumentError, require

_NAME = re.compile(r"([a-z]\w*)(?:[:-](\d+(?:x\d+)*))?")
_KNOWN = "v5e-8, v6e-16, v5p:2x2x1, v4:2x2x2, h200:8, h100:8, a100:8 or cpu:8"
_GRIDS = MappingProxyType({n: (1 << n // 2, 1 << (n + 1) // 2) for n in range(9)})
"""By the logarithm of the number of chips, the grid that Cloud TPU lays v5e and v6e chips out in."""


class _Gpu(NamedTuple):
    """What the compiler asks about a graphics processor, from its data sheet and the CUDA programming guide."""

    name: str
    capability: tuple[int, int]
    cores: int
    shared_memory: int
    memory: int
    bandwidth: int
    cache: int
    clock: float


_GPUS: Mapping[str, _Gpu] = MappingProxyType(
    {
        "a100": _Gpu("NVIDIA A100", (8, 0), 108, 164 << 10, 80 << 30, 2_039 * 10**9, 40 << 20, 1.41),
        "h100": _Gpu("NVIDIA H100", (9, 0), 132, 228 << 10, 80 << 30, 3_350 * 10**9, 50 << 20, 1.98),
        "h200": _Gpu("NVIDIA H200", (9, 0), 132, 228 << 10, 141 << 30, 4_800 * 10**9, 50 << 20, 1.98),
    }
)


def topology(name: str) -> Sequence[Any]:
    """Return the devices of a topology, which need not be there: programs can be compiled for them, and not run.

    ``training.cost(step, train_state, batch, training.make_mesh(training.topology("v5e-8")))`` says what a step will
    cost there.

    Args:
      name: a kind of device and how many of them: a TPU by the number of its chips, ``"v5e-8"``, or by their grid,
        ``"v5e:2x4"``, ``"v5p:2x2x1"``; GPUs of one host, ``"h200:8"``, ``"h100:8"`` or ``"a100:8"``; or virtual CPU
        devices, ``"cpu:8"``, of which there must be as many (``XLA_FLAGS=--xla_force_host_platform_device_count=8``).

    Raises:
      TypeError: if it is not a text.
      ValueError: if there is no such topology, its compiler is not installed, or there are fewer CPU devices.
    """
    require(name, str, "topology: name", "a text", f"name one such as {_KNOWN}")
    found = _NAME.fullmatch(name.lower())
    kind, grid = (found[1], found[2] or "1") if found else ("", "")
    sizes = [int(size) for size in grid.split("x") if size]
    if found is None or 0 in sizes or not (kind in ("cpu", *_GPUS) or re.fullmatch(r"v\d+\w*", kind)):
        raise ArgumentError(
            "topology", f"must be a kind of device and a number, such as {_KNOWN}; got {name!r}", value=name
        )
    if kind == "cpu":
        return _virtual(_flat(sizes, name))
    return _gpus(_GPUS[kind], _flat(sizes, name)) if kind in _GPUS else _tpus(kind, sizes, name)


def _flat(sizes: Sequence[int], name: str) -> int:
    if len(sizes) > 1:
        raise ArgumentError(
            "topology", f"has no grid but a number for CPUs and GPUs, such as cpu:8; got {name!r}", value=name
        )
    return sizes[0]


def _virtual(count: int) -> Sequence[Any]:
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ArgumentError(
            "topology",
            f"has {count} virtual CPU devices, and this process has {len(devices)}; start Python with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count}",
            value=f"cpu:{count}",
        )
    return devices[:count]


def _tpus(kind: str, sizes: Sequence[int], name: str) -> Sequence[Any]:
    if len(sizes) == 1:
        chips = sizes[0]
        if kind not in ("v5e", "v6e") or chips not in (1 << n for n in _GRIDS):
            raise ArgumentError(
                "topology",
                f"counts chips of v5e and v6e alone, 1 to 256 of them by powers of two; got {name!r}: give the grid, "
                "such as v5p:2x2x1",
                value=name,
            )
        sizes = _GRIDS[chips.bit_length() - 1]
    grid = "x".join(map(str, sizes))
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no server is asked which machine this is
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", f"{kind}-1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    missing = importlib.util.find_spec("libtpu") is None
    remedy = " (the compiler for TPUs comes with the package libtpu: pip install 'jax[tpu]')" if missing else ""
    small = {} if math.prod(sizes) >= 4 else {"chips_per_host_bounds": (*sizes, 1, 1)[:3]}  # a host has four, unless
    return _described("tpu", f"{kind}:{grid}", name, remedy, **small)


def _gpus(gpu: _Gpu, count: int) -> Sequence[Any]:
    major, minor = gpu.capability
    config = f"""
      gpu_device_info {{
        threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
        shared_memory_per_block: {48 << 10}  shared_memory_per_core: {gpu.shared_memory}
        shared_memory_per_block_optin: {gpu.shared_memory - 1024}
        core_count: {gpu.cores}  fpus_per_core: {128 if major > 8 else 64}  clock_rate_ghz: {gpu.clock}
        block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
        memory_bandwidth: {gpu.bandwidth}  device_memory_size: {gpu.memory}  l2_cache_size: {gpu.cache}
        cuda_compute_capability {{ major: {major} minor: {minor} }}
        registers_per_core_limit: 65536  registers_per_block_limit: 65536
      }}
      platform_name: "CUDA"  dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
      device_description_str: "{gpu.name}"
    """
    missing = not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
    remedy = " (the compiler for GPUs comes with JAX's plugin: pip install 'jax[cuda13]')" if missing else ""
    return _described("cuda", "", gpu.name, remedy, target_config=config, topology=f"1x1x{count}")


def _described(platform: str, name: str, given: str, remedy: str, **options: Any) -> Sequence[Any]:
    try:
        return topologies.get_topology_desc(name, platform, **options).devices
    except (RuntimeError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ArgumentError("topology", f"cannot be described: {reason}{remedy}", value=given) from error
