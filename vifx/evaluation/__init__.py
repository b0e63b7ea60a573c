"""Evaluation: what is measured of a trained model, and what is drawn of it.

Functions of arrays return numbers and figures. Those whose names begin with measure, monitor or draw take joints and
splits, and return a function of (key, params, state), as an `Experiment` takes it. A name is imported when it is first
used, and matplotlib and scikit-learn when a function that needs them is called.
"""

from __future__ import annotations

__all__ = [
    "Annealed",
    "Budget",
    "Calibration",
    "Certificate",
    "Codes",
    "Dci",
    "DecodedImages",
    "Drawing",
    "Enclosure",
    "Estimate",
    "Features",
    "Fmd",
    "Gaps",
    "Kid",
    "KneserNey",
    "Measure",
    "Memorization",
    "Metric",
    "Mig",
    "ModeCoverage",
    "Noted",
    "Parzen",
    "Prdc",
    "Predictions",
    "RateDistortion",
    "RateParts",
    "Sandwich",
    "StackedModes",
    "Stages",
    "TwoSample",
    "active_units",
    "aggregated_posterior",
    "annealed_importance",
    "average_metrics",
    "banded_curves",
    "bidirectional",
    "bits_per_dim",
    "bound_curve",
    "calibrating_temperature",
    "calibration",
    "certify",
    "classifier_two_sample_test",
    "cluster_accuracy",
    "cluster_purity",
    "critic_calibration",
    "critic_field",
    "dci",
    "density_2d",
    "density_fit_1d",
    "density_pairs_2d",
    "described",
    "donsker_varadhan",
    "draw_codes",
    "draw_columns",
    "draw_critic",
    "draw_density",
    "draw_evidence",
    "draw_flow_times",
    "draw_modes",
    "draw_noise",
    "draw_pushforward",
    "draw_reliability",
    "elbo",
    "encode",
    "encoder_information",
    "expected_captured",
    "expected_counts_kl",
    "expected_coverage",
    "expected_high_quality",
    "families_chart",
    "feature_network",
    "features_of",
    "fit_figure",
    "fmd",
    "frechet_distance",
    "gaps",
    "gaussian_frechet_distance",
    "gaussian_gap",
    "gaussian_nll",
    "image_classifier",
    "image_grid",
    "image_rows",
    "importance_weighted_bound",
    "info_nce",
    "information_bounds",
    "kernel_density",
    "kid",
    "kl_per_latent",
    "kneser_ney",
    "latent_manifold",
    "latent_scatter",
    "latent_traversal",
    "linear_probe_accuracy",
    "loss_curves",
    "manifold_codes",
    "measure_bounds",
    "measure_classifier",
    "measure_disentanglement",
    "measure_gaussian",
    "measure_image_quality",
    "measure_information",
    "measure_likelihood",
    "measure_modes",
    "measure_rows",
    "measure_stacked_modes",
    "memorization",
    "metric_curves",
    "mig",
    "mode_coverage",
    "mode_scatter",
    "model_choice",
    "moment_errors",
    "monitor_classifier",
    "monitor_likelihood",
    "monitor_loss",
    "nearest_distances",
    "nearest_neighbour_accuracy",
    "noise_curves",
    "normal_quantiles",
    "nwj",
    "png",
    "posterior_log_densities",
    "prdc",
    "predict",
    "principal_components",
    "print_metrics",
    "probability_bars",
    "pushforward_2d",
    "rate_distortion",
    "rate_distortion_curve",
    "rate_parts",
    "reconstructions",
    "reliability_diagram",
    "report_html",
    "sandwich_curve",
    "save_figure",
    "stacked_modes",
    "stage_table",
    "stages",
    "state_timeline",
    "text_lines",
    "traversal_codes",
    "unscaled",
    "write_report",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.evaluation.annealed_importance import Annealed, annealed_importance
    from vifx.evaluation.bidirectional import Sandwich, bidirectional
    from vifx.evaluation.binned import Calibration
    from vifx.evaluation.casino_dice import probability_bars, state_timeline
    from vifx.evaluation.certificate import Budget, Certificate
    from vifx.evaluation.certify import certify
    from vifx.evaluation.classification import (
        calibration,
        draw_evidence,
        draw_noise,
        draw_reliability,
        measure_classifier,
        monitor_classifier,
        noise_curves,
        reliability_diagram,
    )
    from vifx.evaluation.clusters import cluster_accuracy, cluster_purity
    from vifx.evaluation.collapse import Stages, stage_table, stages
    from vifx.evaluation.components import model_choice
    from vifx.evaluation.critic_calibration import critic_calibration
    from vifx.evaluation.curves import banded_curves, bound_curve, loss_curves, metric_curves
    from vifx.evaluation.decoded_images import DecodedImages, unscaled
    from vifx.evaluation.density_pairs import density_pairs_2d
    from vifx.evaluation.disentanglement import Dci, Mig, dci, measure_disentanglement, mig
    from vifx.evaluation.estimate import Estimate
    from vifx.evaluation.families_chart import families_chart
    from vifx.evaluation.fits import fit_figure
    from vifx.evaluation.flow_times import draw_flow_times
    from vifx.evaluation.frechet import frechet_distance, gaussian_frechet_distance
    from vifx.evaluation.frozen_features import feature_network, features_of, image_classifier
    from vifx.evaluation.gaps import Gaps, gaps
    from vifx.evaluation.image_quality import Features, Fmd, fmd, measure_image_quality
    from vifx.evaluation.information import (
        Enclosure,
        donsker_varadhan,
        encoder_information,
        info_nce,
        information_bounds,
        nwj,
        posterior_log_densities,
    )
    from vifx.evaluation.kernel_density import Parzen, kernel_density
    from vifx.evaluation.kernel_distance import Kid, kid
    from vifx.evaluation.known_law import density_fit_1d
    from vifx.evaluation.latents import (
        Codes,
        active_units,
        aggregated_posterior,
        draw_codes,
        encode,
        kl_per_latent,
        latent_scatter,
        linear_probe_accuracy,
        manifold_codes,
        nearest_neighbour_accuracy,
        normal_quantiles,
        principal_components,
        traversal_codes,
    )
    from vifx.evaluation.likelihood import (
        bits_per_dim,
        gaussian_nll,
        measure_gaussian,
        measure_likelihood,
        monitor_likelihood,
    )
    from vifx.evaluation.likelihood_bounds import (
        average_metrics,
        elbo,
        importance_weighted_bound,
        measure_bounds,
        monitor_loss,
    )
    from vifx.evaluation.measure import Drawing, Measure
    from vifx.evaluation.modes import ModeCoverage, expected_high_quality, measure_modes, mode_coverage
    from vifx.evaluation.mosaics import image_grid, image_rows, latent_manifold, latent_traversal, reconstructions
    from vifx.evaluation.neighbours import Prdc, expected_coverage, prdc
    from vifx.evaluation.plane import critic_field, density_2d, draw_critic, draw_density, draw_modes, mode_scatter
    from vifx.evaluation.predictions import Predictions, calibrating_temperature, predict
    from vifx.evaluation.pushforward import draw_pushforward, pushforward_2d
    from vifx.evaluation.rate_distortion import RateDistortion, rate_distortion, rate_distortion_curve
    from vifx.evaluation.rate_parts import RateParts, gaussian_gap, measure_information, rate_parts
    from vifx.evaluation.report import report_html, write_report
    from vifx.evaluation.samples import Memorization, memorization, moment_errors, nearest_distances
    from vifx.evaluation.sandwich_curve import sandwich_curve
    from vifx.evaluation.stacked_modes import (
        StackedModes,
        expected_captured,
        expected_counts_kl,
        measure_stacked_modes,
        stacked_modes,
    )
    from vifx.evaluation.style import png, save_figure
    from vifx.evaluation.table import Metric, Noted, described, print_metrics
    from vifx.evaluation.table_rows import draw_columns, measure_rows
    from vifx.evaluation.text_models import KneserNey, kneser_ney, text_lines
    from vifx.evaluation.two_sample import TwoSample, classifier_two_sample_test

make_lazy(__name__)
