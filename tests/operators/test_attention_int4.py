"""What is special to an int4 cache: how rows are packed, what they lose, why they are turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bitnet_onnx.artifact import int4_bytes
from bitnet_onnx.model.exact import attention, kept_int8
from bitnet_onnx.model.int4 import attention_int4, held_int4, kept_int4, packed, turned_back
from bitnet_onnx.runtime.cache import rounded
from tests.support.nodes.attention_node import INT4, inputs, session

WIDTHS = [2, 6, 16, 32, 48, 64, 80, 96, 100, 128, 512]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bytes_are_those_of_the_picture(width: int) -> None:
    """Each group of 16 codes has the least multiplier whose seven and a half reaches its peak."""
    codes = (random(7, width) * 40).round().clamp(-127, 127)
    codes[0], codes[1], codes[2, 0] = 0, codes[1].sign(), 127
    rows = packed(codes)
    assert rows.shape == (7, int4_bytes(width))
    for row, of_row in zip(rows.tolist(), codes.int().tolist(), strict=True):
        whole = of_row + [0] * (-width % 32)
        for group in range(len(whole) // 16):
            block, shift = row[group // 2 * 17 :][:17], group % 2 * 4
            numbers = [byte >> shift & 15 for byte in block]
            part = whole[16 * group :][:16]
            times = next(m for m in range(2, 18) if 2 * max(map(abs, part)) < 15 * m)
            assert numbers[16] == times - 2
            assert numbers[:16] == [round(code / times) + 8 for code in part]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_stands_for_what_is_near_it(width: int) -> None:
    """No code is off by more than half a multiplier, 8.5; NumPy's copy agrees to the bit."""
    x = random(5, width)
    x[3], x[4, 1] = 0, torch.nan
    rows, step = kept_int4(x)
    held = held_int4(rows, width)
    kept, of_numpy = rounded.kept_int4(x.numpy())
    np.testing.assert_array_equal(kept, rows)
    np.testing.assert_array_equal(of_numpy, step)
    np.testing.assert_array_equal(rounded.held_int4(kept, width), turned_back(held.float()))
    assert torch.isnan(step[4])
    assert not held[3:].any()
    restored = turned_back(held[:3].float() * step[:3, None])
    lost = (restored - x[:3]).norm() / x[:3].norm()
    assert lost <= 0.12


def test_every_byte_stands_for_a_code_of_int8() -> None:
    """The least code times a large multiplier stops at -128."""
    blocks = torch.arange(256, dtype=torch.uint8)[:, None].repeat(1, 17)
    for byte, held in enumerate(held_int4(blocks, 32).tolist()):
        expected = [max((half - 8) * (half + 2), -128) for half in (byte & 15, byte >> 4)]
        assert held == [expected[0]] * 16 + [expected[1]] * 16


def test_an_int4_cache_loses_what_the_specification_says() -> None:
    """Beside float attention over the keys and values that the cache stands for."""
    query, key, value = (random(1, count, 300, 64) for count in (8, 2, 2))
    seen = torch.ones(1, 1, 300, 300, dtype=torch.bool).tril()
    (keys, key_scale), (values, value_scale) = map(kept_int4, (key, value))
    found = attention_int4(query, keys, values, key_scale, value_scale, seen)
    held = [
        turned_back(held_int4(rows, 64) * scale[..., None])
        for rows, scale in ((keys, key_scale), (values, value_scale))
    ]
    apart = (found - attention(query, held[0], held[1], seen)).abs().max()
    assert apart < 1e-3 * value.abs().max()


@pytest.mark.parametrize("width", [64, 80, 128])
def test_turning_spreads_a_feature_that_is_large_in_every_key(width: int) -> None:
    """As keys of language models have them: without turning, its neighbours would lose more."""
    keys = random(100, width)
    keys[:, 5] += 20
    rows, step = kept_int4(keys)
    codes, plain = kept_int8(keys)
    unturned = held_int4(packed(codes.float()), width) * plain[:, None]
    turned = turned_back(held_int4(rows, width) * step[:, None])
    lost = [(found - keys).norm() for found in (turned, unturned)]
    assert lost[0] < 0.9 * lost[1], lost


@pytest.mark.parametrize("width", [16, 18, 33, 34])
def test_rows_of_another_width_are_refused(width: int) -> None:
    fed = inputs(INT4, (1, 1, 6, 2, 10, 9, [4]))
    for name in ("past_key", "past_value"):
        fed[name] = np.zeros((1, 2, 9, width), np.uint8)
    with pytest.raises(Exception, match=r"past_key has the .* 17 ceil\(D / 32\)\] with cos_cache"):
        session(INT4, library=True).run(None, fed)
