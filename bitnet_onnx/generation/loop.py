"""The loop: it continues prompts of ids, for one sequence or a batch.

Knows ids, sessions and the ways to generate; does not know text or ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from ..errors import GenerationError
from .config import GenerationConfig
from .extras import Extras
from .leases import SessionLike
from .rows import GenerationResult, Prompt, Row, rows_of
from .strategies.beams import BeamSearch
from .strategies.constrained import ConstrainedSearch
from .strategies.forks import Search, Stopped, search
from .strategies.groups import GroupSearch
from .strategies.ways import Way, way

__all__ = ["GenerationResult", "TokenStream", "check_stream", "generate", "stream"]


def generate(
    session: SessionLike,
    prompts: Sequence[Prompt],
    config: GenerationConfig | None = None,
    extras: Extras | None = None,
    *,
    on_token: Callable[[int, int], bool | None] | None = None,
    stopped: Stopped | None = None,
) -> list[GenerationResult]:
    """Continue all prompts in one batch, ``num_return_sequences`` times each.

    The results of one prompt are neighbours, in the order of the prompts. Each row gets the ids
    that it would get alone, bit for bit. With a seed this holds for row 0 only, since the rows draw
    different numbers. The rows of the session are in the order of the prompts' lengths, the longest
    first. on_token(row, id) sees each id as it is chosen; a true return value ends that row with
    "stop_string". With beams, it sees the ids of the best sequences when the search is over, and
    stopped(new ids) says whether a sequence of the search ends with a stop string. Raises
    GenerationError, and SessionError when another user takes the session over.
    """
    config = config or GenerationConfig()
    rows = rows_of(session, prompts, config, extras)
    if not rows:
        return []
    how = way(session, rows, config, extras)
    lease = session.claim()
    try:
        if config.num_beams > 1:
            searches = _searches(rows, config, extras or Extras())
            search(lease, searches, session.context_length, stopped)
            chosen: Iterator[tuple[Row, int]] = iter(
                [(row, token) for row in rows for token in row.result.ids]
            )
        else:
            chosen = how.begin(lease, rows, session.context_length)
        for row, token in chosen:
            if on_token is not None and on_token(row.number, token):
                row.stop()
    finally:
        lease.release()
    return [row.result for row in rows]


def _searches(rows: list[Row], config: GenerationConfig, extras: Extras) -> list[Search]:
    """Return one search for the rows of each prompt."""
    each = config.num_return_sequences
    groups = [rows[first : first + each] for first in range(0, len(rows), each)]
    kind: type[BeamSearch | ConstrainedSearch | GroupSearch] = BeamSearch
    if config.force_words_ids is not None:
        kind = ConstrainedSearch
    elif config.num_beam_groups > 1:
        kind = GroupSearch
    return [kind(group, config, extras) for group in groups]


def stream(
    session: SessionLike,
    ids: Prompt,
    config: GenerationConfig | None = None,
    extras: Extras | None = None,
) -> TokenStream:
    """Continue one prompt, id by id; nothing is computed before the first id is asked for.

    The beginning that the prompt shares with the session's cache is not computed again. Raises the
    errors of ``generate``.
    """
    config = config or GenerationConfig()
    check_stream(config)
    (row,) = rows_of(session, [ids], config, extras)
    return TokenStream(session, row, way(session, [row], config, extras))


def check_stream(config: GenerationConfig) -> None:
    """Raise GenerationError where the options ask for more than one stream can give."""
    if config.num_beams > 1:
        raise GenerationError(
            f"num_beams is {config.num_beams} for a stream, expected 1: a search of beams knows its"
            " first token when it ends",
            hint="generate returns what the search finds; a stream or a chat needs num_beams=1, or"
            " --ignore-generation-config where the file asks for beams",
        )
    if config.num_return_sequences > 1:
        raise GenerationError(
            f"num_return_sequences is {config.num_return_sequences} for a stream, expected 1",
            hint="generate returns all of them",
        )


class TokenStream(Iterator[int]):
    """The ids of one running sequence; ``result`` grows with them.

    The stream holds the session from the first id to the last, or until it is closed. When another
    user takes the session over in between, the next id raises SessionError.
    """

    def __init__(self, session: SessionLike, row: Row, how: Way) -> None:
        self._row, self._way = row, how
        self._ids = self._run(session)
        self.result = row.result

    def __next__(self) -> int:
        return next(self._ids)

    def stop(self) -> None:
        """End the sequence after the last id, since its text completed a stop string."""
        self._row.stop()

    def close(self) -> None:
        """End the sequence here and release the session."""
        self._ids.close()

    def _run(self, session: SessionLike) -> Generator[int, None, None]:
        lease = session.claim()
        try:
            for _, token in self._way.go_on(lease, self._row, session.context_length):
                yield token
        finally:
            lease.release()
