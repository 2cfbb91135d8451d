import { expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem } from "../../tests-support/server";
import type { Fact } from "../api/client";

const form = () => page.getByRole("form", { name: "What became of this call" });
const remark = () => form().getByRole("textbox");
const done = () => form().getByRole("button", { name: "It was done", exact: true });
const notDone = () => form().getByRole("button", { name: "It was not done" });

function resolvedBy(by: string, resolution: "done" | "not_done"): Fact {
  return {
    type: "call_resolved",
    turn_id: "t1",
    tool_call_id: "c1",
    resolution,
    how: "person",
    by,
    remark: "Seen in the shop's own list",
    content: "{}",
  };
}

/** The replay of a write that nobody knows the outcome of; what is said of it is kept. */
async function openUnknown(width = 1280) {
  const server = fakeServer("lead");
  const facts = [
    fact.wrote("m1", "Refund order 1002"),
    fact.opened(),
    fact.called("c1", { access: "write", operation: "POST /orders/{order_id}/refunds" }),
    fact.returned("c1", "unknown"),
  ];
  server.log.push(...logOf(facts));
  const said: unknown[] = [];
  server.routes["POST /api/tool-calls/*/resolve"] = async (url, request) => {
    const body = await request.json();
    said.push([url.pathname, body]);
    server.happen(resolvedBy("lead_kim", body.resolution));
    return json({ id: "c1", state: `resolved_${body.resolution}` });
  };
  await openPage(server, { path: `/replay/${THREAD}?call=c1`, width, height: 844 });
  await expect.element(form()).toBeVisible();
  return { server, said };
}

test.each([
  ["done", done, "it was done", 1280],
  ["not_done", notDone, "it was not done", 390],
] as const)("a lead says %s, and how they know", async (resolution, button, told, width) => {
  const { said } = await openUnknown(width);
  await expectAccessible();
  expectNoSidewaysScroll();

  await remark().fill("  Seen in the shop's own list ");
  await button().click();

  await expect.element(form()).not.toBeInTheDocument();
  await expect
    .element(page.getByText(/Found out since/))
    .toHaveTextContent(`Found out since, by lead_kim: ${told}.`);
  expect(said).toEqual([
    ["/api/tool-calls/c1/resolve", { resolution, remark: "Seen in the shop's own list" }],
  ]);
  await expectAccessible();
});

test("nothing can be said without saying how one knows", async () => {
  const { said } = await openUnknown();

  await expect.element(done()).toBeDisabled();
  await expect.element(notDone()).toBeDisabled();
  await remark().fill("   ");
  await expect.element(done()).toBeDisabled();
  await remark().fill("I asked the warehouse");

  await expect.element(done()).toBeEnabled();
  await expect.element(notDone()).toBeEnabled();
  expect(said).toEqual([]);
});

test("that somebody else was quicker is told, with what they found", async () => {
  const { server } = await openUnknown();
  const settled = "Somebody has found that out already.";
  server.routes["POST /api/tool-calls/*/resolve"] = () =>
    problem(409, "TOOL_CALL_SETTLED", settled);
  await remark().fill("Looked");
  await done().click();
  await expect.element(page.getByText(settled)).toBeVisible();
  expect(remark().element()).toHaveValue("Looked");

  // What they found is read again at once.
  server.happen(resolvedBy("lead_ana", "not_done"));
  await notDone().click();

  await expect
    .element(page.getByText(/Found out since/))
    .toHaveTextContent("by lead_ana: it was not done.");
  await expect.element(form()).not.toBeInTheDocument();
});

test("two clicks say it once", async () => {
  const { server } = await openUnknown();
  let asked = 0;
  let answer: (response: Response) => void = () => undefined;
  server.routes["POST /api/tool-calls/*/resolve"] = () => {
    asked += 1;
    return new Promise((resolve) => {
      answer = resolve;
    });
  };
  await remark().fill("Looked");
  await done().click();

  await expect.element(done()).toBeDisabled();
  await expect.element(notDone()).toBeDisabled();
  await vi.waitFor(() => expect(asked).toBe(1));
  server.happen(resolvedBy("lead_kim", "done"));
  answer(json({ id: "c1", state: "resolved_done" }));

  await expect.element(form()).not.toBeInTheDocument();
  expect(asked).toBe(1);
});
