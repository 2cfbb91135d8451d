import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, handed, json, problem, threadOf } from "../../tests-support/server";
import type { components } from "../api/schema.gen";

type ToolCall = components["schemas"]["ToolCall"];

const region = () => page.getByRole("region", { name: "Calls with an unknown outcome" });
const form = () => page.getByRole("form", { name: "What became of this call" });
const selected = () => page.getByRole("option", { selected: true });

function callOf(id: string, more: Partial<ToolCall> = {}): ToolCall {
  return {
    id,
    thread_id: THREAD,
    turn_id: "0193a5c0-0000-7000-8000-0000000000d1",
    operation: "POST /orders/{order_id}/refunds",
    arguments: { order_id: "1002" },
    state: "ambiguous",
    code: "TOOL_OUTCOME_UNKNOWN",
    effect_key: null,
    sent_at: "2026-11-23T18:00:00Z",
    finished_at: "2026-11-23T18:00:30Z",
    checks: 3,
    resolved_by: null,
    resolved_at: null,
    remark: null,
    ...more,
  };
}

/** A lead's list, and a log in which `c1` failed before the outcome of `c2` became unknown. */
function withUnknown(...calls: ToolCall[]) {
  const server = fakeServer("lead");
  server.threads(threadOf());
  server.log.push(
    ...logOf([
      fact.wrote("m1", "Refund order 1002"),
      fact.opened(),
      fact.called("c1"),
      fact.returned("c1", "failed"),
      fact.called("c2", { access: "write" }),
      fact.returned("c2", "unknown"),
      fact.called("c3"),
      fact.returned("c3"),
    ]),
  );
  server.routes["GET /api/tool-calls/unknown"] = () => json({ calls });
  return server;
}

describe.each([1280, 390])("the calls with an unknown outcome, %i pixels wide,", (width) => {
  test("stand above the conversations, and each leads to where it is resolved", async () => {
    const server = withUnknown(
      callOf("c2"),
      callOf("c9", { operation: "POST /notes", code: "TOOL_STILL_RUNNING", checks: 0 }),
    );
    const { history } = await openPage(server, { path: "/replay", width, height: 844 });
    await expect.element(region().getByRole("heading")).toHaveTextContent(/calls \(2\)/);
    const rows = region().getByRole("listitem");
    await expect
      .element(rows.nth(0))
      .toHaveTextContent(/refunds.*sent 23 Nov 2026.*no clear answer · looked for 3 times/);
    await expect.element(rows.nth(1)).toHaveTextContent(/notes.*accepted, not confirmed$/);
    await expect.element(page.getByRole("link", { name: /Where is my order/ })).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();

    await region().getByRole("link", { name: "POST /orders/{order_id}/refunds" }).click();

    // Not the first failure, on which a replay opens otherwise.
    await expect.element(form()).toBeVisible();
    expect(history.location.pathname).toBe(`/replay/${THREAD}`);
    await expect.element(page.getByRole("heading", { name: /Result: unknown/ })).toBeVisible();
    await expect.element(page.getByText("Step 6", { exact: true })).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("show the first five, and all when asked", async () => {
    await openPage(withUnknown(...Array.from({ length: 7 }, (_, n) => callOf(`c${n}`))), {
      path: "/replay",
      width,
      height: 844,
    });
    await expect.element(region()).toBeVisible();
    expect(region().getByRole("listitem").elements()).toHaveLength(5);

    await region().getByRole("button", { name: "Show all 7" }).click();

    await vi.waitFor(() => expect(region().getByRole("listitem").elements()).toHaveLength(7));
    await expectAccessible();
    expectNoSidewaysScroll();
  });
});

test("nothing is shown while there are none", async () => {
  const server = withUnknown();
  await openPage(server, { path: "/replay" });

  await expect.element(page.getByRole("link", { name: /Where is my order/ })).toBeVisible();

  expect(server.asked).toContain("GET /api/tool-calls/unknown?limit=100");
  await expect.element(region()).not.toBeInTheDocument();
});

test("why they cannot be told is said, and the conversations are shown", async () => {
  const server = withUnknown();
  server.routes["GET /api/tool-calls/unknown"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
  await openPage(server, { path: "/replay" });

  await expect.element(page.getByText("Not you.")).toBeVisible();
  await expect.element(page.getByRole("link", { name: /Where is my order/ })).toBeVisible();
});

test("the step of a call is shown first, also where a person has the conversation", async () => {
  const server = withUnknown();
  server.threads(threadOf(handed("lead_kim", "Kim Osei")));
  await openPage(server, { path: `/replay/${THREAD}?call=c2` });

  await expect.element(form()).toBeVisible();
});

test("a step that is chosen counts more than the call of the address", async () => {
  const server = withUnknown();
  await openPage(server, { path: `/replay/${THREAD}?call=c2&step=1` });

  await expect.element(page.getByText("Step 1", { exact: true })).toBeVisible();
});

test("a call that is not in the log opens the replay as always", async () => {
  await openPage(withUnknown(), { path: `/replay/${THREAD}?call=elsewhere` });

  await expect.element(selected()).toBeVisible();
  await expect.element(page.getByText("Step 4", { exact: true })).toBeVisible();
});
