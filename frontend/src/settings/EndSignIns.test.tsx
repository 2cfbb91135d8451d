import { describe, expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, json, problem } from "../../tests-support/server";
import type { Role } from "../api/client";

const region = () => page.getByRole("region", { name: "Sign-ins" });
const what = () => region().getByRole("combobox", { name: "What ends" });
const id = () => region().getByRole("textbox");
const end = () => region().getByRole("button", { name: "End now" });

async function open(role: Role, width = 1280) {
  const server = fakeServer(role);
  const sent: unknown[] = [];
  server.routes["GET /api/health/details"] = () => problem(503, "DB_UNAVAILABLE", "Not now.");
  server.routes["GET /api/stops"] = () => json({ stops: [] });
  server.routes["GET /api/specs"] = () => json({ specs: [] });
  server.routes["POST /api/sign-ins/end"] = async (_, request) => {
    sent.push(await request.json());
    return json({ ended_at: "2026-11-23T18:06:00Z" });
  };
  await openPage(server, { path: "/settings", width, height: 844 });
  return { server, sent };
}

describe.each([1280, 390])("ending sign-ins, %i pixels wide,", (width) => {
  test("puts a person out, in every role or in one, or ends one token", async () => {
    const { sent } = await open("operator", width);
    await expect.element(end()).toBeDisabled();
    await expectAccessible();
    expectNoSidewaysScroll();

    await id().fill(" cus_ada ");
    await end().click();
    await expect.element(region().getByRole("status")).toHaveTextContent(/Ended for cus_ada: /);
    await expect.element(id()).toHaveValue("");
    await what().selectOptions("lead");
    await id().fill("lead_kim");
    await expect.element(region().getByRole("status")).toBeEmptyDOMElement();
    await end().click();
    await what().selectOptions("token");
    await expect.element(region().getByLabelText(/from the audit log/)).toBeVisible();
    await id().fill("0a1b");
    await end().click();

    await expect.element(region().getByRole("status")).toHaveTextContent(/Ended for 0a1b: /);
    expect(sent).toEqual([
      { person_id: "cus_ada", role: null },
      { person_id: "lead_kim", role: "lead" },
      { token_id: "0a1b" },
    ]);
  });
});

test("why nobody was put out is told, and the id is kept", async () => {
  const { server } = await open("operator");
  server.routes["POST /api/sign-ins/end"] = () => problem(503, "DB_UNAVAILABLE", "Try later.");

  await id().fill("cus_ada");
  await end().click();

  await expect.element(region().getByText("Try later.")).toBeVisible();
  await expect.element(id()).toHaveValue("cus_ada");
});

test("a lead puts nobody out", async () => {
  const { server } = await open("lead");
  await expect.element(page.getByText("Not now.")).toBeVisible();

  expect(server.asked).toContain("GET /api/stops");
  await expect.element(region()).not.toBeInTheDocument();
});
