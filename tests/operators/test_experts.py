"""Mixtures of experts: torch, the function bodies, the stock forms, the library, and transformers.

Int8Experts and TernaryExperts sum integers, so all give the same bits. Float sums of Bf16Experts
differ in their order between torch, ONNX Runtime and the library; here their inputs are whole
numbers, whose sums are exact in any order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.model import exact
from bitnet_onnx.weights.ternary import unpack
from tests.support.nodes.experts import KINDS, in_torch, inputs, run
from tests.support.nodes.one_node import on_every_kernel

TERNARY, BF16, INT8 = KINDS
every = pytest.mark.parametrize("kind", KINDS)
# X's dimensions, E, k and I: one token, few and many; one expert, all of them, numbers that are no
# power of two
SIZES = [
    ((70,), 1, 1, 40),
    ((1, 1, 300), 8, 2, 65),
    ((2, 3, 64), 5, 5, 257),
    ((1, 40, 256), 40, 8, 64),
    ((19, 33), 4, 1, 30),
    ((3, 200, 64), 32, 8, 16),
]
sizes = pytest.mark.parametrize(("shape", "experts", "k", "inner"), SIZES, ids=str)


def check_bits(kind: str, made: dict[str, np.ndarray], k: int) -> np.ndarray:
    """Torch, the body, and the library with one thread and two; returns their result."""
    expected = in_torch(kind, made, k)
    results = [run(kind, made, k, library=False)]
    results += [run(kind, made, k, library=True, threads=threads) for threads in (1, 2)]
    for found in results:
        np.testing.assert_array_equal(found, expected, strict=True)
    return expected


def whole(made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with a router and an X of whole numbers and small weights."""
    made = {name: array.copy() for name, array in made.items()}
    for name in ("X", "router"):
        made[name] = made[name].round()
    return made


@sizes
@pytest.mark.parametrize("kind", [TERNARY, INT8])
def test_torch_the_body_and_the_library_give_the_same_bits(
    kind: str, shape: tuple[int, ...], experts: int, k: int, inner: int
) -> None:
    y = check_bits(kind, whole(inputs(kind, shape, experts, inner)), k)
    assert np.isfinite(y).all()
    assert y.any()


