"""What the environment says of the processes of a run, whichever launcher has started them."""

from __future__ import annotations

__all__ = ["Placement", "detected", "given"]

import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from vifx.training.errors import HostsError

_PORT = 8476
_FIRST_PORT, _PORTS = 61_440, 4_096  # of the ports that a job's number chooses


class Placement(NamedTuple):
    """One process among those of a run.

    Attributes:
      launcher: who says so.
      coordinator: "HOST:PORT" of process 0, where they find each other.
      count: how many processes there are.
      index: which of them this one is, from 0 on.
      gpus: the numbers of the GPUs of this host that are this process's; None for all that it sees.
    """

    launcher: str
    coordinator: str
    count: int
    index: int
    gpus: tuple[int, ...] | None = None


def given(text: str) -> Placement:
    """Read "HOST:PORT,COUNT,INDEX".

    Raises:
      HostsError: if it is something else.
    """
    match = re.fullmatch(r"(\[[^\]]+\]|[^\s,:]+):(\d+),(\d+),(\d+)", text)
    if match is None:
        raise HostsError(
            f"--distributed must be auto, off or HOST:PORT,COUNT,INDEX, such as 10.0.0.1:8476,2,0; got {text!r}"
        )
    return _checked(Placement("--distributed", f"{match[1]}:{match[2]}", int(match[3]), int(match[4])))


def detected(environment: Mapping[str, str]) -> Placement | None:
    """Return what a launcher's variables say, or None where none of them is complete.

    In this order: `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; Open MPI; SLURM, inside of srun;
    SkyPilot; a TPU pod. A launcher that has started one process alone counts as well.

    Raises:
      HostsError: if the variables of JAX are there in part, or a launcher's contradict each other.
    """
    for find in _LAUNCHERS:
        placement = find(environment)
        if placement is not None:
            return _checked(placement)
    return None


def _checked(placement: Placement) -> Placement:
    if placement.count < 1 or not 0 <= placement.index < placement.count:
        raise HostsError(
            f"{placement.launcher}: the number of this process must be at least 0 and below the number of processes, "
            f"got process {placement.index} of {placement.count}; count from 0"
        )
    if not 0 < int(placement.coordinator.rpartition(":")[2]) < 65_536:
        raise HostsError(f"{placement.launcher}: {placement.coordinator} has no port between 1 and 65535")
    return placement


def _plain(environment: Mapping[str, str]) -> Placement | None:
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    found = [name for name in names if environment.get(name)]
    if not found:
        return None
    if missing := [name for name in names if name not in found]:
        raise HostsError(f"{found[0]} is set and {missing[0]} is not; set all of {', '.join(names)}, or none")
    coordinator, count, index = (environment[name] for name in names)
    if ":" not in coordinator:
        raise HostsError(f"JAX_COORDINATOR_ADDRESS must be HOST:PORT, got {coordinator!r}")
    return Placement("JAX_COORDINATOR_ADDRESS", coordinator, _number(count, names[1]), _number(index, names[2]))


def _open_mpi(environment: Mapping[str, str]) -> Placement | None:
    names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
    count, index = (environment.get(name) for name in names)
    if not count or not index:
        return None
    # Version 4 says where mpirun runs; since version 5 nothing does.
    uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
    host = re.search(r"tcp://([^,:;]+)|tcp6://\[([^,\]]+)", uri)
    if host is None:
        if count == "1":
            return Placement("Open MPI", f"localhost:{_PORT}", 1, 0)
        raise HostsError(
            "Open MPI has started this process and does not say where process 0 is; start it with "
            "mpirun -x JAX_COORDINATOR_ADDRESS=HOST:PORT and give --distributed HOST:PORT,COUNT,INDEX, or use srun"
        )
    address = host[1] or f"[{host[2]}]"
    job = re.match(r"\d+", uri)
    port = _FIRST_PORT + (int(job[0]) // 4096 if job else 0) % _PORTS
    of_host = ("OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")
    gpus = None
    if all(environment.get(name) for name in of_host):
        gpus = _gpus(environment, *(_number(environment[name], name) for name in of_host))
    return Placement("Open MPI", f"{address}:{port}", _number(count, names[0]), _number(index, names[1]), gpus)


def _slurm(environment: Mapping[str, str]) -> Placement | None:
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if not all(environment.get(name) for name in names):  # a shell of salloc, or a script of sbatch
        return None
    job, nodes, count, index, local = (environment[name] for name in names)
    port = _FIRST_PORT + (_number(job, names[0]) + int(environment.get("SLURM_STEP_ID", "0"))) % _PORTS
    gpus = None
    if counts := environment.get("SLURM_STEP_TASKS_PER_NODE"):
        node = int(environment.get("SLURM_NODEID", "0"))
        gpus = _gpus(environment, _tasks(counts)[node], _number(local, names[4]))
    return Placement("SLURM", f"{_first_node(nodes)}:{port}", _number(count, names[2]), _number(index, names[3]), gpus)


def _first_node(nodes: str) -> str:
    """Return the first of "node07", "node07,other3", "node[007-012,30],other3" or "rack[1-2]-node[3-4]"."""
    first, depth = "", 0
    for letter in nodes:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            break
        first += letter
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first)


def _tasks(counts: str) -> list[int]:
    """Return [2, 2, 2, 1] of "2(x3),1"."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(tasks) for tasks, times in parts for _ in range(int(times or 1))]


def _gpus(environment: Mapping[str, str], here: int, local: int) -> tuple[int, ...] | None:
    """Return this process's share of the GPUs of its host; None if all that it sees are its own."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", environment.get("SLURM_GPUS_ON_NODE"))
    if here == 1:
        return None
    if visible is None:
        return (local,)
    total = int(visible) if visible.isdigit() and "CUDA_VISIBLE_DEVICES" not in environment else len(visible.split(","))
    if total < here:  # the launcher has shared them out already
        return None
    each = total // here
    return tuple(range(local * each, (local + 1) * each))


def _sky_pilot(environment: Mapping[str, str]) -> Placement | None:
    addresses, index = environment.get("SKYPILOT_NODE_IPS"), environment.get("SKYPILOT_NODE_RANK")
    if not addresses or not index:
        return None
    hosts = addresses.split()
    return Placement("SkyPilot", f"{hosts[0]}:{_PORT}", len(hosts), _number(index, "SKYPILOT_NODE_RANK"))


def _tpu_pod(environment: Mapping[str, str]) -> Placement | None:
    names, index = environment.get("TPU_WORKER_HOSTNAMES"), environment.get("TPU_WORKER_ID")
    if not names or not index:
        return None
    hosts = names.split(",")
    slices = int(environment.get("MEGASCALE_NUM_SLICES", "1"))
    at = int(environment.get("MEGASCALE_SLICE_ID", "0"))
    first = environment.get("MEGASCALE_COORDINATOR_ADDRESS", hosts[0]).partition(":")[0]
    number = at * len(hosts) + _number(index, "TPU_WORKER_ID")
    return Placement("a TPU pod", f"{first}:{_PORT}", slices * len(hosts), number)


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise HostsError(f"{name} must be a number, got {json.dumps(text)}")
    return int(text)


_LAUNCHERS: tuple[Callable[[Mapping[str, str]], Placement | None], ...] = (
    *(_plain, _open_mpi, _slurm),
    *(_sky_pilot, _tpu_pod),
)
