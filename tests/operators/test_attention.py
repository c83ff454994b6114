"""GroupQueryAttention three times: torch, the function body of stock operators, every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.model import rotate
from tests.support.nodes.attention_node import (
    CACHES,
    INT4,
    INT8,
    TYPES,
    inputs,
    names,
    of_torch,
    session,
    side_by_side,
)

every = pytest.mark.parametrize("op", TYPES)

# batch, new positions, heads, KV heads, head_dim, room in the past, last position of each row
SHAPES = [
    (1, 1, 4, 1, 16, 8, [5]),
    (1, 1, 20, 5, 128, 256, [140]),
    (2, 1, 6, 2, 10, 9, [3, 8]),
    (2, 5, 4, 4, 8, 0, [4, 2]),  # the first prompt, the second row padded on the right
    (1, 7, 12, 3, 6, 2, [8]),  # the cache grows
    (1, 70, 20, 5, 128, 128, [99]),
    (3, 4, 10, 2, 100, 12, [5, 11, 3]),
]


def pairs(shapes: list[Any]) -> list[Any]:
    """Return every operator with its shapes; int4's, which is int8's but for its rows, has two."""
    return [(op, shape) for op in TYPES for shape in (shapes[-2:] if op == INT4 else shapes)]


@pytest.mark.parametrize(("op", "shape"), pairs(SHAPES), ids=str)
def test_torch_the_body_and_every_kernel_give_the_same_bits(
    op: str, shape: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = inputs(op, shape)
    fed["key"].flat[:4] = 1e-6, -3e-8, 2e-5, 1e-7  # below the normal numbers of float16
    expected = of_torch(op, fed)
    found = {"body": session(op, library=False).run(None, fed)}
    for kernel in native.kernels():
        monkeypatch.setenv("BITNET_ONNX_KERNEL", kernel)
        for threads in (1, 2):
            found[f"{kernel} {threads}"] = session(op, True, threads).run(None, fed)
    for name, outputs in found.items():
        for output, mine, theirs in zip(names(op)[1], outputs, expected, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs), (name, output)


@pytest.mark.parametrize(("op", "shape"), pairs(SHAPES), ids=str)
def test_query_key_and_value_may_stand_side_by_side(op: str, shape: tuple[Any, ...]) -> None:
    fed = inputs(op, shape)
    joined = side_by_side(fed)
    expected = session(op, library=True).run(None, fed)
    of_torch = ops.group_query_attention_qkv(*map(torch.from_numpy, joined.values()))
    found = [session(f"{op}QKV", library).run(None, joined) for library in (True, False)]
    for outputs in (*found, [output.numpy() for output in of_torch]):
        for mine, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=True)


# batch, new positions, heads, KV heads, head_dim, room, last position of each row; and the window
WINDOWS = [
    ((1, 1, 4, 2, 8, 260, [255]), 65),  # a step far behind the first position
    ((2, 5, 6, 2, 10, 90, [80, 3]), 7),  # the second row has fewer positions than a window
    ((1, 70, 4, 1, 6, 64, [133]), 64),
    ((1, 9, 4, 4, 8, 0, [8]), 1),  # each position sees itself alone
    ((1, 3, 4, 2, 8, 12, [11]), 100),  # all of them
]


@pytest.mark.parametrize(("op", "case"), pairs(WINDOWS), ids=str)
def test_a_window_hides_what_is_before_it(
    op: str, case: tuple[tuple[Any, ...], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, window = case
    fed = inputs(op, shape)
    expected = of_torch(op, fed, window)
    hides = window <= max(shape[6])
    assert hides != np.array_equal(expected[0], of_torch(op, fed)[0])
    joined = side_by_side(fed)
    found = [session(op, False, window=window).run(None, fed)]
    found += [
        session(f"{op}QKV", library, window=window).run(None, joined) for library in (False, True)
    ]
    for kernel in native.kernels():
        monkeypatch.setenv("BITNET_ONNX_KERNEL", kernel)
        found.append(session(op, True, window=window).run(None, fed))
    for outputs in found:
        for mine, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=True)


def test_a_window_below_0_is_refused() -> None:
    fed = inputs("GroupQueryAttention", (1, 1, 2, 1, 4, 4, [3]))
    with pytest.raises(Exception, match="window is -1, expected 0 or more"):
        session("GroupQueryAttention", True, window=-1).run(None, fed)


def test_a_float16_cache_is_a_float32_one_of_rounded_keys_and_values() -> None:
    """Those of the same call too: what is attended to is what the next call reads."""
    half, full = "GroupQueryAttentionF16", "GroupQueryAttention"
    fed = inputs(half, (1, 7, 12, 3, 6, 12, [8]))
    rounded = {
        name: x.astype(np.float16).astype(np.float32) if name in ("value", *CACHES) else x
        for name, x in fed.items()
    }
    fed["cos_cache"][:], fed["sin_cache"][:] = 1, 0  # rotates nothing, in `rounded` neither
    rounded["key"] = fed["key"].astype(np.float16).astype(np.float32)
    found = session(half, library=True).run(None, fed)
    expected = session(full, library=True).run(None, rounded)
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(mine.astype(np.float32), theirs)


def test_in_pieces_it_is_the_same_as_in_one_call() -> None:
    for op in TYPES:
        fed = inputs(op, (1, 9, 12, 3, 6, 9, [8]))
        whole, *caches = session(op, library=True).run(None, fed)
        pieces = dict(fed)
        for first, end in ((0, 4), (4, 5), (5, 9)):
            piece = {name: fed[name][:, first:end] for name in ("query", "key", "value")}
            pieces |= {**piece, "seqlens_k": np.array([end - 1], np.int32)}
            y, *stored = session(op, library=True).run(None, pieces)
            kept = [name.replace("present", "past") for name in names(op)[1][1:]]
            pieces |= dict(zip(kept, stored, strict=True))
            assert np.array_equal(y, whole[:, first:end])
        for mine, theirs in zip(stored, caches, strict=True):
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("library", [True, False])
def test_float16_rounds_as_numpy_does(library: bool) -> None:
    """Every half-way point of two positive float16 and both its neighbours: ties go to even."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = ((halves + np.append(halves[1:], 65536.0)) / 2).astype(np.float32)
    around = [np.nextafter(middle, np.float32(end)) for end in (0, np.inf)]
    values = np.concatenate([middle, *around])
    values = np.concatenate([values, -values])[None, :, None].repeat(2, axis=2)
    fed = inputs("GroupQueryAttentionF16", (1, values.shape[1], 1, 1, 2, 0, [values.shape[1] - 1]))
    # All as rows of one batch, each with one position: attention over so many is slow.
    fed["query"], fed["key"], fed["value"] = (values.transpose(1, 0, 2) for _ in range(3))
    fed["past_key"] = fed["past_value"] = np.zeros((values.shape[1], 1, 0, 2), np.float16)
    fed["seqlens_k"] = np.zeros(values.shape[1], np.int32)
    fed["total_sequence_length"] = np.array(1, np.int32)
    stored = session("GroupQueryAttentionF16", library).run(None, fed)[2][:, 0]
    with np.errstate(over="ignore"):
        assert np.array_equal(stored, fed["value"].astype(np.float16))


