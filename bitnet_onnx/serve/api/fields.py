"""The fields of requests: which there are, what they take, what they do, and who else has them.

The one table that requests are read with, that /openapi.json is made from, and docs/server.md is
tested against. Knows names and kinds; does not know the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from .forms import CHOICE, FORMAT, FORMAT_OF_TEXT, ITEM, MESSAGE, OUTPUTS, STREAM_OPTIONS, TOOL
from .kinds import (
    ANYTHING,
    FLAG,
    OBJECT,
    TEXT,
    Kind,
    either,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    text,
)

__all__ = [
    "CHAT",
    "COMPLETION",
    "DETOKENIZE",
    "EMBEDDING",
    "RESPONSE",
    "TOKEN",
    "TOKENIZE",
    "Field",
]

BIG = (1 << 63) - 1
IDS = (1 << 31) - 1
COUNT = 1 << 53  # what every client can write as a number


@dataclass(frozen=True)
class Field:
    """A field of a request. ``idle`` says why it has no effect, for those that have none."""

    name: str
    kind: Kind
    about: str
    required: bool = False
    idle: str = ""


TOKEN = integer(0, IDS)
_ids = list_of(TOKEN, 1, words="a list of token ids")
_stop = either(text(1), list_of(text(1), 0, 16, "a list of at most 16 texts that are not empty"))

_NAMED = (Field("model", TEXT, "the name of a served model; may be left out where one is served"),)
_FOR_OTHERS = (
    Field("user", TEXT, "", idle="the server keeps no accounts"),
    Field("metadata", OBJECT, "", idle="nothing is stored"),
    Field("store", one_of(False), "nothing is stored: only `false`", idle="nothing is stored"),
    Field("safety_identifier", TEXT, "", idle="the server keeps no accounts"),
    Field("prompt_cache_key", TEXT, "", idle="prompts are compared by their ids"),
    Field("service_tier", one_of("auto", "default"), "one tier: `auto` or `default`",
          idle="there is one tier"),
)  # fmt: skip
# Options with transformers' names and meanings, and vLLM's.
_SAMPLING = (
    Field("temperature", number(0, 2), "0 is greedy; above 0 samples"),
    Field("top_p", number(0, 1, above=True), "samples"),
    Field("top_k", integer(-1, COUNT), "samples; 0 and -1 turn it off"),
    Field("min_p", number(0, 1), "samples"),
    Field("seed", integer(-BIG - 1, BIG), "the same seed gives the same answer"),
    Field("presence_penalty", number(-2, 2), "of new tokens, as OpenAI defines it"),
    Field("frequency_penalty", number(-2, 2), "of new tokens, as OpenAI defines it"),
    Field("repetition_penalty", number(0.01, 100), "of all tokens; 1 turns it off"),
    Field("logit_bias", mapping(number(-100, 100), "at most 1024 token ids, each with a number"
          " from -100 to 100", most=1024), "added to the logits of tokens"),
    Field("stop", _stop, "texts that end an answer without being part of it"),
    Field("stop_token_ids", list_of(TOKEN, 0, 64), "tokens that end an answer, beside the model's"),
    Field("ignore_eos", FLAG, "no token ends an answer"),
    Field("min_tokens", integer(0, COUNT), "no end before so many new tokens"),
    Field("structured_outputs", OUTPUTS, "one of json, regex, choice and grammar"),
    Field("n", integer(1, 128), "how many answers; at most the server's rows"),
    Field("stream", FLAG, "send the answer as server-sent events"),
    Field("stream_options", STREAM_OPTIONS,
          "`include_usage`: a last chunk with the usage; only with `stream`"),
)  # fmt: skip
_MESSAGES = Field(
    "messages",
    list_of(MESSAGE, 1, words="a list of messages, at least one"),
    "the conversation, for the checkpoint's own chat template; content is text",
    required=True,
)
_TOOLS = (
    Field("tools", list_of(TOOL, 0, 128), "functions, for the checkpoint's own chat template"),
    Field("tool_choice", CHOICE, "`none`, `auto`, `required`, or one function"),
    Field("parallel_tool_calls", FLAG, "`false`: at most one call"),
)
CHAT = (
    *_NAMED,
    _MESSAGES,
    Field("max_completion_tokens", integer(1, COUNT), "the most new tokens; default: what fits"),
    Field("max_tokens", integer(1, COUNT), "the older name of `max_completion_tokens`"),
    *_SAMPLING,
    Field("logprobs", FLAG, "the log-probability of each token, of the model's own logits"),
    Field("top_logprobs", integer(0, 20), "the likeliest tokens with it; only with `logprobs`"),
    Field("response_format", FORMAT, "text, json_object, or json_schema, which is always strict"),
    *_TOOLS,
    Field("chat_template_kwargs", OBJECT, "further variables of the chat template"),
    Field("documents", list_of(OBJECT, 1), "documents, for the chat template"),
    Field("modalities", one_of(["text"]), "only `[\"text\"]`", idle="answers are text"),
    *_FOR_OTHERS,
)  # fmt: skip
COMPLETION = (
    *_NAMED,
    Field(
        "prompt",
        either(TEXT, list_of(TEXT, 1, 128), _ids, list_of(_ids, 1, 128)),
        "a text, token ids, or a list of either",
        required=True,
    ),
    Field("add_special_tokens", FLAG, "with texts: as the tokenizer begins one; default: true"),
    Field("max_tokens", integer(0, COUNT), "the most new tokens; default: 16; 0 only with `echo`"),
    *_SAMPLING,
    Field("logprobs", integer(0, 20), "log-probabilities, with so many of the likeliest tokens"),
    Field("echo", FLAG, "the answer begins with the prompt; not with `stream`"),
    Field("best_of", one_of(1), "only 1", idle="as many answers are made as are returned"),
    Field("response_format", FORMAT, "as in chats"),
    *_FOR_OTHERS,
)
EMBEDDING = (
    *_NAMED,
    Field(
        "input",
        either(text(1), list_of(text(1), 1, 2048), _ids, list_of(_ids, 1, 2048)),
        "a text, token ids, or a list of either",
        required=True,
    ),
    Field("encoding_format", one_of("float", "base64"), "base64 is of little-endian float32"),
    Field("dimensions", integer(1, COUNT), "keep so many numbers, and give the length 1 again"),
    Field("prompt_name", TEXT, "which of the artifact's prompts goes before each text"),
    Field("user", TEXT, "", idle="the server keeps no accounts"),
)
TOKENIZE = (
    *_NAMED,
    Field("content", TEXT, "llama.cpp's name of the text"),
    Field("prompt", TEXT, "vLLM's name of the text"),
    Field("messages", list_of(MESSAGE, 1), "a conversation, for the chat template"),
    Field("tools", list_of(TOOL, 0, 128), "functions, for the chat template"),
    Field("chat_template_kwargs", OBJECT, "further variables of the chat template"),
    Field("add_special", FLAG, "with `content`: as the tokenizer begins a text; default: false"),
    Field("add_special_tokens", FLAG, "with `prompt`: the same; default: true"),
    Field("with_pieces", FLAG, "tokens are objects with id and piece, as llama.cpp has them"),
    Field("return_token_strs", FLAG, "the texts of the tokens too, as vLLM has them"),
)
DETOKENIZE = (
    *_NAMED,
    Field("tokens", list_of(TOKEN, 0, words="a list of token ids"), "token ids", required=True),
)
RESPONSE = (
    *_NAMED,
    Field("input", either(text(1), list_of(ITEM, 1)), "a text, or messages", required=True),
    Field("instructions", TEXT, "a system message before the input"),
    Field("max_output_tokens", integer(1, COUNT), "the most new tokens; default: what fits"),
    Field("temperature", number(0, 2), "0 is greedy; above 0 samples"),
    Field("top_p", number(0, 1, above=True), "samples"),
    Field(
        "text",
        FORMAT_OF_TEXT,
        "`format`: text, json_object or json_schema",
    ),
    Field("stream", FLAG, "send events as the answer is made"),
    Field("truncation", one_of("disabled"), "only `disabled`", idle="nothing is cut off"),
    Field(
        "tools",
        list_of(ANYTHING, 0, 0, "[]: chats have functions"),
        "only `[]`",
        idle="chats have functions",
    ),
    Field("tool_choice", one_of("none", "auto"), "`none` or `auto`", idle="there are no tools"),
    Field("parallel_tool_calls", FLAG, "", idle="there are no tools"),
    Field(
        "include",
        list_of(ANYTHING, 0, 0, "[]: an answer is text"),
        "only `[]`",
        idle="an answer is text",
    ),
    *_FOR_OTHERS,
)
