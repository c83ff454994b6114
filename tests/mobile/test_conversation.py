"""A conversation of the engine for native apps has the ids of Python's Chat, turn by turn."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.native.edge_chat import EdgeChat, EdgeError
from tests.support.text.chat_files import chat_folder, chat_json, proven_folders
from tests.support.text.fakes import ScriptedSession
from tests.support.text.published_templates import CONCATENATIONS, OTHERS
from tests.support.text.templates import TEMPLATES

KEPT = (
    "trims", "trims at the end", "begins with the date", "writes something after the reply",
    "drops thoughts before the last question", "opens a thought in the prompt",
)  # fmt: skip
ALL = {**CONCATENATIONS, **OTHERS, **{name: TEMPLATES[name] for name in KEPT}}
WORDS = [
    "hello", " ", "\n", "the cat", "<|im_end|>", "<|eot_id|>", "<think>", "</think>", "\n\n",
    "Größe", "\u3000", "🙂", "\0", "User:", "<|begin_of_text|>", "world",
]  # fmt: skip
ARTIFACT, UNSUPPORTED, CONTEXT = 2, 3, 5  # of bitnet_edge_code


class Both:
    """The same conversation in Python and in the engine."""

    def __init__(self, folder: Path, context: int, system: str | None, seed: int) -> None:
        self.chance = random.Random(seed)
        self.tokenizer = Tokenizer.from_folder(folder)
        size = self.tokenizer.vocab_size
        self.ids = [i for i in range(size) if i not in self.tokenizer.eos_token_ids]
        self.script: list[int] = []
        session = ScriptedSession(self._next_ids(), vocab_size=size, context_length=context)  # type: ignore[arg-type]
        self.session, self.chat = session, Chat(session, self.tokenizer, system)
        self.edge, self.context = EdgeChat(folder), context
        self.edge.start(system)
        self.forgotten = 0

    def _next_ids(self) -> Iterator[int]:
        """Yield an id for each step that the session computes: the answer's, then its end."""
        while True:
            yield self.script.pop(0) if self.script else self.tokenizer.eos_token_ids[0]

    def check(self, failure: EdgeError, text: str) -> None:
        """Check that Python refuses the message too, or that its text is the template's."""
        if failure.code == UNSUPPORTED:
            return
        assert failure.code == CONTEXT, failure
        with pytest.raises(GenerationError) as found:
            list(self.chat.send(text))
        assert failure.sentence.startswith(str(found.value).split(", expected")[0])

    def text(self, most: int = 5) -> str:
        return "".join(self.chance.choices(WORDS, k=self.chance.randint(0, most)))

    def chosen(self) -> list[int]:
        """Return ids for an answer: a text's, single bytes, special tokens, or an end at once."""
        kind = self.chance.randint(0, 4)
        if kind == 0:
            return []
        if kind == 1:
            return self.chance.choices(self.ids, k=self.chance.randint(1, 9))
        ids = self.tokenizer.encode(self.text(8), add_special_tokens=False)
        letters = [i for text in "hello" for i in self.tokenizer.encode(text, False)]
        ids += letters if kind == 2 else []
        return [i for i in ids if i in set(self.ids)]

    def send(self, text: str) -> bool:
        """Send a message to both; say whether it was answered."""
        before = len(self.chat.turns)
        failure = None
        try:
            ids, forgotten = self.edge.prompt(text, self.context)
        except EdgeError as error:
            failure = error
        if failure is not None:
            self.check(failure, text)
            return False
        self.script[:] = self.chosen()
        changes: Any = self.chance.choice(
            [{}, {}, {"max_new_tokens": 3}, {"stop_strings": ("cat",)}]
        )
        pieces = self.chat.send(text, **changes)
        list(itertools.islice(pieces, 2)) if self.chance.random() < 0.2 else list(pieces)
        pieces.close()
        result = self.chat.result
        assert result is not None
        assert self.session.cache[0][: result.prompt_tokens] == ids
        if result.ids:
            turn = self.chat.turns[-1]
            self.edge.answered(turn.reply, turn.reply_ids)
            assert len(self.chat.turns) == before + 1 - forgotten
            self.forgotten += forgotten
        return True


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return proven_folders(ALL, tmp_path_factory)


def converse(folder: Path, takes_system: bool, seeds: range) -> tuple[int, int]:
    """Return how many messages were answered, and how many turns forgotten."""
    answered = forgotten = 0
    for seed in seeds:
        chance = random.Random(seed)
        system = chance.choice([None, "", "be brief", " <|im_end|> the cat\n"])
        both = Both(folder, chance.choice([192, 300, 500]), system if takes_system else None, seed)
        answered += sum(both.send(both.text()) for _ in range(10))
        forgotten += both.forgotten
        both.edge.close()
    return answered, forgotten


