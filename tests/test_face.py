"""``import bitnet_onnx`` promises these names and signatures, and loads them when they are used."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitnet_onnx
from bitnet_onnx.errors import BitNetError, GenerationError
from tests.support.paths import PACKAGE, ROOT

FACE = """
load(artifact, *, threads=0, custom_ops=True, generation_config=None, cache=None,
    sinks=None, cache_dir=None)
export(checkpoint, output, *, target='native', head=None, linears=None, kv_cache='float32',
    context_length=None, pooling=None, outputs='logits', revision=None, ignore_keys=(),
    allow_degenerate=False, passes=('projections', 'attention', 'zeros', 'norms', 'kept'),
    copy_library=True, progress=False)
verify(checkpoint, artifact, prompts=None, max_new_tokens=None, *, against='torch', progress=False)
open_checkpoint(source, *, revision=None, i2s_layout='x86', ignore_keys=(), allow_degenerate=False)
Model(session, tokenizer, generation_config=None)
Model.generate(prompt, config=None, *, tools=None, documents=None,
    chat_template_kwargs=None, **changes)
Model.generate_batch(prompts, config=None, *, on_text=None, tools=None, documents=None,
    chat_template_kwargs=None, **changes)
Model.stream(prompt, config=None, *, tools=None, documents=None,
    chat_template_kwargs=None, **changes)
Model.chat(system=None, *, tools=None, documents=None,
    chat_template_kwargs=None, on_notice=None)
Model.score(prompt)
Model.encode(prompt, *, tools=None, documents=None,
    chat_template_kwargs=None)
Model.embed(*texts, **options)
Model.close()
EmbeddingModel(session)
EmbeddingModel.embed(texts, prompt_name=None, dimensions=None, batch_size=32, place=None)
EmbeddingModel.ids(text, prompt_name=None)
EmbeddingModel.close()
Chat(session, tokenizer, system=None, *, tools=None, documents=None,
    chat_template_kwargs=None, config=None, on_notice=None)
Chat.send(text, config=None, **changes)
Chat.send_messages(messages, config=None, **changes)
Chat.reset()
GenerationConfig(max_new_tokens=None, do_sample=False, temperature=1.0, top_k=50, top_p=1.0,
    min_p=0.0, repetition_penalty=1.0, num_beams=1, eos_token_id=None, stop_strings=(), seed=None,
    max_length=None, min_length=0, min_new_tokens=None, no_repeat_ngram_size=0, bad_words_ids=None,
    suppress_tokens=None, begin_suppress_tokens=None, forced_eos_token_id=None, typical_p=1.0,
    epsilon_cutoff=0.0, eta_cutoff=0.0, top_h=None, sequence_bias=None,
    encoder_repetition_penalty=1.0, encoder_no_repeat_ngram_size=0, presence_penalty=0.0,
    frequency_penalty=0.0, forced_bos_token_id=None, remove_invalid_values=False,
    exponential_decay_length_penalty=None, renormalize_logits=False, guidance_scale=None,
    num_return_sequences=1, length_penalty=1.0, early_stopping=False, num_beam_groups=1,
    diversity_penalty=0.0, force_words_ids=None, penalty_alpha=None, dola_layers=None,
    pad_token_id=None, max_time=None, watermarking_config=None,
    prompt_lookup_num_tokens=None, max_matching_ngram_size=None,
    num_assistant_tokens_schedule=None, num_assistant_tokens=None,
    assistant_confidence_threshold=None, assistant_early_exit=None,
    assistant_lookbehind=None, target_lookbehind=None, cache_implementation=None)
WatermarkingConfig(greenlist_ratio=0.25, bias=2.0, hashing_key=15485863,
    seeding_scheme='lefthash', context_width=1)
WatermarkDetector(vocab_size, watermarking_config, *, bos_token_id=None,
    ignore_repeated_ngrams=False)
GenerationConfig.changed(**changes)
GenerationConfig.from_dict(values)
GenerationConfig.from_file(path)
GenerationConfig.to_dict()
GenerationConfig.save(path)
Session(artifact, *, threads=0, custom_ops=True, profile=None, model=None, counters=None,
    cache='dynamic', sinks=None, cache_dir=None)
Session.reset(batch_size=1)
Session.claim()
Session.close()
Session.ids(row=0)
Session.prefill(ids, row=0)
Session.score(ids, row=0)
Session.decode(ids)
Session.early_logits(layers)
Session.truncate(length, row=0)
Session.reorder(order)
Session.fork(count, row=0)
Session.take(row=0)
Session.put(kept, row=0)
Session.save(path, row=0)
Session.load(path, row=0)
Tokenizer.from_folder(path)
Tokenizer.encode(text, add_special_tokens=True)
Tokenizer.decode(ids, skip_special_tokens=True)
Tokenizer.render_chat(messages, add_generation_prompt=True, *, tools=None, documents=None,
    chat_template_kwargs=None)
