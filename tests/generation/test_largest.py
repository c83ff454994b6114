"""The largest of many values, however they are found."""

from __future__ import annotations

import numpy as np
import pytest

from bitnet_onnx.generation.largest import nth_largest


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 4099, 128_256])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_those_of_sorting(size: int, dtype: type) -> None:
    generator = np.random.default_rng(size)
    for values in (
        generator.standard_normal(size),
        generator.integers(0, 3, size),  # ties
        np.sort(generator.standard_normal(size)),  # the largest ones lie together
        np.where(generator.random(size) < 0.99, -np.inf, generator.standard_normal(size)),
        np.full(size, -np.inf),
    ):
        given: np.ndarray = values.astype(dtype)
        expected = np.sort(given)
        for count in {1, 2, 40, 64, 1024, size // 33, size // 3, size} & set(range(1, size + 1)):
            found = nth_largest(given, count)
            assert found == expected[-count]
            assert found.dtype == dtype
