"""Methods: each file assembles joints, an estimator and a divergence into a published model, and adds nothing."""

from __future__ import annotations

__all__ = ["Assembly", "aae", "ali", "gan"]

from vifx.methods.aae import aae
from vifx.methods.ali import ali
from vifx.methods.assembly import Assembly
from vifx.methods.gan import gan
