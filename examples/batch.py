"""Several prompts in one batch, the text as it comes: python examples/batch.py ARTIFACT"""

import sys

import bitnet_onnx

QUESTIONS = ["What is 27 + 5?", "Reverse PAINT.", "Order the numbers 10, 54, 63."]


def show(row: int, piece: str) -> None:
    print(f"{row}: {piece!r}")


with bitnet_onnx.load(sys.argv[1]) as model:
    prompts = [[{"role": "user", "content": question}] for question in QUESTIONS]
    answers = model.generate_batch(prompts, max_new_tokens=64, on_text=show)
for question, answer in zip(QUESTIONS, answers, strict=True):
    print(f"{question} {answer.text}")
