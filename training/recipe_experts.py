"""The recipe of the mixture of experts: sizes, stages and learning rates.

Knows numbers only. The model has the sizes of the bundled one, from which it starts and which
teaches it; it has experts in place of each feed-forward network. ``README.md`` says in what the run
differed.
"""

from __future__ import annotations

from dataclasses import replace

from bitnet_onnx.network.mixture import Mixture
from training.recipe import LAST, MODEL, POLISH, Recipe, Stage

EXPERTS = replace(
    MODEL,
    network="granitemoe",
    intermediate_size=256,  # of an expert: two of them are as large as the dense network
    attention_multiplier=MODEL.head_dim**-0.5,
    mixture=Mixture(num_local_experts=4, num_experts_per_tok=2, router_aux_loss_coef=0.05),
)
RECIPE = Recipe(
    model=EXPERTS,
    start_from_bundled=True,
    imitate=150,
    teach=800,
    muon_rate=0.002,
    attention_rate=0.0007,
    table_rate=0.002,
    norm_rate=0.002,
    rates=((-1, 0.0), (19, 1.0), (425, 1.0), (583, 0.845), (1300, 0.0)),
    stages=(
        Stage(0, LAST, reach=0, patience=4, new_chat=0.7),
        Stage(861, POLISH, reach=0, patience=4, new_chat=0.7),
    ),
)
