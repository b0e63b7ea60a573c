"""Several processes that make one run: how they start, and what they tell each other."""

from __future__ import annotations

__all__ = ["Hosts", "accounted", "broadcast", "gathered", "leave", "require_same", "several", "start"]

import atexit
import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax._src import distributed  # of which jax.distributed is a part: barriers with a time limit need its client
from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

from vifx.checks import require, require_number
from vifx.training import peers
from vifx.training.coordinator import FOREVER, GRACE
from vifx.training.errors import HostsError
from vifx.training.launchers import Placement, detected, given

_LONGEST = 3600.0  # seconds: one process may measure and draw while the others wait


class Hosts(NamedTuple):
    """The processes of a run.

    Attributes:
      launcher: who has started them; empty if there is one alone.
      coordinator: "HOST:PORT" of process 0; empty if there is one alone.
      count: how many there are.
      index: which of them this one is. Process 0 writes files, prints and draws.
    """

    launcher: str = ""
    coordinator: str = ""
    count: int = 1
    index: int = 0

    def __str__(self) -> str:
        if self.count == 1:
            return f"one process{f', by {self.launcher}' if self.launcher else ''}"
        return f"process {self.index} of {self.count}, by {self.launcher}, which meet at {self.coordinator}"


def start(*, distributed: str = "auto", patience: float | None = None) -> Hosts:
    """Join the processes of a run; to be called once, before the first computation.

    Afterwards `jax.devices()` are those of all processes, and `training.fit` on a mesh of them trains one model.
    A process that ends with an error, or is lost, ends the others within half a minute; each says in one line which one
    it was. Nothing is started for a process that is alone.

    Args:
      distributed: "auto" takes what a launcher says (`vifx.training.launchers`), "off" nothing; "HOST:PORT,COUNT,INDEX"
        says it: where process 0 listens, how many processes there are, and which of them this one is.
      patience: for how many seconds to wait for the others; by default 10 if it is said where process 0 is, and 300
        under a launcher, whose processes may start one after the other.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if `patience` is not positive.
      HostsError: if the others cannot be found, two have the same number, computations have been made already, or the
        environment says it in part.
    """
    require(distributed, str, "start: distributed", "a text", "give 'auto', 'off' or 'HOST:PORT,COUNT,INDEX'")
    if patience is not None:
        require_number(patience, "start: patience", above=0)
    if distributed == "off":
        return Hosts()
    placement = detected(os.environ) if distributed == "auto" else given(distributed)
    if placement is None:
        return Hosts()
    if placement.count == 1:
        return Hosts(placement.launcher)
    wait = patience or (10.0 if distributed != "auto" else 300.0)
    _join(placement, wait)
    return Hosts(placement.launcher, placement.coordinator, placement.count, placement.index)


def _join(placement: Placement, patience: float) -> None:
    state = distributed.global_state
    if state.client is not None or jax._src.xla_bridge.backends_are_initialized():  # pyright: ignore[reportAttributeAccessIssue]
        raise HostsError("hosts.start must be called once, and before anything is computed; call it first")
    if placement.gpus is not None:
        jax.config.update("jax_cuda_visible_devices", ",".join(map(str, placement.gpus)))
        jax.config.update("jax_rocm_visible_devices", ",".join(map(str, placement.gpus)))
    service = _serve(placement, patience) if placement.index == 0 else None
    _reach(placement, patience)
    client = _jax.get_distributed_runtime_client(
        placement.coordinator,
        placement.index,
        init_timeout=round(patience),
        shutdown_timeout=300,
        heartbeat_timeout=FOREVER,
        missed_heartbeat_callback=_unused,
        shutdown_on_destruction=False,
        use_compression=True,
    )
    try:
        client.connect()
    except RuntimeError as error:
        _stop(service)
        _keep(client)
        raise HostsError(
            f"process {placement.index} of {placement.count} has not met all others at {placement.coordinator} within "
            f"{patience:.0f} s; start {placement.count} processes, each with a number of its own, 0 to "
            f"{placement.count - 1}"
        ) from error
    state.process_id, state.num_processes = placement.index, placement.count
    state.coordinator_address, state.client = placement.coordinator, client
    state.initialize_preemption_sync_manager()
    atexit.register(_leave_at_exit, service, peers.watch(client, placement.index, placement.count))


def _unused() -> None:
    """Take the place of a handler that would end the process with a dump of its stack."""


