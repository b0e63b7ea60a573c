"""Metrics as a table: value, standard error, unit, and which way is better."""

from __future__ import annotations

__all__ = ["Metric", "Noted", "described", "print_metrics"]

import fnmatch
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from vifx.evaluation.estimate import Estimate, minus

if TYPE_CHECKING:
    from rich.console import Console


class Metric(NamedTuple):
    """One row of a table of metrics.

    Attributes:
      name: slash-separated, such as ``"nll/x"``.
      value: the figure.
      standard_error: over examples, or None if there is none.
      unit: such as ``"nats"``.
      better: ``"higher"``, ``"lower"`` or empty.
      meaning: a few words, such as which bound it is.
    """

    name: str
    value: float
    standard_error: float | None = None
    unit: str = ""
    better: str = ""
    meaning: str = ""

    @property
    def arrow(self) -> str:
        """``"↑ higher"``, ``"↓ lower"`` or empty."""
        return {"higher": "↑ higher", "lower": "↓ lower"}.get(self.better, "")

    @property
    def number(self) -> str:
        """The value, rounded to two digits of its standard error, or to five significant digits."""
        return _rounded(self.value, self.standard_error)[0]

    @property
    def error(self) -> str:
        """The standard error with a plus-minus sign, or empty."""
        return _rounded(self.value, self.standard_error)[1]


class Noted(float):
    """A number with a note: everywhere a float, and in a table the note stands as its meaning.

    For a figure that cannot be compared without knowing something more, such as which features it was measured in.

    Args:
      value: the figure.
      note: a few words.

    >>> described({"fmd": Noted(12.5, "n = 10,000")})[0].meaning
    'n = 10,000'
    """

    note: str

    def __new__(cls, value: float, note: str) -> Noted:
        """Make the number."""
        noted = super().__new__(cls, value)
        noted.note = note
        return noted


# Name pattern -> (unit, better, meaning); the first that matches holds.
_KNOWN = MappingProxyType(
    {
        "elbo": ("nats", "higher", "lower bound on log-likelihood"),
        "iwae/*": ("nats", "higher", "lower bound, K samples"),
        "loss": ("nats", "lower", "the objective as trained"),
        "log_prob*": ("nats", "higher", "mean log-likelihood of an example"),
        "objective": ("nats", "higher", "log-likelihood and log-prior, an example"),
        "bic*": ("nats", "lower", "Bayesian information criterion, of the training split"),
        "aic*": ("nats", "lower", "Akaike information criterion, of the training split"),
        "parameters": ("", "", "free parameters"),
        "smallest/*": ("", "", "smallest expected share of a state"),
        "empty*": ("states", "lower", "expected less than a thousandth of an example"),
        "iteration_time": ("ms", "lower", "of one EM iteration, compiled"),
        "reconstruction_rms": ("", "lower", "root mean square of what reconstructions miss"),
        "*_error": ("", "lower", "largest difference of a probability from the truth"),
        "cluster_purity": ("", "higher", "examples with the commonest label of their component"),
        "log_evidence": ("nats", "higher", "below log Z on average, near it for many samples"),
        "log_z": ("nats", "", "logarithm of the target's integral, by quadrature"),
        "effective_share": ("", "higher", "effective over drawn samples; 1 for a perfect fit"),
        "*critic/accuracy": ("", "", "0.5: the critic cannot tell the two apart"),
        "*critic/saturation": ("", "lower", "samples of whose origin the critic is all but sure"),
        "*critic/logit/inference": ("", "", "mean critic output, inference side"),
        "*critic/logit/generative": ("", "", "mean critic output, generative side"),
        "information/*": ("nats", "", "mutual information of the data and the latent under the encoder"),
        "aggregated_kl/*": ("nats", "lower", "divergence of the aggregated posterior from the prior"),
        "wasserstein/*_at_least": ("", "", "estimate that bounds the distance from below"),
        "*/*_at_least": ("nats", "", "estimate that bounds the divergence from below"),
        "*/*_estimate": ("", "", "estimate of the divergence, no bound"),
        "*kl_to_anchor/*": ("nats", "", "divergence from the model at the start of the phase"),
        "*proximal*": ("", "", "distance from the model at the start of the phase"),
        "nll/character*": ("nats", "lower", "−log probability of a character"),
        "bits/character": ("bits", "lower", "upper bound on the code of a character"),
        "nll/pixels": ("nats", "lower", "upper bound on −log probability of the 8-bit pixels"),
        "*nll/*": ("nats", "lower", "−log density under the generative joint"),
        "*kl/*_sampled": ("nats", "", "divergence term, by sampling"),
        "*kl/*": ("nats", "", "divergence term"),
        "*bits_per_dim*": ("bits/dim", "lower", "upper bound on code length"),
        "mig": ("", "higher", "mutual information gap of the latents and the known factors"),
        "dci/disentanglement": ("", "higher", "how far a latent is of one factor alone"),
        "dci/completeness": ("", "higher", "how far a factor needs one latent alone"),
        "dci/informativeness": ("", "higher", "accuracy or R² of the factors, predicted from the latents"),
        "active_units": ("latents", "higher", "Var E[z|x] > 0.01"),
        "examples_for_iwae": ("examples", "", "test examples behind the K-sample bounds"),
        "*accuracy*": ("", "higher", ""),
        "exact_match": ("", "higher", "answers that are right word for word"),
        "f1": ("", "higher", "overlap of the answers' words with the right ones"),
        "score": ("", "higher", "mean of exact match and F1"),
        "answered": ("", "", "questions with an answer above the threshold"),
        "brier": ("", "lower", "squared error of the class probabilities, 0 to 2"),
        "*calibration_error*": ("", "lower", "mean distance of confidence from accuracy"),
        "temperature": ("", "", "of the logits, fitted to the validation split; above 1: too confident"),
        "modes": ("modes", "higher", "with at least one sample within 3σ"),
        "high_quality": ("", "higher", "samples within 3σ of a mode; 0.989 in the plane for a perfect generator"),
        "counts_kl": ("nats", "lower", "samples per mode against equal shares"),
        "mean": ("", "", "of the samples"),
        "scale": ("", "", "standard deviation of the samples"),
        "*/train_images": ("", "", "control: training images"),
        "*/pixel_gaussian": ("", "", "control: a Gaussian of the training pixels"),
        "*/uniform_noise": ("", "", "control: uniform noise"),
        "fmd/relative": ("", "lower", "FMD over the variance of the data's features"),
        "fmd": ("", "lower", "Fréchet distance in the features of one classifier"),
        "kid": ("", "lower", "squared maximum mean discrepancy of features, cubic kernel"),
        "frechet*": ("", "lower", "Fréchet distance of features"),
        "precision": ("", "higher", "samples near data"),
        "recall": ("", "higher", "data near samples"),
        "density": ("", "higher", "1 for a perfect generator"),
        "coverage": ("", "higher", "data balls with a sample"),
        "memorization": ("", "", "0.5: as near to training as test data"),
    }
)


