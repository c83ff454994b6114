"""Turn the dense bundled model into the start of a mixture of experts.

"Sparse upcycling" (arXiv 2212.05055) copies a dense feed-forward network into every expert. Here an
expert is smaller than that network, so each takes a part of its inner features. What the dense
network has and the mixture has not is folded into masters as far as it is constant: the norms
before the two output projections, by their weights and their mean on one batch. Knows both
networks; does not know optimizers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitnet_onnx.model import BitNetForCausalLM
from training.batches import Batch
from training.loss import Context, attended, fed_forward


@torch.no_grad()
def upcycle(model: BitNetForCausalLM, dense: BitNetForCausalLM, batch: Batch) -> None:
    """Set the masters of a mixture; ``dense`` has the same sizes except the experts'."""
    model.model.embed_tokens.weight.copy_(dense.model.embed_tokens.weight)
    model.model.norm.weight.copy_(dense.model.norm.weight)
    context = Context.of(dense, batch)
    x = dense.model.first(dense.model.embed_tokens(batch.ids))
    layer: Any  # torch types a module's attributes as tensors or modules
    taught: Any
    for layer, taught in zip(model.model.layers, dense.model.layers, strict=True):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            getattr(layer, norm).weight.copy_(getattr(taught, norm).weight)
        attention, known = layer.self_attn, taught.self_attn
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(attention, name).weight.copy_(master(getattr(known, name)))
        attention.o_proj.weight.copy_(master(known.o_proj) * known.attn_sub_norm.weight)
        expected = attended(taught, x, context)
        rescale(attention.o_proj.weight, attended(layer, x, context), expected)
        x = x + expected
        split(layer.block_sparse_moe, taught.mlp)
        expected = fed_forward(taught, x)
        rescale(layer.block_sparse_moe.output_linear.weight, fed_forward(layer, x), expected)
        x = x + expected


def master(linear: Any) -> Tensor:
    """Return a master that absmean turns into the linear's own codes and scale."""
    codes, scale = linear.ternary()
    return codes * (scale / codes.abs().mean())


def split(experts: Any, mlp: Any) -> None:
    """Give each expert a part of the inner features; over all experts each occurs equally often."""
    first, last = experts.input_linear.weight, experts.output_linear.weight
    count, inner = last.shape[0], last.shape[2]
    features = mlp.down_proj.weight.shape[1]
    rounds = count * inner // features
    order = torch.cat([torch.randperm(features) for _ in range(rounds)])
    down = master(mlp.down_proj) * mlp.ffn_sub_norm.weight
    for expert, chosen in enumerate(order.chunk(count)):
        gate, up = (master(linear)[chosen] for linear in (mlp.gate_proj, mlp.up_proj))
        first[expert].copy_(torch.cat([gate, up]))
        last[expert].copy_(down[:, chosen])


def rescale(weight: Tensor, found: Tensor, expected: Tensor) -> None:
    """Multiply the last weight of a part so that its output is as large as expected."""
    weight.mul_((expected.square().mean() / found.square().mean()).sqrt())
