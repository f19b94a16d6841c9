"""What octopi does at fixed seeds: record it, change the code, record it again, compare.

    python benchmarks/golden.py record BEFORE.json
    python benchmarks/golden.py record AFTER.json
    python benchmarks/golden.py compare BEFORE.json AFTER.json

A record holds the losses of trainings to the last bit, digests of crops, weights, targets, score
maps, picks and exported files, thresholds, scores, the trials of a search, and exit code and first
line of commands that are wrong. `PYTHONPATH=CHECKOUT` chooses whose octopi is recorded. Compare
records of one machine only: another CPU rounds otherwise.

Only commands, their settings and the files they write are used, so that a module may be renamed.
What users are not promised stands in the constants below. Each command is a process of its own,
forked from one that has imported the libraries: that saves seconds for each of a hundred.
"""

import argparse
import atexit
import hashlib
import importlib
import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # sums of several threads depend on their number
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402  reads those variables when it is imported
from parts.synthetic import config_of, write_project  # noqa: E402  brings NumPy

Record = dict[str, Any]

VERBS = (
    "create_targets",
    "train",
    "segment",
    "localize",
    "evaluate",
    "check",
    "doctor",
    "plan",
    "report",
    "summarize",
    "extract",
    "export",
    "import_tomograms",
)
LIBRARIES = (
    "torch",
    "pytorch_lightning",
    "monai.networks.nets",
    "monai.losses",
    "optuna",
    "copick",
)
RADII = {"ribosome": 60.0, "apo-ferritin": 40.0}  # Å
SHAPE = (32, 64, 64)  # voxels z y x

# Settings that users are not promised.
SHORT = ["data.steps_per_epoch=2", "trainer.check_val_every_n_epoch=1", "predictor.num_sides=1"]
SMALL = ["data.crop_size=[16,32,32]", "data.crops_per_step=2", "data.num_workers=0"]
TINY_NET = ["model=unet", "model.channels=[4,8]", "model.strides=[2]"]
EXACT = ["trainer.precision=32-true", "trainer.max_epochs=1"]
TINY = ["tomo_types=[denoised]", *SHORT, *SMALL, *TINY_NET, *EXACT]
SPLIT = ["data.train_runs=[r00,r01]", "data.validation_runs=[r02]"]

WITNESS = '''
"""Writes what a training with_batches and what it answers: digests of the batches, and losses."""

import hashlib
import json
import os
from pathlib import Path

from pytorch_lightning import Callback


def digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


class Witness(Callback):
    def __init__(self, path):
        self.path = Path(path)

    def on_train_epoch_start(self, trainer, module):
        if str(trainer.current_epoch) == os.environ.get("WITNESS_KILLS_EPOCH"):
            os._exit(9)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        image, target = batch["image"], batch["target"]
        self.crops = [list(image.shape), str(image.dtype), digest(image), digest(target)]

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = float(outputs["loss"]).hex()
        line = {"step": [trainer.current_epoch, batch_idx], "crops": self.crops, "loss": loss}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\\n")
'''

SEARCH = """# @package _global_
hydra:
  sweeper:
    params:
      optim.optimizer.lr: tag(log, interval(1e-4, 1e-2))
      loss: choice(tversky, focal)
    when:
      loss=tversky:
        loss.alpha: interval(0.1, 0.5)
"""


