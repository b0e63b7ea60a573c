"""Families: conditionals of finite latents whose best parameters have a closed form."""

from __future__ import annotations

__all__ = ["categorical", "gaussian"]

from vifx.families.categorical import categorical
from vifx.families.gaussian import gaussian
