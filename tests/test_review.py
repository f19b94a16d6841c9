"""`octopi review` shows what to look at in a real browser, and writes what was decided there."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from scored_project import content_of, copy_project, decide, make_scored_project

from octopi.geometry import Points
from octopi.project import open_project
from octopi.project import run as project_run
from octopi.project.queries import PicksQuery
from octopi.reviews.page import PageRun, build_page
from octopi.reviews.selection import DOUBTED, UNCERTAIN, UNMARKED, Card

NASTY = "</script><img src=x onerror=document.title='owned'>\"'`${x}\u2028"
ARROW = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015"}  # WebDriver's
TEXTS = {"title": "t", "picks": "octopi/1", "annotations": None, "command": "", "origin": ""}
ANNOTATED = ["annotations=curation/0"]


@pytest.fixture(scope="module")
def scored(tiny_phantom, tmp_path_factory, octopi_command):
    """The folder of a project with score maps, picks, and the page.html of its review."""
    folder = tmp_path_factory.mktemp("review")
    config = make_scored_project(tiny_phantom, folder)
    page = folder / "page.html"
    command = [f"project.config={config}", f"output={page}", *ANNOTATED]
    assert octopi_command("review", *command) == 0
    return folder


@pytest.fixture
def reviewed(scored, tmp_path, monkeypatch):
    """Work in a copy of that project, beside its page."""
    copy_project(scored / "project.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOPI_PROJECT", str(tmp_path / "project.json"))
    return tmp_path


def curated(folder, user="curator"):
    """Read what was written as a user: session -> (run, object) -> positions."""
    found = {}
    for run in open_project(folder / "project.json").runs:
        for query in run.picks():
            if query.user_id == user:
                key = run.name, query.object_name
                found.setdefault(query.session_id, {})[key] = run.read_picks(query)
    return found


def places_of(file, *kinds, new=False):
    """Return the positions of the decisions of these kinds by run and asked or new object."""
    places = {}
    for d in file["decisions"]:
        if d["decision"] in kinds:
            key = d["run"], (new and d["relabelled"]) or d["object"]
            places.setdefault(key, []).append(d["position"])
    return places


def assert_written(picks, places):
    assert picks.keys() == places.keys()  # no file where nothing was decided
    for key, points in picks.items():
        assert points.positions.tolist() == places[key]
        assert points.scores.tolist() == [1.0] * len(points)


SOME = {0: "accept", 1: "reject", 2: "relabel", 3: "accept", 5: "reject", 8: "accept"}


def test_the_page_holds_all_kinds_of_all_objects_and_runs(reviewed):
    content = content_of(reviewed / "page.html")
    cards, project = content["cards"], open_project(reviewed / "project.json")
    assert {card["kind"] for card in cards} == {UNCERTAIN, UNMARKED, DOUBTED}
    assert {card["run_name"] for card in cards} == {run.name for run in project.runs}
    assert {card["object_name"] for card in cards} == {o["name"] for o in content["objects"]}
    mistakes = [number for _, number in content["mistakes"]]
    assert mistakes == sorted(mistakes, reverse=True)
    assert (reviewed / "page.html").stat().st_size < 15e6


def test_the_same_project_gives_the_same_page_and_a_round_later_other_places(
    reviewed, octopi_command
):
    first = content_of(reviewed / "page.html")
    names = ",".join(run.name for run in open_project(reviewed / "project.json").runs[::-1])
    assert octopi_command("review", "output=b.html", f"runs=[{names}]", *ANNOTATED) == 0
    assert content_of(reviewed / "b.html")["cards"] == first["cards"]
    assert content_of(reviewed / "b.html")["id"] == first["id"]
    file = decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json") == 0
    assert octopi_command("review", "output=c.html", *ANNOTATED) == 0
    after = {
        (c["run_name"], c["object_name"], *c["position"])
        for c in content_of(Path("c.html"))["cards"]
    }
    decided = {
        (d["run"], d["object"], *d["position"]) for d in file["decisions"] if not d["relabelled"]
    }
    assert not after & decided


def test_decisions_become_picks_of_new_sessions(reviewed, octopi_command, capfd):
    run = open_project(reviewed / "project.json").runs[0]
    run.write_picks(PicksQuery("ribosome", "curator", "7"), Points.empty())
    file = decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json") == 0
    assert_written(curated(reviewed)["8"], places_of(file, "accept", "relabel", new=True))
    assert_written(curated(reviewed, "curator-rejected")["8"], places_of(file, "reject", "relabel"))
    assert len(curated(reviewed)["7"][run.name, "ribosome"]) == 0
    log = "".join(capfd.readouterr())
    assert ":curator/8" in log
    assert ":curator-rejected/8" in log


def test_the_same_decisions_are_applied_once(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    decide(reviewed / "page.html", dict(reversed(SOME.items())), name="again.json")
    assert octopi_command("review", "decisions=decisions.json") == 0
    before = curated(reviewed), curated(reviewed, "curator-rejected")
    capfd.readouterr()
    assert octopi_command("review", "decisions=again.json") == 0
    assert "already applied as curator/1; nothing is written" in "".join(capfd.readouterr())
    after = curated(reviewed), curated(reviewed, "curator-rejected")
    assert [list(sessions) for sessions in after] == [["1"], ["1"]]
    assert str(after) == str(before)
    decide(reviewed / "page.html", SOME | {9: "accept"})
    assert octopi_command("review", "decisions=decisions.json") == 0
    assert list(curated(reviewed)) == ["1", "2"]


def test_what_a_kill_left_out_is_written_by_the_same_command(reviewed, octopi_command, monkeypatch):
    file = decide(reviewed / "page.html", SOME)
    written, write_file = [], project_run.write_file

    def die(fs, path, content):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_file(fs, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(project_run, "write_file", die)
        assert octopi_command("review", "decisions=decisions.json") == 130
    assert len(written) == 2
    before = {path: Path(path).stat().st_mtime_ns for path in written}
    assert octopi_command("review", "decisions=decisions.json") == 0
    assert {path: Path(path).stat().st_mtime_ns for path in written} == before
    assert_written(curated(reviewed)["1"], places_of(file, "accept", "relabel", new=True))
    assert_written(curated(reviewed, "curator-rejected")["1"], places_of(file, "reject", "relabel"))


def test_a_dry_run_writes_nothing(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    before = sorted(reviewed.rglob("*"))
    assert octopi_command("review", "decisions=decisions.json", "dry_run=true") == 0
    assert octopi_command("review", "output=b.html", "dry_run=true", *ANNOTATED) == 0
    assert "would show" in "".join(capfd.readouterr())
    assert sorted(reviewed.rglob("*")) == before


def test_a_file_that_was_cut_off_writes_nothing(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    path = reviewed / "decisions.json"
    path.write_bytes(path.read_bytes()[:-40])
    assert octopi_command("review", "decisions=decisions.json") == 3
    assert "decisions.json cannot be used: it is cut off" in capfd.readouterr().err
    assert not curated(reviewed)
    assert not curated(reviewed, "curator-rejected")


def test_a_missing_file_is_a_usage_error(reviewed, octopi_command, capfd):
    assert octopi_command("review", "decisions=nowhere.json") == 2
    assert "nowhere.json" in capfd.readouterr().err


def test_another_session_of_the_same_name_is_not_touched(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    run = open_project(reviewed / "project.json").runs[0]
    run.write_picks(PicksQuery("ribosome", "curator-rejected", "4"), Points.empty())
    assert octopi_command("review", "decisions=decisions.json", "session_id=4") == 2
    assert "curator/4" in capfd.readouterr().err
    assert octopi_command("review", "decisions=decisions.json", "session_id=first") == 0
    assert list(curated(reviewed)) == ["first"]


def test_an_overlay_that_cannot_be_written_is_refused_before_work(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    shutil.copytree(reviewed / "overlay", reviewed / "static", dirs_exist_ok=True)
    (reviewed / "file").touch()
    config = json.loads((reviewed / "project.json").read_text(encoding="utf-8"))
    config["overlay_root"] = f"local://{reviewed}/file/overlay"
    (reviewed / "other.json").write_text(json.dumps(config), encoding="utf-8")
    override = "project.config=other.json"
    assert octopi_command("review", "decisions=decisions.json", override) == 4
    assert "overlay_root" in capfd.readouterr().err


def test_annotated_places_outside_of_the_tomogram_are_not_shown(reviewed, octopi_command):
    run = open_project(reviewed / "project.json").runs[0]
    run.write_picks(PicksQuery("ribosome", "me", "1"), Points(np.array([[1e5, 0, 0], [9, 9, 9]])))
    assert octopi_command("review", "output=b.html", "annotations=me/1") == 0
    cards = content_of(reviewed / "b.html")["cards"]
    assert [card["position"] for card in cards if card["kind"] == DOUBTED] == [[9, 9, 9]]


def test_runs_without_score_maps_are_named(here, octopi_command, capfd):
    assert octopi_command("review", "output=page.html") == 3
    error = capfd.readouterr().err
    assert "has no score map predict-octopi-1" in error
    assert "octopi segment makes score maps" in error
    assert not (here / "page.html").exists()


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["max_megabytes=0.01"], 2, "num="),
        (["user_id=a_b"], 2, "user_id"),
        (["beta=2"], 2, "no thresholds for beta=2"),
        (["tomo_type=raw"], 3, "has no tomogram raw"),
        (["annotations=curation"], 2, "does not name picks"),
        (["picks=octopi"], 2, "picks"),
        (["num=0"], 2, "num"),
        (["user_id=octopi"], 2, "user_id"),
        (["user_id=me-rejected"], 2, "user_id"),
        (["annotations=curation/7"], 3, "has no picks curation/7"),
        (["picks=octopi/7"], 3, "has no picks octopi/7"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    reviewed, octopi_command, capfd, overrides, code, message
):
    capfd.readouterr()
    assert octopi_command("review", "output=b.html", *overrides) == code
    assert message in capfd.readouterr().err
    assert not (reviewed / "b.html").exists()


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("num=3", 2, "num has no effect"),
        ("picks=octopi/1", 2, "picks has no effect"),
        ("annotations=nobody/1", 3, "has no picks nobody/1"),
    ],
)
def test_what_decisions_do_not_need_is_refused_beside_them(
    reviewed, octopi_command, capfd, override, code, message
):
    decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json", override) == code
    assert message in capfd.readouterr().err
    assert not curated(reviewed)


def test_a_page_that_somebody_works_through_is_not_replaced(reviewed, octopi_command, capfd):
    for _ in range(2):  # the same page anew
        assert octopi_command("review", *ANNOTATED) == 0
    (page,) = reviewed.glob("outputs/review/*")
    assert page.name == f"project-{content_of(page)['id']}.html"
    for dry_run in ("dry_run=true", "dry_run=false"):
        assert octopi_command("review", "num=3", f"output={page}", dry_run) == 3
        assert "is not replaced" in capfd.readouterr().err
    assert octopi_command("review", "num=3", *ANNOTATED) == 0
    assert len(list(reviewed.glob("outputs/review/*"))) == 2


def test_the_command_of_a_page_repeats_what_names_its_tomograms(reviewed, octopi_command):
    tomo_type = open_project(reviewed / "project.json").runs[0].tomograms()[0].tomo_type
    overrides = ["num=3", f"tomo_type={tomo_type}", "user_id=me"]
    assert octopi_command("review", "output=b.html", *overrides) == 0
    command = f"octopi review tomo_type={tomo_type} user_id=me decisions="
    assert content_of(reviewed / "b.html")["command"] == command


def test_only_runs_with_places_are_read(reviewed, octopi_command):
    assert octopi_command("review", "output=b.html", "num=1") == 0
    content = content_of(reviewed / "b.html")
    assert list(content["runs"]) == [content["cards"][0]["run_name"]]
    assert len(content["mistakes"]) > 1


def test_what_was_applied_stays_applied_when_tomograms_and_picks_have_changed(
    reviewed, octopi_command, capfd
):
    decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json") == 0
    for path in list(reviewed.rglob("VoxelSpacing*")):
        shutil.rmtree(path)
    assert octopi_command("review", "decisions=decisions.json") == 0
    assert "already applied as curator/1" in "".join(capfd.readouterr())


def test_without_anything_trained_on_no_line_is_printed(reviewed, octopi_command, capfd):
    assert octopi_command("review", "output=b.html") == 0
    decide(reviewed / "b.html", SOME)
    capfd.readouterr()
    assert octopi_command("review", "decisions=decisions.json") == 0
    log = "".join(capfd.readouterr())
    assert "annotations=USER/SESSION" in log
    assert "create_targets" not in log
    assert octopi_command("review", "decisions=decisions.json", *ANNOTATED) == 0
    assert "targets.picks=[curation/0,curator/1]" in "".join(capfd.readouterr())


def test_the_line_names_all_decisions(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json", "session_id=11") == 0
    decide(reviewed / "page.html", {6: "accept", 7: "reject"})
    assert octopi_command("review", "decisions=decisions.json", "session_id=2") == 0
    decide(reviewed / "page.html", {9: "reject"})
    capfd.readouterr()
    assert octopi_command("review", "decisions=decisions.json") == 0
    log = "".join(capfd.readouterr())
    assert "targets.picks=[curation/0,curator/2,curator/11]" in log
    assert "targets.rejected=[curator-rejected/2,curator-rejected/11,curator-rejected/12]" in log


def test_the_line_that_retrains_can_be_typed(reviewed, octopi_command, capfd):
    decide(reviewed / "page.html", SOME)
    assert octopi_command("review", "decisions=decisions.json") == 0
    lines = "".join(capfd.readouterr()).splitlines()
    (line,) = [text for text in lines if text.startswith("octopi create_targets")]
    targets, train = [shlex.split(part) for part in line.split(" && ")]
    assert targets == [
        "octopi",
        "create_targets",
        "targets.picks=[curation/0,curator/1]",
        "targets.rejected=curator-rejected/1",
        "targets.annotation=partial",
        "targets.session_id=1",
    ]
    assert train == ["octopi", "train", 'target="targets:octopi/1"']
    assert octopi_command(*targets[1:]) == 0
    run = open_project(reviewed / "project.json").runs[0]
    (query,) = [q for q in run.segmentations() if q.name == "targets"]
    assert any(
        sets.endswith("curator/1") for sets in run.segmentation_attributes(query)["picks"].values()
    )


# ---------------------------------------------------------------- in the browser


def shown(browser):
    """Return what the page shows: the number of its card, its decision, and the counts."""
    script = """const card = document.querySelector('#strip button[aria-current="true"]');
        const place = document.getElementById('place');
        return [Number(card.title.split(':')[0]) - 1, place.dataset.decision,
            document.getElementById('count').innerText,
            [...document.querySelectorAll('#tally b')].map((b) => Number(b.innerText))]"""
    frame = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    browser.execute_async_script(frame)
    return browser.execute_script(script)


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


@pytest.fixture
def fresh(opened, browser):
    """Open a page as in a browser that has never seen it."""

    def go(page):
        opened(page)
        browser.execute_script("localStorage.clear()")
        return opened(page)

    return go


def test_keys_and_buttons_decide_and_a_saved_file_is_applied(
    reviewed, fresh, opened, octopi_command
):
    page = reviewed / "page.html"
    browser = fresh(page)
    cards, names = content_of(page)["cards"], [o["name"] for o in content_of(page)["objects"]]
    total = f"of {len(cards)}"
    assert shown(browser) == [0, "", f"0 {total}", [0, 0, 0, 0]]
    press(browser, "a", "r", "s")
    assert shown(browser) == [3, "", f"3 {total}", [1, 1, 0, 1]]
    own = names.index(cards[3]["object_name"])
    other = (own + 1) % len(names)
    press(browser, str(other + 1))
    assert shown(browser) == [4, "", f"4 {total}", [1, 1, 1, 1]]
    press(browser, str(names.index(cards[4]["object_name"]) + 1))  # it is what was asked
    assert shown(browser) == [5, "", f"5 {total}", [2, 1, 1, 1]]
    click(browser, "#reject")
    click(browser, "#undo")
    assert shown(browser) == [5, "", f"5 {total}", [2, 1, 1, 1]]
    press(browser, "u")
    assert shown(browser) == [4, "", f"4 {total}", [1, 1, 1, 1]]
    press(browser, ARROW["left"])
    assert shown(browser)[:2] == [3, "relabel"]
    press(browser, ARROW["up"])  # before the first that is not decided is the last one
    assert shown(browser)[:2] == [len(cards) - 1, ""]
    press(browser, ARROW["right"], ARROW["down"])
    assert shown(browser)[:2] == [4, ""]
    browser = opened(page)
    assert shown(browser)[0] == 4
    assert shown(browser)[2:] == [f"4 {total}", [1, 1, 1, 1]]  # as it was left
    press(browser, "u")
    assert shown(browser)[2:] == [f"3 {total}", [1, 1, 0, 1]]
    press(browser, str(other + 1))
    downloads = reviewed / "downloads"
    settings = {"behavior": "allow", "downloadPath": str(downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
    click(browser, "#save")
    saved = downloads / f"octopi-review-{content_of(page)['id']}.json"
    for _ in range(200):
        if saved.is_file():
            break
        shown(browser)
    decide(page, {0: "accept", 1: "reject", 3: "relabel"})
    ours = json.loads((reviewed / "decisions.json").read_text(encoding="utf-8"))
    ours["decisions"][2]["relabelled"] = names[other]
    assert json.loads(saved.read_text(encoding="utf-8")) == ours
    assert octopi_command("review", f"decisions={saved}") == 0
    assert sum(map(len, curated(reviewed)["1"].values())) == 2


def test_the_slices_are_those_of_the_tomogram(reviewed, fresh):
    page = reviewed / "page.html"
    browser = fresh(page)
    card, project = content_of(page)["cards"][0], open_project(reviewed / "project.json")
    run = project.select([card["run_name"]])[0]
    query = next(q for q in run.tomograms() if "denois" in q.tomo_type)
    volume, spacing = run.read_tomogram(query), query.voxel_spacing
    x, y, z = np.rint(np.array(card["position"]) / spacing).astype(int)
    reach = int(card["reach"] / spacing)
    script = """const canvas = document.querySelector(arguments[0]);
        return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"""
    slabs = {
        "xy": (volume[z], y, x),
        "xz": (volume[:, y], z, x),
        "yz": (volume[:, :, x], z, y),
    }
    for name, (plane, row, column) in slabs.items():
        values = np.array(browser.execute_script(script, f"#slice-{name} canvas"), float)
        size = int((len(values) / 4) ** 0.5)
        picture = values.reshape(size, size, 4)[..., 0]
        offsets = np.arange(-reach + 1, reach)
        pixels = ((offsets / reach + 1) * size / 2).astype(int)
        rows, columns = np.meshgrid(offsets + row, offsets + column, indexing="ij")
        inside = (rows >= 0) & (rows < plane.shape[0]) & (columns >= 0) & (columns < plane.shape[1])
        shown_values = picture[np.ix_(pixels, pixels)][inside]
        correlation = np.corrcoef(shown_values, plane[rows[inside], columns[inside]])[0, 1]
        assert correlation > 0.6, name


def shown_object(name, radius=60.0):
    return {"name": name, "color": (9, 200, 9), "radius": radius, "threshold": 0.5}


def test_five_hundred_places_fit_and_are_stepped_through_without_a_wait(reviewed, fresh):
    run = open_project(reviewed / "project.json").runs[0]
    tomogram = run.tomograms()[0]
    box = np.multiply(run.tomogram_grid(tomogram).shape, tomogram.voxel_spacing)[::-1]
    places = np.random.default_rng(0).uniform(0, box, (500, 3)).tolist()
    cards = [Card(run.name, "ribosome", (x, y, z), 0.5, UNCERTAIN, 1.0) for x, y, z in places]
    _, content = build_page(
        cards,
        [PageRun(run, tomogram, {"ribosome": Points(np.array(places))}, 1.0)],
        [shown_object("ribosome", 150.0)],
        max_bytes=15e6,
        texts=TEXTS,
    )
    page = reviewed / "many.html"
    page.write_text(content, encoding="utf-8")
    assert page.stat().st_size < 15e6
    browser = fresh(page)
    script = """const done = arguments[0], times = [];
        const key = (name) => document.dispatchEvent(new KeyboardEvent('keydown', {key: name}));
        const original = window.requestAnimationFrame;
        window.requestAnimationFrame = (draw) => original((t) => {
            const start = performance.now(); draw(t); times.push(performance.now() - start); });
        let n = 0;
        const step = () => { key(n % 2 ? 'ArrowRight' : 'a'); n += 1;
            if (n < 100) setTimeout(step, 8); else done(times); };
        step()"""
    browser.set_script_timeout(120)
    times = browser.execute_async_script(script)
    assert len(times) > 20
    assert np.median(times) < 16  # milliseconds, of a frame at 60 Hz


def test_names_are_shown_as_text_and_nothing_is_loaded(reviewed, fresh):
    evil_run = NASTY.replace("/", "∕")  # as a folder can be called
    for path in list(reviewed.rglob("TS_01")):
        path.rename(path.with_name(evil_run))
    run = open_project(reviewed / "project.json").select([evil_run])[0]
    tomogram = run.tomograms()[0]
    picks = {NASTY: Points(np.array([[100.0, 100.0, 100.0]]))}
    cards = [
        Card(evil_run, NASTY, (90.0 * i, 100.0, 100.0), 0.5, UNCERTAIN, 1.0, f"2{NASTY}")
        for i in (1, 2, 3)
    ]
    objects = [shown_object(f"{i}{NASTY}") for i in range(3)]
    _, page = build_page(
        cards,
        [PageRun(run, tomogram, picks, 1.0)],
        [shown_object(NASTY), *objects],
        max_bytes=1e6,
        texts={**dict.fromkeys(TEXTS, NASTY), "annotations": None},
    )
    path = reviewed / "evil.html"
    path.write_text(page, encoding="utf-8")
    browser = fresh(path)
    press(browser, "p", "a", "2", "r", ARROW["left"])
    assert shown(browser)[3] == [1, 1, 1, 0]
    assert browser.title == f"{NASTY} · octopi review"
    for selector in ("#question", "#relabel", "#runs", "#command", "#origin", "#title", "#where"):
        text = "return document.querySelector(arguments[0]).textContent"
        assert NASTY[-40:] in browser.execute_script(text, selector).replace("∕", "/"), selector
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    script = "return performance.getEntriesByType('resource').map((r) => r.name.slice(0, 5))"
    assert set(browser.execute_script(script)) <= {"data:"}
    click(browser, "#save")  # under the policy of the page this works and runs nothing else
    assert browser.title == f"{NASTY} · octopi review"


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1366, True)])
def test_the_page_fits_phone_and_laptop_light_and_dark(reviewed, fresh, browser, width, dark):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        fresh(reviewed / "page.html")
        root = "document.documentElement"
        assert browser.execute_script(f"return {root}.scrollWidth - {root}.clientWidth") == 0
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, paper[4:-1].split(","))) < 80) == dark
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
