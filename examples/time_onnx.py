"""Prints the milliseconds that an ONNX file takes for one input in ONNX Runtime: python time_onnx.py FILE [THREADS]."""

import sys
import time

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
inputs = {i.name: np.ones([n if isinstance(n, int) else 1 for n in i.shape], np.float32) for i in session.get_inputs()}
ticks = [time.perf_counter() for _ in range(112) if session.run(None, inputs)]
print(1000 * np.median(np.diff(ticks[10:])))
