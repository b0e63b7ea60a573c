"""What the figures of a run show, in a sentence each."""

from __future__ import annotations

__all__ = ["Caption", "caption", "in_order"]

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple


class Caption(NamedTuple):
    """What stands under a figure.

    Attributes:
      text: a sentence.
      chart: whether the figure is lines and bars alone, so that a dark page may show it with its colours inverted.
    """

    text: str
    chart: bool = False


_KNOWN: Mapping[str, Caption] = MappingProxyType(
    {
        "samples": Caption("Draws from the generative joint."),
        "reconstructions": Caption(
            "Examples of the test split above what the generative joint makes of one draw of their latents."
        ),
        "traversal": Caption("One latent of an example's code moves along a row, over quantiles of the prior."),
        "levels": Caption("Draws that share the latent in each row; the levels below it are drawn anew."),
        "styles": Caption("Draws that share the latent in each row, and the label in each column."),
        "codes": Caption("Codes of the test split in the plane of the latents that vary most.", chart=True),
        "interpolation": Caption("Images on the way between two draws of the latents, a pair in each row."),
        "temperatures": Caption("The same draws at several temperatures of the base, one a row."),
        "lines": Caption("What lies between two test images on the straight line between their codes."),
        "columns": Caption("Histograms of the columns: draws of the model above rows of the test split.", chart=True),
        "density": Caption("The density of the model, beside data and draws of the model."),
        "times": Caption("Densities at several times: of the data with as much noise, and of the flow below."),
        "pushforward": Caption("Draws of the base, and what the flow makes of them, in the same colours."),
        "modes": Caption("Draws of the model over the modes of the data's law."),
        "projection": Caption("Draws of the model and the data's law along one line.", chart=True),
        "collapse": Caption("The Gaussian fit that each divergence prefers, over the density that it is fitted to."),
        "means": Caption("Means of the components, with their weights, the largest first."),
        "members": Caption("The mean of a component in each row, before test images that most likely belong to it."),
        "choice": Caption("Information criterion and held-out log-likelihood over the models tried.", chart=True),
        "directions": Caption("The mean of a component, moved along its principal directions."),
        "dice": Caption("The probability of each face of each die.", chart=True),
        "timeline": Caption("The posterior probability of the loaded die, above when it was used.", chart=True),
        "tracks": Caption("Observed and smoothed paths, with ellipses of posterior probability 0.95.", chart=True),
        "paths": Caption("Paths that each model goes on with, beside the truth.", chart=True),
        "bands": Caption("The posterior of each species over time, beside the data and the truth.", chart=True),
        "reliability": Caption("Accuracy over confidence on the test split, in bins.", chart=True),
        "noise": Caption("Accuracy and log-likelihood over the size of noise on the test split.", chart=True),
        "steps": Caption("Nats a step under the model, beside those of the grammar.", chart=True),
        "reading_1": Caption("What the reader makes of the words of a passage, and its answer."),
        "reading_2": Caption("What the reader makes of the words of a passage, and its answer."),
        "reading_3": Caption("What the reader makes of the words of a passage, and its answer."),
        "evidence": Caption("Examples as the model sees them in training."),
        "loss": Caption("The loss of each player over updates; a mark shows the best checkpoint.", chart=True),
        "bound": Caption("The importance-weighted bound on the test split over the number of samples.", chart=True),
        "training": Caption("What the critic tells of the two joints, over updates.", chart=True),
        "likelihood": Caption("The likelihood over updates.", chart=True),
        "components": Caption("The smallest component and the empty ones over updates.", chart=True),
        "terms": Caption("The terms of the objective over updates.", chart=True),
        "validation": Caption("What was measured on the validation split, over updates.", chart=True),
        "metrics": Caption("Metrics of the log over updates.", chart=True),
        "sweep": Caption("The monitored metric over updates: the median over seeds, and the range.", chart=True),
        "quality": Caption("The quality of samples, measured during training, over updates.", chart=True),
    }
)


def caption(name: str) -> Caption:
    """Return what a figure of this name shows; of a name that an experiment has made up, the name as a sentence.

    >>> caption("samples").text, caption("heat_maps").text
    ('Draws from the generative joint.', 'Heat maps.')
    """
    return _KNOWN.get(name, Caption(f"{name.replace('_', ' ').capitalize()}."))


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of figures in the order in which they are shown: draws first, curves of the training last.

    >>> in_order(["loss", "heat_maps", "codes", "samples"])
    ['samples', 'codes', 'heat_maps', 'loss']
    """
    curves, known = list(_KNOWN).index("loss"), list(_KNOWN)
    return sorted(names, key=lambda name: (known.index(name) if name in known else curves - 0.5, name))
