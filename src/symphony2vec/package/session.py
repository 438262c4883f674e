"""The network of a package, run by ONNX Runtime: on a GPU where its build of ONNX Runtime has a provider, else the CPU.

B clips, D outputs.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from symphony2vec.errors import UserError

INPUT, OUTPUT = "x", "y"
# TF32 has a mantissa of 10 bits; a vector should be the same on every device.
PROVIDERS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
ERRORS_ONLY = 3
DAMAGE = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.RuntimeException)


class OnnxNetwork:
    """A network in ONNX. On the CPU it uses one thread: its values do not depend on the machine's number of cores."""

    def __init__(self, model: bytes) -> None:
        """Load a model with one input x (B, ...) and one output y (B, D).

        Raises:
            ValueError: the model is damaged.
            UserError: this version of ONNX Runtime lacks an operator of the model.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        available = onnxruntime.get_available_providers()
        providers = [(name, settings) for name, settings in PROVIDERS.items() if name in available]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers)
        except errors.NotImplemented as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"onnxruntime {onnxruntime.__version__} cannot run the model ({reason}): pip install -U onnxruntime"
            ) from None
        except DAMAGE as error:
            raise ValueError(str(error).splitlines()[0]) from None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (B, D) float32 of x (B, ...) float32.

        Raises:
            ValueError: the model takes other input, or has no output y.
        """
        try:
            (y,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(x, dtype=np.float32)})
        except DAMAGE as error:
            raise ValueError(str(error).splitlines()[0]) from None
        return np.asarray(y)
