"""Speculation: drafts are checked in one call, and those that the network chooses too are kept.

Each id is chosen from the network's own logits after the ids before it, as without drafts: greedy
ids are the same to the bit, and so are those that a seed draws with prompt lookup or with an
assistant of another tokenizer. Where an assistant draws its drafts, sampled ids have the same
distribution. Knows rows, drafters and the steps of a session; does not know text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from ..extras import Extras
from ..leases import LeaseLike, SessionLike
from ..rows import Row
from .assistant import Assistant, session_of
from .drafts import Drafter, Schedule, compared
from .following import HOPES, Following
from .lookup import PromptLookup
from .schedules import Constant, Economy, Heuristic
from .universal import Foreign, UniversalAssistant

__all__ = [
    "LOOKED_UP", "Speculation", "looked_up", "lookup", "may_look_up", "most_drafts", "speculation",
    "steps",
]  # fmt: skip

MOST = 63  # drafts of one call: its logits take as many megabytes as a network's cache
LOOKED_UP = 10  # drafts, where the options leave it open
ASSISTANT_TOKENS = 20  # transformers' num_assistant_tokens
# What was learned of a session's costs and luck, from call to call.
_learned: WeakKeyDictionary[SessionLike, dict[object, Schedule]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Speculation:
    """How a row's drafts are found, how many are asked for, and how many of them are checked."""

    drafter: Drafter
    most: int
    schedule: Schedule


def speculation(
    session: SessionLike,
    rows: Sequence[Row],
    config: GenerationConfig,
    extras: Extras | None = None,
) -> Speculation | None:
    """Return how drafts are made; None where there are none.

    Where logits depend on the number of positions in a call, drafts could change ids, so none are
    made.
    """
    extras, assistant = extras or Extras(), None if extras is None else extras.assistant_model
    given = _given(config, extras)
    if not given:
        return None
    if assistant is not None:
        session_of(assistant, session)
    _check(rows, config, given)
    name, most = config.num_assistant_tokens_schedule, most_drafts(config)
    if not session.exact_for(most + 1):
        return None
    if count := config.prompt_lookup_num_tokens:
        return Speculation(lookup(config), most, _schedule(session, name, count, count))
    if config.assistant_early_exit is not None:
        found = session.early_exit(config.assistant_early_exit)
    else:
        found = session_of(assistant, session)
    drafter: Drafter
    if isinstance(assistant, Foreign):
        drafter = UniversalAssistant(assistant, found, session.vocab_size, config)
    else:
        drafter = Assistant(found, session.vocab_size, config, extras)
    count = config.num_assistant_tokens or ASSISTANT_TOKENS
    return Speculation(drafter, most, _schedule(session, name, found, count))


def lookup(config: GenerationConfig) -> Following | PromptLookup:
    """Return what looks up drafts: as transformers does, where the options say how many ids."""
    if (ngram := config.max_matching_ngram_size) is not None:
        return PromptLookup(ngram, config.eos_token_ids)
    return Following(config.eos_token_ids)


def most_drafts(config: GenerationConfig) -> int:
    """Return how many drafts a call checks at most."""
    if config.prompt_lookup_num_tokens:
        return min(config.prompt_lookup_num_tokens, MOST)
    if (config.num_assistant_tokens_schedule or "").startswith("heuristic"):  # it grows
        return MOST
    return min(config.num_assistant_tokens or ASSISTANT_TOKENS, MOST)


def looked_up(config: GenerationConfig, extras: Extras | None = None) -> int:
    """Return how many drafts are looked up at most where a text is looked up by itself."""
    if may_look_up(config, extras or Extras()):
        return LOOKED_UP
    return most_drafts(config) if config.prompt_lookup_num_tokens else 0


def may_look_up(config: GenerationConfig, extras: Extras) -> bool:
    """Return whether prompt lookup can be used where the options leave it open."""
    plain = config.num_beams == config.num_return_sequences == 1 and not config.guides
    plain = plain and not config.reads_layers
    return config.prompt_lookup_num_tokens is None and plain and not _given(config, extras)


