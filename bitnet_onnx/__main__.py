"""``python -m bitnet_onnx`` is the command ``bitnet-onnx``."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
