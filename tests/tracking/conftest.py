"""A tracking store of a test's own."""

from pathlib import Path

import pytest


@pytest.fixture
def node(tmp_path: Path) -> dict:
    """The settled `logger` of a store that does not exist yet."""
    return {
        "_target_": "pytorch_lightning.loggers.MLFlowLogger",
        "experiment_name": "octopi",
        "run_name": "training",
        "tracking_uri": f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}",
        "artifact_location": str(tmp_path / "store" / "artifacts"),
    }
