"""What owns an ONNX Runtime session: closed once, by ``with`` too, and never copied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, NoReturn, Self

from ..errors import SessionError

__all__ = ["MODEL_UNCOPIED", "SESSION_UNCOPIED", "Owned"]

MODEL_UNCOPIED = (
    "a model cannot be pickled or copied, since its session belongs to one process",
    "load the artifact there too; both share the mapped weights",
)
SESSION_UNCOPIED = (
    "a session cannot be pickled or copied, since it belongs to the process that opened it"
)


class Owned(ABC):
    """A context manager that closes, and that says why it cannot be pickled or copied."""

    uncopied: ClassVar[tuple[str, str]]
    """The sentence of the refusal, and its hint."""

    @abstractmethod
    def close(self) -> None: ...

    def __reduce__(self) -> NoReturn:
        sentence, hint = self.uncopied
        raise SessionError(sentence, hint=hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
