"""Perplexity as transformers' guide "Perplexity of fixed-length models" computes it."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def guide_perplexity(model: Any, input_ids: Any, max_length: int, stride: int) -> float:
    """Follow the guide line by line; input_ids [1, S]."""
    seq_len = input_ids.size(1)
    nll_sum, n_tokens, prev_end_loc = 0.0, 0, 0
    for begin_loc in range(0, seq_len, stride):
        end_loc = min(begin_loc + max_length, seq_len)
        trg_len = end_loc - prev_end_loc
        window = input_ids[:, begin_loc:end_loc]
        target_ids = window.clone()
        target_ids[:, :-trg_len] = -100
        neg_log_likelihood = model(window, labels=target_ids).loss
        num_valid_tokens = (target_ids != -100).sum().item()
        num_loss_tokens = num_valid_tokens - target_ids.size(0)
        nll_sum += float(neg_log_likelihood) * num_loss_tokens
        n_tokens += num_loss_tokens
        prev_end_loc = end_loc
        if end_loc == seq_len:
            break
    return float(torch.tensor(nll_sum / n_tokens).exp())
