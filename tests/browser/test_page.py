"""The page in a real browser (Debian's chromium) on a real server; screenshots are kept beside this file.

Skipped where there is no chromium (apt-get install chromium).
"""

import contextlib
import dataclasses
import io
import re
import shutil
import sqlite3
import time

import ase.io
import httpx
import numpy as np
import pytest

from atomscatter.ensemble import Ensemble
from service.api_keys import new_key
from service.default_model import embedded_model
from service.registry import ModelRegistry
from tests.api.conftest import ROOT, serving
from tests.ports import unused_port

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

from playwright.sync_api import expect, sync_playwright  # noqa: E402

EXAMPLES = ROOT / "api/static/examples"
SCREENSHOTS = ROOT / "tests/browser/screenshots"
expect.set_options(timeout=60_000)  # of a busy machine; what is there is seen at once
SECONDS = 60  # to wait for what no assertion of Playwright waits for
COLOURS_OF_THE_STRUCTURE = """() => {
  const c = document.querySelector('#viewer canvas'), d = document.createElement('canvas');
  d.width = c.width; d.height = c.height; const t = d.getContext('2d'); t.drawImage(c, 0, 0);
  const data = t.getImageData(0, 0, d.width, d.height).data;
  return new Set(new Uint32Array(data.buffer)).size }"""
TWO_FRAMES = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("state")) as (_, found):
        yield found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def context(browser):
    """Of all pages, which so share the files that they load; what is kept for a tab they do not share."""
    found = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    found.set_default_timeout(60_000)
    yield found
    found.close()


@pytest.fixture
def new_page(context):
    """A page that has nothing open yet; afterwards: no error was logged."""
    found, errors = context.new_page(), []
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    found.close()
    assert errors == []


@pytest.fixture
def page(new_page, url):
    """The page, opened; afterwards: nothing came from another server."""
    others = []
    own = (url, "blob:", "data:")
    new_page.on("request", lambda request: request.url.startswith(own) or others.append(request.url))
    new_page.goto(url)
    yield new_page
    assert others == []


def wait_until_drawn(page, response):
    """What came with a response can be seen, if it is shown at all."""
    response.finished()
    page.evaluate(TWO_FRAMES)


def expected(path):
    return Ensemble.load(embedded_model()).predict(ase.io.read(path))


def number(text):
    return float(re.search(r"[-−]?\d+\.\d+", text).group().replace("−", "-"))


def test_an_example_is_predicted_and_shown(page):
    page.get_by_role("button", name="LiSi, amorphous").click()
    expect(page.locator("#status")).to_contain_text("predicted in")
    prediction = expected(EXAMPLES / "one-structure.extxyz")
    shown = page.locator("#numbers dd").all_text_contents()
    assert number(shown[0]) == pytest.approx(prediction.energy, abs=6e-4)
    assert number(shown[1]) == pytest.approx(prediction.energy_per_atom, abs=6e-5)
    expect(page.locator("#verdict")).to_have_text("Like the training data.")
    canvas = page.locator("#viewer canvas").first
    expect(canvas).to_be_visible()
    deadline = time.monotonic() + SECONDS
    while page.evaluate(COLOURS_OF_THE_STRUCTURE) <= 20:
        assert time.monotonic() < deadline, "nothing was drawn in 3D"
        page.wait_for_timeout(100)
    page.screenshot(path=SCREENSHOTS / "structure.png", full_page=True)


def test_an_example_that_does_not_come_is_complained_about(page):
    page.route("**/static/examples/**", lambda route: route.fulfill(status=503))
    page.get_by_role("button", name="LiSi, amorphous").click()
    expect(page.locator("#problem")).to_have_text("The server answered 503.")


def test_a_late_example_does_not_replace_a_newer_one(page):
    held = []
    page.route("**/examples/migration-path.extxyz", lambda route: held.append(route))
    page.get_by_role("button", name="Migration path").click()
    expect(page.locator("#status")).to_have_text("Reading…")
    page.get_by_role("button", name="LiSi, amorphous").click()
    expect(page.locator("#status")).to_contain_text("one-structure.extxyz: 1 predicted in")
    with page.expect_response("**/v1/structures/file") as late:
        held[0].continue_()
    wait_until_drawn(page, late.value)
    expect(page.locator("#status")).to_contain_text("one-structure.extxyz: 1 predicted in")


