"""Chat in the terminal, the answer as it comes: python examples/chat.py ARTIFACT"""

import sys

import bitnet_onnx

with bitnet_onnx.load(sys.argv[1]) as model:
    # The cache is kept from turn to turn: only what is new in a prompt is computed.
    chat = model.chat(on_notice=lambda text: print(f"({text})", file=sys.stderr))
    print("> ", end="", flush=True, file=sys.stderr)
    for line in sys.stdin:
        for piece in chat.send(line.strip(), max_new_tokens=200):
            print(piece, end="", flush=True)
        print()
        print("> ", end="", flush=True, file=sys.stderr)
