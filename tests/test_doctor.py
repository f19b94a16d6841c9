"""`octopi doctor`: every hindrance is found and has its cure."""

import http.server
import sqlite3
import threading
from pathlib import Path

import pytest

from octopi.checks import environment
from octopi.checks.environment import OK, PROBLEM, WARNING


@pytest.mark.parametrize("version", ["3.10.14", "3.14.0"])
def test_a_python_outside_the_bounds_is_a_problem(version):
    found = environment.of_python(">=3.11,<3.14", version)
    assert found.state == PROBLEM
    assert version in found.text
    assert environment.of_python(">=3.11,<3.14", "3.12.1").state == OK


def test_packages_are_held_to_their_bounds_and_extras_left_out():
    wanted = ["torch>=2.11,<2.14", "monai>=1.6", 'psycopg>=3; extra == "postgres"', "numpy>=2"]
    held = {"torch": "2.10.0", "numpy": "2.3.0"}
    old, missing = environment.check_packages(wanted, held)
    assert old.state == missing.state == PROBLEM
    assert "torch 2.10.0 is not" in old.text
    assert "pip install" in old.text
    assert "monai is missing" in missing.text
    (fine,) = environment.check_packages(wanted, {"torch": "2.13.0+cpu", "monai": "1.6", **held} | {
        "torch": "2.13.0+cpu"})  # fmt: skip
    assert fine.state == OK


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_a_malicious_lightning_is_a_problem(name, version):
    found = environment.of_lightning({name: version})
    assert found.state == PROBLEM
    assert "GHSA-w37p-236h-pfx3" in found.text
    assert environment.of_lightning({name: "2.6.6"}).state == OK


def package(folder: Path) -> Path:
    (folder / "octopi").mkdir(parents=True)
    (folder / "octopi" / "__init__.py").touch()
    return folder / "octopi"


def test_another_octopi_is_found_wherever_it_is(tmp_path):
    ours, other = package(tmp_path / "ours"), package(tmp_path / "other")
    us, them = str(ours.parent), str(other.parent)

    def found(path, versions=("2.0.0",), here=tmp_path):
        return environment.check_other_octopi(ours, path, versions, here)

    assert found([us]).state in (OK, WARNING)  # the PATH of this machine may have another script
    assert found([them, us]).state == PROBLEM
    assert "comes before" in found([them, us]).text
    assert found([us, them]).state == WARNING
    assert found([us], versions=("1.7.0", "2.0.0")).state == PROBLEM
    assert found([us], here=other.parent).state == WARNING
    assert "python -m" in found([us], here=other.parent).text


def test_a_folder_that_cannot_be_written_is_a_problem_and_a_full_disk_a_warning(tmp_path):
    (tmp_path / "file").touch()
    assert environment.check_folder("cache", tmp_path / "file" / "x", 0, "Cure.").state == PROBLEM
    assert environment.check_folder("cache", tmp_path / "new", 0, "Cure.").state == OK
    found = environment.check_folder("cache", tmp_path, 1e18, "Cure.")
    assert found.state == WARNING
    assert "Cure." in found.text
    assert not (tmp_path / "new").exists()


def test_a_tracking_store_is_asked(tmp_path):
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/new/mlflow.db").state == OK
    with sqlite3.connect(tmp_path / "held.db") as held:
        held.execute("CREATE TABLE runs (id INTEGER)")
    held.close()
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/held.db").state == OK
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    assert environment.check_tracking_store(f"sqlite:///{tmp_path}/broken.db").state == WARNING


def test_a_tracking_server_answers_or_not():
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
    found = environment.check_tracking_store(uri)
    assert found.state == WARNING
    assert "Trainings go on" in found.text


def test_slurm_wants_its_launcher():
    assert environment.of_slurm(None, {}).state == OK
    assert "octopi[slurm]" in environment.of_slurm("/usr/bin/sbatch", {}).text
    held = {"hydra-submitit-launcher": "1.4"}
    assert environment.of_slurm("/usr/bin/sbatch", held).state == OK


def test_little_memory_is_a_warning():
    cores, ram = environment.of_machine(2, int(4e9), 8e9)
    assert "2 of" in cores.text
    assert ram.state == WARNING


def test_the_doctor_says_a_line_for_everything_and_writes_nothing(
    tmp_path, monkeypatch, octopi_command, capfd
):
    monkeypatch.chdir(tmp_path)
    assert octopi_command("doctor") == 0
    said = "".join(capfd.readouterr())
    for what in ("python", "packages", "lightning", "octopi", "torch", "gpu", "cores", "memory",
                 "outputs", "cache", "mlflow", "slurm"):  # fmt: skip
        assert any(line.split()[1:2] == [what] for line in said.splitlines()), what
    assert not list(tmp_path.iterdir())


def test_a_problem_leaves_with_exit_code_4_and_the_cure(
    tmp_path, monkeypatch, octopi_command, capfd
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert octopi_command("doctor", "cache_dir=file/cache") == 4
    assert "data.cache_dir" in capfd.readouterr().err
