"""Each cell of docs/generation.md's tables, method x cache x batch x stream, is as it promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.errors import BitNetError, GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.constraints.compiled import Constraint
from bitnet_onnx.generation.constraints.outputs import structured_outputs
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.runtime.cache import sliding
from bitnet_onnx.runtime.cache.kinds import CACHES as KINDS
from bitnet_onnx.runtime.session import Session
from tests.support import maple
from tests.support.generation.ways import CACHES, METHODS, SAVED, STRUCTURED, options_of, table
from tests.support.text.fakes import make_tokenizer

ROWS, STORES = table("method"), table("cache")
PROMPTS = [[*range(5, 12), *range(5, 9)], [20, 21], [5, 6, 5, 6, 5]]
EXTRAS = {field.name for field in fields(Extras)}
MAIN = "float16"  # the artifact's type of cache, for every kind of session

Found = list[tuple[list[int], float | None]]


class Sessions:
    """A session of each kind, opened when it is asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory, self._opened = factory, dict[tuple[str, str], Session]()
        self.file = factory.mktemp("saved") / "row"

    def of(self, kind: str, kv_cache: str = MAIN) -> Session:
        if (kind, kv_cache) not in self._opened:
            cache = kind if kind in KINDS else "dynamic"
            artifact: Path = maple.windowed(self._factory, kv_cache)
            self._opened[kind, kv_cache] = Session(artifact, threads=1, cache=cache)
        return self._opened[kind, kv_cache]

    def close(self) -> None:
        for session in self._opened.values():
            session.close()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliding, "KEPT", 0)
        patch.setattr(sliding, "EACH", 1)
        found = Sessions(tmp_path_factory)
        yield found
        found.close()


@pytest.fixture(scope="module")
def form() -> Any:
    pytest.importorskip("llguidance")
    return Constraint(structured_outputs(STRUCTURED), make_tokenizer(), 300, [1])  # type: ignore[arg-type]


def test_every_row_has_a_way_to_ask_for_it_that_uses_its_options() -> None:
    assert set(ROWS) <= set(METHODS), "a method of the page has no way in support/generation/ways"
    assert set(STORES) <= set(CACHES), "a cache of the page has no way in support/generation/ways"
    assert set(KINDS) <= set(STORES), "a cache of Session is not on the page"
    options = EXTRAS | GenerationConfig.__dataclass_fields__.keys() | {"negative_prompt"}
    for method, (asked, caches, *_) in ROWS.items():
        if not caches.startswith("refused"):
            assert caches in ("all", f"all but those {SAVED}")
            assert options_of(asked) <= options, method
            named = options_of(asked) & METHODS[method].keys()
            assert named or not options_of(asked), method


@pytest.mark.parametrize("method", ROWS)
def test_a_method_is_as_its_row_promises(
    method: str, sessions: Sessions, request: pytest.FixtureRequest
) -> None:
    _, caches, several, streams = ROWS[method]
    options = METHODS[method]
    if caches.startswith("refused"):
        with pytest.raises(GenerationError, match=next(iter(options))):
            GenerationConfig.from_dict(options)
        with pytest.raises(GenerationError, match=next(iter(options))):
            GenerationConfig().changed(**options)
        return
    if "structured_outputs" in options:
        options = {**options, "structured_outputs": request.getfixturevalue("form")}
    if "assistant_model" in options:
        options = {**options, "assistant_model": sessions.of("assistant")}
    expected = answers(sessions.of("dynamic"), options, several, streams)
    for cache, (asked, *_) in STORES.items():
        if asked == "refused":
            continue
        if (kind := CACHES[cache]) is not None:
            assert answers(sessions.of(kind), options, several, streams) == expected, cache
        elif cache != SAVED:  # another artifact, with numbers of its own
            answers(sessions.of("dynamic", cache), options, several, streams)
        elif streams.startswith("yes") and caches == "all":
            assert [continued(sessions, options)] == expected[0], cache
    assert max(sessions.of("sliding_window")._steps.cache._state.freed) > 0


def answers(session: Session, options: dict[str, Any], several: str, streams: str) -> list[Found]:
    """Return the answers to each prompt alone, which batches and streams have too, or refuse."""
    alone = [run(session, [prompt], options) for prompt in PROMPTS]
    together = expect(several, lambda: run(session, PROMPTS, options))
    if several.startswith("yes; with a seed"):
        assert together[: len(alone[0])] == alone[0]
    elif together is not None:
        assert together == [answer for answers in alone for answer in answers]
    flowing = expect(streams, lambda: streamed(session, PROMPTS[0], options))
    assert flowing is None or [flowing] == alone[0]
    return [*alone, together or []]


def parts(options: dict[str, Any]) -> tuple[GenerationConfig, Extras]:
    extras = Extras(**{name: value for name, value in options.items() if name in EXTRAS})
    others = {name: value for name, value in options.items() if name not in EXTRAS}
    eos = [1] if extras.structured_outputs is not None else []
    return GenerationConfig(max_new_tokens=9, eos_token_id=eos, **others), extras


def run(session: Session, prompts: list[list[int]], options: dict[str, Any]) -> Found:
    return [(each.ids, each.score) for each in generate(session, prompts, *parts(options))]


def streamed(session: Session, prompt: list[int], options: dict[str, Any]
             ) -> tuple[list[int], float | None]:  # fmt: skip
    tokens = stream(session, prompt, *parts(options))
    return list(tokens), tokens.result.score


def continued(sessions: Sessions, options: dict[str, Any]) -> tuple[list[int], float | None]:
    """Return the stream of a session that begins with a row that another one saved."""
    session = sessions.of("saved")
    sessions.of("dynamic").reset()
    sessions.of("dynamic").prefill(PROMPTS[0][:-1])
    sessions.of("dynamic").save(sessions.file)
    session.reset()
    session.load(sessions.file)
    return streamed(session, PROMPTS[0], options)


def expect(cell: str, call: Any) -> Any:
    """Return what a call gives where the cell says yes; else it is refused, and None returned."""
    if cell.startswith("yes"):
        return call()
    assert cell.startswith(("no: ", "refused"))
    with pytest.raises(BitNetError):
        call()
    return None
