"""Networks of runs, handed on: ONNX files and a page, which need no PyTorch, and folders with a model card."""