def _serve(placement: Placement, patience: float) -> subprocess.Popen[str]:
    """Start the coordinator, once the one of a run before, which may be there for a while, has left its port."""
    port = placement.coordinator.rpartition(":")[2]
    until = time.monotonic() + GRACE + patience
    while _answers("localhost", int(port)):
        if time.monotonic() > until:
            raise HostsError(f"port {port} of this host is in use; give another one")
        time.sleep(0.5)
    command = [sys.executable, "-m", "vifx.training.coordinator", f"[::]:{port}", str(placement.count)]
    service = subprocess.Popen(
        [*command, str(round(patience))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    if service.stdout is None or service.stdout.readline() != "ready\n":
        service.kill()
        raise HostsError(f"process 0 cannot listen on port {port} of this host; give another one")
    return service


def _reach(placement: Placement, patience: float) -> None:
    host, _, port = placement.coordinator.rpartition(":")
    until = time.monotonic() + patience
    while not _answers(host.strip("[]"), int(port)):
        if time.monotonic() > until:
            raise HostsError(
                f"process {placement.index} of {placement.count}: nothing answers at {placement.coordinator} within "
                f"{patience:.0f} s; start process 0 there, or correct the address"
            )
        time.sleep(0.2)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _stop(service: subprocess.Popen[str] | None) -> None:
    if service is not None and service.stdin is not None:
        service.stdin.write("over\n")
        service.stdin.close()


def _leave_at_exit(service: subprocess.Popen[str] | None, end_watch: Callable[[], None]) -> None:
    state, error = distributed.global_state, getattr(sys, "last_value", None)
    if error is not None:
        leave(f"{type(error).__name__}: {error}")
    if state.client is None:  # it has left with an error, which the others may still ask for
        return
    peers.leave(state.client, state.process_id, "")
    state.client.wait_at_barrier("vifx/left", round(1000 * _LONGEST))  # if one is lost, the watch ends this process
    end_watch()
    state.client.wait_at_barrier("vifx/unwatched", 10_000)  # then process 0 may stop what they find each other by
    state.shutdown()
    _stop(service)


def several() -> bool:
    """Return whether this process has joined others."""
    return distributed.global_state.num_processes > 1


def leave(reason: str) -> None:
    """Tell the other processes that this one ends with an error, so that they end as well; there may be none."""
    state = distributed.global_state
    if state.client is not None:
        peers.leave(state.client, state.process_id, reason.partition("\n")[0])
        _keep(state.client)
        state.client = None


def _keep(client: Any) -> None:
    """Never delete a client that has not been shut down: its end would print, or abort the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


@contextmanager
def accounted() -> Iterator[None]:
    """Let an error of the runtime inside, which a lost process causes in the others, wait until that one is named."""
    try:
        yield
    except Exception as error:
        if jax.process_count() > 1 and _of_the_runtime(error):
            time.sleep(peers.DEAD_AFTER + 5 * peers.BEAT)
        raise


def _of_the_runtime(error: BaseException | None) -> bool:
    """Say whether an error is the runtime's or has one for a cause, as that of a checkpoint that was being written.

    Compiled programs raise some of them as ValueError, with the status of the runtime in front.
    """
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError) or re.match(r"(UNKNOWN|INTERNAL|UNAVAILABLE): ", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def gathered(text: str, purpose: str, *, seconds: float = _LONGEST) -> list[str]:
    """Return what every process says, in their order; all of them call this together, for the same `purpose`.

    It is a barrier, too, and goes through the coordinator rather than the devices.

    Raises:
      HostsError: if a process does not come within `seconds`, or comes for another purpose.
    """
    state = distributed.global_state
    client, index, count = state.client, state.process_id, state.num_processes
    if client is None or count == 1:
        return [text]
    turn = client.key_value_increment(f"vifx/turn/{index}", 1)
    client.key_value_set(f"vifx/said/{turn}/{index}", json.dumps([purpose, text]))
    if index > 0:
        return json.loads(_awaited(client, f"vifx/all/{turn}", 0, count, purpose, seconds))
    said = [json.loads(_awaited(client, f"vifx/said/{turn}/{j}", j, count, purpose, seconds)) for j in range(count)]
    for other, (theirs, _) in enumerate(said):
        if theirs != purpose:
            raise HostsError(f"{peers.describe(client, other, count)} is at {theirs!r}, and process 0 at {purpose!r}")
    texts = [its for _, its in said]
    client.key_value_set(f"vifx/all/{turn}", json.dumps(texts))
    for done in (f"vifx/said/{turn}/", f"vifx/all/{turn - 1}"):  # everyone has read the answer of the turn before
        client.key_value_delete(done)
    return texts


def _awaited(client: Any, key: str, other: int, count: int, purpose: str, seconds: float) -> str:
    try:
        return client.blocking_key_value_get(key, round(1000 * seconds))
    except jax.errors.JaxRuntimeError as error:
        raise HostsError(
            f"{peers.describe(client, other, count)} did not come to {purpose!r} within {seconds:.0f} s"
        ) from error


def broadcast(make: Callable[[], Any], purpose: str, *, seconds: float = _LONGEST) -> Any:
    """Return what process 0 makes, a value of JSON, in every process; the others do not call `make`.

    Raises:
      HostsError: if process 0 does not come within `seconds`.
    """
    if jax.process_count() == 1:
        return make()
    text = json.dumps(make()) if jax.process_index() == 0 else ""
    return json.loads(gathered(text, purpose, seconds=seconds)[0])


def require_same(values: dict[str, str], purpose: str, *, fix: str) -> None:
    """Require that texts by name are the same in every process.

    Raises:
      HostsError: in every process, if they are not: it names the first difference.
    """
    said = [json.loads(text) for text in gathered(json.dumps(values), purpose)]
    for other, theirs in enumerate(said):
        for name in sorted(said[0].keys() | theirs.keys()):
            if said[0].get(name) != theirs.get(name):
                mine, its = said[0].get(name, "nothing"), theirs.get(name, "nothing")
                raise HostsError(f"{name} is {mine} in process 0 and {its} in process {other}; {fix}")
