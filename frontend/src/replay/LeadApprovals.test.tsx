import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem, threadOf } from "../../tests-support/server";
import type { Approval } from "../api/client";

const region = () => page.getByRole("region", { name: "Waiting for your yes" });

function approvalOf(more: Partial<Approval> = {}): Approval {
  return {
    id: "0193a5c0-0000-7000-8000-0000000000a2",
    thread_id: THREAD,
    tool_call_id: "0193a5c0-0000-7000-8000-0000000000c1",
    title: "Refund an order",
    method: "POST",
    url: "http://127.0.0.1:9100/refunds",
    fields: [{ name: "amount", value: "150" }],
    state: "pending",
    asked_at: "2026-11-23T18:00:00Z",
    expires_at: "2099-01-01T00:00:00Z",
    decided_by: null,
    decided_at: null,
    reason: null,
    audience: "lead",
    why: "/body/amount > 100",
    arguments: null,
    edited: false,
    ...more,
  };
}

function withApprovals(...approvals: Approval[]) {
  const server = fakeServer("lead");
  const bodies: unknown[] = [];
  let waiting = approvals;
  server.threads(threadOf());
  server.log.push(...logOf([fact.wrote("m1", "Refund 150"), fact.asked()]));
  server.routes["GET /api/approvals"] = (url) => {
    expect(url.searchParams.get("audience")).toBe("lead");
    return json({ approvals: waiting });
  };
  server.routes["POST /api/approvals/*/decision"] = async (_, request) => {
    bodies.push(await request.json());
    const [first] = waiting;
    waiting = waiting.slice(1);
    return json({ ...first, state: "approved" });
  };
  return { server, bodies };
}

describe.each([1280, 390])("what waits for a lead, %i pixels wide,", (width) => {
  test("stands above all conversations, with the rule and the exact request", async () => {
    const { server, bodies } = withApprovals(approvalOf());
    await openPage(server, { path: "/replay", width, height: 844 });
    await expect.element(region().getByText("/body/amount > 100", { exact: false })).toBeVisible();
    await expect.element(region().getByRole("row", { name: "amount 150" })).toBeVisible();
    await expect
      .element(region().getByRole("link", { name: "Read the conversation" }))
      .toHaveAttribute("href", `/replay/${THREAD}`);
    await expectAccessible();
    expectNoSidewaysScroll();

    await region()
      .getByRole("textbox", { name: /Reason/ })
      .fill("Known customer");
    await region().getByRole("button", { name: "Approve" }).click();

    await expect.element(region()).not.toBeInTheDocument();
    expect(bodies).toEqual([{ decision: "approve", reason: "Known customer", standing: false }]);
  });

  test("is decided at the desk of its conversation too", async () => {
    const elsewhere = approvalOf({
      id: "other",
      thread_id: "0193a5c0-0000-7000-8000-0000000000ff",
    });
    const { server, bodies } = withApprovals(approvalOf(), elsewhere);
    await openPage(server, { path: `/replay/${THREAD}`, width, height: 844 });
    await expect.element(region().getByText("Refund an order")).toBeVisible();
    await expect.element(region().getByText(/\(1\)/)).toBeVisible();
    await expectAccessible();

    await region().getByRole("button", { name: "Don’t" }).click();

    await vi.waitFor(() =>
      expect(bodies).toEqual([{ decision: "reject", reason: null, standing: false }]),
    );
  });
});

test("that somebody else was quicker is told", async () => {
  const { server } = withApprovals(approvalOf());
  server.routes["POST /api/approvals/*/decision"] = () =>
    problem(409, "CONV_APPROVAL_SETTLED", "That question has been answered already.");
  await openPage(server, { path: "/replay" });

  await region().getByRole("button", { name: "Approve" }).click();

  await expect.element(page.getByText("That question has been answered already.")).toBeVisible();
});
