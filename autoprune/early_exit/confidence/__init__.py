"""How sure an exit is of its answer: one file a kind, in torch and as nodes of an ONNX file."""
