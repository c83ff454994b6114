"""A watermark is transformers', to the token, without torch; so is what its detector finds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bitnet_onnx import WatermarkDetector, WatermarkingConfig
from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.processors.greenlist import Greenlist
from bitnet_onnx.generation.processors.past import Past
from bitnet_onnx.generation.processors.watermark import Watermark
from bitnet_onnx.generation.watermark import WatermarkDetectorOutput
from tests.support.text.fakes import FakeSession

CONFIGS: list[dict[str, Any]] = [
    {},
    {"greenlist_ratio": 0.5, "bias": 1.3, "context_width": 3},
    {"seeding_scheme": "selfhash", "context_width": 1},
    {"seeding_scheme": "selfhash", "context_width": 4, "greenlist_ratio": 0.4},
    {"hashing_key": 2**45 + 7, "bias": -1.0},
    {"seeding_scheme": "selfhash", "hashing_key": 2**62 + 11, "context_width": 2},
]


def theirs(values: dict[str, Any], vocab: int) -> Any:
    pytest.importorskip("torch")
    from transformers.generation.logits_process import WatermarkLogitsProcessor

    return WatermarkLogitsProcessor(vocab, "cpu", **values)


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_the_bias_is_on_the_tokens_of_transformers(values: dict[str, Any]) -> None:
    torch: Any = pytest.importorskip("torch")

    for vocab in (41, 700):
        ours, other = Watermark(WatermarkingConfig(**values)), theirs(values, vocab)
        for seed in range(4):
            generator = np.random.default_rng(seed)
            ids = generator.integers(vocab, size=2 * seed + 1).tolist()
            scores = (generator.standard_normal(vocab) * 3).astype(np.float32)
            expected = other(torch.tensor([ids]), torch.from_numpy(scores.copy())[None])[0]
            np.testing.assert_array_equal(ours(Past(ids), scores), expected.numpy())


def test_a_list_is_the_permutation_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for vocab, key in ((7, 3), (1000, 2**40 + 17), (128_256, 15485863)):
        found = Greenlist(WatermarkingConfig(hashing_key=key), vocab)
        for last in (1, 6):
            generator = torch.Generator().manual_seed(key * last % (2**64 - 1))
            expected = torch.randperm(vocab, generator=generator)[: vocab // 4].tolist()
            assert found.tokens([last]).tolist() == expected
            assert all(found.holds([last], token) for token in expected[:50])
            others = sorted(set(range(vocab)) - set(expected))[:50]
            assert not any(found.holds([last], token) for token in others)


def detected(
    values: dict[str, Any], vocab: int, rows: list[list[int]], once: bool = False
) -> tuple[Any, Any]:
    torch: Any = pytest.importorskip("torch")
    from transformers import WatermarkDetector as Theirs

    config: Any = SimpleNamespace(bos_token_id=0, is_encoder_decoder=False, vocab_size=vocab)
    full = WatermarkingConfig(**values).to_dict()
    expected = Theirs(config, "cpu", full, ignore_repeated_ngrams=once)
    ours = WatermarkDetector(vocab, values, bos_token_id=0, ignore_repeated_ngrams=once)
    ids: Any = torch.tensor(rows)
    return ours(rows, return_dict=True), expected(ids, return_dict=True)


@pytest.mark.parametrize("values", CONFIGS[:4], ids=str)
def test_the_detector_finds_what_transformers_finds(values: dict[str, Any]) -> None:
    vocab, generator = 50, np.random.default_rng(1)
    config = GenerationConfig(
        watermarking_config=values, max_new_tokens=40, do_sample=True, seed=1, eos_token_id=[]
    )
    (marked,) = generate(FakeSession(vocab, 99), [[1, 2, 3, 4, 5]], config)
    rows = [marked.ids, *generator.integers(1, 9, (2, 40)).tolist()]
    for given in (rows, [[0, *row] for row in rows]):  # with and without bos
        for once in (False, True):
            ours, expected = detected(values, vocab, given, once)
            for name in WatermarkDetectorOutput.__dataclass_fields__:
                close = 1e-15 if name in ("p_value", "confidence") else 0  # two erfc of float64
                np.testing.assert_allclose(
                    getattr(ours, name), getattr(expected, name), rtol=0, atol=close, err_msg=name
                )


def test_a_watermark_is_found_and_its_absence_too() -> None:
    options = GenerationConfig(max_new_tokens=90, do_sample=True, seed=3, eos_token_id=[])
    for scheme in ("lefthash", "selfhash"):
        mark = WatermarkingConfig(bias=4.0, seeding_scheme=scheme)
        detector = WatermarkDetector(300, mark)
        session = FakeSession(300, 256)
        marked = generate(session, [[1]], options.changed(watermarking_config=mark))[0].ids
        plain = generate(session, [[1]], options)[0].ids
        np.testing.assert_array_equal(detector([marked, plain]), [True, False])
        assert detector(marked).tolist() == [True]
        assert detector(np.array([plain])).tolist() == [False]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"keys": [1, 2], "ngram_len": 5}, r"watermarking_config\.keys is .*, expected only the"),
        ({"seeding_scheme": "other"}, r"seeding_scheme is 'other', expected lefthash or selfhash"),
        ({"greenlist_ratio": 1.0}, r"greenlist_ratio is 1\.0, expected a number above 0"),
        ({"bias": "x"}, r"watermarking_config\.bias is 'x', expected a finite number"),
        ({"context_width": 0}, r"context_width is 0, expected an integer of at least 1"),
        ({"hashing_key": 2**63}, r"hashing_key is .*, expected an integer below 2\*\*63"),
        (5, r"watermarking_config is 5, expected a WatermarkingConfig or a mapping"),
    ],
)
def test_a_wrong_field_is_named(values: Any, words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        GenerationConfig(watermarking_config=values)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0, 1]], "a sequence has 1 tokens without bos, expected more than the 1"),
        ([[0, 1, 2], [1, 2, 3]], "some of which begin with bos"),
        ([[1.5, 2, 3]], "token id is 1.5"),
        (None, "token ids are None, expected a sequence"),
        (5, "token ids are 5, expected a sequence"),
    ],
)
def test_ids_that_cannot_be_scored_are_refused(rows: Any, words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        WatermarkDetector(50, {}, bos_token_id=0)(rows)
    with pytest.raises(GenerationError, match="watermarking_config is None"):
        WatermarkDetector(50, None)  # type: ignore[arg-type]
