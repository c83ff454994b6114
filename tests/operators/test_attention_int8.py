"""What is special to caches of integers: their rounding, their scales, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitnet_onnx.model.exact import attention, attention_int8, kept_int8
from tests.support.nodes.attention_node import INT4, INT8, inputs, of_torch, session, side_by_side

both = pytest.mark.parametrize("op", [INT8, INT4])


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_have_a_scale_of_nan(op: str, bad: float) -> None:
    """Of a new key or value, in torch, the body and the kernels: its heads alone are NaN."""
    for name in ("key", "value"):
        fed = inputs(op, (1, 2, 6, 2, 10, 9, [4]))
        fed[name][0, 0, 3] = bad
        expected = of_torch(op, fed)
        for library in (True, False):
            found = session(op, library).run(None, fed)
            for mine, theirs in zip(found, expected, strict=True):
                assert np.array_equal(mine, theirs, equal_nan=mine.dtype == np.float32)
        output, scale = expected[0].reshape(2, 6, 10), expected[3 if name == "key" else 4]
        assert np.isnan(scale[0, 0, 3])
        assert np.isnan(output[:, :3]).all()
        assert np.isfinite(output[:, 3:]).all()


def test_an_int8_cache_loses_what_the_specification_says() -> None:
    """Beside float attention over the keys and values that the cache stands for."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, count, 700, 64) for count in (8, 2, 2))
    seen = torch.ones(1, 1, 700, 700, dtype=torch.bool).tril()
    (keys, key_scale), (values, value_scale) = map(kept_int8, (key, value))
    found = attention_int8(query, keys, values, key_scale, value_scale, seen)
    held = [codes * scale[..., None] for codes, scale in ((keys, key_scale), (values, value_scale))]
    apart = (found - attention(query, held[0], held[1], seen)).abs().max()
    assert apart < value.abs().max() * 64 / 65024  # the queries' 16 bits included
    assert (held[1] - value).abs().max() <= value.abs().max() / 253


@both
def test_heads_wider_than_their_sums_allow_are_refused(op: str) -> None:
    fed = inputs(op, (1, 1, 2, 1, 514, 3, [2]))
    with pytest.raises(Exception, match=f"{op}: past_key has the shape .* with D at most 512"):
        session(op, library=True).run(None, fed)


@pytest.mark.parametrize("of", [INT8, INT4])
@pytest.mark.parametrize("name", ["past_key_scale", "past_value_scale"])
@pytest.mark.parametrize("shape", [(1, 2, 8), (1, 2, 9, 1), (2, 9)])
def test_scales_of_a_wrong_shape_are_refused(of: str, name: str, shape: tuple[int, ...]) -> None:
    fed = inputs(of, (1, 1, 6, 2, 10, 9, [4]))
    fed[name] = np.ones(shape, np.float32)
    for op, given in ((of, fed), (f"{of}QKV", side_by_side(fed))):
        with pytest.raises(
            Exception, match=rf"{op}: {name} has the .* expected \[B, kv_heads, P\]"
        ):
            session(op, library=True).run(None, given)
