"""The reader of an experiment computes in the precision that its config asks for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from vifx import reading
from vifx.experiment import question_answering

QUESTIONS = reading.Config(questions=40, least=2, passage_length=48, overlap=16)


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_reader_computes_in_the_precision_of_the_config(precision):
    config = question_answering.Config(
        precision=precision,
        features=4,
        passage_dilations=(1,),
        data=QUESTIONS,
    )
    objective = question_answering.experiment(config).objective
    batch = {name: jnp.asarray(array[:2]) for name, array in reading.load(QUESTIONS).train.arrays.items()}
    init = jax.eval_shape(objective.init, jax.random.key(0), batch)
    program = jax.make_jaxpr(objective.players["model"].loss)(jax.random.key(1), *init, batch)
    assert ("bf16" in str(program)) == (precision == "bfloat16")
