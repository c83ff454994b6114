"""Train the bundled model or its mixture of experts: one command, resumable, on two CPU cores.

Knows optimizers, processes and checkpoints; the numbers are in ``recipe.py`` and
``recipe_experts.py``. Every batch is a function of the seed, the step and the process, so that a
resumed run sees the same batches as an uninterrupted one. Two processes of one thread each
synchronize twice a step; they are faster than one process of two threads, which synchronize in each
of a thousand small operations.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tokenizers import Tokenizer
from torch import Tensor

from bitnet_onnx.model import BitLinear, BitNetForCausalLM
from bitnet_onnx.weights.checkpoint.write import tensors_of, write_checkpoint
from bitnet_onnx.weights.open import open_checkpoint
from training import data, recipe_experts
from training import tokenizer as tok
from training.batches import Batch, make_batch
from training.evaluate import accuracy
from training.loss import answer_loss, imitation_loss
from training.optimizer import Muon, average_gradients, split_parameters
from training.recipe import Recipe
from training.upcycle import upcycle

BUNDLED = Path("bitnet_onnx/demo")


class Job(NamedTuple):
    """A recipe, its folder of state, and the folder of the trained model."""

    recipe: Recipe
    work: Path
    out: Path


JOBS = {
    "bundled": Job(Recipe(), Path("build/training"), BUNDLED),
    "experts": Job(
        recipe_experts.RECIPE, Path("build/training-experts"), Path("tests/training/experts")
    ),
}


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


def bundled() -> BitNetForCausalLM:
    """Return the bundled model, which computes in the fast float32 way of training."""
    return BitNetForCausalLM.from_checkpoint(open_checkpoint(BUNDLED)).train()


def optimizers_of(model: BitNetForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices and AdamW for the rest; a group's "peak" is its full rate."""
    split = split_parameters(model)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(
            [
                {"params": split.attention, "lr": recipe.attention_rate or recipe.muon_rate},
                {"params": split.feed_forward},
            ],
            lr=recipe.muon_rate,
        ),
        torch.optim.AdamW(
            [
                {"params": [model.model.embed_tokens.weight], "lr": recipe.table_rate},
                {"params": split.small, "lr": recipe.norm_rate},
            ],
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


@dataclass
class Run:
    """A training run in a work folder, which saves its state there and resumes from it."""

    folder: Path
    recipe: Recipe
    model: BitNetForCausalLM
    tokenizer: Tokenizer
    optimizers: list[torch.optim.Optimizer]
    teacher: BitNetForCausalLM | None = None
    step: int = 0

    @classmethod
    def start(cls, folder: Path, recipe: Recipe) -> Run:
        """Make a new run, or resume the one that the folder holds."""
        saved = folder / "state.pt"
        torch.manual_seed(recipe.seed)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        teacher = bundled() if recipe.start_from_bundled else None
        model = BitNetForCausalLM(recipe.model).train()
        if teacher is None:
            initialize(model)
        elif not saved.exists():
            upcycle(model, teacher, make_batch(tokenizer, recipe, 0, 0))
        run = cls(folder, recipe, model, tokenizer, optimizers_of(model, recipe), teacher)
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
        loss = self.loss(batch)
        loss.backward()
        average_gradients(self.model.parameters())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def loss(self, batch: Batch) -> Tensor:
        if self.teacher is not None and self.step < self.recipe.imitate:
            return imitation_loss(self.model, batch, self.teacher)
        taught = self.step < self.recipe.teach
        return answer_loss(self.model, batch, self.teacher if taught else None)

    def report(self, questions: int) -> None:
        examples = data.held_out(questions, seed=1)
        scores = accuracy(self.model, self.tokenizer, examples)
        print("  held out: " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)

    def publish(self, folder: Path) -> None:
        """Write the model in the published packed layout, with its tokenizer files."""
        folder.mkdir(parents=True, exist_ok=True)
        tok.save(self.tokenizer, self.folder)
        config = replace(self.recipe.model, quantization="offline")
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
    train(run, args, rank)
    if rank == 0:
        run.save()
    if rank == 0 and run.step == recipe.rates[-1][0]:
        run.report(1200)
        run.publish(args.out)
    dist.barrier()
    dist.destroy_process_group()


def train(run: Run, args: argparse.Namespace, rank: int) -> None:
    """Train to the recipe's last step, or until the time is up."""
    started = saved = time.monotonic()
    first, losses = run.step, list[float]()
    while run.step < run.recipe.rates[-1][0]:
        losses.append(run.train_step())
        late = torch.tensor(time.monotonic() - started > 60 * args.minutes)
        dist.broadcast(late, src=0)
        if late:
            break
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=JOBS, default="bundled")
    parser.add_argument("--work", type=Path, help="folder of the run's state")
    parser.add_argument("--out", type=Path, help="folder of the trained model")
    parser.add_argument("--report-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--save-every", type=float, default=180.0, metavar="SECONDS")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="then save and stop")
    args = parser.parse_args()
    job = JOBS[args.recipe]
    recipe, args.work, args.out = job.recipe, args.work or job.work, args.out or job.out
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "meeting").unlink(missing_ok=True)
    if recipe.start_from_bundled:
        shutil.copy(BUNDLED / "tokenizer.json", args.work)
    elif not (args.work / "tokenizer.json").exists():
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
