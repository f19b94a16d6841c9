"""A copy of a project, score maps as a fair network would write them, and pages made of both."""

import json
import re
import shutil

import numpy as np
import yaml
from scipy.ndimage import gaussian_filter

from octopi.config.files import CONF_DIR
from octopi.project import open_project
from octopi.project.queries import PicksQuery
from octopi.project.selection import find_picks

PEAKS = yaml.safe_load((CONF_DIR / "localizer" / "peaks.yaml").read_text(encoding="utf-8"))


def copy_project(phantom, folder):
    shutil.copytree(phantom.parent, folder, dirs_exist_ok=True)
    config = folder / "project.json"
    config.write_text(
        phantom.read_text(encoding="utf-8").replace(str(phantom.parent), str(folder)),
        encoding="utf-8",
    )
    return config


def read_truth(run):
    queries = find_picks([run], objects=None, source=None)
    return {name: run.read_picks(query) for name, query in queries.items()}


def write_scores(run, names, *, seed, name="predict-octopi-1"):
    """Write a score map with peaks near most particles, of unlike heights, and a few false ones."""
    rng = np.random.default_rng(seed)
    tomogram = run.tomograms()[0]
    grid, truth = run.tomogram_grid(tomogram), read_truth(run)
    scores = np.zeros((len(names), *grid.shape), dtype=np.uint8)
    for channel, object_name in zip(scores, names, strict=True):
        particles = truth[object_name].positions
        false = rng.uniform([100, 100, 100], [860, 860, 380], (3, 3))
        field = np.zeros(grid.shape)
        shifted = particles + rng.normal(0, 15, particles.shape)
        for position in np.concatenate([shifted, false]):
            indices = np.rint(position[::-1] / 20).astype(int)
            z, y, x = np.clip(indices, 1, np.array(grid.shape) - 2)
            field[z, y, x] += rng.uniform(0.1, 1)
        field = gaussian_filter(field, 1.5)
        channel[:] = np.rint(field / field.max() * 250)
    radii = {name: run.objects[name].radius for name in names}
    attributes = {
        "objects": names,
        "radii": radii,
        "thresholds": {
            "1": dict.fromkeys(names, 0.5),
            "4": dict.fromkeys(names, 0.3),
        },
        "beta": 4.0,
        "localizer": PEAKS,
        "checkpoints": {"best_model.pth": "0"},
    }
    run.write_score_map(tomogram, name, scores, grid=grid, attributes=attributes)


def content_of(page):
    text = page.read_text(encoding="utf-8")
    content = re.search(r'id="content">(.*?)</script>', text, re.DOTALL)
    assert content
    return json.loads(content[1])


def make_scored_project(phantom, folder):
    """Copy a project, and write score maps and picks of every run; return its config."""
    config = copy_project(phantom, folder)
    for seed, run in enumerate(open_project(config).runs):
        truth = read_truth(run)
        write_scores(run, sorted(truth), seed=seed)
        for name, points in truth.items():
            run.write_picks(PicksQuery(name, "octopi", "1"), points[:1])
    return config


def decide(page, kinds, *, name="decisions.json"):
    """Write the file that the page saves after these decisions, by number of the card."""
    content = content_of(page)
    names = [one["name"] for one in content["objects"]]
    decisions = []
    for number, kind in sorted(kinds.items()):
        card = content["cards"][number]
        other = next(n for n in names if n != card["object_name"])
        decisions.append(
            {
                "run": card["run_name"],
                "object": card["object_name"],
                "position": card["position"],
                "chance": card["chance"],
                "decision": kind,
                "relabelled": other if kind == "relabel" else None,
            }
        )
    file = {
        **{key: content[key] for key in ("format", "version", "picks", "annotations")},
        "page": content["id"],
        "objects": names,
        "runs": {d["run"]: content["runs"][d["run"]] for d in decisions},
        "num_decisions": len(decisions),
        "decisions": decisions,
    }
    path = page.parent / name
    path.write_text(json.dumps(file), encoding="utf-8")
    return file