@sizes
def test_float_experts_differ_by_the_order_of_sums_alone(
    shape: tuple[int, ...], experts: int, k: int, inner: int
) -> None:
    made = whole(inputs(BF16, shape, experts, inner))
    expected = in_torch(BF16, made, k)
    for library in (True, False):
        y = run(BF16, made, k, library)
        np.testing.assert_allclose(y, expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(run(BF16, made, k, True, 2), run(BF16, made, k, True, 1))


@every
def test_a_limit_binds_gates_from_above_and_ups_from_both_sides(kind: str) -> None:
    made = whole(inputs(kind, (5, 64), 6, 40))
    free = in_torch(kind, made, 3)
    for limit in (0.25, 2.0, 7.0):
        expected = in_torch(kind, made, 3, limit)
        assert (limit == 7.0) or not np.array_equal(expected, free)
        packed = [] if kind == BF16 else [ops.stock_functions([]), ops.stock_functions([kind])]
        found = [run(kind, made, 3, library, limit=limit) for library in (True, False)]
        found += [run(kind, made, 3, False, functions=form, limit=limit) for form in packed]
        for y in found:
            if kind == BF16:
                np.testing.assert_allclose(y, expected, rtol=2e-6, atol=1e-6)
            else:
                np.testing.assert_array_equal(y, expected, strict=True)
    assert np.array_equal(in_torch(kind, made, 3, 1e9), free)


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_a_limit_below_0_is_refused(limit: float) -> None:
    made = inputs(INT8, (2, 8), 2, 4)
    with pytest.raises(Exception, match=r"limit is .*, expected 0 or more"):
        run(INT8, made, 1, True, limit=limit)


@pytest.mark.parametrize("packed", [True, False])
@sizes
def test_the_stock_forms_give_the_same_bits(
    packed: bool, shape: tuple[int, ...], experts: int, k: int, inner: int
) -> None:
    made = whole(inputs(TERNARY, shape, experts, inner))
    forms = ops.stock_functions([TERNARY] if packed else [])
    y = run(TERNARY, made, k, library=False, functions=forms)
    np.testing.assert_array_equal(y, in_torch(TERNARY, made, k), strict=True)


def test_the_formula_in_numpy() -> None:
    """Expert by expert and token by token, with every float32 operation by itself."""
    made, k = whole(inputs(TERNARY, (6, 70), 7, 40)), 3
    x, total = torch.from_numpy(made["X"]), np.zeros((6, 70), np.float32)
    logits = (made["X"].astype(np.float64) @ made["router"].T.astype(np.float64)).astype(np.float32)

    def linear(x: torch.Tensor, packed: np.ndarray, scale: np.float32) -> torch.Tensor:
        act_scale = np.float32(127) / max(float(x.abs().max()), 1e-5)
        q = (x * torch.tensor(act_scale)).round()
        sums = q @ unpack(torch.from_numpy(packed), len(x)).float().T
        return sums * torch.tensor(scale / np.float32(act_scale))

    for token in range(6):
        order = sorted(range(7), key=lambda e: (-logits[token, e], e))[:k]
        kept = torch.from_numpy(logits[token])[sorted(order)]
        weights = exact.exponential(kept - kept.max()).double()
        shares = (weights / weights.sum()).float()
        for share, e in zip(shares, sorted(order), strict=True):
            gate, up = (
                linear(x[token], made["gate_up"][e, half], made["gate_up_scale"][e, i])
                for i, half in enumerate((slice(40), slice(40, 80)))
            )
            inside = exact.silu(gate) * up
            total[token] += (linear(inside, made["down"][e], made["down_scale"][e]) * share).numpy()
    np.testing.assert_array_equal(run(TERNARY, made, k, library=True), total)


@pytest.mark.parametrize("experts", [4, 8, 40])
def test_routing_is_that_of_transformers(experts: int) -> None:
    """Its own class in float32, on the dequantized weights of Bf16Experts."""
    from transformers import GraniteMoeConfig
    from transformers.models.granitemoe.modeling_granitemoe import GraniteMoeMoE

    made = inputs(BF16, (1, 21, 64), experts, 48)
    config = GraniteMoeConfig(
        hidden_size=64, intermediate_size=48, num_local_experts=experts, num_experts_per_tok=3
    )
    config._experts_implementation = "eager"
    theirs = GraniteMoeMoE(config).eval()
    names = {
        "router.weight": "router", "experts.gate_up_proj": "gate_up", "experts.down_proj": "down",
    }  # fmt: skip
    theirs.load_state_dict(
        {key: torch.from_numpy(made[name].astype(np.float32)) for key, name in names.items()}
    )
    with torch.no_grad():
        expected = theirs(torch.from_numpy(made["X"]))
    expected = expected[0] if isinstance(expected, tuple) else expected
    y = run(BF16, made, 3, library=True)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5, atol=2e-5)


@every
def test_the_lowest_expert_wins_a_tie(kind: str) -> None:
    """All logits are equal, so the other experts may hold anything."""
    made = whole(inputs(kind, (5, 64), 9, 40))
    made["router"][:] = made["router"][:1]
    y = run(kind, made, 3, library=True)
    np.testing.assert_allclose(run(kind, made, 3, library=False), y, rtol=2e-6, atol=1e-6)
    made["gate_up"][3:], made["down"][3:] = made["gate_up"][0], made["down"][0]
    np.testing.assert_array_equal(run(kind, made, 3, library=True), y)


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stays_in_its_row(kind: str, value: float) -> None:
    made = inputs(kind, (4, 70), 5, 40)
    made["X"][1, 7] = made["X"][3, 0] = value
    for y in (run(kind, made, 2, True), run(kind, made, 2, False), in_torch(kind, made, 2)):
        assert np.isnan(y).all(1).tolist() == np.isnan(y).any(1).tolist() == [0, 1, 0, 1]