def test_it_is_scaled_dot_product_attention_of_rotated_heads() -> None:
    fed = {
        name: torch.from_numpy(x)
        for name, x in inputs("GroupQueryAttention", (1, 5, 6, 2, 16, 12, [8])).items()
    }
    output, _, _ = torch.ops.bitnet.group_query_attention(*fed.values())
    cos, sin = (
        torch.cat([fed[name][4:9]] * 2, dim=-1)[None] for name in ("cos_cache", "sin_cache")
    )
    query, key, value = (
        fed[name].unflatten(2, (-1, 16)).transpose(1, 2) for name in ("query", "key", "value")
    )
    key = torch.cat([fed["past_key"][:, :, :4], rotate(key, (cos, sin))], dim=2)
    value = torch.cat([fed["past_value"][:, :, :4], value], dim=2)
    y = torch.nn.functional.scaled_dot_product_attention(
        rotate(query, (cos, sin)).double(),
        key.double(),
        value.double(),
        attn_mask=torch.ones(5, 9, dtype=torch.bool).tril(4),
        enable_gqa=True,
    )
    # Scores below 64 are rounded to float32, by 4e-6 at most; so are weights and values below 8.
    assert (output - y.transpose(1, 2).flatten(2)).abs().max() < 2e-5


@every
def test_a_bound_cache_is_updated_in_place(op: str) -> None:
    fed = inputs(op, (2, 1, 6, 2, 10, 9, [3, 8]))
    expected = session(op, library=True).run(None, fed)
    for library in (True, False):
        running = session(op, library)
        bound = {name: array.copy() for name, array in fed.items()}
        binding = running.io_binding()
        for name, array in bound.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        binding.bind_output("output", "cpu")
        caches = [bound[name.replace("present", "past")] for name in names(op)[1][1:]]
        for name, cache in zip(names(op)[1][1:], caches, strict=True):
            binding.bind_output(name, "cpu", 0, cache.dtype.type, cache.shape, cache.ctypes.data)
        running.run_with_iobinding(binding)
        for mine, theirs in zip([binding.get_outputs()[0].numpy(), *caches], expected, strict=True):
            assert np.array_equal(mine, theirs)


