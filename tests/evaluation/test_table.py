"""The table: rounding by the error, units and directions by name, plain text in a pipe."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from vifx import evaluation


def printed(metrics, *, terminal, width=100):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, color_system=None)
    evaluation.print_metrics(metrics, title="Test split", console=console)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-238.41234, 0.3123, ("−238.41", "± 0.31")),
        (-238.41234, 12.3, ("−238", "± 12")),
        (12345.678, 0.0456, ("12,345.678", "± 0.046")),
        (0.5, 0.0, ("0.5", "± 0")),
        (0.123456789, None, ("0.12346", "")),
        (math.nan, 1.0, ("nan", "")),
        (2.0, math.nan, ("2", "")),
    ],
)
def test_values_are_rounded_by_their_error(value, error, expected):
    metric = evaluation.Metric("m", value, error)
    assert (metric.number, metric.error) == expected


def test_described_knows_units_and_directions():
    rows = {
        row.name: row
        for row in evaluation.described(
            {
                "elbo": evaluation.Estimate(np.array([-1.0, -3.0])),
                "nll/x": 3.0,
                "kl/z": 1.0,
                "kl/z_sampled": 1.0,
                "test/bits_per_dim": 2.0,
                "iwae/1000": -1.0,
                "novel": 7.0,
                "nll/pixels": evaluation.Estimate(np.array([5.0, 7.0])),
                "nll/y": evaluation.Estimate(np.array([5.0, 7.0]), "95 % interval"),
            }
        )
    }
    assert rows["elbo"][:5] == ("elbo", -2.0, 1.0, "nats", "higher")
    assert rows["nll/x"].better == "lower"
    assert rows["kl/z"].better == ""
    assert rows["kl/z_sampled"].meaning.endswith("sampling")
    assert rows["test/bits_per_dim"].unit == "bits/dim"
    assert rows["iwae/1000"].better == "higher"
    assert rows["nll/pixels"].meaning.startswith("upper bound")
    assert rows["nll/y"] == evaluation.Metric("nll/y", 6.0, 1.0, "nats", "lower", "95 % interval")
    assert rows["novel"] == evaluation.Metric("novel", 7.0)


def test_described_knows_the_metrics_of_adversarial_training():
    names = {
        "critic/accuracy": ("", ""),
        "critic/saturation": ("", "lower"),
        "critic/logit/inference": ("", ""),
        "critic/logit/generative": ("", ""),
        "js/x_at_least": ("nats", ""),
        "kl/x,z_at_least": ("nats", ""),
        "wasserstein/x_at_least": ("", ""),
        "proximal/x": ("", ""),
        "modes": ("modes", "higher"),
        "high_quality": ("", "higher"),
        "counts_kl": ("nats", "lower"),
        "fmd": ("", "lower"),
        "fmd/relative": ("", "lower"),
        "coverage": ("", "higher"),
    }
    rows = {row.name: row for row in evaluation.described(dict.fromkeys(names, 1.0))}
    assert {name: (row.unit, row.better) for name, row in rows.items()} == names
    assert all(row.meaning for row in rows.values())
    assert rows["kl/x,z_at_least"].meaning.endswith("from below")
    assert evaluation.described({"accuracy": 0.5})[0].better == "higher"


def test_a_noted_number_is_a_number_with_its_note():
    noted = evaluation.Noted(12.5, "n = 10,000")
    assert 2 * noted == 25
    (row,) = evaluation.described({"fmd": noted})
    assert row == evaluation.Metric("fmd", 12.5, None, "", "lower", "n = 10,000")
    assert "n = 10,000" in printed([row], terminal=False)


def test_pipe_gets_plain_aligned_lines():
    long = "a/very/long/name/" + "x" * 60
    metrics = evaluation.described({"elbo": evaluation.Estimate(np.array([-100.0, -102.0])), long: 1.5})
    output = printed(metrics, terminal=False, width=40)
    lines = output.splitlines()
    assert output.isprintable() is False
    assert not set(output) & set("\x1b─━│┃")
    assert any(long in line for line in lines)
    row = next(line for line in lines if line.startswith("elbo"))
    assert row.split()[:5] == ["elbo", "−101.0", "±", "1.0", "nats"]
    assert "lower bound on log-likelihood" in row


def test_markup_in_names_is_printed_as_it_is():
    output = printed([evaluation.Metric("[red]x[/red]", 1.0)], terminal=True)
    assert "[red]x[/red]" in output


def test_terminal_gets_a_ruled_table():
    output = printed(evaluation.described({"elbo": -1.0}), terminal=True)
    assert "─" in output
    assert "↑ higher" in output
    assert "Test split" in output
