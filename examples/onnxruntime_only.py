"""The artifact without this package: python examples/onnxruntime_only.py ARTIFACT [PROMPT]"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, words = Path(sys.argv[1]), sys.argv[2:]
options = onnxruntime.SessionOptions()
for library in folder.glob("*bitnet_onnx_ops.*"):  # the target `stock` has none
    options.register_custom_ops_library(str(library.resolve()))
session = onnxruntime.InferenceSession(folder / "model.onnx", options)
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
eos = np.atleast_1d(json.loads((folder / "generation_config.json").read_text())["eos_token_id"])
ids = tokenizer.encode(" ".join(words) or "User: What is 27 + 5?<|eot_id|>Assistant: ").ids

# An artifact with another --kv-cache than float32 takes other types here.
pasts = [past for past in session.get_inputs() if past.name.startswith("past_key_values.")]
cache = [np.zeros([1, past.shape[1], 0, past.shape[3]], np.float32) for past in pasts]
new = ids
while len(ids) < 200 and ids[-1] not in eos:
    feeds = {past.name: array for past, array in zip(pasts, cache, strict=True)}
    feeds |= {"input_ids": np.array([new]), "attention_mask": np.ones([1, len(ids)], np.int64)}
    logits, *cache = session.run(None, feeds)
    new = [int(logits[0, -1].argmax())]
    ids = ids + new
print(tokenizer.decode(ids))
