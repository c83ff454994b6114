"""What the commands do that need more than one call: generate, chat, verify, info, demo.

Knows the terminal: prompts in, text out as it comes, figures to stderr.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__, native
from ..artifact import Artifact
from ..errors import GenerationError
from ..generation.chat import Chat
from ..generation.loop import GenerationResult
from ..generation.sampling import SamplingParams
from ..generation.text import TextResult, generate_text, text_stream
from ..runtime.session import Session
from ..text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ..weights.checkpoint.base import Checkpoint

__all__ = [
    "opened_checkpoint",
    "run_bench",
    "run_chat",
    "run_demo",
    "run_generate",
    "run_info",
    "run_verify",
]

DEMO = Path(__file__).parent.parent / "demo"
DEMO_QUESTIONS = 3  # of each kind


def opened_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint that the command names; what was assumed of it goes to stderr."""
    from ..weights.open import open_checkpoint

    checkpoint = open_checkpoint(
        args.checkpoint, revision=args.revision, i2s_layout=args.i2s_layout
    )
    for note in checkpoint.notes:
        _say(f"note: {note}")
    return checkpoint


def run_generate(args: argparse.Namespace) -> None:
    """One prompt is streamed; several are one batch."""
    artifact = Artifact.open(args.artifact)
    tokenizer = Tokenizer.from_folder(artifact.folder)
    prompts = [
        _prompt_ids(args.prompt_ids)
        if args.prompt_ids is not None
        else _encode(tokenizer, text, raw=args.ignore_chat_template)
        for text in _prompt_texts(args)
    ]
    session = Session(artifact, threads=args.threads)
    sampling = _sampling(args)
    if len(prompts) == 1:
        stream = text_stream(
            session,
            tokenizer,
            prompts[0],
            max_new_tokens=args.max_new_tokens,
            sampling=sampling,
            stop_strings=args.stop_strings,
        )
        for piece in stream:
            if args.output == "text":
                print(piece, end="", flush=True)
        results = [TextResult(stream.text, stream.result)]
        _say_speed(stream.result)
    else:
        results = generate_text(
            session,
            tokenizer,
            prompts,
            max_new_tokens=args.max_new_tokens,
            sampling=sampling,
            stop_strings=args.stop_strings,
        )
    _print_results(args.output, results, streamed=len(prompts) == 1)


def _print_results(output: str, results: list[TextResult], streamed: bool) -> None:
    for done in results:
        if output == "ids":
            print(",".join(map(str, done.result.ids)))
        elif output == "json":
            record = {
                "text": done.text,
                "ids": done.result.ids,
                "finish_reason": done.result.finish_reason,
                "prompt_tokens": done.result.prompt_tokens,
            }
            print(json.dumps(record, ensure_ascii=False))
        else:
            print("" if streamed else done.text)


def run_chat(args: argparse.Namespace) -> None:
    """Read a line, answer it, until end of input; the cache is kept from turn to turn."""
    artifact = Artifact.open(args.artifact)
    tokenizer = Tokenizer.from_folder(artifact.folder)
    tokenizer.encode_chat([{"role": "user", "content": "a"}])  # no template: say so at once
    session = Session(artifact, threads=args.threads)
    chat = Chat(session, tokenizer, system=args.system, on_notice=_say)
    _say("Type a message; /reset forgets the conversation, /exit or Ctrl-D ends it.")
    _talk(chat, _sampling(args), args.max_new_tokens, args.stop_strings)


def _talk(chat: Chat, sampling: SamplingParams, limit: int, stop_strings: list[str]) -> None:
    for line in _lines():
        text = line.strip()
        if text in ("/exit", "/quit"):
            return
        if text == "/reset":
            chat.reset()
        elif text:
            try:
                for piece in chat.send(
                    text, max_new_tokens=limit, sampling=sampling, stop_strings=stop_strings
                ):
                    print(piece, end="", flush=True)
                print()
                assert chat.result is not None
                _say_speed(chat.result)
            except GenerationError as error:
                _say(f"error: {error}")
            except KeyboardInterrupt:
                print()


