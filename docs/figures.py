"""Make the site's pictures from the demo: docs/images/picks.png, report.png, review.png.

make demo && .venv/bin/python docs/figures.py

Needs Chromium with its chromedriver (Debian: chromium-driver) for the pictures of pages.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DEMO = ROOT / "outputs" / "demo"
READY = "return document.documentElement.dataset.ready"
WIDTH, HEIGHT = 1280, 900  # pixels


def main() -> None:
    """Copy the picture of the picks; take screenshots of the report and of a review."""
    shutil.copy(DEMO / "evaluate" / "picks.png", IMAGES / "picks.png")
    overrides = ["project=demo", f"folder={DEMO / 'train'}"]
    subprocess.run([sys.executable, "-m", "octopi.report", *overrides], check=True, cwd=ROOT)
    review = DEMO / "review.html"
    review.unlink(missing_ok=True)
    overrides = ["project=demo", f"output={review}"]
    subprocess.run([sys.executable, "-m", "octopi.review", *overrides], check=True, cwd=ROOT)
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", f"window-size={WIDTH},{HEIGHT}"):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        for page, keys in ((DEMO / "train" / "report.html", ""), (review, "aaarasaraa")):
            driver.get(page.as_uri())
            WebDriverWait(driver, 60).until(lambda page: page.execute_script(READY) == "yes")
            for key in keys:  # some decisions, to show
                driver.find_element("tag name", "body").send_keys(key)
            driver.save_screenshot(str(IMAGES / f"{page.stem}.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
