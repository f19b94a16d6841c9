"""Picks as viewers write them into a project, through copick's own model."""

import json
from pathlib import Path

import copick
from copick.models import CopickLocation, CopickPoint


def add_picks(here, positions, *, object_name="ribosome", run="TS_01", user="me", session="1"):
    """Write picks as napari-copick does: instance 0, identity, trusted, score 1; return the file.

    Args:
        here: folder of the project.
        positions: (n, 3) in Å.
        object_name: of the picks.
        run: of the picks.
        user: who picked.
        session: of the user.
    """
    copick_run = copick.from_file(str(here / "project.json")).get_run(run)
    picks = copick_run.get_picks(object_name, user_id=user, session_id=session)
    if not picks:
        picks = [copick_run.new_picks(object_name, session_id=session, user_id=user)]
    picks[0].points = [
        CopickPoint(location=CopickLocation(x=x, y=y, z=z), instance_id=0) for x, y, z in positions
    ]
    picks[0].store()
    return Path(picks[0].path)


def change_points(path, **fields):
    """Change fields of every point in a file of picks; None as a value writes null."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for point in content["points"]:
        point.update(fields)
    path.write_text(json.dumps(content), encoding="utf-8")


def drop_from_points(path, field):
    """Leave out a field of every point in a file of picks, as older programs do."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for point in content["points"]:
        del point[field]
    path.write_text(json.dumps(content), encoding="utf-8")
