"""A session with many users gives right answers or exceptions.

A long random program uses one session: by streams in turns and from several threads, chats, batches
and single steps, with failures of the runtime in any of them. Every answer is compared with that of
a session that nobody else uses. The seed is in the test's name.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import BitNetError, SessionError
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import TokenStream, generate, stream
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer

STEPS = int(os.environ.get("BITNET_ONNX_SESSION_STEPS", "1500"))  # of each seed
SEEDS = 2
QUESTIONS = ["What is 27 + 5?", "Reverse PAINT.", "Order the numbers 10, 54, 63.", "Spell ROOF."]
NEW = 12
CONFIG = GenerationConfig(max_new_tokens=NEW, eos_token_id=())
# Sampling takes long enough for another user to compute between a step and its choice.
SAMPLED = GenerationConfig(
    max_new_tokens=3, eos_token_id=(), do_sample=True, seed=7, temperature=2.0, top_p=0.9
)
LONG = SAMPLED.changed(max_new_tokens=400)


class Failing:
    """An ONNX Runtime session that fails once on demand, before or after a step."""

    def __init__(self, runtime: Any) -> None:
        self.runtime, self.after = runtime, False
        self.error: BaseException | None = None

    def run_with_iobinding(self, binding: Any) -> None:
        error, self.error = self.error, None
        if error is None or self.after:
            self.runtime.run_with_iobinding(binding)
        if error is not None:
            raise error

    def io_binding(self) -> Any:
        return self.runtime.io_binding()


class World:
    """The session under test, its users' streams and rows, and a session for the right answers."""

    def __init__(self, artifact: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.artifact = artifact
        self.tokenizer = Tokenizer.from_folder(artifact)
        self.prompts = [
            self.tokenizer.encode_chat([{"role": "user", "content": text}]) for text in QUESTIONS
        ]
        self.untouched = Session(artifact, threads=1)
        self.right_next = cache(self._right_next)
        self.right_ids = [self._right_ids(prompt) for prompt in self.prompts]
        self.replies = self._right_replies()
        self.answered = self.refused = 0
        self.open()

    def open(self) -> None:
        self.session = Session(self.artifact, threads=1)
        self.runtime = Failing(self.session._steps.runtime)
        self.session._steps.runtime = self.runtime
        self.streams: list[tuple[TokenStream, Iterator[int]]] = []
        self.scores: list[tuple[Iterator[np.ndarray], tuple[int, ...]]] = []
        self.kept: list[Any] = []

    def _right_next(self, ids: tuple[int, ...]) -> int:
        self.untouched.reset()
        return int(self.untouched.prefill(ids).argmax())

    def _right_ids(self, prompt: list[int]) -> list[int]:
        ids: list[int] = []
        for _ in range(NEW):
            ids.append(self._right_next((*prompt, *ids)))
        return ids

    def _right_replies(self) -> list[str]:
        with Session(self.artifact, threads=1) as session:
            chat = Chat(session, self.tokenizer)
            return ["".join(chat.send(text, max_new_tokens=NEW)) for text in QUESTIONS]

    # -------------------------------------------------------------------------- what users do

    def new_stream(self) -> None:
        number = self.random.randrange(len(self.prompts))
        tokens = stream(self.session, self.prompts[number], CONFIG)
        self.streams.append((tokens, iter(self.right_ids[number])))

    def advance(self) -> None:
        if not self.streams:
            return self.new_stream()
        chosen = self.random.randrange(len(self.streams))
        tokens, right = self.streams[chosen]
        try:
            found = next(tokens, None)
            assert found == next(right, None)
            if found is None:
                del self.streams[chosen]
        except BaseException as error:
            del self.streams[chosen]
            raise error
        return None

    def batch(self) -> None:
        chosen = self.random.sample(range(len(self.prompts)), 2)
        found = generate(self.session, [self.prompts[n] for n in chosen], CONFIG)
        assert [result.ids for result in found] == [self.right_ids[n] for n in chosen]

    def talk(self) -> None:
        chat = Chat(self.session, self.tokenizer)
        for text, reply in zip(QUESTIONS[: self.random.randint(1, 3)], self.replies, strict=False):
            assert "".join(chat.send(text, max_new_tokens=NEW)) == reply

    def begin(self) -> None:
        self.session.reset(self.random.choice([1, 1, 2]))
        rows = range(self.session.batch_size)
        prompts = [self.prompts[self.random.randrange(len(self.prompts))] for _ in rows]
        if self.random.random() < 0.5:
            found = list(self.session.prefill_rows(prompts))
        else:
            found = [self.session.prefill(np.array(prompts[row]), row) for row in rows]
        for row, logits in enumerate(found):
            assert self.session.ids(row) == prompts[row]
            assert int(logits.argmax()) == self.right_next(tuple(prompts[row]))

    def step(self) -> None:
        ids = [self.random.randrange(40, 90) for _ in range(self.session.batch_size)]
        found = self.session.decode(ids).argmax(-1).tolist()
        rows = [tuple(self.session.ids(row)) for row in range(self.session.batch_size)]
        assert [row[-1] for row in rows] == ids
        assert found == [self.right_next(row) for row in rows]

    def rearrange(self) -> None:
        held = [self.session.ids(row) for row in range(self.session.batch_size)]
        row = self.random.randrange(len(held))
        what = self.random.randrange(4)
        if what == 0:
            length = self.random.randint(0, len(held[row]))
            self.session.truncate(length, row)
            held[row] = held[row][:length]
        elif what == 1:
            order = [self.random.randrange(len(held)) for _ in range(self.random.randint(1, 3))]
            self.session.reorder(order)
            held = [held[old] for old in order]
        elif what == 2:
            self.session.fork(2, row)
            held = [held[row]] * 2
        elif self.kept and self.random.random() < 0.5:
            ids, kept = self.random.choice(self.kept)
            self.session.put(kept, row)
            held[row] = ids
        else:
            self.kept.append((held[row], self.session.take(row)))
        assert [self.session.ids(row) for row in range(self.session.batch_size)] == held

    def score(self) -> None:
        if self.scores and self.random.random() < 0.7:
            chunks, ids = self.scores.pop()
            rows = np.concatenate(list(chunks))
            assert int(rows[-1].argmax()) == self.right_next(ids)
            return
        prompt = self.prompts[self.random.randrange(len(self.prompts))]
        before = self.session.ids()
        chunks = self.session.score(prompt)
        first = next(chunks)
        held = (*before, *prompt)
        assert tuple(self.session.ids()) == held
        assert int(first[-1].argmax()) == self.right_next(held)

    def fail(self) -> None:
        kinds: list[BaseException] = [RuntimeError("no"), MemoryError(), KeyboardInterrupt()]
        self.runtime.error = self.random.choice(kinds)
        self.runtime.after = self.random.random() < 0.5

    def close(self) -> None:
        if self.random.random() < 0.1:
            self.session.close()
            with pytest.raises(SessionError, match="closed"):
                self.session.prefill([1])
            self.open()

    def run(self, steps: int, pool: ThreadPoolExecutor) -> None:
        actions: list[Callable[[], None]] = [
            *[self.new_stream] * 2, *[self.advance] * 12, self.batch, self.talk, *[self.begin] * 2,
            *[self.step] * 6, *[self.rearrange] * 3, self.score, self.fail, self.close,
        ]  # fmt: skip
        for _ in range(steps):
            action = self.random.choice(actions)
            try:
                if self.random.random() < 0.3:
                    pool.submit(action).result()
                else:
                    action()
                self.answered += 1
            except (BitNetError, MemoryError, KeyboardInterrupt):
                self.refused += 1


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_program_gets_right_answers_or_exceptions(demo_artifact: Path, seed: int) -> None:
    world = World(demo_artifact, seed)
    with ThreadPoolExecutor(1) as pool:
        world.run(STEPS, pool)
    print(f"{world.answered} answered, {world.refused} refused")
    assert world.answered > STEPS / 3
    assert world.refused > STEPS / 20


def test_threads_at_once_get_right_answers_or_exceptions(demo_artifact: Path) -> None:
    world = World(demo_artifact, 0)

    def use(number: int) -> tuple[int, int]:
        answered = refused = 0
        for turn in range(STEPS // 50):
            try:
                if turn % 2:
                    found = generate(world.session, [world.prompts[number]], CONFIG)[0].ids
                else:
                    found = list(stream(world.session, world.prompts[number], CONFIG))
                assert found == world.right_ids[number]
                answered += 1
            except SessionError:
                refused += 1
        return answered, refused

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        counts = list(pool.map(use, range(len(QUESTIONS))))
    print(counts)
    assert sum(refused for _, refused in counts) > 0
    # Afterwards the session serves a single user as before.
    assert generate(world.session, [world.prompts[0]], CONFIG)[0].ids == world.right_ids[0]


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns after each microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_sampled_streams_in_threads_choose_from_their_own_logits(demo_artifact: Path) -> None:
    """Each id that a stream gives is right, also the last before another user takes over."""
    world = World(demo_artifact, 0)
    session = world.session
    right = [list(stream(session, prompt, SAMPLED)) for prompt in world.prompts]
    start = threading.Barrier(len(right))

    def use(number: int) -> list[int]:
        counts = [0, 0, 0]  # whole streams, wrong ones, refused ones
        start.wait()
        for turn in range(2 * STEPS):
            given: list[int] = []
            try:
                given.extend(stream(session, world.prompts[number], SAMPLED))
                counts[0] += 1
            except SessionError:
                counts[2] += 1
            counts[1] += given != right[number][: len(given)]
            if turn % 4 == number:
                threading.Event().wait(1e-4)
        return counts

    with ThreadPoolExecutor(len(right)) as pool:
        whole, wrong, refused = map(sum, zip(*pool.map(use, range(len(right))), strict=True))
    print(f"{whole} whole, {refused} refused")
    assert wrong == 0
    assert whole > 0
    assert refused > 0


@pytest.mark.usefixtures("quick_switches")
def test_long_sampled_streams_are_right_beside_others(demo_artifact: Path) -> None:
    """Hundreds of ids each, from one session a thread, while intruders try to share them."""
    world = World(demo_artifact, 0)
    right = [list(stream(world.untouched, prompt, LONG)) for prompt in world.prompts]
    ended = threading.Event()

    def use(number: int) -> bool:
        with Session(world.session.artifact, threads=1) as session:
            intruder = threading.Thread(target=intrude, args=(session,))
            intruder.start()
            given: list[int] = []
            tokens = stream(session, world.prompts[number], LONG)
            with contextlib.suppress(SessionError):  # where both call at the same moment
                given.extend(tokens)
            ended.set()
            intruder.join()
            return given == right[number][: len(given)]

    def intrude(session: Session) -> None:
        while not ended.is_set():
            with contextlib.suppress(SessionError):
                session.decode([5])
            ended.wait(1e-3)

    for _ in range(max(1, STEPS // 1500)):
        ended.clear()
        with ThreadPoolExecutor(len(right)) as pool:
            assert all(pool.map(use, range(len(right))))


def test_sessions_of_one_artifact_serve_threads_at_once(demo_artifact: Path) -> None:
    world = World(demo_artifact, 0)

    def use(number: int) -> list[int]:
        with Session(world.session.artifact, threads=1) as session:
            for _ in range(5):
                ids = generate(session, [world.prompts[number]], CONFIG)[0].ids
        return ids

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        assert list(pool.map(use, range(len(QUESTIONS)))) == world.right_ids