def run_bench(args: argparse.Namespace) -> None:
    """Figures, and with --profile a table of operators; or one JSON object with both."""
    from ..bench.breakdown import STEPS, breakdown, describe_breakdown
    from ..bench.measure import bench, describe

    if args.profile and args.max_new_tokens < STEPS + 1:
        raise GenerationError(
            f"--max-new-tokens is {args.max_new_tokens}, with --profile it is {STEPS + 1} or more"
        )
    result = bench(
        args.artifact,
        threads=args.threads,
        prompt_tokens=args.prompt_tokens,
        new_tokens=args.max_new_tokens,
        runs=args.runs,
        on_run=lambda done: _say(f"run {done} of {args.runs} done"),
    )
    found = None
    if args.profile:
        artifact = Artifact.open(args.artifact)
        found = breakdown(artifact, threads=args.threads, context=args.prompt_tokens)
    if args.json:
        profile = {} if found is None else {"profile": found.to_dict()}
        print(json.dumps({**result.to_dict(), **profile}, indent=2))
        return
    print(describe(result))
    if found is not None:
        print(f"\none step after {args.prompt_tokens} tokens, with ONNX Runtime's profiler on")
        print(describe_breakdown(found, result.read_bandwidth))


def run_verify(args: argparse.Namespace) -> int:
    """A table of comparisons, or a JSON report; 1 when one of them does not agree."""
    from ..verification.compare import CLOSE, default_prompts, verify

    artifact = Artifact.open(args.artifact)
    prompts = [_prompt_ids(text) for text in args.prompt_ids or []]
    if args.prompts_file is not None:
        tokenizer = Tokenizer.from_folder(artifact.folder)
        prompts += [tokenizer.encode(line) for line in _lines_of(args.prompts_file)]
    results = verify(
        opened_checkpoint(args),
        artifact,
        prompts or default_prompts(artifact.vocab_size),
        args.max_new_tokens,
        against=args.against,
        progress=sys.stderr.isatty(),
    )
    agree, bound = all(r.agrees for r in results), CLOSE[artifact.head]
    if artifact.head == "int8":
        _say("the reference's head was rounded to int8 as the artifact's is")
    if artifact.head == "two-step":
        _say(
            "the 64 largest logits are compared as they are, others beyond the scan's proven bound"
        )
    if args.json:
        report = {"against": args.against, "agree": agree}
        print(json.dumps({**report, "prompts": [r.to_dict() for r in results]}, indent=2))
        return 0 if agree else 1
    print("                              as it is              with ties settled")
    print("prompt tokens  steps  same ids  logits differ  same ids  logits differ  ties")
    for r in results:
        print(
            f"{len(r.prompt):>13}  {r.steps:>5}  {r.same_ids:>8}  {r.free:>13.1e}  "
            f"{r.settled_ids:>8}  {r.settled:>13.1e}  {r.ties:>4}"
        )
    if agree:
        print(f"agree: with rounding ties settled, same ids and logits within {bound:g}")
        if other := sum(r.steps - r.same_ids for r in results):
            print(f"as it is, ties alone change the id of {other} steps")
        return 0
    print(f"disagree: with rounding ties settled, an id differs or logits by more than {bound:g}")
    parting = next((r.parting for r in results if r.parting), None)
    print(f"the two part at the input of {parting}" if parting else "the two part in the head")
    return 1


