"""Tasks of lm-evaluation-harness, run on an artifact and shown as the harness shows them.

Knows the harness's task manager and its results; does not know how an artifact answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BitNetError, ConfigError

__all__ = ["as_json", "run_tasks", "table"]

UNKNOWN = "list the tasks that it knows with: lm_eval ls tasks"
# What the results say beside the machine and the tasks' own definitions.
REPORTED = (
    "results", "groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples",
    "config",
)  # fmt: skip


def run_tasks(
    artifact: str | Path,
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    apply_chat_template: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Return the harness's results; arguments have its names and meanings.

    include_path: a folder with further tasks; where it holds all that are asked for, the harness's
    own are not read, which takes seconds. options: those of ``lm_eval.BitNetLM``. Raises
    ConfigError where the harness is not installed or refuses a task.
    """
    for name, value, least in (("limit", limit, 1), ("num_fewshot", num_fewshot, 0)):
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}, expected {least} or more")
    if include_path is not None and not include_path.is_dir():
        raise ConfigError(f"{include_path} does not exist, expected a folder with YAML tasks")
    simple_evaluate, network = _opened(artifact, options)
    try:
        found = simple_evaluate(
            network,
            tasks=list(tasks),
            task_manager=_manager(tasks, include_path),
            num_fewshot=num_fewshot,
            limit=limit,
            apply_chat_template=apply_chat_template,
            log_samples=False,
        )
    except BitNetError:
        raise
    except Exception as error:  # tasks are foreign code and data, which fail in many ways
        raise ConfigError(
            f"lm_eval cannot run the tasks {', '.join(tasks)}: {_said(error)}",
            hint=UNKNOWN if isinstance(error, KeyError) else None,
        ) from error
    finally:
        network.model.close()
    return dict(found)


def _opened(artifact: str | Path, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the harness's entry and the artifact as its model."""
    try:
        from lm_eval import simple_evaluate

        from .lm_eval import BitNetLM
    except ModuleNotFoundError as error:
        if (error.name or "bitnet_onnx").startswith("bitnet_onnx"):
            raise
        raise ConfigError(
            f"tasks need the package {error.name}, which is not installed, expected the extra "
            "evaluate",
            hint="pip install 'bitnet-onnx[evaluate]'",
        ) from None
    return simple_evaluate, BitNetLM(artifact, **options)


def table(results: dict[str, Any]) -> str:
    """Return the tables that the harness's own command prints."""
    from lm_eval.utils import make_table

    tables = [make_table(results)]
    if results.get("groups"):
        tables.append(make_table(results, "groups"))
    return "\n".join(tables).rstrip()


def as_json(results: dict[str, Any]) -> str:
    from lm_eval.utils import handle_non_serializable

    shown = {key: results[key] for key in REPORTED if key in results}
    return json.dumps(shown, indent=2, default=handle_non_serializable)


def _manager(tasks: Sequence[str], include_path: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if include_path is None:
        return TaskManager()
    own = TaskManager(include_path=str(include_path), include_defaults=False)
    if all(own.match_tasks([task]) for task in tasks):
        return own
    return TaskManager(include_path=str(include_path))


def _said(error: Exception) -> str:
    """Return an exception's text on one line; a KeyError's is its key."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
