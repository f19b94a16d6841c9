"""Clicks to a good model: a simulated annotator corrects and retrains, round by round.

    python benchmarks/review.py --data demo --policy review --seed 1

Starts with up to ten picks of each object in one run, trains, and lets an annotator who knows the
truth answer 50 clicks a round; a click accepts, rejects, relabels or adds one particle. `--policy
review` answers the places of `octopi review` in its order, `random` the same places in a random
one, `top` adds the particles of one tomogram after another from its first slice on. After each
round a network is trained on what is known by then, at the same budget, from the start or, with
`--warm`, from the weights of the round before. Prints one
JSON line: clicks, picks and mean F1 at β = 1 in the runs that are held out, after each round.
`--policy full` trains once on all picks.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from incomplete import ANNOTATOR, Commands, make_project, read

from octopi.evaluation.scores import Matched
from octopi.geometry import Points
from octopi.project import Project, open_project
from octopi.project.queries import PicksQuery

CURATOR = "curator"
FIRST_PICKS = 10  # of each object, in the first run
POOL = 500  # places on a page that are put into a random order
Truth = Mapping[str, Mapping[str, Points]]  # run name -> object name -> particles


def main() -> None:
    """Run the rounds, and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["demo", "phantom"], default="demo")
    parser.add_argument("--policy", choices=["review", "random", "top", "full"], default="review")
    parser.add_argument("--warm", action="store_true", help="begin with the last weights")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clicks", type=int, default=50, help="of a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/review"))
    parser.add_argument("overrides", nargs="*", help="further overrides of the training")
    arguments = parser.parse_args()
    start = "_warm" if arguments.warm else ""
    name = f"{arguments.data}_{arguments.policy}{start}_{arguments.seed}"
    out = (arguments.out / name).resolve()
    out.mkdir(parents=True, exist_ok=True)
    config, complete, train, test = make_project(arguments.data, out)
    project = open_project(config)
    names = [name for name, obj in project.objects.items() if obj.is_particle]
    truth = {
        run.name: run.read_existing_picks(
            {name: PicksQuery(name, complete.user_id, complete.session_id) for name in names}
        )
        for run in project.select([*train, *test])
    }
    rng = np.random.default_rng(arguments.seed)
    write_first_picks(project, truth[train[0]], train[0], rng)
    run = Commands(out, config, "demo" if arguments.data == "demo" else "czii")
    annotator = Annotator(run, project, truth, train, rng)
    rows = []
    for number in range(arguments.rounds + 1):
        if number:
            annotator.answer(arguments.policy, arguments.clicks, number)
        sets = annotator.sets()
        if arguments.policy == "full":
            sets = [f"targets.picks={complete.user_session}"]
        run("create_targets", f"runs=[{','.join(annotator.annotated_runs())}]", *sets,
            f"targets.session_id={number + 1}")  # fmt: skip
        job = out / f"train_{number}"
        initial = []
        if arguments.warm and number:
            initial = [f"init_from={out / f'train_{number - 1}' / 'best_model.pth'}"]
        run("train", f"targets.session_id={number + 1}", "data.test_runs=null", "num_folds=null",
            "data.ratios=[1,0,0]", f"seed={arguments.seed}", f"hydra.run.dir={job}",
            *initial, *arguments.overrides)  # fmt: skip
        checkpoint = f"checkpoint={job / 'best_model.pth'}"
        run("segment", checkpoint, "overwrite=true")
        run("localize", checkpoint, "beta=1", "overwrite=true")
        picks = read(project, test, names, "1")
        scorer = Matched(tolerance_scale=0.5, beta=1.0, num_resamples=0, seed=0)
        radii = {name: project.objects[name].require_radius() for name in names}
        expected = {name: truth[name] for name in test}
        report = scorer(picks, expected, radii=radii, weights=dict.fromkeys(names, 1.0))
        best = [max(curve["fbeta"], default=0) for curve in report.curves.values()]
        rows.append(
            {
                "clicks": annotator.clicks,
                "answers": dict(annotator.answers),
                "f1": round(report.total or 0, 4),
                "best": round(float(np.mean(best)), 4),
            }
        )
        if arguments.policy == "full":
            break
    print(json.dumps({**vars(arguments), "out": str(out), "rows": rows}))


def write_first_picks(
    project: Project, particles: Mapping[str, Points], run_name: str, rng: np.random.Generator
) -> None:
    """Write up to FIRST_PICKS particles of each object of a run, drawn at random."""
    run = project.select([run_name])[0]
    for name, points in particles.items():
        chosen = rng.permutation(len(points))[:FIRST_PICKS]
        run.write_picks(PicksQuery(name, *ANNOTATOR), Points(points.positions[chosen]))