def run_info(args: argparse.Namespace) -> None:
    """Versions, library and kernels; an artifact's manifest."""
    print(f"bitnet-onnx    {__version__}")
    print(f"python         {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("onnxruntime", "numpy", "tokenizers", "torch", "onnx"):
        try:
            print(f"{package:<14} {version(package)}")
        except PackageNotFoundError:
            print(f"{package:<14} not installed")
    print(f"library        {native.library_path()} ({native.version()})")
    print(f"kernels        {', '.join(native.kernels())}")
    print(f"active kernel  {native.active_kernel()}")
    if args.artifact is not None and args.artifact.suffix == ".gguf":
        from ..weights.gguf.checkpoint import GgufCheckpoint

        print(json.dumps(GgufCheckpoint(args.artifact).describe(), indent=2))
    elif args.artifact is not None:
        artifact = Artifact.open(args.artifact)
        print(json.dumps(artifact.manifest, indent=2))
        if args.check:
            artifact.check_hashes()
            _say("every file has the manifest's sha256")


def run_demo(args: argparse.Namespace) -> None:
    """Export the bundled model, ask held-out questions of each kind, chat where there is one."""
    from ..exporter.export import export

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.artifact or Path(temporary) / "demo"
        if args.artifact is None or not folder.exists():
            _say(f"exporting the bundled model to {folder}")
            export(DEMO, folder, progress=sys.stderr.isatty())
        artifact = Artifact.open(folder)
        tokenizer = Tokenizer.from_folder(folder)
        session = Session(artifact)
        _say(f"kernel {native.active_kernel()}; these questions were not in its training data\n")
        right = asked = 0
        for kind, question, answer in demo_questions():
            print(f"[{kind}] {question}\n  -> ", end="", flush=True)
            ids = _encode(tokenizer, question, raw=False)
            stream = text_stream(session, tokenizer, ids, max_new_tokens=64)
            for piece in stream:
                print(piece, end="", flush=True)
            correct = stream.text.strip() == answer
            asked, right = asked + 1, right + correct
            print("" if correct else f"  (expected: {answer})")
            _say_speed(stream.result)
        print(f"\n{right} of {asked} answers are right")
        if sys.stdin.isatty() and sys.stdout.isatty():
            _say("\nNow you: questions of these kinds. /reset forgets, /exit or Ctrl-D ends.")
            _talk(Chat(session, tokenizer, on_notice=_say), SamplingParams(), 64, [])


def demo_questions() -> Iterator[tuple[str, str, str]]:
    """Kind, question and answer of the first few held-out questions of each kind."""
    seen: dict[str, int] = {}
    for line in (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        seen[record["kind"]] = seen.get(record["kind"], 0) + 1
        if seen[record["kind"]] <= DEMO_QUESTIONS:
            yield record["kind"], record["question"], record["answer"]


def _prompt_texts(args: argparse.Namespace) -> list[str]:
    given = [args.prompt is not None, args.prompt_ids is not None, args.prompts_file is not None]
    if sum(given) > 1:
        raise GenerationError("give one of: a prompt, --prompt-ids, --prompts-file")
    if args.prompt_ids is not None:
        return [""]  # stands for the ids
    if args.prompts_file is not None:
        texts = _lines_of(args.prompts_file)
    else:
        texts = [sys.stdin.read() if args.prompt in (None, "-") else args.prompt]
    if not texts or not all(text.strip() for text in texts):
        raise GenerationError("the prompt is empty, expected some text")
    return texts


def _lines_of(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GenerationError(f"{path} cannot be read: {error}") from error
    return [line for line in lines if line.strip()]


def _prompt_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise GenerationError(f"--prompt-ids is {text!r}, expected ids like 1,2,3") from None


def _encode(tokenizer: Tokenizer, text: str, raw: bool) -> list[int]:
    if raw or not tokenizer.has_chat_template:
        return tokenizer.encode(text)
    return tokenizer.encode_chat([{"role": "user", "content": text}])


def _sampling(args: argparse.Namespace) -> SamplingParams:
    return SamplingParams(
        do_sample=args.do_sample,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
    )


def _lines() -> Iterable[str]:
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _say_speed(result: GenerationResult) -> None:
    new = len(result.ids)
    decode = f"{(new - 1) / result.decode_seconds:.0f} tokens/s" if new > 1 else "one token"
    fed = result.prompt_tokens - result.cached_tokens
    prefill = fed / result.prefill_seconds if result.prefill_seconds else 0.0
    _say(f"     {new} tokens, decode {decode}, prefill {fed} tokens at {prefill:.0f} tokens/s")
