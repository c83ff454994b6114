"""What is minimized: the loss of the answers, and at first how badly each part imitates a teacher.

Knows the network's layers and batches; does not know optimizers or steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bitnet_onnx.model import IGNORED, BitNetForCausalLM, rotary_tables
from bitnet_onnx.model.experts import balance_loss
from bitnet_onnx.model.outputs import recording
from training.batches import Batch


class Context(NamedTuple):
    """What attention needs beside its input: rotary tables, and the mask of a batch's chats."""

    rope: tuple[Tensor, Tensor]
    mask: Tensor

    @classmethod
    def of(cls, model: BitNetForCausalLM, batch: Batch) -> Context:
        same = batch.chats.unsqueeze(1) == batch.chats.unsqueeze(2)
        positions = torch.arange(batch.ids.shape[1]).unsqueeze(0)
        # The mask is [rows, 1, length, length].
        return cls(rotary_tables(model.config, positions), same.tril().unsqueeze(1))


def attended(layer: Any, x: Tensor, context: Context) -> Tensor:
    y, _ = layer.self_attn(layer.input_layernorm(x), *context, None)
    return y


def fed_forward(layer: Any, x: Tensor) -> Tensor:
    return layer.feed_forward(layer.post_attention_layernorm(x))


def answer_logits(model: BitNetForCausalLM, batch: Batch) -> Tensor:
    """Return the model's own logits, computed only at the positions before an answer's tokens.

    Above the last attention positions are independent: skipping the others saves a fifth of the
    time.
    """
    context = Context.of(model, batch)
    x = model.model.first(model.model.embed_tokens(batch.ids))
    last: Any  # torch types a module's attributes as tensors or modules
    *body, last = model.model.layers
    for layer in body:
        x, _ = layer(x, *context, None)
    x = (x + attended(last, x, context))[:, :-1][batch.labels[:, 1:] != IGNORED]
    x = x + fed_forward(last, x)
    return F.linear(model.model.last(x), model.head_weight) / model.config.logits_scaling


def answer_loss(
    model: BitNetForCausalLM, batch: Batch, teacher: BitNetForCausalLM | None = None
) -> Tensor:
    """Return the loss of the answers, half of it from the teacher's distributions if there is one.

    The balance loss of the config's experts is added.
    """
    labels, routed = batch.labels[:, 1:], model.config.mixture is not None
    with recording(model, attentions=False, router_logits=routed) as found:
        logits = answer_logits(model, batch)
    loss = F.cross_entropy(logits, labels[labels != IGNORED])
    if teacher is not None:
        with torch.no_grad():
            taught = answer_logits(teacher, batch).softmax(dim=-1)
        loss = (loss + F.cross_entropy(logits, taught)) / 2
    return loss + balance(model, found.router_logits)


def balance(model: BitNetForCausalLM, logits: list[Tensor]) -> Tensor | float:
    """Return the balance loss of the config's experts times its factor; 0 without experts.

    It is the mean over layers. That of transformers adds the layers' counts up first, so that an
    expert that one layer never chooses can be made up for by another layer.
    """
    mixture = model.config.mixture
    if mixture is None:
        return 0.0
    found = [balance_loss([layer], mixture.num_experts_per_tok, None) for layer in logits]
    return mixture.router_aux_loss_coef * torch.stack(found).mean()


def imitation_loss(model: BitNetForCausalLM, batch: Batch, teacher: BitNetForCausalLM) -> Tensor:
    """Return the squared error of each attention and each feed-forward network, given its input.

    Inputs and expected outputs are the teacher's, so that no error grows with the depth. Each error
    is relative to the output's squares; the loss is their mean, plus the balance loss.
    """
    context, routed = Context.of(model, batch), model.config.mixture is not None
    with torch.no_grad():
        x = teacher.model.first(teacher.model.embed_tokens(batch.ids))
    errors: list[Tensor] = []
    with recording(model, attentions=False, router_logits=routed) as found:
        for layer, taught in zip(model.model.layers, teacher.model.layers, strict=True):
            with torch.no_grad():
                expected = attended(taught, x, context)
            errors.append(relative_error(attended(layer, x, context), expected))
            x = x + expected
            with torch.no_grad():
                expected = fed_forward(taught, x)
            errors.append(relative_error(fed_forward(layer, x), expected))
            x = x + expected
    loss = torch.stack(errors).mean()
    return loss + balance(model, found.router_logits)


def relative_error(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).square().sum() / expected.square().sum()
