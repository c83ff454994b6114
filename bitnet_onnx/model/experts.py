"""A mixture of experts: a router, and k of E gated feed-forward networks for each token.

The experts' products are added in ascending order of the experts, each times its share. Knows
tensors and the number format; knows no network. Sources: transformers' ``GraniteMoeForCausalLM``,
arXiv 2408.13359. Shapes: T tokens, E experts, H hidden, I inner features of an expert.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.config import BitNetConfig
from ..weights.ternary import absmax_int8, absmean_experts
from .exact import gated, mixture, product, route
from .layers import StraightThrough

__all__ = ["ExpertLinear", "Experts", "FloatExpertLinear", "Router", "balance_loss"]


class Router(nn.Module):
    """``x · Wᵀ``, W float [E, H]; in evaluation with the sums of ``exact.py``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        assert config.mixture is not None
        self.layer = nn.Linear(config.hidden_size, config.mixture.num_local_experts, bias=False)
        nn.init.normal_(self.layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of all experts: x [T, H] -> [T, E]."""
        return self.layer(x) if self.training else product(x, self.layer.weight)


class FloatExpertLinear(nn.Module):
    """A float linear of every expert: weight [E, N, K]."""

    weight: Tensor

    def __init__(self, experts: int, in_features: int, out_features: int, parts: int = 1) -> None:
        super().__init__()
        shape = (experts, out_features, in_features)
        self.weight = nn.Parameter(torch.empty(shape).normal_(0, 0.02))
        self.parts = parts

    def forward(self, x: Tensor, expert: int) -> Tensor:
        """Multiply x [T, K] by one expert's matrix -> [T, N]."""
        weight = self.weight[expert]
        return F.linear(x, weight) if self.training else product(x, weight)


class ExpertLinear(FloatExpertLinear):
    """A BitLinear of every expert: W1.58A8, with a scale for each expert and part of its rows.

    ``weight`` [E, N, K] is the float master or, after ``set_ternary``, int8 codes with their
    ``weight_scale`` [E, parts]. ``parts`` is 2 where gate and up are the halves of the rows.
    """

    weight_scale: Tensor | None

    def __init__(self, experts: int, in_features: int, out_features: int, parts: int = 1) -> None:
        super().__init__(experts, in_features, out_features, parts)
        self.register_buffer("weight_scale", None)

    def set_ternary(self, codes: Tensor, scale: Tensor) -> None:
        """Store int8 codes [E, N, K] and their multipliers [E, parts] in place of masters."""
        del self.weight
        self.register_buffer("weight", codes.to(torch.int8))
        self.weight_scale = scale.float()

    def ternary(self, expert: int) -> tuple[Tensor, Tensor]:
        """Return one expert's codes (float32 [N, K]) and the multiplier of each row [N]."""
        if self.weight_scale is None:
            codes, scale = absmean_experts(self.weight[expert : expert + 1], self.parts)
            codes, scale = codes[0], scale[0]
        else:
            codes, scale = self.weight[expert].float(), self.weight_scale[expert]
        return codes, scale.repeat_interleave(len(codes) // self.parts)

    def forward(self, x: Tensor, expert: int) -> Tensor:
        if self.training and self.weight_scale is None:
            return self._forward_straight_through(x, expert)
        codes, scale = self.ternary(expert)
        quantized, act_scale = absmax_int8(x)
        return F.linear(quantized, codes) * (scale / act_scale)

    def _forward_straight_through(self, x: Tensor, expert: int) -> Tensor:
        with torch.no_grad():
            codes, scale = self.ternary(expert)
            quantized, act_scale = absmax_int8(x)
            weight, rounded = codes * scale.unsqueeze(-1), quantized / act_scale
        return F.linear(
            StraightThrough.apply(x, rounded), StraightThrough.apply(self.weight[expert], weight)
        )


class Experts(nn.Module):
    """``sum of share_e * down_e(silu(gate_e(x)) * up_e(x))`` over the k experts of the router.

    The shares are the softmax over the k largest logits: ``exact.route``. Gate and up are the first
    and the second half of the rows of ``input_linear``. Some networks limit both: ``exact.gated``.
    """

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        assert config.mixture is not None
        hidden, inner = config.hidden_size, config.intermediate_size
        count, self.k = config.mixture.num_local_experts, config.mixture.num_experts_per_tok
        self.limit = config.mixture.limit
        linear = FloatExpertLinear if config.float_linears else ExpertLinear
        self.router = Router(config)
        self.input_linear = linear(count, hidden, 2 * inner, parts=2)
        self.output_linear = linear(count, inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [..., H] -> [..., H]."""
        tokens = x.flatten(0, -2)
        chosen, shares = self.route(self.router(tokens))
        return mixture(tokens, chosen, shares, self.expert).view_as(x)

    def expert(self, number: int, x: Tensor) -> Tensor:
        """Compute one expert: x [T, H] -> [T, H]."""
        gate, up = self.input_linear(x, number).chunk(2, dim=-1)
        if not self.training:
            return self.output_linear(gated(gate, up, self.limit), number)
        if self.limit:
            gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        return self.output_linear(F.silu(gate) * up, number)

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the experts [T, k] of each token, and their shares."""
        if not self.training:
            return route(logits, self.k)
        values, chosen = logits.topk(self.k, dim=-1)
        return chosen, values.softmax(dim=-1)


def balance_loss(logits: list[Tensor], k: int, mask: Tensor | None) -> Tensor:
    """Return the loss that is least where experts are used evenly (arXiv 2101.03961, equation 4).

    ``E * sum over e of f_e * P_e``: f_e is the number of times that expert e is among the k of a
    token, and P_e its softmax over all experts, both averaged over the tokens of all layers.
    logits: [T, E] of each layer; mask: 0 where a token is padding, [B, S] with B * S = T.
    """
    shares = torch.cat(logits).softmax(dim=-1)
    count = shares.shape[-1]
    chosen = F.one_hot(shares.topk(k, dim=-1).indices, count).sum(dim=-2).to(shares.dtype)
    weights = shares.new_ones(len(shares), 1)
    if mask is not None:
        weights = mask.reshape(-1, 1).to(shares.dtype).repeat(len(logits), 1)
    used, likely = ((part * weights).sum(dim=0) / weights.sum() for part in (chosen, shares))
    return count * (used * likely).sum()
