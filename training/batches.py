"""Rows of questions and answers as tensors.

Every batch is a function of the recipe's seed, the step and the process. Knows tokens; does not
know the network.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from bitnet_onnx.model import IGNORED
from training import data
from training import tokenizer as tok
from training.recipe import Recipe


class Batch(NamedTuple):
    """Tensors [rows, length]; only answers have ``labels``; ``chats`` numbers a row's chats."""

    ids: Tensor
    labels: Tensor
    chats: Tensor


def make_batch(tokenizer: Tokenizer, recipe: Recipe, step: int, rank: int) -> Batch:
    """Fill the rows of one step of one process with questions and answers."""
    stage = recipe.stage(step)
    stream = data.training(f"{recipe.seed}/{step}/{rank}", stage.shares, stage.reach)
    luck = random.Random(f"{recipe.seed}/{step}/{rank}/chats")
    ids = torch.full((recipe.rows, recipe.length), tok.PAD_ID)
    labels, chats = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for row in range(recipe.rows):
        ids[row, 0], end, misfits = tok.BOS_ID, 1, 0
        while end < recipe.length - 8 and misfits <= stage.patience:
            asked, turn = encode_turn(tokenizer, next(stream))
            if end > 1 and luck.random() < stage.new_chat:
                asked, turn = [tok.BOS_ID, *asked], [tok.BOS_ID, *turn]
            start, stop = end + len(asked), end + len(turn)
            if stop > recipe.length:
                misfits += 1
                continue
            ids[row, end:stop] = torch.tensor(turn)
            labels[row, start:stop] = ids[row, start:stop]
            chats[row, end:] += turn[0] == tok.BOS_ID
            end = stop
    return Batch(ids, labels, chats)


def encode_turn(tokenizer: Tokenizer, example: data.Example) -> tuple[list[int], list[int]]:
    """Return the ids of the prompt, and of the whole turn.

    Prompt and answer are encoded separately, as in generation: a token never spans both.
    """
    asked = tokenizer.encode(tok.prompt(example.question), add_special_tokens=False).ids
    answer = tokenizer.encode(example.answer, add_special_tokens=False).ids
    return asked, [*asked, *answer, tok.EOT_ID]
