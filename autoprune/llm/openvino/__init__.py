"""Language models in OpenVINO: their graph, weights in fewer bits, what it computes and how fast."""

from autoprune.llm.openvino.folder import is_openvino_folder, load_openvino, save_openvino
from autoprune.llm.openvino.session import OpenVinoSession
from autoprune.llm.openvino.timing import time_sessions

__all__ = ["OpenVinoSession", "is_openvino_folder", "load_openvino", "save_openvino", "time_sessions"]
