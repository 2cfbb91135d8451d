import { describe, expect, test } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { operationOf, reviewDesk, SPEC } from "../../tests-support/review";
import { fakeServer, json, problem } from "../../tests-support/server";
import type { Role } from "../api/client";
import type { components } from "../api/schema.gen";

type Stop = components["schemas"]["Stop"];
type NewStop = components["schemas"]["NewStop"];

const region = () => page.getByRole("region", { name: "Kill switch" });
const rows = () => region().getByRole("listitem");
const why = () => region().getByRole("textbox", { name: "Why" });
const off = () => region().getByRole("button", { name: "Switch off now" });

function stopOf(more: Partial<Stop> = {}): Stop {
  return {
    id: "s1",
    scope: "everything",
    target: null,
    title: "everything",
    stopped_by: "op_lu",
    stopped_at: "2026-11-23T18:00:00Z",
    reason: "Refunds are paid twice",
    lifted_by: null,
    lifted_at: null,
    lifted_reason: null,
    ...more,
  };
}

/** Settings with a switch that works, and the bodies that were sent to it. */
async function openSwitch(role: Role, stops: Stop[] = [], width = 1280) {
  const server = fakeServer(role);
  const sent: unknown[] = [];
  server.review(reviewDesk([operationOf(0)]));
  server.routes["GET /api/health/details"] = () => problem(503, "DB_UNAVAILABLE", "Not now.");
  server.routes["GET /api/stops"] = () => json({ stops });
  server.routes["POST /api/stops"] = async (_, request) => {
    const body = (await request.json()) as NewStop;
    sent.push(body);
    const title = body.scope === "everything" ? "everything" : "Shop";
    const { scope, target, reason } = body;
    const made = stopOf({
      id: `s${stops.length + 1}`,
      scope,
      target: target ?? null,
      reason,
      title,
    });
    stops.unshift(made);
    return json(made, 201);
  };
  server.routes["POST /api/stops/*/lift"] = async (url, request) => {
    const { reason } = await request.json();
    const id = url.pathname.split("/")[3];
    sent.push([id, reason]);
    const index = stops.findIndex((stop) => stop.id === id);
    const lifted = { ...stops[index], lifted_by: "op_lu", lifted_at: "2026-11-23T19:00:00Z" };
    stops[index] = stopOf({ ...lifted, lifted_reason: reason });
    return json(stops[index]);
  };
  await openPage(server, { path: "/settings", width, height: 844 });
  return { server, sent };
}

describe.each([1280, 390])("the kill switch, %i pixels wide,", (width) => {
  test("switches everything off with a reason, and on again", async () => {
    const { sent } = await openSwitch("operator", [], width);
    await expect.element(region().getByText(/Nothing is switched off/)).toBeVisible();
    await expect.element(off()).toBeDisabled();
    await expectAccessible();
    expectNoSidewaysScroll();

    await why().fill(" Refunds are paid twice ");
    await off().click();

    await expect
      .element(rows().first())
      .toHaveTextContent(/Off.*everything.*Refunds are paid twice \(op_lu, 23 Nov 2026, /);
    await expectAccessible();
    expectNoSidewaysScroll();
    // The reason for the one is not the reason for the other.
    await expect.element(why()).toHaveValue("");
    const on = region().getByRole("button", { name: "Switch on everything again" });
    await expect.element(on).toBeDisabled();
    await why().fill("They have mended it");
    await on.click();

    await expect.element(region().getByText(/Nothing is switched off/)).toBeVisible();
    expect(sent).toEqual([
      { scope: "everything", target: null, reason: "Refunds are paid twice" },
      ["s1", "They have mended it"],
    ]);
  });
});

test("one API is switched off beside what is off already, and on alone", async () => {
  const { sent } = await openSwitch("operator", [stopOf({ id: "s1", title: "POST /notes" })]);
  await expect.element(rows().first()).toHaveTextContent("POST /notes");
  const which = region().getByRole("combobox", { name: "What" });
  await expect.element(which).toHaveTextContent(/Everything.+/);

  await which.selectOptions(SPEC);
  await why().fill("It is being moved");
  await off().click();

  await expect.element(rows().nth(1)).toHaveTextContent("POST /notes");
  await expect.element(rows().nth(0)).toHaveTextContent(/Shop.*It is being moved/);
  await why().fill("Moved");
  await region().getByRole("button", { name: "Switch on Shop again" }).click();

  await expect.element(page.getByText("It is being moved")).not.toBeInTheDocument();
  await expect.element(rows().first()).toHaveTextContent("POST /notes");
  expect(sent).toEqual([
    { scope: "api", target: SPEC, reason: "It is being moved" },
    ["s2", "Moved"],
  ]);
});

test("why it was not switched off is told, and the reason is kept", async () => {
  const { server } = await openSwitch("operator");
  server.routes["POST /api/stops"] = () => problem(403, "AUTH_NOT_ALLOWED", "Not you.");
  await why().fill("Refunds are paid twice");
  await off().click();

  await expect.element(region().getByText("Not you.")).toBeVisible();
  await expect.element(why()).toHaveValue("Refunds are paid twice");
  await expect.element(region().getByText(/Nothing is switched off/)).toBeVisible();
});

test("a lead sees what is off, by whom and why, and cannot switch", async () => {
  await openSwitch("lead", [stopOf()]);

  await expect.element(rows().first()).toHaveTextContent(/paid twice \(op_lu, 23 Nov 2026/);
  expect(region().getByRole("button").elements()).toEqual([]);
  expect(region().getByRole("textbox").elements()).toEqual([]);
  await expectAccessible();
});

test("a lead sees nothing of it while nothing is off", async () => {
  const { server } = await openSwitch("lead", [stopOf({ lifted_at: "2026-11-23T19:00:00Z" })]);

  await expect.element(page.getByText("Not now.")).toBeVisible();

  expect(server.asked).toContain("GET /api/stops");
  await expect.element(region()).not.toBeInTheDocument();
});
