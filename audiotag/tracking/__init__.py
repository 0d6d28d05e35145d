"""What a run shows of itself in Weights & Biases, TensorBoard and MLflow."""
