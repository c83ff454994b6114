"""``bitnet-onnx evaluate``: perplexity, accuracy, tasks of lm_eval; one row for each model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .arguments.cluster import place_of
from .arguments.evaluation import NEW_TOKENS, add_evaluation, measured
from .common import opened_checkpoint, print_json
from .progress import redraw
from .streams import text_of

if TYPE_CHECKING:
    from ..evaluation.perplexity import TextScore
    from ..evaluation.scorers import Scorer

HELP = "measure perplexity and accuracy"
DESCRIPTION = (
    "Measure how good artifacts are: perplexity over a text, accuracy over questions, or tasks of "
    "lm-evaluation-harness. Decoding is greedy; generation_config.json is not read, except for "
    "tasks."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_evaluation(parser)


def run(args: argparse.Namespace) -> None:
    kind = measured(args)
    if kind == "tasks":
        _run_tasks(args)
        return
    content = text_of(getattr(args, kind))
    {"text_file": _text, "choices_file": _choices, "answers_file": _answers}[kind](args, content)


def _opened(args: argparse.Namespace, name: str, stack: ExitStack) -> Scorer:
    from ..evaluation.models import open_scorer

    return open_scorer(name, stack, args.threads, partial(opened_checkpoint, args))


def _text(args: argparse.Namespace, content: str) -> None:
    from ..evaluation.models import open_artifacts
    from ..evaluation.perplexity import perplexities

    exact = args.against is not None
    names = [args.against, *args.models] if exact else args.models
    with ExitStack() as stack:
        scorers = [_opened(args, name, stack) for name in names]
        place = stack.enter_context(place_of(args, names, open_artifacts))
        scores = perplexities(
            scorers,
            content,
            args.max_length,
            args.stride,
            exact=exact,
            on_window=_counter("window"),
            place=place,
        )
    if args.format == "json":
        print_json(_described(names, scorers, scores))
    else:
        print(_text_table(names, scorers, scores))


def _text_table(names: list[str], scorers: list[Scorer], scores: list[TextScore]) -> str:
    first = scores[0]
    exact = len(scores) > 1 and scores[1].same_ids is not None
    columns = ["model", *scorers[0].options, "perplexity", "bits/byte"]
    rows = [columns + ["KL divergence", "same ids"] * exact]
    for name, scorer, score in zip(names, scorers, scores, strict=True):
        row = [name, *scorer.options.values(), f"{score.perplexity:.4f}"]
        row.append(f"{score.bits_per_byte:.4f}")
        if score.same_ids is not None:
            row += [f"{score.kl_divergence:.2e}", f"{score.same_ids:.2%}"]
        rows.append(row + [""] * (len(rows[0]) - len(row)))
    return (
        f"{_table(rows)}\n{first.predicted} of {first.tokens} tokens, in windows of "
        f"{first.max_length} with a stride of {first.stride}"
    )


def _choices(args: argparse.Namespace, content: str) -> None:
    from ..evaluation.accuracy import DELIMITER, multiple_choice
    from ..evaluation.models import open_artifacts
    from ..evaluation.questions import choices_of

    questions = choices_of(content, str(args.choices_file))
    chat, between = args.apply_chat_template, args.target_delimiter
    if between is None:
        between = "" if chat else DELIMITER
    scorers, scores = [], []
    for name in args.models:
        with ExitStack() as stack:
            scorers.append(_opened(args, name, stack))
            place = stack.enter_context(place_of(args, [name], open_artifacts))
            options = {"chat": chat, "on_done": _counter("choice"), "place": place}
            scores.append(multiple_choice(scorers[-1], questions, between, **options))
    _report_shares(args, _described(args.models, scorers, scores), ("acc", "acc_norm"))


def _answers(args: argparse.Namespace, content: str) -> None:
    from ..evaluation.accuracy import BATCH, exact_match
    from ..evaluation.models import is_artifact, open_artifacts, open_model
    from ..evaluation.questions import questions_of
    from ..evaluation.scorers import ModelScorer

    questions = questions_of(content, str(args.answers_file))
    options = {
        "max_new_tokens": NEW_TOKENS if args.max_new_tokens is None else args.max_new_tokens,
        "batch_size": BATCH if args.batch_size is None else args.batch_size,
        "stop_strings": args.stop_strings or (),
        "chat": args.apply_chat_template,
        "on_done": _counter("answer"),
    }
    scorers, scores = [], []
    for name in args.models:
        if not is_artifact(name):
            raise ConfigError(
                f"{name} is not an artifact folder, expected one to generate answers",
                hint="make one with: bitnet-onnx export CHECKPOINT -o ARTIFACT",
            )
        with (
            open_model(name, args.threads) as model,
            place_of(args, [name], open_artifacts) as place,
        ):
            scorers.append(ModelScorer(model))
            scores.append(exact_match(model, questions, **options, place=place))
    _report_shares(args, _described(args.models, scorers, scores), ("exact_match",))


def _report_shares(
    args: argparse.Namespace, described: list[dict[str, Any]], names: tuple[str, ...]
) -> None:
    if args.format == "json":
        print_json(described)
        return
    options = [key for key in described[0] if key in ("head", "linears", "kv cache")]
    rows = [["model", *options, *(word for name in names for word in (name, "stderr"))]]
    for row in described:
        shares = [f"{row[key]:.4f}" for name in names for key in (name, f"{name}_stderr")]
        rows.append([row["model"], *(row[key] for key in options), *shares])
    print(f"{_table(rows)}\n{described[0]['questions']} questions")


def _described(names: list[str], scorers: list[Any], scores: list[Any]) -> list[dict[str, Any]]:
    """Return the fields of each model's score, without those that were not measured."""
    return [
        {"model": name, **scorer.options}
        | {key: value for key, value in asdict(score).items() if value is not None}
        for name, scorer, score in zip(names, scorers, scores, strict=True)
    ]


def _run_tasks(args: argparse.Namespace) -> None:
    from ..evaluation.harness import as_json, run_tasks, table
    from ..evaluation.models import PLAIN, is_artifact, open_artifacts

    (artifact, *others) = args.models
    if others or not is_artifact(artifact):
        raise ConfigError(
            f"--tasks is given with {' and '.join(args.models)}, expected one artifact folder"
        )
    names = [name.strip() for name in args.tasks.split(",")]
    if not all(names):
        raise ConfigError(f"--tasks is {args.tasks!r}, expected names with commas between them")
    opened = partial(open_artifacts, config=PLAIN if args.ignore_generation_config else None)
    with place_of(args, [artifact], opened) as place:
        results = run_tasks(
            artifact,
            names,
            include_path=args.include_path,
            num_fewshot=args.num_fewshot,
            limit=args.limit,
            apply_chat_template=args.apply_chat_template,
            batch_size=args.batch_size,
            ignore_generation_config=args.ignore_generation_config,
            threads=args.threads,
            place=place,
        )
    print(as_json(results) if args.format == "json" else table(results))


def _table(rows: list[list[str]]) -> str:
    """Return rows in columns, the first of which holds names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        shown = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *shown]).rstrip())
    return "\n".join(lines)


def _counter(what: str) -> Callable[[int, int], None] | None:
    """Return what counts on the terminal; None where stderr is none."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        redraw(f"{what} {done} of {total}" if done < total else "")

    return show
