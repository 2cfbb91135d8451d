import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { THREAD } from "../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../tests-support/page";
import { fakeServer, json, problem } from "../tests-support/server";

describe("signing in", () => {
  test("is asked of who has no token", async () => {
    await openPage(fakeServer("customer"), { token: null });

    await expect.element(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
    await expectAccessible();
  });

  test("that has expired is said, and the token is forgotten", async () => {
    const { storage } = await openPage(fakeServer("customer"), { token: "stale" });

    await expect
      .element(page.getByRole("heading", { name: "Your sign-in has expired" }))
      .toBeVisible();
    expect(Object.keys(storage).filter((key) => key.startsWith("smart-support"))).toEqual([]);
  });

  test("is over when the socket says so", async () => {
    const server = fakeServer("customer");
    await openPage(server);
    await expect.element(page.getByRole("heading", { name: /Hello Ada/ })).toBeVisible();

    server.refuse("signed_out");

    await expect.element(page.getByText("Your sign-in has expired")).toBeVisible();
  });

  test("can be ended", async () => {
    await openPage(fakeServer("lead"), { path: "/replay" });

    await page.getByRole("button", { name: /Kim Osei/ }).click();
    await page.getByRole("menuitem", { name: "Sign out", exact: true }).click();

    await expect.element(page.getByRole("heading", { name: "You are signed out" })).toBeVisible();
  });

  test.each([
    ["Sign out", false],
    ["Sign out everywhere", true],
  ])("ends the token with %s", async (name, everywhere) => {
    const server = fakeServer("customer");
    const ended: unknown[] = [];
    server.routes["POST /api/me/sign-out"] = async (_, request) => {
      ended.push(await request.json());
      server.refuse("signed_out"); // its chat closes before the answer comes
      return json({ ended_at: "2026-11-23T18:06:00Z" });
    };
    await openPage(server);

    await page.getByRole("button", { name: /Ada Park/ }).click();
    await page.getByRole("menuitem", { name, exact: true }).click();

    await expect.element(page.getByRole("heading", { name: "You are signed out" })).toBeVisible();
    expect(ended).toEqual([{ everywhere }]);
  });

  test("that could not be ended says so, and leaves at least this tab", async () => {
    const server = fakeServer("lead");
    server.routes["POST /api/me/sign-out"] = () => problem(503, "DB_UNAVAILABLE", "Not now.");
    await openPage(server, { path: "/replay" });

    await page.getByRole("button", { name: /Kim Osei/ }).click();
    await page.getByRole("menuitem", { name: "Sign out everywhere" }).click();
    await expect.element(page.getByRole("menu").getByText("Not now.")).toBeVisible();
    await page.getByRole("menuitem", { name: "Leave this tab only" }).click();

    await expect.element(page.getByRole("heading", { name: "You are signed out" })).toBeVisible();
  });

  test("waits for a server that is down, and tries again when asked", async () => {
    const server = fakeServer("lead");
    const me = server.routes["GET /api/me"];
    server.routes["GET /api/me"] = () => new Response("starting", { status: 503 });
    await openPage(server);
    await expect
      .element(page.getByRole("alert"), { timeout: 5_000 })
      .toHaveTextContent("The service is not available");
    await expectAccessible();

    if (me) server.routes["GET /api/me"] = me;
    await page.getByRole("button", { name: "Try again" }).click();

    await expect
      .element(page.getByRole("heading", { name: "Conversations", exact: true }))
      .toBeVisible();
  });
});

describe("each role", () => {
  test.each([
    ["customer", "/", /Hello Ada/],
    ["lead", "/replay", /Conversations/],
    ["operator", "/review", /APIs/],
  ] as const)("%s comes home to %s", async (role, home, heading) => {
    const { history } = await openPage(fakeServer(role));

    await expect.element(page.getByRole("heading", { name: heading, level: 1 })).toBeVisible();
    expect(history.location.pathname).toBe(home);
    await expectAccessible();
  });

  test.each([
    ["customer", "/replay"],
    ["customer", "/review"],
    ["lead", `/chat/${THREAD}`],
    ["operator", "/replay"],
  ] as const)(
    "%s is told that %s is not theirs, and nothing is asked for it",
    async (role, path) => {
      const server = fakeServer(role);
      await openPage(server, { path });

      await expect.element(page.getByText("This page is for another role")).toBeVisible();
      expect(server.asked.filter((line) => line.includes("/threads"))).toEqual([]);
      expect(server.opened()).toBe(0);
    },
  );

  test("sees links only to pages that are there", async () => {
    await openPage(fakeServer("operator"), { width: 390 });
    await expect.element(page.getByRole("heading", { level: 1 })).toBeVisible();

    const links = page.getByRole("navigation", { name: "Pages" }).getByRole("link");
    expect(links.elements().map(({ textContent }) => textContent?.trim())).toContain("Review");
    expectNoSidewaysScroll();
  });
});

test("an address that leads nowhere says so", async () => {
  await openPage(fakeServer("lead"), { path: "/nowhere" });

  await expect.element(page.getByText("There is no such page")).toBeVisible();
  await expectAccessible();
});

test("the look can be switched, and is accessible in the dark too", async () => {
  await openPage(fakeServer("lead"), { path: "/replay" });

  await page.getByRole("button", { name: "Switch to the dark look" }).click();

  await vi.waitFor(() => expect(document.documentElement.dataset.mantineColorScheme).toBe("dark"));
  await expect.element(page.getByText("No conversations yet")).toBeVisible();
  await expectAccessible();
  await page.getByRole("button", { name: "Switch to the light look" }).click();
});

test("the offline model explains itself", async () => {
  await openPage(fakeServer("customer"));

  await page.getByRole("button", { name: "Offline model" }).click();

  await expect.element(page.getByText(/No model key is configured/)).toBeVisible();
  await expectAccessible();
});
