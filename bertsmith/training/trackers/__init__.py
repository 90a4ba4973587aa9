"""A run's measures in, charts of other programs out; `bertsmith.training.metrics` writes metrics.jsonl in any case.

In reading order:
    tracker      Tracker, what each has; opening them, and continuing their runs
    tensorboard  event files in the run's folder
    wandb        Weights & Biases
    mlflow       MLflow
    trackio      trackio
    registry     the trackers by name; a new one is its file and its name there
"""
