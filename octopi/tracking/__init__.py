"""Record trainings and sweeps in MLflow."""
