"""Checks of arguments at the doors of the library; the messages have the rule, the value and a remedy.

Each takes a value and the name of the argument, for the message, and returns the value.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "described",
    "nearest",
    "require",
    "require_array",
    "require_batch",
    "require_choice",
    "require_function",
    "require_integer",
    "require_key",
    "require_name",
    "require_number",
    "require_pair",
    "require_unmasked",
    "require_widths",
]

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command checks its options without them
    from vifx.core.types import Array


class ArgumentError(ValueError):
    """A value that an argument or a field of a config may not have, with the name kept apart.

    So a command can say which of its options sets it. The message is the name and the sentence.

    Attributes:
      name: the argument that is refused, such as "batch_size" or "hidden[1]".
      sentence: the rule, the value and what to do.
      value: what was given.
      owner: the config that has it as a field, if there is one.
    """

    def __init__(self, name: str, sentence: str, *, value: object, owner: object = None) -> None:
        super().__init__(f"{name} {sentence}")
        self.name, self.sentence, self.value, self.owner = name, sentence, value, owner

    def naming(self, option: str) -> str:
        """Return the message with the option that sets the value in place of its name."""
        return f"{option}{self.name[len(self.field) :]} {self.sentence}"

    @property
    def field(self) -> str:
        """The name without an index behind it."""
        return self.name.partition("[")[0]


def described(value: object) -> str:
    """Describe a value in a few words: by its type or shape, or by itself if it is short."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"an array {dtype}{list(shape)}"
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) < 40 else f"{value[:40]}…")
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def require(value: Any, kinds: type | tuple[type, ...], name: str, what: str, fix: str) -> Any:
    """Return an argument that is of one of `kinds`.

    Args:
      what: what it must be, in words.

    Raises:
      TypeError: if it is something else.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {what}, got {described(value)}; {fix}.")
    return value


def require_key(key: Any, *, name: str = "key") -> Array:
    """Return a typed random key.

    Raises:
      TypeError: if it is a seed, a key of the old kind or something else.
      ValueError: if it is an array of keys.
    """
    import jax
    import jax.numpy as jnp

    rule = f"{name} must be a typed random key, jax.random.key(seed)"
    if isinstance(key, int) and not isinstance(key, bool):
        raise TypeError(f"{rule}, got the integer {key}; give jax.random.key({key}).")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        old = isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape[-1:] in ((2,), (4,))
        fix = "replace jax.random.PRNGKey, whose keys have no type, by it" if old else "make one with it"
        raise TypeError(f"{rule}, got {described(key)}; {fix}.")
    if key.shape != ():
        raise ValueError(f"{name} must be one key, got an array of keys {list(key.shape)}; give one of them.")
    return key


def require_integer(value: Any, name: str, *, least: int = 1, most: int | None = None, owner: object = None) -> int:
    """Return an integer in a range.

    Args:
      most: the largest one; None for no limit.
      owner: the config that has it as a field, if there is one.

    Raises:
      TypeError: if it is not an integer.
      ArgumentError: if it is out of range.
    """
    rule = f"an integer {f'≥ {least}' if most is None else f'from {least} to {most}'}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {rule}, got {described(value)}")
    if value < least or (most is not None and value > most):
        raise ArgumentError(name, f"must be {rule}, got {value}", value=value, owner=owner)
    return value


def require_widths(values: Any, name: str) -> tuple[int, ...]:
    """Return the widths of hidden layers: one or more integers, each of them positive.

    Raises:
      TypeError: if they are not integers in a sequence.
      ArgumentError: if there are none, or one is not positive.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of integers ≥ 1, got {described(values)}.")
    widths = tuple(values)
    if not widths:
        raise ArgumentError(name, "must have at least one integer ≥ 1, got none", value=values)
    return tuple(require_integer(width, f"{name}[{index}]") for index, width in enumerate(widths))


