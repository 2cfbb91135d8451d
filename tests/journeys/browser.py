"""Chromium as the three people use it, with everything it complains about written down."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, expect

ROOT = Path(__file__).parents[2]
AXE = ROOT / "frontend/node_modules/axe-core/axe.min.js"
BUILT = ROOT / "backend/smart_support/static/index.html"

WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}

# Chromium says so itself whenever a connection breaks; only tests that break one may allow it.
BROKEN_CONNECTION = ("WebSocket connection to", "net::ERR_")

expect.set_options(timeout=15_000)


def chromium() -> str | None:
    """Where the browser is, None without one."""
    return shutil.which("chromium")


@dataclass
class Person:
    """Somebody at a page of their own; nobody else's cookies, storage or history."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    tolerated: tuple[str, ...] = ()

    def listen(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        known = any(words in message.text for words in self.tolerated)
        if message.type in {"error", "warning"} and not known:
            where = message.location["url"]
            self.complaints.append(f"console {message.type}: {message.text} ({where})")

    async def sign_in(self, link: str) -> None:
        """Open a sign-in link, as it is printed."""
        await self.page.goto(link)
        await expect(self.page.get_by_role("banner")).to_be_visible()

    # ---- the customer

    async def say(self, text: str) -> None:
        box = self.page.get_by_role("textbox", name="Your message")
        await box.fill(text)
        await box.press("Enter")

    @property
    def answers(self) -> Locator:
        """The agent's messages."""
        return self.page.locator("article[data-role=assistant]")

    @property
    def own_messages(self) -> Locator:
        """What the customer said and the server has."""
        return self.page.locator("article[data-role=user]")

    def card(self, title: str) -> Locator:
        """The cards of tool calls with this title, the latest last."""
        return self.page.locator("details[data-state]").filter(has_text=title)

    def approval(self, title: str) -> Locator:
        """The questions with this title, the latest last."""
        return self.page.get_by_role("article", name=title, exact=True)

    async def answered(self, count: int) -> str:
        """The `count`-th answer, once it is complete."""
        answer = self.answers.nth(count - 1)
        await expect(answer).to_have_attribute("data-state", "finished")
        told = (await answer.inner_text()).removeprefix("Support said:")
        time = await answer.locator("time").inner_text()
        return told.strip().removesuffix(time).strip()

    @property
    def thread(self) -> str:
        """The id of the conversation that is open."""
        return self.page.url.partition("?")[0].rsplit("/", 1)[1]

    # ---- the support lead

    async def open_replay(self, title: str) -> None:
        """Find a conversation by its title, and open it."""
        await self.page.get_by_role("searchbox", name="Search conversations").fill(title)
        await self.page.wait_for_url("**/replay?query=**")
        await self.page.get_by_role("link", name=title).first.click()
        await expect(self.steps.first).to_be_visible()

    @property
    def steps(self) -> Locator:
        return self.page.get_by_role("listbox", name="Steps").get_by_role("option")

    # ---- everybody

    async def picture(self, path: Path) -> None:
        await self.page.screenshot(path=path, animations="disabled")

    async def scrolls_sideways(self) -> bool:
        """Whether something is wider than the window."""
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(await self.page.evaluate(wider))

    async def leaves_the_window(self) -> bool:
        """Whether the window itself scrolls down, behind whatever scrolls inside of it."""
        taller = "document.documentElement.scrollHeight > document.documentElement.clientHeight"
        return bool(await self.page.evaluate(taller))

    async def axe(self) -> list[str]:
        """What axe finds wrong with the page as it stands."""
        # Evaluated, not added as a script: the page's own policy forbids foreign scripts.
        await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        return [
            f"{violation['id']}: {violation['help']}: {node['html']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]


@asynccontextmanager
async def person(
    browser: Browser, size: ViewportSize = WIDE, *, tolerated: tuple[str, ...] = ()
) -> AsyncIterator[Person]:
    """Somebody with a fresh browser. What the browser complained about fails the test."""
    context = await browser.new_context(
        viewport=size, locale="en-GB", timezone_id="UTC", color_scheme="light"
    )
    context.set_default_timeout(15_000)
    try:
        somebody = Person(await context.new_page(), tolerated=tolerated)
        somebody.listen()
        yield somebody
        # Told in words: pytest shows no values for what is asserted outside test files.
        assert not somebody.complaints, "\n".join(somebody.complaints)
    finally:
        await context.close()
