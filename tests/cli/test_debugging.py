"""`--debug-checks`: the factor, the operation and the update of the first number that is not finite."""

from __future__ import annotations

import pytest

BROKEN = '''
from vifx import nets
from vifx.core.types import Net


def breaking(module, update):
    """A decoder whose inputs are not numbers at one update."""
    import jax.numpy as jnp

    inner = nets.as_net(module)

    def init(key, *inputs):
        params, state = inner.init(key, *inputs)
        return params, {"inner": state, "updates": jnp.ones((), jnp.int32)}

    def apply(params, state, z, *, key=None, train=False):
        root = jnp.sqrt(jnp.where(train & (state["updates"] == update), -1.0, 1.0))
        output, new = inner.apply(params, state["inner"], z * root.astype(z.dtype), key=key, train=train)
        return output, {"inner": new, "updates": state["updates"] + jnp.int32(train)}

    return Net(init, apply)
'''


def broken(tiny, update):
    text = tiny.read_text()
    text = text.replace('"x | z", decoder,', f'"x | z", breaking(decoder, {update}),')
    tiny.write_text(text + BROKEN)


@pytest.mark.thorough
@pytest.mark.parametrize("checkpoint_every", [4, 50])
def test_says_which_factor_and_which_update(checkpoint_every, tiny, vifx_command):
    broken(tiny, 37)
    options = ("--run", "run", "--steps", "50", "--log-every", "10", "--checkpoint-every", checkpoint_every)
    with_checks = vifx_command("train", tiny, *options, "--debug-checks")
    assert with_checks.code == 1
    message = with_checks.message
    assert "training diverged at update 37" in message
    assert "at update 37, the first is NaN, made by sqrt in decoder (" in message
    line = next(i for i, each in enumerate(tiny.read_text().splitlines(), 1) if "root = jnp.sqrt" in each)
    assert f"tiny.py:{line})" in message
