"""Where latencies come from: PyTorch or ONNX Runtime on this machine, a table of times measured elsewhere, a command."""
