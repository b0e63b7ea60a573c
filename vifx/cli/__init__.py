"""The `vifx` command."""

from __future__ import annotations

__all__ = ["main"]

from vifx.cli.command import main