def test_the_strain_curve_gives_a_bulk_modulus(page):
    page.get_by_role("button", name="LiSi, amorphous").click()
    page.get_by_role("button", name="Compute bulk modulus").click()
    expect(page.locator("#strain-status")).to_contain_text("ulk modulus")
    assert page.locator("#strain-chart circle").count() == 11
    before = page.locator("#strain-chart polyline").get_attribute("points")
    page.locator("#range").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#range-value")).to_have_text("±6 %")
    expect(page.locator("#strain-chart polyline")).not_to_have_attribute("points", before)
    page.screenshot(path=SCREENSHOTS / "strain.png", full_page=True)


def test_a_migration_path_draws_its_barrier(page):
    page.set_input_files("#file", EXAMPLES / "migration-path.extxyz")
    expect(page.locator("#series-note")).to_contain_text("eV")
    frames = ase.io.read(EXAMPLES / "migration-path.extxyz", ":")
    model = Ensemble.load(embedded_model())
    energies = [model.predict(a).energy for a in frames]
    assert number(page.locator("#series-note").text_content()) == pytest.approx(np.ptp(energies), abs=6e-4)
    assert np.argmax(energies) == 0
    expect(page.locator("#series-note")).to_contain_text("the highest image is the first")
    assert page.locator("#series-chart circle").count() == len(frames)
    page.locator("#frame").fill("3")
    expect(page.locator("#frame-of")).to_have_text(f"4 of {len(frames)}")
    assert number(page.locator("#numbers dd").first.text_content()) == pytest.approx(energies[3], abs=6e-4)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == len(frames) + 1
    assert float(lines[1].split(",")[2]) == pytest.approx(energies[0], abs=6e-5)
    page.screenshot(path=SCREENSHOTS / "migration.png", full_page=True)


@pytest.fixture
def neb(tmp_path):
    """Folder of a VASP calculation, its images, and their energies by the model."""
    frames = ase.io.read(EXAMPLES / "migration-path.extxyz", ":")
    frames = [*frames, *frames[-2::-1]][:11]
    for i, atoms in enumerate(frames):
        folder = tmp_path / "neb" / str(i)  # 10 comes after 2
        folder.mkdir(parents=True)
        atoms.calc = None
        ase.io.write(folder / "POSCAR", atoms, format="vasp")
        (folder / "OUTCAR").write_text("not a structure\n")
    first, second = tmp_path / "neb/1", tmp_path / "neb/2"
    shutil.copy(first / "POSCAR", first / "CONTCAR")
    shutil.copy(tmp_path / "neb/5/POSCAR", first / "POSCAR")  # where image 1 started
    (second / "CONTCAR").write_text("")  # of a step that did not end
    model = Ensemble.load(embedded_model())
    return tmp_path / "neb", [model.predict(a).energy for a in frames]


def assert_series(page, energies):
    """The images are shown in their order, with their barrier."""
    expect(page.locator("#status")).to_contain_text(f"{len(energies)} files: {len(energies)} predicted in")
    expect(page.locator("#series-note")).to_contain_text("eV")
    assert number(page.locator("#series-note").text_content()) == pytest.approx(np.ptp(energies), abs=6e-4)
    shown = page.locator("#table tbody tr td:nth-child(3)").all_text_contents()
    assert [float(text) for text in shown] == pytest.approx(energies, abs=1e-4)
    labels = page.locator("#series-chart circle title").all_text_contents()
    drawn = [float(label.split(": ")[1].split()[0]) for label in labels]
    assert drawn == pytest.approx(np.subtract(energies, energies[0]), abs=1e-3)


def test_a_folder_of_a_neb_draws_its_barrier(page, neb):
    folder, energies = neb
    page.set_input_files("#folder", folder)
    assert_series(page, energies)
    page.screenshot(path=SCREENSHOTS / "neb.png", full_page=True)


def test_a_dropped_folder_draws_its_barrier(page, neb):
    folder, energies = neb
    box = page.locator("#drop").bounding_box()
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": box["x"] + 30, "y": box["y"] + 30, "data": data}
        devtools.send("Input.dispatchDragEvent", event)
    assert_series(page, energies)


def test_several_files_are_one_series_in_the_order_of_their_names(page, neb, tmp_path):
    folder, energies = neb
    files = []
    for i in (10, 0, 2):
        files.append(tmp_path / f"image-{i}.vasp")
        shutil.copy(folder / str(i) / "POSCAR", files[-1])
    page.set_input_files("#file", files)
    assert_series(page, [energies[i] for i in (0, 2, 10)])
    (tmp_path / "image-1.vasp").write_text("nonsense")
    page.set_input_files("#file", [*files, tmp_path / "image-1.vasp"])
    expect(page.locator("#problem")).to_contain_text("image-1.vasp: ")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "OUTCAR").write_text("not a structure\n")
    page.set_input_files("#folder", tmp_path / "empty")
    expect(page.locator("#problem")).to_contain_text("no file of structures")


