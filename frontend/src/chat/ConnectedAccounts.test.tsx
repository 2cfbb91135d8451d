import { describe, expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { SPEC } from "../../tests-support/review";
import { fakeServer, json, problem } from "../../tests-support/server";

const SHOP = {
  spec_id: SPEC,
  scheme: "login",
  service: "Shop",
  connected_at: "2026-11-23T18:00:00Z",
};

async function openChat(width = 1280) {
  const server = fakeServer("customer");
  let connections = [SHOP, { ...SHOP, scheme: "other", service: "Bank" }];
  server.routes["GET /api/connections"] = () => json({ connections });
  server.routes[`DELETE /api/connect/${SPEC}/login`] = () => {
    connections = connections.slice(1);
    return new Response(null, { status: 204 });
  };
  await openPage(server, { width });
  server.connect();
  return server;
}

const accounts = () => page.getByRole("region", { name: "Connected accounts" });

describe("a customer's connected accounts", () => {
  test("stand beside the conversations, and can be taken back one by one", async () => {
    const server = await openChat();
    await expect.element(accounts().getByRole("listitem").first()).toHaveTextContent(/Shop since/);
    await expectAccessible();

    await accounts().getByRole("button", { name: "Disconnect Shop" }).click();

    await expect.element(accounts().getByText(/Shop/)).not.toBeInTheDocument();
    await expect.element(accounts().getByText(/Bank/)).toBeVisible();
    expect(server.asked).toContain(`DELETE /api/connect/${SPEC}/login`);
  });

  test("are in the list of a narrow window as well", async () => {
    await openChat(390);
    await page.getByRole("button", { name: "Your conversations" }).click();

    await expect.element(accounts().getByRole("button", { name: "Disconnect Shop" })).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("stay where taking one back does not work, and it is said", async () => {
    const server = await openChat();
    server.routes[`DELETE /api/connect/${SPEC}/login`] = () => problem(500, "INT_X", "Not now.");

    await accounts().getByRole("button", { name: "Disconnect Shop" }).click();

    await expect.element(accounts().getByRole("alert")).toHaveTextContent("Not now.");
    await expect.element(accounts().getByText(/Shop/)).toBeVisible();
  });

  test("are not spoken of where there are none", async () => {
    const server = fakeServer("customer");
    await openPage(server, {});
    server.connect();

    await expect.element(page.getByText("Conversations that you start")).toBeVisible();
    await expect.element(accounts()).not.toBeInTheDocument();
  });
});
