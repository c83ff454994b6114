"""Likelihoods of continuations: those of transformers' logits, with common beginnings fed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitnet_onnx.errors import GenerationError, TokenizerError
from bitnet_onnx.evaluation.pairs import Likelihood, Pair, likelihoods, pair_of, prefix_id
from bitnet_onnx.evaluation.scorers import SessionScorer
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.evaluation.networks import VOCAB, write_tokenizer


@pytest.fixture(scope="module")
def session(tiny: Any) -> Session:
    return Session(tiny.artifact, threads=1)


@pytest.fixture(scope="module")
def scorer(tiny: Any, session: Session) -> SessionScorer:
    return SessionScorer(session, Tokenizer.from_folder(tiny.artifact))


@torch.no_grad()
def expected(network: Any, pair: Pair) -> tuple[float, bool]:
    """Return what one forward pass over the whole pair says."""
    logits = network(torch.tensor([pair.ids[:-1]])).logits[0].double()
    wanted = torch.tensor(pair.ids[pair.first :])
    scores = torch.log_softmax(logits[pair.first - 1 :], -1)
    greedy = bool((scores.argmax(-1) == wanted).all())
    return float(scores.gather(1, wanted[:, None]).sum()), greedy


def drawn(seed: int) -> list[Pair]:
    """Return pairs in a random order: with common beginnings, equal inputs, different firsts."""
    generator = torch.Generator().manual_seed(seed)

    def ids(count: int) -> list[int]:
        return torch.randint(0, VOCAB, (count,), generator=generator).tolist()

    shots = ids(20)
    contexts = [shots + ids(n) for n in (1, 5, 30)] + [ids(1), ids(7)]
    pairs = [Pair(c + ids(n), len(c)) for c in contexts for n in (1, 1, 2, 9)]
    pairs += [Pair(contexts[1] + [7], 3), Pair(contexts[1] + [7], 1), pairs[4]]
    return [pairs[i] for i in torch.randperm(len(pairs), generator=generator).tolist()]


def test_likelihoods_are_those_of_whole_texts(scorer: SessionScorer, tiny: Any) -> None:
    pairs, seen = drawn(1), dict[int, Likelihood]()
    found = likelihoods(scorer, pairs, seen.__setitem__)
    for pair, result in zip(pairs, found, strict=True):
        score, greedy = expected(tiny.network, pair)
        assert result.log_probability == pytest.approx(score, abs=1e-4)
        assert result.greedy is greedy
    assert [seen[number] for number in range(len(pairs))] == found
    assert likelihoods(scorer, []) == []


def test_greedy_continuations_are_seen(scorer: SessionScorer, tiny: Any, session: Session) -> None:
    session.reset()
    ids, pairs = [0, 5, 9], []
    logits = session.prefill(ids)
    for _ in range(4):
        ids.append(int(logits.argmax()))
        pairs.append(Pair(list(ids), 3))
        logits = session.decode([ids[-1]])[0]
    pairs.append(Pair([*ids[:-1], (ids[-1] + 1) % VOCAB], 3))
    assert [found.greedy for found in likelihoods(scorer, pairs)] == [True] * 4 + [False]


def test_a_common_beginning_is_fed_once(
    scorer: SessionScorer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(session, name)

        def call(ids: list[int], *rest: Any) -> Any:
            fed.append(len(ids))
            return real(ids, *rest)

        return call

    for name in ("prefill", "score"):
        monkeypatch.setattr(session, name, counted(name))
    session.reset(3)  # another user's rows
    shots = list(range(40))
    questions = [[*shots, 100 + n, 50, 51] for n in range(4)]
    pairs = [Pair([*q, 200 + n, 7], len(q)) for q in questions for n in range(3)]
    pairs += [Pair([*q, 250 + n], len(q)) for q in questions for n in range(3)]
    likelihoods(scorer, pairs)
    # 40 + 3 for each question, and for each continuation its own ids and the one before them.
    assert sum(fed) <= 40 + 4 * (3 + 3 * 2 + 1)
    fed.clear()
    likelihoods(scorer, pairs[:1])
    assert sum(fed) < 43


@pytest.mark.parametrize("bos", [True, False])
def test_texts_become_ids_as_in_the_harness(tmp_path: Path, bos: bool) -> None:
    write_tokenizer(tmp_path, bos)
    tokenizer = Tokenizer.from_folder(tmp_path)
    prefix = prefix_id(tokenizer)
    assert prefix == (0 if bos else 1)
    first = 1 if bos else 0
    for context, continuation in (
        ("The miller", " keeps"),
        ("The miller ", "keeps"),
        ("4 +", " 4"),
    ):
        pair = pair_of(tokenizer, context, continuation)
        assert pair.ids == tokenizer.encode(context + continuation)
        assert tokenizer.decode(pair.ids[first : pair.first]) == context.rstrip()
    for blank in ("", " ", "\n "):
        pair = pair_of(tokenizer, blank, "cats")
        assert pair.ids == [prefix, *tokenizer.encode(blank + "cats", add_special_tokens=False)]
        assert pair.first == 1
    with pytest.raises(GenerationError, match="'' adds no token to what is before it"):
        pair_of(tokenizer, "The miller", "")


def test_a_tokenizer_without_special_tokens_has_no_prefix(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, bos=False)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    )
    with pytest.raises(TokenizerError, match="neither a bos_token nor an eos_token"):
        pair_of(Tokenizer.from_folder(tmp_path), "", "cats")