def test_a_late_strain_curve_does_not_replace_a_newer_one(page):
    page.get_by_role("button", name="LiSi, amorphous").click()
    page.get_by_role("button", name="Compute bulk modulus").click()
    expect(page.locator("#strain-status")).to_contain_text("ulk modulus")
    held = []
    page.route("**/bulk-modulus", lambda route: route.continue_() if held else held.append(route))
    page.locator("#range").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#strain-chart circle title").last).to_contain_text("6.0 %")
    expect(page.get_by_role("button", name="Compute bulk modulus")).to_be_enabled()
    status = page.locator("#strain-status").text_content()
    with page.expect_response("**/bulk-modulus") as late:
        held[0].continue_()
    wait_until_drawn(page, late.value)
    expect(page.locator("#strain-chart circle title").last).to_contain_text("6.0 %")
    assert page.locator("#strain-status").text_content() == status


def test_pasted_text_and_its_problems(page):
    page.locator("summary").click()
    page.fill("#text", "nonsense")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#problem")).to_contain_text("neither extended XYZ nor CIF nor POSCAR")
    page.fill("#text", (EXAMPLES / "one-structure.extxyz").read_text())
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#status")).to_contain_text("predicted in")
    expect(page.locator("#problem")).to_be_hidden()
    page.fill("#text", (EXAMPLES / "one-structure.extxyz").read_text().replace("Si ", "Xx "))
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#problem")).to_be_visible()


def test_a_structure_unlike_the_training_data_is_marked(page):
    page.locator("summary").click()
    page.fill(
        "#text",
        '2\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nLi 0 0 0\nSi 1.5 1.5 1.5\n',
    )
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#verdict")).to_contain_text("Extrapolating")


def expect_a_picture(image):
    """It has arrived and is no broken one; an image is complete before it has a source, too."""
    expect(image).to_be_visible()
    expect(image).not_to_have_js_property("naturalWidth", 0)
    expect(image).to_have_js_property("complete", True)


def test_the_model_page(page):
    page.get_by_role("link", name="Model").click()
    expect(page.locator("#card")).to_contain_text("RMSE, held-out paths")
    for title in ("Parity", "Learning curves"):
        expect_a_picture(page.get_by_alt_text(title))
    expect(page.locator("#footer-model")).to_have_text(Ensemble.load(embedded_model()).model_id)
    page.screenshot(path=SCREENSHOTS / "model.png", full_page=True)


@pytest.fixture(scope="module")
def small_service(tmp_path_factory):
    """With a second model, for bodies of 16 KiB at most: its URL, its registry and the second model's id."""
    folder = tmp_path_factory.mktemp("small")
    another = dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another")
    another.save(folder / "another")
    registry = ModelRegistry(folder / "state" / "models")
    model_id = registry.add(folder / "another")
    with serving(folder / "state", max_body_bytes=16_384) as (_, url):
        yield url, registry, model_id


def test_a_file_whose_json_would_be_too_large_is_predicted(new_page, small_service):
    new_page.goto(small_service[0])
    new_page.set_input_files("#file", EXAMPLES / "migration-path.extxyz")
    expect(new_page.locator("#series-note")).to_have_text("No barrier: the body has more than 16384 bytes")
    n = len(ase.io.read(EXAMPLES / "migration-path.extxyz", ":"))
    assert new_page.locator("#series-chart circle").count() == n
    expect(new_page.locator("#problem")).to_be_hidden()


@pytest.fixture
def two_models(new_page, small_service):
    """The Model page of a service with a second model, the second model's directory and its id."""
    url, registry, model_id = small_service
    active, weights = registry.active, registry.directory(model_id) / "weights.npz"
    kept = weights.read_bytes()
    new_page.goto(f"{url}/#model")
    expect(new_page.locator("#card")).to_contain_text(active)
    yield new_page, registry.directory(model_id), model_id
    weights.write_bytes(kept)
    httpx.post(f"{url}/v1/models/{active}/activate", timeout=60).raise_for_status()


def test_a_model_that_cannot_be_read_shows_why_and_no_card(two_models):
    page, directory, model_id = two_models
    (directory / "weights.npz").write_bytes(b"damaged")
    page.locator("#models").select_option(model_id)
    expect(page.locator("#model-status")).to_contain_text(f"model {model_id} is damaged")
    expect(page.locator("#card")).to_be_empty()
    expect(page.locator("#reports")).to_be_empty()
    expect(page.get_by_role("button", name="Make it the active one")).to_be_hidden()


