import { expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { giveFigures, HEALTHY, QUIET_ACTIVITY, QUIET_COHORT } from "../../tests-support/figures";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem } from "../../tests-support/server";

const ORIGIN = "https://shop.example";
const region = () => page.getByRole("region", { name: "APIs that get no calls now" });

async function openDashboard(
  states: Record<string, string>,
  width = 1280,
  processes = HEALTHY.processes,
) {
  const server = fakeServer("lead");
  giveFigures(server, QUIET_COHORT, QUIET_ACTIVITY); // without charts, which take long to draw
  const breakers = Object.entries(states).map(([group, state]) => {
    return { origin: ORIGIN, group, state, retry_in: 4.2, processes: processes.slice(0, 1) };
  });
  const upstreams = [{ origin: ORIGIN, running: 0, waiting: 0, breakers }];
  server.routes["GET /api/health/details"] = () => json({ ...HEALTHY, processes, upstreams });
  const opened = await openPage(server, { path: "/dashboard", width, height: 844 });
  return { server, ...opened };
}

test.each([1280, 390])("open breakers are shown, at %i pixels", async (width) => {
  const states = { orders: "open", stock: "half_open", mails: "closed" };
  const { history } = await openDashboard(states, width);

  await expect
    .element(region().getByRole("listitem").first())
    .toHaveTextContent("orders https://shop.example paused");
  await expect
    .element(region().getByRole("listitem").nth(1))
    .toHaveTextContent("stock https://shop.example being tried");
  expect(region().getByRole("listitem").elements()).toHaveLength(2);
  await expect.element(page.getByText("Nothing happened in this range")).toBeVisible();
  await expectAccessible();
  expectNoSidewaysScroll();

  await region().getByRole("link", { name: "How everything is" }).click();

  await vi.waitFor(() => expect(history.location.pathname).toBe("/settings"));
});

test("of several processes it is said in how many", async () => {
  await openDashboard({ orders: "open" }, 390, ["desk:17", "desk:18"]);

  await expect
    .element(region().getByRole("listitem"))
    .toHaveTextContent("paused in 1 of 2 processes");
});

test("nothing is shown while all are closed", async () => {
  const { server } = await openDashboard({ orders: "closed" });
  await expect.element(page.getByText("Nothing happened in this range")).toBeVisible();

  await vi.waitFor(() => expect(server.asked).toContain("GET /api/health/details"));

  await expect.element(region()).not.toBeInTheDocument();
});

test("a breaker that has closed is shown no longer, without anybody asking", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  try {
    const { server } = await openDashboard({ orders: "open" });
    await expect.element(region()).toBeVisible();
    server.routes["GET /api/health/details"] = () => json(HEALTHY);

    await vi.advanceTimersByTimeAsync(15_000);

    await expect.element(region()).not.toBeInTheDocument();
  } finally {
    vi.useRealTimers();
  }
});

test("that it cannot be told is said, and the figures are there", async () => {
  const server = fakeServer("lead");
  giveFigures(server, QUIET_COHORT, QUIET_ACTIVITY);
  server.routes["GET /api/health/details"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
  await openPage(server, { path: "/dashboard" });

  await expect
    .element(page.getByText("Whether an API is paused could not be loaded."))
    .toBeVisible();
  await expect.element(page.getByText("Nothing happened in this range")).toBeVisible();
});
