"""Families: conditionals of finite latents with a closed-form M step."""

from __future__ import annotations

__all__ = []
