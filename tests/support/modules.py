"""What decides how a module of torch computes, as plain values."""

from __future__ import annotations

from functools import partial
from types import FunctionType
from typing import Any

from torch import Tensor, nn

__all__ = ["content"]


def content(value: Any, root: nn.Module) -> Any:
    """Return a value, such as a module with all that it holds, so that ``repr`` tells all of it.

    A submodule of ``root`` is told in its place, and elsewhere by its name.
    """
    if isinstance(value, Tensor):
        return value.shape, value.dtype, None if value.is_meta else value.tolist()
    if isinstance(value, nn.Module):
        names = [name for name, module in root.named_modules() if module is value]
        if value is not root and names:
            return names
        parts = [root, *dict.fromkeys(root.modules())] if value is root else [value]
        return [(type(part), _held(part, root)) for part in parts]
    if isinstance(value, partial):
        return value.func, [content(part, root) for part in (*value.args, *value.keywords.items())]
    if isinstance(value, dict):
        return {key: content(part, root) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [content(part, root) for part in value]
    if isinstance(value, FunctionType):  # one that is made anew for each network is the same code
        cells = [content(cell.cell_contents, root) for cell in value.__closure__ or ()]
        return value.__code__, cells, value.__defaults__, value.__kwdefaults__
    return value


def _held(module: nn.Module, root: nn.Module) -> dict[str, Any]:
    held = {name: value for name, value in vars(module).items() if not name.endswith("_hooks")}
    hooks = {name: list(value.values()) for name, value in vars(module).items() if name not in held}
    return {name: content(value, root) for name, value in (held | hooks).items()}
