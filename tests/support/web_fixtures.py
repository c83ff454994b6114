"""What the browser's engine is compared with: an artifact, and what Python makes of it.

Writes a folder with the bundled model as a stock artifact and ``cases.json``. The tests of
``mobile_demo/web`` read it; ``python -m tests.support.web_fixtures FOLDER`` writes it for a run by
hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tokenizers

from bitnet_onnx.artifact import LINEARS, MANIFEST, Artifact
from bitnet_onnx.errors import ArtifactError, GenerationError, TokenizerError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.text import generate_text
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.replies import Reply
from bitnet_onnx.text.streaming import StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer
from mobile_demo.vectors.make import LIMIT
from tests.support.paths import DEMO
from tests.support.text import folders
from tests.support.text.templates import CALLED, EXPRESSIONS, STATEMENTS, TALK, TEMPLATES

QUESTIONS = 60
WRONG = [None, True, "", "x", 0, -1, 0.5, 1 << 31, 3, [], [1], {}, {"x": 1}]  # for most fields
POSTS = ("none", "bos", "bytelevel", "boseos")


GENERATION: list[dict[str, Any]] = [
    {},
    {"eos_token_id": None, "max_new_tokens": 4},
    {"eos_token_id": [45, 2]},
    {"eos_token_id": 299, "max_length": 30},
    {"max_length": 20, "max_new_tokens": 9, "eos_token_id": 299},
    {"repetition_penalty": 1.9, "max_new_tokens": 12, "temperature": 0.6, "top_p": 0.9},
    {"do_sample": True, "temperature": 0, "max_new_tokens": 12},
    {"stop_strings": ["-T", "###"], "use_cache": True, "chat_format": "chatml", "num_beams": 1},
    {"cache_implementation": "quantized"},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"top_p": 2},
    {"repetition_penalty": "1"},
    {"do_sample": 1},
    {"eos_token_id": "</s>"},
    {"max_length": 0},
]


def write(folder: Path) -> None:
    artifact = folder / "artifact"
    if not artifact.exists():
        export(DEMO, artifact, target="stock")
    session, tokenizer = Session(artifact, threads=1), Tokenizer.from_folder(artifact)
    cases = {
        "questions": questions(session, tokenizer),
        "templates": templates(),
        "rewritten": rewritten(),
        "tokenizers": tokenizer_cases(),
        "generation": generation(session, tokenizer),
        "special": special(session, tokenizer),
        "manifests": manifests(artifact),
    }
    (folder / "cases.json").write_text(json.dumps(cases), "utf-8")


def questions(session: Session, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Held-out questions, evenly over the file, with the greedy ids."""
    lines = (DEMO / "questions.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines[:: len(lines) // QUESTIONS][:QUESTIONS]]
    prompts = [
        tokenizer.encode_chat([{"role": "user", "content": record["question"]}])
        for record in records
    ]
    done = generate_text(session, tokenizer, prompts, GenerationConfig(max_new_tokens=LIMIT))
    return [
        {"question": record["question"], "prompt": prompt, "ids": row.result.ids, "text": row.text}
        for record, prompt, row in zip(records, prompts, done, strict=True)
    ]


def generation(session: Session, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """What files make of one prompt, greedily; ``refused`` is the field that none may hold."""
    prompt, found = (
        tokenizer.encode_chat([{"role": "user", "content": "Spell the word STONE."}]),
        [],
    )
    for values in GENERATION:
        made: dict[str, Any] = {"ids": [], "reason": "", "refused": None}
        try:
            config = GenerationConfig.from_dict(values)
            (done,) = generate_text(session, tokenizer, [prompt], config)
            made.update(ids=done.result.ids, reason=done.result.finish_reason)
        except GenerationError:
            made["refused"] = next(iter(values))
        found.append({"values": values, "prompt": prompt, **made})
    return found


def special(session: Session, tokenizer: Tokenizer) -> dict[str, Any]:
    """A stop string that is the text of the token that ends a turn."""
    prompt = tokenizer.encode_chat([{"role": "user", "content": "Spell the word STONE."}])
    (ended,) = generate_text(session, tokenizer, [prompt])
    stop = tokenizer.decode(ended.result.ids[-1:], skip_special_tokens=False)
    config = GenerationConfig(eos_token_id=(), stop_strings=stop)
    (done,) = generate_text(session, tokenizer, [prompt], config)
    return {"prompt": prompt, "stop": stop, "text": done.text, "ids": done.result.ids}


def templates() -> list[dict[str, Any]]:
    """What templates render here: there the same, or an error that says so."""
    tokenizer_json = (DEMO / "tokenizer.json").read_text("utf-8")
    config = json.loads((DEMO / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = None
    found = []
    for source in [*("{{ " + line + " }}" for line in EXPRESSIONS), *STATEMENTS]:
        if any(word in source for word in ("strftime_now", "lipsum", "show.name")):
            continue
        backend = tokenizers.Tokenizer.from_str(tokenizer_json)
        tokenizer = Tokenizer(backend, config, {}, source)
        for messages in (TALK, CALLED):
            try:
                text = tokenizer.render_chat(messages)
            except TokenizerError:
                text = None
            found.append({"source": source, "messages": messages, "text": text})
    return found


def rewritten() -> list[dict[str, Any]]:
    """The ids of a second question, by templates that rewrite the first answer and that do not."""
    tokenizer_json = (DEMO / "tokenizer.json").read_text("utf-8")
    config = json.loads((DEMO / "tokenizer_config.json").read_text("utf-8"))
    messages = [
        {"role": "user", "content": "What is 27 + 5?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt is 32. "},
        {"role": "user", "content": "more"},
    ]
    found = []
    for name, source in TEMPLATES.items():
        if "date" in name:
            continue
        tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(tokenizer_json), config, {}, source)
        text = str(messages[1]["content"])
        letters = [i for letter in text for i in tokenizer.encode(letter, add_special_tokens=False)]
        ids = tokenizer.encode_chat(messages, replies={1: Reply(letters, text, text)})
        found.append({"source": source, "messages": messages, "reply": letters, "ids": ids})
    return found


def tokenizer_cases() -> list[dict[str, Any]]:
    """Small tokenizers, each with one oddity: their files, ids of texts, and text of ids."""
    matrix = [case for post in POSTS for case in folders.bos_matrix(post)]
    given = (folders.variants(), folders.kinds(), folders.beside())
    cases = [*matrix[:: len(matrix) // 40], *(case for some in given for case in some.items())]
    return [tokenizer_case(name, files) for name, files in cases]


def tokenizer_case(name: str, files: folders.Files) -> dict[str, Any]:
    template = {"chat_template": "<s>{{ messages[0].content }}</s>"}
    config = files["tokenizer_config.json"] | template
    files = files | {"tokenizer_config.json": config}
    with TemporaryDirectory() as folder:
        tokenizer = Tokenizer.from_folder(folders.write(files, Path(folder)))
    random, rows = np.random.default_rng(0), []
    for _ in range(20):
        ids = random.integers(0, tokenizer.vocab_size, 8).tolist()
        decoder = StreamDecoder(tokenizer)
        pieces = [*map(decoder.push, ids), decoder.flush()]
        rows.append({"ids": ids, "text": tokenizer.decode(ids), "pieces": pieces})
    asked = [[{"role": "user", "content": text}] for text in folders.TEXTS]
    chats = []
    for messages in asked:
        try:
            chats.append({"messages": messages, "ids": tokenizer.encode_chat(messages)})
        except TokenizerError:  # a word that is a special token
            chats.append({"messages": messages, "ids": None})
    texts = [{"text": text, "ids": tokenizer.encode(text)} for text in folders.TEXTS]
    return {"name": name, "files": files, "texts": texts, "chats": chats, "rows": rows}


def manifests(artifact: Path) -> list[dict[str, Any]]:
    """The manifest, changed in every field, and whether Python refuses it."""
    text = (artifact / MANIFEST).read_text("utf-8")
    fields = json.loads(text)
    entry = fields["files"]["model.onnx"]
    old = {name: value for name, value in fields.items() if name not in ("task", "network")}
    changed = [fields, old | {"format_version": 1}, fields | {"format_version": 1}, old]
    changed += [fields | {"linears": value} for value in (*LINEARS, *WRONG)]
    changed.append(old | {"format_version": 1, "linears": "bf16"})
    for name in fields:
        changed.append({other: value for other, value in fields.items() if other != name})
        changed += [fields | {name: value} for value in WRONG]
    for name in ("../x", "/etc/x", "a/b", "..", ".", "", "a\0b"):
        changed.append(fields | {"files": fields["files"] | {name: entry}})
    for value in (*WRONG, {"size": 2}, entry | {"mode": 7}, entry | {"size": "2"}):
        changed.append(fields | {"files": fields["files"] | {"config.json": value}})
    for name in ("model.onnx", "model.onnx_data"):
        files = {other: value for other, value in fields["files"].items() if other != name}
        changed.append(fields | {"files": files})
    return [{"text": json.dumps(c), "refused": is_refused(artifact, c)} for c in changed]


def is_refused(artifact: Path, manifest: dict[str, Any]) -> bool:
    with TemporaryDirectory() as folder:
        for path in artifact.iterdir():
            (Path(folder) / path.name).symlink_to(path)
        (Path(folder) / MANIFEST).unlink()
        (Path(folder) / MANIFEST).write_text(json.dumps(manifest))
        try:
            Artifact.open(folder)
        except ArtifactError:
            return True
    return False


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write(target)
