"""Make ``vectors.json`` and ``chat.json``: what Python, TypeScript and C++ must all compute.

``python -m mobile_demo.vectors.make`` renews both from the bundled model. tests/mobile compares
them with what Python computes now; the unit tests of web/ and of engine/ replay them.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.sampling import Sampler
from bitnet_onnx.generation.text import text_stream
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.streaming import StopStrings, StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer

__all__ = ["CHAT", "LIMIT", "VECTORS", "made"]

ROOT = Path(__file__).resolve().parents[2]
VECTORS, CHAT = (Path(__file__).with_name(name) for name in ("vectors.json", "chat.json"))
LIMIT = 32  # new tokens; the longest answer is shorter
TEXTS = [
    "What is 27 + 5?",
    "  two  spaces,\ttabs\nand\r\nlines  ",
    "Grüße, 你好, 🙂👩‍👩‍👧 and a\u0301",
    "<|eot_id|> is written by a user <|begin_of_text|>",
    "ABC AbC abcDEF 12345 !?.,;:—“quoted”",
    "\u0000\u00ad\ufeff\ue000\uffff",
]
SAMPLING: list[dict[str, Any]] = [
    {"top_k": 0},
    {"temperature": 0.3, "top_k": 7},
    {"top_k": 0, "top_p": 0.9},
    {"top_k": 20, "top_p": 0.5, "min_p": 0.05},
    {"temperature": 1.7, "top_k": 0, "min_p": 0.2},
    {"repetition_penalty": 1.3, "top_k": 5},
    {"temperature": 1e-30, "top_k": 0},
]


def made(artifact: Path) -> dict[str, str]:
    """Return the content of both files, from an artifact of the bundled model."""
    session, tokenizer = Session(artifact, threads=1), Tokenizer.from_folder(artifact)
    vectors = {
        "texts": texts(tokenizer),
        "streams": streams(tokenizer),
        "stops": stops(),
        "chats": chats(tokenizer),
        "turns": turns(tokenizer),
        "conversation": conversation(session, tokenizer),
        "stopped": stopped(session, tokenizer),
        "sampling": sampling(),
    }
    lines = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in vectors.items())
    return {
        VECTORS.name: f"{{\n{lines}\n}}\n",
        CHAT.name: (artifact / CHAT.name).read_text("utf-8"),
    }


def texts(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    found = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        found.append({"text": text, "ids": ids, "decoded": decoded})
    return found


def streams(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Random ids, most of them pieces of characters, as text that comes piece by piece."""
    random, found = np.random.default_rng(0), []
    for highest in (260, tokenizer.vocab_size):
        ids = random.integers(0, highest, 200).tolist()
        decoder = StreamDecoder(tokenizer)
        pieces = [decoder.push(id) for id in ids]
        found.append({"ids": ids, "pieces": [*pieces, decoder.flush()]})
    return found


def stops() -> list[dict[str, Any]]:
    """Text that comes letter by letter and word by word, and what of it may be shown when."""
    text = "one two, twofold; two\n\ntwo Größe 🙂 </s> three"
    found = []
    for strings in (
        ["two\n\n"],
        ["xyz"],
        ["wof", "twofold"],
        ["🙂 <", "ße 🙂"],
        ["e", " three"],
        [],
    ):
        for pieces in (list(text), text.split(" ")):
            stop = StopStrings(strings)
            shown = [stop.push(piece) for piece in pieces]
            found.append({"strings": strings, "pieces": pieces, "shown": [*shown, stop.flush()]})
    return found


def chats(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    found = []
    for text in TEXTS:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        after = [{"role": "user", "content": text}]
        found.append(
            {
                "messages": messages,
                "ids": tokenizer.encode_chat(messages),
                "after": after,
                "after_ids": tokenizer.encode_after_reply(messages, after),
            }
        )
    return found


def turns(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The ids of conversations whose answers are text."""
    found = []
    for system in (None, "Be brief.", " <|eot_id|>\n"):
        messages = [] if system is None else [{"role": "system", "content": system}]
        for question, answer in zip(TEXTS, reversed(TEXTS), strict=True):
            messages.append({"role": "user", "content": question})
            found.append({"messages": list(messages), "ids": tokenizer.encode_chat(messages)})
            messages.append({"role": "assistant", "content": answer})
    return found


def conversation(session: Session, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Enough turns that the oldest ones are forgotten."""
    chat, turns = Chat(session, tokenizer), []
    for number in range(30):
        text = f"What is {10 + number} + {number % 9}?"
        "".join(chat.send(text, max_new_tokens=LIMIT))
        assert chat.result is not None
        result = chat.result
        turns.append(
            {
                "text": text,
                "ids": result.ids,
                "prompt_tokens": result.prompt_tokens,
                "cached_tokens": result.cached_tokens,
                "kept": len(chat.turns),
            }
        )
    return turns


def stopped(session: Session, tokenizer: Tokenizer) -> dict[str, Any]:
    question = "Where is Grace? Grace ran to the cellar."
    prompt = tokenizer.encode_chat([{"role": "user", "content": question}])
    free = text_stream(session, tokenizer, prompt, GenerationConfig(max_new_tokens=LIMIT))
    stop = "".join(free)[2:4]
    cut = text_stream(
        session, tokenizer, prompt, GenerationConfig(max_new_tokens=LIMIT, stop_strings=[stop])
    )
    text = "".join(cut)
    return {"prompt": prompt, "stop": stop, "text": text, "ids": cut.result.ids}


def sampling() -> dict[str, Any]:
    logits = np.random.default_rng(1).standard_normal(3000).astype(np.float32) * 3
    logits[100:110] = logits[7]  # ties
    said = [5, 7, 9, int(logits.argmax())]
    cases = []
    for params in SAMPLING:
        sampler = Sampler(GenerationConfig(do_sample=True, **params))
        sampler.observe(said)
        ids, probabilities = sampler.distribution(logits)
        cases.append({"params": params, "ids": ids.tolist(), "p": probabilities.tolist()})
    greedy = Sampler(GenerationConfig(repetition_penalty=1.3))
    greedy.observe(said)
    chosen = [greedy.sample(logits) for _ in range(20)]
    return {"logits": logits.tolist(), "said": said, "cases": cases, "greedy": chosen}


def main() -> None:
    with TemporaryDirectory() as folder:
        artifact = export(ROOT / "bitnet_onnx" / "demo", Path(folder) / "artifact", target="stock")
        for name, content in made(artifact).items():
            (VECTORS.parent / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main()