class Annotator:
    """Answers clicks from the truth.

    Args:
        run: octopi's commands.
        project: to write picks into.
        truth: of every run.
        train: names of the runs that may be looked at.
        rng: for the random order.
    """

    def __init__(
        self,
        run: Commands,
        project: Project,
        truth: Truth,
        train: Sequence[str],
        rng: np.random.Generator,
    ) -> None:
        self.run, self.project, self.truth, self.train, self.rng = run, project, truth, train, rng
        self.clicks = 0
        self.answers: dict[str, int] = {}
        self.from_top = self.particles_from_top()

    def answer(self, policy: str, num: int, number: int) -> None:
        """Answer the clicks of a round, and write what they say into the project."""
        if policy == "top":
            self.pick_from_top(num, number)
        else:
            self.decide(policy, num)
        self.clicks += num

    def decide(self, policy: str, num: int) -> None:
        """Answer places of a page of `octopi review`, and apply the decisions."""
        page = self.run.folder / "page.html"
        page.unlink(missing_ok=True)  # of the round before
        runs = f"runs=[{','.join(self.train)}]"
        self.run("review", runs, f"num={num if policy == 'review' else POOL}", f"output={page}",
                 "beta=1", f"annotations={'/'.join(ANNOTATOR)}")  # fmt: skip
        content = page_content(page)
        cards = content["cards"]
        order = sorted(
            range(len(cards)) if policy == "review" else self.rng.permutation(len(cards))[:num]
        )
        decisions = [self.decision(cards[index]) for index in order]
        file = {
            **{key: content[key] for key in ("format", "version", "picks", "annotations")},
            "page": content["id"],
            "objects": [one["name"] for one in content["objects"]],
            "runs": {d["run"]: content["runs"][d["run"]] for d in decisions},
            "num_decisions": len(decisions),
            "decisions": decisions,
        }
        path = self.run.folder / "decisions.json"
        path.write_text(json.dumps(file), encoding="utf-8")
        self.run("review", f"decisions={path}")

    def decision(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a place: accept it, relabel it as what is there, or reject it."""
        there = self.object_at(card["run_name"], np.array(card["position"]))
        kind = "accept" if there == card["object_name"] else "relabel" if there else "reject"
        self.answers[kind] = self.answers.get(kind, 0) + 1
        return {
            "run": card["run_name"], "object": card["object_name"], "position": card["position"],
            "chance": card["chance"], "decision": kind,
            "relabelled": there if kind == "relabel" else None,
        }  # fmt: skip

    def object_at(self, run_name: str, position: np.ndarray) -> str | None:
        """Return which object has a particle within half its radius of a place, the nearest."""
        near = {}
        for name, points in self.truth[run_name].items():
            distances = np.linalg.norm(points.positions - position, axis=1)
            radius = self.project.objects[name].require_radius()
            if distances.min(initial=np.inf) <= radius / 2:
                near[name] = distances.min() / radius
        return min(near, key=near.__getitem__, default=None)

    def particles_from_top(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield run, object and position of every particle, from the first slice of each run on."""
        for run_name in self.train:
            particles = [
                (position[2], name, position)
                for name, points in self.truth[run_name].items()
                for position in points.positions
            ]
            for _, name, position in sorted(particles, key=lambda one: one[0]):
                yield run_name, name, position

    def pick_from_top(self, num: int, number: int) -> None:
        """Add the next particles as a set of picks."""
        added: dict[tuple[str, str], list[np.ndarray]] = {}
        for run_name, name, position in (
            one for one, _ in zip(self.from_top, range(num), strict=False)
        ):
            added.setdefault((run_name, name), []).append(position)
            self.answers["add"] = self.answers.get("add", 0) + 1
        for (run_name, name), positions in added.items():
            run = self.project.select([run_name])[0]
            run.write_picks(PicksQuery(name, CURATOR, str(number)), Points(np.array(positions)))

    def picks_of(self, user_id: str) -> set[str]:
        """Return the user/session of all picks of a user."""
        runs = self.project.select(self.train)
        return {q.user_session for run in runs for q in run.picks() if q.user_id == user_id}

    def annotated_runs(self) -> list[str]:
        """Return the names of the runs in which anything is annotated."""
        users = {ANNOTATOR[0], CURATOR}
        runs = self.project.select(self.train)
        return [run.name for run in runs if users & {q.user_id for q in run.picks()}]

    def sets(self) -> list[str]:
        """Return the overrides that name all that is known."""
        picks = ["/".join(ANNOTATOR), *sorted(self.picks_of(CURATOR))]
        rejected = sorted(self.picks_of(f"{CURATOR}-rejected"))
        overrides = [f"targets.picks=[{','.join(picks)}]", "targets.annotation=partial"]
        return [*overrides, *([f"targets.rejected=[{','.join(rejected)}]"] if rejected else [])]


def page_content(page: Path) -> dict[str, Any]:
    """Read what a page of `octopi review` shows."""
    text = page.read_text(encoding="utf-8")
    match = re.search(r'id="content">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


if __name__ == "__main__":
    main()