@every
def test_what_is_not_seen_does_not_matter(op: str) -> None:
    """Not to the kernels; the stock body of float caches multiplies it by 0, as is documented."""
    fed = inputs(op, (1, 1, 6, 2, 10, 9, [4]))
    expected = session(op, library=True).run(None, fed)[0]
    for name in names(op)[0][9:] or ("past_key", "past_value"):
        fed[name][:, :, 5:] = np.nan
    for library in (True, False) if op in (INT8, INT4) else (True,):
        assert np.array_equal(session(op, library).run(None, fed)[0], expected)


@every
@pytest.mark.parametrize("name", ["query", "past_key", "past_value"])
def test_a_nan_that_is_seen_makes_its_heads_nan(op: str, name: str) -> None:
    fed = inputs(op, (1, 1, 6, 2, 10, 9, [4]))
    if op in (INT8, INT4) and name != "query":
        name += "_scale"
    fed[name].reshape(1, -1)[0, 0] = np.nan  # of the first head, or of the first KV head
    for library in (True, False):
        output = session(op, library).run(None, fed)[0].reshape(6, 10)
        assert np.isnan(output[0]).any()
        assert np.isfinite(output[3:]).all()


WRONG = [
    ("query", (1, 1, 61), "query has the shape [1, 1, 61], expected [B, S, heads * D]"),
    ("query", (1, 60), "query has the shape [1, 60]"),
    ("query", (2, 1, 60), "query has the shape [2, 1, 60]"),
    ("key", (1, 1, 10), "key has the shape [1, 1, 10], expected [B, S, kv_heads * D]"),
    ("value", (1, 2, 20), "value has the shape [1, 2, 20]"),
    ("past_key", (1, 2, 9), "past_key has the shape [1, 2, 9], expected [B, kv_heads, P, D]"),
    ("past_key", (1, 0, 9, 10), "past_key has the shape [1, 0, 9, 10]"),
    ("past_value", (1, 2, 8, 10), "past_value has the shape [1, 2, 8, 10], expected that of past"),
    ("seqlens_k", (2,), "seqlens_k has the shape [2], expected [B]"),
    ("total_sequence_length", (2,), "total_sequence_length has the shape [2], expected [] or [1]"),
    ("cos_cache", (300, 4), "cos_cache has the shape [300, 4], expected [positions, D / 2]"),
    ("sin_cache", (299, 5), "sin_cache has the shape [299, 5], expected that of cos_cache"),
    ("cos_cache", (4, 5), "sin_cache has the shape [300, 5], expected that of cos_cache"),
]
# The rows of an int4 cache are packed, and D is that of the tables.
OF_INT4 = {
    "past_key has the shape [1, 2, 9], expected [B, kv_heads, P, D]": "P, 17 ceil(D / 32)] with",
    "cos_cache has the shape [300, 4], expected [positions, D / 2]": "0], expected [B, S, ",
}


