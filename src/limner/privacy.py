"""Nothing leaves the machine: libraries that would tell their makers that they are used are told not to, before they are imported.

By environment variables, so that it holds for child processes, too. Who sets one of them keeps his will.
"""

import os
import sys

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "NNCF_CI": "1",  # nncf
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def keep() -> None:
    for name, value in OFF.items():
        os.environ.setdefault(name, value)


def mute_openvino() -> None:
    """Before OpenVINO is imported: the tools that it brings along ask for no variable. Where the package that sends is missing, they take a
    silent one of their own.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
