import http.server
import sqlite3
import threading
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from octopi.checks import environment
from octopi.checks.environment import OK, PROBLEM, WARNING


@pytest.mark.parametrize("version", ["3.10.14", "3.14.0"])
def test_a_python_outside_the_bounds_is_a_problem(version):
    line = environment.check_python(">=3.11,<3.14", version)
    assert line.state == PROBLEM
    assert version in line.text
    assert environment.check_python(">=3.11,<3.14", "3.12.1").state == OK


def test_packages_outside_their_bounds_are_problems_but_extras_are_left_out():
    required = ["torch>=2.11,<2.14", "monai>=1.6", 'psycopg>=3; extra == "postgres"', "numpy>=2"]
    old, missing = environment.check_packages(required, {"torch": "2.10.0", "numpy": "2.3.0"})
    assert old.state == missing.state == PROBLEM
    assert "torch 2.10.0 is not" in old.text
    assert "pip install" in old.text
    assert "monai is missing" in missing.text
    versions = {"torch": "2.13.0+cpu", "monai": "1.6", "numpy": "2.3.0"}
    (line,) = environment.check_packages(required, versions)
    assert line.state == OK


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_a_malicious_lightning_is_a_problem(name, version):
    line = environment.check_lightning({name: version})
    assert line.state == PROBLEM
    assert "GHSA-w37p-236h-pfx3" in line.text
    assert environment.check_lightning({name: "2.6.6"}).state == OK


def make_package(folder: Path) -> Path:
    (folder / "octopi").mkdir(parents=True)
    (folder / "octopi" / "__init__.py").touch()
    return folder / "octopi"


def test_another_octopi_is_found_on_the_search_path_and_in_the_working_folder(tmp_path):
    package, other = make_package(tmp_path / "this"), make_package(tmp_path / "other")
    this_entry, other_entry = str(package.parent), str(other.parent)

    def check(search_path, versions=("2.0.0",), working_folder=tmp_path):
        return environment.check_other_octopi(package, search_path, versions, working_folder)

    # the PATH of this machine may have another script
    assert check([this_entry]).state in (OK, WARNING)
    assert check([other_entry, this_entry]).state == PROBLEM
    assert "comes before" in check([other_entry, this_entry]).text
    assert check([this_entry, other_entry]).state == WARNING
    assert check([this_entry], versions=("1.7.0", "2.0.0")).state == PROBLEM
    assert check([this_entry], working_folder=other.parent).state == WARNING
    assert "python -m" in check([this_entry], working_folder=other.parent).text


def test_a_folder_that_cannot_be_written_is_a_problem_and_a_full_disk_a_warning(tmp_path):
    (tmp_path / "file").touch()
    assert environment.check_folder("cache", tmp_path / "file" / "x", 0, "Advice.").state == PROBLEM
    assert environment.check_folder("cache", tmp_path / "new", 0, "Advice.").state == OK
    line = environment.check_folder("cache", tmp_path, 1e18, "Advice.")
    assert line.state == WARNING
    assert "Advice." in line.text
    assert not (tmp_path / "new").exists()


def test_a_tracking_store_that_is_no_database_is_a_warning(tmp_path):
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/new/mlflow.db").state == OK
    with sqlite3.connect(tmp_path / "existing.db") as database:
        database.execute("CREATE TABLE runs (id INTEGER)")
    database.close()
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/existing.db").state == OK
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/broken.db").state == WARNING


def test_a_tracking_server_that_does_not_answer_is_a_warning():
    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        assert environment.check_tracking_store(uri).state == OK
        server.shutdown()
    line = environment.check_tracking_store(uri)
    assert line.state == WARNING
    assert "Trainings go on" in line.text


def test_slurm_needs_its_launcher():
    assert environment.check_slurm(None, {}).state == OK
    assert "octopi[slurm]" in environment.check_slurm("/usr/bin/sbatch", {}).text
    packages = {"hydra-submitit-launcher": "1.4"}
    assert environment.check_slurm("/usr/bin/sbatch", packages).state == OK


def test_little_memory_is_a_warning():
    cores, ram = environment.check_machine(2, int(4e9), 8e9)
    assert "2 of" in cores.text
    assert ram.state == WARNING


def test_doctor_logs_a_line_for_each_check_and_writes_nothing(
    tmp_path, monkeypatch, octopi_command, capfd
):
    monkeypatch.chdir(tmp_path)
    assert octopi_command("doctor") == 0
    log = "".join(capfd.readouterr())
    for name in ("python", "packages", "lightning", "octopi", "torch", "gpu", "cores", "memory",
                 "outputs", "cache", "mlflow", "slurm"):  # fmt: skip
        assert any(line.split()[1:2] == [name] for line in log.splitlines()), name
    assert not list(tmp_path.iterdir())


def test_doctor_tries_whether_the_storage_keeps_processes_apart(here, octopi_command, capfd):
    assert octopi_command("doctor") == 0
    assert "exclusive files (O_EXCL); any number of processes" in capfd.readouterr().err
    assert not [path for path in (here / "overlay").rglob("*") if path.is_file()]
    assert environment.check_sharing(None) == []
    (line,) = environment.check_sharing(str(here / "absent.json"))
    assert line.state == WARNING
    assert "not checked: There is no copick config" in line.text


def test_a_storage_that_does_not_keep_them_apart_is_a_warning(here, monkeypatch):
    opened = LocalFileSystem.open
    monkeypatch.setattr(
        LocalFileSystem, "open", lambda fs, path, mode, **k: opened(fs, path, "wb", **k)
    )
    (line,) = environment.check_sharing(str(here / "project.json"))
    assert line.state == WARNING
    assert "they are not kept apart. Start one at a time" in line.text


def test_a_problem_ends_with_exit_code_4_and_says_what_to_do(
    tmp_path, monkeypatch, octopi_command, capfd
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert octopi_command("doctor", "cache_dir=file/cache") == 4
    assert "data.cache_dir" in capfd.readouterr().err
