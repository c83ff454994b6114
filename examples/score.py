"""The perplexity of texts: python examples/score.py ARTIFACT [TEXT ...]"""

import sys

import numpy as np

import bitnet_onnx

# A right and a wrong answer, in the words of the bundled model's chat template.
QUESTION = "User: What is 27 + 5?<|eot_id|>Assistant: "
TEXTS = [f"{QUESTION}32", f"{QUESTION}77"]

with bitnet_onnx.load(sys.argv[1]) as model:
    for text in sys.argv[2:] or TEXTS:
        scores = model.score(text)  # the log-probability of each token but the first
        print(f"{np.exp(-scores.mean()):12.2f}  {text}")