@every
@pytest.mark.parametrize(("name", "shape", "message"), WRONG)
def test_a_wrong_shape_is_refused(op: str, name: str, shape: tuple[int, ...], message: str) -> None:
    fed = inputs(op, (1, 1, 6, 2, 10, 9, [4]))
    fed[name] = np.ones(shape, fed[name].dtype)
    with pytest.raises(Exception, match=f"{op}: ") as error:
        session(op, library=True).run(None, fed)
    assert (OF_INT4.get(message, message) if op == INT4 else message) in str(error.value)


QKV_SHAPE = "expected [B, S, (heads + 2 kv_heads) * D], heads a multiple of kv_heads"
WRONG_QKV = [
    ("qkv", (1, 1, 40), f"qkv has the shape [1, 1, 40], {QKV_SHAPE}"),  # no queries
    ("qkv", (1, 1, 90), f"qkv has the shape [1, 1, 90], {QKV_SHAPE}"),
    ("qkv", (1, 100), "qkv has the shape [1, 100]"),
    ("qkv", (2, 1, 100), "qkv has the shape [2, 1, 100]"),
    ("qkv", (1, 0, 100), "qkv has the shape [1, 0, 100], expected no empty one"),
    *(case for case in WRONG if case[0] not in ("query", "key", "value")),
]


@every
@pytest.mark.parametrize(("name", "shape", "message"), WRONG_QKV)
def test_a_wrong_shape_beside_qkv_is_refused(
    op: str, name: str, shape: tuple[int, ...], message: str
) -> None:
    fed = side_by_side(inputs(op, (1, 1, 6, 2, 10, 9, [4])))
    fed[name] = np.ones(shape, fed[name].dtype)
    with pytest.raises(Exception, match=f"{op}QKV: ") as error:
        session(f"{op}QKV", library=True).run(None, fed)
    assert (OF_INT4.get(message, message) if op == INT4 else message) in str(error.value)


@every
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seqlens_k": [-1]}, "seqlens_k[0] is -1, expected 0 to total_sequence_length - 1, 4"),
        ({"seqlens_k": [5]}, "seqlens_k[0] is 5, expected 0 to"),
        ({"seqlens_k": [2**31 - 1]}, "seqlens_k[0] is 2147483647"),
        ({"total_sequence_length": 0}, "total_sequence_length is 0, expected at least S, 1"),
        ({"total_sequence_length": -5}, "total_sequence_length is -5"),
        (
            {"total_sequence_length": 12, "seqlens_k": [11]},
            "row 0 has 11 past positions, expected at most past_key's 9",
        ),
        (
            {"cos_cache": np.ones((4, 5)), "sin_cache": np.ones((4, 5))},
            "expected at most cos_cache's 4",
        ),
    ],
)
def test_a_position_outside_the_cache_is_refused(
    op: str, changes: dict[str, Any], message: str
) -> None:
    fed = inputs(op, (1, 1, 6, 2, 10, 9, [4]))
    fed |= {name: np.array(value, fed[name].dtype) for name, value in changes.items()}
    with pytest.raises(Exception, match=f"{op}: ") as error:
        session(op, library=True).run(None, fed)
    assert message in str(error.value)
