"""Evaluation: likelihood bounds, sample quality, latent diagnostics, figures and the report.

Importing this imports neither matplotlib nor scikit-learn: the functions that need them import them
when called.
"""

from __future__ import annotations

__all__ = [
    "Calibration",
    "Codes",
    "Estimate",
    "Features",
    "Fmd",
    "KneserNey",
    "Memorization",
    "Metric",
    "ModeCoverage",
    "Noted",
    "Prdc",
    "Predictions",
    "active_units",
    "aggregated_posterior",
    "average_metrics",
    "bits_per_dim",
    "bound_curve",
    "calibrating_temperature",
    "calibration",
    "cluster_accuracy",
    "cluster_purity",
    "component_images",
    "critic_field",
    "density_2d",
    "density_fit_1d",
    "described",
    "elbo",
    "encode",
    "expected_coverage",
    "expected_high_quality",
    "fmd",
    "frechet_distance",
    "gaussian_nll",
    "image_grid",
    "image_rows",
    "importance_weighted_bound",
    "kl_per_latent",
    "kneser_ney",
    "latent_manifold",
    "latent_scatter",
    "latent_traversal",
    "linear_probe_accuracy",
    "loss_curves",
    "manifold_codes",
    "memorization",
    "metric_curves",
    "mode_coverage",
    "mode_scatter",
    "model_choice",
    "moment_errors",
    "nearest_distances",
    "nearest_neighbour_accuracy",
    "noise_curves",
    "normal_quantiles",
    "png",
    "prdc",
    "predict",
    "principal_components",
    "print_metrics",
    "probability_bars",
    "reconstructions",
    "reliability_diagram",
    "report_html",
    "save_figure",
    "state_timeline",
    "text_lines",
    "traversal_codes",
    "write_report",
]

from vifx.evaluation.calibration import Calibration, calibration, reliability_diagram
from vifx.evaluation.clusters import cluster_accuracy, cluster_purity
from vifx.evaluation.components import component_images, model_choice, probability_bars, state_timeline
from vifx.evaluation.curves import bound_curve, latent_scatter, loss_curves, metric_curves
from vifx.evaluation.density import density_fit_1d
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.figures import image_grid, image_rows, latent_manifold, latent_traversal, reconstructions
from vifx.evaluation.fmd import Features, Fmd, fmd
from vifx.evaluation.gaussian_baseline import gaussian_nll
from vifx.evaluation.latents import (
    Codes,
    active_units,
    aggregated_posterior,
    encode,
    kl_per_latent,
    manifold_codes,
    normal_quantiles,
    principal_components,
    traversal_codes,
)
from vifx.evaluation.likelihood import average_metrics, bits_per_dim, elbo, importance_weighted_bound
from vifx.evaluation.lines import text_lines
from vifx.evaluation.modes import ModeCoverage, expected_high_quality, mode_coverage
from vifx.evaluation.ngram import KneserNey, kneser_ney
from vifx.evaluation.plane import critic_field, density_2d, mode_scatter
from vifx.evaluation.predictions import Predictions, calibrating_temperature, predict
from vifx.evaluation.probes import linear_probe_accuracy, nearest_neighbour_accuracy
from vifx.evaluation.report import report_html, write_report
from vifx.evaluation.robustness import noise_curves
from vifx.evaluation.samples import (
    Memorization,
    Prdc,
    expected_coverage,
    frechet_distance,
    memorization,
    moment_errors,
    nearest_distances,
    prdc,
)
from vifx.evaluation.style import png, save_figure
from vifx.evaluation.table import Metric, Noted, described, print_metrics