@every
def test_nothing_in_nothing_out(kind: str) -> None:
    made = inputs(kind, (2, 0, 70), 5, 40)
    assert run(kind, made, 2, True).shape == (2, 0, 70)
    assert run(kind, made, 2, False).shape == (2, 0, 70)


def test_every_kernel_gives_the_same_bits() -> None:
    code = (
        "from tests.support.nodes.experts import KINDS, inputs, run\n"
        "for kind in KINDS:\n"
        "    for tokens in (1, 3, 40):\n"
        "        y = run(kind, inputs(kind, (tokens, 300), 12, 130), 4, True)\n"
        "        print(y.tobytes().hex())"
    )
    assert len(set(on_every_kernel(code).values())) == 1


@every
@pytest.mark.parametrize("tokens", [1, 2, 30])
def test_the_experts_that_no_token_goes_to_are_not_read(kind: str, tokens: int) -> None:
    made = inputs(kind, (tokens, 64), 40, 32)
    counters = native.Counters()
    run(kind, made, 2, True, counters=counters)
    logits = exact.product(*(torch.from_numpy(made[name]) for name in ("X", "router")))
    used = len(exact.route(logits, 2)[0].unique())
    assert counters.skipped().experts == (40 - used) * (
        made["gate_up"][0].nbytes + made["down"][0].nbytes
    )


def bad(kind: str) -> dict[str, tuple[str, np.ndarray, str]]:
    made = inputs(kind, (2, 70), 5, 40)
    gate_up, down = made["gate_up"], made["down"]
    cases = {
        "scalar X": ("X", np.ones((), np.float32), "X is a scalar"),
        "router of another width": ("router", made["router"][:, :69], "router has 69 columns"),
        "flat router": ("router", made["router"][0], "router has 1 dimensions, expected 2"),
        "no experts": ("router", made["router"][:0], "router has 0 rows (E), expected 1 to 1024"),
        "fewer experts than k": ("router", made["router"][:1], "k is 2, expected 1 to E = 1"),
        "more experts": ("router", np.ones((6, 70), np.float32), "gate_up has the shape [5, 80, "),
        "odd gate_up": ("gate_up", gate_up[:, :79], "gate_up has the shape [5, 79, "),
        "one matrix": ("gate_up", gate_up[0], "gate_up has the shape [80, "),
        "narrow gate_up": ("gate_up", gate_up[:, :, :-1], "expected [E, 2 * I, columns of H]"),
        "empty gate_up": ("gate_up", gate_up[:, :0], "gate_up has the shape [5, 0, "),
        "another inner size": ("gate_up", np.repeat(gate_up, 7, 1), "down has the shape [5, 70, "),
        "another width": ("down", down[:, :69], "down has the shape [5, 69, "),
        "fewer downs": ("down", down[:4], "down has the shape [4, 70, "),
    }
    for name in ("gate_up_scale", "down_scale"):
        if name in made:
            cases[f"short {name}"] = (name, made[name][:4], f"{name} has the shape [4")
            cases[f"deep {name}"] = (name, made[name][None], f"{name} has the shape [1, 5")
    return cases


@every
def test_a_bad_input_is_a_sentence(kind: str) -> None:
    for case, (name, value, sentence) in bad(kind).items():
        made = inputs(kind, (2, 70), 5, 40) | {name: value}
        with pytest.raises(Exception, match=f"{kind}: ") as caught:
            run(kind, made, 2, library=True, functions=[])
        assert sentence in str(caught.value), case


@every
@pytest.mark.parametrize(
    ("k", "sentence"),
    [
        (0, "k is 0, expected 1 to E = 5"),
        (-1, "k is -1, expected 1 to E = 5"),
        (6, "k is 6, expected 1 to E = 5"),
        (2**40, "k is 1099511627776, expected 1 to E = 5"),
        (None, "the attribute k is missing, expected an integer"),
    ],
)
def test_a_bad_k_is_a_sentence(kind: str, k: int | None, sentence: str) -> None:
    with pytest.raises(Exception, match=f"{kind}: ") as caught:
        run(kind, inputs(kind, (2, 70), 5, 40), k, library=True, functions=[])
    assert sentence in str(caught.value)
