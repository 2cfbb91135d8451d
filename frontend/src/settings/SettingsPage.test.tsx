import { describe, expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem } from "../../tests-support/server";
import type { Role } from "../api/client";
import type { components } from "../api/schema.gen";
import { amount } from "./words";

const DETAILS: components["schemas"]["Details"] = {
  version: "0.1.0",
  revision: "0003",
  model: { name: "gpt-test", offline: false },
  dependencies: [
    {
      kind: "database",
      name: "PostgreSQL",
      address: null,
      status: "ok",
      latency_ms: 1.9,
      reason: null,
    },
    {
      kind: "model",
      name: "gpt-test",
      address: "https://models.example/v1",
      status: "failing",
      latency_ms: 3_000,
      reason: "No answer within 3 s.",
    },
    {
      kind: "api",
      name: "Shop",
      address: "https://shop.example",
      status: "ok",
      latency_ms: 42,
      reason: null,
    },
    {
      kind: "api",
      name: "Old shop",
      address: null,
      status: "not_checked",
      latency_ms: null,
      reason: "It has no base URL yet.",
    },
  ],
  processes: ["desk:17"],
  upstreams: [
    {
      origin: "https://shop.example",
      running: 1,
      waiting: 0,
      breakers: [
        {
          origin: "https://shop.example",
          group: "orders",
          state: "open",
          retry_in: 4.2,
          processes: ["desk:17"],
        },
      ],
      processes: [{ process: "desk:17", running: 1, waiting: 0, retry_budget: 9.5 }],
    },
  ],
  limits: [
    { name: "SMART_SUPPORT_TOOL_TIMEOUT", value: 30, meaning: "Seconds a tool call may take." },
    { name: "SMART_SUPPORT_REST_LIMIT", value: "300/minute", meaning: "REST calls per address." },
  ],
};

async function openSettings(role: Role = "operator", width = 1280, details = DETAILS) {
  const server = fakeServer(role);
  server.routes["GET /api/health/details"] = () => json(details);
  await openPage(server, { path: "/settings", width, height: 844 });
  return server;
}

describe("the settings page", () => {
  test.each([
    ["operator", 1280],
    ["lead", 390],
  ] as const)("tells the %s how everything is, at %i pixels", async (role, width) => {
    await openSettings(role, width);

    const rows = page.getByRole("listitem");
    await expect.element(rows.nth(0)).toHaveTextContent(/Works.*Database: PostgreSQL.*2 ms/);
    await expect
      .element(rows.nth(1))
      .toHaveTextContent(/Fails.*https:\/\/models\.example\/v1.*No answer/);
    await expect.element(rows.nth(2)).toHaveTextContent(/Works.*Shop.*42 ms/);
    await expect.element(rows.nth(3)).toHaveTextContent(/Not checked.*no base URL/);
    await expect.element(page.getByText("0003")).toBeVisible();
    await expect.element(page.getByText("30.0 s")).toBeVisible();
    await expect.element(page.getByText("300/minute")).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("can be found, and looks again when asked", async () => {
    const server = await openSettings("lead");
    await expect
      .element(page.getByRole("link", { name: "Settings" }))
      .toHaveAttribute("data-status", "active");
    await expect.element(page.getByText("No answer within 3 s.")).toBeVisible();
    server.routes["GET /api/health/details"] = () =>
      json({ ...DETAILS, dependencies: DETAILS.dependencies.slice(0, 1) });

    await page.getByRole("button", { name: "Look again" }).click();

    await expect.element(page.getByText("No answer within 3 s.")).not.toBeInTheDocument();
    await expect.element(page.getByText("No API is imported yet")).toBeVisible();
    await expectAccessible();
  });

  test("counts the customers who let the agent act for them, API by API", async () => {
    const server = fakeServer("lead");
    server.routes["GET /api/health/details"] = () => json(DETAILS);
    const service = { spec_id: "s1", scheme: "login", service: "Bank", customers: 1 };
    server.routes["GET /api/connections/counts"] = () =>
      json({ services: [service, { ...service, spec_id: "s2", service: "Shop", customers: 40 }] });
    await openPage(server, { path: "/settings" });

    const rows = page.getByRole("region", { name: "Connected customers" }).getByRole("listitem");
    await expect.element(rows.nth(0)).toHaveTextContent(/1 customer\s*Bank/);
    await expect.element(rows.nth(1)).toHaveTextContent(/40 customers\s*Shop/);
    await expectAccessible();
  });

  test.each([
    [["desk:17"], null],
    [["desk:16", "desk:17", "desk:18"], "In 1 of 3 processes: desk:17"],
  ] as const)("says in which of %j a breaker is open", async (processes, said) => {
    await openSettings("operator", 390, { ...DETAILS, processes: [...processes] });

    const paused = page.getByRole("listitem").filter({ hasText: "Paused" });
    await expect.element(paused).toBeVisible();
    if (said) await expect.element(paused).toHaveTextContent(said);
    else await expect.element(paused).not.toHaveTextContent("processes");
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("says that the built-in model answers", async () => {
    await openSettings("lead", 1280, { ...DETAILS, model: { name: "offline", offline: true } });

    await expect.element(page.getByText("offline (built in, because no key is set)")).toBeVisible();
  });

  test("says why it cannot tell, and keeps what it knew", async () => {
    const server = await openSettings();
    await expect.element(page.getByText("0003")).toBeVisible();
    server.routes["GET /api/health/details"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");

    await page.getByRole("button", { name: "Look again" }).click();

    await expect.element(page.getByRole("alert")).toHaveTextContent("Not you.");
    await expect.element(page.getByText("0003")).toBeVisible();
  });

  test("is not for customers", async () => {
    const server = await openSettings("customer");

    await expect.element(page.getByText("This page is for another role")).toBeVisible();
    expect(server.asked.filter((line) => line.includes("details"))).toEqual([]);
  });
});

test.each([
  ["SMART_SUPPORT_TOOL_MAX_BYTES", 2_097_152, "2 MiB"],
  ["SMART_SUPPORT_SPEC_MAX_BYTES", 1_000, "1,000 B"],
  ["SMART_SUPPORT_APPROVAL_TTL", 86_400, "24 h"],
  ["SMART_SUPPORT_MESSAGE_WINDOW", 10, "10.0 s"],
  ["SMART_SUPPORT_MESSAGE_LIMIT", 10, "10"],
  ["SMART_SUPPORT_REST_LIMIT", "300/minute", "300/minute"],
])("%s = %s is %s", (name, value, text) => {
  expect(amount(name, value)).toBe(text);
});
