import json

import pytest

from octopi.errors import ResourceError, SettingError
from octopi.project import open_project


@pytest.mark.parametrize("nothing", [None, "", []])
def test_without_a_config_the_message_says_what_to_set(nothing):
    with pytest.raises(SettingError, match=r"OCTOPI_PROJECT or project\.config.*project=demo"):
        open_project(nothing)


def test_a_missing_config_is_named_with_its_neighbour(files):
    files.config("project.json")
    with pytest.raises(SettingError, match=r"no copick config .*projct.json.*project.json"):
        open_project(files.folder / "projct.json")


def test_a_folder_is_no_config(files):
    files.config("project.json")
    with pytest.raises(SettingError, match=r"is a folder.*project\.json"):
        open_project(files.folder)


def test_broken_json_is_reported_by_line_and_column(tmp_path):
    path = tmp_path / "project.json"
    path.write_text('{\n  "name": ,\n}', encoding="utf-8")
    with pytest.raises(SettingError, match=r"project\.json is not valid JSON.*line 2 column"):
        open_project(path)


def test_a_config_of_another_shape_is_refused_without_showing_its_secrets(files):
    config = files.config(pickable_objects="none", overlay_fs_args={"secret": "hunter2"})
    with pytest.raises(SettingError, match="pickable_objects") as caught:
        open_project(config)
    assert "hunter2" not in str(caught.value)


def test_a_value_that_copick_fails_on_is_not_taken_for_options_of_the_storage(files):
    config = files.config()
    content = json.loads(config.read_text(encoding="utf-8"))
    content["pickable_objects"][0]["color"] = None
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SettingError, match="not a valid copick config: color") as refused:
        open_project(config)
    assert "fs_args" not in str(refused.value)


def test_an_unknown_backend_is_refused(files):
    with pytest.raises(SettingError, match="floppy"):
        open_project(files.config(config_type="floppy"))


def test_a_config_without_an_overlay_is_an_error_that_says_so(files):
    with pytest.raises(ResourceError, match="no usable overlay_root"):
        open_project(files.config(overlay_root=None))


def test_a_config_of_the_old_form_without_a_type_opens(files):
    config = files.config()
    content = json.loads(config.read_text(encoding="utf-8"))
    del content["config_type"]
    config.write_text(json.dumps(content), encoding="utf-8")
    assert open_project(config).objects


@pytest.mark.parametrize("options", [{"banana": 3}, {"client_kwargs": {"banana": 3}}])
def test_options_that_a_storage_does_not_have_are_named_without_its_keys(files, options):
    access = {"key": "a", "secret": "hunter2", **options}
    config = files.config(overlay_root="s3://bucket/x", overlay_fs_args=access)
    with pytest.raises(SettingError, match=r"(?s)banana.*overlay_fs_args") as refused:
        _ = open_project(config).runs
    assert "hunter2" not in str(refused.value)


def test_what_is_no_file_or_leads_nowhere_is_not_proposed_as_itself(tmp_path):
    link = tmp_path / "project.json"
    link.symlink_to(tmp_path / "gone.json")
    with pytest.raises(SettingError, match=r"a link that leads nowhere") as caught:
        open_project(link)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radius": "60 A"}, "radius of 'virus'.*valid number.*but it is '60 A'.*Correct it there"),
        ({"label": 0}, "label of 'virus'.*reserved for background.*but it is 0"),
        ({"name": 70}, "name of '70'.*valid string"),
    ],
)
def test_an_object_that_is_no_object_of_copick_is_named_with_what_it_says(files, change, words):
    entry = {"name": "virus", "is_particle": True, "label": 1, "radius": 60.0, **change}
    with pytest.raises(SettingError, match=words):
        open_project(files.config(pickable_objects=[entry]))
