"""The images of a model: its samples, reconstructions, and what lies along and between its latents or codes."""

from __future__ import annotations

__all__ = ["DecodedImages", "Drawn", "Restore", "draw_straight_lines", "draw_temperatures", "unscaled"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import data, flows
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Params, PyTree, State
from vifx.data import Split
from vifx.evaluation.batches import point, samples
from vifx.evaluation.latents import active_units, draw_codes, encode, normal_quantiles, traversal_codes
from vifx.evaluation.measure import Drawing
from vifx.evaluation.mosaics import image_grid, image_rows, latent_traversal, reconstructions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Restore: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From values of x to images in [0, 1], ``[n, height, width, channels]``."""
Drawn: TypeAlias = Literal["samples", "reconstructions", "traversal", "levels", "styles", "codes", "interpolation"]
"""What can be drawn of a model of images; levels and styles are samples whose rows share the latent."""


def unscaled(low: float, high: float) -> Restore:
    """Return the map from pixels between `low`, black, and `high`, white, to [0, 1].

    Raises:
      ValueError: if `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got low={low}, high={high}")
    return lambda x: (x - low) / (high - low)


@dataclass(frozen=True, eq=False, repr=False)
class DecodedImages:
    """A model of images x with the scale of its pixels: `sample` draws them, and `drawings` makes figures of them.

    An image is the mean of x given its parents, or where it has none, as for a generator or a flow, x itself. What lies
    outside of [0, 1] is clipped. Networks are in evaluation mode.

    Attributes:
      generative: prior and decoder.
      restore: makes images in [0, 1] of x, such as `unscaled`.
      latent: the variable that is encoded, traversed, shared and interpolated.
      classes: of a model given labels ``y``, how many there are; samples go through them in turn.
      inference: evidence and encoder; without it, nothing can be encoded.
      split: what the encoder reads, usually the test split.
      originals: its images, uint8.
      mean: whether images are means; otherwise they are draws.
    """

    generative: Joint
    restore: Restore
    latent: str = "z"
    classes: int | None = None
    inference: Joint | None = None
    split: Split | None = None
    originals: NDArray[np.uint8] | None = None
    mean: bool = True

    def drawings(self, *names: Drawn) -> dict[str, Drawing]:
        """Return drawings by name, for `Experiment.drawings`."""
        every: dict[Drawn, Callable[[], Drawing]] = {
            "samples": self.draw_samples,
            "reconstructions": self.draw_reconstructions,
            "traversal": self.draw_traversal,
            "levels": self.draw_shared,
            "styles": self.draw_shared,
            "codes": lambda: draw_codes(*self._encoder(), latent=self.latent),
            "interpolation": self.draw_interpolation,
        }
        return {name: every[name]() for name in names}

    def sample(self, key: Key, params: Params, state: State, n: int, temperature: float) -> NDArray[Any]:
        """Draw `n` images ``[n, height, width, channels]``, as `Experiment.sample` does.

        Args:
          key: gives one key per batch of 500.
          params: one entry per network.
          state: one entry per network.
          n: how many.
          temperature: scales the standard deviation of the latents, or of the base of a flow.
        """
        options = {"temperature": temperature, "mean": self.mean, "given": self._given(n)}
        return self._images(samples(key, self.generative, params, state, n, **options))

    def draw_samples(self, *, n: int = 64) -> Drawing:
        """Draw `n` samples in a grid; of a model given labels, eight of each class, one class a column."""
        n, title = (8 * self.classes, "Samples, one class a column") if self.classes else (n, "Samples")
        return lambda key, params, state: image_grid(
            self.sample(key, params, state, n, 1.0), columns=self.classes, title=title, limits=(0.0, 1.0)
        )

    def draw_reconstructions(self) -> Drawing:
        """Draw the first 20 images above their decodings from one draw of their latents."""
        inference, few = self._encoder()[0], self._first(20)
        above = np.asarray([] if self.originals is None else self.originals[:20], np.float32) / 255

        def draw(key: Key, params: Params, state: State) -> Figure:
            values = inference.sample(key, params, state, few).values
            known = [name for name in self.generative.variables if name in values and name not in inference.observed]
            below = self._decode(key, params, state, few, {name: values[name] for name in known})
            return reconstructions(above, below)

        return draw

    def draw_traversal(self) -> Drawing:
        """Move the eight most active latents one at a time over normal quantiles, from the first example's code."""
        inference, split = self._encoder()
        first = self._first(1)

        def draw(key: Key, params: Params, state: State) -> Figure:
            codes = encode(key, inference, params, state, split, variable=self.latent)
            dimensions = np.argsort(-active_units(codes.mean))[:8].tolist()
            values = normal_quantiles(11)
            grid = traversal_codes(codes.mean[0], dimensions, values)
            flat = jnp.asarray(grid.reshape(-1, grid.shape[-1]), dtype=np.float32)
            images = self._decode(key, params, state, _repeated(first, len(flat)), {self.latent: flat})
            return latent_traversal(
                images.reshape(*grid.shape[:2], *images.shape[1:]), dimensions, values, limits=(0.0, 1.0)
            )

        return draw

    def draw_shared(self) -> Drawing:
        """Draw samples whose rows share the latent; everything else is drawn anew for each image."""
        rows, columns, classes = 8, self.classes or 10, " and one class a column" if self.classes else ""
        title = f"Samples, one {self.latent} a row{classes}"

        def draw(key: Key, params: Params, state: State) -> Figure:
            value_key, image_key = jax.random.split(key)
            values = self.generative.sample(value_key, params, state, self._given(rows), examples=rows).values
            fixed = _repeated({self.latent: values[self.latent]}, columns)
            images = self._decode(image_key, params, state, self._given(rows * columns), fixed)
            return image_grid(images, columns=columns, title=title)

        return draw

    def draw_interpolation(self, *, rows: int = 8, columns: int = 10) -> Drawing:
        """Draw images on the way between pairs of latents, one pair a row; other latents are drawn once a row.

        The way is ``z(t) = cos(πt/2) z₀ + sin(πt/2) z₁``: for a standard normal prior every point of it is distributed
        as the prior, which on the straight line between z₀ and z₁ only the ends are.

        Args:
          rows: how many pairs.
          columns: images of each, the ends included.
        """

        def draw(key: Key, params: Params, state: State) -> Figure:
            ends_key, others_key, image_key = jax.random.split(key, 3)
            given = self._given(rows)

            def drawn(key: Key) -> dict[str, Array]:
                values = self.generative.sample(key, params, state, given, examples=rows).values
                return {name: value for name, value in values.items() if name not in (*given, "x")}

            first, second = drawn(ends_key)[self.latent], drawn(others_key)
            angles = jnp.linspace(0.0, jnp.pi / 2, columns, dtype=first.dtype)
            angles = angles.reshape(1, columns, *[1] * (first.ndim - 1))
            way = jnp.cos(angles) * first[:, None] + jnp.sin(angles) * second[self.latent][:, None]
            fixed = {**_repeated(second, columns), self.latent: way.reshape(-1, *first.shape[1:])}
            images = self._decode(image_key, params, state, _repeated(given, columns), fixed)
            return image_grid(images, columns=columns, title="Interpolation between latents")

        return draw

    def _decode(self, key: Key, params: Params, state: State, given: Batch, fixed: Mapping[str, Array]) -> NDArray[Any]:
        return self._images(point(self.generative.sample(key, params, state, given, fixed=fixed), mean=self.mean))

    def _given(self, n: int) -> Batch:
        return {"y": jnp.arange(n) % self.classes} if self.classes else {}

    def _images(self, x: Any) -> NDArray[Any]:
        return np.clip(self.restore(np.asarray(x, np.float32)), 0.0, 1.0)

    def _encoder(self) -> tuple[Joint, Split]:
        if self.inference is None or self.split is None:
            raise ValueError("inference and split must be given for what is encoded; give both, or draw samples alone")
        return self.inference, self.split

    def _first(self, n: int) -> dict[str, Array]:
        return {name: jnp.asarray(array[:n]) for name, array in self._encoder()[1].items()}


def _repeated(values: Mapping[str, Array], count: int) -> dict[str, Array]:
    return {name: jnp.repeat(value, count, axis=0) for name, value in values.items()}


def draw_temperatures(
    generative: Joint,
    *,
    temperatures: Sequence[float] = (0.5, 0.7, 0.85, 1.0),
    columns: int = 12,
) -> Drawing:
    """Draw one row of samples for each temperature, with the same noise in every row.

    Args:
      generative: the flow, of images in (0, 1), with a normal base.
    """

    @jax.jit
    def rows(key: Key, params: Params, state: State) -> Array:
        flow, of_flow = _flow(key, generative, params, state, {}, columns)
        noise = flow.base.sample(jax.random.fold_in(key, 1), (columns,))
        mean = jnp.broadcast_to(flow.base.mean, noise.shape)  # pyright: ignore[reportAttributeAccessIssue]
        codes = jnp.concatenate([mean + temperature * (noise - mean) for temperature in temperatures])
        return flow.decode(*of_flow[:2], codes)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.asarray(rows(key, params, state))
        grid = np.clip(drawn, 0.0, 1.0).reshape(len(temperatures), columns, *drawn.shape[1:])
        labels = [f"T = {t:g}" for t in temperatures]
        return image_rows(grid, labels, title="Samples by temperature")

    return draw


def draw_straight_lines(
    generative: Joint,
    split: Split,
    *,
    shades: int = 256,
    rows: int = 8,
    columns: int = 10,
) -> Drawing:
    """Draw what lies between pairs of real images on the straight line between their codes.

    Args:
      generative: the flow, a transformed factor of ``x``.
      split: images, uint8, whose first 2·`rows` are the pairs.

    Raises:
      ValueError: the split has too few examples.
    """
    if len(split["x"]) < 2 * rows:
        raise ValueError(f"rows={rows} needs {2 * rows} examples, got {len(split['x'])}.")
    few = {name: jnp.asarray(array[: 2 * rows]) for name, array in split.items()}

    @jax.jit
    def between(key: Key, params: Params, state: State) -> Array:
        batch = data.dequantize(shades=shades)(jax.random.fold_in(key, 1), few)
        flow, of_flow = _flow(key, generative, params, state, batch, 2 * rows)
        noise = jax.random.fold_in(key, 2)  # of a log-determinant that is estimated, which nobody reads here
        codes = flow.encode(*of_flow[:2], batch["x"], of_flow[2], key=noise)
        start, end = codes[:rows, None], codes[rows:, None]
        share = jnp.linspace(0.0, 1.0, columns, dtype=codes.dtype).reshape(1, columns, *[1] * (codes.ndim - 1))
        lines = ((1 - share) * start + share * end).reshape(rows * columns, *codes.shape[1:])
        given = jax.tree.map(lambda parent: jnp.repeat(parent[:rows], columns, axis=0), of_flow[2])
        return flow.decode(*of_flow[:2], lines, given, key=noise)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.clip(np.asarray(between(key, params, state)), 0.0, 1.0)
        return image_grid(drawn, columns=columns, title="Interpolation between test images")

    return draw


def _flow(
    key: Key, generative: Joint, params: Params, state: State, batch: Mapping[str, Array], examples: int
) -> tuple[flows.Flow, tuple[PyTree, PyTree, Any]]:
    """Return the flow of ``x``, with its parameters, its state, and what it is conditioned on."""
    fixed = {"x": batch["x"]} if "x" in batch else {}
    drawn = generative.sample(jax.random.fold_in(key, 0), params, state, batch, examples=examples, fixed=fixed)
    found = drawn.conditionals["x"]
    return flows.Flow(found.base, found.bijection), (found.params, found.state, found.given)
