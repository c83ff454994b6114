"""A sink cache drops what is oldest behind its sinks, and the rest is as if computed there.

The keys and values of the first layer depend on their id and position alone, so that a fresh
session, fed the ids that are left, is the oracle.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import ArtifactError, GenerationError
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import stream
from bitnet_onnx.model import int4
from bitnet_onnx.model.exact import kept_int8
from bitnet_onnx.model.rotary import rotary_tables, rotate
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.runtime.cache import rounded
from bitnet_onnx.runtime.cache.growing import Cache
from bitnet_onnx.runtime.cache.layout import CacheLayout
from bitnet_onnx.runtime.cache.rotation import Rotation, turned_back
from bitnet_onnx.runtime.cache.saved import save_row
from bitnet_onnx.runtime.cache.sink import SinkCache
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.checkpoints import config_fields
from tests.support.sessions import interrupted

CONTEXT, D = 16, 8
LAYOUT = CacheLayout(2, 3, D, "float32", context_length=CONTEXT, model="a")
STILL = (np.ones((CONTEXT, D // 2), np.float32), np.zeros((CONTEXT, D // 2), np.float32))
ROPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    "llama3": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "yarn": {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
}


def tables(rope: dict[str, Any], context: int = CONTEXT) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin [context, D / 2], as an artifact's graph holds them."""
    config = BitNetConfig.from_dict(config_fields(hidden=32, heads=4, kv_heads=2, **rope))
    cos, sin = (table[0, :, : D // 2].numpy() for table in rotary_tables(config, of(context)))
    return cos, sin


def of(count: int) -> torch.Tensor:
    return torch.arange(count)[None]


def turned(x: np.ndarray, found: tuple[np.ndarray, np.ndarray], start: int = 0) -> np.ndarray:
    """Rotate x [heads, S, D] as the network does, by the positions from ``start`` on."""
    cos, sin = (
        torch.tensor(np.concatenate([table, table], axis=-1)[None, start : start + x.shape[1]])
        for table in found
    )
    return rotate(torch.tensor(x)[None], (cos, sin))[0].numpy()


@pytest.mark.parametrize("rope", ROPES)
def test_a_key_is_turned_to_the_position_it_moves_to(rope: str) -> None:
    found = tables(ROPES[rope])
    if rope == "yarn":
        assert found[0][0, 0] > 1  # the factor, which the rotation leaves alone
    keys = np.random.default_rng(0).standard_normal((3, 6, D)).astype(np.float32)
    for shift in (1, 4, 10):
        rotation = Rotation([found]).by(0, shift)
        back = turned_back(turned(keys, found, shift), rotation)
        np.testing.assert_allclose(back, turned(keys, found), atol=2e-6)


def test_the_rotation_is_that_of_transformers_sink_cache() -> None:
    """The formula of transformers 4.45 for one new token, step by step."""
    cos, sin = (np.concatenate([t, t], axis=-1) for t in tables({}))
    sinks, held = 3, 12
    keys = np.random.default_rng(1).standard_normal((3, held, D)).astype(np.float32)
    cache = SinkCache(LAYOUT, Rotation([tables({})] * 2), sinks)
    cache.reserve(held)
    cache.buffers["0.key"][0, :, :held] = keys
    cache.extend({0: np.arange(held)})
    for _ in range(3):
        cache.drop(1, 0)
        kept = keys[:, sinks + 1 :]
        original, shifted = slice(sinks + 1, held), slice(sinks, held - 1)
        c = cos[original] * cos[shifted] + sin[original] * sin[shifted]
        s = -sin[original] * cos[shifted] + cos[original] * sin[shifted]
        half = np.concatenate([-kept[..., D // 2 :], kept[..., : D // 2]], axis=-1)
        keys, held = np.concatenate([keys[:, :sinks], kept * c + half * s], axis=1), held - 1
        np.testing.assert_allclose(cache.buffers["0.key"][0, :, :held], keys, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int4"])
def test_each_type_is_turned_in_float32_and_rounded_once(dtype: str) -> None:
    found, random = tables({}), np.random.default_rng(2)
    cache = SinkCache(replace(LAYOUT, dtype=dtype), Rotation([found, STILL]), 4)
    cache.reserve(CONTEXT)
    for name, buffer in cache.buffers.items():
        scales = name.endswith("scale")
        filled = random.uniform(0.01, 0.02, buffer.shape) if scales else None
        lowest = 0 if dtype == "int4" else -127
        buffer[:] = random.integers(lowest, 128, buffer.shape) if filled is None else filled
    cache.extend({0: np.arange(CONTEXT)})
    before = {name: buffer.copy() for name, buffer in cache.buffers.items()}
    cache.drop(5, 0)
    assert cache.lengths == (11,)
    for layer, name in ((0, "0.key"), (1, "1.key")):
        keys = before[name][0, :, 9:]
        if dtype == "int4":
            keys = int4.turned_back(int4.held_int4(torch.tensor(keys), D).float()).numpy()
        keys = keys.astype(np.float32)
        if dtype in ("int8", "int4"):
            keys *= before[f"{name}_scale"][0, :, 9:, None]
        moved = turned_back(keys, Rotation([found, STILL]).by(layer, 5))
        buffer = cache.buffers[name][0]
        if dtype in ("int8", "int4"):
            kept = kept_int8 if dtype == "int8" else int4.kept_int4
            codes, steps = kept(torch.tensor(moved))
            np.testing.assert_array_equal(buffer[:, 4:11], codes.numpy())
            np.testing.assert_array_equal(cache.buffers[f"{name}_scale"][0, :, 4:11], steps)
        else:
            np.testing.assert_array_equal(buffer[:, 4:11], moved.astype(dtype))
            if layer == 1:  # without positions
                np.testing.assert_array_equal(buffer[:, 4:11], before[name][0, :, 9:])
    for name, buffer in cache.buffers.items():
        np.testing.assert_array_equal(buffer[0, :, :4], before[name][0, :, :4])
        if "value" in name:
            np.testing.assert_array_equal(buffer[0, :, 4:11], before[name][0, :, 9:])


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_keys_that_are_not_finite_stay_so(kind: str) -> None:
    keys = np.ones((3, D), np.float32)
    keys[0, 0], keys[1] = np.nan, 0
    mine, theirs = (
        (rounded.kept_int8, kept_int8) if kind == "int8" else (rounded.kept_int4, int4.kept_int4)
    )
    for found, expected in zip(mine(keys), theirs(torch.tensor(keys)), strict=True):
        np.testing.assert_array_equal(found, expected.numpy())


# ----------------------------------------------------------------------------------- the rows


def marked(sinks: int, rows: int = 1) -> SinkCache:
    return SinkCache(LAYOUT, Rotation([STILL] * 2), sinks, rows)


def feed(cache: SinkCache, row: int, ids: list[int]) -> None:
    """Feed ids, whose keys and values are the ids themselves."""
    for token in ids:
        cache.make_room(1, row)
        at = cache.lengths[row]
        cache.reserve(at + 1)
        for buffer in cache.buffers.values():
            buffer[row, :, at] = token
        cache.extend({row: np.array([token])})


def check(cache: SinkCache, row: int, ids: list[int]) -> None:
    """Compare a row with the ids that it was fed: it holds the first and the last of them."""
    length, sinks = cache.lengths[row], cache._sinks
    assert cache.ids(row) == ids
    assert cache.fed[row] == len(ids)
    held = ids if length == len(ids) else [*ids[:sinks], *ids[len(ids) - length + sinks :]]
    for buffer in cache.buffers.values():
        np.testing.assert_array_equal(buffer[row, 0, :length, 0], held)


STEP = st.one_of(
    st.tuples(st.just("feed"), st.integers(0, 1), st.integers(1, 40)),
    st.tuples(st.just("truncate"), st.integers(0, 1), st.integers(0, 60)),
    st.tuples(st.just("reorder"), st.integers(0, 1), st.integers(0, 1)),
)


@given(st.integers(0, 8), st.lists(STEP, max_size=8))
def test_rows_hold_the_first_and_the_last_of_their_ids(
    sinks: int, steps: list[tuple[str, int, int]]
) -> None:
    cache, ids, token = marked(sinks, 2), [list[int](), list[int]()], 0
    for step, row, number in steps:
        if step == "feed":
            new = list(range(token, token + number))
            feed(cache, row, new)
            ids[row], token = ids[row] + new, token + number
        elif step == "truncate":
            length = min(number, len(ids[row]))
            gone = len(ids[row]) - cache.lengths[row]
            cache.truncate(length, row)
            left = cache.fed[row]
            assert left == (min(length, sinks) if gone and length < sinks + gone else length)
            ids[row] = ids[row][:left]
        else:
            cache.reorder([row, number])
            ids = [list(ids[row]), list(ids[number])]
        for index in range(2):
            check(cache, index, ids[index])
            assert cache.lengths[index] <= CONTEXT


def test_wrong_sizes_are_refused() -> None:
    for sinks in (-1, 9):
        with pytest.raises(GenerationError, match=f"sinks is {sinks}, expected 0 to 8"):
            marked(sinks)
    cache = marked(4)
    feed(cache, 0, list(range(20)))
    with pytest.raises(GenerationError, match="truncate got length 21 for row 0, expected 0 to 20"):
        cache.truncate(21)
    with pytest.raises(GenerationError, match="a step has 13 positions, expected at most 12"):
        cache.make_room(13, 0)
    check(cache, 0, list(range(20)))


def test_a_row_whose_positions_moved_is_neither_taken_nor_saved(tmp_path: Path) -> None:
    cache, whole = marked(4), marked(4)
    feed(cache, 0, list(range(20)))
    feed(whole, 0, [7, 8])
    for call in (cache.take, partial(save_row, cache, tmp_path / "row")):
        with pytest.raises(GenerationError, match="row 0 has dropped 6 positions"):
            call()
    assert not list(tmp_path.iterdir())
    cache.put(whole.take())
    check(cache, 0, [7, 8])


def test_an_interrupt_leaves_the_row_or_its_sinks() -> None:
    place, ids = 0, list(range(CONTEXT))
    seen = set()
    while True:
        cache = marked(4)
        feed(cache, 0, ids)
        more = interrupted(partial(cache.make_room, 1, 0), place, "line")
        left = cache.ids()
        assert left in (ids, ids[:4])
        check(cache, 0, left)
        seen.add((len(left), cache.lengths[0]))
        place += 1
        if not more:
            break
    assert seen == {(16, 16), (4, 4), (16, 13)}


# ------------------------------------------------------------------------------------ the graph


def graph(folder: Path, inside: bool) -> Artifact:
    """Write a graph of two layers, of which one turns, with its tables in it or beside it."""
    still = tuple(table.copy() for table in STILL)
    named = dict(
        zip(
            ("cos_cache", "sin_cache", "still_cos_cache", "still_sin_cache"),
            (*tables({}), *still),
            strict=True,
        )
    )
    nodes = [
        helper.make_node(
            "GroupQueryAttention",
            ["q", "k", "v", f"past_key_values.{layer}.key", "past", "lengths", "total", *pair],
            [f"y{layer}"],
            domain="com.microsoft",
        )
        for layer, pair in ((1, list(named)[:2]), (0, list(named)[2:]))
    ]
    initializers = [onnx.numpy_helper.from_array(t, name) for name, t in named.items()]
    made = helper.make_graph(nodes, "g", [], [], initializers)
    onnx.save(
        helper.make_model(made),
        folder / "model.onnx",
        save_as_external_data=not inside,
        location="model.onnx_data",
        size_threshold=0,
    )
    return Artifact(folder, {}, CONTEXT, 96, 2, 3, D, "stock", "bf16", "float32")


@pytest.mark.parametrize("inside", [True, False])
def test_each_layer_has_the_rotation_of_its_tables(inside: bool, tmp_path: Path) -> None:
    artifact = graph(tmp_path, inside)
    rotation = Rotation.of(artifact)
    for layer, expected in ((0, STILL), (1, tables({}))):
        for found, table in zip(rotation.by(layer, 3), expected, strict=True):
            np.testing.assert_array_equal(found, table[3])
    with pytest.raises(ArtifactError, match="does not show the rotary positions"):
        Rotation.of(replace(artifact, num_hidden_layers=3))


def test_a_table_of_another_type_is_refused(tmp_path: Path) -> None:
    artifact = graph(tmp_path, True)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.initializer[0].data_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="does not show the rotary positions"):
        Rotation.of(artifact)


# ---------------------------------------------------------------------------------- the session


def ids_of(count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(3).integers(10, 400, count)]


def test_the_first_layer_is_as_if_computed_there(demo_artifact: Path) -> None:
    """In steps of every kind, before and after positions have moved."""
    ids = ids_of(1300)
    with (
        Session(demo_artifact, threads=1, cache="sink", sinks=7) as session,
        Session(demo_artifact, threads=1) as fresh,
    ):
        expected = fresh.prefill(ids[:500])
        np.testing.assert_array_equal(session.prefill(ids[:500]), expected)
        for token in ids[500:530]:
            session.decode([token])
        list(session.score(ids[530:800]))
        session.prefill(ids[800:1299])  # more than its room, which goes in parts
        session.decode(ids[1299:])
        assert (session.ids(), session.lengths) == (ids, (1300,))
        cache = session._steps.cache
        (length,) = cache.lengths
        assert 256 < length <= 512
        left = [*ids[:7], *ids[1300 - length + 7 :]]
        fresh.reset()
        fresh.prefill(left)
        for name in ("0.key", "0.value"):
            found, there = (c.buffers[name][0, :, :length] for c in (cache, fresh._steps.cache))
            if name == "0.value":
                np.testing.assert_array_equal(found, there)
            peak = np.abs(there).max()
            np.testing.assert_allclose(found, there, atol=2e-5 * float(peak))


def test_rows_of_a_batch_slide_each_for_itself(demo_artifact: Path) -> None:
    """Their logits are those of each row alone, to the bit."""
    prompts = [ids_of(900)[:700], ids_of(900)[200:240]]
    with Session(demo_artifact, threads=1, cache="sink") as session:
        alone = []
        for prompt in prompts:
            session.reset()
            alone.append([session.prefill(prompt), *(session.decode([t])[0] for t in (5, 6))])
        session.reset(2)
        together = [session.prefill_rows(prompts), *(session.decode([t, t]) for t in (5, 6))]
        assert session.lengths == (702, 42)
        for row, logits in enumerate(alone):
            np.testing.assert_array_equal(together[0][row], logits[0])


def test_an_answer_and_a_chat_never_end_at_the_context(demo_artifact: Path) -> None:
    tokenizer = Tokenizer.from_folder(demo_artifact)
    endless = GenerationConfig(max_new_tokens=600, eos_token_id=[])
    with Session(demo_artifact, threads=1, cache="sink") as session:
        answer = stream(session, ids_of(40), endless)
        assert len(list(answer)) == 600
        chat, cached = Chat(session, tokenizer), list[int]()
        session.reset()
        for turn in range(40):
            assert "".join(chat.send(f"Spell the word STONE, {turn}."))
            assert chat.result is not None
            cached.append(chat.result.prompt_tokens - chat.result.cached_tokens)
            assert session._steps.cache.capacity == 512
        assert len(chat.turns) == 40  # none was forgotten
        assert session.lengths[0] > 900
        assert max(cached[1:]) < 40  # the new message alone was computed
        # What is gone is computed again, through the same window.
        chat.turns = chat.turns[:3]
        assert "".join(chat.send("Spell the word STONE."))
        assert chat.result is not None
        assert chat.result.cached_tokens <= 4


def test_answers_before_the_context_is_full_are_the_same(demo_artifact: Path) -> None:
    config = GenerationConfig(max_new_tokens=100, eos_token_id=[])
    found = []
    for kind in ("dynamic", "static", "sink"):
        with Session(demo_artifact, threads=1, cache=kind) as session:
            found.append(list(stream(session, ids_of(30), config)))
            assert kind != "static" or session._steps.cache.capacity == 512
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cache": "quantized"}, "cache is 'quantized', expected one of: dynamic, static, off"),
        ({"cache": None}, "cache is None, expected one of"),
        ({"sinks": 4}, "sinks is 4 for a dynamic cache, expected a sink cache"),
        ({"cache": "sink", "sinks": 300}, "sinks is 300, expected 0 to 256"),
        ({"cache": "sink", "sinks": "4"}, "sinks is '4'"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], reason: str, demo_artifact: Path
) -> None:
    with pytest.raises(GenerationError, match=reason):
        Session(demo_artifact, threads=1, **options)


def test_other_caches_still_end(demo_artifact: Path) -> None:
    with Session(demo_artifact, threads=1, cache="static") as session:
        assert isinstance(session._steps.cache, Cache)
        with pytest.raises(GenerationError, match="expected at most the context of 512"):
            session.prefill(ids_of(513))