def described(metrics: Mapping[str, Estimate | float]) -> list[Metric]:
    """Return metrics as rows with what is known of them by name: unit, direction, meaning.

    >>> described({"elbo": -100.0})[0].meaning
    'lower bound on log-likelihood'
    """
    rows = []
    for name, value in metrics.items():
        known = (entry for pattern, entry in _KNOWN.items() if fnmatch.fnmatchcase(name, pattern))
        unit, better, meaning = next(known, ("", "", ""))
        if isinstance(value, Estimate):
            rows.append(Metric(name, value.mean, value.standard_error, unit, better, value.note or meaning))
        else:
            note = value.note if isinstance(value, Noted) else meaning
            rows.append(Metric(name, float(value), None, unit, better, note))
    return rows


def print_metrics(metrics: Iterable[Metric], *, title: str = "", console: Console | None = None) -> None:
    """Print rows as a table: ruled on a terminal, aligned plain lines without colour in a pipe.

    Args:
      metrics: rows, such as `described` makes.
      title: printed above.
      console: where to print; standard output by default.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = Console() if console is None else console
    plain = not output.is_terminal
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="" if plain else "bold",
        box=None if plain else box.SIMPLE_HEAD,
        pad_edge=False,
    )
    # In a pipe a narrow default width would cut names that a script wants whole.
    columns = ("metric", "value", "", "unit", "better", "meaning")
    for column in columns:
        table.add_column(column, justify="right" if column == "value" else "left", no_wrap=plain, highlight=False)
    for row in metrics:
        table.add_row(row.name, row.number, row.error, row.unit, row.arrow, row.meaning)
    if plain:
        output = Console(file=output.file, width=200, no_color=True, highlight=False)
    output.print(table, markup=False)


def _rounded(value: float, standard_error: float | None) -> tuple[str, str]:
    if not math.isfinite(value):
        return str(value), ""
    if standard_error is None or not math.isfinite(standard_error):
        return minus(f"{value:,.5g}"), ""
    if standard_error == 0:
        return minus(f"{value:,.5g}"), "± 0"
    digits = min(8, max(0, 1 - math.floor(math.log10(standard_error))))
    return minus(f"{value:,.{digits}f}"), f"± {standard_error:.{digits}f}"