def require_pair(value: Any, name: str) -> tuple[int, int]:
    """Return two positive integers from one, which stands for both, or from two.

    Raises:
      ValueError: if it is neither.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be a positive integer or two of them, got {value}")
    return pair


def require_number(
    value: Any,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    hint: str = "",
    owner: object = None,
) -> float:
    """Return a finite real number in a range.

    Args:
      above: what it must be larger than, in place of `least`.
      below: what it must be smaller than, in place of `most`.
      owner: the config that has it as a field, if there is one.

    Raises:
      TypeError: if it is not a number.
      ArgumentError: if it is not finite, or out of range.
    """
    low, high = least if above is None else above, most if below is None else below
    match low, high:
        case None, None:
            rule = "a finite number"
        case _, None:
            rule = f"a finite number {'>' if least is None else '≥'} {low:g}"
        case None, _:
            rule = f"a finite number {'<' if most is None else '≤'} {high:g}"
        case _:
            rule = f"a number in {'(' if least is None else '['}{low:g}, {high:g}{')' if most is None else ']'}"
    end = f"; {hint}" if hint else ""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {rule}, got {described(value)}{end}")
    number = float(value)
    above_low = low is None or number > low or number == least
    if not (math.isfinite(number) and above_low and (high is None or number < high or number == most)):
        raise ArgumentError(name, f"must be {rule}, got {value}{end}", value=value, owner=owner)
    return number


def nearest(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"`` for the one of `names` that is most like `name`.

    Args:
      cutoff: how similar the two must be, from 0 to 1; otherwise the result is empty.
    """
    near = difflib.get_close_matches(name, list(names), 1, cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def require_choice(
    value: Any,
    options: Iterable[Any],
    name: str,
    *,
    owner: object = None,
    synonyms: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Return a value that is one of several.

    Args:
      options: what it may be, such as the arguments of a `Literal`.
      synonyms: the options that other words mean, for the message.
      owner: the config that has it as a field, if there is one.

    Raises:
      ArgumentError: if it is none of them; the message has all of them and the one that is most like it.
    """
    options = tuple(options)
    if value in options:
        return value
    words = [str(option) for option in options]
    hint = nearest(value, words) if isinstance(value, str) else ""
    if isinstance(value, str) and value.lower() in synonyms:
        hint = f"; did you mean {synonyms[value.lower()]!r}?"
    sentence = f"must be one of {', '.join(words)}; got {described(value)}{hint}"
    raise ArgumentError(name, sentence, value=value, owner=owner)


def require_name(value: Any, names: Iterable[str], what: str) -> str:
    """Return a name that exists.

    Args:
      what: what they are the names of, such as ``"player"``.

    Raises:
      TypeError: if it is not text.
      ValueError: if it does not exist; the message has all names and the one that is most like it.
    """
    names = tuple(names)
    known = ", ".join(map(repr, names)) or "none"
    require(value, str, what, "a name", f"there are: {known}")
    if value not in names:
        raise ValueError(f"unknown {what} {value!r}{nearest(value, names) or '.'} There are: {known}.")
    return value


def require_function(value: Any, name: str, like: str) -> Any:
    """Return a function.

    Args:
      like: its signature in words, such as ``(key, batch) -> batch``.

    Raises:
      TypeError: if it cannot be called.
    """
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{name} must be a function {like}, got {described(value)}.")
    return value


def require_unmasked(value: Any, name: str) -> Any:
    """Return values that are not a masked array, whose mask would be lost, so that masked values would become data.

    Raises:
      TypeError: if it is one.
    """
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        count = int(np.ma.count_masked(value))
        raise TypeError(
            f"{name} must be a plain array, got a masked one with {count} masked values; leave those examples out, or "
            "fill them with x.filled(...)."
        )
    return value


def require_array(value: Any, name: str) -> Any:
    """Return something that can be made an array ``[examples, ...]``.

    Raises:
      TypeError: if it is a scalar, a text, a mapping, a masked array, or no values at all.
    """
    if isinstance(value, Mapping | str | type) or not hasattr(value, "__len__") or getattr(value, "shape", None) == ():
        raise TypeError(f"{name} must be an array [examples, ...], got {described(value)}; give one variable's values.")
    return require_unmasked(value, name)


def require_batch(batch: Any, *, name: str = "batch", minibatches: int = 1) -> Any:
    """Return arrays by name, each with its leading axes.

    Args:
      minibatches: how many there are; if there are several, they are the first axis.

    Raises:
      TypeError: if it is not a mapping from names to arrays.
      ValueError: if an array has no axis of examples, or its first axis is not that of the minibatches.
    """
    import jax

    if not isinstance(batch, Mapping) or not all(isinstance(entry, str) for entry in batch):
        raise TypeError(f'{name} must be a mapping from names to arrays, such as {{"x": x}}, got {described(batch)}.')
    for entry, value in batch.items():
        for leaf in jax.tree.leaves(value):
            shape = getattr(leaf, "shape", None)
            require_unmasked(leaf, f"{name}[{entry!r}]")
            if not isinstance(shape, tuple):
                raise TypeError(f"{name}[{entry!r}] must be an array, got {described(leaf)}; give jnp.asarray of it.")
            if minibatches > 1 and (len(shape) < 2 or shape[0] != minibatches):
                raise ValueError(
                    f"{name}[{entry!r}] must have the shape [{minibatches}, examples, ...], since one update takes "
                    f"{minibatches} minibatches, got {list(shape)}; stack that many along a first axis."
                )
            if not shape:
                raise ValueError(f"{name}[{entry!r}] must have an axis of examples, got a scalar; give x[None].")
    return batch
