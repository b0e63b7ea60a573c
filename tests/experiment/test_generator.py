"""The usual alarms and curves of experiments with a generator."""

from __future__ import annotations

import fnmatch

import jax
import jax.numpy as jnp
import pytest
from evaluation.known_models import affine

import vifx
from vifx import data, evaluation, training
from vifx.core.types import Net
from vifx.experiment import generator


def rows(**metrics):
    """Rows of a log, one a hundred updates."""
    names = {name.replace("__", "/"): values for name, values in metrics.items()}
    length = len(next(iter(names.values())))
    return [{"step": 100 * (i + 1), **{name: values[i] for name, values in names.items()}} for i in range(length)]


def test_usual_alarms_go_off_at_a_saturated_critic_and_at_lost_modes():
    usual = generator.alarms(modes=25)
    sound = rows(
        critic__saturation=[0.99, 0.99, 0.97, 0.96, 0.9, 0.1, 0.1, 0.2],
        validation__modes=[5, 9, 20, 24, 25, 17, 25, 25],
    )
    assert training.episodes(usual, sound) == ()
    failing = rows(
        critic__saturation=[0.1, 0.96, 0.97, 0.96, 0.99, 0.99, 1.0, 1.0],
        validation__modes=[20, 25, 25, 17, 17, 12, 12, 12],
    )
    found = [(f.alarm.metric, f.since, f.step) for f in training.episodes(usual, failing)]
    assert found == [("validation/modes", 400, 500), ("critic/saturation", 200, 600)]
    never = rows(validation__modes=[1, 1, 2, 2, 2, 13])
    assert [(f.alarm.kind, f.since, f.step) for f in training.episodes(usual, never)] == [("below", 100, 500)]


def test_usual_alarms_of_images_know_which_way_is_better():
    usual = generator.alarms(monitored=("fmd", "coverage"), name="x")
    assert [alarm.metric for alarm in usual] == ["x/critic/saturation", "validation/fmd", "validation/coverage"]
    history = rows(
        validation__fmd=[90.0, 30.0, 50.0, 61.0, 70.0, 20.0],
        validation__coverage=[0.1, 0.8, 0.41, 0.39, 0.3, 0.9],
    )
    assert [(f.alarm.metric, f.since, f.step) for f in training.episodes(usual, history)] == [
        ("validation/fmd", 400, 500),
        ("validation/coverage", 400, 500),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"monitored": ("mode",)}, "did you mean 'modes'"),
        ({"monitored": "fmd"}, r"got 'fmd'; use \['fmd'\]"),
        ({"modes": 0}, "modes must be an integer ≥ 1, got 0"),
    ],
)
def test_usual_alarms_refuse_what_they_do_not_know(wrong, message):
    with pytest.raises(ValueError, match=message):
        generator.alarms(**wrong)


def test_usual_curves_are_metrics_that_a_gan_reports():
    critic = Net(
        init=lambda key, x: ({"w": jnp.ones(2)}, {}),
        apply=lambda params, state, x, key=None, train=False: (x @ params["w"], state),
    )
    generative, *_ = affine()
    objective = vifx.adversarial(vifx.Joint(vifx.evidence("x")), generative, critic, on="x")
    batch = {"x": jnp.ones((4, 2))}
    params, state = objective.init(jax.random.key(0), batch)
    metrics = objective.players["critic"].loss(jax.random.key(1), params, state, batch)[1].metrics
    drawn = [name for pattern in generator.CURVES["training"] for name in fnmatch.filter(sorted(metrics), pattern)]
    assert drawn == ["critic/accuracy", "critic/saturation", "js/x_at_least"]
    assert generator.alarms()[0].metric in metrics
    monitored = evaluation.measure_modes(affine()[0], data.modes("ring"), n=10)(jax.random.key(0), *affine()[1:])
    assert {f"validation/{name}" for name in monitored} <= set(generator.CURVES["quality"])
