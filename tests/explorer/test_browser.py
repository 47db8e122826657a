"""The page in a real browser: Debian's chromium without a screen, driven by Playwright, with a model of random weights.

`.ci/run` installs the browser where there is none. Skipped, and said why, where none can be had.
"""

import time
from shutil import which

import pytest

from mirage.explorer.explorer import FOLDER, STANDING, Explorer
from mirage.formats.image import save_image
from mirage.request import Request

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; .ci/run installs it")
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
WAIT = 60_000  # milliseconds
READY = "() => window.mirage?.state.ready && mirage.timeline.current === 0 && mirage.cloud.count > 0"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, play.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def explored(serve, model, image, tmp_path):
    save_image(tmp_path / "a.png", image)
    explorer = Explorer(Request(image=tmp_path / "a.png", trajectory=STANDING, steps=2), model, grace=1.0)
    return serve(folder=FOLDER, talk=explorer.talk, limit=3)


@pytest.fixture
def tab(browser, explored):
    """tab() -> a page that is open and ready. No script fails on any of them."""
    faults, context = [], browser.new_context(viewport={"width": 860, "height": 620}, accept_downloads=True)

    def opened(**choices):
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"http://127.0.0.1:{explored.port}/")
        page.wait_for_function(
            "() => mirage.state.ready && mirage.timeline.current === 0 && mirage.cloud.count", timeout=WAIT
        )
        return page

    yield opened
    context.close()
    assert not faults


def shown(page):
    """What is on the view's canvas, small enough to compare."""
    return page.evaluate(
        """() => { const small = document.createElement("canvas"); small.width = 48; small.height = 32;
        const pen = small.getContext("2d"); pen.drawImage(document.getElementById("view"), 0, 0, 48, 32);
        return Array.from(pen.getImageData(0, 0, 48, 32).data).join() }"""
    )


def walk(page, key):
    """A key for a moment; the number of the last chunk that comes of it, once nothing more comes."""
    previews, before = page.evaluate("[mirage.state.previews, mirage.timeline.current]")
    page.keyboard.down(key)
    page.wait_for_function(f"() => mirage.state.previews > {previews}", timeout=WAIT)
    page.keyboard.up(key)
    quiet = f"() => mirage.timeline.current !== {before} && mirage.timeline.making === null && !mirage.view.playing"
    for _ in range(100):
        page.wait_for_function(quiet, timeout=WAIT)
        number = page.evaluate("mirage.timeline.current")
        page.wait_for_timeout(300)
        if page.evaluate(quiet) and number == page.evaluate("mirage.timeline.current"):
            return number
    raise AssertionError("the walk does not end")


def at(page, number):
    page.wait_for_function(f"() => mirage.timeline.current === {number}", timeout=WAIT)


def test_walk_undo_branch_compare_save_and_open_again(tab, tmp_path):
    page = tab()
    start = shown(page)
    right = walk(page, "ArrowRight")
    assert shown(page) != start
    assert page.locator(".chunk").count() == right + 1
    for number in reversed(range(right)):
        page.keyboard.press("z")
        at(page, number)
    page.keyboard.press("/")
    page.keyboard.type("a red room")
    page.keyboard.press("Enter")
    left = walk(page, "ArrowLeft")
    assert page.locator(".branch").count() == 2
    assert "a red room" in (page.locator(f"[data-moment='{left}']").get_attribute("title") or "")
    page.locator("[data-moment='1']").hover()
    page.locator("[data-moment='1'] s").click()
    page.locator("#compare").wait_for(state="visible")
    assert page.locator("#right-name").inner_text().startswith(f"here {left}")
    page.keyboard.press("Escape")
    page.locator("[data-moment='1']").click()
    at(page, 1)
    with page.expect_download() as download:
        page.locator("#save").click()
    world = tmp_path / "world.safetensors"
    download.value.save_as(world)
    with page.expect_download() as download:
        page.locator("#record").click()
    assert download.value.suggested_filename == "walk.mp4"
    with page.expect_download() as download:
        page.locator("#shot").click()
    assert download.value.suggested_filename == "view.png"
    page.locator("#file").set_input_files(world)
    page.wait_for_function("() => mirage.timeline.moments.size === 1 && mirage.cloud.count", timeout=WAIT)
    walk(page, "w")


def test_a_picture_is_opened_and_a_text_is_refused(tab, tmp_path, image):
    page = tab()
    before = shown(page)
    save_image(tmp_path / "b.png", 1 - image)
    (tmp_path / "words.txt").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "words.txt")
    page.locator("#toast.bad").wait_for(timeout=WAIT)
    assert "neither a picture" in page.locator("#toast").inner_text()
    page.locator("#file").set_input_files(tmp_path / "b.png")
    page.wait_for_function("() => mirage.timeline.moments.size === 1 && mirage.timeline.current === 0", timeout=WAIT)
    for _ in range(100):
        if shown(page) != before:
            break
        time.sleep(0.05)
    assert shown(page) != before


def test_buttons_mouse_and_stop(tab):
    page = tab()
    button = page.locator("[data-key='KeyD']").bounding_box()
    assert button is not None
    page.mouse.move(button["x"] + 5, button["y"] + 5)
    page.mouse.down()
    page.wait_for_function("() => mirage.state.previews > 0", timeout=WAIT)
    page.mouse.up()
    page.wait_for_function("() => mirage.timeline.current > 0", timeout=WAIT)
    seen = page.evaluate("mirage.state.previews")
    page.evaluate("mirage.controls.turn(20, 0)")  # as the mouse does once the pointer is locked
    page.wait_for_function(f"() => mirage.state.previews > {seen}", timeout=WAIT)
    page.keyboard.press("Space")
    page.wait_for_function("() => mirage.state.stops > 0", timeout=WAIT)


def test_a_lost_connection_comes_back_and_a_reload_finds_its_walk(tab):
    page = tab()
    there = walk(page, "ArrowRight")
    page.evaluate("mirage.socket.ws.close()")
    page.wait_for_function("() => mirage.state.lost", timeout=WAIT)
    page.wait_for_function(f"() => !mirage.state.lost && mirage.timeline.current === {there}", timeout=WAIT)
    page.reload()
    page.wait_for_function(f"() => window.mirage?.timeline.current === {there}", timeout=WAIT)
    assert walk(page, "ArrowLeft") > there


def test_two_tabs_have_a_walk_each_and_one_too_many_is_told(tab, explored):
    one, two = tab(), tab()
    walk(one, "ArrowRight")
    assert two.evaluate("mirage.timeline.current") == 0
    tab()
    late = one.context.new_page()
    late.goto(f"http://127.0.0.1:{explored.port}/")
    late.locator("#toast.bad").wait_for(timeout=WAIT)
    assert "limit" in late.locator("#toast").inner_text()


def test_more_tabs_than_fit_opened_and_closed_leave_nothing(tab, explored):
    sessions = explored.served.sessions
    for _ in range(sessions.limit + 2):
        page = tab()
        page.close()
    ends = time.monotonic() + 30
    while len(sessions) and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(sessions) == 0


def test_the_page_asks_nobody_else(tab):
    asked = tab().evaluate("performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin)")
    assert len(asked) > 5
    assert len(set(asked)) == 1
