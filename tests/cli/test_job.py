"""A command runs in a folder of its own, which an experiment cannot make run other code."""

LOGGING = """# @package _global_
hydra:
  job_logging:
    handlers:
      file: {(): os.mkdir, path: made, filename: x}
"""
CALLBACK = """# @package _global_
hydra:
  callbacks:
    mine: {_target_: os.mkdir, path: made}
"""


def test_an_experiment_calls_nothing_while_logging_is_configured(here, octopi_command, capsys):
    path = here / "experiment" / "mine.yaml"
    path.parent.mkdir()
    for content, mode in ((LOGGING, []), (LOGGING, ["-m"]), (CALLBACK, ["-m"])):
        path.write_text(content, encoding="utf-8")
        assert octopi_command("evaluate", "truth=curation/0", f"experiment={path}", *mode) != 0
        assert "os.mkdir" in capsys.readouterr().err
        assert not (here / "made").exists()
