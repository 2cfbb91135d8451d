import { expect, test } from "vitest";
import { page } from "vitest/browser";
import { giveFigures, QUIET_ACTIVITY, QUIET_COHORT } from "../../tests-support/figures";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem, threadOf } from "../../tests-support/server";

const OUTSIDE = {
  total: 3,
  by_severity: { low: 2, medium: 0, high: 0, critical: 1 },
  by_code: [
    {
      code: "VAL_NOT_FOUND",
      errors: 2,
      severity: "low",
      hint: "Nothing to do.",
      last_at: "2026-11-25T10:09:00Z",
      last_correlation_id: "cor-2",
    },
    {
      code: "SYS_INTERNAL",
      errors: 1,
      severity: "critical",
      hint: "See the log.",
      last_at: "2026-11-25T10:08:00Z",
      last_correlation_id: "cor-1",
    },
  ],
  by_place: [
    { place: "rest", operation: "GET /api/threads/{thread_id}", errors: 2 },
    { place: "job", operation: "recovery sweep", errors: 1 },
  ],
};
const NONE_OUTSIDE = {
  total: 0,
  by_severity: { low: 0, medium: 0, high: 0, critical: 0 },
  by_code: [],
  by_place: [],
};

const COUNT = { troubles: 4, recovered: 3, mean_recovery_ms: 2_500 };
const FOUND = {
  start: "2026-11-25T10:00:00Z",
  end: "2026-11-25T12:00:00Z",
  total: { name: "all", ...COUNT },
  by_severity: { low: 0, medium: 1, high: 3, critical: 0 },
  by_code: [{ name: "API_TIMEOUT", ...COUNT, severity: "high", hint: "See the API." }],
  by_operation: [{ name: "GET /orders/{id}", ...COUNT, mean_recovery_ms: null }],
  by_upstream: [{ name: "shop.test", ...COUNT }],
  by_agent: [{ name: "support", ...COUNT }],
  patterns: [
    {
      fingerprint: "abc123",
      kind: "attempt",
      code: "API_TIMEOUT",
      operation: "GET /orders/{id}",
      upstream: "shop.test",
      troubles: 4,
      conversations: 1,
      first_at: "2026-11-25T10:01:00Z",
      last_at: "2026-11-25T10:09:00Z",
    },
  ],
  hours: [
    { start: "2026-11-25T10:00:00Z", troubles: 4, usual: 0.2, odd: true },
    { start: "2026-11-25T11:00:00Z", troubles: 0, usual: 0, odd: false },
  ],
  outside: NONE_OUTSIDE,
};

async function openErrors(found: unknown = FOUND, width = 1280) {
  const server = fakeServer("lead");
  giveFigures(server, QUIET_COHORT, QUIET_ACTIVITY); // without charts, which take long to draw
  server.routes["GET /api/dashboard/errors"] = () => json(found);
  server.routes["GET /api/dashboard/errors/conversations"] = () =>
    json({ threads: [{ ...threadOf(), troubles: 4, last_trouble_at: "" }], next_cursor: null });
  await openPage(server, { path: "/dashboard", width, height: 844 });
  await page.getByText(/^Errors, where they came from/).click();
  return server;
}

test.each([1280, 390])("shows what went wrong, accessibly, at %i pixels", async (width) => {
  await openErrors(FOUND, width);

  await expect
    .element(
      page.getByText("4 errors (3 high, 1 medium); 3 were got over, on average after 2.5 s."),
    )
    .toBeVisible();
  await expect.element(page.getByText(/4 errors; 0.2 are usual at that hour/)).toBeVisible();
  await expect.element(page.getByText("high · See the API.")).toBeVisible();
  await expectAccessible();
  expectNoSidewaysScroll();
});

test.each([
  [FOUND, 1280],
  [{ ...FOUND, total: { ...FOUND.total, troubles: 0 } }, 390],
])("shows what belongs to no conversation as well", async (found, width) => {
  await openErrors({ ...found, outside: OUTSIDE }, width);

  const section = page.getByRole("region", { name: "Errors outside of conversations" }).first();
  await expect
    .element(page.getByText("3 in requests, sockets and jobs (1 critical, 2 low)."))
    .toBeVisible();
  await expect.element(section).toBeVisible();
  await expect.element(page.getByText("critical · See the log. · ref cor-1")).toBeVisible();
  await expect.element(page.getByText("GET /api/threads/{thread_id}")).toBeVisible();
  await expectAccessible();
  expectNoSidewaysScroll();
});

test("opens the conversations behind a number", async () => {
  const server = await openErrors();

  await page.getByRole("button", { name: "4, Errors by code, API_TIMEOUT" }).click();
  await expect
    .element(page.getByRole("region", { name: "Conversations: API_TIMEOUT" }).getByRole("link"))
    .toBeVisible();
  expect(server.asked.at(-1)).toMatch(/code=API_TIMEOUT/);

  await page.getByRole("button", { name: "4, pattern abc123" }).click();
  await expect.element(page.getByRole("region", { name: "Conversations: abc123" })).toBeVisible();
  expect(server.asked.at(-1)).toMatch(/fingerprint=abc123/);
});

test("says when nothing went wrong", async () => {
  await openErrors({
    ...FOUND,
    total: { name: "all", troubles: 0, recovered: 0, mean_recovery_ms: null },
  });

  await expect.element(page.getByText("Nothing went wrong in conversations.")).toBeVisible();
});

test("says when it cannot be read", async () => {
  const server = fakeServer("lead");
  giveFigures(server, QUIET_COHORT, QUIET_ACTIVITY); // without charts, which take long to draw
  server.routes["GET /api/dashboard/errors"] = () => problem(503, "DB_UNAVAILABLE", "Not now.");
  await openPage(server, { path: "/dashboard" });

  await page.getByText(/^Errors, where they came from/).click();

  await expect.element(page.getByText("Not now.").first()).toBeVisible();
});
