"""Networks of runs as files that need no PyTorch: ONNX, and a page that runs it in a browser."""
