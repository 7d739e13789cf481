"""Where latencies come from: PyTorch or ONNX Runtime on this machine, a table measured elsewhere, a command."""
