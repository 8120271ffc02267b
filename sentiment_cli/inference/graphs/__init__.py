"""Finished models as inference graphs in ONNX, built from their weights."""
