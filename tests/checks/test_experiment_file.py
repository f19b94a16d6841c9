import yaml

from octopi.checks.experiment_file import to_yaml


def test_an_experiment_in_yaml_reads_back_below_its_comments():
    content = {"defaults": ["czii", "_self_"], "data": {"crop_size": [16, 32, 32]}, "runs": ["a"]}
    text = to_yaml(content, ["A sentence.", "word " * 40])
    assert text.startswith("# @package _global_\n# A sentence.\n# word word")
    assert max(map(len, text.splitlines())) <= 100
    assert "crop_size: [16, 32, 32]" in text
    assert "- czii\n- _self_" in text
    assert yaml.safe_load(text) == content
