"""Run trainings in processes of their own."""
