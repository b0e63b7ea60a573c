"""What is counted in the text of a program: against programs that are counted by hand, and against XLA's counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.training.hlo import Collective, parse, tally

LOOP = """HloModule m, num_partitions=8

%inside (p: f32[8,16], w: f32[5,16,4], i: s32[]) -> f32[8,4] {
  %p = f32[8,16]{1,0} parameter(0)
  %w = f32[5,16,4]{2,1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %slice = f32[1,16,4]{2,1,0} dynamic-slice(%w, %i, %zero, %zero), dynamic_slice_sizes={1,16,4}
  %flat = f32[16,4]{1,0} bitcast(%slice)
  ROOT %dot = f32[8,4]{1,0} dot(%p, %flat), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (arg: (s32[], f32[8,16], f32[5,16,4], /*index=3*/f32[8,4])) -> (s32[], f32[8,16], f32[5,16,4], f32[8,4]) {
  %arg = (s32[], f32[8,16]{1,0}, f32[5,16,4]{2,1,0}, /*index=3*/f32[8,4]{1,0:T(8,128)}) parameter(0)
  %one = s32[] constant(1)
  %n = s32[] get-tuple-element(%arg), index=0
  %x = f32[8,16]{1,0} get-tuple-element(%arg), index=1
  %stack = f32[5,16,4]{2,1,0} get-tuple-element(%arg), index=2
  %next = s32[] add(%n, %one)
  %y = f32[8,4]{1,0} fusion(%x, %stack, %n), kind=kLoop, calls=%inside
  %sum = f32[8,4]{1,0} all-reduce(%y), channel_id=1, replica_groups=GROUPS, to_apply=%add
  ROOT %out = (s32[], f32[8,16]{1,0}, f32[5,16,4]{2,1,0}, f32[8,4]{1,0}) tuple(%next, %x, %stack, %sum)
}

%test (arg: (s32[], f32[8,16], f32[5,16,4], f32[8,4])) -> pred[] {
  %arg = (s32[], f32[8,16]{1,0}, f32[5,16,4]{2,1,0}, f32[8,4]{1,0}) parameter(0)
  %end = s32[] constant(5)
  %n = s32[] get-tuple-element(%arg), index=0
  ROOT %less = pred[] compare(%n, %end), direction=LT
}

ENTRY %main (x: f32[8,16], w: f32[5,16,4], y: f32[8,4]) -> f32[8,4] {
  %x = f32[8,16]{1,0} parameter(0)
  %w = f32[5,16,4]{2,1,0} parameter(1)
  %y = f32[8,4]{1,0} parameter(2)
  %begin = s32[] constant(0)
  %copied = s32[] copy(%begin)
  %tuple = (s32[], f32[8,16]{1,0}, f32[5,16,4]{2,1,0}, f32[8,4]{1,0}) tuple(%copied, %x, %w, %y)
  %loop = (s32[], f32[8,16]{1,0}, f32[5,16,4]{2,1,0}, f32[8,4]{1,0}) while(%tuple), condition=%test, body=%bodyKNOWN
  ROOT %result = f32[8,4]{1,0} get-tuple-element(%loop), index=3
}
"""
KNOWN = ', backend_config={"known_trip_count":{"n":"5"}}'
GROUPS = {
    "{{0,1,2,3},{4,5,6,7}}": 4,
    "[4,2]<=[8]": 2,
    "[2,4]<=[4,2]T(1,0)": 4,
    "{}": 8,
    "mesh['data'=4,'fsdp'=2] {'data'}": 4,
    "mesh['data'=4,'fsdp'=2] {'data','fsdp'}": 8,
    "mesh['data'=8] {'data':(2)4}": 4,
}


@pytest.mark.parametrize("known", ["", KNOWN])
def test_a_loop_counts_as_often_as_it_runs(known):
    found = tally(LOOP.replace("KNOWN", known).replace("GROUPS", "{}"), 8)
    assert found.matmul_flops == found.flops == 5 * 2 * 8 * 16 * 4
    assert found.communication == {"all-reduce": Collective(5, 5 * 128, 5 * 128 * 2 * 7 / 8, 8)}
    # each time: x and one of the five matrices are read, y is written; y is read and written again by the all-reduce;
    # and the counter: two reads and a write, and by the test two reads and a write of one byte
    once = (512 + 256 + 4 + 128) + 256 + 12 + 9
    assert found.bytes_accessed == 5 * once + 8
    assert found.loops == 0


@pytest.mark.parametrize(
    "changed",
    [
        ("compare(%n, %end), direction=LT", "compare(%n, %end), direction=NE"),
        ("add(%n, %one)", "add(%n, %n)"),
        ("constant(5)", "parameter(0)"),
        ("copy(%begin)", "parameter(3)"),
    ],
)
def test_a_loop_of_unknown_length_is_said_and_counts_once(changed):
    found = tally(LOOP.replace("KNOWN", "").replace("GROUPS", "{}").replace(*changed), 8)
    assert found.loops == 1
    assert found.matmul_flops == 2 * 8 * 16 * 4


@pytest.mark.parametrize("groups", GROUPS)
def test_groups_of_devices(groups):
    found = tally(LOOP.replace("KNOWN", KNOWN).replace("GROUPS", groups), 8)
    n = GROUPS[groups]
    assert found.communication["all-reduce"] == Collective(5, 640, pytest.approx(640 * 2 * (n - 1) / n), n)


KINDS = {
    "all-gather": ("f32[32]", "f32[8]", "all-gather(%x), replica_groups={{0,1,2,3}}, dimensions={0}", (128, 96.0)),
    "reduce-scatter": ("f32[2]", "f32[8]", "reduce-scatter(%x), replica_groups={{0,1,2,3}}, to_apply=%a", (32, 24.0)),
    "all-to-all": ("bf16[8]", "bf16[8]", "all-to-all(%x), replica_groups={{0,1,2,3}}, dimensions={0}", (16, 12.0)),
    "collective-permute": ("f32[8]", "f32[8]", "collective-permute(%x), source_target_pairs={{0,1}}", (32, 32.0)),
    "all-reduce": ("(f32[8], f32[8])", "f32[8]", "all-reduce(%x, %x), replica_groups={{0,1,2,3}}", (64, 96.0)),
    "all-gather-start": (
        "(f32[8], f32[32])",
        "f32[8]",
        "all-gather-start(%x), replica_groups={{0,1,2,3}}, dimensions={0}",
        (128, 96.0),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_sent(kind):
    result, argument, operation, (size, sent) = KINDS[kind]
    text = (
        f"ENTRY %m (x: {argument}) -> {result} {{\n  %x = {argument} parameter(0)\n  ROOT %y = {result} {operation}\n}}"
    )
    (found,) = tally(text, 4).communication.items()
    assert found == (
        kind.removesuffix("-start"),
        Collective(1, size, sent, 1 if "permute" in kind else 4)._replace(devices=4),
    )


LIBRARY = {
    "gemm": (
        'f32[8,4]{1,0} custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}',
        ("f32[8,16]", "f32[16,4]"),
        2 * 8 * 16 * 4,
    ),
    "convolution": (
        "(f32[2,7,8,8], u8[0]) custom-call(%a, %b), window={size=3x3 pad=1_1x1_1}, dim_labels=bf01_oi01->bf01, "
        'custom_call_target="__cudnn$convForward"',
        ("f32[2,5,8,8]", "f32[7,5,3,3]"),
        2 * (2 * 7 * 8 * 8) * (5 * 3 * 3),
    ),
    "of the input": (
        "(f32[2,5,8,8], u8[0]) custom-call(%a, %b), window={size=3x3 pad=1_1x1_1}, dim_labels=bf01_oi01->bf01, "
        'custom_call_target="__cudnn$convBackwardInput"',
        ("f32[2,7,8,8]", "f32[7,5,3,3]"),
        2 * (2 * 7 * 8 * 8) * (5 * 3 * 3),
    ),
    "of the weights": (
        "(f32[7,5,3,3], u8[0]) custom-call(%a, %b), window={size=3x3 pad=1_1x1_1}, dim_labels=bf01_oi01->bf01, "
        'custom_call_target="__cudnn$convBackwardFilter"',
        ("f32[2,5,8,8]", "f32[2,7,8,8]"),
        2 * (2 * 7 * 8 * 8) * (5 * 3 * 3),
    ),
}


@pytest.mark.parametrize("case", LIBRARY)
def test_products_in_libraries_of_gpus_are_counted(case):
    call, (a, b), expected = LIBRARY[case]
    lines = [f"  %a = {a} parameter(0)", f"  %b = {b} parameter(1)", f"  ROOT %y = {call}"]
    text = "\n".join([f"ENTRY %m (a: {a}, b: {b}) -> f32[] {{", *lines, "}"])
    found = tally(text, 1)
    assert (found.matmul_flops, found.opaque) == (expected, set())


def test_what_is_not_known_is_said():
    lines = ["%x = f32[4,4] parameter(0)", 'ROOT %y = f32[4,4] custom-call(%x), custom_call_target="lapack_spotrf_ffi"']
    text = "\n".join(["ENTRY %m (x: f32[4,4]) -> f32[4,4] {", *(f"  {line}" for line in lines), "}"])
    assert tally(text, 1).opaque == {"lapack_spotrf_ffi"}
    with pytest.raises(ValueError, match=r"compiled.as_text\(\)"):
        parse("HloModule m")


CONVOLUTIONS = [
    {"window_strides": (2, 1), "padding": "SAME"},
    {"window_strides": (1, 1), "padding": [(2, 0), (-1, 3)]},
    {"window_strides": (1, 1), "padding": [(2, 2), (1, 2)], "lhs_dilation": (2, 3)},
    {"window_strides": (2, 2), "padding": "VALID", "rhs_dilation": (2, 2)},
    {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 2},
]


@pytest.mark.first(2)
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_convolution_has_a_product_for_each_pixel_and_weight_that_meet(options):
    """Against a convolution of ones, whose elements count the pixels and weights that meet."""
    x, kernel = jnp.ones((2, 9, 10, 4)), jnp.ones((3, 2, 4 // options.get("feature_group_count", 1), 6))
    convolve = jax.jit(
        lambda x, k: jax.lax.conv_general_dilated(x, k, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)
    )
    text = convolve.lower(x, kernel).compile().as_text()
    assert tally(text, 1).matmul_flops == 2 * float(jnp.sum(convolve(x, kernel)))


def test_agrees_with_the_analysis_of_xla_where_there_is_no_loop():
    def f(x, w):
        return jnp.sum(jnp.tanh(x @ w[0]) @ w[1])

    x, w = jnp.ones((64, 32)), (jnp.ones((32, 16)), jnp.ones((16, 8)))
    compiled = jax.jit(jax.grad(f, argnums=1)).lower(x, w).compile()
    found, theirs = tally(compiled.as_text(), 1), compiled.cost_analysis()
    np.testing.assert_allclose(found.flops, theirs["flops"] + theirs.get("transcendentals", 0.0), rtol=0.02)
    np.testing.assert_allclose(found.bytes_accessed, theirs["bytes accessed"], rtol=0.05)
