"""Nothing leaves the machine: libraries that would tell their makers that they are used are told not to, before they are imported.

By environment variables, so that it holds for child processes, too. Who sets one of them keeps his will.
"""

import os
import sys
from types import ModuleType
from typing import Any

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


def mute_openvino_tools() -> None:
    """OpenVINO's tools, which nncf imports, know no variable that would stop them: give them a package that sends nothing."""
    if "openvino_telemetry" in sys.modules:
        return
    silent, backend, ga4 = ModuleType("openvino_telemetry"), ModuleType("openvino_telemetry.backend"), ModuleType("backend_ga4")
    silent.Telemetry, silent.backend, backend.backend_ga4 = _Silent, backend, ga4  # type: ignore[attr-defined]
    ga4.GA4Backend = _Silent  # type: ignore[attr-defined]
    names = {"openvino_telemetry": silent, "openvino_telemetry.backend": backend, "openvino_telemetry.backend.backend_ga4": ga4}
    sys.modules.update(names)


class _Silent:
    """Takes every call, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None
