"""`python -m vifx`, which is the `vifx` command."""

from __future__ import annotations

__all__ = []

from vifx.cli import script

if __name__ == "__main__":
    script()
