"""Training: options, steps, ranks, checkpoints, reports."""
