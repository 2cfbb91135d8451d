import { describe, expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { operationOf, reviewDesk, SPEC } from "../../tests-support/review";
import { fakeServer, json, problem, ringOf, schemeOf } from "../../tests-support/server";

const AT = "2026-11-23T18:00:00Z";
const GIVEN = { state: "set", hint: "…6789", set_by: "op_lu", set_at: AT } as const;
const ORIGINS = ["https://api.shop.test"];

async function openPanel(ring: ReturnType<typeof ringOf>, width = 1280) {
  const server = fakeServer("operator");
  server.review(reviewDesk([operationOf(0)]));
  server.routes["GET /api/specs/*/credentials"] = () => json(ring);
  await openPage(server, { path: `/review/${SPEC}`, width, height: 844 });
  await page.getByRole("button", { name: "Credentials" }).click();
  await expect.element(page.getByRole("heading", { name: "Credentials" })).toBeVisible();
  return server;
}

const button = (name: string) => page.getByRole("button", { name, exact: true });

describe("credentials", () => {
  test("say what is there, what is missing and why, and are accessible", async () => {
    const trouble = {
      since: AT,
      last_at: AT,
      count: 3,
      reason: "The API answered 401.",
      operation: "GET /orders",
      correlation_id: "cor-7",
    };
    await openPanel(
      ringOf({
        trouble,
        schemes: [
          schemeOf({ ...GIVEN, origins: ORIGINS }),
          schemeOf({ name: "cert", type: "refused", state: "refused", reason: "No certificates." }),
          schemeOf({
            ...GIVEN,
            name: "login",
            type: "oauth2",
            flows: ["authorizationCode"],
            flow: "authorizationCode",
            client_id: "shop-client",
            token_server: "https://login.shop.test",
            connected: 4,
            origins: ORIGINS,
          }),
        ],
        headers: [
          {
            name: "x-customer",
            claim: "customer_id",
            hint: null,
            origins: ORIGINS,
            set_by: "op_lu",
            set_at: AT,
          },
        ],
      }),
    );

    await expect.element(page.getByText("3 calls failed")).toBeVisible();
    await expect.element(page.getByText("No certificates.")).toBeVisible();
    await expect.element(page.getByText(/…6789.*set by op_lu/).first()).toBeVisible();
    await expect.element(page.getByText(/4 customers connected/)).toBeVisible();
    await expect.element(page.getByText(/The customer's customer_id/)).toBeVisible();
    await expect.element(button("Set cert")).not.toBeInTheDocument();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("are tested, and what came of it is said without the secret", async () => {
    const server = await openPanel(
      ringOf({ schemes: [schemeOf({ ...GIVEN, origins: ORIGINS }), schemeOf({ name: "other" })] }),
    );
    const bodies: unknown[] = [];
    const checked = {
      result: "refused",
      asked: "GET /orders",
      status: 401,
      said: "The API answered 401.",
      correlation_id: "cor-8",
    };
    server.routes["POST /api/specs/*/credentials/shop-key/test"] = async (_, request) => {
      bodies.push(await request.json());
      return json(checked);
    };
    await expect.element(button("Test other")).not.toBeInTheDocument();
    await button("Test shop-key").click();
    await page.getByRole("textbox", { name: "With this read" }).fill("GET /orders");
    await button("Send it").click();

    await expect.element(page.getByText(/Refused by GET \/orders.*answered 401/)).toBeVisible();
    await expect.element(page.getByText("cor-8")).toBeVisible();
    expect(bodies).toEqual([{ operation: "GET /orders" }]);
    await expectAccessible();

    server.routes["POST /api/specs/*/credentials/shop-key/test"] = () =>
      problem(422, "VAL_INVALID_INPUT", "Name a read.");
    await button("Send it").click();
    await expect.element(page.getByRole("alert")).toHaveTextContent("Name a read.");
  });

  test("are given, and the field forgets them", async () => {
    const server = await openPanel(ringOf({ schemes: [schemeOf()] }));
    const bodies: unknown[] = [];
    server.routes["PUT /api/specs/*/credentials/shop-key"] = async (_, request) => {
      bodies.push(await request.json());
      return json(ringOf({ schemes: [schemeOf({ ...GIVEN, origins: ORIGINS })] }));
    };

    await button("Set shop-key").click();
    await page.getByLabelText("API key").fill("canary-0123456789");
    await expectAccessible();
    await button("Save").click();

    await expect.element(page.getByText("Set", { exact: true })).toBeVisible();
    await expect.element(page.getByLabelText("API key")).not.toBeInTheDocument();
    expect(bodies).toEqual([{ value: "canary-0123456789", in_body: false }]);
    expect(document.body.innerHTML).not.toContain("canary");
    await button("Replace shop-key").click();
    await expect.element(page.getByLabelText("API key")).toHaveValue("");
  });

  test("that are refused stay in the form, with the reason", async () => {
    const login = schemeOf({
      name: "login",
      type: "oauth2",
      flows: ["clientCredentials", "authorizationCode"],
    });
    const server = await openPanel(ringOf({ schemes: [login] }), 390);
    server.routes["PUT /api/specs/*/credentials/login"] = () =>
      problem(422, "VAL_INVALID_INPUT", "I could not read that.");

    await button("Set login").click();
    await page.getByRole("combobox", { name: "Who is signed in" }).click();
    await expect.element(page.getByRole("option", { name: /Each customer/ })).toBeVisible();
    await expectAccessible();
    await page.getByRole("option", { name: /Each customer/ }).click();
    await page.getByLabelText("Client id").fill("shop-client");
    await button("Save").click();

    await expect.element(page.getByRole("alert")).toHaveTextContent("I could not read that.");
    await expect.element(page.getByLabelText("Client id")).toHaveValue("shop-client");
    expectNoSidewaysScroll();
  });

  test("are deleted", async () => {
    const server = await openPanel(ringOf({ schemes: [schemeOf({ ...GIVEN, origins: ORIGINS })] }));
    server.routes["DELETE /api/specs/*/credentials/shop-key"] = () =>
      json(ringOf({ schemes: [schemeOf()] }));

    await button("Delete shop-key").click();

    await expect.element(page.getByText("Not set")).toBeVisible();
  });

  test("go with a header that the customer fills", async () => {
    const server = await openPanel(ringOf());
    const bodies: unknown[] = [];
    server.routes["PUT /api/specs/*/headers/X-Customer"] = async (_, request) => {
      bodies.push(await request.json());
      return json(ringOf());
    };

    await page.getByRole("textbox", { name: "Header", exact: true }).fill("X-Customer");
    await page.getByRole("combobox", { name: "Filled with" }).click();
    await page.getByRole("option", { name: "The customer's id" }).click();
    await button("Add").click();

    await expect.poll(() => bodies).toEqual([{ claim: "customer_id" }]);
  });

  test("belong to an environment, which is added, changed and chosen", async () => {
    const server = await openPanel(ringOf());
    const live = { name: "live", base_url: "https://api.shop.test", active: true };
    const sandbox = { name: "sandbox", base_url: "https://sandbox.shop.test", active: false };
    const bodies: unknown[] = [];
    server.routes["PUT /api/specs/*/environments/sandbox"] = async (_, request) => {
      const body = await request.json();
      bodies.push(body);
      if (bodies.length === 1) return problem(422, "VAL_INVALID_INPUT", "Not there.");
      const called = body.choose ? "sandbox" : "live";
      return json(
        ringOf({
          environment: called,
          environments: [live, sandbox].map((one) => ({ ...one, active: one.name === called })),
        }),
      );
    };
    const list = page.getByRole("list", { name: "Environments" });
    await expect.element(list).toHaveTextContent("liveIs calledhttps://api.shop.test");

    await page.getByRole("textbox", { name: /^Environment/ }).fill("sandbox");
    await page.getByRole("textbox", { name: "Where it is" }).fill(sandbox.base_url);
    await button("Save the address").click();
    await expect.element(page.getByRole("alert")).toHaveTextContent("Not there.");
    await expect
      .element(page.getByRole("textbox", { name: /^Environment/ }))
      .toHaveValue("sandbox");
    await button("Save the address").click();
    await expect.element(list).toHaveTextContent("sandboxCall");
    await expectAccessible();
    expectNoSidewaysScroll();
    await button("Call sandbox").click();

    await expect.element(button("Call live")).toBeVisible();
    await expect.element(page.getByText("For the environment sandbox.")).toBeVisible();
    expect(bodies).toEqual([
      { base_url: sandbox.base_url, choose: false },
      { base_url: sandbox.base_url, choose: false },
      { base_url: null, choose: true },
    ]);
  });
});
