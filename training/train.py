"""Train the bundled model: one command, resumable, on two CPU cores.

Knows batches, optimizers, processes and checkpoints; the numbers are in ``recipe.py``. Every batch
is a function of the seed, the step and the process, so that a resumed run sees the same batches as
an uninterrupted one. Two processes of one thread each synchronize twice a step; they are faster
than one process of two threads, which synchronize in each of a thousand small operations.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bitnet_onnx.model import IGNORED, BitLinear, BitNetForCausalLM, rotary_tables
from bitnet_onnx.weights.checkpoint.write import tensors_of, write_checkpoint
from training import data
from training import tokenizer as tok
from training.evaluate import accuracy
from training.optimizer import Muon, average_gradients, split_parameters
from training.recipe import MODEL, Recipe


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


def answer_loss(model: BitNetForCausalLM, batch: Batch) -> Tensor:
    """Return the model's own loss, computed only at the positions that labels need.

    Above the last attention positions are independent: skipping the others saves a fifth of the
    time.
    """
    ids, labels, chats = batch
    same = chats.unsqueeze(1) == chats.unsqueeze(2)
    mask = same.tril().unsqueeze(1)  # [rows, 1, length, length]
    rope = rotary_tables(model.config, torch.arange(ids.shape[1]).unsqueeze(0))
    x = model.model.embed_tokens(ids)
    last: Any  # torch types a module's attributes as tensors or modules
    *body, last = model.model.layers
    for layer in body:
        x, _ = layer(x, rope, mask, None)
    attended, _ = last.self_attn(last.input_layernorm(x), rope, mask, None)
    asked = labels[:, 1:] != IGNORED
    x = (x + attended)[:, :-1][asked]
    x = x + last.mlp(last.post_attention_layernorm(x))
    return F.cross_entropy(F.linear(model.model.norm(x), model.head_weight), labels[:, 1:][asked])


@torch.no_grad()
def initialize(model: BitNetForCausalLM) -> None:
    """Draw token and layers of similar size in the residual stream; int8 rounds a small token away.

    So the table is large and, as it is also the head, the last norm is small.
    """
    for name, module in model.named_modules():
        if isinstance(module, BitLinear):
            into_residual = name.endswith(("o_proj", "down_proj"))
            module.weight.normal_(0, 0.02 if into_residual else module.in_features**-0.5)
    model.model.embed_tokens.weight.normal_(0, 0.7)
    model.model.norm.weight.fill_(0.04)


@dataclass
class Run:
    """A training run in a work folder, which saves its state there and resumes from it."""

    folder: Path
    recipe: Recipe
    model: BitNetForCausalLM
    tokenizer: Tokenizer
    optimizers: list[torch.optim.Optimizer]
    step: int = 0

    @classmethod
    def start(cls, folder: Path, recipe: Recipe) -> Run:
        """Make a new run, or resume the one that the folder holds."""
        saved = folder / "state.pt"
        torch.manual_seed(recipe.seed)
        model = BitNetForCausalLM(MODEL).train()
        initialize(model)
        matrices, norms = split_parameters(model)
        optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.muon_rate),
            torch.optim.AdamW(
                [
                    {"params": [model.model.embed_tokens.weight], "lr": recipe.table_rate},
                    {"params": norms, "lr": recipe.norm_rate},
                ],
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        run = cls(folder, recipe, model, tokenizer, optimizers)
        if saved.exists():
            run.load(torch.load(saved, weights_only=True))
        return run

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        """Write a temporary file, then rename it: a killed run leaves a complete state behind."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, self.folder / "state.tmp")
        os.replace(self.folder / "state.tmp", self.folder / "state.pt")

    def train_step(self) -> float:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.recipe.rate(self.step)
        batch = make_batch(self.tokenizer, self.recipe, self.step, dist.get_rank())
        loss = answer_loss(self.model, batch)
        loss.backward()
        average_gradients(self.model.parameters())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def report(self, questions: int) -> None:
        examples = data.held_out(questions, seed=1)
        scores = accuracy(self.model, self.tokenizer, examples)
        print("  held out: " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)

    def publish(self, folder: Path) -> None:
        """Write the model in the published packed layout, with its tokenizer files."""
        folder.mkdir(parents=True, exist_ok=True)
        tok.save(self.tokenizer, self.folder)
        config = replace(MODEL, quantization="offline")
        texts = {name: (self.folder / name).read_bytes() for name in tok.FILES}
        write_checkpoint(folder, config, tensors_of(config, self.model.state_dict()), texts)


def work(rank: int, recipe: Recipe, args: argparse.Namespace) -> None:
    """Run one of the processes; the first one also reports, saves and publishes."""
    torch.set_num_threads(1)
    meeting = (args.work / "meeting").absolute()
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=recipe.processes
    )
    run = Run.start(args.work, recipe)
    dist.barrier()
    started = saved = time.monotonic()
    first, losses = run.step, list[float]()
    while run.step < recipe.rates[-1][0]:
        losses.append(run.train_step())
        if rank:
            continue
        now = time.monotonic()
        if run.step % 50 == 0:
            pace = (now - started) / (run.step - first)
            mean, losses = sum(losses) / len(losses), []
            print(f"step {run.step}  loss {mean:.4f}  {pace:.2f} s/step", flush=True)
        if now - saved > args.save_every:
            run.save()
            saved = now
        if run.step % args.report_every == 0:
            run.report(180)
    if rank == 0:
        run.save()
        run.report(1200)
        run.publish(args.out)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="work folder")
    parser.add_argument("--out", type=Path, default=Path("bitnet_onnx/demo"))
    parser.add_argument("--report-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--save-every", type=float, default=180.0, metavar="SECONDS")
    args = parser.parse_args()
    recipe = Recipe()
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "meeting").unlink(missing_ok=True)
    if not (args.work / "tokenizer.json").exists():
        tok.train().save(str(args.work / "tokenizer.json"))
    context = mp.get_context("spawn")
    others = [
        context.Process(target=work, args=(rank, recipe, args), daemon=True)
        for rank in range(1, recipe.processes)
    ]
    for process in others:
        process.start()
    work(0, recipe, args)
    for process in others:
        process.join()


if __name__ == "__main__":
    main()
