"""Answer one question: python examples/generate.py ARTIFACT [QUESTION]"""

import sys

import bitnet_onnx

artifact = sys.argv[1]
question = " ".join(sys.argv[2:]) or "What is 27 + 5?"
with bitnet_onnx.load(artifact) as model:
    # A list of messages is put into the model's chat template; a plain string would not be.
    answer = model.generate([{"role": "user", "content": question}], max_new_tokens=64)
print(answer.text)
print(f"{answer.result.prompt_tokens} tokens read, {len(answer.result.ids)} written, "
      f"ended by: {answer.result.finish_reason}", file=sys.stderr)  # fmt: skip
