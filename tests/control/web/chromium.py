"""A browser that tests drive, and what they ask of it."""

from __future__ import annotations

import base64
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...waiting import until

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--lang=en"),
)


def programs() -> tuple[str, str] | None:
    """Chromium and its driver, where there are both."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


class Chromium:
    """A window of a browser.

    Args:
        driver: Selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        told = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)

    def scheme(self, name: str) -> None:
        told = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", told)

    def open(self, url: str, view: str = "") -> None:
        """A page anew, at a view."""
        self.driver.get("about:blank")
        self.driver.get(f"{url}{view and '#/'}{view}")
        self.until("!!document.body.dataset.look")

    def go(self, view: str) -> None:
        """Another view of the page that is open."""
        self.js("location.hash = arguments[0]", f"#/{view}")

    def js(self, source: str, *args: Any) -> Any:
        return self.driver.execute_script(source, *args)

    def value(self, source: str, *args: Any) -> Any:
        return self.js(f"return ({source})", *args)

    def until(self, source: str, *args: Any) -> None:
        """Waits until an expression is true."""
        until(lambda: self.value(source, *args))

    def one(self, selector: str) -> Any:
        """The element of a selector, waited for; hidden ones do not count."""
        self.until(
            "[...document.querySelectorAll(arguments[0])].some(each => each.checkVisibility())", selector
        )
        return self.value(
            "[...document.querySelectorAll(arguments[0])].find(each => each.checkVisibility())", selector
        )

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.value(
            "[...document.querySelectorAll(arguments[0])].map(each => each.textContent)", selector
        )
        return found

    def shows(self, text: str, selector: str = "main") -> None:
        """Waits until an element has a text in it."""
        self.until(
            "[...document.querySelectorAll(arguments[1])].some(it => it.textContent.includes(arguments[0]))",
            text,
            selector,
        )

    def press(self, *keys: str) -> None:
        """Keys for whoever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key.upper(), key)).perform()

    def tab_to(self, selector: str) -> None:
        """Presses Tab until that has the focus, as somebody without a mouse would."""
        for _ in range(60):
            if self.value("document.activeElement.matches(arguments[0])", selector):
                return
            self.press("tab")
        raise AssertionError(f"no way to {selector} by Tab")

    def click(self, selector: str) -> None:
        """Clicks it, be it that it is just being made anew."""
        from selenium.common.exceptions import StaleElementReferenceException

        def clicked() -> bool:
            try:
                self.one(selector).click()
            except StaleElementReferenceException:
                return False
            return True

        until(clicked)

    def picture(self, path: Path) -> None:
        told = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """What the console has said of errors since it was asked last."""
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"]


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser from its start to its end."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    found = programs()
    assert found is not None
    options = Options()
    options.binary_location = found[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        yield Chromium(driver)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            driver.quit()