def test_the_card_and_what_is_activated_are_the_model_that_was_chosen_last(two_models):
    page, _, model_id = two_models
    active, held = page.locator("#models").input_value(), []
    page.route(f"**/v1/models/{model_id}", lambda route: route.continue_() if held else held.append(route))
    page.locator("#models").select_option(model_id)
    expect(page.locator("#card")).to_be_empty()
    page.locator("#models").select_option(active)
    expect(page.locator("#card")).to_contain_text(active)
    with page.expect_response(f"**/v1/models/{model_id}") as late:
        held[0].continue_()
    wait_until_drawn(page, late.value)
    expect(page.locator("#card")).to_contain_text(active)
    expect(page.get_by_role("button", name="Make it the active one")).to_be_hidden()
    page.locator("#models").select_option(model_id)
    expect(page.locator("#card")).to_contain_text(model_id)
    page.get_by_role("button", name="Make it the active one").click()
    expect(page.locator("#model-status")).to_have_text("It is active now.")
    expect(page.locator("#footer-model")).to_have_text(model_id)
    expect(page.locator("#card")).to_contain_text(model_id)


def test_the_description_of_the_api_is_shown(page):
    """From this server alone, and under the same content security policy."""
    refused = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    page.get_by_role("link", name="API").click()
    operations = page.locator(".opblock")
    expect(operations.filter(has_text="/v1/predictions/file")).to_be_visible()
    assert operations.count() > 15
    operations.filter(has_text="/v1/properties/migration-barrier").locator("button").first.click()
    expect(page.locator(".opblock-body")).to_contain_text("along the ordered images of one path")
    assert refused == []
    page.screenshot(path=SCREENSHOTS / "docs.png")


def test_a_phone_in_the_dark_with_the_keyboard_only(new_page, url):
    page = new_page
    page.set_viewport_size({"width": 375, "height": 700})
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.get_by_role("button", name="LiSi, amorphous")).to_be_visible()
    for _ in range(20):  # to the first example, by Tab alone
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "LiSi, amorphous":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("predicted in")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375, "the page is wider than the phone"
    page.screenshot(path=SCREENSHOTS / "phone.png", full_page=True)


@pytest.fixture(scope="module")
def keyed_service(tmp_path_factory):
    """URL of a service with keys, and a key for everything."""
    folder = tmp_path_factory.mktemp("keyed")
    key, line = new_key("visitor", ["predict", "jobs"])
    (folder / "keys").write_text(f"{line}\n")
    with serving(folder / "state", api_keys=folder / "keys") as (_, url):
        yield url, key


def give_keys(page, *keys):
    """To a page that asks for one, one after the other; the last one is right."""
    expect(page.locator("#problem")).to_contain_text("X-API-Key")
    for key in keys:
        page.get_by_label("API key of this service").fill(key)
        page.get_by_role("button", name="Use it").click()
    expect(page.locator("#footer-model")).to_have_text(Ensemble.load(embedded_model()).model_id)


def test_a_service_with_keys_asks_for_one(new_page, keyed_service, browser):
    """A wrong key, the right one, predictions and images with it; the next visitor is asked again."""
    (url, key), page = keyed_service, new_page
    page.goto(url)
    give_keys(page, "wrong", key)
    expect(page.locator("#problem")).to_be_hidden()
    page.get_by_role("button", name="LiSi, amorphous").click()
    expect(page.locator("#status")).to_contain_text("predicted in")
    page.get_by_role("link", name="Model").click()
    expect_a_picture(page.get_by_alt_text("Parity"))
    stranger = browser.new_context().new_page()
    stranger.goto(url)
    expect(stranger.locator("#problem")).to_contain_text("X-API-Key")
    stranger.context.close()


def test_the_refusal_of_an_earlier_key_may_come_late(new_page, keyed_service):
    (url, key), page, held = keyed_service, new_page, []

    def hold_the_wrong_one(route):
        wrong = route.request.headers.get("x-api-key") == "wrong"
        held.append(route) if wrong else route.continue_()

    page.route("**/v1/models", hold_the_wrong_one)
    page.goto(url)
    give_keys(page, "wrong", key)
    with page.expect_response(lambda response: response.status == 401) as late:
        held[0].continue_()
    wait_until_drawn(page, late.value)
    expect(page.locator("#problem")).to_be_hidden()


