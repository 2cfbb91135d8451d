import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem, threadOf } from "../../tests-support/server";
import type { components } from "../api/schema.gen";

type InterruptedTurn = components["schemas"]["InterruptedTurn"];

const region = () => page.getByRole("region", { name: "Answers that broke off" });
const rows = () => region().getByRole("listitem");

function turnOf(id: string, more: Partial<InterruptedTurn> = {}): InterruptedTurn {
  return {
    turn_id: id,
    thread_id: THREAD,
    customer_name: "Ada Park",
    text: "Where is my order 1001?",
    kind: "given_up",
    code: "REC_TURN_INTERRUPTED",
    recoveries: 4,
    received_at: "2026-11-23T18:00:00Z",
    closed_at: "2026-11-23T18:05:00Z",
    closed_seq: 5,
    answered: false,
    ...more,
  };
}

/** A lead's list, and a log in which a later failure is not the one that is listed. */
function withInterrupted(...turns: InterruptedTurn[]) {
  const server = fakeServer("lead");
  server.threads(threadOf());
  server.log.push(
    ...logOf([
      fact.wrote("m1", "Where is my order 1001?"),
      fact.opened(),
      fact.called("c1"),
      fact.returned("c1", "failed"),
      fact.closed("failed"),
    ]),
  );
  server.routes["GET /api/turns/interrupted"] = () => json({ turns, next_cursor: null });
  return server;
}

describe.each([1280, 390])("the answers that broke off, %i pixels wide,", (width) => {
  test("stand above the conversations, and each leads to where it ended", async () => {
    const server = withInterrupted(
      turnOf("t1"),
      turnOf("t2", { text: "Cancel it", kind: "too_late", recoveries: 1 }),
      turnOf("t3", { text: "And now?", kind: "failed", code: "LLM_UNAVAILABLE", recoveries: 2 }),
    );
    const { history } = await openPage(server, { path: "/replay", width, height: 844 });
    await expect.element(region().getByRole("heading")).toHaveTextContent(/broke off \(3\)/);
    await expect
      .element(rows().nth(0))
      .toHaveTextContent(/order 1001.*Ada Park · 23 Nov 2026.*given up · taken over 4 times$/);
    await expect.element(rows().nth(1)).toHaveTextContent(/too late to go on · taken over 1 time$/);
    await expect.element(rows().nth(2)).toHaveTextContent(/with \(LLM_UNAVAILABLE\)/);
    await expectAccessible();
    expectNoSidewaysScroll();

    await region().getByRole("link", { name: "Where is my order 1001?" }).click();

    // Not the first failure, on which a replay opens otherwise.
    await expect.element(page.getByRole("heading", { name: "Turn failed" })).toBeVisible();
    await expect.element(page.getByText("Step 5", { exact: true })).toBeVisible();
    expect(history.location.pathname).toBe(`/replay/${THREAD}`);
    await expectAccessible();
  });

  test("show the first five, then all of them, then the next page", async () => {
    const turns = Array.from({ length: 7 }, (_, n) => turnOf(`t${n}`, { text: `Message ${n}` }));
    const server = withInterrupted();
    server.routes["GET /api/turns/interrupted"] = (url) =>
      url.searchParams.has("cursor")
        ? json({ turns: [turnOf("t7", { text: "Message 7" })], next_cursor: null })
        : json({ turns, next_cursor: "t6" });
    await openPage(server, { path: "/replay", width, height: 844 });
    await expect.element(region()).toBeVisible();
    expect(rows().elements()).toHaveLength(5);

    await region().getByRole("button", { name: "Show all 7+" }).click();
    await vi.waitFor(() => expect(rows().elements()).toHaveLength(7));
    await region().getByRole("button", { name: "Load more" }).click();

    await vi.waitFor(() => expect(rows().elements()).toHaveLength(8));
    await expect.element(region().getByRole("button")).not.toBeInTheDocument();
    await expectAccessible();
    expectNoSidewaysScroll();
  });
});

test("only those that nobody has answered since are asked for, and none is no section", async () => {
  const server = withInterrupted();
  await openPage(server, { path: "/replay" });

  await expect.element(page.getByRole("link", { name: /Where is my order/ })).toBeVisible();

  expect(server.asked).toContain("GET /api/turns/interrupted?unanswered=true&limit=50");
  await expect.element(region()).not.toBeInTheDocument();
});

test("why they cannot be told is said, and the conversations are shown", async () => {
  const server = withInterrupted();
  server.routes["GET /api/turns/interrupted"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
  await openPage(server, { path: "/replay" });

  await expect.element(page.getByText("Not you.")).toBeVisible();
  await expect.element(page.getByRole("link", { name: /Where is my order/ })).toBeVisible();
});
