import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { fact, THREAD } from "../../tests-support/logs";
import { expectAccessible, openPage } from "../../tests-support/page";
import { fakeServer, threadOf } from "../../tests-support/server";
import { actionOf } from "../api/actions";

/** A conversation whose only turn failed with this code. */
async function openFailed(code: string) {
  const server = fakeServer("customer");
  server.threads(threadOf());
  server.happen(fact.wrote("m1", "Where is my order?"), fact.opened(), {
    ...fact.closed("failed"),
    code,
  } as ReturnType<typeof fact.closed>);
  await openPage(server, { path: `/chat/${THREAD}` });
  await expect.element(page.getByRole("textbox", { name: "Your message" })).toBeVisible();
  server.connect();
  await expect.element(page.getByText(/not available right now/).first()).toBeVisible();
  return server;
}

describe("a code", () => {
  test("says what the page does about it", () => {
    expect(actionOf("MODEL_UNAVAILABLE")).toBe("hand_off");
    expect(actionOf("CONV_TURN_TIMEOUT")).toBe("retry");
    expect(actionOf("RATE_LIMITED")).toBe("wait");
    expect(actionOf("AUTH_NOT_SIGNED_IN")).toBe("sign_in");
    expect(actionOf("CONN_TOO_SLOW")).toBe("reconnect");
    expect(actionOf("VAL_NOT_FOUND")).toBe("tell");
  });

  test.each(["FROM_THE_FUTURE", "", null, "toString", "__proto__"])(
    "that is not known (%s) may pass by itself",
    (code) => {
      expect(actionOf(code)).toBe("retry");
    },
  );
});

describe("after an error", () => {
  test("of the model, a person is offered", async () => {
    await openFailed("MODEL_UNAVAILABLE");

    const offer = page.getByText("A person can go on from here.");
    await expect.element(offer).toBeVisible();
    await expectAccessible();
    await page.getByRole("log").getByRole("button", { name: "Talk to a person" }).click();

    await expect.element(page.getByRole("form", { name: "Talk to a person" })).toBeVisible();
    await expect.element(offer).not.toBeInTheDocument();
  });

  test("that may pass, the same can be sent again", async () => {
    const server = await openFailed("CONV_TURN_TIMEOUT");

    await page.getByRole("button", { name: "Send it again" }).click();

    await vi.waitFor(() =>
      expect(server.sent.at(-1)).toMatchObject({ type: "send", text: "Where is my order?" }),
    );
  });

  test("that only another input mends, nothing is offered", async () => {
    await openFailed("MODEL_REFUSED");

    await expect
      .element(page.getByRole("button", { name: "Send it again" }))
      .not.toBeInTheDocument();
    await expect.element(page.getByText("A person can go on from here.")).not.toBeInTheDocument();
  });
});

test("what works less well is said before anybody writes", async () => {
  const server = fakeServer("customer");
  server.threads(threadOf());
  await openPage(server, { path: `/chat/${THREAD}` });
  await expect.element(page.getByRole("textbox", { name: "Your message" })).toBeVisible();
  server.connect();
  server.frame({
    ready: {
      person: { id: "ada", role: "customer", name: "Ada" },
      offline_model: false,
      degraded: ["The language model does not answer. A person can be asked to help."],
    },
  });

  await expect.element(page.getByRole("status").getByText(/A person can be asked/)).toBeVisible();
  await expectAccessible();
});

test("what begins to work less well is said at once, with a person to talk to", async () => {
  const server = fakeServer("customer");
  server.threads(threadOf());
  await openPage(server, { path: `/chat/${THREAD}` });
  await expect.element(page.getByRole("textbox", { name: "Your message" })).toBeVisible();
  server.connect();
  const said = page.getByRole("status").filter({ hasText: "A person can be asked" });
  await expect.element(said).not.toBeInTheDocument();

  server.frame({
    degraded: ["The language model does not answer. A person can be asked to help."],
  });
  await expect.element(said).toBeVisible();
  await expectAccessible();
  await said.getByRole("button", { name: "Talk to a person" }).click();

  await expect.element(page.getByRole("form", { name: "Talk to a person" })).toBeVisible();
  await expect.element(said).toBeVisible();
  await expect
    .element(said.getByRole("button", { name: "Talk to a person" }))
    .not.toBeInTheDocument();

  server.frame({ degraded: [] });
  await expect.element(said).not.toBeInTheDocument();
});
