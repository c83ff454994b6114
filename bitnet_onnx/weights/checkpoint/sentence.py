"""The files of sentence-transformers in a checkpoint folder: which modules follow the network.

Knows modules.json, the configs that it names, and the dialects of older and newer releases. Other
modules than Transformer, Pooling and Normalize are refused by name. Knows no tensor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import read_object
from ...network.config import BitNetConfig
from ...network.pooling import Pooling

__all__ = ["FILES", "NO_HEAD_NOTE", "PROMPTS", "read_pooling", "sentence_files"]

MODULES, SENTENCE = "modules.json", "sentence_bert_config.json"
NO_HEAD_NOTE = "lm_head.weight is not read: a network that embeds texts has no head"
PROMPTS = "config_sentence_transformers.json"
FILES = (MODULES, SENTENCE, PROMPTS, "*_Pooling/config.json")
ORDER = ("Transformer", "Pooling", "Normalize")
MODES = {"lasttoken": "last", "mean": "mean", "mean_tokens": "mean"}
FLAGS = {"last": "lasttoken", "mean": "mean_tokens"}  # after START
PACKAGE = "sentence_transformers"
SIZES = ("word_embedding_dimension", "embedding_dimension")
START = "pooling_mode_"
MOST_TOKENS = 1 << 24
ASSUMED = (
    "no modules.json says how tokens become one vector: the last one is taken and normalized; "
    "--pooling mean takes the mean"
)


def read_pooling(folder: Path, width: int) -> Pooling:
    """Return what the files say, or the last token, normalized, with a note.

    width: hidden_size. Raises ConfigError naming the file and the field.
    """
    path = folder / MODULES
    if not path.is_file():
        return Pooling("last", note=ASSUMED)
    kinds: dict[str, Path] = {}
    for module in _modules(path):
        kind, place = str(module.get("type")).rpartition(".")[2], module.get("path")
        expected = [name for name in ORDER if name not in kinds]
        if kind not in expected or (kinds and ORDER.index(kind) < len(kinds)):
            raise ConfigError(
                f"{path}: the module {module.get('type')!r} is not understood here, expected "
                "Transformer, Pooling and Normalize, in this order"
            )
        if not isinstance(place, str) or set(place) & set("/\\\0") or place == "..":
            raise ConfigError(f"{path}: path is {place!r}, expected the name of a folder inside")
        kinds[kind] = folder / place
    if "Pooling" not in kinds or "Transformer" not in kinds:
        raise ConfigError(f"{path}: {', '.join(kinds) or 'no module'}, expected a Pooling, too")
    mode = _mode(kinds["Pooling"] / "config.json", width)
    return Pooling(mode, "Normalize" in kinds, _longest(kinds["Transformer"] / SENTENCE))


def sentence_files(config: BitNetConfig, pooling: Pooling | None = None) -> dict[str, bytes]:
    """Return the files by name that say ``pooling``, in the dialect that all releases read.

    None: the last token, normalized. A network that generates has no such files.
    """
    if config.record.task != "embedding":
        return {}
    found = Pooling("last") if pooling is None else pooling
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": places[kind], "type": f"{PACKAGE}.models.{kind}"}
        for i, kind in enumerate(ORDER if found.normalize else ORDER[:2])
    ]
    flags = {f"{START}{FLAGS[mode]}": mode == found.mode for mode in FLAGS}
    files: dict[str, Any] = {
        MODULES: modules,
        "1_Pooling/config.json": {SIZES[0]: config.hidden_size, **flags, "include_prompt": True},
    }
    if found.longest is not None:
        files[SENTENCE] = {"max_seq_length": found.longest, "do_lower_case": False}
    return {name: f"{json.dumps(content, indent=2)}\n".encode() for name, content in files.items()}


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(module, dict) for module in found):
        raise ConfigError(f"{path} holds {found!r:.80}, expected a list of modules")
    return found


def _mode(path: Path, width: int) -> str:
    """Read a Pooling's config: a name, or a flag for each mode in older releases."""
    fields = read_object(path, ConfigError)
    modes = fields.pop("pooling_mode", None)
    flags = {name: fields.pop(name) for name in list(fields) if name.startswith(START)}
    asked = [name.removeprefix(START) for name, value in flags.items() if value]
    if modes is not None:
        asked = modes if isinstance(modes, list) else [modes]
    if len(asked) != 1 or asked[0] not in MODES:
        raise ConfigError(
            f"{path}: the pooling is {' and '.join(map(str, asked)) or 'none'!s:.80}, expected "
            "lasttoken or mean"
        )
    mode = MODES[asked[0]]
    for name in SIZES:
        if (size := fields.pop(name, width)) not in (width, None):
            raise ConfigError(f"{path}: {name} is {size!r}, expected hidden_size {width}")
    include = fields.pop("include_prompt", True)
    if include is not True and mode == "mean":
        raise ConfigError(
            f"{path}: include_prompt is {include!r}, expected true: a mean without the tokens of "
            "the prompt is not supported"
        )
    if fields:
        raise ConfigError(f"{path}: {min(fields)} is given, which is not understood")
    return mode


def _longest(path: Path) -> int | None:
    """Read the most tokens of a text, which sentence-transformers cuts off."""
    if not path.is_file():
        return None
    fields = read_object(path, ConfigError)
    if fields.get("do_lower_case"):
        raise ConfigError(f"{path}: do_lower_case is true, expected false")
    longest = fields.get("max_seq_length")
    whole = isinstance(longest, int) and not isinstance(longest, bool)
    if longest is not None and not (whole and 1 <= longest < MOST_TOKENS):
        raise ConfigError(f"{path}: max_seq_length is {longest!r}, expected a number of tokens")
    return longest
