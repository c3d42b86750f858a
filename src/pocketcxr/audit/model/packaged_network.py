"""Small networks of the audit's own, shipped beside it as ONNX: one input ``image``, one output."""
# ONNX Runtime ships no types:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def load_packaged_network(
    path: Path, *, what: str, output: str, size: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load a network: images [n, 1, size, size] in [0, 1] to its output [n, …], in one thread.

    Args:
        path: the ONNX file.
        what: the network, for messages.
        output: name of its output.
        size: side of its images.

    Raises:
        BundleError: the file is missing or no such network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        session.run([output], {"image": np.zeros((1, 1, size, size), np.float32)})
    except OSError as error:
        raise BundleError(f"{path}: the {what} cannot be read ({error.strerror}); install again") from error
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's exceptions share no public class
        raise BundleError(f"{path}: expected the {what}, found {type(error).__name__} on loading it") from None

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs: list[Any] = list(session.run([output], {"image": np.ascontiguousarray(images, dtype=np.float32)}))
        return outputs[0]

    return run