class Recorder:
    """Runs commands in a folder and collects what came of them.

    Args:
        folder: for projects, jobs and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: Record = {}
        self.commands = 0
        self.out, self.err = folder / "stdout.txt", folder / "stderr.txt"

    def run(self, verb: str, *words: str, **environment: str) -> tuple[int, str]:
        """Run a command in a process of its own.

        Args:
            verb: the command.
            words: its overrides.
            environment: variables of the process.

        Returns:
            The exit code, and the first line on stderr that is no progress and no log of a step
            that went well.
        """
        return self.fork(lambda: execute(verb, words), **environment)

    def run_checked(self, verb: str, *words: str) -> None:
        """Run a command that has to succeed.

        Args:
            verb: the command.
            words: its overrides.
        """
        code, _ = self.run(verb, *words)
        self.commands += 1
        self.note(f"exit code of command {self.commands:03}", [verb, code])
        if code:
            print(
                f"octopi {verb} {' '.join(words)}: {code}\n{self.err.read_text(encoding='utf-8')}",
                file=sys.stderr,
            )

    def fork(self, work: Callable[[], None], **environment: str) -> tuple[int, str]:
        """Do the work in a child of this process.

        Args:
            work: what the child does; it may end with SystemExit.
            environment: variables of the child.

        Returns:
            The exit code and the first line on stderr, as `run`.
        """
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            self.run_as_child(work, environment)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), first_line(
            self.err.read_text(errors="replace", encoding="utf-8")
        )

    def run_as_child(self, work: Callable[[], None], environment: Mapping[str, str]) -> NoReturn:
        """Do the work as the child that this process is, and end with its exit code."""
        for stream, path in ((1, self.out), (2, self.err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.environ.update(environment)
        os.chdir(self.folder)
        code = 1
        try:
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001  as Python itself: a traceback and 1
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def note(self, name: str, value: Any) -> None:
        """Put a value into the record.

        Args:
            name: of the value.
            value: what JSON can hold; paths in its folder are replaced.
        """
        text = json.dumps(value).replace(str(self.folder), "FOLDER")
        text = text.replace(str(checkout()), "CHECKOUT")
        self.record[name.replace(str(self.folder), "FOLDER")] = json.loads(text)

    def train(self, name: str, *words: str, with_batches: bool = True) -> None:
        """Train, and note crops, losses, weights, thresholds and history.

        Args:
            name: of the job's folder.
            words: overrides.
            with_batches: whether each batch is noted.
        """
        log = self.folder / f"{name}.jsonl"
        self.run_checked(
            "train", *words, *(witness(log) if with_batches else []), f"hydra.run.dir={name}"
        )
        if with_batches:
            self.note(f"{name}: crops and losses", read_lines(log))
        self.note_training(name)

    def note_training(self, name: str) -> None:
        """Note what a training has left in its folder.

        Args:
            name: of the folder.
        """
        folder = self.folder / name
        self.note(f"{name}: weights", self.read("weights", folder / "best_model.pth"))
        config = self.read("yaml", folder / "model_config.yaml")
        for key in ("labels", "radii", "thresholds", "beta"):
            self.note(f"{name}: {key}", config.get(key))
        results = folder / "results.json"
        if results.exists():
            history = json.loads(results.read_text(encoding="utf-8"))
            self.note(f"{name}: results", without_times(history))

    def read(self, what: str, path: Path, *rest: str) -> Any:
        """Read a file with libraries that this process must not start threads of.

        Args:
            what: which of READERS.
            path: what it reads.
            rest: more of its arguments.
        """
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        reader = READERS[what]
        if self.fork(lambda: write_json(answer, reader(path, *rest)))[0]:
            raise RuntimeError(
                f"{path} could not be read as {what}: {self.err.read_text(encoding='utf-8')}"
            )
        return json.loads(answer.read_text(encoding="utf-8"))


def execute(verb: str, words: Sequence[str]) -> None:
    """Be `python -m octopi.VERB`, or the console script where no verb is given."""
    sys.argv = [f"octopi.{verb}" if verb else "octopi", *words]
    if verb:
        sys.modules.pop(f"octopi.{verb}", None)
        runpy.run_module(f"octopi.{verb}", run_name="__main__", alter_sys=True)
    else:
        with (checkout() / "pyproject.toml").open("rb") as file:
            module, name = tomllib.load(file)["project"]["scripts"]["octopi"].split(":")
        getattr(importlib.import_module(module), name)()


def checkout() -> Path:
    """Return the clone whose octopi is recorded."""
    import octopi

    return Path(str(octopi.__file__)).parents[1]


def first_line(text: str) -> str:
    """Find the first line that is neither a progress bar nor a log of a step that went well."""
    lines = (re.sub(r"^\d\d:\d\d:\d\d ", "", line).strip() for line in re.split(r"[\r\n]", text))
    for line in lines:
        if line and not line.startswith("INFO") and not re.search(r"\d%\|", line):
            return line
    return ""


def witness(log: Path) -> list[str]:
    """Write the override that adds the callback which notes crops and losses."""
    return [f"+callbacks.witness={{_target_: witness.Witness, path: {log}}}"]


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def without_times(value: Any) -> Any:
    """Leave out what a clock, a folder or a version says."""
    drop = ("time", "second", "date", "path", "version", "commit", "folder", "checkpoint", "host")
    if isinstance(value, Mapping):
        return {
            k: without_times(v)
            for k, v in value.items()
            if not any(word in str(k).lower() for word in drop)
        }
    return [without_times(v) for v in value] if isinstance(value, list) else value


def digest(array: Any) -> str:
    """Describe an array by type, shape and half of the SHA-256 of its bytes."""
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:32]}"


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_weights(path: Path) -> str:
    """Digest all tensors of a checkpoint, whatever they are called."""
    import torch

    content = torch.load(path, weights_only=True, map_location="cpu")
    tensors = sorted(digest(t.numpy()) for t in tensors_in(content))
    return f"{len(tensors)} {digest_text(''.join(tensors))}"


def tensors_in(content: Any) -> Iterator[Any]:
    if hasattr(content, "numpy"):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from tensors_in(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from tensors_in(value)


def read_yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_project(path: Path, kind: str) -> dict[str, str]:
    """Digest everything of a kind in a project: tomograms, features, segmentations or picks."""
    import copick

    root = copick.from_file(str(path))
    found = {}
    for run in sorted(root.runs, key=lambda run: run.name):
        for name, text in sorted(
            {"picks": read_picks, "segmentations": read_masks}.get(
                kind, lambda run: read_volumes(run, kind)
            )(run)
        ):
            found[f"{run.name} {name}"] = text
    return found


def read_picks(run: Any) -> Iterator[tuple[str, str]]:
    for picks in run.picks:
        points = picks.points or []
        where = [[p.location.x, p.location.y, p.location.z] for p in points]
        turns = [np.asarray(p.transformation).tolist() for p in points]
        parts = [digest(np.array(x, float)) for x in (where, [p.score for p in points], turns)]
        yield f"{picks.pickable_object_name}:{picks.user_id}/{picks.session_id}", " ".join(parts)


def read_masks(run: Any) -> Iterator[tuple[str, str]]:
    for mask in run.segmentations:
        name = f"{mask.name}:{mask.user_id}/{mask.session_id}@{mask.voxel_size:g}"
        yield name, digest(mask.numpy())


def read_volumes(run: Any, kind: str) -> Iterator[tuple[str, str]]:
    for spacing in run.voxel_spacings:
        for tomogram in spacing.tomograms:
            name = f"{tomogram.tomo_type}@{spacing.voxel_size:g}"
            if kind == "tomograms":
                yield name, digest(tomogram.numpy())
            else:
                for feature in tomogram.features:
                    yield f"{name} {feature.feature_type}", digest(feature.numpy())


def read_study(path: Path) -> list[Any]:
    """Read state, parameters, values and intermediate values of the trials of a search."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path)))
    (summary,) = optuna.get_all_study_summaries(storage=storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    return [
        [t.state.name, t.params, t.values, t.intermediate_values]
        for t in study.get_trials(deepcopy=False)
    ]


READERS: dict[str, Callable[..., Any]] = {
    "weights": read_weights,
    "yaml": read_yaml,
    "project": read_project,
    "study": read_study,
}


def make_tiny_project(folder: Path) -> None:
    """Write three runs of noise with particles, in two types, and a membrane."""
    import copick
    from scipy.ndimage import gaussian_filter

    write_project(folder, SHAPE, num_runs=3, per_object=6, radii=RADII)
    for side in ("ours", "maker"):
        add_membrane(config_of(folder, side))
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    squares = sum(((a - n / 2) / (0.4 * n)) ** 2 for a, n in zip(axes, SHAPE, strict=True))
    shell = (np.abs(np.sqrt(np.asarray(squares)) - 1) < 0.08).astype(np.uint8)
    for run in copick.from_file(str(config_of(folder, "maker"))).runs:
        spacing = run.get_voxel_spacing(10.0)
        noisy = spacing.get_tomogram("wbp").numpy()
        spacing.new_tomogram("denoised").from_numpy(gaussian_filter(noisy, 1.0), levels=1)
        mask = run.new_segmentation(10.0, "membrane", "0", is_multilabel=False, user_id="curation")
        mask.from_numpy(shell)


def add_membrane(config: Path) -> None:
    """Name the membrane among the objects of a copick config."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["pickable_objects"].append({"name": "membrane", "is_particle": False, "label": 3})
    config.write_text(json.dumps(content), encoding="utf-8")


def write_mrc(folder: Path) -> None:
    """Write a tomogram as another program would."""
    import mrcfile

    folder.mkdir()
    volume = np.random.default_rng(5).standard_normal((24, 40, 32), dtype=np.float32)
    with mrcfile.new(folder / "m01_10.00Apx.mrc") as file:
        file.set_data(volume)
        file.voxel_size = 10.0


def record_demo(recorder: Recorder) -> None:
    """Run the recipe of the demo on the project of the demo for a short epoch."""
    recipe = ["project=demo", "experiment=demo"]
    recorder.run_checked("create_targets", *recipe)
    brief = ["trainer.max_epochs=1", *SHORT, "data.steps_per_epoch=4"]
    recorder.train("demo_job", *recipe, *brief)
    recorder.run_checked("segment", *recipe, "checkpoint=demo_job/best_model.pth", "runs=[TS_04]")
    recorder.run_checked("localize", *recipe, "checkpoint=demo_job/best_model.pth")
    config = recorder.folder / "outputs/demo/project/phantom.json"
    for kind in ("tomograms", "segmentations", "features", "picks"):
        recorder.note(f"demo: {kind}", recorder.read("project", config, kind))
    note_scores(recorder, "demo_scores", *recipe)


def note_scores(recorder: Recorder, name: str, *words: str) -> None:
    """Evaluate, and note the scores."""
    recorder.run_checked("evaluate", *words, f"hydra.run.dir={name}")
    scores = json.loads((recorder.folder / name / "scores.json").read_text(encoding="utf-8"))
    recorder.note(f"{name}: curves", digest_text(json.dumps(scores.pop("curves", None))))
    recorder.note(f"{name}: scores", without_times(scores))


def record_targets(recorder: Recorder) -> None:
    """Paint targets of all kinds on the tiny project."""
    recorder.run_checked("create_targets")
    recorder.run_checked(
        "create_targets", "targets.segmentations=[membrane:curation/0]", "targets.session_id=2"
    )
    recorder.run_checked("create_targets", "data.working_spacing=20", "targets.session_id=3")
    recorder.run_checked("create_targets", "targets.objects=[ribosome]", "targets.session_id=4")
    recorder.note("tiny: targets", recorder.read("project", tiny(recorder), "segmentations"))
    recorder.note("check", recorder.run("check", "tomo_types=[denoised]")[0])
    recorder.run_checked("plan", "name=golden", "tomo_types=[denoised]")


def tiny(recorder: Recorder) -> Path:
    return config_of(recorder.folder, "ours")


def record_trainings(recorder: Recorder) -> None:
    """Run trainings of all kinds on the tiny project."""
    recorder.train("job", *TINY, *SPLIT)
    recorder.train(
        "defaults", "tomo_types=[denoised,wbp]", "data.steps_per_epoch=1", *SPLIT, *EXACT
    )
    two_types = ["tomo_types=[denoised,wbp]", "data.num_workers=2"]
    recorder.train(
        "two_types", *TINY, *two_types, "fold=0", "num_folds=3", "seed=7", "loss=focal_tversky"
    )
    tuned = ["target=targets:octopi/2", "init_from=job/best_model.pth", "loss=dice_ce"]
    recorder.train("tuned", *TINY, *SPLIT, *tuned, "optim.optimizer.lr=1e-4")
    coarse = ["target=targets:octopi/3", "data.working_spacing=20", "loss=tversky"]
    recorder.train("coarse", *TINY, *SPLIT, *coarse, "callbacks=none", "localizer=watershed")


def record_resume(recorder: Recorder) -> None:
    """Kill a training after its first epoch and resume it, beside one that is not killed."""
    words = [*TINY, *SPLIT, "trainer.max_epochs=2", "model.dropout=0.2"]
    recorder.train("whole", *words)
    log = recorder.folder / "killed.jsonl"
    killed = ["train", *words, *witness(log), "hydra.run.dir=killed"]
    recorder.note("killed: exit code", recorder.run(*killed, WITNESS_KILLS_EPOCH="1")[0])
    recorder.run_checked("train", "resume=killed")
    recorder.note("killed: crops and losses", read_lines(log))
    recorder.note_training("killed")
    for what in ("crops and losses", "weights", "thresholds", "results"):
        same = recorder.record[f"whole: {what}"] == recorder.record[f"killed: {what}"]
        recorder.note(f"resumed as uninterrupted: {what}", same)


def record_folds(recorder: Recorder) -> None:
    """Train the folds of a cross-validation in one process and in two."""
    recorder.train("folds", *TINY, "num_folds=2", with_batches=False)
    sweep = ["fold=0,1", "num_folds=2", "hydra.sweep.dir=cv", "hydra.sweeper.n_jobs=1"]
    recorder.run_checked("train", "-m", *TINY, *sweep)
    recorder.note_training("cv")
    recorder.run_checked("summarize", "folder=cv")


def record_search(recorder: Recorder) -> None:
    """Run two trials of a search."""
    path = recorder.folder / "my_conf/search/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SEARCH, encoding="utf-8")
    words = [
        "--config-dir",
        str(recorder.folder / "my_conf"),
        "search=mine",
        "hydra.sweep.dir=search",
    ]
    number = ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    recorder.run_checked("train", "-m", *TINY, *SPLIT, *words, *number)
    recorder.note("search: trials", recorder.read("study", recorder.folder / "search/journal.log"))
    recorder.run_checked("summarize", "folder=search")
    best = recorder.read("yaml", recorder.folder / "search/optimization_results.yaml")
    recorder.note("search: best", without_times(best))


def record_picking(recorder: Recorder) -> None:
    """Note score maps, picks and scores of the tiny project."""
    model = "checkpoint=job/best_model.pth"
    recorder.run_checked("segment", model, "segmentation=true")
    recorder.run_checked(
        "segment", "checkpoint=[folds/best_model.pth,job/best_model.pth]", "session_id=2"
    )
    recorder.run_checked(
        "segment", "checkpoint=tuned/best_model.pth", "session_id=3", "segmentation=true"
    )
    recorder.run_checked("segment", "checkpoint=coarse/best_model.pth", "session_id=4")
    recorder.note("tiny: score maps", recorder.read("project", tiny(recorder), "features"))
    recorder.run_checked("localize", model, "thresholds=0.01")
    for beta in ("0.5", "1", "2", "4"):
        recorder.run_checked("localize", f"beta={beta}", f"session_id=b{beta.replace('.', '')}")
    recorder.run_checked(
        "localize", model, "localizer=watershed", "session_id=water", "thresholds=0.01"
    )
    recorder.run_checked(
        "localize", model, "localizer=components", "session_id=whole", "thresholds=0.01"
    )
    recorder.run_checked("localize", "input=predict:octopi/2", "session_id=both", "thresholds=0.01")
    recorder.run_checked(
        "localize", "input=predict:octopi/4", "session_id=coarse", "thresholds=0.01"
    )
    labels = ["source=segmentation", "input=targets:octopi/1"]
    for localizer in ("watershed", "components"):
        recorder.run_checked(
            "localize", *labels, f"localizer={localizer}", f"session_id=t{localizer}"
        )
    recorder.note("tiny: segmentations", recorder.read("project", tiny(recorder), "segmentations"))
    recorder.note("tiny: picks", recorder.read("project", tiny(recorder), "picks"))
    note_scores(recorder, "matched")
    note_scores(recorder, "czii", "scorer=czii", "session_id=twatershed", "truth=curation/0")
    recorder.run_checked("report", "folder=job")
    page = (recorder.folder / "job/report.html").read_text(encoding="utf-8")
    recorder.note(
        "report: scores", [digest_text(json.dumps(scores)) for scores in report_scores(page)]
    )


def report_scores(page: str) -> Any:
    """Read the scores that the page shows."""
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    return [scores for block in blocks for scores in values_of("scores", json.loads(block))]


def values_of(key: str, content: Any) -> Iterator[Any]:
    """Find everything that is called so, however deep."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if name == key:
                yield value
            else:
                yield from values_of(key, value)
    elif isinstance(content, list):
        for value in content:
            yield from values_of(key, value)


def record_files(recorder: Recorder) -> None:
    """Note exported files, picks near a membrane, imported tomograms."""
    scale = ["format.pixel_size=2.5"]
    export(recorder, "relion5", "1", *scale, "format.tomogram_size=[256,256,128]")
    export(recorder, "warp", "1", *scale)
    export(recorder, "dynamo", "1")
    export(recorder, "csv", "twatershed", "min_score=0.02")
    near = ["membrane=membrane:curation/0", "near_distance=[-60,60]", "pairs=[20,200]"]
    recorder.run_checked("extract", "picks=curation/0", *near, "session_id=x")
    export(recorder, "dynamo", "x-near")
    write_mrc(recorder.folder / "mrcs")
    files = ["folder=mrcs", "files=*_10.00Apx.mrc"]
    recorder.run_checked("import_tomograms", *files, "tomo_type=imported")
    recorder.run_checked("import_tomograms", *files, "tomo_type=coarse", "resample_to=16")
    recorder.note("tiny: tomograms", recorder.read("project", tiny(recorder), "tomograms"))
    picks = recorder.read("project", tiny(recorder), "picks")
    recorder.note("tiny: extracted", {k: v for k, v in picks.items() if "/x-" in k})


def export(recorder: Recorder, name: str, picks: str, *words: str) -> None:
    """Export the picks of a session, and note the files."""
    out = recorder.folder / f"{name}_{picks}"
    recorder.run_checked("export", f"format={name}", f"session_id={picks}", f"out={out}", *words)
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8").replace(str(out), "OUT")
        value = [digest_text(text), *text.splitlines()[:40]]
        recorder.note(f"export {name} {picks}: {path.relative_to(out)}", value)


WRONG = """
train model=unett
train loss=tverksy
train optim=adamv
train experiment=czi
train experiment=nowhere.yaml
train callbacks=defaults
train modle=unet
train trainer.max_epoch=1
train optim.optimizer.lr=-1
train optim.optimizer.lr=nan
train model.dropout=1.5
train runs=[r99]
train tomo_types=[denoisd]
train voxel_spacing=33
train target=nothing:octopi/1
train best_metric=fbeta
train resume=nowhere
train resume=job optim.optimizer.lr=0.5
train init_from=nowhere.pth
train init_from=project.yaml
train data.train_runs=[r99] data.validation_runs=[r00]
train data.train_runs=[r00] data.validation_runs=[r00]
train data.crop_size=[15,32,32]
train fold=5 num_folds=2
train project.config=nowhere.json
train hydra.run.dir=job
train loss._target_=os.system
train -m search=unett
segment
segment checkpoint=nowhere.pth
segment checkpoint=project.yaml
segment checkpoint=job/best_model.pth runs=[r99]
segment checkpoint=tuned/best_model.pth
segment checkpoint=job/best_model.pth ensemble=soupp
segment checkpoint=job/best_model.pth tomo_type=bwp
segment checkpoint=job/best_model.pth user_id=my_user
segment checkpoint=job/best_model.pth accelerator=gpu
localize input=nothing:octopi/1
localize beta=3
localize thresholds=2
localize thresholds={ribosom:0.5}
localize user_id=my_user
localize user_id=curation session_id=0
localize localizer=peeks
localize num_workers=0
localize accelerator=tpu
evaluate truth=nobody/0
evaluate session_id=99
evaluate objects=[ribosom]
evaluate scorer=cziii
evaluate runs=[r99]
evaluate beta=2
create_targets targets.picks=nobody/0
create_targets targets.name=my_targets
create_targets targets.radius_scale=0.3
create_targets targets.objects=[ribosom] targets.session_id=9
create_targets voxel_spacing=33
create_targets targets.segmentations=[membran:curation/0] targets.session_id=9
check runs=[r99]
check project.config=nowhere.json
check picks=nobody/0
plan name=golden
plan runs=[r99]
report folder=nowhere
report folder=mrcs
summarize
summarize folder=nowhere
summarize folder=mrcs
extract
extract membrane=nothing:x/1
extract membrane=membrane:curation/0 near_distance=[100,-100]
extract membrane=membrane:curation/0 picks=nobody/1
export
export format=relion6
export format=relion5
export format=csv objects=[ribosom]
export format=csv session_id=99
import_tomograms
import_tomograms folder=nowhere tomo_type=wbp
import_tomograms folder=mrcs tomo_type=my_type
import_tomograms folder=mrcs tomo_type=new files=*.rec
doctor memory_gb=much
doctor folder=x
""".strip().splitlines()

CONSOLE = ["trian", "train model=unett"]


def record_wrong(recorder: Recorder) -> None:
    """Note exit code and first line of commands that cannot be done."""
    (recorder.folder / "project.yaml").write_text("a: 1\n", encoding="utf-8")
    for line in WRONG:
        verb, *words = line.split()
        keys = {word.split("=")[0] for word in words}
        if verb == "train" and not keys & {"resume", "-m"}:  # quick, should it be taken for right
            words += [word for word in TINY if word.split("=")[0] not in keys]
        recorder.note(f"wrong: {line}", recorder.run(verb, *words))
    for line in CONSOLE:
        recorder.note(f"wrong: octopi {line}", recorder.run("", *line.split()))
    recorder.note("wrong: no project", recorder.run("evaluate", OCTOPI_PROJECT=""))
    for line in (WRONG[0], "segment checkpoint=nowhere.pth"):  # nothing forked about these
        verb, *words = line.split()
        command = [sys.executable, "-m", f"octopi.{verb}", *words]
        done = subprocess.run(
            command,
            cwd=recorder.folder,
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
        recorder.note(f"process: {line}", [done.returncode, first_line(done.stderr)])


def record_help(recorder: Recorder) -> None:
    """Note how helps and dry runs end, and what they wrote."""
    before = sorted(str(path) for path in recorder.folder.rglob("*"))
    for verb in VERBS:
        recorder.note(f"exit code of {verb} --help", recorder.run(verb, "--help")[0])
    recorder.run_checked("train", *TINY, *SPLIT, "dry_run=true")
    recorder.run_checked(
        "segment", "checkpoint=job/best_model.pth", "overwrite=true", "dry_run=true"
    )
    recorder.run_checked("localize", "dry_run=true")
    after = sorted(str(path) for path in recorder.folder.rglob("*"))
    recorder.note("written by dry runs", sorted(set(after) - set(before)))


PARTS: dict[str, Callable[[Recorder], None]] = {
    "demo": record_demo,
    "targets": record_targets,
    "trainings": record_trainings,
    "resume": record_resume,
    "folds": record_folds,
    "search": record_search,
    "picking": record_picking,
    "files": record_files,
    "wrong": record_wrong,
    "help": record_help,
}
NEEDS = {
    "trainings": ["targets"],
    "resume": ["targets"],
    "folds": ["targets"],
    "search": ["targets"],
    "picking": ["targets", "trainings", "folds"],
    "files": ["targets", "trainings", "folds", "picking"],
    "wrong": ["targets", "trainings", "folds", "picking", "files"],
    "help": ["targets", "trainings", "folds", "picking"],
}


def record(path: Path, only: Sequence[str], folder: Path | None) -> None:
    """Run the commands and write the record.

    Args:
        path: of the record.
        only: names of parts; none: all. What a part needs runs too, and is recorded too.
        folder: where they run; it stays. None: a temporary one.
    """
    for name in (*LIBRARIES, *(f"octopi.{verb}" for verb in VERBS)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    chosen = {*only, *(need for name in only for need in NEEDS.get(name, []))} or set(PARTS)
    if folder is not None:
        folder.mkdir(parents=True)
    recorder = Recorder((folder or Path(tempfile.mkdtemp(prefix="golden-"))).resolve())
    try:
        prepare(recorder)
        for name, part in PARTS.items():
            if name in chosen:
                began = time.monotonic()
                part(recorder)
                print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        if folder is None:
            shutil.rmtree(recorder.folder)
    write_json(path.absolute(), recorder.record)
    print(f"{len(recorder.record)} values of {checkout()} in {path}")


def prepare(recorder: Recorder) -> None:
    """Write the callback and the tiny project; nothing of this machine's settings counts."""
    (recorder.folder / "witness.py").write_text(WITNESS, encoding="utf-8")
    places = [str(checkout()), str(recorder.folder)]  # processes that octopi starts import them too
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    sys.path[1:1] = places
    os.environ["HOME"] = str(recorder.folder)
    os.environ["OCTOPI_PROJECT"] = str(tiny(recorder))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    if recorder.fork(lambda: make_tiny_project(recorder.folder))[0]:
        raise RuntimeError(
            f"The tiny project could not be made: {recorder.err.read_text(encoding='utf-8')}"
        )


def differences(before: Any, after: Any, name: str) -> Iterator[str]:
    """Write lines that say what differs, as deep as both have the same keys."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            place = f"{name} › {key}" if name else key
            yield from differences(before.get(key, "—"), after.get(key, "—"), place)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{name}[{number}]")
    elif before != after and not (is_nan(before) and is_nan(after)):
        old, new = (json.dumps(value, ensure_ascii=False) for value in (before, after))
        yield f"{name}\n  - {old}\n  + {new}"


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def compare(before: Path, after: Path, only: Iterable[str]) -> int:
    """Print what differs between two records.

    Args:
        before: a record.
        after: a later one.
        only: beginnings of names; none: all.

    Returns:
        1 if anything differs, else 0.
    """
    wanted = tuple(only) or ("",)
    one, other = (
        {
            k: v
            for k, v in json.loads(path.read_text(encoding="utf-8")).items()
            if k.startswith(wanted)
        }
        for path in (before, after)
    )
    lines = list(differences(one, other, ""))
    print("\n".join([*lines, f"{len(lines)} differences in {len({*one, *other})} values"]))
    return 1 if lines else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Record what octopi does, and compare records.")
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record", help="run the commands and write the record")
    recorder.add_argument("out", type=Path)
    recorder.add_argument("--only", nargs="+", default=[], choices=list(PARTS), metavar="PART")
    recorder.add_argument("--folder", type=Path, help="a new folder for the jobs, which stays")
    comparer = commands.add_parser("compare", help="print each difference; 1 if there is any")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    comparer.add_argument("--only", nargs="+", default=[], metavar="BEGINNING_OF_NAME")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        return compare(arguments.before, arguments.after, arguments.only)
    record(arguments.out, arguments.only, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
