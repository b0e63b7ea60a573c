"""The git revision that an experiment file is of."""

from __future__ import annotations

__all__ = ["git_revision"]

import subprocess
from pathlib import Path


def git_revision(folder: Path) -> str | None:
    """Return the commit of the repository that `folder` lies in, with "+changes" if it is modified."""
    describe = ["git", "--no-optional-locks", "-C", str(folder), "describe", "--always", "--abbrev=40"]
    describe += ["--dirty=+changes", "--exclude=*"]
    try:
        commit = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or not a repository
        return None
    return commit.stdout.strip()
