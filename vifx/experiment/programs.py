"""Compiled programs that are kept from one command to the next, in the user's cache."""

from __future__ import annotations

__all__ = ["keep_programs", "place_of_programs", "publish_programs"]

import hashlib
import os
import platform
import shutil
import socket
from pathlib import Path

import jax

_OWN = "process-"
_LIMIT = 2 << 30
"""Bytes of programs that are kept; the oldest go first."""


def keep_programs() -> Path | None:
    """Let JAX find the programs of earlier commands, and keep those of this one; return where, or None if nowhere.

    They are kept in ``$VIFX_CACHE/programs``, by default in ``~/.cache/vifx/programs`` (or below ``$XDG_CACHE_HOME``),
    for each kind of processor; ``VIFX_CACHE=off`` keeps none, and so do JAX's own settings, which are left alone.

    JAX reads and writes in a folder of this process, which begins with links to all that is kept: what another
    process is writing, or was killed while it wrote, is never read. `publish_programs` adds what is new.
    """
    settings, given = jax.config, os.environ.get("VIFX_CACHE", "")
    if (known := place_of_programs()) is not None:
        return known
    enabled = settings.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    if given == "off" or _folder() or not enabled:
        return None
    root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vifx"
    place = root / "programs" / _processor()
    own = place / f"{_OWN}{_host()}-{os.getpid()}"
    try:
        own.mkdir(parents=True, exist_ok=True)
        _forget_dead(place)
        for path in place.glob("*-cache"):
            _link(path, own / path.name)
    except OSError:  # a home that cannot be written, or is full: programs are compiled as without a cache
        return None
    settings.update("jax_compilation_cache_dir", str(own))
    settings.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    settings.update("jax_persistent_cache_enable_xla_caches", "none")  # the folder's name would be a part of the key
    return place


def place_of_programs() -> Path | None:
    """Return where `keep_programs` keeps programs, or None if it has not been called or keeps none."""
    own = Path(_folder())
    return own.parent if own.name.startswith(_OWN) else None


def _folder() -> str:
    return jax.config.jax_compilation_cache_dir or ""  # pyright: ignore[reportAttributeAccessIssue]


def publish_programs(*, last: bool = False) -> None:
    """Give the programs that this process has compiled to the others.

    Args:
      last: whether the process compiles no more; its folder goes.
    """
    own = Path(_folder())
    if not own.name.startswith(_OWN) or not own.is_dir():
        return
    try:
        for path in own.glob("*-cache"):
            _link(path, own.parent / path.name)
        _shrink(own.parent)
    except OSError:  # the disk is full: what is not kept is compiled again
        last = True
    if last:
        shutil.rmtree(own, ignore_errors=True)


def _link(path: Path, to: Path) -> None:
    """Give a file a second name, unless another process has given or taken it away in the meantime."""
    if not to.exists():
        try:
            os.link(path, to)
        except (FileExistsError, FileNotFoundError):
            return


def _shrink(place: Path) -> None:
    """Forget the oldest programs over the limit."""
    sizes = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in place.glob("*-cache")), reverse=True)
    total = 0
    for _, size, path in sizes:
        total += size
        if total > _LIMIT:
            path.unlink(missing_ok=True)


def _forget_dead(place: Path) -> None:
    """Remove the folders of processes of this host that are no more."""
    for path in place.glob(f"{_OWN}{_host()}-*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _processor() -> str:
    """Name the kind of processor: programs for one may use what another does not have."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:12]}"
