import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, problem, threadOf } from "../../tests-support/server";
import type { Fact } from "../api/client";

const FACTS: Fact[] = [
  fact.wrote("m1", "Where is my order 1001?"),
  fact.opened(),
  fact.called(),
  fact.refused("c1", 1),
  fact.refused("c1", 2),
  fact.returned("c1", "failed"),
  fact.closed("failed"),
];

const selected = () => page.getByRole("option", { selected: true });

async function openReplay(facts: Fact[], path = `/replay/${THREAD}`, width = 1280) {
  const server = fakeServer("lead");
  server.log.push(...logOf(facts));
  const opened = await openPage(server, { path, width, height: 844 });
  await expect.element(page.getByRole("option").first()).toBeVisible();
  return { server, ...opened };
}

describe("the list of conversations", () => {
  const rows = Array.from({ length: 120 }, (_, n) =>
    threadOf({
      id: `0193a5c0-0000-7000-8000-${String(n).padStart(12, "0")}`,
      title: `Question ${n}`,
      status: n % 2 === 0 ? "opened" : "resolved",
      errors: n === 0 ? 2 : 0,
      turns: 1_250,
    }),
  );

  test("shows counts, filters by the address, and loads more", async () => {
    const server = fakeServer("lead");
    server.threads(...rows);
    const { history } = await openPage(server, { path: "/replay" });
    await expect.element(page.getByRole("link", { name: "Question 0", exact: true })).toBeVisible();
    await expect.element(page.getByRole("cell", { name: "1,250" }).first()).toBeVisible();
    expect(page.getByRole("row").elements()).toHaveLength(51);
    await expectAccessible();

    await page.getByRole("button", { name: "Load more" }).click();
    await vi.waitFor(() => expect(page.getByRole("row").elements()).toHaveLength(101));
    await page.getByRole("combobox", { name: "State" }).selectOptions("Resolved");
    await vi.waitFor(() => expect(history.location.search).toBe("?status=resolved"));
    await expect.element(page.getByText("Question 1", { exact: true })).toBeVisible();
    await page.getByRole("searchbox").fill("Question 11");

    await vi.waitFor(() => expect(history.location.search).toContain("query="));
    await vi.waitFor(() => expect(page.getByRole("row").elements()).toHaveLength(7));
  });

  test("tells nothing at all, nothing found, and a failure apart", async () => {
    const server = fakeServer("lead");
    const { screen } = await openPage(server, { path: "/replay" });
    await expect.element(page.getByText("No conversations yet")).toBeVisible();
    await screen.unmount();

    const found = await openPage(server, { path: "/replay?query=zebra&status=waiting" });
    await expect.element(page.getByText("Nothing matches this filter")).toBeVisible();
    await expectAccessible();
    await page.getByRole("button", { name: "Show all conversations" }).click();
    await expect.element(page.getByText("No conversations yet")).toBeVisible();
    await found.screen.unmount();

    server.routes["GET /api/threads"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
    await openPage(server, { path: "/replay" });
    await expect.element(page.getByRole("alert")).toHaveTextContent("Not you.");
    await expect.element(page.getByText("ref cor-9")).toBeVisible();
  });

  test("ignores a filter in the address that does not exist", async () => {
    const server = fakeServer("lead");
    server.threads(...rows.slice(0, 2));

    await openPage(server, { path: "/replay?status=melted", width: 390 });

    await expect.element(page.getByText("Question 1")).toBeVisible();
    expectNoSidewaysScroll();
    await expectAccessible();
  });
});

describe("a replay", () => {
  test("opens on what failed, and says it in one line", async () => {
    await openReplay(FACTS);

    await expect
      .element(page.getByText("Failed at step 4 of 7: Look up an order, 503, 2 attempts, 2.2 s"))
      .toBeVisible();
    await expect.element(selected()).toHaveTextContent("Attempt 1 of 2");
    await expect.element(page.getByText("waited 2.0 s, took 120 ms")).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("is walked by keys, and the address follows", async () => {
    const { history } = await openReplay(FACTS);

    await userEvent.keyboard("e");
    await expect.element(selected()).toHaveTextContent("Attempt 2 of 2");
    await userEvent.keyboard("k");
    await userEvent.keyboard("k");
    await expect.element(selected()).toHaveTextContent("Look up an order");
    await userEvent.keyboard("{Shift>}E{/Shift}");
    await expect.element(selected()).toHaveTextContent("Turn failed");
    (page.getByRole("listbox").element() as HTMLElement).focus();
    await userEvent.keyboard("{Home}{ArrowDown}");
    await expect.element(selected()).toHaveTextContent("Turn opened");
    await userEvent.keyboard("j");

    await vi.waitFor(() => expect(history.location.search).toBe("?step=3"));
    await page.getByRole("button", { name: "Previous error" }).click();
    await vi.waitFor(() => expect(history.location.search).toBe("?step=7"));
    await page.getByRole("button", { name: "Next error" }).click();
    await vi.waitFor(() => expect(history.location.search).toBe("?step=4"));
  });

  test("can be linked to a step", async () => {
    await openReplay(FACTS, `/replay/${THREAD}?step=6`);

    await expect.element(selected()).toHaveTextContent("Failed: Look up an order");
    await expect.element(page.getByRole("region", { name: "Result" })).toBeVisible();
    const args = page.getByRole("region", { name: "Arguments" });
    await expect.element(args).toHaveTextContent("redacted: secret");
    expect(args.element().querySelector("svg")).not.toBeNull();
    await page.getByRole("button", { name: /Attempt 2 of 2/ }).click();
    await expect.element(selected()).toHaveTextContent("Attempt 2 of 2");
  });

  test("of a step that does not exist says so", async () => {
    await openReplay(FACTS, `/replay/${THREAD}?step=99`);

    await expect.element(page.getByText("There is no step 99")).toBeVisible();
  });

  test("shows every kind of step with its details, accessibly", async () => {
    const facts = [
      fact.wrote("m1", "Refund 1002"),
      fact.opened(),
      fact.called("c1"),
      fact.asked(),
      fact.parked(),
      fact.decided("approved"),
      fact.opened("t1", 2),
      fact.attempt("c1", 1),
      fact.returned(),
      fact.answered("r1", "Done **now**."),
      fact.changed(),
      fact.handoff(),
      fact.tookOver(),
      fact.wrote("m2", "Hello?", "t2", true),
      fact.personSaid("d1", "Hello Ada"),
      fact.gaveBack("Be kind"),
      fact.closed(),
      fact.resolved(),
    ];
    await openReplay(facts);

    for (let step = 1; step <= facts.length; step += 1) {
      await expect.element(page.getByText(`Step ${step}`, { exact: true })).toBeVisible();
      if (step % 4 === 0) await expectAccessible();
      await userEvent.keyboard("j");
    }
    await expect.element(page.getByText("Approved after 2.0 s")).toBeVisible();
    expect(page.getByText(/Failed at step/).query()).toBeNull();
  });

  test("shows what the customer saw, by the same parts as the chat", async () => {
    const { history } = await openReplay([...FACTS.slice(0, 3), fact.asked(), ...FACTS.slice(3)]);

    await page.getByText("What the customer saw").click();

    await vi.waitFor(() => expect(history.location.search).toContain("view=seen"));
    const seen = page.getByRole("region", { name: "What the customer saw" });
    await expect.element(seen.getByText("Where is my order 1001?")).toBeVisible();
    await expect.element(seen.getByText("2 attempts")).toBeVisible();
    await expect.element(seen.getByText("Not answered yet")).toBeVisible();
    await expect.element(seen.getByText(/order system is not available/)).toBeVisible();
    expect(seen.getByRole("button").elements()).toEqual([]);
    await expectAccessible();
  });

  test("fits a phone", async () => {
    await openReplay(FACTS, `/replay/${THREAD}`, 390);

    expectNoSidewaysScroll();
    await expectAccessible();
  });

  test("of ten thousand events loads every page, and draws only the rows in sight", async () => {
    const many = Array.from({ length: 10_000 }, (_, n) =>
      n === 9_000 ? fact.refused("c1", 1) : fact.wrote(`m${n}`, `Message ${n}`),
    );
    const { server } = await openReplay(many);
    await expect.element(page.getByText("10,000 steps"), { timeout: 10_000 }).toBeVisible();
    expect(server.asked.filter((line) => line.includes("/replay"))).toHaveLength(21);

    await expect.element(selected()).toHaveAttribute("aria-posinset", "9001");
    await userEvent.keyboard("jjjjjjjjjj");
    await expect.element(selected()).toHaveAttribute("aria-posinset", "9011");

    expect(page.getByRole("option").elements().length).toBeLessThan(60);
  });

  test("that is empty, missing or refused says which", async () => {
    const server = fakeServer("lead");
    const empty = await openPage(server, { path: `/replay/${THREAD}` });
    await expect.element(page.getByText("Nothing has happened yet")).toBeVisible();
    await expectAccessible();
    await empty.screen.unmount();

    server.routes["GET /api/threads/*/replay"] = () => problem(404, "VAL_NOT_FOUND", "No.");
    const missing = await openPage(server, { path: `/replay/${THREAD}` });
    await expect.element(page.getByText("There is no such conversation")).toBeVisible();
    await missing.screen.unmount();

    server.routes["GET /api/threads/*/replay"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
    await openPage(server, { path: `/replay/${THREAD}` });
    await expect.element(page.getByRole("alert")).toHaveTextContent("Not you.");
    await expectAccessible();
  });
});