def submitted(url, n):
    """Ids of jobs for a small training set."""
    with httpx.Client(base_url=url, timeout=60) as client:
        content = labelled(ase.io.read(EXAMPLES / "concentrations.extxyz", ":"))
        dataset = client.post("/v1/datasets", files={"file": ("a.extxyz", content)}).json()["id"]
        body = {"type": "featurize", "parameters": {"dataset": dataset}}
        return [client.post("/v1/jobs", json=body).json()["id"] for _ in range(n)]


@pytest.fixture(scope="module")
def waiting_service(tmp_path_factory):
    """URL and state directory of a service whose jobs wait: its cluster is not there."""
    state = tmp_path_factory.mktemp("waiting") / "state"
    with serving(state, "--address", f"http://127.0.0.1:{unused_port()}") as (_, url):
        yield url, state


def test_many_waiting_jobs_are_in_nobodys_way(new_page, waiting_service, tmp_path):
    """A browser makes six connections to a server: none of them is kept by a job."""
    url, page = waiting_service[0], new_page
    first, *others = submitted(url, 8)
    page.goto(f"{url}/#jobs")
    for job in (first, *others):
        expect(page.locator(f"#job-{job}")).to_contain_text("queued")
    for _ in range(2):  # it watches them
        with page.expect_response("**/v1/jobs"):
            pass
    row = page.locator(f"#job-{first}")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("cancelled")
    httpx.delete(f"{url}/v1/jobs/{others[-1]}", timeout=60)  # by somebody else
    expect(page.locator(f"#job-{others[-1]}")).to_contain_text("cancelled")
    upload(page, tmp_path)
    page.get_by_role("link", name="Predict").click()
    page.get_by_role("button", name="LiSi, amorphous").click()
    expect(page.locator("#status")).to_contain_text("predicted in")


def test_a_job_that_the_service_does_not_know_is_not_asked_for_again(new_page, waiting_service):
    """The page outlives the server, and the next one at its address has other jobs."""
    (url, state), page = waiting_service, new_page
    (job,) = submitted(url, 1)
    page.goto(f"{url}/#jobs")
    expect(page.locator(f"#job-{job}")).to_contain_text("queued")
    page.route("**/v1/**", lambda route: route.abort())
    expect(page.locator("#jobs-status")).to_contain_text("does not answer")
    with contextlib.closing(sqlite3.connect(state / "jobs.sqlite")) as ledger, ledger:
        ledger.execute("DELETE FROM jobs")
    page.unroute("**/v1/**")
    expect(page.locator("#jobs-status")).to_contain_text(f"not watched any more: there is no job {job}")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4000)  # longer than between two looks
    assert asked == []


def labelled(frames):
    """Extended XYZ of structures with made-up energies, each a path of its own."""
    for i, atoms in enumerate(frames):
        atoms.info["energy"] = float(-4.0 * len(atoms))
        atoms.info["path_id"] = f"path-{i}"
        atoms.calc = None
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    return text.getvalue().encode()


def upload(page, tmp_path):
    """Upload a training set on the page."""
    frames = ase.io.read(EXAMPLES / "concentrations.extxyz", ":")
    path = tmp_path / "labelled.extxyz"
    path.write_bytes(labelled(frames))
    page.get_by_role("link", name="Jobs").click()
    page.locator("#dataset-file").set_input_files(path)
    page.locator("#path-key").fill("path_id")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#jobs-status")).to_contain_text(f"{len(frames)} structures of {len(frames)} paths")


def test_jobs_are_started_and_watched(new_page, keyed_service, tmp_path):
    """From a file to a store, live, cancelled and resumed on the way, and a training; all with a key."""
    (url, key), page = keyed_service, new_page
    page.goto(url)
    give_keys(page, key)
    upload(page, tmp_path)
    page.get_by_role("button", name="Featurize").click()
    row = page.locator("#job-rows tr").first
    expect(row).to_contain_text("running")  # and will for as long as Ray takes to start
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("cancelled")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("succeeded", timeout=90_000)
    expect(row).to_contain_text("× 1820 features")
    row.get_by_role("button", name="Log").click()
    expect(page.locator("#log-text")).to_contain_text("structures")
    page.get_by_role("button", name="Close").click()
    page.screenshot(path=SCREENSHOTS / "jobs.png")
    page.reload()
    expect(row).to_contain_text("succeeded")
    row.get_by_role("button", name="Train").click()
    training = page.locator("#job-rows tr").first
    expect(training).to_contain_text("train")
    # It is watched until it ends, by itself: three paths are not enough for its five folds.
    expect(training).to_contain_text("failed", timeout=90_000)
    expect(training).to_contain_text("folds")
