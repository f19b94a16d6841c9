"""What a training of several is, and how it is resumed."""

import yaml

from octopi.config.overrides import override_text
from octopi.processes.tasks import resume_overrides


def test_a_training_that_the_same_command_began_is_resumed_as_it_was(tmp_path):
    tracker = {"tracking_uri": "https://server/a", "artifact_location": None}
    config = {"logger": tracker, "model": {"_target_": "my_models.Net"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert resume_overrides(tmp_path) == [
        override_text("resume", tmp_path),
        override_text("trust", ["my_models.Net"]),
        override_text("logger.tracking_uri", "https://server/a"),
    ]
    tracker["tracking_uri"] = "https://me:***@server/a"  # which the environment has whole
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert len(resume_overrides(tmp_path)) == 2
