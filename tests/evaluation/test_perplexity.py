"""Perplexity: that of transformers' guide, from torch and from an artifact; what separates two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitnet_onnx.errors import ConfigError, GenerationError
from bitnet_onnx.evaluation.perplexity import perplexities
from bitnet_onnx.evaluation.reference import TorchScorer
from bitnet_onnx.evaluation.scorers import Scorer, SessionScorer, chunks
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.evaluation.guide import guide_perplexity
from tests.support.evaluation.networks import TEXT, VOCAB, write_tokenizer

SIZES = [(96, 96), (96, 48), (33, 32), (20, 7)]
TEXTS = {
    "a text": (TEXT, SIZES),
    "short": (TEXT[:40], [(96, 96), (2, 1), (3, 2)]),
    "long": (TEXT * 3, SIZES[:1]),
}


@pytest.fixture(scope="module", params=["with bos", "without bos"])
def scorers(request: pytest.FixtureRequest, tiny: Any, tmp_path_factory: Any) -> list[Any]:
    """Return torch's and the session's, with one of two tokenizers."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, bos=request.param == "with bos")
    tokenizer = Tokenizer.from_folder(folder)
    torch_scorer = TorchScorer(open_checkpoint(tiny.checkpoint))
    torch_scorer.tokenizer = tokenizer
    return [torch_scorer, SessionScorer(Session(tiny.artifact, threads=1), tokenizer), folder]


def ids_of(folder: Path, text: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids


@pytest.mark.parametrize("name", TEXTS)
def test_perplexity_is_that_of_transformers_guide(scorers: Any, tiny: Any, name: str) -> None:
    (text, sizes), folder = TEXTS[name], scorers[2]
    ids = ids_of(folder, text)
    for max_length, stride in sizes:
        expected = guide_perplexity(tiny.network, ids, max_length, stride)
        for scorer in scorers[:2]:
            (found,) = perplexities([scorer], text, max_length, stride)
            assert found.perplexity == pytest.approx(expected, rel=2e-6)
            assert found.tokens == ids.shape[1]


def test_bits_per_byte_are_those_of_the_whole_text(scorers: Any, tiny: Any) -> None:
    text, (torch_scorer, session_scorer, folder) = TEXT[:90], scorers
    ids = ids_of(folder, text)
    with torch.no_grad():
        loss = float(tiny.network(ids, labels=ids).loss)
    own = ids.shape[1] - (ids[0, 0] == 0).item()
    for scorer in (torch_scorer, session_scorer):
        (found,) = perplexities([scorer], text)
        expected = loss * own / len(text.encode()) / log(2)
        assert found.bits_per_byte == pytest.approx(expected, rel=2e-6)


class Drawn:
    """A scorer of random logits."""

    options: dict[str, str] = {}  # noqa: RUF012
    context_length = 600

    def __init__(self, tokenizer: Tokenizer, seed: int, vocab_size: int = VOCAB) -> None:
        self.tokenizer, self.vocab_size = tokenizer, vocab_size
        drawn = np.random.default_rng(0).standard_normal((600, vocab_size))
        noise = np.random.default_rng(seed).standard_normal((600, vocab_size))
        self.table = (drawn + 0.3 * noise).astype(np.float32)

    def logits(self, ids: Sequence[int], first: int) -> Iterator[np.ndarray]:
        for places in chunks(first, len(ids)):
            yield self.table[places]


def test_what_separates_two_networks(scorers: Any) -> None:
    tokenizer = scorers[0].tokenizer
    networks: list[Scorer] = [Drawn(tokenizer, seed) for seed in (1, 2, 1)]
    text = TEXT * 2
    seen: list[tuple[int, int]] = []
    exact, other, same = perplexities(
        networks, text, 300, 300, exact=True, on_window=lambda *done: seen.append(done)
    )
    count = len(tokenizer.encode_whole(text))
    places = [p for start in range(0, count, 300) for p in range(min(300, count - start) - 1)]
    first, second = (
        torch.log_softmax(torch.tensor(network.table[places]).double(), -1)  # type: ignore[attr-defined]
        for network in networks[:2]
    )
    divergence = torch.nn.functional.kl_div(second, first, reduction="batchmean", log_target=True)
    assert other.kl_divergence == pytest.approx(float(divergence), rel=1e-9)
    assert other.same_ids == float((first.argmax(-1) == second.argmax(-1)).double().mean())
    assert (same.kl_divergence, same.same_ids) == (0, 1)
    assert (exact.kl_divergence, exact.same_ids) == (None, None)
    assert same.perplexity == exact.perplexity != other.perplexity
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_networks_that_cannot_be_compared_are_refused(scorers: Any, tmp_path: Path) -> None:
    tokenizer = scorers[0].tokenizer
    write_tokenizer(tmp_path, bos=tokenizer.bos_token_id is None)
    other = Tokenizer.from_folder(tmp_path)
    with pytest.raises(ConfigError, match="vocab_size of model 2 is 9, expected 320"):
        perplexities([Drawn(tokenizer, 1), Drawn(tokenizer, 2, 9)], TEXT)
    with pytest.raises(ConfigError, match="model 2 has another tokenizer"):
        perplexities([Drawn(tokenizer, 1), Drawn(other, 2)], TEXT)
    with pytest.raises(GenerationError, match="max_length is 97, expected 2 to the context of 96"):
        perplexities([Drawn(tokenizer, 1), scorers[0]], TEXT, 97)
