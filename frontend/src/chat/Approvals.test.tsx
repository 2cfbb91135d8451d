import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { fact, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, threadOf } from "../../tests-support/server";
import type { Fact } from "../api/client";

const button = (name: string) => page.getByRole("button", { name, exact: true });

async function openQuestion(width = 1280, more: Parameters<typeof fact.asked>[2] = {}) {
  const server = fakeServer("customer");
  server.threads(threadOf());
  server.happen(
    fact.wrote("m1", "Refund 1002"),
    fact.opened(),
    fact.called("c1", { title: "Refund an order", access: "write" }),
    fact.asked("a1", "c1", more),
    fact.parked(),
  );
  await openPage(server, { path: `/chat/${THREAD}`, width, height: 844 });
  await expect.element(page.getByRole("textbox", { name: "Your message" })).toBeVisible();
  server.connect();
  await expect.element(button("Approve")).toBeEnabled();
  return server;
}

const consent: Fact = {
  type: "consent_given",
  consent_id: "s1",
  operation: "POST /notes",
  title: "Leave a note",
  expires_at: "2099-01-01T00:00:00Z",
};

describe.each([1280, 390])("a question for approval, %i pixels wide,", (width) => {
  test("can be changed, and what comes of the change is asked about anew", async () => {
    const server = await openQuestion(width);
    await button("Change").click();
    await expectAccessible();
    expectNoSidewaysScroll();
    const amount = page.getByRole("textbox", { name: "amount" });
    await expect.element(amount).toHaveValue("49.9");
    await expect.element(button("Ask me again with this")).toBeDisabled();
    await amount.fill("much");
    await expect.element(page.getByText("A number, please")).toBeVisible();
    await expect.element(button("Ask me again with this")).toBeDisabled();

    await amount.fill("15,5");
    await button("Ask me again with this").click();

    expect(server.sent.at(-1)).toEqual({
      type: "decide",
      approval_id: "a1",
      decision: "edit",
      arguments: { order_id: "1002", body: { amount: 15.5 } },
    });
    server.happen(
      fact.decided("edited"),
      fact.asked("a2", "c1", { fields: [{ name: "amount", value: "15.5" }] }),
    );
    await expect.element(page.getByText("Changed – you are asked again")).toBeVisible();
    await expect.element(page.getByRole("row", { name: "amount 15.5" })).toBeVisible();
    await expect.element(button("Approve")).toBeEnabled();
    await expectAccessible();
  });

  test("can be answered with a message instead of yes or no", async () => {
    const server = await openQuestion(width);
    await button("Write instead").click();
    await expect.element(button("Send answer")).toBeDisabled();
    await page.getByRole("textbox", { name: /instead of yes or no/ }).fill("I meant 1003");
    await expectAccessible();
    expectNoSidewaysScroll();

    await button("Send answer").click();

    expect(server.sent.at(-1)).toEqual({
      type: "decide",
      approval_id: "a1",
      decision: "respond",
      reason: "I meant 1003",
    });
    server.happen(fact.decided("answered"));
    await expect.element(page.getByText(/Answered with a message/)).toBeVisible();
  });

  test("of little weight can be allowed for the conversation, and that can be taken back", async () => {
    const server = await openQuestion(width, { standing: true });
    await page.getByRole("checkbox", { name: /Don’t ask me about this again/ }).click();
    await expectAccessible();
    await button("Approve").click();
    expect(server.sent.at(-1)).toEqual({
      type: "decide",
      approval_id: "a1",
      decision: "approve",
      standing: true,
    });
    server.happen(fact.decided("approved"), consent, fact.returned(), fact.closed());
    const standing = page.getByRole("region", { name: "Done without asking" });
    await expect.element(standing.getByText(/Leave a note/)).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
    const asked: string[] = [];
    server.routes["DELETE /api/threads/*/consents/s1"] = (url) => {
      asked.push(url.pathname);
      server.happen({ type: "consent_revoked", consent_id: "s1", by: "customer" });
      return json({ consents: [] });
    };

    await page.getByRole("button", { name: "Ask me again: Leave a note" }).click();

    await vi.waitFor(() => expect(asked).toEqual([`/api/threads/${THREAD}/consents/s1`]));
    await expect.element(standing).not.toBeInTheDocument();
    await expect
      .element(page.getByRole("log").getByText("You are asked again from now on."))
      .toBeVisible();
  });
});

test("what a lead has to agree to as well cannot be answered by the customer", async () => {
  const server = await openQuestion();
  server.happen(fact.asked("a2", "c1", { audience: "lead", why: "/body/amount > 100" }));

  await expect.element(page.getByText(/Somebody of the team has to agree too/)).toBeVisible();
  expect(button("Approve").elements()).toHaveLength(1);
  await button("Approve").click();
  server.happen(fact.decided("approved"));
  await expect.element(page.getByText("Approved", { exact: true })).toBeVisible();
  await expect.element(page.getByText("Waits for your approval")).toBeVisible();
  await expectAccessible();
});

test("a refusal is told beside the question, which stays open", async () => {
  const server = await openQuestion();
  await button("Change").click();
  await page.getByRole("textbox", { name: "amount" }).fill("-1");
  await userEvent.keyboard("{Enter}");
  server.frame({
    error: {
      code: "VAL_INVALID_INPUT",
      message: "Something about that request is not right.",
      correlation_id: "cor-1",
      ref: "a1",
    },
  });

  await expect.element(page.getByRole("alert")).toHaveTextContent("not right");
  await expect.element(button("Approve")).toBeEnabled();
});

test("a stand-by model is told of", async () => {
  const server = await openQuestion();
  server.happen({
    type: "model_switched",
    turn_id: "t1",
    before: "a",
    after: "b",
    code: "MODEL_UNAVAILABLE",
  });

  await expect.element(page.getByRole("log").getByText(/a stand-by answers for now/)).toBeVisible();
});
