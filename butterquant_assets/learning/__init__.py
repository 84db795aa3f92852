"""What the models of every line share: splits, training, metrics, baselines, ONNX export."""
