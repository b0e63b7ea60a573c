"""The process in which the processes of a run find each other: ``python -m vifx.training.coordinator ADDRESS COUNT``.

It is a process of its own so that, when process 0 dies, the others can still be told so. It ends with process 0: at
once if that says that all is over, else when the others have had the time to notice.
"""

from __future__ import annotations

__all__ = ["FOREVER", "GRACE", "main"]

import signal
import sys
import time

# The services that jax.distributed is made of.
from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

FOREVER = 7 * 24 * 3600
"""Seconds without a sign of life after which XLA's own watch ends a process; `vifx.training.peers` watches."""
GRACE = 25.0
"""Seconds for which it outlives process 0."""


def main() -> None:
    """Serve until standard input ends or says that the run is over."""
    address, count, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with process 0, which gets them too
    service = _jax.get_distributed_runtime_service(
        address, count, heartbeat_timeout=FOREVER, cluster_register_timeout=patience, shutdown_timeout=10
    )
    print("ready", flush=True)
    if sys.stdin.readline() != "over\n":
        time.sleep(GRACE)
    del service


if __name__ == "__main__":
    main()
