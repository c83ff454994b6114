"""What transformers makes of a tokenizer.json: its class can replace parts of the file.

A class such as Qwen2Tokenizer takes vocabulary, merges and post-processor from the file, and writes
normalizer, pre-tokenizer, decoder and the default names of tokens itself. Knows JSON; does not know
text or ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import TokenizerError
from ..network.records import of_config

__all__ = ["builder_of", "default_names", "rebuilt"]

Json = dict[str, Any]

# These classes build their parts in ways that are not spelled out here, or read other files.
_UNKNOWN = frozenset(
    """
Albert Bart Barthez Bartpho BertGeneration BertJapanese Bert Bertweet BigBird BioGpt
BlenderbotSmall Blenderbot ByT5 CLIP CTRL Camembert Canine Clvp CodeGen CodeLlama ConvBert CpmAnt
Cpm DPRContextEncoder DPRQuestionEncoder DPRReader DebertaV2 Deberta Dia DistilBert Electra Esm Esmc
FNet FSMT FastSpeech2Conformer Flaubert Funnel GPTNeoXJapanese GPTSw3 Herbert LED Lasr LayoutLMv2
LayoutLMv3 LayoutXLM Luke Lxmert M2M100 MBart50 MBart MLuke MPNet Marian MarkupLM Mgpstr MobileBert
Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Pegasus Perceiver Phobert Pop2Piano ProphetNet Rag Reformer
RemBert RoCBert RoFormer Roberta SeamlessM4T Siglip2 Siglip Speech2Text SpeechT5 Splinter
SqueezeBert T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper XGLM
XLMRoberta XLM XLNet
""".split()
)


def builder_of(config: Mapping[str, Any], model: Mapping[str, Any], file: str) -> str | None:
    """Return the class that replaces parts of the tokenizer.json ``file``, None where none does.

    config and model are the contents of tokenizer_config.json and config.json. Raises
    TokenizerError for a class whose parts are unknown here.
    """
    network = of_config(model)
    registered = network.tokenizer_class if network is not None else None
    name = config.get("tokenizer_class") or model.get("tokenizer_class") or registered
    if name is None:
        return None
    if not isinstance(name, str):
        raise TokenizerError(f"tokenizer_class is {name!r}, expected the name of a class")
    name = name.removesuffix("Fast")
    if name.removesuffix("Tokenizer") in _UNKNOWN:
        raise TokenizerError(
            f"tokenizer_class is {name}, expected PreTrainedTokenizerFast or one of:"
            f" {', '.join(_BUILDERS)}",
            hint="if tokenizer.json holds all of the tokenizer, write PreTrainedTokenizerFast for"
            " tokenizer_class in tokenizer_config.json",
        )
    if name not in _BUILDERS or registered == "TokenizersBackend":
        return None  # the file as it is
    if name == "LlamaTokenizer" and '"ByteLevel"' in file:
        return None  # Llama 3's files name a class that they do not fit
    return name


def default_names(builder: str | None) -> dict[str, str]:
    """Return the named tokens that the class assumes where tokenizer_config.json is silent."""
    return dict(_BUILDERS[builder][1]) if builder is not None else {}


def rebuilt(builder: str, config: Mapping[str, Any], file: str) -> tuple[str, list[Json]]:
    """Return the tokenizer.json that the class builds, without added tokens, and those it had."""
    old = json.loads(file)
    model, added = old.get("model"), old.get("added_tokens") or []
    if not isinstance(model, dict) or model.get("type") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else model
        raise TokenizerError(
            f"tokenizer.json holds a model of type {kind!r}, expected BPE for {builder}",
            hint="choose another tokenizer_class in tokenizer_config.json",
        )
    parts = _BUILDERS[builder][0](config)
    flags = {"unk_token": None, "fuse_unk": False, "byte_fallback": False} | parts.pop("model", {})
    kept = {"type": "BPE", "vocab": model["vocab"], "merges": model["merges"]}
    post = None if builder == "GPTNeoXTokenizer" else old.get("post_processor")
    # Parts that a class does not name are empty.
    new: Json = {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": post}
    return json.dumps(new | parts | {"model": kept | flags}, ensure_ascii=False), added


def _byte_level(prefix: bool = True, regex: bool = True) -> Json:
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": regex,
    }


def _gpt2(config: Mapping[str, Any]) -> Json:
    prefix = bool(config.get("add_prefix_space"))
    return {"pre_tokenizer": _byte_level(prefix), "decoder": _byte_level()}


def _gpt_neox(config: Mapping[str, Any]) -> Json:
    return _gpt2(config) | {"normalizer": {"type": "NFC"}}


def _cohere(config: Mapping[str, Any]) -> Json:
    prefix = bool(config.get("add_prefix_space"))
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": _sequence("pretokenizers", digits, _byte_level(prefix)),
        "decoder": _byte_level(prefix),
    }


def _qwen(letters: str, others: str) -> Callable[[Mapping[str, Any]], Json]:
    pattern = (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?{letters}+|\p{{N}}|"
        rf" ?[^\s{others}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )

    def build(config: Mapping[str, Any]) -> Json:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
        prefix = bool(config.get("add_prefix_space"))
        return {
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": _sequence(
                "pretokenizers", split | {"invert": False}, _byte_level(prefix, regex=False)
            ),
            "decoder": _byte_level(),
        }

    return build


def _llama(config: Mapping[str, Any]) -> Json:
    prefix = config.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    scheme = "never" if not prefix else "always" if config.get("legacy") else "first"
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": scheme,
            "split": False,
        },
        "decoder": _sequence("decoders", *_BLANKS, *strip),
        "model": {"fuse_unk": True, "byte_fallback": True},
    }


def _gemma(config: Mapping[str, Any]) -> Json:
    blank = {"String": " "}
    return {
        "normalizer": {"type": "Replace", "pattern": blank, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": blank,
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "decoder": _sequence("decoders", *_BLANKS),
        "model": {
            "fuse_unk": True,
            "byte_fallback": True,
            "unk_token": _content(config.get("unk_token", "<unk>")),
        },
    }


def _sequence(name: str, *parts: Json) -> Json:
    return {"type": "Sequence", name: list(parts)}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


_BLANKS = (
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
)
_END = "<|endoftext|>"
_BUILDERS: dict[str, tuple[Callable[[Mapping[str, Any]], Json], dict[str, str]]] = {
    "CohereTokenizer": (
        _cohere,
        {
            "bos_token": "<BOS_TOKEN>",
            "eos_token": "<|END_OF_TURN_TOKEN|>",
            "unk_token": "<UNK>",
            "sep_token": "<SEP>",
            "pad_token": "<PAD>",
            "cls_token": "<CLS>",
            "mask_token": "<MASK_TOKEN>",
        },
    ),
    "GPT2Tokenizer": (_gpt2, {"bos_token": _END, "eos_token": _END, "unk_token": _END}),
    "GPTNeoXTokenizer": (
        _gpt_neox,
        {"bos_token": _END, "eos_token": _END, "unk_token": _END, "pad_token": "<|padding|>"},
    ),
    "GemmaTokenizer": (
        _gemma,
        {
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
    ),
    "LlamaTokenizer": (_llama, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "Qwen2Tokenizer": (
        _qwen(r"\p{L}", r"\p{L}"),
        {"eos_token": _END, "unk_token": _END, "pad_token": _END},
    ),
    "Qwen3_5Tokenizer": (
        _qwen(r"[\p{L}\p{M}]", r"\p{L}\p{M}"),
        {"eos_token": _END, "unk_token": _END, "pad_token": _END},
    ),
}
