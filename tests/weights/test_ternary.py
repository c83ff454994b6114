"""The number format is compared with plain Python, and the packed bytes with their picture."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bitnet_onnx.weights.ternary import (
    absmax_int8,
    absmean_ternary,
    int8_rows,
    pack,
    pack_published,
    packed_width,
    unpack,
    unpack_published,
)

AWKWARD = [1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 513, 640]


def random_codes(rows: int, features: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (rows, features), generator=generator, dtype=torch.int8)


# ------------------------------------------------------------------------------- packed layout


@pytest.mark.parametrize("features", AWKWARD)
def test_packed_bytes_equal_the_documented_layout(features: int) -> None:
    codes = random_codes(3, features, features)
    packed = pack(codes)
    assert packed.shape == (3, 64 * math.ceil(features / 256)) == (3, packed_width(features))
    for n in range(3):
        for position, byte in enumerate(packed[n].tolist()):
            block, b = divmod(position, 64)
            for j in range(4):
                k = 256 * block + 64 * j + b
                code = (byte >> (2 * j)) & 3
                assert code == (int(codes[n, k]) + 1 if k < features else 1), (n, k)


def test_a_row_has_the_bytes_packed_by_hand() -> None:
    codes = torch.zeros(1, 256, dtype=torch.int8)
    codes[0, 0], codes[0, 64], codes[0, 128], codes[0, 192] = 1, -1, 0, 1
    packed = pack(codes)[0].tolist()
    assert packed[0] == 0b10_01_00_10
    assert set(packed[1:]) == {0b01_01_01_01}


@given(
    st.integers(1, 9),
    st.one_of(st.sampled_from(AWKWARD), st.integers(1, 1100)),
    st.integers(0, 2**31),
)
def test_packed_codes_survive_a_round_trip(rows: int, features: int, seed: int) -> None:
    codes = random_codes(rows, features, seed)
    assert torch.equal(unpack(pack(codes), features), codes)


@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**31))
def test_published_codes_survive_a_round_trip(quarter: int, features: int, seed: int) -> None:
    codes = random_codes(4 * quarter, features, seed)
    packed = pack_published(codes)
    assert packed.shape == (quarter, features)
    assert torch.equal(unpack_published(packed), codes)


def test_published_bytes_are_packed_along_output_rows() -> None:
    codes = random_codes(12, 5, 0)
    packed = pack_published(codes)
    for r in range(3):
        for k in range(5):
            fields = [(int(packed[r, k]) >> (2 * i)) & 3 for i in range(4)]
            assert fields == [int(codes[i * 3 + r, k]) + 1 for i in range(4)]


def test_unpack_published_shows_the_invalid_code() -> None:
    assert unpack_published(torch.tensor([[0b11_00_00_00]], dtype=torch.uint8)).max() == 2


# -------------------------------------------------------------------------------------- absmean


def float32(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32).item()


def test_absmean_equals_plain_python() -> None:
    numbers = random.Random(0)
    # Quarters: their sum is exact in any order, so the mean is the same in every arithmetic.
    weight = [[numbers.randint(-8, 8) / 4 for _ in range(16)] for _ in range(8)]
    mean = float32(sum(abs(w) for row in weight for w in row) / 128)
    inverse = float32(1.0 / mean)
    expected = [[max(-1, min(1, round(float32(w * inverse)))) for w in row] for row in weight]
    codes, scale = absmean_ternary(torch.tensor(weight))
    assert codes.tolist() == expected
    assert scale.tolist() == [float32(1.0 / inverse)]


def test_absmean_rounds_halves_to_even() -> None:
    # mean|W| is 1: 0.5 and -0.5 are ties and become 0, 1.5 becomes 2 and is clipped to 1.
    codes, scale = absmean_ternary(torch.tensor([[0.5, -0.5, 1.5, -1.5]]))
    assert (codes.tolist(), scale.tolist()) == ([[0, 0, 1, -1]], [1.0])


def test_absmean_of_zeros_is_zeros_with_the_clamped_scale() -> None:
    codes, scale = absmean_ternary(torch.zeros(4, 8))
    assert not codes.any()
    assert scale.item() == pytest.approx(1e-5, rel=1e-6)


def test_absmean_of_bfloat16_is_that_of_the_same_float32() -> None:
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    for found, expected in zip(
        absmean_ternary(weight), absmean_ternary(weight.float()), strict=True
    ):
        assert torch.equal(found, expected)


# --------------------------------------------------------------------------------------- absmax


def plain_absmax(row: list[float]) -> tuple[list[int], float]:
    scale = float32(127.0 / max(float32(max(abs(x) for x in row)), float32(1e-5)))
    return [max(-128, min(127, round(float32(x * scale)))) for x in row], scale


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_absmax_equals_plain_python(row: list[float]) -> None:
    quantized, scale = absmax_int8(torch.tensor([row]))
    expected, expected_scale = plain_absmax(row)
    assert quantized[0].tolist() == expected
    assert scale.item() == expected_scale


def test_absmax_rounds_halves_to_even() -> None:
    row = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5])
    assert absmax_int8(row)[0].tolist() == [127, 0, 2, 2, 0, -2]


def test_absmax_clamps_at_1e_5() -> None:
    quantized, scale = absmax_int8(torch.tensor([[0.0, 0.0], [5e-6, -1e-6]]))
    assert quantized.tolist() == [[0, 0], [64, -13]]  # 63.5 is a tie and goes to even
    assert scale[0].item() == scale[1].item() == float32(127.0 / float32(1e-5))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_only_a_token_with_a_nan_or_an_infinity_becomes_nan(poison: float) -> None:
    x = torch.ones(3, 8)
    x[1, 5] = poison
    quantized, scale = absmax_int8(x)
    product = quantized.sum(-1, keepdim=True) * (1.0 / scale)
    assert product.isnan().flatten().tolist() == [False, True, False]


def test_absmax_is_per_token() -> None:
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(2))
    quantized, scale = absmax_int8(x)
    assert scale.shape == (2, 3, 1)
    for b in range(2):
        for s in range(3):
            assert torch.equal(absmax_int8(x[b, s])[0], quantized[b, s])


# ------------------------------------------------------------------------------------ int8 rows


def test_int8_rows_differ_by_at_most_half_a_step() -> None:
    table = torch.randn(7, 33, generator=torch.Generator().manual_seed(3))
    table[4] = 0
    codes, scale = int8_rows(table.bfloat16())
    assert codes.dtype == torch.int8
    assert scale.shape == (7,)
    assert codes.abs().max() == 127
    error = (codes.float() * scale[:, None] - table.bfloat16().float()).abs()
    assert bool((error <= 0.5001 * scale[:, None]).all())
    assert not codes[4].any()