Tokenizer.encode_chat(messages, add_generation_prompt=True, *, tools=None, documents=None,
    chat_template_kwargs=None, replies=None)
ToolCall(name, arguments=<factory>)
ToolCall.to_message()
ParsedAnswer(content, calls=(), malformed=())
ParsedAnswer.to_message()
parse_tool_calls(text)
Artifact.open(folder)
Artifact.check_hashes()
"""


def signature(name: str) -> str:
    """Return ``name(arguments)`` without types."""
    found: Any = bitnet_onnx
    for part in name.split("."):
        found = getattr(found, part)
    arguments = inspect.signature(found).parameters.values()
    plain = [a.replace(annotation=inspect.Parameter.empty) for a in arguments if a.name != "self"]
    return f"{name}{inspect.Signature(plain)}"


def promised() -> list[str]:
    return [" ".join(line.split()) for line in FACE.strip().replace("\n    ", " ").splitlines()]


@pytest.mark.parametrize("line", promised())
def test_a_signature_is_the_promised_one(line: str) -> None:
    assert signature(line.partition("(")[0]) == line


def test_public_names_are_sorted_defined_and_documented() -> None:
    assert bitnet_onnx.__all__ == sorted(bitnet_onnx.__all__)
    assert set(bitnet_onnx.__all__) == {*bitnet_onnx._HOMES, "__version__"}
    assert dir(bitnet_onnx) == bitnet_onnx.__all__
    for name, home in bitnet_onnx._HOMES.items():
        found = getattr(bitnet_onnx, name)
        assert found.__module__ == f"bitnet_onnx.{home}"
        assert found.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        bitnet_onnx.nothing  # noqa: B018
    for name in (n for n in bitnet_onnx.__all__ if n.endswith("Error")):
        assert issubclass(getattr(bitnet_onnx, name), BitNetError)


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == bitnet_onnx._HOMES
    assert (PACKAGE / "py.typed").is_file()


HEAVY = """
import json, sys
before = set(sys.modules)
import bitnet_onnx
bitnet_onnx.BitNetError, bitnet_onnx.__version__
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(loaded)))
"""


def test_import_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAVY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "jinja2", "tokenizers", "argparse"}
    assert not heavy & set(json.loads(done.stdout))


def test_a_loaded_model_answers_a_question(demo_artifact: Path) -> None:
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        question = [{"role": "user", "content": "What is 27 + 5?"}]
        answer = model.generate(question, max_new_tokens=8)
        assert (answer.text.strip(), answer.result.finish_reason) == ("32", "stop")
        assert "".join(model.stream(question)).strip() == "32"
        assert "".join(model.chat().send("What is 27 + 5?")).strip() == "32"
        ids = model.encode(question)
        assert model.generate(np.array(ids)).result.ids == answer.result.ids
        texts = model.generate_batch([question, "Spell"], max_new_tokens=4)
        assert [text.result.prompt_tokens for text in texts] == [
            len(ids),
            len(model.encode("Spell")),
        ]
        greedy = bitnet_onnx.GenerationConfig(max_new_tokens=3)
        assert len(model.generate("Spell", greedy).result.ids) <= 3
        assert len(model.generate("Spell", greedy, max_new_tokens=1).result.ids) == 1
        with pytest.raises(GenerationError, match="max_tokens is not an option"):
            model.generate("Spell", max_tokens=3)
    with pytest.raises(bitnet_onnx.SessionError, match="the session is closed"):
        model.generate("Spell")


def test_a_score_is_the_log_likelihood(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right answer is likelier than a wrong one; chunks give the scores of one piece."""
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        asked = model.encode([{"role": "user", "content": "What is 27 + 5?"}])
        right, wrong = (
            model.score([*asked, *model.tokenizer.encode(text, add_special_tokens=False)])
            for text in ("32", "77")
        )
        assert right.shape == (len(asked) - 1 + len(right) - len(asked) + 1,)
        assert right.dtype == np.float64
        assert (right <= 0).all()
        assert right.sum() > wrong.sum()
        logits = model.session
        logits.reset()
        rows = np.concatenate(list(logits.score(asked))).astype(np.float64)
        chances = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
        expected = [chances[i, token] for i, token in enumerate(asked[1:])]
        np.testing.assert_allclose(model.score(asked), expected, rtol=1e-9)
        whole = model.score(asked)
        monkeypatch.setattr("bitnet_onnx.runtime.session.CHUNK", 3)
        np.testing.assert_array_equal(model.score(asked), whole)
        assert model.score(asked[:1]).shape == (0,)