@pytest.mark.parametrize("name", ALL)
def test_the_ids_are_those_of_pythons_chat(folders: dict[str, Path], name: str) -> None:
    takes_system = chat_json(folders[name])["conversation"]["system"] is not None
    answered, forgotten = converse(folders[name], takes_system, range(6))
    assert answered > 30
    assert forgotten > 2


def test_the_bundled_model_has_the_ids_of_pythons_chat(demo_artifact: Path) -> None:
    answered, forgotten = converse(demo_artifact, True, range(20))
    assert answered > 140
    assert forgotten > 10


def test_saved_turns_are_text(folders: dict[str, Path]) -> None:
    for name in ("BitNet b1.58 2B-4T", "LLaMA 3.1", "Qwen3", "ChatML"):
        tokenizer, edge = Tokenizer.from_folder(folders[name]), EdgeChat(folders[name])
        edge.start("be brief")
        messages = [{"role": "system", "content": "be brief"}]
        for user, answer in ((" hi ", "<think>\nhm\n</think>\n\nhello "), ("a<|im_end|>", "")):
            edge.add(user, answer)
            messages += [
                {"role": "user", "content": user},
                {"role": "assistant", "content": answer},
            ]
        messages.append({"role": "user", "content": "more"})
        assert edge.prompt("more", 4096) == (tokenizer.encode_chat(messages), 0)
        edge.close()


def test_a_prompt_changes_nothing_until_it_is_answered(folders: dict[str, Path]) -> None:
    edge = EdgeChat(folders["ChatML"])
    for turn in range(8):
        edge.add(f"question {turn}", "an answer of some length, word after word")
    first = edge.prompt("hello", 300)
    assert first[1] > 0
    assert edge.prompt("other", 4096)[1] == 0
    assert edge.prompt("hello", 300) == first
    with pytest.raises(EdgeError, match="5 the message makes a prompt of"):
        edge.prompt("word " * 300, 300)
    edge.answered("yes", [70])
    assert edge.prompt("hello", 300)[1] == 0
    edge.close()


def test_what_the_template_reads_is_refused(folders: dict[str, Path]) -> None:
    edge = EdgeChat(folders["Qwen3"])
    with pytest.raises(EdgeError, match='3 the message holds "<tool_response>"'):
        edge.prompt("a <tool_response> b", 4096)
    assert edge.prompt("a", 4096)
    edge.close()
    edge = EdgeChat(folders["Gemma"])
    with pytest.raises(EdgeError, match="3 the model's chat template takes no system prompt"):
        edge.start("be brief")
    with pytest.raises(EdgeError, match="1 the message is not valid UTF-8"):
        edge.add_bytes(b"\xff", b"yes")
    with pytest.raises(EdgeError, match="1 the answer is not valid UTF-8"):
        edge.add_bytes(b"yes", b"\xed\xa0\x80")
    edge.close()


def test_no_conversation_is_a_sentence(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path / "a", TEMPLATES["counts the turns"])
    with pytest.raises(EdgeError, match="3 the chat template writes a later turn otherwise"):
        EdgeChat(folder)
    (folder / "chat.json").unlink()
    with pytest.raises(EdgeError, match=r"3 the artifact has no chat\.json"):
        EdgeChat(folder)


def changed(value: Any) -> list[Any]:
    """Return values of other types and sizes."""
    others = [None, True, -1, 1.5, 1 << 40, "", "\u0000", [], {}, [None], {"a": 1}]
    return [other for other in others if type(other) is not type(value) or other != value]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of each value in a document."""
    items: Any = ()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    places = []
    for key, item in items:
        places += [(*path, key), *paths(item, (*path, key))]
    return places


def test_a_damaged_file_is_refused_or_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = chat_folder(tmp_path, CONCATENATIONS["Qwen3"])
    whole = chat_json(folder)
    text = json.dumps(whole)
    documents = [text[: len(text) // 2], "", "[]", "null", "{}", "\x00", text + "x"]
    chance = random.Random(0)
    for path in paths(whole):
        for other in (*chance.sample(changed(None), 3), "gone", "new"):
            document = json.loads(text)
            place = document
            for key in path[:-1]:
                place = place[key]
            if other == "gone":
                del place[path[-1]]
            elif other == "new" and isinstance(place, dict):
                place["unknown"] = 1
            else:
                place[path[-1]] = other
            documents.append(json.dumps(document))
    failures = []
    for document in documents:
        (folder / "chat.json").write_text(document)
        try:
            edge = EdgeChat(folder)
        except EdgeError as error:
            failures.append(error)
            continue
        edge.prompt("hello", 4096)
        edge.close()
    assert len(failures) > len(documents) // 2
    assert {failure.code for failure in failures} == {ARTIFACT, UNSUPPORTED}
    assert not any("\n" in failure.sentence for failure in failures)
