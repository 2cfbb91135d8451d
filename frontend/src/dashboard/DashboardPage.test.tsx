import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import {
  ACTIVITY,
  COHORT,
  giveFigures,
  QUIET_ACTIVITY,
  QUIET_COHORT,
} from "../../tests-support/figures";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem } from "../../tests-support/server";
// What the page loads when it is needed is fetched here, so that no test waits for it.
import "./Charts";
import "./DashboardPage";

const card = (name: string) => page.getByRole("region", { name, exact: true });

async function openDashboard(path = "/dashboard", width = 1280) {
  const server = fakeServer("lead");
  giveFigures(server);
  const opened = await openPage(server, { path, width, height: 844 });
  await expect.element(page.getByRole("heading", { name: "Dashboard" })).toBeVisible();
  return { server, ...opened };
}

const drawn = () =>
  vi.waitFor(
    () => expect(document.querySelectorAll("svg.recharts-surface").length).toBeGreaterThan(3),
    10_000,
  );

describe("the dashboard", () => {
  test.each([1280, 390])("is whole and accessible at %i pixels", async (width) => {
    await openDashboard("/dashboard", width);
    await drawn();

    await expect.element(card("Auto-resolution rate")).toHaveTextContent("60.0 %");
    await expect.element(card("Response time, p95")).toHaveTextContent("12.0 s");
    await expect
      .element(card("Approvals asked"))
      .toHaveTextContent("6 approved, 3 declined, 1 expired");
    await page.getByText("The numbers of the charts").click();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("is accessible in the dark", async () => {
    await openDashboard();
    await drawn();

    await page.getByRole("button", { name: "Switch to the dark look" }).click();

    await vi.waitFor(() =>
      expect(document.documentElement.dataset.mantineColorScheme).toBe("dark"),
    );
    await expectAccessible();
    await page.getByRole("button", { name: "Switch to the light look" }).click();
  });

  test("links every number to the list that has it as its total", async () => {
    await openDashboard();
    await drawn();
    await page.getByText("The numbers of the charts").click();

    const links = [...document.querySelectorAll<HTMLAnchorElement>("main a")];

    expect(links.length).toBeGreaterThan(70);
    for (const link of links) {
      const { searchParams, pathname } = new URL(link.href);
      expect(pathname).toBe("/replay");
      expect(searchParams.get("figure")).toMatch(/^[a-z_]+$/);
      expect(Number(link.dataset.counts)).toBeGreaterThanOrEqual(0);
      expect(Date.parse(searchParams.get("end") ?? "")).toBeGreaterThan(
        Date.parse(searchParams.get("start") ?? ""),
      );
      // What reads as a count is the total of its list.
      if (/^[\d,]+$/.test(link.textContent))
        expect(link.dataset.counts).toBe(link.textContent.replaceAll(",", ""));
    }
    // Whatever number is in a card or a cell is a link.
    for (const cell of document.querySelectorAll("main td"))
      expect(cell.textContent === "–" || cell.querySelector("a") !== null).toBe(true);
  });

  test("opens the list, with a chip that can be removed", async () => {
    const { server, history } = await openDashboard();

    await page.getByRole("link", { name: "10, Tool errors, getOrder, Errors" }).click();

    await expect.element(page.getByText("17 tool errors in 1 conversation")).toBeVisible();
    await expect.element(page.getByText(/Tool errors · getOrder · /)).toBeVisible();
    await expect.element(page.getByRole("cell", { name: "17" })).toBeVisible();
    expect(server.asked.at(-1)).toMatch(/figure=tool_errors.*dimension=getOrder/);
    await expectAccessible();
    await page.getByRole("button", { name: /Remove this filter/ }).click();
    await vi.waitFor(() => expect(history.location.search).toBe(""));
    await expect.element(page.getByText("No conversations yet")).toBeVisible();
  });

  test("lists failures without a code, and says when a figure is zero", async () => {
    const { server } = await openDashboard();
    await page.getByRole("link", { name: "3, Failed turns", exact: true }).click();
    await expect.element(page.getByText(/Failed turns · without a code/)).toBeVisible();
    expect(server.asked.at(-1)).toMatch(/dimension=(&|$)/);
    server.routes["GET /api/dashboard/conversations"] = () =>
      json({ start: "", end: "", total: 0, conversations: 0, threads: [], next_cursor: null });

    await openPage(server, { path: "/replay?figure=retries&start=2026-11-01T00:00:00Z&end=x" });

    await expect.element(page.getByText(/This figure is zero/)).toBeVisible();
    await expect.element(page.getByText("0 retries in 0 conversations")).toBeVisible();
  });

  test("compares with the period of the same length before, by good and bad", async () => {
    const { server, screen } = await openDashboard("/dashboard?range=24h");
    await drawn();
    await screen.unmount();
    const asked = server.asked.filter((line) => line.startsWith("GET /api/dashboard/cohort"));
    const ranges = asked.map((line) => new URLSearchParams(line.split("?")[1]));
    expect(ranges).toHaveLength(2);
    expect(ranges[1]?.get("end")).toBe(ranges[0]?.get("start"));

    const then = ranges[1]?.get("start");
    server.routes["GET /api/dashboard/cohort"] = (url) => {
      const before = url.searchParams.get("start") === then;
      return json({
        start: "",
        end: "",
        cohort: {
          ...COHORT,
          auto_resolution_rate: before ? 0.5 : 0.6,
          handoff_rate: before ? 0.1 : 0.2,
        },
      });
    };
    server.routes["GET /api/dashboard"] = (url) => {
      const before = url.searchParams.get("start") === then;
      return json({ start: "", end: "", activity: before ? QUIET_ACTIVITY : ACTIVITY });
    };
    await openPage(server, { path: "/dashboard?range=24h" });

    await expect.element(card("Auto-resolution rate")).toHaveTextContent("Up 10.0 points (better)");
    await expect.element(card("Handoff rate")).toHaveTextContent("Up 10.0 points (worse)");
    await expect.element(card("Conversations")).toHaveTextContent("As in the previous period");
    await expect.element(card("Messages")).toHaveTextContent("No comparison");
    await expectAccessible();
  });

  test("tells zero, loading and failed apart, and one failing source blanks nothing else", async () => {
    const server = fakeServer("lead");
    giveFigures(server, COHORT, QUIET_ACTIVITY);
    const waiting: ((response: Response) => void)[] = [];
    server.routes["GET /api/dashboard/cohort"] = () =>
      new Promise((done) => {
        waiting.push(done);
      });
    server.routes["GET /api/dashboard/series"] = () =>
      problem(422, "VAL_INVALID_INPUT", "Too long.");
    await openPage(server, { path: "/dashboard" });

    await expect.element(card("Conversations")).toHaveAttribute("aria-busy", "true");
    await expect.element(card("Messages")).toHaveTextContent("0");
    await expect.element(card("Messages")).toHaveTextContent("Nobody wrote");
    await expect.element(card("Charts")).toHaveTextContent("Could not be loaded");
    await expect.element(page.getByRole("alert")).toHaveTextContent("Too long.");
    for (const answer of waiting) answer(problem(422, "VAL_INVALID_INPUT", "No cohort."));
    await expect.element(card("Conversations")).toHaveTextContent("Could not be loaded");
    await expectAccessible();

    giveFigures(server);
    await page.getByRole("button", { name: "Try again: Conversations" }).click();
    await expect.element(card("Conversations")).toHaveTextContent("60");
    // The banner tries all that failed, the previous period too.
    await page.getByRole("button", { name: "Try again", exact: true }).click();
    await drawn();
    await expect.element(page.getByRole("alert")).not.toBeInTheDocument();
  });

  test("says that the previous period could not be had", async () => {
    const server = fakeServer("lead");
    giveFigures(server);
    const good = server.routes["GET /api/dashboard"];
    let first = "";
    server.routes["GET /api/dashboard"] = (url, request) => {
      first ||= url.search;
      if (url.search !== first || good === undefined) return problem(422, "X", "Too early.");
      return good(url, request);
    };
    await openPage(server, { path: "/dashboard" });

    await expect.element(card("Messages")).toHaveTextContent("200");
    await expect.element(card("Messages")).toHaveTextContent("could not be loaded");
    await expect.element(card("Conversations")).toHaveTextContent("As in the previous period");
  });

  test("says when nothing happened at all", async () => {
    const server = fakeServer("lead");
    giveFigures(server, QUIET_COHORT, QUIET_ACTIVITY);
    await openPage(server, { path: "/dashboard" });

    await expect.element(page.getByText("Nothing happened in this range")).toBeVisible();
    await expect.element(card("Handoff rate")).toHaveTextContent("–");
    await expect.element(card("Handoff rate")).toHaveTextContent("No comparison");
    await expectAccessible();
  });
});

describe("the range", () => {
  test("is the address", async () => {
    const { server, history } = await openDashboard();

    await page.getByText("90 days").click();

    await vi.waitFor(() => expect(history.location.search).toBe("?range=90d"));
    await vi.waitFor(() =>
      expect(server.asked.some((line) => /series.*bucket=day/.test(line))).toBe(true),
    );
    await page.getByText("24 hours").click();
    await vi.waitFor(() =>
      expect(server.asked.some((line) => /series.*bucket=hour/.test(line))).toBe(true),
    );
    await page.getByText("7 days").click();
    await vi.waitFor(() => expect(history.location.search).toBe(""));
  });

  test("can be chosen by the day, but not backwards", async () => {
    const { history } = await openDashboard();
    await page.getByText("Custom", { exact: true }).click();
    await page.getByLabelText("First day").fill("2026-11-05");
    await page.getByLabelText("Last day").fill("2026-11-02");
    await page.getByRole("button", { name: "Show" }).click();

    await expect.element(page.getByRole("alert")).toHaveTextContent("ends before it begins");
    expect(history.location.search).toBe("");
    await expectAccessible();

    await page.getByLabelText("Last day").fill("2026-11-06");
    await userEvent.keyboard("{Enter}");
    await vi.waitFor(() => expect(history.location.search).toBe("?from=2026-11-05&to=2026-11-06"));
    await expect.element(page.getByText("5 Nov 2026 – 6 Nov 2026")).toBeVisible();
  });

  test("of an address that goes backwards is refused without asking the server", async () => {
    const { server } = await openDashboard("/dashboard?from=2026-11-05&to=2026-11-02");

    await expect.element(page.getByRole("alert")).toHaveTextContent("ends before it begins");
    expect(server.asked.filter((line) => line.includes("/dashboard"))).toEqual([]);
  });
});

test("what is on the screen is saved as CSV", async () => {
  const saved: Blob[] = [];
  const names: string[] = [];
  const create = vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    saved.push(blob as Blob);
    return "blob:x";
  });
  const click = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
    this: HTMLAnchorElement,
  ) {
    names.push(this.download);
  });
  const server = fakeServer("lead");
  giveFigures(server, COHORT, {
    ...ACTIVITY,
    turns_failed: { "=HYPERLINK(1)": 2 },
  });
  await openPage(server, { path: "/dashboard?from=2026-11-05&to=2026-11-06" });
  await expect.element(card("Messages")).toHaveTextContent("200");
  await drawn();

  await page.getByRole("button", { name: "Download CSV" }).click();

  const bytes = new Uint8Array((await saved[0]?.arrayBuffer()) ?? new ArrayBuffer());
  expect([...bytes.slice(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
  const text = new TextDecoder().decode(bytes);
  expect(text).toContain("card,Messages,,200,count,200,");
  expect(text).toContain("failed turns,turns_failed,'=HYPERLINK(1),2,count,,");
  expect(text.split("\r\n").length).toBeGreaterThan(60);
  expect(names[0]).toMatch(/^dashboard-.*\.csv$/);
  create.mockRestore();
  click.mockRestore();
});

test("is for leads alone", async () => {
  const server = fakeServer("operator");
  await openPage(server, { path: "/dashboard" });

  await expect.element(page.getByText("This page is for another role")).toBeVisible();
  expect(server.asked.filter((line) => line.includes("/dashboard"))).toEqual([]);
});