def _given(config: GenerationConfig, extras: Extras) -> str:
    """Return what asks for drafts, in words; refuse more than one."""
    lookup, early = config.prompt_lookup_num_tokens, config.assistant_early_exit
    given = ["assistant_model is given"] if extras.assistant_model is not None else []
    given += [f"assistant_early_exit is {early}"] if early is not None else []
    given += [f"prompt_lookup_num_tokens is {lookup}"] if lookup else []
    if len(given) > 1:
        raise GenerationError(
            f"{' and '.join(given)}, expected one of them",
            hint="prompt_lookup_num_tokens=0 and assistant_early_exit=None turn the drafts of the"
            " file off",
        )
    return "".join(given)


def _check(rows: Sequence[Row], config: GenerationConfig, given: str) -> None:
    """Refuse what has no drafts."""
    if len(rows) > 1:
        raise GenerationError(
            f"{given} for {len(rows)} sequences, expected one: the drafts of one sequence are"
            " checked in a call",
            hint="leave drafts out for a batch, whose sequences share calls anyway",
        )
    if config.guides:
        raise GenerationError(
            f"{given} with guidance_scale {config.guidance_scale}, expected one of them: drafts are"
            " checked for one sequence, and guidance has two",
        )
    if config.num_beams > 1:
        raise GenerationError(
            f"{given} with num_beams {config.num_beams}, expected one of them: drafts are checked"
            " in greedy decoding and sampling",
        )


def _schedule(session: SessionLike, name: str | None, kind: object, count: int) -> Schedule:
    """Return the schedule of a name; two of them go on from the session's earlier calls."""
    if name == "constant":
        return Constant()
    if name == "heuristic_transient":
        return Heuristic(count)
    known = _learned.setdefault(session, {})
    if name == "heuristic":
        return known.setdefault((name, kind), Heuristic(count))
    economy = known.setdefault(kind, Economy(HOPES if isinstance(kind, int) else None))
    if isinstance(economy, Economy):
        economy.begin()
    return economy


def steps(
    lease: LeaseLike, row: Row, context: int, speculation: Speculation
) -> Iterator[tuple[Row, int]]:
    """Yield (row, id) in the order of choice until the row is done.

    The lease has one row, with the beginning of the prompt that it keeps.
    """
    begun = perf_counter()
    try:
        logits = lease.prefill(row.prompt[lease.lengths[0] :])
        speculation.drafter.start(row.past)
        token = row.take(logits, None, not row.lasts(context), begun)
        row.result.prefill_seconds = perf_counter() - begun
        yield row, token
        while not row.done:
            yield from _round(lease, row, context, speculation, begun)
        _keep(lease, row)
    finally:
        speculation.drafter.close()


def _round(
    lease: LeaseLike, row: Row, context: int, speculation: Speculation, begun: float
) -> Iterator[tuple[Row, int]]:
    """Check drafts in one call; yield those that are chosen, and the id after them."""
    drafter, schedule = speculation.drafter, speculation.schedule
    start = perf_counter()
    _keep(lease, row)
    # The id after the drafts needs no position, and is the last one that the limit allows.
    most = min(speculation.most, row.left - 1, context - len(row.past))
    drafts = drafter.propose(row.past, most, schedule)
    drafted = perf_counter()
    ids = [row.result.ids[-1], *drafts.ids]
    logits: np.ndarray = lease.score(ids) if len(ids) > 1 else lease.decode(ids)
    mark = perf_counter()
    seconds, drafting = mark - drafted, drafted - start - drafts.reading
    row.result.decode_seconds += mark - start
    chosen = list[int]()
    for place in range(len(ids)):
        draft = (ids[place + 1], drafts.drawn[place]) if place < len(drafts.drawn) else None
        token = row.take(logits[place], None, not row.lasts(context), begun, draft)
        row.result.decode_seconds += perf_counter() - mark
        chosen.append(token)
        yield row, token
        mark = perf_counter()
        if row.done or [token] != ids[place + 1 : place + 2]:
            break
    row.result.drafted_tokens += len(drafts.ids)
    row.result.accepted_tokens += place
    schedule.learn(compared(drafts, chosen, seconds, drafting))


def _keep(lease: LeaseLike, row: Row) -> None:
    """Take back the positions of drafts that were refused; the last id is not fed yet."""
    if lease.lengths[0] > (length := len(row.past) - 1):
        lease.truncate(length)
