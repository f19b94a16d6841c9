import logging
import subprocess
import sys


def test_the_root_logger_keeps_its_handlers(files):
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    before = root.handlers[:], root.level
    try:
        files.open()
        assert (root.handlers, root.level) == before
    finally:
        root.removeHandler(handler)


def test_a_log_file_survives_the_first_import_of_copick(files, tmp_path):
    code = (
        "import logging, sys\n"
        "logging.basicConfig(filename=sys.argv[1], filemode='w', level='INFO')\n"
        "import octopi.project\n"
        "octopi.project.open_project(sys.argv[2])\n"
        "logging.info('still here')\n"
    )
    log = tmp_path / "job.log"
    subprocess.run([sys.executable, "-c", code, str(log), str(files.config())], check=True)
    assert "still here" in log.read_text(encoding="utf-8")
